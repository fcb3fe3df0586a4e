//! `CHECK_EMAIL`: has the mail that is expected arrived?
//!
//! Every subject must have come from one of the senders since the hour given; what is missing is
//! one observation, so that one page lists it all. The day of a mail is when the mailbox took it
//! in: the sender's own date is whatever the sender's clock says.

mod address;
mod mailbox;
mod message;
mod question;
mod token;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::ToSpan as _;
use jiff::civil::DateTime;
use kernel::Timestamp;
use kernel::alert::Status;
use kernel::alert::definition::{Clock, Remark};
use kernel::cron::Zone;
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value, json};

use super::order::{Order, span, stranger};
use super::seen::{Seen, attrs};
use super::{Means, Source, Trouble, wrong};
use message::{Mail, normal};

/// Looks into mailboxes.
pub(super) struct Email;

/// Subjects and senders that one check can ask for.
const WANTED_MAX: usize = 200;
/// Bytes that a compiled pattern may take.
const PATTERN_MAX: usize = 1 << 20;

#[async_trait]
impl Source for Email {
    const TYPE: &'static str = "CHECK_EMAIL";

    fn judge(settings: &Map<String, Value>, means: &Means) -> Option<Remark> {
        stranger("account", settings, &means.settings)
    }

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let wanted = Wanted::read(order)?;
        let address = address::Address::read(order, token::fetched(order, means).await?)?;
        let what = format!("the mailbox at {address}");
        let mails = order.within(&what, mailbox::mails(order, means, &address, &wanted)).await?;
        Ok(wanted.judge(&mails))
    }
}

/// What must have come.
pub(super) struct Wanted {
    /// Not before.
    since: Timestamp,
    /// From one of these, in lower case; empty = from anybody.
    pub(super) from: Vec<String>,
    /// To one of these; empty = to anybody.
    pub(super) to: Vec<String>,
    subjects: Vec<Subject>,
}

/// An address as senders are compared: `Load jobs <etl@example.com>` means `etl@example.com`. A
/// text that is no address stands for the name beside one.
fn bare(text: &str) -> &str {
    let inner = text.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or(text, |(address, _)| address).trim()
}

enum Subject {
    Exact(String),
    Pattern(Regex),
}

impl Wanted {
    fn read(order: &Order) -> Result<Self, Trouble> {
        let addresses = |name: &str| -> Result<Vec<String>, Trouble> {
            let addresses = order.settings.texts(name)?;
            Ok(addresses.iter().map(|address| bare(address).to_lowercase()).collect())
        };
        let wanted = Self {
            since: since(order)?,
            from: addresses("from")?,
            to: addresses("to")?,
            subjects: subjects(order.settings.get("subjects"))?,
        };
        let count = wanted.from.len().max(wanted.to.len()).max(wanted.subjects.len());
        if count > WANTED_MAX {
            return Err(wrong(format!("more than {WANTED_MAX} subjects or addresses")));
        }
        Ok(wanted)
    }

    /// The last day of which nothing can count: mailboxes search by whole days in a zone of their
    /// own, so the search begins a day early.
    pub(super) fn day_before(&self) -> jiff::civil::Date {
        let at: jiff::Timestamp = self.since.plus_millis(-86_400_000).into();
        jiff::tz::TimeZone::UTC.to_datetime(at).date()
    }

    fn judge(&self, mails: &[Mail]) -> Seen {
        let known = |mail: &&Mail| {
            let among = |wanted: &[String], found: &[String]| {
                wanted.is_empty() || found.iter().any(|address| is_one(wanted, address))
            };
            mail.received >= self.since
                && among(&self.from, &mail.from)
                && among(&self.to, &mail.to)
        };
        let mails: Vec<&Mail> = mails.iter().filter(known).collect();
        let mut missing: Vec<String> = Vec::new();
        for subject in &self.subjects {
            if !mails.iter().any(|mail| subject.matches(&mail.subject)) {
                missing.push(subject.to_string());
            }
        }
        if self.subjects.is_empty() && mails.is_empty() {
            missing.push("any mail".to_owned());
        }
        let since = self.since;
        let (status, text) = match (missing.len(), self.subjects.len()) {
            (0, _) => (Status::Ok, format!("all expected mail has come since {since}")),
            (count, all) => {
                let list = missing.join("; ");
                let of = format!("{count} of {}", all.max(1));
                (Status::Fail, format!("missing since {since} ({of}): {list}"))
            }
        };
        let attrs = attrs(json!({
            "missing": missing, "expected": self.subjects.len().max(1), "since": since.to_string(),
            "mails": mails.len(),
        }));
        Seen::one(status, &text, json!(missing.len()), attrs)
    }
}

/// Whether an address is among those wanted: itself, or its whole domain as `@example.com`.
fn is_one(wanted: &[String], address: &str) -> bool {
    wanted.iter().any(|it| match it.strip_prefix('@') {
        Some(domain) => address.rsplit_once('@').is_some_and(|(_, of)| of == domain),
        None => it == address,
    })
}

impl Subject {
    fn matches(&self, subject: &str) -> bool {
        match self {
            Self::Exact(text) => text == subject,
            Self::Pattern(pattern) => pattern.is_match(subject),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "{text:?}"),
            Self::Pattern(pattern) => write!(f, "/{pattern}/"),
        }
    }
}

/// One subject or several: a text, or `{regex: …}`.
fn subjects(value: Option<&Value>) -> Result<Vec<Subject>, Trouble> {
    let one = |value: &Value| -> Result<Subject, Trouble> {
        if let Some(pattern) = value.get("regex").and_then(Value::as_str) {
            let pattern = RegexBuilder::new(pattern).size_limit(PATTERN_MAX).build();
            return pattern
                .map(Subject::Pattern)
                .map_err(|why| wrong(format!("`subjects`: {why}")));
        }
        match super::rows::scalar(value) {
            Some(text) => Ok(Subject::Exact(normal(&text))),
            None => Err(wrong("`subjects` must be texts or `{regex: …}`")),
        }
    };
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(one).collect(),
        Some(value) => Ok(vec![one(value)?]),
    }
}

/// From when on mail counts: the last time that it was `since` in the zone `tz`, or `max_age` ago,
/// whichever is later; without either, the beginning of today.
fn since(order: &Order) -> Result<Timestamp, Trouble> {
    let aged = span(&order.settings, "max_age")?;
    let aged = aged.map(|age| order.now.plus_millis(-(age.as_millis() as i64)));
    let clock = order.settings.text("since")?;
    if clock.is_none() && aged.is_some() {
        return Ok(aged.unwrap_or_default());
    }
    let name = order.settings.text("tz")?.unwrap_or_else(|| "UTC".to_owned());
    let zone = Zone::named(&name).map_err(|why| wrong(format!("`tz`: {why}")))?;
    let clock = clock.unwrap_or_else(|| "00:00".to_owned());
    let minutes = Clock::parse(&clock).map(Clock::minutes);
    let minutes = minutes.ok_or_else(|| wrong(format!("`since`: {clock:?} is no time of day")))?;
    let midnight = zone.local(order.now).date().at(0, 0, 0, 0);
    let clock = |midnight: DateTime| {
        let local = midnight.checked_add(minutes.minutes()).unwrap_or(midnight);
        zone.instant(local).unwrap_or(order.now)
    };
    let mut since = clock(midnight);
    if since > order.now {
        // Not yet today: in the middle of the night, the evening before is what is meant.
        since = clock(midnight.checked_sub(1.day()).unwrap_or(midnight));
    }
    Ok(aged.map_or(since, |aged| aged.max(since)))
}
