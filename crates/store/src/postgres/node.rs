//! Who owns the store: a row of `node` with a lease, and the rows of `fence` that its batches lock.
//!
//! Clocks decide when somebody takes over, never whether that is safe: whoever was declared dead has
//! no row in `fence`, and nothing of what it still sends is written. One process at a time, for now:
//! it owns every partition. Others that share the store have a row of `node` alone (`member`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use engine::store::StoreError;
use kernel::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::fault::{Kind, explain};
use super::options::PostgresOptions;
use super::schema::Identity;
use super::session::{Begin, Bound, Session, Statement, bind};

/// The format of histories that this release writes and reads.
const FORMAT: i32 = 1;
/// Between two looks at who owns the store.
const LOOK: Duration = Duration::from_millis(150);
/// An expired owner must have been silent for so long before our eyes: after an outage of the
/// database everybody's lease is over, and the owner beats again at once.
const SILENT: Duration = Duration::from_millis(1_200);
/// How long what an evicted owner has under way may hold up the eviction.
const STALLED: Duration = Duration::from_millis(250);
/// Signs of life within a lease.
pub const BEATS: u32 = 8;
/// Connections that write.
pub(super) const LANES: i16 = 2;

/// The lane of commits.
pub(super) const COMMITS: i16 = 0;
/// The lane of everything else.
pub(super) const CHORES: i16 = 1;

/// What this process is in the database.
pub(super) struct Node {
    pub(super) incarnation: i64,
    pub(super) identity: Identity,
    lease: Duration,
    /// Until when the lease is known to last, in milliseconds since `began`, by our own clock and
    /// counted from before the beat was sent.
    good_until: AtomicU64,
    began: Instant,
    lost: watch::Sender<Option<String>>,
    /// How many batches were given up whose transaction may still end either way.
    unsettled: AtomicU64,
    /// How many of them are known to have ended.
    settled: AtomicU64,
    closing: AtomicBool,
}

impl Node {
    fn new(incarnation: i64, identity: Identity, lease: Duration, sent: Instant) -> Arc<Self> {
        let node = Self {
            incarnation,
            identity,
            lease,
            good_until: AtomicU64::new(0),
            began: sent,
            lost: watch::Sender::new(None),
            unsettled: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        };
        node.beaten(sent);
        Arc::new(node)
    }

    fn beaten(&self, sent: Instant) {
        let until = sent.duration_since(self.began) + self.lease * 3 / 4;
        self.good_until.fetch_max(until.as_millis() as u64, Ordering::Relaxed);
    }

    /// Why this process may not serve now, if so.
    pub(super) fn doubt(&self) -> Option<String> {
        if let Some(why) = self.lost.borrow().clone() {
            return Some(why);
        }
        let now = self.began.elapsed().as_millis() as u64;
        let late = now.checked_sub(self.good_until.load(Ordering::Relaxed)).filter(|it| *it > 0)?;
        Some(format!(
            "the database has not confirmed for {} ms that this process owns the store",
            u128::from(late) + (self.lease * 3 / 4).as_millis()
        ))
    }

    /// Notes that the store belongs to somebody else, or may be another one.
    pub(super) fn lose(&self, why: &str) {
        self.lost.send_if_modified(|lost| {
            let is_first = lost.is_none();
            if is_first {
                tracing::error!("this process no longer owns the store: {why}");
                *lost = Some(why.to_owned());
            }
            is_first
        });
    }

    /// Fails once the store is lost.
    pub(super) fn still_owns(&self) -> Result<(), StoreError> {
        match &*self.lost.borrow() {
            Some(why) => Err(StoreError::Unavailable(why.clone())),
            None => Ok(()),
        }
    }

    /// Returns once the store is lost, with the reason.
    pub(super) async fn lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        match lost.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Notes that a batch was given up whose transaction may still end either way: until the lane's
    /// row of `fence` has been locked again, what is read may be overtaken by it.
    pub(super) fn unsettle(&self) {
        self.unsettled.fetch_add(1, Ordering::AcqRel);
    }

    /// The mark to hand to [`Node::settle`] once the lane's row was locked, if that is due.
    pub(super) fn unsettled(&self) -> Option<u64> {
        let mark = self.unsettled.load(Ordering::Acquire);
        (self.settled.load(Ordering::Acquire) < mark).then_some(mark)
    }

    /// Notes that the lane's row was locked after the mark was taken.
    pub(super) fn settle(&self, mark: u64) {
        self.settled.fetch_max(mark, Ordering::AcqRel);
    }

    /// Notes that the lane has locked its row. Only the lane may say so, for it alone gives up.
    pub(super) fn all_settled(&self) {
        self.settle(self.unsettled.load(Ordering::Acquire));
    }

    /// Notes that this process gives the store back: nothing waits any longer than it must.
    pub(super) fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The statement that every write begins with: it fails if this process was evicted, and holds
    /// an eviction up until the write is done.
    pub(super) fn fence(&self, schema: &str, lane: i16) -> Statement<'static> {
        Statement::new(
            format!(
                "SELECT 1 / count(*) FROM (SELECT 1 FROM {schema}.fence \
                 WHERE node = $1 AND lane = $2 FOR NO KEY UPDATE) f"
            ),
            vec![bind(self.incarnation, Type::INT8), bind(lane, Type::INT2)],
        )
    }
}

/// What the log and the error say about whoever was evicted.
pub(super) const EVICTED: &str = "another server has taken the store over; this one writes nothing \
                                  more and must be started anew";

/// Somebody who owns the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) incarnation: i64,
    pub(super) name: String,
    /// Milliseconds until its lease is over; negative afterwards.
    pub(super) left: i64,
    /// Its lease as the database wrote it: another one each beat.
    alive_until: String,
}

/// Whoever owns the store now, alive or not.
pub(super) async fn holders(session: &Session, schema: &str) -> Result<Vec<Holder>, StoreError> {
    let asked = Statement::new(
        format!(
            "SELECT incarnation, name, (extract(epoch FROM alive_until - clock_timestamp()) \
             * 1000)::bigint, alive_until::text FROM {schema}.node n \
             WHERE EXISTS (SELECT 1 FROM {schema}.fence f WHERE f.node = n.incarnation) \
             ORDER BY incarnation"
        ),
        Vec::new(),
    );
    let rows = session.query(&asked).await.map_err(|error| explain(&error))?;
    let holder = |row: &Row| Holder {
        incarnation: row.get(0),
        name: row.get(1),
        left: row.get(2),
        alive_until: row.get(3),
    };
    Ok(rows.iter().map(holder).collect())
}

/// How a server becomes the owner of a store that another one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// It waits until the lease of one that was killed is over; one that goes on beating keeps it.
    Patient,
    /// It takes what nobody has, or whose owner's lease is over; the owner that is named is known to have
    /// ended, and its lease is not waited for.
    AtOnce {
        /// The owner that has ended.
        gone: Option<Gone>,
    },
}

/// An owner that has ended, as whoever wants to take its place has seen it last. One that has given a sign
/// of life since then has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Which server it was.
    pub incarnation: i64,
    /// When its lease was over.
    pub until: Timestamp,
}

/// Makes this process the owner of the store.
///
/// # Errors
/// [`StoreError::Unavailable`] if another process has it.
pub(super) async fn join(
    session: &Session,
    options: &PostgresOptions,
    identity: &Identity,
    succession: Succession,
) -> Result<Arc<Node>, StoreError> {
    let schema = options.quoted_schema();
    let began = Instant::now();
    let (mut first, mut has_tried) = (None::<Holder>, false);
    loop {
        let holders = holders(session, &schema).await?;
        let Some(holder) = holders.into_iter().next() else {
            let sent = Instant::now();
            if let Some(incarnation) = enter(session, options).await? {
                return Ok(Node::new(incarnation, identity.clone(), options.lease, sent));
            }
            // Somebody else was faster.
            continue;
        };
        if let Succession::AtOnce { gone } = succession {
            if let Some(gone) = gone.filter(|it| it.incarnation == holder.incarnation)
                && !has_tried
            {
                has_tried = true;
                evict(session, &schema, &holder, Some(gone.until)).await?;
                continue;
            }
            if holder.left > 0 {
                return Err(taken(options, &holder));
            }
        }
        let seen = first.get_or_insert_with(|| {
            if holder.left > 0 {
                tracing::info!(
                    "{options} was last used by {}: waiting whether it is still there",
                    holder.name
                );
            }
            Holder { name: holder.name.clone(), alive_until: holder.alive_until.clone(), ..holder }
        });
        if seen.incarnation != holder.incarnation || seen.alive_until != holder.alive_until {
            return Err(taken(options, &holder));
        }
        if holder.left < 0 && began.elapsed() >= SILENT {
            evict(session, &schema, &holder, None).await?;
            first = None;
            continue;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn taken(options: &PostgresOptions, holder: &Holder) -> StoreError {
    StoreError::Unavailable(format!(
        "{options} is in use by another server: {}. Stop that one, wait for it with --standby on, or \
         share the store with it: give both --peer-listen",
        holder.name
    ))
}

/// Inserts our rows, if nobody else's are there.
async fn enter(session: &Session, options: &PostgresOptions) -> Result<Option<i64>, StoreError> {
    let schema = options.quoted_schema();
    let statements = [
        // One at a time.
        Statement::new(format!("SELECT 1 FROM {schema}.cluster FOR UPDATE"), Vec::new()),
        Statement::new(
            format!(
                "WITH entered AS (INSERT INTO {schema}.node \
                 (name, address, release, format_max, alive_until, ready) \
                 SELECT $1, $2, $3, $4, clock_timestamp() + $5 * interval '1 millisecond', true \
                 WHERE NOT EXISTS (SELECT 1 FROM {schema}.fence) RETURNING incarnation), \
                 fenced AS (INSERT INTO {schema}.fence (node, lane) \
                 SELECT incarnation, lane FROM entered, generate_series(0, {last}) lane), \
                 claimed AS (UPDATE {schema}.partition SET owner = incarnation, epoch = epoch + 1 \
                 FROM entered) \
                 SELECT incarnation FROM entered",
                last = LANES - 1
            ),
            entry(options),
        ),
    ];
    let rows = session.transact(Begin::Chore, &statements).await;
    let rows = rows.map_err(|failure| explain(&failure.error))?;
    Ok(rows[1].first().map(|row| row.get(0)))
}

/// What a row of `node` says of this process: name, address, release, format and lease.
pub(super) fn entry(options: &PostgresOptions) -> Vec<Bound<'static>> {
    vec![
        bind(options.name.clone(), Type::TEXT),
        bind(options.address.clone(), Type::TEXT),
        bind(env!("CARGO_PKG_VERSION"), Type::TEXT),
        bind(FORMAT, Type::INT4),
        bind(options.lease.as_millis() as f64, Type::FLOAT8),
    ]
}

/// Removes an owner whose lease is over, or is still the one that ends at an instant, with its rows in
/// `fence`: what it has under way is waited for, and ended if it stalls.
async fn evict(
    session: &Session,
    schema: &str,
    holder: &Holder,
    until: Option<Timestamp>,
) -> Result<(), StoreError> {
    let why = if until.is_some() { "it gives no sign of life" } else { "its lease is over" };
    let until = until.map_or(i64::MIN, Timestamp::millis);
    let incarnation = || bind(holder.incarnation, Type::INT8);
    let gone = |table: &str| {
        let sql = format!(
            "DELETE FROM {schema}.{table} WHERE node IN (SELECT $1::bigint WHERE NOT EXISTS \
             (SELECT 1 FROM {schema}.node WHERE incarnation = $1))"
        );
        Statement::new(sql, vec![incarnation()])
    };
    let statements = [
        Statement::new(
            format!("SELECT set_config('lock_timeout', '{}', true)", STALLED.as_millis()),
            Vec::new(),
        ),
        Statement::new(
            format!(
                "DELETE FROM {schema}.node WHERE incarnation = $1 \
                 AND (alive_until < clock_timestamp() \
                 OR (extract(epoch FROM alive_until) * 1000)::bigint = $2)"
            ),
            vec![incarnation(), bind(until, Type::INT8)],
        ),
        gone("fence"),
        Statement::new(
            format!(
                "UPDATE {schema}.partition SET owner = NULL WHERE owner = $1 AND NOT EXISTS \
                 (SELECT 1 FROM {schema}.node WHERE incarnation = $1)"
            ),
            vec![incarnation()],
        ),
    ];
    match session.transact(Begin::Chore, &statements).await {
        Ok(_) => {
            tracing::info!("took the store over from {}: {why}", holder.name);
            Ok(())
        }
        // What holds the rows is a transaction of the dead that stalls.
        Err(failure) if failure.kind() == Kind::Again => {
            end_stalled(session, schema, holder, why).await
        }
        Err(failure) => Err(explain(&failure.error)),
    }
}

/// Ends the connections that hold the rows of an owner in `fence`.
async fn end_stalled(
    session: &Session,
    schema: &str,
    holder: &Holder,
    why: &str,
) -> Result<(), StoreError> {
    // Their transactions hold a lock on the table, and each other's do, too: those of the dead are
    // all there are while nobody else has joined.
    let end = Statement::new(
        format!(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l \
             WHERE l.relation = '{schema}.fence'::regclass AND l.mode = 'RowShareLock' \
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND l.pid <> pg_backend_pid() AND l.granted"
        ),
        Vec::new(),
    );
    let ended = session.query(&end).await.map_err(|error| explain(&error))?;
    tracing::warn!("ended {} stalled connections of {}: {why}", ended.len(), holder.name);
    Ok(())
}

/// Ends the connection whose transaction holds our row of a lane, if there is one: it is an earlier
/// one of ours that stalls.
pub(super) async fn end_own(session: &Session, schema: &str, node: &Node, lane: i16) {
    // Whoever locks a row writes its transaction's number there, and it stays when that has ended.
    let end = Statement::new(
        format!(
            "SELECT pg_terminate_backend(l.pid) FROM {schema}.fence f \
             JOIN pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = f.xmax \
             AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid() \
             WHERE f.node = $1 AND f.lane = $2"
        ),
        vec![bind(node.incarnation, Type::INT8), bind(lane, Type::INT2)],
    );
    let sent = tokio::time::timeout(Duration::from_secs(3), session.query(&end)).await;
    match sent {
        // The next attempt finds the connection as it is.
        Err(_) => {}
        Ok(Ok(ended)) if ended.is_empty() => {}
        Ok(Ok(_)) => tracing::warn!("ended a stalled transaction of this server"),
        Ok(Err(error)) => {
            let error = super::fault::text(&error);
            tracing::warn!(error, "a stalled transaction of this server could not be ended");
        }
    }
}

/// Gives the store back.
pub(super) async fn leave(session: &Session, schema: &str, node: &Node) {
    let mine = || vec![bind(node.incarnation, Type::INT8)];
    let statements = [
        Statement::new(format!("DELETE FROM {schema}.node WHERE incarnation = $1"), mine()),
        Statement::new(format!("DELETE FROM {schema}.fence WHERE node = $1"), mine()),
        Statement::new(
            format!("UPDATE {schema}.partition SET owner = NULL WHERE owner = $1"),
            mine(),
        ),
    ];
    if let Err(failure) = session.transact(Begin::Chore, &statements).await {
        // The lease runs out by itself.
        let error = super::fault::text(&failure.error);
        tracing::warn!(
            error,
            "lease of the store could not be released; the next server waits until it expires"
        );
    }
}

/// Keeps the lease until the store is lost or closed.
pub(super) async fn beat(
    node: Arc<Node>,
    options: PostgresOptions,
    session: Arc<Mutex<Option<Session>>>,
) {
    let schema = options.quoted_schema();
    let sql = format!(
        "UPDATE {schema}.node SET alive_until = clock_timestamp() + $2 * interval '1 millisecond' \
         WHERE incarnation = $1 RETURNING 1"
    );
    let pause = options.lease / BEATS;
    loop {
        let sent = Instant::now();
        let held = session.lock().take();
        let connected = match held {
            Some(held) if !held.is_closed() => Ok(held),
            _ => Session::open(&options).await,
        };
        let outcome = match connected {
            Ok(held) => {
                let beat = [Statement::new(
                    sql.as_str(),
                    vec![
                        bind(node.incarnation, Type::INT8),
                        bind(options.lease.as_millis() as f64, Type::FLOAT8),
                    ],
                )];
                let limit = Duration::from_secs(3);
                match tokio::time::timeout(limit, held.transact(Begin::Beat, &beat)).await {
                    Ok(Ok(rows)) => {
                        session.lock().replace(held);
                        Ok(!rows[0].is_empty())
                    }
                    Ok(Err(failure)) => Err(explain(&failure.error)),
                    Err(_) => Err(StoreError::Unavailable("no answer in time".to_owned())),
                }
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(true) => {
                node.beaten(sent);
                tokio::time::sleep_until(sent + pause).await;
            }
            Ok(false) => return node.lose(EVICTED),
            Err(error) => {
                tracing::debug!(%error, "lease was not confirmed by the store");
                tokio::time::sleep((pause / 4).min(Duration::from_millis(250))).await;
            }
        }
    }
}
