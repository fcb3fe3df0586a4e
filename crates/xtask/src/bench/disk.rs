//! What the disk allows, and what a store takes of it.
//!
//! A file is only weighed when its store is closed: until then part of it is in the log, and the
//! log keeps its greatest length.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use engine::store::Store;
use kernel::ExecutionId;
use rusqlite::{Connection, OpenFlags, params};

use super::figures::Samples;
use super::house::{self, Folder};
use super::payload;

/// Rows in one raw commit: as many as there are workflows in flight.
const ROWS: usize = 64;
/// How long raw commits are made.
const RAW: Duration = Duration::from_millis(700);
/// Appends that are timed.
const APPENDS: usize = 500;
/// A store in which nothing has changed for so long has finished, or cannot do more.
const STILL: Duration = Duration::from_millis(900);
/// How long a store may take to tidy up.
const TIDY_MAX: Duration = Duration::from_secs(90);
/// How much longer for each workflow of many.
const TIDY_EACH: Duration = Duration::from_micros(300);

/// Appends and syncs, one by one.
pub(super) fn probe(samples: &mut Samples) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    let mut file = std::fs::File::create(folder.0.join("probe"))?;
    let page = [b'n'; 4096];
    let mut took = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let begun = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    let seconds = took.iter().sum::<f64>() / 1000.0;
    took.sort_by(f64::total_cmp);
    samples.take("disk.rate", APPENDS as f64 / seconds);
    samples.take("disk.p50", house::percentile(&took, 0.5));
    samples.take("disk.p99", house::percentile(&took, 0.99));
    Ok(())
}

/// What the histories of one kind of workflow are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct History {
    /// Commits, a row each.
    pub(super) commits: usize,
    /// Bytes of a row.
    pub(super) row_bytes: usize,
}

impl History {
    /// That of one execution.
    pub(super) async fn of(store: &dyn Store, id: &ExecutionId) -> anyhow::Result<Self> {
        let stored = store.load(id).await?;
        let rows = stored.map(|stored| stored.history).unwrap_or_default();
        let bytes: usize = rows.iter().map(String::len).sum();
        Ok(Self { commits: rows.len(), row_bytes: bytes / rows.len().max(1) })
    }

    /// Adds what it is, and how the rate of workflows compares with rows of this size written by
    /// nothing but the database.
    pub(super) fn weigh(
        self,
        part: &str,
        per_second: f64,
        samples: &mut Samples,
    ) -> anyhow::Result<()> {
        let raw = raw_rows_per_second(self.row_bytes)?;
        samples.take_of(part, "commits", self.commits as f64);
        samples.take_of(part, "row", self.row_bytes as f64);
        samples.take_of(part, "raw", raw);
        samples.take_of(part, "share", per_second * self.commits as f64 / raw * 100.0);
        Ok(())
    }
}

/// Rows a second that one connection writes in commits of [`ROWS`], each commit on disk.
fn raw_rows_per_second(bytes: usize) -> anyhow::Result<f64> {
    let folder = Folder::make()?;
    let connection = Connection::open(folder.0.join("raw.db"))?;
    connection.pragma_update(None, "page_size", 16 * 1024)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE history (id INTEGER PRIMARY KEY, events TEXT)")?;
    let (begun, mut rows) = (Instant::now(), 0_usize);
    while begun.elapsed() < RAW {
        let transaction = connection.unchecked_transaction()?;
        let mut insert =
            connection.prepare_cached("INSERT INTO history (id, events) VALUES (?1, ?2)")?;
        for _ in 0..ROWS {
            rows += 1;
            insert.execute(params![rows as i64, payload::text(rows, 0, bytes)])?;
        }
        drop(insert);
        transaction.commit()?;
    }
    Ok(rows as f64 / begun.elapsed().as_secs_f64())
}

/// Bytes in use in the file of a closed store. Pages that are free again after the tidying do not
/// count: what is written next goes there.
pub(super) fn used_bytes(file: &Path) -> anyhow::Result<f64> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?) as f64)
}

/// Waits until an open store that is in use has indexed what has ended, so far as that is possible.
pub(super) async fn settled(file: &Path, patience: Duration) -> anyhow::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let (begun, mut least) = (Instant::now(), (i64::MAX, Instant::now()));
    loop {
        let sql = "SELECT count(*) FROM pending";
        let left = connection.query_row(sql, [], |row| row.get::<_, i64>(0))?;
        if left < least.0 {
            least = (left, Instant::now());
        }
        if left == 0 || least.1.elapsed() > 3 * STILL || begun.elapsed() > patience {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until an open store has indexed and compressed what has ended.
pub(super) async fn tidied(file: &Path) -> anyhow::Result<()> {
    tidied_within(file, TIDY_MAX).await
}

/// The same with patience for so many workflows.
pub(super) async fn tidied_all(file: &Path, workflows: usize) -> anyhow::Result<()> {
    tidied_within(file, TIDY_MAX + TIDY_EACH * u32::try_from(workflows)?).await
}

async fn tidied_within(file: &Path, patience: Duration) -> anyhow::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let (begun, mut since, mut before) = (Instant::now(), Instant::now(), [0; 3]);
    loop {
        let looked = Instant::now();
        let left = [
            count("SELECT count(*) FROM history")?,
            count("SELECT count(*) FROM pending")?,
            count("PRAGMA freelist_count")?,
        ];
        if left != before {
            (since, before) = (Instant::now(), left);
        } else if since.elapsed() > STILL {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < patience, "the store does not finish tidying up");
        // To look costs time, too, while there is much.
        tokio::time::sleep(Duration::from_millis(50).max(looked.elapsed() * 8)).await;
    }
}
