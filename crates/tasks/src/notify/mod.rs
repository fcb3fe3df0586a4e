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
//!   earlier attempt, or refused for good, is not sent again by the same process, so a group of many
//!   members that fails in the middle goes on there. Services without a key may then show a message twice.
//! - **One server of several pages**, where they share a place for it: see [`crate::page_dedup`].
//! - **One message about a group in a chat; one request for each member where alerts have keys.**
//! - **Bounded**: 10 seconds for each call, texts cut to what each service takes, 2 KiB of its answer
//!   kept. Redirects are not followed: a page goes where the settings say and nowhere else.

mod accepts;
mod bounds;
mod datadog;
mod deliver;
mod discord;
mod email;
mod idle;
mod inbox;
mod kind;
mod lark;
mod mattermost;
mod notification;
mod ntfy;
mod opsgenie;
mod outlet;
mod pace;
mod pagerduty;
mod presses;
mod settings;
mod sharing;
mod slack;
mod squadcast;
mod summary;
mod teams;
mod telegram;
mod twilio;
mod verdict;
mod webhook;
mod wording;

use std::sync::{Arc, Once, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use engine::{AnyMachine, AttemptOutcome, Handoff, Outcome, Requirement, TaskRunner, WeakEngine};
use kernel::alert::definition::{Rate, Remark};
use kernel::alert::{NotificationEvent, since_then};
use kernel::{ExecutionId, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::http::{self, Client, Code, Problem};
use crate::page_dedup::Shared;
use deliver::{Delivery, Settled, Tally};
use kind::{Home, Kind, Order, Way};
use notification::Notification;
use pace::{Ended, Entry, Line, Lines, spread};
use settings::Settings;
use sharing::Sharing;

pub use kind::Call;
pub use outlet::{Outlet, Sent};
pub use presses::hear_presses;
pub use verdict::{Answer, Verdict};

/// The settings of a kind of receiver, as a JSON schema for editors.
pub fn settings_schema(kind: &str) -> Option<Value> {
    kind::schema(kind)
}

/// Events whose messages can be answered.
const ANSWERED: [NotificationEvent; 3] =
    [NotificationEvent::Trigger, NotificationEvent::Escalation, NotificationEvent::Reminder];
/// Changes of each kind that a message tells.
const CHANGES_MAX: usize = 5;

/// Runs tasks of type `NOTIFY`.
pub struct Notify {
    client: Client,
    engine: OnceLock<WeakEngine>,
    settled: Settled,
    claims: Shared,
    lines: Lines,
    home: Home,
    outlet: Option<Arc<dyn Outlet>>,
    /// Whether the log has said that messages bear no links because nobody said where people find this
    /// server.
    told_of_links: Once,
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
    /// What only deliveries of monitors have: they stand in their receiver's line.
    #[serde(default)]
    delivery: Option<Managed>,
}

/// How a delivery of a monitor is made.
#[derive(Deserialize)]
struct Managed {
    /// The receiver's own rate.
    #[serde(default)]
    rate: Option<Rate>,
    /// The secrets that the settings speak of; null if one is not set.
    #[serde(default)]
    secrets: Map<String, Value>,
}

impl Notify {
    /// Makes the runner from a client whose connections it shares; contacts nobody.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            engine: OnceLock::new(),
            settled: Settled::default(),
            claims: Shared::default(),
            lines: Lines::default(),
            home: Home::here(""),
            outlet: None,
            told_of_links: Once::new(),
        }
    }

    /// The same for tests: somebody answers its requests in the place of the network, and nothing of
    /// it depends on the machine.
    #[must_use]
    pub fn answered_by(self, outlet: Arc<dyn Outlet>) -> Self {
        Self { outlet: Some(outlet), home: Home::default(), ..self }
    }

    /// The same, whose messages lead people to this address of the server.
    pub(crate) fn linked(self, public_url: &str) -> Self {
        Self { home: Home::here(public_url), ..self }
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
        let mut input: Input = serde_json::from_str(task.input.text())
            .map_err(|error| format!("The NOTIFY task's input cannot be used: {error}"))?;
        let span = Span::current();
        if !span.is_disabled() {
            let incident = input.notification.get("incident").and_then(Value::as_str);
            span.record("receiver", input.receiver.as_deref()).record("incident", incident);
        }
        // What was said is what makes an attempt the same; what has changed is looked up each time.
        let said = bounds::hashed(&input.notification.to_string());
        if let Some(changes) = self.changes(&input.notification).await {
            input.notification["changed"] = changes.into();
        }
        let map = input.settings.unwrap_or_default();
        if let Some(token) = self.ack_token(Settings::new(&map), &input.notification) {
            match &*self.home.public_url {
                "" => self.told_of_links.call_once(|| {
                    let receiver = input.receiver.as_deref().unwrap_or_default();
                    tracing::warn!(
                        receiver,
                        "`ack: yes` puts no links into messages while public_url is not set"
                    );
                }),
                url => input.notification["ack_url"] = format!("{url}/a/{token}").into(),
            }
            input.notification["ack_token"] = token.into();
        }
        let notification = Notification::read(&input.notification)?;
        let id = format!("{}/{}", task.execution_id, task.reference);
        let order = Order {
            kind: &input.kind,
            settings: Settings::new(&map),
            receiver: input.receiver.as_deref().unwrap_or_default(),
            notification: &notification,
            id: &id,
            now_ms: crate::clock::now().millis(),
            home: &self.home,
        };
        let kind = kind::find(&input.kind)?;
        if let Some(unset) = input.delivery.as_ref().and_then(Managed::unset) {
            return Err(order.told(&format!(
                "the secret {unset} is not set. Set it (`nightbell secret put {unset}`), then send \
                 what was given up: `nightbell receiver resend {}`",
                order.receiver
            )));
        }
        let wrong = kind::problems(&input.kind, &Value::Object(map.clone()));
        if !wrong.is_empty() {
            let wrong = format!("the receiver's settings are wrong: {}", wrong.join("; "));
            return Err(order.told(&wrong));
        }
        let attempt = format!("{id}#{said}");
        let order = Making { kind, order, attempt, waits: task.async_complete, cancelled };
        match input.delivery.filter(|_| !order.order.receiver.is_empty()) {
            None => self
                .make(&order, None)
                .await
                .map(|tally| finish(&order, &self.settled, tally, None)),
            Some(managed) => self.in_line(&order, &managed).await,
        }
    }

    /// The token by which whoever reads the message may acknowledge, if the receiver lets them and
    /// there is something to acknowledge.
    fn ack_token(&self, settings: Settings<'_>, notification: &Value) -> Option<String> {
        let event = notification.get("event").and_then(Value::as_str).unwrap_or_default();
        let calls_for_it = ANSWERED.iter().any(|it| it.as_str() == event);
        if settings.flag("ack") != Some(true) || !calls_for_it {
            return None;
        }
        if self.outlet.is_some() {
            return Some("TOKEN".to_owned());
        }
        self.engine.get().and_then(WeakEngine::upgrade)?.ack_token(notification)
    }

    /// What differs between what was seen now and the last check in which it was well, in the row and
    /// in the definition; absent if nobody knows of such a check.
    async fn changes(&self, notification: &Value) -> Option<Vec<String>> {
        /// What differs each time, or is told anyway.
        const NO_NEWS: [&str; 5] = ["ms", "text", "body", "failed", "value"];
        let text = |pointer: &str| notification.pointer(pointer).and_then(Value::as_str);
        let (monitor, incident) = (text("/monitor")?, text("/incident")?);
        let well = ExecutionId::new(text("/provenance/previous_ok/execution")?);
        let engine = self.engine.get().and_then(WeakEngine::upgrade)?;
        let returned = engine.read(&well, |it| it.output.clone()).await.ok().flatten();
        let compare = |hosted: &AnyMachine| {
            let monitor = hosted.monitor()?;
            Some(since_then(monitor, monitor.incident(incident)?, &returned?))
        };
        let monitor = ExecutionId::monitor(monitor);
        let row = engine.look(&monitor, compare).await.ok().flatten().flatten();
        let is_news = |change: &String| {
            let name = change.split(' ').next().unwrap_or_default();
            !NO_NEWS.contains(&name)
        };
        let mut changes: Vec<String> =
            row.unwrap_or_default().into_iter().filter(is_news).take(CHANGES_MAX).collect();
        match notification.get("definition_changed")?.as_array()?.as_slice() {
            [] => changes.push("definition unchanged".to_owned()),
            told => changes.extend(told.iter().filter_map(settings::plain).take(CHANGES_MAX)),
        }
        Some(changes)
    }

    /// Makes a delivery of a monitor when it is its turn.
    async fn in_line(&self, making: &Making<'_>, managed: &Managed) -> Result<Outcome, String> {
        let Making { kind, order, attempt, .. } = making;
        let line = self.lines.of(order.receiver, kind.pace.at(managed.rate));
        let name = order.notification.text("delivery").unwrap_or_else(|| attempt.clone());
        if let Some(before) = order.notification.text("follows") {
            line.follow(&before).await;
        }
        // Who tests a receiver has just put it right, or wants to know: the test goes at once.
        let entry = if order.notification.event == NotificationEvent::Test {
            Entry::Go(line.pass())
        } else {
            let says = summary::line(order);
            line.enter(attempt, &says, jitter(attempt, order.now_ms)).await
        };
        let permit = match entry {
            Entry::Go(permit) => permit,
            Entry::Later { after, before } => {
                line.tried(&name);
                let note = format!("it waits its turn; {before} are before it");
                return Ok(deliver::later(
                    Map::from_iter([("note".to_owned(), note.into())]),
                    after,
                ));
            }
            Entry::Sent(with) => {
                line.tried(&name);
                let note = format!("told in one message together with {with} others");
                let output = json!({ "reference": null, "requests": 0, "note": note });
                return Ok(http::completed(Json::of(&output), making.waits));
            }
        };
        let made = if permit.others.is_empty() {
            self.make(making, Some(line.clone())).await
        } else {
            self.tell_together(making, &permit.others).await
        };
        let ended = made.as_ref().map_or(Ended::Refused, Tally::ended);
        let (broken, pause) = line.leave(permit, attempt, &ended);
        line.tried(&name);
        if let Ended::NotNow { reason, .. } = &ended
            && let Some(engine) = self.engine.get().and_then(WeakEngine::upgrade)
        {
            engine.delivery_failed(order.receiver, reason, broken);
        }
        let pause = spread(pause, jitter(attempt, order.now_ms)).max(Duration::from_secs(1));
        Ok(finish(making, &self.settled, made?, Some(pause)))
    }

    /// Tells a delivery together with what others say, as one message.
    async fn tell_together(
        &self,
        making: &Making<'_>,
        others: &[(String, String)],
    ) -> Result<Tally, String> {
        let order = &making.order;
        let lines: Vec<String> = std::iter::once(summary::line(order))
            .chain(others.iter().map(|(_, says)| says.clone()))
            .collect();
        let together = Notification::read(&summary::of(order, &lines))?;
        let settings = order.settings.without(&summary::OWN_WORDS);
        let id = format!("{}/summary/{}", order.id, bounds::hashed(&lines.join("\n")));
        let order = Order {
            notification: &together,
            settings: Settings::new(&settings),
            id: &id,
            ..*order
        };
        let attempt = format!("{}#{id}", making.attempt);
        let making = Making { order, attempt, ..*making };
        self.make(&making, None).await
    }

    /// Makes a delivery now, and tells how long that took.
    async fn make(&self, making: &Making<'_>, line: Option<Arc<Line>>) -> Result<Tally, String> {
        let begun = Instant::now();
        let made = self.send(making, line).await;
        let told = match made.as_ref().map_or(Ended::Refused, Tally::ended) {
            Ended::Taken => AttemptOutcome::Accepted,
            Ended::NotNow { .. } => AttemptOutcome::Failed,
            Ended::Refused => AttemptOutcome::Refused,
        };
        if let Some(engine) = self.engine.get().and_then(WeakEngine::upgrade) {
            engine.delivery_tried(told, begun.elapsed());
        }
        made
    }

    async fn send(&self, making: &Making<'_>, line: Option<Arc<Line>>) -> Result<Tally, String> {
        let Making { kind, order, attempt, cancelled, .. } = making;
        let claims = self.claims.get();
        let sharing = claims.as_deref().and_then(|claims| Sharing::of(claims, order));
        let delivery =
            Delivery::new(order, &self.settled, attempt.clone()).shared(sharing).in_line(line);
        let delivery = delivery.answered_by(self.outlet.as_deref());
        let tally = match &kind.way {
            Way::Calls { build, judge } => {
                let calls = build(order)?;
                delivery.call(&self.client, calls, judge, cancelled).await
            }
            Way::Mail => email::send(&delivery, order, self.client.dialer(), cancelled).await?,
            Way::Inbox => {
                if self.outlet.is_some() {
                    delivery.stand_in(&inbox::call(order), Answer::default()).await;
                }
                let engine = self.engine.get().and_then(WeakEngine::upgrade);
                inbox::put(order, engine.as_ref()).await
            }
            Way::Workflow => {
                return Err("a receiver of the kind workflow is started, not notified: use a \
                            START_WORKFLOW or SUB_WORKFLOW task"
                    .to_owned());
            }
        };
        Ok(tally)
    }
}

impl Managed {
    /// A secret that is not set.
    fn unset(&self) -> Option<&str> {
        let empty = |value: &Value| value.is_null() || value.as_str().is_some_and(str::is_empty);
        self.secrets.iter().find(|(_, value)| empty(value)).map(|(name, _)| name.as_str())
    }
}

/// A delivery that is to be made.
struct Making<'a> {
    kind: &'static Kind,
    order: Order<'a>,
    /// Names the delivery with its content.
    attempt: String,
    /// Its task waits for somebody else's word after success.
    waits: bool,
    cancelled: &'a CancellationToken,
}

/// The outcome of the task of a delivery that was made, or tried.
fn finish(
    making: &Making<'_>,
    settled: &Settled,
    tally: Tally,
    pause: Option<Duration>,
) -> Outcome {
    let delivery = Delivery::new(&making.order, settled, making.attempt.clone());
    delivery.outcome(tally, making.waits, pause)
}

/// A number that looks random.
fn jitter(attempt: &str, now_ms: i64) -> u64 {
    u64::from_str_radix(&bounds::hashed(&format!("{attempt}{now_ms}"))[..8], 16).unwrap_or_default()
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

    fn requires(&self) -> Requirement {
        Requirement::OwnRun
    }

    fn judge(&self, input: &Value) -> Vec<Remark> {
        let kind = input.get("kind").and_then(Value::as_str).unwrap_or_default();
        remarks(kind, input.get("settings").unwrap_or(&Value::Null))
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        let (receiver, incident, attempt) = (Empty, Empty, task.attempt);
        let span = tracing::debug_span!("delivery", receiver, incident, attempt, run = task.runs);
        Box::pin(self.deliver(&task, &cancelled))
            .instrument(span)
            .await
            .unwrap_or_else(|problem| http::refused(&Problem::new(Code::InvalidInput, problem)))
    }
}

/// What there is to say of the settings of a receiver of that kind: nothing, if they are as they
/// should be. Texts such as `${secret:NAME}` are judged when they are known.
pub fn remarks(kind: &str, settings: &Value) -> Vec<Remark> {
    kind::remarks(kind, settings)
}

/// A kind of receiver, as a monitors file may write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverKind {
    /// The key that makes a receiver of this kind.
    pub name: &'static str,
    /// Of each line, one setting must be there.
    pub required: &'static [&'static [&'static str]],
    /// Its settings, each with what it must be.
    pub settings: Vec<(&'static str, String)>,
}

/// Every kind of receiver, for those who write down what there is.
pub fn receiver_kinds() -> Vec<ReceiverKind> {
    let kinds = kind::KINDS.iter().map(|kind| ReceiverKind {
        name: kind.name,
        required: kind.needs,
        settings: kind.settings.iter().map(|(name, shape)| (*name, shape.words())).collect(),
    });
    kinds.collect()
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
    let home = &Home::default();
    let order = Order { kind, settings, receiver, notification, id: delivery, now_ms, home };
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
        Way::Calls { judge, .. } => Ok(judge.of(Settings::new(settings), answer)),
        Way::Mail | Way::Inbox | Way::Workflow => Err(format!("{kind} makes no calls")),
    }
}
