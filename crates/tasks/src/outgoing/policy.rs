//! Which addresses tasks may connect to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use parking_lot::RwLock;

/// Where clouds answer programs on a machine, with its credentials among other things; beside the
/// link-local addresses.
const METADATA: [IpNet; 9] = [
    // Amazon: metadata, and beside it the credentials of pods.
    v6(0xfd00_0ec2_0000_0000_0000_0000_0000_0000, 32),
    // Google.
    v6(0xfd20_00ce_0000_0000_0000_0000_0000_0254, 128),
    // Oracle.
    v6(0xfd00_00c1_0000_0000_0000_0000_a9fe_a9fe, 128),
    v4([192, 0, 0, 192]),
    // Alibaba.
    v6(0xfd00_0100_0000_0000_0000_0000_0100_0200, 128),
    v4([100, 100, 100, 200]),
    // Azure.
    v4([168, 63, 129, 16]),
    // Scaleway.
    v6(0xfd00_0042_0000_0000_0000_0000_0000_0042, 128),
    // Akamai.
    v6(0xfd00_a9fe_a9fe_0000_0000_0000_0000_0001, 128),
];

/// This machine, and networks that no registry gives to anybody: private ones, those that providers
/// share among customers, and those for measurements.
const PRIVATE: [IpNet; 9] = [
    v4_net([127, 0, 0, 0], 8),
    v4_net([10, 0, 0, 0], 8),
    v4_net([172, 16, 0, 0], 12),
    v4_net([192, 168, 0, 0], 16),
    v4_net([100, 64, 0, 0], 10),
    v4_net([198, 18, 0, 0], 15),
    v6(1, 128),
    v6(0xfc00 << 112, 7),
    // Site-local, before there were unique local ones.
    v6(0xfec0 << 112, 10),
];

const fn v4(octets: [u8; 4]) -> IpNet {
    v4_net(octets, 32)
}

const fn v4_net([a, b, c, d]: [u8; 4], bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits))
}

const fn v6(address: u128, bits: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(address), bits))
}

/// Bits of an IPv6 address before an IPv4 one that is mapped into it.
const MAPPED_BITS: u8 = 96;

/// Reads a network as people write it: `10.0.0.0/8`, or one address. IPv4 that is mapped into IPv6
/// (`::ffff:10.0.0.0/104`) becomes IPv4, as the addresses do that are compared with it.
///
/// # Errors
/// It is neither.
pub fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let wrong = || format!("`{text}` is neither an IP address nor a network");
    let net = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse());
    let net: IpNet = net.map_err(|_| wrong())?;
    let IpAddr::V4(address) = net.addr().to_canonical() else { return Ok(net) };
    match net {
        IpNet::V4(_) => Ok(net),
        IpNet::V6(_) => {
            let bits = net.prefix_len().checked_sub(MAPPED_BITS);
            let net = bits.and_then(|bits| Ipv4Net::new(address, bits).ok());
            net.map(IpNet::V4).ok_or_else(|| {
                format!(
                    "`{text}` is more than the IPv4 addresses mapped into IPv6; write them as IPv4"
                )
            })
        }
    }
}

/// Where this server itself listens; clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Listeners(Arc<RwLock<Vec<SocketAddr>>>);

impl Listeners {
    /// Adds an address on which the server listens.
    pub fn add(&self, address: SocketAddr) {
        self.0.write().push(address);
    }

    /// Whether the server listens on a port, at whatever address.
    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.0.read().iter().any(|listener| listener.port() == port)
    }

    /// Whether an address, with any port or with this one, is where the server listens.
    fn is_ours(&self, ip: IpAddr, port: Option<u16>) -> bool {
        self.0.read().iter().any(|listener| {
            let here = listener.ip().to_canonical();
            let fits = port.is_none_or(|port| port == listener.port());
            // The system takes a call to no address as one to itself.
            let is_here = here == ip || (ip.is_unspecified() && here.is_loopback());
            fits && (is_here || (here.is_unspecified() && is_of_this_machine(ip)))
        })
    }
}

/// The rules. The default refuses what no workflow has business with, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Networks that may be reached although a rule would refuse them.
    pub allow: Vec<IpNet>,
    /// Networks that may not be reached.
    pub deny: Vec<IpNet>,
    /// Whether the server's own listeners may be called.
    pub own: bool,
    /// Whether this machine and private networks are refused as well.
    pub public_only: bool,
    /// Where the server listens.
    pub listeners: Listeners,
}

impl Policy {
    /// Whether an address may be connected to.
    ///
    /// # Errors
    /// It may not.
    pub fn judge(&self, address: SocketAddr) -> Result<(), Refusal> {
        let ip = address.ip().to_canonical();
        self.judge_ip(ip)?;
        self.judge_own(ip, Some(address.port()))
    }

    /// As [`Policy::judge`] where the port is only known to be one of ours, or none.
    pub(super) fn judge_host(&self, ip: IpAddr, own_port: bool) -> Result<(), Refusal> {
        let ip = ip.to_canonical();
        self.judge_ip(ip)?;
        if own_port { self.judge_own(ip, None) } else { Ok(()) }
    }

    fn judge_own(&self, ip: IpAddr, port: Option<u16>) -> Result<(), Refusal> {
        if !self.own && self.listeners.is_ours(ip, port) {
            return Err(Refusal { address: ip, rule: Rule::Own });
        }
        Ok(())
    }

    fn judge_ip(&self, ip: IpAddr) -> Result<(), Refusal> {
        let within = |networks: &[IpNet], ip: &IpAddr| networks.iter().any(|net| net.contains(ip));
        if within(&self.allow, &ip) {
            return Ok(());
        }
        // An IPv6 address may lead to an IPv4 one.
        for ip in std::iter::once(ip).chain(embedded(ip)) {
            let rule = if within(&self.deny, &ip) { Some(Rule::Denied) } else { rule_of(ip) };
            let is_private = || self.public_only && within(&PRIVATE, &ip);
            if let Some(rule) = rule.or_else(|| is_private().then_some(Rule::Private)) {
                return Err(Refusal { address: ip, rule });
            }
        }
        Ok(())
    }
}

/// The rule that refuses an address whatever the configuration says, but for `outgoing_allow`.
fn rule_of(ip: IpAddr) -> Option<Rule> {
    let (link_local, nowhere) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[0] == 0 || ip.is_broadcast()),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.is_unspecified()),
    };
    if METADATA.iter().any(|net| net.contains(&ip)) {
        Some(Rule::Metadata)
    } else if link_local {
        Some(Rule::LinkLocal)
    } else if ip.is_multicast() {
        Some(Rule::Multicast)
    } else {
        nowhere.then_some(Rule::Unspecified)
    }
}

/// The IPv4 addresses that an IPv6 one may lead to: NAT64 (RFC 6052), 6to4 (RFC 3056), SIIT (RFC
/// 2765), and the old compatible form. Mapped ones are canonical already.
fn embedded(ip: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(ip) = ip else { return Vec::new() };
    let last = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        vec![IpAddr::V4(Ipv4Addr::new(a, b, c, d))]
    };
    match ip.segments() {
        // The local prefix (RFC 8215) may be cut where its network likes, and the address with it.
        [0x64, 0xff9b, 1, ..] => {
            let octets = ip.octets();
            let cuts = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
            let cut = cuts.into_iter().map(|places| Ipv4Addr::from(places.map(|at| octets[at])));
            // No address begins with 0: there the cut is another.
            cut.filter(|ip| ip.octets()[0] != 0).map(IpAddr::V4).collect()
        }
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..]
        | [0, 0, 0, 0, 0xffff, 0, high, low] => last(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high > 0 => last(high, low),
        _ => Vec::new(),
    }
}

/// Whether an address belongs to an interface of this machine: only then can a socket be bound to it.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// Why an address is not connected to, and which line of the configuration would change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    address: IpAddr,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Metadata,
    LinkLocal,
    Multicast,
    Unspecified,
    Denied,
    Private,
    Own,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, rule } = self;
        match rule {
            Rule::Metadata => {
                write!(f, "{address} is where clouds give out a machine's credentials")?;
            }
            Rule::LinkLocal => {
                write!(f, "{address} is link-local, where clouds give out metadata")?;
            }
            Rule::Multicast => write!(f, "{address} is a multicast address")?,
            Rule::Unspecified => write!(f, "{address} names no host")?,
            Rule::Denied => {
                return write!(f, "the setting outgoing_deny refuses {address}");
            }
            Rule::Private => write!(
                f,
                "{address} is this machine or in a private network, which outgoing_private = \"off\" refuses"
            )?,
            Rule::Own => {
                return write!(
                    f,
                    "{address} with this port is this server itself; the setting outgoing_own = \
                     true would allow it"
                );
            }
        }
        write!(f, "; the setting outgoing_allow = [\"{address}\"] would allow it")
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod attacks {
    use super::*;

    fn refused(policy: &Policy, address: &str) -> Option<String> {
        let address: SocketAddr = address.parse().expect("an address");
        policy.judge(address).err().map(|refusal| refusal.to_string())
    }

    #[test]
    fn metadata_link_local_multicast_and_unspecified_addresses_are_refused_in_every_spelling() {
        let policy = Policy::default();
        for address in [
            "169.254.169.254:80",
            "[::ffff:169.254.169.254]:80",
            "[::ffff:a9fe:a9fe]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[64:ff9b:1::a9fe:a9fe]:80",
            "[64:ff9b:1:a9fe:a9:fe00::]:80",
            "[64:ff9b:1:0:a9:fea9:fe00:0]:80",
            "[::ffff:0:a9fe:a9fe]:80",
            "[2002:a9fe:a9fe::1]:80",
            "[::a9fe:a9fe]:80",
            "[fd00:ec2::254]:80",
            "[fd00:ec2::23]:80",
            "[fd20:ce::254]:80",
            "[fd00:c1::a9fe:a9fe]:80",
            "[fd00:100::100:200]:80",
            "[fd00:42::42]:80",
            "[fd00:a9fe:a9fe::1]:80",
            "[fe80::1]:80",
            "100.100.100.200:80",
            "168.63.129.16:80",
            "192.0.0.192:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "[::]:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
            "255.255.255.255:80",
        ] {
            let why = refused(&policy, address).unwrap_or_else(|| panic!("{address} is allowed"));
            assert!(why.contains("outgoing_allow"), "{why}");
        }
        for address in [
            "127.0.0.1:80",
            "[::1]:80",
            "10.0.0.1:80",
            "[fd00::1]:80",
            "8.8.8.8:53",
            "[64:ff9b:1::808:808]:53",
            "[64:ff9b:1:808:8:800::]:53",
        ] {
            assert_eq!(refused(&policy, address), None, "{address}");
        }
    }

    #[test]
    fn the_configuration_allows_and_denies_networks() {
        let net = |text: &str| text.parse::<IpNet>().expect("a network");
        let policy = Policy {
            allow: vec![net("169.254.169.254/32")],
            deny: vec![net("10.0.0.0/8"), net("127.0.0.0/8")],
            ..Policy::default()
        };
        assert_eq!(refused(&policy, "169.254.169.254:80"), None);
        assert!(refused(&policy, "169.254.169.253:80").is_some());
        for address in ["10.1.2.3:80", "[::ffff:10.1.2.3]:80", "[64:ff9b::a01:203]:80"] {
            let why = refused(&policy, address).expect("it is denied");
            assert!(why.contains("outgoing_deny"), "{why}");
        }
        assert!(refused(&policy, "127.0.0.1:1").is_some());
    }

    #[test]
    fn private_networks_are_refused_in_every_spelling_if_only_public_ones_are_meant() {
        let net = |text: &str| text.parse::<IpNet>().expect("a network");
        let policy =
            Policy { public_only: true, allow: vec![net("10.9.0.0/16")], ..Policy::default() };
        for address in [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "10.0.0.1:80",
            "172.16.0.1:80",
            "172.31.255.255:80",
            "192.168.1.1:80",
            "100.64.0.1:80",
            "198.19.0.1:80",
            "[64:ff9b::a00:1]:80",
            "[2002:c0a8:101::1]:80",
            "[fd12:3456::1]:80",
            "[fc00::1]:80",
            "[fec0::1]:80",
        ] {
            let why = refused(&policy, address).unwrap_or_else(|| panic!("{address} is allowed"));
            assert!(why.contains("outgoing_private") && why.contains("outgoing_allow"), "{why}");
        }
        for address in
            ["10.9.1.1:80", "172.32.0.1:80", "100.128.0.1:80", "8.8.8.8:53", "[2606::1]:80"]
        {
            assert_eq!(refused(&policy, address), None, "{address}");
        }
    }

    #[test]
    fn the_servers_own_listeners_are_refused_at_every_address_of_the_machine() {
        let policy = Policy::default();
        policy.listeners.add("127.0.0.1:8080".parse().expect("an address"));
        for address in ["127.0.0.1:8080", "[::ffff:127.0.0.1]:8080"] {
            let why = refused(&policy, address).expect("it is ours");
            assert!(why.contains("outgoing_own"), "{why}");
        }
        for address in ["127.0.0.1:8081", "127.0.0.2:8080", "[::1]:8080"] {
            assert_eq!(refused(&policy, address), None, "{address}");
        }
        policy.listeners.add("0.0.0.0:9090".parse().expect("an address"));
        for address in ["127.0.0.1:9090", "127.9.9.9:9090", "[::1]:9090"] {
            assert!(refused(&policy, address).is_some(), "{address}");
        }
        assert_eq!(refused(&policy, "192.0.2.1:9090"), None, "it is no address of this machine");
        // Whoever allows everything else has not allowed the server itself; no address leads to it too.
        let nets = ["0.0.0.0/0", "::/0"].map(|net| network(net).expect("a network"));
        let lenient = Policy { allow: nets.into(), ..policy.clone() };
        for address in ["127.0.0.1:8080", "0.0.0.0:8080", "[::]:8080", "[::ffff:0.0.0.0]:8080"] {
            let why = refused(&lenient, address).expect("it leads to us");
            assert!(why.contains("outgoing_own"), "{why}");
        }
        let open = Policy { own: true, ..policy };
        assert_eq!(refused(&open, "127.0.0.1:8080"), None);
    }
}
