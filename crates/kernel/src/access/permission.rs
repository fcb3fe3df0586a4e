//! What can be allowed, and what a path or a method asks for.

use std::fmt;
use std::ops::BitOr;

use super::resource::Resource;

/// Something that can be allowed. Each path of the API and each method of gRPC names the one it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// See definitions, runs, monitors, incidents and the state of the server.
    Read,
    /// Acknowledge, snooze and resolve incidents, and silence.
    Respond,
    /// Start, signal, pause, retry and terminate runs.
    Run,
    /// Write and delete definitions, and remove runs.
    Edit,
    /// See the names of secrets.
    NameSecrets,
    /// Write and delete secrets. Nobody can read them.
    WriteSecrets,
    /// Take work and report on it.
    Work,
    /// Read `/metrics`.
    Metrics,
    /// Read the audit ledger.
    Audit,
    /// Create and revoke keys, and delete task hubs.
    Admin,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Read,
        Self::Respond,
        Self::Run,
        Self::Edit,
        Self::NameSecrets,
        Self::WriteSecrets,
        Self::Work,
        Self::Metrics,
        Self::Audit,
        Self::Admin,
    ];

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }

    /// Its name in descriptions and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Respond => "respond",
            Self::Run => "run",
            Self::Edit => "edit",
            Self::NameSecrets => "name-secrets",
            Self::WriteSecrets => "write-secrets",
            Self::Work => "work",
            Self::Metrics => "metrics",
            Self::Audit => "audit",
            Self::Admin => "admin",
        }
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u16);

impl Permissions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self((1 << Permission::ALL.len()) - 1);

    /// The set of these.
    pub const fn of(permissions: &[Permission]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < permissions.len() {
            bits |= 1 << permissions[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    /// Whether it is among them.
    pub fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u16) != 0
    }

    /// Whether one of the others is among them.
    pub fn meets(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Whether all of the others are among them.
    pub fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

impl BitOr for Permissions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a path or a method asks of whoever calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it shows nothing that is not public.
    Public,
    /// A proof of its own in the request: a signature, a secret, or a key in the address.
    Proof,
    /// To be somebody.
    Anyone,
    /// One of these permissions, on everything.
    OneOf(Permissions),
    /// One of these permissions, on everything or on the things that the request is about, which are
    /// of these kinds. Whoever answers it looks at each of them.
    Within(Permissions, Resources),
}

/// Kinds of things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources(u8);

impl Resources {
    /// Whether a kind is among them.
    pub fn has(self, resource: Resource) -> bool {
        self.0 & (1 << resource as u8) != 0
    }
}

impl Need {
    /// The same, if it is given on things of these kinds.
    #[must_use]
    pub fn within(self, resources: &[Resource]) -> Self {
        let bits = resources.iter().fold(0, |bits, it| bits | 1 << *it as u8);
        match self {
            Self::OneOf(permissions) => Self::Within(permissions, Resources(bits)),
            other => other,
        }
    }

    /// The permissions of which it takes one; none if it does not ask for any.
    pub fn permissions(self) -> Permissions {
        match self {
            Self::OneOf(permissions) | Self::Within(permissions, _) => permissions,
            Self::Public | Self::Proof | Self::Anyone => Permissions::NONE,
        }
    }
}

impl Permission {
    /// The need of it on things of these kinds.
    pub fn within(self, resources: &[Resource]) -> Need {
        Need::from(self).within(resources)
    }
}

impl From<Permission> for Need {
    fn from(permission: Permission) -> Self {
        Self::OneOf(Permissions::of(&[permission]))
    }
}

impl BitOr for Permission {
    type Output = Need;

    fn bitor(self, other: Self) -> Need {
        Need::OneOf(Permissions::of(&[self, other]))
    }
}

/// `public`, `proof`, `anyone`, or the permissions, as in `work or run`; with the kinds of things on which
/// they suffice, as in `read (hub, workflow)`.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Proof => f.write_str("proof"),
            Self::Anyone => f.write_str("anyone"),
            Self::OneOf(permissions) | Self::Within(permissions, _) => {
                let all = Permission::ALL.into_iter().filter(|it| permissions.has(*it));
                for (at, permission) in all.enumerate() {
                    let before = if at == 0 { "" } else { " or " };
                    write!(f, "{before}{}", permission.as_str())?;
                }
                let Self::Within(_, resources) = self else { return Ok(()) };
                let kinds = Resource::ALL.into_iter().filter(|it| resources.has(*it));
                let kinds: Vec<&str> = kinds.map(Resource::as_str).collect();
                write!(f, " ({})", kinds.join(", "))
            }
        }
    }
}
