//! A notification in words for people: what every chat and mail says, each in its own layout.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kernel::alert::definition::Severity;
use kernel::alert::{NotificationEvent, Template};
use serde_json::{Value, json};

use super::bounds;
use super::kind::{Order, UTC};
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

/// Whether whoever reads a message may acknowledge by it.
pub(super) const ACK: (&str, Shape) = ("ack", Shape::Flag);

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
            Some(title) => format!("{}: {title}", word(notification)),
            None => format!("{} {}", word(notification), notification.title),
        };
        let (heading, lines) = match &notification.group {
            Some(group) => (heading(order, group), members(order, group)),
            None => (None, texts(notification)),
        };
        let title = bounds::chars(&title, TITLE_MAX);
        Self { title, lines, heading, facts: facts(order) }
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
pub(super) fn sounds(event: NotificationEvent) -> bool {
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
        NotificationEvent::Digest => "HAND-OVER".to_owned(),
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
            (NotificationEvent::Test | NotificationEvent::Digest, _) | (_, Severity::Info) => {
                Self::Blue
            }
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
        if !says(&notification.title, text.trim()) && !lines.contains(&text) {
            lines.extend(text.trim().lines().map(str::to_owned));
        }
    }
    lines
}

/// Whether a title is a text, or ends with it after who is concerned: `shop down: 503`.
fn says(title: &str, text: &str) -> bool {
    let before = title.strip_suffix(text);
    before.is_some_and(|before| before.is_empty() || before.ends_with(": "))
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

fn facts(order: &Order<'_>) -> Vec<(String, String)> {
    let notification = order.notification;
    let mut facts = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        let value = value.map(|value| bounds::chars(value.trim(), LINE_MAX));
        facts.extend(value.map(|value| (bounds::chars(name, NAME_MAX), value)));
    };
    add("Since", since(order));
    add("Lasted", notification.lasted().map(lasted));
    add("Value", valued(notification));
    if sounds(notification.event) {
        add("Failed part", attribute(notification, "failed"));
        add("Body", attribute(notification, "body").map(|body| format!("\"{body}\"")));
        add("Changed", changed(notification));
    }
    if notification.event == NotificationEvent::Acknowledge {
        add("By", notification.text("acknowledged_by").or_else(|| notification.text("who")));
        add("Why", notification.text("why"));
    }
    for (name, value) in &notification.labels {
        add(name, Some(value.clone()));
    }
    add("Do", notification.text("runbook"));
    if facts.is_empty() && notification.event != NotificationEvent::Test {
        // Some services take no message that has nothing but a title.
        facts.push(("Severity".to_owned(), notification.severity.as_str().to_owned()));
    }
    facts.truncate(FACTS_MAX);
    // However many labels there are: by this somebody gets on.
    let link = order.link(notification);
    facts.extend(link.map(|link| ("Look/ack".to_owned(), link)));
    let link = order.ack_link().filter(|_| !order.has_button());
    facts.extend(link.map(|link| ("Acknowledge".to_owned(), link)));
    facts
}

/// Since when, by the clock of the world and by that of people here, and when it was well before.
fn since(order: &Order<'_>) -> Option<String> {
    let notification = order.notification;
    let text = notification.text("since")?;
    let Ok(at) = text.parse::<Timestamp>() else { return Some(text) };
    let utc = at.to_zoned(TimeZone::UTC);
    let now = Timestamp::from_millisecond(order.now_ms).unwrap_or(at).to_zoned(TimeZone::UTC);
    let day = if utc.date() == now.date() { "" } else { "%Y-%m-%d " };
    let mut since = format!("{} UTC", utc.strftime(&format!("{day}%H:%M:%S")));
    let zone = notification.text("zone").or_else(|| order.home.zone.clone());
    let zone = zone.filter(|zone| !UTC.contains(&zone.as_str()));
    if let Some(name) = zone
        && let Ok(zone) = TimeZone::get(&name)
    {
        let city = name.rsplit('/').next().unwrap_or(&name).replace('_', " ");
        since = format!("{since} ({} {city})", at.to_zoned(zone).strftime("%H:%M"));
    }
    let last = notification.named("provenance.previous_ok.at").and_then(plain);
    let last = last.and_then(|last| last.parse::<Timestamp>().ok());
    if let Some(last) = last.filter(|last| *last <= at && sounds(notification.event)) {
        since = format!("{since}; last good {} earlier", lasted(at.duration_since(last)));
    }
    Some(since)
}

/// What was measured, with its unit, unless the title says it.
fn valued(notification: &Notification) -> Option<String> {
    let value = notification.text("value")?;
    let unit = notification.text("unit").map(|unit| format!(" {unit}")).unwrap_or_default();
    Some(format!("{value}{unit}"))
}

/// Something of the row, on one line.
fn attribute(notification: &Notification, name: &str) -> Option<String> {
    let text = notification.raw.get("attrs")?.get(name).and_then(plain)?;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// What differs from when it was well: in the row, and in the definition.
fn changed(notification: &Notification) -> Option<String> {
    let list = notification.raw.get("changed").and_then(Value::as_array)?;
    let changes: Vec<String> = list.iter().filter_map(plain).collect();
    (!changes.is_empty()).then(|| changes.join("; "))
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
    template.render(&|name| match value_of(order, notification, name) {
        Some(value) => Some(plain(&value).unwrap_or_else(|| value.to_string())),
        None => is_known(notification, name).then(String::new),
    })
}

/// What every notification may have: known, and perhaps empty.
const KNOWN: [&str; 19] = [
    "group",
    "open_count",
    "key",
    "text",
    "description",
    "runbook",
    "value",
    "unit",
    "since",
    "zone",
    "who",
    "why",
    "acknowledged_by",
    "monitor",
    "state",
    "status",
    "labels",
    "attrs",
    "incident",
];

/// Whether a name means something that only is not there, or empty; any other is a slip.
pub(super) fn is_known(notification: &Notification, name: &str) -> bool {
    let within = |map: &str| notification.raw.get(map).is_some_and(|map| map.get(name).is_some());
    KNOWN.contains(&name)
        || notification.raw.contains_key(name)
        || within("attrs")
        || within("labels")
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
        "link" => json!(order.link(notification).unwrap_or_default()),
        _ => notification.named(name)?.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::Wording;
    use crate::notify::kind::{Home, Order};
    use crate::notify::notification::Notification;
    use crate::notify::settings::Settings;

    /// 2026-11-22T07:50:00Z.
    const NOW_MS: i64 = 1_795_333_800_000;

    fn down() -> Value {
        json!({
            "event": "trigger", "dedup_key": "f", "incident": "f1-3", "monitor": "shop",
            "severity": "critical", "title": "shop down: 503, expected < 400",
            "text": "503, expected < 400", "since": "2026-11-22T07:49:09Z",
            "value": 812, "unit": "ms", "zone": "Europe/Oslo",
            "runbook": "https://wiki/runbooks/shop",
            "attrs": { "failed": "status < 400", "body": "503 upstream\n  gone" },
            "changed": ["code 200 → 503", "definition unchanged"],
            "provenance": { "previous_ok": { "at": "2026-11-22T07:48:59Z" } },
        })
    }

    fn worded(notification: &Value, home: &Home) -> String {
        let (notification, none) = (Notification::read(notification).unwrap(), Map::new());
        let wording = Wording::of(&Order {
            kind: "ntfy",
            settings: Settings::new(&none),
            receiver: "noc",
            notification: &notification,
            id: "d",
            now_ms: NOW_MS,
            home,
        });
        let lines: Vec<String> =
            std::iter::once(wording.title.clone()).chain(wording.body()).collect();
        lines.join("\n")
    }

    fn home(zone: Option<&str>) -> Home {
        Home { public_url: "https://bell.example".to_owned(), zone: zone.map(str::to_owned) }
    }

    #[test]
    fn at_three_in_the_morning_one_reads_what_and_since_when_and_what_to_do() {
        let wanted = "CRITICAL shop down: 503, expected < 400\n\
            Since: 07:49:09 UTC (08:49 Oslo); last good 10 s earlier\n\
            Value: 812 ms\n\
            Failed part: status < 400\n\
            Body: \"503 upstream gone\"\n\
            Changed: code 200 → 503; definition unchanged\n\
            Do: https://wiki/runbooks/shop\n\
            Look/ack: https://bell.example/console/incidents/f1-3";
        assert_eq!(worded(&down(), &home(None)), wanted);
    }

    #[test]
    fn the_zone_is_the_monitors_or_that_of_the_machine_and_the_day_is_told_if_it_is_another() {
        let mut about = down();
        about["zone"] = Value::Null;
        let told = worded(&about, &home(Some("Asia/Kolkata")));
        assert!(told.contains("Since: 07:49:09 UTC (13:19 Kolkata); last"), "{told}");
        about["zone"] = "UTC".into();
        let told = worded(&about, &home(None));
        assert!(told.contains("Since: 07:49:09 UTC; last good"), "{told}");
        about["since"] = "2026-11-20T23:00:00Z".into();
        about["provenance"]["previous_ok"]["at"] = "2026-11-20T21:59:00Z".into();
        let told = worded(&about, &home(None));
        let wanted = "Since: 2026-11-20 23:00:00 UTC; last good 1 h 1 min earlier";
        assert!(told.contains(wanted), "{told}");
    }

    #[test]
    fn when_it_is_over_only_how_long_it_lasted_is_told() {
        let mut about = down();
        about["event"] = "resolve".into();
        about["title"] = "shop recovered: 200".into();
        about["text"] = "200".into();
        about["resolved_at"] = "2026-11-22T08:49:19Z".into();
        let wanted = "RESOLVED shop recovered: 200\n\
            Since: 07:49:09 UTC (08:49 Oslo)\n\
            Lasted: 1 h 0 min\n\
            Value: 812 ms\n\
            Do: https://wiki/runbooks/shop\n\
            Look/ack: https://bell.example/console/incidents/f1-3";
        assert_eq!(worded(&about, &home(None)), wanted);
    }
}
