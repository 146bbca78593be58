//! Go's text/template with the functions of Helm and werf: `{{ .name | default "x" }}` and data into text.
//!
//! One engine for werf.yaml and charts. It follows Go byte for byte, errors included (spec/deploy.md 3.2 to 3.8), reads
//! nothing by itself, and bounds what a template may use ([`Limits`]).

mod ast;
mod builtins;
mod error;
mod eval;
mod exec;
mod functions;
mod json;
mod lexer;
mod limits;
mod number;
mod parser;
mod printf;
mod quote;
mod sprig;
mod time;
mod value;
pub mod werf;
mod yaml;

use std::collections::BTreeMap;
use std::rc::Rc;

pub use error::{Error, Executing, Fault};
pub use functions::Functions;
pub use limits::Limits;
pub use value::{Element, List, Map, Object, Value};

use ast::Template;
use error::Source;

/// Templates that see each other.
pub struct Set {
    functions: Functions,
    limits: Limits,
    left: String,
    right: String,
    templates: BTreeMap<Rc<str>, Rc<Template>>,
}

impl Set {
    /// An empty set, with the delimiters `{{` and `}}`.
    pub fn new(functions: Functions, limits: Limits) -> Self {
        Self { functions, limits, left: "{{".to_owned(), right: "}}".to_owned(), templates: BTreeMap::new() }
    }

    /// Other delimiters for what is parsed from now on; an empty one means the usual.
    #[must_use]
    pub fn with_delimiters(mut self, left: &str, right: &str) -> Self {
        self.left = if left.is_empty() { "{{" } else { left }.to_owned();
        self.right = if right.is_empty() { "}}" } else { right }.to_owned();
        self
    }

    /// Adds the template `name` and those that `text` defines. A later template of the same name wins, unless it is
    /// empty.
    ///
    /// # Errors
    /// The first mistake of the syntax; an unknown function or variable.
    pub fn parse(&mut self, name: &str, text: &str) -> Result<(), Error> {
        for template in self.parse_source(name, text)? {
            define(&mut self.templates, Rc::new(template));
        }
        Ok(())
    }

    /// Executes the template `name` with `data` as its dot. May be called on any thread, however small its stack.
    ///
    /// # Errors
    /// What the template does wrong, or uses too much of, with its place and the chain of includes.
    pub fn execute(&self, name: &str, data: &Value) -> Result<String, Error> {
        exec::Engine::new(self, name).run(data)
    }

    fn parse_source(&self, name: &str, text: &str) -> Result<Vec<Template>, Error> {
        let source = Rc::new(Source { name: name.to_owned(), text: text.to_owned() });
        let grammar = parser::Grammar { left: &self.left, right: &self.right, functions: &self.functions };
        parser::parse(&source, &grammar)
    }
}

fn define(templates: &mut BTreeMap<Rc<str>, Rc<Template>>, template: Rc<Template>) {
    if parser::is_empty(&template.body) && templates.contains_key(&template.name) {
        return;
    }
    templates.insert(Rc::clone(&template.name), template);
}
