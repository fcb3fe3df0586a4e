//! A public status page: is it up? Labels, the state of each component, 90 days, and what people
//! posted; no name of anything that runs here.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{ComponentState, ComponentStatus, Engine, STATUS_DAYS};
use http::StatusCode;
use kernel::Timestamp;
use kernel::alert::{Cell, Step};
use kernel::status_page::{Group, StatusPage, StatusPost};
use maud::{Markup, html};

use super::{Page, Shown};
use crate::clock::Clock;
use crate::shell::Place;
use crate::strip::{self, Looks};
use crate::value::cut;
use crate::{Context, Failure, piece};

/// For how long a page is shown as it was made, in milliseconds: whoever asks, and however often, it
/// costs no more than one making.
const FRESH: i64 = 15_000;
/// Of a day, the share of checks that failed from which it was a bad one.
const BAD: f64 = 0.01;

/// Pages as they were made last.
#[derive(Default)]
pub(crate) struct Made(tokio::sync::Mutex<BTreeMap<Arc<str>, Copy>>);

struct Copy {
    at: Timestamp,
    of: Arc<StatusPage>,
    posts: Arc<Vec<StatusPost>>,
    body: Markup,
}

/// The page, or that nothing is published under its name: a page that is not public is not told from
/// one that is not there.
pub(super) async fn show(cx: &Context<'_>, name: &str) -> Shown {
    let pages = cx.engine.status_pages().await?;
    let Some(page) = pages.get(name).filter(|page| page.public) else { return Ok(nothing(name)) };
    let posts = cx.engine.status_posts(name).await?;
    // One at a time: many that ask at once wait for one making.
    let mut made = cx.made.0.lock().await;
    let now = cx.clock.now;
    let fresh = made.get(&page.name).filter(|copy| {
        (0..FRESH).contains(&now.since(copy.at))
            && Arc::ptr_eq(&copy.of, page)
            && Arc::ptr_eq(&copy.posts, &posts)
    });
    let body = if let Some(copy) = fresh {
        copy.body.clone()
    } else {
        match (body(cx.engine, page, &posts, now).await, made.get(&page.name)) {
            (Ok(body), _) => {
                made.retain(|name, _| pages.contains_key(name));
                let copy = Copy { at: now, of: page.clone(), posts, body: body.clone() };
                made.insert(page.name.clone(), copy);
                body
            }
            // It says of when it is, which is more than nothing.
            (Err(_), Some(copy)) if Arc::ptr_eq(&copy.of, page) => copy.body.clone(),
            (Err(error), _) => return Err(error.into()),
        }
    };
    let mut shown = Page::new(Place::Nowhere, &*page.title, body);
    shown.is_public = true;
    Ok(shown)
}

/// A page that says that nothing is published under this name. It tells nothing of what runs here.
fn nothing(name: &str) -> Page {
    let body = piece::note("empty", html! { "Nothing is published here under this name." });
    let mut page = Page::new(Place::Nowhere, format!("Status of {}", cut(name, 60)), body);
    (page.is_public, page.status) = (true, StatusCode::NOT_FOUND);
    page
}

/// A page that says that it cannot be made now, and not why.
pub(super) fn away(failure: &Failure) -> Page {
    let body = piece::note("cannot", html! { "This page cannot be shown at present." });
    let mut page = Page::new(Place::Nowhere, "Status", body);
    (page.is_public, page.status) = (true, failure.status);
    page
}

async fn body(
    engine: &Engine,
    page: &StatusPage,
    posts: &[StatusPost],
    now: Timestamp,
) -> Result<Markup, engine::Error> {
    let clock = Clock::new(now, page.zone.as_deref());
    let components: Vec<_> = page.groups.iter().flat_map(|group| &group.components).collect();
    let states = engine.component_states(&components).await?;
    let worst = states.iter().map(|it| it.status).max().unwrap_or(ComponentStatus::Operational);
    let mut states = states.iter();
    let mut groups = Vec::new();
    for Group { title, components } in &page.groups {
        let lines = components
            .iter()
            .zip(&mut states)
            .map(|(component, state)| line(&component.label, state, component.key.is_none(), now));
        groups.push(html! { section { h2 { (title) } @for line in lines { (line) } } });
    }
    let (class, sentence) = match worst {
        ComponentStatus::Operational => ("said", "All is well."),
        ComponentStatus::Unknown => ("note warn", "Of some of this, nobody can tell at present."),
        ComponentStatus::Degraded => ("note warn", "Some of this does not work as it should."),
        ComponentStatus::Down => ("note bad", "Some of this is down."),
    };
    Ok(html! {
        @if let Some(text) = &page.description { p { (text) } }
        p class=(class) { strong { (sentence) } " As of " (clock.when(now)) "." }
        @for group in &groups { (group) }
        p.faint { "Each bar is a day of UTC, today at the right: the tallest had failures, lower ones some trouble or were well, the lowest are not known." }
        @if !posts.is_empty() {
            section { h2 { "Posts" } ul.time {
                @for post in posts { li { (clock.when(post.at)) span.lines-kept { (post.text) } } }
            } }
        }
    })
}

fn line(label: &str, state: &ComponentState, has_share: bool, now: Timestamp) -> Markup {
    let today = Step::Day.floor(now);
    let begin = today.plus_millis(-(STATUS_DAYS - 1) * Step::Day.millis());
    let day = |place: i64| begin.plus_millis(place * Step::Day.millis());
    let looks: Vec<Looks> = (0..STATUS_DAYS)
        .map(|place| state.days.get(&day(place)).map(look).unwrap_or_default())
        .collect();
    let mut all = Cell::default();
    state.days.values().for_each(|cell| all.merge(cell));
    // Rounded down: what failed once is never told as 100.
    let share = all.well().filter(|_| has_share).map(|well| (well * 10_000.0).floor() / 100.0);
    let (class, sign, word) = match state.status {
        ComponentStatus::Operational => ("good", "✓", "well"),
        ComponentStatus::Unknown => ("warn", "?", "not known"),
        ComponentStatus::Degraded => ("warn", "!", "degraded"),
        ComponentStatus::Down => ("bad", "✕", "down"),
    };
    html! {
        div.component {
            h3 { (label) }
            p { span class={ "status " (class) } { span aria-hidden="true" { (sign) " " } (word) }
                @if let Some(share) = share { " · " (share) " % in " (STATUS_DAYS) " days" } }
            (strip::strip(&looks, &strip::told(&looks, "days")))
        }
    }
}

/// How a day looks: what failed for less than a hundredth of it, and opened no incident, was trouble.
fn look(cell: &Cell) -> Looks {
    let failed = cell.well().map_or(0.0, |well| 1.0 - well);
    match () {
        () if cell.fail > 0 && (failed >= BAD || cell.incidents > 0) => Looks::Failed,
        () if cell.fail > 0 || cell.warn > 0 => Looks::Warned,
        () if cell.ok > 0 => Looks::Well,
        () if cell.unknown > 0 => Looks::Unknown,
        () => Looks::Idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_bad_by_its_share_or_by_an_incident() {
        let cell = |ok, fail, incidents| Cell { ok, fail, incidents, ..Cell::default() };
        assert_eq!(look(&cell(1440, 0, 0)), Looks::Well);
        assert_eq!(look(&cell(1440, 1, 0)), Looks::Warned);
        assert_eq!(look(&cell(1440, 3, 1)), Looks::Failed);
        assert_eq!(look(&cell(1000, 30, 0)), Looks::Failed);
        assert_eq!(look(&Cell { missed: 3, ..Cell::default() }), Looks::Idle);
    }
}
