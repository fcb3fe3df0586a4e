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
//!   and, with a body, `Content-Type` and `Content-Length`. In particular no `Idempotency-Key` is
//!   made up. A call may be repeated when the server dies between the answer and its commit; where
//!   the other side can recognise repeats, give it a key in the definition, for instance
//!   `"Idempotency-Key": "${CPEWF_TASK_ID}"`, which is stable over such repeats.
//! - Everything is bounded: time to connect, silence while reading, the whole call, redirects,
//!   headers and the size of the body after decompression. See [`Settings`].
//! - Certificates are checked against the trust store of the operating system, not against a list
//!   built into the binary: a company's own authority then works as it does for every other
//!   program on the machine, and a withdrawn one goes with the next system update. `SSL_CERT_FILE`
//!   and `SSL_CERT_DIR` replace the store, [`Settings::extra_roots`] adds to it.

mod body;
mod client;
mod fields;
mod problem;
mod request;
mod response;
mod uri;

use std::time::Duration;

use async_trait::async_trait;
use engine::{Handoff, Outcome, OutcomeStatus, TaskRunner};
use tokio_util::sync::CancellationToken;

pub use client::{Client, SetupError, install_tls_provider};
pub use problem::{Code, Problem};
pub use request::Request;
pub use response::Response;

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
    /// request whose own `connectionTimeOut` and `readTimeOut` together are longer gets their sum.
    /// 5 minutes.
    pub call_max: Duration,
    /// Most copies of one request that `hedgingConfig.maxAttempts` can send at once. 5.
    pub hedges_max: usize,
    /// Idle connections kept per host. 32.
    pub idle_per_host_max: usize,
    /// How long an idle connection is kept. 60 seconds.
    pub idle_max: Duration,
    /// Whether `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are obeyed.
    pub environment_proxy: bool,
    /// Certificates in PEM to trust besides the system's.
    pub extra_roots: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            user_agent: concat!("nightbell/", env!("CARGO_PKG_VERSION")).to_owned(),
            body_max: 3 << 20,
            error_body_max: 64 << 10,
            redirects_max: 10,
            call_max: Duration::from_mins(5),
            hedges_max: 5,
            idle_per_host_max: 32,
            idle_max: Duration::from_mins(1),
            environment_proxy: true,
            extra_roots: None,
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
        let request = match Request::parse(&task.input) {
            Ok(request) => request,
            Err(problem) => return failed(&problem, problem.message.clone()),
        };
        let answer = tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(Problem::new(Code::Cancelled, "was cancelled")),
            answer = self.client.send(&request) => answer,
        };
        settle(&request, answer, request.async_complete.unwrap_or(task.async_complete))
    }
}

/// Judges an answer: a 2xx or accepted status completes the task, everything else fails it.
fn settle(request: &Request, answer: Result<Response, Problem>, async_complete: bool) -> Outcome {
    match answer {
        Ok(response) if request.accepts(response.status) => Outcome {
            status: if async_complete {
                OutcomeStatus::InProgress { again_after: None }
            } else {
                OutcomeStatus::Completed
            },
            output: response.output(),
            reason: None,
        },
        Ok(response) => {
            let reason = response.refusal(request);
            Outcome {
                status: OutcomeStatus::Failed,
                output: response.error_output(&reason),
                reason: Some(reason),
            }
        }
        Err(problem) => failed(&problem, format!("{request} {}", problem.message)),
    }
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
