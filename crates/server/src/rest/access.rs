//! Access control for its users: tokens for keys, who one is, and the keys themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use engine::{Grantee, Holder, KeyRecord, Rights};
use kernel::Timestamp;
use kernel::access::{Grant, Mode, Need, Permission, Principal, Resource, Role, Selector};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::{Body, Path, Query, RawQuery};
use crate::Api;
use crate::access::{About, Actor, Authorizer, From, LIFETIME_SECONDS, Routes};
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

/// Issues a token for a key. Clients take 404 for "no authentication needed", so that is the
/// response while access control is off.
#[utoipa::path(
    post, path = "/token", tag = "access", request_body = Credentials,
    responses(
        (status = 200, description = "The token", body = serde_json::Value),
        (status = 401, description = "Invalid key"),
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

/// Issues a token for a key, as above.
#[utoipa::path(
    post, path = "/api/token", tag = "access", request_body = Credentials,
    responses(
        (status = 200, description = "The token", body = serde_json::Value),
        (status = 401, description = "Invalid key"),
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

/// Shows the authenticated caller.
#[utoipa::path(
    get, path = "/token/userInfo", tag = "access",
    responses((status = 200, description = "The authenticated caller", body = serde_json::Value))
)]
async fn user_info(State(authorizer): State<Arc<Authorizer>>, actor: Actor) -> Json<Value> {
    let who = actor.principal();
    let roles: BTreeSet<Role> = who.into_iter().flat_map(Principal::roles).collect();
    let roles: Vec<Value> =
        roles.into_iter().map(|role| json!({ "name": role.as_str() })).collect();
    let granted: BTreeSet<&Grant> = who.into_iter().flat_map(Principal::grants).collect();
    let granted: Vec<Value> =
        granted.into_iter().map(|it| json!({ "role": it.role, "on": it.on })).collect();
    let groups = who.into_iter().flat_map(Principal::groups);
    let groups: Vec<Value> = groups.map(|group| json!({ "id": group.name })).collect();
    Json(json!({
        "id": who.map_or("anonymous", |who| &who.id),
        "name": who.map_or("anonymous", |who| &who.name),
        "roles": roles,
        "groups": groups,
        "grantedAccess": granted,
        "applicationUser": who.is_some_and(|who| who.id.starts_with("key:")),
        "authenticationEnabled": authorizer.mode() != Mode::Open,
    }))
}

/// The same at another path.
#[utoipa::path(
    get, path = "/api/token/userInfo", tag = "access",
    responses((status = 200, description = "The authenticated caller", body = serde_json::Value))
)]
async fn api_user_info(authorizer: State<Arc<Authorizer>>, actor: Actor) -> Json<Value> {
    user_info(authorizer, actor).await
}

/// What key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyRequest {
    /// Its display name.
    name: String,
    /// Roles: `viewer`, `responder`, `runner`, `editor`, `secrets`, `worker`, `metrics`, `auditor`,
    /// `admin`.
    #[serde(default)]
    roles: Vec<String>,
    /// Selectors that narrow the roles, such as `hub=sales`; without any they hold for everything.
    #[serde(default)]
    on: Vec<String>,
    /// The user to whom the key belongs, by name: it always has the user's present permissions, and
    /// no roles of its own.
    #[serde(default)]
    user: Option<String>,
    /// When it expires, in milliseconds since 1970.
    #[serde(default)]
    expires_at: Option<i64>,
}

/// Reads roles, and on what they hold: each role on each selector.
///
/// # Errors
/// 400 for what is no role or no selector, and for a role that cannot be narrowed so.
pub(super) fn rights(roles: &[String], on: &[String]) -> Result<Rights, Problem> {
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
    Json(keys.into_iter().map(|(key, used)| shown(&api, &key, used, now)).collect())
}

/// Creates a key. Its secret is in this response, and nowhere else.
#[utoipa::path(
    post, path = "/api/access/keys", tag = "access", request_body = KeyRequest,
    responses(
        (status = 200, description = "The key with its secret", body = serde_json::Value),
        (status = 400, description = "Invalid; the response says why"),
    )
)]
async fn create_key(
    State(api): State<Api>,
    actor: Actor,
    Body(wanted): Body<KeyRequest>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let rights = rights(&wanted.roles, &wanted.on)?;
    let now = api.engine.now();
    let expires_at = wanted.expires_at.map(Timestamp::from_millis);
    let (access, by) = (api.engine.access(), actor.shown());
    let made = match &wanted.user {
        Some(_) if !rights.is_empty() => return Err(engine::AccessError::OfUser.into()),
        Some(user) => access.create_key_of(user, &wanted.name, expires_at, &by, now).await?,
        None => access.create_key(&wanted.name, rights, expires_at, &by, now).await?,
    };
    let (key, user) = (&made.record.id, wanted.user.as_deref().unwrap_or_default());
    let rights = held(&access.holder_of(&Grantee::Key(key.to_string()))?);
    tracing::info!(%key, name = %made.record.name, rights, user, by, "a key was made");
    let mut answer = shown(&api, &made.record, None, now);
    answer["keySecret"] = made.text.as_str().into();
    let has = if user.is_empty() { rights } else { format!("as {user}") };
    let about = About(format!("key:{key} {}: {has}", made.record.name).into());
    Ok((Extension(about), Json(answer)))
}

/// Revokes a key: requests with it, or with a token issued for it, are refused from now on.
#[utoipa::path(
    delete, path = "/api/access/keys/{id}", tag = "access",
    params(("id" = String, Path, description = "The id of the key")),
    responses(
        (status = 200, description = "The key", body = serde_json::Value),
        (status = 404, description = "Not found"),
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
    Ok(Json(shown(&api, &revoked, None, now)))
}

/// What somebody holds, in words.
fn held(holder: &Holder) -> String {
    let Rights { roles, grants } = &holder.rights;
    let roles = roles.iter().map(ToString::to_string);
    roles.chain(grants.iter().map(ToString::to_string)).collect::<Vec<_>>().join(", ")
}

/// For the ledger: who holds what after a change.
fn now_has(holder: &Holder) -> About {
    About(format!("{} {}: {}", holder.id, holder.name, held(holder)).into())
}

/// Whose grants.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Whose {
    /// The id of a key.
    #[serde(default)]
    key: Option<String>,
    /// The name of a user.
    #[serde(default)]
    user: Option<String>,
    /// The name of a group.
    #[serde(default)]
    group: Option<String>,
}

impl Whose {
    /// The one that is named; `None` without any.
    fn grantee(self) -> Result<Option<Grantee>, Problem> {
        match (self.key, self.user, self.group) {
            (None, None, None) => Ok(None),
            (Some(key), None, None) => Ok(Some(Grantee::Key(key))),
            (None, Some(user), None) => Ok(Some(Grantee::User(user))),
            (None, None, Some(group)) => Ok(Some(Grantee::Group(group))),
            _ => Err(Problem::bad_request("name one 'key', one 'user' or one 'group'")),
        }
    }

    fn one(self) -> Result<Grantee, Problem> {
        self.grantee()?.ok_or_else(|| Problem::bad_request("name a 'key', a 'user' or a 'group'"))
    }
}

/// Lists the grants of each valid key, user and group: a role, and the selectors in `on`; without
/// `on` it holds for everything.
#[utoipa::path(
    operation_id = "list_grants", get, path = "/api/access/grants", tag = "access",
    params(Whose),
    responses((status = 200, description = "The grants", body = Vec<serde_json::Value>))
)]
async fn grants(
    State(api): State<Api>,
    Query(whose): Query<Whose>,
) -> Result<Json<Vec<Value>>, Problem> {
    let access = api.engine.access();
    let holders = match whose.grantee()? {
        // A key that is not there holds nothing, as before there were users.
        Some(key @ Grantee::Key(_)) => access.holder_of(&key).into_iter().collect(),
        Some(whom) => vec![access.holder_of(&whom)?],
        None => access.holders(api.engine.now()),
    };
    Ok(Json(holders.iter().flat_map(listed).collect()))
}

fn listed(holder: &Holder) -> Vec<Value> {
    let line = |role: Role, on: Option<&Selector>| {
        let mut line = json!({ "name": holder.name, "role": role, "on": on });
        match holder.id.split_once(':') {
            Some(("key", id)) => line["keyId"] = id.into(),
            Some((kind, _)) => line[kind] = (&*holder.name).into(),
            None => {}
        }
        line
    };
    let whole = holder.rights.roles.iter().map(|role| line(*role, None));
    whole.chain(holder.rights.grants.iter().map(|it| line(it.role, Some(&it.on)))).collect()
}

/// What to grant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantRequest {
    /// The id of the key; or
    #[serde(default)]
    key: Option<String>,
    /// the name of the user; or
    #[serde(default)]
    user: Option<String>,
    /// the name of the group.
    #[serde(default)]
    group: Option<String>,
    /// Roles.
    roles: Vec<String>,
    /// Selectors that narrow the roles, such as `hub=sales`; without any they hold for everything.
    #[serde(default)]
    on: Vec<String>,
}

/// Adds grants to a key, a user or a group; they take effect at the next request.
#[utoipa::path(
    post, path = "/api/access/grants", tag = "access", request_body = GrantRequest,
    responses(
        (status = 200, description = "Its grants after the change", body = Vec<serde_json::Value>),
        (status = 400, description = "Invalid; the response says why"),
        (status = 404, description = "No such key, user or group"),
    )
)]
async fn add_grants(
    State(api): State<Api>,
    actor: Actor,
    Body(wanted): Body<GrantRequest>,
) -> Result<(Extension<About>, Json<Vec<Value>>), Problem> {
    let GrantRequest { key, user, group, roles, on } = wanted;
    let more = rights(&roles, &on)?;
    let whom = Whose { key, user, group }.one()?;
    let holder = api.engine.access().grant(whom, more, api.engine.now()).await?;
    let (rights, by) = (held(&holder), actor.shown());
    tracing::info!(holder = %holder.id, name = %holder.name, rights, by, "permissions granted");
    Ok((Extension(now_has(&holder)), Json(listed(&holder))))
}

/// Revokes grants of a key, a user or a group; that takes effect at the next request.
#[utoipa::path(
    delete, path = "/api/access/grants", tag = "access",
    params(
        Whose,
        ("role" = Vec<String>, Query, description = "Roles"),
        ("on" = Option<Vec<String>>, Query, description = "On what, as they were granted"),
    ),
    responses(
        (status = 200, description = "Its grants after the change", body = Vec<serde_json::Value>),
        (status = 404, description = "No such key, user or group, or it does not have this grant"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn remove_grants(
    State(api): State<Api>,
    actor: Actor,
    RawQuery(pairs): RawQuery,
) -> Result<(Extension<About>, Json<Vec<Value>>), Problem> {
    let all = |name: &str| -> Vec<String> {
        let named = pairs.iter().filter(|(given, _)| given == name);
        named.map(|(_, value)| value.clone()).collect()
    };
    let one = |name: &str| match all(name).as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        _ => Err(Problem::bad_request(format!("name one '{name}'"))),
    };
    let whom = Whose { key: one("key")?, user: one("user")?, group: one("group")? }.one()?;
    let roles = all("role");
    if roles.is_empty() {
        return Err(Problem::bad_request("name the 'role' to take away"));
    }
    let less = rights(&roles, &all("on"))?;
    let holder = api.engine.access().withdraw(whom, less, api.engine.now()).await?;
    let (rights, by) = (held(&holder), actor.shown());
    tracing::info!(holder = %holder.id, name = %holder.name, rights, by, "permissions revoked");
    Ok((Extension(now_has(&holder)), Json(listed(&holder))))
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

/// Lists clients that have called without credentials since the start, while access control is
/// optional.
#[utoipa::path(
    get, path = "/api/access/anonymous", tag = "access",
    responses((status = 200, description = "Clients and their calls", body = Vec<serde_json::Value>))
)]
async fn anonymous_clients(State(authorizer): State<Arc<Authorizer>>) -> Json<Vec<Value>> {
    let clients = authorizer.anonymous().into_iter();
    Json(clients.map(|(client, calls)| json!({ "client": client, "calls": calls })).collect())
}

/// A key as it may be shown.
fn shown(api: &Api, key: &KeyRecord, used: Option<Timestamp>, now: Timestamp) -> Value {
    let user = key.user.as_ref().map(|id| api.engine.access().user(id));
    let status = match (key.revoked_at, &user, key.is_valid(now)) {
        (Some(_), ..) | (None, Some(Err(_)), _) => "REVOKED",
        (None, Some(Ok((user, _))), true) if !user.is_enabled() => "DISABLED",
        (None, _, true) => "VALID",
        (None, _, false) => "EXPIRED",
    };
    let user = user.and_then(Result::ok).map(|(user, _)| user.name);
    let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
    json!({
        "keyId": key.id,
        "name": key.name,
        "roles": key.roles,
        "grants": key.grants,
        "user": user,
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
