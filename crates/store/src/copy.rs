//! Copies a store whole into an empty one, of the same kind or of the other.
//!
//! Neither may be in use. The target bears a mark from the first row on, which goes with the last
//! transaction: until then no server opens it. What was written is read back and compared with what
//! was read.

use std::fmt;
use std::path::{Path, PathBuf};

use engine::store::StoreError;
use futures_util::future::try_join;
use tokio::sync::mpsc;

use crate::PostgresOptions;
use crate::postgres::copying::{self as schema, Schema};
use crate::row::{Digest, Side, State, Table, replace_nul};
use crate::sqlite::copying::{self as file, File};

/// Batches of rows between who reads and who writes.
const BATCHES: usize = 2;

/// Where a store is.
#[derive(Clone, Debug)]
pub enum Location {
    /// In a file of `SQLite`.
    Sqlite(PathBuf),
    /// In a schema of a `PostgreSQL` database.
    Postgres(Box<PostgresOptions>),
}

/// Without user and password.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(options) => write!(f, "{options}"),
        }
    }
}

/// How to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// Empty a target that an earlier copy left unfinished.
    pub again: bool,
    /// Only count what there is to copy, and write nothing.
    pub dry_run: bool,
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug)]
pub struct CopyProgress {
    /// Whether it already compares what it wrote.
    pub compares: bool,
    /// The table that it is at.
    pub table: &'static str,
    /// Rows of it that are done.
    pub rows: u64,
    /// Rows that it has.
    pub of: u64,
}

/// A table that was copied, or counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its name.
    pub table: &'static str,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 of its rows in both stores, in hexadecimal; `None` if it was only counted.
    pub digest: Option<String>,
    /// Texts in which the target has another character in the place of NUL.
    pub replaced: u64,
}

/// Why a store was not copied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The store to copy from failed, or will not do.
    #[error("the source: {0}")]
    Source(StoreError),
    /// The store to copy to failed, or will not do.
    #[error("the target: {0}")]
    Target(StoreError),
    /// The source has no store.
    #[error("the source: there is no store {0}")]
    Missing(String),
    /// Somebody uses one of the stores, or the target holds something or is unfinished.
    #[error("{0}")]
    Refused(String),
    /// What was written is not what was read. The target stays marked as unfinished.
    #[error(
        "the copy of the table {table} is not what was read: {read} rows with digest {expected}, and \
         {written} rows with digest {found} in the target"
    )]
    Differs {
        /// The table.
        table: &'static str,
        /// Rows that were read.
        read: u64,
        /// Their digest.
        expected: String,
        /// Rows that are in the target.
        written: u64,
        /// Their digest.
        found: String,
    },
}

/// Copies all tables of a store into an empty one; gives what it copied, in order. `progress` is
/// called after each batch.
///
/// A copy that fails, or is dropped, leaves a target that no server opens; with
/// [`CopyOptions::again`] it begins anew.
///
/// # Errors
/// A [`CopyError`]. The source is as it was.
pub async fn copy(
    from: &Location,
    to: &Location,
    options: CopyOptions,
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Result<Vec<Copied>, CopyError> {
    if let (Location::Sqlite(from), Location::Sqlite(to)) = (from, to)
        && is_same(from, to)
    {
        let shown = from.display();
        return Err(CopyError::Refused(format!("{shown} is both the source and the target")));
    }
    let source = open_source(from).await?;
    let copied = copy_from(&*source, to, options, progress).await;
    let closed = source.close().await;
    let copied = copied?;
    closed.map_err(CopyError::Source)?;
    Ok(copied)
}

/// Whether both are one file.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// What is in the place of a store.
async fn state(of: &Location) -> Result<State, StoreError> {
    match of {
        Location::Sqlite(path) => file::state(path),
        Location::Postgres(options) => schema::state(options).await,
    }
}

async fn open(location: &Location, state: &State) -> Result<Box<dyn Side>, StoreError> {
    Ok(match location {
        Location::Sqlite(path) => {
            if *state == State::Unfinished {
                file::remove(path)?;
            }
            Box::new(File::open(path)?)
        }
        Location::Postgres(options) => Box::new(Schema::open(options, state).await?),
    })
}

/// Why a store cannot be copied from or to.
fn unfit(location: &Location, state: State) -> CopyError {
    CopyError::Refused(match state {
        State::None => return CopyError::Missing(location.to_string()),
        State::InUse(who) => format!("{location} is in use by a server ({who}): stop it first"),
        State::Ours => format!("{location} is both the source and the target"),
        State::Unfinished => format!(
            "{location} is the target of a copy that did not finish: repeat that copy with --again, \
             which empties it first"
        ),
        State::Older => format!(
            "{location} has the tables of an earlier release: `nightbell store init` brings them to \
             this one's (keep a backup if you may need the earlier release)"
        ),
        State::Whole | State::Other => {
            format!("{location} is of a later release, or of another program")
        }
    })
}

async fn open_source(from: &Location) -> Result<Box<dyn Side>, CopyError> {
    match state(from).await.map_err(CopyError::Source)? {
        State::Whole => open(from, &State::Whole).await.map_err(CopyError::Source),
        state => Err(unfit(from, state)),
    }
}

async fn copy_from(
    source: &dyn Side,
    to: &Location,
    options: CopyOptions,
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Result<Vec<Copied>, CopyError> {
    let state = match state(to).await.map_err(CopyError::Target)? {
        State::Unfinished if !options.again => return Err(unfit(to, State::Unfinished)),
        state @ (State::None | State::Whole | State::Unfinished) => state,
        state => return Err(unfit(to, state)),
    };
    let counted = if options.dry_run { Some(counted(source).await?) } else { None };
    // Only what there is already can hold something, and is opened to be counted.
    if let (Some(counted), State::None | State::Unfinished) = (&counted, &state) {
        return Ok(counted.clone());
    }
    let target = open(to, &state).await.map_err(CopyError::Target)?;
    let copied = match (is_empty(&*target, to).await, counted) {
        (Err(error), _) => Err(error),
        (Ok(()), Some(counted)) => Ok(counted),
        (Ok(()), None) => copy_all(source, &*target, progress).await,
    };
    let closed = target.close().await;
    let copied = copied?;
    closed.map_err(CopyError::Target)?;
    Ok(copied)
}

async fn counted(source: &dyn Side) -> Result<Vec<Copied>, CopyError> {
    let mut all = Vec::with_capacity(Table::ALL.len());
    for table in Table::ALL {
        let rows = source.count(table).await.map_err(CopyError::Source)?;
        all.push(Copied { table: table.name(), rows, digest: None, replaced: 0 });
    }
    Ok(all)
}

/// Refuses a target that holds something.
async fn is_empty(target: &dyn Side, to: &Location) -> Result<(), CopyError> {
    let mut held = Vec::new();
    for table in Table::ALL {
        let rows = target.count(table).await.map_err(CopyError::Target)?;
        if rows > 0 {
            held.push(format!("{rows} in {}", table.name()));
        }
    }
    if held.is_empty() {
        return Ok(());
    }
    Err(CopyError::Refused(format!(
        "{to} is not empty (rows: {}); copy into a new store",
        held.join(", ")
    )))
}

async fn copy_all(
    source: &dyn Side,
    target: &dyn Side,
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Result<Vec<Copied>, CopyError> {
    target.mark().await.map_err(CopyError::Target)?;
    let mut copied = Vec::with_capacity(Table::ALL.len());
    for table in Table::ALL {
        let told = |rows, of| {
            progress(CopyProgress { compares: false, table: table.name(), rows, of });
        };
        copied.push(copy_table(source, target, table, &told).await?);
    }
    target.derive().await.map_err(CopyError::Target)?;
    for (table, expected) in Table::ALL.into_iter().zip(&copied) {
        let told = |rows| {
            let of = expected.rows;
            progress(CopyProgress { compares: true, table: table.name(), rows, of });
        };
        compare(target, table, expected, &told).await?;
    }
    // What was read is whole only if nobody else has written meanwhile.
    source.still_owns().await.map_err(CopyError::Source)?;
    target.unmark().await.map_err(CopyError::Target)?;
    Ok(copied)
}

async fn copy_table(
    source: &dyn Side,
    target: &dyn Side,
    table: Table,
    told: &(dyn Fn(u64, u64) + Sync),
) -> Result<Copied, CopyError> {
    let of = source.count(table).await.map_err(CopyError::Source)?;
    let (into, mut batches) = mpsc::channel(BATCHES);
    let reading = async { source.read(table, into).await.map_err(CopyError::Source) };
    let writing = async {
        let (mut digest, mut replaced) = (Digest::default(), 0);
        told(0, of);
        while let Some(mut rows) = batches.recv().await {
            if !target.keeps_nul() {
                replaced += replace_nul(&mut rows);
            }
            digest.add(&rows);
            target.write(table, rows).await.map_err(CopyError::Target)?;
            told(digest.rows, of);
        }
        Ok::<_, CopyError>((digest, replaced))
    };
    let ((), (digest, replaced)) = try_join(reading, writing).await?;
    let table = table.name();
    if digest.rows != of {
        return Err(CopyError::Source(StoreError::Corrupt(format!(
            "the table {table} should have {of} rows, and {} can be read: others belong to nothing, \
             or are missing",
            digest.rows
        ))));
    }
    Ok(Copied { table, rows: of, digest: Some(digest.hex()), replaced })
}

/// Reads a table of the target back.
async fn compare(
    target: &dyn Side,
    table: Table,
    expected: &Copied,
    told: &(dyn Fn(u64) + Sync),
) -> Result<(), CopyError> {
    let (into, mut batches) = mpsc::channel(BATCHES);
    let reading = async { target.read(table, into).await.map_err(CopyError::Target) };
    let adding = async {
        let mut digest = Digest::default();
        while let Some(rows) = batches.recv().await {
            digest.add(&rows);
            told(digest.rows);
        }
        Ok::<_, CopyError>(digest)
    };
    let ((), digest) = try_join(reading, adding).await?;
    let found = digest.hex();
    let wanted = expected.digest.clone().unwrap_or_default();
    if found == wanted {
        return Ok(());
    }
    Err(CopyError::Differs {
        table: table.name(),
        read: expected.rows,
        expected: wanted,
        written: digest.rows,
        found,
    })
}
