//! A copy of the file as it stands at one instant, made while it is in use.

use std::io;
use std::path::Path;

use engine::store::StoreError;
use rusqlite::{Connection, OpenFlags, params};

use super::{beside, fault, private};

/// Copies the file to another one, which is there under its name when it is whole and on disk; answers its
/// bytes. Readers and the writer go on meanwhile. Blocks for as long as all of it takes to read and write.
pub(super) fn copy(path: &Path, to: &Path) -> Result<u64, StoreError> {
    let failed = |error: &io::Error| fault::io("cannot write the backup", to, error);
    if to.exists() {
        return Err(failed(&io::ErrorKind::AlreadyExists.into()));
    }
    // Of an earlier one that did not end.
    let aside = beside(to, ".partial");
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
        _ => {}
    }
    let name = aside.to_str().ok_or_else(|| failed(&io::ErrorKind::InvalidFilename.into()))?;
    // It holds payloads in clear text, too.
    private(&aside).map_err(|error| failed(&error))?;
    let make = || -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.execute("VACUUM INTO ?1", params![name])?;
        connection.close().map_err(|(_, error)| error)
    };
    let place = || -> io::Result<u64> {
        let file = std::fs::File::open(&aside)?;
        file.sync_all()?;
        std::fs::rename(&aside, to)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(file.metadata()?.len())
    };
    let made = make().map_err(|error| fault::explain(&error, path));
    let made = made.and_then(|()| place().map_err(|error| failed(&error)));
    if made.is_err() {
        // It would only take room.
        let _ = std::fs::remove_file(&aside);
    }
    made
}
