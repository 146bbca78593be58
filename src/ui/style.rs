//! The few colours of the log (spec/build.md 8.1).

use std::fmt::Display;

/// What a line or title is about; the colour follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Normal,
    /// Bold.
    Highlight,
    /// An image of werf.yaml: yellow, bold.
    Image,
    /// An artifact of werf.yaml: cyan, bold.
    Artifact,
    /// Details of a stage or of a published image: blue, bold.
    Details,
    /// Failures and warnings: red, bold.
    Failure,
}

pub(super) const RESET: &str = "\x1b[0m";

impl Style {
    /// The escape sequence that switches the style on; empty for normal text.
    pub(super) fn opening(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::Highlight => "\x1b[1m",
            Self::Image => "\x1b[33;1m",
            Self::Artifact => "\x1b[36;1m",
            Self::Details => "\x1b[34;1m",
            Self::Failure => "\x1b[31;1m",
        }
    }

    /// `text` in this style.
    pub(super) fn paint(self, text: impl Display) -> String {
        match self {
            Self::Normal => text.to_string(),
            _ => format!("{}{text}{RESET}", self.opening()),
        }
    }
}
