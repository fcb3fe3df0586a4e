//! The one place where failures become gRPC statuses.

use engine::Error;
use engine::store::StoreError;
use kernel::Rejected;
use tonic::Status;

/// The status of a failure. A caller can do something about what it tells; what it cannot help is
/// in the log.
pub(super) fn of(error: Error) -> Status {
    match error {
        Error::Rejected(rejected) => of_rejected(&rejected),
        // The details name files of the server: they are for its operators.
        Error::Store(StoreError::Unavailable(_)) => {
            tracing::warn!(%error, "a call could not be answered");
            Status::unavailable("the store is unavailable; the server's log says why")
        }
        Error::Store(StoreError::Unfit(_)) => {
            tracing::error!(%error, "a call could not be answered");
            Status::internal("the store cannot be used by this release; the server's log says why")
        }
        Error::Store(StoreError::Corrupt(_)) => {
            tracing::error!(%error, "a call could not be answered");
            Status::internal("the store holds damaged data; the server's log says more")
        }
        Error::Store(StoreError::TooBroad) => Status::resource_exhausted(error.to_string()),
        Error::Store(StoreError::Conflict | StoreError::Closed)
        | Error::Unavailable(_)
        | Error::Closing => Status::unavailable(error.to_string()),
        Error::Store(StoreError::Received) | Error::Quarantined { .. } => {
            tracing::error!(%error, "a call could not be answered");
            Status::internal(error.to_string())
        }
    }
}

fn of_rejected(rejected: &Rejected) -> Status {
    let words = rejected.to_string();
    match rejected {
        Rejected::Unknown(_) => Status::not_found(words),
        Rejected::Stale(_) | Rejected::Conflict(_) | Rejected::Forbidden(_) => {
            Status::failed_precondition(words)
        }
        Rejected::Invalid(_) => Status::invalid_argument(words),
        Rejected::Full(_) => Status::resource_exhausted(words),
    }
}

/// The server is going down: the caller finds another, or the same one again.
pub(super) fn closing() -> Status {
    Status::unavailable("the server is shutting down")
}
