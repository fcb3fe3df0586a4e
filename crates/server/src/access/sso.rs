//! Single sign-on: people come in by an OpenID provider, at the console and at the command line.
//!
//! A browser is sent to the provider and comes back with a code. What ties the two together is a cookie of
//! ours, from which `state`, `nonce` and the verifier of PKCE are made; nothing is kept here meanwhile, so
//! that logins which are begun and left cost nothing. The command line opens the same page with a port of its
//! own machine, to which the browser is led at the end with a code of ours; that is worth a session to
//! whoever has begun, and to nobody else.

#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::{AccessError, Arrival, Engine, Identity, Proved};
use kernel::Timestamp;
use kernel::access::{Mode, Need, Principal};
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::digest::{SHA256, digest};
use ring::hmac;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::login::opened_for_tokens;
use super::session::{self, Way, cookie_for, led_to, page_of_ours, random};
use super::{Authorizer, From, Routes, consent};
use crate::guard::Peer;
use crate::oidc::{Asked, Failed, Person, Provider};
use crate::problem::Problem;
use crate::rest::extract::{Body, Query};
use crate::{Settings, Shared};

/// Where a login begins, below which its cookie counts.
pub(super) const BEGIN: &str = "/console/sso";
/// Where the provider sends browsers back to.
const BACK: &str = "/console/sso/callback";
pub(super) const COOKIE: &str = "nightbell_sso";
/// What the key of its cookie is derived for.
const PURPOSE: &str = "single sign-on";
/// How long somebody may take at the provider.
const LIFETIME_SECONDS: i64 = 600;
/// Bytes of the longest cookie that is looked at.
const COOKIE_MAX: usize = 4096;
/// How long a code of ours for the command line is worth something.
const CODE_LIFETIME: Duration = Duration::from_mins(1);
/// Codes of ours that are kept; beyond that none is given.
const CODES_MAX: usize = 1000;
/// Characters of what the command line sends along.
const STATE_MAX: usize = 128;

/// The paths of single sign-on.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .on(Need::Public, routes!(begin))
        .on(Need::Public, routes!(come_back))
        .on(Need::Public, routes!(consent::allow))
        .on(Need::Public, routes!(describe, redeem))
}

/// The provider, and logins that are under way.
pub(super) struct Sso {
    provider: Provider,
    pub(super) key: hmac::Key,
    /// Of this server, as browsers reach it; without a slash at the end.
    public_url: String,
    pub(super) codes: Codes,
}

impl Sso {
    /// None without a provider, or without an address to come back to.
    pub(super) fn of(settings: &Settings, engine: &Engine) -> Option<Self> {
        let (options, public_url) = (settings.oidc.clone()?, settings.public_url.as_deref()?);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*engine.vault().derive_key(PURPOSE));
        Some(Self {
            provider: Provider::new(options),
            key,
            public_url: public_url.trim_end_matches('/').to_owned(),
            codes: Codes::default(),
        })
    }

    fn asked(&self, begun: &Begun) -> Asked {
        let verifier = begun.derived("verifier");
        Asked {
            back: format!("{}{BACK}", self.public_url),
            state: begun.derived("state"),
            nonce: begun.derived("nonce"),
            challenge: challenge_of(&verifier),
            verifier,
        }
    }
}

/// The label of the provider, and where logins begin: at the name to which the provider sends browsers back,
/// as the cookie counts there alone.
pub(crate) fn beginning(settings: &Settings) -> Option<(String, String)> {
    let (options, url) = (settings.oidc.as_ref()?, settings.public_url.as_deref()?);
    Some((options.label.clone(), format!("{}{BEGIN}", url.trim_end_matches('/'))))
}

/// A program at a terminal that waits for the end of a login.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Terminal {
    /// Where it listens, on the machine of the browser.
    pub(super) port: u16,
    /// The hash of what it has to show for the code.
    pub(super) challenge: String,
    /// What it recognizes its own login by.
    state: String,
}

impl Terminal {
    /// Where it is told how the login has ended.
    pub(super) fn address(&self, name: &str, value: &str) -> String {
        let Self { port, state, .. } = self;
        format!("http://127.0.0.1:{port}/?{name}={value}&state={state}")
    }
}

/// A login that was begun; in the cookie of its browser.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begun {
    /// From which all else is made.
    secret: String,
    /// When it ends, in seconds since 1970.
    until: i64,
    /// The page to see afterwards.
    next: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    terminal: Option<Terminal>,
}

impl Begun {
    /// A secret of its own for a purpose.
    fn derived(&self, purpose: &str) -> String {
        proof_of(&self.secret, purpose)
    }

    fn seal(&self, key: &hmac::Key) -> String {
        sealed(self, key)
    }

    /// What a cookie holds, if we made it and its time is not over.
    fn open(sealed: &str, key: &hmac::Key, now: Timestamp) -> Option<Self> {
        opened(sealed, key).filter(|begun: &Self| now.millis() / 1000 < begun.until)
    }
}

/// What only who knows a secret can know, for a purpose.
pub(super) fn proof_of(secret: &str, purpose: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, purpose.as_bytes()))
}

/// A value for a cookie, which nobody else can make.
pub(super) fn sealed(value: &impl Serialize, key: &hmac::Key) -> String {
    let text = serde_json::to_vec(value).expect("it serializes to JSON");
    let text = URL_SAFE_NO_PAD.encode(text);
    let proof = URL_SAFE_NO_PAD.encode(hmac::sign(key, text.as_bytes()));
    format!("{text}.{proof}")
}

/// What a cookie holds, if we made it and it is of this kind.
pub(super) fn opened<T: DeserializeOwned>(sealed: &str, key: &hmac::Key) -> Option<T> {
    let (text, proof) = sealed.split_once('.').filter(|_| sealed.len() <= COOKIE_MAX)?;
    let proof = URL_SAFE_NO_PAD.decode(proof).ok()?;
    hmac::verify(key, text.as_bytes(), &proof).ok()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// What PKCE tells of a verifier.
fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// Codes of ours that command lines turn into sessions.
#[derive(Debug, Default)]
pub(super) struct Codes(Mutex<HashMap<String, Code>>);

#[derive(Debug)]
struct Code {
    principal: Arc<str>,
    generation: u64,
    challenge: String,
    given: Instant,
}

impl Codes {
    /// A code for somebody; `None` while too many are kept.
    pub(super) fn give(&self, who: &Principal, challenge: &str, now: Instant) -> Option<String> {
        let mut codes = self.0.lock();
        codes.retain(|_, it| now.duration_since(it.given) < CODE_LIFETIME);
        if codes.len() >= CODES_MAX {
            return None;
        }
        let text = random();
        let code = Code {
            principal: who.id.clone(),
            generation: who.generation,
            challenge: challenge.to_owned(),
            given: now,
        };
        codes.insert(text.clone(), code);
        Some(text)
    }

    /// For whom a code stands; it stands for nobody afterwards, whether or not the verifier fits.
    fn take(&self, code: &str, verifier: &str, now: Instant) -> Option<(Arc<str>, u64)> {
        let code = self.0.lock().remove(code)?;
        let counts = now.duration_since(code.given) < CODE_LIFETIME
            && code.challenge == challenge_of(verifier);
        counts.then_some((code.principal, code.generation))
    }
}

/// How a login begins.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
struct Beginning {
    /// The page of the console to open afterwards.
    next: String,
    /// For the command line: the port on which it waits, on the machine of the browser.
    port: Option<u16>,
    /// For the command line: the SHA-256 of its verifier, in base64url.
    challenge: String,
    /// For the command line: its state parameter, which is returned unchanged.
    state: String,
}

impl Beginning {
    fn terminal(&self) -> Result<Option<Terminal>, Problem> {
        let Some(port) = self.port else { return Ok(None) };
        let is_plain = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let is_challenge = self.challenge.len() == 43 && is_plain(&self.challenge);
        let is_state = (16..=STATE_MAX).contains(&self.state.len()) && is_plain(&self.state);
        if port == 0 || !is_challenge || !is_state {
            return Err(Problem::bad_request("a login of the command line is not complete")
                .with_hint("Begin it with `nightbell login --sso`."));
        }
        let (challenge, state) = (self.challenge.clone(), self.state.clone());
        Ok(Some(Terminal { port, challenge, state }))
    }
}

/// Sends a browser to the provider to sign in there.
#[utoipa::path(
    operation_id = "sso_begin",
    get, path = "/console/sso", tag = "console", params(Beginning),
    responses(
        (status = 303, description = "Redirect to the provider, or to the login page with the reason"),
        (status = 404, description = "Single sign-on is not configured"),
    )
)]
async fn begin(
    State(authorizer): State<Arc<Authorizer>>,
    way: Way,
    From(peer): From,
    Query(beginning): Query<Beginning>,
) -> Result<Response, Problem> {
    let sso = sso_of(&authorizer)?;
    let begun = Begun {
        secret: random(),
        until: authorizer.engine.now().millis() / 1000 + LIFETIME_SECONDS,
        next: page_of_ours(&beginning.next).to_owned(),
        terminal: beginning.terminal()?,
    };
    match sso.provider.address(&sso.asked(&begun)).await {
        Ok(address) => {
            let age = format!("; Max-Age={LIFETIME_SECONDS}");
            let cookie = cookie_for(COOKIE, &begun.seal(&sso.key), BEGIN, way.is_secure(), &age);
            let mut response = led_to(&address);
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(failed) => Ok(ended(Some(&begun), &authorizer.refuse(failed, peer), way.is_secure())),
    }
}

/// What the provider sends a browser back with.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
struct Brought {
    /// The authorization code.
    code: String,
    /// The state parameter of the login.
    state: String,
    /// The error of the provider, in place of a code.
    error: String,
    /// The issuer of the response (RFC 9207).
    iss: Option<String>,
}

/// Receives the browser back from the provider, and opens a session.
#[utoipa::path(
    operation_id = "sso_callback",
    get, path = "/console/sso/callback", tag = "console", params(Brought),
    responses(
        (status = 200, description = "For a login of the command line: a page that asks for consent"),
        (status = 303, description = "Redirect to the requested page, or to the login page with the reason"),
        (status = 404, description = "Single sign-on is not configured"),
    )
)]
async fn come_back(
    State(shared): State<Shared>,
    way: Way,
    From(peer): From,
    headers: HeaderMap,
    Query(brought): Query<Brought>,
) -> Result<Response, Problem> {
    let authorizer = &shared.authorizer;
    let sso = sso_of(authorizer)?;
    let now = authorizer.engine.now();
    let begun = session::cookie_named(&headers, COOKIE);
    let begun = begun.and_then(|sealed| Begun::open(sealed, &sso.key, now));
    let is_secure = way.is_secure();
    let who = match &begun {
        // Both are secrets of that browser; what differs tells nobody anything.
        Some(begun) if begun.derived("state") == brought.state => {
            authorizer.signed_in_by_provider(sso, begun, &brought, peer).await
        }
        _ => {
            authorizer.note_refused_login("sso", peer);
            Err(unknown())
        }
    };
    let who = match who {
        Ok(who) => who,
        Err(problem) => {
            // Only a login that is this browser's own leads to a port of its machine.
            let own = begun.as_ref().filter(|it| it.derived("state") == brought.state);
            if own.is_none() {
                authorizer.throttle.failed(peer).await;
            }
            return Ok(ended(own, &problem, is_secure));
        }
    };
    let begun = begun.expect("somebody has signed in with it");
    let Some(terminal) = &begun.terminal else {
        let mut response = led_to(&begun.next);
        let cookie = authorizer.session_cookie(&who, &headers, is_secure);
        response.headers_mut().append(header::SET_COOKIE, cookie);
        response.headers_mut().append(header::SET_COOKIE, over(is_secure));
        return Ok(response);
    };
    Ok(consent::ask(&shared, sso, &who, terminal, &way, &headers))
}

impl Authorizer {
    /// The user whom the provider vouches for.
    async fn signed_in_by_provider(
        &self,
        sso: &Sso,
        begun: &Begun,
        brought: &Brought,
        peer: Option<Peer>,
    ) -> Result<Arc<Principal>, Problem> {
        let issuer = &sso.provider.options().issuer;
        if brought.iss.as_ref().is_some_and(|iss| iss != issuer) {
            let why = "another provider answers than was asked".to_owned();
            return Err(self.refuse(Failed::Token(why), peer));
        }
        if brought.code.is_empty() {
            let said = brought.error.chars().filter(|it| !it.is_control()).take(100).collect();
            return Err(self.refuse(Failed::Refused(said), peer));
        }
        let person = sso.provider.person(&brought.code, &sso.asked(begun), self.engine.now()).await;
        let person = person.map_err(|failed| self.refuse(failed, peer))?;
        let shown = person.name.chars().take(100).collect::<String>();
        match self.engine.access().arrive(arrival(sso, person), self.engine.now()).await {
            Ok(who) => {
                self.note_administrator(&who, "");
                self.note_login(&who, "sso", peer);
                Ok(who)
            }
            Err(error) => {
                tracing::warn!(%error, user = shown, "user authenticated by the OpenID provider is not admitted");
                self.note_refused_login("sso", peer);
                Err(match error {
                    AccessError::Taken(name, _) => taken(&name),
                    error => error.into(),
                })
            }
        }
    }

    /// Notes why nobody has signed in. What is secret or only for the provider's operators is in the log
    /// alone.
    fn refuse(&self, failed: Failed, peer: Option<Peer>) -> Problem {
        tracing::warn!(%failed, "sign-in by the OpenID provider failed");
        self.note_refused_login("sso", peer);
        problem_of(failed)
    }
}

fn arrival(sso: &Sso, person: Person) -> Arrival {
    let options = sso.provider.options();
    Arrival {
        identity: Identity {
            issuer: options.issuer.as_str().into(),
            subject: person.subject.into(),
        },
        name: person.name,
        managed: options.groups.iter().map(|(_, group)| group.clone()).collect(),
        groups: person.groups,
        links: options.links_users && person.names_surely,
        is_admitted: person.is_admitted,
    }
}

fn problem_of(failed: Failed) -> Problem {
    match failed {
        Failed::Unavailable(_) => {
            let message = "the provider cannot be reached, or answers what makes no sense";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "sso-unavailable", message)
                .with_hint("Try again in a minute; the server's log says why.")
        }
        Failed::Refused(_) => {
            let message = "the provider has not let you in";
            Problem::new(StatusCode::UNAUTHORIZED, "sso-refused", message)
                .with_hint("Begin again; the server's log has the provider's reason.")
        }
        Failed::Token(_) => {
            let message = "what the provider says does not prove who you are";
            Problem::new(StatusCode::UNAUTHORIZED, "sso-invalid", message)
                .with_hint("Begin again; the server's log says what is wrong.")
        }
        Failed::NotAdmitted(why) => Problem::new(StatusCode::FORBIDDEN, "not-admitted", why)
            .with_hint("Use an account that `oidc_email_domains` lets in."),
    }
}

pub(super) fn unknown() -> Problem {
    let message = "the login was not begun in this browser, or more than ten minutes ago";
    Problem::new(StatusCode::UNAUTHORIZED, "sso-expired", message).with_hint("Begin again.")
}

fn taken(name: &str) -> Problem {
    let message = format!("there is a user '{name}' already, who does not sign in by the provider");
    Problem::new(StatusCode::CONFLICT, "name-taken", message).with_hint(
        "If that is the same person, an administrator deletes the user or sets `oidc_link_users`.",
    )
}

/// Tells whoever waits how a login has ended: the command line, or else the login page.
pub(super) fn ended(begun: Option<&Begun>, problem: &Problem, is_secure: bool) -> Response {
    let terminal = begun.and_then(|it| it.terminal.as_ref());
    let mut response = if let Some(terminal) = terminal {
        led_to(&terminal.address("error", problem.code))
    } else {
        let next = begun.map_or("/console/", |it| it.next.as_str());
        let next = utf8_percent_encode(next, NON_ALPHANUMERIC);
        led_to(&format!("/console/login?failed={}&next={next}", problem.code))
    };
    response.headers_mut().append(header::SET_COOKIE, over(is_secure));
    response
}

/// Takes the cookie of a login away.
pub(super) fn over(is_secure: bool) -> HeaderValue {
    cookie_for(COOKIE, "", BEGIN, is_secure, "; Max-Age=0")
}

pub(super) fn sso_of(authorizer: &Authorizer) -> Result<&Sso, Problem> {
    let sso = authorizer.sso.as_ref().filter(|_| authorizer.mode() != Mode::Open);
    sso.ok_or_else(|| {
        let message = "nobody signs in by a provider here";
        Problem::new(StatusCode::NOT_FOUND, "sso-off", message).with_hint(
            "Sign in with a name and a password, or a key; an administrator sets `oidc_issuer`.",
        )
    })
}

/// Shows the OpenID provider for sign-in, and where the sign-in begins.
#[utoipa::path(
    operation_id = "sso_describe",
    get, path = "/api/access/sso", tag = "access",
    responses(
        (status = 200, description = "`label`, and `url`, where the sign-in begins", body = serde_json::Value),
        (status = 404, description = "Single sign-on is not configured"),
    )
)]
async fn describe(State(authorizer): State<Arc<Authorizer>>) -> Result<Json<Value>, Problem> {
    let sso = sso_of(&authorizer)?;
    let options = sso.provider.options();
    Ok(Json(json!({
        "label": options.label, "issuer": options.issuer, "url": format!("{}{BEGIN}", sso.public_url),
    })))
}

/// What the command line has at the end of a login.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Redeemed {
    /// The code that the browser has brought to the command line.
    code: String,
    /// The verifier of the login.
    verifier: String,
}

/// Opens a session of the command line: returns an access token, valid for an hour, and a renewal
/// secret.
#[utoipa::path(
    operation_id = "sso_redeem",
    post, path = "/api/access/sso", tag = "access", request_body = Redeemed,
    responses(
        (status = 200, description = "The token, and `renewal`, a secret", body = serde_json::Value),
        (status = 401, description = "The code is unknown, older than a minute or was used, or the verifier is another's"),
        (status = 404, description = "Single sign-on is not configured"),
    )
)]
async fn redeem(
    State(authorizer): State<Arc<Authorizer>>,
    From(peer): From,
    Body(given): Body<Redeemed>,
) -> Result<Response, Problem> {
    let sso = sso_of(&authorizer)?;
    let engine = &authorizer.engine;
    let found = sso.codes.take(&given.code, &given.verifier, Instant::now());
    let proved =
        found.map(|(id, generation)| engine.access().standing(&id, generation, engine.now()));
    if let Some(Proved::Known(who)) = proved {
        return Ok(Json(opened_for_tokens(&authorizer, &who)).into_response());
    }
    authorizer.throttle.failed(peer).await;
    let message = "the code is unknown, older than a minute, or was used before";
    Err(Problem::new(StatusCode::UNAUTHORIZED, "sso-expired", message)
        .with_hint("Begin again with `nightbell login --sso`."))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use kernel::Timestamp;
    use kernel::access::Principal;
    use ring::hmac;

    use super::{Begun, CODE_LIFETIME, CODES_MAX, Codes, challenge_of};

    #[test]
    fn a_cookie_counts_if_we_made_it_and_for_ten_minutes() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"a key");
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let begun =
            Begun { secret: "s".into(), until: 600, next: "/console/".into(), terminal: None };
        let sealed = begun.seal(&key);
        assert_eq!(Begun::open(&sealed, &key, at(599)).expect("it counts").next, "/console/");
        assert!(Begun::open(&sealed, &key, at(600)).is_none(), "its time is over");
        let other = hmac::Key::new(hmac::HMAC_SHA256, b"another key");
        assert!(Begun::open(&sealed, &other, at(0)).is_none());
        let (text, proof) = sealed.split_once('.').expect("two parts");
        for forged in
            [text.to_owned(), format!("{text}x.{proof}"), format!("{text}."), String::new()]
        {
            assert!(Begun::open(&forged, &key, at(0)).is_none(), "{forged}");
        }
        // What goes to the provider in the open is none of the others.
        let parts = ["state", "nonce", "verifier"].map(|it| begun.derived(it));
        assert!(parts[0] != parts[1] && parts[1] != parts[2] && parts[0] != parts[2]);
        assert!(parts.iter().all(|it| it.len() == 43), "as RFC 7636 wants it");
    }

    #[test]
    fn a_code_is_used_once_within_a_minute_by_whoever_has_begun() {
        let (codes, now) = (Codes::default(), Instant::now());
        let who = Principal::new("user:1".into(), "n".into(), Vec::new());
        let give = || codes.give(&who, &challenge_of("verifier"), now).expect("there is room");
        let code = give();
        assert_eq!(codes.take(&code, "verifier", now), Some(("user:1".into(), 0)));
        assert_eq!(codes.take(&code, "verifier", now), None, "once");
        let code = give();
        assert_eq!(codes.take(&code, "another", now), None);
        assert_eq!(codes.take(&code, "verifier", now), None, "a wrong try ends it");
        assert_eq!(codes.take(&give(), "verifier", now + CODE_LIFETIME), None);
        let kept = codes.0.lock().len();
        for _ in kept..CODES_MAX {
            give();
        }
        assert!(codes.give(&who, "c", now).is_none());
        assert!(codes.give(&who, "c", now + CODE_LIFETIME + Duration::from_secs(1)).is_some());
    }
}
