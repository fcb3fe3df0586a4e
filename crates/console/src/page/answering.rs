//! The page that a message leads to: what it told, and one button that acknowledges it.

use http::StatusCode;
use kernel::Timestamp;
use maud::html;

use super::Page;
use crate::shell::Place;
use crate::value::cut;
use crate::{Context, piece};

/// What there is to say to whoever came by a message.
#[derive(Debug)]
pub enum Answering {
    /// It can be acknowledged.
    Asked {
        /// What it told, in a line.
        title: String,
        /// When it was sent.
        sent_at: Timestamp,
        /// How many incidents it told of.
        count: usize,
    },
    /// It was acknowledged, as far as that changed anything.
    Done {
        /// What it told, in a line.
        title: String,
        /// How many incidents are acknowledged by this.
        taken: usize,
        /// Why others are not.
        why: Option<String>,
    },
    /// It cannot be.
    Refused {
        /// The status of HTTP.
        status: StatusCode,
        /// Why.
        why: String,
    },
}

/// The page. It says no more than the message did.
pub(crate) fn page(cx: &Context<'_>, answering: &Answering) -> Page {
    let (status, title, body) = match answering {
        Answering::Asked { title, sent_at, count } => {
            let body = html! {
                p.faint {
                    "Sent " (cx.clock.when(*sent_at))
                    @if *count > 1 { ", about " (count) " incidents" }
                }
                form.big method="post" { button.main { "Acknowledge" } }
            };
            (StatusCode::OK, title, body)
        }
        Answering::Done { title, taken, why } => {
            let body = html! {
                @if *taken > 0 { p.said role="status" { "Acknowledged. Reminders and further steps stop." } }
                @if let Some(why) = why { (piece::note("warn", html! { (why) })) }
            };
            (StatusCode::OK, title, body)
        }
        Answering::Refused { status, why } => {
            let body = piece::note("cannot", html! { "Nothing was acknowledged: " (why) });
            (*status, why, body)
        }
    };
    let title = match answering {
        Answering::Refused { .. } => "Acknowledge".to_owned(),
        _ => cut(title, 250),
    };
    let mut page = Page::new(Place::Nowhere, title, body);
    (page.is_public, page.is_private, page.status) = (true, true, status);
    page
}
