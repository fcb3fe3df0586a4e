//! Refusals: what is told to whoever is not let in, in the words of its protocol.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kernel::access::{Need, Permissions, Principal, Role};

use crate::guard;
use crate::problem::Problem;

pub(super) fn stale() -> Problem {
    let message = "this needs a proof of who you are that is not older than 12 hours";
    Problem::new(StatusCode::UNAUTHORIZED, "proof-too-old", message).with_hint(
        "Sign in again in another window, then go back and send it again: what you wrote is still there.",
    )
}

/// The codes of refusals, which clients know in capitals.
pub(crate) const INVALID: &str = "invalid-token";
pub(crate) const EXPIRED: &str = "expired-token";

pub(super) const HINT: &str = "Send a key as 'Authorization: Bearer KEY' or 'X-Authorization: KEY', or as the \
    password of Basic; SDKs take its id and secret. The command line takes it from NIGHTBELL_KEY. An \
    administrator makes one with `nightbell key create`.";
pub(super) const GRPC_HINT: &str = "Send a key in the metadata of each call, as 'authorization: Bearer KEY'. Azure-managed \
    packages send the token of their credential there: in place of token_credential=None or \
    Authentication=None, pass a credential whose token is the key. docs/security.md has the lines for each \
    SDK, under 'Durable Task SDKs'.";

pub(super) fn unauthenticated(hint: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, INVALID, "this needs a key or a token").with_hint(hint)
}

pub(super) fn invalid(message: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, INVALID, message)
        .with_hint("Check the key, or ask an administrator for another one.")
}

pub(super) fn expired(message: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, EXPIRED, message).with_hint(
        "Ask for another token with POST /api/token; for another key, ask an administrator.",
    )
}

pub(super) fn forbidden(who: Option<&Principal>, need: Need, what: &str) -> Problem {
    let name = who.map_or("anonymous", |who| &*who.name);
    let roles = who.into_iter().flat_map(Principal::roles).map(|role| role.to_string());
    let grants = who.into_iter().flat_map(Principal::grants);
    let granted = grants.take(GRANTS_SHOWN).map(ToString::to_string);
    let mut has: Vec<String> = Vec::new();
    for it in roles.chain(granted) {
        if !has.contains(&it) {
            has.push(it);
        }
    }
    let whole = match need {
        Need::OneOf(_) if who.is_some_and(|who| who.grants().next().is_some()) => " on everything",
        _ => "",
    };
    let message = format!(
        "'{name}' ({}) may not do this: {what} needs the permission {need}{whole}",
        has.join(", ")
    );
    let needed = need.permissions();
    let grants = Role::ALL
        .into_iter()
        .filter(|role| needed == Permissions::NONE || role.permissions().meets(needed));
    let grants: Vec<&str> = grants.map(Role::as_str).collect();
    Problem::new(StatusCode::FORBIDDEN, "forbidden", message).with_hint(format!(
        "Use a key, or sign in as a user, with one of the roles {}.",
        grants.join(", ")
    ))
}

/// Narrowed roles that a refusal names.
const GRANTS_SHOWN: usize = 5;

/// A refusal as the client understands it: gRPC has statuses of its own.
pub(super) fn in_the_words_of(headers: &HeaderMap, refused: Problem) -> Response {
    const ASKED_FOR: HeaderValue = HeaderValue::from_static("Bearer realm=\"nightbell\"");
    if guard::is_grpc(headers) {
        let hint = refused.hint.unwrap_or_default();
        let message = format!("{}. {hint}", refused.message);
        return match refused.status {
            StatusCode::UNAUTHORIZED => tonic::Status::unauthenticated(message),
            StatusCode::SERVICE_UNAVAILABLE => tonic::Status::unavailable(message),
            StatusCode::TOO_MANY_REQUESTS => tonic::Status::resource_exhausted(message),
            _ => tonic::Status::permission_denied(message),
        }
        .into_http();
    }
    let is_unknown = refused.status == StatusCode::UNAUTHORIZED;
    let mut response = refused.into_response();
    if is_unknown {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, ASKED_FOR);
    }
    response
}
