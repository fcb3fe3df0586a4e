//! Roles: permissions under a name that people know.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::permission::{Permission, Permissions};
use super::resource::Resource;

/// A bundle of permissions. A principal may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees definitions, runs, monitors and incidents.
    Viewer,
    /// A viewer who acknowledges, snoozes, resolves and silences.
    Responder,
    /// A viewer who starts, signals, pauses, retries and terminates runs.
    Runner,
    /// A runner who writes definitions, schedules, monitors, receivers, triggers and webhooks.
    Editor,
    /// Writes and deletes secrets, and sees their names.
    Secrets,
    /// Takes work and reports on it, and does nothing else.
    Worker,
    /// Reads `/metrics`.
    Metrics,
    /// A viewer who reads the audit ledger.
    Auditor,
    /// May do everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Viewer,
        Self::Responder,
        Self::Runner,
        Self::Editor,
        Self::Secrets,
        Self::Worker,
        Self::Metrics,
        Self::Auditor,
        Self::Admin,
    ];

    /// What it may do.
    pub fn permissions(self) -> Permissions {
        use Permission as P;
        match self {
            Self::Viewer => Permissions::of(&[P::Read]),
            Self::Responder => Permissions::of(&[P::Read, P::Respond]),
            Self::Runner => Permissions::of(&[P::Read, P::Run]),
            Self::Editor => Permissions::of(&[P::Read, P::Run, P::Edit, P::NameSecrets]),
            Self::Secrets => Permissions::of(&[P::NameSecrets, P::WriteSecrets]),
            Self::Worker => Permissions::of(&[P::Work]),
            Self::Metrics => Permissions::of(&[P::Metrics]),
            Self::Auditor => Permissions::of(&[P::Read, P::Audit]),
            Self::Admin => Permissions::ALL,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Responder => "responder",
            Self::Runner => "runner",
            Self::Editor => "editor",
            Self::Secrets => "secrets",
            Self::Worker => "worker",
            Self::Metrics => "metrics",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no role '{0}'; the roles are viewer, responder, runner, editor, secrets, worker, \
     metrics, auditor and admin"
)]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| UnknownRole(text.chars().take(40).collect()))
    }
}

impl Resource {
    /// The roles that can be narrowed to things of this kind.
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::Hub => &[Role::Viewer, Role::Runner, Role::Editor, Role::Worker],
            Self::Task => &[Role::Worker],
            Self::Workflow => &[Role::Viewer, Role::Runner],
        }
    }
}
