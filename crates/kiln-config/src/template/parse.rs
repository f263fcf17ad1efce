//! A template as a tree.
//!
//! All that can be known without values is decided here: which functions there are and how many
//! arguments they take, whether a variable is declared, whether each block ends. So a laptop finds
//! what a machine would otherwise find at its first boot. Nesting is bounded, since the tree is
//! walked by recursion.

use super::error::Fault;
use super::functions::{self, Function};
use super::lexer::{Piece, Token, Word, pieces};
use super::value::Value;
use crate::suggest::nearest;

/// Levels of blocks and parentheses together; far beyond any file that people can read.
const MAXIMUM_DEPTH: usize = 48;

/// Variables that are known at one place; each use looks through all of them.
const MAXIMUM_VARIABLES: usize = 1_000;

/// What is put out one after the other.
pub(super) type List = Vec<Part>;

/// A part of a template.
#[derive(Debug)]
pub(super) enum Part {
    /// Text as it stands.
    Text(String),
    /// The value of a pipeline, or a declaration.
    Action(Pipeline),
    /// `if` or `with`, with all its branches.
    Choice(Choice),
    /// `range`.
    Loop(Loop),
    /// `break`.
    Break,
    /// `continue`.
    Continue,
}

/// `if` and `with`: the first branch whose value is true.
#[derive(Debug)]
pub(super) struct Choice {
    /// Value, whether the dot becomes that value (`with`), and what is put out.
    pub(super) branches: Vec<(Pipeline, bool, List)>,
    /// What is put out where none is true.
    pub(super) otherwise: List,
}

/// `range`.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) pipeline: Pipeline,
    pub(super) body: List,
    pub(super) otherwise: List,
}

/// Commands that hand their value on.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) offset: usize,
    /// Variables that take the value, or index and value of a `range`.
    pub(super) variables: Vec<String>,
    /// Whether they are new.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// A value, or a function with its arguments.
#[derive(Debug)]
pub(super) enum Command {
    /// A value.
    Value(Operand),
    /// A function; the value of the command before it comes last.
    Call(usize, &'static Function, Vec<Operand>),
}

/// A value with the names that are looked up in it.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) offset: usize,
    pub(super) base: Base,
    pub(super) path: Vec<String>,
}

/// Where a value comes from.
#[derive(Debug)]
pub(super) enum Base {
    /// `.`
    Dot,
    /// `$name`; `$` is where everything begins.
    Variable(String),
    /// A value in the text.
    Literal(Value),
    /// `nil`
    Nil,
    /// A pipeline in parentheses.
    Pipeline(Box<Pipeline>),
    /// A function that is called without arguments.
    Call(&'static Function),
}

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<List, Fault> {
    let mut parser =
        Parser { pieces: pieces(text)?.into_iter(), variables: Vec::new(), depth: 0, loops: 0 };
    let (list, end) = parser.list()?;
    match end {
        None => Ok(list),
        Some(End { offset, word, .. }) => {
            Err(Fault::new(offset, format!("this `{word}` belongs to no block"))
                .hint("remove it, or open the block with `if`, `range` or `with`"))
        }
    }
}

/// An action that ends a list: `end` or `else`.
struct End {
    offset: usize,
    word: &'static str,
    tokens: Vec<Token>,
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    variables: Vec<String>,
    depth: usize,
    loops: usize,
}

impl Parser {
    fn enter(&mut self, offset: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAXIMUM_DEPTH {
            let message = format!("nested more than {MAXIMUM_DEPTH} levels deep");
            return Err(Fault::new(offset, message).code("template-too-deep"));
        }
        Ok(())
    }

    /// Parts of a block; variables that are declared in it are unknown behind it.
    fn block(&mut self) -> Result<(List, Option<End>), Fault> {
        let scope = self.variables.len();
        let result = self.list();
        self.variables.truncate(scope);
        result
    }

    /// Parts up to an action that ends them.
    fn list(&mut self) -> Result<(List, Option<End>), Fault> {
        let mut list = List::new();
        while let Some(piece) = self.pieces.next() {
            let (offset, tokens) = match piece {
                Piece::Text(text) => {
                    list.push(Part::Text(text));
                    continue;
                }
                Piece::Action(offset, tokens) => (offset, tokens),
            };
            let keyword = match tokens.first() {
                Some(Token { word: Word::Name(name), .. }) => name.clone(),
                _ => String::new(),
            };
            let mut words = Words { tokens: tokens.into_iter().peekable(), end: offset };
            match keyword.as_str() {
                "end" => {
                    words.next();
                    words.finish("end")?;
                    return Ok((list, Some(End { offset, word: "end", tokens: Vec::new() })));
                }
                "else" => {
                    words.next();
                    let tokens = words.tokens.collect();
                    return Ok((list, Some(End { offset, word: "else", tokens })));
                }
                "if" | "with" => {
                    words.next();
                    self.enter(offset)?;
                    list.push(self.choice(offset, keyword == "with", words)?);
                    self.depth -= 1;
                }
                "range" => {
                    words.next();
                    self.enter(offset)?;
                    list.push(self.range(offset, words)?);
                    self.depth -= 1;
                }
                "break" | "continue" => {
                    words.next();
                    words.finish(&keyword)?;
                    if self.loops == 0 {
                        let message = format!("`{keyword}` stands outside of any `range`");
                        return Err(Fault::new(offset, message));
                    }
                    list.push(if keyword == "break" { Part::Break } else { Part::Continue });
                }
                "define" | "template" | "block" => {
                    let message =
                        format!("`{keyword}` is not carried out: templates here have no names");
                    return Err(Fault::new(offset, message)
                        .code("template-refused")
                        .hint("write the text where it is used"));
                }
                _ => list.push(Part::Action(self.pipeline(&mut words, "an action", 1)?)),
            }
        }
        Ok((list, None))
    }

    /// Behind `if` or `with`, up to their `end`.
    fn choice(&mut self, start: usize, with: bool, words: Words) -> Result<Part, Fault> {
        let opener = if with { "with" } else { "if" };
        let scope = self.variables.len();
        let mut branches = Vec::new();
        let mut pending = Some((opener, words));
        let mut otherwise = List::new();
        loop {
            let last = pending.is_none();
            let head = match pending.take() {
                Some((name, mut words)) => {
                    Some((self.pipeline(&mut words, name, 1)?, name == "with"))
                }
                None => None,
            };
            let (list, end) = self.block()?;
            match head {
                Some((pipeline, dot)) => branches.push((pipeline, dot, list)),
                None => otherwise = list,
            }
            let end = end.ok_or_else(|| unclosed(start, opener))?;
            if end.word == "end" {
                break;
            }
            if last {
                return Err(Fault::new(end.offset, format!("a second `else` in one `{opener}`")));
            }
            let mut words = Words { tokens: end.tokens.into_iter().peekable(), end: end.offset };
            // A variable of one branch is known in those behind it, as in Go.
            if words.tokens.peek().is_some() {
                let at = words.end;
                match words.next() {
                    Some(Token { word: Word::Name(name), .. }) if name == opener => {
                        pending = Some((opener, words));
                    }
                    _ => {
                        return Err(Fault::new(
                            at,
                            format!("behind `else` of `{opener}` stands nothing or `{opener}`"),
                        ));
                    }
                }
            }
        }
        self.variables.truncate(scope);
        Ok(Part::Choice(Choice { branches, otherwise }))
    }

    /// Behind `range`, up to its `end`.
    fn range(&mut self, start: usize, mut words: Words) -> Result<Part, Fault> {
        let scope = self.variables.len();
        let pipeline = self.pipeline(&mut words, "range", 2)?;
        self.loops += 1;
        let (body, end) = self.block()?;
        self.loops -= 1;
        let end = end.ok_or_else(|| unclosed(start, "range"))?;
        let mut otherwise = List::new();
        if end.word == "else" {
            Words { tokens: end.tokens.into_iter().peekable(), end: end.offset }.finish("else")?;
            let (list, end) = self.block()?;
            otherwise = list;
            let end = end.ok_or_else(|| unclosed(start, "range"))?;
            if end.word != "end" {
                return Err(Fault::new(end.offset, "a second `else` in one `range`"));
            }
        }
        self.variables.truncate(scope);
        Ok(Part::Loop(Loop { pipeline, body, otherwise }))
    }

    /// A pipeline that fills its action.
    fn pipeline(
        &mut self,
        words: &mut Words,
        what: &str,
        variables: usize,
    ) -> Result<Pipeline, Fault> {
        let (names, declares) = words.variables(variables)?;
        let mut pipeline = self.commands(words, what)?;
        if let Some(token) = words.next() {
            return Err(unexpected(&token, what));
        }
        if self.variables.len() > MAXIMUM_VARIABLES {
            let message = format!("more than {MAXIMUM_VARIABLES} variables");
            return Err(Fault::new(pipeline.offset, message).code("template-too-large"));
        }
        if declares {
            self.variables.extend(names.iter().map(|(name, _)| name.clone()));
        } else {
            for (name, offset) in &names {
                self.known(name, *offset)?;
            }
        }
        pipeline.variables = names.into_iter().map(|(name, _)| name).collect();
        pipeline.declares = declares;
        Ok(pipeline)
    }

    fn known(&self, name: &str, offset: usize) -> Result<(), Fault> {
        if name.is_empty() || self.variables.iter().any(|each| each == name) {
            return Ok(());
        }
        let fault = Fault::new(offset, format!("variable `${name}` is not declared here"))
            .code("template-variable");
        Err(match nearest(name, self.variables.iter().map(String::as_str)) {
            Some(near) => fault.hint(format!("did you mean `${near}`?")),
            None => fault.hint(format!("declare it with `{{{{ ${name} := … }}}}` before")),
        })
    }

    /// Commands up to the end of the action or a closing parenthesis.
    fn commands(&mut self, words: &mut Words, what: &str) -> Result<Pipeline, Fault> {
        let offset = words.end;
        let mut commands = Vec::new();
        loop {
            commands.push(self.command(words, what, !commands.is_empty())?);
            match words.tokens.peek() {
                Some(Token { word: Word::Pipe, .. }) => {
                    words.next();
                }
                _ => break,
            }
        }
        Ok(Pipeline { offset, variables: Vec::new(), declares: false, commands })
    }

    fn command(&mut self, words: &mut Words, what: &str, piped: bool) -> Result<Command, Fault> {
        let first = match words.tokens.peek() {
            Some(Token { word: Word::Pipe | Word::Close, .. }) | None => {
                return Err(Fault::new(words.end, format!("a value is missing in {what}"))
                    .code("template-empty"));
            }
            Some(Token { word: Word::Name(name), offset, .. }) => {
                let (function, offset) = (function(name, *offset)?, *offset);
                words.next();
                Some((function, offset))
            }
            Some(_) => None,
        };
        let mut operands = Vec::new();
        while let Some(token) = words.tokens.peek() {
            if matches!(token.word, Word::Pipe | Word::Close) {
                break;
            }
            if !token.spaced && (first.is_some() || !operands.is_empty()) {
                return Err(unexpected(token, what));
            }
            operands.push(self.operand(words, what)?);
        }
        if let Some((function, offset)) = first {
            let given = operands.len() + usize::from(piped);
            function.accepts(given).map_err(|message| {
                Fault::new(offset, message)
                    .code("template-arguments")
                    .hint(format!("write `{} {}`", function.name, function.arguments).trim_end())
            })?;
            return Ok(Command::Call(offset, function, operands));
        }
        let mut operands = operands.into_iter();
        let Some(operand) = operands.next() else {
            return Err(Fault::new(words.end, format!("a value is missing in {what}")));
        };
        if operands.next().is_some() || piped {
            return Err(Fault::new(
                operand.offset,
                "a value that is no function takes no arguments",
            )
            .hint("only functions stand in front of arguments or behind `|`"));
        }
        if matches!(operand.base, Base::Nil) {
            return Err(Fault::new(operand.offset, "`nil` is no command"));
        }
        Ok(Command::Value(operand))
    }

    fn operand(&mut self, words: &mut Words, what: &str) -> Result<Operand, Fault> {
        let Some(token) = words.next() else {
            return Err(Fault::new(words.end, format!("a value is missing in {what}")));
        };
        let offset = token.offset;
        let mut path = Vec::new();
        let base = match token.word {
            Word::Dot => Base::Dot,
            Word::Field(name) => {
                path.push(name);
                Base::Dot
            }
            Word::Variable(name) => {
                self.known(&name, offset)?;
                Base::Variable(name)
            }
            Word::Literal(value) => Base::Literal(value),
            Word::Nil => Base::Nil,
            Word::Name(name) => {
                let function = function(&name, offset)?;
                function.accepts(0).map_err(|message| {
                    Fault::new(offset, message)
                        .code("template-arguments")
                        .hint("put a call that is an argument into parentheses")
                })?;
                Base::Call(function)
            }
            Word::Open => {
                self.enter(offset)?;
                let inner = self.commands(words, "parentheses")?;
                self.depth -= 1;
                match words.next() {
                    Some(Token { word: Word::Close, .. }) => Base::Pipeline(Box::new(inner)),
                    Some(token) => return Err(unexpected(&token, "parentheses")),
                    None => {
                        return Err(Fault::new(offset, "this `(` is never closed")
                            .code("template-unclosed"));
                    }
                }
            }
            Word::Pipe | Word::Declare | Word::Assign | Word::Comma | Word::Close => {
                return Err(unexpected(&Token { word: token.word, ..token }, what));
            }
        };
        let chains = !matches!(base, Base::Literal(_) | Base::Nil | Base::Call(_));
        while let Some(Token { word: Word::Field(name), spaced: false, offset }) =
            words.tokens.peek()
        {
            if !chains {
                return Err(Fault::new(
                    *offset,
                    format!("`.{name}` cannot stand behind this value"),
                ));
            }
            path.push(name.clone());
            words.next();
        }
        Ok(Operand { offset, base, path })
    }
}

/// The words of one action.
struct Words {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    /// Where the last word began.
    end: usize,
}

impl Words {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.next()?;
        self.end = token.offset;
        Some(token)
    }

    /// Nothing may follow a keyword.
    fn finish(&mut self, keyword: &str) -> Result<(), Fault> {
        match self.next() {
            None => Ok(()),
            Some(token) => Err(unexpected(&token, &format!("`{keyword}`"))),
        }
    }

    /// `$a :=`, `$a =`, or with a comma for `range`; none where the action begins otherwise.
    fn variables(&mut self, most: usize) -> Result<(Vec<(String, usize)>, bool), Fault> {
        let ahead: Vec<Token> = self.tokens.clone().take(4).collect();
        let shape: Vec<&Word> = ahead.iter().map(|token| &token.word).collect();
        let (count, declares) = match shape.as_slice() {
            [Word::Variable(_), Word::Declare, ..] => (1, true),
            [Word::Variable(_), Word::Assign, ..] => (1, false),
            [Word::Variable(_), Word::Comma, Word::Variable(_), Word::Declare] => (2, true),
            [Word::Variable(_), Word::Comma, Word::Variable(_), Word::Assign] => (2, false),
            _ => return Ok((Vec::new(), false)),
        };
        if count > most {
            let offset = ahead.first().map_or(self.end, |token| token.offset);
            return Err(Fault::new(offset, "only `range` gives values to two variables"));
        }
        let mut names = Vec::new();
        for token in ahead.into_iter().take(count * 2) {
            self.next();
            if let Word::Variable(name) = token.word {
                names.push((name, token.offset));
            }
        }
        Ok((names, declares))
    }
}

fn unclosed(start: usize, opener: &str) -> Fault {
    Fault::new(start, format!("this `{opener}` is never ended"))
        .code("template-unclosed")
        .hint("end the block with `{{ end }}`")
}

fn unexpected(token: &Token, what: &str) -> Fault {
    let shown = match &token.word {
        Word::Dot => ".".to_owned(),
        Word::Field(name) => format!(".{name}"),
        Word::Variable(name) => format!("${name}"),
        Word::Name(name) => name.clone(),
        Word::Literal(_) => "a value".to_owned(),
        Word::Nil => "nil".to_owned(),
        Word::Pipe => "|".to_owned(),
        Word::Declare => ":=".to_owned(),
        Word::Assign => "=".to_owned(),
        Word::Comma => ",".to_owned(),
        Word::Open => "(".to_owned(),
        Word::Close => ")".to_owned(),
    };
    let shown = if shown == "a value" { shown } else { format!("`{shown}`") };
    Fault::new(token.offset, format!("{shown} does not belong here in {what}"))
}

/// The function of a name, or why there is none.
fn function(name: &str, offset: usize) -> Result<&'static Function, Fault> {
    if let Some(function) = functions::find(name) {
        return Ok(function);
    }
    if let Some(reason) = functions::refusal(name) {
        return Err(Fault::new(offset, format!("function `{name}` is refused: {reason}"))
            .code("template-refused"));
    }
    if matches!(name, "if" | "else" | "end" | "range" | "with" | "define" | "template" | "block") {
        return Err(Fault::new(
            offset,
            format!("keyword `{name}` has to stand first in its action"),
        ));
    }
    let fault = Fault::new(offset, format!("there is no function `{name}`"))
        .code("template-unknown-function");
    Err(match nearest(name, functions::names()) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault.hint("see docs/configuration-templates.md for those that there are"),
    })
}
