//! What went wrong, put as the caller needs it.

use std::path::Path;

use engine::store::StoreError;
use rusqlite::ErrorCode;

/// Why a piece of work within a transaction stopped.
#[derive(Debug)]
pub(super) enum JobError {
    /// It was refused before it wrote anything; the rest of the transaction stands.
    Refused(StoreError),
    /// The database failed; what the transaction wrote cannot be trusted.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for JobError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// Divides the database's errors by what can be done: try later, or keep off.
pub(super) fn explain(error: &rusqlite::Error, path: &Path) -> StoreError {
    let file = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            StoreError::Unavailable(format!("no room left to write {file}"))
        }
        // Only reads have a bound.
        Some(ErrorCode::OperationInterrupted) => StoreError::TooBroad,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt(format!("{file}: {error}"))
        }
        // Too much for one row, or a row of the wrong shape: trying again cannot help.
        Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
            StoreError::Corrupt(format!("{file}: {error}"))
        }
        Some(_) => StoreError::Unavailable(format!("{file}: {error}")),
        // Not from the database but from reading its rows.
        None => StoreError::Corrupt(format!("{file}: {error}")),
    }
}

/// A failure of the file system, with what was tried.
pub(super) fn io(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{what} {}: {error}", path.display()))
}
