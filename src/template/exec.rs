//! Running a template: tree and data into text, by the rules of Go's text/template.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::rc::Rc;

use super::Set;
use super::ast::{Binding, Branches, Call, Command, Expr, ExprKind, Node, Number, Pipe, Template};
use super::error::{Error, Failure};
use super::functions::{Args, Body, Function, Kind};
use super::limits::{Budget, NESTING};
use super::printf;
use super::value::{Element, Value};

/// One execution: the templates it sees and what it may still use.
pub struct Engine<'s> {
    set: &'s Set,
    templates: RefCell<BTreeMap<Rc<str>, Rc<Template>>>,
    /// What `tpl` has parsed, by text.
    parsed: RefCell<HashMap<Rc<str>, Rc<Template>>>,
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

type Run<T> = Result<T, Error>;

/// A value with Go's static type: `boxed` came out of a map or list, where its type is `interface {}`. Nil unboxed is
/// no value at all.
#[derive(Clone)]
struct Slot {
    value: Value,
    boxed: bool,
}

impl Slot {
    fn plain(value: Value) -> Self {
        Self { value, boxed: false }
    }

    fn element(element: Element, value: Value) -> Self {
        Self { value, boxed: element == Element::Any }
    }

    fn unboxed(self) -> Self {
        Self::plain(self.value)
    }

    fn type_name(&self) -> String {
        if self.boxed { Kind::Any.name().to_owned() } else { self.value.type_name() }
    }
}

/// Where execution stands, for errors.
#[derive(Clone, Copy)]
struct At<'t> {
    position: usize,
    expression: Option<&'t dyn Display>,
}

impl<'t> At<'t> {
    fn expr(expr: &'t Expr) -> Self {
        Self { position: expr.position, expression: Some(expr) }
    }
}

/// The execution of one template.
struct Frame<'t, 'e> {
    engine: &'e Engine<'e>,
    template: &'t Template,
    variables: Vec<(Rc<str>, Slot)>,
    at: At<'t>,
    out: String,
}

enum Flow {
    Next,
    Break,
    Continue,
}

impl<'t> Frame<'t, '_> {
    /// Runs `body` with its nesting counted, on enough stack.
    fn deeper<T>(&mut self, body: impl FnOnce(&mut Self) -> Run<T>) -> Run<T> {
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

    // Pipelines.

    fn pipe(&mut self, dot: &Slot, pipe: &'t Pipe) -> Run<Slot> {
        self.at = At { position: pipe.position, expression: Some(pipe) };
        let mut last: Option<Slot> = None;
        for command in &pipe.commands {
            last = Some(self.deeper(|frame| frame.command(dot, command, last.take()))?.unboxed());
        }
        let slot = last.unwrap_or(Slot::plain(Value::Nil));
        for name in &pipe.variables {
            match pipe.binding {
                Binding::Declare => self.variables.push((Rc::clone(name), slot.clone())),
                Binding::Assign => self.assign(name, slot.clone())?,
            }
        }
        Ok(slot)
    }

    fn assign(&mut self, name: &str, slot: Slot) -> Run<()> {
        match self.variables.iter_mut().rev().find(|(known, _)| **known == *name) {
            Some((_, variable)) => {
                *variable = slot;
                Ok(())
            }
            None => Err(self.error(format!("undefined variable: {name}"))),
        }
    }

    /// `last` is the value of the command before, behind a `|`.
    fn command(&mut self, dot: &Slot, command: &'t Command, last: Option<Slot>) -> Run<Slot> {
        let first = &command.first;
        match &first.kind {
            ExprKind::Field(path) => {
                self.stand(first);
                self.path(dot, dot.clone(), first, path, &command.arguments, last)
            }
            ExprKind::Chain(inner, path) => self.chain(dot, first, inner, path, &command.arguments, last),
            ExprKind::Function(name) => {
                let whole = At { position: first.position, expression: Some(command) };
                self.function(dot, first, whole, name, &command.arguments, last)
            }
            ExprKind::Pipe(pipe) => {
                self.no_arguments(first, &command.arguments, &last)?;
                self.pipe(dot, pipe)
            }
            ExprKind::Variable(name, path) => self.variable(dot, first, name, path, &command.arguments, last),
            kind => {
                self.stand(first);
                self.no_arguments(first, &command.arguments, &last)?;
                match kind {
                    ExprKind::Dot => Ok(dot.clone()),
                    ExprKind::Nil => Err(self.error("nil is not a command")),
                    _ => self.constant(first),
                }
            }
        }
    }

    fn no_arguments(&self, expr: &Expr, arguments: &[Expr], last: &Option<Slot>) -> Run<()> {
        if arguments.is_empty() && last.is_none() {
            return Ok(());
        }
        Err(self.error(format!("can't give argument to non-function {expr}")))
    }

    /// A constant where any type will do.
    fn constant(&mut self, expr: &'t Expr) -> Run<Slot> {
        self.stand(expr);
        let value = match &expr.kind {
            ExprKind::Bool(value) => Value::Bool(*value),
            ExprKind::Str { text, .. } => Value::Str(Rc::clone(text)),
            ExprKind::Number { number: Number { float: Some(float), looks_float: true, .. }, .. } => {
                Value::Float(*float)
            }
            ExprKind::Number { number: Number { int: Some(int), .. }, .. } => Value::Int(*int),
            ExprKind::Number { text, .. } => return Err(self.error(format!("{text} overflows int"))),
            _ => return Err(self.error(format!("can't evaluate command {}", super::quote::quote(&expr.to_string())))),
        };
        Ok(Slot::plain(value))
    }

    fn variable(
        &mut self,
        dot: &Slot,
        expr: &'t Expr,
        name: &str,
        path: &'t [Rc<str>],
        arguments: &'t [Expr],
        last: Option<Slot>,
    ) -> Run<Slot> {
        self.stand(expr);
        let found = self.variables.iter().rev().find(|(known, _)| **known == *name).map(|(_, slot)| slot.clone());
        let Some(slot) = found else { return Err(self.error(format!("undefined variable: {name}"))) };
        if path.is_empty() {
            self.no_arguments(expr, arguments, &last)?;
            return Ok(slot);
        }
        self.path(dot, slot, expr, path, arguments, last)
    }

    fn chain(
        &mut self,
        dot: &Slot,
        expr: &'t Expr,
        inner: &'t Expr,
        path: &'t [Rc<str>],
        arguments: &'t [Expr],
        last: Option<Slot>,
    ) -> Run<Slot> {
        self.stand(expr);
        let receiver = self.argument(dot, Kind::Any, inner)?;
        self.path(dot, receiver, expr, path, arguments, last)
    }

    /// `.a.b.c arguments`: only the last name takes the arguments.
    fn path(
        &mut self,
        dot: &Slot,
        mut receiver: Slot,
        expr: &'t Expr,
        path: &'t [Rc<str>],
        arguments: &'t [Expr],
        mut last: Option<Slot>,
    ) -> Run<Slot> {
        for (index, name) in path.iter().enumerate() {
            receiver = if index + 1 == path.len() {
                self.field(dot, expr, name, arguments, last.take(), receiver)?
            } else {
                self.field(dot, expr, name, &[], None, receiver)?
            };
        }
        Ok(receiver)
    }

    fn field(
        &mut self,
        dot: &Slot,
        expr: &'t Expr,
        name: &str,
        arguments: &'t [Expr],
        last: Option<Slot>,
        receiver: Slot,
    ) -> Run<Slot> {
        let called = !arguments.is_empty() || last.is_some();
        match &receiver.value {
            Value::Nil if receiver.boxed => Err(self.error(format!("nil pointer evaluating interface {{}}.{name}"))),
            Value::Nil => Ok(receiver),
            Value::Map(_) if called => Err(self.error(format!("{name} is not a method but has arguments"))),
            Value::Map(map) => Ok(match map.get(name) {
                Some(value) => Slot::element(map.element(), value),
                None => Slot::plain(Value::Nil),
            }),
            Value::Object(object) => {
                let object = Rc::clone(object);
                let before = self.at;
                let values = self.values(dot, arguments, last)?;
                match object.call(name, &values) {
                    Some(result) => self.outcome(At::expr(expr), name, result.map_err(Failure::from)),
                    None => {
                        self.at = before;
                        Err(self.error(format!("can't evaluate field {name} in type {}", receiver.type_name())))
                    }
                }
            }
            _ => Err(self.error(format!("can't evaluate field {name} in type {}", receiver.type_name()))),
        }
    }

    fn values(&mut self, dot: &Slot, arguments: &'t [Expr], last: Option<Slot>) -> Run<Vec<Value>> {
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.argument(dot, Kind::Any, argument)?.value);
        }
        values.extend(last.map(|slot| slot.value));
        Ok(values)
    }

    // Functions.

    /// `whole` is the place to name when the function fails: the call with its arguments.
    fn function(
        &mut self,
        dot: &Slot,
        expr: &'t Expr,
        whole: At<'t>,
        name: &str,
        arguments: &'t [Expr],
        last: Option<Slot>,
    ) -> Run<Slot> {
        self.stand(expr);
        let engine = self.engine;
        let Some(function) = engine.set.functions.get(name) else {
            return Err(self.error(format!("{} is not a defined function", super::quote::quote(name))));
        };
        self.check_count(function, name, arguments.len(), last.is_some())?;
        match &function.body {
            Body::And => self.short_circuit(dot, arguments, last, false),
            Body::Or => self.short_circuit(dot, arguments, last, true),
            body => {
                let values = self.typed_values(dot, function, arguments, last)?;
                let outcome = match body {
                    Body::Native(native) => native(engine, Args(&values)),
                    Body::Closure(closure) => closure(&values).map_err(Failure::from),
                    Body::And | Body::Or => Ok(Value::Nil),
                };
                self.outcome(whole, name, outcome)
            }
        }
    }

    fn check_count(&self, function: &Function, name: &str, arguments: usize, piped: bool) -> Run<()> {
        let given = arguments + usize::from(piped);
        let wanted = function.params.len();
        if function.rest.is_some() {
            if given < wanted {
                return Err(
                    self.error(format!("wrong number of args for {name}: want at least {wanted} got {arguments}"))
                );
            }
        } else if given != wanted {
            return Err(self.error(format!("wrong number of args for {name}: want {wanted} got {given}")));
        }
        Ok(())
    }

    fn typed_values(
        &mut self,
        dot: &Slot,
        function: &Function,
        arguments: &'t [Expr],
        last: Option<Slot>,
    ) -> Run<Vec<Value>> {
        let kind_at = |index: usize| function.params.get(index).copied().or(function.rest).unwrap_or(Kind::Any);
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for (index, argument) in arguments.iter().enumerate() {
            values.push(self.argument(dot, kind_at(index), argument)?.value);
        }
        if let Some(slot) = last {
            values.push(self.typed(kind_at(values.len()), slot)?.value);
        }
        Ok(values)
    }

    /// `and`, `or`: the first argument that decides, else the last.
    fn short_circuit(&mut self, dot: &Slot, arguments: &'t [Expr], last: Option<Slot>, decisive: bool) -> Run<Slot> {
        let mut slot = Slot::plain(Value::Nil);
        for argument in arguments {
            slot = self.argument(dot, Kind::Any, argument)?.unboxed();
            if slot.value.is_true() == decisive {
                return Ok(slot);
            }
        }
        Ok(last.unwrap_or(slot))
    }

    fn outcome(&mut self, whole: At<'t>, name: &str, outcome: Result<Value, Failure>) -> Run<Slot> {
        match outcome {
            Ok(value) => {
                self.checked(self.paid(&value))?;
                Ok(Slot::plain(value))
            }
            Err(failure) => {
                self.at = whole;
                Err(match failure {
                    Failure::Message(message) => self.error(format!("error calling {name}: {message}")),
                    Failure::Nested(cause) => self.failed(format!("error calling {name}: "), Some(cause)),
                })
            }
        }
    }

    /// Pays for what a function made.
    fn paid(&self, value: &Value) -> Result<(), String> {
        match value {
            Value::Str(text) => self.engine.budget.text(text.len()),
            Value::List(list) => self.engine.budget.elements(list.items().len() / 8),
            Value::Map(map) => self.engine.budget.elements(map.len() / 8),
            _ => Ok(()),
        }
    }

    /// An argument for a parameter of type `kind`.
    fn argument(&mut self, dot: &Slot, kind: Kind, expr: &'t Expr) -> Run<Slot> {
        self.stand(expr);
        match &expr.kind {
            ExprKind::Dot => return self.typed(kind, dot.clone()),
            ExprKind::Nil if matches!(kind, Kind::Any | Kind::Map) => {
                return Ok(Slot { value: Value::Nil, boxed: kind == Kind::Any });
            }
            ExprKind::Nil => return Err(self.error(format!("cannot assign nil to {}", kind.name()))),
            ExprKind::Field(path) => {
                let slot = self.path(dot, dot.clone(), expr, path, &[], None)?;
                return self.typed(kind, slot);
            }
            ExprKind::Variable(name, path) => {
                let slot = self.variable(dot, expr, name, path, &[], None)?;
                return self.typed(kind, slot);
            }
            ExprKind::Pipe(pipe) => {
                let slot = self.deeper(|frame| frame.pipe(dot, pipe))?;
                return self.typed(kind, slot);
            }
            ExprKind::Function(name) => {
                let slot = self.function(dot, expr, At::expr(expr), name, &[], None)?;
                return self.typed(kind, slot);
            }
            ExprKind::Chain(inner, path) => {
                let slot = self.deeper(|frame| frame.chain(dot, expr, inner, path, &[], None))?;
                return self.typed(kind, slot);
            }
            _ => {}
        }
        self.typed_constant(kind, expr)
    }

    fn typed_constant(&mut self, kind: Kind, expr: &'t Expr) -> Run<Slot> {
        let number = match &expr.kind {
            ExprKind::Number { number, .. } => *number,
            _ => Number::default(),
        };
        let expected = match (kind, &expr.kind) {
            (Kind::Any, _) => return self.constant(expr),
            (Kind::Str, ExprKind::Str { .. }) | (Kind::Bool, ExprKind::Bool(_)) => return self.constant(expr),
            (Kind::Int, _) => match number.int {
                Some(int) => return Ok(Slot::plain(Value::Int(int))),
                None => "integer",
            },
            (Kind::Float, _) => match number.float {
                Some(float) => return Ok(Slot::plain(Value::Float(float))),
                None => "float",
            },
            (Kind::Str, _) => "string",
            (Kind::Bool, _) => "bool",
            (Kind::Map | Kind::Time, _) => {
                return Err(self.error(format!("can't handle {expr} for arg of type {}", kind.name())));
            }
        };
        Err(self.error(format!("expected {expected}; found {expr}")))
    }

    /// Checks a value against the type of a parameter.
    fn typed(&self, kind: Kind, slot: Slot) -> Run<Slot> {
        let nil = matches!(slot.value, Value::Nil);
        match kind {
            Kind::Any => Ok(slot),
            _ if nil && slot.boxed => Err(self.wrong_type(kind, "interface {}")),
            Kind::Map if nil => Ok(slot),
            _ if nil => Err(self.error(format!("invalid value; expected {}", kind.name()))),
            _ if kind.admits(&slot.value) => Ok(slot),
            _ => Err(self.wrong_type(kind, &slot.value.type_name())),
        }
    }

    fn wrong_type(&self, kind: Kind, got: &str) -> Error {
        self.error(format!("wrong type for value; expected {}; got {got}", kind.name()))
    }

    // Errors.

    fn stand(&mut self, expr: &'t Expr) {
        self.at = At::expr(expr);
    }

    fn checked<T>(&self, result: Result<T, String>) -> Run<T> {
        result.map_err(|message| self.error(message))
    }

    fn error(&self, message: impl Into<String>) -> Error {
        self.failed(message.into(), None)
    }

    fn failed(&self, message: String, cause: Option<Error>) -> Error {
        let expression = self.at.expression.map(ToString::to_string).unwrap_or_default();
        let Template { name, source, .. } = self.template;
        Error::execute(source, self.at.position, name, expression, message, cause)
    }
}
