//! Filters over numbers.

use jaq_core::native::{Fun, v};
use jaq_core::{Native, native::bome};

use super::{Data, plain, with_two};
use crate::jq::value::{ValR, Value, fail};

/// Functions of one number.
macro_rules! functions {
    ($($name:literal => $f:expr),* $(,)?) => {
        vec![$(plain!($name, |x: Value| Ok(Value::number($f(number(&x)?))))),*]
    };
}

/// Functions that leave an integer alone.
macro_rules! roundings {
    ($($name:literal => $f:expr),* $(,)?) => {
        vec![$(plain!($name, |x: Value| round(x, $f))),*]
    };
}

/// Functions of two numbers.
macro_rules! functions_of_two {
    ($($name:literal => $f:expr),* $(,)?) => {
        vec![$(with_two!($name, |_, x: Value, y: Value| {
            Ok(Value::number($f(number(&x)?, number(&y)?)))
        })),*]
    };
}

pub(super) fn all() -> Vec<Fun<Data>> {
    let mut all: Vec<Fun<Data>> = functions! {
        "sqrt" => f64::sqrt, "cbrt" => f64::cbrt,
        "exp" => f64::exp, "exp2" => f64::exp2, "expm1" => f64::exp_m1,
        "exp10" => |x| 10_f64.powf(x), "pow10" => |x| 10_f64.powf(x),
        "log" => f64::ln, "log2" => f64::log2, "log10" => f64::log10, "log1p" => f64::ln_1p,
        "sin" => f64::sin, "cos" => f64::cos, "tan" => f64::tan,
        "asin" => f64::asin, "acos" => f64::acos, "atan" => f64::atan,
        "sinh" => f64::sinh, "cosh" => f64::cosh, "tanh" => f64::tanh,
        "asinh" => f64::asinh, "acosh" => f64::acosh, "atanh" => f64::atanh,
        "logb" => exponent, "significand" => significand,
    };
    all.extend(roundings! {
        "floor" => f64::floor, "ceil" => f64::ceil, "round" => f64::round, "trunc" => f64::trunc,
        "rint" => f64::round_ties_even, "nearbyint" => f64::round_ties_even,
    });
    all.extend(functions_of_two! {
        "pow" => f64::powf, "atan2" => f64::atan2, "hypot" => f64::hypot,
        "fmin" => f64::min, "fmax" => f64::max, "copysign" => f64::copysign,
        "fmod" => |x: f64, y: f64| x % y, "fdim" => |x: f64, y: f64| (x - y).max(0.0),
        "ldexp" => scale, "scalb" => scale, "scalbln" => scale,
    });
    let fma = Native::new(|mut cv: jaq_core::Cv<'_, Data>| {
        let z = cv.0.pop_var();
        let y = cv.0.pop_var();
        let x = cv.0.pop_var();
        bome(fma(&x, &y, &z))
    });
    all.extend([
        ("fma", v(3), fma),
        plain!("fabs", absolute),
        plain!("abs", absolute),
        plain!("frexp", frexp),
        plain!("modf", modf),
        plain!("isnan", |x: Value| Ok(Value::Bool(number(&x)?.is_nan()))),
        plain!("isinfinite", |x: Value| Ok(Value::Bool(number(&x)?.is_infinite()))),
        plain!("isnormal", |x: Value| Ok(Value::Bool(number(&x)?.is_normal()))),
    ]);
    all
}

fn number(x: &Value) -> ValR<f64> {
    x.as_f64().ok_or_else(|| fail(format_args!("{} number required", x.described())))
}

fn round(x: Value, f: fn(f64) -> f64) -> ValR {
    match x {
        Value::Int(_) | Value::Unsigned(_) => Ok(x),
        other => Ok(Value::number(f(number(&other)?))),
    }
}

fn fma(x: &Value, y: &Value, z: &Value) -> ValR {
    Ok(Value::number(number(x)?.mul_add(number(y)?, number(z)?)))
}

fn absolute(x: Value) -> ValR {
    match x {
        Value::Int(i) => Ok(i.checked_abs().map_or(Value::Float((i as f64).abs()), Value::Int)),
        Value::Unsigned(_) => Ok(x),
        other => Ok(Value::number(number(&other)?.abs())),
    }
}

/// Splits `x` into a fraction in [½, 1) and a power of two.
fn split(x: f64) -> (f64, i32) {
    /// Lifts subnormal numbers into the normal range.
    const LIFT: i32 = 64;
    if x == 0.0 || !x.is_finite() {
        return (x, 0);
    }
    if !x.is_normal() {
        let (fraction, exponent) = split(x * 2_f64.powi(LIFT));
        return (fraction, exponent - LIFT);
    }
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022;
    let fraction = f64::from_bits(bits & !(0x7ff << 52) | (1022 << 52));
    (fraction, exponent)
}

fn exponent(x: f64) -> f64 {
    match x {
        0.0 => f64::NEG_INFINITY,
        x if !x.is_finite() => x.abs(),
        x => f64::from(split(x).1 - 1),
    }
}

fn significand(x: f64) -> f64 {
    match x {
        x if x == 0.0 || !x.is_finite() => x,
        x => split(x).0 * 2.0,
    }
}

/// `x · 2ⁿ`; in two steps, for neither power may leave the range when the product does not.
fn scale(x: f64, n: f64) -> f64 {
    let n = n.clamp(-2200.0, 2200.0) as i32;
    x * 2_f64.powi(n / 2) * 2_f64.powi(n - n / 2)
}

fn frexp(x: Value) -> ValR {
    let (fraction, exponent) = split(number(&x)?);
    let pair = [Value::number(fraction), Value::Int(exponent.into())];
    Ok(pair.into_iter().collect())
}

fn modf(x: Value) -> ValR {
    let x = number(&x)?;
    let fraction = if x.is_infinite() { 0.0 } else { x.fract() };
    let pair = [Value::number(fraction), Value::number(x.trunc())];
    Ok(pair.into_iter().collect())
}
