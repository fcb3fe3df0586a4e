//! Test files: what they say, read with the place of every mistake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernel::Place;
use kernel::Timestamp;
use kernel::alert::definition::roster::Target;
use kernel::alert::definition::{Content, Node, Severity, nearest_hint, parse_span, parse_yaml};
use serde_json::{Map, Value};

use super::keys::{self, Keys};
use super::moments::{Took, When, instant};
use super::notation::Series;
use super::reader::{Members, Problems, entries, items, wrong};
use crate::load::Finding;

/// When a test begins that does not say: a Friday.
const START: &str = "2027-01-01";
/// The keys that every test has.
const KINDS: &str = "workflow, monitor, schedule or route";

/// One file.
#[derive(Debug)]
pub(super) struct TestFile {
    pub(super) path: PathBuf,
    /// Patterns of definitions, relative to the file; none = all of its folder.
    pub(super) uses: Vec<String>,
    pub(super) tests: Vec<Test>,
}

/// One test.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) place: Place,
    /// When it begins.
    pub(super) start: Timestamp,
    pub(super) of: Subject,
}

/// What a test is of.
#[derive(Debug)]
pub(super) enum Subject {
    Workflow(Box<WorkflowTest>),
    Monitor(Box<MonitorTest>),
    Schedule(ScheduleTest),
    Route(RouteTest),
}

/// Answers by reference name.
pub(super) type Mocks = BTreeMap<String, Vec<Answer>>;

/// What a task answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// Its output, or that of its signal; an object.
    pub(crate) output: Map<String, Value>,
    /// Milliseconds that it works.
    pub(crate) takes: i64,
    /// Why it fails; `terminal: …` for good.
    pub(crate) fail: Option<String>,
    /// Milliseconds before it is taken, or signalled.
    pub(crate) after: i64,
}

#[derive(Debug)]
pub(super) struct WorkflowTest {
    pub(super) workflow: String,
    pub(super) input: Value,
    pub(super) mocks: Mocks,
    pub(super) expect: WorkflowExpect,
}

#[derive(Debug, Default)]
pub(super) struct WorkflowExpect {
    pub(super) status: Option<String>,
    pub(super) path: Option<Vec<String>>,
    pub(super) output: Option<Value>,
    pub(super) exactly: Option<Value>,
    pub(super) inputs: Vec<(String, Value)>,
    pub(super) took: Option<Took>,
}

#[derive(Debug)]
pub(super) struct MonitorTest {
    pub(super) monitor: String,
    pub(super) series: Vec<Series>,
    pub(super) feed: Vec<Fed>,
    pub(super) acts: Vec<Act>,
    /// Absent: as long as the series and the feed are.
    pub(super) until: Option<When>,
    pub(super) real_phase: bool,
    pub(super) expect: MonitorExpect,
}

/// What one check sees, whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fed {
    Rows(Vec<Map<String, Value>>),
    Unknown,
}

/// What somebody does.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(super) place: Place,
    pub(super) at: When,
    pub(crate) what: Action,
}

/// What is done.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Acknowledge {
        key: String,
        by: String,
    },
    /// A receiver answers with a status for so many milliseconds.
    Answers {
        receiver: String,
        status: u16,
        span: i64,
    },
}

#[derive(Debug, Default)]
pub(super) struct MonitorExpect {
    pub(super) incidents: Option<Vec<ExpectedIncident>>,
    pub(super) told: Option<Vec<ExpectedTold>>,
    pub(super) never: Vec<ExpectedTold>,
    pub(super) messages: bool,
}

#[derive(Clone, Debug)]
pub(super) struct ExpectedIncident {
    pub(super) key: String,
    pub(super) opens: Option<When>,
    pub(super) resolves: Option<Resolves>,
}

/// When an incident is expected to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolves {
    At(When),
    /// Not as long as the test runs.
    Never,
}

impl Resolves {
    fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "never" { Ok(Self::Never) } else { When::parse(text).map(Self::At) }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct ExpectedTold {
    pub(super) place: Place,
    pub(super) to: Option<String>,
    pub(super) event: Option<String>,
    pub(super) key: Option<String>,
    pub(super) at: Option<When>,
    /// Of routes: milliseconds after the incident opened.
    pub(super) after: Option<i64>,
    /// Of routes: who is called by a rotation.
    pub(super) who: Option<Vec<String>>,
}

#[derive(Debug)]
pub(super) struct ScheduleTest {
    pub(super) schedule: String,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// Milliseconds that each run takes.
    pub(super) takes: i64,
    /// Times in which the server is away: from, and for how long.
    pub(super) down: Vec<(Timestamp, i64)>,
    pub(super) expect: ScheduleExpect,
}

#[derive(Debug, Default)]
pub(super) struct ScheduleExpect {
    pub(super) fires: Option<Vec<Timestamp>>,
    pub(super) missed: Option<u64>,
    pub(super) skipped: Option<u64>,
}

#[derive(Debug)]
pub(super) struct RouteTest {
    pub(super) monitor: Option<String>,
    pub(super) key: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) severity: Option<Severity>,
    pub(super) at: Timestamp,
    pub(super) told: Vec<ExpectedTold>,
}

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub(super) fn read(path: &Path) -> Result<TestFile, Vec<Finding>> {
    read_with(path, |root, problems| whole(path, root, problems))
}

fn read_with<T>(
    path: &Path,
    understand: impl FnOnce(&Node, &mut Problems) -> Option<T>,
) -> Result<T, Vec<Finding>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![wrong(path, Place { line: 0, column: 0 }, error)])?;
    parse_with(path, &text, understand)
}

fn parse_with<T>(
    path: &Path,
    text: &str,
    understand: impl FnOnce(&Node, &mut Problems) -> Option<T>,
) -> Result<T, Vec<Finding>> {
    let mut problems = Problems::of(path);
    let problems = &mut problems;
    let understood = match parse_yaml(text) {
        Ok(root) => understand(&root, problems),
        Err(broken) => {
            problems.add(broken.place, broken.message);
            None
        }
    };
    match understood {
        Some(understood) if problems.list.is_empty() => Ok(understood),
        _ => Err(std::mem::take(&mut problems.list)),
    }
}

/// Reads a file of answers alone: what `mocks` of a test holds.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub(super) fn read_mocks(path: &Path) -> Result<Mocks, Vec<Finding>> {
    read_with(path, |root, problems| Some(mocks(root, problems)))
}

fn whole(path: &Path, root: &Node, problems: &mut Problems) -> Option<TestFile> {
    let members = Members::of(root, &keys::FILE, problems)?;
    let start = members.read("start", problems, instant);
    let start = start.or_else(|| instant(START).ok())?;
    let uses = members.texts("uses", problems).unwrap_or_default();
    let Some(tests) = members.get("tests") else {
        problems.add(root.place, "a test file needs `tests`, a list");
        return None;
    };
    let Content::List(nodes) = &tests.content else {
        problems.add(tests.place, format!("`tests` must be a list, not {}", tests.kind()));
        return None;
    };
    let mut tests: Vec<Test> = Vec::new();
    for node in nodes {
        let Some(test) = test(node, start, problems) else { continue };
        if tests.iter().any(|other| other.name == test.name) {
            problems.add(test.place, format!("there are two tests named {:?}", test.name));
        }
        tests.push(test);
    }
    Some(TestFile { path: path.to_owned(), uses, tests })
}

fn test(node: &Node, start: Timestamp, problems: &mut Problems) -> Option<Test> {
    let Content::Map(written) = &node.content else {
        problems.add(node.place, format!("a test must be a map, not {}", node.kind()));
        return None;
    };
    let has = |name: &str| written.iter().any(|(key, _)| key.text() == Some(name));
    let kinds: Vec<_> = keys::TESTS.iter().filter(|(kind, _)| has(kind)).collect();
    let [(kind, keys)] = kinds[..] else {
        let told = if kinds.is_empty() {
            format!("a test is of a {KINDS}; this one names none")
        } else {
            let names: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
            format!("a test is of one {KINDS}; this one names {}", names.join(" and "))
        };
        problems.add(node.place, told);
        return None;
    };
    let members = Members::of(node, keys, problems)?;
    let name = members.text("name", problems);
    if name.is_none() {
        problems.add(node.place, "a test needs a `name`");
    }
    let start = members.read("start", problems, instant).unwrap_or(start);
    if !members.get("expect").is_some_and(holds_something) {
        problems.add(node.place, "a test needs `expect`: without it, it tests nothing");
    }
    let of = match *kind {
        "workflow" => Subject::Workflow(Box::new(workflow(&members, problems)?)),
        "monitor" => Subject::Monitor(Box::new(monitor(&members, problems)?)),
        "schedule" => Subject::Schedule(schedule(&members, problems)?),
        _ => Subject::Route(route(&members, start, problems)?),
    };
    Some(Test { name: name?, place: node.place, start, of })
}

/// Whether a node is not empty; what is no map or list is for whoever reads it.
fn holds_something(node: &Node) -> bool {
    match &node.content {
        Content::Map(members) => !members.is_empty(),
        Content::List(items) => !items.is_empty(),
        _ => true,
    }
}

fn workflow(members: &Members<'_>, problems: &mut Problems) -> Option<WorkflowTest> {
    let expect = members.get("expect")?;
    let expected = Members::of(expect, &keys::EXPECT_WORKFLOW, problems)?;
    let inputs = expected.get("inputs").map_or_else(Vec::new, |node| {
        let entries = entries(node, "`inputs`", problems);
        entries.into_iter().map(|(name, _, value)| (name.to_owned(), value.json())).collect()
    });
    let statuses = keys::STATUSES;
    let status = expected.read("status", problems, |text| {
        if statuses.contains(&text) {
            return Ok(text.to_owned());
        }
        Err(format!("{text:?} is no end of a workflow; it is {}", statuses.join(", ")))
    });
    Some(WorkflowTest {
        workflow: members.text("workflow", problems)?,
        input: members.get("input").map_or_else(|| Value::Object(Map::new()), Node::json),
        mocks: members.get("mocks").map(|node| mocks(node, problems)).unwrap_or_default(),
        expect: WorkflowExpect {
            status,
            path: expected.texts("path", problems),
            output: expected.get("output").map(Node::json),
            exactly: expected.get("exactly").map(Node::json),
            inputs,
            took: expected.read("took", problems, Took::parse),
        },
    })
}

fn mocks(node: &Node, problems: &mut Problems) -> Mocks {
    let mut mocks = Mocks::new();
    for (name, _, value) in entries(node, "`mocks`", problems) {
        let answers = items(value).into_iter().filter_map(|it| answer(it, problems)).collect();
        mocks.insert(name.to_owned(), answers);
    }
    mocks
}

fn answer(node: &Node, problems: &mut Problems) -> Option<Answer> {
    let members = Members::of(node, &keys::MOCK, problems)?;
    if ["output", "fail", "signal"].iter().all(|name| members.get(name).is_none()) {
        problems.add(node.place, "a mock needs `output`, `fail` or `signal`: what is answered?");
    }
    if members.get("output").is_some() && members.get("signal").is_some() {
        problems.add(node.place, "a mock has `output` or `signal`, not both");
    }
    let given = members.get("output").or_else(|| members.get("signal"));
    let output = match given.map(Node::json) {
        None => Map::new(),
        Some(Value::Object(output)) => output,
        Some(_) => {
            problems.add(node.place, "what a mock answers must be a map, as every output is");
            return None;
        }
    };
    Some(Answer {
        output,
        takes: members.read("takes", problems, parse_span).unwrap_or_default(),
        fail: members.text("fail", problems),
        after: members.read("after", problems, parse_span).unwrap_or_default(),
    })
}

fn monitor(members: &Members<'_>, problems: &mut Problems) -> Option<MonitorTest> {
    let expect = members.get("expect")?;
    let expected = Members::of(expect, &keys::EXPECT_MONITOR, problems)?;
    let mut series = Vec::new();
    if let Some(node) = members.get("series") {
        for (name, key, samples) in entries(node, "`series`", problems) {
            let text = samples.text().unwrap_or_default();
            match Series::parse(name, text) {
                Ok(read) => series.push(read),
                Err(why) => problems.add(key.place, why),
            }
        }
    }
    let feed = members.items("feed").unwrap_or_default();
    let feed: Vec<Fed> = feed.into_iter().filter_map(|node| fed(node, problems)).collect();
    let gives = |name| members.get(name).is_some_and(holds_something);
    if gives("series") == gives("feed") {
        let told = "a test of a monitor needs `series` or `feed`, one of them: what do checks see?";
        problems.add(members.place(), told);
    }
    let real_phase = members.read("phase", problems, |text| match text {
        "real" => Ok(true),
        _ => Err(format!("{text:?} is not `real`, the only phase to ask for")),
    });
    let messages = expected.read("messages", problems, |text| match text {
        "snapshot" => Ok(true),
        _ => Err(format!("{text:?} is not `snapshot`")),
    });
    let list = |name: &str, keys: &Keys, problems: &mut Problems| {
        let nodes = expected.items(name)?;
        Some(nodes.into_iter().filter_map(|it| told(it, keys, problems)).collect())
    };
    let incidents = expected.items("incidents").map(|nodes| {
        nodes.into_iter().filter_map(|node| incident(node, problems)).collect::<Vec<_>>()
    });
    let acts = members.items("acts").unwrap_or_default();
    Some(MonitorTest {
        monitor: members.text("monitor", problems)?,
        series,
        feed,
        acts: acts.into_iter().filter_map(|node| act(node, problems)).collect(),
        until: members.read("until", problems, When::parse),
        real_phase: real_phase.unwrap_or_default(),
        expect: MonitorExpect {
            incidents,
            told: list("told", &keys::TOLD, problems),
            never: list("never", &keys::NEVER, problems).unwrap_or_default(),
            messages: messages.unwrap_or_default(),
        },
    })
}

/// What one check sees: rows, one row, `_` for none, `!` if nobody can tell.
fn fed(node: &Node, problems: &mut Problems) -> Option<Fed> {
    match node.json() {
        Value::String(text) if text == "_" => Some(Fed::Rows(Vec::new())),
        Value::String(text) if text == "!" => Some(Fed::Unknown),
        Value::Object(row) => Some(Fed::Rows(vec![row])),
        Value::Array(rows) => {
            let maps = rows.into_iter().map(|row| match row {
                Value::Object(row) => Some(row),
                _ => None,
            });
            let rows: Option<Vec<_>> = maps.collect();
            if rows.is_none() {
                problems.add(node.place, "the rows that a check sees are maps");
            }
            rows.map(Fed::Rows)
        }
        _ => {
            let told =
                "what a check sees is a list of rows, one row, `_` (nothing) or `!` (unknown)";
            problems.add(node.place, told);
            None
        }
    }
}

fn act(node: &Node, problems: &mut Problems) -> Option<Act> {
    let members = Members::of(node, &keys::ACT, problems)?;
    let Some(at) = members.read("at", problems, When::parse) else {
        problems.add(node.place, "an act needs `at`");
        return None;
    };
    let key = members.text("acknowledge", problems);
    let receiver = members.text("receiver", problems);
    let what = match (key, receiver) {
        (Some(key), None) => {
            let by = members.text("by", problems).unwrap_or_else(|| "test".to_owned());
            Action::Acknowledge { key, by }
        }
        (None, Some(receiver)) => {
            let status = members.read("answers", problems, |text| {
                let status = text.parse().ok().filter(|it| (100..600).contains(it));
                status.ok_or_else(|| format!("{text:?} is no status of HTTP"))
            });
            let span = members.read("for", problems, parse_span);
            let (Some(status), Some(span)) = (status, span) else {
                problems.add(node.place, "a receiver's act needs `answers` and `for`");
                return None;
            };
            Action::Answers { receiver, status, span }
        }
        _ => {
            problems.add(node.place, "an act says `acknowledge` or `receiver`, one of them");
            return None;
        }
    };
    Some(Act { place: node.place, at, what })
}

fn incident(node: &Node, problems: &mut Problems) -> Option<ExpectedIncident> {
    let members = Members::of(node, &keys::INCIDENT, problems)?;
    Some(ExpectedIncident {
        key: members.text("key", problems).unwrap_or_default(),
        opens: members.read("opens", problems, When::parse),
        resolves: members.read("resolves", problems, Resolves::parse),
    })
}

fn told(node: &Node, known: &Keys, problems: &mut Problems) -> Option<ExpectedTold> {
    let members = Members::of(node, known, problems)?;
    let event = members.read("event", problems, |text| {
        if keys::EVENTS.contains(&text) {
            return Ok(text.to_owned());
        }
        let hint = nearest_hint(text, keys::EVENTS.iter().copied());
        let known = keys::EVENTS.join(", ");
        Err(format!("{text:?} is nothing that receivers are told{hint}; it is one of {known}"))
    });
    Some(ExpectedTold {
        place: node.place,
        to: members.text("to", problems),
        event,
        key: members.text("key", problems),
        at: members.read("at", problems, When::parse),
        after: None,
        who: None,
    })
}

fn schedule(members: &Members<'_>, problems: &mut Problems) -> Option<ScheduleTest> {
    let expect = members.get("expect")?;
    let expected = Members::of(expect, &keys::EXPECT_SCHEDULE, problems)?;
    let (from, to) =
        (members.read("from", problems, instant), members.read("to", problems, instant));
    if from.is_none() || to.is_none() {
        problems.add(members.place(), "a test of a schedule needs `from` and `to`");
    }
    let runs = members.get("runs").and_then(|it| Members::of(it, &keys::RUNS, problems));
    let takes = runs.and_then(|runs| runs.read("takes", problems, parse_span));
    let mut down = Vec::new();
    for node in members.items("down").unwrap_or_default() {
        let Some(span) = Members::of(node, &keys::DOWN, problems) else { continue };
        let (from, length) =
            (span.read("from", problems, instant), span.read("for", problems, parse_span));
        match (from, length) {
            (Some(from), Some(length)) => down.push((from, length)),
            _ => problems.add(node.place, "`down` needs `from` and `for`"),
        }
    }
    down.sort();
    let fires = expected.texts("fires", problems).map(|texts| {
        let mut fires = Vec::new();
        for text in texts {
            match instant(&text) {
                Ok(at) => fires.push(at),
                Err(why) => problems.add(expect.place, format!("`fires`: {why}")),
            }
        }
        fires
    });
    let count = |text: &str| text.parse().map_err(|_| format!("{text:?} is no count"));
    let (from, to) = (from?, to?);
    if to <= from {
        problems.add(members.place(), "`to` must come after `from`");
    }
    Some(ScheduleTest {
        schedule: members.text("schedule", problems)?,
        from,
        to,
        takes: takes.unwrap_or_default(),
        down,
        expect: ScheduleExpect {
            fires,
            missed: expected.read("missed", problems, count),
            skipped: expected.read("skipped", problems, count),
        },
    })
}

fn route(members: &Members<'_>, start: Timestamp, problems: &mut Problems) -> Option<RouteTest> {
    let node = members.get("route")?;
    let route = Members::of(node, &keys::ROUTED, problems)?;
    let expect = members.get("expect")?;
    let expected = Members::of(expect, &keys::EXPECT_ROUTE, problems)?;
    let Some(nodes) = expected.items("told") else {
        problems.add(expect.place, "a route's `expect` needs `told`; `told: []` is nobody");
        return None;
    };
    let told = nodes.into_iter().filter_map(|it| routed(it, problems)).collect();
    let mut labels = BTreeMap::new();
    if let Some(node) = route.get("labels") {
        for (name, _, value) in entries(node, "`labels`", problems) {
            labels.insert(name.to_owned(), value.text().unwrap_or_default().to_owned());
        }
    }
    let severity = route.read("severity", problems, |text| {
        let known = Severity::ALL.into_iter().find(|it| it.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is not info, warning, error or critical"))
    });
    Some(RouteTest {
        monitor: route.text("monitor", problems),
        key: route.text("key", problems).unwrap_or_default(),
        labels,
        severity,
        at: route.read("at", problems, When::parse).map_or(start, |at| at.from(start)),
        told,
    })
}

fn routed(node: &Node, problems: &mut Problems) -> Option<ExpectedTold> {
    let members = Members::of(node, &keys::TOLD_BY_ROUTE, problems)?;
    let to = members.text("to", problems);
    if to.is_none() {
        problems.add(node.place, "an entry of `told` needs `to`");
    }
    let is_rotation = to.as_deref().is_some_and(|to| Target::parse(to).is_some());
    let who = members.texts("who", problems);
    if let Some(node) = members.get("who").filter(|_| !is_rotation) {
        let told = "`who` tells whom a rotation calls: `to` must be one, such as oncall:primary";
        problems.add(node.place, told);
    }
    let after = members.read("after", problems, parse_span);
    let after = Some(after.unwrap_or_default());
    Some(ExpectedTold { place: node.place, to, after, who, ..ExpectedTold::default() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Subject, TestFile, parse_with, whole};

    fn parse(path: &str, text: &str) -> Result<TestFile, Vec<String>> {
        let path = Path::new(path);
        let parsed = parse_with(path, text, |root, problems| whole(path, root, problems));
        parsed.map_err(|found| found.iter().map(ToString::to_string).collect())
    }

    /// The problems of a file.
    fn problems(text: &str) -> Vec<String> {
        parse("a.test.yaml", text).expect_err("it is wrong")
    }

    #[test]
    fn an_unknown_key_is_told_with_line_and_keys() {
        let told = problems(
            "tests:\n- name: a\n  workflow: w\n  inptu: {}\n  expect: { status: FAILED }\n",
        );
        assert!(told[0].starts_with("a.test.yaml:4:3: "), "{told:?}");
        assert!(told[0].contains("\"inptu\"") && told[0].contains("input, mocks"), "{told:?}");
        let told =
            problems("tests:\n- { name: a, workflow: w, zzz: 1, expect: { status: FAILED } }\n");
        assert!(told[0].contains("has no key \"zzz\"; the keys are"), "{told:?}");
    }

    #[test]
    fn who_is_asked_of_rotations_alone() {
        let told = problems(
            "tests:\n- name: a\n  route: { labels: { team: data } }\n  \
             expect: { told: [ { to: oncall, who: [ann] } ] }\n",
        );
        assert!(told[0].contains("such as oncall:primary"), "{told:?}");
    }

    #[test]
    fn a_test_is_of_one_thing_and_expects_something() {
        assert!(problems("tests:\n- { name: a, expect: {} }\n")[0].contains("names none"));
        for of in ["workflow: w", "monitor: m, series: { v: 0 }"] {
            for expect in ["", ", expect: {}"] {
                let told = problems(&format!("tests:\n- {{ name: a, {of}{expect} }}\n"));
                assert!(told[0].contains("it tests nothing"), "{told:?}");
            }
        }
        let one = "- { name: a, workflow: w, expect: { status: FAILED } }\n";
        assert!(problems(&format!("tests:\n{one}{one}"))[0].contains("two tests"));
    }

    #[test]
    fn what_checks_see_is_told_once() {
        let told = problems(
            "tests:\n- { name: a, monitor: m, series: { v: \"x y\" }, expect: { incidents: [] } }\n",
        );
        assert_eq!(told.len(), 1, "{told:?}");
        let text = "tests:\n- name: a\n  monitor: m\n  feed: [ [ { loss: 0 } ], _, ! ]\n  expect: { incidents: [] }\n";
        let file = parse("a.test.yaml", text).expect("a file");
        let Subject::Monitor(test) = &file.tests[0].of else { panic!("it is of a monitor") };
        assert!(
            matches!(
                test.feed[..],
                [super::Fed::Rows(_), super::Fed::Rows(_), super::Fed::Unknown]
            ),
            "as documented"
        );
    }

    #[test]
    fn a_file_may_be_json() {
        let text = r#"{"tests": [{"name": "a", "workflow": "w", "expect": {"took": "< 3d"}}]}"#;
        let file = parse("a.test.json", text).expect("a file");
        assert!(matches!(&file.tests[0].of, Subject::Workflow(it) if it.expect.took.is_some()));
    }
}
