//! The one thread that writes: it takes all that has queued, does it in one transaction, syncs
//! once, and then answers everybody.
//!
//! It does not wait for a batch to fill: while one is being synced the next one queues, so batches
//! grow with the load by themselves. But where nobody waits for any of it, one transaction in
//! [`GATHER`] takes all that came meanwhile: each transaction writes every page that it touches
//! anew, and most of the pages are the same. Work that is refused leaves no trace (see `commit`),
//! and if the database fails, each piece of the batch is tried again alone, so that nobody fails
//! for the fault of another. Between batches it does the chores: index texts, archive, checkpoint.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use engine::store::{StoreError, WriteTimes};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::fault::{JobError, explain};
use super::maintenance::{self, Chores};
use super::names::Numbers;
use super::tally::Tally;

/// Pieces of work in one transaction.
const BATCH_MAX: usize = 512;

/// Bytes of payload in one transaction.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Between two transactions of nothing but deferrable work.
const GATHER: Duration = Duration::from_millis(10);

/// Pause between two lines of the log about writes that fail.
const COMPLAIN: Duration = Duration::from_mins(1);

/// What the writing thread works with.
pub(super) struct WriteContext {
    pub(super) connection: Connection,
    pub(super) numbers: Numbers,
    pub(super) tally: Tally,
    pub(super) chores: Chores,
}

/// What comes through the writer's door.
pub(super) enum WriterCommand {
    /// Work to be done in the next transaction.
    Work(Box<dyn Job>),
    /// Finish what came before, and close the file.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// A piece of work. It may be run again if the transaction failed.
pub(super) trait Job: Send {
    /// Does it, within the open transaction.
    fn run(&mut self, desk: &mut WriteContext) -> rusqlite::Result<()>;
    /// Tells the caller, after the transaction: what came of it, or why that was lost.
    fn answer(self: Box<Self>, transaction: Result<(), StoreError>);
    /// Bytes that it writes, roughly.
    fn bytes(&self) -> usize;
    /// Nobody waits for it.
    fn deferrable(&self) -> bool;
}

/// A [`Job`] made of a closure.
pub(super) struct Work<T, F> {
    pub(super) act: F,
    pub(super) bytes: usize,
    pub(super) deferrable: bool,
    pub(super) outcome: Option<Result<T, StoreError>>,
    pub(super) reply: oneshot::Sender<Result<T, StoreError>>,
    /// A place in the queue, free again when this is dropped.
    pub(super) _place: OwnedSemaphorePermit,
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: FnMut(&mut WriteContext) -> Result<T, JobError> + Send,
{
    fn run(&mut self, desk: &mut WriteContext) -> rusqlite::Result<()> {
        self.outcome = Some(match (self.act)(desk) {
            Ok(done) => Ok(done),
            Err(JobError::Refused(error)) => Err(error),
            Err(JobError::Failed(error)) => return Err(error),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, transaction: Result<(), StoreError>) {
        let outcome = self.outcome.unwrap_or(Err(StoreError::Closed));
        // Nobody may be waiting any more, which is their affair.
        let _ = self.reply.send(transaction.and(outcome));
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn deferrable(&self) -> bool {
        self.deferrable
    }
}

/// The thread's state.
pub(super) struct Writer {
    pub(super) desk: WriteContext,
    pub(super) door: Receiver<WriterCommand>,
    pub(super) path: PathBuf,
    /// Keeps other processes away for as long as the file is open.
    pub(super) lock: File,
    /// Transactions synced since start.
    pub(super) writes: Arc<AtomicU64>,
    pub(super) times: Arc<WriteTimes>,
    /// When the last batch was complete.
    pub(super) gathered: Instant,
    /// When the log last told that a write failed.
    pub(super) complained: Option<Instant>,
}

impl Writer {
    /// Works until told to close, or until nobody can send any more.
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let close = match self.next() {
                Some(WriterCommand::Work(job)) => {
                    let close = self.gather(job, &mut batch);
                    self.write(&mut batch);
                    close
                }
                Some(WriterCommand::Close(reply)) => Some(reply),
                None => return,
            };
            if let Some(reply) = close {
                let closed = maintenance::finish(&mut self.desk);
                let closed = closed.map_err(|error| explain(&error, &self.path));
                drop(self.desk);
                drop(self.lock);
                drop(self.door);
                let _ = reply.send(closed);
                return;
            }
            self.attempt(maintenance::under_load);
        }
    }

    /// The next command; chores are done while there is none. `None` if there never will be one.
    fn next(&mut self) -> Option<WriterCommand> {
        while let Some(patience) = self.desk.chores.patience() {
            match self.door.recv_timeout(patience) {
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            while self.desk.chores.patience().is_some_and(|needed| needed <= patience) {
                self.attempt(maintenance::idle);
                if let Ok(command) = self.door.try_recv() {
                    return Some(command);
                }
            }
        }
        self.door.recv().ok()
    }

    /// Does a chore. One that fails is put off, for nobody waits for it.
    fn attempt(&mut self, chore: fn(&mut WriteContext) -> rusqlite::Result<()>) {
        if let Err(error) = chore(&mut self.desk) {
            self.roll_back();
            self.desk.chores.put_off();
            tracing::warn!(store = %self.path.display(), %error, "maintenance of the store failed");
        }
    }

    /// Takes all that has queued, up to the bounds of a batch, and if nobody waits for any of it,
    /// what comes until it is time. Gives back the wish to close.
    fn gather(
        &mut self,
        first: Box<dyn Job>,
        batch: &mut Vec<Box<dyn Job>>,
    ) -> Option<oneshot::Sender<Result<(), StoreError>>> {
        let mut bytes = first.bytes();
        let mut deferrable = first.deferrable();
        batch.push(first);
        while batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
            let wait = if deferrable { self.gathers_for() } else { Duration::ZERO };
            let more = if wait.is_zero() {
                self.door.try_recv().ok()
            } else {
                self.attempt(maintenance::while_gathering);
                self.door.recv_timeout(self.gathers_for()).ok()
            };
            match more {
                Some(WriterCommand::Work(job)) => {
                    bytes += job.bytes();
                    deferrable &= job.deferrable();
                    batch.push(job);
                }
                Some(WriterCommand::Close(reply)) => return Some(reply),
                None if wait.is_zero() => break,
                None => {}
            }
        }
        self.gathered = Instant::now();
        None
    }

    /// How long deferrable work may still wait.
    fn gathers_for(&self) -> Duration {
        GATHER.saturating_sub(self.gathered.elapsed())
    }

    fn write(&mut self, batch: &mut Vec<Box<dyn Job>>) {
        let outcome = self.transact(batch);
        if outcome.is_err() && batch.len() > 1 {
            for job in batch.drain(..) {
                let mut alone = [job];
                let outcome = self.transact(&mut alone);
                let [job] = alone;
                self.answer(job, outcome);
            }
            return;
        }
        for job in batch.drain(..) {
            job.answer(outcome.as_ref().copied().map_err(|error| explain(error, &self.path)));
        }
    }

    fn answer(&self, job: Box<dyn Job>, outcome: rusqlite::Result<()>) {
        job.answer(outcome.map_err(|error| explain(&error, &self.path)));
    }

    /// Runs the jobs in one transaction. If it fails nothing of it is left.
    fn transact(&mut self, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        let outcome = self.try_transact(batch);
        match &outcome {
            Ok(()) => {
                self.writes.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.roll_back();
                // While a disk is full, thousands fail.
                if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
                    self.complained = Some(Instant::now());
                    tracing::warn!(store = %self.path.display(), %error, "write to the store failed");
                }
            }
        }
        outcome
    }

    fn try_transact(&mut self, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        let begun = Instant::now();
        self.desk.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for job in batch {
            job.run(&mut self.desk)?;
        }
        self.desk.tally.write(&self.desk.connection)?;
        let written = Instant::now();
        self.desk.connection.prepare_cached("COMMIT")?.execute([])?;
        let synced = Instant::now();
        self.times.syncs.observe(synced - written);
        self.times.transactions.observe(synced - begun);
        Ok(())
    }

    fn roll_back(&mut self) {
        self.desk.numbers.forget();
        self.desk.tally.forget();
        // The database rolls back by itself on some failures.
        if !self.desk.connection.is_autocommit()
            && let Err(error) = self.desk.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(store = %self.path.display(), %error, "failed transaction could not be rolled back");
        }
    }
}
