//! Keeps the port open to everybody while some peers are silent, slow or many.
//!
//! When the connections are used up, the one that has sent nothing for the longest time makes room
//! for the next; one whose request is complete and being answered is never closed for another. A
//! request body must arrive at a lowest rate, and the requests that are being answered are bounded
//! over all connections. One address gets a share of the connections and of the requests, so that no
//! single machine can use them up.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::room::{self, NoRoom, Room, SMALL_MAX, Share};

/// Requests being answered at once, over all connections; further ones are refused with 503. Long
/// polls and waits for orchestrations count while they wait.
const REQUESTS_MAX: usize = 20_000;
/// Of these, those of one address.
const REQUESTS_PER_ADDRESS: usize = REQUESTS_MAX / 2;
/// Lowest rate of a request body, in bytes per second, once its first time is over.
const BODY_RATE_MIN: u64 = 4 << 10;
/// The same for a large body while bodies take more than half of their memory: what comes slowly must
/// not hold it for long.
const SCARCE_RATE_MIN: u64 = 256 << 10;
/// How often it is looked at whether a large body comes fast enough.
const LOOK: Duration = Duration::from_secs(1);
/// How long a connection that makes room may take to leave before the next one is asked as well.
const LEAVE_MAX: Duration = Duration::from_millis(20);
/// Connections that are asked to make room for one.
const ASKED_MAX: usize = 4;

/// The connections of one port.
pub(crate) struct Connections {
    room: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    bodies: Arc<Room>,
    open: Mutex<Open>,
    next: AtomicU64,
    begun: Instant,
    bounds: Bounds,
}

/// What the peers of a port may take of it.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Connections at once; at least one.
    pub(crate) most: usize,
    /// Connections of one address; at most half of all.
    pub(crate) per_address: usize,
    /// From where connections of many peers come: the bounds of one address do not hold. They do
    /// not for this machine, either.
    pub(crate) proxies: Vec<IpNet>,
    /// Longest silence within a request body, and the time of a whole one, to which each
    /// [`BODY_RATE_MIN`] bytes add a second.
    pub(crate) body_time: Duration,
    /// Bytes of all request bodies together, of those that arrive and of those that are worked on.
    pub(crate) bodies_max: usize,
}

#[derive(Default)]
struct Open {
    peers: HashMap<u64, Arc<Peer>>,
    addresses: HashMap<IpAddr, Arc<Address>>,
}

/// What comes from one address.
#[derive(Default)]
struct Address {
    /// Changed by whoever holds the lock of [`Connections::open`].
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// Why there is no place for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are being answered.
    All,
    /// All of its address are.
    Address,
}

/// What is known of the peer on one connection.
struct Peer {
    /// From where it comes, if that is bounded.
    from: Option<(IpAddr, Arc<Address>)>,
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
    /// No connections yet.
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(bounds.most.max(1))),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            bodies: Room::new(bounds.bodies_max),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            begun: Instant::now(),
            bounds,
        })
    }

    /// A place for a connection; if there is none, one that is idle is closed for it.
    ///
    /// # Errors
    /// Every connection is being answered, or every one of its address, or those that are to make
    /// room do not leave.
    pub(crate) async fn enter(self: &Arc<Self>, from: IpAddr) -> Result<Connection, Full> {
        let from = self.bounded(from);
        if let Some(from) = from
            && !self.has_room_for(from)
        {
            return Err(Full::Address);
        }
        let mut room = self.room.clone().try_acquire_owned().ok();
        for _ in 0..ASKED_MAX {
            if room.is_some() || !close_the_idlest(self.open.lock().peers.values()) {
                break;
            }
            let freed = self.room.clone().acquire_owned();
            room = tokio::time::timeout(LEAVE_MAX, freed).await.ok().and_then(Result::ok);
        }
        let room = room.ok_or(Full::All)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.lock();
        let from = from.map(|ip| (ip, open.addresses.entry(ip).or_default().clone()));
        if let Some((_, address)) = &from {
            address.connections.fetch_add(1, Ordering::Relaxed);
        }
        let peer = Arc::new(Peer {
            from,
            heard: AtomicU64::new(self.clock()),
            answering: AtomicUsize::new(0),
            closed: CancellationToken::new(),
        });
        open.peers.insert(id, peer.clone());
        drop(open);
        Ok(Connection { of: self.clone(), id, peer, _room: room })
    }

    /// The address that is bounded for a peer: of IPv6 the network that one machine has to itself.
    fn bounded(&self, ip: IpAddr) -> Option<IpAddr> {
        let ip = ip.to_canonical();
        if ip.is_loopback() || self.bounds.proxies.iter().any(|net| net.contains(&ip)) {
            return None;
        }
        Some(match ip {
            IpAddr::V4(_) => ip,
            IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
        })
    }

    /// Whether an address may have one more connection; its idlest one is closed for it if need be.
    fn has_room_for(&self, ip: IpAddr) -> bool {
        let most = self.bounds.per_address.min(self.bounds.most / 2).max(1);
        let open = self.open.lock();
        let known = open.addresses.get(&ip);
        if known.is_none_or(|address| address.connections.load(Ordering::Relaxed) < most) {
            return true;
        }
        let is_its = |peer: &&Arc<Peer>| peer.from.as_ref().is_some_and(|(from, _)| *from == ip);
        let its = || open.peers.values().filter(is_its);
        // Those that are being closed are on their way out.
        its().filter(|peer| !peer.closed.is_cancelled()).count() < most || close_the_idlest(its())
    }

    /// Milliseconds since the port was opened.
    fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Whether one makes room, now or since an earlier call.
fn close_the_idlest<'a>(peers: impl Iterator<Item = &'a Arc<Peer>>) -> bool {
    let (closing, open): (Vec<_>, Vec<_>) = peers.partition(|peer| peer.closed.is_cancelled());
    let idle = open.into_iter().filter(|peer| peer.answering.load(Ordering::Relaxed) == 0);
    match idle.min_by_key(|peer| peer.heard.load(Ordering::Relaxed)) {
        Some(idlest) => idlest.closed.cancel(),
        None => return !closing.is_empty(),
    }
    true
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
        let body = Share::of(&self.of.bodies);
        let request = Request { peer: self.peer.clone(), is_whole: false, body, _place: place };
        let Some((_, address)) = &self.peer.from else { return Some(request) };
        // Counted down again when it is dropped.
        let before = address.requests.fetch_add(1, Ordering::Relaxed);
        (before < REQUESTS_PER_ADDRESS).then_some(request)
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
            silent_since: None,
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
        let mut open = self.of.open.lock();
        open.peers.remove(&self.id);
        if let Some((ip, address)) = &self.peer.from
            && address.connections.fetch_sub(1, Ordering::Relaxed) == 1
        {
            open.addresses.remove(ip);
        }
    }
}

/// The place of one request among those that are being answered.
pub(crate) struct Request {
    peer: Arc<Peer>,
    is_whole: bool,
    /// What its body takes in memory.
    body: Share,
    _place: OwnedSemaphorePermit,
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some((_, address)) = &self.peer.from {
            address.requests.fetch_sub(1, Ordering::Relaxed);
        }
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

    /// Nobody needs its body any more.
    pub(crate) fn body_is_done(&self) {
        self.0.lock().body.give_back();
    }
}

tokio::task_local! {
    /// The request that is being answered.
    pub(crate) static ANSWERED: RequestHandle;
}

/// For whoever has taken what the body said, and begins to wait: its memory is for others now.
pub(crate) fn body_is_done() {
    // Without a connection there is none.
    let _ = ANSWERED.try_with(RequestHandle::body_is_done);
}

/// A request body that must go on arriving.
pub(crate) struct Arriving<B> {
    body: B,
    of: Arc<Connections>,
    peer: Arc<Peer>,
    request: RequestHandle,
    begun: Instant,
    received: u64,
    /// Since when the peer is waited for.
    silent_since: Option<Instant>,
    /// Set while the peer is waited for.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<B> Arriving<B> {
    /// When the peer has been slow for too long.
    fn deadline(&self, silent_since: Instant) -> Instant {
        let is_urgent = self.received > SMALL_MAX && self.of.bodies.is_scarce();
        let rate = if is_urgent { SCARCE_RATE_MIN } else { BODY_RATE_MIN };
        let time = self.of.bounds.body_time;
        (self.begun + time + Duration::from_secs(self.received / rate)).min(silent_since + time)
    }

    /// Waits for the peer; ready when it has been slow for too long.
    fn poll_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let silent_since = *self.silent_since.get_or_insert(now);
        let deadline = self.deadline(silent_since);
        // Of a large body the deadline depends on what others send meanwhile.
        let wake = if self.received > SMALL_MAX { deadline.min(now + LOOK) } else { deadline };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(wake)));
        while alarm.as_mut().poll(context).is_ready() {
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(wake);
        }
        Poll::Pending
    }

    /// Counts what came.
    fn take(&mut self, bytes: u64) -> Result<(), NoRoom> {
        self.received += bytes;
        self.request.0.lock().body.grow(bytes).map_err(|room::Full| NoRoom::new())
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
            let time = this.of.bounds.body_time;
            return this.poll_slow(context).map(|()| Some(Err(TooSlow(time).into())));
        };
        (this.alarm, this.silent_since) = (None, None);
        this.peer.heard.store(this.of.clock(), Ordering::Relaxed);
        if let Some(Ok(frame)) = &frame
            && let Err(no_room) = this.take(frame.data_ref().map_or(0, |data| data.len() as u64))
        {
            return Poll::Ready(Some(Err(no_room.into())));
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
    /// What the answer takes in memory, if that is counted.
    pub(crate) share: Option<Arc<Share>>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Leaving<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // What answers before the whole body came is not closed under its answer, either.
        self.request.whole();
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let Some(share) = &self.share else { return frame };
        frame.map_ok(|frame| frame.map_data(|data| room::keep(data, share)))
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

/// Whether an error of a body is of this kind, or comes from one.
pub(crate) fn is_from<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod attacks {
    use super::*;

    fn port(most: usize, per_address: usize) -> Arc<Connections> {
        let proxies = vec!["10.9.0.0/16".parse().expect("a network")];
        let body_time = Duration::from_secs(30);
        let bodies_max = 1 << 30;
        Connections::new(Bounds { most, per_address, proxies, body_time, bodies_max })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// A request that has arrived and is being answered.
    fn answered(connection: &Connection) -> RequestHandle {
        let request = connection.request().expect("there is room");
        connection.arriving(http_body_util::Empty::<Bytes>::new(), request).1
    }

    #[tokio::test]
    async fn silent_connections_of_one_address_make_room_for_its_own_only() {
        let port = port(100, 3);
        let other = port.enter(ip("192.0.2.2")).await.expect("a place");
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(port.enter(ip("192.0.2.1")).await.expect("a place"));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let fourth = port.enter(ip("192.0.2.1")).await.expect("the first makes room");
        held[0].closed().await;
        for still in [&held[1], &held[2], &fourth, &other] {
            assert!(!still.peer.closed.is_cancelled());
        }
    }

    #[tokio::test]
    async fn an_address_whose_connections_are_all_answered_is_refused_and_others_are_not() {
        let port = port(100, 3);
        let mut busy = Vec::new();
        for _ in 0..3 {
            let connection = port.enter(ip("2001:db8::1")).await.expect("a place");
            busy.push((answered(&connection), connection));
        }
        // The same machine has many addresses of one network.
        assert_eq!(port.enter(ip("2001:db8::2")).await.err(), Some(Full::Address));
        assert!(port.enter(ip("2001:db8:0:1::1")).await.is_ok());
        assert!(port.enter(ip("192.0.2.1")).await.is_ok());
        busy.pop();
        assert!(port.enter(ip("2001:db8::2")).await.is_ok(), "one has gone");
        drop(busy);
        assert!(port.open.lock().addresses.is_empty(), "nothing is remembered of who has gone");
    }

    #[tokio::test]
    async fn one_address_never_has_more_than_half_of_all_connections() {
        let port = port(4, 1000);
        let mut busy = Vec::new();
        for _ in 0..2 {
            let connection = port.enter(ip("192.0.2.1")).await.expect("a place");
            busy.push((answered(&connection), connection));
        }
        assert_eq!(port.enter(ip("192.0.2.1")).await.err(), Some(Full::Address));
        // Many come by this machine, and by a proxy.
        for peer in ["127.0.0.1", "10.9.8.7"] {
            let connection = port.enter(ip(peer)).await.expect("a place");
            busy.push((answered(&connection), connection));
        }
        assert_eq!(port.enter(ip("::ffff:127.0.0.1")).await.err(), Some(Full::All));
    }

    /// A body that goes on for ever, in steps.
    struct Dripping {
        step: usize,
        every: tokio::time::Interval,
    }

    impl Body for Dripping {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let frame = Frame::data(Bytes::from(vec![b' '; self.step]));
            self.every.poll_tick(context).map(|_| Some(Ok(frame)))
        }
    }

    /// Reads a body that comes in steps of so many bytes a second, for so long at most; answers when it
    /// was given up.
    async fn given_up(step: usize, most: Duration) -> Option<Duration> {
        let port = port(100, 50);
        let connection = port.enter(ip("192.0.2.1")).await.expect("a place");
        let request = connection.request().expect("there is room");
        let every = tokio::time::interval(Duration::from_secs(1));
        let (mut body, _handle) = connection.arriving(Dripping { step, every }, request);
        let begun = Instant::now();
        let arriving = async {
            while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
                if let Err(error) = frame {
                    assert!(is_from::<TooSlow>(&*error), "{error}");
                    return begun.elapsed();
                }
            }
            unreachable!("it goes on for ever")
        };
        tokio::time::timeout(most, arriving).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up_though_it_is_never_silent() {
        let given_up = async |step| given_up(step, Duration::from_hours(1)).await;
        let (one, half) = (given_up(1).await, given_up(BODY_RATE_MIN as usize / 2).await);
        let seconds = |given_up: Option<Duration>| given_up.expect("it is too slow").as_secs();
        assert_eq!(seconds(one), 30, "its first time is all it has");
        // Each second of time earns half a second of it.
        assert!((59..=62).contains(&seconds(half)), "{half:?}");
        // At the lowest rate it may go on; an hour of it is as good as for ever.
        assert_eq!(given_up(BODY_RATE_MIN as usize).await, None);
    }

    #[tokio::test]
    async fn the_requests_of_one_address_leave_room_for_others() {
        let port = port(100, 50);
        let connection = port.enter(ip("192.0.2.1")).await.expect("a place");
        let held: Vec<_> = std::iter::from_fn(|| connection.request()).collect();
        assert_eq!(held.len(), REQUESTS_PER_ADDRESS);
        let other = port.enter(ip("192.0.2.2")).await.expect("a place");
        assert!(other.request().is_some());
        drop(held);
        assert!(connection.request().is_some());
    }
}
