//! The names under which this server may be asked for: the `Host` of a request is one of them, or
//! the request is refused.
//!
//! A page that a browser shows can make its own name point at this machine (DNS rebinding); the
//! browser then counts our answers as the page's own. What gives it away is the `Host` header, which
//! still bears that name. So only names count that such a page cannot have.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// One entry of the setting `hosts`: a name, or `*.` and what the name ends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// In lower case, without the `*.`.
    name: String,
    /// Whether it stands for every name below `name`, and not for `name` itself.
    below: bool,
}

impl HostPattern {
    fn matches(&self, host: &str) -> bool {
        if !self.below {
            return host == self.name;
        }
        host.strip_suffix(&self.name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}

impl FromStr for HostPattern {
    type Err = String;

    /// Reads `bell.example.com` or `*.example.com`; the error says what is wrong.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if name.contains('*') {
            let why = "only a whole first label can be `*`, as in `*.example.com`; a lone `*` would \
                       let every web page in";
            return Err(format!("`{text}`: {why}"));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_name = name.split('.').all(|label| !label.is_empty()) && name.chars().all(fits);
        let is_address = !below && name.parse::<IpAddr>().is_ok();
        if !is_name && !is_address {
            return Err(format!(
                "`{text}` is not a host name: write it without a scheme, port or path"
            ));
        }
        Ok(Self { name: name.to_ascii_lowercase(), below })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.below { "*." } else { "" })?;
        f.write_str(&self.name)
    }
}

/// The host that a request names, without its port, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Host(String);

impl Host {
    /// Reads the value of a `Host` header; `None` for what is not a host.
    pub(super) fn parse(authority: &str) -> Option<Self> {
        if authority.contains('@') {
            return None;
        }
        let authority: http::uri::Authority = authority.parse().ok()?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let host = host.strip_suffix('.').unwrap_or(host);
        (!host.is_empty()).then(|| Self(host.to_ascii_lowercase()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

/// Which hosts are ours.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    /// The host of `public_url`.
    pub(super) public: Option<Host>,
    /// The setting `hosts`.
    pub(super) listed: Vec<HostPattern>,
    /// Whether other machines can connect.
    pub(super) beyond_loopback: bool,
}

/// Endings of names that nobody can register: RFC 6762 (`local`), RFC 8375 (`home.arpa`), and
/// `internal`, which ICANN keeps for private use.
const PRIVATE_ENDINGS: [&str; 3] = [".local", ".internal", ".home.arpa"];

impl Hosts {
    /// Whether a request may name this host.
    pub(super) fn allow(&self, host: &Host) -> bool {
        let name = host.as_str();
        // A page whose address has an IP address in it was loaded from that address: no name was
        // looked up that could point elsewhere later.
        host.address().is_some()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.public.as_ref() == Some(host)
            || self.listed.iter().any(|pattern| pattern.matches(name))
            || (self.beyond_loopback && is_private_name(name))
    }
}

/// Whether a name can only mean something in a private network: `nightbell`, as containers call
/// each other, or `nightbell.prod.svc.cluster.local`. Whoever answers for such names is in that
/// network, and could connect to a server that listens there anyway.
fn is_private_name(name: &str) -> bool {
    !name.contains('.') || PRIVATE_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap_or_else(|| panic!("{text} is a host"))
    }

    #[test]
    fn only_names_that_a_foreign_page_cannot_have_are_allowed() {
        let here = Hosts::default();
        for ours in [
            "localhost:8080",
            "LOCALHOST.",
            "127.0.0.1",
            "[::1]:8080",
            "a.localhost",
            "192.168.1.5:80",
            "[fe80::1]",
        ] {
            assert!(here.allow(&host(ours)), "{ours}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "nightbell",
            "bell.local",
            "xlocalhost",
            "127.0.0.1.evil.example:8080",
        ] {
            assert!(!here.allow(&host(foreign)), "{foreign}");
        }
        let network = Hosts { beyond_loopback: true, ..Hosts::default() };
        for private in
            ["nightbell:8080", "nightbell.prod.svc.cluster.local", "host.docker.internal"]
        {
            assert!(network.allow(&host(private)), "{private}");
        }
        for foreign in ["evil.example", "local.evil.example", "nightbell.prod"] {
            assert!(!network.allow(&host(foreign)), "{foreign}");
        }
        let listed = Hosts {
            public: Some(host("bell.example")),
            listed: vec!["*.corp.example".parse().expect("a pattern")],
            beyond_loopback: false,
        };
        for ours in ["bell.example", "Bell.Example:443", "a.corp.example", "a.b.corp.example"] {
            assert!(listed.allow(&host(ours)), "{ours}");
        }
        for foreign in ["x.bell.example", "corp.example", "evilcorp.example", ".corp.example"] {
            let allowed = Host::parse(foreign).is_some_and(|host| listed.allow(&host));
            assert!(!allowed, "{foreign}");
        }
    }

    #[test]
    fn what_is_not_a_host_is_none() {
        for wrong in ["", "a b", "user@localhost", "localhost@evil.example", "local/host", "[::1"] {
            assert_eq!(Host::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_pattern_is_a_name_and_nothing_else() {
        for right in ["bell", "bell.example", "*.example", "10.0.0.1", "::1"] {
            assert!(right.parse::<HostPattern>().is_ok(), "{right}");
        }
        for wrong in ["", "*", "a*.example", "https://bell", "bell:8080", "bell/x", "a..b", "*."] {
            assert!(wrong.parse::<HostPattern>().is_err(), "{wrong}");
        }
    }
}
