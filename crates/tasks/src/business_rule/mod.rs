//! `BUSINESS_RULE`: what a decision table, a workbook or a CSV file somewhere, says about inputs.
//!
//! The file is fetched as the HTTP task fetches, under the same policy, and from nowhere else: a
//! definition must not read the files of the machine that the server runs on. What was read is kept
//! for `cacheTimeoutMinutes`, as long as the first task that asked for it said.

mod condition;
mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Handoff, Outcome, OutcomeStatus, TaskRunner};
use kernel::Json;
use parking_lot::Mutex;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::http::{self, Client, Request, Response};
use crate::input::{Members, Wrong, wrong};
use crate::limit::TimeLimit;
use table::{Format, Strategy, Table};

/// How long a table is kept if the task does not say, and at most.
const KEPT: Duration = Duration::from_hours(1);
const KEPT_MAX: Duration = Duration::from_hours(30 * 24);
/// Most tables kept.
const TABLES_MAX: usize = 64;
/// Most memory of the tables kept, about. 64 MiB.
const KEPT_WEIGHT_MAX: usize = 2 * table::WEIGHT_MAX;
/// How long the file's server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// Processor time that one evaluation may take.
const EVALUATION_MAX: Duration = Duration::from_secs(5);
const ACCEPTED: &str =
    "text/csv, application/vnd.openxmlformats-officedocument.spreadsheetml.sheet, */*;q=0.5";

/// Runs tasks of type `BUSINESS_RULE`.
pub struct BusinessRule {
    client: Client,
    kept: Mutex<Kept>,
}

impl BusinessRule {
    /// Makes the runner from a client whose connections it shares.
    pub fn new(client: Client) -> Self {
        Self { client, kept: Mutex::default() }
    }

    async fn table(
        &self,
        order: &Order,
        cancelled: &CancellationToken,
    ) -> Result<Arc<Table>, Outcome> {
        if let Some(table) = self.kept.lock().get(&order.location) {
            return Ok(table);
        }
        let response = http::call(&self.client, &order.request, cancelled).await?;
        let format = format(&order.request, &response).map_err(|problem| order.failed(&problem))?;
        let table = aside(move || Table::read(&response.body, format)).await;
        let table = Arc::new(table.map_err(|problem| order.failed(&problem))?);
        Ok(self.kept.lock().keep(&order.location, table, order.kept))
    }
}

#[async_trait]
impl TaskRunner for BusinessRule {
    fn task_type(&self) -> &'static str {
        "BUSINESS_RULE"
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        let order = match Order::parse(&task.input) {
            Ok(order) => order,
            Err(problem) => return http::refused(&problem),
        };
        let table = match self.table(&order, &cancelled).await {
            Ok(table) => table,
            Err(outcome) => return outcome,
        };
        let Order { inputs, outputs, strategy, .. } = order.clone();
        let result = aside(move || {
            table.evaluate(&inputs, &outputs, strategy, TimeLimit::begin(EVALUATION_MAX))
        });
        match result.await {
            Ok(result) => {
                http::completed(Json::of(&json!({ "result": result })), task.async_complete)
            }
            Err(problem) => {
                // Whoever corrects the file should not have to wait until it is read again.
                self.kept.lock().forget(&order.location);
                order.failed(&problem)
            }
        }
    }
}

/// One task's input, read.
#[derive(Clone)]
struct Order {
    location: String,
    request: Request,
    strategy: Strategy,
    inputs: Map<String, Value>,
    outputs: Vec<String>,
    kept: Duration,
}

impl Order {
    fn parse(input: &Json) -> Result<Self, http::Problem> {
        let (location, order) = Members::of(input)
            .and_then(|members| Ok((members.required("ruleFileLocation")?, members)))
            .map_err(refused)?;
        let scheme = location.split_once("://").map(|(scheme, _)| scheme);
        if !scheme.is_some_and(|scheme| {
            ["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme))
        }) {
            return Err(http::Problem::new(
                http::Code::InvalidUri,
                "`ruleFileLocation` must be an http:// or https:// URL: the files of the server's \
                 machine are not read. Serve the file over HTTP, from a bucket for instance, and \
                 give its URL",
            ));
        }
        let get = json!({ "uri": location, "method": "GET", "accept": ACCEPTED });
        let mut request = Request::parse(&Json::of(&get))?;
        request.read_timeout = Some(PATIENCE);
        Self::rest(&order, location, request).map_err(refused)
    }

    fn rest(members: &Members, location: String, request: Request) -> Result<Self, Wrong> {
        let strategy = match members.required("executionStrategy")? {
            text if text.eq_ignore_ascii_case("FIRE_FIRST") => Strategy::First,
            text if text.eq_ignore_ascii_case("FIRE_ALL") => Strategy::All,
            _ => return Err(wrong("executionStrategy", "FIRE_FIRST or FIRE_ALL")),
        };
        let Some(Value::Object(inputs)) = members.get("inputColumns") else {
            return Err(wrong("inputColumns", "an object: the value for each column of inputs"));
        };
        let outputs = members.texts("outputColumns")?;
        if outputs.is_empty() {
            return Err(wrong("outputColumns", "a list of the columns that the task answers with"));
        }
        let minutes = members.number("cacheTimeoutMinutes")?;
        let kept = minutes.map_or(KEPT, |minutes| {
            Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(KEPT_MAX).min(KEPT_MAX)
        });
        Ok(Self { location, request, strategy, inputs: inputs.clone(), outputs, kept })
    }

    /// The task fails because of the file; another attempt may find a better one.
    fn failed(&self, problem: &Problem) -> Outcome {
        let reason = format!("{}: the rule file cannot be used: {}", self.request, problem.message);
        let output = json!({ "error": { "code": problem.code, "message": reason } });
        Outcome { status: OutcomeStatus::Failed, output: Json::of(&output), reason: Some(reason) }
    }
}

fn refused(Wrong(message): Wrong) -> http::Problem {
    http::Problem::new(http::Code::InvalidInput, format!("BUSINESS_RULE: {message}"))
}

/// Why a rule file says nothing.
#[derive(Debug)]
struct Problem {
    code: Code,
    message: String,
}

/// The kinds of problem, as `output.error.code` names them.
#[derive(Clone, Copy, Debug, Serialize)]
enum Code {
    /// It is damaged, or of a kind that is not read.
    #[serde(rename = "RULE_FILE_UNREADABLE")]
    FileUnreadable,
    /// It is beyond a limit.
    #[serde(rename = "RULE_FILE_TOO_LARGE")]
    FileTooLarge,
    /// A cell or a column says what cannot be meant.
    #[serde(rename = "RULE_INVALID")]
    Invalid,
    /// It took too long to evaluate.
    #[serde(rename = "RULE_TOO_SLOW")]
    TooSlow,
}

impl Problem {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Does what takes time where no thread of the runtime is held. Readers of other people's formats
/// may also panic, which is then the file's fault.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Problem::new(Code::FileUnreadable, "it is damaged; reading it broke off"))
    })
}

/// What kind of file an answer holds: its name says so, or else its `Content-Type`.
fn format(request: &Request, response: &Response) -> Result<Format, Problem> {
    let media = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = media.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let media = media.to_ascii_lowercase();
    if media == "text/html" {
        let message = "its server sent a web page (text/html); does the URL need a login?";
        return Err(Problem::new(Code::FileUnreadable, message));
    }
    let path = request.url.path().to_ascii_lowercase();
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("csv") => return Ok(Format::Csv),
        Some("xlsx" | "xlsm" | "xls") => return Ok(Format::Xlsx),
        _ => {}
    }
    match media.as_str() {
        "text/csv" | "application/csv" => Ok(Format::Csv),
        // Some servers call every table so.
        "application/vnd.ms-excel" if !response.body.starts_with(b"PK") => {
            let is_old = response.body.starts_with(b"\xD0\xCF");
            Ok(if is_old { Format::Xlsx } else { Format::Csv })
        }
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
        | "application/vnd.ms-excel" => Ok(Format::Xlsx),
        _ => Err(Problem::new(
            Code::FileUnreadable,
            format!(
                "neither its name (.xlsx, .csv) nor its Content-Type (`{media}`) tells what it is"
            ),
        )),
    }
}

/// The tables that were read, for as long as they are kept.
#[derive(Default)]
struct Kept(HashMap<String, Entry>);

struct Entry {
    table: Arc<Table>,
    until: Instant,
}

impl Kept {
    fn get(&self, location: &str) -> Option<Arc<Table>> {
        let entry = self.0.get(location).filter(|entry| Instant::now() < entry.until)?;
        Some(Arc::clone(&entry.table))
    }

    fn forget(&mut self, location: &str) {
        self.0.remove(location);
    }

    /// Keeps a table, unless another task was faster; answers the one that counts.
    fn keep(&mut self, location: &str, table: Arc<Table>, time: Duration) -> Arc<Table> {
        let now = Instant::now();
        self.0.retain(|_, entry| now < entry.until);
        if let Some(entry) = self.0.get(location) {
            return Arc::clone(&entry.table);
        }
        let weight = |location: &String, table: &Table| location.len() + table.weight;
        let mut sum: usize = self.0.iter().map(|(key, entry)| weight(key, &entry.table)).sum();
        let location = location.to_owned();
        sum += weight(&location, &table);
        while self.0.len() >= TABLES_MAX || sum > KEPT_WEIGHT_MAX {
            let first = self.0.iter().min_by_key(|(_, entry)| entry.until);
            let Some(key) = first.map(|(key, _)| key.clone()) else { break };
            if let Some(entry) = self.0.remove(&key) {
                sum -= weight(&key, &entry.table);
            }
        }
        if sum <= KEPT_WEIGHT_MAX {
            let entry = Entry { table: Arc::clone(&table), until: now + time };
            self.0.insert(location, entry);
        }
        table
    }
}
