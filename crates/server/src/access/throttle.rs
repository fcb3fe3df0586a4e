//! Slows down addresses that try keys: their refusals come late, what is right is answered at once.
//!
//! Keys have 256 random bits, so that trying them leads nowhere. This keeps logs and processor time
//! from being wasted on it, and never locks anybody out: only what has failed already waits.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;

use crate::guard::Peer;

/// Failures of an address that are answered at once.
const FREE: u32 = 10;
/// What each further one waits longer, and the longest wait.
const STEP: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Without a failure for so long, an address starts anew.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);
/// Addresses remembered.
const ADDRESSES_MAX: usize = 10_000;

/// Failures by address.
pub(super) struct Throttle {
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
    proxies: Vec<IpNet>,
}

impl Throttle {
    pub(super) fn new(proxies: &[IpNet]) -> Self {
        Self { failures: Mutex::default(), proxies: proxies.to_vec() }
    }

    /// Counts a failure, and waits for as long as it must be answered late.
    pub(super) async fn failed(&self, peer: Option<Peer>) {
        let Some(peer) = peer else { return };
        let wait = self.wait(place(peer.0.ip()), Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait(&self, address: IpAddr, now: Instant) -> Duration {
        // Behind a proxy of ours are many, who have nothing to do with one another.
        if self.proxies.iter().any(|proxy| proxy.contains(&address)) {
            return Duration::ZERO;
        }
        let mut failures = self.failures.lock();
        if failures.len() >= ADDRESSES_MAX && !failures.contains_key(&address) {
            failures.retain(|_, (_, last)| now.duration_since(*last) < FORGOTTEN_AFTER);
            if failures.len() >= ADDRESSES_MAX {
                return WAIT_MAX;
            }
        }
        let (count, last) = failures.entry(address).or_insert((0, now));
        if now.duration_since(*last) >= FORGOTTEN_AFTER {
            *count = 0;
        }
        *count = count.saturating_add(1);
        *last = now;
        if *count == FREE + 1 {
            tracing::warn!(%address, "many invalid keys or tokens from this address; its requests are throttled");
        }
        (STEP * count.saturating_sub(FREE)).min(WAIT_MAX)
    }
}

/// Whom failures count against: an address, of IPv6 its /64.
pub(super) fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    use super::{ADDRESSES_MAX, FORGOTTEN_AFTER, FREE, Throttle, WAIT_MAX, place};

    #[test]
    fn failures_wait_longer_and_longer_by_address() {
        let throttle = Throttle::new(&["10.0.0.0/8".parse().unwrap()]);
        let now = Instant::now();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let waits: Vec<Duration> = (0..100).map(|_| throttle.wait(address, now)).collect();
        assert!(waits[..FREE as usize].iter().all(Duration::is_zero));
        assert!(waits[FREE as usize..].windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(waits[99], WAIT_MAX);
        let other = "192.0.2.2".parse().unwrap();
        assert!(throttle.wait(other, now).is_zero(), "others are not slowed down");
        assert!(throttle.wait("10.1.2.3".parse().unwrap(), now).is_zero());
        assert!(throttle.wait(address, now + FORGOTTEN_AFTER).is_zero());
    }

    #[test]
    fn addresses_remembered_are_bounded() {
        let throttle = Throttle::new(&[]);
        let now = Instant::now();
        for number in 0..=ADDRESSES_MAX as u32 {
            throttle.wait(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(throttle.failures.lock().len(), ADDRESSES_MAX);
        throttle.wait("192.0.2.9".parse().unwrap(), now + FORGOTTEN_AFTER);
        assert_eq!(throttle.failures.lock().len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one() {
        let place = |text: &str| place(text.parse().unwrap());
        assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:1"));
        assert_ne!(place("2001:db8::1"), place("2001:db8:0:1::1"));
        assert_eq!(place("::ffff:192.0.2.1"), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
