//! Runs: a list of heads with cursors, with what can be chosen and how many there are of it.

use std::collections::BTreeMap;

use engine::search::{Counting, Filter, Mark, Search, TimeField};
use engine::store::Head;
use engine::{Question, STUCK_RUNS_MAX, StuckGroup};
use kernel::access::Permission;
use kernel::graph::Execution;
use kernel::{ExecutionId, MachineKind, Timestamp};
use maud::{Markup, html};

use super::{Page, Shown, facets, refused, run};
use crate::clock::{bytes, length};
use crate::shell::Place;
use crate::value::cut;
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

/// Rows of a page.
const ROWS: u64 = 50;
/// Searches that are kept as links.
const SAVED: [(&str, &str); 5] = [
    ("stuck", "why:no-worker,concurrency-limit,rate-limit"),
    ("running", "status:RUNNING"),
    ("failed", "status:FAILED,TIMED_OUT"),
    ("paused", "status:PAUSED"),
    ("with checks and deliveries", "own:yes"),
];

/// What can be done to many.
const ACTS: [(&str, &str); 4] =
    [("retry", "Retry"), ("pause", "Pause"), ("resume", "Resume"), ("terminate", "Terminate")];

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let asked = &cx.visit.query;
    let typed = asked.get("q").unwrap_or_default();
    let mut question = match Question::read(typed, cx.clock.now) {
        Ok(question) => question,
        Err(wrong) => return Ok(refused(Place::Runs, "Runs", &find(cx, typed), &wrong.into())),
    };
    let stuck = cx.engine.queues().stuck(cx.clock.now);
    let is_cut = question.resolve(&stuck);
    let store = cx.engine.store();
    let upto = asked.get("upto").map(mark).transpose()?.and_then(|mark| mark.at);
    let mut search = page(&question, asked.get("after"))?;
    search.filters.extend(upto.map(|(time, at)| Filter::Before(time, at.plus_millis(1))));
    let mut rows = store.search(&search).await?.rows;
    let newer = newer(cx, &question, upto).await?;
    let has_more = rows.len() as u64 > ROWS;
    rows.truncate(ROWS as usize);
    let next = rows.last().filter(|_| has_more).map(|last| {
        let mark = mark_of(last.created_at, &last.id);
        format!("/console/runs{}", asked.with(&[("after", &mark)]))
    });
    let body = html! {
        (find(cx, typed))
        (facets::choices(cx, &question, typed, &stuck).await?)
        (facets::hours(cx, &question, typed).await?)
        @if is_cut {
            p.faint { "More runs are stuck there: the first " (STUCK_RUNS_MAX) " of each queue are looked at." }
        }
        @if rows.is_empty() {
            @if typed.is_empty() {
                (piece::nothing_yet("no workflow has been started", "nightbell run start NAME"))
            } @else {
                (piece::nothing_matches(&format!("no run is found by “{}”", cut(typed, 100)), "/console/runs"))
            }
        } @else {
            (newer)
            (table(cx, &rows, &stuck))
            (all_found(cx, typed))
        }
        (piece::more(next.as_deref()))
    };
    let page = Page::new(Place::Runs, "Runs", body);
    // The same list: of all kinds where nothing is typed.
    let asked = match typed {
        "" => "classifier=*".to_owned(),
        typed => format!("find={}", encoded(typed)),
    };
    let json = format!("/api/workflow/search?size={ROWS}&{asked}");
    Ok(page.same_as(json, "nightbell run list").on("run"))
}

/// The form of the search, and searches that are kept.
fn find(cx: &Context<'_>, typed: &str) -> Markup {
    html! {
        form.acts method="get" role="search" {
            (piece::field("q", "Status, name or words", typed, "status:RUNNING name:nightly* words"))
            button { "Find" }
            p.faint { "Saved: "
                @for (name, query) in SAVED { a href={ "/console/runs?q=" (encoded(query)) } { (name) } " " }
                a href={ "/console/runs?q=" (encoded(&failed_today(cx))) } { "failed today" } " "
                "· " a href="/console/batches" { "Batches" }
                @if cx.may(Permission::Run) { " · " a href="/console/definitions" { "Start a workflow" } }
            }
        }
    }
}

/// How many have begun since the newest that is shown, where the list is kept as it was: whoever has scrolled into
/// it is shown no other row under the thumb.
async fn newer(
    cx: &Context<'_>,
    question: &Question,
    upto: Option<(TimeField, Timestamp)>,
) -> Result<Markup, Failure> {
    let Some((time, at)) = upto else { return Ok(html! {}) };
    let mut search = question.search(&question.statuses);
    search.filters.push(Filter::After(time, at));
    search.size = 1;
    let found = cx.engine.store().search(&search).await?;
    let count = piece::counted(found.total, found.total < search.total_max());
    let all = format!("{}{}", cx.visit.path(), cx.visit.query.with(&[("upto", "")]));
    Ok(html! { @if found.total > 0 { p.newer { a href=(all) { (count) " newer" } } } })
}

/// What finds the runs that have failed since midnight where the reader is.
fn failed_today(cx: &Context<'_>) -> String {
    let midnight = cx.clock.midnight_after(cx.clock.now, 0);
    format!("status:FAILED,TIMED_OUT after:{}", jiff::Timestamp::from(midnight))
}

/// Where the form leads that compares two selected runs.
pub(crate) fn compared(cx: &Context<'_>) -> Result<String, Failure> {
    let chosen: Vec<&str> = cx.visit.form.all("id").filter(|id| !id.is_empty()).collect();
    match chosen[..] {
        [one, other] => Ok(href(&["runs", one, "with", other])),
        _ => Err(Failure::wrong(format!(
            "{} runs are selected, and two can be compared",
            chosen.len()
        ))
        .with_hint("Go back, and select exactly two.")),
    }
}

/// The search for one page, newest first, behind a mark.
fn page(question: &Question, after: Option<&str>) -> Result<Search, Failure> {
    let mut search = question.search(&question.statuses);
    if let Some(after) = after {
        search.filters.push(Filter::Past(mark(after)?));
    }
    search.sort = Mark::order(Some(TimeField::Created), true);
    // One more tells whether there is a next page.
    search.size = ROWS + 1;
    search.counting = Counting::Next;
    Ok(search)
}

fn mark(text: &str) -> Result<Mark, Failure> {
    let wrong = || Failure::wrong("The address names no place in the list");
    let (millis, id) = text.split_once('~').ok_or_else(wrong)?;
    let at = Timestamp::from_millis(millis.parse().map_err(|_| wrong())?);
    let id = ExecutionId::new(id);
    Ok(Mark { at: Some((TimeField::Created, at)), id, descending: true })
}

/// Where a page ends, for an address.
fn mark_of(created: Timestamp, id: &ExecutionId) -> String {
    format!("{}~{}", created.millis(), id.as_str())
}

fn table(cx: &Context<'_>, rows: &[Head], stuck: &[StuckGroup]) -> Markup {
    let heads = [
        "Select", "Status", "Workflow", "Run", "Why", "Started", "Took", "Retries", "Parent",
        "Size",
    ];
    let kept: Kept<'_> =
        stuck.iter().flat_map(|group| group.runs.iter().map(move |run| (run, group))).collect();
    let lines: Vec<Markup> = rows.iter().map(|head| row(cx, head, &kept)).collect();
    // Where a list begins, so that the script can ask for what is not above it.
    let newest = rows.first().map(|first| mark_of(first.created_at, &first.id));
    html! {
        form method="post" action="/console/confirm" data-newest=[newest] {
            (piece::proof())
            input type="hidden" name="back" value="/console/runs";
            (piece::table("Runs", &heads, &lines))
            div.acts {
                label { input type="checkbox" data-all=""; " Select all" }
                @if cx.may(Permission::Run) {
                    @for (act, label) in ACTS { button name="act" value=(act) { (label) " selected…" } }
                }
                button formaction="/console/compare" { "Compare two selected" }
            }
        }
    }
}

/// Acts on all that the search finds, on this page and on others: as a batch.
fn all_found(cx: &Context<'_>, typed: &str) -> Markup {
    html! {
        @if cx.may(Permission::Run) {
            form.acts method="post" action="/console/confirm" aria-label="All that are found" {
                (piece::proof())
                input type="hidden" name="back" value="/console/runs";
                input type="hidden" name="found" value="1";
                input type="hidden" name="find" value=(typed);
                span { "All that are found:" }
                @for (act, label) in ACTS { button name="act" value=(act) { (label) " all…" } }
            }
        }
    }
}

fn row(cx: &Context<'_>, head: &Head, kept: &Kept<'_>) -> Markup {
    let id = head.id.as_str();
    let took = head.ended_at.unwrap_or(cx.clock.now).since(head.created_at).max(0);
    let look = |state: &Execution| state.tasks().filter(|task| task.retries.is_some()).count();
    let retries = cx.engine.glance(&head.id, look);
    let is_code = head.id.machine() != MachineKind::Execution;
    html! {
        tr {
            td { input type="checkbox" name="id" value=(id) aria-label={ "Select " (head.name) " " (piece::short(id)) }; }
            td { (piece::status(head.status)) }
            td { (run::definition(cx, &head.name, is_code)) " " span.faint { "v" (head.definition_version) } }
            td { (piece::run(id)) }
            td { (why(cx, head, kept))
                @if head.closed && !head.failed_references.is_empty() { br; span.faint { "failed: " (cut(&head.failed_references, 80)) } } }
            td.t { (cx.clock.when(head.created_at)) }
            td.n { (length(took)) }
            td.n {
                @match retries {
                    Some(count) => (count),
                    None if is_code => "–",
                    // Its head, which is all that a list reads, has no tasks.
                    None => { span.faint { "not in memory: " } a href={ (href(&["runs", id])) "?view=tasks" } { "look" } }
                }
            }
            td { @if let Some(parent) = &head.parent { (piece::run(parent.as_str())) } @else { "–" } }
            td.n { (bytes(u64::from(head.input_size) + u64::from(head.output_size))) }
        }
    }
}

/// Why a run stands where it stands, as far as memory tells: no row asks the store.
fn why(cx: &Context<'_>, head: &Head, kept: &Kept<'_>) -> Markup {
    if let Some(reason) = head.reason.as_deref() {
        return html! { (cut(reason, 160)) };
    }
    if head.closed {
        return html! {};
    }
    let (now, queues) = (cx.clock.now, cx.engine.queues());
    let look = |state: &Execution| {
        let first = state.waiting(now).into_iter().next()?;
        let queue = state.task(first.sequence).map(|task| state.queue_of(task));
        let blocked = queues.blocked(&(state.id.clone(), first.sequence), now);
        let unpolled = blocked.is_some_and(|blocked| blocked.code() == NO_WORKER);
        let reason = match queue.filter(|_| unpolled) {
            Some(queue) => format!("no worker polls '{queue}'"),
            None => first.reason,
        };
        Some(format!("{}: {reason}", first.reference))
    };
    if let Some(reason) = cx.engine.glance(&head.id, look) {
        return html! { @if let Some(reason) = reason { (cut(&reason, 160)) } };
    }
    if let Some(group) = kept.get(&head.id) {
        let queue = &group.queue;
        let words = match group.blocked.code() {
            NO_WORKER => format!("no worker polls '{queue}'"),
            _ => format!("waits at the limit of '{queue}'"),
        };
        return html! { (words) };
    }
    html! {
        @if let Some(at) = head.wake_at { "goes on by itself " (cx.clock.ago(at)) " · " }
        a href=(href(&["runs", head.id.as_str()])) { "look" }
    }
}

/// The word of what nobody polls for.
const NO_WORKER: &str = "no-worker";

/// The groups by the runs that they keep.
type Kept<'a> = BTreeMap<&'a ExecutionId, &'a StuckGroup>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_leads_back_to_its_row() {
        let (at, id) = (Timestamp::from_millis(5), ExecutionId::new("a~b"));
        let mark = mark(&mark_of(at, &id)).expect("a mark");
        assert_eq!((mark.id, mark.at), (id, Some((TimeField::Created, at))));
        assert!(super::mark("x").is_err());
    }
}
