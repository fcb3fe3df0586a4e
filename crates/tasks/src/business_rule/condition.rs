//! What a cell of a decision table says: the condition that it puts on an input, or the value that
//! it gives as an output.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use regex::{Regex, RegexBuilder};
use serde_json::{Number, Value};

use crate::pattern::weight_of;

/// Makes something of a text.
type Make<T> = fn(String) -> Result<T, String>;

/// Heaviest regular expression, as [`weight_of`] weighs it.
const PATTERN_WEIGHT_MAX: u64 = 1_000;
/// Length of a text times the weight of the expression that it is held against: a text of 100,000
/// bytes and an ordinary expression.
const PATTERN_WORK_MAX: u64 = 10_000_000;
/// Most memory of one compiled expression, and of what a search with it remembers.
const PATTERN_BYTES_MAX: usize = 256 << 10;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// A value that is compared, seen in every way that it can be compared in.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    /// The text; nothing for null.
    text: Option<String>,
    number: Option<Amount>,
    moment: Option<DateTime>,
    is_flag: bool,
    /// The items of a list.
    items: Vec<Operand>,
}

/// A number. Whole ones are compared exactly: ids with many digits are no fractions.
#[derive(Clone, Copy, Debug)]
enum Amount {
    Whole(i128),
    Real(f64),
}

impl Amount {
    /// Reads a number as JSON writes it: `007` is a code and `1,000` a text.
    fn of(text: &str) -> Option<Self> {
        let real = text.parse::<Number>().ok()?.as_f64()?;
        Some(text.parse().map_or(Self::Real(real), Self::Whole))
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        let real = |amount| match amount {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        };
        match (self, other) {
            (Self::Whole(one), Self::Whole(two)) => Some(one.cmp(&two)),
            (one, two) => real(one).partial_cmp(&real(two)),
        }
    }
}

impl Operand {
    /// What an input is.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::literal(None),
            Value::String(text) => Self::read(text.trim()),
            Value::Bool(_) => Self { is_flag: true, ..Self::literal(Some(value.to_string())) },
            Value::Number(_) => Self::read(&value.to_string()),
            Value::Array(items) => Self {
                items: items.iter().map(Self::of).collect(),
                ..Self::literal(Some(value.to_string()))
            },
            Value::Object(_) => Self::literal(Some(value.to_string())),
        }
    }

    /// A text that may be a number or a date.
    fn read(text: &str) -> Self {
        Self {
            number: Amount::of(text),
            moment: moment(text),
            ..Self::literal(Some(text.to_owned()))
        }
    }

    /// A text that is nothing else.
    fn literal(text: Option<String>) -> Self {
        Self { text, number: None, moment: None, is_flag: false, items: Vec::new() }
    }

    /// What an author wrote behind an operator; in quotes, it is a text whatever it looks like.
    fn written(text: &str) -> Self {
        match quoted(text) {
            Some(inner) => Self::literal(Some(inner)),
            None => Self::read(text),
        }
    }

    fn order(&self, other: &Self) -> Option<Ordering> {
        match (self.number, other.number, self.moment, other.moment) {
            (Some(one), Some(two), ..) => one.compare(two),
            (.., Some(one), Some(two)) => Some(one.cmp(&two)),
            _ => None,
        }
    }

    fn equals(&self, other: &Self) -> bool {
        if let Some(order) = self.order(other) {
            return order.is_eq();
        }
        match (self.text.as_deref(), other.text.as_deref()) {
            // The word in a cell stands for the value.
            (None, Some(word)) | (Some(word), None) => word == "null",
            (Some(one), Some(two)) if self.is_flag || other.is_flag => {
                one.eq_ignore_ascii_case(two)
            }
            (one, two) => one == two,
        }
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Longest first: `<=` also begins with `<`.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("!=", Comparison::Unequal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

impl Comparison {
    /// The comparison that a text begins with, and what follows.
    fn strip(text: &str) -> Option<(&'static str, Self, &str)> {
        COMPARISONS.iter().find_map(|(sign, comparison)| {
            let rest = text.strip_prefix(sign)?;
            Some((*sign, *comparison, rest.trim()))
        })
    }

    fn holds(self, one: &Operand, two: &Operand) -> bool {
        match self {
            Self::Equal => one.equals(two),
            Self::Unequal => !one.equals(two),
            // What cannot be compared does not match, so that a table may mix numbers and words.
            Self::Less => one.order(two).is_some_and(Ordering::is_lt),
            Self::LessOrEqual => one.order(two).is_some_and(Ordering::is_le),
            Self::Greater => one.order(two).is_some_and(Ordering::is_gt),
            Self::GreaterOrEqual => one.order(two).is_some_and(Ordering::is_ge),
        }
    }
}

/// The condition of a cell.
#[derive(Debug)]
pub(super) enum Condition {
    Compare(Comparison, Operand),
    /// The number of characters of a text.
    Length(Comparison, Operand),
    InList(Vec<Operand>),
    NotInList(Vec<Operand>),
    StartsWith(String),
    EndsWith(String),
    Contains(Operand),
    Matches {
        pattern: Regex,
        weight: u64,
    },
}

impl Condition {
    /// Reads the condition of a cell in a column.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(cell: &Value, column: &str) -> Result<Self, String> {
        let Value::String(text) = cell else {
            return Ok(Self::Compare(Comparison::Equal, Operand::of(cell)));
        };
        let text = text.trim();
        // `price >= 100` in the column `price` says no more than `>= 100`.
        let bare = text.strip_prefix(column).map(str::trim_start);
        if let Some(condition) = bare.and_then(|text| Self::operator(text).transpose()) {
            return condition;
        }
        let plain = || Self::Compare(Comparison::Equal, Operand::written(text));
        Ok(Self::operator(text)?.unwrap_or_else(plain))
    }

    /// A condition that begins with an operator; nothing if it is a plain value.
    fn operator(text: &str) -> Result<Option<Self>, String> {
        if let Some((sign, comparison, rest)) = Comparison::strip(text) {
            let list = if sign == "!=" { call(rest, "inList") } else { None };
            return match list {
                Some(list) => operands(list).map(Self::NotInList),
                None => Ok(Self::Compare(comparison, operand(sign, comparison, rest)?)),
            }
            .map(Some);
        }
        if let Some(rest) = text.strip_prefix("length").map(str::trim_start)
            && let Some((sign, comparison, rest)) = Comparison::strip(rest)
        {
            let length = operand(sign, comparison, rest)?;
            if length.number.is_none() {
                return Err(format!("`length {sign}` needs a number, not `{rest}`"));
            }
            return Ok(Some(Self::Length(comparison, length)));
        }
        let words: [(&str, Make<Self>); 4] = [
            ("startsWith", |text| Ok(Self::StartsWith(text))),
            ("endsWith", |text| Ok(Self::EndsWith(text))),
            ("contains", |text| Ok(Self::Contains(Operand::literal(Some(text))))),
            ("matches", |text| pattern(&text)),
        ];
        for (name, make) in words {
            if let Some(argument) = call(text, name) {
                let argument = argument.strip_suffix(')').map(str::trim).and_then(quoted);
                let needs = || format!("`{name}` needs a text in quotes: {name}(\"…\")");
                return make(argument.ok_or_else(needs)?).map(Some);
            }
        }
        call(text, "inList").map(|list| operands(list).map(Self::InList)).transpose()
    }

    /// Whether an input meets it.
    ///
    /// # Errors
    /// The text is too long to be held against a regular expression.
    pub(super) fn holds(&self, input: &Operand) -> Result<bool, String> {
        let text = input.text.as_deref();
        Ok(match self {
            Self::Compare(comparison, operand) => comparison.holds(input, operand),
            Self::Length(comparison, length) => text.is_some_and(|text| {
                let count = Amount::Whole(text.chars().count() as i128);
                let count = Operand { number: Some(count), ..Operand::literal(None) };
                comparison.holds(&count, length)
            }),
            Self::InList(list) => list.iter().any(|item| input.equals(item)),
            Self::NotInList(list) => !list.iter().any(|item| input.equals(item)),
            Self::StartsWith(part) => text.is_some_and(|text| text.starts_with(part)),
            Self::EndsWith(part) => text.is_some_and(|text| text.ends_with(part)),
            Self::Contains(part) if !input.items.is_empty() => {
                input.items.iter().any(|item| item.text == part.text)
            }
            Self::Contains(part) => {
                text.zip(part.text.as_deref()).is_some_and(|(text, part)| text.contains(part))
            }
            Self::Matches { pattern, weight } => {
                let Some(text) = text else { return Ok(false) };
                if weight.saturating_mul(text.len() as u64) > PATTERN_WORK_MAX {
                    let long = text.len();
                    return Err(format!("`matches` is too much work on a text of {long} bytes"));
                }
                pattern.is_match(text)
            }
        })
    }

    /// Bytes that it holds beside its cell, about.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Matches { weight, .. } => (32 << 10) + 256 * *weight as usize,
            Self::InList(list) | Self::NotInList(list) => list.len() * size_of::<Operand>(),
            _ => 0,
        }
    }
}

/// What a cell gives as an output.
///
/// # Errors
/// What is wrong with its `createList`.
pub(super) fn output(cell: &Value) -> Result<Value, String> {
    let Some(list) = cell.as_str().and_then(|text| call(text.trim(), "createList")) else {
        return Ok(cell.clone());
    };
    let value = |item: Item<'_>| match item {
        Item::Quoted(text) => Value::String(text),
        Item::Bare(text) => text
            .parse()
            .map(Value::Number)
            .or_else(|_| text.parse().map(Value::Bool))
            .unwrap_or_else(|_| Value::String(text.to_owned())),
    };
    Ok(Value::Array(items(list)?.into_iter().map(value).collect()))
}

fn operand(sign: &str, comparison: Comparison, rest: &str) -> Result<Operand, String> {
    if rest.is_empty() {
        return Err(format!("`{sign}` is followed by nothing"));
    }
    if Comparison::strip(rest).is_some() {
        return Err(format!(
            "`{sign}{rest}` begins with no operator; there are <=, >=, =, !=, < and >"
        ));
    }
    let operand = Operand::written(rest);
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::Unequal);
    if !is_equality && operand.number.is_none() && operand.moment.is_none() {
        return Err(format!("`{sign}` compares numbers and dates, and `{rest}` is neither"));
    }
    Ok(operand)
}

fn operands(list: &str) -> Result<Vec<Operand>, String> {
    let operand = |item| match item {
        Item::Quoted(text) => Operand::read(&text),
        Item::Bare(text) => Operand::read(text),
    };
    Ok(items(list)?.into_iter().map(operand).collect())
}

fn pattern(text: &str) -> Result<Condition, String> {
    let weight = weight_of(text);
    if weight > PATTERN_WEIGHT_MAX {
        let most = PATTERN_WEIGHT_MAX;
        return Err(format!(
            "its regular expression is too large: {weight} places, {most} at most"
        ));
    }
    // All of the text must match, as it must in Java.
    let built = RegexBuilder::new(&format!(r"\A(?:{text})\z"))
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .build();
    let pattern = built.map_err(|error| {
        // The last line says what; the others draw the expression.
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("its regular expression cannot be used: {why}")
    })?;
    Ok(Condition::Matches { pattern, weight })
}

/// What follows `name(` in a text that begins so.
fn call<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let head = text.get(..name.len()).filter(|head| head.eq_ignore_ascii_case(name))?;
    let rest = text[head.len()..].trim_start().strip_prefix('(')?;
    Some(rest.trim())
}

/// The text inside quotes that span all of it; `\"` and `\\` stand for a quote and a backslash.
fn quoted(text: &str) -> Option<String> {
    let (inner, rest) = unquote(text)?;
    rest.is_empty().then_some(inner)
}

/// The text inside the quotes that a text begins with, and what follows them.
fn unquote(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut inner = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((inner, &text[at + 1..])),
            '\\' => inner.push(
                chars
                    .next_if(|(_, next)| matches!(next, '"' | '\\'))
                    .map_or(char, |(_, next)| next),
            ),
            _ => inner.push(char),
        }
    }
    None
}

/// An element of a list.
enum Item<'a> {
    Quoted(String),
    Bare(&'a str),
}

/// The elements of `{"A", "B", 3})`.
fn items(list: &str) -> Result<Vec<Item<'_>>, String> {
    let wrong = || "a list is written as ({\"A\",\"B\"})".to_owned();
    let inner = list.strip_suffix(')').and_then(|list| list.trim().strip_prefix('{'));
    let mut rest = inner.and_then(|list| list.strip_suffix('}')).ok_or_else(wrong)?.trim();
    let mut items = Vec::new();
    while !rest.is_empty() {
        let after = if rest.starts_with('"') {
            let (text, after) = unquote(rest).ok_or_else(wrong)?;
            items.push(Item::Quoted(text));
            after.trim_start()
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let bare = rest[..end].trim();
            if bare.is_empty() || bare.contains(['"', '{', '}']) {
                return Err(wrong());
            }
            items.push(Item::Bare(bare));
            &rest[end..]
        };
        rest = match after.strip_prefix(',') {
            Some(more) if !more.trim().is_empty() => more.trim_start(),
            None if after.is_empty() => break,
            _ => return Err(wrong()),
        };
    }
    Ok(items)
}

/// A date, with or without a time of day: `2022-04-22`, `2022-apr-22`, `2022-04-22 10:00:00`. One
/// that names its offset is meant in UTC.
fn moment(text: &str) -> Option<DateTime> {
    let bytes = text.as_bytes();
    // Only these begin so; digits alone are a number.
    if bytes.len() < 10 || bytes[4] != b'-' {
        return None;
    }
    if bytes[5].is_ascii_alphabetic() {
        let (year, rest) = text.split_once('-')?;
        let (month, day) = rest.split_once('-')?;
        let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as i8 + 1;
        let date = Date::new(year.parse().ok()?, month, day.parse().ok()?).ok()?;
        return Some(date.into());
    }
    let zoned = |at: Timestamp| at.to_zoned(TimeZone::UTC).datetime();
    // In this order: read as a date, an offset would be passed over.
    text.parse().map(zoned).or_else(|_| text.parse()).ok()
}
