//! System: the frame of its parts, which are pages of their own.

use kernel::access::Permission;
use maud::html;

use super::{Page, Shown, access, audit, events, health, queues, secrets, settings};
use crate::shell::Place;
use crate::value::cut;
use crate::visit::href;
use crate::{Context, Failure};

const PARTS: [(&str, &str); 8] = [
    ("health", "Health"),
    ("queues", "Queues"),
    ("workers", "Workers"),
    ("events", "Events"),
    ("secrets", "Secrets"),
    ("audit", "Audit"),
    ("access", "Access"),
    ("settings", "Settings"),
];

/// Parts that others are not led to.
const FOR_ADMINISTRATORS: [&str; 2] = ["access", "settings"];

pub(super) async fn show(cx: &Context<'_>, part: &str) -> Shown {
    let Some((_, title)) = PARTS.iter().find(|(name, _)| *name == part) else {
        let parts = PARTS.map(|(name, _)| name).join(", ");
        return Err(Failure::missing(format!(
            "There is no part '{}' of the system",
            cut(part, 40)
        ))
        .with_hint(format!("There are {parts}.")));
    };
    let (json, command, shown) = match part {
        "queues" => ("/api/tasks/queue/all/verbose", "nightbell queue list", queues::queues(cx)),
        "workers" => ("/api/workers", "nightbell worker list", queues::workers(cx).await?),
        "events" => ("/api/event/execution", "nightbell event list", events::part(cx).await?),
        "secrets" => ("/api/secrets-v2", "nightbell secret list", secrets::part(cx).await?),
        "audit" => ("/api/audit", "nightbell audit list", audit::part(cx).await?),
        "access" => ("/api/access/users", "nightbell user list", access::part(cx).await?),
        "settings" => {
            ("/api/admin/settings", "nightbell config --effective", settings::part(cx).await?)
        }
        _ => ("/api/health", "", health::part(cx).await),
    };
    let body = html! {
        ul.tabs aria-label="Parts" {
            @for (name, shown) in PARTS.iter().filter(|(name, _)| !FOR_ADMINISTRATORS.contains(name) || cx.sees(Permission::Admin)) {
                li { a href=(href(&["system", *name])) aria-current=[(*name == part).then_some("page")] { (shown) } }
            }
            li { a href="/console/entities" { "Entities" } }
        }
        (shown)
    };
    let topics = match part {
        "queues" | "workers" => "run",
        "events" | "secrets" | "audit" | "access" => "change",
        _ => "",
    };
    let page = Page::new(Place::System, *title, body).same_as(json, command).on(topics);
    let shows_messages = part == "events" && cx.visit.query.get("event").is_some();
    Ok(if shows_messages { page.with_payloads() } else { page })
}
