//! How values of databases become JSON, the same for all of them.
//!
//! - Whole numbers and decimals are numbers if a double holds them exactly (up to 2^53; up to 15
//!   digits), as that is what scripts and most readers of JSON have; others are texts of all their
//!   digits. So are `NaN` and the infinities.
//! - Instants are RFC 3339 in UTC, `2026-01-31T12:00:00Z`; times without a zone are without the
//!   `Z`; dates are `2026-01-31`.
//! - Bytes are base64. JSON is JSON. Null is null.

use base64::Engine as _;
use serde_json::Value;

/// Largest whole number up to which a double holds every one.
const EXACT_MAX: i128 = 1 << 53;
/// Digits that a double always keeps.
const DIGITS_MAX: usize = 15;

/// A whole number.
pub fn whole(number: i128) -> Value {
    match i64::try_from(number) {
        Ok(exact) if number.abs() <= EXACT_MAX => exact.into(),
        _ => number.to_string().into(),
    }
}

/// A double.
pub fn double(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

/// A decimal number, given as its text.
pub fn decimal(text: &str) -> Value {
    let digits = text.bytes().filter(u8::is_ascii_digit);
    let digits = digits.skip_while(|digit| *digit == b'0').count();
    let number = text.parse::<f64>().ok().filter(|_| digits <= DIGITS_MAX);
    match (number, text.parse::<i64>()) {
        (Some(_), Ok(whole)) => whole.into(),
        (Some(number), Err(_)) if number.is_finite() => double(number),
        _ => text.into(),
    }
}

/// Bytes.
pub fn bytes(bytes: &[u8]) -> Value {
    base64::engine::general_purpose::STANDARD.encode(bytes).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{decimal, double, whole};

    #[test]
    fn numbers_lose_no_digit() {
        for (text, value) in [
            ("0", json!(0)),
            ("-12", json!(-12)),
            ("0.10", json!(0.1)),
            ("19.99", json!(19.99)),
            ("0.000001", json!(0.000_001)),
            ("123456789012345", json!(123_456_789_012_345_i64)),
            ("1234567890123456.5", json!("1234567890123456.5")),
            ("NaN", json!("NaN")),
            ("Infinity", json!("Infinity")),
        ] {
            assert_eq!(decimal(text), value, "{text}");
        }
        assert_eq!(whole(1 << 53), json!(9_007_199_254_740_992_i64));
        assert_eq!(whole((1 << 53) + 1), json!("9007199254740993"));
        assert_eq!(whole(i128::from(u64::MAX)), json!("18446744073709551615"));
        assert_eq!(double(1.5), json!(1.5));
        assert_eq!(double(f64::NEG_INFINITY), json!("-inf"));
    }
}
