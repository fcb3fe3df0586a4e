//! Which statuses of an answer are a success.

use std::ops::RangeInclusive;

use ::http::StatusCode;
use serde_json::value::RawValue;

use super::fields::{items, scalar};

/// What HTTP calls a status: three digits, the first from 1 to 5.
const VALID: RangeInclusive<u16> = 100..=599;
const SUCCESS: RangeInclusive<u16> = 200..=299;

/// The accepted statuses; 2xx unless something else is named. What is named goes in the place of
/// 2xx and not beside it, as Orkes documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Whether a status is among them.
    pub fn contains(&self, status: StatusCode) -> bool {
        let status = status.as_u16();
        if self.0.is_empty() {
            return SUCCESS.contains(&status);
        }
        self.0.iter().any(|range| range.contains(&status))
    }

    /// Reads one item or a list of them: a status as a number or text, a family `4xx`, or a range
    /// `200-399`. A text may hold several, with commas. Absent if one of them is none of these.
    pub(super) fn read(value: &RawValue) -> Option<Self> {
        let mut ranges = Vec::new();
        for item in items(value) {
            for word in scalar(item)?.split(',') {
                ranges.push(range(word.trim())?);
            }
        }
        Some(Self(ranges))
    }
}

fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let family = word.strip_suffix("xx").or_else(|| word.strip_suffix("XX"));
    let range = match (family, word.split_once('-')) {
        (Some(family), _) if family.len() == 1 => {
            let first = family.parse::<u16>().ok()? * 100;
            first..=first + 99
        }
        (None, Some((first, last))) => status(first)?..=status(last)?,
        (None, None) => status(word)?..=status(word)?,
        _ => return None,
    };
    let valid = VALID.contains(range.start()) && VALID.contains(range.end());
    (valid && !range.is_empty()).then_some(range)
}

/// A status; also written as `404.0`, as numbers that went through a script are.
fn status(word: &str) -> Option<u16> {
    let number: f64 = word.trim().parse().ok()?;
    let whole = number.fract() == 0.0 && (0.0..1000.0).contains(&number);
    whole.then_some(number as u16)
}
