//! Signed tokens: what stands in them, and which keys are understood.
//!
//! `jwt/` holds a key made for these tests, in PKCS#8 and in PKCS#1, and its public half.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use engine::{Outcome, OutcomeStatus, TaskRunner};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use tasks::jwt::GetSignedJwt;
use tokio_util::sync::CancellationToken;

use crate::http::{handoff, terminal};

const KEY: &str = include_str!("jwt/key.pem");
const PKCS1: &str = include_str!("jwt/key.pkcs1.pem");
const PUBLIC: &[u8] = include_bytes!("jwt/public.der");

fn input(name: &str, value: Value) -> Value {
    let mut input = json!({
        "subject": "sub@project", "issuer": "iss@project", "privateKey": KEY,
        "privateKeyId": "key-123", "audience": "https://oauth2.example.com/token",
        "ttlInSecond": 3600, "scopes": ["https://a/read", "https://a/write"], "algorithm": "RS256",
    });
    input[name] = value;
    input
}

async fn run(input: &Value) -> Outcome {
    GetSignedJwt.run(handoff(input), CancellationToken::new()).await
}

/// Checks the signature; answers header and claims.
async fn signed(input: &Value) -> (Value, Value) {
    let outcome = run(input).await;
    assert_eq!(outcome.status, OutcomeStatus::Completed, "{outcome:?}");
    let output = outcome.output.parse();
    assert_eq!(output.as_object().unwrap().len(), 1, "nothing beside the secrets");
    let token = output["_secrets"]["jwt"].as_str().unwrap().to_owned();
    let (text, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC);
    public.verify(text.as_bytes(), &signature).expect("the signature is that of the key");
    let part =
        |part: &str| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let (header, claims) = text.split_once('.').unwrap();
    (part(header), part(claims))
}

#[tokio::test]
async fn a_token_says_who_for_whom_and_how_long() {
    let before = jiff::Timestamp::now().as_second();
    let (header, claims) = signed(&input("x", Value::Null)).await;
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "key-123"}));
    let issued = claims["iat"].as_i64().unwrap();
    assert!((before..=jiff::Timestamp::now().as_second()).contains(&issued));
    let expected = json!({
        "iss": "iss@project", "sub": "sub@project", "aud": "https://oauth2.example.com/token",
        "iat": issued, "exp": issued + 3600, "scope": "https://a/read https://a/write",
    });
    assert_eq!(claims, expected);
}

#[tokio::test]
async fn what_may_be_missing_is_left_out() {
    let (header, claims) = signed(&input("scopes", json!("  one two "))).await;
    assert_eq!(
        (header["kid"].as_str(), claims["scope"].as_str()),
        (Some("key-123"), Some("one two"))
    );
    let mut bare = input("scopes", Value::Null);
    bare["privateKeyId"] = Value::Null;
    bare["algorithm"] = Value::Null;
    bare["ttlInSecond"] = Value::Null;
    bare["ttlInSeconds"] = json!("60");
    let (header, claims) = signed(&bare).await;
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT"}));
    assert_eq!(claims.get("scope"), None);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
}

#[tokio::test]
async fn a_key_is_read_however_it_was_stored() {
    let body: String = KEY.lines().filter(|line| !line.starts_with("-----")).collect();
    for key in [
        KEY.replace('\n', "\\n"),
        KEY.replace('\n', "\r\n"),
        KEY.replace('\n', " "),
        body,
        PKCS1.to_owned(),
    ] {
        signed(&input("privateKey", json!(key))).await;
    }
}

#[tokio::test]
async fn what_cannot_be_signed_is_refused_without_showing_the_key() {
    let cut = &KEY[..KEY.len() / 2];
    let encrypted = KEY.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let cases = [
        ("privateKey", json!(cut)),
        ("privateKey", json!(encrypted)),
        ("privateKey", json!("AAAA")),
        ("privateKey", json!("not base64!")),
        ("privateKey", json!("-----BEGIN ")),
        ("privateKey", Value::Null),
        ("issuer", json!(" ")),
        ("subject", Value::Null),
        ("audience", json!({})),
        ("ttlInSecond", json!(0)),
        ("ttlInSecond", json!("soon")),
        ("ttlInSecond", Value::Null),
        ("scopes", json!({})),
        ("algorithm", json!("HS256")),
    ];
    for (name, value) in cases {
        let outcome = run(&input(name, value.clone())).await;
        let reason = terminal(&outcome, "INVALID_INPUT");
        assert!(reason.contains(name), "{name} {value}: {reason}");
        assert!(!outcome.output.text().contains(&cut[40..60]), "{reason}");
    }
}
