//! Template text into tokens, with the places and the error texts of Go.

use std::borrow::Cow;

use super::quote::quote;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Error,
    Eof,
    Text,
    LeftDelimiter,
    RightDelimiter,
    Space,
    Assign,
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    /// Any other printable ASCII character, such as `,`.
    Char,
    CharConstant,
    Number,
    /// A number with an imaginary part.
    Complex,
    Str,
    RawStr,
    Bool,
    Field,
    Variable,
    Identifier,
    Dot,
    Nil,
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

/// A token. `position` is its byte offset, `line` counts from 1; for `Kind::Error` the text is the message.
#[derive(Clone, Debug)]
pub struct Token<'t> {
    pub kind: Kind,
    pub position: usize,
    pub line: usize,
    pub text: Cow<'t, str>,
}

impl Token<'_> {
    /// How error texts name the token.
    pub fn describe(&self) -> String {
        match self.kind {
            Kind::Eof => "EOF".to_owned(),
            Kind::Error => self.text.to_string(),
            kind if kind as u8 >= Kind::Dot as u8 => format!("<{}>", self.text),
            _ if self.text.len() > 10 => format!("{}...", quote(&self.text.chars().take(10).collect::<String>())),
            _ => quote(&self.text),
        }
    }
}

/// Gives the tokens one by one; after an error or the end it gives `Eof` for ever.
pub struct Lexer<'t> {
    input: &'t str,
    left: &'t str,
    right: &'t str,
    position: usize,
    start: usize,
    /// Line at `start`.
    line: usize,
    inside_action: bool,
    open_parens: usize,
    finished: bool,
}

const MARKER: usize = 2;

impl<'t> Lexer<'t> {
    pub fn new(input: &'t str, left: &'t str, right: &'t str) -> Self {
        Self {
            input,
            left,
            right,
            position: 0,
            start: 0,
            line: 1,
            inside_action: false,
            open_parens: 0,
            finished: false,
        }
    }

    /// The next token.
    pub fn next_token(&mut self) -> Token<'t> {
        if self.finished {
            return Token { kind: Kind::Eof, position: self.input.len(), line: self.line, text: Cow::Borrowed("") };
        }
        loop {
            let found = if self.inside_action { Some(self.action_token()) } else { self.text_token() };
            if let Some(token) = found {
                self.finished = matches!(token.kind, Kind::Error | Kind::Eof);
                return token;
            }
        }
    }

    fn rest(&self) -> &'t str {
        self.input.get(self.position..).unwrap_or_default()
    }

    fn pending(&self) -> &'t str {
        self.input.get(self.start..self.position).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.position += next.len_utf8();
        Some(next)
    }

    /// Forgets what was read since the last token.
    fn skip(&mut self) {
        self.line += self.pending().matches('\n').count();
        self.start = self.position;
    }

    fn token(&mut self, kind: Kind) -> Token<'t> {
        let text = self.pending();
        let token = Token { kind, position: self.start, line: self.line, text: Cow::Borrowed(text) };
        self.skip();
        token
    }

    fn error(&self, message: impl Into<String>) -> Token<'t> {
        Token { kind: Kind::Error, position: self.start, line: self.line, text: Cow::Owned(message.into()) }
    }

    /// Text up to the next action, or the action's opening; `None` after a comment or empty text.
    fn text_token(&mut self) -> Option<Token<'t>> {
        if self.rest().starts_with(self.left) {
            return self.left_delimiter();
        }
        let Some(length) = self.rest().find(self.left) else {
            self.position = self.input.len();
            return Some(if self.start == self.position { self.token(Kind::Eof) } else { self.token(Kind::Text) });
        };
        let text = self.rest().get(..length).unwrap_or_default();
        let after = self.rest().get(length + self.left.len()..).unwrap_or_default();
        let kept = if starts_with_trim(after) { text.trim_end_matches(is_space).len() } else { length };
        self.position += kept;
        let token = (kept > 0).then(|| self.token(Kind::Text));
        self.position += length - kept;
        self.skip();
        token
    }

    fn left_delimiter(&mut self) -> Option<Token<'t>> {
        let after = self.rest().get(self.left.len()..).unwrap_or_default();
        let marker = if starts_with_trim(after) { MARKER } else { 0 };
        self.position += self.left.len();
        if after.get(marker..).is_some_and(|rest| rest.starts_with("/*")) {
            self.position += marker;
            self.skip();
            return self.comment();
        }
        let token = self.token(Kind::LeftDelimiter);
        self.position += marker;
        self.skip();
        self.inside_action = true;
        self.open_parens = 0;
        Some(token)
    }

    /// Skips a comment; a token only when it is malformed.
    fn comment(&mut self) -> Option<Token<'t>> {
        let Some(length) = self.rest().get(2..).and_then(|rest| rest.find("*/")) else {
            return Some(self.error("unclosed comment"));
        };
        self.position += length + 4;
        let Some(trim) = self.at_right_delimiter() else {
            return Some(self.error("comment ends before closing delimiter"));
        };
        self.close(trim);
        self.skip();
        None
    }

    /// `Some(trims)` in front of a closing delimiter.
    fn at_right_delimiter(&self) -> Option<bool> {
        let rest = self.rest();
        if ends_with_trim(rest) && rest.get(MARKER..).is_some_and(|rest| rest.starts_with(self.right)) {
            return Some(true);
        }
        rest.starts_with(self.right).then_some(false)
    }

    /// Moves over a closing delimiter and the text it trims.
    fn close(&mut self, trim: bool) {
        self.position += self.right.len() + if trim { MARKER } else { 0 };
        if trim {
            let rest = self.rest();
            self.position += rest.len() - rest.trim_start_matches(is_space).len();
        }
    }

    fn right_delimiter(&mut self, trim: bool) -> Token<'t> {
        if trim {
            self.position += MARKER;
            self.skip();
        }
        self.position += self.right.len();
        let token = self.token(Kind::RightDelimiter);
        if trim {
            let rest = self.rest();
            self.position += rest.len() - rest.trim_start_matches(is_space).len();
            self.skip();
        }
        self.inside_action = false;
        token
    }

    fn action_token(&mut self) -> Token<'t> {
        if let Some(trim) = self.at_right_delimiter() {
            if self.open_parens == 0 {
                return self.right_delimiter(trim);
            }
            return self.error("unclosed left paren");
        }
        let Some(next) = self.peek() else { return self.error("unclosed action") };
        match next {
            _ if is_space(next) => self.space(),
            '"' => self.quoted('"', "unterminated quoted string", Kind::Str),
            '\'' => self.quoted('\'', "unterminated character constant", Kind::CharConstant),
            '`' => self.raw_quoted(),
            '$' => self.field_or_variable(Kind::Variable),
            '.' if !self.rest().get(1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) => {
                self.field_or_variable(Kind::Field)
            }
            '.' | '+' | '-' | '0'..='9' => self.number(),
            _ if is_alphanumeric(next) => self.identifier(),
            _ => self.punctuation(next),
        }
    }

    fn punctuation(&mut self, next: char) -> Token<'t> {
        self.bump();
        match next {
            '=' => self.token(Kind::Assign),
            ':' if self.bump() != Some('=') => self.error("expected :="),
            ':' => self.token(Kind::Declare),
            '|' => self.token(Kind::Pipe),
            '(' => {
                self.open_parens += 1;
                self.token(Kind::LeftParen)
            }
            ')' if self.open_parens == 0 => self.error("unexpected right paren"),
            ')' => {
                self.open_parens -= 1;
                self.token(Kind::RightParen)
            }
            _ if next.is_ascii_graphic() => self.token(Kind::Char),
            _ => self.error(format!("unrecognized character in action: {}", unicode_name(next))),
        }
    }

    fn space(&mut self) -> Token<'t> {
        let blanks = self.rest().len() - self.rest().trim_start_matches(is_space).len();
        // The last blank may belong to a trimming right delimiter.
        self.position += blanks - 1;
        if let Some(true) = self.at_right_delimiter() {
            if blanks == 1 {
                return self.right_delimiter(true);
            }
        } else {
            self.position += 1;
        }
        self.token(Kind::Space)
    }

    fn quoted(&mut self, mark: char, unterminated: &str, kind: Kind) -> Token<'t> {
        self.bump();
        loop {
            match self.bump() {
                Some('\\') if !matches!(self.peek(), None | Some('\n')) => {
                    self.bump();
                }
                None | Some('\\' | '\n') => return self.error(unterminated),
                Some(c) if c == mark => return self.token(kind),
                Some(_) => {}
            }
        }
    }

    fn raw_quoted(&mut self) -> Token<'t> {
        self.bump();
        match self.rest().find('`') {
            Some(length) => {
                self.position += length + 1;
                self.token(Kind::RawStr)
            }
            None => self.error("unterminated raw quoted string"),
        }
    }

    fn field_or_variable(&mut self, kind: Kind) -> Token<'t> {
        self.bump();
        if self.at_terminator() {
            return self.token(if kind == Kind::Variable { Kind::Variable } else { Kind::Dot });
        }
        self.word(kind)
    }

    fn identifier(&mut self) -> Token<'t> {
        let mut token = self.word(Kind::Identifier);
        if token.kind == Kind::Identifier {
            token.kind = keyword(&token.text);
        }
        token
    }

    fn word(&mut self, kind: Kind) -> Token<'t> {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start_matches(is_alphanumeric).len();
        if self.at_terminator() {
            return self.token(kind);
        }
        self.error(format!("bad character {}", unicode_name(self.peek().unwrap_or_default())))
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | '(' | ')') => true,
            Some(c) => is_space(c) || self.rest().starts_with(self.right),
        }
    }

    fn number(&mut self) -> Token<'t> {
        let mut kind = Kind::Number;
        let mut good = self.scan_number();
        if good && matches!(self.peek(), Some('+' | '-')) {
            kind = Kind::Complex;
            good = self.scan_number() && self.pending().ends_with('i');
        }
        if good { self.token(kind) } else { self.error(format!("bad number syntax: {}", quote(self.pending()))) }
    }

    fn scan_number(&mut self) -> bool {
        self.accept("+-");
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        let exponent = match digits.len() {
            11 => "eE",
            23 => "pP",
            _ => "",
        };
        if self.accept(exponent) {
            self.accept("+-");
            self.accept_run("0123456789_");
        }
        self.accept("i");
        if self.peek().is_some_and(is_alphanumeric) {
            self.bump();
            return false;
        }
        true
    }

    fn accept(&mut self, set: &str) -> bool {
        let accepted = self.peek().is_some_and(|c| set.contains(c));
        if accepted {
            self.bump();
        }
        accepted
    }

    fn accept_run(&mut self, set: &str) {
        while self.accept(set) {}
    }
}

fn keyword(word: &str) -> Kind {
    match word {
        "true" | "false" => Kind::Bool,
        "block" => Kind::Block,
        "break" => Kind::Break,
        "continue" => Kind::Continue,
        "define" => Kind::Define,
        "else" => Kind::Else,
        "end" => Kind::End,
        "if" => Kind::If,
        "nil" => Kind::Nil,
        "range" => Kind::Range,
        "template" => Kind::Template,
        "with" => Kind::With,
        _ => Kind::Identifier,
    }
}

/// The blanks that trim markers and arguments know.
pub fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphabetic() || c.is_numeric()
}

fn starts_with_trim(after_delimiter: &str) -> bool {
    after_delimiter.strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space))
}

fn ends_with_trim(text: &str) -> bool {
    text.strip_prefix(is_space).is_some_and(|rest| rest.starts_with('-'))
}

/// As Go's `%#U`: `U+0021 '!'`.
fn unicode_name(c: char) -> String {
    if super::quote::is_printable(c) { format!("U+{:04X} '{c}'", c as u32) } else { format!("U+{:04X}", c as u32) }
}
