//! Codes in the links that whoever starts an instance is given: each is good for that one instance.
//!
//! Clients of Durable Functions follow these links without a header. A code is a MAC over the principal
//! that was given the link, the task hub and the instance; nothing is stored of it. Whoever has the link
//! may do about that instance what the principal may, and for as long: it ends with the key.

use std::fmt;
use std::sync::Arc;

use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::Engine;
use kernel::access::Principal;
use percent_encoding::percent_decode_str;
use ring::hmac;

use super::token::Subject;
use crate::durable::{self, HUB, INSTANCES};

/// What the key is derived for.
const PURPOSE: &str = "links to instances";
/// What codes begin with.
const PREFIX: &str = "nbl_";
/// The parameter with the code.
pub(crate) const CODE: &str = "code";

/// Makes codes, and tells its own from others.
pub(super) struct Codes(hmac::Key);

/// The instance that a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    hub: String,
    instance: String,
}

impl Target {
    /// By the path of ours that answers a request, and its address; `None` if it is about no instance, or
    /// about several.
    pub(super) fn of(path: Option<&str>, uri: &Uri) -> Option<Self> {
        let template = instances(path?)?;
        if template.split('/').next() != Some("{id}") {
            return None;
        }
        let instance = decoded(instances(uri.path())?.split('/').next()?)?;
        let pairs =
            || uri.query().unwrap_or_default().split('&').filter_map(|it| it.split_once('='));
        let mut hubs = pairs().filter(|(name, _)| name.eq_ignore_ascii_case("taskHub"));
        let hub = match hubs.next() {
            Some((_, hub)) => decoded(hub).filter(|hub| !hub.is_empty())?,
            None => HUB.to_owned(),
        };
        // Of two it is not for this to say which one counts.
        hubs.next().is_none().then_some(Self { hub, instance })
    }
}

/// What follows the word in a path.
fn instances(path: &str) -> Option<&str> {
    path.strip_prefix(durable::BASE)?.strip_prefix('/')?.strip_prefix(INSTANCES)?.strip_prefix('/')
}

fn decoded(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

impl Codes {
    pub(super) fn new(engine: &Engine) -> Arc<Self> {
        Arc::new(Self::with_key(&*engine.vault().derive_key(PURPOSE)))
    }

    fn with_key(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Whether a credential is such a code, whoever made it.
    pub(super) fn is_one(credential: &str) -> bool {
        credential.starts_with(PREFIX)
    }

    fn sign(&self, subject: &Subject, target: &Target) -> String {
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &content(subject, target)));
        // A colon would have to be encoded.
        format!("{PREFIX}{}.{}.{mac}", subject.id.replace(':', "."), subject.generation)
    }

    /// Who was given a code, if it is one for this instance.
    pub(super) fn verify(&self, code: &str, target: &Target) -> Option<Subject> {
        let (rest, mac) = code.strip_prefix(PREFIX)?.rsplit_once('.')?;
        let (id, generation) = rest.rsplit_once('.')?;
        let (kind, id) = id.split_once('.')?;
        let subject = Subject {
            id: format!("{kind}:{id}"),
            generation: generation.parse().ok()?,
            session: None,
        };
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        // In constant time.
        hmac::verify(&self.0, &content(&subject, target), &mac).ok()?;
        Some(subject)
    }
}

/// What is signed: each part after its length, so that none can pass for another.
fn content(subject: &Subject, target: &Target) -> Vec<u8> {
    let generation = subject.generation.to_string();
    let mut content = Vec::new();
    for part in [&subject.id, &generation, &target.hub, &target.instance] {
        content.extend((part.len() as u64).to_be_bytes());
        content.extend(part.as_bytes());
    }
    content
}

/// Makes codes for whoever asks; in the extensions of requests whose answers have links.
#[derive(Clone)]
pub(crate) struct Signer {
    codes: Arc<Codes>,
    principal: Arc<Principal>,
}

impl Signer {
    pub(super) fn new(codes: &Arc<Codes>, principal: &Arc<Principal>) -> Self {
        Self { codes: codes.clone(), principal: principal.clone() }
    }

    /// The code for links to an instance.
    pub(crate) fn code(&self, hub: &str, instance: &str) -> String {
        let target = Target { hub: hub.to_owned(), instance: instance.to_owned() };
        self.codes.sign(&Subject::of(&self.principal), &target)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("principal", &self.principal.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Codes, Subject, Target};

    const PATH: &str = "/runtime/webhooks/durabletask/instances/{id}/terminate";

    fn target(address: &str) -> Option<Target> {
        let uri = format!("/runtime/webhooks/durabletask/instances/{address}");
        Target::of(Some(PATH), &uri.parse().expect("an address"))
    }

    fn of(hub: &str, instance: &str) -> Target {
        Target { hub: hub.to_owned(), instance: instance.to_owned() }
    }

    #[test]
    fn a_request_is_about_the_instance_in_its_path_and_the_hub_in_its_query() {
        assert_eq!(target("a%20b/terminate"), Some(of("default", "a b")));
        assert_eq!(target("a%2Fb/terminate?x=1&TASKHUB=h&code=c"), Some(of("h", "a/b")));
        assert_eq!(target("a/terminate?taskHub=h&taskhub=g"), None);
        assert_eq!(target("%FF/terminate"), None);
        let address = "/runtime/webhooks/durabletask/instances/a";
        let of_path = |path| Target::of(path, &address.parse().expect("an address"));
        assert_eq!(of_path(Some("/runtime/webhooks/durabletask/instances")), None);
        assert_eq!(of_path(Some("/api/workflow/{id}")), None);
        assert_eq!(of_path(None), None);
    }

    #[test]
    fn a_code_is_good_for_one_instance() {
        let (codes, others) = (Codes::with_key(&[7; 32]), Codes::with_key(&[8; 32]));
        let id = "key:4f1d0c8a2b6e".to_owned();
        let subject = Subject { id, generation: 3, session: None };
        let code = codes.sign(&subject, &of("h", "a"));
        assert!(
            code.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it)),
            "{code}"
        );
        assert_eq!(codes.verify(&code, &of("h", "a")), Some(subject.clone()));
        for other in [of("h", "b"), of("g", "a"), of("ha", ""), of("", "ha")] {
            assert_eq!(codes.verify(&code, &other), None, "{other:?}");
        }
        for forged in [
            others.sign(&subject, &of("h", "a")),
            code.replace("4f1d", "4f1e"),
            code.replace(".3.", ".4."),
            code[..code.len() - 1].to_owned(),
            "nbl_".to_owned(),
            "nbl_key.a.3.".to_owned(),
            String::new(),
        ] {
            assert_eq!(codes.verify(&forged, &of("h", "a")), None, "{forged}");
        }
    }
}
