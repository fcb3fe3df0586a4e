//! The description of the API for programs (`/openapi.json`) and for people (`/docs`), and the schemas of
//! files for editors (`/schemas`).
//!
//! Both are written from the handlers themselves, so nothing is described that is not there
//! and nothing is there undescribed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use kernel::access::Need;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, RefOr};
use utoipa_axum::routes;

use crate::Api;
use crate::access::{PERMISSION, Routes};
use crate::problem::Problem;
use crate::rest::extract::Path;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .on(Need::Public, routes!(document))
        .on(Need::Public, routes!(docs))
        .on(Need::Public, routes!(editor_schema))
}

/// The pages, each written when it is first asked for: a start does not wait for them.
pub(crate) struct Pages {
    description: OpenApi,
    document: OnceLock<Bytes>,
    docs: OnceLock<Bytes>,
}

impl Pages {
    /// The pages of a description.
    pub(crate) fn of(mut description: OpenApi, version: &str) -> Self {
        description.info = InfoBuilder::new()
            .title("Nightbell")
            .version(version)
            .description(Some("Durable workflows that watch other systems and ring."))
            .license(Some(LicenseBuilder::new().name("Apache-2.0").build()))
            .build();
        Self { description, document: OnceLock::new(), docs: OnceLock::new() }
    }

    fn document(&self) -> Bytes {
        let write = || serde_json::to_vec(&self.description).expect("a description is JSON").into();
        self.document.get_or_init(write).clone()
    }

    fn docs(&self) -> Bytes {
        self.docs.get_or_init(|| page(&self.description).into()).clone()
    }
}

/// Describes the API as an `OpenAPI` 3.1 document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "operations",
    responses((status = 200, description = "The document", body = serde_json::Value))
)]
async fn document(State(pages): State<Arc<Pages>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], pages.document()).into_response()
}

/// Shows the API documentation as a page.
#[utoipa::path(
    get, path = "/docs", tag = "operations",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
async fn docs(State(pages): State<Arc<Pages>>) -> Html<Bytes> {
    Html(pages.docs())
}

/// The JSON schema of a kind of file, by which editors complete and check it: `definitions.json`,
/// `workflow.json`, `taskdefs.json`, `schedules.json`, `monitors.json` or `tests.json`.
#[utoipa::path(
    get, path = "/schemas/{name}", tag = "operations",
    params(("name" = String, Path, description = "The name of the schema")),
    responses(
        (status = 200, description = "The schema", body = serde_json::Value, content_type = "application/schema+json"),
        (status = 404, description = "No such schema"),
    )
)]
async fn editor_schema(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let text = (api.settings.editor_schema)(&name).ok_or_else(|| {
        let hint = "There are definitions.json, workflow.json, taskdefs.json, schedules.json, \
                    monitors.json and tests.json.";
        Problem::not_found(format!("there is no schema {name}")).with_hint(hint)
    })?;
    Ok(([(header::CONTENT_TYPE, "application/schema+json")], text).into_response())
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>Nightbell API</title><style>\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h2{margin:2rem 0 .5rem;text-transform:capitalize}\
details{border-top:1px solid #8884}summary{padding:.4rem 0;cursor:pointer}\
code{font:14px ui-monospace,monospace}b{display:inline-block;width:4.5rem}\
td,th{padding:.1rem 1rem .1rem 0;text-align:left;vertical-align:top}\
</style>";

/// One page that needs nothing from elsewhere.
fn page(description: &OpenApi) -> String {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, item) in &description.paths.paths {
        for (method, operation) in operations(item) {
            let group = operation.tags.as_ref().and_then(|tags| tags.first());
            let group = group.map_or("other", String::as_str);
            groups.entry(group).or_default().push(entry(method, path, operation));
        }
    }
    let mut page = HEAD.to_owned();
    let version = escape(&description.info.version);
    let _ = write!(
        page,
        "<h1>Nightbell API {version}</h1><p>The same for programs: \
         <a href=\"/openapi.json\">/openapi.json</a></p>"
    );
    for (group, entries) in groups {
        let _ = write!(page, "<h2>{}</h2>{}", escape(group), entries.concat());
    }
    page
}

fn operations(item: &PathItem) -> impl Iterator<Item = (&'static str, &Operation)> {
    let all =
        [("GET", &item.get), ("POST", &item.post), ("PUT", &item.put), ("DELETE", &item.delete)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

fn entry(method: &str, path: &str, operation: &Operation) -> String {
    let summary = operation.summary.as_deref().unwrap_or_default();
    let mut entry = format!(
        "<details><summary><code><b>{method}</b>{}</code> {}</summary><table>",
        escape(path),
        escape(summary)
    );
    let permission = operation.extensions.as_ref().and_then(|it| it.get(PERMISSION)?.as_str());
    if let Some(permission) = permission {
        let _ = write!(entry, "<tr><td>needs<td>{}", escape(permission));
    }
    for parameter in operation.parameters.iter().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        let about = parameter.description.as_deref().unwrap_or_default();
        let _ =
            write!(entry, "<tr><td><code>{}</code><td>{}", escape(&parameter.name), escape(about));
    }
    for (status, response) in &operation.responses.responses {
        let about = match response {
            RefOr::T(response) => response.description.as_str(),
            RefOr::Ref(_) => "",
        };
        let _ = write!(entry, "<tr><td>{}<td>{}", escape(status), escape(about));
    }
    entry.push_str("</table></details>");
    entry
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
