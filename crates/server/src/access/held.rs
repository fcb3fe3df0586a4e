//! Streams that are held open end when the key or the session with which they were opened counts no more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use engine::{Engine, Proved};
use hyper::body::{Frame, SizeHint};
use kernel::access::{Permission, Permissions, Principal};

use super::session::Sessions;

/// Until when a stream may go on.
pub(super) struct Lease {
    engine: Engine,
    principal: Arc<str>,
    generation: u64,
    /// The task hub that it attends; `None` for one that shows what happens.
    hub: Option<Arc<str>>,
    /// The session in which it was opened, by its id.
    session: Option<(Arc<Sessions>, String)>,
}

impl Lease {
    pub(super) fn new(
        engine: Engine,
        principal: &Principal,
        hub: Option<Arc<str>>,
        session: Option<(Arc<Sessions>, String)>,
    ) -> Self {
        let Principal { id, generation, .. } = principal;
        Self { engine, principal: id.clone(), generation: *generation, hub, session }
    }

    /// Resolves when the key was revoked or has expired, the user was disabled or has signed out, or what
    /// the stream needs was taken away.
    async fn ended(self) {
        let mut revoked = self.engine.access().revoked();
        let mut signed_out = self.session.as_ref().map(|(sessions, _)| sessions.ended());
        loop {
            if self.session.as_ref().is_some_and(|(sessions, id)| !sessions.is_still_open(id)) {
                return;
            }
            let now = self.engine.now();
            match self.engine.access().standing(&self.principal, self.generation, now) {
                Proved::Known(who) if self.is_allowed(&who) => {}
                _ => return,
            }
            let some_signed_out = async {
                match &mut signed_out {
                    Some(ended) => ended.changed().await,
                    None => std::future::pending().await,
                }
            };
            let changed = tokio::select! {
                changed = revoked.changed() => changed,
                changed = some_signed_out => changed,
                () = tokio::time::sleep(LOOK_AFTER) => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    fn is_allowed(&self, who: &Principal) -> bool {
        match &self.hub {
            Some(hub) => who.covers_hub(WORK, hub),
            None => who.may(Permission::Read),
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
                "the key was revoked or has expired, its user has signed out, or the hub is no longer \
                 granted to it",
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

/// Whether the answer goes on for as long as the caller likes, so that it must end with its key.
pub(super) fn is_held_open(request: &Request) -> bool {
    let path = request.uri().path();
    path == crate::console::FEED
        || crate::guard::is_grpc(request.headers()) && path.ends_with("/GetWorkItems")
}
