//! Whether a program may sign in as whoever has come back from the provider: a page asks, and only its button
//! hands the code to the program.
//!
//! Without it any page of the web could lead a browser through a login that the provider answers by itself, and
//! any program that waits at a port of the reader's machine would have a code.

#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;
use console::{Allowing, Pairs, Visit, Visitor};
use engine::{AccessError, Proved};
use kernel::access::Principal;
use serde::{Deserialize, Serialize};

use super::session::{Way, cookie_for, cookie_named};
use super::sso::{
    BEGIN, COOKIE, Sso, Terminal, ended, opened, over, proof_of, sealed, sso_of, unknown,
};
use crate::Shared;
use crate::problem::Problem;
use crate::rest::extract::RawBody;

/// Where the button leads, below the path for which the cookie counts.
const ALLOW: &str = "/console/sso/allow";
/// How long the page may be looked at.
const LIFETIME_SECONDS: i64 = 300;
/// Bytes of a form.
const FORM_MAX: usize = 1024;

/// Somebody who is asked; in the cookie of their browser.
#[derive(Serialize, Deserialize)]
struct Consent {
    /// Which the form has to know.
    secret: String,
    /// When it ends, in seconds since 1970.
    until: i64,
    who: Arc<str>,
    generation: u64,
    terminal: Terminal,
}

/// Asks somebody whether a program may sign in as them.
pub(super) fn ask(
    shared: &Shared,
    sso: &Sso,
    who: &Principal,
    terminal: &Terminal,
    way: &Way,
    headers: &HeaderMap,
) -> Response {
    let consent = Consent {
        secret: super::session::random(),
        until: shared.authorizer.engine.now().millis() / 1000 + LIFETIME_SECONDS,
        who: who.id.clone(),
        generation: who.generation,
        terminal: terminal.clone(),
    };
    let asked = Allowing::Asked {
        name: who.name.to_string(),
        port: terminal.port,
        action: ALLOW,
        proof: proof_of(&consent.secret, "consent"),
    };
    let age = format!("; Max-Age={LIFETIME_SECONDS}");
    let text = sealed(&consent, &sso.key);
    let cookie = cookie_for(COOKIE, &text, BEGIN, way.is_secure(), &age);
    let mut response = page(shared, headers, &asked);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

/// Lets the program sign in that the page before has told of.
#[utoipa::path(
    operation_id = "sso_allow",
    post, path = "/console/sso/allow", tag = "console",
    responses(
        (status = 200, description = "A page that leads to the program"),
        (status = 303, description = "To the login page: the page before was of another browser, or more than \
            five minutes ago"),
        (status = 404, description = "Nobody signs in by a provider here"),
    )
)]
pub(super) async fn allow(
    State(shared): State<Shared>,
    way: Way,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    let authorizer = &shared.authorizer;
    let (sso, is_secure) = (sso_of(authorizer)?, way.is_secure());
    let now = authorizer.engine.now();
    let consent = cookie_named(&headers, COOKIE);
    let consent = consent.and_then(|text| opened::<Consent>(text, &sso.key));
    let form = std::str::from_utf8(&body).ok().filter(|_| body.len() <= FORM_MAX);
    let pairs = form.map(Pairs::parse);
    let proof = pairs.as_ref().and_then(|it| it.get("proof")).unwrap_or_default();
    // The proof follows from a secret of that browser; what differs tells nobody anything.
    let consent = consent
        .filter(|it| now.millis() / 1000 < it.until && proof_of(&it.secret, "consent") == proof);
    let Some(consent) = consent else { return Ok(ended(None, &unknown(), is_secure)) };
    let standing = authorizer.engine.access().standing(&consent.who, consent.generation, now);
    let Proved::Known(who) = standing else { return Ok(ended(None, &unknown(), is_secure)) };
    let terminal = &consent.terminal;
    let Some(code) = sso.codes.give(&who, &terminal.challenge, Instant::now()) else {
        return Ok(ended(None, &AccessError::Busy.into(), is_secure));
    };
    let address = terminal.address("code", &code);
    // Browsers hold a form's redirect to another origin back, but follow what a page says.
    let refresh = HeaderValue::from_str(&format!("0; url={address}"));
    let mut response = page(&shared, &headers, &Allowing::Done { address });
    let answered = response.headers_mut();
    answered.append(header::SET_COOKIE, over(is_secure));
    answered.extend(refresh.ok().map(|refresh| (header::REFRESH, refresh)));
    Ok(response)
}

fn page(shared: &Shared, headers: &HeaderMap, allowing: &Allowing) -> Response {
    let visit = Visit::new(Method::GET, BEGIN, None, "", Visitor::default());
    shared.console.allowing(&visit, allowing).into_response(headers).map(Body::from)
}
