//! Who calls Amazon's services, and the signature (version 4) that proves it.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ring::{digest, hmac};

/// A key of an account.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Names the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// Comes with keys that end after a while.
    pub session_token: Option<String>,
}

/// One request as the signature sees it.
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    /// The path, as it is sent.
    pub(super) path: &'a str,
    /// Names in lower case, with values, sorted by name; at least `host`.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// When and for which service of which region a signature holds.
pub(super) struct Scope<'a> {
    /// `20150830T123600Z`, as in the header `x-amz-date`.
    pub(super) at: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// An instant as the signature writes it.
pub(super) fn date(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string()
}

impl Credentials {
    /// What goes into the header `Authorization`.
    pub(super) fn authorization(&self, call: &Call<'_>, scope: &Scope<'_>) -> String {
        let day = scope.at.get(..8).unwrap_or(scope.at);
        let names = call.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let mut headers = String::new();
        for (name, value) in call.headers {
            headers.extend([name, ":", value.trim(), "\n"]);
        }
        let Call { method, path, body, .. } = call;
        let request = format!("{method}\n{path}\n\n{headers}\n{names}\n{}", hash(body));
        let Scope { at, region, service } = scope;
        let place = format!("{day}/{region}/{service}/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{place}\n{}", hash(request.as_bytes()));
        let secret = format!("AWS4{}", self.secret_access_key).into_bytes();
        let key = [day, region, service, "aws4_request"]
            .iter()
            .fold(secret, |key, part| mac(&key, part.as_bytes()));
        let signature = hex(&mac(&key, text.as_bytes()));
        let id = &self.access_key_id;
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{place}, SignedHeaders={names}, Signature={signature}"
        )
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two cases of the suite that Amazon publishes for this signature.
    #[test]
    fn signatures_are_those_of_the_published_suite() {
        let who = Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        };
        let at = date("2015-08-30T12:36:00Z".parse().expect("an instant"));
        assert_eq!(at, "20150830T123600Z");
        let scope = Scope { at: &at, region: "us-east-1", service: "service" };
        let headers = [("host", "example.amazonaws.com"), ("x-amz-date", at.as_str())];
        let cases = [
            ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ];
        for (method, signature) in cases {
            let call = Call { method, path: "/", headers: &headers, body: b"" };
            assert_eq!(
                who.authorization(&call, &scope),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/\
                     aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}"
                )
            );
        }
    }
}
