//! The last page of a login for a program on the reader's machine: which program asks, and one button that lets it.

use maud::html;

use super::Page;
use crate::shell::Place;

/// Who would be acted as, and by whom.
#[derive(Debug)]
pub enum Allowing {
    /// A program asks.
    Asked {
        /// The user who has signed in.
        name: String,
        /// The port of this machine where it waits.
        port: u16,
        /// Where the form goes.
        action: &'static str,
        /// What proves that the form is of this page.
        proof: String,
    },
    /// It was allowed, and is told at this address.
    Done {
        /// On the reader's machine.
        address: String,
    },
}

/// The page.
pub(crate) fn page(allowing: &Allowing) -> Page {
    let (title, body) = match allowing {
        Allowing::Asked { name, port, action, proof } => {
            let body = html! {
                p { "A program on this computer, which waits at port " (port) ", wants to act as "
                    b { (name) } " on this server." }
                p { "If you have just run " code { "nightbell login --sso" } ", allow it. If you have not, "
                    "close this page: nothing was given away." }
                form.big method="post" action=(action) {
                    input type="hidden" name="proof" value=(proof);
                    button.main { "Allow" }
                }
            };
            ("Sign in a program", body)
        }
        Allowing::Done { address } => {
            ("Allowed", html! { p { a href=(address) { "Go on to the program" } } })
        }
    };
    let mut page = Page::new(Place::Nowhere, title.to_owned(), body);
    (page.is_public, page.is_private) = (true, true);
    page
}
