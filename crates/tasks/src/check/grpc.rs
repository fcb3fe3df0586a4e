//! `CHECK_GRPC`: does a service say that it serves? Asks by the gRPC health checking protocol
//! (`grpc.health.v1.Health/Check`), as probes of Kubernetes and load balancers do.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Uri};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kernel::alert::Status;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::order::{Order, span};
use super::seen::{Seen, attrs};
use super::{Means, Source, Trouble, http as web, tcp, tls, unknown, wrong};

/// Bytes of an answer that are read at most; a sound one has two.
const ANSWER_MAX: usize = 4 << 10;

/// Asks a service how it is.
pub(super) struct Grpc;

#[async_trait]
impl Source for Grpc {
    const TYPE: &'static str = "CHECK_GRPC";

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let (host, port) = tcp::address(order)?;
        let left_min = span(&order.settings, "tls_expiry")?;
        let secure = order.wants_tls()? || left_min.is_some();
        let service = order.settings.text("service")?.unwrap_or_default();
        let request = request(&service, order)?;
        let scheme = if secure { "https" } else { "http" };
        let origin = format!("{scheme}://{host}:{port}");
        let origin = origin.parse().map_err(|error| wrong(format!("{host}:{port}: {error}")))?;
        let begun = Instant::now();
        let talk = async {
            let stream = tls::connect(&host, port, means).await?;
            if !secure {
                return Ok((ask(stream, origin, request).await?, None));
            }
            let stream = tls::secure_for(stream, &host, order, &[b"h2"]).await?;
            let end = tls::expiry(&stream)?;
            Ok((ask(stream, origin, request).await?, Some(end)))
        };
        let what = format!("the check of {host}:{port}");
        let (answer, end) = match order.within(&what, Box::pin(talk)).await {
            Ok(found) => found,
            // The server is what is watched: that it does not answer is what was to be found out.
            Err(Trouble::Unknown(text)) => {
                return Ok(Seen::one(Status::Fail, &text, json!(null), attrs(json!({}))));
            }
            Err(wrong) => return Err(wrong),
        };
        let ms = begun.elapsed().as_millis() as u64;
        let name = if service.is_empty() { format!("{host}:{port}") } else { service };
        let said = attrs(json!({ "ms": ms, "serving": answer.as_str_name() }));
        if answer != ServingStatus::Serving {
            let text = format!("{name} says {}", answer.as_str_name());
            return Ok(Seen::one(Status::Fail, &text, ms.into(), said));
        }
        let mut seen = (Status::Ok, format!("{name} is serving"), said);
        if let (Some(end), Some(left_min)) = (end, left_min) {
            web::expiry(&mut seen, end, left_min, order);
        }
        Ok(Seen::one(seen.0, &seen.1, ms.into(), seen.2))
    }
}

/// The question, with the metadata that the settings give.
fn request(service: &str, order: &Order) -> Result<Request<HealthCheckRequest>, Trouble> {
    let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
    let mut headers = http::HeaderMap::new();
    let given = match order.settings.get("headers") {
        Some(Value::Object(given)) => Some(given),
        Some(_) => return Err(wrong("`headers` must be a map")),
        None => None,
    };
    for (name, value) in given.into_iter().flatten() {
        let name: HeaderName = name
            .to_ascii_lowercase()
            .parse()
            .map_err(|_| wrong(format!("`headers`: {name:?} is no name of a header")))?;
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        headers.insert(name, header(&value, "headers")?);
    }
    if let Some(token) = order.settings.text("bearer")? {
        headers.insert(http::header::AUTHORIZATION, header(&format!("Bearer {token}"), "bearer")?);
    }
    *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers);
    Ok(request)
}

fn header(value: &str, setting: &str) -> Result<HeaderValue, Trouble> {
    value.parse().map_err(|_| wrong(format!("`{setting}` holds what no header may hold")))
}

/// Asks once over a connection that is there, and ends it.
async fn ask<S>(
    stream: S,
    origin: Uri,
    request: Request<HealthCheckRequest>,
) -> Result<ServingStatus, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let hand = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream));
    let (sender, connection) =
        hand.await.map_err(|error| unknown(format!("it speaks no HTTP/2: {error}")))?;
    let talk = async move {
        let call = tower::service_fn(move |request| {
            let mut sender = sender.clone();
            async move { sender.send_request(request).await }
        });
        let mut client =
            HealthClient::with_origin(call, origin).max_decoding_message_size(ANSWER_MAX);
        client.check(request).await
    };
    // The connection lives as long as the question: nothing is left behind when the check ends.
    let answer = tokio::select! {
        biased;
        answer = talk => answer,
        ended = connection => return Err(unknown(match ended {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) => format!("the connection broke off: {error}"),
        })),
    };
    match answer {
        Ok(answer) => Ok(answer.into_inner().status()),
        Err(status) => Err(match status.code() {
            Code::NotFound => unknown("it does not know this service"),
            Code::Unimplemented => unknown("it has no health service (grpc.health.v1.Health)"),
            // It answers, but not us: nobody can tell how it is.
            Code::Unauthenticated | Code::PermissionDenied => {
                wrong(format!("it refuses the credentials: {}", status.message()))
            }
            code => unknown(format!("{code:?}: {}", status.message())),
        }),
    }
}
