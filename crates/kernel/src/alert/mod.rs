//! Watching and ringing: what a monitor saw, what became of it, and who is told.
//!
//! ```text
//!            bad                    fail_after, for                ok × recover_after,
//!  (nothing) ───▶ pending ────────────────────────▶ open ─────┐    absent × missing
//!      ▲             │ ok                           ▲ │ │     ├──────────────────────▶ resolved
//!      └─────────────┘              worse, snooze's │ │ └▶ acknowledged, snoozed
//!                                   end             └─┴──────┘
//! ```
//!
//! One machine per monitor ([`Monitor`]) holds all its incidents, so that a check's result, the
//! incidents that it moves and the notifications that they owe are one commit. Who is told what is
//! not driven by transitions: after every input, [`settle`] compares what each receiver should know
//! with what it was told, and owes the difference. Silences, slow receivers and reopened incidents
//! need no rules of their own.

mod agenda;
mod alertmanager;
mod by_hand;
mod by_key;
mod check;
mod clock;
mod condition;
mod consistency;
mod decide;
pub mod definition;
mod event;
mod explain;
mod fallback;
mod handover;
mod heartbeat;
mod incident;
mod input;
mod monitor;
mod notification;
mod observation;
mod observe;
mod parents;
mod preview;
mod provider_event;
mod received;
mod resend;
mod rollup;
mod route;
mod sample;
mod settle;
mod span;
mod template;
mod text;

use sha2::{Digest, Sha256};

pub use alertmanager::{Compiled, LabelMatcher};
pub use by_hand::NOTE_MAX;
pub use by_key::{Cells, StandingKey, by_key};
pub use condition::{Condition, Operand, Operator};
pub use event::{Event, Outcome, Window};
pub use explain::{Explanation, explain, since_then};
pub use heartbeat::{Beat, PING_TEXT_MAX};
pub use incident::{
    Acknowledged, Entry, Evidence, Held, Incident, NotificationEvent, ReceiverState, Rung, State,
    Suppressed,
};
pub use input::{Context, Input, Ping, PingKind, ProviderAction, ProviderEvent};
pub use monitor::{
    CHECKS_KEPT, Check, DELIVERIES_AGE, DELIVERIES_KEPT, Delivery, DeliveryStatus,
    FAILED_CHECKS_AGE, FAILED_CHECKS_KEPT, Monitor,
};
pub use observation::{
    ATTRS_MAX, KEY_MAX, MEMORY_MAX, OBSERVATIONS_MAX, Observation, Reading, Status, TEXT_MAX,
    doubt, read, read_reported,
};
pub use parents::Asked;
pub use preview::{
    NextCheck, NextSilence, Preview, PreviewedKey, next_checks, next_checks_with, past_input,
    past_window, preview, preview_input,
};
pub use received::{
    AFTER_START, ALERTS_MAX, Alert, LABEL_BYTES_MAX, LABELS_MAX, Lease, RESOLVE_TIMEOUT, Receiving,
    STARTS, secret_alone, severity_named,
};
pub use rollup::{Cell, Counted, Counter, ROLLUP_LEDGER, Rollups, Step, Times, cells_of_line};
pub use route::{ByReceiver, OnCall};
pub use route::{
    OWN_LABEL, Selected as WhoIsTold, Subject, Supposed, ToldStep, who_is_told, who_is_told_of,
};
pub use sample::{SAMPLE_MAX, Sample, Sampled};
pub use settle::silenced;
pub use template::Template;

/// The definitions that deliver notifications are named by this, a colon, and the receiver: see
/// [`notify_workflow`].
pub const NOTIFY_WORKFLOW: &str = "nightbell_notify";

/// The name of the definition that delivers notifications to a receiver: a single `NOTIFY` task
/// with retries, see [`definition::Receiver::definition`].
pub fn notify_workflow(receiver: &str) -> String {
    format!("{NOTIFY_WORKFLOW}:{receiver}")
}

/// The key of the incident about checks that could not be made.
pub const CHECK_KEY: &str = "#check";

/// The key of the incident about checks that did not run.
pub const MISSED_KEY: &str = "#missed";

/// The key of the incident about alerts that are not taken, because too many fire already.
pub const LIMIT_KEY: &str = "#limit";

/// The monitor of what Nightbell itself cannot do: files that it refused, receivers that do not take
/// what they are told.
pub const OWN_MONITOR: &str = "nightbell";

/// Keys of Nightbell's own monitor that are about a receiver begin so; its name follows. They are
/// told to others than that receiver.
pub const RECEIVER_KEY: &str = "receiver:";

/// Whether a key is that of an incident about the checks themselves, or about what is not received.
pub(crate) fn is_own(key: &str) -> bool {
    key == CHECK_KEY || key == MISSED_KEY || key == LIMIT_KEY
}

/// Names (monitor, key) for good: the key under which providers know the incident. 32 hexadecimal
/// digits.
pub fn fingerprint(monitor: &str, key: &str) -> std::sync::Arc<str> {
    let mut hash = Sha256::new();
    hash.update(monitor.as_bytes());
    hash.update([0]);
    hash.update(key.as_bytes());
    let digest = hash.finalize();
    let number = digest[..16].iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("{number:032x}").into()
}
