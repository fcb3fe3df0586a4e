//! Slows down whoever tries passwords, by the name that is tried and by the address that tries.
//!
//! Passwords are chosen by people and can be guessed, unlike keys. So after some failures the next
//! attempt has to wait, longer and longer, and is refused without a look at the password until then. An
//! address from which a user has come in before is not kept out by failures of others: nobody locks
//! somebody else out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use ipnet::IpNet;
use parking_lot::Mutex;

use super::throttle::place;
use crate::guard::Peer;
use crate::problem::Problem;

/// Failures after which the next attempt has to wait.
const FREE_BY_NAME: u32 = 5;
const FREE_BY_ADDRESS: u32 = 10;
/// How long after the first of these; it doubles with each further one, up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Without a failure for so long, all is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(15);
/// How long an address is remembered from which a user has come in.
const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);
/// Entries remembered of each kind.
const COUNT_MAX: usize = 10_000;
/// Attempts of one address at once.
const AT_ONCE_MAX: u32 = 4;
/// Bytes of a name that are told apart.
const NAME_MAX: usize = 100;

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Failures by something. An attempt counts as one from its beginning, so that many at once are no way
/// around it.
#[derive(Debug)]
struct Brake<K> {
    free: u32,
    failures: HashMap<K, Failures>,
}

impl<K: Hash + Eq + Clone> Brake<K> {
    fn new(free: u32) -> Self {
        Self { free, failures: HashMap::new() }
    }

    /// How long the next attempt must still wait.
    fn wait(&self, key: &K, now: Instant) -> Duration {
        let Some(Failures { count, last }) = self.failures.get(key) else { return Duration::ZERO };
        let since = now.saturating_duration_since(*last);
        if since >= FORGOTTEN_AFTER || *count < self.free {
            return Duration::ZERO;
        }
        let doubled = FIRST_WAIT * 2_u32.saturating_pow((count - self.free).min(16));
        doubled.min(WAIT_MAX).saturating_sub(since)
    }

    fn count(&mut self, key: K, now: Instant) {
        if self.failures.len() >= COUNT_MAX && !self.failures.contains_key(&key) {
            let is_fresh = |it: &Failures| now.saturating_duration_since(it.last) < FORGOTTEN_AFTER;
            self.failures.retain(|_, it| is_fresh(it));
            // Full of fresh ones: one makes room, of those with the fewest failures the oldest.
            if self.failures.len() >= COUNT_MAX {
                let least = self.failures.iter().min_by_key(|(_, it)| (it.count, it.last));
                if let Some(least) = least.map(|(key, _)| key.clone()) {
                    self.failures.remove(&least);
                }
            }
        }
        let failures = self.failures.entry(key).or_insert(Failures { count: 0, last: now });
        if now.saturating_duration_since(failures.last) >= FORGOTTEN_AFTER {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// An attempt was none: it succeeded, or could not be made.
    fn take_back(&mut self, key: &K) {
        if let Some(failures) = self.failures.get_mut(key) {
            failures.count = failures.count.saturating_sub(1);
        }
    }
}

#[derive(Debug)]
struct Book {
    by_name: Brake<String>,
    by_address: Brake<IpAddr>,
    /// From where which user has come in.
    known: HashMap<(String, IpAddr), Instant>,
    /// Attempts that are under way.
    at_once: HashMap<IpAddr, u32>,
}

/// Attempts to sign in with a password.
#[derive(Clone)]
pub(super) struct Logins {
    book: Arc<Mutex<Book>>,
    proxies: Arc<[IpNet]>,
}

/// An attempt that is under way. One that is given up counts as a failure.
pub(super) struct Attempt {
    book: Arc<Mutex<Book>>,
    name: String,
    /// `None` where many share an address.
    address: Option<IpAddr>,
}

impl Logins {
    pub(super) fn new(proxies: &[IpNet]) -> Self {
        let book = Book {
            by_name: Brake::new(FREE_BY_NAME),
            by_address: Brake::new(FREE_BY_ADDRESS),
            known: HashMap::new(),
            at_once: HashMap::new(),
        };
        Self { book: Arc::new(Mutex::new(book)), proxies: proxies.into() }
    }

    /// Begins an attempt.
    ///
    /// # Errors
    /// 429 if it has to wait.
    pub(super) fn begin(&self, name: &str, peer: Option<Peer>) -> Result<Attempt, Problem> {
        self.begin_at(name, peer.map(|peer| peer.0.ip()), Instant::now())
    }

    fn begin_at(
        &self,
        name: &str,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Attempt, Problem> {
        let name: String =
            name.trim().chars().take(NAME_MAX).map(|it| it.to_ascii_lowercase()).collect();
        // Behind a proxy of ours are many, who have nothing to do with one another.
        let address = address
            .filter(|it| !self.proxies.iter().any(|proxy| proxy.contains(&it.to_canonical())))
            .map(place);
        let mut book = self.book.lock();
        let is_known = address.is_some_and(|address| {
            let known = book.known.get(&(name.clone(), address));
            known.is_some_and(|at| now.saturating_duration_since(*at) < KNOWN_FOR)
        });
        let by_name = if is_known { Duration::ZERO } else { book.by_name.wait(&name, now) };
        let by_address = address.map_or(Duration::ZERO, |it| book.by_address.wait(&it, now));
        let wait = by_name.max(by_address);
        if !wait.is_zero() {
            return Err(too_many(wait));
        }
        if let Some(address) = address {
            let at_once = book.at_once.entry(address).or_default();
            if *at_once >= AT_ONCE_MAX {
                return Err(too_many(FIRST_WAIT));
            }
            *at_once += 1;
            book.by_address.count(address, now);
        }
        book.by_name.count(name.clone(), now);
        Ok(Attempt { book: self.book.clone(), name, address })
    }
}

fn too_many(wait: Duration) -> Problem {
    let seconds = wait.as_secs() + 1;
    let message = "too many attempts with this name, or from this address, have failed";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-logins", message)
        .with_hint(format!("Try again in {seconds} s; what was sent was not looked at."))
        .retry_after(seconds)
}

impl Attempt {
    /// The name and the password belong together.
    pub(super) fn succeeded(self) {
        self.succeeded_at(Instant::now());
    }

    fn succeeded_at(self, now: Instant) {
        let mut book = self.book.lock();
        let Some(address) = self.address else {
            book.by_name.take_back(&self.name);
            return;
        };
        if book.known.len() >= COUNT_MAX {
            book.known.retain(|_, at| now.saturating_duration_since(*at) < KNOWN_FOR);
        }
        if book.known.len() < COUNT_MAX {
            book.known.insert((self.name.clone(), address), now);
        }
        // What others have tried before stays counted for them.
        book.by_name.take_back(&self.name);
        book.by_address.take_back(&address);
    }

    /// They do not.
    pub(super) fn failed(self) {
        drop(self);
    }

    /// It was not looked at, as too many are under way.
    pub(super) fn not_made(self) {
        let mut book = self.book.lock();
        book.by_name.take_back(&self.name);
        if let Some(address) = &self.address {
            book.by_address.take_back(address);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut book = self.book.lock();
        if let Some(at_once) = book.at_once.get_mut(&address) {
            *at_once -= 1;
            if *at_once == 0 {
                book.at_once.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    use super::{
        AT_ONCE_MAX, Attempt, Brake, COUNT_MAX, FORGOTTEN_AFTER, FREE_BY_ADDRESS, FREE_BY_NAME,
        Logins, WAIT_MAX,
    };

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn begin(logins: &Logins, name: &str, from: IpAddr, now: Instant) -> Option<Attempt> {
        logins.begin_at(name, Some(from), now).ok()
    }

    fn fail(logins: &Logins, name: &str, from: IpAddr, now: Instant) -> bool {
        begin(logins, name, from, now).map(Attempt::failed).is_some()
    }

    #[test]
    fn attempts_wait_longer_and_longer_by_name_from_wherever_they_come() {
        let (logins, begin) = (Logins::new(&[]), Instant::now());
        let from = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..FREE_BY_NAME {
            assert!(fail(&logins, "Ann", from(number), begin));
        }
        assert!(!fail(&logins, "ann", from(100), begin), "of the same name");
        assert!(fail(&logins, "bob", from(100), begin), "others are not slowed down");
        // A second, then two, then four …
        let mut now = begin;
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(!fail(&logins, "ann", from(101), now + Duration::from_millis(wait * 1000 - 1)));
            now += Duration::from_secs(wait);
            assert!(fail(&logins, "ann", from(101 + wait as u32), now), "{wait}");
        }
        assert!(fail(&logins, "ann", from(200), now + FORGOTTEN_AFTER));
    }

    #[test]
    fn attempts_of_an_address_wait_whatever_the_names() {
        let (logins, now) =
            (Logins::new(&["10.0.0.0/8".parse().expect("a network")]), Instant::now());
        for number in 0..FREE_BY_ADDRESS {
            assert!(fail(&logins, &format!("user-{number}"), at("2001:db8::1"), now));
        }
        assert!(!fail(&logins, "ann", at("2001:db8::ffff"), now), "of the same network");
        for number in 0..100 {
            assert!(
                fail(&logins, &format!("other-{number}"), at("10.1.2.3"), now),
                "many share it"
            );
        }
    }

    #[test]
    fn nobody_locks_a_user_out_who_came_in_from_there_before() {
        let (logins, now) = (Logins::new(&[]), Instant::now());
        begin(&logins, "ann", at("192.0.2.1"), now).expect("it begins").succeeded_at(now);
        for number in 0..20_u32 {
            fail(&logins, "ann", IpAddr::from((0x0a00_0000 + number).to_be_bytes()), now);
        }
        assert!(!fail(&logins, "ann", at("192.0.2.9"), now));
        assert!(begin(&logins, "ann", at("192.0.2.1"), now).is_some());
    }

    #[test]
    fn few_attempts_of_an_address_run_at_once_and_each_counts_from_its_beginning() {
        let (logins, now) = (Logins::new(&[]), Instant::now());
        let running: Vec<Attempt> = (0..AT_ONCE_MAX)
            .map(|number| {
                begin(&logins, &format!("u{number}"), at("192.0.2.1"), now).expect("free")
            })
            .collect();
        assert!(begin(&logins, "ann", at("192.0.2.1"), now).is_none());
        assert!(begin(&logins, "ann", at("192.0.2.2"), now).is_some());
        drop(running);
        assert!(begin(&logins, "ann", at("192.0.2.1"), now).is_some());
        let all: Vec<_> = (0..2 * FREE_BY_NAME)
            .filter_map(|number| begin(&logins, "carl", IpAddr::from(number.to_be_bytes()), now))
            .collect();
        assert_eq!(all.len(), FREE_BY_NAME as usize);
        // What was not looked at counts for nothing.
        all.into_iter().for_each(Attempt::not_made);
        assert!(begin(&logins, "carl", at("192.0.2.3"), now).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_a_flood_of_names_does_not_free_one() {
        let (mut brake, now) = (Brake::new(2), Instant::now());
        brake.count(u32::MAX, now);
        brake.count(u32::MAX, now);
        for number in 0..COUNT_MAX as u32 + 100 {
            brake.count(number, now);
        }
        assert!(brake.failures.len() <= COUNT_MAX);
        assert!(brake.wait(&u32::MAX, now) > Duration::ZERO);
        assert!(brake.wait(&u32::MAX, now + WAIT_MAX).is_zero());
        // Also not if each name of the flood has to wait.
        let mut brake = Brake::new(1);
        (0..3).for_each(|_| brake.count(u32::MAX, now));
        (0..=COUNT_MAX as u32).for_each(|number| brake.count(number, now));
        assert_eq!(brake.failures.len(), COUNT_MAX);
        assert!(brake.wait(&u32::MAX, now) > Duration::ZERO);
    }
}
