//! Sign-in by an OpenID provider (authorization code with PKCE): what the provider is asked, and whether what
//! it answers counts. Nothing here knows of users, sessions or requests to this server.
//!
//! The provider is reached through the port [`Outside`], so that every call goes out under the one policy for
//! outgoing connections.

mod claims;
mod jws;
mod provider;
mod workload;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub(crate) use claims::Person;
pub(crate) use provider::{Asked, Provider};
pub use workload::{KeysAt, Workload, WorkloadOptions};
pub(crate) use workload::{Refused, Workloads};

/// A call to the provider.
#[derive(Clone, Default)]
pub struct Call {
    /// Where to.
    pub url: String,
    /// The value of the header `Authorization`; a secret.
    pub authorization: Option<Zeroizing<String>>,
    /// A form to POST, which may hold a secret; without one it is a GET.
    pub form: Option<Zeroizing<String>>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What the provider answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Makes calls to the provider, and knows our secret there.
#[async_trait]
pub trait Outside: Send + Sync {
    /// Makes a call; an answer of any status is one. It should bound the body.
    ///
    /// # Errors
    /// There is no answer, and why.
    async fn send(&self, call: Call) -> Result<Reply, String>;

    /// The secret of this client, as it is at the moment; `None` for a client that has none.
    ///
    /// # Errors
    /// There is one, and it cannot be read.
    fn secret(&self) -> Result<Option<Zeroizing<String>>, String>;
}

/// Which provider, what we are there, and who may come in.
#[derive(Clone)]
pub struct Options {
    /// What the provider calls itself; its description is below it.
    pub issuer: String,
    /// What it calls us.
    pub client_id: String,
    /// What the button to sign in says: `Sign in with LABEL`.
    pub label: String,
    /// What is asked for; `openid` is added if it is missing.
    pub scopes: Vec<String>,
    /// The claim that a new user is called by.
    pub name_claim: String,
    /// The claim with the groups of the user: a text or a list of texts.
    pub groups_claim: String,
    /// Values of that claim, and the group of ours that each stands for.
    pub groups: Vec<(String, String)>,
    /// Domains of which the user's verified mail address must be; any if there are none.
    pub email_domains: Vec<String>,
    /// Whether a user of the same name who was created here becomes the provider's at the first login.
    pub links_users: bool,
    /// Makes the calls.
    pub outside: Arc<dyn Outside>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Why nobody signs in by the provider now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failed {
    /// It cannot be reached, or answers what makes no sense.
    #[error("{0}")]
    Unavailable(String),
    /// It refuses the code.
    #[error("the provider refuses the code: {0}")]
    Refused(String),
    /// Its token does not prove who somebody is.
    #[error("the provider's ID token does not count: {0}")]
    Token(String),
    /// It proves who somebody is, and they are not let in.
    #[error("{0}")]
    NotAdmitted(String),
}
