//! The functions a template can call: one table from name to signature and body.

use std::collections::BTreeMap;
use std::rc::Rc;

use jiff::Zoned;

use super::error::Failure;
use super::exec::Engine;
use super::value::{Element, Map, Value};
use super::{builtins, sprig};

/// The type of a parameter. The evaluator checks arguments against it, with Go's error texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Any,
    Str,
    Bool,
    Int,
    Float,
    /// `map[string]interface {}`; a missing value is an empty, read-only map.
    Map,
    /// `time.Time`
    Time,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Str => "string",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Map => "map[string]interface {}",
            Self::Time => "time.Time",
        }
    }

    /// Whether a value, not nil, is of this type.
    pub fn admits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any, _)
            | (Self::Str, Value::Str(_))
            | (Self::Bool, Value::Bool(_))
            | (Self::Int, Value::Int(_))
            | (Self::Float, Value::Float(_)) => true,
            (Self::Map, Value::Map(map)) => map.element() == Element::Any,
            (Self::Time, Value::Object(object)) => object.type_name() == Self::Time.name(),
            _ => false,
        }
    }
}

/// What a function gives.
pub type Outcome = Result<Value, Failure>;

/// A function of ours: its arguments have the types of its row.
pub type Native = fn(&Engine<'_>, Args<'_>) -> Outcome;

/// One line of a function table.
pub struct Row {
    pub name: &'static str,
    pub params: &'static [Kind],
    /// The type of any further arguments.
    pub rest: Option<Kind>,
    pub body: Native,
}

/// A table of functions: `"name" (Str, Int; Any) => body`, the type of further arguments behind the `;`.
macro_rules! table {
    ($($name:literal ($($param:ident),* $(; $rest:ident)?) => $body:expr,)*) => {
        &[$($crate::template::functions::Row {
            name: $name,
            params: &[$($crate::template::functions::Kind::$param),*],
            rest: $crate::template::functions::table!(@rest $($rest)?),
            body: $body,
        }),*]
    };
    (@rest) => { None };
    (@rest $rest:ident) => { Some($crate::template::functions::Kind::$rest) };
}
pub(super) use table;

/// A function as the evaluator calls it.
#[derive(Clone)]
pub struct Function {
    pub params: &'static [Kind],
    pub rest: Option<Kind>,
    pub body: Body,
}

#[derive(Clone)]
pub enum Body {
    Native(Native),
    Closure(Rc<Closure>),
    /// These two do not evaluate what they do not need.
    And,
    Or,
}

type Closure = dyn Fn(&[Value]) -> Result<Value, String>;

/// The functions of a [`Set`](super::Set), by name.
#[derive(Clone)]
pub struct Functions {
    table: BTreeMap<Rc<str>, Function>,
    environment: Rc<BTreeMap<String, String>>,
    now: Option<Zoned>,
}

impl Functions {
    /// Go's builtins, sprig, `include`, `tpl`, `fromYaml` and their like; `env` reads `environment` and nothing else.
    pub fn standard(environment: BTreeMap<String, String>) -> Self {
        let mut functions = Self { table: BTreeMap::new(), environment: Rc::new(environment), now: None };
        for (name, body) in [("and", Body::And), ("or", Body::Or)] {
            functions.table.insert(name.into(), Function { params: &[Kind::Any], rest: Some(Kind::Any), body });
        }
        for row in builtins::ROWS.iter().chain(sprig::rows()) {
            let function = Function { params: row.params, rest: row.rest, body: Body::Native(row.body) };
            functions.table.insert(row.name.into(), function);
        }
        functions
    }

    /// What `now` gives; its zone is the local one of all dates. Without it, dates are of UTC and `now` is an error.
    #[must_use]
    pub fn with_now(mut self, now: Zoned) -> Self {
        self.now = Some(now);
        self
    }

    /// Adds a function of any number and type of arguments; an earlier one of that name is replaced.
    pub fn add(&mut self, name: &str, body: impl Fn(&[Value]) -> Result<Value, String> + 'static) {
        let body = Body::Closure(Rc::new(body));
        self.table.insert(name.into(), Function { params: &[], rest: Some(Kind::Any), body });
    }

    pub(super) fn get(&self, name: &str) -> Option<&Function> {
        self.table.get(name)
    }

    pub(super) fn now(&self) -> Option<&Zoned> {
        self.now.as_ref()
    }

    pub(super) fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Known names that look like `name`, for a hint.
    pub(super) fn similar(&self, name: &str) -> Option<&str> {
        let close = |known: &&Rc<str>| known.eq_ignore_ascii_case(name) || one_edit_apart(known, name);
        self.table.keys().find(close).map(|known| &**known)
    }
}

fn one_edit_apart(a: &str, b: &str) -> bool {
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.as_bytes().get(common..).unwrap_or_default(), b.as_bytes().get(common..).unwrap_or_default());
    let skip = |bytes: &[u8], count: usize| bytes.get(count..).map(<[u8]>::to_vec);
    match a.len().abs_diff(b.len()) {
        0 => {
            skip(a, 1) == skip(b, 1)
                || (a.len() > 1 && a.first() == b.get(1) && a.get(1) == b.first() && skip(a, 2) == skip(b, 2))
        }
        1 if a.len() > b.len() => skip(a, 1).as_deref() == Some(b),
        1 => skip(b, 1).as_deref() == Some(a),
        _ => false,
    }
}

/// The arguments of a call. What is not there, or of another type, reads as the zero of its type; the evaluator has
/// checked both by the row.
#[derive(Clone, Copy)]
pub struct Args<'a>(pub &'a [Value]);

impl<'a> Args<'a> {
    pub fn any(self, index: usize) -> &'a Value {
        self.0.get(index).unwrap_or(&Value::Nil)
    }

    pub fn str(self, index: usize) -> &'a str {
        match self.any(index) {
            Value::Str(text) => text,
            _ => "",
        }
    }

    pub fn int(self, index: usize) -> i64 {
        match self.any(index) {
            Value::Int(value) | Value::Int64(value) => *value,
            _ => 0,
        }
    }

    pub fn bool(self, index: usize) -> bool {
        matches!(self.any(index), Value::Bool(true))
    }

    /// `None` for a nil map.
    pub fn map(self, index: usize) -> Option<&'a Map> {
        match self.any(index) {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The arguments from `index` on.
    pub fn rest(self, index: usize) -> &'a [Value] {
        self.0.get(index..).unwrap_or_default()
    }

    pub fn len(self) -> usize {
        self.0.len()
    }
}
