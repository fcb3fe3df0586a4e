//! Users and groups over HTTP: created, granted, signed in, disabled, and written down.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use engine::NewUser;
use http_body_util::BodyExt as _;
use kernel::access::{Mode, Role};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use crate::support::{Answer, Server, send_through};

const PASSWORD: &str = "correct horse battery";

/// A server that asks for keys, the router that knows its sessions, and an administrator's key.
struct Guarded {
    server: Server,
    router: Router,
    admin: String,
}

impl Guarded {
    async fn new() -> Self {
        let server = Server::new().await.with(|settings| settings.auth = Mode::On);
        let (engine, now) = (&server.engine, server.engine.now());
        let made = engine.access().create_key("root", vec![Role::Admin], None, "test", now).await;
        let admin = made.expect("memory takes all").text.to_string();
        let router = server::router(server.api());
        Self { server, router, admin }
    }

    /// Asks with a key or a token, or without any.
    async fn ask(&self, method: Method, path: &str, credential: &str, body: &Value) -> Answer {
        let headers = [("x-authorization", credential), ("content-type", "application/json")];
        let headers = if credential.is_empty() { &headers[1..] } else { &headers[..] };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        send_through(self.router.clone(), method, path, headers, body).await
    }

    async fn get(&self, path: &str, credential: &str) -> Answer {
        self.ask(Method::GET, path, credential, &Value::Null).await
    }

    /// A user with a password, made beside the API, which other tests are about.
    async fn user(&self, name: &str, roles: &[Role]) {
        let wanted = NewUser {
            name: name.to_owned(),
            password: Some(Zeroizing::new(PASSWORD.to_owned())),
            rights: roles.to_vec().into(),
            ..NewUser::default()
        };
        let (engine, now) = (&self.server.engine, self.server.engine.now());
        engine.access().create_user(wanted, "test", now).await.expect("it is created");
    }

    async fn login(&self, name: &str, password: &str) -> Answer {
        let body = json!({ "user": name, "password": password });
        self.ask(Method::POST, "/api/access/login", "", &body).await
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name}: {value}")).to_owned()
}

const DEFINITIONS: &str = "/api/metadata/workflow";

#[tokio::test]
async fn administrators_keep_users_and_groups() {
    let it = Guarded::new().await;
    let post = async |path: &str, body: Value| it.ask(Method::POST, path, &it.admin, &body).await;
    post("/api/access/groups", json!({ "name": "On-Call", "roles": ["responder"] })).await.ok();
    let ann = json!({ "name": "ann", "password": PASSWORD, "groups": ["on-call"] });
    let made = post("/api/access/users", ann.clone()).await.ok();
    assert_eq!((&made["name"], &made["groups"]), (&json!("ann"), &json!(["on-call"])));
    assert!(!made.to_string().contains("argon2"), "{made}");
    post("/api/access/users", ann).await.failed(409);
    let short = post("/api/access/users", json!({ "name": "bob", "password": "short" })).await;
    assert!(short.failed(400).contains("12 characters"));
    post("/api/access/users", json!({ "name": "bob", "extra": 1 })).await.failed(400);

    // What the group has, she has, and it is told by which group.
    let explain = "/api/access/explain?user=ann&permission=respond";
    let explained = it.get(explain, &it.admin).await.ok();
    assert_eq!(explained["allowed"], true);
    assert_eq!(explained["reason"], "the user is responder on everything, by the group 'on-call'");
    assert_eq!(explained["groups"], json!(["on-call"]));
    let grant = json!({ "group": "on-call", "roles": ["viewer"], "on": ["hub=sales"] });
    let held = post("/api/access/grants", grant).await.ok();
    assert_eq!(
        held[1],
        json!({ "group": "on-call", "name": "on-call", "role": "viewer", "on": "hub=sales" })
    );
    let both = json!({ "group": "on-call", "user": "ann", "roles": ["viewer"] });
    post("/api/access/grants", both).await.failed(400);
    let path = "/api/access/groups/on-call/members/ann";
    let group = it.ask(Method::DELETE, path, &it.admin, &Value::Null).await.ok();
    assert_eq!(group["members"], json!([]));
    let explained = it.get(explain, &it.admin).await.ok();
    assert_eq!(explained["allowed"], false);
    it.ask(Method::DELETE, path, &it.admin, &Value::Null).await.failed(404);
    it.ask(Method::PUT, path, &it.admin, &Value::Null).await.ok();

    let key = post("/api/access/keys", json!({ "name": "laptop", "user": "ann" })).await.ok();
    let key = text(&key, "keySecret");
    assert_eq!(it.get(DEFINITIONS, &key).await.status, 200);
    post("/api/access/keys", json!({ "name": "k", "user": "ann", "roles": ["admin"] }))
        .await
        .failed(400);
    post("/api/access/users/ann/disable", Value::Null).await.ok();
    assert_eq!(it.get(DEFINITIONS, &key).await.status, 401);
    let keys = it.get("/api/access/keys", &it.admin).await.ok();
    assert_eq!((&keys[1]["status"], &keys[1]["user"]), (&json!("DISABLED"), &json!("ann")));
    let explained = it.get(explain, &it.admin).await.ok();
    assert_eq!(explained["reason"], "the user is disabled");
    it.ask(Method::DELETE, "/api/access/users/ann", &it.admin, &Value::Null).await.ok();
    it.get("/api/access/users/ann", &it.admin).await.failed(404);
    let keys = it.get("/api/access/keys", &it.admin).await.ok();
    assert_eq!(keys[1]["status"], "REVOKED");

    // The ledger says who and what, also where the path does not, and no password is in it.
    let ledger = it.get("/api/audit?size=100", &it.admin).await.ok().to_string();
    for words in [
        "POST /api/access/users user ann",
        "on-call: responder, viewer on hub=sales",
        "DELETE /api/access/users/{name}",
    ] {
        assert!(ledger.contains(words), "{words}: {ledger}");
    }
    assert!(!ledger.contains(PASSWORD), "{ledger}");
}

#[tokio::test]
async fn what_is_weak_is_seen_through_users_and_groups() {
    let it = Guarded::new().await;
    let (access, now) = (it.server.engine.access(), it.server.engine.now());
    access.create_group("root", vec![Role::Admin], "test", now).await.expect("it is created");
    it.user("ann", &[]).await;
    let made = access.create_key_of("ann", "laptop", None, "test", now).await.expect("a key");
    let told = async || {
        let found = it.get("/api/access/check", &it.admin).await.ok();
        let ours = found.as_array().expect("a list").iter().filter(|it| {
            it["subject"]
                .as_str()
                .is_some_and(|it| it.contains(&*made.record.id) || it.contains("ann"))
        });
        ours.map(|it| text(it, "code")).collect::<Vec<_>>()
    };
    assert_eq!(told().await, ["user-without-grants"]);
    access.add_member("root", "ann", now).await.expect("she is added");
    assert_eq!(told().await, ["admin-without-end"]);
}

#[tokio::test]
async fn a_login_gives_tokens_until_it_ends() {
    let it = Guarded::new().await;
    it.user("ann", &[Role::Viewer]).await;
    it.login("ann", "wrong horse battery").await.failed(401);
    let given = it.login("ANN", PASSWORD).await.ok();
    let (token, renewal) = (text(&given, "token"), text(&given, "renewal"));
    let me = it.get("/api/token/userInfo", &token).await.ok();
    assert_eq!((&me["name"], &me["applicationUser"]), (&json!("ann"), &json!(false)));
    assert!(text(&me, "id").starts_with("user:"));
    it.get("/api/access/users", &token).await.failed(403);
    // The renewal is no token, and the token no renewal.
    it.get(DEFINITIONS, &renewal).await.failed(401);
    let renew = async |secret: &str| {
        let body = json!({ "renewal": secret });
        it.ask(Method::POST, "/api/access/renew", "", &body).await
    };
    renew(&token).await.failed(401);
    let cookie = format!("nightbell_session={renewal}");
    let headers = [("cookie", cookie.as_str())];
    let seen =
        send_through(it.router.clone(), Method::GET, "/console/session", &headers, String::new());
    seen.await.failed(401);
    let second = text(&renew(&renewal).await.ok(), "token");
    assert_eq!(it.get(DEFINITIONS, &second).await.status, 200);

    let other = it.login("ann", PASSWORD).await.ok();
    let logout = async |renewal: &str, everywhere: bool| {
        let body = json!({ "renewal": renewal, "everywhere": everywhere });
        it.ask(Method::POST, "/api/access/logout", "", &body).await.status.as_u16()
    };
    assert_eq!(logout(&renewal, false).await, 204);
    for token in [&token, &second] {
        it.get(DEFINITIONS, token).await.failed(401);
    }
    renew(&renewal).await.failed(401);
    assert_eq!(it.get(DEFINITIONS, &text(&other, "token")).await.status, 200);
    let third = it.login("ann", PASSWORD).await.ok();
    assert_eq!(logout(&text(&third, "renewal"), true).await, 204);
    it.get(DEFINITIONS, &text(&other, "token")).await.failed(401);
}

#[tokio::test]
async fn another_password_ends_what_was_opened_with_the_former() {
    let it = Guarded::new().await;
    it.user("ann", &[Role::Viewer]).await;
    let given = it.login("ann", PASSWORD).await.ok();
    let (token, renewal) = (text(&given, "token"), text(&given, "renewal"));
    let change = async |credential: &str, current: &str, new: &str| {
        let body = json!({ "current": current, "new": new });
        it.ask(Method::POST, "/api/access/password", credential, &body).await
    };
    change(&token, "wrong horse battery", "another horse battery").await.failed(401);
    change(&token, PASSWORD, "short").await.failed(400);
    change(&it.admin, PASSWORD, "another horse battery").await.failed(400);
    assert_eq!(change(&token, PASSWORD, "another horse battery").await.status, 204);
    it.get(DEFINITIONS, &token).await.failed(401);
    let body = json!({ "renewal": renewal });
    it.ask(Method::POST, "/api/access/renew", "", &body).await.failed(401);
    it.login("ann", PASSWORD).await.failed(401);
    it.login("ann", "another horse battery").await.ok();
}

#[tokio::test]
async fn wrong_passwords_are_soon_not_looked_at_any_more() {
    let it = Guarded::new().await;
    // Nobody has the name, which makes no difference.
    for _ in 0..5 {
        it.login("ann", "wrong horse battery").await.failed(401);
    }
    assert_eq!(it.login("ann", PASSWORD).await.code(429), "too-many-logins");
    it.login("bob", "wrong horse battery").await.failed(401);
}

#[tokio::test]
async fn a_browser_signs_in_with_a_password_and_out_everywhere() {
    let it = Guarded::new().await;
    it.user("ann", &[Role::Viewer]).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let send = async |path: &str, headers: &[(&str, &str)], body: String| {
        send_through(it.router.clone(), Method::POST, path, &[&form[..], headers].concat(), body)
            .await
    };
    let sign_in = async |password: &str| {
        let password = password.replace(' ', "+");
        send("/console/login", &[], format!("name=ann&password={password}&next=%2Fconsole%2Fruns"))
            .await
    };
    let answer = sign_in("wrong horse battery").await;
    assert_eq!(answer.headers["location"], "/console/login?failed=password&next=%2Fconsole%2Fruns");
    let page = send_through(
        it.router.clone(),
        Method::GET,
        "/console/login?failed=password",
        &[("accept", "text/html")],
        String::new(),
    );
    let page = page.await;
    assert!(
        page.text.contains("name=\"password\"") && page.text.contains("do not belong together"),
        "{}",
        page.text
    );

    let answer = sign_in(PASSWORD).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["location"]),
        (303, &"/console/runs".parse().unwrap())
    );
    let cookie =
        answer.headers["set-cookie"].to_str().expect("text").split(';').next().expect("a pair");
    let cookie = cookie.to_owned();
    let seen = async |cookie: &str| {
        let headers = [("cookie", cookie)];
        send_through(it.router.clone(), Method::GET, "/console/session", &headers, String::new())
            .await
    };
    let session = seen(&cookie).await.ok();
    assert_eq!(session["name"], "ann");
    let token = text(&it.login("ann", PASSWORD).await.ok(), "token");
    let csrf = text(&session, "csrf");
    let headers = [("cookie", cookie.as_str()), ("x-csrf", csrf.as_str())];
    let answer = send("/console/logout", &headers, "everywhere=1".to_owned()).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    seen(&cookie).await.failed(401);
    it.get(DEFINITIONS, &token).await.failed(401);
}

/// A stream of the console, opened with a token; what was sent first is read.
async fn feed(it: &Guarded, token: &str) -> Body {
    let request = Request::get("/console/feed").header("x-authorization", token);
    let request = request.body(Body::empty()).expect("a request");
    let response = it.router.clone().oneshot(request).await.expect("handlers do not fail");
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let first = body.frame().await.expect("it begins at once").expect("it is whole");
    assert!(first.is_data(), "{first:?}");
    body
}

/// Reads a stream until it ends.
async fn ends(mut body: Body) {
    let ended = async {
        while let Some(frame) = body.frame().await {
            if !frame.expect("it is whole").is_data() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it ends");
}

/// What is held open ends with whoever opened it, and lasts as long as they may read.
#[tokio::test]
async fn the_feed_of_a_viewer_lasts_until_the_user_is_disabled() {
    let it = Guarded::new().await;
    it.user("ann", &[Role::Viewer]).await;
    let token = text(&it.login("ann", PASSWORD).await.ok(), "token");
    let body = feed(&it, &token).await;
    let path = "/api/access/users/ann/disable";
    it.ask(Method::POST, path, &it.admin, &Value::Null).await.ok();
    ends(body).await;
}

/// Signing out is an answer to a token that was stolen: what was opened with it ends, too.
#[tokio::test]
async fn the_feed_of_a_session_ends_when_its_user_signs_out() {
    let it = Guarded::new().await;
    it.user("ann", &[Role::Viewer]).await;
    let login = it.login("ann", PASSWORD).await.ok();
    let other = it.login("ann", PASSWORD).await.ok();
    let (body, others) =
        (feed(&it, &text(&login, "token")).await, feed(&it, &text(&other, "token")).await);
    let of = |login: &Value| json!({ "renewal": login["renewal"] });
    it.ask(Method::POST, "/api/access/logout", "", &of(&login)).await;
    ends(body).await;
    it.get(DEFINITIONS, &text(&other, "token")).await.ok();
    let everywhere = json!({ "renewal": other["renewal"], "everywhere": true });
    it.ask(Method::POST, "/api/access/logout", "", &everywhere).await;
    ends(others).await;
}
