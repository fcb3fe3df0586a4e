//! The frame of every page: head, navigation, the one heading, and what can be done with any page.

use http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use crate::Context;
use crate::asset::ASSETS;
use crate::piece;

/// The places of the console, in the order of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Now,
    Incidents,
    Monitors,
    Runs,
    Schedules,
    Definitions,
    System,
    /// None of them.
    Nowhere,
}

/// Each with its name, its address and the key after `g` that leads there.
const PLACES: [(Place, &str, &str, &str); 7] = [
    (Place::Now, "Now", "/console/", "n"),
    (Place::Incidents, "Incidents", "/console/incidents", "i"),
    (Place::Monitors, "Monitors", "/console/monitors", "m"),
    (Place::Runs, "Runs", "/console/runs", "r"),
    (Place::Schedules, "Schedules", "/console/schedules", "s"),
    (Place::Definitions, "Definitions", "/console/definitions", "d"),
    (Place::System, "System", "/console/system/health", "y"),
];

/// One page, without its frame.
#[derive(Debug)]
pub struct Page {
    pub(crate) status: StatusCode,
    pub(crate) place: Place,
    /// The heading, and the title of the document.
    pub(crate) title: String,
    /// The way back: where the page hangs.
    pub(crate) above: Option<(&'static str, String)>,
    pub(crate) body: Markup,
    /// The address of the same in the API.
    pub(crate) json: Option<String>,
    /// The command that shows the same.
    pub(crate) command: Option<String>,
    /// The address of the same as one file to keep.
    pub(crate) file: Option<String>,
    /// What the page is about, so that it is looked at again when that changes: topics of commits.
    pub(crate) topics: &'static str,
    /// The one machine that it is about, if it is about one.
    pub(crate) about: Option<String>,
    /// Whether it is for anybody: without navigation, script and sign of who looks.
    pub(crate) is_public: bool,
    /// Whether it shows payloads.
    pub(crate) is_private: bool,
}

impl Page {
    /// A page of a place.
    pub(crate) fn new(place: Place, title: impl Into<String>, body: Markup) -> Self {
        Self {
            status: StatusCode::OK,
            place,
            title: title.into(),
            above: None,
            body,
            json: None,
            command: None,
            file: None,
            topics: "",
            about: None,
            is_public: false,
            is_private: false,
        }
    }

    /// Says below what it hangs.
    #[must_use]
    pub(crate) fn below(mut self, name: &'static str, href: impl Into<String>) -> Self {
        self.above = Some((name, href.into()));
        self
    }

    /// Says where the API and the command line have the same.
    #[must_use]
    pub(crate) fn same_as(mut self, json: impl Into<String>, command: impl Into<String>) -> Self {
        self.json = Some(json.into());
        self.command = Some(command.into()).filter(|command: &String| !command.is_empty());
        self
    }

    /// Says where the same can be had as a file.
    #[must_use]
    pub(crate) fn with_file(mut self, href: impl Into<String>) -> Self {
        self.file = Some(href.into());
        self
    }

    /// Says which commits change it.
    #[must_use]
    pub(crate) fn on(mut self, topics: &'static str) -> Self {
        self.topics = topics;
        self
    }

    /// Says which one machine it is about.
    #[must_use]
    pub(crate) fn about(mut self, machine: impl Into<String>) -> Self {
        self.about = Some(machine.into());
        self
    }

    /// Says that it shows payloads.
    #[must_use]
    pub(crate) fn with_payloads(mut self) -> Self {
        self.is_private = true;
        self
    }
}

/// The whole document.
pub(crate) fn document(cx: &Context<'_>, page: &Page) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title(page)) }
                link rel="stylesheet" href=(ASSETS.style.path);
                link rel="icon" type="image/svg+xml" href=(ASSETS.icon.path);
                @if !page.is_public {
                    // Nothing that is written into a page is ever evaluated.
                    meta name="htmx-config" content=(HTMX);
                    script src=(ASSETS.htmx.path) defer {}
                    script src=(ASSETS.script.path) defer {}
                }
            }
            @if page.is_public {
                body.public { main #main { h1 { (page.title) } (page.body) } }
            } @else {
                body data-topics=(page.topics) data-about=[page.about.as_deref()] data-csrf=(piece::PROOF) data-in=[cx.visit.zone.as_deref()] {
                    a.skip href="#main" { "Skip to the content" }
                    (top(cx, page))
                    (main(cx, page))
                    (foot(cx, page))
                    (bar(page))
                }
            }
        }
    }
}

/// How the vendored script is set up: requests to this origin only, no style of its own, no history;
/// and what somebody has unfolded stays so when the page is looked at again.
const HTMX: &str = r#"{"mode":"same-origin","includeIndicatorCSS":false,"history":false,"morphIgnore":["data-htmx-powered","open"]}"#;

fn top(cx: &Context<'_>, page: &Page) -> Markup {
    let find = cx.visit.query.get("q").filter(|_| page.place == Place::Runs).unwrap_or_default();
    html! {
        header.top {
            a.brand href="/console/" { "Nightbell" }
            nav.places aria-label="Places" {
                @for (place, name, href, key) in PLACES {
                    a href=(href) data-go=(key) aria-current=[here(page, place)] { (name) }
                }
            }
            form.find action="/console/runs" role="search" {
                label.unseen for="find" { "Find runs" }
                input #find name="q" type="search" value=(find) placeholder="Find runs" autocomplete="off";
                button { "Find" }
            }
        }
    }
}

fn here(page: &Page, place: Place) -> Option<&'static str> {
    (page.place == place).then_some("page")
}

fn main(cx: &Context<'_>, page: &Page) -> Markup {
    html! {
        main #main tabindex="-1" {
            @if let Some((name, href)) = &page.above {
                p.above { a href=(href) { "‹ " (name) } }
            }
            h1 { (page.title) }
            p #lost role="status" hidden {}
            @if let Some(said) = cx.visit.query.get("said").and_then(crate::act::said) {
                p.said role="status" {
                    (said) " " (undo(cx))
                    @if cx.visit.who() == "console" && cx.visit.query.get("said") != Some("name") {
                        " Records say “console”: " a href={ "/console/name?back=" (crate::visit::encoded(cx.visit.path())) } { "say who you are" } "."
                    }
                }
            }
            (live(cx, page))
        }
    }
}

/// What of a page is looked at again when something is committed.
fn live(cx: &Context<'_>, page: &Page) -> Markup {
    // Whoever is back at the top of a list sees all of it.
    let whole = match cx.visit.query.get("upto") {
        Some(_) => format!("{}{}", cx.visit.path(), cx.visit.query.with(&[("upto", "")])),
        None => cx.visit.address.clone(),
    };
    // What a form was answered with has no address at which it could be looked at again.
    let again = (cx.visit.method != http::Method::POST).then_some(whole);
    html! {
        div #live hx-get=[again] hx-trigger="refresh" hx-select="#live" hx-swap="outerMorph" {
            (page.body)
        }
    }
}

/// That alone, for a page that is open.
pub(crate) fn part(cx: &Context<'_>, page: &Page) -> Markup {
    html! { title { (title(page)) } (live(cx, page)) }
}

fn title(page: &Page) -> String {
    if page.is_public { page.title.clone() } else { format!("{} · Nightbell", page.title) }
}

/// One press that takes back what was done last, where that is possible.
fn undo(cx: &Context<'_>) -> Markup {
    let done = cx.visit.query.get("said").and_then(crate::act::named);
    let inverse = done.and_then(crate::act::Act::inverse);
    html! {
        @if let (Some(inverse), Some(id)) = (inverse, cx.visit.query.get("of")) {
            (piece::act(cx, inverse.need, inverse.name, id, &format!("Undo: {}", inverse.label)))
        }
    }
}

fn foot(cx: &Context<'_>, page: &Page) -> Markup {
    let zone = cx.clock.zone_name();
    html! {
        footer {
            ul.same {
                @if let Some(json) = &page.json { li { a href=(json) { "As JSON" } } }
                @if let Some(command) = command(page) {
                    li { details { summary { "As command" } code { (command) } } }
                }
                @if let Some(file) = &page.file { li { a href=(file) download { "As a file" } } }
                li { a href=(cx.visit.address) data-copy="" { "Copy link" } }
                li { a href="/console/help" { "Help" } }
            }
            p {
                "Times in " (zone) " · " a href="/console/zone" { "change" }
                @match (&cx.visit.visitor.name, &cx.visit.called) {
                    (Some(name), _) => { " · " (name) }
                    (None, Some(name)) => { " · called " (name) " · " a href="/console/name" { "change" } }
                    (None, None) => { " · " a href="/console/name" { "say who you are" } }
                }
                @if cx.settings.has_accounts && cx.visit.visitor.name.is_some() {
                    " · " a href="/console/login" { "sign in as somebody else" }
                }
                @if cx.settings.read_only { " · read-only" }
                " · Nightbell " (cx.settings.version)
            }
            @if cx.settings.has_accounts && cx.visit.visitor.name.is_some() {
                form.act method="post" action="/console/logout" {
                    button { "Sign out" }
                    button name="everywhere" value="1" { "Sign out everywhere" }
                }
            }
        }
    }
}

/// The command that shows the same: where the command line has none of its own, what asks the API.
fn command(page: &Page) -> Option<String> {
    let asked = || Some(format!("curl \"$NIGHTBELL_URL{}\"", page.json.as_deref()?));
    page.command.clone().or_else(asked)
}

/// The navigation under a thumb, on narrow screens.
fn bar(page: &Page) -> Markup {
    let (near, far) = PLACES.split_at(3);
    let is_far = far.iter().any(|(place, ..)| *place == page.place);
    html! {
        nav.bar aria-label="Places, below" {
            @for (place, name, href, _) in near {
                a href=(href) aria-current=[here(page, *place)] { (name) }
            }
            details {
                summary class=[is_far.then_some("here")] { "More" }
                ul {
                    @for (place, name, href, _) in far {
                        li { a href=(href) aria-current=[here(page, *place)] { (name) } }
                    }
                    li { a href="/console/silences" { "Silences" } }
                    li { a href="/console/deliveries" { "Deliveries" } }
                }
            }
        }
    }
}

/// The sentence of a page whose part cannot be shown.
pub(crate) fn cannot_tell(why: &str) -> Markup {
    piece::note("cannot", html! { "Cannot tell: " (why) })
}
