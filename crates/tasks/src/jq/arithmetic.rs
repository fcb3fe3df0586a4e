//! What `+ - * / %` mean on values.

use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::rc::Rc;

use super::value::{Map, Object, Str, ValR, Value, allow, fail, step};

fn unfit(l: &Value, r: &Value, deed: &str) -> ValR {
    Err(fail(format_args!("{} and {} cannot be {deed}", l.described(), r.described())))
}

/// Exact in 64 bits where possible, else in `f64`.
fn calculate(
    l: &Value,
    r: &Value,
    exact: fn(i64, i64) -> Option<i64>,
    rounded: fn(f64, f64) -> f64,
) -> Option<Value> {
    if let (Value::Int(l), Value::Int(r)) = (l, r)
        && let Some(result) = exact(*l, *r)
    {
        return Some(Value::Int(result));
    }
    Some(Value::number(rounded(l.as_f64()?, r.as_f64()?)))
}

impl Add for Value {
    type Output = ValR;
    fn add(self, other: Self) -> ValR {
        step()?;
        Ok(match (self, other) {
            (Value::Null, x) | (x, Value::Null) => x,
            (Value::String(mut l), Value::String(r)) => {
                l.push_str(&r)?;
                Value::String(l)
            }
            (Value::Array(mut l), Value::Array(r)) => {
                l.extend(&r)?;
                Value::Array(l)
            }
            (Value::Object(mut l), Value::Object(r)) => {
                l.extend(r)?;
                Value::Object(l)
            }
            (l, r) => match calculate(&l, &r, i64::checked_add, |l, r| l + r) {
                Some(sum) => sum,
                None => return unfit(&l, &r, "added"),
            },
        })
    }
}

impl Sub for Value {
    type Output = ValR;
    fn sub(self, other: Self) -> ValR {
        step()?;
        match (self, other) {
            (Value::Array(l), Value::Array(r)) => {
                let gone: std::collections::BTreeSet<&Value> = r.iter().collect();
                let mut items = l.take();
                items.retain(|item| !gone.contains(item));
                Ok(Value::array(items))
            }
            (l, r) => calculate(&l, &r, i64::checked_sub, |l, r| l - r)
                .map_or_else(|| unfit(&l, &r, "subtracted"), Ok),
        }
    }
}

impl Mul for Value {
    type Output = ValR;
    fn mul(self, other: Self) -> ValR {
        step()?;
        match (self, other) {
            (Value::Object(l), Value::Object(r)) => merge(l, r),
            (Value::String(s), n) | (n, Value::String(s)) if n.as_f64().is_some() => {
                repeat(&s, n.as_f64().unwrap_or_default())
            }
            (l, r) => calculate(&l, &r, i64::checked_mul, |l, r| l * r)
                .map_or_else(|| unfit(&l, &r, "multiplied"), Ok),
        }
    }
}

/// `"ab" * 2`: null for a negative count, as in jq.
fn repeat(s: &str, times: f64) -> ValR {
    if times < 0.0 || times.is_nan() {
        return Ok(Value::Null);
    }
    let times = times as usize;
    allow(s.len().saturating_mul(times))?;
    Ok(Value::string(s.repeat(times)))
}

/// Merges objects within objects; all else of the right side replaces the left.
fn merge(l: Rc<Object>, r: Rc<Object>) -> ValR {
    step()?;
    let mut map: Map = l.take();
    for (key, right) in r.take() {
        let merged = match (map.get_mut(&key), right) {
            (Some(left), Value::Object(right)) if matches!(left, Value::Object(_)) => {
                match std::mem::replace(left, Value::Null) {
                    Value::Object(left) => merge(left, right)?,
                    other => other,
                }
            }
            (_, right) => right,
        };
        map.insert(key, merged);
    }
    Ok(Value::object(map))
}

impl Div for Value {
    type Output = ValR;
    fn div(self, other: Self) -> ValR {
        step()?;
        if let (Value::String(l), Value::String(r)) = (&self, &other) {
            return Ok(split(l, r));
        }
        match (self.as_f64(), other.as_f64()) {
            (Some(_), Some(0.0)) => unfit(&self, &other, "divided because the divisor is zero"),
            (Some(l), Some(r)) => Ok(exact_quotient(&self, &other).unwrap_or(Value::number(l / r))),
            _ => unfit(&self, &other, "divided"),
        }
    }
}

fn exact_quotient(l: &Value, r: &Value) -> Option<Value> {
    match (l, r) {
        (Value::Int(l), Value::Int(r)) if l.checked_rem(*r)? == 0 => Some(Value::Int(l / r)),
        _ => None,
    }
}

/// The pieces of a string between separators; its characters if the separator is empty.
pub(super) fn split(text: &str, separator: &str) -> Value {
    let piece = |piece: &str| Value::String(Str::from(piece));
    if text.is_empty() {
        Value::array(Vec::new())
    } else if separator.is_empty() {
        let mut buffer = [0; 4];
        let characters = text.chars();
        characters.map(|c| piece(c.encode_utf8(&mut buffer))).collect()
    } else {
        text.split(separator).map(piece).collect()
    }
}

impl Rem for Value {
    type Output = ValR;
    fn rem(self, other: Self) -> ValR {
        step()?;
        let (Some(l), Some(r)) = (self.as_f64(), other.as_f64()) else {
            return unfit(&self, &other, "divided (remainder)");
        };
        if l.is_nan() || r.is_nan() {
            return Ok(Value::Float(f64::NAN));
        }
        // Both sides lose their fraction; the casts saturate, as jq's do.
        let whole = |value: &Value, rounded: f64| match value {
            Value::Int(i) => *i,
            _ => rounded as i64,
        };
        let (dividend, divisor) = (whole(&self, l), whole(&other, r));
        if divisor == 0 {
            let deed = "divided (remainder) because the divisor is zero";
            return unfit(&self, &other, deed);
        }
        let rest = dividend.unsigned_abs() % divisor.unsigned_abs();
        let rest = i64::try_from(rest).unwrap_or(i64::MAX);
        Ok(Value::Int(if dividend < 0 { -rest } else { rest }))
    }
}

impl Neg for Value {
    type Output = ValR;
    fn neg(self) -> ValR {
        match self {
            Value::Int(i) => Ok(i.checked_neg().map_or(Value::Float(-(i as f64)), Value::Int)),
            Value::Float(f) => Ok(Value::Float(-f)),
            Value::Unsigned(u) => Ok(Value::Float(-(u as f64))),
            other => Err(fail(format_args!("{} cannot be negated", other.described()))),
        }
    }
}
