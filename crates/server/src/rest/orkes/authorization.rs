//! Grants as clients of Orkes make them: who may do what to which definitions.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};
use engine::{Grantee, Rights};
use kernel::access::Permission;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::super::extract::{Body, Path};
use super::{shape, words};
use crate::Api;
use crate::access::{About, Actor, Routes};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Admin, routes!(grant_permissions, remove_permissions))
        .on(Permission::Admin, routes!(permissions_on))
}

/// Who may do what.
#[derive(Debug, Deserialize, ToSchema)]
struct AuthorizationRequest {
    /// Who.
    subject: Subject,
    /// On what.
    target: words::Target,
    /// `READ`, `EXECUTE`.
    access: Vec<String>,
}

/// Who is meant.
#[derive(Debug, Deserialize, ToSchema)]
struct Subject {
    /// `USER` or `GROUP`.
    #[serde(rename = "type")]
    kind: String,
    /// The name; of an application `app:ID`.
    id: String,
}

impl Subject {
    fn grantee(&self) -> Result<Grantee, Problem> {
        match self.kind.as_str() {
            "USER" => Ok(Grantee::User(shape::name_of(&self.id).to_ascii_lowercase())),
            "GROUP" => Ok(Grantee::Group(self.id.to_ascii_lowercase())),
            kind => {
                let message = format!("a grant is made to a USER or a GROUP, not to a '{kind}'");
                Err(Problem::bad_request(message))
            }
        }
    }
}

impl AuthorizationRequest {
    fn rights(&self) -> Result<Rights, Problem> {
        let grants = words::grants(&self.target, &self.access)?;
        Ok(Rights { roles: Vec::new(), grants })
    }

    fn about(&self) -> Extension<About> {
        let Self { subject, target, access } = self;
        let on = format!("{} {}", target.kind, target.id);
        let text = format!("{} {}: {} on {on}", subject.kind, subject.id, access.join(", "));
        Extension(About(text.into()))
    }
}

/// Grants a user or group access; it takes effect at the next request.
#[utoipa::path(
    post, path = "/api/auth/authorization", tag = "access", request_body = AuthorizationRequest,
    responses(
        (status = 200, description = "Granted", body = serde_json::Value),
        (status = 400, description = "It cannot be granted, because it would not be enforced"),
        (status = 404, description = "No such user or group"),
    )
)]
async fn grant_permissions(
    State(api): State<Api>,
    actor: Actor,
    Body(wanted): Body<AuthorizationRequest>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let (whom, more) = (wanted.subject.grantee()?, wanted.rights()?);
    let holder = api.engine.access().grant(whom, more, api.engine.now()).await?;
    let by = actor.shown();
    tracing::info!(holder = %holder.id, name = %holder.name, by, "permissions granted");
    Ok((wanted.about(), Json(words::granted(&holder.rights.grants))))
}

/// Revokes accesses of a user or group; that takes effect at the next request.
#[utoipa::path(
    delete, path = "/api/auth/authorization", tag = "access", request_body = AuthorizationRequest,
    responses(
        (status = 200, description = "Revoked", body = serde_json::Value),
        (status = 400, description = "It cannot have been granted"),
        (status = 404, description = "No such user or group, or it does not have this grant"),
    )
)]
async fn remove_permissions(
    State(api): State<Api>,
    actor: Actor,
    Body(wanted): Body<AuthorizationRequest>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let (whom, less) = (wanted.subject.grantee()?, wanted.rights()?);
    let holder = api.engine.access().withdraw(whom, less, api.engine.now()).await?;
    let by = actor.shown();
    tracing::info!(holder = %holder.id, name = %holder.name, by, "permissions revoked");
    Ok((wanted.about(), Json(words::granted(&holder.rights.grants))))
}

/// Lists the grants on exactly this target.
#[utoipa::path(
    get, path = "/api/auth/authorization/{type}/{id}", tag = "access",
    params(
        ("type" = String, Path, description = "`WORKFLOW_DEF`, `TASK_DEF`, `DOMAIN` or `TAG`"),
        ("id" = String, Path, description = "The name"),
    ),
    responses(
        (status = 200, description = "Users and groups by access", body = serde_json::Value),
        (status = 400, description = "Nothing can be granted on it"),
    )
)]
async fn permissions_on(
    State(api): State<Api>,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Json<BTreeMap<&'static str, Vec<Value>>>, Problem> {
    let on = words::Target { kind, id }.selector()?;
    let access = api.engine.access();
    let mut by_access = BTreeMap::<&str, Vec<Value>>::new();
    for holder in access.holders(api.engine.now()) {
        let subject = match holder.id.split_once(':') {
            Some(("user", id)) => match access.user(id) {
                Ok((found, _)) => json!({ "type": "USER", "id": shape::id_of(&found) }),
                Err(_) => continue,
            },
            Some(("group", _)) => json!({ "type": "GROUP", "id": holder.name }),
            _ => continue,
        };
        for grant in holder.rights.grants.iter().filter(|grant| grant.on == on) {
            if let Some((_, word)) = words::access(grant) {
                by_access.entry(word).or_default().push(subject.clone());
            }
        }
    }
    Ok(Json(by_access))
}
