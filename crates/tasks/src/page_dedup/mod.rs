//! Several servers that watch the same things page once: whoever is about to page claims it first,
//! in a place that all of them share.
//!
//! What is shared spares calls and doubled messages, and nothing depends on it. Every doubt is
//! decided for paging:
//!
//! - A claim is a lease. Who dies between the claim and the page loses it, and another pages.
//! - Who waits for another's page waits until that one is told as done, not until it is begun.
//! - Where the place does not answer, everybody pages. The receiver knows the incident by the same
//!   key from all of them, and shows it once.
//! - A page that was told counts for an hour and no longer, so that what somebody forgot to take
//!   back never hides a later one.
//!
//! The first server that sees the end of an incident resolves it for all.

mod redis;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use redis::Redis;

/// How long a claim holds: longer than any call to a receiver may take.
const LEASE: Duration = Duration::from_secs(30);
/// How long something that was told counts as told.
const TOLD: Duration = Duration::from_hours(1);
/// How long a check waits for its result to be noted.
const NOTE_MAX: Duration = Duration::from_millis(500);

/// Where claims are shared, and who claims.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The place.
    pub place: Place,
    /// Names this server among those that share the place; different in each process.
    pub server: String,
}

/// A Redis.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The number of the database.
    pub database: i64,
    /// Who logs in; absent = the default user.
    pub user: Option<String>,
    /// The password, if it wants one.
    pub password: Option<String>,
    /// Whether to speak TLS.
    pub secure: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}, database {}", self.host, self.port, self.database)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To say that something is wrong.
    Trigger,
    /// To say that it is over, since an instant in milliseconds since 1970.
    Resolve(i64),
}

impl Wish {
    const fn word(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Resolve(_) => "resolve",
        }
    }
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours to tell, and then to [settle](Claims::settle).
    Ours,
    /// Sent by another server, at that time.
    AlreadySent { by: String, at: String },
    /// Another server is about to tell it and has so long for it.
    Busy(Duration),
}

/// The place does not answer, or not as it should.
#[derive(Clone, Debug, thiserror::Error)]
#[error("Redis at {place}: {reason}")]
pub(crate) struct Away {
    place: Place,
    reason: String,
}

/// The place that servers share at the moment, if they do. Clones are the same; what is set in one
/// counts from the next page on.
#[derive(Clone, Default)]
pub struct Shared(Arc<RwLock<Option<Arc<Claims>>>>);

impl Shared {
    /// Shares another place, or none any more; contacts nobody.
    ///
    /// # Errors
    /// The settings cannot work; what was shared before still is.
    pub fn set(&self, settings: Option<&Settings>) -> Result<(), SetupError> {
        let claims = settings.map(Claims::new).transpose()?.map(Arc::new);
        *self.0.write() = claims;
        Ok(())
    }

    pub(crate) fn get(&self) -> Option<Arc<Claims>> {
        self.0.read().clone()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.get().is_some()).finish()
    }
}

/// Claims what is about to be told.
pub(crate) struct Claims {
    redis: Redis,
    server: String,
    /// It did not answer at last, and the log says so.
    away: AtomicBool,
}

impl Claims {
    /// Makes it; contacts nobody.
    ///
    /// # Errors
    /// The settings cannot work.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let redis = Redis::new(&settings.place)?;
        Ok(Self { redis, server: settings.server.clone(), away: AtomicBool::new(false) })
    }

    /// Tells once that the place went away, and once that it is back.
    fn seen<T>(&self, answer: Result<T, Away>) -> Result<T, Away> {
        let was = self.away.swap(answer.is_err(), Ordering::Relaxed);
        match &answer {
            Err(away) if !was => tracing::warn!("{away}: until it is back, each server pages"),
            Ok(_) if was => tracing::info!("Redis is back: one server pages for all"),
            _ => {}
        }
        answer
    }

    /// Claims an alert.
    pub(crate) async fn claim(&self, alert: &str, wish: Wish) -> Result<Claim, Away> {
        self.seen(self.redis.claim(alert, wish, &self.server).await)
    }

    /// Says that what was claimed is told, and what was said, or lets go of it. A claim that was
    /// lost in the meantime stays with who has it.
    pub(crate) async fn settle(
        &self,
        alert: &str,
        wish: Wish,
        told: Option<&str>,
    ) -> Result<(), Away> {
        self.seen(self.redis.settle(alert, wish, &self.server, told).await)
    }

    /// Notes for people how a check was at last. Holds nobody up for long.
    pub(crate) async fn note(&self, check: &str, result: &str) -> Result<(), Away> {
        let noted = tokio::time::timeout(NOTE_MAX, self.redis.note(check, result)).await;
        self.seen(noted.unwrap_or_else(|_| Err(self.redis.away("it is slow to answer"))))
    }
}

/// The place cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("Redis at {place} cannot be used: {reason}")]
pub struct SetupError {
    place: Place,
    reason: String,
}
