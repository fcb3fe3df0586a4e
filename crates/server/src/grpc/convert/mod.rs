//! Between the messages of the wire and the facts of the kernel, each direction in files of its own.
//!
//! Payloads are texts on both sides and pass unread. Times are whole milliseconds here and
//! nanoseconds on the wire: what is not to happen before an instant is rounded up.

pub(super) mod action;
pub(super) mod entity;
mod entity_event;
pub(super) mod failure;
pub(super) mod history;
pub(super) mod inward;
pub(super) mod state;
pub(super) mod time;

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::durable::{Tags, TraceContext};

/// An optional text, from the wire.
pub(super) fn text(text: Option<String>) -> Option<Arc<str>> {
    text.map(Arc::from)
}

/// An optional text, for the wire.
pub(super) fn wire_text(text: Option<&Arc<str>>) -> Option<String> {
    text.map(ToString::to_string)
}

/// A version: absent and empty are alike.
pub(super) fn version(version: Option<String>) -> Option<Arc<str>> {
    text(version.filter(|version| !version.is_empty()))
}

/// Labels, from the wire.
pub(super) fn tags(tags: BTreeMap<String, String>) -> Tags {
    tags.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// Labels, for the wire.
pub(super) fn wire_tags(tags: &Tags) -> BTreeMap<String, String> {
    tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// A place in a trace, from the wire.
pub(super) fn trace(trace: Option<proto::TraceContext>) -> Option<TraceContext> {
    trace.map(|trace| TraceContext {
        parent: trace.trace_parent.into(),
        span_id: trace.span_id.into(),
        state: text(trace.trace_state),
    })
}

/// A place in a trace, for the wire.
pub(super) fn wire_trace(trace: Option<&TraceContext>) -> Option<proto::TraceContext> {
    trace.map(|trace| proto::TraceContext {
        trace_parent: trace.parent.to_string(),
        span_id: trace.span_id.to_string(),
        trace_state: wire_text(trace.state.as_ref()),
    })
}
