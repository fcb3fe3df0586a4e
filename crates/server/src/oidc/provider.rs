//! The provider: its description and its keys, which are fetched when they are needed, the address to send a
//! browser to, and what a code is exchanged for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::claims::{self, Person};
use super::jws::{self, KeySet, Unproved};
use super::{Call, Failed, Options, Reply};

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the description and the keys count before they are fetched again.
const FRESH_FOR: Duration = Duration::from_hours(1);
/// How long a failure to fetch them counts, so that a provider that is away is not asked by every browser.
const FAILED_FOR: Duration = Duration::from_secs(3);
/// Codes that are exchanged at once; further logins are refused.
const AT_ONCE: usize = 16;
/// What a parameter of an address or a form keeps.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What the provider says of itself (OpenID Connect Discovery, 3).
#[derive(Clone, Debug, Deserialize)]
struct Description {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// What is known of the provider.
#[derive(Debug)]
struct Known {
    description: Description,
    keys: KeySet,
}

/// What it gives for a code, or why it gives nothing.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Given {
    id_token: Zeroizing<String>,
    error: String,
    error_description: String,
}

#[derive(Debug, Default)]
struct Cached {
    known: Option<(Arc<Known>, Instant)>,
    failed: Option<(Failed, Instant)>,
}

/// What a login asks the provider for, and what its answer must repeat.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Where the browser comes back to.
    pub(crate) back: String,
    /// Comes back with the browser.
    pub(crate) state: String,
    /// Comes back in the token.
    pub(crate) nonce: String,
    /// What the code is worth nothing without (RFC 7636), and what the provider is told of it.
    pub(crate) verifier: String,
    pub(crate) challenge: String,
}

/// One provider.
#[derive(Debug)]
pub(crate) struct Provider {
    options: Options,
    cached: Mutex<Cached>,
    places: Semaphore,
}

impl Provider {
    pub(crate) fn new(options: Options) -> Self {
        Self { options, cached: Mutex::default(), places: Semaphore::new(AT_ONCE) }
    }

    /// Which provider it is, and who may come in.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Where to send a browser that is to sign in.
    ///
    /// # Errors
    /// The provider does not say where.
    pub(crate) async fn address(&self, asked: &Asked) -> Result<String, Failed> {
        let known = self.known(None).await?;
        let endpoint = &known.description.authorization_endpoint;
        let mut scopes = self.options.scopes.clone();
        if !scopes.iter().any(|it| it == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        let query = pairs(&[
            ("response_type", "code"),
            ("client_id", &self.options.client_id),
            ("redirect_uri", &asked.back),
            ("scope", &scopes.join(" ")),
            ("state", &asked.state),
            ("nonce", &asked.nonce),
            ("code_challenge", &asked.challenge),
            ("code_challenge_method", "S256"),
        ]);
        let mark = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{mark}{}", *query))
    }

    /// Whom a code that came back with a browser stands for.
    ///
    /// # Errors
    /// The provider is away or refuses the code, its token does not count, or who it stands for is not let
    /// in.
    pub(crate) async fn person(
        &self,
        code: &str,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<Person, Failed> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Failed::Unavailable("too many sign in at this moment".to_owned()));
        };
        let known = self.known(None).await?;
        let token = self.exchange(&known.description, code, asked).await?;
        let claims = match jws::claims(&token, &known.keys) {
            // The provider may have other keys by now; one fetch for one code that it has exchanged.
            Err(Unproved::UnknownKey | Unproved::Signature) => {
                let known = self.known(Some(&known)).await?;
                jws::claims(&token, &known.keys)
            }
            judged => judged,
        };
        let claims = claims.map_err(|why| Failed::Token(why.to_string()))?;
        claims::person(&claims, &self.options, &asked.nonce, now)
    }

    /// What is known of the provider; fetched if nothing is, or it is old, or it is still `stale`. One
    /// fetches, the others wait for that.
    async fn known(&self, stale: Option<&Arc<Known>>) -> Result<Arc<Known>, Failed> {
        let mut cached = self.cached.lock().await;
        let now = Instant::now();
        if let Some((known, at)) = &cached.known
            && now.duration_since(*at) < FRESH_FOR
            && stale.is_none_or(|stale| !Arc::ptr_eq(stale, known))
        {
            return Ok(known.clone());
        }
        if let Some((failed, at)) = &cached.failed
            && now.duration_since(*at) < FAILED_FOR
        {
            return Err(failed.clone());
        }
        match self.fetch().await {
            Ok(known) => {
                let known = Arc::new(known);
                *cached = Cached { known: Some((known.clone(), now)), failed: None };
                Ok(known)
            }
            Err(failed) => {
                cached.failed = Some((failed.clone(), Instant::now()));
                Err(failed)
            }
        }
    }

    async fn fetch(&self) -> Result<Known, Failed> {
        let issuer = &self.options.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let description: Description = self.read(url).await?;
        if description.issuer != *issuer {
            return Err(Failed::Unavailable(format!(
                "the provider at {issuer} calls itself '{}': write that as oidc_issuer, to the letter",
                description.issuer.chars().take(200).collect::<String>()
            )));
        }
        let Description { authorization_endpoint, token_endpoint, jwks_uri, .. } = &description;
        for endpoint in [authorization_endpoint, token_endpoint, jwks_uri] {
            let is_plain = issuer.starts_with("http://") && endpoint.starts_with("http://");
            if !is_plain && !endpoint.starts_with("https://") {
                let why = format!("the provider at {issuer} names an address without https");
                return Err(Failed::Unavailable(why));
            }
        }
        let keys = self.read(jwks_uri.clone()).await?;
        Ok(Known { description, keys })
    }

    /// Fetches a document.
    async fn read<T: DeserializeOwned>(&self, url: String) -> Result<T, Failed> {
        let reply = self.send(Call { url: url.clone(), ..Call::default() }).await?;
        if reply.status != 200 {
            return Err(Failed::Unavailable(format!("{url} answers {}", reply.status)));
        }
        serde_json::from_slice(&reply.body).map_err(|error| {
            Failed::Unavailable(format!("{url} answers what is not expected there: {error}"))
        })
    }

    async fn send(&self, call: Call) -> Result<Reply, Failed> {
        let url = call.url.clone();
        let failed = |why: String| Failed::Unavailable(format!("{url} cannot be asked: {why}"));
        let sent = timeout(PATIENCE, self.options.outside.send(call)).await;
        let sent = sent.map_err(|_| failed(format!("no answer in {} s", PATIENCE.as_secs())))?;
        sent.map_err(failed)
    }

    /// The ID token that a code stands for.
    async fn exchange(
        &self,
        description: &Description,
        code: &str,
        asked: &Asked,
    ) -> Result<Zeroizing<String>, Failed> {
        let secret = self.options.outside.secret().map_err(|why| {
            Failed::Unavailable(format!("oidc_client_secret cannot be read: {why}"))
        })?;
        let id = self.options.client_id.as_str();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", asked.back.as_str()),
            ("code_verifier", asked.verifier.as_str()),
        ];
        let methods = &description.token_endpoint_auth_methods_supported;
        let knows = |name: &str| methods.iter().any(|it| it == name);
        let mut authorization = None;
        match &secret {
            None => form.push(("client_id", id)),
            Some(secret) if knows("client_secret_post") && !knows("client_secret_basic") => {
                form.extend([("client_id", id), ("client_secret", secret.as_str())]);
            }
            Some(secret) => {
                let pair = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret)));
                authorization = Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair))));
            }
        }
        let url = description.token_endpoint.clone();
        let reply = self.send(Call { url, authorization, form: Some(pairs(&form)) }).await?;
        let given: Given = serde_json::from_slice(&reply.body).unwrap_or_default();
        match reply.status {
            200 if !given.id_token.is_empty() => Ok(given.id_token),
            200 => Err(Failed::Unavailable("the provider gives no ID token for a code".to_owned())),
            400 | 401 | 403 => {
                let said = format!("{} {}", given.error, given.error_description);
                let said = said.chars().filter(|it| !it.is_control()).take(200);
                Err(Failed::Refused(said.collect::<String>().trim().to_owned()))
            }
            status => Err(Failed::Unavailable(format!("the provider answers {status} to a code"))),
        }
    }
}

/// A query, or a form.
fn pairs(pairs: &[(&str, &str)]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.extend(utf8_percent_encode(value, KEPT));
    }
    text
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}
