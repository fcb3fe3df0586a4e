//! What a text means as a setting: one implementation of [`Value`] per kind of value.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use kernel::access::Mode;
use server::ConsoleServing;
use tracing_subscriber::EnvFilter;

/// What someone wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// One text.
    One(String),
    /// A list of texts, for settings that take one.
    Many(Vec<String>),
}

impl Given {
    /// The last text wins where only one can be.
    pub(super) fn new(texts: &[String], many: bool) -> Self {
        if many {
            Self::Many(texts.to_vec())
        } else {
            Self::One(texts.last().cloned().unwrap_or_default())
        }
    }

    pub(super) fn one(&self) -> Result<&str, String> {
        match self {
            Self::One(text) => Ok(text.trim()),
            Self::Many(_) => Err("expected one value, not a list".to_owned()),
        }
    }
}

/// A type that a setting can have.
pub(super) trait Value: Sized {
    /// Whether it is a list.
    const MANY: bool = false;
    /// Whether each of the list may be a table of texts.
    const TABLES: bool = false;
    /// What stands for it in the help text.
    const NAME: &'static str;
    /// What to write, for the message about a bad value.
    const HINT: &'static str;
    /// Reads and validates it; the error completes "KEY: ".
    fn read(given: &Given) -> Result<Self, String>;
    /// For people to read; never shows a password.
    fn shown(&self) -> String;
}

impl Value for SocketAddr {
    const NAME: &'static str = "ADDRESS:PORT";
    const HINT: &'static str = "write ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
        match local {
            Some(port) => Ok(Self::from((Ipv4Addr::LOCALHOST, port))),
            None => text.parse().map_err(|_| format!("`{text}` is not an address and a port")),
        }
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

/// Which store, and where it is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    /// An embedded database in one file.
    Sqlite(PathBuf),
    /// A `PostgreSQL` database; the URL may hold a password.
    Postgres(String),
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => match reqwest::Url::parse(url) {
                Ok(mut url) => {
                    if url.password().is_some() {
                        // Cannot fail for a URL that had a password before.
                        let _ = url.set_password(Some("***"));
                    }
                    // A password may also be a parameter.
                    if url.query().is_some_and(|query| query.contains("password")) {
                        url.set_query(Some("***"));
                    }
                    write!(f, "{url}")
                }
                Err(_) => write!(f, "postgres://***"),
            },
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StoreUrl {
    /// Reads it; the error says nothing that may be a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err("`sqlite:` lacks the file".to_owned()),
                path => Ok(Self::Sqlite(PathBuf::from(path))),
            };
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            // The text may hold a password, so it is not repeated.
            return store::PostgresOptions::parse(text).map(|_| Self::Postgres(text.to_owned()));
        }
        match text.split_once(':') {
            Some((scheme, _)) => Err(format!("there is no store of the kind `{scheme}`")),
            None => Err(format!("`{text}` does not say which kind of store")),
        }
    }
}

impl Value for StoreUrl {
    const NAME: &'static str = "URL";
    const HINT: &'static str = "write sqlite:FILE or postgres://USER@HOST/DATABASE";

    fn read(given: &Given) -> Result<Self, String> {
        Self::parse(given.one()?)
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

/// Where a service is: `http` or `https`, a host, and a path to put before its operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpUrl(pub(crate) String);

impl Value for HttpUrl {
    const NAME: &'static str = "URL";
    const HINT: &'static str = "write the service's address, such as https://api.example.com";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        // The text may hold a password, so it is not repeated.
        let url = reqwest::Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}` is neither http nor https", url.scheme()));
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err("an address has no user, query or fragment".to_owned());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    fn shown(&self) -> String {
        self.0.clone()
    }
}

/// Host and port of a server that others reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort(pub(crate) String);

impl Value for HostPort {
    const NAME: &'static str = "HOST:PORT";
    const HINT: &'static str = "write it as 10.0.0.5:7070 or bell-1.example:7070";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        let parts = text.rsplit_once(':').filter(|(host, port)| {
            let is_host = !host.is_empty() && (!host.contains(':') || host.starts_with('['));
            is_host && port.parse().is_ok_and(|port: u16| port > 0)
        });
        parts
            .map(|_| Self(text.to_owned()))
            .ok_or_else(|| format!("`{text}` is no host with a port"))
    }

    fn shown(&self) -> String {
        self.0.clone()
    }
}

impl Value for Vec<PathBuf> {
    const MANY: bool = true;
    const NAME: &'static str = "PATH";
    const HINT: &'static str = "write a list of files and folders";

    fn read(given: &Given) -> Result<Self, String> {
        let Given::Many(texts) = given else {
            return Err("expected a list".to_owned());
        };
        if texts.iter().any(String::is_empty) {
            return Err("a path in the list is empty".to_owned());
        }
        Ok(texts.iter().map(PathBuf::from).collect())
    }

    fn shown(&self) -> String {
        let paths: Vec<_> = self.iter().map(|path| path.display().to_string()).collect();
        paths.join(", ")
    }
}

/// Names of something that is defined elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl Value for Names {
    const MANY: bool = true;
    const NAME: &'static str = "NAME";
    const HINT: &'static str = "write a list of names";

    fn read(given: &Given) -> Result<Self, String> {
        let Given::Many(texts) = given else {
            return Err("expected a list".to_owned());
        };
        if texts.iter().any(String::is_empty) {
            return Err("a name in the list is empty".to_owned());
        }
        Ok(Self(texts.clone()))
    }

    fn shown(&self) -> String {
        self.0.join(", ")
    }
}

impl Value for PathBuf {
    const NAME: &'static str = "FILE";
    const HINT: &'static str = "write the name of a file, or off";

    fn read(given: &Given) -> Result<Self, String> {
        match given.one()? {
            "" => Err("the name is empty".to_owned()),
            path => Ok(Self::from(path)),
        }
    }

    fn shown(&self) -> String {
        self.display().to_string()
    }
}

/// The key that seals secrets; never shown.
#[derive(Clone, Debug)]
pub(crate) struct SecretKey(pub(crate) engine::vault::Key);

impl Value for SecretKey {
    const NAME: &'static str = "KEY";
    const HINT: &'static str = "write 32 bytes in base64, such as `openssl rand -base64 32` prints";

    fn read(given: &Given) -> Result<Self, String> {
        // The text may nearly be a key, so it is not repeated.
        let key = engine::vault::Key::parse(given.one()?);
        key.map(Self).map_err(|error| format!("the value {error}"))
    }

    fn shown(&self) -> String {
        "***".to_owned()
    }
}

/// Which log lines to write, in the notation of `tracing`: `info` or `info,engine=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogFilter(String);

impl LogFilter {
    /// The filter itself.
    pub(crate) fn filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl Value for LogFilter {
    const NAME: &'static str = "LEVEL";
    const HINT: &'static str =
        "write error, warn, info, debug or trace, or a list such as info,engine=debug";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        // A lone word that is not a level would be taken for the name of a module.
        let misspelt = text.split(',').find(|part| {
            !part.contains('=') && part.parse::<tracing_subscriber::filter::LevelFilter>().is_err()
        });
        if let Some(part) = misspelt {
            return Err(format!("`{part}` is not a level"));
        }
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("`{text}` is not a filter: {error}")),
        }
    }

    fn shown(&self) -> String {
        self.0.clone()
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Value for LogFormat {
    const NAME: &'static str = "FORMAT";
    const HINT: &'static str = "write text or json";

    fn read(given: &Given) -> Result<Self, String> {
        match given.one()? {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            text => Err(format!("there is no format `{text}`")),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Json => "json".to_owned(),
        }
    }
}

/// Whether credentials are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Not said: open on this machine, and refused beyond it.
    Auto,
    /// Said.
    Said(Mode),
}

impl Value for Auth {
    const NAME: &'static str = "MODE";
    const HINT: &'static str = "write on, offered or open";

    fn read(given: &Given) -> Result<Self, String> {
        match given.one()? {
            "auto" => Ok(Self::Auto),
            "open" => Ok(Self::Said(Mode::Open)),
            "offered" => Ok(Self::Said(Mode::Offered)),
            "on" => Ok(Self::Said(Mode::On)),
            text => Err(format!("there is no mode `{text}`")),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Said(Mode::Open) => "open".to_owned(),
            Self::Said(Mode::Offered) => "offered".to_owned(),
            Self::Said(Mode::On) => "on".to_owned(),
        }
    }
}

impl Value for ConsoleServing {
    const NAME: &'static str = "MODE";
    const HINT: &'static str = "write auto, on, read-only or off";

    fn read(given: &Given) -> Result<Self, String> {
        match given.one()? {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "read-only" => Ok(Self::ReadOnly),
            "off" => Ok(Self::Off),
            text => Err(format!("there is no mode `{text}`")),
        }
    }

    fn shown(&self) -> String {
        let word = match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::ReadOnly => "read-only",
            Self::Off => "off",
        };
        word.to_owned()
    }
}

impl Value for Duration {
    const NAME: &'static str = "DURATION";
    const HINT: &'static str = "write a number and a unit: 500ms, 4s, 10m, 12h, 30d";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        let (number, unit) = number_and_unit(text)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err(format!("`{text}` lacks a unit of time")),
            unit => return Err(format!("`{unit}` is not a unit of time")),
        };
        match number.checked_mul(millis) {
            Some(0) => Err("must be longer than nothing".to_owned()),
            Some(millis) => Ok(Self::from_millis(millis)),
            None => Err(format!("`{text}` is too long")),
        }
    }

    fn shown(&self) -> String {
        let millis = self.as_millis();
        for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if millis >= size && millis.is_multiple_of(size) {
                return format!("{}{unit}", millis / size);
            }
        }
        format!("{millis}ms")
    }
}

/// A number of bytes; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u64);

impl Value for Bytes {
    const NAME: &'static str = "SIZE";
    const HINT: &'static str = "write a number and a unit: 512KiB, 64MiB, 20GiB";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        let (number, unit) = number_and_unit(text)?;
        let size = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "KB" | "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            unit => return Err(format!("`{unit}` is not a unit of size")),
        };
        match number.checked_mul(size) {
            Some(0) => Err("must be more than nothing".to_owned()),
            Some(bytes) => Ok(Self(bytes)),
            None => Err(format!("`{text}` is too large")),
        }
    }

    fn shown(&self) -> String {
        for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1_u64 << 10)] {
            if self.0.is_multiple_of(size) {
                return format!("{}{unit}", self.0 / size);
            }
        }
        format!("{}B", self.0)
    }
}

impl Value for u64 {
    const NAME: &'static str = "COUNT";
    const HINT: &'static str = "write a whole number";

    fn read(given: &Given) -> Result<Self, String> {
        whole_number(given.one()?)
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Value for NonZeroUsize {
    const NAME: &'static str = "COUNT";
    const HINT: &'static str = "write a whole number from 1";

    fn read(given: &Given) -> Result<Self, String> {
        let number = whole_number(given.one()?)?;
        let number = usize::try_from(number).map_err(|_| format!("{number} is too large"))?;
        Self::new(number).ok_or_else(|| "must be at least 1".to_owned())
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Value for NonZeroU32 {
    const NAME: &'static str = "COUNT";
    const HINT: &'static str = "write a whole number from 1";

    fn read(given: &Given) -> Result<Self, String> {
        let number = whole_number(given.one()?)?;
        let number = u32::try_from(number).map_err(|_| format!("{number} is too large"))?;
        Self::new(number).ok_or_else(|| "must be at least 1".to_owned())
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

/// A limit that can be lifted with `off`.
impl<T: Value> Value for Option<T> {
    const NAME: &'static str = T::NAME;
    const HINT: &'static str = T::HINT;

    fn read(given: &Given) -> Result<Self, String> {
        match given.one()? {
            "off" => Ok(None),
            _ => T::read(given).map(Some).map_err(|wrong| format!("{wrong}, nor is it `off`")),
        }
    }

    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "off".to_owned(), T::shown)
    }
}

fn whole_number(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| format!("`{text}` is not a whole number"))
}

fn number_and_unit(text: &str) -> Result<(u64, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() {
        return Err(format!("`{text}` does not begin with a number"));
    }
    Ok((whole_number(number)?, unit.trim()))
}
