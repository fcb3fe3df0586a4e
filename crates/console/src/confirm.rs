//! The page before what cannot be taken back: what would happen, in numbers, and a form with the token
//! that allows exactly that.

use http::{Method, StatusCode};
use maud::{Markup, html};
use serde_json::json;

use crate::act::{Act, IDS_MAX, is_ours, named};
use crate::piece;
use crate::shell::{Page, Place};
use crate::value::{count, list, text};
use crate::visit::Pairs;
use crate::{Context, Failure, consequence, incident_search, seen};

/// Above so many the number has to be typed.
const TYPED_ABOVE: usize = 100;
/// Ids that a preview writes out.
const SHOWN_MAX: usize = 20;

/// What the token is bound to: whoever acts.
fn who<'a>(cx: &'a Context<'_>) -> &'a str {
    cx.visit.visitor.name.as_deref().unwrap_or_default()
}

/// Fields that the token binds besides the ids: the task of a rerun, the version of an upgrade, the
/// stretch of a backfill.
const BOUND: [&str; 4] = ["task", "version", "from", "to"];

/// What the token binds.
fn bound<'a>(ids: &[&'a str], form: &'a Pairs) -> Vec<&'a str> {
    // A name before each value: what stands in one field is not in another.
    let fields = BOUND.iter().filter_map(|name| Some([*name, form.get(name)?]));
    ids.iter().copied().chain(fields.flatten()).collect()
}

/// The preview of an act on ids.
///
/// # Errors
/// There is no such act, nothing is chosen, or what would happen cannot be told.
pub(crate) async fn show(cx: &Context<'_>, asked: &Pairs) -> Result<Page, Failure> {
    let act = asked.get("act").and_then(named).filter(|act| !act.label.is_empty());
    let act = act.ok_or_else(|| Failure::wrong("Nothing is named that can be done"))?;
    if !cx.may(act.need) {
        let message = format!("{} needs the permission {}", act.label, act.need.as_str());
        return Err(Failure::forbidden(message));
    }
    let found = match (asked.get("found"), act.things.1) {
        (None, _) => Vec::new(),
        (Some(_), "incidents") => incidents(cx, asked).await?,
        (Some(_), _) => return batch(cx, act, asked).await,
    };
    let ids = asked.all("id").chain(found.iter().map(String::as_str));
    let ids: Vec<&str> = ids.filter(|id| !id.is_empty()).collect();
    let things = if ids.len() == 1 { act.things.0 } else { act.things.1 };
    if ids.is_empty() || ids.len() > IDS_MAX {
        return Err(Failure::wrong(format!("Choose between one and {IDS_MAX} {}", act.things.1)));
    }
    let back = asked.get("back").filter(|back| is_ours(back)).unwrap_or("/console/");
    let (consequence, children) = consequence::of(cx, act, &ids, asked).await?;
    let token = cx.seal.token(act.name, &bound(&ids, asked), who(cx), cx.clock.now);
    let (seen, standing) = seen::in_preview(cx, act, &ids, asked).await;
    let count = ids.len();
    let body = html! {
        (piece::note("warn", html! { (consequence) " " (act.harms.unwrap_or_default()) }))
        (standing)
        (children)
        @if count <= SHOWN_MAX {
            ul { @for id in &ids { li { code { (id) } } } }
        }
        form method="post" action="/console/act" {
            (piece::proof())
            input type="hidden" name="act" value=(act.name);
            input type="hidden" name="back" value=(back);
            input type="hidden" name="token" value=(token);
            @for id in &ids { input type="hidden" name="id" value=(id); }
            (seen)
            @for name in BOUND {
                @if let Some(value) = asked.get(name) { input type="hidden" name=(name) value=(value); }
            }
            @if let Some(label) = typed(act) {
                label.field { span { (label) } textarea name="input" { (asked.get("input").unwrap_or_default()) } }
            }
            @if act.name == "snooze" { (piece::for_how_long()) }
            @else if let Some(length) = asked.get("for") { input type="hidden" name="for" value=(length); }
            (piece::field("why", "Why, for the record", asked.get("why").unwrap_or_default(), ""))
            @if count > TYPED_ABOVE && act.harms.is_some() {
                (piece::field("count", &format!("Type {count} to go on"), "", ""))
            }
            div.acts {
                button.harm { (act.label) @if count > 1 { " " (count) " " (things) } }
                a.button href=(back) { "Leave it" }
            }
        }
        p.faint { "This preview counts for five minutes." }
    };
    let title = if count == 1 {
        format!("{} this {things}?", act.label)
    } else {
        format!("{} {count} {things}?", act.label)
    };
    Ok(Page::new(place(act), title, body).with_payloads())
}

/// The preview once more, with what was typed and why it is refused.
///
/// # Errors
/// As [`show`].
pub(crate) async fn again(cx: &Context<'_>, refused: &Failure) -> Result<Page, Failure> {
    let mut page = show(cx, &cx.visit.form).await?;
    page.status = refused.status;
    page.body = html! { (piece::refusal(refused)) (page.body) };
    Ok(page)
}

/// The preview once more, for what stands otherwise than it was shown, with what happened since.
///
/// # Errors
/// As [`show`].
pub(crate) async fn after(cx: &Context<'_>, moved: &[Markup]) -> Result<Page, Failure> {
    let mut page = show(cx, &cx.visit.form).await?;
    page.status = StatusCode::CONFLICT;
    page.body = html! {
        (piece::note("bad", html! { "Nothing was changed: it has moved on since it was shown to you." }))
        ul { @for it in moved { li { (it) } } }
        (page.body)
    };
    Ok(page)
}

/// Incidents that are acted on together because they were found.
const INCIDENTS_MAX: u64 = 500;

/// The ids of all incidents that are found.
async fn incidents(cx: &Context<'_>, asked: &Pairs) -> Result<Vec<String>, Failure> {
    let path = format!("{}&size={INCIDENTS_MAX}", incident_search::question(asked)?);
    let found = cx.get(&path).await?;
    let total = count(&found, "totalHits");
    if found["exact"] == false {
        let message = "There are more incidents than are looked through, so these may not be all";
        return Err(Failure::wrong(message).with_hint("Narrow the search by monitor: or state:."));
    }
    if total > INCIDENTS_MAX {
        let shown = piece::counted(total, true);
        return Err(Failure::wrong(format!("{shown} incidents are found"))
            .with_hint(format!("Narrow the search to at most {INCIDENTS_MAX}.")));
    }
    Ok(list(&found, "results").iter().map(|it| text(it, "id").to_owned()).collect())
}

/// The preview of an act on all runs that are found: the API fixes which.
async fn batch(cx: &Context<'_>, act: &Act, asked: &Pairs) -> Result<Page, Failure> {
    let find = asked.get("find").unwrap_or_default();
    let back = asked.get("back").filter(|back| is_ours(back)).unwrap_or("/console/runs");
    let body = json!({ "act": act.name, "find": find });
    let found = cx.change(Method::POST, "/api/batches/preview", Some(&body)).await?;
    let (id, total) = (text(&found, "id"), count(&found, "count"));
    let runs = total.to_string();
    let things = if total == 1 { "run" } else { "runs" };
    let below = count(&found, "subWorkflows");
    let left_out = count(&found, "leftOut");
    let token = cx.seal.token(act.name, &[id, &runs], who(cx), cx.clock.now);
    let body = html! {
        (piece::note("warn", html! {
            (act.label) ": " (piece::counted(total, true)) " " (things)
            @if below > 0 { ", and " (piece::counted(below, true)) " running sub-workflows end with them" }
            ". " (act.harms.unwrap_or_default())
        }))
        p { "Found by " @if find.is_empty() { "no words: all that it fits" } @else { code { (find) } }
            ". What is started from now on is not among them."
            @if left_out > 0 { " Left out: " (piece::counted(left_out, true)) " sub-workflows that are found, as their parents take care of them." } }
        ul { @for run in list(&found, "workflowIds") { li { (piece::run(run.as_str().unwrap_or_default())) } } }
        form method="post" action="/console/act" {
            (piece::proof())
            input type="hidden" name="act" value=(act.name);
            input type="hidden" name="back" value=(back);
            input type="hidden" name="batch" value=(id);
            input type="hidden" name="runs" value=(runs);
            input type="hidden" name="token" value=(token);
            (piece::field("why", "Why, for the record", "", ""))
            @if total > TYPED_ABOVE as u64 {
                (piece::field("count", &format!("Type {runs} to go on"), "", ""))
            }
            div.acts {
                button.harm { (act.label) " " (runs) " " (things) }
                a.button href=(back) { "Leave it" }
            }
        }
        p.faint { "This preview counts for five minutes, for exactly these. It is done in the background, and can be stopped." }
    };
    let title = format!("{} {} {things}?", act.label, piece::counted(total, true));
    Ok(Page::new(Place::Runs, title, body))
}

/// Checks that a form to begin a batch comes from its preview; the id of the preview.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_batch<'a>(cx: &'a Context<'_>, act: &Act) -> Result<&'a str, Failure> {
    let form = &cx.visit.form;
    let (id, runs) = (form.get("batch").unwrap_or_default(), form.get("runs").unwrap_or_default());
    let total = runs.parse().unwrap_or(usize::MAX);
    holds(cx, act, &[id, runs], total).map(|()| id)
}

/// What of JSON may be typed along.
fn typed(act: &Act) -> Option<&'static str> {
    match act.name {
        "rerun" => Some("New input of the task, a JSON object; empty keeps the input it had"),
        "skip-task" => Some("Output of the task, a JSON object; may be empty"),
        "jump" => Some("Members to put over the task's input, a JSON object; may be empty"),
        "upgrade" => Some("Members to put over the workflow's input, a JSON object; may be empty"),
        "complete-task" | "fail-task" => Some("Output, a JSON object; may be empty"),
        _ => None,
    }
}

fn place(act: &Act) -> Place {
    match act.things.1 {
        "incidents" | "silences" | "receivers" => Place::Incidents,
        "runs" | "tasks" | "orchestrations" => Place::Runs,
        "schedules" => Place::Schedules,
        "monitors" => Place::Monitors,
        _ => Place::System,
    }
}

/// Checks that a form comes from a preview of exactly this.
///
/// # Errors
/// It does not, or that is too long ago; or the number was to be typed and was not.
pub(crate) fn check(cx: &Context<'_>, act: &Act, ids: &[&str]) -> Result<(), Failure> {
    holds(cx, act, &bound(ids, &cx.visit.form), ids.len())
}

/// Checks the token over `bound`, and that the number was typed if it is large.
fn holds(cx: &Context<'_>, act: &Act, bound: &[&str], count: usize) -> Result<(), Failure> {
    let form = &cx.visit.form;
    let token = form.get("token").unwrap_or_default();
    if !cx.seal.holds(token, act.name, bound, who(cx), cx.clock.now) {
        let message = "This was not previewed in the last five minutes, so nothing was changed";
        return Err(Failure::wrong(message).with_hint("Go back, and look at the preview again."));
    }
    let is_typed = form.get("count").and_then(|typed| typed.parse().ok()) == Some(count);
    if count > TYPED_ABOVE && !is_typed {
        let message = format!("The number {count} was not typed, so nothing was changed");
        return Err(Failure::wrong(message));
    }
    Ok(())
}
