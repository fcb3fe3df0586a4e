//! Readers of text: templates, expressions of time, files, programs.

use std::cell::OnceCell;
use std::hint::black_box;
use std::time::Duration;

use kernel::alert::definition::roster::{Roster, Rotation, read_calendar};
use kernel::alert::definition::{ChecklistOptions, load};
use kernel::cron::{Cron, DstRule, Zone};
use kernel::definition::{parse_event_handlers, parse_task_defs, parse_workflows};
use kernel::expression::{Path, Scope, evaluate, parse_duration};
use kernel::schedule::parse_schedules;
use kernel::status_page::parse_status_pages;
use kernel::{Form, Json, Timestamp};
use tasks::{javascript, jq};

/// How long a program may run: it is not about what it does.
const TIME: Duration = Duration::from_millis(50);

/// Whatever is asked for is the same document.
struct Everywhere(Json);

impl Scope for Everywhere {
    fn field(&self, _: &str, _: &str) -> Option<Json> {
        Some(self.0.clone())
    }

    fn document(&self, _: &str) -> Option<Json> {
        Some(self.0.clone())
    }

    fn bare(&self, name: &str) -> Option<Json> {
        (name == "CPEWF_TASK_ID").then(Json::null)
    }
}

fn document() -> Json {
    let text =
        r#"{"a":1,"b":[{"c":"x","x":2,"y":[1,2,3]},{"c":null}],"list":[{"x":2,"y":"z"}],"ä":"ö"}"#;
    Json::from_text(text.to_owned()).unwrap_or_else(|_| Json::null())
}

pub(crate) fn template(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    black_box(evaluate(&text, &Everywhere(document())));
    if let Ok(path) = Path::compile(&text) {
        black_box(path.read(&document().parse()));
    }
}

pub(crate) fn calendar(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(calendar) = read_calendar(&text, "Europe/Oslo", &|name| name.to_owned().into()) else {
        return;
    };
    let rotation = Rotation { calendar, ..Rotation::default() };
    let rotations = [("r".into(), rotation)].into();
    let roster = Roster { rotations, ..Roster::default() };
    for year in [0, 1, 30, 60] {
        let at = Timestamp::from_millis(year * 365 * 86_400_000 + 1_000_000_007);
        black_box(roster.on_call("r", at));
    }
}

pub(crate) fn cron(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    black_box(parse_duration(&text).is_ok());
    for parsed in [Cron::parse(&text), Cron::parse_five(&text)].into_iter().flatten() {
        let mut at = Timestamp::from_millis(1_700_000_000_000);
        for _ in 0..3 {
            let Some(next) = parsed.next(at, &Zone::utc(), DstRule::default()) else { break };
            assert!(next > at, "{text:?} comes again at the same instant");
            at = next;
        }
    }
}

pub(crate) fn monitors(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    black_box(load(&text, &ChecklistOptions::default()).problems.len());
}

pub(crate) fn definition(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    black_box(parse_workflows(&text).is_ok());
    black_box(parse_task_defs(&text).is_ok());
    black_box(parse_event_handlers(&text).is_ok());
    black_box(parse_schedules(&text).is_ok());
    black_box(parse_status_pages(&text).is_ok());
}

pub(crate) fn jq(bytes: &[u8]) {
    thread_local! {
        static JQ: OnceCell<jq::Jq> = const { OnceCell::new() };
    }
    let text = String::from_utf8_lossy(bytes);
    let (program, input) = text.split_once('\n').unwrap_or((&text, "null"));
    let input = Json::from_text(input.to_owned()).unwrap_or_else(|_| document());
    JQ.with(|jq| {
        let limits =
            jq::Limits { time: TIME, bytes: 4 << 20, steps: 100_000, ..Default::default() };
        let jq = jq.get_or_init(|| jq::Jq::new(limits));
        black_box(jq.run(program, &input).is_ok());
    });
}

pub(crate) fn script(bytes: &[u8]) {
    thread_local! {
        static JAVASCRIPT: OnceCell<javascript::JavaScript> = const { OnceCell::new() };
    }
    let text = String::from_utf8_lossy(bytes);
    let (form, source) = match text.strip_prefix('1') {
        Some(source) => (Form::FunctionBody, source),
        None => (Form::Statements, text.strip_prefix('0').unwrap_or(&text)),
    };
    JAVASCRIPT.with(|javascript| {
        let limits = javascript::Limits { time: TIME, memory: 8 << 20, ..Default::default() };
        let javascript = javascript.get_or_init(|| javascript::JavaScript::new(limits));
        let parses = javascript.check(source, form).is_ok();
        let runs = javascript.run(source, form, &document());
        assert!(parses || runs.is_err(), "{source:?} does not parse and has a result");
    });
}
