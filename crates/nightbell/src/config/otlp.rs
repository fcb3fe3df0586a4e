//! Settings of the export of traces.

use std::fmt;

use reqwest::header::{HeaderName, HeaderValue};

use super::provider::SecretReference;
use super::value::{Given, Value};

/// Headers of requests to a collector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<(HeaderName, HeaderSource)>);

/// What a header says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum HeaderSource {
    /// What is kept elsewhere.
    Reference(SecretReference),
    /// This text, which may be a secret.
    Text(String),
}

impl fmt::Debug for HeaderSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(reference) => f.write_str(&reference.shown()),
            Self::Text(_) => f.write_str("***"),
        }
    }
}

impl Value for Headers {
    const MANY: bool = true;
    const NAME: &'static str = "NAME=VALUE";
    const HINT: &'static str =
        "write NAME=VALUE, or NAME=secret:NAME, NAME=file:PATH, NAME=env:VARIABLE";

    fn read(given: &Given) -> Result<Self, String> {
        let Given::Many(texts) = given else { return Err("expected a list".to_owned()) };
        let mut headers = Vec::with_capacity(texts.len());
        for (number, text) in texts.iter().enumerate() {
            let number = number + 1;
            // The text may hold a secret, so it is not repeated.
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| format!("entry {number} has no = behind the name of a header"))?;
            let name = HeaderName::from_bytes(name.trim().as_bytes())
                .map_err(|_| format!("entry {number} does not begin with the name of a header"))?;
            let value = value.trim();
            let is_reference =
                ["secret:", "file:", "env:"].iter().any(|kind| value.starts_with(kind));
            let value = if is_reference {
                HeaderSource::Reference(SecretReference::read(&Given::One(value.to_owned()))?)
            } else if value.is_empty() || HeaderValue::from_str(value).is_err() {
                return Err(format!("{name} has a value that no header can carry"));
            } else {
                HeaderSource::Text(value.to_owned())
            };
            headers.push((name, value));
        }
        Ok(Self(headers))
    }

    fn shown(&self) -> String {
        let shown = self.0.iter().map(|(name, value)| format!("{name}={value:?}"));
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// A share of something, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

impl Value for Share {
    const NAME: &'static str = "SHARE";
    const HINT: &'static str = "write a number from 0 to 1, such as 0.1 for a tenth";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or_else(|| format!("`{text}` is no number from 0 to 1"))
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }
}

/// The address of a trace for people, with a place for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceUrl(pub(crate) String);

/// Where the name of the trace belongs.
const PLACE: &str = "{trace_id}";

impl Value for TraceUrl {
    const NAME: &'static str = "URL";
    const HINT: &'static str =
        "write an address with {trace_id} in it, such as https://tempo.example/trace/{trace_id}";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        if !text.contains(PLACE) {
            return Err(format!("there is no {PLACE} in it"));
        }
        let url = reqwest::Url::parse(&text.replace(PLACE, "0"));
        let url = url.map_err(|error| format!("is no URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}` is neither http nor https", url.scheme()));
        }
        Ok(Self(text.to_owned()))
    }

    fn shown(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Value>(text: &str) -> Result<T, String> {
        T::read(&Given::new(&[text.to_owned()], T::MANY))
    }

    #[test]
    fn headers_are_references_or_texts_that_are_not_shown() {
        let headers = read::<Headers>("Authorization=secret:otlp").expect("it is one");
        assert_eq!(headers.shown(), "authorization=secret:otlp");
        let headers = read::<Headers>("x-key=hunter2=").expect("it is one");
        assert_eq!((headers.shown(), headers.0.len()), ("x-key=***".to_owned(), 1));
        assert!(!format!("{headers:?}").contains("hunter2"));
        for wrong in ["hunter2", "x y=hunter2", "x=", "x=hunt\ner2", "x=secret:"] {
            let error = read::<Headers>(wrong).expect_err(wrong);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_share_and_a_place_are_insisted_on() {
        assert_eq!(read::<Share>("0.25"), Ok(Share(0.25)));
        for wrong in ["-0.1", "1.1", "NaN", "10%"] {
            assert!(read::<Share>(wrong).is_err(), "{wrong}");
        }
        assert!(read::<TraceUrl>("https://tempo.example/trace/{trace_id}").is_ok());
        for wrong in ["https://tempo.example/trace/", "javascript:{trace_id}", "{trace_id}"] {
            assert!(read::<TraceUrl>(wrong).is_err(), "{wrong}");
        }
    }
}
