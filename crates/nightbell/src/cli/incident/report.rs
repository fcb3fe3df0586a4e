//! `nightbell incident report`: what happened in an incident, in order, and how long people took, with
//! empty headings for what only people know.
//!
//! A pure function of what the API says of the incident; nothing is asked or stored for it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::moment::{Moment, span};
use crate::cli::output::{Format, Output, clean};

/// Headings that people fill in, each with what belongs there.
const HEADINGS: [(&str, &str); 5] = [
    ("Impact", "Who noticed what, for how long?"),
    ("Cause", "What made it happen, and what made that possible?"),
    ("What went well", "What kept it small?"),
    ("What went badly", "What took long, and who was called for nothing?"),
    ("What is to be done", "What, by whom, until when?"),
];

/// Fetches what is known of an incident, and writes the report.
///
/// # Errors
/// The server's, or standard output is closed.
pub(super) async fn run(id: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    let incident = client.get(&["incidents", id]).send().await?.value()?;
    let why = client.get(&["incidents", id, "explain"]).send().await?.value()?;
    let report = Report::of(&incident, &why);
    match output.format {
        Format::Json => output.json(&report.json()),
        Format::Html => output.line(report.html().trim_end()),
        _ => output.line(report.markdown().trim_end()),
    }
}

/// Something that happened.
struct Line {
    /// Milliseconds since 1970.
    at: i64,
    /// `check`, `state`, `call`, `note` or `delivery`.
    kind: &'static str,
    text: String,
}

/// What there is to say.
struct Report {
    id: String,
    title: String,
    /// Names and values at the head.
    facts: Vec<(&'static str, String)>,
    /// Names of instants, each with its milliseconds since 1970, if it has come.
    instants: Vec<(&'static str, Option<i64>)>,
    /// What changed between the check that saw it well and the one that did not.
    changed: Vec<String>,
    lines: Vec<Line>,
}

impl Report {
    /// Of an incident and its explanation, as the API answers them.
    fn of(incident: &Value, why: &Value) -> Self {
        let text = |value: &Value| match value {
            Value::String(text) => clean(text),
            Value::Null => String::new(),
            other => clean(&other.to_string()),
        };
        let at = |value: &Value| Moment::of(value).0.map(jiff::Timestamp::as_millisecond);
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
            labels.map(|(name, value)| format!("{}={}", clean(name), text(value))).collect();
        let worst =
            [&incident["worst"], &incident["severity"]].into_iter().find(|it| it.is_string());
        let facts = [
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
            id: text(&incident["id"]),
            title: if key.is_empty() { monitor } else { format!("{monitor} {key}") },
            facts: facts.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            instants,
            changed,
            lines,
        }
    }

    /// How long it took from its beginning to each instant that has come.
    fn times(&self) -> Vec<(&'static str, i64, i64)> {
        let begun = self.instants.iter().find_map(|(_, at)| *at).unwrap_or_default();
        let come = self.instants.iter().filter_map(|(name, at)| Some((*name, (*at)?)));
        come.map(|(name, at)| (name, at, (at - begun).max(0))).collect()
    }

    fn json(&self) -> Value {
        let times = self
            .times()
            .into_iter()
            .map(|(name, at, after)| json!({ "what": name, "at": stamp(at), "afterMs": after }));
        let lines = self
            .lines
            .iter()
            .map(|line| json!({ "at": stamp(line.at), "kind": line.kind, "text": line.text }));
        let facts = self.facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        json!({
            "id": self.id, "title": self.title,
            "facts": facts.collect::<serde_json::Map<_, _>>(),
            "times": times.collect::<Vec<_>>(), "changed": self.changed,
            "timeline": lines.collect::<Vec<_>>(),
            "headings": HEADINGS.map(|(heading, _)| heading),
        })
    }

    fn markdown(&self) -> String {
        let mut page = format!("# Incident {}: {}\n\n", self.id, literal(&self.title));
        for (name, value) in &self.facts {
            let _ = writeln!(page, "- {name}: {}", literal(value));
        }
        page.push_str("\n## Times\n\n| | at | after |\n|---|---|--:|\n");
        for (name, at, after) in self.times() {
            let _ = writeln!(page, "| {name} | {} | {} |", stamp(at), span(after));
        }
        if !self.changed.is_empty() {
            page.push_str("\n## What had changed\n\n");
            for line in &self.changed {
                let _ = writeln!(page, "- {}", literal(line));
            }
        }
        page.push_str("\n## Timeline\n\n| at | | what |\n|---|---|---|\n");
        for Line { at, kind, text } in &self.lines {
            let _ = writeln!(page, "| {} | {kind} | {} |", stamp(*at), literal(text));
        }
        for (heading, question) in HEADINGS {
            let _ = write!(page, "\n## {heading}\n\n_{question}_\n");
        }
        page
    }

    fn html(&self) -> String {
        let title = escaped(&format!("Incident {}: {}", self.id, self.title));
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <style>body{{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
             table{{border-collapse:collapse}}td,th{{padding:.2rem .8rem .2rem 0;text-align:left;\
             vertical-align:top}}</style></head><body>\n<h1>{title}</h1>\n<table>\n"
        );
        for (name, value) in &self.facts {
            let _ = writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", escaped(value));
        }
        page.push_str("</table>\n<h2>Times</h2>\n<table>\n");
        for (name, at, after) in self.times() {
            let (at, after) = (stamp(at), span(after));
            let _ = writeln!(page, "<tr><th>{name}</th><td>{at}</td><td>{after}</td></tr>");
        }
        page.push_str("</table>\n");
        if !self.changed.is_empty() {
            page.push_str("<h2>What had changed</h2>\n<ul>\n");
            for line in &self.changed {
                let _ = writeln!(page, "<li>{}</li>", escaped(line));
            }
            page.push_str("</ul>\n");
        }
        page.push_str("<h2>Timeline</h2>\n<table>\n");
        for Line { at, kind, text } in &self.lines {
            let (at, text) = (stamp(*at), escaped(text));
            let _ = writeln!(page, "<tr><td>{at}</td><td>{kind}</td><td>{text}</td></tr>");
        }
        page.push_str("</table>\n");
        for (heading, question) in HEADINGS {
            let _ = writeln!(page, "<h2>{heading}</h2>\n<p><em>{question}</em></p>");
        }
        page.push_str("</body></html>\n");
        page
    }
}

/// The checks that an incident speaks of, and where its monitor was defined anew between them.
fn checks(incident: &Value) -> Vec<Line> {
    let evidence = &incident["evidence"];
    let named = [
        ("previousOk", "the last check that saw it well"),
        ("first", "the first check that saw it bad"),
        ("latest", "the latest check that saw it"),
    ];
    let mut lines: Vec<Line> = Vec::new();
    let mut version: Option<String> = None;
    for (member, what) in named {
        let check = &evidence[member];
        let Some(at) = Moment::of(&check["at"]).0.map(jiff::Timestamp::as_millisecond) else {
            continue;
        };
        let run = check["execution"].as_str().map_or_else(String::new, |it| format!(", run {it}"));
        if member == "latest" && check["at"] == evidence["first"]["at"] {
            continue;
        }
        let defined = check["version"].as_str().unwrap_or_default();
        if version.as_deref().is_some_and(|before| before != defined) {
            let text =
                format!("the monitor was defined anew before this: version {}", clean(defined));
            lines.push(Line { at, kind: "definition", text });
        }
        version = Some(defined.to_owned());
        lines.push(Line { at, kind: "check", text: format!("{what}{}", clean(&run)) });
    }
    lines
}

/// What happened to it, and what people did.
fn history(incident: &Value) -> Vec<Line> {
    let entries = incident["history"].as_array().into_iter().flatten();
    let line = |entry: &Value| {
        let at = Moment::of(&entry["at"]).0?.as_millisecond();
        let what = entry["what"].as_str()?;
        let by = entry["who"].as_str().map_or_else(String::new, |who| format!(" by {who}"));
        let why = entry["why"].as_str().map_or_else(String::new, |why| format!(": {why}"));
        let kind = match what {
            "note" => "note",
            call if call.starts_with("oncall:") => "call",
            _ => "state",
        };
        Some(Line { at, kind, text: clean(&format!("{what}{by}{why}")) })
    };
    entries.filter_map(line).collect()
}

/// A message to a receiver.
fn delivery(line: &Value) -> Option<Line> {
    let at = Moment::of(&line["at"]).0?.as_millisecond();
    let (event, status) = (line["event"].as_str()?, line["status"].as_str()?);
    let to = line["receiver"].as_str().unwrap_or("nobody");
    let why = line["reason"].as_str().map_or_else(String::new, |why| format!(": {why}"));
    Some(Line { at, kind: "delivery", text: clean(&format!("{event} to {to}, {status}{why}")) })
}

fn stamp(millis: i64) -> String {
    Moment::of(&json!(millis)).rfc3339().unwrap_or_default()
}

/// A text within Markdown, on one line, of which nothing is markup.
fn literal(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\n' | '\r' => out.push(' '),
            '\\' | '|' | '`' | '*' | '_' | '<' | '[' | '#' => out.extend(['\\', c]),
            c => out.push(c),
        }
        out
    })
}

/// A text within HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let incident = json!({
            "id": "ab-1", "monitor": "shop", "key": "G44|x", "state": "resolved", "worst": "critical",
            "labels": {"team": "web"}, "since": 1_000_000, "openedAt": 1_060_000,
            "resolvedAt": 4_600_000, "text": "<b>503</b>",
            "evidence": {
                "previousOk": {"at": "1970-01-01T00:15:00Z", "version": "v1", "execution": "r1"},
                "first": {"at": "1970-01-01T00:16:40Z", "version": "v2", "execution": "r2"},
                "latest": {"at": "1970-01-01T00:16:40Z", "version": "v2", "execution": "r2"},
            },
            "history": [
                {"at": 1_060_000, "what": "open", "why": "bad for 1m"},
                {"at": 1_060_000, "what": "oncall:primary called ann"},
                {"at": 1_200_000, "what": "acknowledged", "who": "ann", "why": "at it"},
                {"at": 1_300_000, "what": "note", "who": "bo", "why": "disk full"},
                {"at": 4_600_000, "what": "resolved"},
            ],
        });
        let why = json!({"rule": "status < 400", "changed": ["body: a → b"], "deliveries": [
            {"at": 1_090_000, "event": "trigger", "receiver": "ann-chat", "status": "sent"},
            {"at": 1_061_000, "event": "trigger", "status": "suppressed", "reason": "silenced"},
        ]});
        Report::of(&incident, &why)
    }

    #[test]
    fn everything_that_happened_stands_in_its_order_with_what_it_took() {
        let json = report().json();
        let times = json["times"].as_array().expect("a list");
        let times: Vec<(&str, i64)> = times
            .iter()
            .map(|it| {
                (it["what"].as_str().expect("a name"), it["afterMs"].as_i64().expect("a time"))
            })
            .collect();
        let expected = [
            ("bad since", 0),
            ("open", 60_000),
            ("told", 90_000),
            ("acknowledged", 200_000),
            ("over", 3_600_000),
        ];
        assert_eq!(times, expected);
        let timeline = json["timeline"].as_array().expect("a list");
        let kinds: Vec<&str> = timeline.iter().filter_map(|it| it["kind"].as_str()).collect();
        let expected = [
            "check",
            "definition",
            "check",
            "state",
            "call",
            "delivery",
            "delivery",
            "state",
            "note",
            "state",
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn what_came_from_outside_is_no_markup() {
        let (markdown, html) = (report().markdown(), report().html());
        assert!(markdown.starts_with("# Incident ab-1: shop G44\\|x\n"), "{markdown}");
        assert!(markdown.contains("| over | 1970-01-01T01:16:40.000Z | 1 h |"), "{markdown}");
        assert!(markdown.contains("## What is to be done"), "{markdown}");
        assert!(html.contains("&lt;b&gt;503&lt;/b&gt;") && !html.contains("<b>"), "{html}");
    }
}
