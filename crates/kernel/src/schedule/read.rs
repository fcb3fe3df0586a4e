//! Reads schedules from JSON: everything that is wrong is told at once, with its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::expect::{Expect, SlowerThan, span, time_of_day};
use super::spec::{CatchUp, CronLine, Overlap, ScheduleSpec, Tag};
use crate::cron::{Cron, DstRule, Zone, ZoneError};
use crate::definition::{
    IdempotencyStrategy, PROBLEMS_MAX, Problem, escape_pointer, workflow_from_value,
};
use crate::json::Json;
use crate::time::Timestamp;

/// Cron lines of one schedule.
const LINES_MAX: usize = 100;

/// Reads one schedule.
///
/// # Errors
/// Malformed JSON as one problem; otherwise everything that is wrong with the schedule.
pub fn parse_schedule(text: &str) -> Result<ScheduleSpec, Vec<Problem>> {
    schedule_from_value(&tree(text)?)
}

/// Reads a list of schedules, or a single one as a list of one.
///
/// # Errors
/// As [`parse_schedule`]; pointers begin with the index in a list.
pub fn parse_schedules(text: &str) -> Result<Vec<ScheduleSpec>, Vec<Problem>> {
    let Value::Array(items) = tree(text)? else {
        return parse_schedule(text).map(|schedule| vec![schedule]);
    };
    let (mut schedules, mut problems) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        match schedule_from_value(item) {
            Ok(schedule) => schedules.push(schedule),
            Err(found) => {
                problems.extend(found.into_iter().map(|flaw| flaw.under(&format!("/{index}"))));
            }
        }
    }
    problems.truncate(PROBLEMS_MAX);
    if problems.is_empty() { Ok(schedules) } else { Err(problems) }
}

fn tree(text: &str) -> Result<Value, Vec<Problem>> {
    serde_json::from_str(text).map_err(|error| {
        let full = error.to_string();
        let reason = full.split(" at line ").next().unwrap_or(&full);
        let (line, column) = (error.line(), error.column());
        let message = format!("malformed JSON at line {line}, column {column}: {reason}");
        let hint = "Look there for a missing or extra comma, quote or bracket.";
        vec![Problem::new("", "malformed-json", message, hint)]
    })
}

/// Reads a schedule from a tree.
///
/// # Errors
/// Everything that is wrong with it.
pub fn schedule_from_value(value: &Value) -> Result<ScheduleSpec, Vec<Problem>> {
    let Value::Object(document) = value else {
        let hint = "Wrap the schedule in { and }.";
        let message = "expected a schedule, which is an object";
        return Err(vec![Problem::new("", "wrong-type", message, hint)]);
    };
    let mut reader = Reader { problems: Vec::new() };
    let spec = reader.schedule(document);
    reader.problems.truncate(PROBLEMS_MAX);
    if reader.problems.is_empty() { Ok(spec) } else { Err(reader.problems) }
}

/// Problems found on the way.
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn schedule(&mut self, document: &Map<String, Value>) -> ScheduleSpec {
        let name = self.name(document);
        let (cron_expression, zone_id, cron_schedules) = self.cron(document);
        let all = self.flag(document, "runCatchupScheduleInstances") == Some(true);
        let catch_up = self.choice(document, "catchUp", CatchUp::NAMES, CatchUp::parse);
        let start = self.time(document, "scheduleStartTime");
        let end = self.time(document, "scheduleEndTime");
        if let (Some(start), Some(end)) = (start, end)
            && start > end
        {
            let message = "scheduleEndTime lies before scheduleStartTime: nothing would ever fire";
            self.wrong("/scheduleEndTime", "value-out-of-range", message, "Exchange them?");
        }
        ScheduleSpec {
            name,
            description: self.text(document, "description", ""),
            cron_expression,
            zone_id,
            cron_schedules,
            start_workflow_request: self.request(document),
            catch_up: catch_up.unwrap_or(if all { CatchUp::All } else { CatchUp::None }),
            overlap: self
                .choice(document, "overlap", Overlap::NAMES, Overlap::parse)
                .unwrap_or_default(),
            dst: self.choice(document, "dst", DstRule::NAMES, DstRule::parse).unwrap_or_default(),
            schedule_start_time: start,
            schedule_end_time: end,
            paused: self.flag(document, "paused"),
            paused_reason: self.text(document, "pausedReason", ""),
            expect: self.expect(document),
            tags: self.tags(document),
            created_by: self.text(document, "createdBy", ""),
            updated_by: self.text(document, "updatedBy", ""),
        }
    }

    fn wrong(
        &mut self,
        pointer: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.push(Problem::new(pointer, code, message, hint));
    }

    fn mismatch(&mut self, pointer: &str, expected: &str, value: &Value) {
        let field = pointer.rsplit('/').next().unwrap_or_default();
        let hint = format!("Write {expected} at {pointer}, or leave it out.");
        let problem =
            Problem::new(pointer, "wrong-type", format!("{field}: expected {expected}"), hint);
        self.problems.push(problem.with_value(value.clone()));
    }

    fn name(&mut self, document: &Map<String, Value>) -> Arc<str> {
        let name = self.text(document, "name", "").unwrap_or_default();
        let max = ScheduleSpec::NAME_MAX;
        let trouble = if name.is_empty() {
            Some(("name-missing", "the schedule has no name".to_owned()))
        } else if name.len() > max {
            Some(("name-too-long", format!("the schedule's name is longer than {max} bytes")))
        } else if name.trim() != name.as_ref() || name.chars().any(|c| c.is_control() || c == '/') {
            let message = "a schedule's name has no '/', control characters or spaces around it";
            Some(("name-not-allowed", message.to_owned()))
        } else {
            None
        };
        if let Some((code, message)) = trouble {
            self.wrong("/name", code, message, "Name it as it is called in paths: nightly-report.");
        }
        name
    }

    /// Text; empty text is absent.
    fn text(&mut self, object: &Map<String, Value>, field: &str, at: &str) -> Option<Arc<str>> {
        match object.get(field)? {
            Value::Null => None,
            Value::String(text) => (!text.is_empty()).then(|| text.as_str().into()),
            other => {
                self.mismatch(&format!("{at}/{field}"), "text", other);
                None
            }
        }
    }

    fn flag(&mut self, object: &Map<String, Value>, field: &str) -> Option<bool> {
        match object.get(field)? {
            Value::Null => None,
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text == "true" => Some(true),
            Value::String(text) if text == "false" => Some(false),
            other => {
                self.mismatch(&format!("/{field}"), "true or false", other);
                None
            }
        }
    }

    fn choice<T>(
        &mut self,
        object: &Map<String, Value>,
        field: &str,
        names: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        match object.get(field)? {
            Value::Null => None,
            value => {
                let choice = value.as_str().and_then(parse);
                if choice.is_none() {
                    let expected = format!("one of {}", names.join(", "));
                    self.mismatch(&format!("/{field}"), &expected, value);
                }
                choice
            }
        }
    }

    /// What is expected of runs. It is ours, so that a member that we do not know is a mistake.
    fn expect(&mut self, document: &Map<String, Value>) -> Option<Expect> {
        const MEMBERS: [&str; 4] = ["startWithin", "doneBy", "slowerThan", "atLeast"];
        let given = match document.get("expect")? {
            Value::Null => return None,
            Value::Object(given) => given,
            other => {
                self.mismatch("/expect", "an object", other);
                return None;
            }
        };
        for name in given.keys().filter(|name| !MEMBERS.contains(&name.as_str())) {
            let pointer = format!("/expect/{}", escape_pointer(name));
            let message = format!("expect has no member '{name}'");
            let hint = format!("Write one of {}.", MEMBERS.join(", "));
            self.wrong(pointer, "unknown-field", message, hint);
        }
        let span_words = "a duration such as 5m";
        let expect = Expect {
            start_within: self
                .expected(given, "startWithin", span_words, |text| span(text).is_some()),
            done_by: self.expected(given, "doneBy", "a time of the day such as 06:00", |text| {
                time_of_day(text).is_some()
            }),
            slower_than: self.expected(
                given,
                "slowerThan",
                "a factor above 1 such as 3x, or a duration such as 40m",
                |text| SlowerThan::read(text).is_some(),
            ),
            at_least: self.expected(given, "atLeast", span_words, |text| span(text).is_some()),
        };
        if expect.at_least.is_some() && !given.contains_key("slowerThan") {
            let message = "atLeast means nothing without slowerThan";
            self.wrong("/expect/atLeast", "value-out-of-range", message, "Add slowerThan: 3x.");
        }
        (expect != Expect::default()).then_some(expect)
    }

    fn expected(
        &mut self,
        given: &Map<String, Value>,
        name: &str,
        expected: &str,
        is_valid: impl Fn(&str) -> bool,
    ) -> Option<Arc<str>> {
        let value = given.get(name).filter(|value| !value.is_null())?;
        let text = value.as_str().filter(|text| is_valid(text));
        if text.is_none() {
            self.mismatch(&format!("/expect/{name}"), expected, value);
        }
        text.map(Into::into)
    }

    /// Milliseconds since 1970, or a timestamp as text; 0 is absent.
    fn time(&mut self, object: &Map<String, Value>, field: &str) -> Option<Timestamp> {
        let value = object.get(field)?;
        let millis = match value {
            Value::Null => return None,
            Value::Number(number) => number.as_i64(),
            Value::String(text) if text.trim().is_empty() => return None,
            Value::String(text) => text.trim().parse().ok().or_else(|| {
                let at = text.trim().parse::<jiff::Timestamp>().ok()?;
                Some(at.as_millisecond())
            }),
            _ => None,
        };
        // The last instant of the year 9998.
        match millis {
            Some(0) => None,
            Some(millis @ 1..=253_370_764_799_999) => Some(Timestamp::from_millis(millis)),
            _ => {
                let expected = "milliseconds since 1970, or a time such as 2026-01-31T08:00:00Z";
                self.mismatch(&format!("/{field}"), expected, value);
                None
            }
        }
    }

    /// The single expression, its zone, and the list.
    fn cron(
        &mut self,
        document: &Map<String, Value>,
    ) -> (Option<Arc<str>>, Arc<str>, Vec<CronLine>) {
        let zone = self.zone(document, "");
        let single = self.text(document, "cronExpression", "");
        let mut lines = Vec::new();
        match document.get("cronSchedules") {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) if items.len() > LINES_MAX => {
                let message = format!("a schedule has at most {LINES_MAX} cron expressions");
                self.wrong("/cronSchedules", "too-many", message, "Divide it into several.");
            }
            Some(Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    lines.extend(self.line(item, &format!("/cronSchedules/{index}")));
                }
            }
            Some(other) => self.mismatch("/cronSchedules", "a list", other),
        }
        // With a list the single expression does not count, but what is wrong in it is told.
        if let Some(single) = &single {
            self.check_cron(single, "/cronExpression");
        }
        let listed = document.get("cronSchedules").and_then(Value::as_array);
        if single.is_none()
            && listed.is_none_or(Vec::is_empty)
            && !matches!(document.get("cronExpression"), Some(Value::Number(_) | Value::Object(_)))
        {
            let hint = "Write \"cronExpression\": \"0 0 8 * * MON-FRI\", or a list cronSchedules.";
            self.wrong(
                "/cronExpression",
                "cron-missing",
                "the schedule has no cron expression",
                hint,
            );
        }
        (single, zone, lines)
    }

    fn line(&mut self, item: &Value, at: &str) -> Option<CronLine> {
        let Value::Object(item) = item else {
            self.mismatch(at, "an object with cronExpression and zoneId", item);
            return None;
        };
        let zone_id = self.zone(item, at);
        let Some(cron_expression) = self.text(item, "cronExpression", at) else {
            if !matches!(item.get("cronExpression"), Some(Value::Number(_) | Value::Bool(_))) {
                let hint = "Write \"cronExpression\": \"0 0 8 * * MON-FRI\".";
                let pointer = format!("{at}/cronExpression");
                self.wrong(pointer, "cron-missing", "the cron expression is missing", hint);
            }
            return None;
        };
        self.check_cron(&cron_expression, &format!("{at}/cronExpression"));
        Some(CronLine { cron_expression, zone_id })
    }

    fn zone(&mut self, object: &Map<String, Value>, at: &str) -> Arc<str> {
        let zone = self.text(object, "zoneId", at).unwrap_or_else(|| "UTC".into());
        if let Err(error) = Zone::named(&zone) {
            let problem = Problem::new(
                format!("{at}/zoneId"),
                "zone-unknown",
                error.to_string(),
                ZoneError::HINT,
            );
            self.problems.push(problem.with_value(zone.as_ref()));
        }
        zone
    }

    fn check_cron(&mut self, text: &str, pointer: &str) {
        let (code, message, hint) = match Cron::parse(text) {
            Ok(cron) if cron.ever_fires() => return,
            Ok(_) => {
                let message = format!("no day matches '{text}': it would never fire");
                let hint = "Day of month, month and day of week must all match the same day.";
                ("cron-never-fires", message, hint.to_owned())
            }
            Err(error) => ("cron-malformed", error.message, error.hint),
        };
        self.problems.push(Problem::new(pointer, code, message, hint).with_value(text));
    }

    /// What is started; kept as it is.
    fn request(&mut self, document: &Map<String, Value>) -> Json {
        const AT: &str = "/startWorkflowRequest";
        let request = match document.get("startWorkflowRequest") {
            Some(Value::Object(request)) => request,
            Some(other) if !other.is_null() => {
                self.mismatch(AT, "an object", other);
                return Json::empty_object();
            }
            _ => {
                let hint = "Write \"startWorkflowRequest\": {\"name\": \"the_workflow\"}.";
                self.wrong(AT, "request-missing", "the schedule starts nothing", hint);
                return Json::empty_object();
            }
        };
        let name = self.text(request, "name", AT);
        if name.is_none_or(|name| name.trim().is_empty())
            && !self.problems.iter().any(|problem| problem.pointer == "/startWorkflowRequest/name")
        {
            let hint = "Name a registered workflow.";
            let pointer = format!("{AT}/name");
            self.wrong(pointer, "name-missing", "Workflow name cannot be null or empty", hint);
        }
        for field in ["correlationId", "createdBy", "idempotencyKey"] {
            self.text(request, field, AT);
        }
        let strategy = request.get("idempotencyStrategy").filter(|value| !value.is_null());
        if let Some(value) = strategy
            && IdempotencyStrategy::deserialize(value).is_err()
        {
            let expected = format!("one of {}", IdempotencyStrategy::NAMES.join(", "));
            self.mismatch(&format!("{AT}/idempotencyStrategy"), &expected, value);
        }
        self.whole(request, "version", 0, i64::from(i32::MAX));
        self.whole(request, "priority", 0, 99);
        for field in ["input", "taskToDomain"] {
            if let Some(value) = request.get(field).filter(|v| !v.is_object() && !v.is_null()) {
                self.mismatch(&format!("{AT}/{field}"), "an object", value);
            }
        }
        if let Some(Value::Object(domains)) = request.get("taskToDomain") {
            for (task, domain) in domains.iter().filter(|(_, domain)| !domain.is_string()) {
                let pointer = format!("{AT}/taskToDomain/{}", escape_pointer(task));
                self.mismatch(&pointer, "text", domain);
            }
        }
        if let Some(definition) = request.get("workflowDef").filter(|value| !value.is_null())
            && let Err(found) = workflow_from_value(definition)
        {
            let prefix = format!("{AT}/workflowDef");
            self.problems.extend(found.into_iter().map(|flaw| flaw.under(&prefix)));
        }
        Json::of(request)
    }

    fn whole(&mut self, request: &Map<String, Value>, field: &str, least: i64, most: i64) {
        let Some(value) = request.get(field).filter(|value| !value.is_null()) else { return };
        if value.as_i64().is_none_or(|number| !(least..=most).contains(&number)) {
            let expected = format!("a whole number from {least} to {most}");
            self.mismatch(&format!("/startWorkflowRequest/{field}"), &expected, value);
        }
    }

    fn tags(&mut self, document: &Map<String, Value>) -> Vec<Tag> {
        let items = match document.get("tags") {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.mismatch("/tags", "a list", other);
                return Vec::new();
            }
        };
        // Several values of one key count once, as the last says.
        let mut tags: BTreeMap<&str, &str> = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let member = |name: &str| item.get(name).and_then(Value::as_str);
            match (member("key"), member("value")) {
                (Some(key), Some(value)) => {
                    tags.insert(key, value);
                }
                _ => self.mismatch(&format!("/tags/{index}"), "an object with key and value", item),
            }
        }
        tags.into_iter().map(|(key, value)| Tag { key: key.into(), value: value.into() }).collect()
    }
}
