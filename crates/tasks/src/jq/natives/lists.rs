//! Filters over arrays and objects.

use std::cmp::Ordering;

use jaq_core::native::Fun;

use super::{Data, plain, with_one};
use crate::jq::access::occurrences;
use crate::jq::meter;
use crate::jq::value::{Array, Map, Str, ValR, Value, fail, limit, step};

pub(super) fn all() -> Vec<Fun<Data>> {
    vec![
        plain!("length", length),
        plain!("keys", keys),
        plain!("keys_unsorted", keys_unsorted),
        plain!("to_entries", to_entries),
        plain!("reverse", reverse),
        with_one!("has", has),
        with_one!("contains", contains),
        with_one!("indices", indices),
        with_one!("bsearch", bsearch),
        with_one!("delpaths", delpaths),
        with_one!("__flatten", flatten),
        with_one!("__sort_by", sort_by),
        with_one!("__group_by", group_by),
        with_one!("__min_by", |xs, keys| extreme(&xs, &keys, |new, old| new < old)),
        with_one!("__max_by", |xs, keys| extreme(&xs, &keys, |new, old| new >= old)),
    ]
}

fn length(x: Value) -> ValR {
    Ok(match x {
        Value::Null => Value::Int(0),
        Value::String(s) => Value::from(s.chars().count()),
        Value::Array(a) => Value::from(a.len()),
        Value::Object(o) => Value::from(o.len()),
        Value::Int(i) => i.checked_abs().map_or(Value::Float((i as f64).abs()), Value::Int),
        Value::Float(f) => Value::number(f.abs()),
        Value::Unsigned(_) => x,
        Value::Bool(_) => return Err(fail(format_args!("{} has no length", x.described()))),
    })
}

fn keys_unsorted(x: Value) -> ValR {
    match x {
        Value::Array(a) => Ok((0..a.len()).map(Value::from).collect()),
        Value::Object(o) => Ok(o.keys().cloned().map(Value::String).collect()),
        other => Err(fail(format_args!("{} has no keys", other.described()))),
    }
}

fn keys(x: Value) -> ValR {
    match keys_unsorted(x)? {
        Value::Array(keys) => {
            let mut keys = keys.take();
            keys.sort_unstable();
            Ok(Value::array(keys))
        }
        other => Ok(other),
    }
}

fn to_entries(x: Value) -> ValR {
    let (key_name, value_name) = (Str::from("key"), Str::from("value"));
    let entry = |key: Value, value: Value| {
        let members = [(key_name.clone(), key), (value_name.clone(), value)];
        Value::object(members.into_iter().collect())
    };
    match x {
        Value::Array(a) => {
            let items = a.take().into_iter().enumerate();
            Ok(items.map(|(at, item)| entry(Value::from(at), item)).collect())
        }
        Value::Object(o) => {
            let members = o.take().into_iter();
            Ok(members.map(|(k, v)| entry(Value::String(k), v)).collect())
        }
        other => Err(fail(format_args!("{} has no keys", other.described()))),
    }
}

fn reverse(x: Value) -> ValR {
    match x {
        Value::Null => Ok(Value::array(Vec::new())),
        Value::String(s) => Ok(Value::string(s.chars().rev().collect::<String>())),
        other => {
            let mut items = array(other, "reversed")?;
            items.reverse();
            Ok(Value::array(items))
        }
    }
}

/// The items of what must be an array.
fn array(x: Value, deed: &str) -> ValR<Vec<Value>> {
    match x {
        Value::Array(a) => Ok(Array::take(a)),
        other => {
            Err(fail(format_args!("{} cannot be {deed}, as it is not an array", other.described())))
        }
    }
}

fn has(x: Value, key: Value) -> ValR {
    match (&x, &key) {
        (Value::Object(o), Value::String(key)) => Ok(Value::Bool(o.contains_key(&**key))),
        (Value::Array(a), key) if key.as_f64().is_some() => {
            let at = key.as_f64().unwrap_or(f64::NAN);
            Ok(Value::Bool(at >= 0.0 && at < a.len() as f64))
        }
        _ => Err(fail(format_args!(
            "Cannot check whether {} has a {} key",
            x.type_name(),
            key.type_name()
        ))),
    }
}

fn contains(x: Value, part: Value) -> ValR {
    match (&x, &part) {
        (Value::Array(_), Value::Array(_))
        | (Value::Object(_), Value::Object(_))
        | (Value::String(_), Value::String(_)) => {}
        _ if x.type_name() == part.type_name() => {}
        _ => {
            return Err(fail(format_args!(
                "{} and {} cannot have their containment checked",
                x.described(),
                part.described()
            )));
        }
    }
    let answer = includes(&x, &part);
    step().map(|()| Value::Bool(answer))
}

fn includes(x: &Value, part: &Value) -> bool {
    if !meter::step() {
        return false;
    }
    match (x, part) {
        (Value::String(x), Value::String(part)) => x.contains(&**part),
        (Value::Array(x), Value::Array(part)) => {
            part.iter().all(|part| x.iter().any(|x| includes(x, part)))
        }
        (Value::Object(x), Value::Object(part)) => {
            part.iter().all(|(key, part)| x.get(&**key).is_some_and(|x| includes(x, part)))
        }
        _ => x == part,
    }
}

fn indices(x: Value, part: Value) -> ValR {
    let found = match (&x, &part) {
        (Value::Null, _) => Value::Null,
        (Value::String(x), Value::String(part)) => occurrences_in_text(x, part),
        (Value::Array(x), Value::Array(part)) => occurrences(x, part),
        (Value::Array(x), part) => occurrences(x, std::slice::from_ref(part)),
        _ => {
            let (x, part) = (x.type_name(), part.type_name());
            return Err(fail(format_args!("Cannot index {x} with {part}")));
        }
    };
    step().map(|()| found)
}

/// Positions, counted in characters, at which a string occurs in another; they may overlap.
fn occurrences_in_text(text: &str, part: &str) -> Value {
    /// Bytes whose comparison counts as one step.
    const STEP: usize = 64;
    if part.is_empty() {
        return Value::array(Vec::new());
    }
    let starts = text.char_indices().enumerate();
    starts
        .filter(|(_, (at, _))| meter::steps(1 + part.len() / STEP) && text[*at..].starts_with(part))
        .map(|(position, _)| Value::from(position))
        .collect()
}

fn bsearch(x: Value, wanted: Value) -> ValR {
    let items = array(x, "searched from")?;
    Ok(Value::Int(match items.binary_search(&wanted) {
        Ok(at) => at as i64,
        Err(at) => -1 - at as i64,
    }))
}

/// Deletes the longest and last paths first, so that none shifts another.
fn delpaths(x: Value, paths: Value) -> ValR {
    let Value::Array(paths) = paths else {
        return Err(fail("Paths must be specified as an array"));
    };
    let mut paths = paths.take();
    paths.sort_unstable();
    paths.iter().rev().try_fold(x, |x, path| match path {
        Value::Array(path) => delete(x, path),
        _ => Err(fail("Path must be specified as an array")),
    })
}

fn delete(x: Value, path: &[Value]) -> ValR {
    use jaq_core::{ValT, path::Opt};
    let Some((key, rest)) = path.split_first() else {
        return Ok(Value::Null);
    };
    if matches!(x, Value::Null) {
        return Ok(x);
    }
    // Deleting within what is not there must not create it.
    if !rest.is_empty() && matches!(x.clone().index(key)?, Value::Null) {
        return Ok(x);
    }
    let change = |child| {
        let changed = (!rest.is_empty()).then(|| delete(child, rest).map_err(Into::into));
        changed.into_iter()
    };
    let deleted = x.map_index(key, Opt::Essential, change);
    deleted.map_err(|exception| exception.get_err().unwrap_or_else(|_| limit()))
}

fn flatten(x: Value, depth: Value) -> ValR {
    fn into(items: &[Value], depth: f64, flat: &mut Vec<Value>) -> ValR<()> {
        for item in items {
            step()?;
            match item {
                Value::Array(inner) if depth != 0.0 => into(inner, depth - 1.0, flat)?,
                item => flat.push(item.clone()),
            }
        }
        Ok(())
    }
    let depth = depth.as_f64().ok_or_else(|| fail("flatten depth must be a number"))?;
    let items: Vec<Value> = match x {
        Value::Object(o) => Map::into_values(o.take()).collect(),
        Value::Array(a) => a.take(),
        other => {
            return Err(fail(format_args!("Cannot iterate over {}", other.described())));
        }
    };
    let mut flat = Vec::new();
    into(&items, depth, &mut flat)?;
    Ok(Value::array(flat))
}

/// The items of `xs`, each with the key computed for it.
fn keyed(xs: Value, keys: Value, deed: &str) -> ValR<Vec<(Value, Value)>> {
    let keys = array(keys, deed)?;
    let items = array(xs, deed)?;
    Ok(keys.into_iter().zip(items).collect())
}

fn sort_by(xs: Value, keys: Value) -> ValR {
    let mut items = keyed(xs, keys, "sorted")?;
    items.sort_by(|(l, _), (r, _)| l.cmp(r));
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

fn group_by(xs: Value, keys: Value) -> ValR {
    let mut items = keyed(xs, keys, "grouped")?;
    items.sort_by(|(l, _), (r, _)| l.cmp(r));
    let groups = items.chunk_by(|(l, _), (r, _)| l.cmp(r) == Ordering::Equal);
    Ok(groups.map(|group| group.iter().map(|(_, item)| item.clone()).collect()).collect())
}

/// The item with the first key that `better` prefers; null if there is none.
fn extreme(xs: &Value, keys: &Value, better: fn(&Value, &Value) -> bool) -> ValR {
    let items = keyed(xs.clone(), keys.clone(), "iterated over")?;
    let best =
        items.into_iter().reduce(|best, item| if better(&item.0, &best.0) { item } else { best });
    Ok(best.map_or(Value::Null, |(_, item)| item))
}
