//! Values as Go templates see them: maps are shared and mutable, objects have methods.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::limits::{Budget, VALUE_DEPTH};

/// A value. Cloning shares maps and lists.
#[derive(Clone, Default)]
pub enum Value {
    #[default]
    Nil,
    Bool(bool),
    /// Go's `int`: constants, `len`.
    Int(i64),
    /// Go's `int64`: what most arithmetic functions give.
    Int64(i64),
    /// Go's `uint64`.
    Uint(u64),
    /// Go's `float64`: every number that was read from YAML or JSON.
    Float(f64),
    Str(Rc<str>),
    List(List),
    Map(Map),
    Object(Rc<dyn Object>),
}

/// A value with methods, such as `.Files`.
pub trait Object {
    /// Calls `method`; `None` when there is no such method or field.
    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>>;
    /// The Go type, for `typeOf` and error texts.
    fn type_name(&self) -> &str;
    /// How it prints.
    fn text(&self) -> String {
        format!("{{{}}}", self.type_name())
    }
    /// The value itself, for functions that take this very type.
    fn as_any(&self) -> Option<&dyn std::any::Any> {
        None
    }
}

/// The static type of what a list or map holds. Go's `splitList` gives `[]string`, `until` gives `[]int`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    Any,
    Str,
    Int,
}

impl Element {
    fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Str => "string",
            Self::Int => "int",
        }
    }
}

/// An immutable, shared list.
#[derive(Clone)]
pub struct List(Rc<ListCell>);

struct ListCell {
    element: Element,
    items: Vec<Value>,
}

impl List {
    pub fn new(element: Element, items: Vec<Value>) -> Self {
        Self(Rc::new(ListCell { element, items }))
    }

    pub fn items(&self) -> &[Value] {
        &self.0.items
    }

    pub fn element(&self) -> Element {
        self.0.element
    }
}

/// A shared, mutable map with sorted keys.
#[derive(Clone)]
pub struct Map(Rc<MapCell>);

struct MapCell {
    element: Element,
    entries: RefCell<BTreeMap<Rc<str>, Value>>,
}

impl Map {
    pub fn new(element: Element) -> Self {
        Self(Rc::new(MapCell { element, entries: RefCell::default() }))
    }

    pub fn element(&self) -> Element {
        self.0.element
    }

    pub fn get(&self, key: &str) -> Option<Value> {
        self.0.entries.borrow().get(key).cloned()
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.entries.borrow().contains_key(key)
    }

    pub fn set(&self, key: impl Into<Rc<str>>, value: Value) {
        // The old value is dropped after the borrow: it may own the last reference to other maps.
        let _old = self.0.entries.borrow_mut().insert(key.into(), value);
    }

    pub fn remove(&self, key: &str) {
        let _old = self.0.entries.borrow_mut().remove(key);
    }

    pub fn len(&self) -> usize {
        self.0.entries.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries as they are now, by key.
    pub fn entries(&self) -> Vec<(Rc<str>, Value)> {
        self.0.entries.borrow().iter().map(|(key, value)| (Rc::clone(key), value.clone())).collect()
    }

    /// True for the very same map, not an equal one.
    pub fn is(&self, other: &Map) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

// Values can be nested as deep as a loop runs, so they are taken apart level by level, not by recursion.

impl Drop for ListCell {
    fn drop(&mut self) {
        take_apart(std::mem::take(&mut self.items));
    }
}

impl Drop for MapCell {
    fn drop(&mut self) {
        take_apart(std::mem::take(self.entries.get_mut()).into_values().collect());
    }
}

fn take_apart(mut pending: Vec<Value>) {
    while let Some(value) = pending.pop() {
        match value {
            Value::List(List(mut cell)) => {
                if let Some(cell) = Rc::get_mut(&mut cell) {
                    pending.append(&mut cell.items);
                }
            }
            Value::Map(Map(mut cell)) => {
                if let Some(cell) = Rc::get_mut(&mut cell) {
                    pending.extend(std::mem::take(cell.entries.get_mut()).into_values());
                }
            }
            _ => {}
        }
    }
}

impl Value {
    /// An empty map.
    pub fn map() -> Self {
        Self::Map(Map::new(Element::Any))
    }

    pub fn list(items: Vec<Value>) -> Self {
        Self::List(List::new(Element::Any, items))
    }

    /// A Go `[]string`.
    pub fn strings<S: Into<Rc<str>>>(items: impl IntoIterator<Item = S>) -> Self {
        Self::List(List::new(Element::Str, items.into_iter().map(|item| Value::Str(item.into())).collect()))
    }

    pub fn object(object: Rc<dyn Object>) -> Self {
        Self::Object(object)
    }

    /// What `if` tests: false are nil, false, zeros, and what is empty.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Int64(value) => *value != 0,
            Self::Uint(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(list) => !list.items().is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Object(_) => true,
        }
    }

    /// The Go type, as `%T` prints it.
    pub fn type_name(&self) -> String {
        match self {
            Self::Nil => "<nil>".to_owned(),
            Self::Bool(_) => "bool".to_owned(),
            Self::Int(_) => "int".to_owned(),
            Self::Int64(_) => "int64".to_owned(),
            Self::Uint(_) => "uint64".to_owned(),
            Self::Float(_) => "float64".to_owned(),
            Self::Str(_) => "string".to_owned(),
            Self::List(list) => format!("[]{}", list.element().name()),
            Self::Map(map) => format!("map[string]{}", map.element().name()),
            Self::Object(object) => object.type_name().to_owned(),
        }
    }

    /// The Go kind, as `kindOf` gives it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "invalid",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Uint(_) => "uint64",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Object(object) if object.type_name().starts_with('*') => "ptr",
            Self::Object(_) => "struct",
        }
    }

    /// Equality as `reflect.DeepEqual` has it: types count.
    ///
    /// # Errors
    /// Values nested too deep, a map inside itself, or more work than the budget has.
    pub(super) fn deep_equal(&self, other: &Value, budget: &Budget) -> Result<bool, String> {
        equal(self, other, budget, 0)
    }
}

fn equal(a: &Value, b: &Value, budget: &Budget, depth: usize) -> Result<bool, String> {
    budget.spend(1)?;
    if depth > VALUE_DEPTH {
        return Err(too_deep());
    }
    Ok(match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) | (Value::Int64(a), Value::Int64(b)) => a == b,
        (Value::Uint(a), Value::Uint(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            if a.element() != b.element() || a.items().len() != b.items().len() {
                return Ok(false);
            }
            if Rc::ptr_eq(&a.0, &b.0) {
                return Ok(true);
            }
            for (a, b) in a.items().iter().zip(b.items()) {
                if !equal(a, b, budget, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => {
            if a.is(b) {
                return Ok(true);
            }
            if a.element() != b.element() || a.len() != b.len() {
                return Ok(false);
            }
            for ((a_key, a), (b_key, b)) in a.entries().iter().zip(&b.entries()) {
                if a_key != b_key || !equal(a, b, budget, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Object(a), Value::Object(b)) => a.type_name() == b.type_name() && a.text() == b.text(),
        _ => false,
    })
}

/// The refusal of every walk over values.
pub fn too_deep() -> String {
    format!("the value is nested deeper than {VALUE_DEPTH} levels, or contains itself")
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(Rc::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(Rc::from(text))
    }
}

impl From<Rc<str>> for Value {
    fn from(text: Rc<str>) -> Self {
        Self::Str(text)
    }
}

/// Numbers become floats, as in Go.
impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => Self::Float(number.as_f64().unwrap_or_default()),
            serde_json::Value::String(text) => Self::from(text),
            serde_json::Value::Array(items) => Self::list(items.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(fields) => {
                fields.into_iter().map(|(key, value)| (key, Self::from(value))).collect()
            }
        }
    }
}

impl<K: Into<Rc<str>>> FromIterator<(K, Value)> for Value {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(entries: I) -> Self {
        let map = Map::new(Element::Any);
        entries.into_iter().for_each(|(key, value)| map.set(key, value));
        Self::Map(map)
    }
}

/// Never the content: it may be secret, or contain itself.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.type_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_values_are_dropped_without_recursion() {
        let mut value = Value::Nil;
        for _ in 0..300_000 {
            value = Value::list(vec![value]);
            value = [("a", value)].into_iter().collect();
        }
        drop(value);
    }

    #[test]
    fn a_map_inside_itself_compares_with_an_error() {
        let (a, b) = (Map::new(Element::Any), Map::new(Element::Any));
        a.set("self", Value::Map(a.clone()));
        b.set("self", Value::Map(b.clone()));
        let budget = Budget::new(crate::template::Limits::default());
        assert_eq!(Value::Map(a.clone()).deep_equal(&Value::Map(b), &budget), Err(too_deep()));
        a.remove("self");
    }
}
