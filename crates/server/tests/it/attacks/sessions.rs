//! Sessions of browsers: stolen into, fixed, forged, and used from elsewhere.

use axum::Router;
use axum::http::Method;
use kernel::access::{Mode, Role};
use serde_json::json;

use crate::console::hidden;
use crate::support::{Answer, Server, send_through};

/// A server, the router that knows its sessions, and a key.
async fn guarded(change: impl FnOnce(&mut server::Settings)) -> (Server, Router, String) {
    let server = Server::new().await.with(|settings| settings.auth = Mode::On).with(change);
    let (engine, now) = (&server.engine, server.engine.now());
    let made = engine.access().create_key("ann", vec![Role::Viewer], None, "test", now).await;
    let key = made.expect("memory takes all").text.to_string();
    let router = server::router(server.api());
    (server, router, key)
}

async fn send(
    router: &Router,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    send_through(router.clone(), method, path, headers, body.to_owned()).await
}

/// What the browser keeps: the cookie with its value.
fn kept(answer: &Answer) -> String {
    let cookie = answer.headers["set-cookie"].to_str().expect("text");
    cookie.split(';').next().expect("a pair").to_owned()
}

async fn sign_in(router: &Router, key: &str, headers: &[(&str, &str)]) -> Answer {
    let form = format!("next=%2Fconsole%2Fruns%3Fa%3Db&key={key}");
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    send(router, Method::POST, "/console/login", &[&kind[..], headers].concat(), &form).await
}

#[tokio::test]
async fn a_browser_signs_in_and_out_with_a_key() {
    let (_server, router, key) = guarded(|_| ()).await;
    let answer = sign_in(&router, &key, &[]).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    assert_eq!(answer.headers["location"], "/console/runs?a=b");
    let given = answer.headers["set-cookie"].to_str().expect("text");
    assert!(given.ends_with("; Path=/console; HttpOnly; SameSite=Lax"), "{given}");
    let cookie = kept(&answer);
    let seen =
        send(&router, Method::GET, "/console/session", &[("cookie", &cookie)], "").await.ok();
    assert_eq!((&seen["name"], &seen["permissions"]), (&json!("ann"), &json!(["read"])));
    // Elsewhere it counts for nothing: neither for the API, nor for a path that looks alike.
    send(&router, Method::GET, "/api/metadata/workflow", &[("cookie", &cookie)], "")
        .await
        .failed(401);
    send(&router, Method::GET, "/api/token/userInfo", &[("cookie", &cookie)], "").await.failed(401);
    // It is no key either.
    let value = cookie.split_once('=').expect("a pair").1;
    let bearer = format!("Bearer {value}");
    send(&router, Method::GET, "/console/session", &[("authorization", &bearer)], "")
        .await
        .failed(401);
    let csrf = seen["csrf"].as_str().expect("a token");
    let out = [("cookie", cookie.as_str()), ("x-csrf", csrf)];
    let answer = send(&router, Method::POST, "/console/logout", &out, "").await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    assert!(answer.headers["set-cookie"].to_str().expect("text").contains("Max-Age=0"));
    send(&router, Method::GET, "/console/session", &[("cookie", &cookie)], "").await.failed(401);
}

#[tokio::test]
async fn behind_tls_the_cookie_is_for_tls_alone() {
    let url = "https://bell.example.com".to_owned();
    let (_server, router, key) = guarded(|it| it.public_url = Some(url)).await;
    let answer = sign_in(&router, &key, &[]).await;
    let given = answer.headers["set-cookie"].to_str().expect("text");
    assert!(given.starts_with("__Secure-nightbell=") && given.contains("; Secure"), "{given}");
    let cookie = kept(&answer);
    send(&router, Method::GET, "/console/session", &[("cookie", &cookie)], "").await.ok();
    // A page of plain HTTP can plant the other name only, which does not count here.
    let planted = cookie.replace("__Secure-nightbell", "nightbell_session");
    send(&router, Method::GET, "/console/session", &[("cookie", &planted)], "").await.failed(401);
    let both = format!("nightbell_session={}; {cookie}", "a".repeat(64));
    send(&router, Method::GET, "/console/session", &[("cookie", &both)], "").await.ok();
}

#[tokio::test]
async fn without_tls_the_cookie_for_tls_does_not_count() {
    let (_server, router, key) = guarded(|_| ()).await;
    let cookie = kept(&sign_in(&router, &key, &[]).await);
    let other = cookie.replace("nightbell_session", "__Secure-nightbell");
    assert_ne!(other, cookie);
    send(&router, Method::GET, "/console/session", &[("cookie", &other)], "").await.failed(401);
}

/// An old session reads and responds, and changes nothing that outlasts it.
#[tokio::test]
async fn what_lasts_needs_a_young_proof() {
    let (server, router, _) = guarded(|it| it.proof_max = std::time::Duration::ZERO).await;
    let (engine, now) = (&server.engine, server.engine.now());
    let made = engine.access().create_key("eve", vec![Role::Admin], None, "test", now).await;
    let key = made.expect("memory takes all").text.to_string();
    server
        .register(json!([{ "name": "flow", "version": 1, "tasks": [
            { "name": "w", "taskReferenceName": "w", "type": "WAIT" } ] }]))
        .await;
    let bearer = format!("Bearer {key}");
    let by_key = [("authorization", bearer.as_str())];
    let run = send(&router, Method::POST, "/api/workflow/flow", &by_key, "{}").await.ok_text();
    let cookie = kept(&sign_in(&router, &key, &[]).await);
    let ours = [
        ("cookie", cookie.as_str()),
        ("host", "localhost:8080"),
        ("origin", "http://localhost:8080"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let page = send(&router, Method::GET, "/console/runs", &ours[..1], "").await.ok_text();
    let csrf = hidden(&page, "csrf");
    // The token of whoever has not signed in is none of a session.
    let open = Server::new().await;
    let of_nobody = send(&server::router(open.api()), Method::GET, "/console/zone", &[], "").await;
    for forged in ["", hidden(&of_nobody.text, "csrf")] {
        let form = format!("act=pause&id={run}&csrf={forged}");
        let refused = send(&router, Method::POST, "/console/act", &ours, &form).await;
        assert_eq!(refused.status, 403, "{}", refused.text);
        assert!(refused.text.contains("has no token"), "{}", refused.text);
    }
    let form = format!("act=pause&id={run}&csrf={csrf}");
    let paused = send(&router, Method::POST, "/console/act", &ours, &form).await;
    assert_eq!(paused.status, 303, "{}", paused.text);
    let form = "act=test-receiver&id=desk";
    let with_token = format!("{form}&csrf={csrf}");
    let refused = send(&router, Method::POST, "/console/act", &ours, &with_token).await;
    assert_eq!(refused.status, 401, "{}", refused.text);
    for words in ["not older than 12 hours", "/console/login"] {
        assert!(refused.text.contains(words), "{words}: {}", refused.text);
    }
    // A key is a proof at each request: there is only no such receiver.
    let by_key = [by_key[0], ours[3]];
    let tested = send(&router, Method::POST, "/console/act", &by_key, form).await;
    assert_eq!(tested.status, 404, "{}", tested.text);
}

#[tokio::test]
async fn a_session_changes_nothing_for_pages_of_others() {
    let (_server, router, key) = guarded(|_| ()).await;
    let cookie = kept(&sign_in(&router, &key, &[]).await);
    let with = |more: &[(&'static str, &'static str)]| {
        let mut headers = vec![("cookie".to_owned(), cookie.clone())];
        headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        headers
    };
    for more in [
        &[][..],
        &[("x-csrf", "")],
        &[("x-csrf", "0000000000000000000000000000000000000000000000000000000000000000")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ] {
        let headers = with(more);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let answer = send(&router, Method::POST, "/console/logout", &headers, "").await;
        assert_eq!(answer.status, 403, "{more:?}: {}", answer.text);
    }
    send(&router, Method::GET, "/console/session", &[("cookie", &cookie)], "").await.ok();
    // A page of ours may.
    let ours = [
        ("cookie", cookie.as_str()),
        ("host", "localhost:8080"),
        ("origin", "http://localhost:8080"),
    ];
    assert_eq!(send(&router, Method::POST, "/console/logout", &ours, "").await.status, 303);
    // Nor does one sign a browser in as somebody else.
    let answer = sign_in(&router, &key, &[("origin", "https://evil.example")]).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn a_session_cannot_be_fixed_and_ends_with_its_key() {
    let (server, router, key) = guarded(|_| ()).await;
    // One that somebody put into the browser is not taken up.
    let planted = format!("nightbell_session={}", "a".repeat(64));
    let first = kept(&sign_in(&router, &key, &[("cookie", &planted)]).await);
    assert_ne!(first, planted);
    send(&router, Method::GET, "/console/session", &[("cookie", &planted)], "").await.failed(401);
    // Signing in again ends the former one.
    let second = kept(&sign_in(&router, &key, &[("cookie", &first)]).await);
    assert_ne!(second, first);
    send(&router, Method::GET, "/console/session", &[("cookie", &first)], "").await.failed(401);
    send(&router, Method::GET, "/console/session", &[("cookie", &second)], "").await.ok();
    server
        .engine
        .access()
        .revoke_key(&key[3..15], "test", server.engine.now())
        .await
        .expect("it is there");
    send(&router, Method::GET, "/console/session", &[("cookie", &second)], "").await.failed(401);
}

#[tokio::test]
async fn a_wrong_key_opens_nothing() {
    let (_server, router, key) = guarded(|_| ()).await;
    for wrong in ["", "nb_", &key[..80], &key.replace("nb_", "nc_")] {
        let answer = sign_in(&router, wrong, &[]).await;
        assert_eq!(
            answer.headers["location"],
            "/console/login?failed=1&next=%2Fconsole%2Fruns%3Fa%3Db"
        );
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    let json = [("content-type", "application/json")];
    let body = json!({ "key": "nb_" }).to_string();
    let answer = send(&router, Method::POST, "/console/login", &json, &body).await;
    assert_eq!(answer.code(401), "invalid-token");
    let body = json!({ "key": key }).to_string();
    let answer = send(&router, Method::POST, "/console/login", &json, &body).await;
    assert_eq!(answer.ok()["csrf"].as_str().map(str::len), Some(64));
    // Without access control there is nobody to be.
    let open = Server::new().await;
    let open = server::router(open.api());
    send(&open, Method::POST, "/console/login", &json, &body).await.failed(404);
}
