//! Equality and order of values: null < false < true < numbers < strings < arrays < objects.
//!
//! Two orders differ in `nan` alone. Sorting needs a total order, in which `nan` equals itself and
//! precedes all numbers; the operators follow jq, where `nan < nan` holds and `nan == nan` does not.

use std::cmp::Ordering;
use std::rc::Rc;

use super::meter;
use super::value::{Map, Str, Value};

impl Value {
    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Bool(false) => 1,
            Value::Bool(true) => 2,
            Value::Int(_) | Value::Unsigned(_) | Value::Float(_) => 3,
            Value::String(_) => 4,
            Value::Array(_) => 5,
            Value::Object(_) => 6,
        }
    }

    fn is_nan(&self) -> bool {
        matches!(self, Value::Float(f) if f.is_nan())
    }

    fn as_integer(&self) -> Option<i128> {
        match self {
            Value::Int(i) => Some(i128::from(*i)),
            Value::Unsigned(u) => Some(i128::from(*u)),
            _ => None,
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::String(l), Value::String(r)) => l.cmp(r),
            (Value::Array(l), Value::Array(r)) if Rc::ptr_eq(l, r) => Ordering::Equal,
            (Value::Array(l), Value::Array(r)) => l.iter().cmp(r.iter()),
            (Value::Object(l), Value::Object(r)) if Rc::ptr_eq(l, r) => Ordering::Equal,
            (Value::Object(l), Value::Object(r)) => cmp_objects(l, r),
            _ if self.rank() == 3 && other.rank() == 3 => cmp_numbers(self, other),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// Exact also between an integer and a float, else the order would not be transitive.
fn cmp_numbers(l: &Value, r: &Value) -> Ordering {
    match (l.as_integer(), r.as_integer()) {
        (Some(l), Some(r)) => l.cmp(&r),
        (Some(l), None) => cmp_integer(l, r.as_f64().unwrap_or(f64::NAN)),
        (None, Some(r)) => cmp_integer(r, l.as_f64().unwrap_or(f64::NAN)).reverse(),
        (None, None) => {
            let (l, r) = (l.as_f64().unwrap_or(f64::NAN), r.as_f64().unwrap_or(f64::NAN));
            l.partial_cmp(&r).unwrap_or_else(|| r.is_nan().cmp(&l.is_nan()))
        }
    }
}

fn cmp_integer(l: i128, r: f64) -> Ordering {
    if r.is_nan() {
        return Ordering::Greater;
    }
    // The cast saturates, which keeps the order: all integers here fit 65 bits.
    let whole = r.trunc() as i128;
    let fraction = || 0.0.partial_cmp(&r.fract()).unwrap_or(Ordering::Equal);
    l.cmp(&whole).then_with(fraction)
}

/// First by the sorted keys, then by the values in that order.
fn cmp_objects(l: &Map, r: &Map) -> Ordering {
    fn sorted(map: &Map) -> Vec<(&Str, &Value)> {
        let mut members: Vec<_> = map.iter().collect();
        members.sort_unstable_by_key(|(key, _)| *key);
        members
    }
    let (l, r) = (sorted(l), sorted(r));
    let keys = l.iter().map(|m| m.0).cmp(r.iter().map(|m| m.0));
    keys.then_with(|| l.iter().map(|m| m.1).cmp(r.iter().map(|m| m.1)))
}

#[allow(
    clippy::non_canonical_partial_ord_impl,
    reason = "the operators treat nan otherwise than sorting does"
)]
impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Value::Int(l), Value::Int(r)) => l.cmp(r),
            _ if self.is_nan() && other.rank() == 3 => Ordering::Less,
            _ => self.cmp(other),
        })
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(l), Value::Bool(r)) => l == r,
            (Value::Int(l), Value::Int(r)) => l == r,
            (Value::String(l), Value::String(r)) => l == r,
            // Only looks at the clock: an answer must come, and the next operation fails.
            (Value::Array(l), Value::Array(r)) => meter::step() && l[..] == r[..],
            (Value::Object(l), Value::Object(r)) => meter::step() && ***l == ***r,
            _ if self.is_nan() || other.is_nan() => false,
            _ if self.rank() == 3 && other.rank() == 3 => {
                cmp_numbers(self, other) == Ordering::Equal
            }
            _ => false,
        }
    }
}

impl Eq for Value {}
