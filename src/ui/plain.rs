//! Taking the sting out of foreign text: what a container or a remote printed may hold terminal escapes, carriage returns that
//! hide text, or forged GitLab section marks. All of these work by control characters, so these go (hostile input 40).

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::CharIndices;

use super::style::RESET;

/// What happens to colour sequences (`ESC [ … m`); every other escape sequence is always dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Keep,
    Drop,
}

const TAB_STOP: usize = 8;

/// One line without control characters: a carriage return leaves what stands after it, as a terminal would show; tabs become
/// spaces; a kept colour ends with the line.
pub(super) fn plain(line: &str, colours: Colours) -> Cow<'_, str> {
    let is_simple = line.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_simple || !line.chars().any(needs_care) {
        return Cow::Borrowed(line);
    }
    let shown = line
        .rsplit('\r')
        .map(|part| without_controls(part, colours))
        .find(|part| !part.trim().is_empty())
        .unwrap_or_default();
    Cow::Owned(shown)
}

/// Control characters of both sets, and those that reverse the direction of the text around them.
fn needs_care(char: char) -> bool {
    char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn without_controls(text: &str, colours: Colours) -> String {
    let mut clean = String::with_capacity(text.len());
    let (mut column, mut colour_on) = (0, false);
    let mut chars = text.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        let sequence = match char {
            '\x1b' => escape(&mut chars),
            '\u{9b}' => Sequence::Control,
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => Sequence::Text,
            '\t' => {
                let spaces = TAB_STOP - column % TAB_STOP;
                clean.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
                continue;
            }
            _ if needs_care(char) => continue,
            _ => {
                clean.push(char);
                column += 1;
                continue;
            }
        };
        match sequence {
            Sequence::Short => {}
            Sequence::Text => skip_text(text, &mut chars),
            Sequence::Control => {
                let end = skip_control(text, &mut chars);
                let whole = text.get(at..end).unwrap_or_default();
                if colours == Colours::Keep && is_colour(whole) {
                    clean.push_str(whole);
                    colour_on = !matches!(whole, "\x1b[m" | "\x1b[0m");
                }
            }
        }
    }
    if colour_on {
        clean.push_str(RESET);
    }
    clean
}

enum Sequence {
    /// `ESC [ parameters final`
    Control,
    /// `ESC ] anything BEL` and its kin
    Text,
    /// `ESC char`, already consumed
    Short,
}

fn escape(chars: &mut Peekable<CharIndices>) -> Sequence {
    match chars.peek().map(|(_, char)| *char) {
        Some('[') => {
            chars.next();
            Sequence::Control
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            Sequence::Text
        }
        _ => {
            while chars.next_if(|(_, char)| (' '..='/').contains(char)).is_some() {}
            chars.next_if(|(_, char)| ('0'..='~').contains(char));
            Sequence::Short
        }
    }
}

/// Where the sequence ends in `text`.
fn skip_control(text: &str, chars: &mut Peekable<CharIndices>) -> usize {
    while chars.next_if(|(_, char)| (' '..='?').contains(char)).is_some() {}
    chars.next_if(|(_, char)| ('@'..='~').contains(char));
    chars.peek().map_or(text.len(), |(at, _)| *at)
}

/// Skips to the end mark; without one only the introducer goes, so that an unfinished sequence cannot hide the rest of the line.
fn skip_text(text: &str, chars: &mut Peekable<CharIndices>) {
    let start = chars.peek().map_or(text.len(), |(at, _)| *at);
    let rest = text.get(start..).unwrap_or_default();
    let ends = ["\x07", "\x1b\\", "\u{9c}"];
    let end = ends.iter().filter_map(|end| Some(start + rest.find(end)? + end.len())).min();
    if let Some(end) = end {
        while chars.next_if(|(at, _)| *at < end).is_some() {}
    }
}

fn is_colour(sequence: &str) -> bool {
    sequence
        .strip_prefix("\x1b[")
        .and_then(|rest| rest.strip_suffix('m'))
        .is_some_and(|parameters| parameters.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hostile input 40.
    #[test]
    fn escapes_are_neutralised() {
        let table = [
            ("plain text, ünïcode ⛵", "plain text, ünïcode ⛵"),
            ("\x1b[2J\x1b[1;1Hgone", "gone"),
            ("a\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
            ("a\x1b]0;title\x07b", "ab"),
            ("a\x1b]0;unfinished", "a0;unfinished"),
            ("\x1bPdcs\x1b\\x\x1b(By\x1bcz", "xyz"),
            ("\u{9b}31mred\u{9d}0;t\u{9c}!", "red!"),
            ("10%\r20%\r30%", "30%"),
            ("done\r", "done"),
            ("section_start:1:x[collapsed=true]\r\x1b[0Kforged", "forged"),
            ("section_end:1:x\r\x1b[0K", "section_end:1:x"),
            ("bell\x07 back\x08space nul\0", "bell backspace nul"),
            ("a\tb", "a       b"),
            ("abc\u{202e}fed", "abcfed"),
            ("end\x1b", "end"),
            ("end\x1b[", "end"),
            ("end\x1b[31", "end"),
        ];
        for (hostile, shown) in table {
            assert_eq!(plain(hostile, Colours::Drop), shown, "{hostile:?}");
        }
    }

    #[test]
    fn colours_are_kept_when_wanted_and_end_with_the_line() {
        assert_eq!(plain("\x1b[31mred\x1b[0m \x1b[2Kx", Colours::Keep), "\x1b[31mred\x1b[0m x");
        assert_eq!(plain("\x1b[1;32mgreen", Colours::Keep), "\x1b[1;32mgreen\x1b[0m");
        assert_eq!(plain("\x1b[1;32mgreen", Colours::Drop), "green");
        assert_eq!(plain("\x1b[?25mx", Colours::Keep), "x");
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_controls_gets_through(line in "(\\PC|[\\x00-\\x1f\\x7f-\\x9f]|\x1b[\\[\\]P(]|section_start:1:x\r\x1b\\[0K){0,40}") {
            let shown = plain(&line, Colours::Drop);
            proptest::prop_assert!(!shown.chars().any(|char| char.is_control()), "{shown:?}");
        }
    }
}
