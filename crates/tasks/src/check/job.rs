//! `CHECK_JOB`: is a batch job fresh? It must have ended, or begun, not too long ago, and not have
//! failed.
//!
//! Three places to learn it from: batchy, whose answer is read leniently as several versions of it
//! are about; any URL that answers JSON; a schedule of this server.
//!
//! batchy forgets the last end when a job begins anew, so one look cannot tell how long ago that
//! was. The last good end is therefore handed from check to check.

use std::sync::Arc;

use async_trait::async_trait;
use engine::WeakEngine;
use engine::search::RecordSearch;
use kernel::alert::Status;
use kernel::alert::definition::parse_share;
use kernel::cron::Zone;
use kernel::graph::Status as Run;
use kernel::{ExecutionId, Timestamp};
use serde_json::{Value, json};

use super::order::{Order, span};
use super::rest::{Question, json_of};
use super::rows::{path, scalar};
use super::seen::{Seen, attrs};
use super::time::{instant, words};
use super::{Means, Source, Trouble, unknown, wrong};

/// How far in the future an instant may be before clocks are said to differ, in milliseconds.
const SKEW_MAX: i64 = 5 * 60_000;
/// From which share of the greatest age on there is a warning.
const WARN_AT: f64 = 0.8;
/// Firings of a schedule that are looked through for its last runs.
const FIRINGS_MAX: u64 = 50;
/// What failures are called if the settings do not say.
const FAILURES: [&str; 10] = [
    "failure",
    "failed",
    "fail",
    "error",
    "aborted",
    "terminated",
    "timed_out",
    "cancelled",
    "canceled",
    "crashed",
];

/// Looks after jobs.
pub(super) struct Job;

/// What is known of a job.
#[derive(Debug, Default)]
struct Facts {
    /// How people know it.
    name: String,
    /// Its last start.
    started: Option<Timestamp>,
    /// Its last end: absent while it runs.
    ended: Option<Timestamp>,
    /// Its last good end, where history can be asked.
    well_ended: Option<Timestamp>,
    /// How it says it is.
    status: Option<String>,
}

#[async_trait]
impl Source for Job {
    const TYPE: &'static str = "CHECK_JOB";

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let rule = Rule::read(order)?;
        let facts = if let Some(base) = order.settings.text("batchy")? {
            batchy(order, means, &base).await?
        } else if let Some(url) = order.settings.text("url")? {
            status_page(order, means, &url).await?
        } else {
            let name = order.settings.required("schedule")?;
            schedule(means, &name, order).await?
        };
        rule.judge(&facts, order)
    }
}

/// What is asked of a job.
struct Rule {
    /// Milliseconds.
    age_max: Option<i64>,
    /// Whether the age is that of the last start.
    since_start: bool,
    warn_at: f64,
    success: Vec<String>,
    failure: Vec<String>,
}

impl Rule {
    fn read(order: &Order) -> Result<Self, Trouble> {
        let settings = &order.settings;
        let since_start = match settings.text("since")?.as_deref() {
            None | Some("end") => false,
            Some("start") => true,
            Some(other) => {
                return Err(wrong(format!("`since` must be end or start, not {other:?}")));
            }
        };
        let warn_at = settings.text("warn_at")?.map(|text| parse_share(&text)).transpose();
        let mut failure = settings.texts("failure")?;
        if failure.is_empty() {
            failure = FAILURES.map(str::to_owned).to_vec();
        }
        Ok(Self {
            age_max: span(settings, "max_age")?.map(|age| age.as_millis() as i64),
            since_start,
            warn_at: warn_at.map_err(|why| wrong(format!("`warn_at`: {why}")))?.unwrap_or(WARN_AT),
            success: settings.texts("success")?,
            failure,
        })
    }

    fn has_failed(&self, facts: &Facts) -> bool {
        let Some(status) = &facts.status else { return false };
        let among = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(status));
        among(&self.failure)
            || !self.success.is_empty() && facts.ended.is_some() && !among(&self.success)
    }

    fn judge(&self, facts: &Facts, order: &Order) -> Result<Seen, Trouble> {
        let name = &facts.name;
        let failed = self.has_failed(facts);
        let remembered = order.memory.get("job").and_then(Value::as_str) == Some(name);
        let remembered = remembered.then(|| order.memory.get("ended")?.as_i64()).flatten();
        let remembered = remembered.map(Timestamp::from_millis);
        let well_ended = facts.well_ended.or(facts.ended.filter(|_| !failed)).max(remembered);
        let (since, what) = if self.since_start {
            (facts.started, "began")
        } else {
            match facts.ended.max(well_ended) {
                // Nobody has seen it end yet: all that can be said is since when it runs.
                None => (facts.started, "began, and was not yet seen to end,"),
                ended => (ended, "last ended"),
            }
        };
        let age = since.map(|since| order.now.since(since));
        if let (Some(age), Some(since)) = (age, since)
            && age < -SKEW_MAX
        {
            let ahead = words(age);
            return Err(unknown(format!(
                "{name} {what} at {since}, {ahead} in the future: clocks or time zones differ"
            )));
        }
        let age = age.map(|age| age.max(0));
        let ago = |age: i64| format!("{name} {what} {} ago", words(age));
        let (status, text) = match (age, self.age_max) {
            (Some(age), Some(max)) if age >= max => {
                (Status::Fail, format!("{}, more than {}", ago(age), words(max)))
            }
            _ if failed => {
                let status = facts.status.as_deref().unwrap_or_default();
                (Status::Fail, format!("{name} says {status}"))
            }
            (None, Some(_)) => {
                return Err(unknown(format!(
                    "{name} tells neither when it began nor when it ended"
                )));
            }
            (Some(age), Some(max)) if age as f64 >= max as f64 * self.warn_at => {
                let share = (self.warn_at * 100.0).round();
                let max = words(max);
                (Status::Warn, format!("{}, more than {share} % of {max}", ago(age)))
            }
            (Some(age), _) => (Status::Ok, ago(age)),
            (None, None) => match &facts.status {
                Some(status) => (Status::Ok, format!("{name} says {status}")),
                None => return Err(unknown(format!("{name} tells nothing of itself"))),
            },
        };
        let minutes = age.map(|age| age as f64 / 60_000.0);
        let attrs = attrs(json!({
            "job": name, "job_status": facts.status, "age_minutes": minutes,
            "started": facts.started.map(|at| at.to_string()),
            "ended": facts.ended.max(well_ended).map(|at| at.to_string()),
        }));
        let mut seen = Seen::one(status, &text, json!(minutes), attrs);
        let ended = well_ended.map(Timestamp::millis);
        seen.memory = ended.map(|ended| json!({ "job": name, "ended": ended }));
        Ok(seen)
    }
}

fn zone(order: &Order) -> Result<Zone, Trouble> {
    let name = order.settings.text("tz")?.unwrap_or_else(|| "UTC".to_owned());
    Zone::named(&name).map_err(|why| wrong(format!("`tz`: {why}")))
}

async fn fetched(order: &Order, means: &Means, url: &str, who: &str) -> Result<Value, Trouble> {
    let question = Question::new(order, "GET", url)?;
    let response = question.answer(&means.clients.of(order)?, order.patience).await?;
    json_of(&response, who)
}

async fn batchy(order: &Order, means: &Means, base: &str) -> Result<Facts, Trouble> {
    let workflow = order.settings.required("workflow")?;
    let step = order.settings.text("step")?.unwrap_or_else(|| "global".to_owned());
    let zone = zone(order)?;
    let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
    let url = format!("{}/get_status/{workflow}", base.trim_end_matches('/'));
    let body = fetched(order, means, &url, "batchy").await?;
    let Value::Object(steps) = &body else {
        return Err(unknown("batchy answered what is no status"));
    };
    if steps.is_empty() {
        return Err(unknown(format!("batchy knows no workflow {workflow:?}")));
    }
    let Some(status) = steps.get(&step) else {
        let known: Vec<&str> = steps.keys().map(String::as_str).take(20).collect();
        let known = known.join(", ");
        return Err(unknown(format!("batchy's {workflow} has no step {step:?}; it has {known}")));
    };
    let time = |name: &str| moment(status.get(name), &zone, name);
    Ok(Facts {
        started: time("batch_start")?,
        ended: time("batch_end")?,
        well_ended: None,
        status: status.get("status").and_then(scalar),
        name: workflow,
    })
}

/// An instant in an answer; null and nothing are none.
fn moment(value: Option<&Value>, zone: &Zone, name: &str) -> Result<Option<Timestamp>, Trouble> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() || text == "None" => Ok(None),
        Some(value) => match instant(value, zone) {
            Some(instant) => Ok(Some(instant)),
            None => Err(unknown(format!("{name} is no time: {value}"))),
        },
    }
}

async fn status_page(order: &Order, means: &Means, url: &str) -> Result<Facts, Trouble> {
    let read = |name: &str| -> Result<_, Trouble> {
        let text = order.settings.text(name)?;
        path(name, text.as_deref().unwrap_or(name))
    };
    let (started, ended, status) = (read("started")?, read("ended")?, read("status")?);
    let zone = zone(order)?;
    let body = fetched(order, means, url, "the job's URL").await?;
    Ok(Facts {
        name: order.settings.text("workflow")?.unwrap_or_else(|| "the job".to_owned()),
        started: moment(Some(&started.read(&body)), &zone, "the start")?,
        ended: moment(Some(&ended.read(&body)), &zone, "the end")?,
        well_ended: None,
        status: scalar(&status.read(&body)),
    })
}

/// The last runs that a schedule of this server started.
async fn schedule(means: &Means, name: &str, order: &Order) -> Result<Facts, Trouble> {
    let engine = means.engine.get().and_then(WeakEngine::upgrade);
    let engine = engine.ok_or_else(|| unknown("the engine is not there"))?;
    let trouble = |error: &dyn std::fmt::Display| unknown(format!("the store: {error}"));
    let id = ExecutionId::schedule(name);
    let defined = engine
        .look(&id, |state| state.schedule().is_some_and(kernel::schedule::Schedule::is_defined));
    let defined = order.within("the store", async { defined.await.map_err(|e| trouble(&e)) });
    if defined.await? != Some(true) {
        return Err(unknown(format!("there is no schedule {name:?}")));
    }
    let search = RecordSearch {
        subjects: vec![name.to_owned()],
        size: FIRINGS_MAX,
        ..RecordSearch::newest("firing")
    };
    let page = engine.store().records(&search).await.map_err(|error| trouble(&error))?;
    let mut facts = Facts { name: name.to_owned(), ..Facts::default() };
    let mut latest: Option<Run> = None;
    for record in &page.rows {
        let body = record.body.parse();
        let Some(run) = body.get("workflowId").and_then(Value::as_str) else { continue };
        let look = |run: &kernel::graph::Execution| (run.status, run.created_at, run.ended_at);
        let seen = engine.read(&ExecutionId::new(run), look).await;
        // A run that is kept no longer tells nothing.
        let Some((status, began, ended)) = seen.map_err(|error| trouble(&error))? else { continue };
        if facts.started < Some(began) {
            facts.started = Some(began);
            facts.ended = ended;
            latest = Some(status);
        }
        if status == Run::Completed {
            facts.well_ended = facts.well_ended.max(ended);
        }
        if facts.well_ended.is_some() {
            break;
        }
    }
    facts.status = latest.map(|status| status.as_str().to_owned());
    Ok(facts)
}
