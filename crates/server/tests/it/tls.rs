//! TLS on the port: who can connect, by which protocols, and with which certificate.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Version;
use kernel::access::{Mode, Role};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use reqwest::{Certificate, Client, Identity, StatusCode};
use serde_json::{Value, json};
use server::{Tls, TlsFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::listener::Listening;
use crate::support::{Server, line};

/// How long something may take to come on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for this machine, and its key.
    fn sign(&self) -> (String, String) {
        self.sign_with(|_| ())
    }

    fn sign_with(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).expect("it signs");
        (cert.pem(), key.serialize_pem())
    }
}

/// Files in a folder of their own.
struct Files(tempfile::TempDir);

impl Files {
    fn signed_by(authority: &Authority) -> Self {
        let (cert, key) = authority.sign();
        Self::of(&cert, &key)
    }

    fn of(cert: &str, key: &str) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        files.write("cert.pem", cert);
        files.write("key.pem", key);
        files
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.path().join(name);
        std::fs::write(&file, text).expect("it is written");
        file
    }

    fn named(&self) -> TlsFiles {
        let file = |name| self.0.path().join(name);
        TlsFiles { cert: file("cert.pem"), key: file("key.pem"), client_ca: None }
    }

    fn tls(&self) -> Arc<Tls> {
        Tls::open(self.named()).expect("they can be used")
    }

    fn refused(&self) -> String {
        Tls::open(self.named()).expect_err("they cannot be used").to_string()
    }
}

fn client(trusted: &Authority, identity: Option<&(String, String)>) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = Certificate::from_pem(trusted.pem.as_bytes()).expect("a certificate");
    let mut client = Client::builder().tls_certs_only([root]).timeout(PATIENCE).no_proxy();
    if let Some((cert, key)) = identity {
        let identity = Identity::from_pem(format!("{cert}{key}").as_bytes());
        client = client.identity(identity.expect("a certificate with its key"));
    }
    client.build().expect("a client")
}

fn url(listening: &Listening, path: &str) -> String {
    format!("https://{}{path}", listening.address)
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // Cut off is as good as closed.
    let _ = read.expect("the server closes it");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn both_versions_of_http_and_grpc_are_answered_over_tls() {
    let authority = Authority::new();
    let files = Files::signed_by(&authority);
    let server = Server::new().await.with(|settings| {
        settings.tls = Some(files.tls());
        settings.public_url = Some("https://localhost".to_owned());
    });
    server.register(line("orders", &["pack"])).await;
    let listening = Listening::over(&server).await;

    let new = client(&authority, None);
    let health = new.get(url(&listening, "/health")).send().await.expect("an answer");
    assert_eq!((health.version(), health.status()), (Version::HTTP_2, StatusCode::OK));
    assert!(!health.headers().contains_key("strict-transport-security"), "an address has no name");
    let health: Value = health.json().await.expect("JSON");
    assert!(health["tls"]["endsAt"].as_i64().expect("an instant") > 0, "{health}");
    let localhost = format!("https://localhost:{}/api/version", listening.address.port());
    let named = new.get(localhost).send().await.expect("an answer");
    assert!(named.headers().contains_key("strict-transport-security"), "{:?}", named.headers());

    let hello = new
        .post(url(&listening, "/TaskHubSidecarService/Hello"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(vec![0; 5]);
    let hello = hello.send().await.expect("an answer");
    assert_eq!(hello.headers()["content-type"], "application/grpc");
    assert!(!hello.headers().contains_key("grpc-status"), "{:?}", hello.headers());
    assert_eq!(&hello.bytes().await.expect("a message")[..], [0; 5]);

    let root = Certificate::from_pem(authority.pem.as_bytes()).expect("a certificate");
    let old = Client::builder().tls_certs_only([root]).http1_only().no_proxy();
    let old = old.timeout(PATIENCE).build().expect("a client");
    // The thread that takes connections answers the first one, and hands on the second one.
    let health = old.get(url(&listening, "/health")).send().await.expect("an answer");
    assert_eq!((health.version(), health.status()), (Version::HTTP_11, StatusCode::OK));
    drop(health);
    let input = json!({ "text": "x".repeat(200_000) });
    let started = old.post(url(&listening, "/api/workflow/orders")).json(&input);
    let id = started.send().await.expect("an answer").text().await.expect("an id");
    let shown = old.get(url(&listening, &format!("/api/workflow/{id}"))).send().await;
    let shown: Value = shown.expect("an answer").json().await.expect("JSON");
    assert_eq!(shown["input"], input, "long bodies pass both ways");
    drop((old, new));
    listening.end().await;
}

#[tokio::test]
async fn links_lead_back_over_tls() {
    let authority = Authority::new();
    let files = Files::signed_by(&authority);
    let server = Server::new().await.with(|settings| settings.tls = Some(files.tls()));
    let listening = Listening::over(&server).await;
    let client = client(&authority, None);
    let path = "/runtime/webhooks/durabletask/orchestrators/o";
    let started = client.post(url(&listening, path)).json(&json!({})).send().await;
    let started: Value = started.expect("an answer").json().await.expect("JSON");
    let link = started["statusQueryGetUri"].as_str().expect("a link");
    assert!(link.starts_with(&url(&listening, "/")), "{link}");
    drop(client);
    listening.end().await;
}

#[tokio::test]
async fn a_new_certificate_counts_at_once_and_a_broken_one_not_at_all() {
    let (first, second) = (Authority::new(), Authority::new());
    let (cert, key) = first.sign();
    let files = Files::of(&cert, &key);
    let tls = files.tls();
    let server = Server::new().await.with(|settings| settings.tls = Some(tls.clone()));
    let listening = Listening::over(&server).await;
    let connects = async |authority: &Authority| {
        client(authority, None).get(url(&listening, "/api/version")).send().await.is_ok()
    };
    assert!(!tls.look(), "nothing has changed");
    assert!(connects(&first).await && !connects(&second).await);

    let (cert, key) = second.sign();
    files.write("cert.pem", &cert);
    assert!(!tls.look(), "the key is still the former one's");
    let health = server.get("/health").await.ok();
    let told = health["warnings"].to_string();
    assert_eq!(health["status"], "degraded", "{told}");
    assert!(told.contains("\"tls\"") && told.contains("does not belong"), "{told}");
    assert!(connects(&first).await, "the former one stays in force");

    files.write("key.pem", &key);
    assert!(tls.look());
    assert!(connects(&second).await && !connects(&first).await);
    assert_eq!(server.get("/health").await.ok()["warnings"], json!([]));

    std::fs::remove_file(files.named().cert).expect("it is there");
    assert!(!tls.look());
    assert!(connects(&second).await);
    files.write("cert.pem", &cert);
    assert!(tls.look(), "what was in force before is in force again");
    assert_eq!(server.get("/health").await.ok()["warnings"], json!([]));
    listening.end().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_with_what_is_wrong() {
    let authority = Authority::new();
    let (cert, key) = authority.sign();
    let (_, other_key) = authority.sign();
    let (expired, expired_key) = authority.sign_with(|it| it.not_after = date_time_ymd(2001, 2, 3));
    let (early, early_key) = authority.sign_with(|it| it.not_before = date_time_ymd(3001, 2, 3));
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (cert, key, parts) in [
        (&*cert, &*other_key, ["tls_key", "does not belong"]),
        (&expired, &expired_key, ["tls_cert", "has expired on Feb  3"]),
        (&early, &early_key, ["tls_cert", "is not valid before Feb  3"]),
        (&key, &key, ["tls_cert", "holds no certificate"]),
        (&cert, &cert, ["tls_key", "holds no private key"]),
        (&cert, &encrypted, ["tls_key", "encrypted key"]),
        (damaged, &key, ["tls_cert", "bad certificate"]),
        ("", &key, ["tls_cert", "holds no certificate"]),
    ] {
        let refused = Files::of(cert, key).refused();
        assert!(parts.iter().all(|part| refused.contains(part)), "{parts:?}: {refused}");
    }
    let files = Files::of(&cert, &key);
    let missing = TlsFiles { key: "/no/such/key.pem".into(), ..files.named() };
    let refused = Tls::open(missing).expect_err("there is none").to_string();
    assert!(refused.contains("tls_key: cannot read /no/such/key.pem"), "{refused}");
    let not_one = TlsFiles { client_ca: Some(files.write("ca.pem", "what")), ..files.named() };
    let refused = Tls::open(not_one).expect_err("it holds none").to_string();
    assert!(refused.contains("tls_client_ca") && refused.contains("no certificate"), "{refused}");
    // A chain is as good as a certificate.
    Tls::open(Files::of(&format!("{cert}{}", authority.pem), &key).named()).expect("a chain");
}

#[tokio::test]
async fn who_lacks_a_client_certificate_cannot_connect() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (cert, key) = servers.sign();
    let files = Files::of(&cert, &key);
    let client_ca = Some(files.write("clients.pem", &clients.pem));
    let tls = Tls::open(TlsFiles { client_ca, ..files.named() }).expect("they can be used");
    let server = Server::new().await.with(|settings| settings.tls = Some(tls));
    let listening = Listening::over(&server).await;
    let ask = async |identity: Option<(String, String)>, path: &str| {
        let asked = client(&servers, identity.as_ref()).get(url(&listening, path)).send().await;
        asked.map(|answer| answer.status())
    };
    for path in ["/health", "/api/version"] {
        assert!(ask(None, path).await.is_err(), "{path} without a certificate");
        assert!(ask(Some(servers.sign()), path).await.is_err(), "{path} with a foreign one");
        let expired = clients.sign_with(|it| it.not_after = date_time_ymd(2001, 2, 3));
        assert!(ask(Some(expired), path).await.is_err(), "{path} with an expired one");
        assert_eq!(ask(Some(clients.sign()), path).await.expect("an answer"), StatusCode::OK);
    }
    listening.end().await;
}

#[tokio::test]
async fn a_client_that_is_silent_in_its_handshake_is_closed() {
    let authority = Authority::new();
    let files = Files::signed_by(&authority);
    let server = Server::new().await.with(|settings| {
        settings.tls = Some(files.tls());
        settings.handshake_time = Duration::from_millis(50);
    });
    let listening = Listening::over(&server).await;
    for begin in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut silent = TcpStream::connect(listening.address).await.expect("a connection");
        silent.write_all(begin).await.expect("sent");
        assert_eq!(read_to_end(&mut silent).await, "");
    }
    listening.end().await;
}

#[tokio::test]
async fn handshakes_count_as_connections_and_make_room() {
    let authority = Authority::new();
    let files = Files::signed_by(&authority);
    let server = Server::new().await.with(|settings| {
        settings.tls = Some(files.tls());
        settings.connections_max = 1;
        settings.handshake_time = Duration::from_hours(1);
    });
    let listening = Listening::over(&server).await;
    let mut silent = TcpStream::connect(listening.address).await.expect("a connection");
    silent.write_all(b"\x16").await.expect("sent");
    let mut second = TcpStream::connect(listening.address).await.expect("a connection");
    // The one that was there first makes room.
    assert_eq!(read_to_end(&mut silent).await, "");
    second.write_all(b"\x16").await.expect("sent");
    let version = client(&authority, None).get(url(&listening, "/api/version")).send().await;
    assert_eq!(version.expect("an answer").status(), StatusCode::OK);
    assert_eq!(read_to_end(&mut second).await, "");
    listening.end().await;
}

#[tokio::test]
async fn who_speaks_http_2_hears_that_there_is_no_place_too() {
    let authority = Authority::new();
    let files = Files::signed_by(&authority);
    let server = Server::new().await.with(|settings| {
        settings.tls = Some(files.tls());
        settings.connections_max = 1;
    });
    server.register(line("w", &["never"])).await;
    let listening = Listening::over(&server).await;
    let execute = client(&authority, None)
        .post(url(&listening, "/api/workflow/execute/w/1?waitForSeconds=60"))
        .json(&json!({}));
    let busy = tokio::spawn(execute.send());
    server.until_queued("never", 1).await;
    let refused = client(&authority, None).get(url(&listening, "/api/version")).send().await;
    assert_eq!(refused.expect("an answer").status(), StatusCode::SERVICE_UNAVAILABLE);
    busy.abort();
    let _ = busy.await;
    listening.end().await;
}

#[tokio::test]
async fn a_session_over_tls_has_a_cookie_for_tls_whatever_the_public_address_is() {
    let authority = Authority::new();
    let (cert, key) = authority.sign();
    let files = Files::of(&cert, &key);
    let server = Server::new().await.with(|settings| {
        settings.tls = Some(files.tls());
        settings.auth = Mode::On;
        settings.public_url = Some("http://localhost".to_owned());
    });
    let (access, now) = (server.engine.access(), server.engine.now());
    let made = access.create_key("ann", vec![Role::Viewer], None, "test", now).await;
    let key = made.expect("memory takes all").text.to_string();
    let listening = Listening::over(&server).await;
    let login = client(&authority, None).post(url(&listening, "/console/login"));
    let answer = login.json(&json!({ "key": key })).send().await.expect("an answer");
    let cookie = answer.headers().get("set-cookie").expect("a cookie").to_str().expect("text");
    assert!(cookie.contains("; Secure"), "{cookie}");
    drop(answer);
    listening.end().await;
}

#[tokio::test]
async fn what_comes_without_tls_is_told_so_and_no_more() {
    let authority = Authority::new();
    let files = Files::signed_by(&authority);
    let server = Server::new().await.with(|settings| settings.tls = Some(files.tls()));
    let listening = Listening::over(&server).await;
    for path in ["/api/version", "/health"] {
        let mut plain = TcpStream::connect(listening.address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        plain.write_all(request.as_bytes()).await.expect("sent");
        let answer = read_to_end(&mut plain).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("tls-required") && answer.contains("https://"), "{answer}");
    }
    listening.end().await;
}
