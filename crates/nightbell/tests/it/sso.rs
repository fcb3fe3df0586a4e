//! Single sign-on of the real binary, by a real OpenID provider: a browser's way through both, and that of the
//! command line.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use reqwest::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};

use crate::live::{Live, binary};
use crate::sdks::{NODE_MODULES, prepared};

/// Where the server is for browsers; they are led to where it really is.
const PUBLIC: &str = "http://localhost:9";

/// The provider; it ends with the test.
struct Provider {
    child: Child,
    issuer: String,
    /// What it says besides; it ends when nobody listens.
    _said: BufReader<ChildStdout>,
}

impl Provider {
    fn start() -> Self {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/javascript/openid-provider.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .arg(format!("{PUBLIC}/console/sso/callback"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut issuer = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut issuer).unwrap();
        let issuer = issuer.trim().to_owned();
        assert!(issuer.starts_with("http://127.0.0.1:"), "{issuer}");
        Self { child, issuer, _said: said }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A browser that keeps the cookies of each site, and does as it is told by redirects.
struct Browser<'a> {
    http: Client,
    server: &'a Live,
    cookies: BTreeMap<(String, String), String>,
}

impl<'a> Browser<'a> {
    fn new(server: &'a Live) -> Self {
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, server, cookies: BTreeMap::new() }
    }

    /// Where an answer leads to, and its body.
    async fn send(
        &mut self,
        method: Method,
        url: &Url,
        form: Option<&str>,
    ) -> (Option<Url>, String) {
        let origin = url.origin().ascii_serialization();
        let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let mut request = if origin == PUBLIC {
            self.http.request(method, self.server.url(&path)).header(HOST, "localhost:9")
        } else {
            self.http.request(method, url.clone())
        };
        let ours = self.cookies.iter().filter(|((site, _), _)| *site == origin);
        let ours = ours.map(|((_, name), value)| format!("{name}={value}")).collect::<Vec<_>>();
        request = request.header(COOKIE, ours.join("; "));
        if let Some(form) = form {
            let kind = "application/x-www-form-urlencoded";
            request = request.header("content-type", kind).body(form.to_owned());
        }
        let answer = request.send().await.unwrap();
        for set in answer.headers().get_all(SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert((origin.clone(), name.to_owned()), value.to_owned());
        }
        let location = answer.headers().get(LOCATION).map(|it| it.to_str().unwrap().to_owned());
        (location.map(|it| url.join(&it).unwrap()), answer.text().await.unwrap())
    }

    /// Goes where it is led from an address of the server until `is_end`, and fills in the forms of the
    /// provider as somebody of this name.
    async fn sign_in(&mut self, begin: Url, name: &str, is_end: impl Fn(&Url) -> bool) -> Url {
        let mut at = begin;
        for _ in 0..20 {
            if is_end(&at) {
                return at;
            }
            let (next, page) = self.send(Method::GET, &at, None).await;
            let after = |mark: &str| {
                let (_, rest) = page.split_once(mark).unwrap_or_else(|| panic!("{at}: {page}"));
                rest.split('"').next().unwrap().to_owned()
            };
            at = if let Some(next) = next {
                next
            } else if page.contains("name=\"proof\"") {
                // The server asks whether the program that waits may sign in.
                let action = at.join(&after("action=\"")).unwrap();
                let form = format!("proof={}", after("name=\"proof\" value=\""));
                let (_, page) = self.send(Method::POST, &action, Some(&form)).await;
                let (_, rest) = page.split_once("href=\"http://127.0.0.1").unwrap();
                let rest = rest.split('"').next().unwrap().replace("&amp;", "&");
                Url::parse(&format!("http://127.0.0.1{rest}")).unwrap()
            } else {
                let prompt = after("name=\"prompt\" value=\"");
                let action = at.join(&after("action=\"")).unwrap();
                let form = format!("prompt={prompt}&login={name}&password=x");
                self.send(Method::POST, &action, Some(&form)).await.0.unwrap()
            };
        }
        panic!("it is led in circles, at last to {at}");
    }
}

/// What `login --sso` says when it ends at once.
fn run_login(live: &Live, logins: &str) -> String {
    let mut command = Command::new(binary());
    command.args(["login", "--sso"]).env("NIGHTBELL_URL", live.url(""));
    command.env_remove("NIGHTBELL_KEY").env("NIGHTBELL_LOGIN_DIR", logins);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn run(live: &Live, credential: &[(&str, &str)], arguments: &[&str]) -> Value {
    let mut command = Command::new(binary());
    command.args(arguments).args(["-o", "json"]).env("NIGHTBELL_URL", live.url(""));
    command.env_remove("NIGHTBELL_KEY").envs(credential.iter().copied());
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_by_a_provider_in_the_browser_and_at_the_command_line() {
    if prepared(NODE_MODULES).is_none() {
        return;
    }
    let provider = Provider::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("secret"), "a secret of +/& signs\n").unwrap();
    let (bootstrap, secret) = (path("bootstrap"), format!("file:{}", path("secret")));
    let live = Live::start_as(
        "serve",
        &[],
        &[
            ("NIGHTBELL_AUTH", "on"),
            ("NIGHTBELL_BOOTSTRAP_KEY_FILE", &bootstrap),
            ("NIGHTBELL_PUBLIC_URL", PUBLIC),
            ("NIGHTBELL_OIDC_ISSUER", &provider.issuer),
            ("NIGHTBELL_OIDC_CLIENT_ID", "nightbell"),
            ("NIGHTBELL_OIDC_CLIENT_SECRET", &secret),
            ("NIGHTBELL_OIDC_SCOPES", "email,groups"),
            ("NIGHTBELL_OIDC_GROUPS", "sre=on-call"),
        ],
    )
    .await;
    let admin = std::fs::read_to_string(&bootstrap).unwrap();
    let admin = [("NIGHTBELL_KEY", admin.trim())];
    run(&live, &admin, &["group", "create", "on-call", "--role", "responder"]).await;

    let mut browser = Browser::new(&live);
    let begin = Url::parse(&format!("{PUBLIC}/console/sso?next=/console/runs")).unwrap();
    let end = browser.sign_in(begin, "ann", |at| at.path() == "/console/runs").await;
    assert!(end.as_str().starts_with(PUBLIC), "{end}");
    let session = Url::parse(&format!("{PUBLIC}/console/session")).unwrap();
    let (_, me) = browser.send(Method::GET, &session, None).await;
    let me: Value = serde_json::from_str(&me).unwrap();
    assert_eq!(me["name"], "ann@example.com", "{me}");
    let user = run(&live, &admin, &["user", "show", "ann@example.com"]).await;
    let user = &user[0];
    assert_eq!(user["groups"], json!(["on-call"]), "{user}");
    assert_eq!(user["identity"], json!({ "issuer": provider.issuer, "subject": "ann" }), "{user}");

    // The command line writes an address, and waits for the browser that is led through it.
    let mut command = Command::new(binary());
    // A server that sends people to another one's page is not believed.
    let elsewhere = run_login(&live, &path("logins"));
    assert!(elsewhere.contains("users sign in at http://localhost:9/console/sso"), "{elsewhere}");
    command.args(["login", "--sso", "--at", PUBLIC]).env("NIGHTBELL_URL", live.url(""));
    command.env_remove("NIGHTBELL_KEY").env("NIGHTBELL_LOGIN_DIR", path("logins"));
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = lines.find_map(|line| Url::parse(line.trim()).ok()).unwrap();
    assert!(address.as_str().starts_with(&format!("{PUBLIC}/console/sso?port=")), "{address}");
    let end = Browser::new(&live)
        .sign_in(address, "bob", |at| at.host_str() == Some("127.0.0.1") && at.path() == "/")
        .await;
    let page = live.http.get(end).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("You have signed in"), "{page}");
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{:?}", lines.collect::<Vec<_>>());
    let kept = [("NIGHTBELL_LOGIN_DIR", path("logins"))];
    let kept = kept.each_ref().map(|(name, value)| (*name, value.as_str()));
    run(&live, &kept, &["workflow", "list"]).await;
    let ledger = run(&live, &admin, &["audit", "list"]).await.to_string();
    assert!(ledger.contains("bob@example.com") && ledger.contains("login"), "{ledger}");
    assert!(!live.log_text().contains("a secret of"), "{}", live.log_text());
}
