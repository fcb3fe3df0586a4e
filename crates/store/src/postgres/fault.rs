//! What went wrong, put as the caller needs it.

use std::error::Error as _;

use engine::store::StoreError;
use tokio_postgres::error::SqlState;

/// What is to be done about a failure of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The connection is gone, or will be; what it was at may have been done.
    Broken,
    /// Nothing was done, and at once again it may be.
    Again,
    /// It took too long and was stopped.
    Stopped,
    /// A check within a statement failed: see `Statement`.
    Unmet,
    /// What was to be written does not fit.
    Misfit,
    /// Anything else: nothing was done.
    Refused,
}

/// Divides failures by what can be done.
pub(super) fn kind(error: &tokio_postgres::Error) -> Kind {
    let Some(code) = error.code() else {
        // Not from the database: the connection failed, or it answered in another way than known.
        return Kind::Broken;
    };
    match code.code() {
        "22012" => Kind::Unmet,
        // Serialization, deadlock, a lock that did not come.
        "40001" | "40P01" | "55P03" => Kind::Again,
        // An answer to a read-only or stopping server; the next connection finds another.
        "25006" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04" => Kind::Broken,
        "57014" => Kind::Stopped,
        code if code.starts_with("08") => Kind::Broken,
        code if code.starts_with("22") || code.starts_with("23") || code == "54000" => Kind::Misfit,
        _ => Kind::Refused,
    }
}

/// The failure for whoever asked.
pub(super) fn explain(error: &tokio_postgres::Error) -> StoreError {
    match kind(error) {
        Kind::Misfit | Kind::Unmet => StoreError::Corrupt(text(error)),
        _ => StoreError::Unavailable(text(error)),
    }
}

/// What happened, with its causes.
pub(super) fn text(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        let mut text = format!("PostgreSQL: {} ({})", error.message(), error.code().code());
        let advice = match *error.code() {
            SqlState::DISK_FULL => "; make room on the database's disk",
            SqlState::TOO_MANY_CONNECTIONS => {
                "; raise max_connections, or put a pool before the database"
            }
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                "; look at user and password in the store's URL"
            }
            SqlState::INSUFFICIENT_PRIVILEGE => {
                "; the role must own the schema's tables: let it make them (GRANT CREATE ON DATABASE), \
                 or make them as it with `nightbell store init`"
            }
            SqlState::INVALID_CATALOG_NAME => {
                "; make it with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            }
            _ => "",
        };
        text.push_str(advice);
        return text;
    }
    let mut text = format!("PostgreSQL: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    if text.ends_with("does not allow writes") {
        text.push_str("; it is a standby, or read-only: name the server that takes writes");
    }
    text
}
