//! Tokens: compact JWS (HS256) that live an hour and name the key or the user that asked for them.
//!
//! The header of a token must be the one that we write, to the letter: no token chooses how it is
//! checked. A token is worth no more than its key, or its user, at the time of the request. Only its proof,
//! which nothing can change, is not looked at again for each request.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::Engine;
use kernel::Timestamp;
use kernel::access::Principal;
use parking_lot::RwLock;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// What the key is derived for.
const PURPOSE: &str = "access tokens";
/// How long a token lives. SDKs renew theirs after 45 minutes.
pub(crate) const LIFETIME_SECONDS: i64 = 3600;
/// How far the clock may have been set back since a token was made.
const SKEW_SECONDS: i64 = 300;
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// The principal: `key:ID`, `user:ID`.
    sub: String,
    /// Of the principal, as it was.
    #[serde(default, rename = "gen", skip_serializing_if = "is_zero")]
    generation: u64,
    /// The session that it is for.
    #[serde(default, rename = "sid", skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    iat: i64,
    exp: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

const ISSUER: &str = "nightbell";

/// For whom a token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// The principal's id.
    pub(super) id: String,
    /// The principal's generation when the token was made.
    pub(super) generation: u64,
    /// The session without which it counts for nothing.
    pub(super) session: Option<String>,
}

impl Subject {
    pub(super) fn of(principal: &Principal) -> Self {
        Self { id: principal.id.to_string(), generation: principal.generation, session: None }
    }
}

/// What a token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stands for somebody.
    Of(Subject),
    /// It did, and its hour is over.
    Expired,
    /// We did not make it.
    Invalid,
}

/// Tokens of which it is known that they are ours.
const SEEN_MAX: usize = 1024;

/// Makes tokens, and tells its own from others.
pub(super) struct Tokens {
    key: hmac::Key,
    header: String,
    /// Whole tokens whose proof was right, with what they say; never a wrong one, so nobody fills it with
    /// what is invented. Names are hashed with a key of the process.
    seen: RwLock<HashMap<Box<str>, Arc<Claims>>>,
}

impl Tokens {
    pub(super) fn new(engine: &Engine) -> Self {
        Self::with_key(&*engine.vault().derive_key(PURPOSE))
    }

    fn with_key(key: &[u8]) -> Self {
        let header = format!("{}.", URL_SAFE_NO_PAD.encode(HEADER));
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self { key, header, seen: RwLock::default() }
    }

    /// A token for a principal.
    pub(super) fn sign(&self, subject: &Subject, now: Timestamp) -> String {
        let now = now.millis() / 1000;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: subject.id.clone(),
            generation: subject.generation,
            session: subject.session.clone(),
            iat: now,
            exp: now + LIFETIME_SECONDS,
        };
        let claims = serde_json::to_vec(&claims).expect("claims serialize to JSON");
        let mut token = format!("{}{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let proof = hmac::sign(&self.key, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(proof, &mut token);
        token
    }

    /// Reads a token.
    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Verdict {
        self.known(token).map_or(Verdict::Invalid, |claims| {
            let now = now.millis() / 1000;
            let is_known = claims.sub.starts_with("key:") || claims.sub.starts_with("user:");
            if !is_known || claims.iss != ISSUER {
                return Verdict::Invalid;
            }
            // One from the future was made before the clock was set back.
            if now >= claims.exp || claims.iat > now + SKEW_SECONDS {
                return Verdict::Expired;
            }
            let Claims { sub: id, generation, session, .. } = &*claims;
            let (id, session) = (id.clone(), session.clone());
            Verdict::Of(Subject { id, generation: *generation, session })
        })
    }

    /// What a token of ours says, whenever it was made.
    fn known(&self, token: &str) -> Option<Arc<Claims>> {
        let seen = self.seen.read().get(token).cloned();
        seen.or_else(|| {
            let claims = Arc::new(self.claims(token)?);
            let mut seen = self.seen.write();
            if seen.len() >= SEEN_MAX {
                // Those that are still used come back at once.
                seen.clear();
            }
            seen.insert(token.into(), claims.clone());
            Some(claims)
        })
    }

    fn claims(&self, token: &str) -> Option<Claims> {
        let (signed, proof) = token.rsplit_once('.')?;
        let claims = signed.strip_prefix(&self.header)?;
        let proof = URL_SAFE_NO_PAD.decode(proof).ok()?;
        // In constant time.
        hmac::verify(&self.key, signed.as_bytes(), &proof).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use kernel::Timestamp;

    use super::{LIFETIME_SECONDS, SEEN_MAX, Subject, Tokens, Verdict};

    const NOW: i64 = 1_800_000_000;

    fn of(id: &str) -> Subject {
        Subject { id: id.to_owned(), generation: 0, session: None }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_token_lives_an_hour() {
        let tokens = Tokens::with_key(&[7; 32]);
        let token = tokens.sign(&of("key:abc"), at(NOW));
        assert_eq!(tokens.verify(&token, at(NOW)), Verdict::Of(of("key:abc")));
        let last = at(NOW + LIFETIME_SECONDS - 1);
        assert_eq!(tokens.verify(&token, last), Verdict::Of(of("key:abc")));
        assert_eq!(tokens.verify(&token, at(NOW + LIFETIME_SECONDS)), Verdict::Expired);
        assert_eq!(tokens.verify(&token, at(NOW - 301)), Verdict::Expired, "from the future");
    }

    #[test]
    fn a_token_says_whose_it_is_and_of_which_session() {
        let tokens = Tokens::with_key(&[7; 32]);
        let subject =
            Subject { id: "user:abc".to_owned(), generation: 3, session: Some("s".to_owned()) };
        let token = tokens.sign(&subject, at(NOW));
        assert_eq!(tokens.verify(&token, at(NOW)), Verdict::Of(subject));
    }

    #[test]
    fn what_is_known_of_tokens_is_bounded_and_counts_no_longer_than_they() {
        let tokens = Tokens::with_key(&[7; 32]);
        let token = tokens.sign(&of("key:abc"), at(NOW));
        for _ in 0..2 {
            assert_eq!(tokens.verify(&token, at(NOW)), Verdict::Of(of("key:abc")));
        }
        assert_eq!(tokens.verify(&token[..token.len() - 1], at(NOW)), Verdict::Invalid);
        assert_eq!(tokens.verify(&token, at(NOW + LIFETIME_SECONDS)), Verdict::Expired);
        for number in 0..=SEEN_MAX {
            let token = tokens.sign(&of(&format!("key:{number}")), at(NOW));
            tokens.verify(&token, at(NOW));
            tokens.verify(&format!("{token}x"), at(NOW));
        }
        assert!(tokens.seen.read().len() <= SEEN_MAX);
    }

    #[test]
    fn a_forged_token_is_none() {
        let (tokens, others) = (Tokens::with_key(&[7; 32]), Tokens::with_key(&[8; 32]));
        assert_eq!(tokens.verify(&others.sign(&of("key:abc"), at(NOW)), at(NOW)), Verdict::Invalid);
        let token = tokens.sign(&of("key:abc"), at(NOW));
        let parts: Vec<&str> = token.split('.').collect();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let other = encode(&claims.replace("abc", "abd"));
        let none = encode(r#"{"alg":"none","typ":"JWT"}"#);
        let hs512 = encode(r#"{"alg":"HS512","typ":"JWT"}"#);
        let spaced = encode(r#"{"alg": "HS256","typ":"JWT"}"#);
        for forged in [
            format!("{}.{other}.{}", parts[0], parts[2]),
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{hs512}.{}.{}", parts[1], parts[2]),
            format!("{spaced}.{}.{}", parts[1], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{token}="),
            format!("{token}."),
            String::new(),
            "..".to_owned(),
        ] {
            assert_eq!(tokens.verify(&forged, at(NOW)), Verdict::Invalid, "{forged}");
        }
        // Whoever is no key proves nothing.
        assert_eq!(tokens.verify(&tokens.sign(&of("abc"), at(NOW)), at(NOW)), Verdict::Invalid);
    }
}
