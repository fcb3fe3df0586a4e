//! The HTTP task: one request as a task's input describes it, one answer as the task's output.
//!
//! Three parts that can be used alone, because polling tasks and notifiers need the same call with
//! a different ending: [`Request::parse`] reads an input and [`Response::output`] shapes an answer,
//! both pure; [`Client::send`] does the call in between and is the only one that touches the
//! network.
//!
//! What it promises to the author of a definition:
//!
//! - Only the headers asked for are sent, plus `User-Agent`, `Accept`, `Accept-Encoding`, `Host`
//!   and, with a body, `Content-Type` and `Content-Length`; where runs are exported as traces, also
//!   `traceparent`. In particular no `Idempotency-Key` is made up. A call may be repeated when the server dies between the answer and its commit; where
//!   the other side can recognise repeats, give it a key in the definition, for instance
//!   `"Idempotency-Key": "${CPEWF_TASK_ID}"`, which is stable over such repeats.
//! - Everything is bounded: time to connect, silence while reading, the whole call, redirects,
//!   headers and the size of the body after decompression. See [`Settings`].
//!   [`Settings::call_max`] is what ends a peer that drips: `readTimeOut` bounds silence only.
//! - A redirect is followed unless its status is accepted. One to another origin (scheme, host,
//!   port) goes there without any header of the author's; one that would send the body there, or
//!   give up encryption, fails the call.
//! - Every address is judged before it is connected to, at each redirect anew: see
//!   [`crate::outgoing`].
//! - Names of headers are sent in the usual spelling (`X-Api-Key`) on HTTP/1.1, where some servers
//!   care about it, and in lower case on HTTP/2, which knows no other.
//! - A task whose peer is busy (429 or 503) calls once more, after the seconds of `Retry-After` or
//!   after one second; see [`pause`]. Definitions made for Conductor, whose client does so, rest on it.
//! - A hedged request (`hedgingConfig.maxAttempts`) is sent again only while it is slow, see
//!   [`Client::send`]: other servers send all copies at once and burden their peers for nothing.
//! - Certificates are checked against the trust store of the operating system, not against a list
//!   built into the binary: a company's own authority then works as it does for every other
//!   program on the machine, and a withdrawn one goes with the next system update. `SSL_CERT_FILE`
//!   and `SSL_CERT_DIR` replace the store, [`Settings::extra_roots`] adds to it.

mod body;
mod client;
pub(crate) mod fields;
mod filter;
mod problem;
mod redirect;
mod request;
mod response;
mod statuses;
mod uri;

use std::time::Duration;

use async_trait::async_trait;
use engine::{Handoff, Outcome, OutcomeStatus, TaskRunner};
use kernel::Json;
use reqwest::Url;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::outgoing::Dialer;

pub use client::{Client, SetupError, install_tls_provider};
pub use filter::Filter;
pub use problem::{Code, Problem};
pub use request::Request;
pub use response::Response;
pub use statuses::Statuses;

/// Limits and manners of the HTTP client; the defaults suit an ordinary server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `User-Agent` of requests that do not bring their own. Some APIs refuse callers without.
    pub user_agent: String,
    /// Largest body of a successful answer, in bytes after decompression; a larger one fails the
    /// task. 3 MiB.
    pub body_max: usize,
    /// How much of the body of an unsuccessful answer is kept, in bytes; the rest is cut off.
    /// 64 KiB.
    pub error_body_max: usize,
    /// Redirects followed in one call. 10.
    pub redirects_max: usize,
    /// Longest a whole call may take, so that a peer that sends a byte now and then ends too. A
    /// request whose own `connectionTimeOut` and `readTimeOut` together are longer gets their sum,
    /// up to `call_ceiling`. 5 minutes.
    pub call_max: Duration,
    /// Longest a whole call may take, whatever its author says, its repetition and copies included: a
    /// peer that is silent for days would keep a place of a task all that time. 1 hour.
    pub call_ceiling: Duration,
    /// Most copies of one request that `hedgingConfig.maxAttempts` can send. 5.
    pub hedges_max: usize,
    /// How long a hedged request goes without a success before another copy of it is sent. Long
    /// enough that a peer that is merely busy does not get everything twice. 500 ms.
    pub hedge_after: Duration,
    /// Idle connections kept per host. 32.
    pub idle_per_host_max: usize,
    /// How long an idle connection is kept. 60 seconds.
    pub idle_max: Duration,
    /// Whether `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are obeyed.
    pub environment_proxy: bool,
    /// Certificates in PEM to trust besides the system's.
    pub extra_roots: Option<String>,
    /// Makes the connections: where they may lead.
    pub outgoing: Dialer,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            user_agent: concat!("nightbell/", env!("CARGO_PKG_VERSION")).to_owned(),
            body_max: 3 << 20,
            error_body_max: 64 << 10,
            redirects_max: 10,
            call_max: Duration::from_mins(5),
            call_ceiling: Duration::from_hours(1),
            hedges_max: 5,
            hedge_after: Duration::from_millis(500),
            idle_per_host_max: 32,
            idle_max: Duration::from_mins(1),
            environment_proxy: true,
            extra_roots: None,
            outgoing: Dialer::default(),
        }
    }
}

/// Runs tasks of type `HTTP`.
pub struct Http {
    client: Client,
}

impl Http {
    /// Makes the runner and its pool of connections; contacts nobody.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        Client::new(settings).map(|client| Self { client })
    }

    /// The client, whose connections other tasks may share.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

#[async_trait]
impl TaskRunner for Http {
    fn task_type(&self) -> &'static str {
        "HTTP"
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        let parsed = Request::parse(&task.input)
            .and_then(|request| Ok((request, Filter::parse(&task.input, &task.reference)?)));
        let (request, filter) = match parsed {
            Ok((request, filter)) => (request.traced(task.traceparent.as_deref()), filter),
            Err(problem) => return refused(&problem),
        };
        match answered(&request, &cancelled, repeated(&self.client, &request)).await {
            Ok(response) => {
                let waits = request.async_complete.unwrap_or(task.async_complete);
                completed(shown(filter.as_ref(), response.output()), waits)
            }
            Err(outcome) => outcome,
        }
    }
}

/// Sends a request on behalf of a task.
///
/// # Errors
/// How the task fails: because the call was cancelled or gave no answer, or by an answer that the
/// request does not accept.
pub(crate) async fn call(
    client: &Client,
    request: &Request,
    cancelled: &CancellationToken,
) -> Result<Response, Outcome> {
    answered(request, cancelled, client.send(request)).await
}

/// As [`Client::send`], and once more where the peer is busy, if the time of one call suffices for all.
async fn repeated(client: &Client, request: &Request) -> Result<Response, Problem> {
    let began = Instant::now();
    let answer = client.send(request).await;
    let Some(pause) = answer.as_ref().ok().and_then(|response| pause(request, response)) else {
        return answer;
    };
    let left = client.ceiling().saturating_sub(began.elapsed());
    let Some(left) = left.checked_sub(pause).filter(|left| !left.is_zero()) else { return answer };
    tokio::time::sleep(pause).await;
    client.within(left, client.send(request)).await
}

/// How long to leave a busy peer alone that named no time.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest time that a call waits for a busy peer; who asks for more fails the attempt, and the
/// next one, if there is to be one, begins no sooner.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// How long to wait before a request is sent once more; absent where it is not.
///
/// As Conductor's client does: it repeats once after 429 and 503, whatever the method, but no request
/// whose `readTimeOut` is shorter than a second. A hedged request has its repetitions already.
fn pause(request: &Request, response: &Response) -> Option<Duration> {
    let busy = matches!(response.status.as_u16(), 429 | 503) && !request.accepts(response.status);
    let patient = request.hedges <= 1 && request.read_timeout.is_none_or(|limit| limit >= PAUSE);
    let pause = response.retry_after().filter(|pause| !pause.is_zero()).unwrap_or(PAUSE);
    (busy && patient && pause <= PAUSE_MAX).then_some(pause)
}

async fn answered(
    request: &Request,
    cancelled: &CancellationToken,
    exchange: impl Future<Output = Result<Response, Problem>>,
) -> Result<Response, Outcome> {
    let answer = tokio::select! {
        biased;
        () = cancelled.cancelled() => Err(Problem::new(Code::Cancelled, "was cancelled")),
        answer = exchange => answer,
    };
    match answer {
        Ok(response) if request.accepts(response.status) => Ok(response),
        Ok(response) => {
            let reason = response.refusal(request);
            Err(Outcome {
                status: response
                    .retry_after()
                    .map_or(OutcomeStatus::Failed, OutcomeStatus::FailedFor),
                output: response.error_output(&reason),
                reason: Some(reason),
            })
        }
        Err(problem) => Err(failed(&problem, format!("{request} {}", problem.message))),
    }
}

/// The URL of a service's operation, for a service whose address is a setting.
pub(crate) fn endpoint(base: &str, path: &str) -> Result<Url, Problem> {
    uri::parse(&format!("{}{path}", base.trim().trim_end_matches('/')), true)
}

/// A task that has done its work; one that `waits` stays in progress for an update from outside.
pub(crate) fn completed(output: Json, waits: bool) -> Outcome {
    let status = if waits {
        OutcomeStatus::InProgress { again_after: None }
    } else {
        OutcomeStatus::Completed
    };
    Outcome { status, output, reason: None }
}

/// What a task shows of its output.
pub(crate) fn shown(filter: Option<&Filter>, output: Json) -> Json {
    match filter {
        Some(filter) => filter.apply(&output),
        None => output,
    }
}

/// A task whose input is at fault.
pub(crate) fn refused(problem: &Problem) -> Outcome {
    failed(problem, problem.message.clone())
}

fn failed(problem: &Problem, reason: String) -> Outcome {
    Outcome {
        status: if problem.code.is_terminal() {
            OutcomeStatus::FailedTerminally
        } else {
            OutcomeStatus::Failed
        },
        output: problem.output(&reason),
        reason: Some(reason),
    }
}
