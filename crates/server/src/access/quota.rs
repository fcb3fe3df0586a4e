//! How much one principal may ask for: requests in a second, and bytes of bodies in a minute.
//!
//! Each principal has an account in memory that fills again evenly and holds twice what it gains in a
//! second of requests, or once what it gains in a minute of bytes. Off unless set. What runs and starts of
//! a principal may be is bounded in the engine, where they are counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;

use crate::problem::Problem;

/// What each principal may ask for; 0 = any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaSettings {
    /// Requests in a second.
    pub requests_per_second: u32,
    /// Bytes of the bodies of requests in a minute.
    pub bytes_per_minute: u64,
}

/// Accounts that are kept; beyond, those that are full are forgotten, and then further ones share one.
const ACCOUNTS_MAX: usize = 30_000;
/// The one that they share.
const OTHERS: &str = "(others)";
/// How long it is at least between two looks for full ones.
const SWEEP_AFTER: Duration = Duration::from_secs(1);
/// Seconds of requests that may come at once.
const BURST: f64 = 2.0;
const MINUTE: f64 = 60.0;

/// What a principal has left.
#[derive(Clone, Copy, Debug)]
struct Account {
    requests: f64,
    /// Less than nothing after a body that was larger.
    bytes: f64,
    at: Instant,
}

/// Which quota is used up, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
struct UsedUp {
    what: Quota,
    wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quota {
    Requests,
    Bytes,
}

#[derive(Default)]
struct Accounts {
    by_principal: HashMap<Arc<str>, Account>,
    /// When those that are full were last forgotten.
    swept_at: Option<Instant>,
}

/// The accounts of all principals.
pub(super) struct Quotas {
    settings: QuotaSettings,
    accounts: Mutex<Accounts>,
    refused: [AtomicU64; 2],
}

impl Quotas {
    pub(super) fn new(settings: QuotaSettings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            accounts: Mutex::default(),
            refused: <[AtomicU64; 2]>::default(),
        })
    }

    /// Whether there is one at all.
    pub(super) fn is_set(&self) -> bool {
        self.settings != QuotaSettings::default()
    }

    /// Requests that were refused, by the quota that was used up.
    pub(super) fn refused(&self) -> [(&'static str, u64); 2] {
        let [requests, bytes] = &self.refused;
        [("requests", requests.load(Ordering::Relaxed)), ("bytes", bytes.load(Ordering::Relaxed))]
    }

    /// Takes a request, and has its body counted as it arrives.
    ///
    /// # Errors
    /// 429 if a quota is used up.
    pub(super) fn charge(
        self: &Arc<Self>,
        who: Arc<str>,
        request: &mut Request,
    ) -> Result<(), Problem> {
        self.take(&who, Instant::now()).map_err(|used_up| self.refusal(&who, used_up))?;
        if self.settings.bytes_per_minute > 0 && !request.body().is_end_stream() {
            let (quotas, body) = (self.clone(), std::mem::take(request.body_mut()));
            *request.body_mut() = Body::new(body.map_frame(move |frame| {
                if let Some(data) = frame.data_ref() {
                    quotas.count(&who, data.len());
                }
                frame
            }));
        }
        Ok(())
    }

    fn refusal(&self, who: &str, UsedUp { what, wait }: UsedUp) -> Problem {
        if let Some(refused) = self.refused.get(what as usize) {
            refused.fetch_add(1, Ordering::Relaxed);
        }
        let QuotaSettings { requests_per_second, bytes_per_minute } = self.settings;
        let why = match what {
            Quota::Requests => format!(
                "more than {requests_per_second} requests in a second (principal_requests_per_second)"
            ),
            Quota::Bytes => format!(
                "more than {bytes_per_minute} bytes of bodies in a minute (principal_bytes_per_minute)"
            ),
        };
        let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", format!("{who} sends {why}"))
            .with_hint(format!("Try again in {seconds} s, and send fewer of them."))
            .retry_after(seconds)
    }

    fn take(&self, who: &Arc<str>, now: Instant) -> Result<(), UsedUp> {
        self.with(who, now, |account, settings| {
            let missing = |has: f64, gain: f64| Duration::from_secs_f64((-has).max(0.0) / gain);
            if settings.bytes_per_minute > 0 && account.bytes <= 0.0 {
                let wait = missing(account.bytes, settings.bytes_per_minute as f64 / MINUTE);
                return Err(UsedUp { what: Quota::Bytes, wait });
            }
            if settings.requests_per_second > 0 {
                if account.requests < 1.0 {
                    let gain = f64::from(settings.requests_per_second);
                    let wait = missing(account.requests - 1.0, gain);
                    return Err(UsedUp { what: Quota::Requests, wait });
                }
                account.requests -= 1.0;
            }
            Ok(())
        })
    }

    fn count(&self, who: &Arc<str>, bytes: usize) {
        self.with(who, Instant::now(), |account, _| account.bytes -= bytes as f64);
    }

    fn with<T>(
        &self,
        who: &Arc<str>,
        now: Instant,
        act: impl FnOnce(&mut Account, QuotaSettings) -> T,
    ) -> T {
        let settings = self.settings;
        let (requests, bytes) =
            (f64::from(settings.requests_per_second), settings.bytes_per_minute as f64);
        let full = Account { requests: requests * BURST, bytes, at: now };
        let grown = |account: Account| {
            let seconds = now.saturating_duration_since(account.at).as_secs_f64();
            Account {
                requests: (account.requests + seconds * requests).min(full.requests),
                bytes: (account.bytes + seconds * bytes / MINUTE).min(full.bytes),
                at: account.at.max(now),
            }
        };
        let mut accounts = self.accounts.lock();
        let Accounts { by_principal, swept_at } = &mut *accounts;
        let mut who = who.clone();
        if by_principal.len() >= ACCOUNTS_MAX && !by_principal.contains_key(&who) {
            // Not for each of a flood of newcomers.
            if swept_at.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_AFTER) {
                *swept_at = Some(now);
                by_principal.retain(|_, account| {
                    let account = grown(*account);
                    account.requests < full.requests || account.bytes < full.bytes
                });
            }
            if by_principal.len() >= ACCOUNTS_MAX {
                who = OTHERS.into();
            }
        }
        let account = by_principal.entry(who).or_insert(full);
        *account = grown(*account);
        act(account, settings)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::{ACCOUNTS_MAX, Quota, QuotaSettings, Quotas};

    fn quotas(requests_per_second: u32, bytes_per_minute: u64) -> Arc<Quotas> {
        Quotas::new(QuotaSettings { requests_per_second, bytes_per_minute })
    }

    #[test]
    fn requests_come_at_the_rate_that_was_set() {
        let (quotas, now) = (quotas(5, 0), Instant::now());
        let (ann, bob) = ("key:a".into(), "key:b".into());
        let passed = |who, now| (0..100).take_while(|_| quotas.take(who, now).is_ok()).count();
        assert_eq!(passed(&ann, now), 10, "two seconds of them at once");
        let used_up = quotas.take(&ann, now).expect_err("there are none left");
        assert_eq!((used_up.what, used_up.wait), (Quota::Requests, Duration::from_millis(200)));
        assert_eq!(passed(&bob, now), 10, "others are not slowed down");
        assert_eq!(passed(&ann, now + Duration::from_secs(1)), 5);
        assert_eq!(passed(&ann, now + Duration::from_mins(1)), 10, "and no more are saved up");
    }

    #[test]
    fn after_too_many_bytes_the_next_request_waits() {
        let (quotas, now) = (quotas(0, 6000), Instant::now());
        let who = "key:a".into();
        quotas.with(&who, now, |account, _| account.bytes -= 5999.0);
        assert_eq!(quotas.take(&who, now), Ok(()), "there is one left");
        quotas.with(&who, now, |account, _| account.bytes -= 1001.0);
        let used_up = quotas.take(&who, now).expect_err("there are none left");
        assert_eq!((used_up.what, used_up.wait), (Quota::Bytes, Duration::from_secs(10)));
        assert_eq!(quotas.take(&who, now + Duration::from_secs(11)), Ok(()));
    }

    #[test]
    fn accounts_are_bounded() {
        let (quotas, now) = (quotas(1, 0), Instant::now());
        for number in 0..ACCOUNTS_MAX + 10 {
            let _ = quotas.take(&format!("anonymous {number}").into(), now);
        }
        let kept = || quotas.accounts.lock().by_principal.len();
        assert_eq!(kept(), ACCOUNTS_MAX + 1, "and one that others share");
        let later = now + Duration::from_secs(10);
        assert_eq!(quotas.take(&"anonymous x".into(), later), Ok(()));
        assert_eq!(kept(), 1);
    }
}
