//! Runs: a list of heads with cursors, with what can be chosen and how many there are of it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use engine::search::{COUNTED_MAX, Counting, Filter, Mark, Search, TextField, TimeField};
use engine::store::Head;
use engine::{Hour, Question, STUCK_RUNS_MAX, StuckGroup};
use kernel::access::Permission;
use kernel::{ExecutionId, MachineKind, Timestamp};
use maud::{Markup, html};

use super::{Page, Shown};
use crate::clock::length;
use crate::shell::Place;
use crate::value::cut;
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

/// Rows of a page.
const ROWS: u64 = 50;
/// Statuses that can be chosen.
const STATUSES: [&str; 6] = ["RUNNING", "PAUSED", "FAILED", "TIMED_OUT", "TERMINATED", "COMPLETED"];
/// Names and reasons that can be chosen.
const FACETS_MAX: usize = 8;
/// Open runs of a page whose reason is read.
const REASONS_MAX: usize = 50;
/// Searches that are kept as links.
const SAVED: [(&str, &str); 4] = [
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
    let mut question = Question::read(typed)?;
    let stuck = cx.engine.queues().stuck(cx.clock.now);
    let is_cut = question.resolve(&stuck);
    let store = cx.engine.store();
    let mut rows = store.search(&page(&question, asked.get("after"))?).await?.rows;
    let has_more = rows.len() as u64 > ROWS;
    rows.truncate(ROWS as usize);
    let next = rows.last().filter(|_| has_more).map(|last| {
        let mark = mark_of(last.created_at, &last.id);
        format!("/console/runs{}", asked.with(&[("after", &mark)]))
    });
    let reasons = reasons(cx, &rows).await;
    let body = html! {
        form.acts method="get" role="search" {
            (piece::field("q", "Status, name or words", typed, "status:RUNNING name:nightly* words"))
            button { "Find" }
            p.faint { "Saved: "
                @for (name, query) in SAVED { a href={ "/console/runs?q=" (encoded(query)) } { (name) } " " }
                "· " a href="/console/batches" { "Batches" }
            }
        }
        (facets(cx, &question, typed, &stuck).await?)
        (hours(cx, &question).await?)
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
            (table(cx, &rows, &reasons))
            (all_found(cx, typed))
        }
        (piece::more(next.as_deref()))
    };
    let json = format!(
        "/api/workflow/search?size={ROWS}&classifier=*{}",
        if typed.is_empty() { String::new() } else { format!("&freeText={}", encoded(typed)) }
    );
    let page = Page::new(Place::Runs, "Runs", body);
    Ok(page.same_as(json, "nightbell run list").on("run"))
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

/// How many runs there are of each status, of each name and at each thing that keeps them, over what is
/// searched for.
async fn facets(
    cx: &Context<'_>,
    question: &Question,
    typed: &str,
    stuck: &[StuckGroup],
) -> Result<Markup, Failure> {
    let store = cx.engine.store();
    // The typed words without some filters, and with others instead.
    let with = |without: &[&str], instead: &str| {
        let is_kept = |word: &&str| !without.iter().any(|name| word.starts_with(name));
        let words = typed.split_whitespace().filter(is_kept).chain(instead.split_whitespace());
        let words: Vec<&str> = words.collect();
        format!("/console/runs?q={}", encoded(&words.join(" ")))
    };
    let any = question.search(&[]);
    let (mut statuses, mut names) = (Vec::new(), BTreeMap::<Arc<str>, u64>::new());
    let mut all_named = true;
    if let Some(tallied) = store.tally(&Search { counting: Counting::Far, ..any.clone() }).await? {
        all_named = tallied.is_exact;
        let tallied = tallied.counts;
        let of =
            |status: &str| tallied.iter().filter(|(_, it, _)| **it == *status).map(|it| it.2).sum();
        statuses.extend(STATUSES.map(|status| (status, piece::counted(of(status), all_named))));
        let chosen = |status: &str| {
            question.statuses.is_empty() || question.statuses.iter().any(|it| it == status)
        };
        for (name, _, count) in tallied.iter().filter(|(_, status, _)| chosen(status)) {
            *names.entry(name.clone()).or_default() += count;
        }
    } else {
        for status in STATUSES {
            let (total, is_exact) = counted(cx, question.search(&[status.to_owned()])).await?;
            statuses.push((status, piece::counted(total, is_exact)));
        }
    }
    let mut names: Vec<(Arc<str>, u64)> = names.into_iter().collect();
    names.sort_by_key(|(_, count)| Reverse(*count));
    let more_names = names.len().saturating_sub(FACETS_MAX);
    let reasons = kept_by(cx, question, stuck).await?;
    Ok(html! {
        ul.facets aria-label="Status" {
            li { a href=(with(&["status:"], "")) aria-current=[question.statuses.is_empty().then_some("true")] { "any status" } }
            @for (status, count) in &statuses {
                li {
                    a href=(with(&["status:"], &format!("status:{status}"))) aria-current=[question.statuses.iter().any(|it| it == status).then_some("true")] {
                        (piece::status(status)) " " (count)
                    }
                }
            }
        }
        @if names.len() > 1 {
            ul.facets aria-label="Name" {
                @for (name, count) in names.iter().take(FACETS_MAX) {
                    li { a href=(with(&["name:"], &format!("name:{name}"))) { (cut(name, 60)) } " " (piece::counted(*count, all_named)) }
                }
                @if more_names > 0 { li.faint { "and " (more_names) " more names" } }
            }
        }
        @if !reasons.is_empty() {
            ul.facets aria-label="Reason" {
                @for (group, count) in &reasons {
                    li { a href=(with(&["why:", "queue:"], &stuck_words(group))) { (group.blocked.code()) " " (cut(&group.queue, 60)) } " " (count) }
                }
            }
        }
    })
}

/// Hours that are drawn when they are asked for.
const HOURS: u32 = 24;

/// How many of those that are searched for began in each of the last hours, for whoever asks.
async fn hours(cx: &Context<'_>, question: &Question) -> Result<Markup, Failure> {
    let asked = &cx.visit.query;
    if asked.get("hours").is_none() {
        let link = format!("/console/runs{}", asked.with(&[("hours", "24")]));
        return Ok(html! { p { a href=(link) { "Begun in the last 24 hours, by the hour" } } });
    }
    let hours = cx.engine.hourly(&question.search(&question.statuses), HOURS).await?;
    let most = hours.iter().map(|it| it.count).max().unwrap_or(0).max(1);
    // Bars stand on the ground; a column is ten wide.
    let bar = |(at, it): (usize, &Hour)| {
        let high = (it.count * 20).div_ceil(most);
        format!("M{} {}h8v{high}h-8z", at * 10 + 1, 24 - high)
    };
    let bars: String = hours.iter().enumerate().filter(|(_, it)| it.count > 0).map(bar).collect();
    Ok(html! {
        (piece::part("Begun, by the hour", html! {
            svg.strip viewBox={ "0 0 " (hours.len() * 10) " 24" } preserveAspectRatio="none" role="img" aria-label="Runs begun in each of the last hours" {
                path.run d=(bars) {}
            }
            ul.facets aria-label="Hours" {
                @for it in hours.iter().rev().filter(|it| it.count > 0) {
                    li { (cx.clock.when(it.from)) " " strong { (piece::counted(it.count, it.is_exact)) } }
                }
            }
        }))
    })
}

/// How many runs a search finds, and whether these are all.
async fn counted(cx: &Context<'_>, mut search: Search) -> Result<(u64, bool), Failure> {
    (search.size, search.counting) = (1, Counting::Far);
    let total = cx.engine.store().search(&search).await?.total;
    Ok((total, search.is_counted() || total < COUNTED_MAX))
}

/// The groups at which runs that are searched for are stuck, and how many of them are.
async fn kept_by<'a>(
    cx: &Context<'_>,
    question: &Question,
    stuck: &'a [StuckGroup],
) -> Result<Vec<(&'a StuckGroup, String)>, Failure> {
    let mut reasons = Vec::new();
    for group in stuck.iter().take(FACETS_MAX) {
        let mut search = question.search(&question.statuses);
        let runs = group.runs.iter().map(|id| id.as_str().to_owned()).collect();
        search.filters.push(Filter::In(TextField::Id, runs));
        let (total, _) = counted(cx, search).await?;
        if total > 0 {
            reasons.push((group, piece::counted(total, !group.has_more)));
        }
    }
    Ok(reasons)
}

/// The words that find the runs of a group.
pub(super) fn stuck_words(group: &StuckGroup) -> String {
    let is_word = !group.queue.contains(|it: char| it.is_whitespace() || it == ',');
    let queue = if is_word { format!(" queue:{}", group.queue) } else { String::new() };
    format!("why:{}{queue}", group.blocked.code())
}

/// Why each open run of the page waits, by the place of its row.
async fn reasons(cx: &Context<'_>, rows: &[Head]) -> Vec<Option<String>> {
    let mut reasons = Vec::with_capacity(rows.len());
    for (at, head) in rows.iter().enumerate() {
        if head.closed || at >= REASONS_MAX || head.id.machine() != MachineKind::Execution {
            reasons.push(None);
            continue;
        }
        let (now, queues) = (cx.clock.now, cx.engine.queues());
        let look = |state: &kernel::graph::Execution| {
            let waiting = state.waiting(now);
            let first = waiting.first()?;
            let key = (state.id.clone(), first.sequence);
            let queue = state.task(first.sequence).map(|task| state.queue_of(task));
            Some((first.reference.clone(), first.code, first.reason.clone(), key, queue))
        };
        let reason = match cx.engine.read(&head.id, look).await {
            Ok(Some(Some((reference, "queued", reason, key, queue)))) => {
                let blocked = queues.blocked(&key, now);
                let unpolled = matches!(
                    blocked,
                    Some(engine::Blocked::NeverPolled | engine::Blocked::NotPolledSince(_))
                );
                match queue.filter(|_| unpolled) {
                    Some(queue) => Some(format!("{reference}: no worker polls '{queue}'")),
                    None => Some(format!("{reference}: {reason}")),
                }
            }
            Ok(Some(Some((reference, _, reason, ..)))) => Some(format!("{reference}: {reason}")),
            Ok(_) => None,
            Err(error) => Some(format!("cannot tell: {error}")),
        };
        reasons.push(reason);
    }
    reasons
}

fn table(cx: &Context<'_>, rows: &[Head], reasons: &[Option<String>]) -> Markup {
    let may = cx.may(Permission::Run);
    let mut heads = vec!["Status", "Workflow", "Run", "Why", "Started", "Took"];
    if may {
        heads.insert(0, "Select");
    }
    let lines: Vec<Markup> =
        rows.iter().zip(reasons).map(|(head, why)| row(cx, head, why.as_deref(), may)).collect();
    let shown = piece::table("Runs", &heads, &lines);
    html! {
        @if may {
            form method="post" action="/console/confirm" {
                input type="hidden" name="back" value="/console/runs";
                (shown)
                div.acts {
                    label { input type="checkbox" data-all=""; " Select all" }
                    @for (act, label) in ACTS { button name="act" value=(act) { (label) " selected…" } }
                }
            }
        } @else { (shown) }
    }
}

/// Acts on all that the search finds, on this page and on others: as a batch.
fn all_found(cx: &Context<'_>, typed: &str) -> Markup {
    html! {
        @if cx.may(Permission::Run) {
            form.acts method="post" action="/console/confirm" aria-label="All that are found" {
                input type="hidden" name="back" value="/console/runs";
                input type="hidden" name="found" value="1";
                input type="hidden" name="find" value=(typed);
                span { "All that are found:" }
                @for (act, label) in ACTS { button name="act" value=(act) { (label) " all…" } }
            }
        }
    }
}

fn row(cx: &Context<'_>, head: &Head, why: Option<&str>, may: bool) -> Markup {
    let id = head.id.as_str();
    let took = head.ended_at.unwrap_or(cx.clock.now).since(head.created_at).max(0);
    let why = head.reason.as_deref().or(why);
    html! {
        tr {
            @if may { td { input type="checkbox" name="id" value=(id) aria-label={ "Select " (head.name) " " (piece::short(id)) }; } }
            td { (piece::status(head.status)) }
            td { a href=(href(&["definitions", "workflow", &head.name])) { (head.name) } " " span.faint { "v" (head.definition_version) } }
            td { (piece::run(id)) }
            td { @if let Some(why) = why { (cut(why, 160)) }
                @if head.closed && !head.failed_references.is_empty() { br; span.faint { "failed: " (cut(&head.failed_references, 80)) } } }
            td.t { (cx.clock.when(head.created_at)) }
            td.n { (length(took)) }
        }
    }
}

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
