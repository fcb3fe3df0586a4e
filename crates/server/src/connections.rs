//! Keeps the port open to everybody while some peers are silent, slow or many.
//!
//! When the connections are used up, the one that has sent nothing for the longest time makes room
//! for the next; one whose request is complete and being answered is never closed for another. A
//! request body must arrive at a lowest rate, and the requests that are being answered are bounded
//! over all connections.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// Requests being answered at once, over all connections; further ones are refused with 503. Long
/// polls and waits for orchestrations count while they wait.
const REQUESTS_MAX: usize = 20_000;
/// Lowest rate of a request body, in bytes per second, once its first time is over.
const BODY_RATE_MIN: u64 = 4 << 10;
/// How long a connection that makes room may take to leave before the next one is asked as well.
const LEAVE_MAX: Duration = Duration::from_millis(20);
/// Connections that are asked to make room for one.
const ASKED_MAX: usize = 4;

/// The connections of one port.
pub(crate) struct Connections {
    room: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Peer>>>,
    next: AtomicU64,
    begun: Instant,
    /// Longest silence within a request body, and the time of a whole one, to which each
    /// [`BODY_RATE_MIN`] bytes add a second.
    body_time: Duration,
}

/// What is known of the peer on one connection.
struct Peer {
    /// When it last sent something, in milliseconds after the port was opened.
    heard: AtomicU64,
    /// Its requests that have arrived whole and are being answered.
    answering: AtomicUsize,
    /// Ends the connection.
    closed: CancellationToken,
}

/// One connection; it leaves its place when this is dropped.
pub(crate) struct Connection {
    of: Arc<Connections>,
    id: u64,
    peer: Arc<Peer>,
    _room: OwnedSemaphorePermit,
}

impl Connections {
    /// Room for so many connections, at least one, whose request bodies may be silent for `body_time`.
    pub(crate) fn new(most: usize, body_time: Duration) -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(most.max(1))),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            begun: Instant::now(),
            body_time,
        })
    }

    /// A place for a connection; if there is none, one that is idle is closed for it. `None` if
    /// every connection is being answered, or those that are to make room do not leave.
    pub(crate) async fn enter(self: &Arc<Self>) -> Option<Connection> {
        let mut room = self.room.clone().try_acquire_owned().ok();
        for _ in 0..ASKED_MAX {
            if room.is_some() || !self.close_the_idlest() {
                break;
            }
            let freed = self.room.clone().acquire_owned();
            room = tokio::time::timeout(LEAVE_MAX, freed).await.ok().and_then(Result::ok);
        }
        let room = room?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let peer = Arc::new(Peer {
            heard: AtomicU64::new(self.clock()),
            answering: AtomicUsize::new(0),
            closed: CancellationToken::new(),
        });
        self.open.lock().insert(id, peer.clone());
        Some(Connection { of: self.clone(), id, peer, _room: room })
    }

    /// Milliseconds since the port was opened.
    fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether one makes room, now or since an earlier call.
    fn close_the_idlest(&self) -> bool {
        let open = self.open.lock();
        let idle = open.values().filter(|peer| {
            peer.answering.load(Ordering::Relaxed) == 0 && !peer.closed.is_cancelled()
        });
        match idle.min_by_key(|peer| peer.heard.load(Ordering::Relaxed)) {
            Some(idlest) => idlest.closed.cancel(),
            None => return open.values().any(|peer| peer.closed.is_cancelled()),
        }
        true
    }
}

impl Connection {
    /// Resolves when the connection has to make room.
    pub(crate) async fn closed(&self) {
        self.peer.closed.cancelled().await;
    }

    /// A place for one request; none if too many are being answered already.
    pub(crate) fn request(&self) -> Option<Request> {
        self.heard();
        let place = self.of.requests.clone().try_acquire_owned().ok()?;
        Some(Request { peer: self.peer.clone(), is_whole: false, _place: place })
    }

    /// The body of a request on this connection, watched while it arrives.
    pub(crate) fn arriving<B>(&self, body: B, request: Request) -> (Arriving<B>, RequestHandle)
    where
        B: Body,
    {
        let handle = RequestHandle(Arc::new(Mutex::new(request)));
        if body.is_end_stream() {
            handle.whole();
        }
        let now = Instant::now();
        let arriving = Arriving {
            body,
            of: self.of.clone(),
            peer: self.peer.clone(),
            request: handle.clone(),
            begun: now,
            received: 0,
            alarm: None,
        };
        (arriving, handle)
    }

    fn heard(&self) {
        self.peer.heard.store(self.of.clock(), Ordering::Relaxed);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.of.open.lock().remove(&self.id);
    }
}

/// The place of one request among those that are being answered.
pub(crate) struct Request {
    peer: Arc<Peer>,
    is_whole: bool,
    _place: OwnedSemaphorePermit,
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.is_whole {
            self.peer.answering.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A request that its body and its answer share.
#[derive(Clone)]
pub(crate) struct RequestHandle(Arc<Mutex<Request>>);

impl RequestHandle {
    /// It has arrived: from now on its connection is not closed for another.
    fn whole(&self) {
        let mut request = self.0.lock();
        if !request.is_whole {
            request.is_whole = true;
            request.peer.answering.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A request body that must go on arriving.
pub(crate) struct Arriving<B> {
    body: B,
    of: Arc<Connections>,
    peer: Arc<Peer>,
    request: RequestHandle,
    begun: Instant,
    received: u64,
    /// Set while the peer is waited for.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<B> Arriving<B> {
    /// When the peer has been slow for too long.
    fn deadline(&self) -> Instant {
        let rate = Duration::from_secs(self.received / BODY_RATE_MIN);
        let time = self.of.body_time;
        (self.begun + time + rate).min(Instant::now() + time)
    }
}

impl<B> Body for Arriving<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            let (deadline, time) = (this.deadline(), this.of.body_time);
            let alarm =
                this.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            return match alarm.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Box::new(TooSlow(time))))),
                Poll::Pending => Poll::Pending,
            };
        };
        this.alarm = None;
        this.peer.heard.store(this.of.clock(), Ordering::Relaxed);
        if let Some(Ok(frame)) = &frame {
            this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        if frame.is_none() || this.body.is_end_stream() {
            this.request.whole();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body; the request counts as being answered until it has been sent.
pub(crate) struct Leaving<B> {
    pub(crate) body: B,
    pub(crate) request: RequestHandle,
}

impl<B: Body + Unpin> Body for Leaving<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        // What answers before the whole body came is not closed under its answer, either.
        self.request.whole();
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a request body is not waited for any longer.
#[derive(Debug)]
pub(crate) struct TooSlow(Duration);

impl fmt::Display for TooSlow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "it arrived too slowly: a body may be silent for {} s and must come at {} KiB/s or more",
            self.0.as_secs(),
            BODY_RATE_MIN >> 10
        )
    }
}

impl Error for TooSlow {}

/// Whether an error comes from a body that was too slow.
pub(crate) fn is_too_slow(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TooSlow>() {
            return true;
        }
        cause = error.source();
    }
    false
}
