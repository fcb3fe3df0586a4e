//! Reads the members of a task's input leniently, naming the member in every complaint.
//!
//! Inputs come from templates, where a number easily arrives as text and the other way round and
//! where an absent value arrives as null; so each reader takes what can only be meant one way.

use engine::{Outcome, OutcomeStatus};
use kernel::Json;
use serde_json::{Map, Value};

/// A member is missing or of the wrong kind: the sentence that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) String);

/// The members of an input object; null counts as absent.
pub(crate) struct Members(Map<String, Value>);

impl Members {
    /// The members of a task's input.
    pub(crate) fn of(input: &Json) -> Result<Self, Wrong> {
        Self::within(input.parse(), "the input")
    }

    /// The members of `value`, which complaints call `what`.
    pub(crate) fn within(value: Value, what: &str) -> Result<Self, Wrong> {
        match value {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(Wrong(format!("{what} must be an object"))),
        }
    }

    /// All of them, for who reads them in another way.
    pub(crate) fn value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// The member as it is.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text that is not blank, trimmed; a number or boolean as its text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Wrong> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = scalar(value).ok_or_else(|| wrong(name, "a text"))?;
        Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    /// As [`Members::text`], of a member that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<String, Wrong> {
        self.text(name)?.ok_or_else(|| Wrong(format!("`{name}` is missing")))
    }

    /// A boolean, also as text.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Wrong> {
        match self.text(name)?.as_deref() {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(wrong(name, "true or false")),
        }
    }

    /// A number from 0 up that may have a fraction, also as text.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, Wrong> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
        number.map(Some).ok_or_else(|| wrong(name, &format!("a number from 0 up, not '{text}'")))
    }

    /// A whole number from 0 up, also as text or written as `3.0`.
    pub(crate) fn count(&self, name: &str) -> Result<Option<u64>, Wrong> {
        let number = self.number(name)?;
        let whole = |n: f64| (n.fract() == 0.0 && n < 9e15).then_some(n as u64);
        number.map(|n| whole(n).ok_or_else(|| wrong(name, "a whole number"))).transpose()
    }

    /// Texts, given as a list (also of lists) or as one text; blank ones and nulls are left out.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Wrong> {
        let mut found = Vec::new();
        if let Some(value) = self.get(name) {
            gather(value, &mut found).ok_or_else(|| wrong(name, "a text or a list of texts"))?;
        }
        Ok(found)
    }
}

fn gather(value: &Value, found: &mut Vec<String>) -> Option<()> {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().try_for_each(|item| gather(item, found))?,
        other => {
            let text = scalar(other)?;
            found.extend(Some(text.trim().to_owned()).filter(|text| !text.is_empty()));
        }
    }
    Some(())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The complaint about a member of the wrong kind.
pub(crate) fn wrong(name: &str, expected: &str) -> Wrong {
    Wrong(format!("`{name}` must be {expected}"))
}

/// An attempt that is done.
pub(crate) fn completed(output: Json) -> Outcome {
    Outcome { status: OutcomeStatus::Completed, output, reason: None }
}

/// An attempt that failed in a way that another may not.
pub(crate) fn failed(reason: impl Into<String>) -> Outcome {
    failed_with(Json::empty_object(), reason)
}

/// As [`failed`], with what there is to show.
pub(crate) fn failed_with(output: Json, reason: impl Into<String>) -> Outcome {
    Outcome { status: OutcomeStatus::Failed, output, reason: Some(reason.into()) }
}

/// An attempt that failed in a way that every other would.
pub(crate) fn failed_for_good(reason: impl Into<String>) -> Outcome {
    let reason = Some(reason.into());
    Outcome { status: OutcomeStatus::FailedTerminally, output: Json::empty_object(), reason }
}
