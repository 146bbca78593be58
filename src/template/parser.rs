//! Tokens into trees, by the rules and with the error texts of Go's text/template.
//!
//! Our own, not gotmpl's: that one neither checks functions nor words its errors as Go does, and its positions differ.

use std::collections::BTreeMap;
use std::mem;
use std::rc::Rc;

use super::ast::{Binding, Branches, Call, Command, Expr, ExprKind, List, Node, Number, Pipe, Template};
use super::error::{Error, Source};
use super::functions::Functions;
use super::lexer::{Kind, Lexer, Token};
use super::number;
use super::quote::{quote, unquote, unquote_char};

/// How deep blocks and parentheses may nest; Go has no such limit, people come nowhere near.
const MAX_NESTING: usize = 100;

/// What a text is parsed with.
pub struct Grammar<'a> {
    pub left: &'a str,
    pub right: &'a str,
    pub functions: &'a Functions,
}

/// Parses `source` into the template of its name and those it defines.
///
/// # Errors
/// The first mistake of the syntax, an unknown function or variable, or a name that is defined twice.
pub fn parse(source: &Rc<Source>, grammar: &Grammar<'_>) -> Result<Vec<Template>, Error> {
    let mut parser = Parser {
        source,
        lexer: Lexer::new(&source.text, grammar.left, grammar.right),
        functions: grammar.functions,
        ahead: Vec::new(),
        latest: None,
        action_line: None,
        variables: vec![Rc::from("$")],
        loops: 0,
        nesting: 0,
        templates: BTreeMap::new(),
    };
    parser.file()?;
    Ok(parser.templates.into_values().collect())
}

/// True when nothing but blanks would come out.
pub fn is_empty(list: &[Node]) -> bool {
    list.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}

struct Parser<'t, 'a> {
    source: &'t Rc<Source>,
    lexer: Lexer<'t>,
    functions: &'a Functions,
    /// Tokens given back, the next one last.
    ahead: Vec<Token<'t>>,
    /// The token that the lexer gave last: errors name its line.
    latest: Option<(usize, usize)>,
    action_line: Option<usize>,
    variables: Vec<Rc<str>>,
    loops: usize,
    nesting: usize,
    templates: BTreeMap<Rc<str>, Template>,
}

type Parsed<T> = Result<T, Error>;

/// What ended a list.
enum End {
    End,
    Else,
}

enum Item {
    Node(Node),
    End(End),
}

impl<'t> Parser<'t, '_> {
    fn file(&mut self) -> Parsed<()> {
        let mut body = List::new();
        while self.peek().kind != Kind::Eof {
            if self.peek().kind == Kind::LeftDelimiter {
                let delimiter = self.next();
                let word = self.next_word();
                if word.kind == Kind::Define {
                    self.definition()?;
                    continue;
                }
                self.back_up(word);
                self.back_up(delimiter);
            }
            match self.text_or_action()? {
                Item::Node(node) => body.push(node),
                Item::End(End::End) => return Err(self.error("unexpected {{end}}")),
                Item::End(End::Else) => return Err(self.error("unexpected {{else}}")),
            }
        }
        self.add(Rc::from(self.source.name.as_str()), body)
    }

    fn definition(&mut self) -> Parsed<()> {
        let token = self.next_word();
        let name = self.template_name(&token, "define clause")?;
        self.expect(Kind::RightDelimiter, "define clause")?;
        let body = self.separate_body("define clause")?;
        self.add(name, body)
    }

    /// The body of a `define` or `block`: its own variables, its own loops.
    fn separate_body(&mut self, context: &str) -> Parsed<List> {
        let variables = mem::replace(&mut self.variables, vec![Rc::from("$")]);
        let loops = mem::take(&mut self.loops);
        let (body, end) = self.nested(Self::list)?;
        self.variables = variables;
        self.loops = loops;
        match end {
            End::End => Ok(body),
            End::Else => Err(self.error(format!("unexpected {{{{else}}}} in {context}"))),
        }
    }

    fn add(&mut self, name: Rc<str>, body: List) -> Parsed<()> {
        let known = self.templates.get(&name).is_some_and(|template| !is_empty(&template.body));
        if known {
            return match is_empty(&body) {
                true => Ok(()),
                false => Err(self.error(format!("template: multiple definition of template {}", quote(&name)))),
            };
        }
        let template = Template { name: Rc::clone(&name), source: Rc::clone(self.source), body };
        self.templates.insert(name, template);
        Ok(())
    }

    /// Nodes up to an `end` or `else`.
    fn list(&mut self) -> Parsed<(List, End)> {
        let mut list = List::new();
        while self.peek_word().kind != Kind::Eof {
            match self.text_or_action()? {
                Item::Node(node) => list.push(node),
                Item::End(end) => return Ok((list, end)),
            }
        }
        Err(self.error("unexpected EOF"))
    }

    fn text_or_action(&mut self) -> Parsed<Item> {
        let token = self.next_word();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text.into_owned()))),
            Kind::LeftDelimiter => {
                self.action_line = Some(token.line);
                let action = self.action()?;
                self.action_line = None;
                Ok(action)
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Parsed<Item> {
        let token = self.next_word();
        let node = match token.kind {
            Kind::Block => self.block()?,
            Kind::Break => self.jump("{{break}}", Node::Break)?,
            Kind::Continue => self.jump("{{continue}}", Node::Continue)?,
            Kind::Else => return self.else_clause(),
            Kind::End => {
                self.expect(Kind::RightDelimiter, "end")?;
                return Ok(Item::End(End::End));
            }
            Kind::If => self.scoped(|parser| Ok(Node::If(parser.branches("if", Kind::If)?)))?,
            Kind::With => self.scoped(|parser| Ok(Node::With(parser.branches("with", Kind::With)?)))?,
            Kind::Range => self.scoped(Self::range)?,
            Kind::Template => self.call()?,
            _ => {
                self.back_up(token);
                Node::Action(self.pipeline("command", Kind::RightDelimiter)?)
            }
        };
        Ok(Item::Node(node))
    }

    fn jump(&mut self, name: &str, node: Node) -> Parsed<Node> {
        self.expect(Kind::RightDelimiter, name)?;
        if self.loops == 0 {
            return Err(self.error(format!("{name} outside {{{{range}}}}")));
        }
        Ok(node)
    }

    /// `else`, also as the first half of `else if` and `else with`.
    fn else_clause(&mut self) -> Parsed<Item> {
        if !matches!(self.peek_word().kind, Kind::If | Kind::With) {
            self.expect(Kind::RightDelimiter, "else")?;
        }
        Ok(Item::End(End::Else))
    }

    /// Runs `parse` with the nesting counted and the variables forgotten afterwards.
    fn scoped(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<Node>) -> Parsed<Node> {
        let known = self.variables.len();
        let node = self.nested(parse)?;
        self.variables.truncate(known);
        Ok(node)
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting == MAX_NESTING {
            return Err(self.error(format!("blocks and parentheses nest deeper than {MAX_NESTING}")));
        }
        self.nesting += 1;
        let result = parse(self);
        self.nesting -= 1;
        result
    }

    /// The rest of an `if` or `with`.
    fn branches(&mut self, context: &str, keyword: Kind) -> Parsed<Branches> {
        let mut arms = Vec::new();
        loop {
            let pipe = self.pipeline(context, Kind::RightDelimiter)?;
            let (body, end) = self.list()?;
            arms.push((pipe, body));
            match end {
                End::End => return Ok(Branches { arms, otherwise: List::new() }),
                End::Else if self.peek().kind == keyword => {
                    self.next();
                }
                End::Else => return Ok(Branches { arms, otherwise: self.last_list()? }),
            }
        }
    }

    fn range(&mut self) -> Parsed<Node> {
        let pipe = self.pipeline("range", Kind::RightDelimiter)?;
        self.loops += 1;
        let (body, end) = self.list()?;
        self.loops -= 1;
        let otherwise = match end {
            End::End => List::new(),
            End::Else => self.last_list()?,
        };
        Ok(Node::Range { pipe, body, otherwise })
    }

    fn last_list(&mut self) -> Parsed<List> {
        match self.list()? {
            (list, End::End) => Ok(list),
            (_, End::Else) => Err(self.error("expected end; found {{else}}")),
        }
    }

    fn block(&mut self) -> Parsed<Node> {
        let token = self.next_word();
        let name = self.template_name(&token, "block clause")?;
        let pipe = self.pipeline("block clause", Kind::RightDelimiter)?;
        let body = self.separate_body("block clause")?;
        self.add(Rc::clone(&name), body)?;
        Ok(Node::Call(Call { position: token.position, name, pipe: Some(pipe) }))
    }

    fn call(&mut self) -> Parsed<Node> {
        let token = self.next_word();
        let name = self.template_name(&token, "template clause")?;
        let next = self.next_word();
        let pipe = if next.kind == Kind::RightDelimiter {
            None
        } else {
            self.back_up(next);
            Some(self.pipeline("template clause", Kind::RightDelimiter)?)
        };
        Ok(Node::Call(Call { position: token.position, name, pipe }))
    }

    fn template_name(&mut self, token: &Token<'t>, context: &str) -> Parsed<Rc<str>> {
        match token.kind {
            Kind::Str | Kind::RawStr => self.string(token),
            _ => Err(self.unexpected(token, context)),
        }
    }

    fn string(&mut self, token: &Token<'t>) -> Parsed<Rc<str>> {
        match unquote(&token.text) {
            Some(text) => Ok(Rc::from(text)),
            None => Err(self.error("invalid syntax")),
        }
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        let position = self.peek_word().position;
        let (variables, binding) = self.declarations(context)?;
        let mut commands = Vec::new();
        loop {
            let token = self.next_word();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawStr
                | Kind::Str
                | Kind::Variable
                | Kind::LeftParen => {
                    self.back_up(token);
                    commands.push(self.command()?);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        self.check_commands(&commands, context)?;
        Ok(Pipe { position, variables, binding, commands })
    }

    /// `$x :=`, `$x =`, and in a range `$k, $v :=`.
    fn declarations(&mut self, context: &str) -> Parsed<(Vec<Rc<str>>, Binding)> {
        let mut variables: Vec<Rc<str>> = Vec::new();
        while self.peek_word().kind == Kind::Variable {
            let variable = self.next();
            let adjacent = self.peek().clone();
            let next = self.peek_word().clone();
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    self.next_word();
                    self.declare(&mut variables, &variable);
                    let binding = if next.kind == Kind::Assign { Binding::Assign } else { Binding::Declare };
                    return Ok((variables, binding));
                }
                Kind::Char if next.text == "," => {
                    self.next_word();
                    self.declare(&mut variables, &variable);
                    if context != "range" || variables.len() >= 2 {
                        return Err(self.error(format!("too many declarations in {context}")));
                    }
                    if !matches!(self.peek_word().kind, Kind::Variable | Kind::RightDelimiter | Kind::RightParen) {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => {
                    // A plain operand: give it back with the blank behind it.
                    if adjacent.kind == Kind::Space {
                        self.ahead.push(adjacent);
                    }
                    self.ahead.push(variable);
                    break;
                }
            }
        }
        Ok((variables, Binding::Declare))
    }

    fn declare(&mut self, variables: &mut Vec<Rc<str>>, token: &Token<'t>) {
        let name: Rc<str> = Rc::from(&*token.text);
        variables.push(Rc::clone(&name));
        self.variables.push(name);
    }

    fn check_commands(&self, commands: &[Command], context: &str) -> Parsed<()> {
        if commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        for (index, command) in commands.iter().enumerate().skip(1) {
            if matches!(
                command.first.kind,
                ExprKind::Bool(_) | ExprKind::Dot | ExprKind::Nil | ExprKind::Number { .. } | ExprKind::Str { .. }
            ) {
                return Err(self.error(format!("non executable command in pipeline stage {}", index + 1)));
            }
        }
        Ok(())
    }

    /// Operands up to a pipe or the end of the pipeline.
    fn command(&mut self) -> Parsed<Command> {
        let mut operands = Vec::new();
        loop {
            self.peek_word();
            operands.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelimiter | Kind::RightParen => self.back_up(token),
                Kind::Pipe => {}
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        let mut operands = operands.into_iter();
        match operands.next() {
            Some(first) => Ok(Command { first, arguments: operands.collect() }),
            None => Err(self.error("empty command")),
        }
    }

    /// A term with the fields behind it.
    fn operand(&mut self) -> Parsed<Option<Expr>> {
        let Some(term) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        let position = self.peek().position;
        let mut path: Vec<Rc<str>> = Vec::new();
        while self.peek().kind == Kind::Field {
            path.push(field_name(&self.next()));
        }
        let kind = match term.kind {
            ExprKind::Field(mut names) => {
                names.extend(path);
                ExprKind::Field(names)
            }
            ExprKind::Variable(name, mut names) => {
                names.extend(path);
                ExprKind::Variable(name, names)
            }
            ExprKind::Function(_) | ExprKind::Pipe(_) | ExprKind::Chain(..) => ExprKind::Chain(Box::new(term), path),
            _ => return Err(self.error(format!("unexpected . after term {}", quote(&term.to_string())))),
        };
        Ok(Some(Expr { position, kind }))
    }

    fn term(&mut self) -> Parsed<Option<Expr>> {
        let token = self.next_word();
        let kind = match token.kind {
            Kind::Identifier => self.function(&token)?,
            Kind::Dot => ExprKind::Dot,
            Kind::Nil => ExprKind::Nil,
            Kind::Variable => {
                if !self.variables.iter().any(|known| **known == *token.text) {
                    return Err(self.error(format!("undefined variable {}", quote(&token.text))));
                }
                ExprKind::Variable(Rc::from(&*token.text), Vec::new())
            }
            Kind::Field => ExprKind::Field(vec![field_name(&token)]),
            Kind::Bool => ExprKind::Bool(token.text == "true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => {
                let number = number_constant(&token).map_err(|message| self.error(message))?;
                ExprKind::Number { text: token.text.to_string(), number }
            }
            Kind::LeftParen => {
                let pipe = self.nested(|parser| parser.pipeline("parenthesized pipeline", Kind::RightParen))?;
                // Go places a parenthesized pipeline at its first word.
                return Ok(Some(Expr { position: pipe.position, kind: ExprKind::Pipe(Box::new(pipe)) }));
            }
            Kind::Str | Kind::RawStr => ExprKind::Str { quoted: token.text.to_string(), text: self.string(&token)? },
            _ => {
                self.back_up(token);
                return Ok(None);
            }
        };
        Ok(Some(Expr { position: token.position, kind }))
    }

    fn function(&mut self, token: &Token<'t>) -> Parsed<ExprKind> {
        if self.functions.get(&token.text).is_some() {
            return Ok(ExprKind::Function(Rc::from(&*token.text)));
        }
        let message = format!("function {} not defined", quote(&token.text));
        let hint = self.functions.similar(&token.text).map(|known| format!("did you mean `{known}`?"));
        Err(Error::parse(self.source, self.line(), token.position, message).hint(hint))
    }

    // Tokens. Go looks ahead by at most three tokens and names the line of the last one read in its errors.

    fn next(&mut self) -> Token<'t> {
        self.ahead.pop().unwrap_or_else(|| self.read())
    }

    fn read(&mut self) -> Token<'t> {
        let token = self.lexer.next_token();
        self.latest = Some((token.line, token.position));
        token
    }

    fn peek(&mut self) -> &Token<'t> {
        if self.ahead.is_empty() {
            let token = self.read();
            self.ahead.push(token);
        }
        // Never empty here.
        &self.ahead[self.ahead.len() - 1]
    }

    /// The next token that is not blank.
    fn next_word(&mut self) -> Token<'t> {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    fn peek_word(&mut self) -> &Token<'t> {
        let token = self.next_word();
        self.ahead.push(token);
        &self.ahead[self.ahead.len() - 1]
    }

    fn back_up(&mut self, token: Token<'t>) {
        self.ahead.push(token);
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Token<'t>> {
        let token = self.next_word();
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(&token, context)) }
    }

    fn unexpected(&self, token: &Token<'t>, context: &str) -> Error {
        if token.kind != Kind::Error {
            return self.error(format!("unexpected {} in {context}", token.describe()));
        }
        let mut message = token.text.to_string();
        if let Some(line) = self.action_line.filter(|line| *line != token.line) {
            let word = if message.ends_with(" action") { "" } else { " in action" };
            message.push_str(&format!("{word} started at {}:{line}", self.source.name));
        }
        self.error(message)
    }

    fn line(&self) -> usize {
        self.latest.map_or(1, |(line, _)| line)
    }

    fn error(&self, message: impl Into<String>) -> Error {
        let (line, position) = self.latest.unwrap_or((1, 0));
        Error::parse(self.source, line, position, message)
    }
}

fn field_name(token: &Token<'_>) -> Rc<str> {
    Rc::from(token.text.strip_prefix('.').unwrap_or(&token.text))
}

fn number_constant(token: &Token<'_>) -> Result<Number, String> {
    let text = &*token.text;
    if token.kind == Kind::CharConstant {
        if text == "''" {
            return Err("invalid syntax".to_owned());
        }
        let Some(code) = unquote_char(text) else { return Err(format!("malformed character constant: {text}")) };
        let value = i64::from(code);
        return Ok(Number { int: Some(value), uint: Some(code.into()), float: Some(value as f64), looks_float: false });
    }
    if token.kind == Kind::Complex || text.ends_with('i') {
        return Err(format!("complex numbers are not supported: {}", quote(text)));
    }
    number::constant(text)
}
