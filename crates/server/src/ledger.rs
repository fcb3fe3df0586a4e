//! Signs the head of the audit ledger: who can write to the store, and has not the server's key, cannot make
//! the ledger anew.
//!
//! A signature is a line of the ledger itself, `sign`, about the line before it. The public half of the
//! key is what [`SigningKey::public`] tells; it follows from the key of secrets, and changes with that alone.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use engine::{AuditEntry, Engine};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// What the key is derived for.
const PURPOSE: &str = "signatures of the audit ledger";
/// What the ledger calls a signature.
const ACT: &str = "sign";
/// How often the head is signed, if it is another one.
const EVERY: Duration = Duration::from_hours(1);
/// What stands before 32 bytes of a public key of Ed25519 in the form that openssl reads (RFC 8410).
const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The key by which a server signs its ledger.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// That of this server.
    pub fn of(engine: &Engine) -> Self {
        let seed = engine.vault().derive_key(PURPOSE);
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed);
        Self(pair.expect("any 32 bytes are a seed of Ed25519"))
    }

    /// Its public half, in PEM.
    pub fn public(&self) -> String {
        let bytes = [&PREFIX[..], self.0.public_key().as_ref()].concat();
        let text = BASE64_STANDARD.encode(bytes);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    fn sign(&self, text: &str) -> String {
        BASE64_STANDARD.encode(self.0.sign(text.as_bytes()))
    }
}

/// Signs the head of the ledger now and every hour, as long as it is polled. What was used of secrets in
/// the hour is written before.
pub async fn sign_hourly(engine: Engine) {
    let (key, mut signed) = (SigningKey::of(&engine), 0);
    loop {
        engine.sweep_secret_uses();
        let (number, hash) = engine.audit().head().await;
        // Nothing has happened since the last signature, which is a line, too.
        if number != signed && number > 0 {
            let object = format!("{number} {hash}");
            let signature = Some(key.sign(&object));
            let line = AuditEntry { signature, ..AuditEntry::of_server(ACT, object) };
            match engine.write_audit(line).await {
                Ok(number) => signed = number,
                Err(error) => tracing::warn!(%error, "the audit ledger could not be signed"),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
