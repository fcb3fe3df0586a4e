//! Where an instance stands, in the protocol's words.

use kernel::{Json, Timestamp};
use serde::Serialize;

/// The protocol's `OrchestrationRuntimeStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum RuntimeStatus {
    Running,
    Completed,
    ContinuedAsNew,
    Failed,
    Canceled,
    Terminated,
    Pending,
    Suspended,
}

impl RuntimeStatus {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Running, "Running"),
        (Self::Completed, "Completed"),
        (Self::ContinuedAsNew, "ContinuedAsNew"),
        (Self::Failed, "Failed"),
        (Self::Canceled, "Canceled"),
        (Self::Terminated, "Terminated"),
        (Self::Pending, "Pending"),
        (Self::Suspended, "Suspended"),
    ];

    /// Whether it has ended.
    pub(super) fn is_closed(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Terminated)
    }

    pub(super) fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(status, _)| *status == self);
        found.map_or("Running", |(_, word)| word)
    }

    /// Reads the word, in any case; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, word)| word.eq_ignore_ascii_case(text));
        found.map(|(status, _)| *status)
    }
}

/// How much of an instance is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    pub(super) input: bool,
    pub(super) history: bool,
    pub(super) history_output: bool,
}

/// An instance as it is shown: the protocol's `StatusResponsePayload`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) instance_id: String,
    pub(crate) runtime_status: RuntimeStatus,
    pub(crate) input: Json,
    pub(crate) custom_status: Json,
    pub(crate) output: Json,
    #[serde(serialize_with = "to_the_second")]
    pub(crate) created_time: Timestamp,
    #[serde(serialize_with = "to_the_second")]
    pub(crate) last_updated_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) history_events: Option<Vec<HistoryEvent>>,
    /// What it waits for and why, if that was asked for: ours, not the protocol's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) waiting: Option<Json>,
}

fn to_the_second<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let at = jiff::Timestamp::from(*at);
    serializer.collect_str(&at.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

fn to_the_millisecond<S: serde::Serializer>(
    at: &Timestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{:.3}", jiff::Timestamp::from(*at)))
}

#[expect(clippy::ref_option, reason = "serde asks for a reference")]
fn when<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => to_the_millisecond(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// One event of a history as it is shown: what was scheduled and what became of it are one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HistoryEvent {
    pub(super) event_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_name: Option<String>,
    /// Of an event from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orchestration_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "when")]
    pub(super) fire_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "when")]
    pub(super) scheduled_time: Option<Timestamp>,
    #[serde(serialize_with = "to_the_millisecond")]
    pub(super) timestamp: Timestamp,
}

impl HistoryEvent {
    /// An event that says nothing yet but when.
    pub(super) fn at(timestamp: Timestamp, event_type: &'static str) -> Self {
        Self {
            event_type,
            function_name: None,
            name: None,
            orchestration_status: None,
            input: None,
            result: None,
            reason: None,
            fire_at: None,
            scheduled_time: None,
            timestamp,
        }
    }
}
