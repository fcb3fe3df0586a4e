//! Tests of monitors: what checks see, what people do, and which incidents and notifications follow.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kernel::Timestamp;
use serde_json::{Map, Value};

use super::file::{Act, Action, ExpectedIncident, ExpectedTold, Fed, MonitorTest, Resolves};
use super::moments::{When, relative, same, span};
use super::notation::{Sample, Series, json};
use super::snapshot::Snapshot;
use super::watching::{self, Feed, Incident, Sight, Telling, Watched, Watching};
use super::{Folder, TestResult};

/// Milliseconds between two checks of a monitor whose schedule has none.
const INTERVAL: i64 = 60_000;

/// Runs a test; its messages go to the snapshot.
pub(super) fn run(
    folder: &Folder,
    name: &str,
    start: Timestamp,
    test: &MonitorTest,
    snapshot: &mut Snapshot,
) -> TestResult {
    let mut told = TestResult::default();
    let file = &folder.definitions.monitors;
    let monitor = file.monitors.iter().find(|it| *it.name == *test.monitor);
    let interval = monitor.and_then(|it| it.schedule.every).unwrap_or(INTERVAL);
    let judges = monitor.is_some_and(|it| it.fail_when.is_some() || it.warn_when.is_some());
    let longest = test.series.iter().map(|it| it.samples.len()).max().unwrap_or(test.feed.len());
    let default = When::After((longest as i64).saturating_mul(interval));
    let until = test.until.unwrap_or(default).from(start);
    for (number, _) in test.acts.iter().enumerate().filter(|(_, act)| act.at.from(start) > until) {
        told.problems.push(format!(
            "acts, entry {}: it is after the end of the test: let the test go on by `until`",
            number + 1
        ));
    }
    if !told.problems.is_empty() {
        return told;
    }
    let watching = Watching {
        file,
        monitor: &test.monitor,
        start,
        until,
        real_phase: test.real_phase,
        others: BTreeMap::new(),
        records: false,
        feed: Box::new(Given { series: test.series.clone(), feed: test.feed.clone(), judges }),
        acts: acts(&test.acts, start),
        scripts: &folder.scripts,
    };
    let watched = match watching::watch(watching) {
        Ok(watched) => watched,
        Err(why) => {
            told.problems.push(why);
            return told;
        }
    };
    told.trace = trace(&watched, start);
    judge(&watched, start, test, &mut told.problems);
    if test.expect.messages {
        told.problems.extend(snapshot.compare(name, &messages(&watched.told, start)));
    }
    told.watched = Some((test.monitor.clone(), watched));
    told
}

fn acts(acts: &[Act], start: Timestamp) -> Vec<(Timestamp, watching::Action)> {
    let mut acts: Vec<_> = acts
        .iter()
        .map(|act| {
            let at = act.at.from(start);
            let deed = match act.what.clone() {
                Action::Acknowledge { key, by } => watching::Action::Acknowledge { key, by },
                Action::Answers { receiver, status, span } => {
                    watching::Action::Answers { receiver, status, until: at.plus_millis(span) }
                }
            };
            (at, deed)
        })
        .collect();
    acts.sort_by_key(|(at, _)| *at);
    acts
}

/// Labels, and the row that begins with them.
type Labelled<'a> = (&'a Map<String, Value>, Map<String, Value>);

/// What a test gives.
struct Given {
    series: Vec<Series>,
    feed: Vec<Fed>,
    /// The monitor judges rows itself; otherwise a value says how things are: 0 is bad.
    judges: bool,
}

impl Feed for Given {
    fn look(&mut self, number: u32, _: Timestamp) -> Sight {
        let number = number as usize;
        if let Some(fed) = self.feed.get(number).or(self.feed.last()) {
            return match fed {
                Fed::Rows(rows) => Sight::Rows(rows.clone()),
                Fed::Unknown => Sight::Unknown("the test says that nobody can tell".to_owned()),
            };
        }
        let mut rows: Vec<Labelled<'_>> = Vec::new();
        for series in &self.series {
            let value = match series.at(number) {
                Sample::Unknown => {
                    return Sight::Unknown(format!("the series {} is unknown", series.metric));
                }
                Sample::Absent => continue,
                Sample::Value(value) => value,
            };
            let at = rows.iter().position(|(labels, _)| *labels == &series.labels);
            let at = at.unwrap_or_else(|| {
                rows.push((&series.labels, series.labels.clone()));
                rows.len() - 1
            });
            let row = &mut rows[at].1;
            row.insert(series.metric.clone(), json(value));
            row.entry("value").or_insert_with(|| json(value));
            if !self.judges {
                let status = if value == 0.0 { "fail" } else { "ok" };
                row.insert("status".to_owned(), status.into());
            }
        }
        Sight::Rows(rows.into_iter().map(|(_, row)| row).collect())
    }
}

fn judge(watched: &Watched, start: Timestamp, test: &MonitorTest, problems: &mut Vec<String>) {
    if let Some(expected) = &test.expect.incidents {
        judge_incidents(&watched.incidents, expected, start, problems);
    }
    if let Some(expected) = &test.expect.told {
        judge_told(&watched.told, expected, start, problems);
    }
    for never in &test.expect.never {
        let broken: Vec<String> = watched
            .told
            .iter()
            .filter(|telling| fits(telling, never, start))
            .map(|telling| told_line(telling, start))
            .collect();
        if !broken.is_empty() {
            let expected = expected_line(never, start);
            problems.push(format!("never: {expected}, but there was\n  {}", broken.join("\n  ")));
        }
    }
}

fn judge_incidents(
    actual: &[Incident],
    expected: &[ExpectedIncident],
    start: Timestamp,
    problems: &mut Vec<String>,
) {
    // Those about the checks themselves are nobody's concern who names none of them.
    let own = |key: &str| key.starts_with('#');
    let speaks = expected.is_empty() || expected.iter().any(|it| own(&it.key));
    let actual: Vec<&Incident> = actual.iter().filter(|it| speaks || !own(&it.key)).collect();
    let mut left = actual.clone();
    let mut missing = Vec::new();
    for wanted in expected {
        let at = left.iter().position(|it| is_incident(it, wanted, start));
        match at {
            Some(at) => drop(left.remove(at)),
            None => missing.push(wanted),
        }
    }
    if missing.is_empty() && left.is_empty() {
        return;
    }
    let wanted = expected.iter().map(|it| {
        let when = |when: Option<When>| {
            when.map_or("?".to_owned(), |when| relative(when.from(start), start))
        };
        let mark = if missing.iter().any(|other| std::ptr::eq(*other, it)) { "-" } else { " " };
        let resolves = match it.resolves {
            Some(Resolves::Never) => "never".to_owned(),
            Some(Resolves::At(at)) => when(Some(at)),
            None => when(None),
        };
        format!("  {mark} {} opens {} resolves {resolves}", key(&it.key), when(it.opens))
    });
    let got = actual.iter().map(|it| {
        let resolves = it.resolves.map_or("never".to_owned(), |at| relative(at, start));
        let mark = if left.iter().any(|other| std::ptr::eq(*other, *it)) { "+" } else { " " };
        format!("  {mark} {} opens {} resolves {resolves}", key(&it.key), relative(it.opens, start))
    });
    let (wanted, got): (Vec<String>, Vec<String>) = (wanted.collect(), got.collect());
    problems.push(format!("incidents: {}", difference(&wanted, &got)));
}

fn is_incident(incident: &Incident, expected: &ExpectedIncident, start: Timestamp) -> bool {
    let at = |expected: Option<When>, actual: Option<Timestamp>| {
        expected.is_none_or(|when| actual.is_some_and(|at| same(at, when.from(start))))
    };
    let is_over = match expected.resolves {
        Some(Resolves::Never) => incident.resolves.is_none(),
        Some(Resolves::At(when)) => at(Some(when), incident.resolves),
        None => true,
    };
    incident.key == expected.key && at(expected.opens, Some(incident.opens)) && is_over
}

/// Each entry must have a telling of its own, in any order; without entries nobody is told.
fn judge_told(
    actual: &[Telling],
    expected: &[ExpectedTold],
    start: Timestamp,
    problems: &mut Vec<String>,
) {
    let taken: Vec<&Telling> = actual.iter().filter(|it| it.is_taken()).collect();
    let mut left = taken.clone();
    let mut missing = Vec::new();
    for wanted in expected {
        match left.iter().position(|it| fits(it, wanted, start)) {
            Some(at) => drop(left.remove(at)),
            None => missing.push(wanted),
        }
    }
    let nobody = expected.is_empty() && !left.is_empty();
    if missing.is_empty() && !nobody {
        return;
    }
    let wanted = expected.iter().map(|it| {
        let mark = if missing.iter().any(|other| std::ptr::eq(*other, it)) { "-" } else { " " };
        format!("  {mark} {}", expected_line(it, start))
    });
    let got = taken.iter().map(|it| format!("    {}", told_line(it, start)));
    let (wanted, got): (Vec<String>, Vec<String>) = (wanted.collect(), got.collect());
    problems.push(format!("told: {}", difference(&wanted, &got)));
}

/// Two lists, one under the other.
fn difference(wanted: &[String], got: &[String]) -> String {
    let or_none = |lines: &[String]| {
        if lines.is_empty() { "    nothing".to_owned() } else { lines.join("\n") }
    };
    format!("expected\n{}\ngot\n{}", or_none(wanted), or_none(got))
}

fn fits(telling: &Telling, expected: &ExpectedTold, start: Timestamp) -> bool {
    expected.to.as_ref().is_none_or(|to| *to == telling.to)
        && expected.event.as_ref().is_none_or(|event| *event == telling.event)
        && expected.key.as_ref().is_none_or(|key| telling.keys.contains(key))
        && expected.at.is_none_or(|when| same(telling.at, when.from(start)))
}

fn key(key: &str) -> &str {
    if key.is_empty() { "(the monitor itself)" } else { key }
}

fn expected_line(it: &ExpectedTold, start: Timestamp) -> String {
    let parts = [
        it.at.map(|when| relative(when.from(start), start)),
        it.to.clone(),
        it.event.clone(),
        it.key.clone(),
        it.after.map(|after| format!("after {}", span(after))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn told_line(it: &Telling, start: Timestamp) -> String {
    let keys: Vec<&str> = it.keys.iter().map(|it| key(it)).collect();
    let refused = if it.is_taken() { String::new() } else { format!(" (answered {})", it.status) };
    format!("{} {} {} {}{refused}", relative(it.at, start), it.to, it.event, keys.join(", "))
}

/// The messages as a snapshot keeps them.
fn messages(told: &[Telling], start: Timestamp) -> String {
    let mut text = String::new();
    for telling in told {
        if !telling.is_taken() {
            // What is asked again is the same, but for its time.
            let _ = writeln!(text, "{}\n", told_line(telling, start));
            continue;
        }
        let (method, url) = (&telling.method, &telling.url);
        let _ = writeln!(text, "{}\n{method} {url}", told_line(telling, start));
        for (name, value) in &telling.headers {
            let _ = writeln!(text, "{name}: {value}");
        }
        let body = serde_json::from_str::<Value>(&telling.body).ok();
        let body = body.and_then(|body| serde_json::to_string_pretty(&body).ok());
        text.push_str(body.as_deref().unwrap_or(&telling.body).trim_end());
        text.push_str("\n\n");
    }
    text.trim_end().to_owned()
}

fn trace(watched: &Watched, start: Timestamp) -> Vec<String> {
    let mut lines: Vec<(Timestamp, u8, String)> = Vec::new();
    let (mut last, mut repeated) = (String::new(), 0);
    let again = |at: Timestamp, repeated: u32| {
        (at, 0, format!("check … and {repeated} more that saw the same"))
    };
    let mut at = start;
    for check in &watched.checks {
        let seen = match &check.seen {
            Ok(output) => output.parse()["observations"].to_string(),
            Err(why) => format!("unknown: {why}"),
        };
        if seen == last {
            repeated += 1;
        } else {
            lines.extend((repeated > 0).then(|| again(at, repeated)));
            repeated = 0;
            lines.push((check.at, 0, format!("check {seen}")));
        }
        (last, at) = (seen, check.at);
    }
    lines.extend((repeated > 0).then(|| again(at, repeated)));
    for incident in &watched.incidents {
        let history = incident.line["history"].as_array().cloned().unwrap_or_default();
        for entry in history {
            let at = entry["at"].as_i64().map(Timestamp::from_millis);
            let at = at.or_else(|| super::moments::instant(entry["at"].as_str()?).ok());
            let why = entry["why"].as_str().map(|why| format!(" ({why})")).unwrap_or_default();
            let what = entry["what"].as_str().unwrap_or_default();
            let line = format!("incident {}: {what}{why}", key(&incident.key));
            lines.push((at.unwrap_or(incident.opens), 1, line));
        }
    }
    for telling in &watched.told {
        let line = told_line(telling, start);
        let line = line.split_once(' ').map_or(&*line, |(_, rest)| rest);
        lines.push((telling.at, 2, format!("told {line}")));
    }
    lines.sort();
    lines.into_iter().map(|(at, _, line)| format!("{:>14}  {line}", relative(at, start))).collect()
}
