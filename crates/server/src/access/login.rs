//! People at the command line: a name and a password open a session, which gives tokens that live an hour
//! and renews them; and people change their own passwords.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::Proved;
use kernel::access::{Mode, Need, Principal};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::session::{Use, id_of};
use super::{Actor, Authorizer, From, LIFETIME_SECONDS, Routes, expired};
use crate::Api;
use crate::problem::Problem;
use crate::rest::extract::Body;

/// The paths of people.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .on(Need::Public, routes!(login))
        .on(Need::Public, routes!(renew))
        .on(Need::Public, routes!(logout))
        .on(Need::Anyone, routes!(change_password))
}

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// The name of the user.
    user: String,
    /// The password.
    #[schema(value_type = String)]
    password: Zeroizing<String>,
}

/// Signs a user in: returns an access token, valid for an hour, and a renewal secret.
#[utoipa::path(
    operation_id = "access_login",
    post, path = "/api/access/login", tag = "access", request_body = Login,
    responses(
        (status = 200, description = "The token, and `renewal`, a secret", body = serde_json::Value),
        (status = 401, description = "Wrong name or password, or the user is disabled"),
        (status = 404, description = "Access control is off"),
        (status = 429, description = "Too many wrong passwords; try again later"),
        (status = 503, description = "Too many sign-ins at the same time"),
    )
)]
async fn login(
    State(authorizer): State<Arc<Authorizer>>,
    From(peer): From,
    Body(given): Body<Login>,
) -> Result<Json<Value>, Problem> {
    if authorizer.mode() == Mode::Open {
        return Err(Problem::not_found("access control is off: there is nobody to sign in as")
            .with_hint("Send requests without a token."));
    }
    let who = authorizer.known_by_password(&given.user, given.password, peer).await?;
    Ok(Json(opened_for_tokens(&authorizer, &who)))
}

/// A session that is opened for somebody: its first token, and the secret that renews it.
pub(super) fn opened_for_tokens(authorizer: &Authorizer, who: &Principal) -> Value {
    let opened = authorizer.sessions.open(who, Use::Tokens, Instant::now());
    let mut answer = with_token(authorizer, who, &opened.id());
    answer["renewal"] = opened.secret.into();
    answer
}

fn with_token(authorizer: &Authorizer, who: &Principal, session: &str) -> Value {
    let token = authorizer.session_token(who, session);
    json!({ "token": token, "expiresIn": LIFETIME_SECONDS, "id": who.id, "name": who.name })
}

/// What a login has given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Renewal {
    /// The secret `renewal` of the login.
    renewal: String,
}

/// Issues another access token for a session.
#[utoipa::path(
    post, path = "/api/access/renew", tag = "access", request_body = Renewal,
    responses(
        (status = 200, description = "The token", body = serde_json::Value),
        (status = 401, description = "The session has ended"),
    )
)]
async fn renew(
    State(authorizer): State<Arc<Authorizer>>,
    From(peer): From,
    Body(given): Body<Renewal>,
) -> Result<Json<Value>, Problem> {
    let found = authorizer.sessions.find(&given.renewal, Use::Tokens, Instant::now());
    let engine = &authorizer.engine;
    let proved =
        found.map(|it| engine.access().standing(&it.principal, it.generation, engine.now()));
    if let Some(Proved::Known(who)) = proved {
        return Ok(Json(with_token(&authorizer, &who, &id_of(&given.renewal))));
    }
    authorizer.throttle.failed(peer).await;
    Err(expired("the session has ended").with_hint("Sign in again with `nightbell login`."))
}

/// Which session ends.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Logout {
    /// The secret `renewal` of the login.
    renewal: String,
    /// Whether all sessions of the user end, including those of browsers.
    #[serde(default)]
    everywhere: bool,
}

/// Ends a session and its tokens. Ending a session twice is not an error.
#[utoipa::path(
    post, path = "/api/access/logout", tag = "access", request_body = Logout,
    responses((status = 204, description = "Session ended"))
)]
async fn logout(
    State(authorizer): State<Arc<Authorizer>>,
    From(peer): From,
    Body(given): Body<Logout>,
) -> StatusCode {
    let sessions = &authorizer.sessions;
    if let Some(session) = sessions.find(&given.renewal, Use::Tokens, Instant::now()) {
        sessions.close(&given.renewal);
        if given.everywhere {
            sessions.close_all(&session.principal);
        }
        if let Some(who) = authorizer.engine.access().inspect(&session.principal) {
            authorizer.note_logout(&who, given.everywhere, peer);
        }
    }
    StatusCode::NO_CONTENT
}

/// A user's own password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    /// The kind of object.
    #[schema(value_type = String)]
    current: Zeroizing<String>,
    /// The new password.
    #[schema(value_type = String)]
    new: Zeroizing<String>,
}

/// Changes the caller's own password. All sessions of the user end, this one included.
#[utoipa::path(
    post, path = "/api/access/password", tag = "access", request_body = PasswordChange,
    responses(
        (status = 204, description = "Changed"),
        (status = 400, description = "The new password breaks the rule, or the caller is not a user"),
        (status = 401, description = "The current password is wrong"),
        (status = 409, description = "The user was disabled or given another password meanwhile"),
        (status = 429, description = "Too many wrong passwords; try again later"),
    )
)]
async fn change_password(
    State(api): State<Api>,
    State(authorizer): State<Arc<Authorizer>>,
    actor: Actor,
    From(peer): From,
    Body(given): Body<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let user = actor.principal().and_then(|who| who.id.strip_prefix("user:"));
    let Some(id) = user else {
        return Err(Problem::bad_request("only a user who has signed in has a password to change")
            .with_hint("Sign in with `nightbell login`."));
    };
    let access = api.engine.access();
    let name = access.user(id)?.0.name;
    let proved = authorizer.known_by_password(&name, given.current, peer).await?;
    // A name may be somebody else's by now, so the change is of whom the password has proved.
    access.replace_password(&proved.id, proved.generation, given.new, api.engine.now()).await?;
    if let Some(who) = actor.principal() {
        authorizer.note("password", Some(who), "password", peer, "ok");
    }
    tracing::info!(user = %name, "a user has changed their password");
    Ok(StatusCode::NO_CONTENT)
}
