//! Certificates by ACME (RFC 8555): an authority is asked for them, and asked again before they end.
//!
//! The authority looks at the port of this server itself (TLS-ALPN-01, RFC 8737), so nothing else has to
//! listen, and no record has to be written anywhere. What was given is kept in a folder, one file for a
//! directory and a set of names: other names, or another authority, need other files, and whoever goes
//! back to the former ones finds them there.

mod calls;
mod order;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use ring::digest::{SHA256, digest};
use server::{Pair, Tls, TlsFiles};
use zeroize::Zeroizing;

use crate::cli::Failure;
use crate::config::Config;
use crate::exposed;

/// The longest pause between two looks whether it is time: clocks are set, machines sleep, and whoever
/// deletes a certificate wants a new one.
const LOOK: Duration = Duration::from_mins(1);
/// The pause after the first failure. Let's Encrypt counts five failed proofs of a name per hour.
const FIRST_PAUSE: Duration = Duration::from_mins(2);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_hours(6);
/// Certificates that last longer are renewed when a third of their time is left, others when half is.
const LONG_LIVED: i64 = 10 * 24 * 60 * 60;

/// What an authority is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The names that the certificate is for.
    domains: Vec<String>,
    /// Where the authority describes itself.
    directory: String,
    /// Mail addresses that it may write to.
    contacts: Vec<String>,
    /// The account elsewhere that ours belongs to: its id, and the file with its key.
    external: Option<(String, PathBuf)>,
    /// Where account and certificate are kept.
    folder: PathBuf,
}

impl Asked {
    /// What the configuration asks for; what is set must be complete.
    ///
    /// # Errors
    /// Settings contradict each other, or one is missing.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let domains = config.acme_domains.0.clone();
        let external = match (&config.acme_eab_kid, &config.acme_eab_key_file) {
            (Some(id), Some(file)) => Some((id.0.clone(), file.clone())),
            (None, None) => None,
            _ => {
                return Err(refused("one of acme_eab_kid and acme_eab_key_file is set")
                    .with_hint(
                        "an external account binding needs both, as the authority tells them",
                    )
                    .into());
            }
        };
        if domains.is_empty() {
            return Ok(None);
        }
        if config.tls_cert.is_some() || config.tls_key.is_some() {
            return Err(refused("tls_cert or tls_key is set as well as acme_domains")
                .with_hint("name the files of a certificate, or have one asked for, not both")
                .into());
        }
        if config.peer_listen.is_some() {
            return Err(refused("acme_domains is set on one of several servers (peer_listen)")
                .with_hint(
                    "the authority's look would reach any of them; let the load balancer end TLS, or \
                     give each server the same files in tls_cert and tls_key",
                )
                .into());
        }
        Ok(Some(Self {
            domains,
            directory: config.acme_directory.0.clone(),
            contacts: config.acme_contacts.0.clone(),
            external,
            folder: config.acme_dir.clone(),
        }))
    }

    /// TLS with what was given before, or with a certificate that stands in until there is one.
    ///
    /// # Errors
    /// The folder cannot be made, or the authorities of clients cannot be used.
    pub(crate) fn open(&self, client_ca: Option<PathBuf>) -> anyhow::Result<Arc<Tls>> {
        let shown = self.folder.display();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.with_context(|| format!("acme_dir: the folder {shown} cannot be made"))?;
        let file = self.certificate_file();
        exposed::tell_of_file(&file, "the private key of the server");
        let files = TlsFiles { cert: file.clone(), key: file, client_ca };
        let stand_in = self_signed(&self.domains, None).context("a certificate cannot be made")?;
        Tls::open_asked(files, &stand_in).context("TLS cannot be used, so nothing is served")
    }

    fn certificate_file(&self) -> PathBuf {
        let mut names = self.domains.clone();
        names.sort_unstable();
        names.push(self.directory.clone());
        self.folder.join(format!("certificate-{}.pem", named_after(&names)))
    }

    fn account_file(&self) -> PathBuf {
        let of = [self.directory.clone()];
        self.folder.join(format!("account-{}.json", named_after(&of)))
    }
}

fn refused(message: &str) -> Failure {
    Failure::usage(message.to_owned())
}

/// A short name for texts.
fn named_after(texts: &[String]) -> String {
    let hash = digest(&SHA256, texts.join("\n").as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..9])
}

/// A certificate that nobody signed; with a proof for an authority, if there is one.
fn self_signed(domains: &[String], proof: Option<&[u8]>) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::new(domains.to_vec())?;
    params.custom_extensions.extend(proof.map(CustomExtension::new_acme_identifier));
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?.pem();
    Ok(Pair { cert, key: Zeroizing::new(key.serialize_pem()) })
}

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
