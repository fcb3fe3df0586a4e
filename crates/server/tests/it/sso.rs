//! Single sign-on: who comes in by an OpenID provider, and what a provider, or somebody in its place, cannot
//! do. The provider is in this process and misbehaves as a test tells it to.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::http::{HeaderValue, Method};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::AuditSearch;
use kernel::access::{Mode, Role};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Map, Value, json};
use server::oidc::{Call, Options, Outside, Reply};
use zeroize::Zeroizing;

use crate::support::{Answer, Server, send_through};

const ISSUER: &str = "https://id.example.com";
const CLIENT: &str = "nightbell";
const SECRET: &str = "a&b c";

/// What a test has the provider do.
struct State {
    /// Signs tokens.
    key: EcdsaKeyPair,
    /// The name of that key.
    kid: String,
    /// Those that it tells others.
    keys: Vec<Value>,
    /// Claims that are put over the right ones; null takes one away.
    claims: Map<String, Value>,
    /// Changes a token that is right.
    forge: fn(String) -> String,
    /// What `token` answers in place of a token.
    refuses: Option<u16>,
    /// What the provider calls itself.
    calls_itself: &'static str,
    is_silent: bool,
    /// Of the login that is under way.
    nonce: String,
    challenge: String,
    /// Calls that were made, and what was sent.
    calls: Vec<String>,
}

struct Provider(Mutex<State>);

impl Provider {
    fn new() -> Arc<Self> {
        let provider = Self(Mutex::new(State {
            key: pair(),
            kid: String::new(),
            keys: Vec::new(),
            claims: Map::new(),
            forge: |token| token,
            refuses: None,
            calls_itself: ISSUER,
            is_silent: false,
            nonce: String::new(),
            challenge: String::new(),
            calls: Vec::new(),
        }));
        provider.rotate("first");
        Arc::new(provider)
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock());
    }

    fn claim(&self, name: &str, value: impl Into<Value>) {
        self.with(|it| {
            it.claims.insert(name.to_owned(), value.into());
        });
    }

    /// Signs with another key from now on, and tells that one alone.
    fn rotate(&self, kid: &str) {
        self.with(|it| {
            (it.key, it.kid) = (pair(), kid.to_owned());
            let point = it.key.public_key().as_ref()[1..].to_vec();
            let (x, y) = point.split_at(32);
            it.keys = vec![json!({
                "kty": "EC", "crv": "P-256", "use": "sig", "kid": kid,
                "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
            })];
        });
    }
}

pub(crate) fn pair() -> EcdsaKeyPair {
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("the key")
}

pub(crate) fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl State {
    fn token(&self) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        let mut claims = json!({
            "iss": ISSUER, "aud": CLIENT, "sub": "248289761001", "nonce": self.nonce,
            "iat": now, "exp": now + 300, "email": "ann@example.com", "email_verified": true,
        });
        let all = claims.as_object_mut().expect("an object");
        all.extend(self.claims.clone());
        all.retain(|_, value| !value.is_null());
        let signed =
            format!("{}.{}", part(&json!({ "alg": "ES256", "kid": self.kid })), part(&claims));
        let proof = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("it signs");
        (self.forge)(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(proof)))
    }

    fn answer(&mut self, call: &Call) -> (u16, Value) {
        let path = call.url.strip_prefix(ISSUER).expect("only the provider is called");
        self.calls.push(path.to_owned());
        match path {
            "/.well-known/openid-configuration" => (
                200,
                json!({
                    "issuer": self.calls_itself,
                    "authorization_endpoint": format!("{ISSUER}/auth"),
                    "token_endpoint": format!("{ISSUER}/token"),
                    "jwks_uri": format!("{ISSUER}/keys"),
                }),
            ),
            "/keys" => (200, json!({ "keys": self.keys })),
            "/token" => {
                if let Some(status) = self.refuses {
                    return (status, json!({ "error": "invalid_grant" }));
                }
                let form = call.form.as_ref().expect("a form");
                let verifier = parameter(form, "code_verifier").expect("PKCE");
                let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
                assert_eq!(challenge, self.challenge, "the verifier of this very login");
                assert_eq!(parameter(form, "code").as_deref(), Some("a code"));
                let basic = call.authorization.as_ref().expect("a secret").strip_prefix("Basic ");
                let basic = base64::engine::general_purpose::STANDARD.decode(basic.expect("Basic"));
                assert_eq!(
                    basic.expect("base64"),
                    b"nightbell:a%26b%20c",
                    "encoded, as RFC 6749 asks"
                );
                (200, json!({ "id_token": self.token(), "token_type": "Bearer" }))
            }
            _ => panic!("{path}"),
        }
    }
}

#[async_trait]
impl Outside for Provider {
    async fn send(&self, call: Call) -> Result<Reply, String> {
        if self.0.lock().is_silent {
            std::future::pending::<()>().await;
        }
        let (status, body) = self.0.lock().answer(&call);
        Ok(Reply { status, body: body.to_string().into_bytes() })
    }

    fn secret(&self) -> Result<Option<Zeroizing<String>>, String> {
        Ok(Some(Zeroizing::new(SECRET.to_owned())))
    }
}

/// A parameter of a query or a form.
fn parameter(text: &str, name: &str) -> Option<String> {
    let query = text.split_once('?').map_or(text, |(_, query)| query);
    let mut pairs = query.split('&').filter_map(|it| it.split_once('='));
    let (_, value) = pairs.find(|(known, _)| *known == name)?;
    Some(percent_decode_str(value).decode_utf8().expect("UTF-8").into_owned())
}

/// A server whose people sign in by the provider.
struct House {
    provider: Arc<Provider>,
    server: Server,
    router: Router,
}

impl House {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let provider = Provider::new();
        let mut options = Options {
            issuer: ISSUER.to_owned(),
            client_id: CLIENT.to_owned(),
            label: "Example".to_owned(),
            scopes: vec!["email".to_owned()],
            name_claim: "email".to_owned(),
            groups_claim: "groups".to_owned(),
            groups: Vec::new(),
            email_domains: Vec::new(),
            links_users: false,
            outside: provider.clone(),
        };
        change(&mut options);
        let server = Server::new().await.with(|settings| {
            settings.auth = Mode::On;
            settings.public_url = Some("https://bell.example.com/".to_owned());
            settings.oidc = Some(options);
        });
        let (access, now) = (server.engine.access(), server.engine.now());
        for (name, role) in [("watchers", Role::Viewer), ("on-call", Role::Responder)] {
            access.create_group(name, vec![role], "test", now).await.expect("it is created");
        }
        let router = server::router(server.api());
        Self { provider, server, router }
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        let headers = [("cookie", cookie), ("host", "bell.example.com")];
        let headers = if cookie.is_empty() { &headers[1..] } else { &headers[..] };
        send_through(self.router.clone(), Method::GET, path, headers, String::new()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        send_through(self.router.clone(), Method::POST, path, &[], body.to_string()).await
    }

    /// Begins a login: the cookie, and what the provider is asked for.
    async fn begin(&self, path: &str) -> (String, String) {
        let begun = self.get(path, "").await;
        assert_eq!(begun.status, 303, "{}", begun.text);
        let address = location(&begun);
        assert!(address.starts_with("https://id.example.com/auth?"), "{address}");
        self.provider.with(|it| {
            it.nonce = parameter(&address, "nonce").expect("a nonce");
            it.challenge = parameter(&address, "code_challenge").expect("PKCE");
        });
        (cookie(&begun, "nightbell_sso").expect("a cookie"), address)
    }

    /// A whole login of a browser.
    async fn sign_in(&self) -> Answer {
        let (cookie, address) = self.begin("/console/sso?next=/console/runs").await;
        let state = parameter(&address, "state").expect("a state");
        self.get(&format!("/console/sso/callback?code=a%20code&state={state}"), &cookie).await
    }

    /// The code with which a login ends at the login page.
    async fn refused(&self) -> String {
        let answer = self.sign_in().await;
        assert_eq!(cookie(&answer, "__Secure-nightbell"), None, "no session is opened");
        parameter(&location(&answer), "failed").unwrap_or_else(|| panic!("{}", location(&answer)))
    }

    fn groups(&self, user: &str) -> Vec<String> {
        let access = self.server.engine.access();
        let (user, _) = access.user(user).expect("a user");
        access.groups_of(&user).iter().map(ToString::to_string).collect()
    }
}

fn location(answer: &Answer) -> String {
    let location = answer.headers.get("location").unwrap_or_else(|| panic!("{}", answer.text));
    location.to_str().expect("text").to_owned()
}

/// `NAME=VALUE` of a cookie that an answer sets, if it is not taken away.
fn cookie(answer: &Answer, name: &str) -> Option<String> {
    let set = answer.headers.get_all("set-cookie").iter().map(|it| it.to_str().expect("text"));
    let pairs = set.filter_map(|it| it.split(';').next());
    let mut ours = pairs.filter(|it| it.split_once('=').is_some_and(|(known, _)| known == name));
    ours.find(|it| !it.ends_with('=')).map(str::to_owned)
}

#[tokio::test]
async fn a_browser_comes_back_with_a_session() {
    let house = House::with(|it| {
        it.groups = vec![("sre".into(), "on-call".into()), ("all".into(), "watchers".into())];
    })
    .await;
    house.provider.claim("groups", json!(["sre", "other"]));
    let page = house.get("/console/login?next=/console/runs", "").await;
    let link = "href=\"https://bell.example.com/console/sso?next=%2Fconsole%2Fruns\"";
    assert!(
        page.text.contains("Sign in with Example") && page.text.contains(link),
        "{}",
        page.text
    );

    let (_, address) = house.begin("/console/sso").await;
    let asked = |name: &str| parameter(&address, name).unwrap_or_default();
    assert_eq!(asked("redirect_uri"), "https://bell.example.com/console/sso/callback");
    assert_eq!((asked("scope"), asked("response_type")), ("openid email".into(), "code".into()));
    assert_eq!(
        (asked("client_id"), asked("code_challenge_method")),
        (CLIENT.into(), "S256".into())
    );

    let answer = house.sign_in().await;
    assert_eq!(location(&answer), "/console/runs");
    let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    let safe = |it: &&HeaderValue| {
        let text = it.to_str().expect("text");
        ["HttpOnly", "SameSite=Lax", "Secure"].iter().all(|part| text.contains(part))
    };
    assert!(set.len() == 2 && set.iter().all(safe), "{set:?}");
    let session = cookie(&answer, "__Secure-nightbell").expect("a session");
    let me = house.get("/console/session", &session).await.ok();
    assert_eq!(me["name"], "ann@example.com");
    assert!(me["permissions"].to_string().contains("respond"), "{me}");
    assert_eq!(house.groups("ann@example.com"), ["on-call"]);

    // It is the same user next time, whatever the name, in the groups as they are by then; those that the
    // provider does not decide about stay.
    let (access, now) = (house.server.engine.access(), house.server.engine.now());
    access.create_group("ours", vec![Role::Runner], "test", now).await.expect("it is created");
    access.add_member("ours", "ann@example.com", now).await.expect("she is added");
    house.provider.claim("groups", "all");
    house.provider.claim("email", "ann.smith@example.com");
    let answer = house.sign_in().await;
    let other = cookie(&answer, "__Secure-nightbell").expect("a session");
    assert_eq!(house.get("/console/session", &other).await.ok()["name"], "ann@example.com");
    assert_eq!(house.groups("ann@example.com"), ["ours", "watchers"]);
    // Also in the session from before.
    let me = house.get("/console/session", &session).await.ok();
    assert!(!me["permissions"].to_string().contains("respond"), "{me}");

    // The disabled flag counts, for sessions that are open and for new ones.
    access.disable_user("ann@example.com", "test", now).await.expect("she is disabled");
    assert_eq!(house.get("/console/session", &session).await.status, 401);
    assert_eq!(house.refused().await, "user-disabled");
    let written = async |outcome: &str| {
        let lines = house
            .server
            .engine
            .audit()
            .newest(&AuditSearch { size: 20, ..AuditSearch::default() })
            .await
            .expect("memory answers")
            .lines;
        lines.iter().any(|it| it.line.contains("\"login\"") && it.line.contains(outcome))
    };
    let both = async {
        while !(written("\"ok\"").await && written("\"refused\"").await) {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(30);
    tokio::time::timeout(patience, both).await.expect("logins and refusals are in the ledger");
}

/// What a provider says that does not count, by the claim that is changed.
#[tokio::test]
async fn a_token_that_is_not_for_this_login_opens_nothing() {
    let house = House::new().await;
    let past = house.server.engine.now().millis() / 1000 - 61;
    let wrong = [
        ("iss", json!("https://evil.example.com")),
        ("iss", json!("https://id.example.com/")),
        ("iss", json!(null)),
        ("aud", json!("another")),
        ("aud", json!(["another"])),
        ("aud", json!(null)),
        ("aud", json!([CLIENT, "another"])),
        ("azp", json!("another")),
        ("exp", json!(past)),
        ("exp", json!(null)),
        ("iat", json!(past + 3600)),
        ("nbf", json!(past + 3600)),
        ("nonce", json!("of another login")),
        ("nonce", json!(null)),
        ("sub", json!(null)),
        ("sub", json!("x".repeat(256))),
        ("email", json!(null)),
    ];
    for (claim, value) in wrong {
        house.provider.claim(claim, value.clone());
        assert_eq!(house.refused().await, "sso-invalid", "{claim}: {value}");
        house.provider.with(|it| it.claims.clear());
    }
    // Clocks may differ by a minute.
    let now = house.server.engine.now().millis() / 1000;
    house.provider.claim("exp", now - 30);
    house.provider.claim("iat", now + 55);
    assert_eq!(location(&house.sign_in().await), "/console/runs");
    assert_eq!(house.server.engine.access().users().len(), 1);
}

#[tokio::test]
async fn a_token_that_the_provider_has_not_signed_opens_nothing() {
    let house = House::new().await;
    let forgeries: [fn(String) -> String; 6] = [
        |token| {
            let (signed, proof) = token.rsplit_once('.').expect("three parts");
            let first = if proof.starts_with('A') { 'B' } else { 'A' };
            format!("{signed}.{first}{}", &proof[1..])
        },
        |token| token.rsplit_once('.').map(|(rest, _)| format!("{rest}.")).expect("three parts"),
        // Without a signature, as the header says.
        |token| {
            let body = token.split('.').nth(1).expect("three parts").to_owned();
            format!("{}.{body}.", part(&json!({ "alg": "none" })))
        },
        // Signed with what everybody knows.
        |token| {
            let body = token.split('.').nth(1).expect("three parts");
            let signed = format!("{}.{body}", part(&json!({ "alg": "HS256", "kid": "first" })));
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, CLIENT.as_bytes());
            let proof = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes()));
            format!("{signed}.{proof}")
        },
        // By somebody else's key.
        |token| {
            let (signed, _) = token.rsplit_once('.').expect("three parts");
            let proof = pair().sign(&SystemRandom::new(), signed.as_bytes()).expect("it signs");
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(proof))
        },
        |_| "no token".to_owned(),
    ];
    for (number, forge) in forgeries.into_iter().enumerate() {
        house.provider.with(|it| it.forge = forge);
        assert_eq!(house.refused().await, "sso-invalid", "{number}");
    }
    assert!(house.server.engine.access().users().is_empty());
}

#[tokio::test]
async fn keys_that_are_new_are_fetched_and_others_are_not() {
    let house = House::new().await;
    assert_eq!(location(&house.sign_in().await), "/console/runs");
    let fetched = || house.provider.0.lock().calls.iter().filter(|it| *it == "/keys").count();
    assert_eq!(location(&house.sign_in().await), "/console/runs");
    assert_eq!(fetched(), 1, "they are kept");
    house.provider.rotate("second");
    assert_eq!(location(&house.sign_in().await), "/console/runs");
    assert_eq!(fetched(), 2);
    // A key that the provider does not tell is looked for once for each login.
    house.provider.with(|it| it.kid = "third".to_owned());
    assert_eq!(house.refused().await, "sso-invalid");
    assert_eq!(fetched(), 3);
}

#[tokio::test]
async fn a_login_ends_only_in_the_browser_in_which_it_began() {
    let house = House::new().await;
    let back = |state: &str| format!("/console/sso/callback?code=a%20code&state={state}");
    let failed = |answer: &Answer| parameter(&location(answer), "failed").expect("it failed");
    let (cookie, address) = house.begin("/console/sso").await;
    let state = parameter(&address, "state").expect("a state");
    // Somebody else's browser, with no login of its own and with one.
    let (others, _) = house.begin("/console/sso").await;
    for cookie in ["", others.as_str(), "nightbell_sso=forged.forged"] {
        assert_eq!(failed(&house.get(&back(&state), cookie).await), "sso-expired", "{cookie}");
    }
    assert_eq!(failed(&house.get(&back(""), &cookie).await), "sso-expired");
    assert_eq!(failed(&house.get("/console/sso/callback", &cookie).await), "sso-expired");
    // The provider is not asked for any of these.
    assert!(!house.provider.0.lock().calls.contains(&"/token".to_owned()));
    // What the provider says in place of a code, and who else may say it.
    let denied = format!("/console/sso/callback?error=access_denied&state={state}");
    assert_eq!(failed(&house.get(&denied, &cookie).await), "sso-refused");
    let mixed_up = format!("{}&iss=https%3A%2F%2Fevil.example.com", back(&state));
    assert_eq!(failed(&house.get(&mixed_up, &cookie).await), "sso-invalid");
    // A page of ours is seen afterwards, whatever was asked for.
    let (cookie, address) = house.begin("/console/sso?next=https://evil.example.com").await;
    let state = parameter(&address, "state").expect("a state");
    assert_eq!(location(&house.get(&back(&state), &cookie).await), "/console/");
}

#[tokio::test]
async fn a_provider_that_is_away_or_somebody_else_lets_nobody_in() {
    let house = House::new().await;
    house.provider.with(|it| it.refuses = Some(400));
    assert_eq!(house.refused().await, "sso-refused");
    house.provider.with(|it| it.refuses = Some(500));
    assert_eq!(house.refused().await, "sso-unavailable");

    let house = House::new().await;
    house.provider.with(|it| it.calls_itself = "https://evil.example.com");
    let begun = house.get("/console/sso", "").await;
    assert_eq!(parameter(&location(&begun), "failed").as_deref(), Some("sso-unavailable"));
    // It is not asked again at once, whoever comes.
    house.get("/console/sso", "").await;
    assert_eq!(house.provider.0.lock().calls.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_silent_holds_nobody_for_long() {
    let house = House::new().await;
    house.provider.with(|it| it.is_silent = true);
    let begun = tokio::time::Instant::now();
    let answer = house.get("/console/sso", "").await;
    assert_eq!(parameter(&location(&answer), "failed").as_deref(), Some("sso-unavailable"));
    assert!(begun.elapsed().as_secs() <= 11, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn only_who_is_meant_becomes_a_user() {
    // By groups.
    let house = House::with(|it| it.groups = vec![("sre".into(), "on-call".into())]).await;
    house.provider.claim("groups", json!(["sales"]));
    assert_eq!(house.refused().await, "not-admitted");
    house.provider.claim("groups", json!(["sre"]));
    assert_eq!(location(&house.sign_in().await), "/console/runs");
    // Who was one is let in no more, and leaves the groups; until the provider names one again.
    house.provider.claim("groups", json!([]));
    assert_eq!(house.refused().await, "not-admitted");
    assert!(house.groups("ann@example.com").is_empty());
    house.provider.claim("groups", json!(["sre"]));
    assert_eq!(location(&house.sign_in().await), "/console/runs");
    assert_eq!(house.groups("ann@example.com"), ["on-call"]);

    // By the domain of a mail address that is verified.
    let house = House::with(|it| it.email_domains = vec!["Example.com".into()]).await;
    for (email, verified) in [
        ("ann@evil.com", json!(true)),
        ("ann@sub.example.com", json!(true)),
        ("ann@example.com@evil.com", json!(true)),
        ("ann@example.com", json!(false)),
        ("ann@example.com", json!(null)),
    ] {
        house.provider.claim("email", email);
        house.provider.claim("email_verified", verified);
        assert_eq!(house.refused().await, "not-admitted", "{email}");
    }
    house.provider.with(|it| it.claims.clear());
    assert_eq!(location(&house.sign_in().await), "/console/runs");
}

#[tokio::test]
async fn a_name_is_nobodys_proof() {
    let with_user = async |links| {
        let house = House::with(|it| it.links_users = links).await;
        let wanted = engine::NewUser {
            name: "ann@example.com".to_owned(),
            rights: vec![Role::Admin].into(),
            ..engine::NewUser::default()
        };
        let (access, now) = (house.server.engine.access(), house.server.engine.now());
        access.create_user(wanted, "test", now).await.expect("it is created");
        house
    };
    // Whoever the provider calls so is not the user whom we call so, unless that is said.
    let house = with_user(false).await;
    assert_eq!(house.refused().await, "name-taken");
    let house = with_user(true).await;
    let answer = house.sign_in().await;
    let session = cookie(&answer, "__Secure-nightbell").expect("a session");
    let me = house.get("/console/session", &session).await.ok();
    assert!(me["permissions"].to_string().contains("admin"), "{me}");
    // From then on the user is that person alone.
    house.provider.claim("sub", "another");
    assert_eq!(house.refused().await, "name-taken");
    // And what no user can be called is none.
    house.provider.claim("email", "a b");
    assert_eq!(house.refused().await, "bad-request");
}

#[tokio::test]
async fn the_command_line_gets_a_session_for_a_code_of_its_own() {
    let house = House::new().await;
    let described = house.get("/api/access/sso", "").await.ok();
    assert_eq!(described["url"], "https://bell.example.com/console/sso");
    let verifier = "v".repeat(43);
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    let wanted = |port: &str, challenge: &str, state: &str| {
        format!("/console/sso?port={port}&challenge={challenge}&state={state}")
    };
    let own = "s".repeat(43);
    for bad in [
        wanted("0", &challenge, &own),
        wanted("8765", "short", &own),
        wanted("8765", &challenge, "short"),
        wanted("8765", &challenge, &format!("{own}%0d%0a")),
        wanted("8765@evil", &challenge, &own),
    ] {
        assert_eq!(house.get(&bad, "").await.status, 400, "{bad}");
    }
    let sign_in = async || {
        let (cookie, address) = house.begin(&wanted("8765", &challenge, &own)).await;
        let state = parameter(&address, "state").expect("a state");
        house.get(&format!("/console/sso/callback?code=a%20code&state={state}"), &cookie).await
    };
    // A page asks first: any site could have led the browser here, and any program may wait at a port.
    let asked = sign_in().await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    assert_eq!(cookie(&asked, "__Secure-nightbell"), None, "the browser has none of it");
    for words in ["port 8765", "ann@example.com", "action=\"/console/sso/allow\"", "Allow"] {
        assert!(asked.text.contains(words), "{words}: {}", asked.text);
    }
    let proof_in = |page: &str| {
        let (_, rest) = page.split_once("name=\"proof\" value=\"").expect("a proof");
        rest.split('"').next().expect("it ends").to_owned()
    };
    let allow = async |cookie: &str, proof: &str| {
        let headers = [
            ("cookie", cookie),
            ("host", "bell.example.com"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let (path, form) = ("/console/sso/allow", format!("proof={proof}"));
        send_through(house.router.clone(), Method::POST, path, &headers, form).await
    };
    let own_cookie = cookie(&asked, "nightbell_sso").expect("a cookie");
    let (begun, _) = house.begin(&wanted("8765", &challenge, &own)).await;
    let others = proof_in(&sign_in().await.text);
    for (cookie, proof) in [
        (own_cookie.as_str(), ""),
        (&own_cookie, &*others),
        (&begun, &*proof_in(&asked.text)),
        ("", &*proof_in(&asked.text)),
    ] {
        let refused = allow(cookie, proof).await;
        assert_eq!(location(&refused), "/console/login?failed=sso-expired&next=%2Fconsole%2F");
    }
    let allowed = allow(&own_cookie, &proof_in(&asked.text)).await;
    assert_eq!(allowed.status, 200, "{}", allowed.text);
    let led = |answer: &Answer| {
        let refresh = answer.headers["refresh"].to_str().expect("text");
        refresh.strip_prefix("0; url=").expect("it leads on").to_owned()
    };
    let address = led(&allowed);
    assert!(address.starts_with("http://127.0.0.1:8765/?code="), "{address}");
    assert_eq!(parameter(&address, "state"), Some(own.clone()));
    let code = parameter(&address, "code").expect("a code");
    let redeem = async |code: &str, verifier: &str| {
        house.post("/api/access/sso", &json!({ "code": code, "verifier": verifier })).await
    };
    let given = redeem(&code, &verifier).await.ok();
    assert_eq!(given["name"], "ann@example.com");
    assert!(given["token"].is_string() && given["renewal"].is_string(), "{given}");
    assert_eq!(redeem(&code, &verifier).await.code(401), "sso-expired", "once");
    // Whoever sees the code in a browser's history or on the port has not begun.
    let asked = sign_in().await;
    let own_cookie = cookie(&asked, "nightbell_sso").expect("a cookie");
    let allowed = allow(&own_cookie, &proof_in(&asked.text)).await;
    let code = parameter(&led(&allowed), "code").expect("a code");
    assert_eq!(redeem(&code, &"w".repeat(43)).await.code(401), "sso-expired");
    // Why it has failed is told there, too.
    house.provider.claim("nonce", "another");
    assert_eq!(parameter(&location(&sign_in().await), "error").as_deref(), Some("sso-invalid"));
}

#[tokio::test]
async fn without_a_provider_there_is_nothing_to_sign_in_by() {
    let server = Server::new().await.with(|settings| settings.auth = Mode::On);
    let router = server::router(server.api());
    for path in ["/api/access/sso", "/console/sso", "/console/sso/callback?code=a&state=b"] {
        let answer = send_through(router.clone(), Method::GET, path, &[], String::new()).await;
        assert_eq!(answer.status, 404, "{path}");
        // Below /console it is told as a page.
        assert!(answer.text.contains("nobody signs in by a provider"), "{path}: {}", answer.text);
    }
    let described = send_through(router, Method::GET, "/api/access/sso", &[], String::new()).await;
    assert_eq!(described.code(404), "sso-off");
}
