use std::process::ExitCode;

fn main() -> ExitCode {
    slipway::cli::run(std::env::args_os().collect())
}
