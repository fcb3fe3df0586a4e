//! A compiled path such as `workflow.input.list[0].name`, in the dialect of Jayway `JsonPath`, with
//! exceptions suppressed: that of 2.4.0, with the functions of 2.9.0.
//!
//! No crate reads this dialect: names may hold hyphens, digits, `@`, `:` and `/`; `['a','b']` makes
//! an object; a slice ignores its step; a function ends its path, whatever follows it. Jayway's oddities are
//! kept where a definition could rest on them (`[-2:3]` counts through zero, one stray character at
//! the end is ignored, `..[0].x` reads `x` of every element). Three are not: a maximum of negative
//! numbers is the true maximum, `append` changes a copy and not the document, and a comma inside a
//! quoted function argument is part of it.
//!
//! A path holds bounded work: its text, tokens, nesting, regular expressions and the values it may
//! visit all have a maximum, so neither a definition nor a payload can stall a decision.

mod evaluate;
mod filter;
mod parse;
mod permissive;
mod pluck;

use serde_json::Value;
use serde_json::value::RawValue;

use self::filter::Filter;
use crate::json::Json;

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at character {at}")]
pub struct PathError {
    /// Where in the text, in characters from 0; inside a filter, from the filter's own path.
    pub at: usize,
    /// What is wrong there.
    pub message: &'static str,
}

/// A compiled path.
#[derive(Clone, Debug)]
pub struct Path {
    base: Base,
    tokens: Vec<Token>,
    definite: bool,
}

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    /// `$`, or nothing: the whole document.
    Document,
    /// `@`: in a filter the value under test, elsewhere the whole document.
    Item,
}

#[derive(Clone, Debug)]
enum Token {
    /// `.name`, `['name']`
    Key(String),
    /// `['a','b']`
    Keys(Vec<String>),
    /// `[0]`, `[-1]`
    Index(i32),
    /// `[0,2]`
    Indexes(Vec<i32>),
    /// `[1:3]`, `[1:]`, `[:3]`
    Slice { from: Option<i32>, to: Option<i32> },
    /// `*`, `[*]`
    Wildcard,
    /// `..`
    Scan,
    /// `[?(…)]`
    Filter(Box<Filter>),
    /// `.length()`
    Call(Box<Call>),
}

/// A function and its arguments.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    arguments: Vec<Argument>,
}

#[derive(Clone, Debug)]
enum Argument {
    Path(Path),
    /// `None` when the text is not even leniently JSON, which fails at evaluation.
    Literal(Option<Value>),
}

impl Token {
    /// Whether the token names at most one place.
    fn is_definite(&self, is_last: bool) -> bool {
        match self {
            Self::Key(_) | Self::Index(_) | Self::Call(_) => true,
            // Several names at the end are merged into one object.
            Self::Keys(_) => is_last,
            Self::Indexes(_)
            | Self::Slice { .. }
            | Self::Wildcard
            | Self::Scan
            | Self::Filter(_) => false,
        }
    }
}

/// The part of a document that a path can reach: what has to be fetched before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach<'p> {
    /// Only what is under these two names.
    Field(&'p str, &'p str),
    /// Only what is under this name.
    Document(&'p str),
    /// Anything.
    Everything,
}

impl Path {
    /// Compiles a path; a leading `$.` is implied.
    ///
    /// # Errors
    /// What is wrong, and where. Conductor answers `null` for such a path.
    pub fn compile(text: &str) -> Result<Self, PathError> {
        parse::compile(text, 0)
    }

    fn new(base: Base, tokens: Vec<Token>) -> Self {
        let last = tokens.len().saturating_sub(1);
        let definite = tokens.iter().enumerate().all(|(at, token)| token.is_definite(at == last));
        Self { base, tokens, definite }
    }

    /// Whether the path names at most one place: then a miss is `null`, else it is `[]`.
    pub fn is_definite(&self) -> bool {
        self.definite
    }

    /// Whether the path ends with a function: then a fault is `null` in any case.
    fn is_call(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::Call(_)))
    }

    /// Reads the path in a parsed document.
    pub fn read(&self, document: &Value) -> Value {
        evaluate::read(self, document)
    }

    /// Reads the path in a document's text, which is parsed only if the path needs it.
    pub fn read_text(&self, document: &Json) -> Json {
        if self.is_plain(0) {
            return self.pluck(0, document.raw()).map_or_else(Json::null, |found| Json::of(&found));
        }
        Json::of(&self.read(&document.parse()))
    }

    /// How many tokens the path has.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether the tokens from `skip` on are single names and indexes only.
    pub(super) fn is_plain(&self, skip: usize) -> bool {
        let rest = self.tokens.get(skip..).unwrap_or_default();
        rest.iter().all(|token| matches!(token, Token::Key(_) | Token::Index(_)))
    }

    /// The name at the third place, if a name stands there.
    pub(super) fn third_name(&self) -> Option<&str> {
        match self.tokens.get(2)? {
            Token::Key(name) => Some(name),
            _ => None,
        }
    }

    /// Cuts out of a text what a plain path names, taking the first `skip` tokens as walked.
    pub(super) fn pluck<'a>(&self, skip: usize, document: &'a RawValue) -> Option<&'a RawValue> {
        pluck::pluck(document, self.tokens.get(skip..).unwrap_or_default())
    }

    /// What the path itself can reach.
    pub(super) fn reach(&self) -> Reach<'_> {
        match self.tokens.as_slice() {
            [Token::Key(root), Token::Key(field), ..] => Reach::Field(root, field),
            [Token::Key(root), ..] => Reach::Document(root),
            _ => Reach::Everything,
        }
    }

    /// What the paths in its filters and arguments can reach in the whole document.
    pub(super) fn inner_reaches(&self) -> Vec<Reach<'_>> {
        let mut found = Vec::new();
        self.collect_inner(&mut found);
        found
    }

    fn collect_inner<'p>(&'p self, found: &mut Vec<Reach<'p>>) {
        for token in &self.tokens {
            match token {
                Token::Filter(filter) => filter.visit(&mut |path, on_document| {
                    if on_document {
                        found.push(path.reach());
                    }
                    path.collect_inner(found);
                }),
                Token::Call(call) => {
                    for argument in &call.arguments {
                        if let Argument::Path(path) = argument {
                            found.push(path.reach());
                            path.collect_inner(found);
                        }
                    }
                }
                Token::Key(_)
                | Token::Keys(_)
                | Token::Index(_)
                | Token::Indexes(_)
                | Token::Slice { .. }
                | Token::Wildcard
                | Token::Scan => {}
            }
        }
    }
}
