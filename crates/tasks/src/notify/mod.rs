//! `NOTIFY`: tells one receiver of one notification, and judges by what it answers whether it knows.
//!
//! Input: `{"kind": "slack", "settings": {…}, "receiver": "noc", "notification": {…}}`. Settings are
//! those of a receiver in a file of monitors; the notification is what a monitor makes, or as little
//! as `{"title": "The disk is full"}`, with `text`, `severity` (`info`, `warning`, `error`,
//! `critical`), `event` (`trigger`, `acknowledge`, `resolve`, `reminder`, `escalation`, `test`) and
//! `dedup_key` where they matter. A test send is the event `test`.
//!
//! Output: `{"reference", "status", "response", "requests"}`: what the service calls the message or
//! alert, its last status, the beginning of its last answer, and how many requests were sent.
//!
//! What it promises:
//!
//! - **Success is what the service says, not what its status says**: each kind has a function that
//!   reads status *and* body. See [`Verdict`].
//! - **At least once, and once where it can be**: an attempt that nobody knows the end of is
//!   repeated. Services with a key of deduplication see one alert nevertheless; what they took in an
//!   earlier attempt is not sent again by the same process, so a group of many members that fails in
//!   the middle goes on there. Services without a key may then show a message twice.
//! - **One server of several pages**, where they share a place for it: see [`crate::claims`].
//! - **One message about a group in a chat; one request for each member where alerts have keys.**
//! - **Bounded**: 10 seconds for each call, texts cut to what each service takes, 2 KiB of its answer
//!   kept. Redirects are not followed: a page goes where the settings say and nowhere else.

mod bounds;
mod datadog;
mod deliver;
mod discord;
mod email;
mod inbox;
mod kind;
mod lark;
mod notification;
mod ntfy;
mod opsgenie;
mod pagerduty;
mod settings;
mod sharing;
mod slack;
mod squadcast;
mod teams;
mod telegram;
mod verdict;
mod webhook;
mod wording;

use std::sync::OnceLock;

use async_trait::async_trait;
use engine::{Handoff, Outcome, TaskRunner, WeakEngine};
use jiff::Timestamp;
use kernel::alert::definition::Remark;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::claims::Shared;
use crate::http::{self, Client, Code, Problem};
use deliver::{Delivery, Taken};
use kind::{Order, Way};
use notification::Notification;
use settings::Settings;
use sharing::Sharing;

pub use kind::Call;
pub use verdict::{Answer, Verdict};

/// Runs tasks of type `NOTIFY`.
pub struct Notify {
    client: Client,
    engine: OnceLock<WeakEngine>,
    taken: Taken,
    claims: Shared,
}

/// The input as it is written.
#[derive(Deserialize)]
struct Input {
    kind: String,
    #[serde(default)]
    settings: Option<Map<String, Value>>,
    #[serde(default)]
    receiver: Option<String>,
    #[serde(default)]
    notification: Value,
}

impl Notify {
    /// Makes the runner from a client whose connections it shares; contacts nobody.
    pub fn new(client: Client) -> Self {
        Self { client, engine: OnceLock::new(), taken: Taken::default(), claims: Shared::default() }
    }

    /// The same, which shares pages with other servers.
    pub(crate) fn sharing(self, claims: Shared) -> Self {
        Self { claims, ..self }
    }

    async fn deliver(
        &self,
        task: &Handoff,
        cancelled: &CancellationToken,
    ) -> Result<Outcome, String> {
        let input: Input = serde_json::from_str(task.input.text())
            .map_err(|error| format!("The NOTIFY task's input cannot be used: {error}"))?;
        let notification = Notification::read(&input.notification)?;
        let map = input.settings.unwrap_or_default();
        let id = format!("{}/{}", task.execution_id, task.reference);
        let order = Order {
            kind: &input.kind,
            settings: Settings::new(&map),
            receiver: input.receiver.as_deref().unwrap_or_default(),
            notification: &notification,
            id: &id,
            now_ms: Timestamp::now().as_millisecond(),
        };
        let kind = kind::find(&input.kind)?;
        let wrong = kind::problems(&input.kind, &Value::Object(map.clone()));
        if !wrong.is_empty() {
            return Err(format!("the receiver's settings are wrong: {}", wrong.join("; ")));
        }
        let attempt = format!("{id}#{}", bounds::hashed(task.input.text()));
        let claims = self.claims.get();
        let sharing = claims.as_deref().and_then(|claims| Sharing::of(claims, &order));
        let delivery = Delivery::new(&order, &self.taken, attempt).shared(sharing);
        let tally = match &kind.way {
            Way::Calls { build, judge } => {
                let calls = build(&order)?;
                delivery.call(&self.client, calls, *judge, cancelled).await
            }
            Way::Mail => email::send(&delivery, &order, cancelled).await?,
            Way::Inbox => {
                let engine = self.engine.get().and_then(WeakEngine::upgrade);
                inbox::put(&order, engine.as_ref()).await
            }
            Way::Workflow => {
                return Err("a receiver of the kind workflow is started, not notified: use a \
                            START_WORKFLOW or SUB_WORKFLOW task"
                    .to_owned());
            }
        };
        Ok(delivery.outcome(tally, task.async_complete))
    }
}

#[async_trait]
impl TaskRunner for Notify {
    fn task_type(&self) -> &'static str {
        "NOTIFY"
    }

    fn attach(&self, engine: WeakEngine) {
        // There is one engine; a second one would have runners of its own.
        drop(self.engine.set(engine));
    }

    fn judge(&self, input: &Value) -> Vec<Remark> {
        let kind = input.get("kind").and_then(Value::as_str).unwrap_or_default();
        remarks(kind, input.get("settings").unwrap_or(&Value::Null))
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        Box::pin(self.deliver(&task, &cancelled))
            .await
            .unwrap_or_else(|problem| http::refused(&Problem::new(Code::InvalidInput, problem)))
    }
}

/// What there is to say of the settings of a receiver of that kind: nothing, if they are as they
/// should be. Texts such as `${secret:NAME}` are judged when they are known.
pub fn remarks(kind: &str, settings: &Value) -> Vec<Remark> {
    kind::remarks(kind, settings)
}

/// The requests that tell a receiver of a notification; contacts nobody.
///
/// `delivery` names the delivery, the same over its attempts; `now_ms` is in milliseconds since 1970.
///
/// # Errors
/// Why there is nothing that could be sent, in a sentence.
pub fn calls(
    kind: &str,
    settings: &Map<String, Value>,
    receiver: &str,
    notification: &Value,
    delivery: &str,
    now_ms: i64,
) -> Result<Vec<Call>, String> {
    let notification = &Notification::read(notification)?;
    let settings = Settings::new(settings);
    let order = Order { kind, settings, receiver, notification, id: delivery, now_ms };
    match &kind::find(kind)?.way {
        Way::Calls { build, .. } => build(&order),
        Way::Mail | Way::Inbox | Way::Workflow => Ok(Vec::new()),
    }
}

/// What an answer to one of those requests means; only that it is none if the kind makes no calls.
///
/// # Errors
/// Which kinds there are.
pub fn judge(
    kind: &str,
    settings: &Map<String, Value>,
    answer: &Answer,
) -> Result<Verdict, String> {
    match &kind::find(kind)?.way {
        Way::Calls { judge, .. } => Ok(judge(Settings::new(settings), answer)),
        Way::Mail | Way::Inbox | Way::Workflow => Err(format!("{kind} makes no calls")),
    }
}
