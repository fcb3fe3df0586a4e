//! `/console/feed`: tells open pages what was committed, so that they look again at what has changed.
//!
//! One stream of server-sent events per visible page. It says what (topic, id, version) and never how;
//! who comes back after too long is told to look at everything. Streams have places of their own, so that
//! open pages never take the connections of workers.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use console::Pairs;
use engine::{Changed, Committed, Engine};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kernel::access::Permission;
use kernel::{ExecutionId, MachineKind};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use utoipa_axum::routes;

use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

/// Where the stream is.
pub(crate) const FEED: &str = "/console/feed";
/// Streams at once.
const STREAMS_MAX: usize = 2000;
/// Between signs of life: proxies close what is silent for longer.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Commits within this time are told together, so that no page is told more than four times a second.
const TOGETHER: Duration = Duration::from_millis(250);
/// The same while they go on without a pause: a thousand pages that are told four times a second take a
/// twentieth of a core, and as much again of whoever reads.
const WHILE_BUSY: Duration = Duration::from_millis(500);
/// Between looks at commits that a page is not about: a busy server has thousands a second of them.
const APART: Duration = Duration::from_millis(100);
/// Machines named in one message; when more have changed, the page is told to look at everything.
const NAMED_MAX: usize = 100;
/// Streams that wake up within this time are told of the same commits.
const MOMENT: Duration = Duration::from_millis(20);
/// Events that are kept for other streams: those of a moment, for pages of many kinds.
const WRITTEN_MAX: usize = 64;

pub(crate) fn routes() -> Routes {
    let streams =
        Streams { places: Arc::new(Semaphore::new(STREAMS_MAX)), written: Arc::default() };
    Routes::new().on(Permission::Read, routes!(feed)).layer(Extension(streams))
}

/// What all streams share.
#[derive(Clone)]
struct Streams {
    places: Arc<Semaphore>,
    written: Arc<Written>,
}

/// Events that were written last: pages that are about the same wake up together, and are told the same.
#[derive(Default)]
struct Written {
    events: Mutex<VecDeque<(Window, Option<Bytes>)>>,
    /// Where the last window ended, and when.
    end: Mutex<Option<(Instant, u64)>>,
}

/// What an event tells of: the commits after a number, up to another one, as far as they are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    after: u64,
    newest: u64,
    wanted: Arc<Wanted>,
}

impl Written {
    /// Where a window ends that begins after a number: where another one ended a moment ago, if that is
    /// later, so that the two are equal; otherwise at the newest commit.
    fn end(&self, after: u64, newest: u64) -> u64 {
        let mut end = self.end.lock();
        match *end {
            Some((at, number)) if number > after && number < newest && at.elapsed() < MOMENT => {
                number
            }
            _ => {
                *end = Some((Instant::now(), newest));
                newest
            }
        }
    }

    /// The event, which is written if nobody was told the same a moment ago.
    fn event(&self, window: &Window, write: impl FnOnce() -> Option<String>) -> Option<Bytes> {
        let known =
            self.events.lock().iter().rev().find(|(it, _)| it == window).map(|(_, it)| it.clone());
        if let Some(event) = known {
            return event;
        }
        let event = write().map(Bytes::from);
        let mut written = self.events.lock();
        if written.len() == WRITTEN_MAX {
            written.pop_front();
        }
        written.push_back((window.clone(), event.clone()));
        event
    }
}

/// Which commits a page is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    topics: Vec<String>,
    /// Only those of this machine.
    id: Option<ExecutionId>,
}

impl Wanted {
    fn of(pairs: &Pairs) -> Self {
        let topics = pairs.get("topics").unwrap_or_default().split(',');
        let topics = topics.filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
        Self { topics, id: pairs.get("id").map(ExecutionId::new) }
    }

    fn includes(&self, committed: &Committed) -> bool {
        let topics = topics(&committed.what);
        // Whoever looks at one machine may show what else was changed beside it.
        let is_meant = match (&committed.what, &self.id) {
            (Changed::Machine(id), Some(wanted)) => id == wanted,
            (Changed::Machine(_) | Changed::Documents, _) => true,
        };
        is_meant
            && (self.topics.is_empty()
                || topics.iter().any(|it| self.topics.iter().any(|topic| topic == it)))
    }
}

/// What a page calls the machines of a kind, and all that is none. Incidents are part of their monitor.
fn topics(what: &Changed) -> &'static [&'static str] {
    let Changed::Machine(id) = what else { return &["change"] };
    match id.machine() {
        MachineKind::Execution | MachineKind::Instance => &["run"],
        MachineKind::Schedule => &["schedule", "firing"],
        MachineKind::Monitor => &["monitor", "incident"],
        MachineKind::Entity => &["entity"],
    }
}

/// Streams what is committed from now on, or since the event that `Last-Event-ID` names
/// (server-sent events). `topics` are `run`, `monitor`, `incident`, `schedule`, `firing`, `entity`
/// and `change` (of definitions, secrets, silences, accounts), separated by commas; `id` names one
/// machine. The event `reload` says that something may have been missed.
#[utoipa::path(
    get, path = "/console/feed", tag = "console",
    params(
        ("topics" = Option<String>, Query, description = "What to tell of; everything by default"),
        ("id" = Option<String>, Query, description = "Only this run, monitor or schedule"),
    ),
    responses(
        (status = 200, description = "The events", content_type = "text/event-stream", body = String),
        (status = 503, description = "Too many pages are open"),
    )
)]
async fn feed(
    State(api): State<Api>,
    Extension(streams): Extension<Streams>,
    request: Request,
) -> Response {
    let Ok(place) = streams.places.try_acquire_owned() else {
        let message = "too many pages of the console are open";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "feed-full", message)
            .with_hint("Pages are whole without it: they look again every ten seconds.")
            .into_response();
    };
    let pairs = Pairs::parse(request.uri().query().unwrap_or_default());
    let newest = api.engine.feed().watch();
    let epoch = api.engine.feed().since().millis();
    let told = last_told(request.headers(), &pairs);
    let stream = Stream {
        wanted: Arc::new(Wanted::of(&pairs)),
        written: streams.written,
        told: match told {
            Some((of, number)) if of == epoch => number,
            // Of an earlier process: what happened meanwhile is not known.
            Some(_) => u64::MAX,
            None => *newest.borrow(),
        },
        engine: api.engine,
        newest,
        epoch,
        has_begun: false,
        looks_at: Instant::now() + TOGETHER,
        _place: place,
    };
    let frames = futures_util::stream::unfold(stream, |mut stream| async move {
        let text = stream.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(text)), stream))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::new(StreamBody::new(frames))).into_response()
}

/// The process and the number of the last event that a browser has seen: it says so itself when it
/// connects again, and in the address when a page that was hidden does.
fn last_told(headers: &HeaderMap, pairs: &Pairs) -> Option<(i64, u64)> {
    let header = headers.get("last-event-id").and_then(|it| it.to_str().ok());
    let (epoch, number) = header.or_else(|| pairs.get("after"))?.split_once('-')?;
    Some((epoch.parse().ok()?, number.parse().ok()?))
}

/// One page that listens.
struct Stream {
    engine: Engine,
    wanted: Arc<Wanted>,
    written: Arc<Written>,
    newest: watch::Receiver<u64>,
    /// When the process began: numbers of another one mean nothing.
    epoch: i64,
    /// The last commit that was looked at.
    told: u64,
    has_begun: bool,
    /// Before that it does not look for commits.
    looks_at: Instant,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// The next piece of the stream; `None` at shutdown.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.has_begun {
            self.has_begun = true;
            let newest = *self.newest.borrow_and_update();
            let missed = self.news(newest).unwrap_or_default();
            // A browser waits so long before it connects again, and then says where it was, also if
            // nothing has been committed since.
            let mut begin =
                format!("retry: 3000\nid: {}-{}\n\n", self.epoch, self.told).into_bytes();
            begin.extend_from_slice(&missed);
            return Some(begin.into());
        }
        let mut quiet = std::pin::pin!(tokio::time::sleep(HEARTBEAT));
        loop {
            // The first commit after a quiet time is told at once, what follows it together.
            tokio::select! {
                () = self.engine.stopped() => return None,
                () = tokio::time::sleep_until(self.looks_at) => {}
            }
            let is_busy = self.newest.has_changed().ok()?;
            tokio::select! {
                biased;
                () = self.engine.stopped() => return None,
                () = &mut quiet => return Some(Bytes::from_static(b": still here\n\n")),
                changed = self.newest.changed() => changed.ok()?,
            }
            let newest = *self.newest.borrow_and_update();
            let end = self.written.end(self.told, newest);
            if end < newest {
                // The rest is told of next.
                self.newest.mark_changed();
            }
            let news = self.news(end);
            let pause = match news {
                None => APART,
                Some(_) if is_busy => WHILE_BUSY,
                Some(_) => TOGETHER,
            };
            self.looks_at = Instant::now() + pause;
            if news.is_some() {
                return news;
            }
        }
    }

    /// The event about what was committed since the last look, up to a number; `None` if this page is
    /// not about it.
    fn news(&mut self, newest: u64) -> Option<Bytes> {
        let window = Window { after: self.told, newest, wanted: self.wanted.clone() };
        self.told = newest;
        self.written.event(&window, || {
            let committed = self.engine.feed().after(window.after);
            event(committed, &window, self.epoch)
        })
    }
}

/// An event about those of the commits that are told of; `None` if there are none. If some are forgotten, it
/// says that everything is to be looked at.
fn event(committed: Option<Vec<Committed>>, window: &Window, epoch: i64) -> Option<String> {
    let reload = || Some(format!("event: reload\nid: {epoch}-{}\ndata: {{}}\n\n", window.newest));
    let Some(committed) = committed else { return reload() };
    let mut changed: BTreeMap<Changed, u64> = BTreeMap::new();
    for it in committed {
        if it.number <= window.newest && window.wanted.includes(&it) {
            changed.insert(it.what, it.version);
        }
    }
    if changed.is_empty() {
        return None;
    }
    if changed.len() > NAMED_MAX {
        return reload();
    }
    let named = changed.iter().map(|(what, version)| {
        let id = match what {
            Changed::Machine(id) => Some(id),
            Changed::Documents => None,
        };
        json!({ "topic": topics(what)[0], "id": id, "version": version })
    });
    let data = serde_json::Value::from(named.collect::<Vec<_>>());
    Some(format!("event: commit\nid: {epoch}-{}\ndata: {data}\n\n", window.newest))
}
