//! Conditions over a row: `rows > 0`, `status < 400 and ms < 2000`, `not ok`.
//!
//! A name is a path into the row's own members and attributes. A condition has three values, as in
//! SQL: it holds, it does not hold, or nobody can tell (see [`Condition::holds`]).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::span::parse_span;
use super::text::cut;
use crate::definition::nearest;

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
    /// The value is neither false, zero nor empty.
    Truthy(Operand),
    /// `x is null`: the row has no value there.
    Null(Operand),
    /// `exists(x)`: the row has a value there, whether or not any row has such a column.
    Exists(Operand),
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

impl Operator {
    /// Whether it asks which of two is larger.
    const fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::AtMost | Self::More | Self::AtLeast)
    }
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

    /// Whether it holds of a row; `columns` are the names that the rows of the answer have.
    ///
    /// Nobody can tell if it depends on a name that is not there, on a null, or on a comparison of
    /// values of different kinds. `and` and `or` still decide where one side suffices (Kleene's
    /// logic): `a and b` does not hold if `a` does not, whatever `b` is.
    ///
    /// # Errors
    /// Why nobody can tell.
    pub fn holds(
        &self,
        row: &Map<String, Value>,
        columns: &BTreeSet<String>,
    ) -> Result<bool, String> {
        match self {
            Self::All(parts) => unless_one_is(false, parts, row, columns),
            Self::Any(parts) => unless_one_is(true, parts, row, columns),
            Self::Not(part) => part.holds(row, columns).map(|holds| !holds),
            Self::Truthy(operand) => operand.value(row, columns).map(truthy),
            Self::Compare(left, operator, right) => {
                let values = (left.value(row, columns)?, right.value(row, columns)?);
                compare(values.0, *operator, values.1)
                    .ok_or_else(|| mismatch((left, values.0), *operator, (right, values.1)))
            }
            Self::Null(operand) => match operand.find(row) {
                Some(value) => Ok(value.is_null()),
                None if operand.is_column(columns) => Ok(true),
                None => Err(operand.absent(columns)),
            },
            Self::Exists(operand) => Ok(operand.find(row).is_some_and(|value| !value.is_null())),
        }
    }

    /// The columns without which nobody can tell whether it holds: the first names of its paths.
    pub fn columns(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.gather(&mut names);
        names
    }

    /// The texts that it compares with by size.
    pub fn ordered_texts(&self) -> Vec<&str> {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().flat_map(Self::ordered_texts).collect()
            }
            Self::Not(part) => part.ordered_texts(),
            Self::Compare(left, operator, right) if operator.is_order() => {
                let texts = [left, right].into_iter().filter_map(|operand| match operand {
                    Operand::Literal(Value::String(text)) => Some(text.as_str()),
                    Operand::Literal(_) | Operand::Path(_) => None,
                });
                texts.collect()
            }
            Self::Compare(..) | Self::Truthy(_) | Self::Null(_) | Self::Exists(_) => Vec::new(),
        }
    }

    /// What a row has where the condition looks, in words: `loss 60`.
    pub fn values(&self, row: &Map<String, Value>) -> Vec<String> {
        const SHOWN_MAX: usize = 60;
        let mut operands = Vec::new();
        self.operands(&mut operands);
        let shown = |operand: &&Operand| match operand.find(row)? {
            Value::String(text) => Some(format!("{operand} {}", cut(text, SHOWN_MAX))),
            other => Some(format!("{operand} {}", cut(&other.to_string(), SHOWN_MAX))),
        };
        let mut values: Vec<String> = operands.iter().filter_map(shown).collect();
        values.dedup();
        values
    }

    /// The paths in it, in the order in which they stand.
    fn operands<'a>(&'a self, found: &mut Vec<&'a Operand>) {
        let paths = |operands: &[&'a Operand]| {
            let paths = operands.iter().filter(|it| matches!(it, Operand::Path(_)));
            paths.copied().collect::<Vec<_>>()
        };
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|it| it.operands(found)),
            Self::Not(part) => part.operands(found),
            Self::Compare(left, _, right) => found.extend(paths(&[left, right])),
            Self::Truthy(operand) | Self::Null(operand) | Self::Exists(operand) => {
                found.extend(paths(&[operand]));
            }
        }
    }

    fn gather<'a>(&'a self, names: &mut BTreeSet<&'a str>) {
        let first = |operand: &'a Operand| match operand {
            Operand::Path(path) => path.first().map(String::as_str),
            Operand::Literal(_) => None,
        };
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|it| it.gather(names)),
            Self::Not(part) => part.gather(names),
            Self::Compare(left, _, right) => {
                names.extend([left, right].into_iter().filter_map(first));
            }
            Self::Truthy(operand) | Self::Null(operand) => names.extend(first(operand)),
            Self::Exists(_) => {}
        }
    }
}

/// The conjunction (`decisive` false) or disjunction (true) of parts in Kleene's logic.
fn unless_one_is(
    decisive: bool,
    parts: &[Condition],
    row: &Map<String, Value>,
    columns: &BTreeSet<String>,
) -> Result<bool, String> {
    let mut doubt = None;
    for part in parts {
        match part.holds(row, columns) {
            Ok(holds) if holds == decisive => return Ok(decisive),
            Ok(_) => {}
            Err(why) => doubt = doubt.or(Some(why)),
        }
    }
    doubt.map_or(Ok(!decisive), Err)
}

impl Operand {
    /// What the row has there; a null counts as something.
    fn find<'a>(&'a self, row: &'a Map<String, Value>) -> Option<&'a Value> {
        let path = match self {
            Self::Literal(value) => return Some(value),
            Self::Path(path) => path,
        };
        let of_row = |name: &str| row.get(name).or_else(|| row.get("attrs")?.get(name));
        let (first, rest) = path.split_first()?;
        let within = |start| {
            rest.iter().try_fold(start, |value: &Value, name| match value {
                Value::Array(items) => items.get(name.parse::<usize>().ok()?),
                _ => value.get(name),
            })
        };
        // Columns of databases may have dots in their names.
        of_row(first).and_then(within).or_else(|| of_row(&path.join(".")))
    }

    /// What is there to be judged.
    fn value<'a>(
        &'a self,
        row: &'a Map<String, Value>,
        columns: &BTreeSet<String>,
    ) -> Result<&'a Value, String> {
        match self.find(row) {
            Some(Value::Null) => Err(format!("{self} is null")),
            Some(value) => Ok(value),
            None => Err(self.absent(columns)),
        }
    }

    /// Whether some row has the column that a path begins with.
    fn is_column(&self, columns: &BTreeSet<String>) -> bool {
        match self {
            Self::Literal(_) => true,
            Self::Path(path) => {
                path.first().is_some_and(|first| columns.contains(first))
                    || columns.contains(&path.join("."))
            }
        }
    }

    /// Why there is nothing to be judged.
    fn absent(&self, columns: &BTreeSet<String>) -> String {
        if self.is_column(columns) {
            return format!("a row has no {self}");
        }
        let name = self.to_string();
        let first = name.split('.').next().unwrap_or_default();
        no_column(first, columns.iter().map(String::as_str))
    }
}

/// Columns that are listed at most.
const LISTED_MAX: usize = 20;

/// That there is no column of a name, and which there are.
pub(in crate::alert) fn no_column<'a>(
    name: &str,
    columns: impl Iterator<Item = &'a str>,
) -> String {
    let known: Vec<&str> = columns.collect();
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("; is {near} meant?"),
        None => String::new(),
    };
    let more = if known.len() > LISTED_MAX { ", …" } else { "" };
    let listed = known.iter().take(LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
    format!("there is no column {name:?}; there are {listed}{more}{hint}")
}

impl std::fmt::Display for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => f.write_str(&path.join(".")),
            Self::Literal(value) => write!(f, "{}", kind_of(value)),
        }
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

/// How two values compare; `None` if nobody can tell.
fn compare(left: &Value, operator: Operator, right: &Value) -> Option<bool> {
    let equality = matches!(operator, Operator::Equal | Operator::Unequal);
    let order = match (number(left), number(right), left, right) {
        _ if operator == Operator::Contains => return contains(left, right),
        (_, _, Value::Array(_), Value::Array(_)) | (_, _, Value::Object(_), Value::Object(_)) => {
            return equality.then(|| (left == right) == (operator == Operator::Equal));
        }
        (Some(left), Some(right), ..) => left.partial_cmp(&right)?,
        // A number and a text that is none have no order.
        (None, None, Value::String(left), Value::String(right)) => left.cmp(right),
        (_, _, Value::String(left), Value::String(right)) if equality => left.cmp(right),
        (_, _, Value::Bool(left), Value::Bool(right)) if equality => left.cmp(right),
        _ => return None,
    };
    Some(match operator {
        Operator::Equal => order.is_eq(),
        Operator::Unequal => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::AtMost => order.is_le(),
        Operator::More => order.is_gt(),
        Operator::AtLeast => order.is_ge(),
        Operator::Contains => return None,
    })
}

fn contains(whole: &Value, part: &Value) -> Option<bool> {
    match (whole, part) {
        (Value::String(text), Value::String(part)) => Some(text.contains(part.as_str())),
        (Value::Array(items), part) => Some(items.contains(part)),
        _ => None,
    }
}

/// Why two values do not compare.
fn mismatch(left: (&Operand, &Value), operator: Operator, right: (&Operand, &Value)) -> String {
    let told = |(operand, value): (&Operand, &Value)| match operand {
        Operand::Literal(value) => kind_of(value),
        Operand::Path(_) => format!("{operand} ({})", kind_of(value)),
    };
    match operator {
        Operator::Contains => format!("{} cannot contain {}", told(left), told(right)),
        _ => format!("{} cannot be compared with {}", told(left), told(right)),
    }
}

/// What a value is, in words.
fn kind_of(value: &Value) -> String {
    const SHOWN_MAX: usize = 40;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        // As a fraction, so that 4 and 4.0 read the same.
        Value::Number(number) => {
            let shown = number.as_f64().map_or_else(|| number.to_string(), |it| it.to_string());
            format!("the number {shown}")
        }
        Value::String(text) => format!("the text {:?}", cut(text, SHOWN_MAX)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
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
        if let [Token::Word(word), Token::Symbol("("), ..] = &self.tokens[self.at..]
            && word == "exists"
        {
            self.at += 2;
            let inner = self.operand()?;
            return if self.take(&[")"]) {
                Ok(Condition::Exists(inner))
            } else {
                Err("exists(…) takes one name".to_owned())
            };
        }
        let left = self.operand()?;
        if self.take(&["is"]) {
            let negated = self.take(&["not"]);
            return if self.take(&["null"]) {
                Ok(null_test(left, negated))
            } else {
                Err("after is comes null or not null".to_owned())
            };
        }
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
        comparison(left, operator, self.operand()?)
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

fn null_test(operand: Operand, negated: bool) -> Condition {
    let test = Condition::Null(operand);
    if negated { Condition::Not(Box::new(test)) } else { test }
}

/// A comparison; one with null is a test for it.
fn comparison(left: Operand, operator: Operator, right: Operand) -> Result<Condition, String> {
    let operand = match (left, right) {
        (Operand::Literal(Value::Null), other) | (other, Operand::Literal(Value::Null)) => other,
        (left, right) => {
            for operand in [&left, &right] {
                let Operand::Literal(Value::String(text)) = operand else { continue };
                let percent = text.strip_suffix('%').is_some_and(|it| it.parse::<f64>().is_ok());
                let equality = matches!(operator, Operator::Equal | Operator::Unequal);
                if percent && !equality && operator != Operator::Contains {
                    return Err(format!("{text:?} in quotes is a text; write {text}"));
                }
            }
            return Ok(Condition::Compare(left, operator, right));
        }
    };
    match operator {
        Operator::Equal => Ok(null_test(operand, false)),
        Operator::Unequal => Ok(null_test(operand, true)),
        _ => Err("null compares with nothing; write such as x is null".to_owned()),
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
