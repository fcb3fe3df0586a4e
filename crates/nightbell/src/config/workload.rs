//! Settings of programs elsewhere that prove who they are by tokens of another system.

use std::collections::BTreeMap;

use kernel::access::check_name;
use serde::Deserialize;
use server::oidc::{KeysAt, Workload};

use super::provider::Issuer;
use super::value::{Given, Value};

/// Programs elsewhere, by what the configuration calls them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workloads(pub(crate) Vec<Workload>);

/// A workload as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    issuer: String,
    audience: String,
    claims: String,
    application: String,
    #[serde(default)]
    keys: Option<String>,
}

impl Written {
    fn workload(self, name: &str) -> Result<Workload, String> {
        let one = |text: &str| Given::One(text.to_owned());
        let issuer = Issuer::read(&one(&self.issuer)).map_err(|why| format!("issuer: {why}"))?.0;
        if self.audience.is_empty() {
            return Err(
                "audience is empty: it is what tokens are issued for, such as nightbell".to_owned()
            );
        }
        let keys = match self.keys.as_deref() {
            None => KeysAt::Discovery,
            Some(text) => match text.strip_prefix("file:") {
                Some(path) if !path.is_empty() => KeysAt::File(path.into()),
                Some(_) => return Err("keys: names no file".to_owned()),
                None => {
                    KeysAt::Url(Issuer::read(&one(text)).map_err(|why| format!("keys: {why}"))?.0)
                }
            },
        };
        let application = check_name(&self.application)
            .ok_or_else(|| format!("`{}` is no name of an application", self.application))?;
        let claims = claims(&self.claims)?;
        let (name, audience) = (name.to_owned(), self.audience);
        Ok(Workload { name, issuer, keys, audience, claims, application })
    }
}

/// `NAME=VALUE`, several separated by commas.
fn claims(text: &str) -> Result<Vec<(String, String)>, String> {
    let claim = |pair: &str| {
        let parts = pair.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        let (name, value) = parts
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .ok_or_else(|| format!("claims: `{}` is no NAME=VALUE", pair.trim()))?;
        // Anybody can have a token of a public issuer.
        if value.chars().all(|c| c == '*') {
            return Err(format!("claims: {name} may be anything, which proves nothing"));
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    text.split(',').map(claim).collect()
}

impl Value for Workloads {
    const MANY: bool = true;
    const TABLES: bool = true;
    const NAME: &'static str = "NAME=JSON";
    const HINT: &'static str = "write a table [workloads.NAME] in the file, and below it issuer, audience, claims \
                                = \"sub=…\" and application; see docs/security.md";

    fn read(given: &Given) -> Result<Self, String> {
        let Given::Many(texts) = given else { return Err("expected a list".to_owned()) };
        let mut all = BTreeMap::new();
        for (number, text) in texts.iter().enumerate() {
            let (name, told) = text
                .split_once('=')
                .ok_or_else(|| format!("entry {} has no = behind its name", number + 1))?;
            let name = name.trim();
            let written: Written =
                serde_json::from_str(told).map_err(|error| format!("{name}: {error}"))?;
            let workload = written.workload(name).map_err(|why| format!("{name}: {why}"))?;
            if all.insert(name.to_owned(), workload).is_some() {
                return Err(format!("there are two workloads called {name}"));
            }
        }
        Ok(Self(all.into_values().collect()))
    }

    fn shown(&self) -> String {
        let shown =
            self.0.iter().map(|it| format!("{}={} of {}", it.name, it.application, it.issuer));
        shown.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn read(change: &Json) -> Result<Workloads, String> {
        let mut told = json!({ "issuer": "https://id.example", "audience": "nightbell", "claims": "sub=etl",
            "application": "etl" });
        let members = change.as_object().expect("an object").clone();
        told.as_object_mut().expect("an object").extend(members);
        Workloads::read(&Given::Many(vec![format!("jobs={told}")]))
    }

    #[test]
    fn a_workload_names_issuer_audience_claims_and_application() {
        let read_right = |change: &Json| read(change).expect("it is right").0.remove(0);
        let claims = "repository=acme/ops, ref=refs/heads/*";
        let workload = read_right(&json!({ "claims": claims, "keys": "file:/etc/jwks.json" }));
        assert_eq!(workload.keys, KeysAt::File("/etc/jwks.json".into()));
        assert_eq!(workload.claims[1], ("ref".to_owned(), "refs/heads/*".to_owned()));
        assert_eq!(read_right(&json!({})).keys, KeysAt::Discovery);
    }

    #[test]
    fn what_would_let_anybody_in_is_refused() {
        for (change, says) in [
            (json!({ "claims": "" }), "NAME=VALUE"),
            (json!({ "claims": "sub=*" }), "proves nothing"),
            (json!({ "audience": "" }), "audience"),
            (json!({ "issuer": "http://id.example" }), "issuer"),
            (json!({ "keys": "http://id.example/keys" }), "keys"),
            (json!({ "application": "a b" }), "application"),
            (json!({ "subject": "etl" }), "subject"),
        ] {
            let error = read(&change).expect_err(says);
            assert!(error.contains(says), "{error}");
        }
    }
}
