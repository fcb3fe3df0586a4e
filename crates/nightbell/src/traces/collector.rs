//! Sends spans to a collector by OTLP over HTTP, and says what its answers mean.

use std::io::Write as _;
use std::time::Duration;

use engine::Engine;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;
use proto::otlp::{
    Failure, Resource, ResourceSpans, Scope, ScopeSpans, Span, TraceRequest, TraceResponse,
};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use tasks::http::{self, Client, Request, Response};

use super::spans::text;
use crate::config::{Config, HeaderSource, Headers};
use crate::referred;

/// How long a collector may be silent, and how long a call may take.
const PATIENCE: Duration = Duration::from_secs(10);
const CALL_MAX: Duration = Duration::from_secs(30);
/// Bytes of the largest answer that is read.
const ANSWER_MAX: usize = 64 << 10;
/// Bytes of what a collector says that is told.
const SAID_MAX: usize = 300;
const PROTOBUF: &str = "application/x-protobuf";
const PATH: &str = "/v1/traces";

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is taken, but for so many spans, which would be refused again.
    Taken {
        /// Spans.
        refused: u64,
        /// What the collector has to say.
        why: String,
    },
    /// Nothing is known to be taken; later it may be.
    Later {
        /// Not before that, the collector says.
        after: Option<Duration>,
        /// Why.
        why: String,
        /// The collector failed over it, perhaps because of what is in it.
        is_broken: bool,
    },
    /// The same request will be refused again.
    Refused {
        /// Why.
        why: String,
    },
}

/// A collector.
pub(super) struct Collector {
    client: Client,
    url: Url,
    headers: Headers,
    resource: Resource,
    engine: Engine,
}

impl Collector {
    /// The collector of the configuration, if there is one; it is not called yet.
    ///
    /// # Errors
    /// The client cannot be made.
    pub(super) fn of(
        config: &Config,
        engine: &Engine,
        mut calls: http::Settings,
    ) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
        let endpoint = &endpoint.0;
        let path = if endpoint.ends_with(PATH) { "" } else { PATH };
        calls.body_max = ANSWER_MAX;
        calls.error_body_max = ANSWER_MAX;
        let attributes = vec![
            text("service.name", &config.otlp_service_name.0),
            text("service.version", env!("CARGO_PKG_VERSION")),
        ];
        Ok(Some(Self {
            client: Client::new(calls)?,
            url: format!("{endpoint}{path}").parse()?,
            headers: config.otlp_headers.clone(),
            resource: Resource { attributes },
            engine: engine.clone(),
        }))
    }

    /// Sends spans.
    pub(super) async fn send(&self, spans: Vec<Span>) -> Answer {
        let request = match self.request(spans) {
            Ok(request) => request,
            Err(why) => return later(why),
        };
        let Ok(answer) = tokio::time::timeout(CALL_MAX, self.client.send(&request)).await else {
            let why = format!("the collector took longer than {} s", CALL_MAX.as_secs());
            return later(why);
        };
        match answer {
            Ok(response) => judge(&response),
            Err(problem) => later(format!("the collector {}", problem.message)),
        }
    }

    fn request(&self, spans: Vec<Span>) -> Result<Request, String> {
        let scope =
            Scope { name: "nightbell".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let message = TraceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
            }],
        };
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        let written = packed.write_all(&message.encode_to_vec());
        let body = written.and_then(|()| packed.finish());
        let body = body.map_err(|error| format!("spans cannot be compressed: {error}"))?;
        let mut request = Request::new(Method::POST, self.url.clone());
        request.connect_timeout = Some(PATIENCE);
        request.read_timeout = Some(PATIENCE);
        for (name, source) in &self.headers.0 {
            let told = match source {
                HeaderSource::Text(text) => HeaderValue::from_str(text),
                HeaderSource::Reference(reference) => {
                    let found = referred::read(reference, &self.engine);
                    let found = found.map_err(|why| format!("otlp_headers: {name}: {why}"))?;
                    HeaderValue::from_str(&found)
                }
            };
            let mut value =
                told.map_err(|_| format!("otlp_headers: {name} holds what no header can carry"))?;
            value.set_sensitive(true);
            request.headers.insert(name, value);
        }
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        request.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        request.body = Some(body.into());
        Ok(request)
    }
}

fn later(why: String) -> Answer {
    Answer::Later { after: None, why, is_broken: false }
}

/// What an answer means. By the protocol only 429, 502, 503 and 504 call for the same request again. What is
/// a mistake of the configuration (401, 404) is waited for all the same, as somebody will mend it, and
/// it would cost every span until then; 500 is not, for ever.
fn judge(response: &Response) -> Answer {
    let status = response.status;
    if status.is_success() {
        let said = TraceResponse::decode(response.body.clone()).unwrap_or_default();
        let partial = said.partial_success.unwrap_or_default();
        let refused = u64::try_from(partial.rejected_spans).unwrap_or(0);
        return Answer::Taken { refused, why: cut(&partial.error_message) };
    }
    let why = match said(response) {
        said if said.is_empty() => format!("the collector answered {status}"),
        said => format!("the collector answered {status}: {said}"),
    };
    match status {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            Answer::Later { after: response.retry_after(), why, is_broken: false }
        }
        _ if status.is_client_error() => Answer::Refused { why },
        _ => {
            let is_broken = status.is_server_error();
            Answer::Later { after: response.retry_after(), why, is_broken }
        }
    }
}

/// What an unsuccessful answer says: by the protocol a message, from proxies a text.
fn said(response: &Response) -> String {
    let kind = response.headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with(PROTOBUF)) {
        let failure = Failure::decode(response.body.clone()).unwrap_or_default();
        return cut(&failure.message);
    }
    cut(&String::from_utf8_lossy(&response.body))
}

/// The first line of a text, so much of it as is told.
fn cut(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let line = &line[..line.floor_char_boundary(SAID_MAX)];
    line.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;
    use tasks::http::Response;

    use super::{Answer, judge};

    #[test]
    fn only_what_may_pass_is_sent_again() {
        let means = |status: u16| {
            let response = Response {
                status: StatusCode::from_u16(status).expect("a status"),
                headers: HeaderMap::new(),
                body: "no".into(),
                body_truncated: false,
                url: "http://collector/v1/traces".parse().expect("an address"),
            };
            match judge(&response) {
                Answer::Taken { .. } => "taken",
                Answer::Later { is_broken: false, .. } => "later",
                Answer::Later { is_broken: true, .. } => "perhaps never",
                Answer::Refused { .. } => "never",
            }
        };
        for (expected, statuses) in [
            ("taken", &[200, 202][..]),
            // Busy, or a mistake of the settings that somebody will mend.
            ("later", &[302, 401, 403, 404, 407, 408, 429, 502, 503, 504]),
            ("never", &[400, 405, 409, 413, 415, 422]),
            ("perhaps never", &[500, 501, 505]),
        ] {
            for status in statuses {
                assert_eq!(means(*status), expected, "{status}");
            }
        }
    }
}
