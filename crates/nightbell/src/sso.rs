//! The OpenID provider and the issuers of the configuration: what is set is complete, and calls to them go out as
//! all others do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::Engine;
use kernel::access::Mode;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use server::oidc::{Call, Options, Outside, Reply, WorkloadOptions};
use tasks::http::{self, Client, Request};
use zeroize::Zeroizing;

use crate::cli::Failure;
use crate::config::{Config, SecretReference};
use crate::{exposed, referred};

/// How long the provider may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the largest answer.
const ANSWER_MAX: usize = 1 << 20;

/// Whether people sign in by a provider. What is set must be complete.
///
/// # Errors
/// Something is missing.
pub(crate) fn is_set(config: &Config, auth: Mode) -> anyhow::Result<bool> {
    let missing = match (&config.oidc_issuer, &config.oidc_client_id) {
        (None, None) if config.oidc_client_secret.is_none() => return Ok(false),
        (None, _) => Some("oidc_issuer"),
        (_, None) => Some("oidc_client_id"),
        _ if config.public_url.is_none() => Some("public_url"),
        _ => None,
    };
    if let Some(missing) = missing {
        return Err(Failure::usage(format!(
            "people are to sign in by an OpenID provider, and {missing} is not set"
        ))
        .with_hint(
            "it takes oidc_issuer, oidc_client_id and public_url, below which the provider sends browsers \
             back to /console/sso/callback; see docs/single-sign-on.md",
        )
        .into());
    }
    if auth == Mode::Open {
        tracing::warn!(
            "oidc_issuer is set but has no effect: access control is open (setting `auth`)"
        );
    }
    Ok(true)
}

/// The provider, as the server uses it.
///
/// # Errors
/// The client for calls cannot be made.
pub(crate) fn options(
    config: &Config,
    engine: &Engine,
    calls: http::Settings,
) -> anyhow::Result<Option<Options>> {
    let (Some(issuer), Some(client_id)) = (&config.oidc_issuer, &config.oidc_client_id) else {
        return Ok(None);
    };
    if let Some(SecretReference::File(path)) = &config.oidc_client_secret {
        exposed::tell_of_file(path, "the secret of this server at the OpenID provider");
    }
    Ok(Some(Options {
        issuer: issuer.0.clone(),
        client_id: client_id.0.clone(),
        label: config.oidc_label.0.clone(),
        scopes: config.oidc_scopes.0.clone(),
        name_claim: config.oidc_name_claim.0.clone(),
        groups_claim: config.oidc_groups_claim.0.clone(),
        groups: config.oidc_groups.0.clone(),
        email_domains: config.oidc_email_domains.0.clone(),
        links_users: config.oidc_link_users,
        outside: Arc::new(Caller::of(calls, config.oidc_client_secret.clone(), engine)?),
    }))
}

/// Whose tokens of workloads count, as the server checks them.
///
/// # Errors
/// The client for calls cannot be made.
pub(crate) fn workloads(
    config: &Config,
    engine: &Engine,
    calls: http::Settings,
) -> anyhow::Result<Option<WorkloadOptions>> {
    let workloads = config.workloads.0.clone();
    if workloads.is_empty() {
        return Ok(None);
    }
    Ok(Some(WorkloadOptions { workloads, outside: Arc::new(Caller::of(calls, None, engine)?) }))
}

/// Calls the provider.
struct Caller {
    client: Client,
    secret: Option<SecretReference>,
    engine: Engine,
}

impl Caller {
    fn of(
        mut calls: http::Settings,
        secret: Option<SecretReference>,
        engine: &Engine,
    ) -> anyhow::Result<Self> {
        calls.body_max = ANSWER_MAX;
        calls.error_body_max = ANSWER_MAX;
        Ok(Self { client: Client::new(calls)?, secret, engine: engine.clone() })
    }
}

#[async_trait]
impl Outside for Caller {
    async fn send(&self, call: Call) -> Result<Reply, String> {
        let url = call.url.parse().map_err(|error| format!("it is no URL: {error}"))?;
        let method = if call.form.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::new(method, url);
        request.connect_timeout = Some(PATIENCE);
        request.read_timeout = Some(PATIENCE);
        if let Some(text) = &call.authorization {
            let mut value =
                HeaderValue::try_from(text.as_str()).map_err(|_| "the secret fits no header")?;
            value.set_sensitive(true);
            request.headers.insert(AUTHORIZATION, value);
        }
        if let Some(form) = &call.form {
            const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers.insert(CONTENT_TYPE, FORM);
            request.body = Some(form.as_bytes().to_vec().into());
        }
        let answer = self.client.send(&request).await.map_err(|problem| problem.message)?;
        Ok(Reply { status: answer.status.as_u16(), body: answer.body.to_vec() })
    }

    fn secret(&self) -> Result<Option<Zeroizing<String>>, String> {
        let found = self.secret.as_ref().map(|it| referred::read(it, &self.engine));
        found.transpose()
    }
}
