//! How servers that share a store prove themselves to each other: a header of each request between them
//! names the client, with a MAC under a key derived from the one that seals secrets.
//!
//! The MAC covers who is asked, method, path and client, not the body: it keeps strangers out, and is no
//! protection against somebody on the way between the servers.

use std::net::SocketAddr;

use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::guard::{OverTls, Peer};
use crate::local::Local;

/// What the key is derived for.
pub(super) const PURPOSE: &str = "links between servers";
/// The header.
pub(super) const INTRODUCTION: HeaderName = HeaderName::from_static("nightbell-forwarded");

/// The key of links.
#[derive(Clone, Debug)]
pub(super) struct LinkKey(hmac::Key);

/// The header of the answer to a probe.
const PROOF: HeaderName = HeaderName::from_static("nightbell-proof");

/// A question by which a leader is to prove itself.
pub(super) struct Probe {
    pub(super) introduction: HeaderValue,
    text: String,
}

/// What a request of another server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Introduced {
    /// One of a client.
    Client,
    /// A probe; the answer to it has this header.
    Probe(HeaderName, HeaderValue),
}

/// Why a request does not count as one of another server of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// It has no introduction, or one that cannot be read.
    Unintroduced,
    /// The proof does not hold: another key, or a request that was changed.
    Unproven,
    /// It is meant for another server, or for this one at an earlier time.
    Misdirected,
}

impl LinkKey {
    pub(super) fn new(derived: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived))
    }

    /// Asks the server with this incarnation to prove itself.
    pub(super) fn probe(&self, to: i64) -> Probe {
        let text = format!("{to} probe {}", uuid::Uuid::new_v4().simple());
        Probe { introduction: self.value(&text, &text), text }
    }

    /// Whether these are the headers of an answer to a probe by whom it was meant for.
    pub(super) fn is_proof(&self, probe: &Probe, headers: &HeaderMap) -> bool {
        let proof = headers.get(PROOF).and_then(|it| URL_SAFE_NO_PAD.decode(it.as_bytes()).ok());
        let signed = proven(&probe.text);
        proof.is_some_and(|proof| hmac::verify(&self.0, signed.as_bytes(), &proof).is_ok())
    }

    fn value(&self, text: &str, signed: &str) -> HeaderValue {
        let proof = hmac::sign(&self.0, signed.as_bytes());
        let value = format!("{text} {}", URL_SAFE_NO_PAD.encode(proof));
        HeaderValue::try_from(value).expect("it has digits, letters and a few signs")
    }

    /// Introduces the client of a request to the server with this incarnation.
    pub(super) fn introduce(
        &self,
        to: i64,
        client: &Extensions,
        method: &Method,
        uri: &Uri,
    ) -> HeaderValue {
        let peer = client.get::<Peer>().map_or_else(|| "-".to_owned(), |Peer(it)| it.to_string());
        let tls = u8::from(client.get::<OverTls>().is_some());
        let local =
            client.get::<Local>().map_or_else(|| "-".to_owned(), |Local(it)| it.to_string());
        let text = format!("{to} {peer} {tls} {local}");
        self.value(&text, &signed(&text, method, uri))
    }

    /// Tells who the client of a request is, which another server has handed on to this one.
    ///
    /// # Errors
    /// It was not, or not to this one.
    pub(super) fn recognize(
        &self,
        me: i64,
        headers: &HeaderMap,
        method: &Method,
        uri: &Uri,
        client: &mut Extensions,
    ) -> Result<Introduced, Stranger> {
        let value = headers.get(INTRODUCTION).and_then(|it| it.to_str().ok());
        let (text, proof) =
            value.and_then(|it| it.rsplit_once(' ')).ok_or(Stranger::Unintroduced)?;
        let proof = URL_SAFE_NO_PAD.decode(proof).map_err(|_| Stranger::Unintroduced)?;
        let is_probe = text.split(' ').nth(1) == Some("probe");
        let signed = if is_probe { text.to_owned() } else { signed(text, method, uri) };
        // In constant time.
        hmac::verify(&self.0, signed.as_bytes(), &proof).map_err(|_| Stranger::Unproven)?;
        let mut parts = text.split(' ');
        let mut next = || parts.next().unwrap_or_default();
        if next().parse() != Ok(me) {
            return Err(Stranger::Misdirected);
        }
        if is_probe {
            let proof = hmac::sign(&self.0, proven(text).as_bytes());
            let proof = HeaderValue::try_from(URL_SAFE_NO_PAD.encode(proof));
            return Ok(Introduced::Probe(PROOF, proof.expect("it has digits and letters")));
        }
        client.remove::<Peer>();
        if let Ok(peer) = next().parse::<SocketAddr>() {
            client.insert(Peer(peer));
        }
        if next() == "1" {
            client.insert(OverTls);
        }
        if let Ok(local) = next().parse() {
            client.insert(Local(local));
        }
        Ok(Introduced::Client)
    }
}

/// What the answer to a probe signs.
fn proven(text: &str) -> String {
    format!("answer\n{text}")
}

fn signed(text: &str, method: &Method, uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    format!("{text}\n{method} {path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(
        key: &LinkKey,
        me: i64,
        value: &HeaderValue,
        path: &str,
    ) -> Result<Extensions, Stranger> {
        let mut headers = HeaderMap::new();
        headers.insert(INTRODUCTION, value.clone());
        let mut client = Extensions::new();
        client.insert(Peer("192.0.2.1:9".parse().expect("an address")));
        let uri = path.parse().expect("a path");
        key.recognize(me, &headers, &Method::GET, &uri, &mut client).map(|_| client)
    }

    #[test]
    fn only_who_has_the_key_introduces_clients_and_only_for_one_request() {
        let (key, other) = (LinkKey::new(b"one"), LinkKey::new(b"two"));
        let mut client = Extensions::new();
        client.insert(Peer("[2001:db8::1]:4000".parse().expect("an address")));
        client.insert(OverTls);
        let value = key.introduce(7, &client, &Method::GET, &Uri::from_static("/a?b=c"));
        let seen = heard(&key, 7, &value, "/a?b=c").expect("it is proven");
        let Peer(peer) = seen.get::<Peer>().expect("the client");
        assert_eq!(peer.to_string(), "[2001:db8::1]:4000");
        assert!(seen.get::<OverTls>().is_some() && seen.get::<Local>().is_none());
        assert_eq!(heard(&key, 8, &value, "/a?b=c").err(), Some(Stranger::Misdirected));
        assert_eq!(heard(&key, 7, &value, "/a?b=d").err(), Some(Stranger::Unproven));
        assert_eq!(heard(&other, 7, &value, "/a?b=c").err(), Some(Stranger::Unproven));
        let none = HeaderValue::from_static("7 - 0 - AAAA");
        assert_eq!(heard(&key, 7, &none, "/a?b=c").err(), Some(Stranger::Unproven));
        let nothing = HeaderValue::from_static("7");
        assert_eq!(heard(&key, 7, &nothing, "/a?b=c").err(), Some(Stranger::Unintroduced));
        let forged = value.to_str().expect("text").replace(" 1 - ", " 1 0 ");
        let forged = HeaderValue::try_from(forged).expect("a value");
        assert_eq!(heard(&key, 7, &forged, "/a?b=c").err(), Some(Stranger::Unproven));
    }

    #[test]
    fn a_leader_proves_itself_to_who_asks_now() {
        let (key, other) = (LinkKey::new(b"one"), LinkKey::new(b"two"));
        let (probe, later) = (key.probe(7), key.probe(7));
        let answer = |key: &LinkKey| {
            let headers = HeaderMap::from_iter([(INTRODUCTION, probe.introduction.clone())]);
            let uri = Uri::from_static("/health/ready");
            key.recognize(7, &headers, &Method::GET, &uri, &mut Extensions::new())
        };
        assert_eq!(answer(&other), Err(Stranger::Unproven));
        let Ok(Introduced::Probe(name, proof)) = answer(&key) else { panic!("it is a probe") };
        let headers = HeaderMap::from_iter([(name.clone(), proof)]);
        assert!(key.is_proof(&probe, &headers));
        assert!(!key.is_proof(&later, &headers), "an answer to an earlier probe proves nothing");
        let echoed = HeaderMap::from_iter([(name, probe.introduction.clone())]);
        assert!(!key.is_proof(&probe, &echoed) && !key.is_proof(&probe, &HeaderMap::new()));
    }

    #[test]
    fn who_came_over_the_socket_of_one_server_is_known_at_the_other() {
        let key = LinkKey::new(b"one");
        let mut client = Extensions::new();
        client.insert(Local(1000));
        let value = key.introduce(7, &client, &Method::GET, &Uri::from_static("/a"));
        let seen = heard(&key, 7, &value, "/a").expect("it is proven");
        assert_eq!(seen.get::<Local>(), Some(&Local(1000)));
        assert!(seen.get::<Peer>().is_none(), "the other server is not the client");
    }
}
