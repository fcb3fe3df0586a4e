//! The signature of the checksums: Ed25519, which openssl and most other tools verify.
//!
//! The key is a file of whoever releases, as `openssl genpkey -algorithm ed25519` writes it. A signature is
//! a function of key and content, so products stay reproducible.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// What comes before the 32 bytes of a public key (RFC 8410): its algorithm and length, in DER.
const PUBLIC: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What a mode allows to the group and to everybody else.
const OTHERS: u32 = 0o077;

/// Signs with the key of whoever releases.
pub(super) struct Signer(Ed25519KeyPair);

impl Signer {
    /// Reads the key.
    ///
    /// # Errors
    /// The file cannot be read, can be read by others, or holds no such key.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let metadata = std::fs::metadata(path).with_context(|| shown.to_string())?;
        ensure!(
            metadata.permissions().mode() & OTHERS == 0,
            "{shown} can be read by others than its owner: chmod 600 {shown}"
        );
        let text = std::fs::read_to_string(path).with_context(|| shown.to_string())?;
        Self::of(&text).with_context(|| {
            format!("{shown} holds no key: `openssl genpkey -algorithm ed25519` writes one")
        })
    }

    pub(super) fn of(pem: &str) -> anyhow::Result<Self> {
        let (_, rest) = pem.split_once(BEGIN).context("there is no private key in PEM")?;
        let (body, _) = rest.split_once(END).context("the private key has no end")?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body)?;
        // Without the public key, which openssl leaves out.
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        Ok(Self(key.map_err(|error| anyhow::anyhow!("it is no Ed25519 key: {error}"))?))
    }

    /// The signature, 64 bytes.
    pub(super) fn sign(&self, content: &[u8]) -> Vec<u8> {
        self.0.sign(content).as_ref().to_vec()
    }

    /// The public key in PEM, to be published where releases are not: what comes with them proves nothing.
    pub(super) fn public_key(&self) -> String {
        let der = [&PUBLIC[..], self.0.public_key().as_ref()].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }
}
