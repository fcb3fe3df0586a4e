//! Where an instance stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::history::Outcome;
use crate::graph;

/// Where an instance stands, as its callers see it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// No turn of it was committed yet.
    #[default]
    Pending,
    /// It is under way.
    Running,
    /// It was told to pause, and its worker knows.
    Suspended,
    /// It ended as it should.
    Completed,
    /// It failed.
    Failed,
    /// It was given up.
    Canceled,
    /// Somebody ended it.
    Terminated,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Running,
        Self::Suspended,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::Terminated,
    ];

    /// Whether nothing more is to come.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Terminated)
    }

    /// The word that stands in head rows and in searches.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Suspended => "SUSPENDED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
            Self::Terminated => "TERMINATED",
        }
    }

    /// The status of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// The same in the words of executions.
    pub fn of_execution(self) -> graph::Status {
        match self {
            Self::Pending | Self::Running => graph::Status::Running,
            Self::Suspended => graph::Status::Paused,
            Self::Completed => graph::Status::Completed,
            Self::Failed => graph::Status::Failed,
            Self::Canceled | Self::Terminated => graph::Status::Terminated,
        }
    }
}

impl From<Outcome> for Status {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Failed => Self::Failed,
            Outcome::Canceled => Self::Canceled,
            Outcome::Terminated => Self::Terminated,
            Outcome::ContinuedAsNew => Self::Running,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
