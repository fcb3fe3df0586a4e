//! Where clients put their credentials: the same key, or a token, in any of these places.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const OWN: HeaderName = HeaderName::from_static("x-authorization");
/// Of the clients of Durable Functions.
const FUNCTIONS: HeaderName = HeaderName::from_static("x-functions-key");
/// The headers that may hold a key.
pub(super) const HEADERS: [HeaderName; 3] = [OWN, header::AUTHORIZATION, FUNCTIONS];
/// Longest credential that is looked at, in bytes; tokens have about 200.
const LENGTH_MAX: usize = 4096;

/// The credential of a request; `query` is the parameter that may hold one, and the query string.
pub(super) fn of<'a>(
    headers: &'a HeaderMap,
    query: Option<(&str, &'a str)>,
) -> Option<Cow<'a, str>> {
    let text = |name: &HeaderName| {
        let text = headers.get(name)?.to_str().ok()?.trim();
        (!text.is_empty() && text.len() <= LENGTH_MAX).then_some(text)
    };
    let own = || text(&OWN).map(|text| Cow::Borrowed(bearer(text).unwrap_or(text)));
    let standard = || {
        let text = text(&header::AUTHORIZATION)?;
        match bearer(text) {
            Some(token) => Some(Cow::Borrowed(token)),
            None => basic(text).map(Cow::Owned),
        }
    };
    let functions = || text(&FUNCTIONS).map(Cow::Borrowed);
    own().or_else(standard).or_else(functions).or_else(|| {
        let (parameter, query) = query?;
        in_query(parameter, query)
    })
}

/// Whether a request has a header with a credential that browsers add to no request by themselves, and that
/// no page of another site can add. A password that a browser remembers (`Basic`) is none.
pub(crate) fn is_by_program(headers: &HeaderMap) -> bool {
    let standard = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    headers.contains_key(OWN)
        || headers.contains_key(FUNCTIONS)
        || standard.is_some_and(|text| bearer(text.trim()).is_some())
}

fn bearer(text: &str) -> Option<&str> {
    after("bearer ", text)
}

fn after<'a>(scheme: &str, text: &'a str) -> Option<&'a str> {
    let begin = text.get(..scheme.len())?;
    begin.eq_ignore_ascii_case(scheme).then(|| text[scheme.len()..].trim())
}

/// The password; the user's name does not matter.
fn basic(text: &str) -> Option<String> {
    let decoded = STANDARD.decode(after("basic ", text)?).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    decoded.split_once(':').map(|(_, password)| password.trim().to_owned())
}

/// A key has no characters that an address would encode.
fn in_query<'a>(parameter: &str, query: &'a str) -> Option<Cow<'a, str>> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, value)| {
        name.eq_ignore_ascii_case(parameter) && !value.is_empty() && value.len() <= LENGTH_MAX
    })?;
    Some(Cow::Borrowed(value))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{is_by_program, of};

    fn given(pairs: &[(&'static str, &str)], query: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_str(value).expect("a header"));
        }
        of(&headers, query.map(|query| ("code", query))).map(std::borrow::Cow::into_owned)
    }

    #[test]
    fn one_key_in_every_place() {
        let basic = "Basic YW55Ym9keTpLRVk=";
        for pairs in [
            [("authorization", "Bearer KEY")],
            [("authorization", "bearer  KEY")],
            [("x-authorization", "KEY")],
            [("x-authorization", "Bearer KEY")],
            [("x-functions-key", "KEY")],
            [("authorization", basic)],
        ] {
            assert_eq!(given(&pairs, None).as_deref(), Some("KEY"), "{pairs:?}");
        }
        assert_eq!(given(&[], Some("a=b&Code=KEY&c=d")).as_deref(), Some("KEY"));
    }

    #[test]
    fn what_browsers_send_by_themselves_shows_no_program() {
        let shows = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            is_by_program(&headers)
        };
        assert!(shows("authorization", "bearer KEY") && shows("x-authorization", "KEY"));
        assert!(!shows("authorization", "Basic YW55Ym9keTpLRVk=") && !shows("cookie", "a=b"));
    }

    #[test]
    fn what_is_no_credential_is_none() {
        for value in ["", "Bearer", "Basic", "Basic !", "Basic S0VZ", "Digest x", "Bearerx", "é"] {
            assert_eq!(given(&[("authorization", value)], None), None, "{value}");
        }
        assert_eq!(given(&[("authorization", &"x".repeat(5000))], Some("code=")), None);
    }
}
