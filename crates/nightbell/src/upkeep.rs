//! What the server tells of itself and does for whoever runs it: its settings, backups of its store, and its
//! files read again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use engine::{Clock as _, SystemClock};
use kernel::Timestamp;
use parking_lot::Mutex;
use server::upkeep::{Backup, Backups, Setting, Upkeep};
use store::Sqlite;
use tokio::sync::{mpsc, oneshot};

use crate::config::{Config, Effective, StoreUrl};

/// How names of backups begin and end; between is when they were made.
const NAMED: (&str, &str) = ("nightbell-", ".db");
/// Requests to read files again that wait; each is answered when a reading is done that began after it.
const RELOADS_MAX: usize = 16;

/// Asks for a reading of all files; the sender tells when it is done.
pub(crate) type Reloads = mpsc::Receiver<oneshot::Sender<()>>;

/// What this process knows of itself.
#[derive(Debug)]
pub(crate) struct OfProcess {
    settings: Vec<Setting>,
    reloads: mpsc::Sender<oneshot::Sender<()>>,
    backups: Arc<Course>,
}

/// Where backups go, and how it stands with them.
#[derive(Debug)]
struct Course {
    folder: Option<PathBuf>,
    is_of_database: bool,
    store: OnceLock<StoreOfProcess>,
    state: Mutex<State>,
}

/// The store of this process, which says nothing of itself.
struct StoreOfProcess(Arc<Sqlite>);

impl std::fmt::Debug for StoreOfProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a store")
    }
}

#[derive(Debug, Default)]
struct State {
    running_since: Option<Timestamp>,
    failure: Option<String>,
}

impl OfProcess {
    /// Knows what the process was started with; and where requests to read files again arrive.
    pub(crate) fn new(config: &Config, effective: &[Effective]) -> (Arc<Self>, Reloads) {
        let setting = |it: &Effective| Setting {
            key: it.key,
            value: it.value.clone(),
            origin: it.origin.to_string(),
        };
        let (reloads, asked) = mpsc::channel(RELOADS_MAX);
        let backups = Course {
            folder: config.backup_dir.clone(),
            is_of_database: matches!(config.store, StoreUrl::Postgres(_)),
            store: OnceLock::new(),
            state: Mutex::default(),
        };
        let settings = effective.iter().map(setting).collect();
        (Arc::new(Self { settings, reloads, backups: Arc::new(backups) }), asked)
    }

    /// Lets this be the store that is backed up.
    pub(crate) fn keep(&self, store: &Arc<Sqlite>) {
        // There is one store in a process.
        let _ = self.backups.store.set(StoreOfProcess(store.clone()));
    }
}

#[async_trait]
impl Upkeep for OfProcess {
    fn settings(&self) -> &[Setting] {
        &self.settings
    }

    async fn reload(&self) -> Result<(), String> {
        let ending = || "the server is ending: nothing was read again".to_owned();
        let (done, is_done) = oneshot::channel();
        self.reloads.send(done).await.map_err(|_| ending())?;
        is_done.await.map_err(|_| ending())
    }

    fn backups(&self) -> Backups {
        self.backups.tell()
    }

    fn back_up(&self) -> Result<(), String> {
        self.backups.begin()
    }
}

impl Course {
    fn why_not(&self) -> Option<String> {
        if self.is_of_database {
            let why = "the store is a PostgreSQL database, which its own means back up (pg_dump, base backups)";
            return Some(why.to_owned());
        }
        let why = "no folder for backups is set (`backup_dir`, NIGHTBELL_BACKUP_DIR, --backup-dir)";
        self.folder.is_none().then(|| why.to_owned())
    }

    fn tell(&self) -> Backups {
        let state = self.state.lock();
        Backups {
            why_not: self.why_not(),
            folder: self.folder.as_ref().map(|it| it.display().to_string()),
            last: self.folder.as_deref().and_then(newest),
            running_since: state.running_since,
            failure: state.failure.clone(),
        }
    }

    fn begin(self: &Arc<Self>) -> Result<(), String> {
        if let Some(why) = self.why_not() {
            return Err(why);
        }
        let (Some(folder), Some(store)) = (self.folder.clone(), self.store.get()) else {
            return Err("this server does not have the store".to_owned());
        };
        let now = SystemClock.now();
        {
            let mut state = self.state.lock();
            if let Some(since) = state.running_since {
                return Err(format!("a backup has been running since {since}"));
            }
            state.running_since = Some(now);
        }
        let (this, store) = (self.clone(), store.0.clone());
        tokio::spawn(async move {
            let made = make(&store, folder, now).await;
            match &made {
                Ok((file, bytes)) => {
                    tracing::info!(file = %file.display(), bytes, "backup of the store written");
                }
                Err(why) => tracing::error!(%why, "backup of the store failed"),
            }
            *this.state.lock() = State { running_since: None, failure: made.err() };
        });
        Ok(())
    }
}

/// Backs up a store into a folder, under a name that says when.
async fn make(store: &Sqlite, folder: PathBuf, now: Timestamp) -> Result<(PathBuf, u64), String> {
    let at = jiff::Timestamp::from(now).strftime("%Y%m%dT%H%M%SZ");
    let file = folder.join(format!("{}{at}{}", NAMED.0, NAMED.1));
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
    remove_unfinished(&folder);
    let bytes = store.back_up(file.clone()).await.map_err(|error| error.to_string())?;
    Ok((file, bytes))
}

/// Removes what a backup left behind that was cut off with its process: it is none, and takes room.
fn remove_unfinished(folder: &Path) {
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.starts_with(NAMED.0) && name.ends_with(".db.partial") {
            // What cannot be removed is in nobody's way.
            let _ = std::fs::remove_file(file.path());
        }
    }
}

/// The newest backup of a folder.
fn newest(folder: &Path) -> Option<Backup> {
    let files = std::fs::read_dir(folder).ok()?.flatten();
    let backup = |file: std::fs::DirEntry| {
        let name = file.file_name().into_string().ok()?;
        if !(name.starts_with(NAMED.0) && name.ends_with(NAMED.1)) {
            return None;
        }
        let found = file.metadata().ok()?;
        let age = found.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let at = Timestamp::from_millis(i64::try_from(age.as_millis()).ok()?);
        Some(Backup { file: name, at, bytes: found.len() })
    };
    files.filter_map(backup).max_by_key(|it| it.at)
}
