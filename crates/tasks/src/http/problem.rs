//! Why a call gave no answer, as a code for programs and words for people.
//!
//! The errors of the client are chains several layers deep whose outer texts say little and whose
//! outermost one carries the whole URL, secrets included. [`Problem::of`] looks through the chain
//! for the layer that knows, and never repeats a URL.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

use kernel::Json;
use reqwest::Url;
use serde::Serialize;

use super::client::ConnectTimedOut;
use crate::outgoing::Refusal;

/// A call that gave no usable answer.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Which kind of problem.
    pub code: Code,
    /// What happened. For a request that could not be read a whole sentence; otherwise it continues
    /// the sentence that begins with the request: "… was refused".
    pub message: String,
}

/// The kinds of problem, as `output.error.code` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Code {
    /// A member of the input is missing or of the wrong kind.
    InvalidInput,
    /// The URI is no absolute `http` or `https` URL.
    InvalidUri,
    /// The method is no HTTP method.
    InvalidMethod,
    /// The host's name could not be resolved.
    UnknownHost,
    /// Nobody listens at that address and port.
    ConnectionRefused,
    /// No connection within `connectionTimeOut`.
    ConnectTimedOut,
    /// No connection for another reason.
    ConnectFailed,
    /// The connection could not be made safe: an untrusted certificate, for instance.
    TlsFailed,
    /// The peer broke the connection off.
    ConnectionReset,
    /// The peer closed the connection before the answer was complete.
    ConnectionClosed,
    /// Silence for longer than `readTimeOut`.
    ReadTimedOut,
    /// The whole call took too long.
    CallTimedOut,
    /// What came back is not HTTP, or more headers than any sensible answer has.
    InvalidResponse,
    /// A body over the limit.
    BodyTooLarge,
    /// A body that could not be decompressed.
    BodyUnreadable,
    /// One redirect too many, or one that leads where the request must not go.
    RedirectFailed,
    /// The server's configuration refuses the address.
    AddressRefused,
    /// An answer with a status that is no success.
    HttpStatus,
    /// The task was cancelled meanwhile.
    Cancelled,
    /// Anything else.
    CallFailed,
}

impl Code {
    /// Whether another attempt with the same input is bound to fail too.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::InvalidInput | Self::InvalidUri | Self::InvalidMethod | Self::AddressRefused
        )
    }
}

impl Problem {
    /// A problem of that kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The configuration refuses the address.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        Self::new(Code::AddressRefused, format!("was not sent: {refusal}"))
    }

    /// Finds the reason in the error of a client that was asked for `url`.
    pub(super) fn of(error: &reqwest::Error, url: &Url) -> Self {
        if error.is_builder() {
            let cause = chain(error).last().map(ToString::to_string);
            let cause = cause.unwrap_or_default();
            return if error.url().is_some_and(|at_fault| at_fault != url) {
                let words = format!("was redirected to a URL that cannot be called: {cause}");
                Self::new(Code::RedirectFailed, words)
            } else {
                Self::new(Code::InvalidUri, format!("cannot be sent: {cause}"))
            };
        }
        if let Some(refusal) = chain(error).find_map(|cause| cause.downcast_ref::<Refusal>()) {
            return Self::refused(refusal);
        }
        let known = chain(error).find_map(|cause| {
            own(cause).or_else(|| tls(cause)).or_else(|| hyper(cause)).or_else(|| dns(cause))
        });
        known
            .or_else(|| unpacking(error))
            .or_else(|| chain(error).find_map(|cause| io(cause, error.is_connect())))
            .unwrap_or_else(|| other(error))
    }

    /// The output of a task that failed this way: `response` as a text, where Conductor puts the
    /// text of its exception, and beside it what a program wants to know.
    pub(super) fn output(&self, reason: &str) -> Json {
        #[derive(Serialize)]
        struct Output<'a> {
            response: &'a str,
            error: Detail<'a>,
        }
        #[derive(Serialize)]
        struct Detail<'a> {
            code: Code,
            message: &'a str,
        }
        Json::of(&Output { response: reason, error: Detail { code: self.code, message: reason } })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Problem {}

/// The causes below `error`, outermost first, also those that [`io::Error`] wraps but whose
/// `source` it skips.
fn chain<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let below = |error: &'a (dyn Error + 'static)| -> Option<&'a (dyn Error + 'static)> {
        if let Some(wrapped) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return Some(wrapped);
        }
        error.source()
    };
    std::iter::successors(error.source(), move |cause| below(*cause))
        .filter(|cause| !cause.is::<reqwest::Error>())
}

fn own(cause: &(dyn Error + 'static)) -> Option<Problem> {
    let late = cause.downcast_ref::<ConnectTimedOut>()?;
    Some(Problem::new(Code::ConnectTimedOut, late.to_string()))
}

fn tls(cause: &(dyn Error + 'static)) -> Option<Problem> {
    use rustls::{CertificateError, Error as Tls};

    let tls = cause.downcast_ref::<Tls>()?;
    let words = match tls {
        Tls::InvalidMessage(_) => "the peer does not speak TLS".to_owned(),
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is not signed by an authority that this machine trusts".to_owned()
        }
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate belongs to another name".to_owned(),
        Tls::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired".to_owned(),
        other => other.to_string(),
    };
    Some(Problem::new(Code::TlsFailed, format!("could not connect safely (TLS): {words}")))
}

fn hyper(cause: &(dyn Error + 'static)) -> Option<Problem> {
    let error = cause.downcast_ref::<hyper::Error>()?;
    if error.is_parse() {
        return Some(Problem::new(
            Code::InvalidResponse,
            format!("sent an answer that is not valid HTTP: {error}"),
        ));
    }
    if error.is_incomplete_message() {
        return Some(closed());
    }
    // A body in chunks whose framing is broken.
    let framing = error.source()?.downcast_ref::<io::Error>()?;
    matches!(framing.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData).then(|| {
        Problem::new(
            Code::InvalidResponse,
            format!("sent a body that is not valid HTTP: {framing}"),
        )
    })
}

/// The resolver's error has no public type; its text is all there is to know it by.
fn dns(cause: &(dyn Error + 'static)) -> Option<Problem> {
    cause.to_string().starts_with("dns error").then(|| {
        let why = cause.source().map(|why| format!(" ({why})"));
        Problem::new(
            Code::UnknownHost,
            format!("failed: the host's name could not be resolved{}", why.unwrap_or_default()),
        )
    })
}

/// Decompression fails above the connection, so that no layer of HTTP is among the causes.
fn unpacking(error: &reqwest::Error) -> Option<Problem> {
    let above = error.is_decode() && chain(error).all(|cause| !cause.is::<hyper::Error>());
    let cause = chain(error).last().filter(|_| above)?;
    Some(Problem::new(
        Code::BodyUnreadable,
        format!("sent a body that could not be decompressed: {cause}"),
    ))
}

fn io(cause: &(dyn Error + 'static), connecting: bool) -> Option<Problem> {
    let error = cause.downcast_ref::<io::Error>()?;
    let problem = match error.kind() {
        ErrorKind::ConnectionRefused => {
            Problem::new(Code::ConnectionRefused, "failed: the connection was refused")
        }
        _ if connecting => Problem::new(Code::ConnectFailed, format!("could not connect: {error}")),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            Problem::new(Code::ConnectionReset, "failed: the peer reset the connection")
        }
        ErrorKind::UnexpectedEof => closed(),
        _ => return None,
    };
    Some(problem)
}

fn closed() -> Problem {
    Problem::new(
        Code::ConnectionClosed,
        "failed: the peer closed the connection before the answer was complete",
    )
}

fn other(error: &reqwest::Error) -> Problem {
    let code = if error.is_redirect() {
        Code::RedirectFailed
    } else if error.is_connect() {
        Code::ConnectFailed
    } else {
        Code::CallFailed
    };
    let cause = chain(error).last();
    let cause = cause.map_or_else(|| "no reason given".to_owned(), ToString::to_string);
    Problem::new(code, format!("failed: {cause}"))
}
