//! How a task ended, as pages colour it.

use kernel::graph::{Task, TaskStatus};

/// Whether a task ended badly.
pub(super) fn is_bad(task: &Task) -> bool {
    task.status.is_closed()
        && !matches!(
            task.status,
            TaskStatus::Completed
                | TaskStatus::Skipped
                | TaskStatus::Canceled
                | TaskStatus::CompletedWithErrors
        )
}
