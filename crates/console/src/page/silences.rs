//! Silences: what is hidden, until when, by whom and why; and a form for one more, with what it would
//! hide.

use http::Method;
use kernel::Timestamp;
use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown, incidents};
use crate::act::silence_of;
use crate::clock::Clock;
use crate::deed::LONGER;
use crate::shell::Place;
use crate::value::{at, cut, plain, said, text};
use crate::visit::encoded;
use crate::{Context, Failure, piece, seen};

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let all = cx.get("/api/silences").await?;
    let all: Vec<&Value> = all.as_array().into_iter().flatten().collect();
    let (over, kept): (Vec<&Value>, Vec<&Value>) =
        all.into_iter().partition(|it| it["over"] == true);
    let days = format!("{} to {}", cx.clock.date(begin(cx)), cx.clock.date(end(cx)));
    let heads = ["Now", "Hides", "When", &days, "By", "Why", ""];
    let table = |silences: &[&Value]| {
        let rows: Vec<Markup> = silences.iter().map(|it| row(cx, it)).collect();
        piece::table("Silences", &heads, &rows)
    };
    let body = html! {
        (hid(cx).await?)
        @if cx.may(Permission::Respond) { (new(cx).await?) }
        @if kept.is_empty() { (piece::note("empty", html! { "Nothing is silenced." })) } @else { (table(&kept)) }
        @if !over.is_empty() { details { summary { (over.len()) " are over" } (table(&over)) } }
    };
    let page =
        Page::new(Place::Incidents, "Silences", body).below("Incidents", "/console/incidents");
    Ok(page.same_as("/api/silences", "nightbell silence list").on("incident monitor change"))
}

fn row(cx: &Context<'_>, it: &Value) -> Markup {
    let until = &it["inForceUntil"];
    let id = text(it, "id");
    let when = match said(it, "hours") {
        Some(hours) => html! { (hours) " " (text(it, "tz")) },
        None => {
            html! { (cx.clock.maybe(at(it, "from"))) " to " (cx.clock.maybe(at(it, "to"))) }
        }
    };
    html! {
        tr {
            td {
                @if until.is_null() { span.faint { "not in force" } }
                @else { strong { "hides" }
                    @if let Some(until) = at(it, "inForceUntil") { br; span.faint { "for " (cx.clock.age(cx.clock.now.plus_millis(cx.clock.now.since(until)))) } } }
            }
            td { code { (matchers(&it["match"])) } }
            td { (when) }
            td { (calendar(cx, it)) }
            td { (said(it, "by").unwrap_or("–")) }
            td { (cut(said(it, "comment").unwrap_or("–"), 200)) br; span.faint { (cut(id, 40)) }
                br; a href={ "/console/silences?hid=" (encoded(id)) } { "what it hid" } }
            td {
                @if let Some(source) = said(it, "source") { span.faint { "in " (source) } }
                @else if it["over"] != true {
                    @if at(it, "to").is_some() { (piece::act_with(cx, Permission::Respond, "extend-silence", id, "Extend", html! { (seen::field(&seen::silence(it))) (longer()) })) " " }
                    (piece::preview(cx, Permission::Respond, "end-silence", id, "End"))
                }
            }
        }
    }
}

/// By how much it is extended.
fn longer() -> Markup {
    html! {
        label.field { span { "by" }
            select name="for" { @for (word, _) in LONGER { option value=(word) { (word) } } }
        }
    }
}

/// Days before and after today of the calendar, and its width in days.
const DAYS_BEFORE: i64 = 3;
const DAYS_AFTER: i64 = 11;
/// Parts of a day in the calendar.
const DAY: i64 = 24;

fn begin(cx: &Context<'_>) -> Timestamp {
    cx.clock.midnight_after(cx.clock.now, -DAYS_BEFORE)
}

fn end(cx: &Context<'_>) -> Timestamp {
    cx.clock.midnight_after(cx.clock.now, DAYS_AFTER)
}

/// When a silence hides within these days.
fn calendar(cx: &Context<'_>, it: &Value) -> Markup {
    let width = (DAYS_BEFORE + DAYS_AFTER) * DAY;
    let (begin, end) = (begin(cx), end(cx));
    let span = end.since(begin).max(1);
    let x = |at: Timestamp| at.since(begin).clamp(0, span) * width / span;
    let (label, hides) = match at(it, "from") {
        Some(from) => {
            let to = at(it, "to").unwrap_or(end);
            let label = format!("from {} to {}", cx.clock.text(from), cx.clock.text(to));
            (label, vec![(from, to)])
        }
        None => (format!("each week, {}", text(it, "hours")), weekly(&cx.clock, it)),
    };
    let hides = hides.into_iter().filter(|(from, to)| *to > begin && *from < end);
    let bars = hides.map(|(from, to)| (x(from), (x(to) - x(from)).max(2)));
    let now = x(cx.clock.now);
    html! {
        svg.strip viewBox={ "0 0 " (width) " 20" } preserveAspectRatio="none" role="img" aria-label=(label) {
            @for day in 1..(DAYS_BEFORE + DAYS_AFTER) { path.idle d={ "M" (day * DAY) " 0v20h.5v-20z" } {} }
            @for (from, wide) in bars { path.odd d={ "M" (from) " 4h" (wide) "v12h-" (wide) "z" } {} }
            path.run d={ "M" (now) " 0v20h1v-20z" } {}
        }
    }
}

/// When a silence that comes each week hides within these days, by the clock of its own zone.
fn weekly(clock: &Clock, it: &Value) -> Vec<(Timestamp, Timestamp)> {
    let clock = clock.in_zone(text(it, "tz"));
    let hours = text(it, "hours");
    let (days, span) = hours.rsplit_once(' ').unwrap_or(("", hours));
    let Some((from, to)) = span.split_once('-') else { return Vec::new() };
    let all = (-DAYS_BEFORE - 1..=DAYS_AFTER).filter_map(|after| {
        let midnight = clock.midnight_after(clock.now, after);
        if !days.is_empty() && !days.split(',').any(|day| day == clock.weekday(midnight)) {
            return None;
        }
        // A day's last minute is written 24:00, and an end before the beginning is the next day's.
        let next = clock.midnight_after(midnight, 1);
        let begin = clock.time_of(midnight, from)?;
        let end = if to == "24:00" { Some(next) } else { clock.time_of(midnight, to) }?;
        let end = if end > begin { end } else { clock.time_of(next, to)? };
        Some((begin, end))
    });
    all.collect()
}

/// What the silence that the address names has hidden.
async fn hid(cx: &Context<'_>) -> Result<Markup, Failure> {
    let Some(id) = cx.visit.query.get("hid") else { return Ok(html! {}) };
    let hidden = cx.get(&format!("/api/silences/{}/hidden", encoded(id))).await?;
    let lines: Vec<&Value> = hidden.as_array().into_iter().flatten().collect();
    Ok(piece::part(
        "What it hid",
        html! {
            @if lines.is_empty() { p.faint { "Nothing that is recorded: " code { (cut(id, 60)) } " kept no page back." } }
            ul.time {
                @for it in lines {
                    li { (cx.clock.maybe(at(it, "at"))) (piece::link(&["incidents", text(it, "incident")], &incidents::name(it))) }
                }
            }
        },
    ))
}

pub(super) fn matchers(matchers: &Value) -> String {
    let pairs = matchers.as_object().into_iter().flatten();
    let shown = pairs.map(|(label, value)| match value.get("not") {
        Some(not) => format!("{label}≠{}", plain(not)),
        None => format!("{label}={}", plain(value)),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// The form; once it is filled in, what it would hide, and the button that makes it.
async fn new(cx: &Context<'_>) -> Result<Markup, Failure> {
    let asked = &cx.visit.query;
    let value = |name: &'static str| asked.get(name).unwrap_or_default();
    let hidden = match asked.get("for") {
        Some(_) => Some(preview(cx).await),
        None => None,
    };
    Ok(html! {
        details open[asked.get("match").is_some()] {
            summary { "New silence" }
            form method="get" {
                (piece::field("match", "What it hides: label=value, several separated by commas", value("match"), "monitor=shop, team=data"))
                (piece::field("for", "For how long", asked.get("for").unwrap_or("2h"), "2h"))
                (piece::field("from", "From; empty is now", value("from"), "2026-01-31T08:00:00Z"))
                (piece::field("hours", "Or each week, in the zone of this page", value("hours"), "Sat,Sun 02:00-04:00"))
                input type="hidden" name="tz" value=(cx.clock.zone_name());
                (piece::field("why", "Why", value("why"), "deploying"))
                button { "What would it hide?" }
            }
            @match &hidden {
                None => {}
                Some(Err(failure)) => { (piece::note("bad", html! { (failure.message) @if let Some(hint) = &failure.hint { br; (hint) } })) }
                Some(Ok(open)) => {
                    (piece::note("warn", html! { "While it is in force it hides what is open then. Of what is open now that would be " (open.len()) " incidents." }))
                    ul { @for it in open.iter().take(20) { li { (incidents::line(cx, it)) } } }
                    form method="post" action="/console/act" {
                        (piece::proof())
                        input type="hidden" name="act" value="silence";
                        input type="hidden" name="id" value="new";
                        input type="hidden" name="match" value=(value("match"));
                        @for name in ["for", "from", "hours", "tz"] { input type="hidden" name=(name) value=(value(name)); }
                        input type="hidden" name="why" value=(value("why"));
                        input type="hidden" name="back" value="/console/silences";
                        button.main { "Silence" }
                    }
                }
            }
        }
    })
}

async fn preview(cx: &Context<'_>) -> Result<Vec<Value>, Failure> {
    let body = silence_of(&cx.visit.query)?;
    // A question that needs a body: it makes nothing.
    let open = cx.change(Method::POST, "/api/silences/preview", Some(&body)).await?;
    Ok(open.as_array().cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_comes_each_week_is_drawn_by_the_clock_of_its_own_zone() {
        // A Thursday; on Sunday the clock of Oslo is put forward.
        let now: jiff::Timestamp = "2026-03-26T12:00:00Z".parse().expect("a time");
        let clock = Clock::new(now.into(), None);
        let it = json!({ "hours": "Sat,Sun 22:00-06:00", "tz": "Europe/Oslo" });
        let drawn = weekly(&clock, &it);
        let shown: Vec<String> =
            drawn.iter().take(3).map(|(from, to)| format!("{from} {to}")).collect();
        assert_eq!(
            shown,
            [
                "2026-03-22T21:00:00Z 2026-03-23T05:00:00Z",
                "2026-03-28T21:00:00Z 2026-03-29T04:00:00Z",
                "2026-03-29T20:00:00Z 2026-03-30T04:00:00Z",
            ]
        );
        let daily = weekly(&clock, &json!({ "hours": "00:00-24:00", "tz": "UTC" }));
        assert!(daily.iter().all(|(from, to)| to.since(*from) == 86_400_000), "{daily:?}");
        assert!(weekly(&clock, &json!({ "hours": "soon" })).is_empty());
    }
}
