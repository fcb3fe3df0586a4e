//! `/oncall/{name}.ics`: the shifts of a rotation for calendar programs, which subscribe to addresses and
//! send no headers.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use kernel::Timestamp;
use kernel::access::Permission;
use kernel::alert::definition::roster::{GAP_DAYS, Shift};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Path, Query};
use super::super::metadata::apart;
use super::oncall::no_rotation;
use crate::Api;
use crate::access::Routes;
use crate::ics::{Event, Ics};
use crate::problem::Problem;

/// The one path on which a key may be a parameter named `key`.
pub(crate) const PATH: &str = "/oncall/{file}";

const DAY: i64 = 86_400_000;
/// What lies so far behind is still in the calendar: four weeks.
const PAST: i64 = 28 * DAY;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(calendar))
}

#[derive(Debug, Deserialize, IntoParams)]
struct KeyParams {
    /// An API key, for programs that cannot send headers. It stands in the address, so give it the role
    /// viewer and nothing else.
    #[serde(rename = "key")]
    _key: Option<String>,
}

/// The shifts of a rotation as a calendar (RFC 5545): four weeks back, and 180 days ahead.
#[utoipa::path(
    operation_id = "on_call_calendar", get, path = "/oncall/{file}", tag = "receivers",
    params(("file" = String, Path, description = "The name of the rotation, with .ics behind it"), KeyParams),
    responses(
        (status = 200, description = "The calendar", content_type = "text/calendar", body = String),
        (status = 404, description = "There is no such rotation"),
    )
)]
async fn calendar(
    State(api): State<Api>,
    Path(file): Path<String>,
    Query(KeyParams { .. }): Query<KeyParams>,
) -> Result<Response, Problem> {
    let Some(name) = file.strip_suffix(".ics").map(str::to_owned) else {
        return Err(Problem::not_found("a calendar is called by the name of a rotation and .ics")
            .with_hint("Ask for /oncall/NAME.ics; `nightbell oncall who` lists the names."));
    };
    let now = api.engine.now();
    // Of whole days, so that what has no beginning has the same id for a day.
    let midnight = now.plus_millis(-now.millis().rem_euclid(DAY));
    let (from, to) = (midnight.plus_millis(-PAST), midnight.plus_millis(GAP_DAYS * DAY));
    let roster = api.engine.monitors_file().roster;
    let text = apart(move || {
        if !roster.rotations.contains_key(&*name) {
            return Err(no_rotation(&name, &roster));
        }
        Ok(written(&name, &roster.shifts(&name, from, to), from))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/calendar; charset=utf-8"),
        (header::CACHE_CONTROL, "private, no-cache"),
    ];
    Ok((headers, text.await?).into_response())
}

/// Shifts as a calendar; times of nobody are shown as such.
fn written(name: &str, shifts: &[Shift], from: Timestamp) -> String {
    let mut calendar = Ics::new("oncall calendar");
    for shift in shifts {
        let begins = shift.begins.or(shift.since).unwrap_or(from);
        let people =
            if shift.people.is_empty() { "nobody".to_owned() } else { shift.people.join(", ") };
        calendar.event(&Event {
            uid: format!("oncall-{name}-{}", begins.millis()),
            from: begins,
            to: shift.until,
            summary: format!("{name}: {people}"),
            description: shift.why.clone(),
        });
    }
    calendar.finish()
}
