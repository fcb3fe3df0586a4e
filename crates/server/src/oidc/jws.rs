//! Signatures of ID tokens: a compact JWS is checked with the provider's key set (JWKS).
//!
//! The token names its algorithm, and the key decides whether that is one for it: a symmetric one, `none`, or
//! one of another kind of key never counts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Bytes of the longest token.
const TOKEN_MAX: usize = 64 << 10;
/// Keys of a set that are looked at.
const KEYS_MAX: usize = 100;

/// The keys with which a provider signs.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct KeySet {
    keys: Vec<Value>,
}

/// One of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unproved {
    /// It is no token.
    #[error("it is no compact JWS: {0}")]
    Malformed(&'static str),
    /// Its algorithm is not one that proves something.
    #[error("its algorithm is '{0}', which is not accepted")]
    Algorithm(String),
    /// No key of the set is the one that it names; there may be new ones.
    #[error("the provider's key set has no key for it")]
    UnknownKey,
    /// It was not signed by that key.
    #[error("its signature is not the provider's")]
    Signature,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// An algorithm, and what a key for it must be.
struct Algorithm {
    name: &'static str,
    kty: &'static str,
    crv: Option<&'static str>,
    check: Check,
}

enum Check {
    Rsa(&'static signature::RsaParameters),
    Point(&'static dyn VerificationAlgorithm),
    Edwards,
}

const fn rsa(name: &'static str, parameters: &'static signature::RsaParameters) -> Algorithm {
    Algorithm { name, kty: "RSA", crv: None, check: Check::Rsa(parameters) }
}

/// Those that providers sign with.
static ALGORITHMS: [Algorithm; 9] = [
    rsa("RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
    rsa("RS384", &signature::RSA_PKCS1_2048_8192_SHA384),
    rsa("RS512", &signature::RSA_PKCS1_2048_8192_SHA512),
    rsa("PS256", &signature::RSA_PSS_2048_8192_SHA256),
    rsa("PS384", &signature::RSA_PSS_2048_8192_SHA384),
    rsa("PS512", &signature::RSA_PSS_2048_8192_SHA512),
    Algorithm {
        name: "ES256",
        kty: "EC",
        crv: Some("P-256"),
        check: Check::Point(&signature::ECDSA_P256_SHA256_FIXED),
    },
    Algorithm {
        name: "ES384",
        kty: "EC",
        crv: Some("P-384"),
        check: Check::Point(&signature::ECDSA_P384_SHA384_FIXED),
    },
    Algorithm { name: "EdDSA", kty: "OKP", crv: Some("Ed25519"), check: Check::Edwards },
];

/// The claims of a token that one of these keys has signed.
///
/// # Errors
/// Why it proves nothing.
pub(super) fn claims(token: &str, keys: &KeySet) -> Result<Map<String, Value>, Unproved> {
    if token.len() > TOKEN_MAX {
        return Err(Unproved::Malformed("it is too long"));
    }
    let (signed, proof) =
        token.rsplit_once('.').ok_or(Unproved::Malformed("it has no three parts"))?;
    let (header, body) =
        signed.split_once('.').ok_or(Unproved::Malformed("it has no three parts"))?;
    let header = bytes(header).and_then(|it| serde_json::from_slice::<Header>(&it).ok());
    let header = header.ok_or(Unproved::Malformed("its header is no JSON"))?;
    if header.crit.is_some() {
        return Err(Unproved::Malformed("it asks for extensions that are not known"));
    }
    let algorithm = ALGORITHMS.iter().find(|it| it.name == header.alg);
    let algorithm = algorithm
        .ok_or_else(|| Unproved::Algorithm(header.alg.chars().take(20).collect::<String>()))?;
    let proof = bytes(proof).ok_or(Unproved::Malformed("its signature is no base64"))?;
    let fitting: Vec<Key> =
        keys.fitting(algorithm).filter(|key| is_named(key, header.kid.as_deref())).collect();
    if fitting.is_empty() {
        return Err(Unproved::UnknownKey);
    }
    if !fitting.iter().any(|key| has_signed(key, algorithm, signed.as_bytes(), &proof)) {
        return Err(Unproved::Signature);
    }
    let body = bytes(body).and_then(|it| serde_json::from_slice(&it).ok());
    body.ok_or(Unproved::Malformed("its claims are no JSON object"))
}

/// Whether a set has a key that a token may have been signed with; also if no other set could help.
pub(super) fn has_key(token: &str, keys: &KeySet) -> bool {
    let header = token.split_once('.').and_then(|(header, _)| bytes(header));
    let header = header.and_then(|it| serde_json::from_slice::<Header>(&it).ok());
    let Some(header) = header else { return true };
    let Some(algorithm) = ALGORITHMS.iter().find(|it| it.name == header.alg) else { return true };
    keys.fitting(algorithm).any(|key| is_named(&key, header.kid.as_deref()))
}

/// Who a token says has issued it. Nothing is proved by that.
pub(super) fn said_issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, body, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || token.len() > TOKEN_MAX {
        return None;
    }
    let claims: Map<String, Value> = serde_json::from_slice(&bytes(body)?).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

impl KeySet {
    /// The keys for an algorithm; what is no key is left out.
    fn fitting(&self, algorithm: &Algorithm) -> impl Iterator<Item = Key> {
        let keys = self.keys.iter().take(KEYS_MAX).filter_map(|it| Key::deserialize(it).ok());
        keys.filter(|key| {
            key.kty == algorithm.kty
                && key.usage.as_deref().is_none_or(|it| it == "sig")
                && key.alg.as_deref().is_none_or(|it| it == algorithm.name)
                && algorithm.crv.is_none_or(|crv| key.crv.as_deref() == Some(crv))
        })
    }
}

/// Whether a key is the one that the token names; one without a name may be any.
fn is_named(key: &Key, kid: Option<&str>) -> bool {
    match (kid, &key.kid) {
        (Some(wanted), Some(kid)) => kid == wanted,
        _ => true,
    }
}

fn has_signed(key: &Key, algorithm: &Algorithm, signed: &[u8], proof: &[u8]) -> bool {
    let part = |text: &Option<String>| text.as_deref().and_then(bytes);
    match algorithm.check {
        Check::Rsa(parameters) => {
            let (Some(n), Some(e)) = (part(&key.n), part(&key.e)) else { return false };
            // Some write the number with a zero before it.
            let n = n.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &n[at..]);
            RsaPublicKeyComponents { n, e: &e[..] }.verify(parameters, signed, proof).is_ok()
        }
        Check::Point(check) => {
            let (Some(x), Some(y)) = (part(&key.x), part(&key.y)) else { return false };
            let point = [&[4][..], &x, &y].concat();
            UnparsedPublicKey::new(check, point).verify(signed, proof).is_ok()
        }
        Check::Edwards => {
            let Some(x) = part(&key.x) else { return false };
            UnparsedPublicKey::new(&signature::ED25519, x).verify(signed, proof).is_ok()
        }
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::{KeySet, Unproved, claims};

    /// Keys and tokens that another implementation has made (Python's `cryptography`).
    fn examples() -> Value {
        serde_json::from_str(include_str!("../../tests/golden/id-tokens.json")).expect("JSON")
    }

    fn keys(of: &Value) -> KeySet {
        serde_json::from_value(json!({ "keys": of })).expect("a key set")
    }

    #[test]
    fn tokens_of_another_implementation_count_by_every_kind_of_key() {
        let examples = examples();
        let all = keys(&examples["keys"]);
        for (name, token) in examples["tokens"].as_object().expect("tokens") {
            let token = token.as_str().expect("a token");
            assert_eq!(claims(token, &all).expect(name)["sub"], "ann");
            // One bit of what is signed, or of the proof.
            let at = token.len() / 2;
            let other = if &token[at..=at] == "A" { "B" } else { "A" };
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert!(claims(&changed, &all).is_err(), "{name}");
            assert_eq!(claims(token, &KeySet::default()), Err(Unproved::UnknownKey), "{name}");
        }
    }

    #[test]
    fn a_key_counts_only_for_what_it_is() {
        let examples = examples();
        let token = examples["tokens"]["RS256"].as_str().expect("a token");
        let with = |name: &str, value: Value| {
            let mut key = examples["keys"][0].clone();
            key[name] = value;
            claims(token, &keys(&json!([key])))
        };
        assert!(with("alg", json!("RS256")).is_ok());
        assert!(with("kid", Value::Null).is_ok(), "a key without a name may be any");
        for (name, value) in [
            ("use", json!("enc")),
            ("alg", json!("RS512")),
            ("kid", json!("other")),
            ("kty", json!("EC")),
        ] {
            assert_eq!(with(name, value), Err(Unproved::UnknownKey), "{name}");
        }
        assert_eq!(
            with("n", json!("AQAB")),
            Err(Unproved::Signature),
            "too short to prove anything"
        );
        // What is no key at all keeps the others from nothing.
        let odd = json!([null, 7, { "kty": 7 }, examples["keys"][0]]);
        assert!(claims(token, &keys(&odd)).is_ok());
    }

    #[test]
    fn what_is_no_signed_token_is_told() {
        let examples = examples();
        let all = keys(&examples["keys"]);
        let header = |header: Value| {
            let token = examples["tokens"]["RS256"].as_str().expect("a token");
            let (_, rest) = token.split_once('.').expect("three parts");
            claims(&format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string())), &all)
        };
        for alg in ["none", "None", "HS256", "RS256 ", ""] {
            let told = header(json!({ "alg": alg, "kid": "rsa" }));
            assert_eq!(told, Err(Unproved::Algorithm(alg.to_owned())));
        }
        let critical =
            header(json!({ "alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": false }));
        assert!(matches!(critical, Err(Unproved::Malformed(_))));
        for text in ["", ".", "..", "a.b", "a.b.c.d", "é.é.é", &"a".repeat(100_000)] {
            assert!(matches!(claims(text, &all), Err(Unproved::Malformed(_))), "{text:.20}");
        }
    }
}
