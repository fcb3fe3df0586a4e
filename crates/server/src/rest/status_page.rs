//! `/api/status-pages`: which monitors anybody may know the state of, and what people post there.

use axum::Json;
use axum::extract::State;
use engine::{Change, status_pages_change};
use kernel::access::Permission;
use kernel::status_page::{POST_MAX, StatusPage, StatusPost, parse_status_pages};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::extract::{Body, Path, RawBody, parse};
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;

/// Status pages at most.
const COUNT_MAX: usize = 100;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(list))
        .on(Permission::Edit, routes!(define))
        .on(Permission::Read, routes!(show))
        .on(Permission::Edit, routes!(delete))
        .on(Permission::Read, routes!(posts))
        .on(Permission::Respond, routes!(post))
        .on(Permission::Respond, routes!(delete_post))
}

fn missing(name: &str) -> Problem {
    let shown: String = name.chars().take(100).collect();
    Problem::not_found(format!("there is no status page '{shown}'"))
        .with_hint("See `nightbell status-page list`.")
}

fn shown(page: &StatusPage) -> Value {
    serde_json::to_value(page).unwrap_or_default()
}

fn post_shown(post: &StatusPost) -> Value {
    json!({ "id": post.id, "at": post.at.millis(), "by": post.by, "text": post.text })
}

/// Lists status pages, including those that are not public.
#[utoipa::path(
    operation_id = "list_status_pages", get, path = "/api/status-pages", tag = "status pages",
    responses((status = 200, description = "The pages", body = Vec<serde_json::Value>))
)]
async fn list(State(api): State<Api>) -> Result<Json<Vec<Value>>, Problem> {
    let pages = api.engine.status_pages().await?;
    Ok(Json(pages.values().map(|page| shown(page)).collect()))
}

/// Creates or replaces status pages, one or a list; posts are kept. With `public` anybody may see
/// the page at `/status/{name}`.
#[utoipa::path(
    operation_id = "define_status_pages", post, path = "/api/status-pages", tag = "status pages",
    request_body = serde_json::Value,
    responses(
        (status = 200, description = "The pages as they are now", body = Vec<serde_json::Value>),
        (status = 400, description = "Invalid; the response lists every problem"),
        (status = 409, description = "There would be too many"),
    )
)]
async fn define(
    State(api): State<Api>,
    RawBody(body): RawBody,
) -> Result<Json<Vec<Value>>, Problem> {
    // Bounds on depth and numbers are the same for all documents.
    let value: Value = parse(&body)?;
    let pages = parse_status_pages(&value.to_string()).map_err(Problem::invalid)?;
    let present = api.engine.status_pages().await?;
    let new = pages.iter().filter(|page| !present.contains_key(&page.name)).count();
    if present.len() + new > COUNT_MAX {
        return Err(Problem::conflict(format!("there can be at most {COUNT_MAX} status pages")));
    }
    api.engine.change(status_pages_change(&pages, Change::default())).await?;
    Ok(Json(pages.iter().map(shown).collect()))
}

/// Shows the definition of a status page.
#[utoipa::path(
    operation_id = "show_status_page", get, path = "/api/status-pages/{name}", tag = "status pages",
    params(("name" = String, Path, description = "The name of the page")),
    responses(
        (status = 200, description = "The page", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn show(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let pages = api.engine.status_pages().await?;
    pages.get(&*name).map(|page| Json(shown(page))).ok_or_else(|| missing(&name))
}

/// Deletes a status page with its posts.
#[utoipa::path(
    operation_id = "delete_status_page", delete, path = "/api/status-pages/{name}", tag = "status pages",
    params(("name" = String, Path, description = "The name of the page")),
    responses(
        (status = 200, description = "Deleted"),
        (status = 404, description = "Not found"),
    )
)]
async fn delete(State(api): State<Api>, Path(name): Path<String>) -> Result<(), Problem> {
    if api.engine.delete_status_page(&name).await? { Ok(()) } else { Err(missing(&name)) }
}

/// Lists the posts of a status page, newest first.
#[utoipa::path(
    operation_id = "list_status_posts", get, path = "/api/status-pages/{name}/posts", tag = "status pages",
    params(("name" = String, Path, description = "The name of the page")),
    responses(
        (status = 200, description = "The posts", body = Vec<serde_json::Value>),
        (status = 404, description = "No such page"),
    )
)]
async fn posts(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Vec<Value>>, Problem> {
    exists(&api, &name).await?;
    let posts = api.engine.status_posts(&name).await?;
    Ok(Json(posts.iter().map(post_shown).collect()))
}

async fn exists(api: &Api, name: &str) -> Result<(), Problem> {
    let pages = api.engine.status_pages().await?;
    if pages.contains_key(name) { Ok(()) } else { Err(missing(name)) }
}

#[derive(Debug, Deserialize, ToSchema)]
struct NewPost {
    /// Its text, up to 4,000 characters; never interpreted as markup.
    text: String,
    /// Who posts it; default: the authenticated user. The page does not show it.
    by: Option<String>,
}

/// Posts a text on a status page, with the current time.
#[utoipa::path(
    operation_id = "post_on_status_page", post, path = "/api/status-pages/{name}/posts", tag = "status pages",
    params(("name" = String, Path, description = "The name of the page")),
    request_body = NewPost,
    responses(
        (status = 200, description = "The post", body = serde_json::Value),
        (status = 400, description = "The text is empty or too long"),
        (status = 404, description = "No such page"),
    )
)]
async fn post(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
    Body(new): Body<NewPost>,
) -> Result<Json<Value>, Problem> {
    let text = new.text.trim();
    if text.is_empty() || text.chars().count() > POST_MAX {
        return Err(Problem::bad_request(format!("text has 1 to {POST_MAX} characters")));
    }
    exists(&api, &name).await?;
    let by = actor.if_told(new.by);
    let post = api.engine.post_on_status_page(&name, text, by.as_deref()).await?;
    Ok(Json(post_shown(&post)))
}

/// Deletes a post.
#[utoipa::path(
    operation_id = "delete_status_post", delete, path = "/api/status-pages/{name}/posts/{id}", tag = "status pages",
    params(
        ("name" = String, Path, description = "The name of the page"),
        ("id" = u64, Path, description = "The id of the post"),
    ),
    responses(
        (status = 200, description = "Deleted"),
        (status = 404, description = "Not found"),
    )
)]
async fn delete_post(
    State(api): State<Api>,
    Path((name, id)): Path<(String, u64)>,
) -> Result<(), Problem> {
    exists(&api, &name).await?;
    if api.engine.delete_status_post(&name, id).await? {
        return Ok(());
    }
    Err(Problem::not_found(format!("the status page '{name}' has no post {id}"))
        .with_hint("See `nightbell status-page posts`."))
}
