//! On what an act was decided: how its object stood on the page that has the form. If it stands otherwise when
//! the form arrives, nothing is done: what happened since, and by whom, is told, and the preview asks again
//! (decision 0073).

use kernel::access::Permission;
use kernel::{ExecutionId, Timestamp};
use maud::{Markup, html};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::act::Act;
use crate::page::audit;
use crate::value::{at, cut, list, said, text};
use crate::visit::{Pairs, encoded};
use crate::{Context, Failure, foreseen, piece};

/// Objects of one form that are compared. Of more, the API still refuses what does not fit each.
const COMPARED_MAX: usize = 20;
/// Lines of what happened since that are told of each.
const LINES_MAX: usize = 8;
/// Acts that come to the same, however their object stands: acknowledged twice is acknowledged.
const INDIFFERENT: [&str; 5] = ["acknowledge", "note", "silence", "signal", "raise-event"];

/// How an incident stands, with the instant of the newest that its page knows.
pub(crate) fn incident(it: &Value) -> String {
    let millis = |name: &str| at(it, name).map_or(0, Timestamp::millis);
    let newest = list(it, "history").iter().filter_map(|entry| at(entry, "at")).max();
    format!(
        "{} {} {} {}@{}",
        text(it, "state"),
        text(it, "severity"),
        millis("acknowledgedAt"),
        millis("snoozedUntil"),
        newest.map_or(0, Timestamp::millis)
    )
}

/// How a run stands. Its tasks go on all the time: an act on a run asks whether it is running, failed or over.
pub(crate) fn run(status: &str, ended_at: Option<Timestamp>) -> String {
    format!("{status} {}", ended_at.map_or(0, Timestamp::millis))
}

/// How a schedule stands.
pub(crate) fn schedule(it: &Value) -> String {
    if it["paused"] == true { "PAUSED".to_owned() } else { "ACTIVE".to_owned() }
}

/// When a silence hides.
pub(crate) fn silence(it: &Value) -> String {
    let millis = |name: &str| at(it, name).map_or(0, Timestamp::millis);
    let state = if it["over"] == true { "OVER" } else { "SILENCED" };
    format!("{state} {} {}", millis("from"), millis("to"))
}

/// The field in which a form says so.
pub(crate) fn field(standing: &str) -> Markup {
    html! { input type="hidden" name="seen" value=(standing); }
}

/// How the object of an act stands now; `None` where that makes no difference, or cannot be told: then the API
/// says why.
async fn now(cx: &Context<'_>, act: &Act, id: &str, asked: &Pairs) -> Option<String> {
    if INDIFFERENT.contains(&act.name) {
        return None;
    }
    let name = encoded(id);
    match act.things.1 {
        "incidents" => cx.get(&format!("/api/incidents/{name}")).await.ok().map(|it| incident(&it)),
        "runs" | "orchestrations" => of_run(cx, act, id, asked).await.ok().flatten(),
        "tasks" => {
            let it = cx.get(&format!("/api/tasks/{name}")).await.ok()?;
            Some(text(&it, "status").to_owned())
        }
        "schedules" => of_schedule(cx, act, id).await.ok(),
        "silences" => cx.get(&format!("/api/silences/{name}")).await.ok().map(|it| silence(&it)),
        _ => None,
    }
}

/// How a run stands, with what the act would do to its tasks if that is foretold.
async fn of_run(
    cx: &Context<'_>,
    act: &Act,
    id: &str,
    asked: &Pairs,
) -> Result<Option<String>, Failure> {
    let look = |machine: &engine::AnyMachine| {
        let workflow = machine.execution().map(|it| run(it.status.as_str(), it.ended_at));
        workflow.or_else(|| machine.instance().map(|it| run(it.status.as_str(), it.ended_at)))
    };
    let Some(standing) = cx.engine.look(&ExecutionId::new(id), look).await?.flatten() else {
        return Ok(None);
    };
    let ahead = foreseen::shown(cx, act, id, asked).await?.into_string();
    if ahead.is_empty() {
        return Ok(Some(standing));
    }
    let hash = Sha256::digest(ahead.as_bytes());
    Ok(Some(format!("{standing} {}", crate::seal::hex(&hash[..8]))))
}

/// How a schedule stands; one that is triggered also with what it fired last, so that two do not trigger it
/// for the same reason.
async fn of_schedule(cx: &Context<'_>, act: &Act, name: &str) -> Result<String, Failure> {
    let path = format!("/api/scheduler/schedules/{}", encoded(name));
    let standing = schedule(&cx.get(&path).await?);
    if act.name != "trigger" {
        return Ok(standing);
    }
    let query = encoded(&format!("scheduleName = '{}'", name.replace('\'', "")));
    let path = format!("/api/scheduler/search/executions?size=1&query={query}");
    let fired = cx.get(&path).await?;
    let newest = list(&fired, "results").first().map(|it| text(it, "executionId"));
    Ok(format!("{standing} {}", newest.unwrap_or_default()))
}

/// How the objects of a preview stand, in their order, for its form; and in words if there is one.
pub(crate) async fn in_preview(
    cx: &Context<'_>,
    act: &Act,
    ids: &[&str],
    asked: &Pairs,
) -> (Markup, Markup) {
    if ids.len() > COMPARED_MAX {
        return (html! {}, html! {});
    }
    let mut standing = Vec::new();
    for id in ids {
        standing.push(now(cx, act, id, asked).await.unwrap_or_default());
    }
    let words = match &standing[..] {
        [one] if !one.is_empty() => html! { p { "As it stands now: " (word(one)) } },
        _ => html! {},
    };
    (html! { @for it in &standing { (field(it)) } }, words)
}

/// Those objects of a form that stand otherwise than it says, each with what happened since; empty if none
/// does, or the form says nothing of it.
pub(crate) async fn moved(cx: &Context<'_>, act: &Act, ids: &[&str]) -> Vec<Markup> {
    let seen: Vec<&str> = cx.visit.form.all("seen").collect();
    let mut moved = Vec::new();
    if seen.len() != ids.len() || ids.len() > COMPARED_MAX {
        return moved;
    }
    for (id, seen) in ids.iter().zip(seen).filter(|(_, seen)| !seen.is_empty()) {
        let Some(now) = now(cx, act, id, &cx.visit.form).await else { continue };
        if apart(&now).0 == apart(seen).0 {
            continue;
        }
        let since = since(cx, act, id, apart(seen).1).await;
        moved.push(html! {
            code { (cut(id, 100)) } ": "
            @if first(seen) == first(&now) { (word(&now)) ", but not as it was shown" }
            @else { "was shown as " (word(seen)) ", and is " (word(&now)) " now" }
            ul { @for line in since.iter().take(LINES_MAX) { li { (line) } } }
        });
    }
    moved
}

/// What is compared, and the instant of the newest that was known.
fn apart(standing: &str) -> (&str, Option<Timestamp>) {
    match standing.rsplit_once('@') {
        Some((standing, known)) => (standing, known.parse().ok().map(Timestamp::from_millis)),
        None => (standing, None),
    }
}

fn first(standing: &str) -> &str {
    standing.split([' ', '@']).next().unwrap_or_default()
}

/// The state in a word. A form may say anything, so that only what can be a state is shown.
fn word(standing: &str) -> Markup {
    let word = first(standing);
    let is_state = word.len() <= 24 && word.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    html! { @if is_state { (piece::status(word)) } @else { "something else" } }
}

/// What happened to an object, and who did it, since the page knew of it; the newest lines of the ledger where
/// the object itself keeps none.
async fn since(cx: &Context<'_>, act: &Act, id: &str, known: Option<Timestamp>) -> Vec<Markup> {
    if act.things.1 == "incidents" {
        let Ok(it) = cx.get(&format!("/api/incidents/{}", encoded(id))).await else {
            return Vec::new();
        };
        let new = list(&it, "history").iter().filter(|entry| at(entry, "at") > known);
        return new.rev().map(|entry| happened(cx, entry)).collect();
    }
    if !cx.sees(Permission::Audit) {
        return Vec::new();
    }
    let path = format!("/api/audit?size={}&object={}", 2 * LINES_MAX, encoded(id));
    let lines = cx.get(&path).await.unwrap_or_default();
    lines.as_array().into_iter().flatten().filter_map(|it| audit::change(cx, it)).collect()
}

fn happened(cx: &Context<'_>, entry: &Value) -> Markup {
    html! {
        (cx.clock.maybe(at(entry, "at"))) " " (text(entry, "what"))
        @if let Some(who) = said(entry, "who") { " · " (who) }
        @if let Some(why) = said(entry, "why") { " · “" (cut(why, 300)) "”" }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_along_is_no_change_and_what_people_do_is_one() {
        let it = json!({ "state": "open", "severity": "error", "history": [{ "at": 5 }] });
        let shown = incident(&it);
        assert_eq!(apart(&shown), ("open error 0 0", Some(Timestamp::from_millis(5))));
        let mut told = it.clone();
        told["history"] = json!([{ "at": 5 }, { "at": 9 }]);
        assert_eq!(apart(&incident(&told)).0, apart(&shown).0);
        let mut taken = it;
        taken["acknowledgedAt"] = 7.into();
        assert_ne!(apart(&incident(&taken)).0, apart(&shown).0);
        assert_ne!(run("FAILED", Some(Timestamp::from_millis(1))), run("FAILED", None));
    }

    #[test]
    fn a_form_puts_no_words_onto_the_page() {
        assert!(word("RUNNING 0").into_string().contains("running"));
        for forged in ["<b>", "call-0900-1", "your account is locked"] {
            let shown = word(forged).into_string();
            assert!(!shown.contains("0900") && !shown.contains("<b>"), "{shown}");
            assert!(!shown.contains("account"), "{shown}");
        }
    }
}
