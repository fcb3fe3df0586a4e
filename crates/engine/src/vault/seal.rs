//! Sealing: what is secret leaves memory only encrypted and authenticated, with XChaCha20-Poly1305.
//!
//! A box is `key id (4 bytes) · nonce (24) · ciphertext and tag`, base64url without padding. What a
//! box is for is authenticated with it, so one cannot be put in another's place. Nonces are random:
//! 24 bytes are enough for any number of boxes.
//!
//! Keys, and what is made of them, are overwritten when they are no longer needed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hmac::{EagerHash, Hmac, Mac};
use kernel::expression::REFERENCE_MAC;
use sha2::{Digest, Sha256};
use zeroize::{ZeroizeOnDrop, Zeroizing};

const ID: usize = 4;
const NONCE: usize = 24;

/// The key that seals everything secret in a store.
#[derive(Clone)]
pub struct Key {
    id: [u8; ID],
    cipher: XChaCha20Poly1305,
    /// What keys for other purposes are derived from; secret as the key itself.
    root: Zeroizing<[u8; Key::LENGTH]>,
    /// Makes the MACs of references to secrets.
    references: Hmac<Sha256>,
}

/// Accepts what overwrites itself when it is dropped; anything else does not compile.
pub(super) const fn wiped<T: ZeroizeOnDrop>(_: &T) {}

/// As [`wiped`] for a MAC, which is nothing but the states of its hash: these hold the key.
const fn wiped_mac<D: EagerHash + ZeroizeOnDrop>(_: &Hmac<D>) {}

// Whatever a key is made of is overwritten with it, and whoever adds to it has to say so here.
const _: fn(&Key) = |key| {
    let Key { id: _, cipher, root, references } = key;
    wiped(cipher);
    wiped(root);
    wiped_mac(references);
};

impl Key {
    /// Bytes of a key.
    pub const LENGTH: usize = 32;

    /// The key of these bytes.
    pub fn new(bytes: [u8; Self::LENGTH]) -> Self {
        let bytes = Zeroizing::new(bytes);
        // The hash tells nothing of the key, and tells it from others.
        let hash =
            Sha256::new().chain_update(b"nightbell key id\0").chain_update(*bytes).finalize();
        let mut id = [0; ID];
        id.copy_from_slice(&hash[..ID]);
        let root: Zeroizing<[u8; Self::LENGTH]> = Zeroizing::new(
            Sha256::new()
                .chain_update(b"nightbell key root\0")
                .chain_update(*bytes)
                .finalize()
                .into(),
        );
        // A key of its own, so that no MAC says anything about what is sealed.
        let derived = derived(&root, "secret references");
        let references = Hmac::new_from_slice(&*derived).expect("a MAC takes keys of any length");
        Self { id, cipher: XChaCha20Poly1305::new(&(*bytes).into()), root, references }
    }

    /// New random bytes for a key.
    ///
    /// # Panics
    /// If the operating system has no random bytes to give.
    pub fn random() -> [u8; Self::LENGTH] {
        random()
    }

    /// Reads 32 bytes in base64 (either alphabet, padded or not) or in hexadecimal digits.
    ///
    /// # Errors
    /// What is wrong; it never repeats the text.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let text = text.trim();
        if text.len() == 2 * Self::LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let mut bytes = Zeroizing::new([0; Self::LENGTH]);
            for (at, byte) in bytes.iter_mut().enumerate() {
                let digits = &text[2 * at..2 * at + 2];
                *byte = u8::from_str_radix(digits, 16).map_err(|_| BadKey::Malformed)?;
            }
            return Ok(Self::new(*bytes));
        }
        let dashed = Zeroizing::new(text.trim_end_matches('=').replace('-', "+"));
        let standard = Zeroizing::new(dashed.replace('_', "/"));
        let padding = "=".repeat((4 - standard.len() % 4) % 4);
        let padded = Zeroizing::new(format!("{}{padding}", standard.as_str()));
        let bytes = STANDARD.decode(padded.as_str()).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| BadKey::Malformed)?;
        let fits = <[u8; Self::LENGTH]>::try_from(bytes.as_slice());
        fits.map(Self::new).map_err(|_| BadKey::Length(bytes.len()))
    }

    /// The bytes as they are written in a key file.
    pub fn write(bytes: [u8; Self::LENGTH]) -> String {
        STANDARD.encode(bytes)
    }

    /// Tells this key from others; not secret.
    pub fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.id)
    }

    /// A key for another purpose. It tells nothing of this one, nor of those for other purposes.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; Self::LENGTH]> {
        derived(&self.root, purpose)
    }

    /// The proof that this server made a reference to a secret; see
    /// [`kernel::expression::SecretReference`].
    pub(super) fn reference_mac(&self, content: &str) -> [u8; REFERENCE_MAC] {
        let whole = self.references.clone().chain_update(content).finalize().into_bytes();
        let mut mac = [0; REFERENCE_MAC];
        mac.copy_from_slice(&whole[..REFERENCE_MAC]);
        mac
    }

    /// Whether [`Key::reference_mac`] made the proof; takes the same time for any.
    pub(super) fn proves(&self, content: &str, mac: &[u8; REFERENCE_MAC]) -> bool {
        self.references.clone().chain_update(content).verify_truncated_left(mac).is_ok()
    }

    /// Seals a text for one purpose.
    pub fn seal(&self, purpose: &str, text: &str) -> String {
        let nonce: [u8; NONCE] = random();
        let payload = Payload { msg: text.as_bytes(), aad: purpose.as_bytes() };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("texts are far shorter than the cipher's limit");
        let mut bytes = Vec::with_capacity(ID + NONCE + sealed.len());
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Opens what was sealed for the purpose; `None` if it was not, or with another key.
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (id, rest) = bytes.split_at_checked(ID)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE)?;
        if id != self.id {
            return None;
        }
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        let payload = Payload { msg: sealed, aad: purpose.as_bytes() };
        let text = self.cipher.decrypt(&XNonce::from(nonce), payload).ok()?;
        String::from_utf8(text).ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Neither base64 nor hexadecimal.
    #[error("is neither base64 nor 64 hexadecimal digits")]
    Malformed,
    /// Of another length.
    #[error("holds {0} bytes, but a key has 32")]
    Length(usize),
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A key that says nothing of the root, nor of keys for other purposes.
fn derived(root: &[u8; Key::LENGTH], purpose: &str) -> Zeroizing<[u8; Key::LENGTH]> {
    Zeroizing::new(Sha256::new().chain_update(root).chain_update(purpose).finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_opens_for_its_purpose_and_key_only() {
        let key = Key::new([7; 32]);
        let sealed = key.seal("secret/A", "s3cr3t");
        assert_eq!(key.open("secret/A", &sealed).as_deref(), Some("s3cr3t"));
        assert_eq!(key.open("secret/B", &sealed), None);
        assert_eq!(Key::new([8; 32]).open("secret/A", &sealed), None);
        assert_ne!(key.seal("secret/A", "s3cr3t"), sealed, "nonces are random");
        let mut forged = sealed.clone().into_bytes();
        let last = forged.len() - 3;
        forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
        assert_eq!(key.open("secret/A", std::str::from_utf8(&forged).unwrap_or_default()), None);
        for broken in ["", "AAAA", "!", &sealed[..20]] {
            assert_eq!(key.open("secret/A", broken), None);
        }
    }

    #[test]
    fn keys_are_read_in_every_usual_notation() {
        let bytes: [u8; 32] = std::array::from_fn(|at| 250_u8.wrapping_add(at as u8));
        let hex = bytes.map(|byte| format!("{byte:02x}")).concat();
        let padded = Key::write(bytes);
        let url = padded.replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned();
        for text in [hex.to_uppercase(), hex, format!(" {padded}\n"), padded, url] {
            assert_eq!(Key::parse(&text).map(|key| key.id()), Ok(Key::new(bytes).id()), "{text}");
        }
        for (text, wrong) in [
            ("", BadKey::Length(0)),
            ("c2hvcnQ=", BadKey::Length(5)),
            ("not a key!", BadKey::Malformed),
            ("0123456789abcdef", BadKey::Length(12)),
        ] {
            assert_eq!(Key::parse(text).map(|key| key.id()), Err(wrong), "{text}");
        }
    }
}
