//! What happened in an incident or in a run, as one document that needs nothing else: Markdown, a page of HTML
//! or JSON.
//!
//! A pure function of what the API says, so that what it masks is masked here, too. The command line and the
//! console write the same.

mod incident;
mod run;

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock::length;

/// Something that happened.
#[derive(Debug)]
struct Line {
    /// Milliseconds since 1970.
    at: i64,
    /// Of incidents `check`, `definition`, `state`, `call`, `note` or `delivery`; of runs what was done.
    kind: &'static str,
    text: String,
}

/// What there is to say.
#[derive(Debug)]
pub struct Report {
    /// `Incident` or `Run`.
    kind: &'static str,
    id: String,
    title: String,
    /// Names and values at the head.
    facts: Vec<(&'static str, String)>,
    /// Names of instants, each with its milliseconds since 1970, if it has come.
    instants: Vec<(&'static str, Option<i64>)>,
    /// What JSON calls a list of sentences, its heading, and these.
    said: (&'static str, &'static str, Vec<String>),
    lines: Vec<Line>,
    /// Headings with texts that keep their lines.
    payloads: Vec<(String, String)>,
    /// What people fill in.
    headings: &'static [(&'static str, &'static str)],
}

impl Report {
    /// The name of a file for it, without an ending.
    pub fn file_name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let id: String = self.id.chars().take(80).map(plain).collect();
        format!("{}-{id}", self.kind.to_ascii_lowercase())
    }

    /// How long it took from its beginning to each instant that has come.
    fn times(&self) -> Vec<(&'static str, i64, i64)> {
        let begun = self.instants.iter().find_map(|(_, at)| *at).unwrap_or_default();
        let come = self.instants.iter().filter_map(|(name, at)| Some((*name, (*at)?)));
        come.map(|(name, at)| (name, at, (at - begun).max(0))).collect()
    }

    /// As JSON, for programs.
    pub fn json(&self) -> Value {
        let times = self
            .times()
            .into_iter()
            .map(|(name, at, after)| json!({ "what": name, "at": stamp(at), "afterMs": after }));
        let lines = self
            .lines
            .iter()
            .map(|line| json!({ "at": stamp(line.at), "kind": line.kind, "text": line.text }));
        let facts = self.facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        let payloads = self.payloads.iter().map(|(name, text)| (name.clone(), json!(text)));
        json!({
            "id": self.id, "title": self.title,
            "facts": facts.collect::<serde_json::Map<_, _>>(),
            "times": times.collect::<Vec<_>>(), (self.said.0): self.said.2,
            "timeline": lines.collect::<Vec<_>>(),
            "headings": self.headings.iter().map(|(heading, _)| *heading).collect::<Vec<_>>(),
            "payloads": payloads.collect::<serde_json::Map<_, _>>(),
        })
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut page = format!("# {} {}: {}\n\n", self.kind, self.id, literal(&self.title));
        for (name, value) in &self.facts {
            let _ = writeln!(page, "- {name}: {}", literal(value));
        }
        page.push_str("\n## Times\n\n| | at | after |\n|---|---|--:|\n");
        for (name, at, after) in self.times() {
            let _ = writeln!(page, "| {name} | {} | {} |", stamp(at), length(after));
        }
        let (_, heading, sentences) = &self.said;
        if !sentences.is_empty() {
            let _ = write!(page, "\n## {heading}\n\n");
            for line in sentences {
                let _ = writeln!(page, "- {}", literal(line));
            }
        }
        page.push_str("\n## Timeline\n\n| at | | what |\n|---|---|---|\n");
        for Line { at, kind, text } in &self.lines {
            let _ = writeln!(page, "| {} | {kind} | {} |", stamp(*at), literal(text));
        }
        for (heading, text) in &self.payloads {
            let _ = write!(page, "\n## {}\n\n", literal(heading));
            // Indented: no text can end such a block.
            for line in text.lines() {
                let _ = writeln!(page, "    {line}");
            }
        }
        for (heading, question) in self.headings {
            let _ = write!(page, "\n## {heading}\n\n_{question}_\n");
        }
        page
    }

    /// As a page of HTML that loads nothing.
    pub fn html(&self) -> String {
        let title = escaped(&format!("{} {}: {}", self.kind, self.id, self.title));
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <style>body{{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
             pre{{white-space:pre-wrap;overflow-wrap:anywhere}}\
             table{{border-collapse:collapse}}td,th{{padding:.2rem .8rem .2rem 0;text-align:left;\
             vertical-align:top}}</style></head><body>\n<h1>{title}</h1>\n<table>\n"
        );
        for (name, value) in &self.facts {
            let _ = writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", escaped(value));
        }
        page.push_str("</table>\n<h2>Times</h2>\n<table>\n");
        for (name, at, after) in self.times() {
            let (at, after) = (stamp(at), length(after));
            let _ = writeln!(page, "<tr><th>{name}</th><td>{at}</td><td>{after}</td></tr>");
        }
        page.push_str("</table>\n");
        let (_, heading, sentences) = &self.said;
        if !sentences.is_empty() {
            let _ = write!(page, "<h2>{heading}</h2>\n<ul>\n");
            for line in sentences {
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
        for (heading, text) in &self.payloads {
            let (heading, text) = (escaped(heading), escaped(text));
            let _ = writeln!(page, "<h2>{heading}</h2>\n<pre>{text}</pre>");
        }
        for (heading, question) in self.headings {
            let _ = writeln!(page, "<h2>{heading}</h2>\n<p><em>{question}</em></p>");
        }
        page.push_str("</body></html>\n");
        page
    }
}

/// Those that say something.
fn said(facts: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// A value in words.
fn text(value: &Value) -> String {
    crate::value::plain(value)
}

/// An instant, in milliseconds since 1970 or as a time; 0 is none.
fn at(value: &Value) -> Option<i64> {
    let at = match value {
        Value::String(text) => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
        other => other.as_i64(),
    };
    at.filter(|at| *at != 0)
}

fn stamp(millis: i64) -> String {
    let at = Timestamp::from_millisecond(millis).ok();
    at.map(|at| format!("{at:.3}")).unwrap_or_default()
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
        Report::of_incident(&incident, &why)
    }

    #[test]
    fn a_run_has_its_tasks_and_what_went_into_those_that_failed() {
        let run = json!({
            "workflowId": "01a2/x", "workflowName": "etl", "workflowVersion": 3, "status": "FAILED",
            "createTime": 1_000_000, "startTime": 1_000_000, "endTime": 1_065_000,
            "input": {"key": "***"}, "output": {},
            "tasks": [
                {"referenceTaskName": "fetch", "taskType": "HTTP", "status": "COMPLETED",
                 "scheduledTime": 1_000_000, "startTime": 1_001_000, "endTime": 1_003_000,
                 "inputData": {"not": "shown"}},
                {"referenceTaskName": "load", "taskType": "SIMPLE", "status": "FAILED", "retryCount": 1,
                 "scheduledTime": 1_004_000, "startTime": 1_005_000, "endTime": 1_065_000,
                 "reasonForIncompletion": "</pre><script>", "inputData": {"rows": 7}},
            ],
        });
        let report = Report::of_run(&run, &Value::Null);
        assert_eq!(report.file_name(), "run-01a2-x");
        let json = report.json();
        let lines: Vec<&str> = json["timeline"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|it| it["text"].as_str())
            .collect();
        let expected = [
            "fetch (HTTP)",
            "fetch: COMPLETED after 2.0 s",
            "load, attempt 2 (SIMPLE)",
            "load, attempt 2: FAILED after 1 min: </pre><script>",
        ];
        assert_eq!(lines, expected);
        assert_eq!(json["times"][2]["afterMs"], 65_000);
        assert!(
            json["payloads"]["load, attempt 2: input"].as_str().is_some_and(|it| it.contains('7'))
        );
        let (markdown, html) = (report.markdown(), report.html());
        assert!(markdown.starts_with("# Run 01a2/x: etl 3\n"), "{markdown}");
        assert!(markdown.contains("\n    {\n") && !markdown.contains("not\""), "{markdown}");
        assert!(html.contains("&lt;/pre&gt;") && !html.contains("<script"), "{html}");
        for loads in ["src=", "href=", "url(", "@import", "<link"] {
            assert!(!html.contains(loads), "{loads}: {html}");
        }
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
            "seen",
            "definition",
            "seen",
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
