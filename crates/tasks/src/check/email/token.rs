//! Tokens that expire: a fresh one for each look, by OAuth 2 (RFC 6749 §6).

use serde_json::Value;

use super::super::order::Order;
use super::super::rest::{Question, json_of, quoted};
use super::super::{Means, Trouble, unknown};

/// Where Google gives out tokens.
const GOOGLE: &str = "https://oauth2.googleapis.com/token";

/// A token for `refresh_token`, `client_id` and `client_secret` from `token_url`; none if there is
/// no `refresh_token`, or a `token` as it is.
///
/// # Errors
/// The server refuses, is away, or answers rubbish.
pub(super) async fn fetched(order: &Order, means: &Means) -> Result<Option<String>, Trouble> {
    let settings = &order.settings;
    let Some(refresh) = settings.text("refresh_token")? else { return Ok(None) };
    if settings.text("token")?.is_some() {
        return Ok(None);
    }
    let mut form = vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", refresh)];
    for name in ["client_id", "client_secret"] {
        form.extend(settings.text(name)?.map(|value| (name, value)));
    }
    let url = settings.text("token_url")?.unwrap_or_else(|| GOOGLE.to_owned());
    // Not the credentials of the mailbox: they are nobody else's business.
    let question = Question::bare("POST", url)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(encoded(&form));
    let response = question.answer(&means.clients.of(order)?, order.patience).await?;
    let body = json_of(&response, "the token's URL")?;
    match body.get("access_token").and_then(Value::as_str) {
        Some(token) if !token.is_empty() => Ok(Some(token.to_owned())),
        _ => {
            let names: Vec<&str> =
                body.as_object().into_iter().flatten().map(|it| &**it.0).collect();
            let names = quoted(&names.join(", "));
            Err(unknown(format!("the token's URL answered without an access_token, but {names}")))
        }
    }
}

/// A form as the body of a request.
fn encoded(form: &[(&str, String)]) -> String {
    let mut url = reqwest::Url::parse("form:x").expect("it is a URL");
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}
