//! Signals that ask a hook to end. A hook that was asked never looks as if it had done its work (spec/executor.md 3.1).

use std::io;

use nix::sys::signal::{SigSet, Signal};

/// What the runner, the system and people send.
pub(super) fn termination() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect()
}

/// Ends this process with `code` when a signal comes. Whatever it was doing is done so that it may be left at any point.
pub fn exit_on_termination(code: u8) -> io::Result<()> {
    let signals = termination();
    signals.thread_block()?;
    std::thread::Builder::new().spawn(move || {
        if let Ok(signal) = signals.wait() {
            eprintln!("Error: ended by signal {}", signal.as_str());
            std::process::exit(i32::from(code));
        }
    })?;
    Ok(())
}
