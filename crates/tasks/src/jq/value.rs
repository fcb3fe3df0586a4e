//! The values jq programs work on: JSON with cheap clones, a bounded depth and counted bytes.
//!
//! Numbers keep what their text said where jq's plain `f64` would lose it: integers of 64 bits
//! (ids of other systems) stay exact through a program, and `1.0` stays `1.0` until calculated
//! with. Objects keep the order of insertion.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

use indexmap::IndexMap;

use super::meter::{self, Charge, DEPTH_MAX, Trip};

/// What went wrong in a program; carries the value that `catch` sees.
pub(super) type Error = jaq_core::Error<Value>;
/// A value or an error.
pub(super) type ValR<T = Value> = Result<T, Error>;

/// One JSON value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer that only fits unsigned; always greater than `i64::MAX`.
    Unsigned(u64),
    /// Integral only if it was written so (`1.0`, `1e3`) or is beyond 2⁵³: see [`Value::number`].
    Float(f64),
    String(Str),
    Array(Rc<Array>),
    Object(Rc<Object>),
}

/// A string, also as an object's key.
#[derive(Clone, Debug)]
pub(super) struct Str(Rc<Text>);

#[derive(Clone, Debug)]
struct Text {
    text: String,
    charge: Charge,
}

/// The items of an array.
#[derive(Clone, Debug)]
pub(super) struct Array {
    items: Vec<Value>,
    /// Upper bound of the nesting below and including this.
    depth: u8,
    charge: Charge,
}

/// The members of an object.
pub(super) type Map = IndexMap<Str, Value>;

/// The members of an object with their bookkeeping.
#[derive(Clone, Debug)]
pub(super) struct Object {
    map: Map,
    depth: u8,
    charge: Charge,
}

/// Bytes of an array's item.
const ITEM: usize = size_of::<Value>();
/// Bytes of an object's member: key, value, hash, index slot.
const MEMBER: usize = ITEM + 32;
/// Bytes of a block beside its contents.
const BLOCK: usize = 64;

impl Str {
    /// Takes a string; counted from now on.
    pub(super) fn new(text: String) -> Self {
        let charge = Charge::new(text.len() + BLOCK);
        Str(Rc::new(Text { text, charge }))
    }

    /// Appends in place if nobody else holds this string.
    pub(super) fn push_str(&mut self, more: &str) -> ValR<()> {
        allow(more.len())?;
        let text = Rc::make_mut(&mut self.0);
        text.text.push_str(more);
        text.charge.set(text.text.capacity() + BLOCK);
        Ok(())
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0.text
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Str::new(text.to_owned())
    }
}

impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Str {}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl Deref for Array {
    type Target = [Value];
    fn deref(&self) -> &[Value] {
        &self.items
    }
}

impl Deref for Object {
    type Target = Map;
    fn deref(&self) -> &Map {
        &self.map
    }
}

impl Array {
    /// The items, without copying if nobody else holds the array.
    pub(super) fn take(self: Rc<Self>) -> Vec<Value> {
        Rc::try_unwrap(self).map_or_else(|shared| shared.items.clone(), |own| own.items)
    }

    /// Appends in place if nobody else holds this array.
    pub(super) fn extend(self: &mut Rc<Self>, more: &Array) -> ValR<()> {
        allow(more.len() * ITEM)?;
        let own = Rc::make_mut(self);
        own.items.extend_from_slice(more);
        own.depth = own.depth.max(more.depth);
        own.charge.set(own.items.capacity() * ITEM + BLOCK);
        Ok(())
    }
}

impl Object {
    /// The members, without copying if nobody else holds the object.
    pub(super) fn take(self: Rc<Self>) -> Map {
        Rc::try_unwrap(self).map_or_else(|shared| shared.map.clone(), |own| own.map)
    }

    /// Adds or replaces members in place if nobody else holds this object.
    pub(super) fn extend(self: &mut Rc<Self>, more: Rc<Object>) -> ValR<()> {
        allow(more.len() * MEMBER)?;
        let own = Rc::make_mut(self);
        own.depth = own.depth.max(more.depth);
        own.map.extend(more.take());
        own.charge.set(own.map.len() * MEMBER + BLOCK);
        Ok(())
    }
}

/// Fails, and trips the run, if `bytes` more must not be allocated.
pub(super) fn allow(bytes: usize) -> ValR<()> {
    if meter::may_allocate(bytes) { Ok(()) } else { Err(limit()) }
}

/// Fails once the run is over its limits.
pub(super) fn step() -> ValR<()> {
    if meter::step() { Ok(()) } else { Err(limit()) }
}

/// The error of a tripped run.
pub(super) fn limit() -> Error {
    fail(meter::tripped().unwrap_or(Trip::Bytes).message())
}

/// An error with a message.
pub(super) fn fail(message: impl fmt::Display) -> Error {
    Error::str(message)
}

impl Value {
    /// A string value.
    pub(super) fn string(text: impl Into<String>) -> Self {
        Value::String(Str::new(text.into()))
    }

    /// An array; nesting it too deeply trips the run.
    pub(super) fn array(items: Vec<Value>) -> Self {
        let depth = items.iter().map(Value::depth).max().unwrap_or(0);
        Self::array_over(items, depth)
    }

    /// An array whose items nest at most `depth` deep: spares looking at each.
    pub(super) fn array_over(items: Vec<Value>, depth: u8) -> Self {
        if depth >= DEPTH_MAX {
            meter::trip(Trip::Depth);
            return Value::Null;
        }
        let charge = Charge::new(items.capacity() * ITEM + BLOCK);
        Value::Array(Rc::new(Array { items, depth: depth + 1, charge }))
    }

    /// An object; nesting it too deeply trips the run.
    pub(super) fn object(map: Map) -> Self {
        let depth = map.values().map(Value::depth).max().unwrap_or(0);
        Self::object_over(map, depth)
    }

    /// An object whose values nest at most `depth` deep: spares looking at each.
    pub(super) fn object_over(map: Map, depth: u8) -> Self {
        if depth >= DEPTH_MAX {
            meter::trip(Trip::Depth);
            return Value::Null;
        }
        let charge = Charge::new(map.len() * MEMBER + BLOCK);
        Value::Object(Rc::new(Object { map, depth: depth + 1, charge }))
    }

    /// The result of a calculation: an integer if it is one.
    pub(super) fn number(x: f64) -> Self {
        /// Up to here every integer is an `f64` and nothing was rounded.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if x.fract() == 0.0 && x.abs() <= EXACT { Value::Int(x as i64) } else { Value::Float(x) }
    }

    /// At most how deep this nests; 0 for a scalar.
    pub(super) fn depth(&self) -> u8 {
        match self {
            Value::Array(a) => a.depth,
            Value::Object(o) => o.depth,
            _ => 0,
        }
    }

    /// The name jq has for the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Int(_) | Value::Unsigned(_) | Value::Float(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }

    /// The number, rounded to `f64`.
    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(i) => Some(*i as f64),
            Value::Unsigned(u) => Some(*u as f64),
            Value::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// The text of a string.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

impl From<isize> for Value {
    fn from(i: isize) -> Self {
        Value::Int(i as i64)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Value::Int(count as i64)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::string(text)
    }
}

/// A slice as it stands in a path: `{"start": 1, "end": null}`.
impl From<std::ops::Range<Option<Value>>> for Value {
    fn from(range: std::ops::Range<Option<Value>>) -> Self {
        let members = [("start", range.start), ("end", range.end)];
        let members = members.map(|(key, value)| (Str::from(key), value.unwrap_or(Value::Null)));
        Value::object(members.into_iter().collect())
    }
}

/// Stops taking items once the run is over its limits.
impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(iter: I) -> Self {
        /// Items between two checks of the memory that the growing array itself needs.
        const CHECK: usize = 1024;
        let mut items = Vec::new();
        for item in iter {
            items.push(item);
            let full = items.len() % CHECK == 0 && !meter::may_allocate(items.capacity() * ITEM);
            if full || !meter::step() {
                break;
            }
        }
        Value::array(items)
    }
}
