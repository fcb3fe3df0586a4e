//! Tokens of workloads: a JWT that another system has issued to a program proves which application it is.
//!
//! Signatures are checked in memory. Keys are fetched when a token names one that is not known, at most once
//! in a while: anybody can name keys.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kernel::Timestamp;
use parking_lot::{Mutex, RwLock};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};

use super::claims::{check_times, lookup};
use super::jws::{self, KeySet};
use super::{Call, Outside};

/// How long a call for keys may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long keys count before they are fetched again, and those in a file.
const FRESH_FOR: Duration = Duration::from_hours(1);
const FRESH_IN_FILE: Duration = Duration::from_mins(1);
/// Pause between two fetches, and between two looks at a file.
const PAUSE: Duration = Duration::from_secs(30);
const PAUSE_OF_FILE: Duration = Duration::from_secs(1);
/// Tokens that were checked and are not checked again, and for how many seconds.
const SEEN_MAX: usize = 4096;
const SEEN_FOR: i64 = 300;

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysAt {
    /// The issuer says (OpenID Connect Discovery).
    Discovery,
    /// At this address.
    Url(String),
    /// In this file.
    File(PathBuf),
}

/// A program elsewhere, and what it is here.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What the configuration calls it.
    pub name: String,
    /// Who issues its tokens, to the letter.
    pub issuer: String,
    /// Where the issuer's keys are.
    pub keys: KeysAt,
    /// For whom its tokens must be.
    pub audience: String,
    /// Claims that its tokens must have; `*` stands for any characters. At least one.
    pub claims: Vec<(String, String)>,
    /// The application that it is.
    pub application: String,
}

/// All workloads, and what fetches keys.
#[derive(Clone)]
pub struct WorkloadOptions {
    /// The workloads; of several that fit a token the first counts.
    pub workloads: Vec<Workload>,
    /// Makes the calls.
    pub outside: Arc<dyn Outside>,
}

impl fmt::Debug for WorkloadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadOptions")
            .field("workloads", &self.workloads)
            .finish_non_exhaustive()
    }
}

/// Why a token of a configured issuer does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has ended.
    Expired,
    /// Anything else.
    Invalid(String),
}

type Seen = HashMap<[u8; 32], (Arc<str>, i64)>;

/// The workloads of this server.
pub(crate) struct Workloads {
    issuers: Vec<Issuer>,
    outside: Arc<dyn Outside>,
    /// Hashes of tokens that counted, with the application and the second until which they do.
    seen: Mutex<Seen>,
}

struct Issuer {
    name: String,
    at: KeysAt,
    workloads: Vec<Workload>,
    keys: RwLock<Option<(Arc<KeySet>, Instant)>>,
    /// When they were last fetched, with or without success.
    tried: tokio::sync::Mutex<Option<Instant>>,
}

/// Keys that should be fetched for a token.
pub(crate) struct Lacking {
    issuer: usize,
    /// Those that are known will do meanwhile.
    is_judged: bool,
}

/// What an issuer says of itself.
#[derive(Deserialize)]
struct Description {
    issuer: String,
    jwks_uri: String,
}

impl Workloads {
    pub(crate) fn new(options: WorkloadOptions) -> Self {
        let mut issuers: Vec<Issuer> = Vec::new();
        for workload in options.workloads {
            let known =
                issuers.iter_mut().find(|it| it.name == workload.issuer && it.at == workload.keys);
            match known {
                Some(issuer) => issuer.workloads.push(workload),
                None => issuers.push(Issuer {
                    name: workload.issuer.clone(),
                    at: workload.keys.clone(),
                    workloads: vec![workload],
                    keys: RwLock::default(),
                    tried: tokio::sync::Mutex::default(),
                }),
            }
        }
        Self { issuers, outside: options.outside, seen: Mutex::default() }
    }

    /// Whether keys should be fetched before a token is judged.
    pub(crate) fn lacks_keys(&self, token: &str) -> Option<Lacking> {
        let issuer = jws::said_issuer(token)?;
        let found = self.issuers.iter().position(|it| it.name == issuer && !it.is_ready_for(token));
        let keys = self.issuers.get(found?)?.known();
        let is_judged = keys.is_some_and(|keys| jws::has_key(token, &keys));
        Some(Lacking { issuer: found?, is_judged })
    }

    /// Fetches them, unless that was tried a moment ago.
    pub(crate) async fn fetch_keys(&self, lacking: &Lacking) {
        if let Some(issuer) = self.issuers.get(lacking.issuer) {
            issuer.fetch(&*self.outside, lacking.is_judged).await;
        }
    }

    /// The application that a token proves its bearer to be; `None` if no workload has its issuer.
    pub(crate) fn judge(&self, token: &str, now: Timestamp) -> Option<Result<Arc<str>, Refused>> {
        let issuer = jws::said_issuer(token)?;
        let (hash, now) = (hash(token), now.millis() / 1000);
        if let Some((application, until)) = self.seen.lock().get(&hash)
            && now < *until
        {
            return Some(Ok(application.clone()));
        }
        let mut judged = None;
        for issuer in self.issuers.iter().filter(|it| it.name == issuer) {
            match issuer.judge(token, now) {
                Ok((application, until)) => {
                    self.note(hash, &application, until, now);
                    return Some(Ok(application));
                }
                Err(refused) => judged = Some(Err(refused)),
            }
        }
        judged
    }

    fn note(&self, hash: [u8; 32], application: &Arc<str>, until: i64, now: i64) {
        let mut seen = self.seen.lock();
        if seen.len() >= SEEN_MAX {
            seen.retain(|_, (_, until)| now < *until);
        }
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        seen.insert(hash, (application.clone(), until.min(now.saturating_add(SEEN_FOR))));
    }
}

impl Issuer {
    fn known(&self) -> Option<Arc<KeySet>> {
        self.keys.read().as_ref().map(|(keys, _)| keys.clone())
    }

    /// Whether the keys are those of a moment ago, and the one of a token is among them.
    fn is_ready_for(&self, token: &str) -> bool {
        let fresh_for = if matches!(self.at, KeysAt::File(_)) { FRESH_IN_FILE } else { FRESH_FOR };
        let keys = self.keys.read();
        let fresh = keys.as_ref().filter(|(_, at)| at.elapsed() < fresh_for);
        fresh.is_some_and(|(keys, _)| jws::has_key(token, keys))
    }

    fn judge(&self, token: &str, now: i64) -> Result<(Arc<str>, i64), Refused> {
        let invalid = |why: &str| Refused::Invalid(why.to_owned());
        let keys = self.known().ok_or_else(|| invalid("the keys of its issuer are not known"))?;
        let claims = jws::claims(token, &keys).map_err(|why| Refused::Invalid(why.to_string()))?;
        if claims.get("iss").and_then(Value::as_str) != Some(&*self.name) {
            return Err(invalid("it was issued by another"));
        }
        let until = check_times(&claims, now).map_err(|untimely| {
            if untimely.has_ended { Refused::Expired } else { Refused::Invalid(untimely.why) }
        })?;
        let mut for_us =
            self.workloads.iter().filter(|it| is_for(&claims, &it.audience)).peekable();
        if for_us.peek().is_none() {
            return Err(invalid("it is for somebody else ('aud')"));
        }
        let fits = |(name, wanted): &(String, String)| {
            let told = lookup(&claims, name).and_then(Value::as_str);
            told.is_some_and(|told| engine::search::like(wanted, told))
        };
        let found = for_us.find(|it| !it.claims.is_empty() && it.claims.iter().all(fits));
        let found = found.ok_or_else(|| invalid("its claims are those of no workload"))?;
        Ok((found.application.as_str().into(), until))
    }

    async fn fetch(&self, outside: &dyn Outside, is_judged: bool) {
        let pause = if matches!(self.at, KeysAt::File(_)) { PAUSE_OF_FILE } else { PAUSE };
        let tried = self.tried.try_lock().ok();
        let mut tried = match tried {
            Some(tried) => tried,
            // Somebody fetches them, and whoever can be judged need not wait.
            None if is_judged => return,
            None => self.tried.lock().await,
        };
        if tried.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        match self.keys_now(outside).await {
            Ok(keys) => *self.keys.write() = Some((Arc::new(keys), Instant::now())),
            // Those that are known go on counting.
            Err(why) => {
                tracing::warn!(issuer = self.name, "keys of workloads cannot be read: {why}");
            }
        }
        *tried = Some(Instant::now());
    }

    async fn keys_now(&self, outside: &dyn Outside) -> Result<KeySet, String> {
        let text = match &self.at {
            KeysAt::File(path) => {
                let (path, shown) = (path.clone(), path.display().to_string());
                let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
                let read = read.map_err(|error| error.to_string())?;
                read.map_err(|error| format!("{shown}: {error}"))?
            }
            KeysAt::Url(url) => document(outside, url).await?,
            KeysAt::Discovery => {
                let issuer = self.name.trim_end_matches('/');
                let url = format!("{issuer}/.well-known/openid-configuration");
                let told: Description = serde_json::from_slice(&document(outside, &url).await?)
                    .map_err(|error| format!("{url} describes no issuer: {error}"))?;
                if told.issuer != self.name {
                    return Err(format!("{url} describes another issuer"));
                }
                let is_plain =
                    issuer.starts_with("http://") && told.jwks_uri.starts_with("http://");
                if !is_plain && !told.jwks_uri.starts_with("https://") {
                    return Err(format!("{url} names an address without https"));
                }
                document(outside, &told.jwks_uri).await?
            }
        };
        serde_json::from_slice(&text).map_err(|error| format!("it is no key set (JWKS): {error}"))
    }
}

async fn document(outside: &dyn Outside, url: &str) -> Result<Vec<u8>, String> {
    let call = Call { url: url.to_owned(), ..Call::default() };
    let reply = timeout(PATIENCE, outside.send(call)).await;
    let reply = reply.map_err(|_| format!("{url}: no answer in {} s", PATIENCE.as_secs()))?;
    match reply.map_err(|why| format!("{url} cannot be asked: {why}"))? {
        reply if reply.status == 200 => Ok(reply.body),
        reply => Err(format!("{url} answers {}", reply.status)),
    }
}

/// Whether a token was issued for this audience, perhaps among others.
fn is_for(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(|it| it.as_str() == Some(audience)),
        Some(one) => one.as_str() == Some(audience),
        None => false,
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::hmac;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;
    use zeroize::Zeroizing;

    use super::super::Reply;
    use super::*;

    const ISSUER: &str = "https://kubernetes.example";
    const NOW: i64 = 1_790_000_000;

    /// An issuer with one key at a time.
    struct StandIn {
        key: Mutex<(EcdsaKeyPair, String)>,
        is_away: Mutex<bool>,
        fetched: AtomicUsize,
    }

    fn pair() -> EcdsaKeyPair {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("the key")
    }

    fn part(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    impl StandIn {
        fn new() -> Arc<Self> {
            let key = Mutex::new((pair(), "first".to_owned()));
            Arc::new(Self { key, is_away: Mutex::default(), fetched: AtomicUsize::new(0) })
        }

        fn rotate(&self, kid: &str) {
            *self.key.lock() = (pair(), kid.to_owned());
        }

        fn token(&self, change: &Value) -> String {
            let mut claims = json!({ "iss": ISSUER, "aud": ["nightbell"], "sub": "system:serviceaccount:jobs:etl",
                "iat": NOW, "nbf": NOW, "exp": NOW + 600 });
            let members = claims.as_object_mut().expect("an object");
            members.extend(change.as_object().expect("an object").clone());
            members.retain(|_, value| !value.is_null());
            let (key, kid) = &*self.key.lock();
            let signed =
                format!("{}.{}", part(&json!({ "alg": "ES256", "kid": kid })), part(&claims));
            let proof = key.sign(&SystemRandom::new(), signed.as_bytes()).expect("it signs");
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(proof))
        }

        fn fetched(&self) -> usize {
            self.fetched.load(Ordering::SeqCst)
        }
    }

    #[async_trait]
    impl Outside for StandIn {
        async fn send(&self, call: Call) -> Result<Reply, String> {
            if *self.is_away.lock() {
                return Err("nobody is there".to_owned());
            }
            let path = call.url.strip_prefix(ISSUER).expect("only the issuer is asked");
            let body = if path == "/.well-known/openid-configuration" {
                json!({ "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys") })
            } else {
                self.fetched.fetch_add(1, Ordering::SeqCst);
                let (key, kid) = &*self.key.lock();
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
                json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y }] })
            };
            Ok(Reply { status: 200, body: body.to_string().into_bytes() })
        }

        fn secret(&self) -> Result<Option<Zeroizing<String>>, String> {
            Ok(None)
        }
    }

    fn workloads(issuer: &Arc<StandIn>) -> Workloads {
        let workload = |name: &str, sub: &str| Workload {
            name: name.to_owned(),
            issuer: ISSUER.to_owned(),
            keys: KeysAt::Discovery,
            audience: "nightbell".to_owned(),
            claims: vec![("sub".to_owned(), sub.to_owned())],
            application: name.to_owned(),
        };
        let workloads = vec![
            workload("etl", "system:serviceaccount:jobs:etl"),
            workload("watch", "system:serviceaccount:watch:*"),
        ];
        Workloads::new(WorkloadOptions { workloads, outside: issuer.clone() })
    }

    /// What a request with this token comes to.
    async fn asked(workloads: &Workloads, token: &str) -> Option<Result<Arc<str>, Refused>> {
        if let Some(lacking) = workloads.lacks_keys(token) {
            workloads.fetch_keys(&lacking).await;
        }
        workloads.judge(token, Timestamp::from_millis(NOW * 1000))
    }

    #[tokio::test]
    async fn claims_say_which_application_a_token_stands_for() {
        let issuer = StandIn::new();
        let workloads = workloads(&issuer);
        let etl = issuer.token(&json!({}));
        for _ in 0..2 {
            assert_eq!(asked(&workloads, &etl).await, Some(Ok("etl".into())));
        }
        let watch =
            issuer.token(&json!({ "sub": "system:serviceaccount:watch:a", "aud": "nightbell" }));
        assert_eq!(asked(&workloads, &watch).await, Some(Ok("watch".into())));
        // A clock may be a minute off.
        for change in [json!({ "exp": NOW - 59 }), json!({ "nbf": NOW + 60, "iat": NOW + 60 })] {
            assert_eq!(asked(&workloads, &issuer.token(&change)).await, Some(Ok("etl".into())));
        }
        assert_eq!(issuer.fetched(), 1);
    }

    #[tokio::test]
    async fn what_proves_nothing_is_refused() {
        let issuer = StandIn::new();
        let workloads = workloads(&issuer);
        let ended = issuer.token(&json!({ "exp": NOW - 60 }));
        assert_eq!(asked(&workloads, &ended).await, Some(Err(Refused::Expired)));
        for (change, says) in [
            (json!({ "aud": "vault" }), "'aud'"),
            (json!({ "aud": null }), "'aud'"),
            (json!({ "sub": "system:serviceaccount:jobs:other" }), "no workload"),
            (json!({ "sub": null }), "no workload"),
            (json!({ "exp": null }), "never ends"),
            (json!({ "nbf": NOW + 61 }), "future"),
        ] {
            let Some(Err(Refused::Invalid(why))) = asked(&workloads, &issuer.token(&change)).await
            else {
                panic!("{change} counts");
            };
            assert!(why.contains(says), "{why}");
        }
        let stranger = issuer.token(&json!({ "iss": "https://other.example" }));
        assert_eq!(asked(&workloads, &stranger).await, None);
        // Another algorithm over what everybody knows.
        let token = issuer.token(&json!({}));
        let (_, rest) = token.split_once('.').expect("three parts");
        let (claims, _) = rest.split_once('.').expect("three parts");
        let public = issuer.key.lock().0.public_key().as_ref().to_vec();
        for alg in ["none", "HS256"] {
            let signed = format!("{}.{claims}", part(&json!({ "alg": alg, "kid": "first" })));
            let proof = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), signed.as_bytes());
            for proof in [URL_SAFE_NO_PAD.encode(proof.as_ref()), String::new()] {
                let forged = asked(&workloads, &format!("{signed}.{proof}")).await;
                assert!(matches!(forged, Some(Err(Refused::Invalid(why))) if why.contains(alg)));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_for_unknown_names_but_not_for_each() {
        let issuer = StandIn::new();
        let workloads = workloads(&issuer);
        let old = issuer.token(&json!({}));
        assert!(matches!(asked(&workloads, &old).await, Some(Ok(_))));
        issuer.rotate("second");
        let new = issuer.token(&json!({}));
        for _ in 0..10 {
            assert!(matches!(asked(&workloads, &new).await, Some(Err(_))));
        }
        assert_eq!(issuer.fetched(), 1);
        tokio::time::advance(PAUSE).await;
        assert!(matches!(asked(&workloads, &new).await, Some(Ok(_))));
        assert_eq!(issuer.fetched(), 2);
        // While the issuer is away, the keys that are known count.
        *issuer.is_away.lock() = true;
        tokio::time::advance(FRESH_FOR).await;
        let another = issuer.token(&json!({ "jti": "2" }));
        assert!(matches!(asked(&workloads, &another).await, Some(Ok(_))));
    }
}
