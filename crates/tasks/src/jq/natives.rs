//! The filters written in Rust, grouped by what they work on.
//!
//! Everything a program can reach is listed here or in the prelude: nothing that reads the
//! environment, reads further inputs, writes to the console or ends the process.

#![allow(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "filters share one signature: they own what they are given and may fail"
)]

mod lists;
mod math;
mod regex;
mod text;
mod time;

use jaq_core::box_iter::box_once;
use jaq_core::data::HasLut;
use jaq_core::native::{Fun, bome, v};
use jaq_core::{Bind, Cv, DataT, Error, Exn, Lut, Native, ValXs};

use super::meter::{self, Charge, Trip};
use super::value::{Value, fail, limit};

/// What filters run on.
pub(super) struct Data;

impl DataT for Data {
    type V<'a> = Value;
    type Data<'a> = Frame<'a>;
}

/// What every context of the interpreter carries. It is cloned with the context, so counting its
/// clones bounds the memory of computations that wait for their turn.
#[derive(Clone)]
pub(super) struct Frame<'a> {
    lut: &'a Lut<Data>,
    #[expect(dead_code, reason = "it counts by existing")]
    charge: Charge,
}

impl<'a> Frame<'a> {
    /// Bytes that a waiting computation takes, roughly.
    const BYTES: usize = 384;

    pub(super) fn new(lut: &'a Lut<Data>) -> Self {
        let charge = Charge::new(Self::BYTES);
        Frame { lut, charge }
    }
}

impl<'a> HasLut<'a, Data> for Frame<'a> {
    fn lut(&self) -> &'a Lut<Data> {
        self.lut
    }
}

/// All native filters.
pub(super) fn all() -> impl Iterator<Item = Fun<Data>> {
    let own = basic().into_iter().chain(ticks()).chain(generators());
    let own = own.chain(lists::all()).chain(text::all());
    let own = own.chain(math::all()).chain(regex::all()).chain(time::all());
    own.chain(core())
}

/// Of the interpreter's own filters those that need its inside; the rest is ours, metered.
fn core() -> impl Iterator<Item = Fun<Data>> {
    jaq_core::funs::<Data>().filter_map(|(name, args, run)| {
        let name = match name {
            "limit" => "__limit",
            "path" | "first" | "last" | "skip" => name,
            _ => return None,
        };
        Some((name, args, run))
    })
}

/// A filter of the input alone.
macro_rules! plain {
    ($name:literal, $run:expr) => {
        (
            $name,
            jaq_core::native::v(0),
            jaq_core::Native::<crate::jq::natives::Data>::new(|cv| {
                jaq_core::native::bome($run(cv.1))
            }),
        )
    };
}

/// A filter of the input and one value.
macro_rules! with_one {
    ($name:literal, $run:expr) => {
        (
            $name,
            jaq_core::native::v(1),
            jaq_core::Native::<crate::jq::natives::Data>::new(|mut cv| {
                let x = cv.0.pop_var();
                jaq_core::native::bome($run(cv.1, x))
            }),
        )
    };
}

/// A filter of the input and two values.
macro_rules! with_two {
    ($name:literal, $run:expr) => {
        (
            $name,
            jaq_core::native::v(2),
            jaq_core::Native::<crate::jq::natives::Data>::new(|mut cv| {
                let y = cv.0.pop_var();
                let x = cv.0.pop_var();
                jaq_core::native::bome($run(cv.1, x, y))
            }),
        )
    };
}

pub(super) use {plain, with_one, with_two};

/// A constant.
macro_rules! constant {
    ($name:literal, $value:expr) => {
        ($name, v(0), Native::new(|_| bome(Ok($value))))
    };
}

fn basic() -> [Fun<Data>; 10] {
    [
        constant!("null", Value::Null),
        constant!("true", Value::Bool(true)),
        constant!("false", Value::Bool(false)),
        constant!("nan", Value::Float(f64::NAN)),
        constant!("infinite", Value::Float(f64::INFINITY)),
        plain!("type", |x: Value| Ok(Value::string(x.type_name()))),
        plain!("__is_array", |x| Ok(Value::Bool(matches!(x, Value::Array(_))))),
        plain!("__is_object", |x| Ok(Value::Bool(matches!(x, Value::Object(_))))),
        ("empty", v(0), empty()),
        ("error", v(0), error()),
    ]
}

/// No output; as a path it changes nothing.
fn empty() -> Native<Data> {
    Native::new(|_| Box::new(std::iter::empty()))
        .with_paths(|_| Box::new(std::iter::empty()))
        .with_update(|cv, _| box_once(Ok(cv.1)))
}

/// Fails with the input.
fn error() -> Native<Data> {
    Native::new(|cv| bome(Err(Error::new(cv.1))))
        .with_paths(|cv| box_once(Err(Error::new(cv.1.0).into())))
        .with_update(|cv, _| bome(Err(Error::new(cv.1))))
}

/// The identity, as long as the run is within its limits and paths are not endless.
macro_rules! tick {
    ($name:literal, $within:expr) => {
        (
            $name,
            v(0),
            Native::new(|cv: Cv<'_, Data>| box_once(pass($within, cv.1)))
                .with_paths(|cv| {
                    let short = cv.1.1.get(PATH_MAX).is_none();
                    if !short {
                        meter::trip(Trip::Depth);
                    }
                    box_once(pass(short && $within, cv.1))
                })
                .with_update(|cv, f| match pass($within, cv.1) {
                    Ok(x) => f(x),
                    Err(over) => box_once(Err(over)),
                }),
        )
    };
}

/// Longest path while it is being made; the interpreter frees it by recursion.
const PATH_MAX: usize = 1000;

fn pass<'a, T: 'a>(within: bool, x: T) -> Result<T, Exn<'a, Value>> {
    if within { Ok(x) } else { Err(limit().into()) }
}

fn ticks() -> [Fun<Data>; 2] {
    [tick!("__tick", meter::descend()), tick!("__tick_closure", meter::descend_with_closure())]
}

fn generators() -> [Fun<Data>; 2] {
    let last = Native::new(|mut cv: Cv<'_, Data>| {
        let (f, context) = cv.0.pop_fun();
        let mut outputs = f.run((context, cv.1));
        box_once(outputs.try_fold(Value::Null, |_, output| output))
    });
    let last = last.with_paths(|mut cv| {
        let (f, context) = cv.0.pop_fun();
        let mut outputs = f.paths((context, cv.1));
        let last = outputs.try_fold(None, |_, output| output.map(Some));
        Box::new(last.transpose().into_iter())
    });
    [("range", v(3), Native::new(|cv| range(cv))), ("__last_or_null", [Bind::Fun(())].into(), last)]
}

/// The numbers from one to before another, by a step.
fn range(mut cv: Cv<'_, Data>) -> ValXs<'_, Value> {
    let by = cv.0.pop_var();
    let upto = cv.0.pop_var();
    let from = cv.0.pop_var();
    let numbers = [&from, &upto, &by].map(Value::as_f64);
    let [Some(_), Some(_), Some(step)] = numbers else {
        return bome(Err(fail("Range bounds must be numeric")));
    };
    let mut next = Some(from);
    Box::new(std::iter::from_fn(move || {
        let current = next.take()?;
        let within = if step > 0.0 { current < upto } else { step < 0.0 && current > upto };
        if !within {
            return None;
        }
        // The addition is metered: this ends when the run is over its limits.
        Some(match current.clone() + by.clone() {
            Ok(following) => {
                next = Some(following);
                Ok(current)
            }
            Err(over) => Err(over.into()),
        })
    }))
}
