//! Where built-in tasks may connect to: a name is resolved once, every address that it leads to is
//! judged, and the connection goes to exactly the addresses that passed.
//!
//! The policy is about addresses, not about how they are written: `2130706433`, `0x7f.1` and
//! `::ffff:127.0.0.1` are judged as the addresses that the system makes of them. As nothing is
//! resolved a second time, a name that changes between the judgement and the connection
//! (DNS rebinding) changes nothing.
//!
//! Behind a proxy the other side is resolved by the proxy: there only addresses that are written out
//! can be judged.

mod policy;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolving};
use tokio::net::TcpStream;

pub use ipnet::IpNet;
pub use policy::{Listeners, Policy, Refusal, network};

/// Turns names into addresses.
pub trait Resolve: Send + Sync {
    /// Every address of a name.
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// What the operating system knows.
struct System;

impl Resolve for System {
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Makes every outgoing connection of tasks; clones share the policy.
#[derive(Clone)]
pub struct Dialer {
    policy: Arc<Policy>,
    resolver: Arc<dyn Resolve>,
}

impl Default for Dialer {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Dialer {
    /// A dialer that asks the operating system for addresses.
    pub fn new(policy: Policy) -> Self {
        Self::resolving_with(policy, Arc::new(System))
    }

    /// A dialer that asks somebody else for addresses.
    pub fn resolving_with(policy: Policy, resolver: Arc<dyn Resolve>) -> Self {
        Self { policy: Arc::new(policy), resolver }
    }

    /// The rules.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The addresses of a host that may be connected to: all but those that the policy refuses.
    ///
    /// # Errors
    /// The name is unknown, or the policy refuses every address of it: the error then holds a
    /// [`Refusal`].
    pub async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = self.found(host).await?;
        Self::passed(host, &found, |address| self.policy.judge(SocketAddr::new(address, port)))
            .map(|passed| passed.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// Judges all addresses of a host, for a client that looks the name up again by itself and may
    /// connect to any of them.
    ///
    /// # Errors
    /// The name is unknown, or the policy refuses one of its addresses: the error then holds a
    /// [`Refusal`].
    pub async fn judge_all(&self, host: &str, port: u16) -> io::Result<()> {
        let found = self.found(host).await?;
        let judged = found.iter().try_for_each(|ip| self.policy.judge(SocketAddr::new(*ip, port)));
        judged.map_err(refusing)
    }

    /// Every address of a host.
    async fn found(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) => Ok(vec![address]),
            Err(_) => self.resolver.resolve(host).await,
        }
    }

    /// Connects to the first address of a host that answers and may be connected to.
    ///
    /// # Errors
    /// As [`Dialer::addresses`]; nobody answers.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses = self.addresses(host, port).await?;
        TcpStream::connect(&*addresses).await
    }

    /// Judges an address that a URL spells out. A name is judged when it is resolved.
    ///
    /// # Errors
    /// The policy refuses it.
    pub(crate) fn judge_written(&self, url: &Url) -> Result<(), Refusal> {
        // A URL holds an address in its one usual form, however it was written.
        let host = url.host_str().unwrap_or_default();
        let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() else { return Ok(()) };
        let port = url.port_or_known_default().unwrap_or_default();
        self.policy.judge(SocketAddr::new(address, port))
    }

    fn passed(
        host: &str,
        found: &[IpAddr],
        judge: impl Fn(IpAddr) -> Result<(), Refusal>,
    ) -> io::Result<Vec<IpAddr>> {
        let mut refusal = None;
        let mut passed = Vec::with_capacity(found.len());
        for address in found {
            match judge(*address) {
                Ok(()) => passed.push(*address),
                Err(why) => refusal = Some(why),
            }
        }
        match refusal {
            Some(refusal) if passed.is_empty() => Err(refusing(refusal)),
            _ if passed.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")))
            }
            _ => Ok(passed),
        }
    }
}

/// The dialer as the HTTP client asks it for addresses, without knowing the port.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) dialer: Dialer,
    /// The port is one of those on which this server listens.
    pub(crate) own_port: bool,
}

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let found = names.dialer.resolver.resolve(name.as_str()).await?;
            let policy = &names.dialer.policy;
            let judge = |address| policy.judge_host(address, names.own_port);
            let passed = Dialer::passed(name.as_str(), &found, judge)?;
            // Port 0 stands for the port of the URL.
            let addresses = passed.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

fn refusing(refusal: Refusal) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, refusal)
}

/// The refusal in an error of [`Dialer::connect`], if it is one.
pub(crate) fn refusal_of(error: &io::Error) -> Option<&Refusal> {
    error.get_ref()?.downcast_ref::<Refusal>()
}
