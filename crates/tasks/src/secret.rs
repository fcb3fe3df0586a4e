//! `UPDATE_SECRET`: stores a value, such as a refreshed token, as a named secret.
//!
//! What it writes stands under `_secrets`, as `secretKey` and `secretValue`. It has no output, and
//! what it says of a failure never repeats the value.

use std::sync::OnceLock;

use async_trait::async_trait;
use engine::vault::{Shelf, VaultError};
use engine::{Handoff, Outcome, OutcomeStatus, Requirement, TaskRunner, WeakEngine};
use kernel::Json;
use kernel::access::Permission;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Stores secrets in the vault of the engine it serves.
#[derive(Default)]
pub struct UpdateSecret {
    engine: OnceLock<WeakEngine>,
}

#[async_trait]
impl TaskRunner for UpdateSecret {
    fn task_type(&self) -> &'static str {
        "UPDATE_SECRET"
    }

    fn attach(&self, engine: WeakEngine) {
        // Set once; a second engine would be a mistake of whoever wires, and changes nothing.
        let _ = self.engine.set(engine);
    }

    fn requires(&self) -> Requirement {
        Requirement::Everything(Permission::WriteSecrets)
    }

    async fn run(&self, task: Handoff, _cancelled: CancellationToken) -> Outcome {
        let input = task.input.parse();
        let (name, value) = match pieces(&input) {
            Ok(pieces) => pieces,
            Err(missing) => return ended(OutcomeStatus::FailedTerminally, Some(missing)),
        };
        let Some(engine) = self.engine.get().and_then(WeakEngine::upgrade) else {
            let reason = "the server is shutting down".to_owned();
            return ended(OutcomeStatus::Failed, Some(reason));
        };
        match engine.vault().put(Shelf::Secrets, &name, &value).await {
            Ok(()) => ended(OutcomeStatus::Completed, None),
            Err(error @ VaultError::Store(_)) => {
                ended(OutcomeStatus::Failed, Some(error.to_string()))
            }
            Err(error) => ended(OutcomeStatus::FailedTerminally, Some(error.to_string())),
        }
    }
}

/// Name and value of the secret, or what is missing.
fn pieces(input: &Value) -> Result<(String, String), String> {
    let secrets = &input["_secrets"];
    let piece = |member: &str| match &secrets[member] {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Null | Value::String(_) => {
            Err(format!("UPDATE_SECRET needs '{member}' under '_secrets' in its input"))
        }
        // A number is itself, a document is stored as JSON.
        other => Ok(other.to_string()),
    };
    Ok((piece("secretKey")?, piece("secretValue")?))
}

fn ended(status: OutcomeStatus, reason: Option<String>) -> Outcome {
    Outcome { status, output: Json::empty_object(), reason }
}
