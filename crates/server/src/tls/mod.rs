//! TLS of the listener: a certificate and its key, read again when their files change.
//!
//! The start fails for files that cannot be used. A later change that cannot be used leaves what was
//! read before in force: the log says so once, and `/health` until it is mended. Everybody who connects
//! after a change meets the new certificate; connections that are open stay.
//!
//! Where a certificate authority is asked for certificates (ACME), the files may not be there yet: until
//! then a certificate that nobody trusts stands in. The authority proves by a connection of its own
//! protocol (TLS-ALPN-01, RFC 8737) that this server answers for a name.

mod connection;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use ring::digest::{SHA256, digest};
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

pub(crate) use connection::{Detached, Secure};

/// Bytes of the largest file that is read.
const FILE_MAX: u64 = 1 << 20;
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// For so long before its end a certificate is warned of.
const END_NEAR_SECONDS: i64 = 14 * 24 * 60 * 60;
/// Protocols over TLS, the one that we like best first.
const PROTOCOLS: [&[u8]; 2] = [connection::HTTP_2, HTTP_1];
const HTTP_1: &[u8] = b"http/1.1";

/// Where the certificate is, and what proves that it is ours.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate in PEM, and those between it and its authority.
    pub cert: PathBuf,
    /// Its private key in PEM, not encrypted.
    pub key: PathBuf,
    /// Certificates of authorities in PEM: only clients that one of these has signed can connect.
    pub client_ca: Option<PathBuf>,
}

/// Why files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{setting}: cannot read {}: {error}", file.display())]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not PEM, or lacks what it must hold.
    #[error("{setting}: {} {why}", file.display())]
    Malformed {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The key is another certificate's.
    #[error(
        "tls_key: the key in {} does not belong to the first certificate in {}; write the server's \
         own certificate first, and those of its authorities after it",
        key.display(), cert.display()
    )]
    Mismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The certificate does not count now.
    #[error("tls_cert: the certificate in {} {why}; put a valid one there", file.display())]
    NotValid {
        /// The file.
        file: PathBuf,
        /// Since when, or from when on.
        why: String,
    },
}

/// What is in force.
struct InForce {
    config: Arc<ServerConfig>,
    /// The same for connections that are answered once and closed, by HTTP/1.1.
    refusals: Arc<ServerConfig>,
    /// Seconds since 1970 when the certificate begins.
    begins_at: i64,
    /// Seconds since 1970 when it ends.
    ends_at: i64,
    /// Of the files that it was read from.
    seen: Option<[u8; 32]>,
    /// Why the files as they are now are not in force.
    broken: Option<String>,
}

impl InForce {
    /// What the contents mean; `seen` if they are those of the files.
    fn new(contents: &Contents, files: &TlsFiles, seen: bool) -> Result<Self, TlsError> {
        let (config, (begins_at, ends_at)) = contents.config(files, now())?;
        let mut refusals = ServerConfig::clone(&config);
        refusals.alpn_protocols = vec![HTTP_1.to_vec()];
        let (refusals, seen) = (Arc::new(refusals), seen.then(|| contents.digest()));
        Ok(Self { config, refusals, begins_at, ends_at, seen, broken: None })
    }
}

/// A certificate and its private key, both in PEM.
pub struct Pair {
    /// The certificate, and those between it and its authority.
    pub cert: String,
    /// Its private key.
    pub key: Zeroizing<String>,
}

/// What is told of certificates that an authority is asked for.
#[derive(Default)]
struct Asked {
    /// The proofs for names, while the authority looks at them.
    proofs: HashMap<String, Arc<ServerConfig>>,
    /// What somebody should look at, in words.
    problem: Option<String>,
}

/// TLS of the listener.
pub struct Tls {
    files: TlsFiles,
    in_force: RwLock<InForce>,
    /// Only where an authority is asked for the files.
    asked: Option<RwLock<Asked>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be used, or the certificate has expired or not yet begun.
    pub fn open(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let in_force = InForce::new(&Contents::read(&files)?, &files, true)?;
        Ok(Arc::new(Self { files, in_force: RwLock::new(in_force), asked: None }))
    }

    /// Reads the files, which an authority is asked for: while they cannot be used, `stand_in` is in force.
    ///
    /// # Errors
    /// `stand_in` or the authorities of clients cannot be used.
    pub fn open_asked(files: TlsFiles, stand_in: &Pair) -> Result<Arc<Self>, TlsError> {
        let read = Contents::read(&files).and_then(|it| InForce::new(&it, &files, true));
        let in_force = match read {
            Ok(in_force) => in_force,
            Err(error) => {
                if files.cert.exists() {
                    tracing::warn!("TLS: the last certificate obtained cannot be used: {error}");
                }
                InForce::new(&Contents::of(stand_in, &files)?, &files, false)?
            }
        };
        let asked = Some(RwLock::default());
        Ok(Arc::new(Self { files, in_force: RwLock::new(in_force), asked }))
    }

    /// Whether this certificate could be in force now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, given: &Pair) -> Result<(), TlsError> {
        Contents::of(given, &self.files)?.config(&self.files, now()).map(|_| ())
    }

    /// Shows the authority this proof for a name from now on.
    ///
    /// # Errors
    /// The proof is no certificate with its key.
    pub fn show_proof(&self, name: &str, proof: &Pair) -> Result<(), TlsError> {
        let file = &self.files.cert;
        let chain = certificates("tls_cert", file, proof.cert.as_bytes())?;
        let crypto = Arc::new(provider::default_provider());
        let key = crypto.key_provider.load_private_key(key(file, proof.key.as_bytes())?);
        let key = key.map_err(|error| malformed("tls_key", file, format!("is no key: {error}")))?;
        // It has an extension that other readers must not accept, so nothing else looks at it.
        let proof = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let mut config = ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(proof));
        config.alpn_protocols = vec![connection::ACME.to_vec()];
        if let Some(asked) = &self.asked {
            asked.write().proofs.insert(name.to_ascii_lowercase(), Arc::new(config));
        }
        Ok(())
    }

    /// Shows no proof any more.
    pub fn withdraw_proofs(&self) {
        if let Some(asked) = &self.asked {
            asked.write().proofs.clear();
        }
    }

    /// Has `/health` say what is wrong with asking for a certificate, or that nothing is.
    pub fn tell(&self, problem: Option<String>) {
        if let Some(asked) = &self.asked {
            asked.write().problem = problem;
        }
    }

    /// Looks whether the files have changed, and takes what they hold now, if it can be used. Answers
    /// whether there is something new.
    pub fn look(&self) -> bool {
        let read = Contents::read(&self.files);
        let seen = read.as_ref().ok().map(Contents::digest);
        {
            let in_force = self.in_force.read();
            // What cannot be used now may be later, without a change: once its time has begun.
            if in_force.broken.is_none() && seen.is_some() && in_force.seen == seen {
                return false;
            }
        }
        if self.asked.is_some() && !self.files.cert.exists() {
            // An authority is still asked for the first ones, or somebody wants new ones.
            self.in_force.write().seen = None;
            return false;
        }
        let loaded = read.and_then(|contents| InForce::new(&contents, &self.files, true));
        let mut in_force = self.in_force.write();
        match loaded {
            Ok(new) => {
                *in_force = new;
                let file = self.files.cert.display();
                tracing::info!("TLS: the certificate in {file} is in force from now on");
                true
            }
            Err(error) => {
                let reason = error.to_string();
                if in_force.broken.as_ref() != Some(&reason) {
                    tracing::error!("TLS: the former certificate stays in force: {reason}");
                }
                in_force.broken = Some(reason);
                false
            }
        }
    }

    /// Looks every few seconds, for as long as this is polled.
    pub(crate) async fn keep_looking(self: Arc<Self>) {
        let mut warned_of = 0;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let tls = self.clone();
            if tokio::task::spawn_blocking(move || tls.look()).await.is_err() {
                tracing::error!("TLS: reading the certificate panicked");
            }
            let ends_at = self.in_force.read().ends_at;
            if ends_at <= now() && warned_of != ends_at {
                warned_of = ends_at;
                tracing::error!("TLS: the certificate has expired: clients refuse to connect");
            }
        }
    }

    /// With what a connection is made whose client begins like this.
    pub(crate) fn config(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        self.proof(hello).unwrap_or_else(|| self.in_force.read().config.clone())
    }

    /// With what a connection is made that is only refused: it agrees on HTTP/1.1 alone.
    pub(crate) fn config_of_refusals(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        self.proof(hello).unwrap_or_else(|| self.in_force.read().refusals.clone())
    }

    /// The proof for the name that an authority asks about. Whoever speaks its protocol speaks no other.
    fn proof(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let asked = self.asked.as_ref()?;
        let is_authority = hello.alpn().is_some_and(|mut protocols| {
            protocols.next() == Some(connection::ACME) && protocols.next().is_none()
        });
        let name = hello.server_name().filter(|_| is_authority)?;
        asked.read().proofs.get(&name.to_ascii_lowercase()).cloned()
    }

    /// From when to when the certificate of the files counts, in seconds since 1970; `None` while another
    /// one stands in.
    pub fn given(&self) -> Option<(i64, i64)> {
        let in_force = self.in_force.read();
        in_force.seen.map(|_| (in_force.begins_at, in_force.ends_at))
    }

    /// When the certificate ends, in seconds since 1970; `None` while another one stands in.
    pub(crate) fn ends_at(&self) -> Option<i64> {
        self.given().map(|(_, end)| end)
    }

    /// What somebody should look at, in words.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let in_force = self.in_force.read();
        let broken = in_force.broken.as_ref();
        let broken = broken.map(|why| format!("the former certificate stays in force: {why}"));
        let asking = self.asked.as_ref().and_then(|asked| asked.read().problem.clone());
        // The end of a certificate that only stands in is nobody's concern.
        let stands_in = self.asked.is_some() && in_force.seen.is_none();
        let end = end_warning(in_force.ends_at, now()).filter(|_| !stands_in);
        broken.into_iter().chain(asking).chain(end).collect()
    }
}

fn end_warning(ends_at: i64, now: i64) -> Option<String> {
    match ends_at - now {
        left if left <= 0 => {
            Some("the certificate has expired: clients refuse to connect".to_owned())
        }
        left if left < END_NEAR_SECONDS => Some(match left / (24 * 60 * 60) {
            0 => "the certificate expires in less than a day".to_owned(),
            1 => "the certificate expires in 1 day".to_owned(),
            days => format!("the certificate expires in {days} days"),
        }),
        _ => None,
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// The files as they are.
struct Contents {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            cert: read("tls_cert", &files.cert)?,
            key: Zeroizing::new(read("tls_key", &files.key)?),
            client_ca: files.client_ca.as_ref().map(|it| read("tls_client_ca", it)).transpose()?,
        })
    }

    /// A certificate of our own making, for the same clients.
    fn of(pair: &Pair, files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            cert: pair.cert.clone().into_bytes(),
            key: Zeroizing::new(pair.key.as_bytes().to_vec()),
            client_ca: files.client_ca.as_ref().map(|it| read("tls_client_ca", it)).transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let parts = [&self.cert, &*self.key, self.client_ca.as_deref().unwrap_or_default()];
        let hashes: Vec<u8> =
            parts.iter().flat_map(|part| digest(&SHA256, part).as_ref().to_vec()).collect();
        digest(&SHA256, &hashes).as_ref().try_into().expect("a hash has 32 bytes")
    }

    /// What they mean, and from when to when the certificate counts.
    fn config(
        &self,
        files: &TlsFiles,
        now: i64,
    ) -> Result<(Arc<ServerConfig>, (i64, i64)), TlsError> {
        let chain = certificates("tls_cert", &files.cert, &self.cert)?;
        let validity = check_time(&files.cert, &chain[0], now)?;
        let key = key(&files.key, &self.key)?;
        let crypto = Arc::new(provider::default_provider());
        let builder = ServerConfig::builder_with_provider(crypto.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for both versions");
        let builder = match (&files.client_ca, &self.client_ca) {
            (Some(file), Some(text)) => {
                let wrong = |why: String| malformed("tls_client_ca", file, why);
                let mut roots = RootCertStore::empty();
                for certificate in certificates("tls_client_ca", file, text)? {
                    let added = roots.add(certificate);
                    added.map_err(|error| wrong(format!("has a bad certificate: {error}")))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto).build();
                let verifier =
                    verifier.map_err(|error| wrong(format!("cannot be used: {error}")))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(chain, key);
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { cert: files.cert.clone(), key: files.key.clone() }
            }
            error => malformed("tls_cert", &files.cert, format!("cannot be used: {error}")),
        })?;
        config.alpn_protocols = PROTOCOLS.iter().map(|it| it.to_vec()).collect();
        // Each reading has tickets of its own: whom a new file shuts out, no old ticket lets in.
        if let Ok(ticketer) = provider::Ticketer::new() {
            config.ticketer = ticketer;
        }
        Ok((Arc::new(config), validity))
    }
}

fn malformed(setting: &'static str, file: &Path, why: String) -> TlsError {
    TlsError::Malformed { setting, file: file.to_owned(), why }
}

fn read(setting: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::Unreadable { setting, file: file.to_owned(), error };
    let opened = File::open(file).map_err(unreadable)?;
    let mut bytes = Vec::new();
    opened.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(malformed(setting, file, format!("has more than {FILE_MAX} bytes")));
    }
    Ok(bytes)
}

/// The certificates of a file; at least one.
fn certificates(
    setting: &'static str,
    file: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| malformed(setting, file, format!("is not PEM: {error}")))?;
    if found.is_empty() {
        let why = "holds no certificate in PEM ('-----BEGIN CERTIFICATE-----')".to_owned();
        return Err(malformed(setting, file, why));
    }
    Ok(found)
}

fn key(file: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let is_encrypted = text.windows(9).any(|it| it == b"ENCRYPTED");
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let why = match error {
            _ if is_encrypted => {
                "holds an encrypted key; write it without a password, in a file of mode 600"
                    .to_owned()
            }
            PemError::NoItemsFound => {
                "holds no private key in PEM ('-----BEGIN PRIVATE KEY-----')".to_owned()
            }
            error => format!("is not PEM: {error}"),
        };
        malformed("tls_key", file, why)
    })
}

/// From when to when a certificate counts, if it counts now.
fn check_time(file: &Path, certificate: &[u8], now: i64) -> Result<(i64, i64), TlsError> {
    let (_, read) = X509Certificate::from_der(certificate)
        .map_err(|error| malformed("tls_cert", file, format!("has a bad certificate: {error}")))?;
    let validity = read.validity();
    let (begin, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let not_valid = |why: String| Err(TlsError::NotValid { file: file.to_owned(), why });
    if end <= now {
        return not_valid(format!("has expired on {}", validity.not_after));
    }
    if begin > now {
        return not_valid(format!("is not valid before {}", validity.not_before));
    }
    Ok((begin, end))
}

#[cfg(test)]
mod tests {
    use super::{END_NEAR_SECONDS, end_warning};

    #[test]
    fn the_end_of_a_certificate_is_told_two_weeks_before() {
        assert_eq!(end_warning(END_NEAR_SECONDS, 0), None);
        let near = end_warning(END_NEAR_SECONDS - 1, 0).expect("it is near");
        assert!(near.contains("13 days"), "{near}");
        let told = |left| end_warning(left, 0).expect("it is near");
        let day = 24 * 60 * 60;
        assert!(told(2 * day).ends_with("in 2 days"), "{}", told(2 * day));
        assert!(told(2 * day - 1).ends_with("in 1 day"), "{}", told(2 * day - 1));
        assert!(told(day - 1).ends_with("in less than a day"), "{}", told(day - 1));
        assert!(end_warning(5, 5).expect("it is over").contains("has expired"));
    }
}
