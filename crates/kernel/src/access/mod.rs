//! Who may do what: permissions, the roles that bundle them, who asks, and the one decision.
//!
//! Everything here is a function of its arguments. The server turns a request into a [`Principal`]
//! and asks [`decide`]; keys are made of random bytes that the shell brings.

mod chain;
mod key;
mod permission;
mod role;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use chain::{ChainCheck, FIRST, chained};
pub use key::{KeyHash, KeyText};
pub use permission::{Need, Permission, Permissions};
pub use role::{Role, UnknownRole};

/// Whether credentials are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nobody is asked who they are, and everybody may do everything.
    #[default]
    Open,
    /// Credentials count if they are sent; whoever sends none may do everything. For moving over.
    Offered,
    /// Whoever sends no credentials may do nothing but what is public.
    On,
}

/// Somebody who has proved who they are, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Names the principal for good: `key:4f1d0c8a2b6e`.
    pub id: Arc<str>,
    /// What people call it.
    pub name: Arc<str>,
    /// Its roles.
    pub roles: Vec<Role>,
    permissions: Permissions,
}

impl Principal {
    /// A principal with these roles.
    pub fn new(id: Arc<str>, name: Arc<str>, roles: Vec<Role>) -> Self {
        let permissions =
            roles.iter().fold(Permissions::NONE, |all, role| all | role.permissions());
        Self { id, name, roles, permissions }
    }

    /// Whether one of its roles has the permission.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.has(permission)
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// It must say who asks.
    Unauthenticated,
    /// Whoever asks may not.
    Forbidden,
}

/// Decides on a request: what it needs, and who asks (`None` without credentials).
///
/// # Errors
/// Why it is refused.
pub fn decide(mode: Mode, need: Need, who: Option<&Principal>) -> Result<(), Refusal> {
    match (need, who) {
        (Need::Public | Need::Proof, _) => Ok(()),
        (Need::Anyone, Some(_)) => Ok(()),
        (Need::OneOf(permissions), Some(who)) => {
            if who.permissions.meets(permissions) {
                Ok(())
            } else {
                Err(Refusal::Forbidden)
            }
        }
        (Need::Anyone | Need::OneOf(_), None) => match mode {
            Mode::Open | Mode::Offered => Ok(()),
            Mode::On => Err(Refusal::Unauthenticated),
        },
    }
}
