//! What is to be told: the notification of a monitor, or one that somebody wrote by hand.

use jiff::{SignedDuration, Timestamp};
use kernel::alert::NotificationEvent;
use kernel::alert::definition::Severity;
use serde_json::{Map, Value};

use super::settings::plain;

/// A notification. A title or a text is enough; everything else has defaults.
pub(super) struct Notification {
    /// What happened; `trigger` unless it says.
    pub(super) event: NotificationEvent,
    /// How bad it is; critical unless it says, and only information if it is a test.
    pub(super) severity: Severity,
    /// Names what it is about, over all notifications about it.
    pub(super) dedup_key: Option<String>,
    /// One line.
    pub(super) title: String,
    /// Labels, in order.
    pub(super) labels: Vec<(String, String)>,
    /// Several told as one.
    pub(super) group: Option<Group>,
    /// All of it, as given.
    pub(super) raw: Map<String, Value>,
}

/// Several incidents told as one.
pub(super) struct Group {
    /// What people call it.
    pub(super) display: String,
    /// Each of them; never empty.
    pub(super) members: Vec<Notification>,
}

impl Notification {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        Self::within(value, None)
    }

    fn within(value: &Value, outer: Option<NotificationEvent>) -> Result<Self, String> {
        let Value::Object(raw) = value else {
            return Err("the input's `notification` must be an object".to_owned());
        };
        let word = |name: &str| raw.get(name).and_then(plain).filter(|it| !it.trim().is_empty());
        let event = match (word("event"), outer) {
            (Some(word), None) => event(&word)?,
            (None, None) => NotificationEvent::Trigger,
            (_, Some(outer)) => outer,
        };
        let severity = match word("severity") {
            Some(word) => severity(&word)?,
            None if event == NotificationEvent::Test => Severity::Info,
            None => Severity::default(),
        };
        let title = word("title").or_else(|| word("text")).or_else(|| word("key"));
        let title = match (title, event, outer) {
            (Some(title), ..) => title,
            (None, NotificationEvent::Test, _) => "A test of this receiver".to_owned(),
            (None, _, Some(_)) => "unnamed".to_owned(),
            (None, ..) => {
                return Err("the input's `notification` needs a `title` or a `text`".to_owned());
            }
        };
        let labels = raw.get("labels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten();
        Ok(Self {
            event,
            severity,
            dedup_key: word("dedup_key"),
            title: title.split_whitespace().collect::<Vec<_>>().join(" "),
            labels: labels.filter_map(|(name, it)| Some((name.clone(), plain(it)?))).collect(),
            group: group(raw, event)?,
            raw: raw.clone(),
        })
    }

    /// A member as text, unless it is empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.raw.get(name).and_then(plain).filter(|text| !text.trim().is_empty())
    }

    /// Those that providers know one by one: the members of a group, or it alone.
    pub(super) fn each(&self) -> Vec<&Self> {
        match &self.group {
            Some(group) => group.members.iter().collect(),
            None => vec![self],
        }
    }

    /// Whether it is over.
    pub(super) fn is_resolved(&self) -> bool {
        self.event == NotificationEvent::Resolve
    }

    /// A web address to read on at, if the runbook is one.
    pub(super) fn link(&self) -> Option<String> {
        let web = |text: &String| text.starts_with("https://") || text.starts_with("http://");
        self.text("runbook").filter(web)
    }

    /// How long it lasted, once it is over.
    pub(super) fn lasted(&self) -> Option<SignedDuration> {
        let at = |name: &str| self.text(name)?.parse::<Timestamp>().ok();
        let end = at("resolved_at").or_else(|| at("at"))?;
        let lasted = end.duration_since(at("since")?);
        (self.is_resolved() && !lasted.is_negative()).then_some(lasted)
    }

    /// What a template may name: members, `labels.x` and `attrs.x`, and attributes and labels by
    /// their bare names.
    pub(super) fn named(&self, name: &str) -> Option<&Value> {
        let deep = || {
            let mut parts = name.split('.');
            let first = self.raw.get(parts.next()?)?;
            parts.try_fold(first, |value, part| match value {
                Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                value => value.get(part),
            })
        };
        let inner = |map: &str| self.raw.get(map)?.get(name);
        let whole = self.raw.get(name).or_else(deep).filter(|value| !value.is_null());
        whole.or_else(|| inner("attrs")).or_else(|| inner("labels"))
    }
}

fn group(raw: &Map<String, Value>, event: NotificationEvent) -> Result<Option<Group>, String> {
    let Some(group) = raw.get("group").and_then(Value::as_object) else { return Ok(None) };
    let members = group.get("members").and_then(Value::as_array);
    let members = members.into_iter().flatten();
    let members: Vec<_> = members
        .map(|member| Notification::within(member, Some(event)))
        .collect::<Result<_, _>>()?;
    if members.is_empty() {
        return Ok(None);
    }
    let word = |name: &str| group.get(name).and_then(plain).filter(|text| !text.is_empty());
    let display = word("display").or_else(|| word("key")).unwrap_or_default();
    Ok(Some(Group { display, members }))
}

fn event(word: &str) -> Result<NotificationEvent, String> {
    use NotificationEvent::{Acknowledge, Digest, Escalation, Reminder, Resolve, Test, Trigger};
    let all = [Trigger, Acknowledge, Resolve, Reminder, Escalation, Test, Digest];
    let word = word.trim();
    all.into_iter().find(|event| event.as_str() == word).ok_or_else(|| {
        let names = all.map(NotificationEvent::as_str).join(", ");
        format!("the notification's `event` must be one of {names}, not {word:?}")
    })
}

fn severity(word: &str) -> Result<Severity, String> {
    let word = word.trim();
    Severity::ALL.into_iter().find(|it| it.as_str().eq_ignore_ascii_case(word)).ok_or_else(|| {
        let names = Severity::ALL.map(Severity::as_str).join(", ");
        format!("the notification's `severity` must be one of {names}, not {word:?}")
    })
}
