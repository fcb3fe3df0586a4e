//! What a web page can make somebody's browser send to a server on their machine or in their network.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;
use tower::ServiceExt;

use crate::support::{Answer, Server, waiting};

const EVIL: &str = "https://evil.example";
const DURABLE: &str = "/runtime/webhooks/durabletask/orchestrators/w";

async fn server() -> Server {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let trigger =
        json!({ "name": "t", "method": "POST", "path": "/jobs", "start": { "name": "w" } });
    server.post("/api/triggers", &trigger).await.ok();
    server
}

async fn ask(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    server.send_with(method, path, headers, String::new()).await
}

/// How many executions there are, running or not.
async fn runs(server: &Server) -> u64 {
    server.get("/api/workflow/search").await.ok()["totalHits"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_name_that_was_made_to_point_here_is_refused() {
    let server = server().await;
    let host = [("host", "rebind.evil.example:8080")];
    let paths = [
        (Method::GET, "/api/secrets"),
        (Method::GET, "/api/workflow/search"),
        (Method::POST, "/api/workflow/w"),
        (Method::GET, "/docs"),
        (Method::POST, DURABLE),
        (Method::POST, "/jobs"),
        (Method::GET, "/nothing"),
    ];
    for (method, path) in &paths {
        let refused = ask(&server, method.clone(), path, &host).await;
        assert_eq!(refused.code(421), "host-unknown", "{path}");
        let hint = refused.json()["hint"].to_string();
        assert!(hint.contains("`hosts`") && hint.contains("rebind.evil.example"), "{hint}");
    }
    // Wherever the request says it: as a second header, or as an absolute address.
    let twice = [("host", "localhost"), ("host", "evil.example")];
    ask(&server, Method::GET, "/api/secrets", &twice).await.failed(421);
    let absolute = "http://evil.example/api/secrets";
    ask(&server, Method::GET, absolute, &[("host", "localhost")]).await.failed(421);
    for odd in ["user@localhost", "localhost@evil.example", "a b"] {
        ask(&server, Method::GET, "/api/secrets", &[("host", odd)]).await.failed(421);
    }
    assert_eq!(runs(&server).await, 0);
}

#[tokio::test]
async fn clients_notice_nothing_of_the_guard() {
    let server = server().await;
    for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "10.1.2.3", "LOCALHOST"] {
        assert_eq!(ask(&server, Method::GET, "/api/secrets", &[("host", host)]).await.status, 200);
    }
    let named = server.with(|settings| {
        settings.public_url = Some("https://bell.example/night".to_owned());
        settings.hosts = vec!["*.corp.example".parse().expect("a pattern")];
    });
    for host in ["bell.example", "a.corp.example:8080"] {
        assert_eq!(ask(&named, Method::GET, "/api/secrets", &[("host", host)]).await.status, 200);
    }
    let agent = [("user-agent", "python-requests/2.32"), ("host", "10.1.2.3:8080")];
    ask(&named, Method::GET, "/api/workflow/execute/none", &agent).await.failed(404);
    let agent = [("user-agent", "curl/8.9"), ("host", "10.1.2.3:8080")];
    assert_eq!(ask(&named, Method::GET, "/api/tasks/poll/x?timeout=0", &agent).await.status, 204);
    let page = [
        ("host", "localhost:8080"),
        ("origin", "http://localhost:8080"),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_eq!(ask(&named, Method::POST, "/api/workflow/w", &page).await.status, 200);
    let proxied = [("host", "10.0.0.1:8080"), ("origin", "https://bell.example")];
    assert_eq!(ask(&named, Method::POST, "/api/workflow/w", &proxied).await.status, 200);
    assert_eq!(runs(&named).await, 2);
}

#[tokio::test]
async fn another_sites_page_starts_nothing_and_reads_nothing() {
    let server = server().await;
    let marks: [&[(&str, &str)]; 6] = [
        &[("origin", EVIL)],
        &[("origin", "null")],
        &[("origin", "http://localhost:3000"), ("host", "localhost:8080")],
        &[("origin", "https://localhost:8080.evil.example"), ("host", "localhost:8080")],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
        &[("sec-fetch-site", "same-site")],
    ];
    let paths = [
        (Method::POST, "/api/workflow"),
        (Method::POST, "/api/workflow/w"),
        (Method::GET, "/api/workflow/execute/w"),
        (Method::GET, "/api/tasks/poll/batch/x"),
        (Method::GET, "/api/secrets"),
        (Method::DELETE, "/api/triggers/t"),
        (Method::OPTIONS, "/api/workflow"),
        (Method::POST, DURABLE),
        // The same path in other spellings, which our router does not know.
        (Method::POST, "/runtime/webhooks/DurableTask/Orchestrators/w"),
        (Method::POST, "/durabletask/orchestrators/w/"),
    ];
    for mark in marks {
        for (method, path) in &paths {
            // A form or a plain text needs no leave of the server (no preflight).
            let mut headers = vec![("content-type", "text/plain")];
            headers.extend_from_slice(mark);
            let refused = ask(&server, method.clone(), path, &headers).await;
            assert_eq!(refused.code(403), "cross-site", "{method} {path} {mark:?}");
        }
    }
    assert_eq!(runs(&server).await, 0);
    assert_eq!(server.get("/api/triggers/t").await.status, 200);
}

#[tokio::test]
async fn paths_with_a_proof_of_their_own_are_open_to_pages() {
    let server = server().await;
    let page = [
        ("origin", EVIL),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-dest", "empty"),
    ];
    for path in ["/webhook/none", "/api/webhook/none", "/hooks/none", "/ping/none"] {
        assert_eq!(ask(&server, Method::POST, path, &page).await.code(404), "not-found", "{path}");
    }
    assert_eq!(ask(&server, Method::POST, "/jobs", &page).await.status, 202);
}

#[tokio::test]
async fn a_link_on_another_site_opens_pages_only() {
    let server = server().await;
    let link = |destination: &'static str| {
        [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", destination),
        ]
    };
    assert_eq!(ask(&server, Method::GET, "/docs", &link("document")).await.status, 200);
    assert_eq!(ask(&server, Method::GET, "/health", &link("document")).await.status, 200);
    ask(&server, Method::GET, "/", &link("document")).await.failed(404);
    // Not within a page of theirs, and not what tells of runs.
    ask(&server, Method::GET, "/docs", &link("iframe")).await.failed(403);
    ask(&server, Method::GET, "/api/workflow/search", &link("document")).await.failed(403);
    ask(&server, Method::POST, "/health", &link("document")).await.failed(403);
}

#[tokio::test]
async fn a_get_with_effects_is_no_link() {
    let server = server().await;
    let execute = "/api/workflow/execute/w?waitForSeconds=0";
    // A link in a mail, a page over plain http (browsers say no more there), a scanner of links.
    let opened = [
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    let image = [("user-agent", "Mozilla/5.0 (X11; Linux) Firefox/141.0"), ("host", "10.1.2.3")];
    for path in [execute, "/api/tasks/poll/x", "/api/scheduler/admin/pause"] {
        for marks in [&opened[..], &image[..]] {
            let refused = ask(&server, Method::GET, path, marks).await;
            assert_eq!(refused.code(403), "opened-by-browser", "{path} {marks:?}");
        }
        assert_eq!(ask(&server, Method::HEAD, path, &[]).await.status, 405, "{path}");
    }
    for purpose in ["sec-purpose", "purpose"] {
        for path in [execute, "/ping/none", "/docs"] {
            let refused = ask(&server, Method::GET, path, &[(purpose, "prefetch;prerender")]).await;
            assert_eq!(refused.code(403), "prefetch", "{path}");
        }
    }
    assert_eq!(runs(&server).await, 0);
    // The calls of jobs come by any method from any program; a link that is opened is none.
    assert_eq!(
        ask(&server, Method::GET, "/ping/none", &opened).await.code(403),
        "opened-by-browser"
    );
    assert_eq!(ask(&server, Method::GET, "/ping/none", &image).await.code(404), "not-found");
    assert_eq!(ask(&server, Method::HEAD, "/ping/none", &[]).await.status, 404);
}

#[tokio::test]
async fn answers_tell_browsers_to_keep_them_to_themselves() {
    let server = server().await;
    for path in ["/docs", "/api/secrets", "/nothing", "/api/workflow/none"] {
        let answer = server.get(path).await;
        let header =
            |name: &str| answer.headers.get(name).map_or("", |it| it.to_str().expect("text"));
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{path}");
        let policy = header("content-security-policy");
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert_eq!(
            header("cache-control"),
            if path == "/docs" { "" } else { "no-store" },
            "{path}"
        );
        assert_eq!(header("access-control-allow-origin"), "", "{path}");
    }
}

#[tokio::test]
async fn grpc_is_guarded_in_its_own_words() {
    let server = server().await;
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://rebind.evil.example/TaskHubSidecarService/Hello")
        .header("content-type", "application/grpc");
    let request = request.body(Body::empty()).expect("a request");
    let response = server.router().oneshot(request).await.expect("an answer");
    let header = |name: &str| response.headers()[name].to_str().expect("a text").to_owned();
    assert_eq!((response.status().as_u16(), header("grpc-status")), (200, "7".to_owned()));
    assert!(header("grpc-message").contains("hosts"), "{}", header("grpc-message"));
}
