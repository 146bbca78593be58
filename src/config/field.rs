//! One value of a section, asked for what it should be. Every answer that disappoints has its place.

use std::collections::BTreeMap;

use serde_yaml::Value;

use crate::yaml::{Node, Position};

use super::error::{At, Problem};

/// A value with the name it goes by in messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub key: &'a str,
    pub node: Node<'a>,
    /// One of several in a list under the key.
    item: bool,
}

impl<'a> Field<'a> {
    pub fn new(key: &'a str, node: Node<'a>) -> Self {
        Self { key, node, item: false }
    }

    /// The entry under a key; one without a value is as good as none.
    pub fn get(self, key: &'a str) -> Option<Field<'a>> {
        let node = self.node.get(key)?;
        (!node.value.is_null()).then_some(Field::new(key, node))
    }

    /// The entry under a key that must be there.
    pub fn require(self, key: &'static str) -> Result<Field<'a>, At> {
        self.get(key).ok_or_else(|| self.wrong(Problem::Missing { key }))
    }

    pub fn at(self) -> Position {
        self.node.spans.start
    }

    pub fn wrong(self, problem: Problem) -> At {
        At { place: self.at(), problem }
    }

    /// A single value as it was written, so that `1.10` and `0777` stay what they are.
    pub fn text(self) -> Result<String, At> {
        let text = self.node.text().ok_or_else(|| self.not("a string"))?;
        if text.contains('\0') {
            return Err(self.wrong(Problem::ControlCharacter { key: self.key.to_owned() }));
        }
        Ok(text.to_owned())
    }

    pub fn boolean(self) -> Result<bool, At> {
        self.node.value.as_bool().ok_or_else(|| self.not("true or false"))
    }

    pub fn integer(self) -> Result<i64, At> {
        self.node.value.as_i64().ok_or_else(|| self.not("a whole number"))
    }

    /// Items of a list.
    pub fn list(self) -> Result<impl Iterator<Item = Field<'a>>, At> {
        if !self.node.value.is_sequence() {
            return Err(self.not("a list"));
        }
        Ok(self.items_or_none())
    }

    /// Items of a list; none for any other value.
    pub fn items_or_none(self) -> impl Iterator<Item = Field<'a>> {
        self.node.items().map(move |node| Field { item: true, ..Field::new(self.key, node) })
    }

    pub fn map(self) -> Result<Field<'a>, At> {
        if self.node.value.is_mapping() { Ok(self) } else { Err(self.not("a map")) }
    }

    /// A string, or a list of them.
    pub fn texts(self) -> Result<Vec<String>, At> {
        let expected = "a string or a list of strings";
        if !self.node.value.is_sequence() {
            return Ok(vec![self.node.text().ok_or_else(|| self.not(expected)).and_then(|_| self.text())?]);
        }
        self.items_or_none()
            .map(|item| if item.node.value.is_null() { Err(item.not("a string")) } else { item.text() })
            .collect()
    }

    /// A map of names to single values; a name without a value has the empty one.
    pub fn text_map(self) -> Result<BTreeMap<String, String>, At> {
        self.map()?;
        self.node
            .entries()
            .map(|(key, node)| {
                let name = Field::new(self.key, key).text()?;
                let value = if node.value.is_null() { String::new() } else { Field::new(&name, node).text()? };
                Ok((name, value))
            })
            .collect()
    }

    pub fn not(self, expected: &'static str) -> At {
        let what = if self.item { format!("an item of `{}`", self.key) } else { format!("`{}`", self.key) };
        self.wrong(Problem::WrongType { what, expected, found: kind(self.node.value) })
    }

    // Entries of a map, with their defaults.

    pub fn optional_text(self, key: &'a str) -> Result<Option<String>, At> {
        self.get(key).map(Field::text).transpose()
    }

    /// Empty when absent.
    pub fn text_or_empty(self, key: &'a str) -> Result<String, At> {
        Ok(self.optional_text(key)?.unwrap_or_default())
    }

    /// Off when absent.
    pub fn switch(self, key: &'a str) -> Result<bool, At> {
        Ok(self.get(key).map(Field::boolean).transpose()?.unwrap_or(false))
    }

    /// Empty when absent.
    pub fn texts_or_empty(self, key: &'a str) -> Result<Vec<String>, At> {
        Ok(self.get(key).map(Field::texts).transpose()?.unwrap_or_default())
    }

    /// Of a map's entry that is a list, its items.
    pub fn items(self, key: &'a str) -> Result<Vec<Field<'a>>, At> {
        match self.get(key) {
            Some(field) => Ok(field.list()?.collect()),
            None => Ok(Vec::new()),
        }
    }

    /// Which of several keys have a value that is not the empty string.
    pub fn given(self, keys: &[&'static str]) -> Vec<&'static str> {
        let has_value = |key: &&'static str| {
            self.node.get(key).is_some_and(|node| node.text() != Some("") && !node.value.is_null())
        };
        keys.iter().copied().filter(has_value).collect()
    }

    /// The only one of several keys that is given.
    pub fn exactly_one(self, keys: &'static [&'static str]) -> Result<&'static str, At> {
        match self.given(keys).as_slice() {
            [only] => Ok(only),
            [] => Err(self.wrong(Problem::NoneOf { keys })),
            several => Err(self.conflict(several)),
        }
    }

    /// The problem that keys exclude each other, at the last of them.
    pub fn conflict(self, keys: &[&'static str]) -> At {
        let place = keys.last().and_then(|key| self.node.key_at(key)).unwrap_or(self.at());
        At { place, problem: Problem::Conflict { keys: keys.to_vec() } }
    }
}

/// What a value is, in the words of the messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a map",
        Value::Tagged(_) => "a tagged value",
    }
}
