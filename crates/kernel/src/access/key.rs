//! Keys: `nb_ID_SECRET_CHECK`, what a program proves with who it is.
//!
//! The id (12 hexadecimal digits) names the key and is no secret. The secret is 256 random bits in 64
//! digits, and the check the first 8 digits of the hash of all before it, so that a mistyped key is
//! told from a wrong one and scanners of leaks recognize it. What is stored is that hash: with so much
//! chance in it a slow hash would protect nothing.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "nb_";
const ID: usize = 12;
const SECRET: usize = 64;
const CHECK: usize = 8;
/// Bytes of what is hashed.
const HASHED: usize = PREFIX.len() + ID + 1 + SECRET;
const LENGTH: usize = HASHED + 1 + CHECK;

/// Whether a text has the form of an id.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The text of a key, as its holder has it.
#[derive(Clone, Copy)]
pub struct KeyText<'a> {
    id: &'a str,
    hash: KeyHash,
}

impl<'a> KeyText<'a> {
    /// Makes a key of random bytes.
    pub fn write(id: [u8; ID / 2], secret: [u8; SECRET / 2]) -> String {
        let mut text = PREFIX.to_owned();
        hex(&mut text, &id);
        text.push('_');
        hex(&mut text, &secret);
        let check = KeyHash::of(&text);
        text.push('_');
        hex(&mut text, &check.0[..CHECK / 2]);
        text
    }

    /// Reads a key; `None` if the text is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let id = PREFIX.len()..PREFIX.len() + ID;
        if bytes.len() != LENGTH
            || !text.starts_with(PREFIX)
            || bytes[id.end] != b'_'
            || bytes[HASHED] != b'_'
            || !bytes[id.clone()].iter().all(is_digit)
            || !bytes[id.end + 1..HASHED].iter().all(is_digit)
        {
            return None;
        }
        let hash = KeyHash::of(&text[..HASHED]);
        let mut check = String::with_capacity(CHECK);
        hex(&mut check, &hash.0[..CHECK / 2]);
        (text[HASHED + 1..] == check).then_some(Self { id: &text[id], hash })
    }

    /// Names the key; not secret.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// What is stored of it.
    pub fn hash(&self) -> KeyHash {
        self.hash
    }
}

/// Never shows a key.
impl fmt::Debug for KeyText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_***", self.id)
    }
}

/// The hash of a key, by which it is recognized. Two are compared in the same time, whatever they are.
#[derive(Clone, Copy, Debug)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        let differing =
            self.0.iter().zip(&other.0).fold(0, |all, (one, other)| all | (one ^ other));
        std::hint::black_box(differing) == 0
    }
}

impl Eq for KeyHash {}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(2 * self.0.len());
        hex(&mut text, &self.0);
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut hash = [0; 32];
        let fits = text.len() == 2 * hash.len() && text.is_ascii();
        let read = fits.then(|| {
            hash.iter_mut().enumerate().try_for_each(|(at, byte)| {
                *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
                Some(())
            })
        });
        read.flatten()
            .ok_or_else(|| serde::de::Error::custom("the hash of a key has 64 digits"))?;
        Ok(Self(hash))
    }
}

pub(super) fn hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).expect("four bits are a digit"));
        }
    }
}
