//! Writes a script as a function that returns the script's completion value, so that it can be
//! compiled once and called often.
//!
//! Only shapes whose completion value is plain to see are rewritten: declarations, loops and other
//! statements, then an expression, or an `if` that ends so in its branches. Any other script stays
//! as it is and is parsed anew for every evaluation.

use super::tokens::{Kind, Token};

/// The script as a function of `$`. The source must parse as a script.
pub(super) fn as_function(source: &str, tokens: &[Token<'_>]) -> Option<String> {
    let mut rewriter = Rewriter { source, tokens, at: 0, body: String::new() };
    rewriter.statements(tokens.len())?;
    Some(from_body(&rewriter.body))
}

/// A function of `$` in strict mode with this body.
pub(super) fn from_body(body: &str) -> String {
    format!("(function($){{\"use strict\";{body}\n}})")
}

/// Words that begin a statement, or stand inside one, which is not rewritten here.
const STATEMENTS: &[&str] = &[
    "break", "case", "const", "continue", "default", "do", "else", "for", "if", "let", "return",
    "switch", "throw", "var", "while",
];

struct Rewriter<'s> {
    source: &'s str,
    tokens: &'s [Token<'s>],
    at: usize,
    body: String,
}

impl Rewriter<'_> {
    /// Rewrites the statements up to the token `end`, of which the last gives the value.
    fn statements(&mut self, end: usize) -> Option<()> {
        while self.skip_empty(end) {
            let from = self.at;
            let to = self.statement_end(end)?;
            self.at = to;
            if self.skip_empty(end) {
                self.copy(from, to);
            } else {
                self.at = from;
                self.last(to)?;
            }
        }
        Some(())
    }

    /// Moves past empty statements; whether anything is left.
    fn skip_empty(&mut self, end: usize) -> bool {
        while self.at < end && self.tokens[self.at].is_mark(";") {
            self.at += 1;
        }
        self.at < end
    }

    /// Rewrites the statement at hand, which ends at `end` and gives the value.
    fn last(&mut self, end: usize) -> Option<()> {
        let first = &self.tokens[self.at];
        if first.is_word("if") {
            let condition = self.closing(self.at + 1)?;
            self.copy(self.at, condition + 1);
            self.at = condition + 1;
            return self.branches(end);
        }
        if !self.begins_expression() {
            return None;
        }
        let semicolon = usize::from(self.tokens[end - 1].is_mark(";"));
        self.body.push_str("return (");
        self.copy(self.at, end - semicolon);
        self.body.push_str(");");
        self.at = end;
        Some(())
    }

    /// Rewrites what follows the condition of an `if`.
    fn branches(&mut self, end: usize) -> Option<()> {
        self.branch(end)?;
        if self.at < end && self.tokens[self.at].is_word("else") {
            self.body.push_str("else ");
            self.at += 1;
            self.branch(end)?;
        }
        (self.at == end).then_some(())
    }

    fn branch(&mut self, end: usize) -> Option<()> {
        if !self.tokens.get(self.at)?.is_mark("{") {
            let to = self.statement_end(end)?;
            return self.last(to);
        }
        let close = self.closing(self.at)?;
        self.body.push('{');
        self.at += 1;
        self.statements(close)?;
        self.body.push('}');
        self.at = close + 1;
        Some(())
    }

    /// The token after the statement at hand.
    fn statement_end(&self, end: usize) -> Option<usize> {
        self.statement_end_from(self.at, end)
    }

    fn statement_end_from(&self, at: usize, end: usize) -> Option<usize> {
        let first = self.tokens.get(at).filter(|_| at < end)?;
        match first.text {
            _ if first.kind != Kind::Word => self.expression_end(at, end),
            "if" => {
                let mut to = self.body_end(self.closing(at + 1)? + 1, end)?;
                if to < end && self.tokens[to].is_word("else") {
                    to = self.body_end(to + 1, end)?;
                }
                Some(to)
            }
            "for" | "while" => self.body_end(self.closing(at + 1)? + 1, end),
            "function" => {
                let parameters = self.closing(at + 2)?;
                Some(self.closing(parameters + 1)? + 1)
            }
            "var" | "let" | "const" => self.expression_end(at + 1, end),
            _ => self.expression_end(at, end),
        }
    }

    /// The end of a block, or of a single statement in its place.
    fn body_end(&self, at: usize, end: usize) -> Option<usize> {
        if self.tokens.get(at)?.is_mark("{") {
            return Some(self.closing(at)? + 1);
        }
        self.statement_end_from(at, end)
    }

    /// The end of an expression statement that begins at `at`: past its semicolon, or at `end`.
    fn expression_end(&self, at: usize, end: usize) -> Option<usize> {
        let depth = self.tokens.get(at)?.depth;
        if self.tokens[at].is_mark("{") || self.tokens.get(at + 1).is_some_and(|t| t.is_mark(":")) {
            return None;
        }
        for index in at..end {
            let token = &self.tokens[index];
            if token.depth > depth {
                continue;
            }
            let statement = token.kind == Kind::Word && STATEMENTS.contains(&token.text);
            let member = index > at && self.tokens[index - 1].is_mark(".");
            if statement && !member {
                return None;
            }
            if token.is_mark(";") {
                return Some(index + 1);
            }
            if index > at && token.on_new_line && may_end_at(&self.tokens[index - 1], token) {
                return None;
            }
        }
        Some(end)
    }

    fn begins_expression(&self) -> bool {
        let first = &self.tokens[self.at];
        !first.is_mark("{")
            && !(first.kind == Kind::Word
                && (STATEMENTS.contains(&first.text) || first.text == "function"))
    }

    /// The token that closes the bracket at `at`.
    fn closing(&self, at: usize) -> Option<usize> {
        let open = self.tokens.get(at)?;
        let closer = match open.text {
            "(" => ")",
            "[" => "]",
            "{" => "}",
            _ => return None,
        };
        let found = self.tokens[at + 1..].iter().position(|t| t.depth == open.depth)?;
        self.tokens[at + 1 + found].is_mark(closer).then_some(at + 1 + found)
    }

    /// Takes over the tokens `from..to` as they are written.
    fn copy(&mut self, from: usize, to: usize) {
        if from < to {
            let text = &self.source[self.tokens[from].at..self.tokens[to - 1].end()];
            self.body.push_str(text);
            self.body.push('\n');
        }
    }
}

/// Whether the end of a line between these two tokens may end a statement.
fn may_end_at(before: &Token<'_>, after: &Token<'_>) -> bool {
    let continues = after.kind == Kind::Mark
        && !matches!(after.text, "++" | "--" | "!" | "~" | "{")
        || matches!(after.kind, Kind::Template | Kind::TemplateOpen);
    let unfinished =
        before.kind == Kind::Mark && !matches!(before.text, ")" | "]" | "}" | "++" | "--");
    !continues && !unfinished
}
