//! Passwords: stored as Argon2id hashes, which are computed a few at a time, however many sign in at once.

use std::fmt;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Memory of one computation, in KiB, and its passes.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// The most that a stored hash may ask for, so that one from elsewhere does not take the server down.
const MEMORY_MAX: u32 = 64 * 1024;
const PASSES_MAX: u32 = 10;
const LANES_MAX: u32 = 4;
const SALT: usize = 16;
const OUTPUT: usize = 32;
/// Computations at once: 38 MiB and two processors at most.
const AT_ONCE: usize = 2;
/// Computations that run or wait; further ones are refused.
const WAITING_MAX: usize = 64;
/// Characters of the shortest password.
pub(super) const LENGTH_MIN: usize = 12;
/// Bytes of the longest password; a longer one is nobody's.
pub const LENGTH_MAX: usize = 1024;

/// Recognizes a password: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct PasswordHash(Arc<str>);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl PasswordHash {
    fn of(password: &str, salt: [u8; SALT]) -> Self {
        let params =
            Params::new(MEMORY, PASSES, 1, Some(OUTPUT)).expect("the parameters are valid");
        let hash = compute(params, password, &salt).expect("the lengths are valid");
        let (salt, hash) = (BASE64.encode(salt), BASE64.encode(*hash));
        Self(format!("$argon2id$v=19$m={MEMORY},t={PASSES},p=1${salt}${hash}").into())
    }

    /// Whether it is of this password; never of any if it cannot be read.
    fn fits(&self, password: &str) -> bool {
        let Some((params, salt, expected)) = self.parts() else { return false };
        let Some(found) = compute(params, password, &salt) else { return false };
        // In constant time.
        expected.len() == OUTPUT
            && expected.iter().zip(found.iter()).fold(0, |all, (one, other)| all | (one ^ other))
                == 0
    }

    fn parts(&self) -> Option<(Params, Vec<u8>, Vec<u8>)> {
        let rest = self.0.strip_prefix("$argon2id$v=19$")?;
        let mut parts = rest.split('$');
        let (params, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let mut numbers = params.split(',').zip(["m=", "t=", "p="]);
        let mut number = |max: u32| {
            let (text, name) = numbers.next()?;
            text.strip_prefix(name)?.parse().ok().filter(|it| *it <= max)
        };
        let (memory, passes, lanes) =
            (number(MEMORY_MAX)?, number(PASSES_MAX)?, number(LANES_MAX)?);
        let params = Params::new(memory, passes, lanes, Some(OUTPUT)).ok()?;
        Some((params, BASE64.decode(salt).ok()?, BASE64.decode(hash).ok()?))
    }
}

fn compute(params: Params, password: &str, salt: &[u8]) -> Option<Zeroizing<[u8; OUTPUT]>> {
    let mut output = Zeroizing::new([0; OUTPUT]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password.as_bytes(), salt, &mut *output).ok()?;
    Some(output)
}

/// Too many passwords wait for their hashes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy;

/// Computes hashes on threads of their own, a few at a time.
pub(super) struct Pool {
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Pool {
    fn default() -> Self {
        let running = Arc::new(Semaphore::new(AT_ONCE));
        Self { running, waiting: Semaphore::new(WAITING_MAX) }
    }
}

impl Pool {
    /// The hash of a new password.
    pub(super) async fn hash(&self, password: Zeroizing<String>) -> Result<PasswordHash, Busy> {
        let salt = super::random();
        self.run(move || PasswordHash::of(&password, salt)).await
    }

    /// Whether a password is the one of a hash. Takes as long if there is none, so that nobody learns
    /// by the time which users there are.
    pub(super) async fn fits(
        &self,
        hash: Option<PasswordHash>,
        password: Zeroizing<String>,
    ) -> Result<bool, Busy> {
        self.run(move || {
            if let Some(hash) = hash {
                return hash.fits(&password);
            }
            PasswordHash::of(&password, [0; SALT]);
            false
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let _place = self.waiting.try_acquire().map_err(|_| Busy)?;
        let running = self.running.clone().acquire_owned().await.map_err(|_| Busy)?;
        // The thread keeps its place until it ends, also if nobody waits for it any more.
        let computed = tokio::task::spawn_blocking(move || {
            let computed = compute();
            drop(running);
            computed
        });
        computed.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::{
        AT_ONCE, LANES_MAX, MEMORY_MAX, PASSES_MAX, PasswordHash, Pool, SALT, WAITING_MAX,
    };

    #[test]
    fn a_hash_is_of_one_password_and_says_how_it_was_made() {
        let hash = PasswordHash::of("correct horse battery", [7; SALT]);
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
        assert!(hash.fits("correct horse battery"));
        assert!(!hash.fits("correct horse batterz"));
        assert!(!hash.fits(""));
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
    }

    #[test]
    fn a_hash_that_asks_for_too_much_is_of_no_password() {
        let good = PasswordHash::of("password", [7; SALT]);
        let with = |from: &str, to: String| PasswordHash(good.0.replace(from, &to).into()).parts();
        for (from, name, max) in
            [("m=19456", "m", MEMORY_MAX), ("t=2", "t", PASSES_MAX), ("p=1", "p", LANES_MAX)]
        {
            assert!(with(from, format!("{name}={max}")).is_some(), "{name}={max}");
            assert!(with(from, format!("{name}={}", max + 1)).is_none(), "{name}={max} + 1");
        }
        for (from, to) in [("argon2id", "argon2i"), ("v=19", "v=16")] {
            assert!(with(from, to.to_owned()).is_none(), "{to}");
        }
        for text in ["", "$argon2id$v=19$", "$argon2id$v=19$m=19456,t=2,p=1$$", "password"] {
            assert!(!PasswordHash(text.into()).fits("password"), "{text}");
        }
    }

    /// A flood takes two threads, and what does not fit is refused at once.
    #[tokio::test]
    async fn few_run_at_once_and_few_wait() {
        let pool = std::sync::Arc::new(Pool::default());
        let held = pool.running.clone().acquire_many_owned(AT_ONCE as u32).await.expect("free");
        let waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { pool.run(|| ()).await.is_ok() })
            })
            .collect();
        while pool.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let password = Zeroizing::new("password".to_owned());
        assert!(pool.fits(None, password).await.is_err(), "there is no place left");
        drop(held);
        for ended in waiting {
            assert!(ended.await.expect("it ends"));
        }
        assert_eq!(pool.waiting.available_permits(), WAITING_MAX);
    }
}
