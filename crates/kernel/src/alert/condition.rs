//! Conditions over an observation: `rows > 0`, `status < 400 and ms < 2000`, `not ok`.
//!
//! A name is a path into the observation's own members and attributes. What is absent equals
//! nothing and compares with nothing, so a condition about it does not hold.

use serde_json::{Map, Value};

use super::definition::parse_span;

/// How deep parentheses may go, and how long a condition may be.
const DEPTH_MAX: usize = 20;
const LENGTH_MAX: usize = 1000;

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// All hold.
    All(Vec<Condition>),
    /// One holds.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// Two values compare so.
    Compare(Operand, Operator, Operand),
    /// The value is there and neither false, zero nor empty.
    Truthy(Operand),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `==`, `=`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
    /// `contains`
    Contains,
}

/// A value in a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A path of names.
    Path(Vec<String>),
    /// A value as written.
    Literal(Value),
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LENGTH_MAX {
            return Err(format!("the condition has more than {LENGTH_MAX} characters"));
        }
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
        let condition = parser.any()?;
        match parser.peek() {
            None => Ok(condition),
            Some(token) => Err(format!("unexpected {token:?} in the condition {text:?}")),
        }
    }

    /// Whether it holds of an observation.
    pub fn holds(&self, row: &Map<String, Value>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(row)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(row)),
            Self::Not(part) => !part.holds(row),
            Self::Truthy(operand) => operand.value(row).is_some_and(truthy),
            Self::Compare(left, operator, right) => match (left.value(row), right.value(row)) {
                (Some(left), Some(right)) => compare(left, *operator, right),
                _ => false,
            },
        }
    }
}

impl Operand {
    fn value<'a>(&'a self, row: &'a Map<String, Value>) -> Option<&'a Value> {
        let path = match self {
            Self::Literal(value) => return Some(value),
            Self::Path(path) => path,
        };
        let (first, rest) = path.split_first()?;
        let attr = || row.get("attrs").and_then(|attrs| attrs.get(first));
        let start = row.get(first).or_else(attr)?;
        rest.iter().try_fold(start, |value, name| match value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => value.get(name),
        })
    }
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// A number, a text that is one, or the length of a list.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(items) => Some(items.len() as f64),
        _ => None,
    }
}

fn compare(left: &Value, operator: Operator, right: &Value) -> bool {
    if operator == Operator::Contains {
        return match (left, right) {
            (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
            (Value::Array(items), part) => items.contains(part),
            _ => false,
        };
    }
    let order = match (number(left), number(right)) {
        (Some(left), Some(right)) => left.partial_cmp(&right),
        _ => match (left, right) {
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            _ if left == right => Some(std::cmp::Ordering::Equal),
            _ => None,
        },
    };
    match operator {
        Operator::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Operator::Unequal => !order.is_some_and(std::cmp::Ordering::is_eq),
        Operator::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Operator::AtMost => order.is_some_and(std::cmp::Ordering::is_le),
        Operator::More => order.is_some_and(std::cmp::Ordering::is_gt),
        Operator::AtLeast => order.is_some_and(std::cmp::Ordering::is_ge),
        Operator::Contains => false,
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 12] = ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "=", "!", "(", ")"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut rest = text.trim_start();
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else if first == '\'' || first == '"' {
            let inner = &rest[1..];
            let end = inner.find(first).ok_or_else(|| format!("no closing {first} in {text:?}"))?;
            tokens.push(Token::Text(inner[..end].to_owned()));
            rest = &inner[end + 1..];
        } else {
            let is_word = |c: char| c.is_alphanumeric() || "_.-+%$".contains(c);
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("unexpected {first:?} in the condition {text:?}"));
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, words: &[&str]) -> bool {
        let found = match self.peek() {
            Some(Token::Word(word)) => words.contains(&word.as_str()),
            Some(Token::Symbol(symbol)) => words.contains(symbol),
            _ => false,
        };
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.all()?];
        while self.take(&["or", "||"]) {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.one()?];
        while self.take(&["and", "&&"]) {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn one(&mut self) -> Result<Condition, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("the condition is nested deeper than {DEPTH_MAX}"));
        }
        let condition = self.part();
        self.depth -= 1;
        condition
    }

    fn part(&mut self) -> Result<Condition, String> {
        if self.take(&["not", "!"]) {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.take(&["("]) {
            let inner = self.any()?;
            return if self.take(&[")"]) { Ok(inner) } else { Err("a ) is missing".to_owned()) };
        }
        let left = self.operand()?;
        let operator = match self.peek() {
            Some(Token::Symbol("==" | "=")) => Operator::Equal,
            Some(Token::Symbol("!=")) => Operator::Unequal,
            Some(Token::Symbol("<")) => Operator::Less,
            Some(Token::Symbol("<=")) => Operator::AtMost,
            Some(Token::Symbol(">")) => Operator::More,
            Some(Token::Symbol(">=")) => Operator::AtLeast,
            Some(Token::Word(word)) if word == "contains" => Operator::Contains,
            _ => return Ok(Condition::Truthy(left)),
        };
        self.at += 1;
        Ok(Condition::Compare(left, operator, self.operand()?))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let token = self.peek().cloned();
        self.at += 1;
        match token {
            Some(Token::Text(text)) => Ok(Operand::Literal(text.into())),
            Some(Token::Word(word)) => Ok(word_operand(&word)),
            Some(Token::Symbol(symbol)) => Err(format!("a value is expected before {symbol:?}")),
            None => Err("the condition ends where a value is expected".to_owned()),
        }
    }
}

/// A number, a percentage, a duration in seconds, a constant or a path.
fn word_operand(word: &str) -> Operand {
    let literal = match word {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "null" => Some(Value::Null),
        _ => {
            let number = word.strip_suffix('%').unwrap_or(word).parse::<f64>().ok();
            let number = number.filter(|number| number.is_finite());
            let starts = word.starts_with(|c: char| c.is_ascii_digit());
            let span = || starts.then(|| parse_span(word).ok()).flatten();
            number.or_else(|| span().map(|millis| millis as f64 / 1000.0)).map(Value::from)
        }
    };
    match literal {
        Some(value) => Operand::Literal(value),
        None => Operand::Path(
            word.strip_prefix("$.").unwrap_or(word).split('.').map(str::to_owned).collect(),
        ),
    }
}
