//! What can be chosen among runs, with how many there are of it: statuses, names, kinds, errors, reasons
//! and hours.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use engine::search::{COUNTED_MAX, Counting, Filter, Search, TextField};
use engine::{Hour, Question, RunKind, StuckGroup};
use kernel::MachineKind;
use maud::{Markup, html};

use crate::value::cut;
use crate::visit::encoded;
use crate::{Context, Failure, piece};

/// Statuses that can be chosen.
const STATUSES: [&str; 6] = ["RUNNING", "PAUSED", "FAILED", "TIMED_OUT", "TERMINATED", "COMPLETED"];
/// Statuses of what has a reason for its end.
const BAD: [&str; 2] = ["FAILED", "TIMED_OUT"];
/// Values of each that can be chosen.
const FACETS_MAX: usize = 8;
/// Reasons that can be chosen: each is a question to the store.
const GROUPS_MAX: usize = 6;
/// Reasons that can be chosen where the store keeps no count of statuses.
const GROUPS_UNCOUNTED: usize = 3;
/// Runs whose errors are looked at, the newest.
const ERRORS_OF_MAX: u64 = 100;

/// The words that find the runs of a group.
pub(super) fn stuck_words(group: &StuckGroup) -> String {
    let is_word = !group.queue.contains(|it: char| it.is_whitespace() || it == ',');
    let queue = if is_word { format!(" queue:{}", group.queue) } else { String::new() };
    format!("why:{}{queue}", group.blocked.code())
}

/// The address of the list with the typed words, without some filters and with others instead.
fn instead_of(typed: &str, without: &[&str], instead: &str) -> String {
    let is_kept = |word: &&str| !without.iter().any(|name| word.starts_with(name));
    let words = typed.split_whitespace().filter(is_kept).chain(instead.split_whitespace());
    format!("/console/runs?q={}", encoded(&words.collect::<Vec<_>>().join(" ")))
}

/// What finds those that began in an hour.
fn of_hour(typed: &str, hour: &Hour) -> String {
    let at = |millis| jiff::Timestamp::from(hour.from.plus_millis(millis));
    let span = format!("after:{} before:{}", at(0), at(3_600_000));
    instead_of(typed, &["after:", "before:"], &span)
}

/// How many runs there are of each status, of each name and at each thing that keeps them, over what is
/// searched for.
pub(super) async fn choices(
    cx: &Context<'_>,
    question: &Question,
    typed: &str,
    stuck: &[StuckGroup],
) -> Result<Markup, Failure> {
    let store = cx.engine.store();
    let with = |without: &[&str], instead: &str| instead_of(typed, without, instead);
    let any = question.search(&[]);
    let mut groups = GROUPS_MAX;
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
        // Each status is a question of its own here, so that others are left out.
        groups = GROUPS_UNCOUNTED;
        for status in STATUSES {
            let (total, is_exact) = counted(cx, question.search(&[status.to_owned()])).await?;
            statuses.push((status, piece::counted(total, is_exact)));
        }
    }
    let mut names: Vec<(Arc<str>, u64)> = names.into_iter().collect();
    names.sort_by_key(|(_, count)| Reverse(*count));
    let more_names = names.len().saturating_sub(FACETS_MAX);
    let reasons = kept_by(cx, question, stuck.get(..groups).unwrap_or(stuck)).await?;
    let kinds = kinds(cx, question).await?;
    let errors = errors(cx, question).await?;
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
        @if !kinds.is_empty() {
            ul.facets aria-label="Kind" {
                li { a href=(with(&["kind:"], "")) aria-current=[question.kind.is_none().then_some("true")] { "any kind" } }
                @for (kind, count) in &kinds {
                    li { a href=(with(&["kind:"], &format!("kind:{}", kind.as_str()))) aria-current=[(question.kind == Some(*kind)).then_some("true")] { (kind.as_str()) } " " (count) }
                }
            }
        }
        @if !errors.classes.is_empty() {
            ul.facets aria-label="Error" {
                @for (class, count) in errors.classes.iter().take(FACETS_MAX) {
                    li { a href=(with(&["error:"], &format!("error:{}", class.words))) { (cut(&class.shown, 60)) } " " (piece::counted(*count, errors.are_all)) }
                }
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
pub(super) async fn hours(
    cx: &Context<'_>,
    question: &Question,
    typed: &str,
) -> Result<Markup, Failure> {
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
                    li { a href=(of_hour(typed, it)) { (cx.clock.when(it.from)) } " " strong { (piece::counted(it.count, it.is_exact)) } }
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
    for group in stuck {
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

/// How many there are of each kind; empty if there is one kind only and none was chosen.
async fn kinds(cx: &Context<'_>, question: &Question) -> Result<Vec<(RunKind, String)>, Failure> {
    let mut any = question.clone();
    any.kind = None;
    let any = any.search(&question.statuses);
    let far = |search: Search| Search { counting: Counting::Far, ..search };
    let code = Search { machine: MachineKind::Instance, beside: None, ..any.clone() };
    let graphs = Search { beside: None, ..any };
    let store = cx.engine.store();
    let mut counts = Vec::new();
    for (kind, search) in RunKind::ALL.into_iter().zip([far(graphs), far(code)]) {
        let tallied = if search.is_counted() { store.tally(&search).await? } else { None };
        let count = tallied.map(|it| (it.counts.iter().map(|it| it.2).sum::<u64>(), it.is_exact));
        counts.push((kind, count));
    }
    let is_there = |(_, count): &&(RunKind, Option<(u64, bool)>)| count.is_none_or(|it| it.0 > 0);
    if question.kind.is_none() && counts.iter().filter(is_there).count() < RunKind::ALL.len() {
        return Ok(Vec::new());
    }
    let shown = |count: Option<(u64, bool)>| {
        count.map(|(count, is_exact)| piece::counted(count, is_exact)).unwrap_or_default()
    };
    Ok(counts.into_iter().map(|(kind, count)| (kind, shown(count))).collect())
}

/// A class of errors: reasons that differ only in numbers and ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    /// For people.
    shown: String,
    /// What finds it, after `error:`.
    words: String,
}

/// Words of a reason that make its class.
const CLASS_WORDS: usize = 8;

impl Class {
    fn of(reason: &str) -> Self {
        let (mut shown, mut found) = (Vec::new(), Vec::new());
        for word in reason.split_whitespace().take(CLASS_WORDS) {
            let digits = word.chars().filter(char::is_ascii_digit).count();
            let is_own = digits > 3 || word.len() > 40;
            shown.push(if is_own { "…" } else { word });
            found.push(if is_own { String::new() } else { word.replace([',', '*'], "*") });
        }
        let mut words = found.join("*");
        while words.contains("**") {
            words = words.replace("**", "*");
        }
        Self { shown: shown.join(" "), words: words.trim_matches('*').to_owned() }
    }
}

/// The classes of errors among the newest that have failed.
struct Errors {
    /// With how many there are of each, the most first.
    classes: Vec<(Class, u64)>,
    /// All that have failed were looked at.
    are_all: bool,
}

async fn errors(cx: &Context<'_>, question: &Question) -> Result<Errors, Failure> {
    let asked = |status: &&str| {
        question.statuses.is_empty() || question.statuses.iter().any(|it| it == status)
    };
    let statuses: Vec<String> = BAD.into_iter().filter(asked).map(str::to_owned).collect();
    if statuses.is_empty() {
        return Ok(Errors { classes: Vec::new(), are_all: true });
    }
    let search = question.search(&statuses);
    let search = Search { size: ERRORS_OF_MAX, counting: Counting::Next, ..search };
    let page = cx.engine.store().search(&search).await?;
    let mut counts = BTreeMap::<Class, u64>::new();
    for reason in page.rows.iter().filter_map(|head| head.reason.as_deref()) {
        *counts.entry(Class::of(reason)).or_default() += 1;
    }
    let mut classes: Vec<(Class, u64)> =
        counts.into_iter().filter(|(class, _)| !class.words.is_empty()).collect();
    classes.sort_by_key(|(_, count)| Reverse(*count));
    Ok(Errors { classes, are_all: page.total <= ERRORS_OF_MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_numbers_are_of_one_class() {
        let one = Class::of("fetch: HTTP 503, after 12034 ms");
        assert_eq!(one, Class::of("fetch: HTTP 503, after 998877 ms"));
        assert_eq!(one.shown, "fetch: HTTP 503, after … ms");
        assert_eq!(one.words, "fetch:*HTTP*503*after*ms");
        assert_ne!(one, Class::of("fetch: HTTP 500, after 12034 ms"));
        assert_eq!(Class::of("").words, "");
    }
}
