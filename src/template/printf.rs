//! Printing as Go's `fmt` does: `print`, `println`, `printf` and the text of values in the output.

use super::limits::{Budget, VALUE_DEPTH};
use super::number::format_float;
use super::quote::{is_printable, quote_with};
use super::value::{Value, too_deep};

type Printed<T = ()> = Result<T, String>;

/// The `%v` text of a value.
pub fn text_of(budget: &Budget, value: &Value) -> Printed<String> {
    if let Value::Str(text) = value {
        return Ok(text.to_string());
    }
    let mut printer = Printer::new(budget);
    printer.argument(value, 'v')?;
    printer.finish()
}

/// `print`: a blank between operands when neither is a string.
pub fn print(budget: &Budget, values: &[Value]) -> Printed<String> {
    let mut printer = Printer::new(budget);
    let mut after_string = true;
    for (index, value) in values.iter().enumerate() {
        let string = matches!(value, Value::Str(_));
        if index > 0 && !string && !after_string {
            printer.out.push(' ');
        }
        printer.argument(value, 'v')?;
        after_string = string;
    }
    printer.finish()
}

/// `println`: blanks between operands, a newline behind them.
pub fn println(budget: &Budget, values: &[Value]) -> Printed<String> {
    let mut printer = Printer::new(budget);
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            printer.out.push(' ');
        }
        printer.argument(value, 'v')?;
    }
    printer.out.push('\n');
    printer.finish()
}

/// `printf`. A verb that does not fit never fails, it prints its complaint.
pub fn printf(budget: &Budget, format: &str, values: &[Value]) -> Printed<String> {
    let mut printer = Printer::new(budget);
    printer.format(format, values)?;
    printer.finish()
}

/// Width and precision beyond this are refused, as in Go.
const MAX_NUMBER: usize = 1_000_000;

#[derive(Clone, Copy, Default)]
struct Flags {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    /// `%+v`
    plus_v: bool,
    /// `%#v`
    sharp_v: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

struct Printer<'b> {
    budget: &'b Budget,
    out: String,
    flags: Flags,
    depth: usize,
}

impl<'b> Printer<'b> {
    fn new(budget: &'b Budget) -> Self {
        Self { budget, out: String::new(), flags: Flags::default(), depth: 0 }
    }

    fn finish(self) -> Printed<String> {
        self.budget.text(self.out.len())?;
        Ok(self.out)
    }

    fn write(&mut self, text: &str) -> Printed {
        let length = self.out.len() + text.len();
        if length > self.budget.limits().text {
            return self.budget.text(length);
        }
        self.out.push_str(text);
        Ok(())
    }

    fn format(&mut self, format: &str, values: &[Value]) -> Printed {
        let mut directive = Directive { rest: format, next: 0, reordered: false, good: true, count: values.len() };
        while let Some(percent) = directive.rest.find('%') {
            let (text, rest) = directive.rest.split_at(percent);
            self.write(text)?;
            directive.rest = rest.get(1..).unwrap_or_default();
            self.directive(&mut directive, values)?;
        }
        self.write(directive.rest)?;
        if !directive.reordered && directive.next < values.len() {
            self.extra(values.get(directive.next..).unwrap_or_default())?;
        }
        Ok(())
    }

    fn extra(&mut self, values: &[Value]) -> Printed {
        self.flags = Flags::default();
        self.write("%!(EXTRA ")?;
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.write(", ")?;
            }
            if matches!(value, Value::Nil) {
                self.write("<nil>")?;
            } else {
                self.write(&value.type_name())?;
                self.write("=")?;
                self.argument(value, 'v')?;
            }
        }
        self.write(")")
    }

    /// One `%…` with its argument.
    fn directive(&mut self, directive: &mut Directive<'_>, values: &[Value]) -> Printed {
        self.flags = directive.flags();
        directive.good = true;
        let mut indexed = directive.index();
        if directive.eat('*') {
            match directive.star(values) {
                Some(width) => {
                    self.flags.width = Some(width.unsigned_abs() as usize);
                    if width < 0 {
                        self.flags.minus = true;
                        self.flags.zero = false;
                    }
                }
                None => self.write("%!(BADWIDTH)")?,
            }
            indexed = false;
        } else {
            self.flags.width = directive.number();
            if indexed && self.flags.width.is_some() {
                directive.good = false;
            }
        }
        if directive.eat('.') {
            if indexed {
                directive.good = false;
            }
            indexed = directive.index();
            if directive.eat('*') {
                match directive.star(values) {
                    Some(precision) if precision >= 0 => self.flags.precision = Some(precision as usize),
                    _ => self.write("%!(BADPREC)")?,
                }
                indexed = false;
            } else {
                self.flags.precision = Some(directive.number().unwrap_or_default());
            }
        }
        if !indexed {
            directive.index();
        }
        let Some(verb) = directive.rest.chars().next() else { return self.write("%!(NOVERB)") };
        directive.rest = directive.rest.get(verb.len_utf8()..).unwrap_or_default();
        self.verb(verb, directive, values)
    }

    fn verb(&mut self, verb: char, directive: &mut Directive<'_>, values: &[Value]) -> Printed {
        if verb == '%' {
            return self.write("%");
        }
        if !directive.good {
            return self.write(&format!("%!{verb}(BADINDEX)"));
        }
        let Some(value) = values.get(directive.next) else { return self.write(&format!("%!{verb}(MISSING)")) };
        directive.next += 1;
        if verb == 'v' {
            self.flags.sharp_v = std::mem::take(&mut self.flags.sharp);
            self.flags.plus_v = std::mem::take(&mut self.flags.plus);
        }
        self.argument(value, verb)
    }

    /// A value under a verb.
    fn argument(&mut self, value: &Value, verb: char) -> Printed {
        match (value, verb) {
            (_, 'T') => self.pad_truncated(&value.type_name()),
            (Value::Nil, 'v') => self.pad("<nil>"),
            (Value::Nil, _) => self.bad_verb(value, verb),
            _ => self.value(value, verb),
        }
    }

    fn value(&mut self, value: &Value, verb: char) -> Printed {
        match value {
            Value::Nil if self.flags.sharp_v => self.write("interface {}(nil)"),
            Value::Nil => self.write("<nil>"),
            Value::Bool(truth) if matches!(verb, 't' | 'v') => self.pad(if *truth { "true" } else { "false" }),
            Value::Int(number) | Value::Int64(number) => self.integer(value, *number < 0, number.unsigned_abs(), verb),
            Value::Uint(number) => self.integer(value, false, *number, verb),
            Value::Float(number) => self.float(value, *number, verb),
            Value::Str(text) => self.string(value, text, verb),
            Value::List(list) => {
                let (open, between, close) = match self.flags.sharp_v {
                    true => (format!("{}{{", value.type_name()), ", ", "}"),
                    false => ("[".to_owned(), " ", "]"),
                };
                self.nested(|printer| {
                    printer.write(&open)?;
                    for (index, item) in list.items().iter().enumerate() {
                        if index > 0 {
                            printer.write(between)?;
                        }
                        printer.value(item, verb)?;
                    }
                    printer.write(close)
                })
            }
            Value::Map(map) => {
                let (open, between, close) = match self.flags.sharp_v {
                    true => (format!("{}{{", value.type_name()), ", ", "}"),
                    false => ("map[".to_owned(), " ", "]"),
                };
                self.nested(|printer| {
                    printer.write(&open)?;
                    for (index, (key, item)) in map.entries().into_iter().enumerate() {
                        if index > 0 {
                            printer.write(between)?;
                        }
                        printer.value(&Value::Str(key), verb)?;
                        printer.write(":")?;
                        printer.value(&item, verb)?;
                    }
                    printer.write(close)
                })
            }
            Value::Object(object) if matches!(verb, 'v' | 's') => self.pad(&object.text()),
            Value::Bool(_) | Value::Object(_) => self.bad_verb(value, verb),
        }
    }

    fn nested(&mut self, print: impl FnOnce(&mut Self) -> Printed) -> Printed {
        if self.depth > VALUE_DEPTH {
            return Err(too_deep());
        }
        self.depth += 1;
        self.budget.spend(1)?;
        print(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn bad_verb(&mut self, value: &Value, verb: char) -> Printed {
        self.write(&format!("%!{verb}("))?;
        if matches!(value, Value::Nil) {
            self.write("<nil>")?;
        } else {
            self.write(&value.type_name())?;
            self.write("=")?;
            self.value(value, 'v')?;
        }
        self.write(")")
    }

    fn integer(&mut self, value: &Value, negative: bool, magnitude: u64, verb: char) -> Printed {
        let digits = match verb {
            'v' if self.flags.sharp_v && matches!(value, Value::Uint(_)) => format!("{magnitude:x}"),
            'v' | 'd' => magnitude.to_string(),
            'b' => format!("{magnitude:b}"),
            'o' | 'O' => format!("{magnitude:o}"),
            'x' => format!("{magnitude:x}"),
            'X' => format!("{magnitude:X}"),
            'c' | 'q' | 'U' => return self.character(negative, magnitude, verb),
            _ => return self.bad_verb(value, verb),
        };
        let flags = self.flags;
        let sign = sign_of(negative, flags);
        let least = match flags.precision {
            Some(0) if magnitude == 0 => return self.blanks(flags.width.unwrap_or_default()),
            Some(precision) => precision,
            None if flags.zero && !flags.minus => flags.width.unwrap_or_default().saturating_sub(sign.len()),
            None => 0,
        };
        self.budget.text(least)?;
        let mut body = format!("{digits:0>least$}");
        let prefix = match verb {
            'O' => "0o",
            'b' if flags.sharp => "0b",
            'o' if flags.sharp && !body.starts_with('0') => "0",
            'x' if flags.sharp => "0x",
            'X' if flags.sharp => "0X",
            'v' if flags.sharp_v && matches!(value, Value::Uint(_)) => "0x",
            _ => "",
        };
        body.insert_str(0, prefix);
        body.insert_str(0, sign);
        self.pad_with_blanks(&body)
    }

    fn character(&mut self, negative: bool, code: u64, verb: char) -> Printed {
        let known = u32::try_from(code).ok().filter(|_| !negative).and_then(char::from_u32);
        let c = known.unwrap_or(char::REPLACEMENT_CHARACTER);
        match verb {
            'c' => self.pad(c.encode_utf8(&mut [0; 4])),
            'q' => self.pad(&quote_with(c.encode_utf8(&mut [0; 4]), '\'', self.flags.plus)),
            _ => {
                let width = self.flags.precision.unwrap_or_default().clamp(4, 64);
                let code = if negative { code.wrapping_neg() } else { code };
                let mut text = format!("U+{code:0>width$X}");
                if let Some(c) = known.filter(|c| self.flags.sharp && is_printable(*c)) {
                    text.push_str(&format!(" '{c}'"));
                }
                self.pad_with_blanks(&text)
            }
        }
    }

    fn float(&mut self, value: &Value, number: f64, verb: char) -> Printed {
        let precision = self.flags.precision;
        let text = match verb {
            'v' | 'g' => format_float(number, 'g', precision),
            'G' => format_float(number, 'G', precision),
            'e' | 'E' | 'f' | 'F' => format_float(number, verb, Some(precision.unwrap_or(6))),
            _ => return self.bad_verb(value, verb),
        };
        let flags = self.flags;
        let unsigned = text.trim_start_matches(['-', '+']);
        let sign = match text.starts_with("+Inf") && !flags.space {
            true => "+",
            false => sign_of(text.starts_with('-'), Flags { plus: flags.plus || flags.plus_v, ..flags }),
        };
        let finite = unsigned.starts_with(|c: char| c.is_ascii_digit());
        let width = flags.width.unwrap_or_default();
        if flags.zero && !flags.minus && finite {
            let digits = width.saturating_sub(sign.len());
            self.budget.text(digits)?;
            return self.write(&format!("{sign}{unsigned:0>digits$}"));
        }
        self.pad_with_blanks(&format!("{sign}{unsigned}"))
    }

    fn string(&mut self, value: &Value, text: &str, verb: char) -> Printed {
        match verb {
            'v' if self.flags.sharp_v => self.quoted(text),
            'v' | 's' => self.pad_truncated(text),
            'q' => self.quoted(text),
            'x' | 'X' => {
                let text = self.hexadecimal(text, verb)?;
                self.pad(&text)
            }
            _ => self.bad_verb(value, verb),
        }
    }

    fn quoted(&mut self, text: &str) -> Printed {
        let text = self.truncated(text);
        if self.flags.sharp && can_backquote(text) {
            return self.pad(&format!("`{text}`"));
        }
        self.pad(&quote_with(text, '"', self.flags.plus))
    }

    fn hexadecimal(&mut self, text: &str, verb: char) -> Printed<String> {
        let bytes = text.as_bytes();
        let bytes = bytes.get(..self.flags.precision.unwrap_or(bytes.len())).unwrap_or(bytes);
        self.budget.text(bytes.len().saturating_mul(5))?;
        let prefix = if verb == 'x' { "0x" } else { "0X" };
        let mut out = String::new();
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 && self.flags.space {
                out.push(' ');
            }
            if self.flags.sharp && (index == 0 || self.flags.space) {
                out.push_str(prefix);
            }
            out.push_str(&if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") });
        }
        Ok(out)
    }

    fn truncated<'t>(&self, text: &'t str) -> &'t str {
        let Some(precision) = self.flags.precision else { return text };
        match text.char_indices().nth(precision) {
            Some((end, _)) => text.get(..end).unwrap_or(text),
            None => text,
        }
    }

    fn pad_truncated(&mut self, text: &str) -> Printed {
        let text = self.truncated(text);
        self.pad(text)
    }

    fn pad(&mut self, text: &str) -> Printed {
        let zero = self.flags.zero && !self.flags.minus;
        self.pad_by(text, if zero { '0' } else { ' ' })
    }

    fn pad_with_blanks(&mut self, text: &str) -> Printed {
        self.pad_by(text, ' ')
    }

    fn pad_by(&mut self, text: &str, filler: char) -> Printed {
        let Some(width) = self.flags.width else { return self.write(text) };
        let missing = width.saturating_sub(text.chars().count());
        self.budget.text(self.out.len() + text.len() + missing)?;
        if self.flags.minus {
            self.out.push_str(text);
        }
        self.out.extend(std::iter::repeat_n(filler, missing));
        if !self.flags.minus {
            self.out.push_str(text);
        }
        Ok(())
    }

    fn blanks(&mut self, count: usize) -> Printed {
        self.write(&" ".repeat(count))
    }
}

fn sign_of(negative: bool, flags: Flags) -> &'static str {
    match (negative, flags.plus, flags.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

fn can_backquote(text: &str) -> bool {
    text.chars().all(|c| c == '\t' || (c >= ' ' && !matches!(c, '`' | '\x7f' | '\u{feff}')))
}

/// The format text that is still to be read, and the next argument.
struct Directive<'f> {
    rest: &'f str,
    next: usize,
    /// An explicit index was used, so nothing counts as left over.
    reordered: bool,
    good: bool,
    count: usize,
}

impl Directive<'_> {
    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn flags(&mut self) -> Flags {
        let mut flags = Flags::default();
        while let Some(c) = self.rest.chars().next() {
            match c {
                '#' => flags.sharp = true,
                '0' => flags.zero = true,
                '+' => flags.plus = true,
                '-' => flags.minus = true,
                ' ' => flags.space = true,
                _ => break,
            }
            self.eat(c);
        }
        flags
    }

    fn number(&mut self) -> Option<usize> {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(length);
        if digits.is_empty() {
            return None;
        }
        match digits.parse() {
            Ok(number) if number <= MAX_NUMBER => {
                self.rest = rest;
                Some(number)
            }
            _ => {
                self.rest = "";
                None
            }
        }
    }

    /// `[3]`: true when one was read.
    fn index(&mut self) -> bool {
        let Some(inner) = self.rest.strip_prefix('[') else { return false };
        self.reordered = true;
        let Some((digits, rest)) = inner.split_once(']') else {
            self.good = false;
            self.eat('[');
            return false;
        };
        self.rest = rest;
        match digits.parse::<usize>() {
            Ok(index) if (1..=self.count).contains(&index) => {
                self.next = index - 1;
                true
            }
            _ => {
                self.good = false;
                true
            }
        }
    }

    /// The integer argument of a `*`.
    fn star(&mut self, values: &[Value]) -> Option<i64> {
        let value = values.get(self.next)?;
        self.next += 1;
        let number = match value {
            Value::Int(number) | Value::Int64(number) => *number,
            Value::Uint(number) => i64::try_from(*number).ok()?,
            _ => return None,
        };
        (number.unsigned_abs() <= MAX_NUMBER as u64).then_some(number)
    }
}
