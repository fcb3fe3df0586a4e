//! Reads the text of a path into tokens.
//!
//! Jayway looks for the end of a token with "at or past the last character", so one character left
//! over after a complete token is ignored: `a[` is `a`. That is kept, see [`Reader::is_at_tail`].

use super::filter::{self, Filter};
use super::permissive::{self, unescape};
use super::{Argument, Base, Call, Path, PathError, Token};

/// The longest path, in bytes.
const TEXT_MAX: usize = 4096;
/// The most tokens in one path; evaluation goes one call deeper for each.
const TOKENS_MAX: usize = 128;
/// How deep filters, parentheses and function arguments may nest.
pub(super) const DEPTH_MAX: usize = 16;

/// Compiles a path that stands `depth` paths and parentheses deep in another.
pub(super) fn compile(text: &str, depth: usize) -> Result<Path, PathError> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let fail = |message| Err(PathError { at: 0, message });
    if depth > DEPTH_MAX {
        return fail("the path nests too deep");
    }
    if text.len() > TEXT_MAX {
        return fail("the path is longer than 4096 bytes");
    }
    let Some(first) = text.chars().next() else {
        return fail("the path is empty");
    };
    if text.ends_with('.') {
        return fail("the path ends with '.'");
    }
    let implied = if matches!(first, '$' | '@') { "" } else { "$." };
    let mut reader = Reader::new(implied.chars().chain(text.chars()).collect(), depth);
    reader.path().map_err(|error| PathError { at: error.at.saturating_sub(implied.len()), ..error })
}

/// A place in a text, shared by paths and the filters within.
pub(super) struct Reader {
    chars: Vec<char>,
    at: usize,
    depth: usize,
}

impl Reader {
    fn new(chars: Vec<char>, depth: usize) -> Self {
        Self { chars, at: 0, depth }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn go(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn char(&self, at: usize) -> Option<char> {
        self.chars.get(at).copied()
    }

    pub(super) fn current(&self) -> Option<char> {
        self.char(self.at)
    }

    pub(super) fn text(&self, from: usize, to: usize) -> String {
        self.chars.get(from..to).unwrap_or_default().iter().collect()
    }

    pub(super) fn fail<T>(&self, message: &'static str) -> Result<T, PathError> {
        Err(PathError { at: self.at, message })
    }

    /// Goes to the next character that is not a space and answers it.
    pub(super) fn skip_spaces(&mut self) -> Option<char> {
        while self.current() == Some(' ') {
            self.at += 1;
        }
        self.current()
    }

    /// Takes `expected`, after spaces.
    pub(super) fn take(&mut self, expected: char) -> bool {
        let hit = self.skip_spaces() == Some(expected);
        self.at += usize::from(hit);
        hit
    }

    /// Runs `body` one level deeper.
    pub(super) fn nested<T>(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<T, PathError>,
    ) -> Result<T, PathError> {
        if self.depth >= DEPTH_MAX {
            return self.fail("the path nests too deep");
        }
        self.depth += 1;
        let result = body(self);
        self.depth -= 1;
        result
    }

    /// The first position from `from` on, where `wanted` stands and no `\` before it.
    pub(super) fn find_unescaped(&self, from: usize, wanted: char) -> Option<usize> {
        let mut escaped = false;
        (from..self.chars.len()).find(|&at| {
            let c = self.chars[at];
            let hit = c == wanted && !escaped;
            escaped = c == '\\' && !escaped;
            hit
        })
    }

    /// The position of the bracket that closes the one at `from`, not looking inside quotes.
    pub(super) fn find_closing(&self, from: usize, open: char, close: char) -> Option<usize> {
        let mut depth = 0_usize;
        let mut at = from;
        while let Some(c) = self.char(at) {
            if matches!(c, '\'' | '"') {
                at = self.find_unescaped(at + 1, c)?;
            } else if c == open {
                depth += 1;
            } else if c == close {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            at += 1;
        }
        None
    }

    /// Whether at most one character is left.
    fn is_at_tail(&self) -> bool {
        self.at + 1 >= self.chars.len()
    }

    /// Compiles a path found inside this one.
    pub(super) fn inner_path(&self, text: &str) -> Result<Path, PathError> {
        compile(text, self.depth + 1)
    }

    fn path(&mut self) -> Result<Path, PathError> {
        let base = if self.current() == Some('@') { Base::Item } else { Base::Document };
        let mut tokens = Vec::new();
        if self.chars.len() > 1 {
            self.at = 1;
            if !matches!(self.current(), Some('.' | '[')) {
                return self.fail("expected '.' or '['");
            }
            self.token(&mut tokens)?;
            while !self.is_at_tail() {
                self.token(&mut tokens)?;
                if tokens.len() > TOKENS_MAX {
                    return self.fail("the path has more than 128 steps");
                }
            }
        }
        Ok(Path::new(base, tokens))
    }

    /// Reads one step, or two for `..name`.
    fn token(&mut self, tokens: &mut Vec<Token>) -> Result<(), PathError> {
        if self.current() == Some('.') {
            self.at += 1;
            if self.current() == Some('.') {
                tokens.push(Token::Scan);
                self.at += 1;
            }
            if matches!(self.current(), Some('.') | None) {
                return self.fail("expected a name, '[' or '*'");
            }
        }
        let token = match self.current() {
            Some('[') => self.bracket()?,
            Some('*') => {
                self.at += 1;
                Token::Wildcard
            }
            _ => self.name_or_call()?,
        };
        tokens.push(token);
        Ok(())
    }

    fn name_or_call(&mut self) -> Result<Token, PathError> {
        let start = self.at;
        let end = (start..self.chars.len())
            .find(|&at| matches!(self.chars[at], ' ' | '.' | '[' | '('))
            .unwrap_or(self.chars.len());
        let name = self.text(start, end);
        self.at = end;
        match self.current() {
            Some(' ') => self.fail("a name with a space must stand in brackets: ['a name']"),
            Some('(') => {
                let arguments = self.arguments()?;
                Ok(Token::Call(Box::new(Call { name, arguments })))
            }
            _ if name.is_empty() => self.fail("expected a name"),
            _ => Ok(Token::Key(name)),
        }
    }

    /// Reads a function's arguments, from its `(` on.
    fn arguments(&mut self) -> Result<Vec<Argument>, PathError> {
        // `length()`, `length(`, and, as Jayway reads it, `length(x`: without arguments. A `)` is
        // then left over for the check of the tail.
        match (self.char(self.at + 2), self.char(self.at + 1)) {
            (None, _) => {
                self.at += 1;
                return Ok(Vec::new());
            }
            (_, Some(')')) => {
                self.at += 2;
                return Ok(Vec::new());
            }
            _ => {}
        }
        let mut arguments = Vec::new();
        self.at += 1;
        loop {
            let start = self.at;
            let end = self.argument_end()?;
            arguments.extend(self.argument(&self.text(start, end))?);
            self.at = end + 1;
            if self.char(end) == Some(')') {
                return Ok(arguments);
            }
        }
    }

    /// Where the argument that starts here ends: at a `,` or `)` outside brackets and quotes.
    fn argument_end(&self) -> Result<usize, PathError> {
        let mut depth = 0_usize;
        let mut at = self.at;
        while let Some(c) = self.char(at) {
            match c {
                '"' => match self.find_unescaped(at + 1, c) {
                    Some(end) => at = end,
                    None => break,
                },
                '(' | '[' | '{' => depth += 1,
                ',' | ')' if depth == 0 => return Ok(at),
                ')' | ']' | '}' => match depth.checked_sub(1) {
                    Some(outer) => depth = outer,
                    None => break,
                },
                _ => {}
            }
            at += 1;
        }
        self.fail("the arguments are not closed")
    }

    /// An argument is a path or a literal; anything else does not count, as in Jayway.
    fn argument(&self, text: &str) -> Result<Option<Argument>, PathError> {
        // Jayway passes over everything up to the first character that can start an argument.
        let can_start = |c: char| matches!(c, '{' | '"' | '$' | '@' | '-') || c.is_ascii_digit();
        let Some(start) = text.find(can_start) else { return Ok(None) };
        let text = &text[start..];
        if text.starts_with(['$', '@']) {
            return self.inner_path(text).map(|path| Some(Argument::Path(path)));
        }
        Ok(Some(Argument::Literal(permissive::parse(text))))
    }

    fn bracket(&mut self) -> Result<Token, PathError> {
        let open = self.at;
        self.at += 1;
        match self.skip_spaces() {
            Some(quote @ ('\'' | '"')) => self.keys(quote),
            Some('*') => {
                self.at += 1;
                if self.take(']') { Ok(Token::Wildcard) } else { self.fail("expected ']'") }
            }
            Some('?') => {
                self.at += 1;
                self.nested(Self::filter)
            }
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | ':') => self.indexes(open + 1),
            _ => self.fail("expected a quoted name, an index, '*' or a filter"),
        }
    }

    fn filter(&mut self) -> Result<Token, PathError> {
        if self.skip_spaces() != Some('(') {
            return self.fail("expected '(' after '?'");
        }
        let test = filter::parse(self)?;
        if !self.take(']') {
            return self.fail("expected ']' after the filter");
        }
        Ok(Token::Filter(Box::new(Filter::new(test))))
    }

    /// `'a'` or `'a','b'`, up to and with the `]`.
    fn keys(&mut self, quote: char) -> Result<Token, PathError> {
        let mut names = Vec::new();
        loop {
            if !self.take(quote) {
                return self.fail("expected a quoted name");
            }
            let Some(end) = self.find_unescaped(self.at, quote) else {
                return self.fail("the name is not closed");
            };
            let Some(name) = unescape(&self.text(self.at, end)) else {
                return self.fail("broken \\u escape");
            };
            names.push(name);
            self.at = end + 1;
            if self.take(']') {
                break;
            }
            if !self.take(',') {
                return self.fail("expected ',' or ']'");
            }
        }
        Ok(match names.len() {
            1 => Token::Key(names.swap_remove(0)),
            _ => Token::Keys(names),
        })
    }

    /// `0`, `-1`, `0,2`, `1:3` from `start` up to and with the `]`.
    fn indexes(&mut self, start: usize) -> Result<Token, PathError> {
        let Some(end) = (start..self.chars.len()).find(|&at| self.chars[at] == ']') else {
            return self.fail("expected ']'");
        };
        let text = self.text(start, end);
        let text = text.trim();
        let token = if text.contains(':') { slice(text) } else { list(text) };
        match token {
            Some(token) => {
                self.at = end + 1;
                Ok(token)
            }
            None => self.fail("expected an index such as [0], [-1], [0,2] or [1:3]"),
        }
    }
}

fn list(text: &str) -> Option<Token> {
    let indexes: Option<Vec<i32>> = text.split(',').map(|index| integer(index.trim())).collect();
    let indexes = indexes?;
    Some(match indexes.as_slice() {
        [index] => Token::Index(*index),
        _ => Token::Indexes(indexes),
    })
}

/// A third part, the step, is read over.
fn slice(text: &str) -> Option<Token> {
    let is_allowed = |c: char| c.is_ascii_digit() || matches!(c, '-' | ':');
    if !text.chars().all(is_allowed) {
        return None;
    }
    let mut parts = text.split(':');
    let mut bound = || match parts.next() {
        None | Some("") => Some(None),
        Some(part) => integer(part).map(Some),
    };
    match (bound()?, bound()?) {
        (None, None) => None,
        (from, to) => Some(Token::Slice { from, to }),
    }
}

fn integer(text: &str) -> Option<i32> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| valid)
}
