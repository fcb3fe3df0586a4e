//! Who calls, by the metadata of the call.

use std::sync::Arc;

use kernel::durable::DEFAULT_HUB;
use tonic::metadata::MetadataMap;

/// Longest text that a caller may tell of itself, in characters; the rest is cut off.
const TOLD_MAX: usize = 200;

/// The task hub that a call is about. Plain SDKs name none.
pub(super) fn hub(metadata: &MetadataMap) -> Arc<str> {
    let named = ["taskhub", "durable-taskhub"].into_iter().find_map(|key| text(metadata, key));
    named.unwrap_or(DEFAULT_HUB).into()
}

/// What a worker calls itself; may be empty.
pub(super) fn worker(metadata: &MetadataMap) -> Arc<str> {
    told(text(metadata, "workerid"))
}

/// What software calls; may be empty.
pub(super) fn agent(metadata: &MetadataMap) -> Arc<str> {
    told(text(metadata, "x-user-agent").or_else(|| text(metadata, "user-agent")))
}

fn text<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata.get(key)?.to_str().ok().filter(|text| !text.is_empty())
}

fn told(text: Option<&str>) -> Arc<str> {
    text.unwrap_or_default().chars().take(TOLD_MAX).collect::<String>().into()
}
