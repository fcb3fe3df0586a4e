//! Writes the audit ledger to a file as well, as JSON lines, so that a collector of logs can take it elsewhere.
//!
//! The store's ledger is the one that counts: the file follows it, goes on after a restart where it ended, and
//! is opened anew when it was renamed or removed. Nothing of it is ever changed.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use engine::store::StoreError;
use engine::{AuditLine, Engine};
use serde::Deserialize;
use tokio::sync::watch;

/// Bytes at the end of a file in which its last line is looked for; a line has some hundred.
const TAIL: u64 = 64 * 1024;
/// How long it waits after a failure.
const RETRY: Duration = Duration::from_secs(10);

/// The file, and how far it has come.
struct AuditFile {
    path: PathBuf,
    file: File,
    /// The number of the last line in it.
    last: u64,
}

/// Why nothing more is written now.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("the ledger cannot be read: {0}")]
    Store(#[from] StoreError),
}

/// Opens the file and follows the ledger, as long as the result is polled.
///
/// # Errors
/// The file cannot be opened or read.
pub(crate) fn follow(engine: Engine, path: PathBuf) -> anyhow::Result<impl Future<Output = ()>> {
    let shown = path.display().to_string();
    let file = AuditFile::open(path).with_context(|| format!("audit_file: cannot use {shown}"))?;
    Ok(file.follow(engine))
}

impl AuditFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let mut file = append(&path)?;
        let last = last_line(&mut file)?;
        Ok(Self { path, file, last })
    }

    async fn follow(mut self, engine: Engine) {
        let mut written = engine.audit().written();
        let mut is_failing = false;
        loop {
            match self.catch_up(&engine, &mut written).await {
                Ok(()) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!(
                            "the audit ledger is written to {} again",
                            self.path.display()
                        );
                    }
                    if written.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "audit_file: the ledger is not written there; tried again");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn catch_up(
        &mut self,
        engine: &Engine,
        written: &mut watch::Receiver<u64>,
    ) -> Result<(), Failed> {
        let head = *written.borrow_and_update();
        if self.last > head {
            tracing::warn!(
                "{} tells of line {} of the audit ledger, which ends with {head}: the store is another one, or \
                 was set back; all that it has is written",
                self.path.display(),
                self.last,
            );
            self.last = 0;
        }
        while self.last < head {
            let lines = engine.audit().after(self.last).await?;
            let Some(last) = lines.last() else {
                if self.last == 0 {
                    return Ok(());
                }
                // The next one is kept no more: it goes on with the oldest that is.
                self.last = 0;
                continue;
            };
            let last = last.number;
            self.write(&lines).map_err(|error| Failed::File { path: self.path.clone(), error })?;
            self.last = last;
        }
        Ok(())
    }

    fn write(&mut self, lines: &[AuditLine]) -> io::Result<()> {
        // Whoever rotates it renames it; what was open would be written to the former.
        if !std::fs::metadata(&self.path).is_ok_and(|it| is_same(&it, &self.file)) {
            self.file = append(&self.path)?;
        }
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        let length = self.file.metadata()?.len();
        self.file.write_all(&text).inspect_err(|_| {
            // Half a batch would be written twice. Where this fails, too, the numbers tell.
            let _ = self.file.set_len(length);
        })
    }
}

fn is_same(found: &Metadata, open: &File) -> bool {
    open.metadata().is_ok_and(|open| (open.dev(), open.ino()) == (found.dev(), found.ino()))
}

fn append(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}

/// The number of the last whole line; 0 if there is none. Half a line is ended, so that the next begins anew.
fn last_line(file: &mut File) -> io::Result<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        number: u64,
    }
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    if tail.last().is_some_and(|last| *last != b'\n') {
        file.write_all(b"\n")?;
    }
    let lines = tail.split(|byte| *byte == b'\n').rev();
    let number = |line: &[u8]| serde_json::from_slice::<Numbered>(line).ok().map(|it| it.number);
    Ok(lines.filter(|line| !line.is_empty()).find_map(number).unwrap_or(0))
}
