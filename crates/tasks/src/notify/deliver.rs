//! Carries a delivery out: sends its calls one after the other and sums up what came of them.

use std::sync::Arc;
use std::time::Duration;

use engine::{Outcome, OutcomeStatus};
use indexmap::IndexMap;
use kernel::Json;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::bounds;
use super::kind::{Call, Judge, Order};
use super::outlet::{Outlet, Sent};
use super::pace::{Ended, Line};
use super::sharing::{Shared, Sharing};
use super::verdict::{Answer, Verdict};
use crate::http::{Client, Code, Problem, Request, completed};

/// Longest wait for one call, from the connection to the end of the answer.
pub(super) const CALL_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a connection. Shorter, so that a call which never began is known as such.
const CONNECT_MAX_MS: u64 = 5000;
/// Bytes of an answer that are kept.
const RESPONSE_MAX: usize = 2048;
/// Requests of a delivery whose answers are told one by one.
const ANSWERS_MAX: usize = 50;
/// Parts of deliveries that are remembered as settled.
const SETTLED_MAX: usize = 20_000;

/// What became of parts of deliveries of which another part must be sent again, newest last. A part
/// that is settled is passed over, so that each attempt gets further than the one before it.
///
/// In memory only, and bounded: what is forgotten is sent, or refused, once more.
#[derive(Default)]
pub(super) struct Settled(Mutex<IndexMap<(String, String), Part>>);

/// What became of one part of a delivery, for good.
#[derive(Clone)]
enum Part {
    /// The receiver has it, perhaps under a name.
    Taken(Option<String>),
    /// It was refused, and would be again.
    Refused(String),
}

/// One delivery under way.
pub(super) struct Delivery<'a> {
    order: &'a Order<'a>,
    settled: &'a Settled,
    /// Names the delivery, its content included.
    attempt: String,
    /// With whom it is shared, if with anybody.
    sharing: Option<Sharing<'a>>,
    /// The line of its receiver, if it stands in one.
    line: Option<Arc<Line>>,
    /// Who answers in the place of the network, if anybody does.
    outlet: Option<&'a dyn Outlet>,
}

/// Something that must be sent again.
struct Again {
    /// Not before a pause that was asked for.
    after: Option<Duration>,
    /// Only the speed was wrong.
    limited: bool,
    reason: String,
}

/// What came of a delivery's calls.
#[derive(Default)]
pub(super) struct Tally {
    /// Requests sent in this attempt.
    requests: usize,
    reference: Option<String>,
    status: Option<u16>,
    response: String,
    again: Option<Again>,
    /// The rest waits its turn.
    later: Option<Duration>,
    /// Something was refused for good.
    refused: Option<String>,
    /// What else there is to know.
    note: Option<String>,
    answers: Vec<Value>,
}

impl Tally {
    /// Takes account of one answer; whether the next call is worth its while.
    pub(super) fn add(
        &mut self,
        key: &str,
        answer: &Answer,
        verdict: &Verdict,
        optional: bool,
    ) -> bool {
        self.requests += 1;
        let (word, said) = match verdict {
            Verdict::Ok { .. } => ("ok", None),
            Verdict::Retry { reason, .. } => ("retry", Some(reason)),
            Verdict::Permanent { reason } => ("permanent", Some(reason)),
            Verdict::Ambiguous { reason } => ("ambiguous", Some(reason)),
            Verdict::Moved { .. } => ("moved", None),
        };
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push(json!({"key": key, "status": answer.status, "verdict": word}));
        }
        // What failed is what people want to see.
        let shown = self.again.is_none() && self.refused.is_none() && !optional;
        if shown || self.response.is_empty() {
            self.status = (answer.status != 0).then_some(answer.status);
            self.response = bounds::bytes(&answer.body, RESPONSE_MAX);
        }
        match verdict {
            Verdict::Ok { reference } => {
                self.knows(reference.clone().filter(|_| !optional));
                true
            }
            _ if optional => {
                self.note = said.cloned();
                true
            }
            Verdict::Retry { after, reason, limited } => {
                let (after, limited) = (*after, *limited);
                self.again = Some(Again { after, limited, reason: reason.clone() });
                false
            }
            Verdict::Ambiguous { reason } => {
                self.fails(format!("{reason}; it may have arrived all the same"));
                false
            }
            Verdict::Permanent { reason } => {
                self.refuses(reason.clone());
                true
            }
            Verdict::Moved { .. } => true,
        }
    }

    /// A part was refused for good; the first one counts.
    fn refuses(&mut self, reason: String) {
        self.refused.get_or_insert(reason);
    }

    /// The receiver has a name for it; the first one counts.
    pub(super) fn knows(&mut self, reference: Option<String>) {
        if self.reference.is_none() {
            self.reference = reference.map(|reference| bounds::bytes(&reference, 500));
        }
    }

    /// Something that could not even be sent; another attempt may.
    pub(super) fn fails(&mut self, reason: String) {
        self.again = Some(Again { after: None, limited: false, reason });
    }

    /// What the line of the receiver needs to know.
    pub(super) fn ended(&self) -> Ended {
        match (&self.again, &self.refused) {
            (Some(Again { after, limited, reason }), _) => {
                Ended::NotNow { after: *after, limited: *limited, reason: reason.clone() }
            }
            (None, Some(_)) => Ended::Refused,
            (None, None) => Ended::Taken,
        }
    }
}

impl<'a> Delivery<'a> {
    pub(super) fn new(order: &'a Order<'a>, settled: &'a Settled, attempt: String) -> Self {
        Self { order, settled, attempt, sharing: None, line: None, outlet: None }
    }

    /// The same, one of those who wait in a receiver's line.
    pub(super) fn in_line(self, line: Option<Arc<Line>>) -> Self {
        Self { line, ..self }
    }

    /// The same, whose requests somebody answers in the place of the network.
    pub(super) fn answered_by(self, outlet: Option<&'a dyn Outlet>) -> Self {
        Self { outlet, ..self }
    }

    /// What somebody answers who stands for the network; `None` if nobody does.
    pub(super) async fn stand_in(&self, call: &Call, taken: Answer) -> Option<Answer> {
        let order = self.order;
        let sent = Sent {
            receiver: order.receiver,
            kind: order.kind,
            call,
            about: &order.notification.raw,
        };
        Some(self.outlet?.answer(sent, taken).await)
    }

    /// The same, told by one only of several servers.
    pub(super) fn shared(self, sharing: Option<Sharing<'a>>) -> Self {
        Self { sharing, ..self }
    }

    /// Whether an earlier attempt settled a part; the tally then knows how.
    pub(super) fn is_settled(&self, key: &str, tally: &mut Tally) -> bool {
        let known = self.settled.0.lock().get(&(self.attempt.clone(), key.to_owned())).cloned();
        match known {
            Some(Part::Taken(reference)) => tally.knows(reference),
            Some(Part::Refused(reason)) => tally.refuses(reason),
            None => return false,
        }
        true
    }

    /// Remembers what became of a part, unless it is to be sent again.
    pub(super) fn settle(&self, key: &str, verdict: &Verdict, optional: bool) {
        let part = match verdict {
            // An embellishment is tried once, and nothing hangs on it.
            _ if optional => Part::Taken(None),
            Verdict::Ok { reference } => Part::Taken(reference.clone()),
            Verdict::Permanent { reason } => Part::Refused(reason.clone()),
            Verdict::Retry { .. } | Verdict::Ambiguous { .. } | Verdict::Moved { .. } => return,
        };
        let mut settled = self.settled.0.lock();
        if settled.len() >= SETTLED_MAX {
            settled.shift_remove_index(0);
        }
        settled.insert((self.attempt.clone(), key.to_owned()), part);
    }

    /// Sends calls in their order; stops at one that must be sent again, as the next would fare no
    /// better, and goes on after one that was refused, as that may be its own fault.
    pub(super) async fn call(
        &self,
        client: &Client,
        calls: Vec<Call>,
        judge: &Judge,
        cancelled: &CancellationToken,
    ) -> Tally {
        let mut tally = Tally::default();
        for mut call in calls {
            if self.is_settled(&call.key, &mut tally) {
                continue;
            }
            // The delivery's own turn is for its first call.
            if let Some(line) = self.line.as_ref().filter(|_| tally.requests > 0)
                && let Err(wait) = line.next().await
            {
                tally.later = Some(wait);
                return tally;
            }
            if let Some(sharing) = &self.sharing {
                match sharing.begin(&call.key, cancelled).await {
                    Shared::Ours => {}
                    Shared::AlreadySent(by) => {
                        // Nobody answered; this is what there is to show.
                        tally.response.clone_from(&by);
                        tally.note = Some(by);
                        self.settle(&call.key, &Verdict::ok(None), false);
                        continue;
                    }
                    Shared::Busy(reason) => {
                        tally.fails(reason);
                        return tally;
                    }
                    Shared::Away(why) => tally.note = Some(why),
                }
            }
            let mut moved = false;
            loop {
                let (answer, verdict) = self.exchange(client, &call, judge, cancelled).await;
                let goes_on = tally.add(&call.key, &answer, &verdict, call.optional);
                if let Some(sharing) = &self.sharing {
                    sharing.end(&call.key, matches!(verdict, Verdict::Ok { .. })).await;
                }
                match verdict {
                    Verdict::Moved { member, to } if !moved => {
                        moved = true;
                        tally.note = Some(format!("`{member}` is {to} now: change the settings"));
                        call.body = with(&call.body, member, to);
                        continue;
                    }
                    Verdict::Moved { member, .. } => {
                        let reason = format!("`{member}` moved more than once");
                        tally.refuses(reason.clone());
                        self.settle(&call.key, &Verdict::permanent(reason), call.optional);
                    }
                    verdict => self.settle(&call.key, &verdict, call.optional),
                }
                if !goes_on {
                    return tally;
                }
                break;
            }
        }
        tally
    }

    async fn exchange(
        &self,
        client: &Client,
        call: &Call,
        judge: &Judge,
        cancelled: &CancellationToken,
    ) -> (Answer, Verdict) {
        let request = match request(call) {
            Ok(request) => request,
            Err(problem) => {
                return (Answer::default(), Verdict::Permanent { reason: problem.message });
            }
        };
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let taken = (judge.accepts)(self.order.settings).example();
        if let Some(answer) = self.stand_in(call, taken).await {
            let verdict = judge.of(self.order.settings, &answer);
            return (answer, placed(verdict, &host));
        }
        if let Some((sign_in, member)) = &call.sign_in {
            let (answer, verdict) =
                Box::pin(self.exchange(client, sign_in, judge, cancelled)).await;
            let token = answer.json().get(*member).and_then(Value::as_str).map(str::to_owned);
            return match (verdict, token) {
                (Verdict::Ok { .. }, Some(token)) => {
                    let signed = Call { sign_in: None, ..call.clone() };
                    let signed = signed.header("Authorization", format!("Bearer {token}"));
                    Box::pin(self.exchange(client, &signed, judge, cancelled)).await
                }
                (Verdict::Ok { .. }, None) => {
                    let reason = format!("{host} signs in without a `{member}`");
                    (answer, Verdict::permanent(reason))
                }
                (verdict, _) => (answer, verdict),
            };
        }
        let answer = tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(Problem::new(Code::Cancelled, "was cancelled")),
            answer = timeout(CALL_MAX, client.send(&request)) => answer.unwrap_or_else(|_| {
                Err(Problem::new(Code::CallTimedOut, "gave no answer within 10 seconds"))
            }),
        };
        match answer {
            Ok(response) => {
                let answer = Answer {
                    status: response.status.as_u16(),
                    retry_after: response.retry_after(),
                    body: String::from_utf8_lossy(&response.body).into_owned(),
                };
                let verdict = judge.of(self.order.settings, &answer);
                (answer, placed(verdict, &host))
            }
            Err(problem) => (Answer::default(), unanswered(&problem, &host)),
        }
    }

    /// The outcome of the task. What must be sent again fails, to be tried again by the task's own
    /// policy; in a receiver's line, `pause` says when it is run again, in the same attempt.
    pub(super) fn outcome(&self, tally: Tally, waits: bool, pause: Option<Duration>) -> Outcome {
        let mut output = Map::new();
        output.insert("reference".to_owned(), json!(tally.reference));
        output.insert("status".to_owned(), json!(tally.status));
        output.insert("response".to_owned(), tally.response.into());
        output.insert("requests".to_owned(), tally.requests.into());
        if tally.answers.len() > 1 {
            output.insert("answers".to_owned(), tally.answers.into());
        }
        if let Some(note) = tally.note {
            output.insert("note".to_owned(), note.into());
        }
        if let (None, Some(wait)) = (&tally.again, tally.later) {
            return later(output, wait);
        }
        let (status, reason) = match (tally.again, tally.refused, pause) {
            // What was refused will be refused again; but the rest is worth another attempt.
            (Some(Again { reason, .. }), _, Some(pause)) => {
                (OutcomeStatus::InProgress { again_after: Some(pause) }, reason)
            }
            (Some(Again { after: Some(after), reason, .. }), _, None) => {
                (OutcomeStatus::FailedFor(after), reason)
            }
            (Some(Again { reason, .. }), _, None) => (OutcomeStatus::Failed, reason),
            (None, Some(reason), _) => {
                // Whoever runs it again has put something right.
                self.forget(|part| matches!(part, Part::Refused(_)));
                (OutcomeStatus::FailedTerminally, reason)
            }
            (None, None, _) => {
                self.forget(|_| true);
                return completed(Json::of(&output), waits);
            }
        };
        let reason = self.order.told(&reason);
        output.insert("error".to_owned(), json!({"message": reason}));
        Outcome { status, output: Json::of(&output), reason: Some(reason) }
    }

    fn forget(&self, what: impl Fn(&Part) -> bool) {
        self.settled.0.lock().retain(|(attempt, _), part| *attempt != self.attempt || !what(part));
    }
}

/// The outcome of a delivery that waits its turn.
pub(super) fn later(mut output: Map<String, Value>, wait: Duration) -> Outcome {
    output.entry("note").or_insert_with(|| "it waits its turn".into());
    let status = OutcomeStatus::InProgress { again_after: Some(wait) };
    Outcome { status, output: Json::of(&output), reason: None }
}

/// The request of a call. Every status is an answer to be judged, so that none is followed.
fn request(call: &Call) -> Result<Request, Problem> {
    let mut headers = Map::new();
    for (name, value) in &call.headers {
        headers.insert(name.clone(), value.clone().into());
    }
    Request::parse(&Json::of(&json!({
        "uri": call.url,
        "method": call.method,
        "headers": headers,
        "body": call.body,
        "acceptedStatusCodes": ["100-599"],
        "connectionTimeOut": CONNECT_MAX_MS,
        "readTimeOut": CALL_MAX.as_millis() as u64,
    })))
}

/// A verdict whose reason says who spoke. Only the host: a path may be a secret.
fn placed(verdict: Verdict, host: &str) -> Verdict {
    let told = |reason: String| format!("{host}: {reason}");
    match verdict {
        Verdict::Retry { after, reason, limited } => {
            Verdict::Retry { after, reason: told(reason), limited }
        }
        Verdict::Permanent { reason } => Verdict::Permanent { reason: told(reason) },
        Verdict::Ambiguous { reason } => Verdict::Ambiguous { reason: told(reason) },
        other => other,
    }
}

/// What it means that there was no answer: nothing was sent, or nobody knows.
fn unanswered(problem: &Problem, host: &str) -> Verdict {
    let reason = format!("the call to {host} {}", problem.message);
    match problem.code {
        Code::UnknownHost
        | Code::ConnectionRefused
        | Code::ConnectTimedOut
        | Code::ConnectFailed
        | Code::TlsFailed => Verdict::retry(None, reason),
        code if code.is_terminal() => Verdict::Permanent { reason },
        _ => Verdict::Ambiguous { reason },
    }
}

/// A JSON body with one member replaced.
fn with(body: &str, member: &str, to: Value) -> String {
    let mut body: Value = serde_json::from_str(body).unwrap_or_default();
    body[member] = to;
    body.to_string()
}
