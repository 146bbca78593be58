//! Running a template: tree and data into text, by the rules of Go's text/template.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::rc::Rc;

use regex::Regex;

use super::Set;
use super::ast::{Binding, Branches, Call, Expr, Node, Pipe, Template};
use super::error::{Error, Failure};
use super::functions::{Function, Kind};
use super::limits::{Budget, NESTING};
use super::printf;
use super::value::{Element, Value};

/// One execution: the templates it sees and what it may still use.
pub struct Engine<'s> {
    set: &'s Set,
    templates: RefCell<BTreeMap<Rc<str>, Rc<Template>>>,
    /// What `tpl` has parsed, by text.
    parsed: RefCell<HashMap<Rc<str>, Rc<Template>>>,
    /// What the functions for regular expressions have compiled, by pattern.
    pub regexes: RefCell<HashMap<String, Regex>>,
    main: &'s str,
    pub budget: Budget,
    depth: Cell<usize>,
    nesting: Cell<usize>,
}

/// Templates that call each other, and values, may need more stack than a thread has: below the red zone a new
/// segment is taken.
const RED_ZONE: usize = 256 << 10;
const SEGMENT: usize = 4 << 20;

impl<'s> Engine<'s> {
    pub(super) fn new(set: &'s Set, main: &'s str) -> Self {
        Self {
            set,
            templates: RefCell::new(set.templates.clone()),
            parsed: RefCell::default(),
            regexes: RefCell::default(),
            main,
            budget: Budget::new(set.limits),
            depth: Cell::new(0),
            nesting: Cell::new(0),
        }
    }

    /// Executes the main template.
    pub(super) fn run(&self, data: &Value) -> Result<String, Error> {
        let Some(template) = self.template(self.main) else {
            return Err(Error::plain(
                self.main,
                format!("{} is an incomplete or empty template", super::quote::quote(self.main)),
            ));
        };
        self.execute(&template, Slot::plain(data.clone()))
    }

    pub(super) fn function(&self, name: &str) -> Option<&'s Function> {
        self.set.functions.get(name)
    }

    pub fn environment(&self) -> &BTreeMap<String, String> {
        self.set.functions.environment()
    }

    pub fn now(&self) -> Option<&jiff::Zoned> {
        self.set.functions.now()
    }

    /// The text of a named template.
    pub fn include(&self, name: &str, data: &Value) -> Result<Value, Failure> {
        let Some(template) = self.template(name) else {
            let (name, main) = (super::quote::quote(name), super::quote::quote(self.main));
            return Err(format!("template: no template {name} associated with template {main}").into());
        };
        self.nest(&template, data)
    }

    /// The text of a template given as text. What it defines is seen by all that runs later.
    pub fn tpl(&self, text: &Rc<str>, data: &Value) -> Result<Value, Failure> {
        let known = self.parsed.borrow().get(text).cloned();
        let template = match known {
            Some(template) => template,
            None => self.parse(text)?,
        };
        self.nest(&template, data)
    }

    fn parse(&self, text: &Rc<str>) -> Result<Rc<Template>, Failure> {
        self.budget.spend(text.len() as u64 / 8)?;
        let mut main = None;
        for template in self.set.parse_source("tpl", text).map_err(Failure::Nested)? {
            let template = Rc::new(template);
            if &*template.name == "tpl" {
                main = Some(template);
            } else {
                super::define(&mut self.templates.borrow_mut(), template);
            }
        }
        let main = main.ok_or("the text gives no template")?;
        self.parsed.borrow_mut().insert(Rc::clone(text), Rc::clone(&main));
        Ok(main)
    }

    fn nest(&self, template: &Template, data: &Value) -> Result<Value, Failure> {
        self.check_depth(&template.name)?;
        let text = self.execute(template, Slot::plain(data.clone())).map_err(Failure::Nested)?;
        Ok(Value::from(text))
    }

    fn template(&self, name: &str) -> Option<Rc<Template>> {
        self.templates.borrow().get(name).cloned()
    }

    fn execute(&self, template: &Template, dot: Slot) -> Run<String> {
        let mut frame = Frame {
            engine: self,
            template,
            variables: vec![(Rc::from("$"), dot.clone())],
            at: At { position: 0, expression: None },
            out: String::new(),
        };
        let depth = self.depth.get();
        self.depth.set(depth + 1);
        let result = frame.list(&dot, &template.body);
        self.depth.set(depth);
        result.map(|_| frame.out)
    }

    /// Refuses to call a template from too many others.
    fn check_depth(&self, name: &str) -> Result<(), String> {
        let limit = self.set.limits.depth;
        if self.depth.get() >= limit {
            let name = super::quote::quote(name);
            return Err(format!("templates call each other more than {limit} levels deep, here {name}"));
        }
        Ok(())
    }
}

pub(super) type Run<T> = Result<T, Error>;

/// A value with Go's static type: `boxed` came out of a map or list, where its type is `interface {}`. Nil unboxed is
/// no value at all.
#[derive(Clone)]
pub(super) struct Slot {
    pub value: Value,
    pub boxed: bool,
}

impl Slot {
    pub fn plain(value: Value) -> Self {
        Self { value, boxed: false }
    }

    pub fn element(element: Element, value: Value) -> Self {
        Self { value, boxed: element == Element::Any }
    }

    pub fn unboxed(self) -> Self {
        Self::plain(self.value)
    }

    pub fn type_name(&self) -> String {
        if self.boxed { Kind::Any.name().to_owned() } else { self.value.type_name() }
    }
}

/// Where execution stands, for errors.
#[derive(Clone, Copy)]
pub(super) struct At<'t> {
    pub position: usize,
    pub expression: Option<&'t dyn Display>,
}

impl<'t> At<'t> {
    pub fn expr(expr: &'t Expr) -> Self {
        Self { position: expr.position, expression: Some(expr) }
    }
}

/// The execution of one template.
pub(super) struct Frame<'t, 'e> {
    pub engine: &'e Engine<'e>,
    pub template: &'t Template,
    pub variables: Vec<(Rc<str>, Slot)>,
    pub at: At<'t>,
    pub out: String,
}

enum Flow {
    Next,
    Break,
    Continue,
}

impl<'t> Frame<'t, '_> {
    /// Runs `body` with its nesting counted, on enough stack.
    pub(super) fn deeper<T>(&mut self, body: impl FnOnce(&mut Self) -> Run<T>) -> Run<T> {
        let nesting = self.engine.nesting.get();
        if nesting >= NESTING {
            return Err(self.error("blocks, parentheses and calls are nested too deep"));
        }
        self.engine.nesting.set(nesting + 1);
        let result = stacker::maybe_grow(RED_ZONE, SEGMENT, || body(self));
        self.engine.nesting.set(nesting);
        result
    }

    fn list(&mut self, dot: &Slot, nodes: &'t [Node]) -> Run<Flow> {
        self.deeper(|frame| {
            for node in nodes {
                match frame.node(dot, node)? {
                    Flow::Next => {}
                    jump => return Ok(jump),
                }
            }
            Ok(Flow::Next)
        })
    }

    fn node(&mut self, dot: &Slot, node: &'t Node) -> Run<Flow> {
        self.checked(self.engine.budget.spend(1))?;
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Action(pipe) => {
                let slot = self.pipe(dot, pipe)?;
                if pipe.variables.is_empty() {
                    self.print(&slot.value)?;
                }
            }
            Node::If(branches) => return self.branches(dot, branches, false),
            Node::With(branches) => return self.branches(dot, branches, true),
            Node::Range { pipe, body, otherwise } => return self.range(dot, pipe, body, otherwise),
            Node::Call(call) => self.call(dot, call)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn branches(&mut self, dot: &Slot, branches: &'t Branches, rebind: bool) -> Run<Flow> {
        let mark = self.variables.len();
        let mut chosen = None;
        for (pipe, body) in &branches.arms {
            let slot = self.pipe(dot, pipe)?;
            if slot.value.is_true() {
                chosen = Some((slot, body));
                break;
            }
        }
        let flow = match chosen {
            Some((slot, body)) => self.list(if rebind { &slot } else { dot }, body),
            None => self.list(dot, &branches.otherwise),
        };
        self.variables.truncate(mark);
        flow
    }

    fn range(&mut self, dot: &Slot, pipe: &'t Pipe, body: &'t [Node], otherwise: &'t [Node]) -> Run<Flow> {
        let outer = self.variables.len();
        let over = self.pipe(dot, pipe)?.value;
        let mark = self.variables.len();
        let flow = match over {
            Value::List(list) if !list.items().is_empty() => {
                let items = list.items().iter().enumerate();
                let element = list.element();
                let pairs = items.map(|(index, item)| (Value::Int(index as i64), Slot::element(element, item.clone())));
                self.iterate(pipe, body, mark, pairs)
            }
            Value::Map(map) if !map.is_empty() => {
                let element = map.element();
                let pairs =
                    map.entries().into_iter().map(|(key, value)| (Value::Str(key), Slot::element(element, value)));
                self.iterate(pipe, body, mark, pairs)
            }
            Value::Int(count) | Value::Int64(count) if pipe.variables.len() > 1 => {
                Err(self.error(format!("can't use {count} to iterate over more than one variable")))
            }
            Value::Int(count) if count > 0 => self.count(pipe, body, mark, count, Value::Int),
            Value::Int64(count) if count > 0 => self.count(pipe, body, mark, count, Value::Int64),
            Value::Nil | Value::List(_) | Value::Map(_) | Value::Int(_) | Value::Int64(_) => self.list(dot, otherwise),
            other => {
                let text = self.checked(printf::text_of(&self.engine.budget, &other))?;
                Err(self.error(format!("range can't iterate over {text}")))
            }
        };
        self.variables.truncate(outer);
        flow
    }

    fn count(
        &mut self,
        pipe: &'t Pipe,
        body: &'t [Node],
        mark: usize,
        count: i64,
        wrap: fn(i64) -> Value,
    ) -> Run<Flow> {
        self.iterate(pipe, body, mark, (0..count).map(|index| (Value::Nil, Slot::plain(wrap(index)))))
    }

    fn iterate(
        &mut self,
        pipe: &'t Pipe,
        body: &'t [Node],
        mark: usize,
        pairs: impl Iterator<Item = (Value, Slot)>,
    ) -> Run<Flow> {
        for (key, element) in pairs {
            self.checked(self.engine.budget.spend(1))?;
            self.bind_iteration(pipe, mark, key, &element)?;
            let flow = self.list(&element, body)?;
            self.variables.truncate(mark);
            if let Flow::Break = flow {
                break;
            }
        }
        Ok(Flow::Next)
    }

    /// One variable is the element; of two the first is the key.
    fn bind_iteration(&mut self, pipe: &'t Pipe, mark: usize, key: Value, element: &Slot) -> Run<()> {
        let assign = pipe.binding == Binding::Assign;
        let values: &[Slot] = &match pipe.variables.len() {
            0 => return Ok(()),
            1 => vec![element.clone()],
            _ => vec![Slot::plain(key), element.clone()],
        };
        for (index, (name, value)) in pipe.variables.iter().zip(values).enumerate() {
            if assign {
                self.assign(name, value.clone())?;
            } else if let Some((_, slot)) = self.variables.get_mut(mark - values.len() + index) {
                *slot = value.clone();
            }
        }
        Ok(())
    }

    fn call(&mut self, dot: &Slot, call: &'t Call) -> Run<()> {
        self.at = At { position: call.position, expression: Some(call) };
        let Some(template) = self.engine.template(&call.name) else {
            return Err(self.error(format!("template {} not defined", super::quote::quote(&call.name))));
        };
        self.checked(self.engine.check_depth(&call.name))?;
        let argument = match &call.pipe {
            Some(pipe) => self.pipe(dot, pipe)?,
            None => Slot::plain(Value::Nil),
        };
        // The output goes straight on, so that the error of a nested template is not wrapped, as in Go.
        let text = self.engine.execute(&template, argument)?;
        self.write(&text)
    }

    fn print(&mut self, value: &Value) -> Run<()> {
        match value {
            Value::Nil => self.write("<no value>"),
            Value::Str(text) => self.write(text),
            _ => {
                let text = self.checked(printf::text_of(&self.engine.budget, value))?;
                self.write(&text)
            }
        }
    }

    fn write(&mut self, text: &str) -> Run<()> {
        let length = self.out.len() + text.len();
        if length > self.engine.set.limits.text {
            return self.checked(self.engine.budget.text(length));
        }
        self.checked(self.engine.budget.spend(text.len() as u64 / 64))?;
        self.out.push_str(text);
        Ok(())
    }
}
