//! WAIT: until an instant, for a while, or until somebody says so.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::super::draft::{Draft, End};
use super::super::event::Event;
use crate::expression::{parse_duration, parse_until};
use crate::json::Json;
use crate::time::Timestamp;

pub(super) fn begin(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    match until(&task.input, draft.context.now) {
        Ok(until) => draft.push(Event::Begun { sequence, until }),
        Err(reason) => draft.close(sequence, End::failed_terminally(reason)),
    }
}

/// When a WAIT ends by itself; `None` for one that waits for a signal.
fn until(input: &Json, now: Timestamp) -> Result<Option<Timestamp>, String> {
    let input = input.parse();
    let text = |key: &str| match input.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Some(other) => Some(other.to_string()),
    };
    match (text("duration"), text("until")) {
        (Some(_), Some(_)) => Err("WAIT takes 'duration' or 'until', not both".to_owned()),
        (Some(duration), None) => {
            let duration = parse_duration(&duration)
                .map_err(|error| format!("'duration' is '{duration}': {error}"))?;
            let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
            Ok(Some(now.plus_millis(millis)))
        }
        (None, Some(until)) => parse_until(&until, &TimeZone::UTC)
            .map(|at| Some(at.into()))
            .map_err(|error| format!("'until' is '{until}': {error}")),
        (None, None) => Ok(None),
    }
}

/// The time has come.
pub(in super::super) fn over(draft: &mut Draft<'_>, sequence: u32) {
    draft.close(sequence, End::done());
    draft.continue_after(sequence);
}
