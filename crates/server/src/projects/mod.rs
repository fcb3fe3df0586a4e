//! Projects: what a folder of definitions would change, and making it so.
//!
//! A project owns objects: what it applied, and nothing else. A plan is the difference between the
//! files of a project and the server, with what it touches (running executions, next firings, who
//! is told of incidents). Applying is the change that `--load` makes, with the removal of what the
//! project owns and its files do not define any more.

mod apply;
mod blast;
mod compare;
mod defined;
mod difference;
mod object;
mod owners;
mod plan;
mod prune;
mod wanted;

use axum::Json;
use axum::extract::State;
use kernel::access::Permission;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;
use crate::rest::extract::{Body, Path};

pub use apply::Applied;
pub use compare::differing;
pub use defined::{Defined, FileKind, holds_task_defs};
pub use difference::Action;
pub use object::Object;
pub use plan::{Drift, Plan, PlannedChange};
pub use prune::{Pruned, prune_loaded};

pub(crate) fn routes() -> Routes {
    // A plan judges what users wrote, and says which secrets are not there.
    Routes::new()
        .on(Permission::Edit, routes!(plan_project))
        .on(Permission::Edit, routes!(apply_project))
        .on(Permission::Read, routes!(show_drift))
}

/// A file of a project.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ProjectFile {
    /// Its path within the project, which names it in messages. A file named `taskdefs.json`, or
    /// so at its end, holds task definitions.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Whether it is a monitors file, or a checklist.
    #[serde(default)]
    pub monitors: bool,
}

/// The files of a project, all of them.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct ProjectRequest {
    files: Vec<ProjectFile>,
    /// Take over objects that another project owns.
    adopt: bool,
    /// Remove also more than a fifth of what the project owns.
    yes: bool,
    /// Upgrade running executions of changed workflows to the new definition where it fits.
    upgrade_running: bool,
    /// `base` of the plan: if the server has changed since, nothing is applied.
    base: Option<String>,
}

/// Plans: shows what the files of a project would change, and what that would affect. Changes
/// nothing.
#[utoipa::path(
    post, path = "/api/projects/{name}/plan", tag = "projects", request_body = ProjectRequest,
    params(("name" = String, Path, description = "The name of the project")),
    responses(
        (status = 200, description = "The plan; without changes the server is as the files say",
            body = Plan),
        (status = 400, description = "Invalid files; the response lists every problem"),
    )
)]
async fn plan_project(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
    Body(request): Body<ProjectRequest>,
) -> Result<Json<Plan>, Problem> {
    let name = project_name(&name)?;
    let wanted = wanted::read(&api.engine, name, request.files).await?;
    Ok(Json(plan::of(&api.engine, name, &wanted, &actor).await?))
}

/// Applies the files of a project: what is new or different is stored, what the project owns and
/// the files no longer define is removed.
#[utoipa::path(
    post, path = "/api/projects/{name}/apply", tag = "projects", request_body = ProjectRequest,
    params(("name" = String, Path, description = "The name of the project")),
    responses(
        (status = 200, description = "What was applied", body = Applied),
        (status = 400, description = "Invalid files; the response lists every problem, and nothing is applied"),
        (status = 409, description = "The server has moved since the plan, another project owns \
            something, or too much would be removed; nothing is applied"),
    )
)]
async fn apply_project(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
    Body(request): Body<ProjectRequest>,
) -> Result<Json<Applied>, Problem> {
    let name = project_name(&name)?;
    let wanted = wanted::read(&api.engine, name, request.files).await?;
    let wishes = apply::Wishes {
        adopt: request.adopt,
        yes: request.yes,
        upgrade_running: request.upgrade_running,
        base: request.base,
        author: actor.acts_as().into(),
    };
    let (engine, name) = (api.engine.clone(), name.to_owned());
    // On its own: whoever asked may go away meanwhile.
    let applying = async move { apply::apply(&engine, &name, wanted, wishes).await };
    let applied =
        tokio::spawn(applying).await.map_err(|_| Problem::from(engine::Error::Closing))??;
    Ok(Json(applied))
}

/// Lists drift: what was changed on the server since projects applied it.
#[utoipa::path(
    get, path = "/api/projects/drift", tag = "projects",
    responses((status = 200, description = "Every object that is not as it was applied",
        body = Vec<Drift>))
)]
async fn show_drift(State(api): State<Api>) -> Result<Json<Vec<Drift>>, Problem> {
    Ok(Json(plan::drift(&api.engine).await?))
}

/// Reads who owns what.
pub(crate) async fn look(engine: &engine::Engine) -> Result<(), Problem> {
    owners::all(engine).await.map(drop)
}

/// Bytes of the longest name of a project.
const NAME_MAX: usize = 100;

fn project_name(name: &str) -> Result<&str, Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_plain) {
        let message = format!("'{name}' cannot be the name of a project");
        return Err(Problem::bad_request(message)
            .with_hint(format!("Use letters, digits, - _ and . (at most {NAME_MAX}).")));
    }
    Ok(name)
}
