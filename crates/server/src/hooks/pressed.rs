//! What Slack, Lark and Twilio tell of somebody who answered a message: a button pressed in a chat, a key
//! pressed on a phone.
//!
//! The request is believed by its signature, what it answers by the token that the message held. A
//! recorded request that comes again is refused by its age (Slack), and changes nothing in any case, as
//! each message counts once.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as AsJson;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use engine::{AckError, Acked, Engine};
use serde_json::{Value, json};

use super::answering;
use super::provider::words;
use super::receive::{doubted, form};
use super::verify::{self, Demand, Doubt, Request, Verifier};
use crate::problem::Problem;
use crate::rest::extract::parse;

/// The button of ours, among those that an app may have.
const BUTTON: &str = "nightbell_ack";
/// Slack and Lark wait for three seconds, and then tell who pressed that it failed.
const PATIENCE: Duration = Duration::from_millis(2500);

/// A button pressed in Slack: `block_actions`, signed by the app's signing secret.
///
/// # Errors
/// The sender is not Slack, or the body none of Slack's.
pub(super) async fn slack(
    engine: &Engine,
    request: &Request<'_>,
    secrets: &[String],
) -> Result<Response, Problem> {
    let verified = secrets.iter().map(|secret| {
        let demand =
            Demand { verifier: Verifier::SlackBased, secret, header: "", headers: Vec::new() };
        verify::verify(&demand, request)
    });
    let doubt = || Err(Doubt::Unusable("there is no webhook_secret".to_owned()));
    verified.reduce(Result::or).unwrap_or_else(doubt).map_err(doubted)?;
    let form = form(request.body)?;
    let Some((_, payload)) = form.iter().find(|(name, _)| name == "payload") else {
        return Err(Problem::bad_request("there is no payload")
            .with_hint("Only the requests of interactivity are understood here."));
    };
    let payload: Value = parse(payload.as_bytes())?;
    let actions = payload["actions"].as_array().into_iter().flatten();
    let pressed =
        actions.filter(|it| it["action_id"] == BUTTON).find_map(|it| it["value"].as_str());
    let Some(token) = pressed.filter(|_| payload["type"] == "block_actions") else {
        let why = "only the button that acknowledges does something here";
        return Ok(AsJson(json!({ "taken": false, "why": why })).into_response());
    };
    let user = &payload["user"];
    let who = [&user["name"], &user["username"], &user["id"]].into_iter().find_map(words);
    Ok(AsJson(acknowledged(engine, token, who).await?).into_response())
}

/// What came of a token, within the time for which a chat waits.
async fn acknowledged(engine: &Engine, token: &str, who: Option<String>) -> Result<Value, Problem> {
    let (engine, token) = (engine.clone(), token.to_owned());
    let who = who.map(Arc::from);
    // It is done whether or not somebody waits for it.
    let acting = tokio::spawn(async move { engine.acknowledge_by_token(&token, who).await });
    match tokio::time::timeout(PATIENCE, acting).await {
        Ok(Ok(acked)) => shown(acked),
        Ok(Err(failed)) => {
            let message = format!("it was not done: {failed}");
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
        }
        Err(_) => Ok(json!({ "taken": null, "why": "it takes longer, and goes on" })),
    }
}

/// A button pressed in a card of Lark's or Feishu's: `card.action.trigger`, with the app's verification
/// token; or the question whether this address is ours. The answer is shown to whoever pressed.
///
/// # Errors
/// The sender is not Lark, or the body none of Lark's.
pub(super) async fn lark(
    engine: &Engine,
    body: &[u8],
    secrets: &[String],
) -> Result<Response, Problem> {
    let payload: Value = parse(body)?;
    if payload.get("encrypt").is_some() {
        let why = "the payload is encrypted, which is not understood here";
        return Err(Problem::bad_request(why)
            .with_hint("Leave the Encrypt Key of the app empty: the connection is encrypted."));
    }
    // The older form, in which addresses are still verified, has it at the top.
    let given =
        [&payload["header"]["token"], &payload["token"]].into_iter().find_map(Value::as_str);
    let given =
        given.ok_or_else(|| doubted(Doubt::Unproven("the payload has no token".to_owned())))?;
    verify::within(given, secrets).map_err(doubted)?;
    if payload["type"] == "url_verification" {
        let challenge = &payload["challenge"];
        return Ok(AsJson(json!({ "challenge": challenge })).into_response());
    }
    let event = &payload["event"];
    let pressed = event["action"]["value"][BUTTON].as_str();
    let is_press = payload["header"]["event_type"] == "card.action.trigger";
    let Some(token) = pressed.filter(|_| is_press) else {
        let why = "only the button that acknowledges does something here";
        return Ok(AsJson(toast("info", why)).into_response());
    };
    let person = &event["operator"];
    let who = [&person["user_id"], &person["open_id"], &person["union_id"]];
    let told = acknowledged(engine, token, who.into_iter().find_map(words)).await?;
    let (kind, says) = match (&told["taken"], told["why"].as_str()) {
        (Value::Bool(true), _) => ("success", "Acknowledged."),
        (_, Some(why)) => ("warning", why),
        _ => ("warning", "Nothing is left to acknowledge."),
    };
    Ok(AsJson(toast(kind, says)).into_response())
}

/// What Lark shows for a moment.
fn toast(kind: &str, says: &str) -> Value {
    json!({ "toast": { "type": kind, "content": says } })
}

/// What came of a token. One that belongs to no message is no failure of the sender's.
fn shown(acked: Result<Acked, AckError>) -> Result<Value, Problem> {
    match acked {
        Ok(acked) => Ok(answering::told(&acked)),
        Err(error @ AckError::Engine(_)) => Err(answering::problem(error)),
        Err(error) => Ok(json!({ "taken": false, "why": error.to_string() })),
    }
}

/// A key pressed during a call of Twilio's: the answer is what the phone says then.
///
/// # Errors
/// The sender is not Twilio, or this server does not know its own address.
pub(super) async fn twilio(
    engine: &Engine,
    request: &Request<'_>,
    secrets: &[String],
    public_url: Option<&str>,
    uri: &Uri,
) -> Result<Response, Problem> {
    let Some(public_url) = public_url else {
        let why = "public_url is not set, by which Twilio signs".to_owned();
        return Err(doubted(Doubt::Unusable(why)));
    };
    let path = uri.path_and_query().map_or("", axum::http::uri::PathAndQuery::as_str);
    let url = format!("{}{path}", public_url.trim_end_matches('/'));
    let form = form(request.body)?;
    verify::twilio(request, &url, &form, secrets).map_err(doubted)?;
    let digits = form.iter().find(|(name, _)| name == "Digits").map(|(_, digits)| digits.as_str());
    if digits != Some("1") {
        return Ok(says("That key does nothing. It stays open."));
    }
    let mut query = uri.query().unwrap_or_default().split('&');
    let token = query.find_map(|pair| pair.strip_prefix("ack=")).unwrap_or_default();
    Ok(match engine.acknowledge_by_token(token, None).await {
        Ok(acked) if acked.taken > 0 => says("Acknowledged. Thank you."),
        Ok(_) => says("Nothing is left to acknowledge."),
        Err(AckError::Engine(error)) => {
            tracing::error!(%error, "key pressed during a phone call could not be processed");
            says("It could not be acknowledged, as the server has a problem. It stays open.")
        }
        Err(AckError::Unknown | AckError::Expired) => {
            says("This call cannot be answered any more.")
        }
    })
}

/// A sentence of ours, as `TwiML`.
fn says(sentence: &str) -> Response {
    let text = format!("<Response><Say>{sentence}</Say></Response>");
    ([(header::CONTENT_TYPE, "text/xml")], text).into_response()
}
