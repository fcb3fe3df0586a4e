//! Webhooks of files: what `--load` and projects define, compare and remove.

use std::sync::Arc;

use engine::{Authored, Change, Engine};
use kernel::definition::{Problem as Flaw, read_each};
use kernel::editor;
use serde_json::{Value, json};

use super::{COUNT_MAX, KIND, Verifier, Webhook, all, is_reference, receive, secret};
use crate::problem::Problem;

/// Characters of the id of a webhook of a file.
const ID_MAX: usize = 100;

/// Whether a document is a webhook rather than another definition.
pub fn is_webhook(document: &Value) -> bool {
    document.get("verifier").is_some() && document.get("tasks").is_none()
}

impl Webhook {
    /// Its id, which is the end of its address.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The workflows that it starts.
    pub fn started(&self) -> impl Iterator<Item = &str> {
        self.starts().0.into_iter().map(|(name, _)| name.as_str())
    }
}

/// Reads a webhook or a list of them as files hold them. Each has an `id`, as senders know its address
/// by it; its secret is a reference to one, never the secret itself.
///
/// # Errors
/// Everything that is wrong. Pointers begin with the index in a list.
pub fn read_webhooks(text: &str) -> Result<Vec<Webhook>, Vec<Flaw>> {
    read_each(text, of_file)
}

fn of_file(value: Value) -> Result<Webhook, Box<Flaw>> {
    let hook: Webhook = serde_json::from_value(value).map_err(|error| {
        let hint = format!("The verifiers are {}.", Verifier::NAMES);
        Box::new(Flaw::new("", "invalid-webhook", format!("the webhook: {error}"), hint))
    })?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if hook.id.is_empty() || hook.id.len() > ID_MAX || !hook.id.bytes().all(is_plain) {
        let message = format!("{:?} cannot be the id of a webhook", hook.id);
        let hint = format!(
            "Payloads go to /webhook/ID, so a file says the id: letters, digits, - and _, at most \
             {ID_MAX}."
        );
        return Err(Flaw::new("/id", "invalid-webhook", message, hint).into());
    }
    let given = hook.secret_value.as_deref().filter(|it| !it.is_empty() && *it != secret::HIDDEN);
    if given.is_some_and(|it| !is_reference(it)) {
        let message = "secretValue holds the secret itself, which no file should";
        let hint =
            "Write it with `nightbell secret put NAME`, and here \"${workflow.secrets.NAME}\".";
        return Err(Flaw::new("/secretValue", "secret-in-file", message, hint).into());
    }
    let hint = "See the webhook's members in the API reference.";
    hook.judge().map_err(|why| Flaw::new("", "invalid-webhook", why, hint))?;
    Ok(Webhook { webhook_execution_history: None, created_by: None, ..hook })
}

/// Those of the webhooks that are new or different, as they are to be stored.
///
/// # Errors
/// 409 if there would be too many; the store's.
pub(crate) async fn differing(
    engine: &Engine,
    hooks: Vec<Webhook>,
) -> Result<Vec<Webhook>, Problem> {
    if hooks.is_empty() {
        return Ok(hooks);
    }
    let present = all(engine).await?;
    let mut differing = Vec::new();
    for hook in hooks {
        let former = present.get(&hook.id);
        let hook = hook.checked(engine, former)?.in_place_of(former);
        let hook = Webhook { created_by: former.and_then(|it| it.created_by.clone()), ..hook };
        if former != Some(&hook) {
            differing.push(hook);
        }
    }
    let new = differing.iter().filter(|it| !present.contains_key(&it.id)).count();
    if present.len() + new > COUNT_MAX {
        let message = format!("there would be more than {COUNT_MAX} webhooks");
        return Err(Problem::conflict(message).with_hint("Delete some first."));
    }
    Ok(differing)
}

/// The change that defines webhooks, as [`differing`] answered them.
pub(crate) fn prepare(hooks: &[Webhook], mut change: Change) -> Change {
    for hook in hooks {
        let text = serde_json::to_string(hook).expect("a webhook serializes to JSON");
        change.documents.push((KIND, hook.id.clone(), text));
        change.authored.push((Authored::Webhook, Arc::from(hook.id.as_str())));
    }
    change
}

/// What a webhook is defined to be: without what came to it. `None` if there is none.
///
/// # Errors
/// The store's.
pub(crate) async fn document_of(engine: &Engine, id: &str) -> Result<Option<Value>, Problem> {
    let hook = all(engine).await?.get(id).cloned();
    Ok(hook.map(|hook| {
        let defined = Webhook { url_verified: false, created_by: None, ..hook };
        serde_json::to_value(defined).expect("a webhook serializes to JSON")
    }))
}

/// Removes a webhook and its history; `false` if there was none.
///
/// # Errors
/// The store's.
pub(crate) async fn remove(engine: &Engine, id: &str) -> Result<bool, Problem> {
    let found = engine.catalogue().delete(KIND, id).await?;
    engine.forget_author(Authored::Webhook, id).await?;
    receive::forget(engine, id).await?;
    Ok(found)
}

/// The schema of a file of webhooks for editors: one, or a list.
pub fn webhook_schema() -> Value {
    let text = || json!({ "type": "string" });
    let verifiers: Vec<&str> =
        Verifier::NAMES.split(", ").flat_map(|names| names.split(" and ")).collect();
    let version = json!({ "type": ["integer", "string", "null"] });
    let hook = editor::nullable_record(
        [
            ("name", text()),
            ("id", json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$" })),
            ("receiverWorkflowNamesToVersions", editor::table(&version)),
            ("workflowsToStart", editor::table(&json!({}))),
            ("sourcePlatform", text()),
            ("verifier", editor::word(&verifiers)),
            ("headerKey", text()),
            ("headers", editor::table(&text())),
            ("secretValue", text()),
            ("replayWindowSeconds", json!({ "type": "integer", "minimum": 0, "maximum": 86_400 })),
            ("urlVerified", json!({ "type": "boolean" })),
            ("createdBy", text()),
            ("webhookExecutionHistory", json!({})),
        ],
        &["name", "id", "verifier"],
    );
    let root = editor::one_or_list(&editor::reference("webhook"));
    editor::document("Nightbell: webhooks", root, vec![("webhook", hook)])
}
