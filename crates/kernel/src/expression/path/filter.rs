//! The tests in `[?(…)]`: `@.price < 20 && @.name =~ /b.*/i`.
//!
//! Comparison follows Jayway's operand kinds, where the left side decides: `'1' == 1` compares as
//! text, `1 == '1.0'` as numbers, a missing path equals nothing, not even another missing path.

use std::borrow::Cow;
use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use serde_json::{Number, Value};

use super::evaluate::{Fault, Surroundings, find};
use super::parse::Reader;
use super::permissive::{self, unescape};
use super::{Base, Path, PathError};
use crate::expression::java;

/// The most memory, in bytes, that one regular expression may take.
const REGEX_MAX: usize = 256 * 1024;

/// A compiled filter.
#[derive(Clone, Debug)]
pub(super) struct Filter(Test);

#[derive(Clone, Debug)]
pub(super) enum Test {
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
    Exists { path: Path, wanted: bool },
    Compare { left: Term, operator: Operator, right: Term },
}

#[derive(Clone, Debug)]
pub(super) enum Term {
    Path(Path),
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    /// `None` when the text is not even leniently JSON.
    Literal(Option<Value>),
    Regex(Regex),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    SameEqual,
    NotEqual,
    NotSameEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    In,
    NotIn,
    Contains,
    Size,
    Empty,
    SubsetOf,
    AnyOf,
    NoneOf,
    /// `all`, `type`, `matches`: in Jayway 2.4 no text can give them an operand they accept.
    Never,
}

/// Reads a test from its `(` up to and with its `)`.
pub(super) fn parse(reader: &mut Reader) -> Result<Test, PathError> {
    reader.nested(|reader| {
        reader.take('(');
        let test = any(reader)?;
        if reader.take(')') { Ok(test) } else { reader.fail("expected ')', '&&' or '||'") }
    })
}

fn any(reader: &mut Reader) -> Result<Test, PathError> {
    chain(reader, '|', all, Test::Any)
}

fn all(reader: &mut Reader) -> Result<Test, PathError> {
    chain(reader, '&', operand, Test::All)
}

/// Reads parts with a doubled `sign` between them.
fn chain(
    reader: &mut Reader,
    sign: char,
    part: fn(&mut Reader) -> Result<Test, PathError>,
    join: fn(Vec<Test>) -> Test,
) -> Result<Test, PathError> {
    let mut parts = vec![part(reader)?];
    while reader.skip_spaces() == Some(sign) && reader.char(reader.at() + 1) == Some(sign) {
        reader.go(reader.at() + 2);
        parts.push(part(reader)?);
    }
    Ok(if parts.len() == 1 { parts.swap_remove(0) } else { join(parts) })
}

fn operand(reader: &mut Reader) -> Result<Test, PathError> {
    let start = reader.at();
    match reader.skip_spaces() {
        Some('(') => parse(reader),
        Some('!') => {
            reader.go(reader.at() + 1);
            if matches!(reader.skip_spaces(), Some('$' | '@')) {
                reader.go(start);
                return comparison(reader);
            }
            reader.nested(|reader| Ok(Test::Not(Box::new(operand(reader)?))))
        }
        _ => comparison(reader),
    }
}

/// `term`, which must be a path, or `term operator term`.
fn comparison(reader: &mut Reader) -> Result<Test, PathError> {
    let wanted = !reader.take('!');
    let left = term(reader)?;
    let after = reader.at();
    if let Some(operator) = operator(reader) {
        // A `!` before the right side's path does nothing, as a `!` before a compared left side.
        if reader.take('!') && !matches!(reader.skip_spaces(), Some('$' | '@')) {
            return reader.fail("expected a path after '!'");
        }
        return Ok(Test::Compare { left, operator, right: term(reader)? });
    }
    reader.go(after);
    match left {
        Term::Path(path) => Ok(Test::Exists { path, wanted }),
        _ => reader.fail("expected an operator"),
    }
}

fn operator(reader: &mut Reader) -> Option<Operator> {
    let is_sign = |c| matches!(c, '<' | '>' | '=' | '~' | '!');
    let first = reader.skip_spaces()?;
    let start = reader.at();
    let signs = is_sign(first);
    while let Some(c) = reader.current()
        && (if signs { is_sign(c) } else { c != ' ' })
    {
        reader.go(reader.at() + 1);
    }
    Some(match reader.text(start, reader.at()).to_ascii_lowercase().as_str() {
        "==" => Operator::Equal,
        "===" => Operator::SameEqual,
        "!=" => Operator::NotEqual,
        "!==" => Operator::NotSameEqual,
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterOrEqual,
        "=~" => Operator::Matches,
        "in" => Operator::In,
        "nin" => Operator::NotIn,
        "contains" => Operator::Contains,
        "size" => Operator::Size,
        "empty" => Operator::Empty,
        "subsetof" => Operator::SubsetOf,
        "anyof" => Operator::AnyOf,
        "noneof" => Operator::NoneOf,
        "all" | "type" | "matches" | "exists" => Operator::Never,
        _ => return None,
    })
}

fn term(reader: &mut Reader) -> Result<Term, PathError> {
    match reader.skip_spaces() {
        Some('$' | '@') => path(reader),
        Some(quote @ ('\'' | '"')) => {
            let Some(end) = reader.find_unescaped(reader.at() + 1, quote) else {
                return reader.fail("the text is not closed");
            };
            let Some(text) = unescape(&reader.text(reader.at() + 1, end)) else {
                return reader.fail("broken \\u escape");
            };
            reader.go(end + 1);
            Ok(Term::Text(text))
        }
        Some('/') => regex(reader),
        Some('[') => literal(reader, '[', ']'),
        Some('{') => literal(reader, '{', '}'),
        _ => word(reader),
    }
}

fn path(reader: &mut Reader) -> Result<Term, PathError> {
    let start = reader.at();
    reader.go(start + 1);
    while let Some(c) = reader.current() {
        match c {
            '[' => {
                let Some(end) = reader.find_closing(reader.at(), '[', ']') else {
                    return reader.fail("the bracket is not closed");
                };
                reader.go(end);
            }
            '<' | '>' | '=' | '~' | '!' | ' ' => break,
            // The `)` of `@.list.length()` belongs to the path, others close the test.
            ')' if reader.char(reader.at() - 1) != Some('(') => break,
            _ => {}
        }
        reader.go(reader.at() + 1);
    }
    reader.inner_path(&reader.text(start, reader.at())).map(Term::Path)
}

fn regex(reader: &mut Reader) -> Result<Term, PathError> {
    let start = reader.at() + 1;
    let Some(end) = reader.find_unescaped(start, '/') else {
        return reader.fail("the regular expression is not closed");
    };
    let insensitive = reader.char(end + 1) == Some('i');
    // The whole input must match.
    let pattern = format!(r"\A(?:{})\z", reader.text(start, end));
    let regex = RegexBuilder::new(&pattern)
        .case_insensitive(insensitive)
        .size_limit(REGEX_MAX)
        .dfa_size_limit(REGEX_MAX)
        .nest_limit(32)
        .build();
    let Ok(regex) = regex else {
        return reader.fail("not a regular expression, or one too large");
    };
    reader.go(end + 1 + usize::from(insensitive));
    Ok(Term::Regex(regex))
}

fn literal(reader: &mut Reader, open: char, close: char) -> Result<Term, PathError> {
    let start = reader.at();
    let Some(end) = reader.find_closing(start, open, close) else {
        return reader.fail("the literal is not closed");
    };
    reader.go(end + 1);
    Ok(Term::Literal(permissive::parse(&reader.text(start, end + 1))))
}

/// `true`, `false`, `null` or a number without an exponent.
fn word(reader: &mut Reader) -> Result<Term, PathError> {
    let start = reader.at();
    for (word, term) in
        [("true", Term::Bool(true)), ("false", Term::Bool(false)), ("null", Term::Null)]
    {
        if reader.text(start, start + word.len()) == word {
            reader.go(start + word.len());
            return Ok(term);
        }
    }
    while reader.current().is_some_and(|c| c.is_ascii_digit() || matches!(c, '-' | '.')) {
        reader.go(reader.at() + 1);
    }
    match decimal(&reader.text(start, reader.at())) {
        Some(number) => Ok(Term::Number(number)),
        None => reader.fail("expected a path, a text, a number, true, false, null or a list"),
    }
}

fn decimal(text: &str) -> Option<Number> {
    if let Ok(integer) = text.parse::<i64>() {
        return Some(integer.into());
    }
    let is_decimal = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    if !text.chars().all(is_decimal) {
        return None;
    }
    text.parse().ok().and_then(Number::from_f64)
}

impl Filter {
    pub(super) fn new(test: Test) -> Self {
        Self(test)
    }

    /// Whether `item` passes; a test that cannot be applied to it fails.
    pub(super) fn accepts(&self, item: &Value, around: Surroundings<'_>) -> Result<bool, Fault> {
        match self.0.holds(item, around) {
            Err(Fault::Missing | Fault::Inapplicable) => Ok(false),
            result => result,
        }
    }

    /// Shows all paths in the filter, and whether each is read from the whole document.
    pub(super) fn visit<'p>(&'p self, see: &mut impl FnMut(&'p Path, bool)) {
        self.0.visit(see);
    }
}

impl Test {
    fn visit<'p>(&'p self, see: &mut impl FnMut(&'p Path, bool)) {
        match self {
            Self::Any(tests) | Self::All(tests) => tests.iter().for_each(|test| test.visit(see)),
            Self::Not(test) => test.visit(see),
            // Jayway looks for existence below the item, whatever the path begins with.
            Self::Exists { path, .. } => see(path, false),
            Self::Compare { left, right, .. } => {
                for term in [left, right] {
                    if let Term::Path(path) = term {
                        see(path, path.base == Base::Document);
                    }
                }
            }
        }
    }

    fn holds(&self, item: &Value, around: Surroundings<'_>) -> Result<bool, Fault> {
        match self {
            Self::Any(tests) => {
                for test in tests {
                    if test.holds(item, around)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::All(tests) => {
                for test in tests {
                    if !test.holds(item, around)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Not(test) => test.holds(item, around).map(|holds| !holds),
            Self::Exists { path, wanted } => match find(path, item, around, true) {
                Ok(_) => Ok(*wanted),
                Err(Fault::Missing) => Ok(!*wanted),
                Err(fault) => Err(fault),
            },
            Self::Compare { left, operator, right } => {
                let left = left.operand(item, around)?;
                let right = right.operand(item, around)?;
                operator.holds(&left, &right)
            }
        }
    }
}

/// A side of a comparison, by the kinds that Jayway tells apart.
#[derive(Debug)]
enum Operand<'v> {
    Undefined,
    Null,
    Bool(bool),
    Number(Cow<'v, Number>),
    Text(Cow<'v, str>),
    /// A list or map of the document.
    Data(Cow<'v, Value>),
    /// A list or map of the filter's text.
    Literal(Option<&'v Value>),
    Regex(&'v Regex),
}

impl Term {
    fn operand<'v>(
        &'v self,
        item: &'v Value,
        around: Surroundings<'v>,
    ) -> Result<Operand<'v>, Fault> {
        Ok(match self {
            Self::Null => Operand::Null,
            Self::Bool(value) => Operand::Bool(*value),
            Self::Number(number) => Operand::Number(Cow::Borrowed(number)),
            Self::Text(text) => Operand::Text(Cow::Borrowed(text)),
            Self::Literal(literal) => Operand::Literal(literal.as_ref()),
            Self::Regex(regex) => Operand::Regex(regex),
            Self::Path(path) => {
                let start = if path.base == Base::Document { around.document } else { item };
                match find(path, start, around, false) {
                    Ok(found) => Operand::of(found),
                    Err(Fault::Missing) => Operand::Undefined,
                    Err(fault) => return Err(fault),
                }
            }
        })
    }
}

impl<'v> Operand<'v> {
    fn of(found: Cow<'v, Value>) -> Self {
        match found {
            Cow::Borrowed(Value::String(text)) => Self::Text(Cow::Borrowed(text)),
            Cow::Owned(Value::String(text)) => Self::Text(Cow::Owned(text)),
            Cow::Borrowed(Value::Number(number)) => Self::Number(Cow::Borrowed(number)),
            Cow::Owned(Value::Number(number)) => Self::Number(Cow::Owned(number)),
            found => match *found {
                Value::Null => Self::Null,
                Value::Bool(value) => Self::Bool(value),
                _ => Self::Data(found),
            },
        }
    }

    /// An element of a list; one that is itself a list or map cannot be compared with anything.
    fn element(value: &'v Value) -> Result<Self, Fault> {
        match Self::of(Cow::Borrowed(value)) {
            Self::Data(_) => Err(Fault::Aborted),
            operand => Ok(operand),
        }
    }

    /// The list or map, if this is one.
    fn json(&self) -> Result<Option<&Value>, Fault> {
        match self {
            Self::Data(value) => Ok(Some(value)),
            Self::Literal(literal) => literal.map(Some).ok_or(Fault::Aborted),
            _ => Ok(None),
        }
    }

    /// The elements; `None` for a map.
    fn elements(&self) -> Result<Option<Vec<Operand<'_>>>, Fault> {
        match self.json()? {
            None => Err(Fault::Inapplicable),
            Some(Value::Array(items)) => {
                items.iter().map(Operand::element).collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Ok(None),
        }
    }

    fn equals(&self, other: &Operand<'_>) -> Result<bool, Fault> {
        Ok(match (self, other) {
            (Self::Data(left), Operand::Data(_) | Operand::Literal(_)) => {
                other.json()? == Some(left)
            }
            (Self::Null, Operand::Null) => true,
            (Self::Bool(left), Operand::Bool(right)) => left == right,
            (Self::Text(left), Operand::Text(right)) => left == right,
            (Self::Text(left), Operand::Number(right)) => *left == number_text(right),
            (Self::Number(left), Operand::Number(right)) => {
                compare(left, right) == Some(Ordering::Equal)
            }
            (Self::Number(left), Operand::Text(right)) => {
                decimal(right).is_some_and(|right| compare(left, &right) == Some(Ordering::Equal))
            }
            _ => false,
        })
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Undefined => 0,
            Self::Null => 1,
            Self::Bool(_) => 2,
            Self::Number(_) => 3,
            Self::Text(_) => 4,
            Self::Data(_) | Self::Literal(_) => 5,
            Self::Regex(_) => 6,
        }
    }

    fn order(&self, other: &Operand<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(left), Operand::Number(right)) => compare(left, right),
            (Self::Text(left), Operand::Text(right)) => Some(left.cmp(right)),
            _ => None,
        }
    }

    fn is_in(&self, elements: &[Operand<'_>]) -> Result<bool, Fault> {
        for element in elements {
            if self.equals(element)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The text that a regular expression is held against.
    fn subject(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number_text(number)),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            _ => Cow::Borrowed(""),
        }
    }
}

impl Operator {
    fn holds(self, left: &Operand<'_>, right: &Operand<'_>) -> Result<bool, Fault> {
        Ok(match self {
            Self::Equal => left.equals(right)?,
            Self::NotEqual => !left.equals(right)?,
            Self::SameEqual => left.kind() == right.kind() && left.equals(right)?,
            Self::NotSameEqual => left.kind() != right.kind() || !left.equals(right)?,
            Self::Less => left.order(right).is_some_and(Ordering::is_lt),
            Self::LessOrEqual => left.order(right).is_some_and(Ordering::is_le),
            Self::Greater => left.order(right).is_some_and(Ordering::is_gt),
            Self::GreaterOrEqual => left.order(right).is_some_and(Ordering::is_ge),
            Self::Matches => match (left, right) {
                (Operand::Regex(_), Operand::Regex(_)) => false,
                (Operand::Regex(regex), subject) | (subject, Operand::Regex(regex)) => {
                    regex.is_match(&subject.subject())
                }
                _ => false,
            },
            Self::In => is_in(left, right)?,
            Self::NotIn => !is_in(left, right)?,
            Self::Contains => match (left, right) {
                (Operand::Text(left), Operand::Text(right)) => left.contains(right.as_ref()),
                (Operand::Data(_) | Operand::Literal(_), _) => match left.elements()? {
                    Some(elements) => right.is_in(&elements)?,
                    None => false,
                },
                _ => false,
            },
            Self::Size => has_size(left, right)?,
            Self::Empty => is_empty(left, right)?,
            Self::SubsetOf => of_elements(left, right, |hits| hits.iter().all(|hit| *hit))?,
            Self::AnyOf => of_elements(left, right, |hits| hits.contains(&true))?,
            Self::NoneOf => of_elements(left, right, |hits| !hits.contains(&true))?,
            Self::Never => return Err(Fault::Inapplicable),
        })
    }
}

fn is_in(left: &Operand<'_>, right: &Operand<'_>) -> Result<bool, Fault> {
    match right.elements()? {
        Some(elements) => left.is_in(&elements),
        None => Ok(false),
    }
}

/// Judges which elements of the left list are in the right one.
fn of_elements(
    left: &Operand<'_>,
    right: &Operand<'_>,
    judge: fn(&[bool]) -> bool,
) -> Result<bool, Fault> {
    let Some(right) = right.elements()? else { return Ok(false) };
    let Some(left) = left.elements()? else { return Ok(false) };
    let hits: Result<Vec<bool>, Fault> = left.iter().map(|element| element.is_in(&right)).collect();
    Ok(judge(&hits?))
}

fn has_size(left: &Operand<'_>, right: &Operand<'_>) -> Result<bool, Fault> {
    let Operand::Number(size) = right else { return Ok(false) };
    let size = size.as_f64().map_or(-1, |size| size as i64);
    Ok(match left {
        Operand::Text(text) => text.encode_utf16().count() as i64 == size,
        _ => match left.json()? {
            Some(Value::Array(items)) => items.len() as i64 == size,
            Some(_) => size == -1,
            None => false,
        },
    })
}

fn is_empty(left: &Operand<'_>, right: &Operand<'_>) -> Result<bool, Fault> {
    let empty = match left {
        Operand::Text(text) => text.is_empty(),
        _ => match left.json()? {
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(members)) => members.is_empty(),
            Some(_) => true,
            None => return Ok(false),
        },
    };
    match right {
        Operand::Bool(wanted) => Ok(empty == *wanted),
        _ => Err(Fault::Inapplicable),
    }
}

fn compare(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// A number as Java's `BigDecimal` prints it.
fn number_text(number: &Number) -> String {
    let text = java::number(number);
    match text.split_once('E') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}E+{exponent}"),
        _ => text,
    }
}
