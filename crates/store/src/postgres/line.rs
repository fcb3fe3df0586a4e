//! A connection that is made anew when it breaks, with pauses that grow, and patience that ends.

use std::sync::Arc;
use std::time::Duration;

use engine::store::StoreError;
use tokio::time::Instant;

use super::node::Node;
use super::options::PostgresOptions;
use super::schema;
use super::session::Session;

/// How long whoever waits for the database does so before it is told that it is away.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A connection to write on.
pub(super) struct Line {
    options: PostgresOptions,
    node: Arc<Node>,
    session: Option<Session>,
    /// Since when there is none, and why.
    away: Option<(Instant, StoreError)>,
    /// When it was last tried.
    tried: Option<Instant>,
    pause: Duration,
}

impl Line {
    pub(super) fn new(options: PostgresOptions, node: Arc<Node>) -> Self {
        Self { options, node, session: None, away: None, tried: None, pause: PAUSE_MIN }
    }

    /// The connection, made if there is none. Whoever comes while the database has been away for
    /// long is told at once.
    pub(super) async fn session(&mut self) -> Result<&Session, StoreError> {
        self.node.still_owns()?;
        let closed = self.session.as_ref().is_none_or(Session::is_closed);
        if closed {
            self.session = None;
            self.connect().await?;
        }
        self.session.as_ref().ok_or(StoreError::Closed)
    }

    /// Gives the connection up: what is on it is not known.
    pub(super) fn drop_session(&mut self) {
        self.session = None;
    }

    async fn connect(&mut self) -> Result<(), StoreError> {
        let deadline = match &self.away {
            Some((since, _)) => *since + PATIENCE,
            None => Instant::now() + PATIENCE,
        };
        loop {
            // Thousands may ask while it is away: one of them tries.
            if let (Some(tried), Some((_, why))) = (self.tried, &self.away)
                && Instant::now() > deadline
                && tried.elapsed() < self.pause
            {
                return Err(why.clone());
            }
            self.tried = Some(Instant::now());
            match self.open().await {
                Ok(session) => {
                    if self.away.take().is_some() {
                        tracing::info!("database of the store is available again");
                    }
                    self.pause = PAUSE_MIN;
                    self.session = Some(session);
                    return Ok(());
                }
                Err(error) => {
                    if self.away.is_none() {
                        tracing::warn!(%error, "database of the store is unavailable");
                    }
                    self.away.get_or_insert((Instant::now(), error.clone())).1 = error.clone();
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                    if Instant::now() + self.pause > deadline {
                        return Err(error);
                    }
                    tokio::time::sleep(self.pause).await;
                    self.node.still_owns()?;
                }
            }
        }
    }

    /// Connects, and makes sure that it is the database that this process knows.
    async fn open(&self) -> Result<Session, StoreError> {
        let session = Session::open(&self.options).await?;
        let found = schema::look(&session).await?;
        if found != self.node.identity {
            self.node.lose(
                "the database is another one than before (it was restored, or a standby took over), \
                 so what this process remembers may not be in it; it must be started anew",
            );
            self.node.still_owns()?;
        }
        Ok(session)
    }
}
