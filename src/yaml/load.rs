//! From the events of the parser to values: aliases, merge keys, duplicate keys, spans and limits are ours.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_yaml::value::TaggedValue;
use serde_yaml::{Mapping, Value};

use super::lenient::Text;
use super::scalar::{resolve, resolve_tagged};
use super::{Dialect, Error, Problem};

/// How much one text may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the text, and four times that of what aliases repeat.
    pub bytes: usize,
    /// Of lists and maps in each other.
    pub depth: usize,
    /// Keys and values together, repeated ones too.
    pub nodes: usize,
    pub aliases: usize,
}

impl Default for Limits {
    /// spec/dependencies.md section 6.
    fn default() -> Self {
        Self { bytes: 4 << 20, depth: 128, nodes: 1_000_000, aliases: 10_000 }
    }
}

/// A place in a text; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// A document with the place of each of its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub value: Value,
    pub spans: Spans,
}

/// The places of a value and of what is in it: the same tree as the value, by index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spans {
    pub start: Position,
    /// What stood there, where the value is a number, a boolean or null: `0777` and `1.10` are not to be had back from them.
    text: Option<Box<str>>,
    /// For a list its items (with an unused key), for a map its entries in the order of the value.
    entries: Vec<(Spans, Spans)>,
}

/// A value of a [`Document`] together with its place.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub value: &'a Value,
    pub spans: &'a Spans,
}

/// Reads the first document of a text; an empty text is null. What follows the first document is not looked at.
pub fn load(text: &str, dialect: Dialect, limits: &Limits) -> Result<Document, Error> {
    read(text, dialect, limits, |composer| Ok(composer.document()?.unwrap_or_else(Document::empty)))
}

/// Reads every document of a text. The limits hold for all of them together.
pub fn load_all(text: &str, dialect: Dialect, limits: &Limits) -> Result<Vec<Document>, Error> {
    read(text, dialect, limits, |composer| {
        let mut documents = Vec::new();
        while let Some(document) = composer.document()? {
            documents.push(document);
        }
        Ok(documents)
    })
}

/// Composes a text, again and again while the parser stops at something that Go's lets pass.
fn read<T>(
    text: &str,
    dialect: Dialect,
    limits: &Limits,
    compose: impl Fn(&mut Composer<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    if text.len() > limits.bytes {
        let problem = Problem::TooLarge { bytes: text.len(), limit: limits.bytes };
        return Err(Error { at: Position { line: 1, column: 1 }, problem });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    refuse_control_characters(text)?;
    let mut text = Text::new(text);
    loop {
        match compose(&mut Composer::new(&text, dialect, limits)) {
            Err(Error { at, problem: Problem::Syntax(message) }) => {
                if !text.mend(at, &message) {
                    return Err(Error { at: text.original(at), problem: Problem::Syntax(message) });
                }
            }
            done => return done,
        }
    }
}

impl Document {
    /// What a text without any document stands for.
    fn empty() -> Self {
        let start = Position { line: 1, column: 1 };
        Self { value: Value::Null, spans: Spans { start, text: Some(Box::default()), entries: Vec::new() } }
    }

    pub fn root(&self) -> Node<'_> {
        Node { value: &self.value, spans: &self.spans }
    }
}

impl<'a> Node<'a> {
    /// The entries of a map, in order, as key and value; nothing for other values.
    pub fn entries(self) -> impl Iterator<Item = (Node<'a>, Node<'a>)> {
        let entries = self.untagged().as_mapping().into_iter().flatten();
        entries
            .zip(&self.spans.entries)
            .map(|((key, value), (key_spans, spans))| (Node { value: key, spans: key_spans }, Node { value, spans }))
    }

    /// The items of a list; nothing for other values.
    pub fn items(self) -> impl Iterator<Item = Node<'a>> {
        let items = self.untagged().as_sequence().into_iter().flatten();
        items.zip(&self.spans.entries).map(|(value, (_, spans))| Node { value, spans })
    }

    /// The value of a map under a key, which is compared as it was written.
    pub fn get(self, key: &str) -> Option<Node<'a>> {
        self.entries().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    /// The place of a key of a map.
    pub fn key_at(self, key: &str) -> Option<Position> {
        self.entries().find(|(name, _)| name.text() == Some(key)).map(|(name, _)| name.spans.start)
    }

    /// The text of a scalar as it was written: `1.10`, `yes`, `~`. `None` for lists and maps.
    pub fn text(self) -> Option<&'a str> {
        self.spans.text.as_deref().or_else(|| self.untagged().as_str())
    }

    fn untagged(self) -> &'a Value {
        match self.value {
            Value::Tagged(tagged) => &tagged.value,
            value => value,
        }
    }
}

struct Composer<'a> {
    events: Parser<'a, StrInput<'a>>,
    text: &'a Text,
    dialect: Dialect,
    limits: &'a Limits,
    /// Characters of the text, when its last line does not end.
    open_end: Option<usize>,
    spent: Cost,
    aliases: usize,
    /// By the parser's number of the anchor. Only finished values are here, so an alias inside its own value finds nothing.
    anchors: HashMap<usize, (Composed, Cost)>,
}

type Composed = (Value, Spans);

/// What a value takes of the limits.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
}

impl<'a> Composer<'a> {
    fn new(text: &'a Text, dialect: Dialect, limits: &'a Limits) -> Self {
        let events = Parser::new_from_str(&text.text);
        let open_end = (!text.text.ends_with('\n')).then(|| text.text.chars().count());
        let (spent, anchors) = (Cost::default(), HashMap::new());
        Self { events, text, dialect, limits, open_end, spent, aliases: 0, anchors }
    }

    fn document(&mut self) -> Result<Option<Document>, Error> {
        loop {
            match self.event()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::DocumentStart(_), _) => {
                    self.anchors.clear();
                    let (event, span) = self.event()?;
                    let (value, spans) = self.node(event, span, 0)?;
                    return Ok(Some(Document { value, spans }));
                }
                _ => {}
            }
        }
    }

    fn event(&mut self) -> Result<(Event<'a>, Span), Error> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Composed, Error> {
        let at = self.text.original(position(span));
        let before = self.spent;
        let bytes = if let Event::Scalar(text, ..) = &event { text.len() } else { 0 };
        self.spend(Cost { nodes: 1, bytes }, at)?;
        let (anchor, composed) = match event {
            Event::Alias(anchor) => return self.alias(anchor, at),
            Event::Scalar(text, style, anchor, tag) => {
                let text = if self.ends_the_text(style, span) { without_last_newline(text) } else { text };
                (anchor, self.scalar(text, style, tag, at)?)
            }
            Event::SequenceStart(anchor, tag) => (anchor, self.tagged(tag, at, depth, Self::sequence)?),
            Event::MappingStart(anchor, tag) => (anchor, self.tagged(tag, at, depth, Self::mapping)?),
            _ => (0, (Value::Null, Spans { start: at, ..Spans::default() })),
        };
        if anchor > 0 {
            let cost = Cost { nodes: self.spent.nodes - before.nodes, bytes: self.spent.bytes - before.bytes };
            self.spend(cost, at)?;
            self.anchors.insert(anchor, (composed.clone(), cost));
        }
        Ok(composed)
    }

    /// Whether a block scalar is the last of a text whose last line does not end. The parser ends it, Go does not.
    fn ends_the_text(&self, style: ScalarStyle, span: Span) -> bool {
        matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) && self.open_end == Some(span.end.index())
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<Composed, Error> {
        self.aliases += 1;
        if self.aliases > self.limits.aliases {
            return Err(Error { at, problem: Problem::TooManyAliases { limit: self.limits.aliases } });
        }
        let cost = match self.anchors.get(&anchor) {
            Some((_, cost)) => *cost,
            None => return Err(Error { at, problem: Problem::AliasCycle }),
        };
        self.spend(cost, at)?;
        let (value, mut spans) = self.anchors.get(&anchor).map(|(composed, _)| composed.clone()).unwrap_or_default();
        spans.start = at;
        Ok((value, spans))
    }

    fn scalar(
        &self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        tag: Option<Cow<'a, Tag>>,
        at: Position,
    ) -> Result<Composed, Error> {
        let plain = style == ScalarStyle::Plain;
        let value = match &tag {
            Some(tag) if tag.is_yaml_core_schema() => {
                resolve_tagged(&tag.suffix, &text, self.dialect).ok_or_else(|| {
                    let text = text.chars().take(60).collect();
                    Error { at, problem: Problem::WrongTag { tag: tag.suffix.clone(), text } }
                })?
            }
            Some(tag) => self.with_local_tag(tag, Value::String(text.to_string())),
            None if plain => resolve(&text, self.dialect),
            None => Value::String(text.to_string()),
        };
        let written = matches!(value, Value::Null | Value::Bool(_) | Value::Number(_)).then(|| Box::from(&*text));
        Ok((value, Spans { start: at, text: written, entries: Vec::new() }))
    }

    fn tagged(
        &mut self,
        tag: Option<Cow<'a, Tag>>,
        at: Position,
        depth: usize,
        compose: fn(&mut Self, Position, usize) -> Result<Composed, Error>,
    ) -> Result<Composed, Error> {
        if depth >= self.limits.depth {
            return Err(Error { at, problem: Problem::TooDeep { limit: self.limits.depth } });
        }
        let (value, spans) = compose(self, at, depth + 1)?;
        Ok(match tag {
            Some(tag) if !tag.is_yaml_core_schema() => (self.with_local_tag(&tag, value), spans),
            _ => (value, spans),
        })
    }

    /// Go takes no notice of tags that are not YAML's own; our own files keep them.
    fn with_local_tag(&self, tag: &Tag, value: Value) -> Value {
        if self.dialect == Dialect::Go11 || tag.suffix.is_empty() {
            return value;
        }
        Value::Tagged(Box::new(TaggedValue { tag: serde_yaml::value::Tag::new(&tag.suffix), value }))
    }

    fn sequence(&mut self, start: Position, depth: usize) -> Result<Composed, Error> {
        let (mut items, mut entries) = (Vec::new(), Vec::new());
        loop {
            let (event, span) = self.event()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok((Value::Sequence(items), Spans { start, text: None, entries }));
            }
            let (value, spans) = self.node(event, span, depth)?;
            items.push(value);
            entries.push((Spans::default(), spans));
        }
    }

    fn mapping(&mut self, start: Position, depth: usize) -> Result<Composed, Error> {
        let mut map = Map::default();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.event()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let (key, key_spans) = self.node(event, span, depth)?;
            let (event, span) = self.event()?;
            let (value, spans) = self.node(event, span, depth)?;
            if is_merge {
                merged.extend(merge_sources(value, spans)?);
            } else {
                map.insert_new(key, key_spans, value, spans)?;
            }
        }
        for (source, spans) in merged {
            for ((key, value), (key_spans, spans)) in source.into_iter().zip(spans.entries) {
                map.insert_missing(key, key_spans, value, spans);
            }
        }
        Ok((Value::Mapping(map.values), Spans { start, text: None, entries: map.entries }))
    }

    fn syntax_error(&self, error: &ScanError) -> Error {
        let marker = error.marker();
        let at = Position { line: marker.line().max(1), column: marker.col() + 1 };
        let line = self.text.text.lines().nth(at.line - 1).unwrap_or_default();
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        match line.get(..indent).and_then(|indent| indent.find('\t')) {
            Some(tab) => {
                Error { at: self.text.original(Position { column: tab + 1, ..at }), problem: Problem::TabIndent }
            }
            // The parser has a limit of its own, 255 brackets, that it can reach before ours is asked.
            None if error.info().contains("recursion limit") => {
                Error { at: self.text.original(at), problem: Problem::TooDeep { limit: self.limits.depth } }
            }
            // Told by the place in the mended text, which is where it is mended further.
            None => Error { at, problem: Problem::Syntax(error.info().to_owned()) },
        }
    }

    fn spend(&mut self, cost: Cost, at: Position) -> Result<(), Error> {
        self.spent.nodes = self.spent.nodes.saturating_add(cost.nodes);
        self.spent.bytes = self.spent.bytes.saturating_add(cost.bytes);
        let limit = self.limits.bytes.saturating_mul(4);
        if self.spent.nodes > self.limits.nodes {
            return Err(Error { at, problem: Problem::TooManyNodes { limit: self.limits.nodes } });
        }
        if self.spent.bytes > limit {
            return Err(Error { at, problem: Problem::TooMuchText { limit } });
        }
        Ok(())
    }
}

/// A map under construction, with the spans of its entries in step.
#[derive(Default)]
struct Map {
    values: Mapping,
    entries: Vec<(Spans, Spans)>,
}

impl Map {
    fn insert_new(&mut self, key: Value, key_spans: Spans, value: Value, spans: Spans) -> Result<(), Error> {
        let at = key_spans.start;
        if matches!(key, Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_)) {
            return Err(Error { at, problem: Problem::CompositeKey });
        }
        if self.values.contains_key(&key) {
            let first = self.values.keys().position(|other| *other == key);
            let first = first.and_then(|index| self.entries.get(index)).map(|(key, _)| key.start).unwrap_or_default();
            let key = Node { value: &key, spans: &key_spans }.text().unwrap_or_default().to_owned();
            return Err(Error { at, problem: Problem::DuplicateKey { key, first } });
        }
        self.insert_missing(key, key_spans, value, spans);
        Ok(())
    }

    fn insert_missing(&mut self, key: Value, key_spans: Spans, value: Value, spans: Spans) {
        if !self.values.contains_key(&key) {
            self.values.insert(key, value);
            self.entries.push((key_spans, spans));
        }
    }
}

fn without_last_newline(text: Cow<'_, str>) -> Cow<'_, str> {
    match text.strip_suffix('\n') {
        Some(rest) => Cow::Owned(rest.to_owned()),
        None => text,
    }
}

/// What `<<` names: one map, or several of which the first has the say.
fn merge_sources(value: Value, spans: Spans) -> Result<Vec<(Mapping, Spans)>, Error> {
    let wrong = |at| Error { at, problem: Problem::MergeOfScalar };
    match value {
        Value::Mapping(map) => Ok(vec![(map, spans)]),
        Value::Sequence(items) => items
            .into_iter()
            .zip(spans.entries)
            .map(|(item, (_, spans))| match item {
                Value::Mapping(map) => Ok((map, spans)),
                _ => Err(wrong(spans.start)),
            })
            .collect(),
        _ => Err(wrong(spans.start)),
    }
}

/// YAML allows the printable characters; the parser would take NUL for the end of the text.
fn refuse_control_characters(text: &str) -> Result<(), Error> {
    let refused = |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || c == '\u{feff}';
    let Some((index, found)) = text.char_indices().find(|(_, c)| refused(*c)) else {
        return Ok(());
    };
    let before = text.get(..index).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    Err(Error { at: Position { line, column }, problem: Problem::ControlCharacter { code: u32::from(found) } })
}

fn position(span: Span) -> Position {
    Position { line: span.start.line().max(1), column: span.start.col() + 1 }
}
