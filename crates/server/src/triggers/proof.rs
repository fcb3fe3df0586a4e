//! Who may call a trigger: whoever has a key, a name with a password, or the secret that requests are signed
//! with; or anybody.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::Engine;

use crate::hooks::{Demand, Doubt, Signed, Verifier, equal, reveal, verify};
use crate::problem::Problem;

/// How a caller proves that it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    /// With a key, a token or a session, as everywhere.
    Key,
    /// Not at all.
    None,
    /// With a name and a password.
    Basic {
        /// The name.
        user: String,
        /// The reference to the password.
        secret: String,
    },
    /// With a signature of the body.
    Signature {
        /// How it is made.
        verifier: Verifier,
        /// The reference to its secret.
        secret: String,
        /// The header that bears it; empty = the usual one.
        header: String,
    },
}

impl Auth {
    /// The header in which the proof is, which is nothing for the workflow.
    pub(super) fn header(&self) -> Option<HeaderName> {
        match self {
            Self::Key | Self::None => None,
            Self::Basic { .. } => Some(header::AUTHORIZATION),
            Self::Signature { verifier, header, .. } => {
                let name = if header.is_empty() { verifier.header() } else { header.as_str() };
                name.parse().ok()
            }
        }
    }

    /// Checks a name and a password.
    ///
    /// # Errors
    /// They are missing or wrong, or the trigger's secret is not there.
    pub(super) fn check_basic(&self, engine: &Engine, headers: &HeaderMap) -> Result<(), Refused> {
        let Self::Basic { user, secret } = self else { return Ok(()) };
        let expected = reveal(engine, secret).ok_or_else(|| no_secret(secret))?;
        let given = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        let given = given.and_then(decoded).ok_or(Refused::Unproved)?;
        let expected = format!("{user}:{expected}");
        if equal(given.as_bytes(), expected.as_bytes()) { Ok(()) } else { Err(Refused::Wrong) }
    }

    /// Checks a signature of the body.
    ///
    /// # Errors
    /// It is missing or wrong, or the trigger's secret is not there.
    pub(super) fn check_signature(
        &self,
        engine: &Engine,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), Refused> {
        let Self::Signature { verifier, secret, header } = self else { return Ok(()) };
        let expected = reveal(engine, secret).ok_or_else(|| no_secret(secret))?;
        let demand = Demand { verifier: *verifier, secret: &expected, header, headers: Vec::new() };
        let now = engine.now().millis().div_euclid(1000);
        verify(&demand, &Signed { headers, body, now }).map_err(|doubt| match doubt {
            Doubt::Unproven(why) => {
                let problem = Problem::new(StatusCode::UNAUTHORIZED, "unverified", why);
                Refused::Unsigned(
                    problem.with_hint("Sign the body as the trigger's 'verifier' says."),
                )
            }
            Doubt::Wrong(why) => {
                let problem = Problem::new(StatusCode::FORBIDDEN, "unverified", why);
                Refused::Unsigned(
                    problem.with_hint("Compare the secret, and sign the bytes that are sent."),
                )
            }
            Doubt::Unusable(why) => {
                tracing::warn!(why, "a trigger cannot verify its callers");
                Refused::Unusable
            }
        })
    }
}

/// Why a caller may not.
#[derive(Debug)]
pub(super) enum Refused {
    /// There is no name with a password.
    Unproved,
    /// They do not belong together.
    Wrong,
    /// The signature does not count.
    Unsigned(Problem),
    /// The trigger cannot tell.
    Unusable,
}

impl Refused {
    /// Whether somebody may be guessing.
    pub(super) fn is_guess(&self) -> bool {
        matches!(self, Self::Wrong)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        const ASKED_FOR: HeaderValue = HeaderValue::from_static("Basic realm=\"trigger\"");
        let message = match self {
            Self::Unsigned(problem) => return problem.into_response(),
            Self::Unusable => {
                let message = "the trigger cannot verify its callers: see the server's log";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return Problem::new(status, "trigger-unusable", message).into_response();
            }
            Self::Unproved => "this trigger needs a name and a password",
            Self::Wrong => "the name and the password are not those of the trigger",
        };
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "unverified", message)
            .with_hint("Send them as 'Authorization: Basic', as curl does with --user.");
        let mut response = problem.into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, ASKED_FOR);
        response
    }
}

fn no_secret(reference: &str) -> Refused {
    tracing::warn!(reference, "a trigger cannot verify its callers: there is no such secret");
    Refused::Unusable
}

/// `NAME:PASSWORD` of a header.
fn decoded(value: &str) -> Option<String> {
    let (scheme, code) = value.trim().split_once(' ')?;
    let code = Some(code.trim()).filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    String::from_utf8(STANDARD.decode(code).ok()?).ok()
}
