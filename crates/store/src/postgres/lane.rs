//! The lane of commits: all that have come are one transaction, and everybody gets an answer.
//!
//! While a batch is on its way the next one gathers, so batches grow with the load by themselves. A
//! batch that a commit does not fit into is halved until that one stands alone. A connection that
//! breaks in the middle leaves a batch in doubt: the next one locks the lane's row of `fence`, which
//! waits until the old transaction has ended (it is ended if it stalls), and then looks which
//! versions are there. All of a batch is there or nothing, so callers get an answer and not a guess.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::store::{StoreError, WriteTimes};
use kernel::ExecutionId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_postgres::types::Type;

use super::batch::{Batch, Check, Prepared, column, plain};
use super::fault::{self, Kind};
use super::key::key;
use super::line::{Line, PATIENCE};
use super::node::{COMMITS, EVICTED, Node, end_own};
use super::session::{Begin, Failure, Session, Statement, bind};

/// Commits in one transaction.
const BATCH_MAX: usize = 512;
/// Bytes of payload in one transaction.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Between two transactions of nothing but what nobody waits for.
const GATHER: Duration = Duration::from_millis(10);
/// How often a transaction is tried again that others were in the way of.
const AGAIN_MAX: u32 = 8;
/// How long an answer may take: longer than the database lets a statement take.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// How often the log says that a batch in doubt holds up all others.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// A commit on its way.
pub(super) struct Job {
    pub(super) prepared: Prepared,
    pub(super) reply: oneshot::Sender<Result<(), StoreError>>,
}

impl Job {
    fn id(&self) -> &ExecutionId {
        &self.prepared.commit.head.id
    }

    fn bytes(&self) -> usize {
        let commit = &self.prepared.commit;
        let texts = [&self.prepared.words, &commit.brief];
        let plans: usize = commit.plans.iter().map(|(_, text)| text.len()).sum();
        texts.iter().filter_map(|it| it.as_ref()).map(String::len).sum::<usize>()
            + commit.events.len()
            + plans
    }

    fn answer(self, outcome: Result<(), StoreError>) {
        // Nobody may be waiting any more, which is their affair.
        let _ = self.reply.send(outcome);
    }
}

/// What comes to the lane.
pub(super) enum Order {
    Commit(Box<Job>),
    /// Finish what came before.
    Close(oneshot::Sender<()>),
}

/// What came of a batch.
enum Outcome {
    Done,
    /// One of them does not fit; known which if it is alone.
    Unfit(StoreError),
    /// Nothing was written, and the batch may be tried again.
    Again(StoreError),
    /// Whatever it is, it concerns all.
    Failed(StoreError),
    /// The connection broke.
    Doubt,
}

/// The lane's state.
pub(super) struct Lane {
    pub(super) schema: String,
    pub(super) node: Arc<Node>,
    pub(super) line: Line,
    pub(super) orders: mpsc::Receiver<Order>,
    /// Commits of an execution that another one of the batch is of.
    pub(super) later: VecDeque<Job>,
    pub(super) writes: Arc<AtomicU64>,
    pub(super) times: Arc<WriteTimes>,
    /// When the last batch was complete.
    pub(super) gathered: Instant,
}

impl Lane {
    /// Works until told to close, or until nobody can send any more.
    pub(super) async fn run(mut self) {
        loop {
            let first = match self.later.pop_front() {
                Some(job) => job,
                None => match self.orders.recv().await {
                    Some(Order::Commit(job)) => *job,
                    Some(Order::Close(done)) => {
                        // Whoever closes may have gone meanwhile.
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
            };
            let mut batch = Vec::new();
            let close = self.gather(first, &mut batch).await;
            self.write(batch).await;
            if let Some(done) = close {
                while let Some(job) = self.later.pop_front() {
                    self.write(vec![job]).await;
                }
                let _ = done.send(());
                return;
            }
        }
    }

    /// Takes all that has come, up to the bounds of a batch and one commit of each execution; if
    /// nobody waits for any of it, also what comes until it is time. Gives back the wish to close.
    async fn gather(&mut self, first: Job, batch: &mut Vec<Job>) -> Option<oneshot::Sender<()>> {
        let mut ids = BTreeSet::from([first.id().clone()]);
        let mut bytes = first.bytes();
        let mut deferrable = first.prepared.commit.deferrable;
        batch.push(first);
        let mut waiting = std::mem::take(&mut self.later);
        let mut close = None;
        while batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
            let job = match waiting.pop_front() {
                Some(job) => job,
                None => match self.next(deferrable).await {
                    Some(Order::Commit(job)) => *job,
                    Some(Order::Close(done)) => {
                        close = Some(done);
                        break;
                    }
                    None => break,
                },
            };
            if ids.contains(job.id()) {
                self.later.push_back(job);
                // Whoever waits for the end of this batch is not to wait for more.
                deferrable = false;
                continue;
            }
            ids.insert(job.id().clone());
            bytes += job.bytes();
            deferrable &= job.prepared.commit.deferrable;
            batch.push(job);
        }
        self.later.append(&mut waiting);
        self.gathered = Instant::now();
        close
    }

    /// The next order, if one has come, or comes while nobody waits.
    async fn next(&mut self, deferrable: bool) -> Option<Order> {
        let wait = if deferrable {
            GATHER.saturating_sub(self.gathered.elapsed())
        } else {
            Duration::ZERO
        };
        if wait.is_zero() {
            return self.orders.try_recv().ok();
        }
        tokio::time::timeout(wait, self.orders.recv()).await.ok().flatten()
    }

    /// Writes a batch and answers everybody in it.
    async fn write(&mut self, batch: Vec<Job>) {
        let mut left = vec![batch];
        while let Some(batch) = left.pop() {
            match self.settle(&batch).await {
                Ok(()) => {
                    for job in batch {
                        job.answer(Ok(()));
                    }
                }
                Err(Outcome::Unfit(_)) if batch.len() > 1 => {
                    let mut first = batch;
                    let second = first.split_off(first.len() / 2);
                    left.push(second);
                    left.push(first);
                }
                Err(outcome) => {
                    let error = match outcome {
                        Outcome::Unfit(error) | Outcome::Again(error) | Outcome::Failed(error) => {
                            error
                        }
                        Outcome::Done | Outcome::Doubt => StoreError::Unavailable(
                            "the connection to the database broke".to_owned(),
                        ),
                    };
                    for job in batch {
                        job.answer(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// Writes a batch, again where that may help, until it is known what came of it.
    async fn settle(&mut self, batch: &[Job]) -> Result<(), Outcome> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            match self.attempt(batch).await {
                Outcome::Done => return Ok(()),
                Outcome::Again(error) => {
                    tries += 1;
                    if tries >= AGAIN_MAX {
                        return Err(Outcome::Failed(error));
                    }
                    tokio::time::sleep(Duration::from_millis(2 << tries)).await;
                }
                Outcome::Doubt => {
                    if self.resolve(batch).await? {
                        return Ok(());
                    }
                    if began.elapsed() > PATIENCE * 2 {
                        return Err(Outcome::Doubt);
                    }
                }
                outcome => return Err(outcome),
            }
        }
    }

    /// Sends a batch once.
    async fn attempt(&mut self, batch: &[Job]) -> Outcome {
        let session = match self.line.session().await {
            Ok(session) => session,
            Err(error) => return Outcome::Failed(error),
        };
        let begun = Instant::now();
        let commits: Vec<&Prepared> = batch.iter().map(|job| &job.prepared).collect();
        let fence = self.node.fence(&self.schema, COMMITS);
        let statements = Batch::of(&self.schema, fence, &commits);
        let sent = session.transact(Begin::Write, &statements.statements);
        match tokio::time::timeout(ANSWER_MAX, sent).await {
            Ok(Ok(_)) => {
                self.node.all_settled();
                self.writes.fetch_add(1, Ordering::Relaxed);
                let took = begun.elapsed();
                self.times.transactions.observe(took);
                Outcome::Done
            }
            Ok(Err(failure)) => self.judge(&statements, batch.len(), &failure),
            Err(_) => {
                self.line.drop_session();
                Outcome::Doubt
            }
        }
    }

    fn judge(&mut self, batch: &Batch<'_>, batch_len: usize, failure: &Failure) -> Outcome {
        let error = fault::explain(&failure.error);
        match failure.kind() {
            Kind::Broken => {
                tracing::debug!(%error, "outcome of a batch of commits is unknown");
                self.line.drop_session();
                Outcome::Doubt
            }
            Kind::Again => Outcome::Again(StoreError::Unavailable(fault::text(&failure.error))),
            Kind::Unmet => match batch.check(failure.at) {
                Check::Fence => {
                    self.node.lose(EVICTED);
                    Outcome::Failed(StoreError::Unavailable(EVICTED.to_owned()))
                }
                Check::Version => Outcome::Unfit(StoreError::Conflict),
                Check::Received => Outcome::Unfit(StoreError::Received),
                Check::None => Outcome::Unfit(error),
            },
            Kind::Misfit => {
                tracing::warn!(%error, "commit refused by PostgreSQL; not retried");
                Outcome::Unfit(error)
            }
            // A full disk or a time-out: to try the halves would only add to it.
            Kind::Stopped | Kind::Refused => {
                tracing::warn!(%error, commits = batch_len, "a batch of commits failed");
                Outcome::Failed(error)
            }
        }
    }

    /// Finds out whether a batch is there whose end was not heard of. While its transaction lives, as
    /// when a synchronous standby is away, nothing is known: this goes on until it has ended. Only if
    /// the database cannot be reached is the doubt handed on, and then it is noted.
    async fn resolve(&mut self, batch: &[Job]) -> Result<bool, Outcome> {
        let began = Instant::now();
        let mut told = None;
        loop {
            let session = match self.line.session().await {
                Ok(session) => session,
                Err(error) => {
                    self.node.unsettle();
                    return Err(Outcome::Failed(error));
                }
            };
            let fence = self.node.fence(&self.schema, COMMITS);
            let looked = look(session, &self.schema, fence, batch);
            let why = match tokio::time::timeout(ANSWER_MAX, looked).await {
                Ok(Ok(there)) => {
                    self.node.all_settled();
                    tracing::info!(
                        commits = batch.len(),
                        there,
                        "connection lost during a batch of commits; its outcome is now known"
                    );
                    return Ok(there);
                }
                Ok(Err(failure)) if failure.kind() == Kind::Unmet => {
                    self.node.lose(EVICTED);
                    return Err(Outcome::Failed(StoreError::Unavailable(EVICTED.to_owned())));
                }
                Ok(Err(failure)) => {
                    if failure.kind() == Kind::Again {
                        end_own(session, &self.schema, &self.node, COMMITS).await;
                    } else {
                        self.line.drop_session();
                    }
                    fault::text(&failure.error)
                }
                Err(_) => {
                    self.line.drop_session();
                    "PostgreSQL: no answer in time".to_owned()
                }
            };
            if told.is_none_or(|told: Instant| told.elapsed() > TOLD_EVERY) {
                told = Some(Instant::now());
                tracing::warn!(
                    why,
                    commits = batch.len(),
                    waits_seconds = began.elapsed().as_secs(),
                    "nothing is committed until it is known what came of a batch of commits; if \
                     PostgreSQL waits for a synchronous standby, see that it comes back"
                );
            }
            // Whoever comes after a server that closes reads everything anew.
            if self.node.is_closing() && began.elapsed() > PATIENCE * 2 {
                return Err(Outcome::Failed(StoreError::Unavailable(why)));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Whether the batch is there: its commits are there together or not at all, and nobody else moves
/// their versions. One is enough, since retention may have removed others meanwhile.
async fn look(
    session: &Session,
    schema: &str,
    fence: Statement<'_>,
    batch: &[Job],
) -> Result<bool, Failure> {
    let keys = column(batch, |job| key(job.id()));
    let versions = column(batch, |job| job.prepared.commit.expect as i64 + 1);
    let events: Vec<_> = batch.iter().map(|job| plain(&job.prepared.commit.events)).collect();
    // The version alone may be a rival's.
    let sql = format!(
        "SELECT count(*) > 0 FROM unnest($1, $2, $3) u (key, version, events) \
         JOIN {schema}.history h ON h.key = u.key AND h.version = u.version AND h.events = u.events"
    );
    let values = vec![
        bind(keys, Type::BYTEA_ARRAY),
        bind(versions, Type::INT8_ARRAY),
        bind(events, Type::TEXT_ARRAY),
    ];
    let rows = session.transact(Begin::Write, &[fence, Statement::new(sql, values)]).await?;
    Ok(rows.get(1).and_then(|rows| rows.first()).is_some_and(|row| row.get(0)))
}
