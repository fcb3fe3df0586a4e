//! Certificates by ACME (RFC 8555): an authority is asked for them, and asked again before they end.
//!
//! The authority looks at the port of this server itself (TLS-ALPN-01, RFC 8737), so nothing else has to
//! listen, and no record has to be written anywhere. What was given is kept in a folder, one file for a
//! directory and a set of names: other names, or another authority, need other files, and whoever goes
//! back to the former ones finds them there.

mod asked;
mod calls;
mod order;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use server::Tls;

pub(crate) use asked::Asked;

/// The longest pause between two looks whether it is time: clocks are set, machines sleep, and whoever
/// deletes a certificate wants a new one.
const LOOK: Duration = Duration::from_mins(1);
/// The pause after the first failure. Let's Encrypt counts five failed proofs of a name per hour.
const FIRST_PAUSE: Duration = Duration::from_mins(2);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_hours(6);
/// Certificates that last longer are renewed when a third of their time is left, others when half is.
const LONG_LIVED: i64 = 10 * 24 * 60 * 60;

/// Asks for certificates whenever it is time, for as long as this is polled.
pub(crate) async fn keep(asked: Asked, tls: Arc<Tls>, calls: tasks::http::Settings) {
    let mut failures = 0;
    loop {
        let left = tls.given().map_or(0, renewal) - now();
        if left > 0 {
            tls.tell(None);
            let left = Duration::from_secs(left.unsigned_abs());
            tokio::time::sleep(left.min(LOOK)).await;
            continue;
        }
        let names = asked.domains.join(", ");
        let had = tls.given();
        if had.is_none() && failures == 0 {
            tls.tell(Some(format!("no certificate has been obtained yet for {names}")));
        }
        tracing::info!("TLS: asking {} for a certificate for {names}", asked.directory);
        let outcome = order::obtain(&asked, &tls, &calls).await;
        tls.withdraw_proofs();
        let problem = match outcome {
            Ok(()) => {
                tls.look();
                // Whoever looks every few seconds may have been faster.
                match tls.given() {
                    given @ Some((begins, ends)) if given != had => {
                        failures = 0;
                        tls.tell(None);
                        // However early it is to be renewed by the clock of this machine, not at once.
                        let tenth = u64::try_from((ends - begins) / 10).unwrap_or_default();
                        tokio::time::sleep(FIRST_PAUSE.min(Duration::from_secs(tenth))).await;
                        continue;
                    }
                    _ => "the certificate that was given cannot be used".to_owned(),
                }
            }
            Err(problem) => problem,
        };
        let pause = pause(failures);
        failures += 1;
        let minutes = pause.as_secs() / 60;
        let kept = if had.is_none() { "obtained" } else { "renewed" };
        tracing::error!(
            "TLS: the certificate for {names} was not {kept}, the next try is in {minutes} min: {problem}"
        );
        tls.tell(Some(format!("the certificate for {names} was not {kept}: {problem}")));
        tokio::time::sleep(pause).await;
    }
}

/// When a certificate that counts from the one instant to the other is renewed, in seconds since 1970.
fn renewal((begins, ends): (i64, i64)) -> i64 {
    let lasts = ends - begins;
    if lasts > LONG_LIVED { ends - lasts / 3 } else { ends - lasts / 2 }
}

/// How long to wait after so many failures before.
fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE)
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_PAUSE, pause, renewal};

    const DAY: i64 = 24 * 60 * 60;

    #[test]
    fn a_third_before_the_end_or_half_of_a_short_life() {
        assert_eq!(renewal((0, 90 * DAY)), 60 * DAY);
        assert_eq!(renewal((0, 6 * DAY)), 3 * DAY);
        assert_eq!(renewal((10, 10)), 10);
    }

    #[test]
    fn five_tries_in_an_hour_and_then_fewer() {
        let tries = (0..).scan(0, |at, failures| {
            let then = *at;
            *at += pause(failures).as_secs();
            Some(then)
        });
        assert_eq!(tries.take_while(|at| *at < 60 * 60).count(), 5);
        assert_eq!(pause(1_000), LONGEST_PAUSE);
    }
}
