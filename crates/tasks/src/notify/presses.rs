//! Buttons under messages of Telegram's: asks each bot for what was pressed (`getUpdates`), so that no
//! address of this server need be public.
//!
//! One question at a time for each bot, however many receivers it has. Nothing of it is stored: Telegram
//! keeps a press for a day until it is told that it was taken, what is asked for again after a restart
//! changes nothing, and what could not be taken is asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::monitors::ApplyError;
use engine::{AckError, Engine};
use kernel::Json;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::bounds;
use super::settings::Settings;
use super::telegram::BASE;
use crate::http::{Client, Request};

/// Pause between two looks at which bots there are.
const LOOK: Duration = Duration::from_secs(10);
/// Seconds for which Telegram holds a question to which there is no answer yet.
const HELD_SECONDS: u64 = 25;
/// Milliseconds for which it may be silent, more than it holds one.
const SILENT_MAX_MS: u64 = 40_000;
/// Milliseconds for a connection.
const CONNECT_MAX_MS: u64 = 10_000;
/// Pause after a question that failed; each further one is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Questions in a row that fail before that is an incident.
const FAILURES_MAX: u32 = 5;
/// Characters of what somebody who pressed is told.
const TOLD_MAX: usize = 200;

/// A bot: where it is asked, and its token. There is no `Debug`: the token is a secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Bot {
    base: String,
    token: String,
}

/// Why a question came to nothing.
struct Trouble {
    reason: String,
    /// How long Telegram wants to be left alone.
    after: Option<Duration>,
}

/// Hears of buttons for as long as the server lives: of every bot of a receiver with `ack: yes`.
pub async fn hear_presses(engine: Engine, client: Client) {
    let mut hearing: BTreeMap<Bot, AbortOnDropHandle<()>> = BTreeMap::new();
    let mut told: BTreeSet<Arc<str>> = BTreeSet::new();
    loop {
        let bots = bots(&engine);
        hearing.retain(|bot, task| bots.contains_key(bot) && !task.is_finished());
        let asked: BTreeSet<Arc<str>> = bots.values().cloned().collect();
        for receiver in told.difference(&asked) {
            is_told(&engine.answers_are_heard(receiver).await);
        }
        told = asked;
        for (bot, receiver) in bots {
            let (engine, client) = (engine.clone(), client.clone());
            hearing.entry(bot.clone()).or_insert_with(|| {
                AbortOnDropHandle::new(tokio::spawn(async move {
                    ask(&engine, &client, &bot, &receiver).await;
                }))
            });
        }
        tokio::select! {
            biased;
            () = engine.stopped() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// The bots, each with the first of its receivers.
fn bots(engine: &Engine) -> BTreeMap<Bot, Arc<str>> {
    let bot = |(name, receiver): (Arc<str>, kernel::alert::definition::Receiver)| {
        let settings = receiver.settings.parse();
        let settings = Settings::new(settings.as_object()?);
        if settings.flag("ack") != Some(true) {
            return None;
        }
        let base = settings.text("base_url").map(|base| engine.setting(&base));
        let base = base.unwrap_or_else(|| Some(BASE.to_owned()))?;
        let token = engine.setting(&settings.text("token")?)?;
        Some((Bot { base: base.trim_end_matches('/').to_owned(), token }, name))
    };
    let mut bots = BTreeMap::new();
    for (bot, name) in engine.receivers_of_kind("telegram").into_iter().filter_map(bot) {
        bots.entry(bot).or_insert(name);
    }
    bots
}

/// Whether an incident says by now what it is to say.
fn is_told(told: &Result<(), ApplyError>) -> bool {
    if let Err(error) = told {
        tracing::warn!(%error, "incident about Telegram buttons could not be updated");
    }
    told.is_ok()
}

/// Asks for presses without end.
async fn ask(engine: &Engine, client: &Client, bot: &Bot, receiver: &str) {
    let (mut offset, mut pause, mut said, mut failures) = (0, PAUSE, None, 0_u32);
    // There may be an incident of before the start.
    let mut has_incident = true;
    loop {
        let asked = json!({
            "offset": offset, "timeout": HELD_SECONDS, "allowed_updates": ["callback_query"],
        });
        let trouble = match bot.call(client, "getUpdates", &asked).await {
            Ok(updates) => take(engine, client, bot, &updates, &mut offset).await.err(),
            Err(trouble) => Some(trouble),
        };
        let Some(Trouble { reason, after }) = trouble else {
            if said.take().is_some() {
                tracing::info!("Telegram is polled for pressed buttons again");
            }
            if has_incident {
                has_incident = !is_told(&engine.answers_are_heard(receiver).await);
            }
            (pause, failures) = (PAUSE, 0);
            continue;
        };
        failures = failures.saturating_add(1);
        if failures >= FAILURES_MAX {
            has_incident = true;
            is_told(&engine.answers_are_unheard(receiver, &reason).await);
        }
        if said.as_ref() != Some(&reason) {
            tracing::warn!(reason, "Telegram could not be polled for pressed buttons");
            said = Some(reason);
        }
        tokio::time::sleep(after.unwrap_or(pause).min(PAUSE_MAX)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Takes what was pressed, in order. `offset` tells Telegram from where on it has not been.
async fn take(
    engine: &Engine,
    client: &Client,
    bot: &Bot,
    updates: &Value,
    offset: &mut i64,
) -> Result<(), Trouble> {
    for update in updates.as_array().into_iter().flatten() {
        let Some(id) = update["update_id"].as_i64() else { continue };
        let query = &update["callback_query"];
        if let (Some(token), Some(query_id)) = (query["data"].as_str(), query["id"].as_str()) {
            let acked = engine.acknowledge_by_token(token, presser(&query["from"])).await;
            let (text, alert) = match acked {
                Ok(acked) if acked.taken > 0 => ("Acknowledged".to_owned(), false),
                Ok(acked) => (acked.why.unwrap_or_default(), true),
                Err(AckError::Engine(error)) => {
                    return Err(Trouble { reason: error.to_string(), after: None });
                }
                Err(error) => (error.to_string(), true),
            };
            let told = json!({
                "callback_query_id": query_id, "text": bounds::chars(&text, TOLD_MAX),
                "show_alert": alert,
            });
            // Who pressed long ago cannot be told any more; it counts all the same.
            if let Err(Trouble { reason, .. }) =
                bot.call(client, "answerCallbackQuery", &told).await
            {
                tracing::debug!(reason, "answer to a pressed Telegram button could not be sent");
            }
        }
        *offset = id.saturating_add(1);
    }
    Ok(())
}

/// The name of whoever pressed.
fn presser(from: &Value) -> Option<Arc<str>> {
    let part = |name: &str| from[name].as_str().map(str::trim).filter(|it| !it.is_empty());
    let name: Vec<&str> = ["first_name", "last_name"].into_iter().filter_map(part).collect();
    let name = if name.is_empty() { part("username")?.to_owned() } else { name.join(" ") };
    Some(bounds::chars(&name, TOLD_MAX).into())
}

impl Bot {
    /// The result of a method. Reasons never bear the address, of which the token is a part.
    async fn call(&self, client: &Client, method: &str, body: &Value) -> Result<Value, Trouble> {
        let trouble = |reason: String| Trouble { reason, after: None };
        let request = Request::parse(&Json::of(&json!({
            "uri": format!("{}/bot{}/{method}", self.base, self.token),
            "method": "POST",
            "headers": {"Content-Type": "application/json"},
            "body": body,
            "acceptedStatusCodes": ["100-599"],
            "connectionTimeOut": CONNECT_MAX_MS,
            "readTimeOut": SILENT_MAX_MS,
        })));
        let request = request.map_err(|problem| trouble(problem.message))?;
        let answer = client.send(&request).await;
        let answer = answer.map_err(|problem| trouble(format!("{method} {}", problem.message)))?;
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if told["ok"] == true {
            return Ok(told["result"].clone());
        }
        let words = told["description"].as_str().unwrap_or("no answer of Telegram's");
        let after = told.pointer("/parameters/retry_after").and_then(Value::as_u64);
        let hint = match answer.status.as_u16() {
            401 | 404 => ": check `token`",
            409 => ": another program asks for this bot's updates, or it has a webhook",
            _ => "",
        };
        let reason = format!("{method} was answered {}: {words}{hint}", answer.status.as_u16());
        Err(Trouble { reason, after: after.map(Duration::from_secs) })
    }
}
