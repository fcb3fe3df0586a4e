//! What it means that a query finds nothing: all is well, something is wrong, or nobody can tell.

use kernel::alert::Status;
use serde_json::json;

use super::order::Order;
use super::seen::{Seen, attrs};
use super::{Trouble, unknown, wrong};

/// The setting `empty`.
pub(super) enum Empty {
    /// Nobody can tell.
    Unknown,
    /// All is well.
    Ok,
    /// That is what is wrong.
    Fail,
}

impl Empty {
    /// What the settings say, if they do.
    pub(super) fn read(order: &Order) -> Result<Option<Self>, Trouble> {
        match order.settings.text("empty")?.as_deref() {
            None => Ok(None),
            Some("unknown") => Ok(Some(Self::Unknown)),
            Some("ok") => Ok(Some(Self::Ok)),
            Some("fail") => Ok(Some(Self::Fail)),
            Some(other) => {
                Err(wrong(format!("`empty` must be unknown, ok or fail, not {other:?}")))
            }
        }
    }

    /// What was seen when no `what` were found.
    pub(super) fn seen(&self, what: &str) -> Result<Seen, Trouble> {
        let text = format!("the query finds no {what}");
        match self {
            Self::Unknown => Err(unknown(format!(
                "{text}; say `empty: ok` or `empty: fail` if that is what it should mean"
            ))),
            // No row is no key: whatever was bad and is not mentioned is over.
            Self::Ok => Ok(Seen::default()),
            Self::Fail => Ok(Seen::one(Status::Fail, &text, json!(0), attrs(json!({})))),
        }
    }
}
