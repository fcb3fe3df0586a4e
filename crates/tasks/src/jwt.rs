//! `GET_SIGNED_JWT`: a JSON Web Token signed with a private key (RS256), for services that give
//! out access tokens against one.
//!
//! The token stands in the output under `_secrets`, at `_secrets.jwt`, so that it is kept as a
//! secret is: a later task reads `${ref.output._secrets.jwt}` in an input of its own.

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use engine::{Handoff, Outcome, TaskRunner};
use jiff::Timestamp;
use kernel::Json;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::http::fields::{Fields, items, scalar, wrong};
use crate::http::{self, Code, Problem};

/// Runs tasks of type `GET_SIGNED_JWT`.
#[derive(Debug)]
pub struct GetSignedJwt;

#[async_trait]
impl TaskRunner for GetSignedJwt {
    fn task_type(&self) -> &'static str {
        "GET_SIGNED_JWT"
    }

    async fn run(&self, task: Handoff, _: CancellationToken) -> Outcome {
        match signed(&task.input, Timestamp::now()) {
            Ok(jwt) => http::completed(Json::of(&Output { secrets: Secrets { jwt } }), false),
            Err(problem) => http::refused(&problem),
        }
    }
}

#[derive(Serialize)]
struct Output {
    #[serde(rename = "_secrets")]
    secrets: Secrets,
}

#[derive(Serialize)]
struct Secrets {
    jwt: String,
}

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

/// The claims of RFC 7519, and `scope` as RFC 8693 and Google write it: words with spaces between.
#[derive(Serialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
}

/// The token that an input asks for, valid from `now`.
fn signed(input: &Json, now: Timestamp) -> Result<String, Problem> {
    let not_object = || wrong_input("The GET_SIGNED_JWT task's input must be an object");
    let fields = Fields::of(input.text()).ok_or_else(not_object)?;
    if let Some(algorithm) = fields.text("algorithm")?
        && !algorithm.trim().is_empty()
        && algorithm.trim() != "RS256"
    {
        return Err(wrong("algorithm", "RS256, the only one there is"));
    }
    let key = key(&required(&fields, "privateKey")?)?;
    let header = Header {
        alg: "RS256",
        typ: "JWT",
        kid: fields.text("privateKeyId")?.filter(|id| !id.is_empty()),
    };
    let iat = now.as_second();
    let claims = Claims {
        iss: required(&fields, "issuer")?,
        sub: required(&fields, "subject")?,
        aud: required(&fields, "audience")?,
        iat,
        exp: iat + ttl(&fields)?,
        scope: scopes(&fields)?,
    };
    let text = format!("{}.{}", part(&header), part(&claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| Problem::new(Code::CallFailed, "the token could not be signed"))?;
    Ok(format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

fn part(value: &impl Serialize) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Json::of(value).text())
}

fn required(fields: &Fields<'_>, name: &str) -> Result<String, Problem> {
    let missing = || wrong_input(&format!("The GET_SIGNED_JWT task's input needs `{name}`"));
    fields.text(name)?.filter(|text| !text.trim().is_empty()).ok_or_else(missing)
}

/// Seconds; the documents write both `ttlInSecond` and `ttlInSeconds`.
fn ttl(fields: &Fields<'_>) -> Result<i64, Problem> {
    let seconds = match fields.count("ttlInSecond")? {
        Some(seconds) => Some(seconds),
        None => fields.count("ttlInSeconds")?,
    };
    match seconds {
        Some(seconds) if seconds > 0 => Ok(seconds.into()),
        Some(_) => Err(wrong("ttlInSecond", "a whole number of seconds from 1 up")),
        None => Err(wrong_input("The GET_SIGNED_JWT task's input needs `ttlInSecond`")),
    }
}

fn scopes(fields: &Fields<'_>) -> Result<String, Problem> {
    let given = fields.get("scopes").map(items).unwrap_or_default();
    let scopes: Option<Vec<_>> = given.into_iter().map(scalar).collect();
    let scopes = scopes.ok_or_else(|| wrong("scopes", "a string or a list of strings"))?;
    Ok(scopes.join(" ").split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Reads a private key from PEM; the base64 alone will do too. Line breaks may be missing or
/// written as `\n`, as in the key files of cloud services. Nothing of a key is ever repeated.
fn key(text: &str) -> Result<RsaKeyPair, Problem> {
    let text = text.replace("\\n", "\n");
    let (label, body) = match text.split_once("-----BEGIN ") {
        None => ("PRIVATE KEY", text.as_str()),
        Some((_, rest)) => {
            let (label, rest) = rest.split_once("-----").unwrap_or_default();
            (label, rest.split("-----END").next().unwrap_or_default())
        }
    };
    let body: String = body.split_whitespace().collect();
    let der = BASE64_STANDARD
        .decode(body)
        .map_err(|_| wrong("privateKey", "a private key in PEM (PKCS#8); its base64 is broken"))?;
    let pair = match label {
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der),
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der),
        _ => {
            let expected = "an unencrypted RSA key in PEM (PKCS#8), \
                            as `openssl pkcs8 -topk8 -nocrypt` writes it";
            return Err(wrong("privateKey", expected));
        }
    };
    pair.map_err(|why| {
        wrong("privateKey", &format!("an RSA key of 2048 to 4096 bits in PKCS#8 ({why})"))
    })
}

fn wrong_input(message: &str) -> Problem {
    Problem::new(Code::InvalidInput, message)
}
