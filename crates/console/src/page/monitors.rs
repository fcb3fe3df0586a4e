//! Monitors: what is watched, how it stands, when it is looked at next.

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown};
use crate::Context;
use crate::piece;
use crate::shell::Place;
use crate::strip::{self, Looks, RANGES, Range};
use crate::value::{at, count, cut, list, said, text};
use crate::visit::{encoded, href};

/// Monitors on a page.
const SIZE: u64 = 50;
/// Open incidents that a row leads to.
const SHOWN: usize = 3;
const STATUSES: [&str; 5] = ["DOWN", "UNKNOWN", "PENDING", "NEW", "UP"];

/// What is looked for: words of the address with their values, which the API's parameters are called after.
const WORDS: [&str; 4] = ["status", "kind", "label", "source"];

/// A search for monitors.
#[derive(Debug, Default, PartialEq, Eq)]
struct Question {
    name: String,
    /// What is wanted of each of [`WORDS`], as it was written.
    wanted: [String; 4],
}

impl Question {
    /// Reads `status:down,unknown kind:http label:team=data source:api shop*`.
    fn read(text: &str) -> Self {
        let mut question = Self::default();
        for word in text.split_whitespace() {
            let known = word
                .split_once(':')
                .and_then(|(key, value)| Some((WORDS.iter().position(|it| *it == key)?, value)));
            match known {
                Some((at, value)) => value.clone_into(&mut question.wanted[at]),
                None => word.clone_into(&mut question.name),
            }
        }
        question
    }

    /// The same with another value of one word; an empty one takes it away.
    fn with(&self, word: &str, value: &str) -> String {
        let others = WORDS.iter().zip(&self.wanted).filter(|(known, _)| **known != word);
        let words = others.map(|(known, value)| (*known, value.as_str())).chain([(word, value)]);
        let words = words.filter(|(_, value)| !value.is_empty());
        let mut words: Vec<String> = words.map(|(word, value)| format!("{word}:{value}")).collect();
        words.extend(Some(self.name.clone()).filter(|name| !name.is_empty()));
        words.join(" ")
    }

    fn of(&self, word: &str) -> &str {
        let found = WORDS.iter().position(|it| *it == word);
        found.map_or("", |at| &self.wanted[at])
    }

    /// What to ask the API for.
    fn parameters(&self) -> String {
        let pattern = match self.name.as_str() {
            "" => String::new(),
            name if name.contains('*') => name.to_owned(),
            name => format!("*{name}*"),
        };
        let words = WORDS.iter().zip(&self.wanted).map(|(word, value)| (*word, value));
        let all = words.chain([("name", &pattern)]).filter(|(_, value)| !value.is_empty());
        let written = all.map(|(name, value)| format!("&{name}={}", encoded(value)));
        written.collect()
    }
}

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let asked = &cx.visit.query;
    let typed = asked.get("q").unwrap_or_default();
    let mut question = Question::read(typed);
    // Links from elsewhere name a status by itself.
    if let Some(status) = asked.get("status") {
        status.clone_into(&mut question.wanted[0]);
    }
    let start: u64 = asked.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let range = Range::of(asked.get("range"));
    let path = format!("/api/monitors?start={start}&size={SIZE}{}", question.parameters());
    // Everything that the page shows, in one request.
    let with_cells = format!(
        "{path}&facets=true&rollups={}&from={}",
        range.step,
        range.begin(cx.clock.now).millis()
    );
    let found = cx.get(&with_cells).await?;
    let total = count(&found, "totalHits");
    let rows: Vec<Markup> =
        list(&found, "results").iter().map(|it| row(cx, it, range, &it["rollups"])).collect();
    let next = (start + SIZE < total).then(|| {
        format!("/console/monitors{}", asked.with(&[("start", &(start + SIZE).to_string())]))
    });
    let is_any = question == Question::default();
    let body = html! {
        (facets(cx, &question, &found))
        ul.facets aria-label="Time" {
            @for it in RANGES {
                li { a href={ "/console/monitors" (asked.with(&[("range", it.word)])) } aria-current=[(it == range).then_some("true")] { (it.name) } }
            }
        }
        form.acts method="get" role="search" {
            (piece::field("q", "Name, or status: kind: label: source:", &question.with("", ""), "status:down,unknown kind:http label:team=data shop*"))
            input type="hidden" name="range" value=(range.word);
            button { "Show" }
        }
        @if rows.is_empty() {
            @if is_any { (piece::nothing_yet("no monitor is defined", "nightbell monitor apply FILE")) }
            @else { (piece::nothing_matches("no monitor is as these words say", "/console/monitors")) }
        } @else {
            p.faint { (piece::counted(total, true)) " in all" }
            (piece::table("Monitors", &["Status", "Monitor", &format!("Last {}", range.name), "Well", "p95", "Last answer", "Next check", "Incidents", ""], &rows))
            (legend())
        }
        (piece::more(next.as_deref()))
    };
    let page = Page::new(Place::Monitors, "Monitors", body);
    Ok(page.same_as(path, "nightbell monitor list").on("monitor incident"))
}

/// Values of one facet that are shown.
const VALUES_MAX: usize = 6;

/// What can be chosen, and how many there are of it.
fn facets(cx: &Context<'_>, question: &Question, found: &Value) -> Markup {
    let to = |word: &str, value: &str| {
        let q = question.with(word, value);
        format!(
            "/console/monitors{}",
            cx.visit.query.with(&[("q", &q), ("status", ""), ("start", "")])
        )
    };
    let chosen = |word: &str, value: &str| {
        let mut given = question.of(word).split(',').map(str::trim);
        given.any(|it| it.eq_ignore_ascii_case(value)).then_some("true")
    };
    html! {
        ul.facets aria-label="Status" {
            li { a href=(to("status", "")) aria-current=[question.of("status").is_empty().then_some("true")] { "any status" } }
            @for word in STATUSES {
                li { a href=(to("status", word)) aria-current=[chosen("status", word)] { (piece::status(word)) " " (count(&found["statuses"], word)) } }
            }
        }
        @for (word, name) in [("kind", "Kind"), ("label", "Label"), ("source", "Source")] {
            @let values = list(&found["facets"], word);
            // One value alone chooses nothing.
            @if values.len() > 1 || !question.of(word).is_empty() {
                ul.facets aria-label=(name) {
                    li { a href=(to(word, "")) aria-current=[question.of(word).is_empty().then_some("true")] { "any " (word) } }
                    @for it in values.iter().filter(|it| is_word(text(it, "value"))).take(VALUES_MAX) {
                        @let value = text(it, "value");
                        li { a href=(to(word, value)) aria-current=[chosen(word, value)] { (cut(value, 40)) } " " (count(it, "count")) }
                    }
                }
            }
        }
    }
}

/// Whether a value can stand in a search.
fn is_word(value: &str) -> bool {
    !value.contains(|it: char| it.is_whitespace() || it == ',')
}

/// What the bars of a strip mean.
pub(super) fn legend() -> Markup {
    html! {
        p.faint { "Bars: the worst of their time; the tallest failed, lower ones warned, were well, could not tell, or were missed; the lowest were not checked. Well is the share of checks that did not fail among those that could tell." }
    }
}

fn row(cx: &Context<'_>, it: &Value, range: Range, counted: &Value) -> Markup {
    let cells = strip::cells(range, cx.clock.now, counted);
    let looks: Vec<Looks> = cells.iter().map(|it| it.map(Looks::of).unwrap_or_default()).collect();
    let total = &counted["total"];
    let name = text(it, "name");
    let open = list(it, "openIncidents");
    let more = count(it, "openIncidentCount").saturating_sub(SHOWN as u64);
    let next = at(it, "nextCheckAt");
    let waits = matches!(text(it, "kind"), "heartbeat" | "alerts");
    html! {
        tr {
            td { (piece::status(text(it, "status"))) }
            td { a href=(href(&["monitors", name])) { (name) } " " span.faint { (text(it, "kind")) }
                @if let Some(why) = said(it, "reason") { br; span.faint { (cut(why, 120)) } } }
            td { (strip::strip(&looks, &strip::told(&looks, range.each))) }
            td.n { (strip::percent(total)) }
            td.n { (strip::took(total, "p95")) (strip::lines(&cells, &["p95"], "Response time, 95th percentile")) }
            td.t { @if let Some(last) = at(it, "lastAnswerAt") { (cx.clock.ago(last)) } @else { span.faint { "none yet" } } }
            td.t { @if let Some(next) = next { (cx.clock.ago(next)) } @else { span.faint { "waits for a call" } } }
            td {
                @for incident in open.iter().take(SHOWN) {
                    a href=(href(&["incidents", text(incident, "id")])) { (said(incident, "severity").unwrap_or("incident")) } " "
                }
                @if more > 0 { a href={ "/console/incidents?monitor=" (encoded(name)) } { "and " (more) " more" } }
            }
            td {
                @if !waits { (piece::act(cx, Permission::Run, "check", name, "Check now")) }
                @if cx.may(Permission::Respond) { " " a href={ "/console/silences?match=" (encoded(&format!("monitor={name}"))) } { "Silence…" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_search_are_read_and_written() {
        let question = Question::read("status:down,unknown shop* label:team=data colour:red");
        assert_eq!(question.of("status"), "down,unknown");
        assert_eq!(question.name, "colour:red", "the last word that is none of these");
        let question = Question::read("shop kind:http");
        assert_eq!(question.with("kind", "sql"), "kind:sql shop");
        assert_eq!(question.with("kind", ""), "shop");
        assert_eq!(question.with("", ""), "kind:http shop");
        assert_eq!(question.parameters(), "&kind=http&name=%2Ashop%2A");
    }
}
