//! Failure details, whole: type, words, origin, causes and properties pass through unread.

use std::collections::BTreeMap;

use kernel::Json;
use kernel::durable::FailureDetails;
use proto::TaskFailureDetails;
use proto::value::Kind;
use serde_json::{Map, Number, Value};

use super::{text, wire_text};

/// From the wire.
pub(in crate::grpc) fn failure(details: TaskFailureDetails) -> FailureDetails {
    let properties = details.properties;
    FailureDetails {
        error_type: details.error_type.into(),
        message: details.error_message.into(),
        stack: text(details.stack_trace),
        inner: details.inner_failure.map(|inner| Box::new(failure(*inner))),
        non_retriable: details.is_non_retriable,
        properties: (!properties.is_empty()).then(|| Json::of(&object(properties))),
    }
}

/// From the wire, where there must be one.
pub(in crate::grpc) fn expected(details: Option<TaskFailureDetails>) -> FailureDetails {
    details.map(failure).unwrap_or_default()
}

/// For the wire.
pub(in crate::grpc) fn wire(details: &FailureDetails) -> TaskFailureDetails {
    let properties = details.properties.as_ref().map(Json::parse);
    TaskFailureDetails {
        error_type: details.error_type.to_string(),
        error_message: details.message.to_string(),
        stack_trace: wire_text(details.stack.as_ref()),
        inner_failure: details.inner.as_ref().map(|inner| Box::new(wire(inner))),
        is_non_retriable: details.non_retriable,
        properties: match properties {
            Some(Value::Object(members)) => {
                members.into_iter().map(|(name, value)| (name, wire_value(value))).collect()
            }
            _ => BTreeMap::new(),
        },
    }
}

/// The same in few words, where all of them do not fit.
pub(in crate::grpc) fn brief(details: TaskFailureDetails) -> TaskFailureDetails {
    const MESSAGE_MAX: usize = 64 << 10;
    let mut message = details.error_message;
    message.truncate(message.floor_char_boundary(MESSAGE_MAX));
    TaskFailureDetails {
        error_type: details.error_type,
        error_message: message,
        is_non_retriable: details.is_non_retriable,
        ..TaskFailureDetails::default()
    }
}

fn object(members: BTreeMap<String, proto::Value>) -> Map<String, Value> {
    members.into_iter().map(|(name, member)| (name, value(member))).collect()
}

fn value(given: proto::Value) -> Value {
    match given.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => number_of(number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::BoolValue(is)) => Value::Bool(is),
        Some(Kind::StructValue(members)) => Value::Object(object(members.fields)),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(value).collect(),
    }
}

/// A whole number stays one in JSON; what JSON cannot say is null.
fn number_of(number: f64) -> Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        return Value::Number((number as i64).into());
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn wire_value(given: Value) -> proto::Value {
    let kind = match given {
        Value::Null => Kind::NullValue(0),
        Value::Bool(is) => Kind::BoolValue(is),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(list) => {
            Kind::ListValue(proto::ListValue { values: list.into_iter().map(wire_value).collect() })
        }
        Value::Object(members) => {
            let members = members.into_iter();
            let fields = members.map(|(name, member)| (name, wire_value(member))).collect();
            Kind::StructValue(proto::Struct { fields })
        }
    };
    proto::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failure_goes_there_and_back_whole() {
        let cause = FailureDetails {
            stack: Some("at line 1".into()),
            properties: Some(Json::of(&json!({
                "code": 42, "more": { "deep": {} }, "names": ["a", null, true], "ratio": 0.5
            }))),
            ..FailureDetails::new("ValueError", "no good")
        };
        let whole = FailureDetails {
            inner: Some(Box::new(cause)),
            non_retriable: true,
            ..FailureDetails::new("TaskFailedError", "it failed")
        };
        assert_eq!(failure(wire(&whole)), whole);
    }

    #[test]
    fn numbers_that_json_cannot_say_are_null() {
        for (number, shown) in [
            (f64::NAN, json!(null)),
            (f64::INFINITY, json!(null)),
            (-3.0, json!(-3)),
            (1e300, json!(1e300)),
        ] {
            assert_eq!(number_of(number), shown);
        }
    }
}
