//! What there is to say of an incident.

use serde_json::Value;

use super::{Line, Report, at, said, text};

/// Headings that people fill in, each with what belongs there.
const HEADINGS: [(&str, &str); 5] = [
    ("Impact", "Who noticed what, for how long?"),
    ("Cause", "What made it happen, and what made that possible?"),
    ("What went well", "What kept it small?"),
    ("What went badly", "What took long, and who was called for nothing?"),
    ("What is to be done", "What, by whom, until when?"),
];

impl Report {
    /// Of an incident and its explanation, as the API answers them.
    pub fn of_incident(incident: &Value, why: &Value) -> Self {
        let mut lines = checks(incident);
        lines.extend(history(incident));
        lines.extend(why["deliveries"].as_array().into_iter().flatten().filter_map(delivery));
        lines.sort_by_key(|line| line.at);
        let first = |kind: &str, begins: &str, holds: &str| {
            let mut found = lines.iter().filter(|it| it.kind == kind && it.text.contains(holds));
            found.find(|it| it.text.starts_with(begins)).map(|it| it.at)
        };
        let instants = vec![
            ("bad since", at(&incident["since"])),
            ("open", at(&incident["openedAt"]).or_else(|| first("state", "open", ""))),
            ("told", first("delivery", "trigger", ", sent")),
            ("acknowledged", first("state", "acknowledged", "")),
            ("over", at(&incident["resolvedAt"])),
        ];
        let (monitor, key) = (text(&incident["monitor"]), text(&incident["key"]));
        let labels = incident["labels"].as_object().into_iter().flatten();
        let labels: Vec<String> =
            labels.map(|(name, value)| format!("{name}={}", text(value))).collect();
        let worst =
            [&incident["worst"], &incident["severity"]].into_iter().find(|it| it.is_string());
        let facts = vec![
            ("monitor", monitor.clone()),
            ("defined in", text(&why["origin"])),
            ("key", key.clone()),
            ("state", text(&incident["state"])),
            ("worst severity", worst.map(text).unwrap_or_default()),
            ("labels", labels.join(", ")),
            ("rule", text(&why["rule"])),
            ("last seen", text(&incident["text"])),
            ("judged", text(&incident["judged"]["verdict"])),
        ];
        let changed = why["changed"].as_array().into_iter().flatten().map(text).collect();
        Self {
            kind: "Incident",
            id: text(&incident["id"]),
            title: if key.is_empty() { monitor } else { format!("{monitor} {key}") },
            facts: said(facts),
            instants,
            said: ("changed", "What had changed", changed),
            lines,
            payloads: Vec::new(),
            headings: &HEADINGS,
        }
    }
}

/// The checks, pings or messages that an incident speaks of, and where its monitor was defined anew between them.
fn checks(incident: &Value) -> Vec<Line> {
    let evidence = &incident["evidence"];
    let named = [
        ("previousOk", "it was well, the last time before"),
        ("first", "it was bad for the first time"),
        ("latest", "it was seen for the latest time"),
    ];
    let mut lines: Vec<Line> = Vec::new();
    let mut version: Option<String> = None;
    for (member, what) in named {
        let check = &evidence[member];
        let Some(at) = at(&check["at"]) else {
            continue;
        };
        let run =
            check["execution"].as_str().map_or_else(String::new, |it| format!(", check {it}"));
        if member == "latest" && check["at"] == evidence["first"]["at"] {
            continue;
        }
        let defined = check["version"].as_str().unwrap_or_default();
        if version.as_deref().is_some_and(|before| before != defined) {
            let text = format!("the monitor was defined anew before this: version {defined}");
            lines.push(Line { at, kind: "definition", text });
        }
        version = Some(defined.to_owned());
        lines.push(Line { at, kind: "seen", text: format!("{what}{run}") });
    }
    lines
}

/// What happened to it, and what people did.
fn history(incident: &Value) -> Vec<Line> {
    let entries = incident["history"].as_array().into_iter().flatten();
    let line = |entry: &Value| {
        let at = at(&entry["at"])?;
        let what = entry["what"].as_str()?;
        let by = entry["who"].as_str().map_or_else(String::new, |who| format!(" by {who}"));
        let why = entry["why"].as_str().map_or_else(String::new, |why| format!(": {why}"));
        let kind = match what {
            "note" => "note",
            call if call.starts_with("oncall:") => "call",
            _ => "state",
        };
        Some(Line { at, kind, text: format!("{what}{by}{why}") })
    };
    entries.filter_map(line).collect()
}

/// A message to a receiver.
fn delivery(line: &Value) -> Option<Line> {
    let at = at(&line["at"])?;
    let (event, status) = (line["event"].as_str()?, line["status"].as_str()?);
    let to = line["receiver"].as_str().unwrap_or("nobody");
    let why = line["reason"].as_str().map_or_else(String::new, |why| format!(": {why}"));
    Some(Line { at, kind: "delivery", text: format!("{event} to {to}, {status}{why}") })
}
