//! Settings that say where other servers are.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value as Json};
use tasks::sql::Access;

use super::value::{Given, Value};

/// Databases by the name under which definitions know them.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Databases(pub(crate) BTreeMap<String, String>);

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Value for Databases {
    const MANY: bool = true;
    const NAME: &'static str = "NAME=URL";
    const HINT: &'static str = "write NAME=URL, such as orders=postgres://USER@HOST/DATABASE; in \
                                the file also [sql.orders] and below it url = \"…\"";

    fn read(given: &Given) -> Result<Self, String> {
        let Given::Many(texts) = given else {
            return Err("expected a list".to_owned());
        };
        let mut databases = BTreeMap::new();
        for (number, text) in texts.iter().enumerate() {
            let number = number + 1;
            let parts = text.split_once('=').map(|(name, url)| (name.trim(), url.trim()));
            let Some((name, url)) = parts.filter(|(name, _)| is_name(name)) else {
                // The text may hold a password, so it is not repeated.
                return Err(format!(
                    "entry {number} does not begin with a name (letters, digits, - and _) and ="
                ));
            };
            tasks::sql::Connection::check(url).map_err(|error| format!("{name}: {error}"))?;
            if databases.insert(name.to_owned(), url.to_owned()).is_some() {
                return Err(format!("there are two databases called {name}"));
            }
        }
        Ok(Self(databases))
    }

    fn shown(&self) -> String {
        let shown = self.0.iter().map(|(name, url)| format!("{name}={}", without_password(url)));
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// What monitors look at, by the name under which they know it: settings for what they leave open.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Sources(pub(crate) BTreeMap<String, Map<String, Json>>);

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Value for Sources {
    const MANY: bool = true;
    const TABLES: bool = true;
    const NAME: &'static str = "NAME=URL";
    const HINT: &'static str = "write NAME=URL, such as metrics=http://HOST:8086; in the file also \
                                [sources.metrics] and below it url = \"…\", user, password or token";

    fn read(given: &Given) -> Result<Self, String> {
        let Given::Many(texts) = given else {
            return Err("expected a list".to_owned());
        };
        let mut sources = BTreeMap::new();
        for (number, text) in texts.iter().enumerate() {
            let number = number + 1;
            let parts = text.split_once('=').map(|(name, told)| (name.trim(), told.trim()));
            let Some((name, told)) = parts.filter(|(name, _)| is_name(name)) else {
                // The text may hold a password, so it is not repeated.
                return Err(format!(
                    "entry {number} does not begin with a name (letters, digits, - and _) and ="
                ));
            };
            let settings = match serde_json::from_str(told) {
                Ok(Json::Object(settings)) => settings,
                _ if told.contains("://") || told.starts_with("sqlite:") => {
                    Map::from_iter([("url".to_owned(), told.into())])
                }
                _ => return Err(format!("{name}: its url must be absolute, such as http://HOST")),
            };
            access_of(&settings).map_err(|why| format!("{name}: {why}"))?;
            if sources.insert(name.to_owned(), settings).is_some() {
                return Err(format!("there are two sources called {name}"));
            }
        }
        Ok(Self(sources))
    }

    fn shown(&self) -> String {
        let shown = self.0.iter().map(|(name, settings)| {
            let url = settings.get("url").and_then(Json::as_str).map(without_password);
            let others = settings.keys().filter(|it| *it != "url").map(|it| format!("{it}=***"));
            let told: Vec<String> = url.into_iter().chain(others).collect();
            format!("{name}={}", told.join(" "))
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// What tasks may do with a source, as its member `tasks` says. What is said nothing of may be read:
/// a monitor's credentials are seldom meant for writing.
pub(crate) fn access_of(source: &Map<String, Json>) -> Result<Access, String> {
    match source.get("tasks").map(|told| told.as_str().unwrap_or_default()) {
        None | Some("read") => Ok(Access::Read),
        Some("write") => Ok(Access::Write),
        Some("off") => Ok(Access::Nothing),
        Some(_) => Err("`tasks` must be \"read\", \"write\" or \"off\"".to_owned()),
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.chars().all(fits)
}

/// The URL without its password and without the values of its parameters.
fn without_password(url: &str) -> String {
    let (bare, _) = url.split_once('?').unwrap_or((url, ""));
    match (bare.split_once("://"), bare.rsplit_once('@')) {
        (Some((scheme, rest)), Some((_, host))) => {
            let user = rest.split([':', '@']).next().unwrap_or_default();
            format!("{scheme}://{user}:***@{host}")
        }
        _ => bare.to_owned(),
    }
}

/// Where a mailbox is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImapUrl(pub(crate) String);

impl Value for ImapUrl {
    const NAME: &'static str = "URL";
    const HINT: &'static str = "write imaps://HOST:PORT; imap://HOST:PORT only for this machine";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        // The text may hold a password, so it is not repeated.
        let url = reqwest::Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_here = bare == "localhost"
            || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        match url.scheme() {
            _ if host.is_empty() => Err("names no host".to_owned()),
            _ if !url.username().is_empty() => Err("an address has no user".to_owned()),
            "imaps" => Ok(Self(text.to_owned())),
            "imap" if is_here => Ok(Self(text.to_owned())),
            "imap" => Err("imap:// would send the password for all to read".to_owned()),
            other => Err(format!("`{other}` is neither imaps nor imap")),
        }
    }

    fn shown(&self) -> String {
        self.0.clone()
    }
}

impl Value for bool {
    const NAME: &'static str = "on|off";
    const HINT: &'static str = "write on or off";

    fn read(given: &Given) -> Result<Self, String> {
        match given.one()? {
            "on" | "true" => Ok(true),
            "off" | "false" => Ok(false),
            text => Err(format!("`{text}` is neither on nor off")),
        }
    }

    fn shown(&self) -> String {
        if *self { "on" } else { "off" }.to_owned()
    }
}
