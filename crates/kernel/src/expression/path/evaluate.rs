//! Walks a parsed document along a path.

use std::borrow::Cow;
use std::cell::Cell;

use serde_json::{Map, Number, Value};

use super::{Argument, Call, Path, Token};
use crate::expression::java;

/// How many values one reading may visit and copy; each `..*` multiplies them by the depth of the
/// document.
const VISITS_MAX: u32 = 1 << 20;
/// How many bytes of a copied text count as a value.
const TEXT_UNIT: usize = 64;

/// Why an evaluation stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Something the path requires is not there; in a filter an undefined operand.
    Missing,
    /// A step does not apply; in a filter the item does not match.
    Inapplicable,
    /// Ends the whole reading, from inside a filter too.
    Aborted,
}

/// What a filter or an argument may need besides the value at hand.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'v> {
    /// The whole document.
    pub(super) document: &'v Value,
    visits: &'v Cell<u32>,
}

impl Surroundings<'_> {
    fn spend(&self, visits: u32) -> Result<(), Fault> {
        let spent = self.visits.get().saturating_add(visits);
        self.visits.set(spent);
        unless(spent <= VISITS_MAX, Fault::Aborted)
    }

    /// Counts what a copy of `value` costs.
    fn spend_copy(&self, value: &Value) -> Result<(), Fault> {
        self.spend(1)?;
        match value {
            Value::String(text) => self.spend((text.len() / TEXT_UNIT) as u32),
            Value::Array(items) => items.iter().try_for_each(|item| self.spend_copy(item)),
            Value::Object(members) => members.values().try_for_each(|item| self.spend_copy(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }
}

/// Reads a path; a fault is `null`, or `[]` for an indefinite path without a function.
pub(super) fn read(path: &Path, document: &Value) -> Value {
    let visits = Cell::new(0);
    let around = Surroundings { document, visits: &visits };
    match find(path, document, around, false) {
        Ok(found) => found.into_owned(),
        Err(_) if path.is_definite() || path.is_call() => Value::Null,
        Err(_) => Value::Array(Vec::new()),
    }
}

/// Reads a path from `start`: the last thing found, or a list of all for an indefinite path.
///
/// `required`: a missing name is a fault wherever it is missing.
pub(super) fn find<'v>(
    path: &Path,
    start: &'v Value,
    around: Surroundings<'v>,
    required: bool,
) -> Result<Cow<'v, Value>, Fault> {
    let mut walk = Walk { around, required, found: Vec::new() };
    walk.step(&path.tokens, true, start)?;
    if path.is_definite() {
        return walk.found.pop().ok_or(Fault::Missing);
    }
    walk.found.iter().try_for_each(|found| around.spend_copy(found))?;
    let list = walk.found.into_iter().map(Cow::into_owned).collect();
    Ok(Cow::Owned(Value::Array(list)))
}

struct Walk<'v> {
    around: Surroundings<'v>,
    required: bool,
    found: Vec<Cow<'v, Value>>,
}

impl<'v> Walk<'v> {
    /// Takes the remaining tokens from `model`; `sure` tells that all tokens before were definite.
    fn step(&mut self, tokens: &[Token], sure: bool, model: &'v Value) -> Result<(), Fault> {
        self.around.spend(1)?;
        let [token, rest @ ..] = tokens else {
            self.found.push(Cow::Borrowed(model));
            return Ok(());
        };
        let next_sure = sure && token.is_definite(rest.is_empty());
        match token {
            Token::Key(name) => match model {
                Value::Object(members) => self.member(name, rest, next_sure, members),
                _ => unless(!sure, Fault::Missing),
            },
            Token::Keys(names) => match model {
                Value::Object(members) if rest.is_empty() => self.merge(names, members),
                Value::Object(members) => {
                    names.iter().try_for_each(|name| self.member(name, rest, next_sure, members))
                }
                _ => unless(!sure, Fault::Missing),
            },
            Token::Index(_) | Token::Indexes(_) | Token::Slice { .. } => match model {
                Value::Array(items) => self.elements(token, rest, next_sure, items),
                _ => unless(!sure, Fault::Missing),
            },
            Token::Wildcard => match model {
                Value::Object(members) => {
                    members.values().try_for_each(|value| self.step(rest, next_sure, value))
                }
                Value::Array(items) => {
                    items.iter().try_for_each(|value| self.step(rest, next_sure, value))
                }
                _ => Ok(()),
            },
            Token::Scan => self.scan(rest, model),
            Token::Filter(filter) => match model {
                Value::Object(_) => {
                    if filter.accepts(model, self.around)? {
                        self.step(rest, next_sure, model)?;
                    }
                    Ok(())
                }
                Value::Array(items) => items.iter().try_for_each(|item| {
                    if filter.accepts(item, self.around)? {
                        self.step(rest, next_sure, item)?;
                    }
                    Ok(())
                }),
                _ => unless(!sure, Fault::Inapplicable),
            },
            // What stands behind a function is not read.
            Token::Call(call) => {
                let result = self.result_of(call, model)?;
                self.found.push(Cow::Owned(result));
                Ok(())
            }
        }
    }

    fn member(
        &mut self,
        name: &str,
        rest: &[Token],
        sure: bool,
        members: &'v Map<String, Value>,
    ) -> Result<(), Fault> {
        match members.get(name) {
            Some(value) => self.step(rest, sure, value),
            None => unless(!self.required, Fault::Missing),
        }
    }

    fn merge(&mut self, names: &[String], members: &Map<String, Value>) -> Result<(), Fault> {
        let mut merged = Map::new();
        for name in names {
            match members.get(name) {
                Some(value) => {
                    self.around.spend_copy(value)?;
                    merged.insert(name.clone(), value.clone());
                }
                None => unless(!self.required, Fault::Missing)?,
            }
        }
        self.found.push(Cow::Owned(Value::Object(merged)));
        Ok(())
    }

    fn elements(
        &mut self,
        token: &Token,
        rest: &[Token],
        sure: bool,
        items: &'v [Value],
    ) -> Result<(), Fault> {
        let length = items.len() as i64;
        let mut element = |index: i64| {
            let index = if index < 0 { length + index } else { index };
            match usize::try_from(index).ok().and_then(|index| items.get(index)) {
                Some(item) => self.step(rest, sure, item),
                None => Ok(()),
            }
        };
        match token {
            Token::Index(index) => element(i64::from(*index)),
            Token::Indexes(indexes) => {
                indexes.iter().try_for_each(|index| element(i64::from(*index)))
            }
            Token::Slice { from, to } => {
                let from = from.map(i64::from);
                let to = to.map(i64::from);
                // Between two bounds a negative one is not counted from the end, but each index
                // that is passed over on the way up is.
                let range = match (from, to) {
                    (Some(from), Some(to)) => from.max(-length)..to.min(length),
                    (Some(from), None) if from < 0 => (length + from).max(0)..length,
                    (Some(from), None) => from..length,
                    (None, Some(to)) if to < 0 => 0..length + to,
                    (None, to) => 0..to.unwrap_or(length).min(length),
                };
                range.into_iter().try_for_each(element)
            }
            _ => Ok(()),
        }
    }

    /// Applies the remaining tokens to `model` and everything below it.
    fn scan(&mut self, tokens: &[Token], model: &'v Value) -> Result<(), Fault> {
        let Some((target, rest)) = tokens.split_first() else { return Ok(()) };
        match model {
            Value::Object(members) => {
                if self.is_target(target, rest.is_empty(), model)? {
                    self.step(tokens, false, model)?;
                }
                members.values().try_for_each(|value| self.scan(tokens, value))
            }
            Value::Array(items) => {
                if self.is_target(target, rest.is_empty(), model)? {
                    if rest.is_empty() {
                        self.step(tokens, false, model)?;
                    } else {
                        // Whatever the target selects, the rest is applied to every element.
                        items.iter().try_for_each(|item| self.step(rest, false, item))?;
                    }
                }
                items.iter().try_for_each(|item| self.scan(tokens, item))
            }
            _ => self.around.spend(1),
        }
    }

    /// Whether the token after `..` is tried on a container.
    fn is_target(&self, token: &Token, is_last: bool, model: &'v Value) -> Result<bool, Fault> {
        self.around.spend(1)?;
        Ok(match token {
            Token::Key(name) => model.get(name).is_some(),
            Token::Keys(names) if is_last => names.iter().all(|name| model.get(name).is_some()),
            Token::Keys(_) => model.is_object(),
            Token::Index(_) | Token::Indexes(_) | Token::Slice { .. } => model.is_array(),
            Token::Wildcard => true,
            Token::Filter(filter) => filter.accepts(model, self.around)?,
            Token::Scan | Token::Call(_) => false,
        })
    }

    fn result_of(&self, call: &Call, model: &Value) -> Result<Value, Fault> {
        let arguments = || -> Result<Vec<Value>, Fault> {
            call.arguments.iter().map(|argument| self.argument(argument)).collect()
        };
        Ok(match call.name.as_str() {
            "length" | "size" => match model {
                Value::Array(items) => Value::from(items.len()),
                Value::Object(members) => Value::from(members.len()),
                _ => Value::Null,
            },
            "keys" => match model {
                Value::Object(members) => members.keys().cloned().collect(),
                _ => Value::Null,
            },
            "first" => self.element(model, 0)?,
            "last" => self.element(model, -1)?,
            "index" => {
                let arguments = arguments()?;
                let index = arguments.iter().find_map(Value::as_f64).ok_or(Fault::Aborted)?;
                self.element(model, index as i64)?
            }
            "concat" => {
                let mut text = String::new();
                for item in model.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    text.push_str(item);
                }
                for argument in arguments()?.iter().filter(|argument| !argument.is_null()) {
                    java::write_value(argument, &mut text);
                }
                Value::String(text)
            }
            "append" => {
                let arguments = arguments()?;
                self.around.spend_copy(model)?;
                let mut model = model.clone();
                if let Value::Array(items) = &mut model {
                    items.extend(arguments);
                }
                model
            }
            name => {
                let aggregate = aggregate(name).ok_or(Fault::Inapplicable)?;
                let arguments = arguments()?;
                let items = model.as_array().into_iter().flatten();
                let numbers: Vec<f64> = items.chain(&arguments).filter_map(Value::as_f64).collect();
                let result = if numbers.is_empty() { None } else { Some(aggregate(&numbers)) };
                let result = result.and_then(Number::from_f64);
                Value::Number(result.ok_or(Fault::Aborted)?)
            }
        })
    }

    /// An element of a list, from its end for a negative index; anything else ends the reading.
    fn element(&self, model: &Value, index: i64) -> Result<Value, Fault> {
        let items = model.as_array().ok_or(Fault::Aborted)?;
        let index = if index < 0 { items.len() as i64 + index } else { index };
        let found = usize::try_from(index).ok().and_then(|index| items.get(index));
        let found = found.ok_or(Fault::Aborted)?;
        self.around.spend_copy(found)?;
        Ok(found.clone())
    }

    fn argument(&self, argument: &Argument) -> Result<Value, Fault> {
        match argument {
            Argument::Literal(literal) => literal.clone().ok_or(Fault::Aborted),
            Argument::Path(path) => {
                let found = find(path, self.around.document, self.around, false)?;
                self.around.spend_copy(&found)?;
                Ok(found.into_owned())
            }
        }
    }
}

fn unless(fine: bool, fault: Fault) -> Result<(), Fault> {
    if fine { Ok(()) } else { Err(fault) }
}

fn aggregate(name: &str) -> Option<fn(&[f64]) -> f64> {
    Some(match name {
        "sum" => |numbers| numbers.iter().sum(),
        "min" => |numbers| numbers.iter().copied().fold(f64::MAX, f64::min),
        "max" => |numbers| numbers.iter().copied().fold(f64::MIN, f64::max),
        "avg" => |numbers| numbers.iter().sum::<f64>() / numbers.len() as f64,
        "stddev" => |numbers| {
            let count = numbers.len() as f64;
            let sum: f64 = numbers.iter().sum();
            let squares: f64 = numbers.iter().map(|number| number * number).sum();
            (squares / count - sum * sum / count / count).sqrt()
        },
        _ => return None,
    })
}
