//! Expressions of a template: pipelines, fields, function calls and their arguments into values.

use std::rc::Rc;

use super::ast::{Binding, Command, Expr, ExprKind, Number, Pipe, Template};
use super::error::{Error, Failure};
use super::exec::{At, Frame, Run, Slot};
use super::functions::{Args, Body, Function, Kind};
use super::value::Value;

impl<'t> Frame<'t, '_> {
    pub(super) fn pipe(&mut self, dot: &Slot, pipe: &'t Pipe) -> Run<Slot> {
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

    pub(super) fn assign(&mut self, name: &str, slot: Slot) -> Run<()> {
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
        let Some(function) = engine.function(name) else {
            return Err(self.error(format!("{} is not a defined function", super::quote::quote(name))));
        };
        self.check_count(function, name, arguments.len(), last.is_some())?;
        match &function.body {
            Body::And => self.short_circuit(dot, arguments, last, false),
            Body::Or => self.short_circuit(dot, arguments, last, true),
            body => {
                let values = self.typed_values(dot, function, arguments, last)?;
                self.checked(values.iter().try_for_each(|value| self.paid(value, 64)))?;
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
                self.checked(self.paid(&value, 4))?;
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

    /// Pays for a value that a function takes or makes: one step for `per_step` elements, or for 64 bytes.
    fn paid(&self, value: &Value, per_step: usize) -> Result<(), String> {
        let budget = &self.engine.budget;
        match value {
            Value::Str(text) => budget.text(text.len()),
            Value::List(list) => budget.spend((list.items().len() / per_step) as u64),
            Value::Map(map) => budget.spend((map.len() / per_step) as u64),
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

    pub(super) fn checked<T>(&self, result: Result<T, String>) -> Run<T> {
        result.map_err(|message| self.error(message))
    }

    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        self.failed(message.into(), None)
    }

    fn failed(&self, message: String, cause: Option<Error>) -> Error {
        let expression = self.at.expression.map(ToString::to_string).unwrap_or_default();
        let Template { name, source, .. } = self.template;
        Error::execute(source, self.at.position, name, expression, message, cause)
    }
}
