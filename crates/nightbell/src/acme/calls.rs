//! Calls to the authority go out as all others do: by the one dialer, within its policy and its limits.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request as HttpRequest, Response as HttpResponse};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tasks::http::{Client, Request};

/// How long the authority may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls the authority.
pub(super) struct Caller(pub(super) Client);

impl HttpClient for Caller {
    fn request(
        &self,
        request: HttpRequest<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(Body::new(body), usize::MAX).await.map_err(other)?;
            let url = head.uri.to_string().parse().map_err(other)?;
            let mut sent = Request::new(head.method, url);
            sent.headers = head.headers;
            sent.body = Some(body).filter(|body| !body.is_empty());
            sent.connect_timeout = Some(PATIENCE);
            sent.read_timeout = Some(PATIENCE);
            let problem = |problem: tasks::http::Problem| other(io::Error::other(problem.message));
            let given = client.send(&sent).await.map_err(problem)?;
            let mut answer =
                HttpResponse::builder().status(given.status).body(()).map_err(other)?;
            *answer.headers_mut() = given.headers;
            Ok(BytesResponse { parts: answer.into_parts().0, body: Box::new(given.body) })
        })
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}
