//! What of requests goes into the audit ledger: every change of what people define, allow, hide or
//! answer for, before it is made and as it ended; who was refused; who came in.
//!
//! Starts, signals and reports are not written here: runs say themselves who began them, and there may be
//! thousands a second. What people do about runs and schedules is ([`super::Routes::act`]).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, Method, StatusCode};
use axum::response::Response;
use console::Pairs;
use engine::{AuditEntry, Engine};
use kernel::access::{Need, Permission, Permissions, Principal};
use parking_lot::Mutex;
use ring::hmac;

use super::change::Change;
use super::{Actor, Authorizer};
use crate::guard::Peer;
use crate::local::Local;
use crate::problem::Problem;

/// What is written down before it is done.
const WRITTEN: Permissions = Permissions::of(&[
    Permission::Edit,
    Permission::Respond,
    Permission::WriteSecrets,
    Permission::Admin,
]);
/// Characters of a path that are kept.
const PATH_MAX: usize = 200;
/// The same refusal or login within this time is counted in one line.
const TOGETHER: Duration = Duration::from_mins(1);
/// Different ones that are counted at once. Further ones count as one, so that a flood of refusals
/// does not drive what was changed out of the ledger.
const KINDS_MAX: usize = 20;

/// A request as the ledger knows it.
pub(super) fn entry(path: Option<&str>, request: &Request, actor: &Actor) -> AuditEntry {
    let act = match path {
        Some(path) if path != crate::grpc::METHODS => format!("{} {path}", request.method()),
        Some(_) => request.uri().path().chars().take(PATH_MAX).collect(),
        None => request.method().to_string(),
    };
    let called = request.extensions().get::<Called>().map_or("anonymous", |it| &*it.0);
    AuditEntry {
        who: actor.principal().map_or("anonymous", |who| &*who.id).to_owned(),
        name: actor.principal().map_or(called, |who| &*who.name).to_owned(),
        proof: actor.proof().to_owned(),
        address: match request.extensions().get::<Local>() {
            Some(_) => "socket".to_owned(),
            None => address(request.extensions().get().copied()),
        },
        act,
        object: request.uri().path().chars().take(PATH_MAX).collect(),
        ..AuditEntry::default()
    }
}

/// The same of what is about to be done, with what its query says of why.
pub(super) fn entry_of_act(path: Option<&str>, request: &Request, actor: &Actor) -> AuditEntry {
    let mut entry = entry(path, request, actor);
    entry.because(reason_of(request).as_deref());
    entry
}

/// What somebody who has proved nothing wants to be called; in requests that this process makes of itself.
#[derive(Clone, Debug)]
pub(crate) struct Called(pub(crate) Arc<str>);

/// Where a request comes from; empty if it came over no connection.
pub(super) fn address(peer: Option<Peer>) -> String {
    peer.map_or_else(String::new, |it| it.0.ip().to_canonical().to_string())
}

/// Whether a request is one to write down.
pub(super) fn is_written(need: Need, method: &Method) -> bool {
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    changes && need.permissions().meets(WRITTEN)
}

/// Writes down what begins. What cannot be written down does not happen.
///
/// # Errors
/// 503 if the ledger cannot be written.
pub(super) async fn begin(engine: &Engine, mut entry: AuditEntry) -> Result<Begun, Problem> {
    "begun".clone_into(&mut entry.outcome);
    match engine.write_audit(entry.clone()).await {
        Ok(number) => {
            let (engine, why) = (engine.clone(), Why::default());
            Ok(Begun { engine, entry, number, why, change: Change::default() })
        }
        Err(error) => {
            tracing::error!(%error, "the audit ledger cannot be written: changes are refused");
            let message = "the audit ledger cannot be written, so nothing was changed";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Err(Problem::new(status, "audit-unavailable", message)
                .with_hint("Try again later; the server's log says why."))
        }
    }
}

/// Why somebody does something, in their own words. Its handler notes them, once it has read the body in
/// which they are; those in the query `reason` are known before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Why(Arc<OnceLock<String>>);

impl Why {
    /// Notes the words, if there are any.
    pub(crate) fn note(&self, words: Option<&str>) {
        if let Some(words) = words {
            // What was noted first stays.
            let _ = self.0.set(words.to_owned());
        }
    }

    /// The place for the words about the request of these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }
}

impl<S: Sync> FromRequestParts<S> for Why {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// The words in the query of a request.
pub(super) fn reason_of(request: &Request) -> Option<String> {
    let pairs = Pairs::parse(request.uri().query()?);
    pairs.get("reason").map(str::to_owned)
}

/// In an answer: what was made or changed, if the path does not say it. The ledger names it.
#[derive(Clone, Debug)]
pub(crate) struct About(pub(crate) Arc<str>);

/// Something that was written down and is being done.
pub(super) struct Begun {
    engine: Engine,
    entry: AuditEntry,
    number: u64,
    why: Why,
    change: Change,
}

impl Begun {
    /// Where the handler notes why it is done.
    pub(super) fn why(&self) -> &Why {
        &self.why
    }

    /// Hashes what a request brings while its handler reads it.
    pub(super) fn watch(&mut self, key: &hmac::Key, request: &mut Request) {
        self.change = Change::watch(key, request);
    }
}

impl Begun {
    /// Writes down how it ended, which nobody has to wait for.
    pub(super) fn end(self, response: &Response) {
        let Self { engine, mut entry, number, why, change } = self;
        entry.change = change.hash();
        entry.because(why.0.get().map(String::as_str));
        let status = response.status();
        // A call that was refused says so in its headers, as there is nothing else to send.
        let grpc = response.headers().get("grpc-status");
        let is_ok = status.is_success() && grpc.is_none_or(|status| status == "0");
        entry.object = std::mem::replace(&mut entry.act, "outcome".to_owned());
        if let Some(About(what)) = response.extensions().get() {
            entry.object.push(' ');
            entry.object.extend(what.chars().take(PATH_MAX));
        }
        if is_ok { "ok" } else { "failed" }.clone_into(&mut entry.outcome);
        entry.status = Some(status.as_u16());
        entry.of = Some(number);
        write_later(engine, entry);
    }
}

fn write_later(engine: Engine, entry: AuditEntry) {
    tokio::spawn(async move {
        if let Err(error) = engine.write_audit(entry).await {
            tracing::warn!(%error, "a line of the audit ledger was lost");
        }
    });
}

impl Authorizer {
    pub(super) fn note_login(&self, who: &Principal, proof: &str, peer: Option<Peer>) {
        self.note("login", Some(who), proof, peer, "ok");
    }

    pub(super) fn note_refused_login(&self, proof: &str, peer: Option<Peer>) {
        self.note("login", None, proof, peer, "refused");
    }

    pub(super) fn note_logout(&self, who: &Principal, everywhere: bool, peer: Option<Peer>) {
        let act = if everywhere { "logout everywhere" } else { "logout" };
        self.note(act, Some(who), "session", peer, "ok");
    }

    pub(super) fn note(
        &self,
        act: &str,
        who: Option<&Principal>,
        proof: &str,
        peer: Option<Peer>,
        outcome: &str,
    ) {
        let entry = AuditEntry {
            who: who.map_or("anonymous", |it| &*it.id).to_owned(),
            name: who.map_or("anonymous", |it| &*it.name).to_owned(),
            proof: proof.to_owned(),
            address: address(peer),
            act: act.to_owned(),
            outcome: outcome.to_owned(),
            ..AuditEntry::default()
        };
        self.counted.note(&self.engine, entry);
    }

    pub(super) fn note_refusal(
        &self,
        path: Option<&str>,
        request: &Request,
        who: &Actor,
        status: StatusCode,
    ) {
        let entry = AuditEntry {
            outcome: "refused".to_owned(),
            status: Some(status.as_u16()),
            ..entry(path, request, who)
        };
        self.counted.note(&self.engine, entry);
    }
}

/// Refusals and logins: the first of a kind is written at once, those that follow are counted.
#[derive(Clone, Default)]
pub(super) struct Counted(Arc<Mutex<BTreeMap<Kind, u64>>>);

/// Who, from where, what, and how it ended.
type Kind = (String, String, String, String);

fn kind(entry: &AuditEntry) -> Kind {
    let AuditEntry { who, address, act, outcome, .. } = entry;
    (who.clone(), address.clone(), act.clone(), outcome.clone())
}

impl Counted {
    /// Notes one.
    pub(super) fn note(&self, engine: &Engine, mut entry: AuditEntry) {
        // Paths differ without end; what was asked of the server does not.
        entry.object.clear();
        let kind = {
            let mut counted = self.0.lock();
            let mut kind = kind(&entry);
            if counted.len() >= KINDS_MAX && !counted.contains_key(&kind) {
                "(others)".clone_into(&mut entry.who);
                entry.name.clone_from(&entry.who);
                entry.address.clear();
                entry.act.clear();
                kind = self::kind(&entry);
            }
            if let Some(more) = counted.get_mut(&kind) {
                *more += 1;
                return;
            }
            counted.insert(kind.clone(), 0);
            kind
        };
        let (counted, engine) = (self.clone(), engine.clone());
        write_later(engine.clone(), entry.clone());
        tokio::spawn(async move {
            tokio::time::sleep(TOGETHER).await;
            let more = counted.0.lock().remove(&kind).unwrap_or(0);
            if more > 0 {
                entry.count = Some(more);
                write_later(engine, entry);
            }
        });
    }
}
