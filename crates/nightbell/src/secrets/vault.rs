//! Secrets in Vault or `OpenBao`: documents of a KV 2 engine, read with a token of a file or of a login.
//!
//! A token of a login is renewed after two thirds of its time, and another is got when that is refused,
//! or when a token is refused before its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use tasks::http::{self, Client, Request};
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Found, LENGTH_MAX, Trouble, local};
use crate::cli::Failure;
use crate::config::{Config, VaultDocument};
use crate::exposed;

/// How long Vault may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the largest answer.
const ANSWER_MAX: usize = 1 << 20;
/// Characters of an answer that are repeated.
const SHOWN_MAX: usize = 200;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Without it an agent may refuse a request: no web page can make one with it.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// What reading a document came to.
pub(super) type Read = Result<Map<String, Value>, Trouble>;

/// A Vault, and how this server logs in.
pub(super) struct Vault {
    client: Client,
    url: String,
    namespace: Option<HeaderValue>,
    auth: Auth,
    token: Mutex<Option<Token>>,
}

/// How this server proves who it is.
enum Auth {
    /// Somebody else keeps a token in a file.
    TokenFile(PathBuf),
    /// It logs in where that is mounted.
    Login { mount: String, who: Who },
}

enum Who {
    AppRole { role_id: String, secret_id: PathBuf },
    Jwt { role: String, jwt: PathBuf },
}

/// A token of a login.
struct Token {
    text: Zeroizing<String>,
    /// How long it lived when it was given; nothing = for ever.
    lease: Duration,
    is_renewable: bool,
    renew_at: Instant,
}

impl Vault {
    /// The Vault of the configuration.
    ///
    /// # Errors
    /// It does not say where it is, or not in one way how to log in.
    pub(super) fn of(config: &Config, mut calls: http::Settings) -> anyhow::Result<Self> {
        let auth = auth(config)?;
        let url = config.vault_url.as_ref().map(|url| url.0.clone());
        let url = url.ok_or_else(|| incomplete("vault_url is not set"))?;
        if url.starts_with("http://") && !is_here(&url) {
            tracing::warn!(
                "vault_url is not https: what is read there, and the login, can be read by others"
            );
        }
        let namespace = config.vault_namespace.as_ref().map(|it| HeaderValue::try_from(&*it.0));
        let namespace =
            namespace.transpose().map_err(|_| incomplete("vault_namespace fits no header"))?;
        calls.body_max = ANSWER_MAX;
        calls.error_body_max = ANSWER_MAX;
        let client = Client::new(calls)?;
        Ok(Self { client, url, namespace, auth, token: Mutex::default() })
    }

    /// Reads documents. Once Vault cannot be asked, the others are not tried.
    pub(super) async fn read_all<'a>(
        &self,
        documents: &BTreeSet<&'a VaultDocument>,
        now: Instant,
    ) -> BTreeMap<&'a VaultDocument, Read> {
        let mut all = BTreeMap::new();
        let mut may_login = true;
        let mut away: Option<Trouble> = None;
        for &document in documents {
            let read = match &away {
                Some(trouble) => Err(trouble.clone()),
                None => self.read(document, &mut may_login, now).await,
            };
            if let Err(trouble @ Trouble::Away(_)) = &read {
                away = Some(trouble.clone());
            }
            all.insert(document, read);
        }
        all
    }

    async fn read(&self, document: &VaultDocument, may_login: &mut bool, now: Instant) -> Read {
        let token = self.token(now).await?;
        let (mut status, mut body) = self.get(document, &token).await?;
        if status == 403 && std::mem::take(may_login) && self.forget(&token).await {
            // It may have been revoked before its end.
            let token = self.token(now).await?;
            (status, body) = self.get(document, &token).await?;
        }
        let at = document.shown();
        let why = errors(&body);
        match status {
            200 => match body.pointer_mut("/data/data").map(Value::take) {
                Some(Value::Object(fields)) => Ok(fields),
                _ => Err(Trouble::Unreadable(format!(
                    "Vault's answer about {at} is not that of a KV 2 engine"
                ))),
            },
            404 if why.is_empty() => {
                Err(Trouble::Gone(format!("there is nothing at {at} in Vault, or it was deleted")))
            }
            status if is_away(status) => Err(self.away(status, &why)),
            status => Err(Trouble::Unreadable(format!("Vault refuses {at} ({status} {why})"))),
        }
    }

    async fn get(
        &self,
        document: &VaultDocument,
        token: &Zeroizing<String>,
    ) -> Result<(u16, Value), Trouble> {
        let parts = document.mount.split('/').chain(["data"]).chain(document.path.split('/'));
        self.send(Method::GET, &parts.collect::<Vec<_>>(), Some(token), None).await
    }

    /// A token that counts now.
    async fn token(&self, now: Instant) -> Result<Zeroizing<String>, Trouble> {
        let (mount, who) = match &self.auth {
            Auth::TokenFile(path) => return credential(path.clone()).await,
            Auth::Login { mount, who } => (mount, who),
        };
        let mut held = self.token.lock().await;
        if let Some(token) = &mut *held {
            if token.lease.is_zero() || now < token.renew_at {
                return Ok(token.text.clone());
            }
            if token.is_renewable && self.renew(token, now).await? {
                return Ok(token.text.clone());
            }
        }
        // Forgotten first: what is no longer good must not stay when the login fails.
        *held = None;
        let token = self.login(mount, who, now).await?;
        Ok(held.insert(token).text.clone())
    }

    /// Forgets a token that was refused; whether another can be had.
    async fn forget(&self, refused: &Zeroizing<String>) -> bool {
        if matches!(self.auth, Auth::TokenFile(_)) {
            return false;
        }
        self.token.lock().await.take_if(|token| token.text == *refused);
        true
    }

    /// Whether a token lives on. One that gets little more time is near the end of all its renewals.
    async fn renew(&self, token: &mut Token, now: Instant) -> Result<bool, Trouble> {
        let path = ["auth", "token", "renew-self"];
        let (status, body) =
            self.send(Method::POST, &path, Some(&token.text), Some(&json!({}))).await?;
        if is_away(status) {
            return Err(self.away(status, &errors(&body)));
        }
        let lease = lease(&body["auth"]);
        if status != 200 || lease < token.lease / 2 {
            return Ok(false);
        }
        token.renew_at = now + lease * 2 / 3;
        Ok(true)
    }

    async fn login(&self, mount: &str, who: &Who, now: Instant) -> Result<Token, Trouble> {
        let (role, proof) = match who {
            Who::AppRole { role_id, secret_id } => (("role_id", role_id), ("secret_id", secret_id)),
            Who::Jwt { role, jwt } => (("role", role), ("jwt", jwt)),
        };
        let secret = credential(proof.1.clone()).await?;
        let body = json!({ role.0: role.1, proof.0: secret.trim() });
        let path: Vec<&str> =
            ["auth"].into_iter().chain(mount.split('/')).chain(["login"]).collect();
        let (status, mut body) = self.send(Method::POST, &path, None, Some(&body)).await?;
        if is_away(status) {
            return Err(self.away(status, &errors(&body)));
        }
        let auth = body.get_mut("auth").map(Value::take).unwrap_or_default();
        let (Some(token), 200) = (auth["client_token"].as_str(), status) else {
            let why = errors(&body);
            let message = format!("the login at {mount} of Vault was refused ({status} {why})");
            return Err(Trouble::Away(message));
        };
        let lease = lease(&auth);
        Ok(Token {
            text: token.to_owned().into(),
            lease,
            is_renewable: auth["renewable"].as_bool().unwrap_or_default(),
            renew_at: now + lease * 2 / 3,
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        token: Option<&Zeroizing<String>>,
        body: Option<&Value>,
    ) -> Result<(u16, Value), Trouble> {
        let away =
            |why: String| Trouble::Away(format!("Vault at {} cannot be asked: {why}", self.url));
        let mut url: reqwest::Url =
            self.url.parse().map_err(|_| away("it is no URL".to_owned()))?;
        url.path_segments_mut()
            .map_err(|()| away("its URL has no path".to_owned()))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        let mut request = Request::new(method, url);
        request.connect_timeout = Some(PATIENCE);
        request.read_timeout = Some(PATIENCE);
        request.headers.insert(REQUEST, HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            request.headers.insert(NAMESPACE, namespace.clone());
        }
        if let Some(token) = token {
            let value = HeaderValue::try_from(token.trim());
            let mut value = value.map_err(|_| away("the token fits no header".to_owned()))?;
            value.set_sensitive(true);
            request.headers.insert(TOKEN, value);
        }
        if let Some(body) = body {
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request.body = Some(body.to_string().into());
        }
        let answer = self.client.send(&request).await.map_err(|problem| away(problem.message))?;
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok((answer.status.as_u16(), body))
    }

    fn away(&self, status: u16, why: &str) -> Trouble {
        Trouble::Away(format!("Vault at {} cannot be used ({status} {why})", self.url))
    }
}

/// How long a token lives; nothing = for ever.
fn lease(auth: &Value) -> Duration {
    const YEAR: u64 = 366 * 24 * 3600;
    Duration::from_secs(auth["lease_duration"].as_u64().unwrap_or_default().min(YEAR))
}

/// A field of a document.
pub(super) fn field(read: &Read, document: &VaultDocument, field: &str) -> Found {
    let fields = read.as_ref().map_err(Trouble::clone)?;
    let at = document.shown();
    let value = match fields.get(field) {
        None => return Err(Trouble::Gone(format!("{at} in Vault has no field {field}"))),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    if value.is_empty() || value.len() > LENGTH_MAX {
        let why =
            format!("{field} of {at} in Vault has {} bytes, not 1 to {LENGTH_MAX}", value.len());
        return Err(Trouble::Unreadable(why));
    }
    Ok(value.into())
}

/// A token, a secret id or a JWT in a file: without it nothing can be read.
async fn credential(path: PathBuf) -> Found {
    let read = local::file(path).await;
    read.map_err(|trouble| Trouble::Away(format!("Vault cannot be asked: {}", trouble.reason())))
}

/// Whether a status says that others would be refused as well: sealed, on standby, overloaded.
fn is_away(status: u16) -> bool {
    status == 412 || status == 429 || status >= 472
}

/// What an answer says of its reasons, shortened.
fn errors(body: &Value) -> String {
    let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let all = errors.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ");
    all.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect()
}

fn is_here(url: &str) -> bool {
    let Ok(url) = url.parse::<reqwest::Url>() else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}

/// The one way to log in that is configured.
fn auth(config: &Config) -> anyhow::Result<Auth> {
    let mount = |usual: &str| {
        let said = config.vault_auth_mount.as_ref().map(|mount| mount.0.trim_matches('/'));
        said.unwrap_or(usual).to_owned()
    };
    let jwt_role = config.vault_jwt_role.as_ref();
    match (&config.vault_token_file, &config.vault_role_id, jwt_role) {
        (Some(path), None, None) => {
            exposed::tell_of_file(path, "a token for Vault");
            Ok(Auth::TokenFile(path.clone()))
        }
        (None, Some(role_id), None) => {
            let path = config.vault_secret_id_file.as_ref();
            let path = path.ok_or_else(|| incomplete("vault_secret_id_file is not set"))?;
            exposed::tell_of_file(path, "the secret id of this server in Vault");
            let who = Who::AppRole { role_id: role_id.0.clone(), secret_id: path.clone() };
            Ok(Auth::Login { mount: mount("approle"), who })
        }
        (None, None, Some(role)) => {
            let who = Who::Jwt { role: role.0.clone(), jwt: config.vault_jwt_file.clone() };
            Ok(Auth::Login { mount: mount("jwt"), who })
        }
        (None, None, None) => Err(incomplete("nothing says how to log in")),
        _ => Err(incomplete("more than one way to log in is set")),
    }
}

fn incomplete(what: &str) -> anyhow::Error {
    Failure::usage(format!("secrets are to come from Vault, and {what}"))
        .with_hint(
            "it takes vault_url and one of vault_token_file, vault_role_id with vault_secret_id_file, and \
             vault_jwt_role; see docs/secret-backends.md",
        )
        .into()
}
