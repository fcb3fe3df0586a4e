//! Speaks to the server: builds requests, and turns refusals into failures that say what to do.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::failure::{Exit, Failure, Violation};
use super::login_file::{Given, Login};
use super::output::clean;

const DEFAULT_URL: &str = "http://127.0.0.1:8080";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence of the server in the middle of a call.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// The server, as a client sees it.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    /// Ends with `/api`.
    base: Url,
    /// The Unix socket to connect to, in place of the host of `base`.
    socket: Option<PathBuf>,
    credential: Credential,
}

/// What proves who we are.
#[derive(Debug)]
enum Credential {
    None,
    /// A key or a token of the environment.
    Given(HeaderValue),
    /// What `nightbell login` has kept, if anything: read by the first call, since commands that call nobody
    /// need none; renewed when its token ends.
    Kept(tokio::sync::Mutex<Option<Login>>),
}

impl Client {
    /// A client of the server that the option names, or the environment, or the default one. Signing in
    /// and out does not use what was kept, which may be damaged.
    ///
    /// # Errors
    /// The address is not a URL, or the TLS set-up of this machine is broken.
    pub(super) fn new(flag: Option<&str>, uses_login: bool) -> anyhow::Result<Self> {
        let address = address(flag);
        let socket = socket_of(&address)?;
        let base = api_base(if socket.is_some() { SOCKET_URL } else { &address })?;
        tasks::http::install_tls_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("nightbell/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(ANSWER_TIMEOUT);
        let authorities = authorities()?;
        if base.scheme() == "http" || authorities.is_some() {
            // Loading the certificates of the system takes longer than most commands.
            builder = builder.tls_certs_only(authorities.unwrap_or_default());
        }
        if let Some(identity) = identity()? {
            builder = builder.identity(identity);
        }
        if is_local(&base) {
            builder = builder.no_proxy();
        }
        // At the socket nobody signs in: what was kept is for a port.
        let credential = match given()? {
            Some(given) => Credential::Given(given),
            None if socket.is_some() || !uses_login => Credential::None,
            None => Credential::Kept(tokio::sync::Mutex::default()),
        };
        if let Some(socket) = &socket {
            builder = builder.unix_socket(socket.as_path());
        }
        Ok(Self { http: builder.build()?, base, socket, credential })
    }

    /// Whether it speaks through a Unix socket, where nobody signs in.
    pub(super) fn is_at_socket(&self) -> bool {
        self.socket.is_some()
    }

    /// The address of the server, with `/api` at its end.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// What to prove with who we are; a token that ends is renewed first.
    async fn proof(&self) -> Result<Option<HeaderValue>, Failure> {
        let login = match &self.credential {
            Credential::None => return Ok(None),
            Credential::Given(value) => return Ok(Some(value.clone())),
            Credential::Kept(login) => login,
        };
        let mut login = login.lock().await;
        if login.is_none() {
            *login = Login::load(&self.base)?;
        }
        let Some(login) = &mut *login else { return Ok(None) };
        if login.needs_renewal() {
            let body = json!({ "renewal": login.renewal });
            let call = self.post(&["access", "renew"]).without_credential().json(&body);
            // Sends nothing that would have to be renewed.
            let answer = Box::pin(call.send()).await.map_err(|failure| match failure.exit {
                Exit::Error => Failure::error(format!("the login of {} has ended", login.user))
                    .with_hint("sign in again with `nightbell login`"),
                _ => failure,
            })?;
            let given: Given = understand("token", &answer.value()?)?;
            login.token = given.token;
            login.expires_at = jiff::Timestamp::now().as_second() + given.expires_in;
            login.save(&self.base)?;
        }
        let mut value = HeaderValue::try_from(&login.token)
            .map_err(|_| Failure::error("the stored login is damaged"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Where the server is, without a slash at the end.
    pub(super) fn origin(&self) -> String {
        let base = self.base.as_str();
        base.strip_suffix("/api").unwrap_or(base).trim_end_matches('/').to_owned()
    }

    /// A call that reads.
    pub(super) fn get<'a>(&'a self, path: &[&str]) -> Call<'a> {
        self.call(Method::GET, path)
    }

    /// A call that makes something or starts an action.
    pub(super) fn post<'a>(&'a self, path: &[&str]) -> Call<'a> {
        self.call(Method::POST, path)
    }

    /// A call that sets something.
    pub(super) fn put<'a>(&'a self, path: &[&str]) -> Call<'a> {
        self.call(Method::PUT, path)
    }

    /// A call that removes something.
    pub(super) fn delete<'a>(&'a self, path: &[&str]) -> Call<'a> {
        self.call(Method::DELETE, path)
    }

    /// A call of the API for instances; `path` is below `/runtime/webhooks/durabletask`.
    pub(super) fn durable<'a>(&'a self, method: Method, path: &[&str]) -> Call<'a> {
        let mut call = self.call(method, path);
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop().extend(["runtime", "webhooks", "durabletask"]).extend(path);
        }
        call.url = url;
        call
    }

    /// A call by POST beside the API; `path` is below the address of the server.
    pub(super) fn beside_api<'a>(&'a self, path: &[&str]) -> Call<'a> {
        let mut call = self.call(Method::POST, path);
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop().extend(path);
        }
        call.url = url;
        call
    }

    /// A call of any method; `path` is below `/api`, a name or an id for each segment.
    pub(super) fn call<'a>(&'a self, method: Method, path: &[&str]) -> Call<'a> {
        let mut url = self.base.clone();
        // A URL path drops such segments, and the call would go to something else.
        let bad = path.iter().find(|segment| matches!(**segment, "" | "." | ".."));
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        let bad = bad.map(|segment| Failure::usage(format!("`{segment}` is not a name or an id")));
        Call { client: self, method, url, body: None, bad, is_proved: true }
    }
}

/// A request that is being put together.
#[derive(Debug)]
pub(super) struct Call<'a> {
    client: &'a Client,
    method: Method,
    url: Url,
    body: Option<String>,
    bad: Option<Failure>,
    is_proved: bool,
}

impl Call<'_> {
    /// Does not say who we are: for what proves itself.
    #[must_use]
    pub(super) fn without_credential(mut self) -> Self {
        self.is_proved = false;
        self
    }

    /// Adds a query parameter.
    #[must_use]
    pub(super) fn query(mut self, name: &str, value: impl Display) -> Self {
        self.url.query_pairs_mut().append_pair(name, &format!("{value}"));
        self
    }

    /// Adds a query parameter if there is a value for it.
    #[must_use]
    pub(super) fn query_if(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Sets the body.
    #[must_use]
    pub(super) fn json(mut self, body: &Value) -> Self {
        self.body = Some(body.to_string());
        self
    }

    /// Sets the body to a text that the server reads by itself.
    #[must_use]
    pub(super) fn text(mut self, body: String) -> Self {
        self.body = Some(body);
        self
    }

    /// Makes the call.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub(super) async fn send(self) -> Result<Answer, Failure> {
        if let Some(bad) = self.bad {
            return Err(bad);
        }
        let what = format!("{} {}", self.method, self.url.path());
        let proof = if self.is_proved { self.client.proof().await? } else { None };
        // What is beside the API is called by its own address, perhaps of somebody else.
        let is_of_api = self.url.path().starts_with(self.client.base.path());
        let mut called = if is_of_api { self.client.base.clone() } else { self.url.clone() };
        called.set_query(None);
        let mut request = self.client.http.request(self.method, self.url);
        if let Some(token) = proof {
            request = request.header("x-authorization", token);
        }
        if let Some(body) = self.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let client = self.client;
        let unreachable = |error| unreachable(&called, client.socket.as_deref(), &error);
        let response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(unreachable)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let answer = Answer { what, headers, body };
        if status.is_success() { Ok(answer) } else { Err(answer.refusal(status)) }
    }
}

/// What the server said.
#[derive(Debug)]
pub(super) struct Answer {
    what: String,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    /// A header, if it is there and text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as one text, such as the id of a run.
    pub(super) fn text(&self) -> String {
        let text = self.body.trim();
        serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())
    }

    /// The body as JSON; an empty one, as a 204 has, is `null`.
    ///
    /// # Errors
    /// The body is not JSON.
    pub(super) fn value(&self) -> Result<Value, Failure> {
        if self.body.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&self.body).map_err(|error| {
            Failure::error(format!("the answer to {} is not JSON: {error}", self.what))
                .with_hint("is NIGHTBELL_URL the address of a Nightbell or Conductor server?")
        })
    }

    fn refusal(&self, status: StatusCode) -> Failure {
        let what = &self.what;
        let exit = match status {
            StatusCode::NOT_FOUND => Exit::NotFound,
            // The last two are of the API for instances, about their states.
            StatusCode::CONFLICT | StatusCode::GONE | StatusCode::PRECONDITION_FAILED => {
                Exit::Conflict
            }
            // A gateway without its server, or a server that begins or ends.
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Exit::Unreachable,
            _ => Exit::Error,
        };
        let Ok(refusal) = serde_json::from_str::<Refusal>(&self.body) else {
            // Not the words of a server of this kind, so its 404 is not about what was asked for.
            let exit = if exit == Exit::NotFound { Exit::Error } else { exit };
            let failure = Failure::new(exit, format!("the server answered {status} to {what}"));
            return if status.is_redirection() || status == StatusCode::NOT_FOUND {
                failure.with_hint("check NIGHTBELL_URL; an older server may also lack the command")
            } else {
                failure
            };
        };
        let message = clean(&refusal.message);
        let mut failure = Failure::new(exit, message);
        failure.violations = refusal.validation_errors;
        failure.hint = refusal.hint.map(|hint| clean(&hint));
        let cause = refusal.cause.filter(|cause| !cause.is_empty() && *cause != refusal.message);
        failure.details.extend(cause);
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            // Hints of the server name headers, which the command line sends by itself.
            failure = failure.with_hint(match status {
                StatusCode::UNAUTHORIZED => {
                    "sign in with `nightbell login`, or set NIGHTBELL_KEY to a key of this server \
                     (CONDUCTOR_AUTH_TOKEN to a token); an administrator makes one with \
                     `nightbell key create NAME --role ROLE`"
                }
                _ => "use a key, or sign in as a user, with a role that allows it; `nightbell grant list` \
                      shows who has which",
            });
        }
        failure
    }
}

/// Reads a document of the server as what this client knows about it.
///
/// # Errors
/// It is something else.
pub(super) fn understand<T: DeserializeOwned>(what: &str, value: &Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| {
        Failure::error(format!("cannot understand the server's {what}: {error}"))
            .with_hint("`-o json` prints what the server says")
    })
}

/// The body of a refusal.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    /// Capital in the API for instances.
    #[serde(alias = "Message")]
    message: String,
    /// What led to it, in the API for instances.
    #[serde(default, rename = "ExceptionMessage")]
    cause: Option<String>,
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    validation_errors: Vec<Violation>,
}

fn unreachable(base: &Url, socket: Option<&Path>, error: &reqwest::Error) -> Failure {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    // What the library says of certificates names neither the setting nor the remedy.
    if let Some(failure) = distrusted(base, &root.to_string()) {
        return failure;
    }
    if let Some(socket) = socket {
        let message = format!("cannot reach the server at the socket {}: {root}", socket.display());
        return Failure::new(Exit::Unreachable, message).with_hint(
            "it takes the server's own user or root, and a server with `socket` set to this path",
        );
    }
    let why = if error.is_timeout() { "it does not answer".to_owned() } else { root.to_string() };
    Failure::new(Exit::Unreachable, format!("cannot reach the server at {base}: {why}"))
        .with_hint("start one with `nightbell serve`, or set NIGHTBELL_URL to where it is")
}

fn distrusted(base: &Url, root: &str) -> Option<Failure> {
    let hint = match root {
        // An authority that was made anew under its old name signs in another way.
        _ if root.contains("UnknownIssuer") || root.contains("BadSignature") => {
            "set NIGHTBELL_CA_FILE to the certificate (PEM) of the authority that signed the server's"
        }
        _ if root.contains("invalid peer certificate") => {
            "check the address in NIGHTBELL_URL; whoever runs the server replaces its certificate"
        }
        _ if root.contains("CertificateRequired") => {
            "set NIGHTBELL_CLIENT_CERT to a file with your certificate and its key (PEM)"
        }
        _ if root.contains("InvalidContentType") || root.contains("corrupt message") => {
            "the server may not speak TLS there: write http:// in its address"
        }
        _ => return None,
    };
    let message = format!("cannot reach the server at {base}: {root}");
    Some(Failure::new(Exit::Unreachable, message).with_hint(hint))
}

fn variable(name: &str) -> Option<String> {
    crate::config::process_env(name).filter(|value| !value.is_empty())
}

/// What the environment says of who we are: a key, or a token; the first of these counts.
fn given() -> Result<Option<HeaderValue>, Failure> {
    for name in ["NIGHTBELL_KEY", "CONDUCTOR_AUTH_TOKEN"] {
        let Some(text) = variable(name) else { continue };
        let value = HeaderValue::try_from(text.trim());
        // Whatever was written by mistake may be secret, so it is not repeated.
        let mut value =
            value.map_err(|_| Failure::usage(format!("{name} is neither a key nor a token")))?;
        value.set_sensitive(true);
        return Ok(Some(value));
    }
    Ok(None)
}

/// The file with the authorities that sign the server's certificate.
const CA_FILE: &str = "NIGHTBELL_CA_FILE";
/// The file with the certificate to show, and its key.
const CLIENT_CERT: &str = "NIGHTBELL_CLIENT_CERT";

/// Whom to trust in place of the system's authorities, if that is said.
fn authorities() -> Result<Option<Vec<reqwest::Certificate>>, Failure> {
    let Some((file, text)) = file_of(CA_FILE)? else { return Ok(None) };
    let wrong = |why: String| {
        Failure::usage(format!("{CA_FILE}: {file} {why}"))
            .with_hint("write the certificate of the authority in PEM")
    };
    let found = reqwest::Certificate::from_pem_bundle(&text);
    match found.map_err(|error| wrong(format!("is not PEM: {error}")))? {
        found if found.is_empty() => Err(wrong("holds no certificate".to_owned())),
        found => Ok(Some(found)),
    }
}

/// The certificate to show to a server that asks for one.
fn identity() -> Result<Option<reqwest::Identity>, Failure> {
    let Some((file, text)) = file_of(CLIENT_CERT)? else { return Ok(None) };
    let text = zeroize::Zeroizing::new(text);
    let identity = reqwest::Identity::from_pem(&text).map_err(|error| {
        Failure::usage(format!("{CLIENT_CERT}: {file} cannot be used: {error}"))
            .with_hint("write the certificate and its private key in PEM into one file")
    })?;
    Ok(Some(identity))
}

/// The file that a variable names, and what it holds.
fn file_of(name: &str) -> Result<Option<(String, Vec<u8>)>, Failure> {
    let Some(file) = variable(name) else { return Ok(None) };
    match std::fs::read(&file) {
        Ok(text) => Ok(Some((file, text))),
        Err(error) => Err(Failure::usage(format!("{name}: cannot read {file}: {error}"))),
    }
}

/// What is asked for at a socket; a name of this machine.
const SOCKET_URL: &str = "http://localhost";

/// The path of `unix:PATH`; `None` for another address.
fn socket_of(address: &str) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = address.strip_prefix("unix:") else { return Ok(None) };
    // As in unix:///run/…, too.
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') {
        return Err(Failure::usage(format!("`{address}` does not name a socket"))
            .with_hint("write unix: and a whole path, as in unix:/run/nightbell/nightbell.sock"));
    }
    Ok(Some(PathBuf::from(path)))
}

fn address(flag: Option<&str>) -> String {
    flag.map(str::to_owned)
        .or_else(|| variable("NIGHTBELL_URL"))
        .or_else(|| variable("CONDUCTOR_SERVER_URL"))
        .unwrap_or_else(|| DEFAULT_URL.to_owned())
}

/// The address with `/api` at its end, whether or not it was there.
fn api_base(text: &str) -> Result<Url, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("`{text}` is not the address of a server: {why}"))
            .with_hint("write it like http://127.0.0.1:8080, or unix:/PATH for a socket")
    };
    let mut url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it does not begin with http:// or https://".to_owned()));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/api").unwrap_or(path);
    let path = format!("{path}/api");
    url.set_path(&path);
    Ok(url)
}

fn is_local(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}
