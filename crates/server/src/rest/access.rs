//! Access control for its users: tokens for keys, who one is, and the keys themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, StatusCode};
use engine::{KeyRecord, Rights};
use kernel::Timestamp;
use kernel::access::{Grant, Mode, Need, Permission, Resource, Role, Selector};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::{Body, Path, Query, RawQuery};
use crate::Api;
use crate::access::{Actor, Authorizer, LIFETIME_SECONDS, Routes};
use crate::guard::Peer;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Need::Public, routes!(token))
        .on(Need::Public, routes!(api_token))
        .on(Need::Anyone, routes!(user_info))
        .on(Need::Anyone, routes!(api_user_info))
        .on(Permission::Admin, routes!(keys, create_key))
        .on(Permission::Admin, routes!(revoke_key))
        .on(Permission::Admin, routes!(grants, add_grants, remove_grants))
        .on(Need::Anyone, routes!(roles))
        .on(Permission::Admin, routes!(anonymous_clients))
}

/// A key, as SDKs have it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct Credentials {
    /// The id of the key.
    key_id: String,
    /// The key itself.
    key_secret: String,
}

/// Where a request comes from, if it came over a connection.
struct From(Option<Peer>);

impl<S: Sync> axum::extract::FromRequestParts<S> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        let extensions: &Extensions = &parts.extensions;
        Ok(Self(extensions.get::<Peer>().copied()))
    }
}

/// Gives a token for a key. Clients take 404 for "no authentication needed", so that is the answer
/// while access control is off.
#[utoipa::path(
    post, path = "/token", tag = "access", request_body = Credentials,
    responses(
        (status = 200, description = "The token", body = serde_json::Value),
        (status = 401, description = "The key does not count"),
        (status = 404, description = "Access control is off"),
    )
)]
async fn token(
    State(authorizer): State<Arc<Authorizer>>,
    From(peer): From,
    Body(given): Body<Option<Credentials>>,
) -> Result<Json<Value>, Problem> {
    if authorizer.mode() == Mode::Open {
        return Err(Problem::not_found("access control is off: there are no tokens")
            .with_hint("Send requests without one."));
    }
    let given = given.unwrap_or_default();
    if given.key_id.is_empty() || given.key_secret.is_empty() {
        return Err(Problem::bad_request("a token is given for a 'keyId' and a 'keySecret'"));
    }
    let (token, _) = authorizer.token(&given.key_id, &given.key_secret, peer).await?;
    Ok(Json(json!({ "token": token, "expiresIn": LIFETIME_SECONDS })))
}

/// Gives a token for a key, as above.
#[utoipa::path(
    post, path = "/api/token", tag = "access", request_body = Credentials,
    responses(
        (status = 200, description = "The token", body = serde_json::Value),
        (status = 401, description = "The key does not count"),
        (status = 404, description = "Access control is off"),
    )
)]
async fn api_token(
    authorizer: State<Arc<Authorizer>>,
    from: From,
    given: Body<Option<Credentials>>,
) -> Result<Json<Value>, Problem> {
    token(authorizer, from, given).await
}

/// Tells who asks.
#[utoipa::path(
    get, path = "/token/userInfo", tag = "access",
    responses((status = 200, description = "Who asks", body = serde_json::Value))
)]
async fn user_info(State(authorizer): State<Arc<Authorizer>>, actor: Actor) -> Json<Value> {
    let who = actor.principal();
    let roles: Vec<Value> = who
        .into_iter()
        .flat_map(|who| &who.roles)
        .map(|role| json!({ "name": role.as_str() }))
        .collect();
    let granted: Vec<Value> = who
        .into_iter()
        .flat_map(|who| &who.grants)
        .map(|grant| json!({ "role": grant.role, "on": grant.on }))
        .collect();
    Json(json!({
        "id": who.map_or("anonymous", |who| &who.id),
        "name": who.map_or("anonymous", |who| &who.name),
        "roles": roles,
        "groups": [],
        "grantedAccess": granted,
        "applicationUser": who.is_some(),
        "authenticationEnabled": authorizer.mode() != Mode::Open,
    }))
}

/// Tells the same.
#[utoipa::path(
    get, path = "/api/token/userInfo", tag = "access",
    responses((status = 200, description = "Who asks", body = serde_json::Value))
)]
async fn api_user_info(authorizer: State<Arc<Authorizer>>, actor: Actor) -> Json<Value> {
    user_info(authorizer, actor).await
}

/// What key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyRequest {
    /// What people call it.
    name: String,
    /// What it may do: `viewer`, `responder`, `runner`, `editor`, `secrets`, `worker`, `metrics`,
    /// `auditor`, `admin`.
    roles: Vec<String>,
    /// On what, each a selector such as `hub=sales`; on everything if there is none.
    #[serde(default)]
    on: Vec<String>,
    /// When it ends by itself, in milliseconds since 1970.
    #[serde(default)]
    expires_at: Option<i64>,
}

/// Reads roles, and on what they hold: each role on each selector.
///
/// # Errors
/// 400 for what is no role or no selector, and for a role that cannot be narrowed so.
fn rights(roles: &[String], on: &[String]) -> Result<Rights, Problem> {
    let roles: Result<Vec<Role>, _> = roles.iter().map(|role| role.trim().parse()).collect();
    let roles = roles.map_err(|error| Problem::bad_request(format!("{error}")))?;
    if on.is_empty() {
        return Ok(roles.into());
    }
    let mut grants = Vec::new();
    for selector in on {
        // What is not enforced is not accepted.
        let refused = |error: kernel::access::BadSelector| {
            let code = "selector-not-enforced";
            Problem::new(StatusCode::BAD_REQUEST, code, error.to_string()).with_hint(
                "See docs/security.md for what can be narrowed; without a selector, a role holds \
                 on everything.",
            )
        };
        let selector: Selector = selector.parse().map_err(refused)?;
        // Several selectors are for several kinds of things: a role goes where it can.
        let fitting: Vec<Role> = roles
            .iter()
            .copied()
            .filter(|role| selector.resource().roles().contains(role))
            .collect();
        let first = roles.first().copied();
        for role in if fitting.is_empty() { first.into_iter().collect() } else { fitting } {
            grants.push(Grant::new(role, selector.clone()).map_err(refused)?);
        }
    }
    if let Some(role) = roles.iter().find(|role| grants.iter().all(|it| it.role != **role)) {
        let message = format!("the role {role} cannot be narrowed to any of {}", on.join("; "));
        return Err(Problem::new(StatusCode::BAD_REQUEST, "selector-not-enforced", message)
            .with_hint("Grant it without a selector, by a call of its own."));
    }
    Ok(Rights { roles: Vec::new(), grants })
}

/// Lists all keys, revoked ones too, without their secrets.
#[utoipa::path(
    operation_id = "list_keys", get, path = "/api/access/keys", tag = "access",
    responses((status = 200, description = "The keys", body = Vec<serde_json::Value>))
)]
async fn keys(State(api): State<Api>) -> Json<Vec<Value>> {
    let now = api.engine.now();
    let keys = api.engine.access().keys();
    Json(keys.into_iter().map(|(key, used)| shown(&key, used, now)).collect())
}

/// Makes a key. Its secret is in the answer, and nowhere else.
#[utoipa::path(
    post, path = "/api/access/keys", tag = "access", request_body = KeyRequest,
    responses(
        (status = 200, description = "The key with its secret", body = serde_json::Value),
        (status = 400, description = "What is wrong with it"),
    )
)]
async fn create_key(
    State(api): State<Api>,
    actor: Actor,
    Body(wanted): Body<KeyRequest>,
) -> Result<Json<Value>, Problem> {
    let rights = rights(&wanted.roles, &wanted.on)?;
    let now = api.engine.now();
    let expires_at = wanted.expires_at.map(Timestamp::from_millis);
    let by = actor.shown();
    let made = api.engine.access().create_key(&wanted.name, rights, expires_at, &by, now).await?;
    let (key, rights) = (&made.record.id, held(&made.record));
    tracing::info!(%key, name = %made.record.name, rights, by, "a key was made");
    let mut answer = shown(&made.record, None, now);
    answer["keySecret"] = made.text.as_str().into();
    Ok(Json(answer))
}

/// Revokes a key: what is sent with it, or with a token that was given for it, is refused from now on.
#[utoipa::path(
    delete, path = "/api/access/keys/{id}", tag = "access",
    params(("id" = String, Path, description = "The id of the key")),
    responses(
        (status = 200, description = "The key", body = serde_json::Value),
        (status = 404, description = "There is none of this id"),
    )
)]
async fn revoke_key(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let now = api.engine.now();
    let by = actor.shown();
    let revoked = api.engine.access().revoke_key(&id, &by, now).await?;
    tracing::info!(key = %revoked.id, name = %revoked.name, by, "a key was revoked");
    Ok(Json(shown(&revoked, None, now)))
}

/// What a key holds, in words.
fn held(key: &KeyRecord) -> String {
    let roles = key.roles.iter().map(ToString::to_string);
    let held: Vec<String> = roles.chain(key.grants.iter().map(ToString::to_string)).collect();
    held.join(", ")
}

/// Whose grants to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct GrantParams {
    /// Only of the key of this id.
    key: Option<String>,
}

/// Lists what each key that counts holds: a role, and on what; on everything without `on`.
#[utoipa::path(
    operation_id = "list_grants", get, path = "/api/access/grants", tag = "access",
    params(GrantParams),
    responses((status = 200, description = "The grants", body = Vec<serde_json::Value>))
)]
async fn grants(State(api): State<Api>, Query(params): Query<GrantParams>) -> Json<Vec<Value>> {
    let now = api.engine.now();
    let keys = api.engine.access().keys().into_iter().map(|(key, _)| key);
    let wanted = |key: &KeyRecord| match &params.key {
        Some(id) => *key.id == **id,
        None => key.is_valid(now),
    };
    Json(keys.filter(wanted).flat_map(|key| listed(&key)).collect())
}

fn listed(key: &KeyRecord) -> Vec<Value> {
    let line = |role: Role, on: Option<&Selector>| json!({ "keyId": key.id, "name": key.name, "role": role, "on": on });
    let whole = key.roles.iter().map(|role| line(*role, None));
    whole.chain(key.grants.iter().map(|it| line(it.role, Some(&it.on)))).collect()
}

/// What to grant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantRequest {
    /// The id of the key.
    key: String,
    /// Roles.
    roles: Vec<String>,
    /// On what, each a selector such as `hub=sales`; on everything if there is none.
    #[serde(default)]
    on: Vec<String>,
}

/// Grants a key more; it counts at the next request.
#[utoipa::path(
    post, path = "/api/access/grants", tag = "access", request_body = GrantRequest,
    responses(
        (status = 200, description = "What the key holds now", body = Vec<serde_json::Value>),
        (status = 400, description = "What is wrong with it"),
        (status = 404, description = "There is no such key"),
    )
)]
async fn add_grants(
    State(api): State<Api>,
    actor: Actor,
    Body(wanted): Body<GrantRequest>,
) -> Result<Json<Vec<Value>>, Problem> {
    let more = rights(&wanted.roles, &wanted.on)?;
    let key = api.engine.access().grant(&wanted.key, more).await?;
    let (rights, by) = (held(&key), actor.shown());
    tracing::info!(key = %key.id, name = %key.name, rights, by, "a key was granted more");
    Ok(Json(listed(&key)))
}

/// Takes grants from a key; they are gone at the next request.
#[utoipa::path(
    delete, path = "/api/access/grants", tag = "access",
    params(
        ("key" = String, Query, description = "The id of the key"),
        ("role" = Vec<String>, Query, description = "Roles"),
        ("on" = Option<Vec<String>>, Query, description = "On what, as they were granted"),
    ),
    responses(
        (status = 200, description = "What the key holds now", body = Vec<serde_json::Value>),
        (status = 404, description = "There is no such key, or it does not hold this"),
    )
)]
async fn remove_grants(
    State(api): State<Api>,
    actor: Actor,
    RawQuery(pairs): RawQuery,
) -> Result<Json<Vec<Value>>, Problem> {
    let all = |name: &str| -> Vec<String> {
        let named = pairs.iter().filter(|(given, _)| given == name);
        named.map(|(_, value)| value.clone()).collect()
    };
    let (keys, roles) = (all("key"), all("role"));
    let [key] = keys.as_slice() else {
        return Err(Problem::bad_request("name one 'key'"));
    };
    if roles.is_empty() {
        return Err(Problem::bad_request("name the 'role' to take away"));
    }
    let less = rights(&roles, &all("on"))?;
    let key = api.engine.access().withdraw(key, less).await?;
    let (rights, by) = (held(&key), actor.shown());
    tracing::info!(key = %key.id, name = %key.name, rights, by, "grants were taken from a key");
    Ok(Json(listed(&key)))
}

/// Lists the roles: what they allow, and to what they can be narrowed.
#[utoipa::path(
    get, path = "/api/access/roles", tag = "access",
    responses((status = 200, description = "The roles", body = Vec<serde_json::Value>))
)]
async fn roles() -> Json<Vec<Value>> {
    let shown = |role: Role| {
        let permissions = Permission::ALL.into_iter().filter(|it| role.permissions().has(*it));
        let resources = Resource::ALL.into_iter().filter(|it| it.roles().contains(&role));
        json!({
            "role": role,
            "permissions": permissions.map(Permission::as_str).collect::<Vec<_>>(),
            "narrowedTo": resources.map(Resource::as_str).collect::<Vec<_>>(),
        })
    };
    Json(Role::ALL.into_iter().map(shown).collect())
}

/// Lists who has called without credentials since the start, while they are only offered.
#[utoipa::path(
    get, path = "/api/access/anonymous", tag = "access",
    responses((status = 200, description = "Clients and their calls", body = Vec<serde_json::Value>))
)]
async fn anonymous_clients(State(authorizer): State<Arc<Authorizer>>) -> Json<Vec<Value>> {
    let clients = authorizer.anonymous().into_iter();
    Json(clients.map(|(client, calls)| json!({ "client": client, "calls": calls })).collect())
}

/// A key as it may be shown.
fn shown(key: &KeyRecord, used: Option<Timestamp>, now: Timestamp) -> Value {
    let status = match (key.revoked_at, key.is_valid(now)) {
        (Some(_), _) => "REVOKED",
        (None, true) => "VALID",
        (None, false) => "EXPIRED",
    };
    let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
    json!({
        "keyId": key.id,
        "name": key.name,
        "roles": key.roles,
        "grants": key.grants,
        "status": status,
        "createdAt": key.created_at.millis(),
        "createdBy": key.created_by,
        "expiresAt": millis(key.expires_at),
        "revokedAt": millis(key.revoked_at),
        "revokedBy": key.revoked_by,
        "usedAt": millis(used),
        "bootstrap": key.bootstrap,
    })
}
