//! A notification in words for people: what every chat and mail says, each in its own layout.

use jiff::SignedDuration;
use kernel::alert::definition::Severity;
use kernel::alert::{NotificationEvent, Template};
use serde_json::{Value, json};

use super::bounds;
use super::kind::Order;
use super::notification::{Group, Notification};
use super::settings::{Shape, plain};

/// Longest title of any chat, in characters.
const TITLE_MAX: usize = 250;
/// Longest line about one member of a group, in characters.
const LINE_MAX: usize = 500;
/// Longest name of a fact, in characters.
const NAME_MAX: usize = 100;
/// Facts shown at most.
const FACTS_MAX: usize = 20;

/// The settings by which a receiver words its messages.
pub(super) const TITLE: (&str, Shape) = ("title", Shape::Words);
/// The line above the members of a group.
pub(super) const HEADING: (&str, Shape) = ("heading", Shape::Words);
/// The line about each member of a group.
pub(super) const LINE: (&str, Shape) = ("line", Shape::Words);

/// A message to people.
pub(super) struct Wording {
    /// One line: what happened, to what.
    pub(super) title: String,
    /// What there is to read: a text, or one line for each member of a group.
    pub(super) lines: Vec<String>,
    /// The group that the lines are about.
    pub(super) heading: Option<String>,
    /// Names and values beside it.
    pub(super) facts: Vec<(String, String)>,
}

impl Wording {
    /// The message of an order, in the words that its receiver's settings ask for.
    pub(super) fn of(order: &Order<'_>) -> Self {
        let notification = order.notification;
        let own = rendered(order, notification, "title");
        let title = match own {
            // A title of one's own can say `{{ severity }}` itself; that it is over must be seen.
            Some(title) if sounds(notification.event) => title,
            Some(title) => format!("[{}] {title}", word(notification)),
            None => format!("[{}] {}", word(notification), notification.title),
        };
        let (heading, lines) = match &notification.group {
            Some(group) => (heading(order, group), members(order, group)),
            None => (None, texts(notification)),
        };
        let title = bounds::chars(&title, TITLE_MAX);
        Self { title, lines, heading, facts: facts(notification) }
    }

    /// Everything but the title, as lines of plain text.
    pub(super) fn body(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.heading.clone().into_iter().collect();
        lines.extend(self.lines.iter().cloned());
        lines.extend(self.facts.iter().map(|(name, value)| format!("{name}: {value}")));
        lines
    }
}

/// Whether a message is about something that is wrong now.
fn sounds(event: NotificationEvent) -> bool {
    use NotificationEvent::{Escalation, Reminder, Trigger};
    matches!(event, Trigger | Escalation | Reminder)
}

/// The word by which a message is recognised at a glance.
pub(super) fn word(notification: &Notification) -> String {
    match notification.event {
        NotificationEvent::Trigger => notification.severity.as_str().to_uppercase(),
        NotificationEvent::Escalation => {
            format!("{}, ESCALATED", notification.severity.as_str().to_uppercase())
        }
        NotificationEvent::Reminder => {
            format!("STILL {}", notification.severity.as_str().to_uppercase())
        }
        NotificationEvent::Acknowledge => "ACKNOWLEDGED".to_owned(),
        NotificationEvent::Resolve => "RESOLVED".to_owned(),
        NotificationEvent::Test => "TEST".to_owned(),
    }
}

/// How a message looks: red, orange, blue, green, grey.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// Critical and error.
    Red,
    /// Warning.
    Orange,
    /// Information, tests.
    Blue,
    /// Over.
    Green,
    /// Somebody takes care.
    Grey,
}

impl Colour {
    pub(super) fn of(notification: &Notification) -> Self {
        match (notification.event, notification.severity) {
            (NotificationEvent::Resolve, _) => Self::Green,
            (NotificationEvent::Acknowledge, _) => Self::Grey,
            (NotificationEvent::Test, _) | (_, Severity::Info) => Self::Blue,
            (_, Severity::Warning) => Self::Orange,
            (_, Severity::Error | Severity::Critical) => Self::Red,
        }
    }

    /// Red, green and blue.
    pub(super) const fn rgb(self) -> u32 {
        match self {
            Self::Red => 0x00D9_2D20,
            Self::Orange => 0x00F7_9009,
            Self::Blue => 0x002E_90FA,
            Self::Green => 0x0012_B76A,
            Self::Grey => 0x0066_7085,
        }
    }
}

/// The text of one that stands alone, by lines; without what the title says already.
fn texts(notification: &Notification) -> Vec<String> {
    let texts = [notification.text("text"), notification.text("description")];
    let mut lines: Vec<String> = Vec::new();
    for text in texts.into_iter().flatten() {
        if text.trim() != notification.title && !lines.contains(&text) {
            lines.extend(text.trim().lines().map(str::to_owned));
        }
    }
    lines
}

fn heading(order: &Order<'_>, group: &Group) -> Option<String> {
    let own = rendered(order, order.notification, "heading");
    own.or_else(|| (!group.display.is_empty()).then(|| format!("{}:", group.display)))
}

fn members(order: &Order<'_>, group: &Group) -> Vec<String> {
    let line = |member: &Notification| {
        let own = rendered(order, member, "line");
        let line = own.unwrap_or_else(|| match (member.text("key"), member.text("text")) {
            (Some(key), Some(text)) => format!("• {key}: {text}"),
            (Some(key), None) => format!("• {key}"),
            _ => format!("• {}", member.title),
        });
        bounds::chars(&line.split_whitespace().collect::<Vec<_>>().join(" "), LINE_MAX)
    };
    group.members.iter().map(line).collect()
}

fn facts(notification: &Notification) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        let value = value.map(|value| bounds::chars(value.trim(), LINE_MAX));
        facts.extend(value.map(|value| (bounds::chars(name, NAME_MAX), value)));
    };
    if notification.event != NotificationEvent::Test {
        add("Severity", Some(notification.severity.as_str().to_owned()));
    }
    add("Since", notification.text("since"));
    add("Lasted", notification.lasted().map(lasted));
    add("Value", notification.text("value"));
    if notification.event == NotificationEvent::Acknowledge {
        add("By", notification.text("acknowledged_by").or_else(|| notification.text("who")));
        add("Why", notification.text("why"));
    }
    for (name, value) in &notification.labels {
        add(name, Some(value.clone()));
    }
    add("Runbook", notification.text("runbook"));
    facts.truncate(FACTS_MAX);
    facts
}

/// A duration as people say it, by its two largest units.
fn lasted(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A setting that is a template, rendered about a notification; absent if there is none, or if it
/// renders to nothing.
pub(super) fn rendered(
    order: &Order<'_>,
    notification: &Notification,
    name: &str,
) -> Option<String> {
    let text = order.settings.text(name)?;
    let rendered = render(order, notification, &text);
    (!rendered.trim().is_empty()).then_some(rendered)
}

/// A template about a notification; one that is broken stands as it is.
pub(super) fn render(order: &Order<'_>, notification: &Notification, text: &str) -> String {
    let Ok(template) = Template::parse(text) else { return text.to_owned() };
    template.render(&|name| {
        let value = value_of(order, notification, name)?;
        Some(plain(&value).unwrap_or_else(|| value.to_string()))
    })
}

/// What a name in a template stands for.
pub(super) fn value_of(
    order: &Order<'_>,
    notification: &Notification,
    name: &str,
) -> Option<Value> {
    let group = order.notification.group.as_ref();
    Some(match name {
        "receiver" => json!(order.receiver),
        "word" => json!(word(notification)),
        "event" => json!(notification.event.as_str()),
        "severity" => json!(notification.severity.as_str()),
        "title" => json!(notification.title),
        "group" => json!(group.map(|group| &group.display)?),
        "count" => json!(group.map_or(1, |group| group.members.len())),
        "open_count" => order.notification.named("group.open_count")?.clone(),
        _ => notification.named(name)?.clone(),
    })
}
