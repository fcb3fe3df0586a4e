//! The page before what cannot be taken back: what would happen, in numbers, and a form with the token
//! that allows exactly that.

use engine::search::{Counting, Filter, Search, TextField};
use maud::{Markup, html};

use crate::act::{Act, IDS_MAX, is_ours, named};
use crate::piece;
use crate::shell::{Page, Place};
use crate::visit::Pairs;
use crate::{Context, Failure};

/// Above so many the number has to be typed.
const TYPED_ABOVE: usize = 100;
/// Ids that a preview writes out.
const SHOWN_MAX: usize = 20;

/// What the token is bound to: whoever acts.
fn who<'a>(cx: &'a Context<'_>) -> &'a str {
    cx.visit.visitor.name.as_deref().unwrap_or_default()
}

/// What the token binds besides the ids: the task of a rerun.
fn bound<'a>(ids: &[&'a str], form: &'a Pairs) -> Vec<&'a str> {
    ids.iter().copied().chain(form.get("task")).collect()
}

/// The preview of an act on ids.
///
/// # Errors
/// There is no such act, nothing is chosen, or what would happen cannot be told.
pub(crate) async fn show(cx: &Context<'_>, asked: &Pairs) -> Result<Page, Failure> {
    let act = asked.get("act").and_then(named).filter(|act| !act.label.is_empty());
    let act = act.ok_or_else(|| Failure::wrong("Nothing is named that can be done"))?;
    let ids: Vec<&str> = asked.all("id").filter(|id| !id.is_empty()).collect();
    let things = if ids.len() == 1 { act.things.0 } else { act.things.1 };
    if ids.is_empty() || ids.len() > IDS_MAX {
        return Err(Failure::wrong(format!("Choose between one and {IDS_MAX} {}", act.things.1)));
    }
    if !cx.may(act.need) {
        let message = format!("{} needs the permission {}", act.label, act.need.as_str());
        return Err(Failure::forbidden(message));
    }
    let back = asked.get("back").filter(|back| is_ours(back)).unwrap_or("/console/");
    let (consequence, children) = consequence(cx, act, &ids).await?;
    let token = cx.seal.token(act.name, &bound(&ids, asked), who(cx), cx.clock.now);
    let count = ids.len();
    let body = html! {
        (piece::note("warn", html! { (consequence) " " (act.harms.unwrap_or_default()) }))
        (children)
        @if count <= SHOWN_MAX {
            ul { @for id in &ids { li { code { (id) } } } }
        }
        form method="post" action="/console/act" {
            input type="hidden" name="act" value=(act.name);
            input type="hidden" name="back" value=(back);
            input type="hidden" name="token" value=(token);
            @for id in &ids { input type="hidden" name="id" value=(id); }
            @if let Some(task) = asked.get("task") { input type="hidden" name="task" value=(task); }
            @if let Some(label) = typed(act) {
                label.field { span { (label) } textarea name="input" { (asked.get("input").unwrap_or_default()) } }
            }
            (piece::field("why", "Why, for the record", "", ""))
            @if count > TYPED_ABOVE {
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

/// What of JSON may be typed along.
fn typed(act: &Act) -> Option<&'static str> {
    match act.name {
        "rerun" => Some("New input of the task, a JSON object; empty keeps the input it had"),
        "complete-task" | "fail-task" => Some("Output, a JSON object; may be empty"),
        _ => None,
    }
}

fn place(act: &Act) -> Place {
    match act.things.1 {
        "incidents" | "silences" | "receivers" => Place::Incidents,
        "runs" | "tasks" => Place::Runs,
        "schedules" => Place::Schedules,
        "monitors" => Place::Monitors,
        _ => Place::System,
    }
}

/// What would happen, counted.
async fn consequence(
    cx: &Context<'_>,
    act: &Act,
    ids: &[&str],
) -> Result<(String, Markup), Failure> {
    let count = ids.len();
    let things = if count == 1 { act.things.0 } else { act.things.1 };
    let plain = format!("{}: {count} {things}.", act.label);
    if act.name != "terminate" {
        return Ok((plain, html! {}));
    }
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    let filters = vec![Filter::In(TextField::Parent, ids), Filter::Closed(false)];
    let search = Search { filters, size: 1, counting: Counting::Far, ..Search::default() };
    let open = cx.engine.store().search(&search).await?;
    let most = search.total_max();
    let below = match open.total {
        0 => String::new(),
        1 => " and 1 running sub-workflow".to_owned(),
        many => format!(" and {} running sub-workflows", piece::counted(many, many < most)),
    };
    Ok((format!("Terminates {count} {things}{below}."), html! {}))
}

/// Checks that a form comes from a preview of exactly this.
///
/// # Errors
/// It does not, or that is too long ago; or the number was to be typed and was not.
pub(crate) fn check(cx: &Context<'_>, act: &Act, ids: &[&str]) -> Result<(), Failure> {
    let form = &cx.visit.form;
    let token = form.get("token").unwrap_or_default();
    if !cx.seal.holds(token, act.name, &bound(ids, form), who(cx), cx.clock.now) {
        let message = "This was not previewed in the last five minutes, so nothing was changed";
        return Err(Failure::wrong(message).with_hint("Go back, and look at the preview again."));
    }
    let count = ids.len();
    let is_typed = form.get("count").and_then(|typed| typed.parse().ok()) == Some(count);
    if count > TYPED_ABOVE && !is_typed {
        let message = format!("The number {count} was not typed, so nothing was changed");
        return Err(Failure::wrong(message));
    }
    Ok(())
}
