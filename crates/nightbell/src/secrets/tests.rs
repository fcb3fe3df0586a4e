//! Secrets from files, credentials and a stand-in of Vault that insists on what Vault documents.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::Values as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Outside;
use crate::config::{Config, Flags};
use crate::serve::task_settings;

/// Seconds that a token lives.
const LEASE: u64 = 90;

#[derive(Default)]
struct Kept {
    is_sealed: bool,
    /// By path below the mount `secret`; nothing = deleted.
    documents: BTreeMap<String, Option<Value>>,
    forbidden: BTreeSet<String>,
    tokens: BTreeSet<String>,
    /// What a renewal gives.
    renewal: u64,
    heard: Vec<String>,
}

/// A stand-in of Vault.
#[derive(Clone, Default)]
struct StandIn(Arc<Mutex<Kept>>);

impl StandIn {
    async fn start(&self) -> String {
        self.0.lock().renewal = LEASE;
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn put(&self, path: &str, document: Option<Value>) {
        self.0.lock().documents.insert(path.to_owned(), document);
    }

    fn seal(&self, is_sealed: bool) {
        self.0.lock().is_sealed = is_sealed;
    }

    /// What was asked since the last time.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().heard)
    }
}

fn refused(status: u16, errors: &[&str]) -> (u16, Value) {
    (status, json!({ "errors": errors }))
}

async fn answer(State(vault): State<StandIn>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let header = |name: &str| parts.headers.get(name).map(|it| it.to_str().unwrap().to_owned());
    let mut kept = vault.0.lock();
    kept.heard.push(format!("{} {}", parts.method, parts.uri.path()));
    let token = header("x-vault-token");
    let is_known = token.as_ref().is_some_and(|token| kept.tokens.contains(token));
    let (status, body) = if kept.is_sealed {
        refused(503, &["Vault is sealed"])
    } else if header("x-vault-request").as_deref() != Some("true") {
        refused(400, &["missing X-Vault-Request"])
    } else {
        match (parts.method.as_str(), parts.uri.path()) {
            ("POST", "/v1/auth/approle/login")
                if body == json!({ "role_id": "bell", "secret_id": "s3cret" }) =>
            {
                kept.login()
            }
            ("POST", "/v1/auth/approle/login") => refused(400, &["invalid role or secret ID"]),
            ("POST", "/v1/auth/k8s/cluster/login")
                if body == json!({ "role": "bell", "jwt": "a.b.c" }) =>
            {
                kept.login()
            }
            (_, _) if !is_known => refused(403, &["permission denied"]),
            ("POST", "/v1/auth/token/renew-self") => {
                let auth = json!({ "client_token": token, "lease_duration": kept.renewal, "renewable": true });
                (200, json!({ "auth": auth }))
            }
            ("GET", path) => match path.strip_prefix("/v1/secret/data/") {
                Some(path) if kept.forbidden.contains(path) => refused(403, &["permission denied"]),
                Some(path) => match kept.documents.get(path) {
                    None => refused(404, &[]),
                    Some(None) => {
                        let metadata =
                            json!({ "deletion_time": "2026-11-01T00:00:00Z", "version": 2 });
                        (404, json!({ "data": { "data": null, "metadata": metadata } }))
                    }
                    Some(Some(fields)) => {
                        let metadata =
                            json!({ "deletion_time": "", "destroyed": false, "version": 1 });
                        (200, json!({ "data": { "data": fields, "metadata": metadata } }))
                    }
                },
                None => refused(404, &["no handler for route"]),
            },
            _ => refused(405, &["unsupported operation"]),
        }
    };
    let status = StatusCode::from_u16(status).unwrap();
    (status, axum::Json(body)).into_response()
}

impl Kept {
    fn login(&mut self) -> (u16, Value) {
        let token = format!("hvs.{}", self.tokens.len());
        self.tokens.insert(token.clone());
        let auth = json!({ "client_token": token, "lease_duration": LEASE, "renewable": true });
        (200, json!({ "auth": auth }))
    }
}

/// What is configured by these, with calls as the server makes them.
fn outside(settings: &[(&str, &str)]) -> anyhow::Result<Arc<Outside>> {
    let of = |name: &str| {
        let found = settings.iter().find(|(key, _)| name == format!("NIGHTBELL_{key}"));
        found.map(|(_, value)| (*value).to_owned())
    };
    let config = Config::load(&Flags::default(), of, None)?;
    Outside::of(&config, task_settings(&config).http)
}

/// A role with its secret id in a file.
fn approle(folder: &Path, url: &str, secrets: &str) -> Arc<Outside> {
    let file = folder.join("secret-id");
    std::fs::write(&file, "s3cret\n").unwrap();
    let file = file.to_str().unwrap();
    outside(&[
        ("SECRETS", secrets),
        ("VAULT_URL", url),
        ("VAULT_ROLE_ID", "bell"),
        ("VAULT_SECRET_ID_FILE", file),
    ])
    .unwrap()
}

fn reason(outside: &Outside, name: &str) -> String {
    outside.lacking(name).unwrap_or_else(|| panic!("{name} is there"))
}

#[tokio::test]
async fn files_are_read_again_and_end_when_they_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pd");
    std::fs::write(&file, "one\n").unwrap();
    let secrets = format!("PD=file:{},NO=env:NIGHTBELL_TEST_NO_SUCH", file.display());
    let outside = outside(&[("SECRETS", &secrets)]).unwrap();
    assert!(outside.lacks_any() && reason(&outside, "PD").contains("not been read yet"));
    outside.begin().await;
    assert_eq!(outside.secret("PD").as_deref(), Some("one"));
    assert_eq!(outside.secret_names(), ["NO", "PD"]);
    assert!(reason(&outside, "NO").contains("NIGHTBELL_TEST_NO_SUCH is not set"));

    std::fs::write(&file, "two").unwrap();
    outside.look(Instant::now()).await;
    assert_eq!(outside.secret("PD").as_deref(), Some("two"));
    assert_eq!(**outside.former_secrets("PD")[0], *"one");

    // What is not to be read is not what is gone.
    std::fs::write(&file, "\n").unwrap();
    outside.look(Instant::now()).await;
    assert_eq!(outside.secret("PD").as_deref(), Some("two"));
    std::fs::remove_file(&file).unwrap();
    outside.look(Instant::now()).await;
    assert_eq!(outside.secret("PD"), None);
    assert!(reason(&outside, "PD").contains("No such file"), "{}", reason(&outside, "PD"));
}

#[tokio::test]
async fn documents_are_read_by_a_role_and_each_trouble_is_told_apart() {
    let (vault, folder) = (StandIn::default(), tempfile::tempdir().unwrap());
    let url = vault.start().await;
    vault.put("team/db", Some(json!({ "password": "hunter2", "port": 5432, "no": "" })));
    vault.put("old", None);
    vault.0.lock().forbidden.insert("theirs".to_owned());
    let secrets = "PASS=vault:secret/team/db#password,PORT=vault:secret/team/db#port,\
                   EMPTY=vault:secret/team/db#no,FIELD=vault:secret/team/db#user,\
                   OLD=vault:secret/old#x,THEIRS=vault:secret/theirs#x,V1=vault:kv/theirs#x";
    let outside = approle(folder.path(), &url, secrets);
    outside.begin().await;
    assert_eq!(outside.secret("PASS").as_deref(), Some("hunter2"));
    assert_eq!(outside.secret("PORT").as_deref(), Some("5432"));
    for (name, says) in [
        ("EMPTY", "0 bytes"),
        ("FIELD", "no field user"),
        ("OLD", "deleted"),
        ("THEIRS", "permission denied"),
        ("V1", "no handler for route"),
    ] {
        assert!(reason(&outside, name).contains(says), "{}", reason(&outside, name));
    }
    // One login, and another when a document was refused: the token might have been revoked.
    let heard = vault.heard();
    let count = |what: &str| heard.iter().filter(|it| it.contains(what)).count();
    assert_eq!((count("login"), count("team/db")), (2, 1), "{heard:?}");
}

#[tokio::test]
async fn while_vault_is_sealed_secrets_count_as_last_read_for_a_bounded_time() {
    let (vault, folder) = (StandIn::default(), tempfile::tempdir().unwrap());
    let url = vault.start().await;
    vault.put("db", Some(json!({ "password": "hunter2" })));
    let outside = approle(folder.path(), &url, "PASS=vault:secret/db#password");
    let begun = Instant::now();
    outside.look(begun).await;
    vault.seal(true);
    outside.look(begun + Duration::from_mins(59)).await;
    assert_eq!(outside.secret("PASS").as_deref(), Some("hunter2"));
    let troubles = outside.troubles();
    let text = troubles["vault:*"].text();
    assert!(text.contains("503 Vault is sealed") && text.contains("PASS: they count"), "{text}");

    outside.look(begun + Duration::from_hours(1)).await;
    assert!(outside.secret("PASS").is_none() && outside.lacks_any());
    assert!(reason(&outside, "PASS").contains("Vault is sealed"));
    // What was handed out before is still masked.
    assert_eq!(**outside.former_secrets("PASS")[0], *"hunter2");

    vault.seal(false);
    outside.look(begun + Duration::from_mins(61)).await;
    assert_eq!(outside.secret("PASS").as_deref(), Some("hunter2"));
    assert!(outside.troubles().is_empty() && !outside.lacks_any());

    // That there is none is an answer, and counts at once.
    vault.put("db", None);
    outside.look(begun + Duration::from_mins(62)).await;
    assert_eq!(outside.secret("PASS"), None);
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_and_replaced_after_its_last_renewal() {
    let (vault, folder) = (StandIn::default(), tempfile::tempdir().unwrap());
    let url = vault.start().await;
    vault.put("db", Some(json!({ "password": "hunter2" })));
    let outside = approle(folder.path(), &url, "PASS=vault:secret/db#password");
    let begun = Instant::now();
    let read = "GET /v1/secret/data/db";
    let (login, renew) = ("POST /v1/auth/approle/login", "POST /v1/auth/token/renew-self");
    let after = |seconds| begun + Duration::from_secs(seconds);
    outside.look(begun).await;
    assert_eq!(vault.heard(), [login, read]);
    outside.look(after(59)).await;
    assert_eq!(vault.heard(), [read]);
    outside.look(after(60)).await;
    assert_eq!(vault.heard(), [renew, read]);
    vault.0.lock().renewal = 10;
    outside.look(after(120)).await;
    assert_eq!(vault.heard(), [renew, login, read]);
    // Revoked by somebody.
    vault.0.lock().tokens.clear();
    outside.look(after(121)).await;
    assert_eq!(vault.heard(), [read, login, read]);
    assert_eq!(outside.secret("PASS").as_deref(), Some("hunter2"));
}

#[tokio::test]
async fn a_jwt_and_a_token_of_a_file_are_read_anew() {
    let (vault, folder) = (StandIn::default(), tempfile::tempdir().unwrap());
    let url = vault.start().await;
    vault.put("db", Some(json!({ "password": "hunter2" })));
    let file = folder.path().join("proof");
    let path = file.to_str().unwrap();
    let secrets = ("SECRETS", "PASS=vault:secret/db#password");
    let common = [secrets, ("VAULT_URL", url.as_str())];

    std::fs::write(&file, "expired").unwrap();
    let login =
        [("VAULT_JWT_ROLE", "bell"), ("VAULT_JWT_FILE", path), ("VAULT_AUTH_MOUNT", "k8s/cluster")];
    let by_jwt = outside(&[&common[..], &login[..]].concat()).unwrap();
    by_jwt.begin().await;
    assert!(reason(&by_jwt, "PASS").contains("the login at k8s/cluster of Vault was refused"));
    std::fs::write(&file, "a.b.c\n").unwrap();
    by_jwt.look(Instant::now()).await;
    assert_eq!(by_jwt.secret("PASS").as_deref(), Some("hunter2"));

    let token = [("VAULT_TOKEN_FILE", path)];
    let by_file = outside(&[&common[..], &token[..]].concat()).unwrap();
    by_file.begin().await;
    assert!(reason(&by_file, "PASS").contains("permission denied"));
    std::fs::write(&file, "hvs.0").unwrap();
    by_file.look(Instant::now()).await;
    assert_eq!(by_file.secret("PASS").as_deref(), Some("hunter2"));
}

#[tokio::test]
async fn vault_is_called_within_the_outgoing_policy() {
    let (vault, folder) = (StandIn::default(), tempfile::tempdir().unwrap());
    let url = vault.start().await;
    let token = folder.path().join("token");
    std::fs::write(&token, "hvs.0").unwrap();
    let outside = outside(&[
        ("SECRETS", "PASS=vault:secret/db#password"),
        ("VAULT_URL", &url),
        ("VAULT_TOKEN_FILE", token.to_str().unwrap()),
        ("OUTGOING_DENY", "127.0.0.0/8"),
    ])
    .unwrap();
    outside.begin().await;
    assert!(reason(&outside, "PASS").contains("outgoing_deny"), "{}", reason(&outside, "PASS"));
    assert!(vault.heard().is_empty());
}

#[test]
fn what_is_missing_is_said_at_the_start() {
    let secrets = ("SECRETS", "PASS=vault:secret/db#password");
    let url = ("VAULT_URL", "http://127.0.0.1:9");
    for (settings, says) in [
        (vec![secrets, url], "how to log in"),
        (vec![secrets, ("VAULT_TOKEN_FILE", "t")], "vault_url is not set"),
        (vec![secrets, url, ("VAULT_ROLE_ID", "bell")], "vault_secret_id_file is not set"),
        (
            vec![secrets, url, ("VAULT_ROLE_ID", "a"), ("VAULT_TOKEN_FILE", "t")],
            "more than one way",
        ),
    ] {
        let error = outside(&settings).err().expect("it is incomplete").to_string();
        assert!(error.contains(says), "{error}");
    }
}
