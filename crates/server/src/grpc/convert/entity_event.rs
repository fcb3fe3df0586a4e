//! Messages to entities in the form of events, and the answers to them: how workers for older
//! backends speak to entities.
//!
//! | event | what it carries |
//! |---|---|
//! | `op` | an operation (`op`, `input`, `signal`), or a request for locks (`lockset`, `pos`) |
//! | `op@TIME` | an operation that is not to run before `due`, or else TIME |
//! | `release` | the end of a lock |
//!
//! Each names its request (`id`); the answer is an event of that name. The form is that of
//! `DurableTask.Core`'s request, release and response messages; what only its own transport needs
//! (`Timestamp`, `Predecessor`, `parent`, …) is not read, since the engine knows who sends, and keeps
//! the order.

use std::sync::Arc;

use kernel::Timestamp;
use kernel::durable::entity::is_id;
use kernel::durable::{
    EntityMessage, EntityOperation, FailureDetails, LockRequest, LockWord, Unlock,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The event of an operation or a request for locks; what is not to run yet has a time after it.
const REQUEST: &str = "op";
/// Between that and the time.
const AT: char = '@';
/// The event that gives a lock back.
const RELEASE: &str = "release";
/// The result of a request for locks.
const LOCKED: &str = "Lock Acquisition Completed";

/// What asks an entity for something.
#[derive(Deserialize)]
struct Request {
    id: Arc<str>,
    op: Option<Arc<str>>,
    #[serde(default)]
    signal: bool,
    input: Option<Arc<str>>,
    due: Option<String>,
    lockset: Option<Vec<EntityName>>,
    #[serde(default)]
    pos: usize,
}

#[derive(Deserialize)]
struct EntityName {
    name: String,
    key: String,
}

/// What gives a lock back.
#[derive(Deserialize)]
struct Release {
    id: Arc<str>,
}

/// What an event says to an entity.
///
/// # Errors
/// Why it says nothing.
pub(in crate::grpc) fn message(
    entity: &str,
    event: &str,
    data: Option<&str>,
) -> Result<EntityMessage, String> {
    if !is_id(entity) {
        return Err("an entity id is '@name@key'".to_owned());
    }
    let target = Some(plain(entity));
    if event == RELEASE {
        let Release { id: critical_section_id } = read(data)?;
        let unlock = Unlock { critical_section_id, parent_instance_id: None, target };
        return Ok(EntityMessage::UnlockSent(Box::new(unlock)));
    }
    let time = match event.strip_prefix(REQUEST) {
        Some("") => None,
        Some(rest) if rest.starts_with(AT) => Some(rest.trim_start_matches(AT)),
        _ => {
            return Err(format!(
                "its name is '{event}', and entities hear '{REQUEST}', '{REQUEST}{AT}TIME' and \
                 '{RELEASE}'"
            ));
        }
    };
    let request: Request = read(data)?;
    if Uuid::try_parse(&request.id).is_err() {
        return Err(format!("'id' is to be a GUID, and is '{}'", request.id));
    }
    if let Some(lockset) = request.lockset {
        let lock_set: Vec<Arc<str>> = lockset.iter().map(EntityName::id).collect();
        if lock_set.get(request.pos) != target.as_ref() {
            return Err(format!("it goes to '{entity}', which 'lockset' does not have at 'pos'"));
        }
        return Ok(EntityMessage::LockRequested(Box::new(LockRequest {
            critical_section_id: request.id,
            lock_set,
            position: request.pos,
            parent_instance_id: None,
        })));
    }
    let due = request.due.as_deref().or(time);
    let operation = Box::new(EntityOperation {
        request_id: request.id,
        operation: request.op.ok_or("it has neither 'op' nor 'lockset'")?,
        scheduled_at: due.map(not_before).transpose()?,
        input: request.input,
        parent_instance_id: None,
        parent_execution_id: None,
        target,
    });
    Ok(if request.signal {
        EntityMessage::Signaled(operation)
    } else {
        EntityMessage::Called(operation)
    })
}

/// What an event says of locks, if it says anything to an entity; as a history shows it that comes
/// back from a worker.
pub(super) fn locks(entity: &str, event: &str, data: Option<&str>) -> Option<Box<LockWord>> {
    message(entity, event, data).ok()?.lock_word().map(Box::new)
}

fn read<'a, T: Deserialize<'a>>(data: Option<&'a str>) -> Result<T, String> {
    let data = data.ok_or("it carries nothing")?;
    serde_json::from_str(data).map_err(|error| format!("what it carries cannot be read: {error}"))
}

impl EntityName {
    fn id(&self) -> Arc<str> {
        plain(&format!("@{}@{}", self.name, self.key))
    }
}

/// The id with its name in lower case, so that ids of one entity are equal.
fn plain(id: &str) -> Arc<str> {
    let named = id.strip_prefix('@').and_then(|id| id.split_once('@'));
    named.map_or_else(|| id.into(), |(name, key)| format!("@{}@{key}", name.to_lowercase()).into())
}

/// An instant before which something shall not happen: never early. One of no time zone is of UTC.
fn not_before(text: &str) -> Result<Timestamp, String> {
    let here = || text.parse::<jiff::civil::DateTime>()?.to_zoned(jiff::tz::TimeZone::UTC);
    let at = text.parse::<jiff::Timestamp>().or_else(|_| here().map(|at| at.timestamp()));
    let at = at.map_err(|_| format!("'{text}' is no time"))?;
    let whole = Timestamp::from(at);
    Ok(if jiff::Timestamp::from(whole) < at { whole.plus_millis(1) } else { whole })
}

/// What answers a request.
#[derive(Serialize)]
struct Response<'a> {
    result: Option<&'a str>,
    /// Its presence says that there is no result.
    #[serde(rename = "exceptionType", skip_serializing_if = "Option::is_none")]
    exception_type: Option<&'a str>,
    #[serde(rename = "failureDetails", skip_serializing_if = "Option::is_none")]
    failure_details: Option<Details<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Details<'a> {
    error_type: &'a str,
    error_message: &'a str,
    stack_trace: Option<&'a str>,
    inner_failure: Option<Box<Details<'a>>>,
    is_non_retriable: bool,
    properties: Option<Value>,
}

impl<'a> Details<'a> {
    fn of(details: &'a FailureDetails) -> Self {
        Self {
            error_type: &details.error_type,
            error_message: &details.message,
            stack_trace: details.stack.as_deref(),
            inner_failure: details.inner.as_deref().map(|inner| Box::new(Self::of(inner))),
            is_non_retriable: details.non_retriable,
            properties: details.properties.as_ref().map(kernel::Json::parse),
        }
    }
}

/// The answer of all that were asked to be locked.
pub(super) fn locked(request: &str) -> proto::EventRaisedEvent {
    answered(request, Some(LOCKED))
}

/// The answer of an operation.
pub(super) fn answered(request: &str, result: Option<&str>) -> proto::EventRaisedEvent {
    event(request, &Response { result, exception_type: None, failure_details: None })
}

/// The answer of an operation that failed. Readers differ in where they look for the words: in the
/// details, or, as JSON, in the result.
pub(super) fn failed(request: &str, details: &FailureDetails) -> proto::EventRaisedEvent {
    let words = Value::from(&*details.message).to_string();
    let response = Response {
        result: Some(&words),
        exception_type: Some(&details.error_type),
        failure_details: Some(Details::of(details)),
    };
    event(request, &response)
}

fn event(request: &str, response: &Response<'_>) -> proto::EventRaisedEvent {
    let input = serde_json::to_string(response).expect("texts and JSON are JSON");
    proto::EventRaisedEvent { name: request.to_owned(), input: Some(input) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "7f1c1a52-8d1f-4a3e-9f0f-2a4c3f6f9d10";

    fn said(event: &str, data: &Value) -> Result<EntityMessage, String> {
        message("@Counter@A", event, Some(&data.to_string()))
    }

    fn operation(input: Option<&str>, scheduled_at: Option<i64>) -> EntityOperation {
        EntityOperation {
            request_id: ID.into(),
            operation: "add".into(),
            scheduled_at: scheduled_at.map(Timestamp::from_millis),
            input: input.map(Into::into),
            parent_instance_id: None,
            parent_execution_id: None,
            target: Some("@counter@A".into()),
        }
    }

    #[test]
    fn calls_and_signals_are_read() {
        // As DurableTask.Core writes it, with what only its transport needs.
        let whole = json!({
            "op": "add", "input": "{\"by\":1}", "id": ID, "parent": "i", "parentExecution": "e",
            "Timestamp": "2026-01-02T03:04:05.1234567Z", "Predecessor": "0001-01-01T00:00:00",
            "IsLockRequest": false, "createTrace": true, "ClientSpanId": null,
            "requestTime": "2026-01-02T03:04:05.1234567+00:00"
        });
        let call = EntityMessage::Called(Box::new(operation(Some("{\"by\":1}"), None)));
        assert_eq!(said("op", &whole), Ok(call));
        let signal = json!({ "op": "add", "signal": true, "id": ID });
        let signaled = EntityMessage::Signaled(Box::new(operation(None, None)));
        assert_eq!(said("op", &signal), Ok(signaled));
    }

    #[test]
    fn what_is_not_to_run_yet_has_its_time_in_itself_or_in_the_events_name() {
        let signal = json!({ "op": "add", "signal": true, "id": ID });
        let due = json!({ "op": "add", "signal": true, "id": ID, "due": "1970-01-01T00:00:02Z" });
        for (event, data, millis) in [
            ("op@1970-01-01T00:00:01.0000000Z", &signal, 1000),
            ("op@1970-01-01T00:00:01", &signal, 1000),
            ("op@1970-01-01T02:00:01+02:00", &signal, 1000),
            ("op@1970-01-01T00:00:00.0000001Z", &signal, 1),
            ("op@1970-01-01T00:00:00.999999999Z", &signal, 1000),
            // The name's is cut to what a backend's timers can do.
            ("op@1970-01-01T00:00:01Z", &due, 2000),
            ("op", &due, 2000),
        ] {
            let signaled = EntityMessage::Signaled(Box::new(operation(None, Some(millis))));
            assert_eq!(said(event, data), Ok(signaled), "{event} {data}");
        }
    }

    #[test]
    fn locks_are_asked_for_and_given_back() {
        let lockset = json!([{ "name": "Counter", "key": "A" }, { "name": "counter", "key": "b" }]);
        let asked = json!({ "op": null, "id": ID, "lockset": lockset, "pos": 0, "parent": "i" });
        let request = LockRequest {
            critical_section_id: ID.into(),
            lock_set: vec!["@counter@A".into(), "@counter@b".into()],
            position: 0,
            parent_instance_id: None,
        };
        assert_eq!(said("op", &asked), Ok(EntityMessage::LockRequested(Box::new(request))));
        let unlock = Unlock {
            critical_section_id: ID.into(),
            parent_instance_id: None,
            target: Some("@counter@A".into()),
        };
        let given_back = EntityMessage::UnlockSent(Box::new(unlock));
        assert_eq!(said("release", &json!({ "parent": "i", "id": ID })), Ok(given_back));
    }

    #[test]
    fn what_says_nothing_says_why() {
        let lockset = json!([{ "name": "counter", "key": "b" }]);
        for (event, data, why) in [
            ("op", json!({ "id": ID }), "it has neither 'op' nor 'lockset'"),
            ("op", json!({ "op": "add" }), "missing field `id`"),
            ("op", json!({ "op": "add", "id": "1" }), "'id' is to be a GUID, and is '1'"),
            ("op", json!({ "op": 1, "id": ID }), "invalid type: integer `1`"),
            ("op", json!({ "op": "add", "id": ID, "input": {} }), "invalid type: map"),
            ("op", json!({ "id": ID, "lockset": [] }), "which 'lockset' does not have at 'pos'"),
            ("op", json!({ "id": ID, "lockset": lockset }), "'lockset' does not have at 'pos'"),
            ("op", json!({ "id": ID, "lockset": lockset, "pos": -1 }), "invalid value"),
            ("op", json!({ "id": ID, "lockset": ["@counter@a"] }), "invalid type: string"),
            ("op", json!([]), "what it carries cannot be read: invalid length 0"),
            ("op@noon", json!({ "op": "add", "id": ID }), "'noon' is no time"),
            ("op", json!({ "op": "add", "id": ID, "due": "" }), "'' is no time"),
            ("operate", json!({}), "its name is 'operate'"),
            ("Hello", json!(1), "its name is 'Hello'"),
            ("", json!(1), "its name is ''"),
            ("release", json!({}), "missing field `id`"),
        ] {
            let refused = said(event, &data).unwrap_err();
            assert!(refused.contains(why), "{event} {data}: {refused}");
        }
        assert_eq!(message("@counter@a", "op", None).unwrap_err(), "it carries nothing");
        let cut = message("@counter@a", "op", Some("{\"op\":")).unwrap_err();
        assert!(cut.contains("EOF while parsing a value at line 1 column 6"), "{cut}");
        for id in ["@counter", "@", "@@a"] {
            assert_eq!(message(id, "op", None).unwrap_err(), "an entity id is '@name@key'");
        }
    }

    #[test]
    fn answers_are_events_that_bear_the_requests_name() {
        let read = |event: proto::EventRaisedEvent| {
            assert_eq!(event.name, ID);
            serde_json::from_str::<Value>(&event.input.unwrap()).unwrap()
        };
        assert_eq!(read(answered(ID, Some("\"5\""))), json!({ "result": "\"5\"" }));
        assert_eq!(read(answered(ID, None)), json!({ "result": null }));
        assert_eq!(read(locked(ID)), json!({ "result": "Lock Acquisition Completed" }));
        let cause = FailureDetails::new("IOException", "disk");
        let details = FailureDetails {
            stack: Some("at line 1".into()),
            inner: Some(Box::new(cause)),
            properties: Some(kernel::Json::of(&json!({ "code": 7 }))),
            ..FailureDetails::new("ValueError", "no \"good\"")
        };
        let inner = json!({
            "ErrorType": "IOException", "ErrorMessage": "disk", "StackTrace": null,
            "InnerFailure": null, "IsNonRetriable": false, "Properties": null
        });
        let whole = json!({
            "result": "\"no \\\"good\\\"\"",
            "exceptionType": "ValueError",
            "failureDetails": {
                "ErrorType": "ValueError", "ErrorMessage": "no \"good\"",
                "StackTrace": "at line 1", "InnerFailure": inner, "IsNonRetriable": false,
                "Properties": { "code": 7 }
            }
        });
        assert_eq!(read(failed(ID, &details)), whole);
    }
}
