//! What a certificate authority is asked for, and where that is kept.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

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

/// What an authority is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The names that the certificate is for.
    pub(super) domains: Vec<String>,
    /// Where the authority describes itself.
    pub(super) directory: String,
    /// Mail addresses that it may write to.
    pub(super) contacts: Vec<String>,
    /// The account elsewhere that ours belongs to: its id, and the file with its key.
    pub(super) external: Option<(String, PathBuf)>,
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

    pub(super) fn certificate_file(&self) -> PathBuf {
        let mut names = self.domains.clone();
        names.sort_unstable();
        names.push(self.directory.clone());
        self.folder.join(format!("certificate-{}.pem", named_after(&names)))
    }

    pub(super) fn account_file(&self) -> PathBuf {
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
pub(super) fn self_signed(domains: &[String], proof: Option<&[u8]>) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::new(domains.to_vec())?;
    params.custom_extensions.extend(proof.map(CustomExtension::new_acme_identifier));
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?.pem();
    Ok(Pair { cert, key: Zeroizing::new(key.serialize_pem()) })
}
