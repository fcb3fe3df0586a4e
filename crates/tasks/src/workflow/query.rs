//! `QUERY_PROCESSOR`: asks this server for executions, or Prometheus for a metric, so that a
//! workflow can watch others and ring.
//!
//! Times are given in minutes before now, as Conductor's documentation has it; 0 sets no bound, as
//! in its tutorial on alerts, whose definition writes `"endTimeFrom": 0, "endTimeTo": 0`. A question
//! that can never match (an unknown status, a window that ends before it begins) is refused: an alert
//! that silently never rings is worse than one that fails.

mod metrics;
mod row;

use std::fmt::Write as _;

use async_trait::async_trait;
use engine::search::{Filter, Search, TextField, TimeField};
use engine::{Engine, Handoff, Outcome, Requirement, TaskRunner, WeakEngine};
use kernel::access::Permission;
use kernel::graph::Status;
use kernel::{Json, Timestamp};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Served, Settings, Trouble};
use crate::http;
use crate::input::{Members, completed};
use row::Row;

/// Runs tasks of type `QUERY_PROCESSOR`.
pub struct QueryProcessor {
    served: Served,
    settings: Settings,
    client: http::Client,
}

const TYPE: &str = "QUERY_PROCESSOR";
/// Executions answered, newest first; `totalHits` counts them all.
const ROWS_MAX: u64 = 100;
/// Bytes of inputs and outputs shown together; rows after that come without.
const PAYLOADS_MAX: usize = 1 << 20;

impl QueryProcessor {
    /// A runner that asks Prometheus through `client`.
    pub fn new(settings: Settings, client: http::Client) -> Self {
        Self { served: Served::default(), settings, client }
    }

    async fn answer(&self, task: &Handoff) -> Result<Json, Trouble> {
        let input = Members::of(&task.input)?;
        let engine = self.served.engine()?;
        match input.required("queryType")?.to_ascii_uppercase().as_str() {
            "CONDUCTOR_API" => self.executions(&input, &engine).await,
            "METRICS" => {
                let url = self.settings.prometheus_url.as_deref();
                metrics::ask(&input, url, &self.client, engine.now()).await
            }
            other => Err(Trouble::Lasting(format!(
                "`queryType` must be CONDUCTOR_API or METRICS, not '{other}'"
            ))),
        }
    }

    async fn executions(&self, input: &Members, engine: &Engine) -> Result<Json, Trouble> {
        let question = Question::read(input, engine.now())?;
        let page = engine.store().search(&question.search()).await?;
        let mut room = PAYLOADS_MAX;
        let mut workflows = Vec::with_capacity(page.rows.len());
        for head in &page.rows {
            let row = engine.read(&head.id, |state| Row::of(state, &mut room)).await?;
            workflows.extend(row);
        }
        let url = format!("{}{}", self.settings.base_url.trim_end_matches('/'), question.path());
        Ok(Json::of(&Answer {
            result: Found {
                count: workflows.len(),
                total_hits: page.total,
                workflows_url: &url,
                workflows,
            },
            list_url: &url,
        }))
    }
}

#[async_trait]
impl TaskRunner for QueryProcessor {
    fn task_type(&self) -> &'static str {
        TYPE
    }

    fn attach(&self, engine: WeakEngine) {
        self.served.attach(engine);
    }

    fn requires(&self) -> Requirement {
        Requirement::Everything(Permission::Read)
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        let answer = tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(Trouble::Passing("was cancelled".to_owned())),
            answer = self.answer(&task) => answer,
        };
        answer.map_or_else(|trouble| trouble.outcome(TYPE), completed)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    result: Found<'a>,
    list_url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found<'a> {
    count: usize,
    total_hits: u64,
    workflows_url: &'a str,
    workflows: Vec<Row>,
}

/// What is asked of the executions.
#[derive(Debug, Default)]
struct Question {
    names: Vec<String>,
    correlation_ids: Vec<String>,
    statuses: Vec<String>,
    started: Window,
    ended: Window,
    free_text: Option<String>,
}

/// A span of time, both ends included.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Question {
    fn read(input: &Members, now: Timestamp) -> Result<Self, Trouble> {
        let free_text = input.text("freeText")?;
        Ok(Self {
            names: input.texts("workflowNames")?,
            correlation_ids: input.texts("correlationIds")?,
            statuses: statuses(input)?,
            started: Window::read(input, "startTimeFrom", "startTimeTo", now)?,
            ended: Window::read(input, "endTimeFrom", "endTimeTo", now)?,
            free_text: free_text.filter(|text| text != "*"),
        })
    }

    fn search(&self) -> Search {
        let mut filters = Vec::new();
        let columns = [
            (TextField::Name, &self.names),
            (TextField::CorrelationId, &self.correlation_ids),
            (TextField::Status, &self.statuses),
        ];
        for (field, values) in columns {
            if !values.is_empty() {
                filters.push(Filter::In(field, values.clone()));
            }
        }
        let windows = [(TimeField::Created, self.started), (TimeField::Ended, self.ended)];
        for (field, Window { from, to }) in windows {
            filters.extend(from.map(|at| Filter::After(field, at.plus_millis(-1))));
            filters.extend(to.map(|at| Filter::Before(field, at.plus_millis(1))));
        }
        Search { filters, free_text: self.free_text.clone(), size: ROWS_MAX, ..Search::default() }
            .without_own_runs()
    }

    /// The path under which this server answers the same question to anybody.
    fn path(&self) -> String {
        let mut conditions = Vec::new();
        let columns = [
            ("workflowType", &self.names),
            ("correlationId", &self.correlation_ids),
            ("status", &self.statuses),
        ];
        for (field, values) in columns {
            if !values.is_empty() {
                let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                conditions.push(format!("{field} IN ({})", values.join(",")));
            }
        }
        for (field, window) in [("startTime", self.started), ("endTime", self.ended)] {
            let from = window.from.map(|at| format!("{field} > {}", at.millis() - 1));
            let to = window.to.map(|at| format!("{field} < {}", at.millis() + 1));
            conditions.extend(from.into_iter().chain(to));
        }
        let mut path = "/api/workflow/search?sort=startTime:DESC".to_owned();
        if !conditions.is_empty() {
            path.push_str("&query=");
            push_encoded(&mut path, &conditions.join(" AND "));
        }
        if let Some(text) = &self.free_text {
            path.push_str("&freeText=");
            push_encoded(&mut path, text);
        }
        path
    }
}

impl Window {
    fn read(input: &Members, from: &str, to: &str, now: Timestamp) -> Result<Self, Trouble> {
        let bound = |name: &str| -> Result<Option<Timestamp>, Trouble> {
            let minutes = input.number(name)?.filter(|minutes| *minutes > 0.0);
            Ok(minutes.map(|minutes| before(now, minutes)))
        };
        let window = Self { from: bound(from)?, to: bound(to)? };
        match window {
            Self { from: Some(begin), to: Some(end) } if begin > end => {
                Err(Trouble::Lasting(format!(
                    "nothing can match: `{from}` is later than `{to}`; both are minutes before \
                     now, so the first must be the greater number"
                )))
            }
            window => Ok(window),
        }
    }
}

/// An instant so many minutes before now.
fn before(now: Timestamp, minutes: f64) -> Timestamp {
    now.plus_millis(-((minutes * 60_000.0).min(1e15) as i64))
}

fn statuses(input: &Members) -> Result<Vec<String>, Trouble> {
    let mut statuses = input.texts("statuses")?;
    for status in &mut statuses {
        status.make_ascii_uppercase();
        if !Status::ALL.iter().any(|known| known.as_str() == status) {
            let known = Status::ALL.map(Status::as_str).join(", ");
            return Err(Trouble::Lasting(format!(
                "`statuses` has '{status}', which no workflow ever has; there are {known}"
            )));
        }
    }
    Ok(statuses)
}

/// A value as the query language of searches takes it.
fn quoted(value: &str) -> String {
    if value.contains('\'') { format!("\"{value}\"") } else { format!("'{value}'") }
}

fn push_encoded(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            write!(url, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
}
