//! `/api/workflow`: starting, showing and steering executions.

mod control;
mod elsewhere;
mod fork;
mod messages;
mod past;
mod read;
mod rehearse;
mod start;
mod state;

pub(super) use control::{
    RemoveParams, RestartParams, Steering, remove, restart, retry, terminate, terminate_and_remove,
};
pub(super) use fork::{Fork, forks};
pub(super) use read::{room_for, show, show_among, show_whole};
pub(super) use start::external_storage;
pub(crate) use start::{StartRequest, begin, begin_as, caller_span, checked_aside};

use crate::access::Routes;

/// The paths of this folder.
pub(super) fn routes() -> Routes {
    Routes::new()
        .merge(start::routes())
        .merge(read::routes())
        .merge(control::routes())
        .merge(state::routes())
        .merge(elsewhere::routes())
        .merge(fork::routes())
        .merge(rehearse::routes())
        .merge(messages::routes())
        .merge(past::routes())
}
