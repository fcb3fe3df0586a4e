//! Streams that are held open end when the key with which they were opened counts no more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use engine::{Engine, Proved};
use hyper::body::{Frame, SizeHint};
use kernel::access::{Permission, Permissions};

/// Until when a stream may go on.
pub(super) struct Lease {
    engine: Engine,
    principal: Arc<str>,
    /// The task hub that it attends.
    hub: Arc<str>,
}

impl Lease {
    pub(super) fn new(engine: Engine, principal: Arc<str>, hub: Arc<str>) -> Self {
        Self { engine, principal, hub }
    }

    /// Resolves when the key was revoked, has expired, or may not attend the hub any more.
    async fn ended(self) {
        let mut revoked = self.engine.access().revoked();
        let id = self.principal.strip_prefix("key:").unwrap_or(&self.principal);
        loop {
            let now = self.engine.now();
            match self.engine.access().principal(id, now) {
                Proved::Known(who) if who.covers_hub(WORK, &self.hub) => {}
                _ => return,
            }
            let changed = tokio::time::timeout(LOOK_AFTER, revoked.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return;
            }
        }
    }
}

/// What a worker needs on its hub.
const WORK: Permissions = Permissions::of(&[Permission::Work]);
/// How often to look whether a key has expired.
const LOOK_AFTER: std::time::Duration = std::time::Duration::from_mins(1);

/// A body that breaks off when its lease ends.
pub(super) fn until_revoked(body: Body, lease: Lease) -> Body {
    Body::new(Held { body, ended: Box::pin(lease.ended()) })
}

struct Held {
    body: Body,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended.as_mut().poll(context).is_ready() {
            let status = tonic::Status::unauthenticated(
                "the key was revoked or has expired, or the hub is no longer granted to it",
            );
            let mut trailers = http::HeaderMap::new();
            // A status always fits into headers.
            if status.add_header(&mut trailers).is_ok() && !self.body.is_end_stream() {
                self.body = Body::empty();
                self.ended = Box::pin(std::future::pending());
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
