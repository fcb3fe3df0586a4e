//! Cuts a script into tokens, and gives up wherever the cut is not certain.
//!
//! Giving up costs a realm of its own and nothing else, so the rare and the ambiguous (identifiers
//! with escapes, a regular expression after a block, HTML-like comments) are simply not read.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word,
    /// A number, with any suffix.
    Number,
    /// A quoted string with its quotes.
    Text,
    /// A template, or its last part when it began with [`Kind::TemplateOpen`].
    Template,
    /// The part of a template that ends in `${`.
    TemplateOpen,
    /// A regular expression with its flags.
    Regex,
    /// An operator, bracket or separator.
    Mark,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'s> {
    pub(super) kind: Kind,
    pub(super) text: &'s str,
    /// Byte offset in the source.
    pub(super) at: usize,
    /// Whether a line ended between the token before and this one.
    pub(super) on_new_line: bool,
    /// Brackets open around the token; the brackets themselves count as outside.
    pub(super) depth: usize,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.at + self.text.len()
    }

    pub(super) fn is_mark(&self, mark: &str) -> bool {
        self.kind == Kind::Mark && self.text == mark
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }
}

/// Operators of more than one character, longer ones first.
const LONG_MARKS: &[&str] = &[
    ">>>=", "...", "===", "!==", "**=", "<<=", ">>=", ">>>", "&&=", "||=", "??=", "=>", "==", "!=",
    "<=", ">=", "&&", "||", "??", "?.", "++", "--", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
    "<<", ">>", "**",
];

/// Keywords after which an expression begins, so that a slash begins a regular expression.
const BEFORE_EXPRESSION: &[&str] = &[
    "return",
    "typeof",
    "instanceof",
    "in",
    "new",
    "delete",
    "void",
    "throw",
    "case",
    "do",
    "else",
];

/// Keywords whose parentheses are followed by a statement.
const BEFORE_STATEMENT: &[&str] = &["if", "while", "for", "with"];

/// All tokens of a script, or nothing if it could be read in more than one way.
pub(super) fn cut(source: &str) -> Option<Vec<Token<'_>>> {
    // Both end a line, also inside a comment.
    if source.contains(['\u{2028}', '\u{2029}']) {
        return None;
    }
    let mut cutter = Cutter {
        source,
        at: 0,
        tokens: Vec::new(),
        open: Vec::new(),
        on_new_line: false,
        closed_before_statement: false,
    };
    while cutter.skip_blanks()? {
        cutter.token()?;
    }
    cutter.open.is_empty().then_some(cutter.tokens)
}

/// An open bracket.
struct Open {
    closer: &'static str,
    /// After the closing bracket a statement may begin: `if (…)`.
    before_statement: bool,
    /// The bracket is a template's `${`.
    template: bool,
}

struct Cutter<'s> {
    source: &'s str,
    at: usize,
    tokens: Vec<Token<'s>>,
    open: Vec<Open>,
    on_new_line: bool,
    /// The bracket closed last was of the kind after which a statement begins.
    closed_before_statement: bool,
}

impl<'s> Cutter<'s> {
    fn rest(&self) -> &'s [u8] {
        &self.source.as_bytes()[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn starts(&self, text: &str) -> bool {
        self.rest().starts_with(text.as_bytes())
    }

    fn push(&mut self, kind: Kind, from: usize) {
        let token = Token {
            kind,
            text: &self.source[from..self.at],
            at: from,
            on_new_line: std::mem::take(&mut self.on_new_line),
            depth: self.open.len(),
        };
        self.tokens.push(token);
    }

    /// Moves past blanks and comments; false at the end of the source.
    fn skip_blanks(&mut self) -> Option<bool> {
        loop {
            match self.peek() {
                None => return Some(false),
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\n' | b'\r') => {
                    self.on_new_line = true;
                    self.at += 1;
                }
                Some(b'/') if self.starts("//") => {
                    let length = self.rest().iter().position(|b| matches!(b, b'\n' | b'\r'));
                    self.at += length.unwrap_or(self.rest().len());
                }
                Some(b'/') if self.starts("/*") => {
                    let length = self.source[self.at..].find("*/")? + 2;
                    let comment = &self.source[self.at..self.at + length];
                    self.on_new_line |= comment.contains(['\n', '\r']);
                    self.at += length;
                }
                _ => return Some(true),
            }
        }
    }

    fn token(&mut self) -> Option<()> {
        let from = self.at;
        match self.peek()? {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => {
                self.word();
                self.push(Kind::Word, from);
            }
            b'0'..=b'9' => self.number(),
            b'.' if self.rest().get(1).is_some_and(u8::is_ascii_digit) => self.number(),
            quote @ (b'"' | b'\'') => {
                self.at += 1;
                self.quoted(quote)?;
                self.push(Kind::Text, from);
            }
            b'`' => {
                self.at += 1;
                self.template(from)?;
            }
            b'/' if self.regex_may_begin()? => {
                self.regex()?;
                self.push(Kind::Regex, from);
            }
            _ => self.mark()?,
        }
        Some(())
    }

    fn word(&mut self) {
        let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$');
        self.at += self.rest().iter().take_while(|b| word(b)).count();
    }

    fn number(&mut self) {
        let from = self.at;
        let radix = self.rest().get(1).is_some_and(|b| b.is_ascii_alphabetic() && *b != b'e');
        self.word();
        if !radix && self.peek() == Some(b'.') {
            self.at += 1;
            self.word();
        }
        let exponent = self.source[from..self.at].ends_with(['e', 'E']);
        if !radix && exponent && matches!(self.peek(), Some(b'+' | b'-')) {
            self.at += 1;
            self.word();
        }
        self.push(Kind::Number, from);
    }

    /// Moves past the closing quote.
    fn quoted(&mut self, quote: u8) -> Option<()> {
        loop {
            match self.peek()? {
                b'\\' => self.at += 1 + self.source[self.at + 1..].chars().next()?.len_utf8(),
                b'\n' | b'\r' => return None,
                byte => {
                    self.at += 1;
                    if byte == quote {
                        return Some(());
                    }
                }
            }
        }
    }

    /// Moves past a part of a template that began at `from`: up to its end or to a `${`.
    fn template(&mut self, from: usize) -> Option<()> {
        loop {
            match self.peek()? {
                b'\\' => self.at += 1 + self.source[self.at + 1..].chars().next()?.len_utf8(),
                b'`' => {
                    self.at += 1;
                    self.push(Kind::Template, from);
                    return Some(());
                }
                b'$' if self.starts("${") => {
                    self.at += 2;
                    self.push(Kind::TemplateOpen, from);
                    self.open.push(Open { closer: "}", before_statement: false, template: true });
                    return Some(());
                }
                _ => self.at += 1,
            }
        }
    }

    /// Whether a slash here begins a regular expression; nothing if that needs a parser.
    fn regex_may_begin(&self) -> Option<bool> {
        let Some(last) = self.tokens.last() else { return Some(true) };
        match last.kind {
            Kind::Number | Kind::Text | Kind::Template | Kind::Regex => Some(false),
            Kind::TemplateOpen => Some(true),
            Kind::Word => {
                let member = self.tokens.iter().rev().nth(1).is_some_and(|t| t.is_mark("."));
                match last.text {
                    _ if member => Some(false),
                    "of" | "yield" | "await" | "let" => None,
                    word => Some(BEFORE_EXPRESSION.contains(&word)),
                }
            }
            Kind::Mark => match last.text {
                "}" | "++" | "--" => None,
                ")" if self.closed_before_statement => None,
                ")" | "]" => Some(false),
                _ => Some(true),
            },
        }
    }

    fn regex(&mut self) -> Option<()> {
        self.at += 1;
        let mut in_class = false;
        loop {
            match self.peek()? {
                b'\\' => self.at += 1 + self.source[self.at + 1..].chars().next()?.len_utf8(),
                b'\n' | b'\r' => return None,
                byte => {
                    self.at += 1;
                    match byte {
                        b'[' => in_class = true,
                        b']' => in_class = false,
                        b'/' if !in_class => break,
                        _ => {}
                    }
                }
            }
        }
        let flags = self.at;
        self.word();
        // With `v`, classes nest.
        (!self.source[flags..self.at].contains('v')).then_some(())
    }

    fn mark(&mut self) -> Option<()> {
        if self.starts("<!--") || self.starts("-->") {
            return None;
        }
        let from = self.at;
        let long = LONG_MARKS.iter().find(|mark| self.starts(mark));
        let ternary = self.starts("?.") && self.rest().get(2).is_some_and(u8::is_ascii_digit);
        if let Some(long) = long.filter(|_| !ternary) {
            self.at += long.len();
            self.push(Kind::Mark, from);
            return Some(());
        }
        match self.peek()? {
            b'(' => self.open_bracket(")"),
            b'[' => self.open_bracket("]"),
            b'{' => self.open_bracket("}"),
            b')' | b']' | b'}' => self.close_bracket()?,
            b';' | b',' | b':' | b'.' | b'?' | b'=' | b'<' | b'>' | b'+' | b'-' | b'*' | b'/'
            | b'%' | b'&' | b'|' | b'^' | b'!' | b'~' => {
                self.at += 1;
                self.push(Kind::Mark, from);
            }
            _ => return None,
        }
        Some(())
    }

    fn open_bracket(&mut self, closer: &'static str) {
        let before_statement = self
            .tokens
            .last()
            .is_some_and(|t| t.kind == Kind::Word && BEFORE_STATEMENT.contains(&t.text));
        self.at += 1;
        self.push(Kind::Mark, self.at - 1);
        self.open.push(Open { closer, before_statement, template: false });
    }

    fn close_bracket(&mut self) -> Option<()> {
        let from = self.at;
        let open = self.open.pop()?;
        if !self.starts(open.closer) {
            return None;
        }
        self.at += 1;
        if open.template {
            return self.template(from);
        }
        self.closed_before_statement = open.before_statement;
        self.push(Kind::Mark, from);
        Some(())
    }
}
