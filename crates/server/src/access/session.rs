//! Sessions: whoever has proved a key or a password once is known by a cookie, below `/console` alone, or
//! renews tokens for the command line.
//!
//! Sessions are in memory, by the hash of what the cookie holds. A session names its key or its user and
//! nothing else, as a token does: what they may do, and whether they count at all, is looked up at each
//! request. What changes something must show that a page of ours sent it: browsers say so in `Origin` or
//! `Sec-Fetch-Site`, which the guard has compared by then; programs send the session's `X-CSRF`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kernel::access::{Mode, Need, Permission, Permissions, Principal};
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::{Actor, Authorizer, Routes};
use crate::Shared;
use crate::guard::Peer;
use crate::problem::Problem;
use crate::rest::extract::RawBody;

/// Where a program asks whose session it has.
pub(crate) const SESSION: &str = "/console/session";
/// Where sessions count, and where the cookie is sent to.
const BASE: &str = "/console";
/// The cookie over plain HTTP, and the one over TLS, which no page of plain HTTP can plant.
const COOKIE: &str = "nightbell_session";
const SECURE_COOKIE: &str = "__Secure-nightbell";
const CSRF: HeaderName = HeaderName::from_static("x-csrf");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const DAY: Duration = Duration::from_hours(24);
/// Sessions kept; beyond that the one that was used longest ago ends.
const SESSIONS_MAX: usize = 10_000;
/// Sessions of one principal, likewise.
const OF_ONE_MAX: usize = 50;
/// Bytes of what is sent to sign in.
const FORM_MAX: usize = 16 << 10;
/// Bytes of the page to see afterwards.
const NEXT_MAX: usize = 2000;

type Hash = [u8; 32];

/// For what a session is, and for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Its secret is the cookie of a browser.
    Browser,
    /// Its secret renews tokens.
    Tokens,
}

impl Use {
    /// A session that nobody uses for so long is over. Whoever is on call is not to sign in at night, so that
    /// browsers have long; what they may do with an old proof is less ([`Session::is_proved`]).
    fn idle_max(self) -> Duration {
        match self {
            Self::Browser => 14 * DAY,
            Self::Tokens => DAY / 2,
        }
    }

    /// And after so long in any case.
    fn lifetime(self) -> Duration {
        match self {
            Self::Browser => 90 * DAY,
            Self::Tokens => 7 * DAY,
        }
    }
}

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Whose: `key:ID`, `user:ID`.
    pub(super) principal: Arc<str>,
    /// The principal's generation at the beginning.
    pub(super) generation: u64,
    usable: Use,
    csrf: Arc<str>,
    opened: Instant,
    used: Instant,
}

/// A session, for those who keep an eye on all of them.
#[derive(Debug)]
pub(super) struct SignedIn {
    /// Whose.
    pub(super) principal: Arc<str>,
    /// Whether it is one of a browser; else of a command line.
    pub(super) is_browser: bool,
    /// How long ago it began.
    pub(super) opened: Duration,
    /// How long ago it was used last.
    pub(super) used: Duration,
}

/// A session that was just opened: what its browser is given.
#[derive(Debug)]
pub(super) struct Opened {
    /// The secret that only its holder has.
    pub(super) secret: String,
    csrf: Arc<str>,
}

impl Opened {
    /// Names the session; no secret.
    pub(super) fn id(&self) -> String {
        id_of(&self.secret)
    }
}

/// What names the session of a secret.
pub(super) fn id_of(secret: &str) -> String {
    in_digits(&hash(secret))
}

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: Mutex<HashMap<Hash, Session>>,
    /// Changes when some were ended.
    ended: tokio::sync::watch::Sender<()>,
}

impl Sessions {
    pub(super) fn open(&self, who: &Principal, usable: Use, now: Instant) -> Opened {
        let (secret, csrf) = (random(), Arc::from(random()));
        let principal = who.id.clone();
        let mut sessions = self.all.lock();
        sessions.retain(|_, it| it.lives(now));
        let of_one = sessions.values().filter(|it| it.principal == principal).count();
        if of_one >= OF_ONE_MAX {
            end_oldest(&mut sessions, |it| it.principal == principal);
            self.ended.send_replace(());
        } else if sessions.len() >= SESSIONS_MAX {
            end_oldest(&mut sessions, |_| true);
            self.ended.send_replace(());
        }
        let generation = who.generation;
        let session = Session { principal, generation, usable, csrf, opened: now, used: now };
        let csrf = session.csrf.clone();
        sessions.insert(hash(&secret), session);
        Opened { secret, csrf }
    }

    pub(super) fn find(&self, secret: &str, usable: Use, now: Instant) -> Option<Session> {
        self.used(&hash(secret), now).filter(|it| it.usable == usable)
    }

    fn used(&self, hash: &Hash, now: Instant) -> Option<Session> {
        let mut sessions = self.all.lock();
        let session = sessions.get_mut(hash).filter(|it| it.lives(now))?;
        session.used = now;
        Some(session.clone())
    }

    /// Whether the session of this id lives; it is used by that.
    pub(super) fn is_open(&self, id: &str) -> bool {
        from_digits(id).is_some_and(|hash| self.used(&hash, Instant::now()).is_some())
    }

    /// The same, without using it: what is held open by it does not keep it alive.
    pub(super) fn is_still_open(&self, id: &str) -> bool {
        let now = Instant::now();
        let lives = |hash| self.all.lock().get(&hash).is_some_and(|it| it.lives(now));
        from_digits(id).is_some_and(lives)
    }

    /// Tells when sessions were ended.
    pub(super) fn ended(&self) -> tokio::sync::watch::Receiver<()> {
        self.ended.subscribe()
    }

    pub(super) fn close(&self, secret: &str) {
        self.all.lock().remove(&hash(secret));
        self.ended.send_replace(());
    }

    /// Who is signed in, by principal and the newest first.
    pub(super) fn each(&self, now: Instant) -> Vec<SignedIn> {
        let sessions = self.all.lock();
        let live = sessions.values().filter(|it| it.lives(now));
        let shown = live.map(|it| SignedIn {
            principal: it.principal.clone(),
            is_browser: it.usable == Use::Browser,
            opened: now.duration_since(it.opened),
            used: now.duration_since(it.used),
        });
        let mut all: Vec<SignedIn> = shown.collect();
        all.sort_by(|one, other| {
            (&one.principal, one.opened).cmp(&(&other.principal, other.opened))
        });
        all
    }

    /// Ends all sessions of somebody.
    pub(super) fn close_all(&self, principal: &str) {
        self.all.lock().retain(|_, it| *it.principal != *principal);
        self.ended.send_replace(());
    }
}

impl Session {
    fn lives(&self, now: Instant) -> bool {
        now.duration_since(self.used) < self.usable.idle_max()
            && now.duration_since(self.opened) < self.usable.lifetime()
    }

    /// Whether whoever has it proved who they are no longer ago than this.
    pub(super) fn is_proved(&self, within: Duration, now: Instant) -> bool {
        now.duration_since(self.opened) < within
    }
}

fn end_oldest(sessions: &mut HashMap<Hash, Session>, among: impl Fn(&Session) -> bool) {
    let those = sessions.iter().filter(|(_, it)| among(it));
    if let Some(oldest) = those.min_by_key(|(_, it)| it.used).map(|(hash, _)| *hash) {
        sessions.remove(&oldest);
    }
}

fn hash(text: &str) -> Hash {
    digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("a hash has 32 bytes")
}

/// 256 random bits in hexadecimal digits.
pub(super) fn random() -> String {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    in_digits(&bytes)
}

fn in_digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // A text takes whatever is written.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_digits(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = Hash::default();
    for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(hash)
}

fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { SECURE_COOKIE } else { COOKIE }
}

/// What the session's cookie of a request holds: over TLS only the one that was set over TLS counts.
fn cookie_of(headers: &HeaderMap, is_secure: bool) -> Option<&str> {
    cookie_named(headers, cookie_name(is_secure)).filter(|value| value.len() == 64)
}

/// What a cookie of a request holds.
pub(super) fn cookie_named<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    let mut pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|it| it.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// What names the session whose cookie a request has, if it has one.
pub(super) fn of_cookie(request: &Request) -> Option<String> {
    cookie_of(request.headers(), is_secure(request.extensions())).map(id_of)
}

/// Put into requests with cookies: whether they came over TLS, as far as the browser sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secure(pub(crate) bool);

fn is_secure(extensions: &Extensions) -> bool {
    extensions.get::<Secure>().is_some_and(|it| it.0)
}

/// Whether sessions count for a path of ours.
pub(super) fn is_for(path: Option<&str>) -> bool {
    let below = path.and_then(|path| path.strip_prefix(BASE));
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn session_of(sessions: &Sessions, headers: &HeaderMap, is_secure: bool) -> Option<Session> {
    let cookie = cookie_of(headers, is_secure)?;
    sessions.find(cookie, Use::Browser, Instant::now())
}

/// The session that a request belongs to; `None` without one that lives.
///
/// # Errors
/// 403 if the request would change something and does not show that a page of ours sent it.
pub(super) fn of_request(
    sessions: &Sessions,
    request: &Request,
) -> Result<Option<Session>, Problem> {
    let (method, headers) = (request.method(), request.headers());
    let Some(session) = session_of(sessions, headers, is_secure(request.extensions())) else {
        return Ok(None);
    };
    if matches!(*method, Method::GET | Method::HEAD) || is_from_our_page(headers, &session) {
        return Ok(Some(session));
    }
    let message = "a session changes something only for pages of this server";
    Err(Problem::new(StatusCode::FORBIDDEN, "csrf", message).with_hint(
        "Send the header X-CSRF with what GET /console/session tells, or use a key in place of the \
         cookie.",
    ))
}

/// The guard has refused foreign origins already, so that one that is there is ours.
fn is_from_our_page(headers: &HeaderMap, session: &Session) -> bool {
    let token = headers.get(CSRF).and_then(|token| token.to_str().ok());
    headers.contains_key(header::ORIGIN)
        || headers.get(FETCH_SITE).is_some_and(|site| site == "same-origin")
        // Hashes, so that the time tells nothing of what differs.
        || token.is_some_and(|token| hash(token) == hash(&session.csrf))
}

/// The paths of sessions.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .on(Need::Public, routes!(sign_in))
        .on(Need::Anyone, routes!(sign_out))
        .on(Need::Anyone, routes!(session))
}

/// How a request came: what its answer must know.
pub(super) struct Way {
    /// Over TLS, as far as the browser sees.
    is_secure: bool,
    is_form: bool,
    peer: Option<Peer>,
}

impl Way {
    /// Whether it came over TLS, as far as the browser sees.
    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }
}

impl FromRequestParts<Shared> for Way {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Infallible> {
        let kind = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        Ok(Self {
            is_secure: shared.guard.is_secure(&parts.headers, &parts.uri, &parts.extensions),
            is_form: !kind.is_some_and(|kind| kind.starts_with(b"application/json")),
            peer: parts.extensions.get().copied(),
        })
    }
}

/// What is sent to sign in.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Given {
    key: String,
    name: String,
    password: Zeroizing<String>,
    next: String,
    /// To sign out: of all sessions.
    everywhere: bool,
}

impl Given {
    fn read(body: &[u8], is_form: bool) -> Result<Self, Problem> {
        if body.len() > FORM_MAX {
            return Err(Problem::bad_request("what is sent to sign in is too large"));
        }
        if !is_form {
            return serde_json::from_slice(body).map_err(|_| {
                Problem::bad_request(
                    "send {\"key\": \"…\"} or {\"name\": \"…\", \"password\": \"…\"}, or a form with these",
                )
            });
        }
        let mut given = Self::default();
        for pair in String::from_utf8_lossy(body).split('&') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy().into_owned();
            match name {
                "key" => given.key = value,
                "name" => given.name = value,
                "password" => given.password = Zeroizing::new(value),
                "everywhere" => given.everywhere = !value.is_empty(),
                "next" => given.next = value,
                _ => {}
            }
        }
        Ok(given)
    }

    /// The page to see afterwards: one of ours, whatever was asked for.
    fn next(&self) -> &str {
        page_of_ours(&self.next)
    }
}

/// A page below `/console`: the one that was asked for if it is one, else the first.
pub(super) fn page_of_ours(next: &str) -> &str {
    let is_plain =
        next.len() <= NEXT_MAX && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let path = next.split(['?', '#']).next();
    if is_plain && is_for(path) && !next.contains("..") { next } else { "/console/" }
}

impl Authorizer {
    /// The cookie of a session that is opened for somebody; the one that the browser has ends: one that was
    /// there before, be it one that somebody else had put there, is not taken up.
    pub(super) fn session_cookie(
        &self,
        who: &Principal,
        headers: &HeaderMap,
        is_secure: bool,
    ) -> HeaderValue {
        cookie(&self.open_session(who, headers, is_secure).secret, is_secure, "")
    }

    fn open_session(&self, who: &Principal, headers: &HeaderMap, is_secure: bool) -> Opened {
        if let Some(former) = cookie_of(headers, is_secure) {
            self.sessions.close(former);
        }
        self.sessions.open(who, Use::Browser, Instant::now())
    }
}

/// Signs in to the console with a key, or with a name and a password; the response sets the session
/// cookie. A form with `next` is redirected to that page, or back with `failed`; JSON is answered
/// with the session.
#[utoipa::path(
    post, path = "/console/login", tag = "console", request_body = serde_json::Value,
    responses(
        (status = 303, description = "For forms: redirect to the page to continue with"),
        (status = 200, description = "For JSON: the session's `csrf`", body = serde_json::Value),
        (status = 401, description = "For JSON: invalid key, or wrong name or password"),
        (status = 404, description = "Access control is off"),
        (status = 429, description = "For JSON: too many wrong passwords"),
    )
)]
async fn sign_in(
    State(authorizer): State<Arc<Authorizer>>,
    way: Way,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    if authorizer.mode() == Mode::Open {
        return Err(Problem::not_found("access control is off: there is nobody to sign in as")
            .with_hint("Open /console/ as it is."));
    }
    let mut given = Given::read(&body, way.is_form)?;
    let is_by_password = given.key.is_empty() && !given.name.is_empty();
    let proved = if is_by_password {
        let password = std::mem::take(&mut given.password);
        authorizer.known_by_password(&given.name, password, way.peer).await
    } else {
        authorizer.proved(given.key.trim(), way.peer).await
    };
    let who = match proved {
        Ok(who) => who,
        Err(problem) if !way.is_form => return Err(problem),
        Err(problem) => {
            // What to say about it the page knows; nothing of what was sent is in its address.
            let failed = match problem.status {
                StatusCode::UNAUTHORIZED if is_by_password => "password",
                StatusCode::UNAUTHORIZED => "1",
                _ => "later",
            };
            let next = utf8_percent_encode(given.next(), NON_ALPHANUMERIC);
            return Ok(led_to(&format!("{BASE}/login?failed={failed}&next={next}")));
        }
    };
    let opened = authorizer.open_session(&who, &headers, way.is_secure);
    let mut response = if way.is_form {
        led_to(given.next())
    } else {
        Json(json!({ "id": who.id, "name": who.name, "csrf": opened.csrf })).into_response()
    };
    let cookie = cookie(&opened.secret, way.is_secure, "");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Ends the session; a form or JSON with `everywhere` ends all sessions of the caller, those of the
/// command line included.
#[utoipa::path(
    post, path = "/console/logout", tag = "console", request_body = serde_json::Value,
    responses((status = 303, description = "Session ended; redirect to the login page"))
)]
async fn sign_out(
    State(authorizer): State<Arc<Authorizer>>,
    way: Way,
    actor: Actor,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Response {
    if let Some(cookie) = cookie_of(&headers, way.is_secure) {
        authorizer.sessions.close(cookie);
    }
    let is_everywhere = Given::read(&body, way.is_form).is_ok_and(|given| given.everywhere);
    if let Some(who) = actor.principal() {
        if is_everywhere {
            authorizer.sessions.close_all(&who.id);
        }
        authorizer.note_logout(who, is_everywhere, way.peer);
    }
    let mut response = led_to(&format!("{BASE}/login"));
    let cookie = cookie("", way.is_secure, "; Max-Age=0");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

/// Shows the user of the session and their permissions.
#[utoipa::path(
    get, path = "/console/session", tag = "console",
    responses((status = 200, description = "The authenticated caller, and the token for the header X-CSRF", body = serde_json::Value))
)]
async fn session(
    State(authorizer): State<Arc<Authorizer>>,
    way: Way,
    actor: Actor,
    headers: HeaderMap,
) -> Json<Value> {
    let session = session_of(&authorizer.sessions, &headers, way.is_secure);
    let who = actor.principal();
    let may = |it: &Permission| match who {
        Some(who) => who.may_all(Permissions::of(&[*it])),
        None => true,
    };
    let may: Vec<&str> = Permission::ALL.into_iter().filter(may).map(Permission::as_str).collect();
    Json(json!({
        "id": who.map(|who| &who.id),
        "name": who.map(|who| &who.name),
        "permissions": may,
        "csrf": session.map(|session| session.csrf),
    }))
}

pub(super) fn led_to(page: &str) -> Response {
    let page = HeaderValue::from_str(page).unwrap_or(HeaderValue::from_static("/console/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, page)]).into_response()
}

fn cookie(value: &str, is_secure: bool, more: &str) -> HeaderValue {
    cookie_for(cookie_name(is_secure), value, BASE, is_secure, more)
}

/// A cookie for requests below a path, which no script sees and no page of another site sends along.
pub(super) fn cookie_for(
    name: &str,
    value: &str,
    path: &str,
    is_secure: bool,
    more: &str,
) -> HeaderValue {
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path={path}; HttpOnly; SameSite=Lax{secure}{more}");
    HeaderValue::from_str(&text).expect("digits and letters fit into a header")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use kernel::access::Principal;

    use super::{DAY, Given, OF_ONE_MAX, Sessions, Use, is_for};

    fn open(sessions: &Sessions, id: &str, now: Instant) -> String {
        let who = Principal::new(id.into(), "n".into(), Vec::new());
        sessions.open(&who, Use::Browser, now).secret
    }

    #[test]
    fn a_session_ends_when_idle_and_at_last_in_any_case() {
        let (sessions, begin) = (Sessions::default(), Instant::now());
        let used = open(&sessions, "key:1", begin);
        let idle = open(&sessions, "key:1", begin);
        let (idle_max, lifetime) = (Use::Browser.idle_max(), Use::Browser.lifetime());
        let step = idle_max / 2;
        let mut now = begin;
        while now + step < begin + lifetime {
            now += step;
            assert!(sessions.find(&used, Use::Browser, now).is_some());
        }
        assert!(sessions.find(&idle, Use::Browser, begin + idle_max).is_none());
        assert!(sessions.find(&used, Use::Browser, begin + lifetime).is_none());
        assert!(sessions.find(&used.replace(['0', '1'], "2"), Use::Browser, begin).is_none());
    }

    #[test]
    fn using_a_session_does_not_make_its_proof_younger() {
        let (sessions, begin) = (Sessions::default(), Instant::now());
        let secret = open(&sessions, "key:1", begin);
        let found = |at| sessions.find(&secret, Use::Browser, at).expect("it lives");
        assert!(found(begin + DAY / 4).is_proved(DAY / 2, begin + DAY / 4));
        assert!(!found(begin + DAY).is_proved(DAY / 2, begin + DAY));
    }

    #[test]
    fn many_sessions_of_one_end_those_of_no_other() {
        let (sessions, begin) = (Sessions::default(), Instant::now());
        let other = open(&sessions, "key:2", begin);
        let first = open(&sessions, "key:1", begin);
        for number in 1..=OF_ONE_MAX as u64 {
            open(&sessions, "key:1", begin + Duration::from_secs(number));
        }
        let now = begin + Duration::from_mins(2);
        assert!(sessions.find(&other, Use::Browser, now).is_some());
        assert!(sessions.find(&first, Use::Browser, now).is_none(), "the one used longest ago");
        assert_eq!(sessions.all.lock().len(), OF_ONE_MAX + 1);
    }

    #[test]
    fn a_session_is_for_one_use_and_ends_with_all_others_of_its_principal() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let browser = open(&sessions, "user:1", now);
        let other = open(&sessions, "user:2", now);
        let who = Principal::new("user:1".into(), "n".into(), Vec::new());
        let opened = sessions.open(&who, Use::Tokens, now);
        assert!(sessions.find(&browser, Use::Tokens, now).is_none());
        assert!(sessions.find(&opened.secret, Use::Browser, now).is_none());
        assert!(sessions.find(&opened.secret, Use::Tokens, now).is_some());
        assert!(sessions.is_open(&opened.id()) && !sessions.is_open(&opened.secret));
        assert!(!sessions.is_open("é") && !sessions.is_open(&"g".repeat(64)));
        sessions.close_all("user:1");
        assert!(!sessions.is_open(&opened.id()));
        assert!(sessions.find(&browser, Use::Browser, now).is_none());
        assert!(sessions.find(&other, Use::Browser, now).is_some());
    }

    #[test]
    fn afterwards_a_page_of_ours_is_seen() {
        let next =
            |next: &str| Given { next: next.to_owned(), ..Given::default() }.next().to_owned();
        for ours in ["/console", "/console/", "/console/runs?status=FAILED#top"] {
            assert_eq!(next(ours), ours);
        }
        for other in [
            "",
            "//evil.example",
            "https://evil.example",
            "/consoles",
            "/api",
            "/console/../api",
            "/console\\evil",
            "/console/\r\nSet-Cookie: a=b",
            "/console/ ",
            "/console/é",
        ] {
            assert_eq!(next(other), "/console/", "{other}");
        }
        assert!(is_for(Some("/console/{*page}")) && !is_for(Some("/consoles")) && !is_for(None));
    }

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let given = Given::read(b"next=%2Fconsole%2Fruns&key=nb_a+b&x&y=", true).expect("a form");
        assert_eq!((given.key.as_str(), given.next()), ("nb_a b", "/console/runs"));
        let given = Given::read(b"name=ann&password=a%26b&everywhere=1", true).expect("a form");
        assert_eq!((given.name.as_str(), given.password.as_str()), ("ann", "a&b"));
        assert!(given.everywhere);
        assert!(Given::read(b"oops", false).is_err());
        assert!(Given::read(&vec![b'a'; 20_000], true).is_err());
    }
}
