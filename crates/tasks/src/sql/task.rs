//! `JDBC`: a statement on a database as a task, in the form that Conductor gave it.

use async_trait::async_trait;
use engine::{Handoff, Outcome, Requirement, TaskRunner};
use kernel::Json;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Databases, Error, query, update};
use crate::input::{Members, Wrong, completed, failed, failed_for_good, wrong};

/// Runs tasks of type `JDBC`.
///
/// Nothing of JDBC is in it: the name is Conductor's. An update may be done twice if the server
/// dies between its commit and ours; a statement that must not be takes the task's id
/// (`${CPEWF_TASK_ID}`) as a key.
pub struct Jdbc(Databases);

const TYPE: &str = "JDBC";

impl Jdbc {
    pub(crate) fn new(databases: Databases) -> Self {
        Self(databases)
    }

    async fn work(&self, task: &Handoff) -> Result<Json, Error> {
        let Work { connection, statement, parameters, kind } = Work::read(&task.input)?;
        self.0.allows(&connection, matches!(kind, Kind::Update { .. }))?;
        let connection = self.0.get(&connection).await?;
        let limits = self.0.limits();
        let output = match kind {
            Kind::Select => {
                let rows = query(&connection, &statement, &parameters, limits).await?;
                json!({ "result": rows })
            }
            Kind::Update { expected } => {
                let changed =
                    update(&connection, &statement, &parameters, expected, limits).await?;
                json!({ "update_count": changed })
            }
        };
        Ok(Json::of(&output))
    }
}

#[async_trait]
impl TaskRunner for Jdbc {
    fn task_type(&self) -> &'static str {
        TYPE
    }

    fn requires(&self) -> Requirement {
        Requirement::OwnRun
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        let answer = tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(Error::Failed("was cancelled".to_owned())),
            answer = self.work(&task) => answer,
        };
        match answer {
            Ok(output) => completed(output),
            Err(Error::Invalid(reason)) => failed_for_good(format!("{TYPE}: {reason}")),
            Err(Error::Failed(reason)) => failed(format!("{TYPE}: {reason}")),
        }
    }
}

/// What an input asks for.
struct Work {
    connection: String,
    statement: String,
    parameters: Vec<Value>,
    kind: Kind,
}

enum Kind {
    Select,
    Update { expected: Option<u64> },
}

impl Work {
    fn read(input: &Json) -> Result<Self, Wrong> {
        let input = Members::of(input)?;
        let mut connection = None;
        for name in ["integrationName", "connectionId", "connection"] {
            connection = connection.or(input.text(name)?);
        }
        let parameters = match input.get("parameters") {
            None => Vec::new(),
            Some(Value::Array(list)) => list.clone(),
            Some(_) => return Err(wrong("parameters", "a list")),
        };
        Ok(Self {
            connection: connection
                .ok_or_else(|| Wrong("`integrationName` is missing: which database?".to_owned()))?,
            statement: input.required("statement")?,
            parameters,
            kind: Kind::read(&input)?,
        })
    }
}

impl Kind {
    fn read(input: &Members) -> Result<Self, Wrong> {
        let text = input.required("type")?;
        match text.to_ascii_uppercase().as_str() {
            "SELECT" => Ok(Self::Select),
            "UPDATE" | "INSERT" | "DELETE" | "INSERT/UPDATE/DELETE" => {
                let (new, old) =
                    (input.count("expectedUpdateCount")?, input.count("expectedOutputCount")?);
                Ok(Self::Update { expected: new.or(old) })
            }
            _ => Err(wrong("type", &format!("SELECT or UPDATE, not '{text}'"))),
        }
    }
}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        Self::Invalid(wrong.0)
    }
}
