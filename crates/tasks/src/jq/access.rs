//! How programs reach into values and change them: `.a`, `.[0]`, `.[1:]`, `.[]`, `|=`.
//!
//! As in jq, `null` is an empty anything: reading from it gives null and assigning through it
//! creates the path.

use std::ops::Range;
use std::rc::Rc;

use jaq_core::box_iter::BoxIter;
use jaq_core::path::Opt;
use jaq_core::{Exn, ValT, ValX};

use super::json;
use super::meter;
use super::value::{Error, Map, Str, ValR, Value, allow, fail, limit, step};

/// Largest array index that may be assigned.
const INDEX_MAX: f64 = 536_870_911.0;

fn cannot_index(value: &Value, index: &Value) -> Error {
    let of = value.type_name();
    match index {
        Value::String(key) => fail(format_args!("Cannot index {of} with \"{}\"", &**key)),
        _ => fail(format_args!("Cannot index {of} with {}", index.type_name())),
    }
}

fn cannot_iterate(value: &Value) -> Error {
    match value {
        Value::Null => fail("Cannot iterate over null"),
        _ => fail(format_args!("Cannot iterate over {}", value.described())),
    }
}

/// Wraps children so that walking them is metered.
fn metered<T>(child: T) -> ValR<T> {
    if meter::step() { Ok(child) } else { Err(limit()) }
}

/// Where a number points into an array of `len`; None if before its start.
fn position(index: f64, len: usize) -> Option<usize> {
    let index = index.floor();
    let from_start = if index < 0.0 { index + len as f64 } else { index };
    (from_start >= 0.0).then_some(from_start as usize)
}

/// One bound of a slice of something of `len`; None if it is no number.
fn bound(
    bound: Option<&Value>,
    default: usize,
    len: usize,
    round: fn(f64) -> f64,
) -> Option<usize> {
    match bound {
        None | Some(Value::Null) => Some(default),
        Some(value) => {
            let at = value.as_f64()?;
            let at = if at < 0.0 { at + len as f64 } else { at };
            Some((round(at).max(0.0) as usize).min(len))
        }
    }
}

/// The bounds of a slice of something of `len`, in order.
fn bounds(range: Range<Option<&Value>>, len: usize) -> ValR<Range<usize>> {
    let start = bound(range.start, 0, len, f64::floor);
    let end = bound(range.end, len, len, f64::ceil);
    match (start, end) {
        (Some(start), Some(end)) => Ok(start..end.max(start)),
        _ => Err(fail("Start and end indices of an array slice must be numbers")),
    }
}

/// The slice that an object stands for in a path.
fn slice_of(index: &Map) -> Range<Option<&Value>> {
    index.get("start")..index.get("end")
}

/// The byte range of a range of characters.
fn char_range(text: &str, range: &Range<usize>) -> Range<usize> {
    if text.is_ascii() {
        return range.clone();
    }
    let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    at(range.start)..at(range.end)
}

/// Positions at which `part` occurs in `whole`.
pub(super) fn occurrences(whole: &[Value], part: &[Value]) -> Value {
    if part.is_empty() {
        return Value::array(Vec::new());
    }
    let starts = whole.windows(part.len()).enumerate();
    starts
        .filter(|(_, window)| meter::step() && *window == part)
        .map(|(at, _)| Value::from(at))
        .collect()
}

impl Value {
    fn at(&self, index: &Value) -> ValR {
        step()?;
        Ok(match (self, index) {
            (Value::Object(o), Value::String(key)) => o.get(&**key).cloned().unwrap_or(Value::Null),
            (Value::Array(a), Value::Int(i)) if *i >= 0 => {
                a.get(*i as usize).cloned().unwrap_or(Value::Null)
            }
            (Value::Array(a), Value::Int(_) | Value::Unsigned(_) | Value::Float(_)) => index
                .as_f64()
                .and_then(|i| position(i, a.len()))
                .and_then(|i| a.get(i).cloned())
                .unwrap_or(Value::Null),
            (Value::Array(whole), Value::Array(part)) => occurrences(whole, part),
            (Value::Array(_) | Value::String(_), Value::Object(slice)) => {
                self.slice(slice_of(slice))?
            }
            (Value::Null, Value::Bool(_) | Value::Array(_)) => {
                return Err(cannot_index(self, index));
            }
            (Value::Null, _) => Value::Null,
            _ => return Err(cannot_index(self, index)),
        })
    }

    fn slice(&self, range: Range<Option<&Value>>) -> ValR {
        step()?;
        match self {
            Value::Null => Ok(Value::Null),
            Value::Array(a) => Ok(a[bounds(range, a.len())?].iter().cloned().collect()),
            Value::String(s) => {
                let len = if s.is_ascii() { s.len() } else { s.chars().count() };
                let range = bounds(range, len)?;
                Ok(Value::String(Str::from(&s[char_range(s, &range)])))
            }
            _ => Err(fail(format_args!("Cannot index {} with object", self.type_name()))),
        }
    }

    /// Changes the member `key` of an object (or of null, an empty one); no output deletes it.
    fn map_member<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        key: &Str,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let mut depth = self.depth().saturating_sub(1);
        let mut members = match self {
            Value::Object(o) => o.take(),
            _ => Map::new(),
        };
        // Taken out, so that `f` may change it in place.
        let slot = members.get_mut(key);
        let old = slot.map_or(Value::Null, |slot| std::mem::replace(slot, Value::Null));
        match f(old).next().transpose()? {
            Some(new) => {
                depth = depth.max(new.depth());
                members.insert(key.clone(), new);
            }
            None => drop(members.shift_remove(key)),
        }
        Ok(Value::object_over(members, depth))
    }

    /// Changes the item at `index` of an array (or of null, an empty one); no output deletes it.
    fn map_item<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: f64,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let mut depth = self.depth().saturating_sub(1);
        let mut items = match self {
            Value::Array(a) => a.take(),
            _ => Vec::new(),
        };
        let Some(at) = position(index, items.len()) else {
            return Err(fail("Out of bounds negative array index").into());
        };
        if at as f64 > INDEX_MAX {
            return Err(fail("Array index too large").into());
        }
        let slot = items.get_mut(at);
        let old = slot.map_or(Value::Null, |slot| std::mem::replace(slot, Value::Null));
        match f(old).next().transpose()? {
            Some(new) => {
                depth = depth.max(new.depth());
                if at >= items.len() {
                    allow((at + 1 - items.len()).saturating_mul(size_of::<Value>()))?;
                    items.resize(at + 1, Value::Null);
                }
                items[at] = new;
            }
            None if at < items.len() => drop(items.remove(at)),
            None => {}
        }
        Ok(Value::array_over(items, depth))
    }
}

impl ValT for Value {
    fn from_num(text: &str) -> ValR {
        json::number(text).ok_or_else(|| fail(format_args!("{text} is not a number")))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(iter: I) -> ValR {
        step()?;
        let member = |(key, value): (Value, Value)| match key {
            Value::String(key) => Ok((key, value)),
            key => Err(fail(format_args!("Cannot use {} as object key", key.described()))),
        };
        let map: Map = iter.into_iter().map(member).collect::<ValR<_>>()?;
        Ok(Value::object(map))
    }

    fn key_values(self) -> BoxIter<'static, ValR<(Self, Self)>> {
        match self {
            Value::Array(a) => {
                let items = a.take().into_iter().enumerate();
                Box::new(items.map(|(at, item)| metered((Value::from(at), item))))
            }
            Value::Object(o) => {
                let members = o.take().into_iter();
                Box::new(members.map(|(key, value)| metered((Value::String(key), value))))
            }
            other => Box::new(std::iter::once(Err(cannot_iterate(&other)))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR>> {
        match self {
            Value::Array(a) if Rc::strong_count(&a) > 1 => {
                // Shared: clone the items one by one, as they are asked for.
                let items = (0..a.len()).map(move |at| a[at].clone());
                Box::new(items.map(metered))
            }
            Value::Array(a) => Box::new(a.take().into_iter().map(metered)),
            Value::Object(o) => Box::new(o.take().into_values().map(metered)),
            other => Box::new(std::iter::once(Err(cannot_iterate(&other)))),
        }
    }

    fn index(self, index: &Self) -> ValR {
        self.at(index)
    }

    fn range(self, range: Range<Option<&Self>>) -> ValR {
        self.slice(range)
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let first = |child| -> Result<Option<Self>, Exn<'a, Self>> {
            step()?;
            f(child).next().transpose()
        };
        match self {
            Value::Array(a) => {
                let items = a.take().into_iter();
                let items: Result<Vec<_>, Exn<'a, Self>> =
                    items.filter_map(|item| first(item).transpose()).collect();
                Ok(Value::array(items?))
            }
            Value::Object(o) => {
                let mut members = Map::with_capacity(o.len());
                for (key, value) in o.take() {
                    if let Some(value) = first(value)? {
                        members.insert(key, value);
                    }
                }
                Ok(Value::object(members))
            }
            other => opt.fail(other, |other| cannot_iterate(&other).into()),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        step()?;
        match (self, index) {
            (this @ (Value::Null | Value::Array(_)), Value::Object(slice)) => {
                this.map_range(slice_of(slice), opt, f)
            }
            (this @ (Value::Null | Value::Object(_)), Value::String(key)) => {
                this.map_member(key, f)
            }
            (this @ (Value::Null | Value::Array(_)), index) if index.as_f64().is_some() => {
                this.map_item(index.as_f64().unwrap_or_default(), f)
            }
            (this, index) => opt.fail(this, |this| cannot_index(&this, index).into()),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<Option<&Self>>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let mut items = match self {
            Value::Array(a) => a.take(),
            Value::Null => Vec::new(),
            other => {
                let error = |other: Self| {
                    let message = format!("Cannot update a slice of {}", other.type_name());
                    fail(message).into()
                };
                return opt.fail(other, error);
            }
        };
        let range = bounds(range, items.len())?;
        let part = items[range.clone()].iter().cloned().collect();
        let new = match f(part).next().transpose()? {
            None => Vec::new(),
            Some(Value::Array(new)) => new.take(),
            Some(_) => {
                let message = "A slice of an array can only be assigned another array";
                return Err(fail(message).into());
            }
        };
        items.splice(range, new);
        Ok(Value::array(items))
    }

    fn as_bool(&self) -> bool {
        !matches!(self, Value::Null | Value::Bool(false))
    }

    fn into_string(self) -> Self {
        match self {
            Value::String(_) => self,
            other => Value::string(json::text(&other)),
        }
    }
}
