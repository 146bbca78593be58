//! GitLab's collapsible sections (spec/executor.md 6.2, spec/build.md 8.1).

/// How GitLab shows a section at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    Open,
    Collapsed,
}

/// Opens a section; the text that follows on the same line is its header. `unix` is in seconds.
pub(super) fn start(unix: i64, name: &str, fold: Fold) -> String {
    let options = match fold {
        Fold::Open => "",
        Fold::Collapsed => "[collapsed=true]",
    };
    format!("section_start:{unix}:{name}{options}\r\x1b[0K")
}

/// Closes a section, on a line of its own.
pub(super) fn end(unix: i64, name: &str) -> String {
    format!("section_end:{unix}:{name}\r\x1b[0K\n")
}
