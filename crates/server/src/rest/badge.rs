//! `/badge/{page}`: small pictures of how what a public status page shows stands now, for readmes and
//! wikis; as SVG, and as the JSON that shields.io reads.
//!
//! Nothing is on a badge that is not on its page: labels of components and titles of groups, never the
//! name of a monitor.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use engine::ComponentStatus;
use kernel::access::Need;
use kernel::status_page::{Component, StatusPage};
use serde_json::json;
use utoipa_axum::routes;

use super::extract::Path;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

/// For how long caches keep a badge, in seconds.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=30");
/// Characters of a label; the rest is left out.
const LABEL_MAX: usize = 60;

pub(super) fn routes() -> Routes {
    Routes::new().on(Need::Public, routes!(whole)).on(Need::Public, routes!(one))
}

/// A badge for a whole public status page: `NAME.svg`, or `NAME.json` as shields.io reads it.
#[utoipa::path(
    operation_id = "badge", get, path = "/badge/{page}", tag = "status pages",
    params(("page" = String, Path, description = "The name of the page, with .svg or .json behind it")),
    responses(
        (status = 200, description = "The badge", content_type = "image/svg+xml", body = String),
        (status = 404, description = "Nothing is published under this name"),
    )
)]
async fn whole(State(api): State<Api>, Path(page): Path<String>) -> Result<Response, Problem> {
    let (name, form) = form_of(&page)?;
    let all = |page: &StatusPage| -> Option<Vec<Component>> {
        Some(page.groups.iter().flat_map(|group| group.components.clone()).collect())
    };
    let (title, status) = status(&api, name, all).await?;
    Ok(form.response(&title, status))
}

/// A badge for one component of a public status page by its label, or for a group by its title.
#[utoipa::path(
    operation_id = "badge_of_component", get, path = "/badge/{page}/{label}", tag = "status pages",
    params(
        ("page" = String, Path, description = "The name of the page"),
        ("label" = String, Path, description = "The label or title, with .svg or .json behind it"),
    ),
    responses(
        (status = 200, description = "The badge", content_type = "image/svg+xml", body = String),
        (status = 404, description = "Nothing is published under this name"),
    )
)]
async fn one(
    State(api): State<Api>,
    Path((page, label)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (label, form) = form_of(&label)?;
    let of_label = |page: &StatusPage| -> Option<Vec<Component>> {
        let components = page.groups.iter().flat_map(|group| &group.components);
        let found: Vec<Component> = components.filter(|it| *it.label == *label).cloned().collect();
        let group = || page.groups.iter().find(|group| *group.title == *label);
        if found.is_empty() { group().map(|it| it.components.clone()) } else { Some(found) }
    };
    let (_, status) = status(&api, &page, of_label).await?;
    Ok(form.response(label, status))
}

/// The title of a public page, and the worst of how some of its components stand.
async fn status(
    api: &Api,
    name: &str,
    components: impl Fn(&StatusPage) -> Option<Vec<Component>>,
) -> Result<(String, ComponentStatus), Problem> {
    let pages = api.engine.status_pages().await?;
    // A page that is not public is not told from one that is not there.
    let page = pages.get(name).filter(|page| page.public).ok_or_else(nothing)?;
    let components = components(page).ok_or_else(nothing)?;
    let components: Vec<&Component> = components.iter().collect();
    Ok((page.title.to_string(), api.engine.worst_of(&components).await?))
}

fn nothing() -> Problem {
    Problem::not_found("nothing is published under this name")
        .with_hint("Write /badge/PAGE.svg or /badge/PAGE/LABEL.svg, of a public status page.")
}

#[derive(Clone, Copy)]
enum Form {
    Svg,
    Json,
}

fn form_of(name: &str) -> Result<(&str, Form), Problem> {
    let svg = name.strip_suffix(".svg").map(|name| (name, Form::Svg));
    svg.or_else(|| Some((name.strip_suffix(".json")?, Form::Json))).ok_or_else(nothing)
}

impl Form {
    fn response(self, label: &str, status: ComponentStatus) -> Response {
        let label: String = label.chars().filter(|c| !c.is_control()).take(LABEL_MAX).collect();
        let (message, color) = match status {
            ComponentStatus::Operational => ("up", "#2f7d32"),
            ComponentStatus::Unknown => ("unknown", "#6b6b6b"),
            ComponentStatus::Degraded => ("degraded", "#a86400"),
            ComponentStatus::Down => ("down", "#b3261e"),
        };
        let (kind, body) = match self {
            Self::Svg => ("image/svg+xml; charset=utf-8", svg(&label, message, color)),
            Self::Json => {
                let badge = json!({
                    "schemaVersion": 1, "label": label, "message": message, "color": color,
                    "isError": status == ComponentStatus::Down,
                });
                ("application/json", badge.to_string())
            }
        };
        let kind = HeaderValue::from_static(kind);
        ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, CACHED)], body).into_response()
    }
}

/// Two boxes with a text each.
fn svg(label: &str, message: &str, color: &str) -> String {
    let (left, right) = (width(label) + 12, width(message) + 12);
    let (label, message) = (escaped(label), escaped(message));
    let (whole, left_middle, right_middle) = (left + right, left / 2, left + right / 2);
    let (left_text, right_text) = (left - 12, right - 12);
    let mut svg = String::new();
    // The widths of texts are said, so that every font fills its box.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole}\" height=\"20\" role=\"img\" \
         aria-label=\"{label}: {message}\"><title>{label}: {message}</title>\
         <clipPath id=\"r\"><rect width=\"{whole}\" height=\"20\" rx=\"3\"/></clipPath>\
         <g clip-path=\"url(#r)\"><rect width=\"{left}\" height=\"20\" fill=\"#444\"/>\
         <rect x=\"{left}\" width=\"{right}\" height=\"20\" fill=\"{color}\"/></g>\
         <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,sans-serif\" \
         font-size=\"11\"><text x=\"{left_middle}\" y=\"14\" textLength=\"{left_text}\">{label}</text>\
         <text x=\"{right_middle}\" y=\"14\" textLength=\"{right_text}\">{message}</text></g></svg>"
    );
    svg
}

/// About how wide a text of 11 pixels is, in pixels.
fn width(text: &str) -> usize {
    let tenths: usize = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 38,
            'f' | 'r' | 't' | '-' | '(' | ')' | '/' | '[' | ']' => 46,
            'm' | 'w' | 'M' | 'W' | '@' | '%' => 105,
            'A'..='Z' => 78,
            c if c.is_ascii() => 68,
            // Most others are wide.
            _ => 110,
        })
        .sum();
    tenths.div_ceil(10).max(1)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
