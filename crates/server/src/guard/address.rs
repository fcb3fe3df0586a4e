//! Under which address a caller knows this server: what links in answers begin with.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{Extensions, HeaderMap, Uri};
use ipnet::IpNet;

use super::{Guard, host::Host};

/// The other end of the connection on which a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// In the extensions of a request that came over TLS to this very process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverTls;

/// Which addresses belong to reverse proxies of ours.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies(pub(super) Vec<IpNet>);

impl Proxies {
    /// Whether a request came through one. Without a connection it came from nobody.
    fn include(&self, extensions: &Extensions) -> bool {
        let Some(Peer(peer)) = extensions.get::<Peer>() else { return false };
        let peer: IpAddr = peer.ip().to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }
}

impl Guard {
    /// The address under which a caller knows this server, without a slash at its end: what a
    /// trusted proxy says in `X-Forwarded-Host`, `-Proto` and `-Prefix`; else `public_url`; else
    /// the host that was asked for.
    pub(crate) fn address(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        extensions: &Extensions,
    ) -> String {
        let text = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            // Several proxies make a list; the first is the one that the caller spoke to.
            value.split(',').next().map(str::trim).filter(|text| !text.is_empty())
        };
        let asked = text(HOST.as_str()).filter(|host| host.parse::<Authority>().is_ok());
        let asked = asked.or_else(|| uri.authority().map(Authority::as_str));
        let own_scheme = if extensions.get::<OverTls>().is_some() { "https" } else { "http" };
        if self.proxies.include(extensions) {
            // A caller may send such a header itself, and not every proxy removes it.
            let ours = |host: &&str| Host::parse(host).is_some_and(|host| self.hosts.allow(&host));
            let host = text("x-forwarded-host").filter(ours);
            let scheme = text("x-forwarded-proto").filter(|it| matches!(*it, "http" | "https"));
            let prefix = text("x-forwarded-prefix").filter(|prefix| is_prefix(prefix));
            if host.is_some() || (scheme.is_some() && self.public_url.is_none()) {
                let prefix = prefix.unwrap_or_default().trim_end_matches('/');
                let host = host.or(asked).unwrap_or("localhost");
                return format!("{}://{host}{prefix}", scheme.unwrap_or(own_scheme));
            }
        }
        match &self.public_url {
            Some(url) => url.clone(),
            None => format!("{own_scheme}://{}", asked.unwrap_or("localhost")),
        }
    }
}

fn is_prefix(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    text.starts_with('/') && !text.starts_with("//") && text.bytes().all(plain)
}
