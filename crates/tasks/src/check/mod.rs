//! Looks at the world for monitors: one task type per kind of source, each answering observations.
//!
//! The input is what a monitor's check hands over: `settings`, and beside them `per`, `window`,
//! `memory` and `judged` (whether the monitor judges rows itself); all but the settings have
//! defaults, so that a definition may use these tasks by hand. The output is
//! `{"observations": [{"key", "status", "value", "text", "attrs"}], "memory"}`.
//!
//! Three ways to end:
//!
//! - What was to be seen was seen, good or bad: the task completes. For what is itself the thing
//!   watched (a web page, a port, a name), not answering is bad.
//! - Nobody can tell: the source is away, slow, refuses or answers rubbish. The task fails with the
//!   reason, and another attempt may do better. An answer of `unknown` would not do: it would say
//!   that the check itself works.
//! - The settings are at fault: the task fails for good.

mod composite;
mod dns;
mod email;
mod empty;
mod expect;
mod grpc;
mod history;
mod http;
mod icmp;
mod influx;
mod job;
mod order;
mod prometheus;
mod rest;
mod rows;
mod seen;
mod sql;
mod staged;
mod tcp;
mod time;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use engine::{Handoff, Outcome, TaskRunner, WeakEngine};
use kernel::Json;
use kernel::alert::definition::Remark;
use parking_lot::RwLock;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::http::{Client, Settings as HttpSettings};
use crate::input::{completed, failed, failed_for_good};
use crate::page_dedup::{Claims, Shared};
use crate::sql::Databases;
use order::Order;
use seen::Seen;

pub use history::{Answer, History, POINTS_MAX};
pub use staged::{observe, observe_again};

/// What the checks may be told from outside.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What monitors know by a name.
    pub sources: Sources,
    /// The HTTP client of checks that bring certificates of their own.
    pub http: HttpSettings,
}

/// Sources by the name under which monitors know them (`account` of a mailbox, `server` of a
/// database), each with settings for what the monitor leaves open. Clones are the same sources; what
/// is put into one counts from the next check on.
#[derive(Clone, Default)]
pub struct Sources(Arc<RwLock<BTreeMap<String, Map<String, Value>>>>);

impl Sources {
    /// Sources that are known from the beginning.
    pub fn of(known: &BTreeMap<String, Map<String, Value>>) -> Self {
        Self(Arc::new(RwLock::new(known.clone())))
    }

    /// Makes a source known, in the place of the one of that name.
    pub fn put(&self, name: &str, settings: Map<String, Value>) {
        self.0.write().insert(name.to_owned(), settings);
    }

    /// Forgets a source.
    pub fn remove(&self, name: &str) {
        self.0.write().remove(name);
    }

    fn get(&self, name: &str) -> Option<Map<String, Value>> {
        self.0.read().get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.0.read().keys().cloned().collect()
    }
}

impl fmt::Debug for Sources {
    // Their settings hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Why nobody can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// The source is away, slow, or answers rubbish.
    Unknown(String),
    /// The settings are at fault.
    Wrong(String),
}

impl From<crate::input::Wrong> for Trouble {
    fn from(wrong: crate::input::Wrong) -> Self {
        Self::Wrong(wrong.0)
    }
}

fn unknown(reason: impl Into<String>) -> Trouble {
    Trouble::Unknown(reason.into())
}

fn wrong(reason: impl Into<String>) -> Trouble {
    Trouble::Wrong(reason.into())
}

/// What every kind of check shares: connections, scripts, named sources, the engine.
struct Means {
    settings: Settings,
    clients: rest::Clients,
    jq: crate::jq::Jq,
    databases: Databases,
    engine: OnceLock<WeakEngine>,
    claims: Shared,
}

/// One kind of check.
#[async_trait]
trait Source: Send + Sync + 'static {
    /// Its task type.
    const TYPE: &'static str;

    /// What there is to say of settings before anybody looks.
    fn judge(_settings: &Map<String, Value>, _means: &Means) -> Option<Remark> {
        None
    }

    /// Looks.
    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble>;
}

/// Runs the tasks of one kind.
struct Runner<S> {
    source: S,
    means: Arc<Means>,
}

#[async_trait]
impl<S: Source> TaskRunner for Runner<S> {
    fn task_type(&self) -> &'static str {
        S::TYPE
    }

    fn attach(&self, engine: WeakEngine) {
        // All kinds share the place; the first to be told tells the others.
        self.means.engine.get_or_init(|| engine);
    }

    fn judge(&self, input: &Value) -> Vec<Remark> {
        match input.get("settings") {
            Some(Value::Object(settings)) => {
                let strays = order::strays(settings, &self.means.settings);
                strays.into_iter().chain(S::judge(settings, &self.means)).collect()
            }
            _ => Vec::new(),
        }
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        let work = async {
            let order = Order::read(&task.input, &self.means.settings)?;
            let seen = self.source.look(&order, &self.means).await?;
            Ok(seen)
        };
        let answer = tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(unknown("the check was cancelled")),
            answer = work => answer,
        };
        // Only those that judge for themselves, as all of a checklist do.
        if let Some(claims) = self.means.claims.get()
            && matches!(S::TYPE, "CHECK_EMAIL" | "CHECK_JOB")
        {
            note(&claims, &task.input, &answer).await;
        }
        match answer {
            Ok(seen) => completed(Json::of(&seen.output())),
            Err(Trouble::Unknown(reason)) => failed(reason),
            Err(Trouble::Wrong(reason)) => failed_for_good(format!("{}: {reason}", S::TYPE)),
        }
    }
}

/// Notes where servers share it how a check was at last, in a word. Nothing depends on that: it is
/// for people to look at.
async fn note(claims: &Claims, input: &Json, answer: &Result<Seen, Trouble>) {
    let input = input.parse();
    let Some(monitor) = input.get("monitor").and_then(Value::as_str) else { return };
    let word = match answer {
        Ok(seen) if seen.has("fail") => "failure",
        Ok(seen) if seen.has("warn") => "warning",
        Ok(_) => "success",
        Err(_) => "unknown",
    };
    if let Err(away) = claims.note(monitor, word).await {
        tracing::debug!("{away}: the last result of {monitor} could not be recorded");
    }
}

/// One runner per kind of check.
pub(crate) fn runners(
    settings: Settings,
    client: &Client,
    databases: Databases,
    claims: Shared,
) -> Vec<Arc<dyn TaskRunner>> {
    let clients = rest::Clients::new(client.clone(), settings.http.clone());
    let jq = crate::jq::Jq::new(crate::jq::Limits::default());
    let means =
        Arc::new(Means { settings, clients, jq, databases, engine: OnceLock::new(), claims });
    vec![
        runner(http::Http, &means),
        runner(email::Email, &means),
        runner(influx::Influx, &means),
        runner(prometheus::Prometheus, &means),
        runner(job::Job, &means),
        runner(sql::Sql, &means),
        runner(tcp::Tcp, &means),
        runner(dns::Dns, &means),
        runner(grpc::Grpc, &means),
        runner(icmp::Icmp, &means),
        runner(composite::Others, &means),
    ]
}

fn runner<S: Source>(source: S, means: &Arc<Means>) -> Arc<dyn TaskRunner> {
    Arc::new(Runner { source, means: Arc::clone(means) })
}
