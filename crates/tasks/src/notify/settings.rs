//! A receiver's settings: read leniently, and judged before anything depends on them.

use kernel::alert::Template;
use kernel::editor;
use reqwest::Url;
use serde_json::{Map, Value, json};

/// What a setting must be.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A text, a number or a yes.
    Text,
    /// One text or several.
    Texts,
    /// Yes or no.
    Flag,
    /// An absolute `http` or `https` URL.
    Address,
    /// A text with `{{ names }}`.
    Words,
    /// A map.
    Map,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Anything, whose texts may hold `{{ names }}`.
    Tree,
    /// A list of such.
    Trees,
    /// Anything, handed on as it is.
    Any,
}

impl Shape {
    /// What it is, in words.
    pub(super) fn words(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Texts => "text, or a list of them".to_owned(),
            Self::Flag => "yes or no".to_owned(),
            Self::Address => "URL".to_owned(),
            Self::Words => "text with `{{ names }}`".to_owned(),
            Self::Map => "map".to_owned(),
            Self::OneOf(words) => format!("`{}`", words.join("`, `")),
            Self::Tree => "any, with `{{ names }}`".to_owned(),
            Self::Trees => "list, with `{{ names }}`".to_owned(),
            Self::Any => "any".to_owned(),
        }
    }

    /// What may be written there, as a JSON schema.
    pub(super) fn schema(self) -> Value {
        match self {
            Self::Text | Self::Address | Self::Words => editor::text(),
            Self::Texts => editor::texts(),
            Self::Flag => {
                json!({ "enum": [true, false, "true", "false", "yes", "no", "on", "off"] })
            }
            Self::Map => json!({ "type": "object" }),
            Self::OneOf(words) => editor::word(words),
            Self::Trees => json!({ "type": "array" }),
            Self::Tree | Self::Any => json!({}),
        }
    }
}

/// The settings of one receiver.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a>(&'a Map<String, Value>);

impl<'a> Settings<'a> {
    pub(super) fn new(map: &'a Map<String, Value>) -> Self {
        Self(map)
    }

    /// All settings but some.
    pub(super) fn without(self, names: &[&str]) -> Map<String, Value> {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The setting, unless it is null.
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Whether the setting was written, be it empty.
    pub(super) fn has(self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text, number or truth as text, without the space around it; absent if nothing is left.
    pub(super) fn text(self, name: &str) -> Option<String> {
        let text = plain(self.get(name)?)?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// Which one is missing.
    pub(super) fn needed(self, name: &str) -> Result<String, String> {
        self.text(name).ok_or_else(|| format!("the receiver needs the setting `{name}`"))
    }

    /// One text or a list of them; each may hold several, with commas.
    pub(super) fn texts(self, name: &str) -> Vec<String> {
        let items = match self.get(name) {
            Some(Value::Array(items)) => items.iter().filter_map(plain).collect(),
            Some(value) => plain(value).into_iter().collect::<Vec<_>>(),
            None => Vec::new(),
        };
        let parts = items.iter().flat_map(|item| item.split(',')).map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// Yes or no; also as text.
    pub(super) fn flag(self, name: &str) -> Option<bool> {
        truth(self.get(name)?)
    }

    pub(super) fn map(self, name: &str) -> Option<&'a Map<String, Value>> {
        self.get(name)?.as_object()
    }

    /// Where to: `url` as it stands, otherwise `base_url`, or the service's own address, with the
    /// path behind it.
    pub(super) fn address(self, base: &str, path: &str) -> String {
        self.text("url").unwrap_or_else(|| self.below(base, path))
    }

    /// `base_url`, or the service's own address, with the path behind it.
    pub(super) fn below(self, base: &str, path: &str) -> String {
        let base = self.text("base_url").unwrap_or_else(|| base.to_owned());
        format!("{}{path}", base.trim_end_matches('/'))
    }
}

/// What is wrong with settings: unknown names, wrong shapes, what is missing.
pub(super) fn problems(
    kind: &str,
    known: &[(&str, Shape)],
    needs: &[&[&str]],
    settings: Settings<'_>,
) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, value) in settings.0.iter().filter(|(_, value)| !value.is_null()) {
        if let Some((_, shape)) = known.iter().find(|(known, _)| known == name) {
            problems.extend(unfit(*shape, value).map(|why| format!("`{name}` {why}")));
        }
    }
    for choices in needs {
        if !choices.iter().any(|name| filled(settings.get(name))) {
            problems.push(format!("{kind} needs `{}`", choices.join("` or `")));
        }
    }
    problems
}

/// Settings that nobody knows, each with its name.
pub(super) fn unknown(
    kind: &str,
    known: &[(&str, Shape)],
    settings: Settings<'_>,
) -> Vec<(String, String)> {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let unknown = settings.0.keys().filter(|name| !names.contains(&name.as_str()));
    let told = |name: &String| match names[..] {
        [] => format!("unknown setting `{name}`; {kind} has none"),
        _ => format!("unknown setting `{name}`; {kind} knows {}", names.join(", ")),
    };
    unknown.map(|name| (name.clone(), told(name))).collect()
}

fn filled(value: Option<&Value>) -> bool {
    match value {
        None => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

/// Whether a text names what is only known when it is used, such as `${secret:NAME}`.
pub(super) fn is_open(text: &str) -> bool {
    text.contains("${")
}

fn unfit(shape: Shape, value: &Value) -> Option<String> {
    let text = plain(value);
    if text.as_deref().is_some_and(is_open) {
        return None;
    }
    let text = text.as_deref();
    match shape {
        Shape::Text if text.is_none() => Some("must be a text".to_owned()),
        Shape::Texts if !is_texts(value) => Some("must be a text or a list of texts".to_owned()),
        Shape::Flag if truth(value).is_none() => Some("must be true or false".to_owned()),
        Shape::Map if !value.is_object() => Some("must be a map".to_owned()),
        Shape::OneOf(words) if !text.is_some_and(|text| words.contains(&text)) => {
            Some(format!("must be one of {}", words.join(", ")))
        }
        Shape::Address => match text {
            Some(text) => address(text).err(),
            None => Some("must be a text".to_owned()),
        },
        Shape::Words => match text {
            Some(text) => Template::parse(text).err(),
            None => Some("must be a text".to_owned()),
        },
        Shape::Tree | Shape::Trees => broken_words(value),
        _ => None,
    }
}

/// Reads an address. It is not repeated in the complaint: it may be a secret.
pub(super) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim())
        .map_err(|error| format!("is no URL: {error}; it must be absolute: https://host/path"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("must begin with http:// or https://, not {}:", url.scheme()));
    }
    Ok(url)
}

fn broken_words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Template::parse(text).err(),
        Value::Array(items) => items.iter().find_map(broken_words),
        Value::Object(members) => members.values().find_map(broken_words),
        _ => None,
    }
}

fn is_texts(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| plain(item).is_some()),
        value => plain(value).is_some(),
    }
}

fn truth(value: &Value) -> Option<bool> {
    match plain(value)?.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A text, number or truth as text.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
