//! Bringing the log back into the file, without making anybody wait for it.
//!
//! A checkpoint of some megabytes takes tens of milliseconds, most of it waiting for the disk. A
//! thread of its own does the bulk, while the writer goes on appending to the log. Only when
//! little is left does the writer do the rest itself, so that nothing follows and the log begins
//! anew.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use engine::store::StoreError;
use rusqlite::Connection;

use super::fault::{explain, io};
use super::schema::{PAGE_BYTES, open_checkpointer};

/// Bytes in the log that are worth a checkpoint.
const LOG_PAGES: i64 = 32 * 1024 * 1024 / PAGE_BYTES as i64;

/// Bytes in the log beyond which the writer waits for the other thread: the disk cannot follow.
const LOG_PAGES_MAX: i64 = 256 * 1024 * 1024 / PAGE_BYTES as i64;

/// Pages few enough for the writer to bring back itself.
const REST_PAGES: i64 = 2 * 1024 * 1024 / PAGE_BYTES as i64;

/// Rounds of the other thread before the writer takes the rest, however much it is.
const ROUNDS_MAX: u32 = 4;

/// The writer's side of the thread that checkpoints.
pub(super) struct Checkpoints {
    wish: Sender<()>,
    done: Receiver<()>,
    /// The thread is at it.
    away: bool,
    /// How often it has been at it for this log.
    rounds: u32,
}

impl Checkpoints {
    /// Starts the thread. It ends when this is dropped.
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let connection = open_checkpointer(path).map_err(|error| explain(&error, path))?;
        let (wish, wishes) = channel();
        let (report, done) = channel();
        let work = move || {
            while wishes.recv().is_ok() {
                if let Err(error) = checkpoint(&connection, "PASSIVE") {
                    tracing::warn!(%error, "a checkpoint failed");
                }
                if report.send(()).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(work)
            .map_err(|error| io("no thread to checkpoint", path, &error))?;
        Ok(Self { wish, done, away: false, rounds: 0 })
    }

    /// Does what there is to do about the log. Gives whether there will be more to do.
    pub(super) fn tend(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let (length, left) = log(connection)?;
        if self.away && length > LOG_PAGES_MAX {
            self.wait();
        }
        if self.away && self.done.try_recv() == Err(TryRecvError::Empty) {
            return Ok(true);
        }
        self.away = false;
        if self.rounds == 0 && length <= LOG_PAGES {
            return Ok(false);
        }
        if self.rounds < ROUNDS_MAX && (self.rounds == 0 || left > REST_PAGES) {
            self.rounds += 1;
            self.away = self.wish.send(()).is_ok();
            return Ok(true);
        }
        self.rounds = 0;
        checkpoint(connection, "PASSIVE")?;
        Ok(false)
    }

    /// Waits until the thread is not at it.
    pub(super) fn wait(&mut self) {
        if self.away {
            // It fails if the thread is gone, and then nothing is to be waited for.
            let _ = self.done.recv();
            self.away = false;
        }
    }
}

/// Pages in the log, and how many of them are not yet back in the file.
fn log(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], |row| {
        let (length, done): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok((length, length - done))
    })
}

/// Brings the log back into the file: `PASSIVE` as far as readers let it, `TRUNCATE` all of it.
pub(super) fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
}
