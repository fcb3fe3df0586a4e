//! What a check is told to look at.

use std::time::Duration;

use kernel::alert::definition::{Remark, parse_span, rebinding, rebound};
use kernel::{Json, Timestamp};
use serde_json::{Map, Value};

use super::{Settings, Trouble, unknown, wrong};
use crate::input::Members;

/// How long a check waits for its source if it does not say.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may wait at most.
const PATIENCE_MAX: Duration = Duration::from_mins(10);

/// A check's input, read.
pub(super) struct Order {
    /// The kind's own settings, with those of a named source for what they leave open.
    pub(super) settings: Members,
    /// The monitor whose check it is; empty if it is none's.
    pub(super) monitor: String,
    /// Columns that make the key of a row.
    pub(super) per: Vec<String>,
    /// Whether rows are judged by whoever gets them; otherwise each row is a failure.
    pub(super) judged: bool,
    /// Names of the sources that the configuration knows.
    sources: String,
    /// What the check before handed on.
    pub(super) memory: Value,
    /// The end of the window: now.
    pub(super) now: Timestamp,
    /// How long to wait for the source.
    pub(super) patience: Duration,
}

impl Order {
    pub(super) fn read(input: &Json, known: &Settings) -> Result<Self, Trouble> {
        let input = Members::of(input)?;
        let settings = match input.get("settings") {
            Some(Value::Object(settings)) => settings.clone(),
            Some(_) => return Err(wrong("`settings` must be an object")),
            None => return Err(wrong("`settings` are missing: what is to be checked?")),
        };
        let settings = Members::within(with_source(settings, known)?, "the settings")?;
        let end =
            input.get("window").and_then(|window| window.get("to_ms")).and_then(Value::as_i64);
        let now = end.map_or_else(crate::clock::now, Timestamp::from_millis);
        let patience = span(&settings, "timeout")?.unwrap_or(PATIENCE);
        Ok(Self {
            monitor: input.text("monitor")?.unwrap_or_default(),
            per: input.texts("per")?,
            judged: input.flag("judged", false)?,
            sources: known_names(known),
            memory: input.get("memory").cloned().unwrap_or_default(),
            now,
            patience: patience.clamp(Duration::from_millis(1), PATIENCE_MAX),
            settings,
        })
    }

    /// Where an HTTP source is, without a slash at the end: `url`, or `server`.
    pub(super) fn base(&self) -> Result<String, Trouble> {
        let base = match self.settings.text("url")? {
            Some(url) => url,
            None => self.settings.required("server")?,
        };
        if !base.contains("://") {
            return Err(nobody(&base, &self.sources));
        }
        Ok(base.trim_end_matches('/').to_owned())
    }

    /// A text exactly as written, spaces and line ends included.
    pub(super) fn verbatim(&self, name: &str) -> Option<&str> {
        self.settings.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Waits no longer than the check may, which is at least so long unless `timeout` says otherwise.
    pub(super) async fn within_at_least<T>(
        &self,
        least: Duration,
        what: &str,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let patience = match self.settings.get("timeout") {
            Some(_) => self.patience,
            None => self.patience.max(least),
        };
        match tokio::time::timeout(patience, work).await {
            Ok(result) => result,
            Err(_) => Err(unknown(format!(
                "{what} took longer than {} s (timeout)",
                patience.as_secs_f64()
            ))),
        }
    }

    /// Waits no longer than the check may.
    pub(super) async fn within<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        self.within_at_least(Duration::ZERO, what, work).await
    }

    /// What certificates are trusted besides the system's, in PEM.
    pub(super) fn authority(&self) -> Result<Option<String>, Trouble> {
        match self.settings.get("tls") {
            None | Some(Value::Bool(_) | Value::String(_)) => Ok(None),
            Some(Value::Object(tls)) => match tls.get("ca") {
                Some(Value::String(pem)) => Ok(Some(pem.clone())),
                None => Ok(None),
                Some(_) => Err(wrong("`tls.ca` must be certificates in PEM, as a text")),
            },
            Some(_) => Err(wrong("`tls` must be true, false or a map with `ca`")),
        }
    }

    /// Whether TLS is wanted from the first byte.
    ///
    /// # Errors
    /// The setting is neither yes nor no: what is sent would go out in the clear.
    pub(super) fn wants_tls(&self) -> Result<bool, Trouble> {
        Ok(match self.settings.get("tls") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(wanted)) => *wanted,
            Some(Value::String(text)) => match &*text.to_ascii_lowercase() {
                "true" | "yes" | "on" => true,
                "" | "false" | "no" | "off" => false,
                _ => return Err(wrong(format!("`tls` is {text:?}, which is neither yes nor no"))),
            },
            Some(Value::Object(_)) => true,
            Some(_) => return Err(wrong("`tls` must be true, false or a map with `ca`")),
        })
    }
}

/// The settings, and those of the source that they name for what they leave open.
fn with_source(mut settings: Map<String, Value>, known: &Settings) -> Result<Value, Trouble> {
    let name = ["account", "server"].into_iter().find_map(|name| settings.get(name)?.as_str());
    let Some(name) = name.map(str::to_owned) else { return Ok(Value::Object(settings)) };
    if let Some(source) = known.sources.get(&name) {
        if let Some(member) = rebound(&settings, &source) {
            return Err(wrong(rebinding(member, &name)));
        }
        for (member, value) in source {
            settings.entry(member).or_insert(value);
        }
    } else if settings.contains_key("url") || name.contains("://") || name.contains('@') {
        // An address, or a name that only says what the address is called.
    } else if settings.contains_key("account") {
        let names = known_names(known);
        return Err(nobody(&name, &names));
    }
    Ok(Value::Object(settings))
}

/// A setting by which a check would send a source's credentials elsewhere, long before it runs.
pub(super) fn strays(settings: &Map<String, Value>, known: &Settings) -> Option<Remark> {
    let name = ["account", "server"].into_iter().find_map(|name| settings.get(name)?.as_str())?;
    let member = rebound(settings, &known.sources.get(name)?)?;
    Some(Remark::error(Some(member), rebinding(member, name)))
}

/// A source that is named and that nobody knows.
pub(super) fn stranger(
    setting: &str,
    settings: &Map<String, Value>,
    known: &Settings,
) -> Option<Remark> {
    let name = settings.get(setting)?.as_str()?;
    let known_somehow = known.sources.get(name).is_some()
        || settings.contains_key("url")
        || ["://", "@", "${"].iter().any(|part| name.contains(part));
    let names = known_names(known);
    (!known_somehow).then(|| {
        let message = format!(
            "no source is called {name:?}; write it under `sources`, or name one of the \
             configuration, which knows {names}"
        );
        Remark::warning(Some(setting), message)
    })
}

fn nobody(name: &str, names: &str) -> Trouble {
    wrong(format!("no source is called {name:?}; the configuration knows {names}"))
}

fn known_names(known: &Settings) -> String {
    let names = known.sources.names();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A duration among settings.
pub(super) fn span(settings: &Members, name: &str) -> Result<Option<Duration>, Trouble> {
    let Some(text) = settings.text(name)? else { return Ok(None) };
    let millis = parse_span(&text).map_err(|why| wrong(format!("`{name}`: {why}")))?;
    Ok(Some(Duration::from_millis(millis.unsigned_abs())))
}
