//! Runs: a list of heads with cursors, with what can be chosen and how many there are of it.

use engine::search::{COUNTED_MAX, Counting};
use engine::store::Head;
use kernel::MachineKind;
use kernel::access::Permission;
use maud::{Markup, html};

use super::{Page, Shown};
use crate::clock::length;
use crate::question::{Question, ROWS, mark_of};
use crate::shell::Place;
use crate::value::cut;
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

/// Statuses that can be chosen.
const STATUSES: [&str; 6] = ["RUNNING", "PAUSED", "FAILED", "TIMED_OUT", "TERMINATED", "COMPLETED"];
/// Open runs of a page whose reason is read.
const REASONS_MAX: usize = 50;
/// Searches that are kept as links.
const SAVED: [(&str, &str); 4] = [
    ("running", "status:RUNNING"),
    ("failed", "status:FAILED,TIMED_OUT"),
    ("paused", "status:PAUSED"),
    ("with checks and deliveries", "own:yes"),
];

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let asked = &cx.visit.query;
    let typed = asked.get("q").unwrap_or_default();
    let question = Question::read(typed)?;
    let store = cx.engine.store();
    let mut rows = store.search(&question.page(asked.get("after"))?).await?.rows;
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
            }
        }
        (facets(cx, &question, typed).await?)
        @if rows.is_empty() {
            @if typed.is_empty() {
                (piece::nothing_yet("no workflow has been started", "nightbell run start NAME"))
            } @else {
                (piece::nothing_matches(&format!("no run is found by “{}”", cut(typed, 100)), "/console/runs"))
            }
        } @else {
            (table(cx, &rows, &reasons))
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

/// How many runs there are of each status, and of each kind of name found on this page.
async fn facets(cx: &Context<'_>, question: &Question, typed: &str) -> Result<Markup, Failure> {
    let store = cx.engine.store();
    let others: Vec<&str> =
        typed.split_whitespace().filter(|word| !word.starts_with("status:")).collect();
    let with = |status: &str| {
        let mut words = others.clone();
        let filter = format!("status:{status}");
        words.push(&filter);
        format!("/console/runs?q={}", encoded(&words.join(" ")))
    };
    let mut counts = Vec::new();
    for status in STATUSES {
        let mut search = question.search(&[status.to_owned()]);
        (search.size, search.counting) = (1, Counting::Far);
        let total = store.search(&search).await?.total;
        let is_exact = search.is_counted() || total < COUNTED_MAX;
        counts.push((status, piece::counted(total, is_exact)));
    }
    Ok(html! {
        ul.facets aria-label="Status" {
            li { a href={ "/console/runs?q=" (encoded(&others.join(" "))) }
                aria-current=[question.statuses.is_empty().then_some("true")] { "any status" } }
            @for (status, count) in &counts {
                li {
                    a href=(with(status)) aria-current=[question.statuses.iter().any(|it| it == status).then_some("true")] {
                        (piece::status(status)) " " (count)
                    }
                }
            }
        }
    })
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
                    @for (act, label) in [("retry", "Retry selected…"), ("pause", "Pause selected…"), ("resume", "Resume selected…"), ("terminate", "Terminate selected…")] {
                        button name="act" value=(act) { (label) }
                    }
                }
            }
        } @else { (shown) }
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
