//! The tree of a parsed template. Positions are byte offsets into the source; `Display` of an expression gives the text
//! that Go quotes in `at <…>`.

use std::fmt;
use std::rc::Rc;

use super::error::Source;

/// A named template: the body of a file or of a `define`.
pub struct Template {
    pub name: Rc<str>,
    pub source: Rc<Source>,
    pub body: List,
}

/// A sequence of nodes.
pub type List = Vec<Node>;

pub enum Node {
    Text(String),
    Action(Pipe),
    /// `if`, `else if` …: the first arm whose condition holds, else `otherwise`.
    If(Branches),
    /// As `If`, with the condition as the new dot.
    With(Branches),
    Range {
        pipe: Pipe,
        body: List,
        otherwise: List,
    },
    Call(Call),
    Break,
    Continue,
}

pub struct Branches {
    pub arms: Vec<(Pipe, List)>,
    pub otherwise: List,
}

/// `{{template "name" pipe}}`.
pub struct Call {
    pub position: usize,
    pub name: Rc<str>,
    pub pipe: Option<Pipe>,
}

/// `$a, $b := command | command`.
pub struct Pipe {
    pub position: usize,
    pub variables: Vec<Rc<str>>,
    pub binding: Binding,
    pub commands: Vec<Command>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    Declare,
    Assign,
}

/// An operand with its arguments; never empty.
pub struct Command {
    pub first: Expr,
    pub arguments: Vec<Expr>,
}

pub struct Expr {
    pub position: usize,
    pub kind: ExprKind,
}

pub enum ExprKind {
    Dot,
    Nil,
    Bool(bool),
    Number {
        text: String,
        number: Number,
    },
    Str {
        quoted: String,
        text: Rc<str>,
    },
    /// `.a.b`
    Field(Vec<Rc<str>>),
    /// `$x.a.b`
    Variable(Rc<str>, Vec<Rc<str>>),
    Function(Rc<str>),
    Pipe(Box<Pipe>),
    /// `(pipe).a.b` or `function.a.b`
    Chain(Box<Expr>, Vec<Rc<str>>),
}

/// What a number constant can be used as. Go lets `1e3` be an integer argument and `3` a float argument.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Number {
    pub int: Option<i64>,
    pub uint: Option<u64>,
    pub float: Option<f64>,
    /// Written with a point or an exponent, so a float where nothing else is asked for.
    pub looks_float: bool,
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Dot => f.write_str("."),
            ExprKind::Nil => f.write_str("nil"),
            ExprKind::Bool(value) => write!(f, "{value}"),
            ExprKind::Number { text, .. } => f.write_str(text),
            ExprKind::Str { quoted, .. } => f.write_str(quoted),
            ExprKind::Field(path) => write_path(f, path),
            ExprKind::Variable(name, path) => {
                f.write_str(name)?;
                write_path(f, path)
            }
            ExprKind::Function(name) => f.write_str(name),
            ExprKind::Pipe(pipe) => write!(f, "{pipe}"),
            ExprKind::Chain(inner, path) => {
                write_operand(f, inner)?;
                write_path(f, path)
            }
        }
    }
}

fn write_path(f: &mut fmt::Formatter<'_>, path: &[Rc<str>]) -> fmt::Result {
    path.iter().try_for_each(|name| write!(f, ".{name}"))
}

/// A pipeline stands in parentheses when it is part of something.
fn write_operand(f: &mut fmt::Formatter<'_>, expr: &Expr) -> fmt::Result {
    if matches!(expr.kind, ExprKind::Pipe(_)) { write!(f, "({expr})") } else { write!(f, "{expr}") }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_operand(f, &self.first)?;
        self.arguments.iter().try_for_each(|argument| {
            f.write_str(" ")?;
            write_operand(f, argument)
        })
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            f.write_str(&self.variables.join(", "))?;
            f.write_str(if self.binding == Binding::Assign { " = " } else { " := " })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            if index > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{command}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", super::quote::quote(&self.name))?;
        if let Some(pipe) = &self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}
