//! Compares what a test expects with what was so.

use serde_json::Value;

/// Differences that are told of one comparison.
const TOLD_MAX: usize = 20;

/// Adds what of `expected` is not in `actual`: members of objects may be fewer, lists must be whole.
pub(super) fn part(path: &str, expected: &Value, actual: &Value, told: &mut Vec<String>) {
    if told.len() >= TOLD_MAX {
        return;
    }
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (name, expected) in expected {
                let actual = actual.get(name).unwrap_or(&Value::Null);
                part(&format!("{path}.{name}"), expected, actual, told);
            }
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            for (number, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                part(&format!("{path}[{number}]"), expected, actual, told);
            }
        }
        _ if same(expected, actual) => {}
        _ => told.push(format!("{path}: expected {expected}, got {actual}")),
    }
}

/// Adds where two values differ.
pub(super) fn whole(path: &str, expected: &Value, actual: &Value, told: &mut Vec<String>) {
    part(path, expected, actual, told);
    extra(path, expected, actual, told);
}

fn extra(path: &str, expected: &Value, actual: &Value, told: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (name, actual) in actual {
                match expected.get(name) {
                    Some(expected) => extra(&format!("{path}.{name}"), expected, actual, told),
                    None if told.len() < TOLD_MAX => {
                        told.push(format!("{path}.{name}: not expected, got {actual}"));
                    }
                    None => {}
                }
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            for (number, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                extra(&format!("{path}[{number}]"), expected, actual, told);
            }
        }
        _ => {}
    }
}

/// Whether two scalars are the same; `1` and `1.0` are.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    let whole_numbers = [one, other].iter().filter(|it| it.is_i64() || it.is_u64()).count();
    match (one.as_f64(), other.as_f64()) {
        // Whole numbers are compared as such: a float holds only some of those beyond 2^53.
        (Some(one), Some(other)) if whole_numbers < 2 => one.total_cmp(&other).is_eq(),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::{part, whole};
    use serde_json::json;

    #[test]
    fn a_part_may_lack_members_and_the_whole_may_not() {
        let (mut told, actual) = (Vec::new(), json!({ "a": { "b": 1, "c": 2 }, "d": [1, 2.0] }));
        part("output", &json!({ "a": { "b": 1.0 }, "d": [1, 2] }), &actual, &mut told);
        assert!(told.is_empty(), "{told:?}");
        whole("output", &json!({ "a": { "b": 1 }, "d": [1, 2] }), &actual, &mut told);
        assert_eq!(told, ["output.a.c: not expected, got 2"]);
        part("output", &json!({ "d": [1] }), &actual, &mut told);
        let (one, other) = (json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992_u64));
        assert!(!super::same(&one, &other) && super::same(&json!(-1), &json!(-1.0)));
        assert_eq!(told[1], "output.d: expected [1], got [1,2.0]");
    }
}
