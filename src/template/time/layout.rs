//! Go's layouts: the moment 2006-01-02 15:04:05 written as the text is to look.

/// A part of a layout that stands for something.
#[derive(Clone, Copy)]
pub(super) enum Token<'l> {
    Part(&'static str),
    /// `.000` or `,999`
    Fraction(&'l str),
}

impl<'l> Token<'l> {
    pub fn text(self) -> &'l str {
        match self {
            Self::Part(text) => text,
            Self::Fraction(text) => text,
        }
    }
}

/// Longer ones first where one begins with another.
const PARTS: [&str; 33] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "2006",
    "__2",
    "_2",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z070000",
    "Z07:00",
    "Z0700",
    "Z07",
    "PM",
    "pm",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// The text before the next token, the token, and the rest.
pub(super) fn next_token(layout: &str) -> Option<(&str, Token<'_>, &str)> {
    for (at, _) in layout.char_indices() {
        let (before, rest) = layout.split_at(at);
        if let Some(length) = fraction_length(rest) {
            let (pattern, after) = rest.split_at(length);
            return Some((before, Token::Fraction(pattern), after));
        }
        // `_2006` is an underscore and a year.
        if rest.starts_with("_2006") {
            continue;
        }
        let part = PARTS.into_iter().find(|part| rest.starts_with(part));
        let Some((part, after)) = part.and_then(|part| Some((part, rest.get(part.len()..)?))) else { continue };
        let is_word = matches!(part, "Jan" | "Mon") && after.starts_with(|c: char| c.is_ascii_lowercase());
        if !is_word {
            return Some((before, Token::Part(part), after));
        }
    }
    None
}

fn fraction_length(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(['.', ','])?;
    let digit = digits.chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
    let count = digits.len() - digits.trim_start_matches(digit).len();
    let ends = !digits.get(count..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    ends.then_some(count + 1)
}
