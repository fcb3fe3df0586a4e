//! Regular expressions: three filters from which the prelude makes `test`, `match`, `sub`, ….
//!
//! The matcher runs in time linear in the text, whatever the expression. The price is that look-around
//! and back-references are not known. As it looks at no clock, the product of the text and what the
//! expression may be busy with at once is bounded, too.

use std::cell::RefCell;
use std::collections::HashMap;

use jaq_core::native::Fun;
use regex::{Captures, Regex, RegexBuilder};

use super::{Data, with_two};
use crate::jq::meter;
use crate::jq::value::{Map, Str, ValR, Value, fail, limit, step};
use crate::pattern::weight_of;

pub(super) fn all() -> [Fun<Data>; 3] {
    [
        with_two!("__test", |x, re, flags| {
            let (pattern, _) = pattern(&re, &flags)?;
            let text = subject(&x)?;
            pattern.may_search(text)?;
            Ok(Value::Bool(pattern.regex.is_match(text)))
        }),
        with_two!("__matches", |x: Value, re, flags| matches(&x, &re, &flags)),
        with_two!("__pieces", |x: Value, re, flags| pieces(&x, &re, &flags)),
    ]
}

/// Bytes a compiled expression may take.
const COMPILED_MAX: usize = 2 << 20;
/// Compiled expressions kept per thread.
const KEPT_MAX: usize = 64;

/// Bytes of a text times the weight of an expression that one search may take.
const WORK_MAX: u64 = 1 << 30;

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "jq's flags are independent letters")]
struct Flags {
    global: bool,
    ignore_case: bool,
    extended: bool,
    dot_all: bool,
    skip_empty: bool,
}

thread_local! {
    /// Compiling costs a thousand times a match, and programs test item after item.
    static KEPT: RefCell<HashMap<(String, Flags), Pattern>> = RefCell::default();
}

/// A compiled expression.
#[derive(Clone)]
struct Pattern {
    regex: Regex,
    /// How many of its places a search may be at, at once.
    weight: u64,
}

impl Pattern {
    fn may_search(&self, text: &str) -> ValR<()> {
        let work = (text.len() as u64).saturating_mul(self.weight);
        if work <= WORK_MAX {
            return Ok(());
        }
        Err(fail(format_args!(
            "the regex is too large for a text of {} bytes: repetitions such as {{1000}} count as \
             often as they say",
            text.len()
        )))
    }
}

fn flags(letters: &Value) -> ValR<Flags> {
    let mut flags = Flags::default();
    let letters = match letters {
        Value::Null => return Ok(flags),
        Value::String(letters) => letters,
        other => {
            return Err(fail(format_args!("{} is not a string", other.described())));
        }
    };
    for letter in letters.chars() {
        match letter {
            'g' => flags.global = true,
            'i' => flags.ignore_case = true,
            'x' => flags.extended = true,
            'n' => flags.skip_empty = true,
            'p' => flags.dot_all = true,
            // Single line mode is the only mode; longest match has no counterpart.
            's' | 'l' => {}
            _ => {
                return Err(fail(format_args!("{} is not a valid modifier string", &**letters)));
            }
        }
    }
    Ok(flags)
}

/// The expression, given as a string or as `[string, flags]`.
fn pattern(re: &Value, letters: &Value) -> ValR<(Pattern, Flags)> {
    let (re, letters) = match re {
        Value::Array(pair) if !pair.is_empty() => {
            let own = pair.get(1).cloned().unwrap_or(Value::Null);
            (pair[0].clone(), (own + letters.clone())?)
        }
        re => (re.clone(), letters.clone()),
    };
    let flags = flags(&letters)?;
    let Some(source) = re.as_str() else {
        return Err(fail(format_args!(
            "{} cannot be matched, as it is not a string",
            re.described()
        )));
    };
    step()?;
    let key = (source.to_owned(), flags);
    if let Some(pattern) = KEPT.with_borrow(|kept| kept.get(&key).cloned()) {
        return Ok((pattern, flags));
    }
    let regex = RegexBuilder::new(source)
        .case_insensitive(flags.ignore_case)
        .ignore_whitespace(flags.extended)
        .dot_matches_new_line(flags.dot_all)
        .size_limit(COMPILED_MAX)
        .dfa_size_limit(COMPILED_MAX)
        .build()
        .map_err(|e| {
            let reason = e.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim();
            fail(format_args!("{source} (at offset 0) is not a valid regex: {reason}"))
        })?;
    let pattern = Pattern { regex, weight: weight_of(source) };
    KEPT.with_borrow_mut(|kept| {
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, pattern.clone());
    });
    Ok((pattern, flags))
}

/// The expression, if it may be searched for in a text.
fn searched(text: &str, re: &Value, letters: &Value) -> ValR<(Pattern, Flags)> {
    let (pattern, flags) = pattern(re, letters)?;
    pattern.may_search(text)?;
    Ok((pattern, flags))
}

fn subject(x: &Value) -> ValR<&str> {
    x.as_str().ok_or_else(|| {
        fail(format_args!("{} cannot be matched, as it is not a string", x.described()))
    })
}

/// Bytes of a text that is searched in no time.
const SHORT: usize = 64 << 10;

fn long_step() -> ValR<()> {
    if meter::long_step() { Ok(()) } else { Err(limit()) }
}

/// Hands each match to `each`, until it fails.
fn for_each_match<'t>(
    text: &'t str,
    regex: &Regex,
    flags: Flags,
    mut each: impl FnMut(&Captures<'t>) -> ValR<()>,
) -> ValR<()> {
    for captures in regex.captures_iter(text) {
        // A search for the next match may go through all that is left of the text.
        if text.len() > SHORT {
            long_step()?;
        } else {
            step()?;
        }
        if flags.skip_empty && captures[0].is_empty() {
            continue;
        }
        each(&captures)?;
        if !flags.global {
            break;
        }
    }
    Ok(())
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let members = members.into_iter();
    Value::object(members.map(|(key, value)| (Str::from(key), value)).collect())
}

/// Counts characters up to byte positions that only grow.
struct Characters<'t> {
    text: &'t str,
    bytes: usize,
    count: usize,
}

impl Characters<'_> {
    fn upto(&mut self, bytes: usize) -> usize {
        // Groups may start before the end of a former one.
        if bytes < self.bytes {
            return self.count - self.text[bytes..self.bytes].chars().count();
        }
        self.count += self.text[self.bytes..bytes].chars().count();
        self.bytes = bytes;
        self.count
    }
}

fn matches(x: &Value, re: &Value, letters: &Value) -> ValR {
    let text = subject(x)?;
    let (Pattern { regex, .. }, flags) = searched(text, re, letters)?;
    let mut characters = Characters { text, bytes: 0, count: 0 };
    let mut found = Vec::new();
    for_each_match(text, &regex, flags, |captures| {
        let mut part = |found: Option<regex::Match<'_>>| match found {
            Some(found) => [
                ("offset", Value::from(characters.upto(found.start()))),
                ("length", Value::from(found.as_str().chars().count())),
                ("string", Value::string(found.as_str())),
            ],
            None => {
                [("offset", Value::Int(-1)), ("length", Value::Int(0)), ("string", Value::Null)]
            }
        };
        let [offset, length, string] = part(captures.get(0));
        let names = regex.capture_names().skip(1);
        let groups = captures.iter().skip(1).zip(names).map(|(group, name)| {
            let [offset, length, string] = part(group);
            let name = name.map_or(Value::Null, Value::string);
            object([offset, length, string, ("name", name)])
        });
        let groups = ("captures", groups.collect());
        found.push(object([offset, length, string, groups]));
        step()
    })?;
    Ok(Value::array(found))
}

/// The text between the matches, and for each match the object of its named groups.
fn pieces(x: &Value, re: &Value, letters: &Value) -> ValR {
    let text = subject(x)?;
    let (Pattern { regex, .. }, flags) = searched(text, re, letters)?;
    let mut pieces = Vec::new();
    let mut end = 0;
    for_each_match(text, &regex, flags, |captures| {
        let whole = captures.get_match();
        pieces.push(Value::string(&text[end..whole.start()]));
        end = whole.end();
        let mut named = Map::new();
        for name in regex.capture_names().flatten() {
            let group = captures.name(name);
            let string = group.map_or(Value::Null, |group| Value::string(group.as_str()));
            named.insert(Str::from(name), string);
        }
        pieces.push(Value::object(named));
        step()
    })?;
    pieces.push(Value::string(&text[end..]));
    Ok(Value::array(pieces))
}
