//! Time zones by name, from the tables in the program: the same answer on every machine.

use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub(super) TimeZone);

/// A name that names no time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a known time zone")]
pub struct ZoneError(pub String);

impl ZoneError {
    /// What to write instead.
    pub const HINT: &'static str =
        "Write a name of the IANA tables such as Europe/Oslo, or UTC, or an offset such as +02:00.";
}

/// An instant at which a zone's clock is set.
pub(super) struct Change {
    pub(super) at: jiff::Timestamp,
    /// What the clock would have shown.
    pub(super) before: DateTime,
    /// What it shows.
    pub(super) after: DateTime,
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Finds a zone by its IANA name, or reads an offset: `+02:00`, `UTC+2`, `GMT-03:30`, `Z`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn named(name: &str) -> Result<Self, ZoneError> {
        static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
        let trimmed = name.trim();
        if let Some(offset) = offset(trimmed) {
            return Ok(Self(offset));
        }
        DATABASE.get(trimmed).map(Self).map_err(|_| ZoneError(name.to_owned()))
    }

    /// What the clock shows.
    pub fn local(&self, at: crate::Timestamp) -> DateTime {
        self.0.to_datetime(at.into())
    }

    /// The first instant at which the clock shows a time, or has passed it.
    pub fn instant(&self, local: DateTime) -> Option<crate::Timestamp> {
        super::next::first_instant(local, self).map(Into::into)
    }

    /// The clock's distance from UTC, as `+02:00`.
    pub fn offset_text(&self, at: crate::Timestamp) -> String {
        let seconds = self.0.to_offset(at.into()).seconds();
        let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
        format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }

    /// The last change at or before an instant.
    pub(super) fn last_change(&self, at: jiff::Timestamp) -> Option<Change> {
        let beyond = at.checked_add(jiff::SignedDuration::from_nanos(1)).ok()?;
        Some(self.change(self.0.preceding(beyond).next()?.timestamp()))
    }

    /// The first change after an instant.
    pub(super) fn next_change(&self, at: jiff::Timestamp) -> Option<Change> {
        Some(self.change(self.0.following(at).next()?.timestamp()))
    }

    fn change(&self, at: jiff::Timestamp) -> Change {
        let earlier = at.checked_sub(jiff::SignedDuration::from_secs(1)).unwrap_or(at);
        let before = self.0.to_offset(earlier).to_datetime(at);
        Change { at, before, after: self.0.to_datetime(at) }
    }
}

fn offset(text: &str) -> Option<TimeZone> {
    let rest = ["UTC", "GMT", "UT"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let rest = rest.unwrap_or(text);
    if matches!(rest, "Z" | "z") || (rest.is_empty() && !text.is_empty()) {
        return Some(TimeZone::UTC);
    }
    let (sign, digits) = match rest.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<i32>().ok()).flatten()
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) if minutes.len() == 2 => (number(hours)?, number(minutes)?),
        Some(_) => return None,
        None if digits.len() == 4 => (number(digits.get(..2)?)?, number(digits.get(2..)?)?),
        None => (number(digits)?, 0),
    };
    // The protocol's server knows offsets up to 18 hours.
    let seconds = (hours * 60 + minutes) * 60;
    let fits = hours <= 18 && minutes < 60 && seconds <= 18 * 3600;
    let offset = Offset::from_seconds(sign * seconds).ok().filter(|_| fits)?;
    Some(TimeZone::fixed(offset))
}
