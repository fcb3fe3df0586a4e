//! Who sent a payload: the ways in which providers prove it. Every comparison of what a sender says
//! with what it should say takes the same time wherever the two differ.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{hmac, signature};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a payload is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Verifier {
    /// Headers with fixed values.
    HeaderBased,
    /// `sha256=` and the hexadecimal HMAC of the body: GitHub.
    SignatureBased,
    /// The HMAC of the body in base64, the key in base64: Microsoft Teams.
    HmacBased,
    /// Slack's signature of time and body.
    SlackBased,
    /// Stripe's signature of time and body.
    Stripe,
    /// `sha256=` and the HMAC of the body in base64: Twitter.
    Twitter,
    /// An ECDSA signature of time and body, with the public key as the secret: Twilio's mail.
    Sendgrid,
}

impl Verifier {
    pub(crate) const NAMES: &'static str = "HEADER_BASED, SIGNATURE_BASED, HMAC_BASED, \
        SLACK_BASED, STRIPE, TWITTER and SENDGRID";

    /// Whether it needs a secret.
    pub(crate) fn needs_secret(self) -> bool {
        self != Self::HeaderBased
    }

    /// The header that bears the signature, unless the webhook names another.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::HeaderBased => "",
            Self::SignatureBased => "X-Hub-Signature-256",
            Self::HmacBased => "Authorization",
            Self::SlackBased => "X-Slack-Signature",
            Self::Stripe => "Stripe-Signature",
            Self::Twitter => "X-Twitter-Webhooks-Signature",
            Self::Sendgrid => "X-Twilio-Email-Event-Webhook-Signature",
        }
    }

    /// The header whose time is signed together with the body.
    pub(super) fn time_header(self) -> Option<&'static str> {
        match self {
            Self::SlackBased => Some(SLACK_TIME),
            Self::Sendgrid => Some(SENDGRID_TIME),
            _ => None,
        }
    }
}

const SLACK_TIME: &str = "X-Slack-Request-Timestamp";
const SENDGRID_TIME: &str = "X-Twilio-Email-Event-Webhook-Timestamp";

/// Seconds by which the time in a signature may differ from ours: replays later are refused.
const TOLERANCE_SECONDS: i64 = 300;

/// What a webhook asks of its senders.
pub(crate) struct Demand<'a> {
    pub(crate) verifier: Verifier,
    pub(crate) secret: &'a str,
    /// The header that bears the signature; empty = the provider's usual one.
    pub(crate) header: &'a str,
    /// Headers with fixed values.
    pub(crate) headers: Vec<(&'a str, &'a str)>,
}

/// What came.
pub(crate) struct Request<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// Now, in seconds since 1970.
    pub(crate) now: i64,
}

/// Why a sender is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It gave no proof, or none that can be read.
    Unproven(String),
    /// Its proof is wrong.
    Wrong(String),
    /// The webhook itself cannot tell.
    Unusable(String),
}

/// Whether the sender is who the webhook expects.
pub(crate) fn verify(demand: &Demand<'_>, request: &Request<'_>) -> Result<(), Doubt> {
    if demand.verifier == Verifier::HeaderBased {
        return fixed_headers(demand, request);
    }
    let header = if demand.header.is_empty() { demand.verifier.header() } else { demand.header };
    let given = only(request.headers, header)?;
    let wrong = || Doubt::Wrong(format!("the signature in the header {header} is wrong"));
    let (secret, body) = (demand.secret.as_bytes(), request.body);
    match demand.verifier {
        Verifier::HeaderBased => Ok(()),
        Verifier::SignatureBased => {
            let hex = given.strip_prefix("sha256=").unwrap_or(given);
            let given = hex_bytes(hex).ok_or_else(wrong)?;
            matches(secret, &[body], &given).then_some(()).ok_or_else(wrong)
        }
        Verifier::HmacBased => {
            let key = BASE64.decode(demand.secret.trim()).map_err(|_| {
                Doubt::Unusable("the webhook's secretValue is not base64".to_owned())
            })?;
            let code = given.strip_prefix("HMAC ").unwrap_or(given);
            let given = BASE64.decode(code.trim()).map_err(|_| wrong())?;
            matches(&key, &[body], &given).then_some(()).ok_or_else(wrong)
        }
        Verifier::Twitter => {
            let code = given.strip_prefix("sha256=").unwrap_or(given);
            let given = BASE64.decode(code).map_err(|_| wrong())?;
            matches(secret, &[body], &given).then_some(()).ok_or_else(wrong)
        }
        Verifier::SlackBased => {
            let at = only(request.headers, SLACK_TIME)?;
            in_time(at, request.now)?;
            let hex = given.strip_prefix("v0=").ok_or_else(wrong)?;
            let given = hex_bytes(hex).ok_or_else(wrong)?;
            let parts: [&[u8]; 4] = [b"v0:", at.as_bytes(), b":", body];
            matches(secret, &parts, &given).then_some(()).ok_or_else(wrong)
        }
        Verifier::Stripe => {
            stripe(given, secret, request).and_then(|fits| fits.then_some(()).ok_or_else(wrong))
        }
        Verifier::Sendgrid => {
            let at = only(request.headers, SENDGRID_TIME)?;
            in_time(at, request.now)?;
            let key = public_key(demand.secret)?;
            let given = BASE64.decode(given).map_err(|_| wrong())?;
            let message = [at.as_bytes(), body].concat();
            let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, key);
            key.verify(&message, &given).map_err(|_| wrong())
        }
    }
}

/// `PagerDuty`'s signatures of a body: `v1=SIGNATURE,v1=…`, one for each secret that it has for us
/// at the moment. One of them must be made with one of ours.
pub(crate) fn pagerduty(request: &Request<'_>, secrets: &[String]) -> Result<(), Doubt> {
    const HEADER: &str = "X-PagerDuty-Signature";
    let given = only(request.headers, HEADER)?;
    let codes = given.split(',').filter_map(|code| code.trim().strip_prefix("v1="));
    let codes: Vec<Vec<u8>> = codes.take(SIGNATURES_MAX).filter_map(hex_bytes).collect();
    let mut fits = false;
    for secret in secrets {
        for code in &codes {
            fits |= matches(secret.as_bytes(), &[request.body], code);
        }
    }
    fits.then_some(())
        .ok_or_else(|| Doubt::Wrong(format!("no signature in the header {HEADER} is right")))
}

/// Twilio's signature of an address and the fields of a form, by the token of the account. A name that
/// comes several times is signed with each of its values once.
pub(crate) fn twilio(
    request: &Request<'_>,
    url: &str,
    form: &[(String, String)],
    tokens: &[String],
) -> Result<(), Doubt> {
    const HEADER: &str = "X-Twilio-Signature";
    let given = only(request.headers, HEADER)?;
    let wrong = || {
        Doubt::Wrong(format!(
            "the signature in the header {HEADER} is wrong, or public_url is not the address that \
             Twilio calls"
        ))
    };
    let given = BASE64.decode(given).map_err(|_| wrong())?;
    let mut fields: Vec<_> = form.iter().collect();
    fields.sort();
    fields.dedup();
    let mut text = url.to_owned();
    for (name, value) in fields {
        text.extend([name.as_str(), value]);
    }
    let mut fits = false;
    for token in tokens {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
        fits |= hmac::verify(&key, text.as_bytes(), &given).is_ok();
    }
    fits.then_some(()).ok_or_else(wrong)
}

/// A secret that the sender gives as it is: `Authorization: Bearer SECRET`.
pub(crate) fn bearer(request: &Request<'_>, secrets: &[String]) -> Result<(), Doubt> {
    const HEADER: &str = "Authorization";
    let given = only(request.headers, HEADER)?.strip_prefix("Bearer ").ok_or_else(|| {
        Doubt::Unproven(format!("the header {HEADER} must be Bearer and the secret"))
    })?;
    let mut fits = false;
    for secret in secrets {
        fits |= equal(given.trim().as_bytes(), secret.as_bytes());
    }
    fits.then_some(())
        .ok_or_else(|| Doubt::Wrong(format!("the secret in the header {HEADER} is wrong")))
}

/// Whether a secret that a payload has in it is one of these.
pub(super) fn within(given: &str, secrets: &[String]) -> Result<(), Doubt> {
    let mut fits = false;
    for secret in secrets {
        fits |= equal(given.as_bytes(), secret.as_bytes());
    }
    fits.then_some(()).ok_or_else(|| Doubt::Wrong("the token in the payload is wrong".to_owned()))
}

/// `t=TIME,v1=SIGNATURE,v1=…`: one of the signatures must fit.
fn stripe(given: &str, secret: &[u8], request: &Request<'_>) -> Result<bool, Doubt> {
    let pairs = || given.split(',').filter_map(|pair| pair.trim().split_once('='));
    let at = pairs().find(|(name, _)| *name == "t").map(|(_, at)| at);
    let at = at.ok_or_else(|| Doubt::Unproven("the signature has no time (t=)".to_owned()))?;
    in_time(at, request.now)?;
    let parts: [&[u8]; 3] = [at.as_bytes(), b".", request.body];
    let mut fits = false;
    for (_, hex) in pairs().filter(|(name, _)| *name == "v1").take(SIGNATURES_MAX) {
        fits |= hex_bytes(hex).is_some_and(|given| matches(secret, &parts, &given));
    }
    Ok(fits)
}

/// Signatures looked at in one header.
const SIGNATURES_MAX: usize = 10;

fn fixed_headers(demand: &Demand<'_>, request: &Request<'_>) -> Result<(), Doubt> {
    for (name, expected) in &demand.headers {
        if !equal(only(request.headers, name)?.as_bytes(), expected.as_bytes()) {
            return Err(Doubt::Wrong(format!("the header {name} has another value")));
        }
    }
    Ok(())
}

/// The value of a header that must be there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Doubt> {
    let mut values = headers.get_all(name).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) => Ok(value.trim()),
        (Some(_), Some(_)) => Err(Doubt::Unproven(format!("the header {name} is there twice"))),
        (None, _) => Err(Doubt::Unproven(format!("the header {name} is missing"))),
    }
}

fn in_time(at: &str, now: i64) -> Result<(), Doubt> {
    let at: i64 = at
        .trim()
        .parse()
        .map_err(|_| Doubt::Unproven("the time of the signature is not a number".to_owned()))?;
    if now.saturating_sub(at).saturating_abs() > TOLERANCE_SECONDS {
        return Err(Doubt::Wrong(format!(
            "the signature was made more than {TOLERANCE_SECONDS} s before or after now"
        )));
    }
    Ok(())
}

/// Whether a code is that of the parts under a key.
fn matches(key: &[u8], parts: &[&[u8]], given: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat(), given).is_ok()
}

/// Whether two texts are the same, by their codes.
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"equal");
    hmac::verify(&key, left, hmac::sign(&key, right).as_ref()).is_ok()
}

fn hex_bytes(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The point of a P-256 public key in base64, with or without its usual frame.
fn public_key(text: &str) -> Result<Vec<u8>, Doubt> {
    const POINT: usize = 65;
    let unusable =
        || Doubt::Unusable("the webhook's secretValue is no P-256 public key in base64".to_owned());
    let bare: String = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .flat_map(|line| line.chars().filter(|c| !c.is_whitespace()))
        .collect();
    let key = BASE64.decode(bare).map_err(|_| unusable())?;
    let point = key.len().checked_sub(POINT).and_then(|at| key.get(at..)).ok_or_else(unusable)?;
    (point.first() == Some(&4)).then(|| point.to_vec()).ok_or_else(unusable)
}

/// Whether a text can be the token of a challenge. Such a text is signed for whoever asks, so it is
/// never taken as a payload, whatever its signature says.
pub(crate) fn is_token(text: &[u8]) -> bool {
    const LENGTH_MAX: usize = 100;
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.len() <= LENGTH_MAX && text.iter().all(fits)
}

/// Twitter's challenge: the token signed with the secret; `None` for what is not a token.
pub(crate) fn answer_to(token: &str, secret: &str) -> Option<String> {
    if !is_token(token.as_bytes()) {
        return None;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    Some(format!("sha256={}", BASE64.encode(hmac::sign(&key, token.as_bytes()))))
}
