//! The states of executions and tasks, in the words of the protocol that shows them.

use serde::{Deserialize, Serialize};

/// Where an execution stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// It goes on by itself.
    #[default]
    Running,
    /// Held by an operator; polled tasks may still finish.
    Paused,
    /// Ended as planned.
    Completed,
    /// Ended by a failed task or a TERMINATE task.
    Failed,
    /// Ended by a timeout.
    TimedOut,
    /// Ended by an operator, a TERMINATE task or a cancelled task.
    Terminated,
}

impl Status {
    /// Every status, in the order of their numbers in stores.
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::TimedOut,
        Self::Terminated,
    ];

    /// Whether it has ended.
    pub const fn is_closed(self) -> bool {
        !matches!(self, Self::Running | Self::Paused)
    }

    /// The protocol's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Terminated => "TERMINATED",
        }
    }

    /// Reads the protocol's word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Where a task (one attempt at a node) stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskStatus {
    /// Waits: for a worker, a delay or its turn.
    Scheduled,
    /// Held by a worker, or waiting for time, people, children or branches.
    InProgress,
    /// Ended well.
    Completed,
    /// Failed for good, but optional.
    CompletedWithErrors,
    /// Never run, on an operator's word.
    Skipped,
    /// Failed; may be tried again.
    Failed,
    /// Took too long; may be tried again.
    TimedOut,
    /// Failed in a way that no retry can mend.
    FailedWithTerminalError,
    /// Stopped, because the execution ended or a worker said so.
    Canceled,
}

impl TaskStatus {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::InProgress,
        Self::Completed,
        Self::CompletedWithErrors,
        Self::Skipped,
        Self::Failed,
        Self::TimedOut,
        Self::FailedWithTerminalError,
        Self::Canceled,
    ];

    /// Whether it has ended.
    pub const fn is_closed(self) -> bool {
        !matches!(self, Self::Scheduled | Self::InProgress)
    }

    /// Whether it ended in a way that lets the flow go on.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Completed | Self::CompletedWithErrors | Self::Skipped)
    }

    /// Whether it ended badly.
    pub const fn is_failure(self) -> bool {
        self.is_closed() && !self.is_success()
    }

    /// Whether the author's retry policy applies.
    pub const fn is_retriable(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut)
    }

    /// The protocol's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::CompletedWithErrors => "COMPLETED_WITH_ERRORS",
            Self::Skipped => "SKIPPED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::FailedWithTerminalError => "FAILED_WITH_TERMINAL_ERROR",
            Self::Canceled => "CANCELED",
        }
    }

    /// Reads the protocol's word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}
