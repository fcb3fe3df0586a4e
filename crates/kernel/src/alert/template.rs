//! Templates of labels and texts: `{{ host | remove_suffix('-FIBER') }}`.
//!
//! A name is looked up among an observation's attributes, its labels and what every incident has;
//! what is absent is the empty text. Filters are few, and an unknown one is refused at load.

use super::text::cut;

/// Characters of what a template may give.
const RENDERED_MAX: usize = 2000;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value { name: String, filters: Vec<Filter> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    RemoveSuffix(String),
    RemovePrefix(String),
    Upper,
    Lower,
    Trim,
    Default(String),
    Replace(String, String),
    /// The n-th part, from 0.
    Split(String, usize),
    Truncate(usize),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inner, after) =
                after.split_once("}}").ok_or_else(|| "a {{ without its }}".to_owned())?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(value(inner)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The names that must be there: those without a `default`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Value { name, filters }
                if !filters.iter().any(|it| matches!(it, Filter::Default(_))) =>
            {
                Some(name.as_str())
            }
            _ => None,
        })
    }

    /// The text, with what `lookup` knows in the place of names. A name that it does not know stays
    /// as it is written, for all to see, unless a filter gives a default.
    pub fn render(&self, lookup: &dyn Fn(&str) -> Option<String>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value { name, filters } => {
                    let defaults = filters.iter().any(|it| matches!(it, Filter::Default(_)));
                    match lookup(name) {
                        None if !defaults => out.extend(["{{ ", name, " }}"]),
                        value => {
                            let value = value.unwrap_or_default();
                            let value =
                                filters.iter().fold(value, |value, filter| filter.apply(value));
                            out.push_str(&value);
                        }
                    }
                }
            }
        }
        cut(&out, RENDERED_MAX)
    }
}

impl Filter {
    fn apply(&self, value: String) -> String {
        match self {
            Self::RemoveSuffix(suffix) => {
                value.strip_suffix(suffix.as_str()).unwrap_or(&value).into()
            }
            Self::RemovePrefix(prefix) => {
                value.strip_prefix(prefix.as_str()).unwrap_or(&value).into()
            }
            Self::Upper => value.to_uppercase(),
            Self::Lower => value.to_lowercase(),
            Self::Trim => value.trim().to_owned(),
            Self::Default(default) if value.is_empty() => default.clone(),
            Self::Default(_) => value,
            Self::Replace(from, to) => value.replace(from.as_str(), to),
            Self::Split(separator, index) => {
                value.split(separator.as_str()).nth(*index).unwrap_or_default().to_owned()
            }
            Self::Truncate(length) => cut(&value, *length),
        }
    }
}

fn value(inner: &str) -> Result<Part, String> {
    let mut parts = split_outside_quotes(inner, '|').into_iter();
    let name = parts.next().unwrap_or_default().trim().to_owned();
    let valid = |c: char| c.is_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || !name.chars().all(valid) {
        return Err(format!("{name:?} is no name in {{{{{inner}}}}}"));
    }
    let filters = parts.map(|part| filter(part.trim())).collect::<Result<_, _>>()?;
    Ok(Part::Value { name, filters })
}

fn filter(text: &str) -> Result<Filter, String> {
    let (name, arguments) = match text.split_once('(') {
        None => (text, Vec::new()),
        Some((name, rest)) => {
            let inner = rest.strip_suffix(')').ok_or_else(|| format!("no ) after {name}("))?;
            let parts = split_outside_quotes(inner, ',');
            (name.trim(), parts.iter().map(|part| unquoted(part.trim())).collect())
        }
    };
    let mut arguments = arguments.into_iter();
    let count = arguments.len();
    let mut next = || arguments.next().unwrap_or_default();
    let (wanted, filter) = match name {
        "remove_suffix" => (1, Filter::RemoveSuffix(next())),
        "remove_prefix" => (1, Filter::RemovePrefix(next())),
        "upper" => (0, Filter::Upper),
        "lower" => (0, Filter::Lower),
        "trim" => (0, Filter::Trim),
        "default" => (1, Filter::Default(next())),
        "replace" => (2, Filter::Replace(next(), next())),
        "split" => (2, Filter::Split(next(), number(name, &next())?)),
        "truncate" => (1, Filter::Truncate(number(name, &next())?.max(1))),
        _ => {
            return Err(format!(
                "unknown filter {name:?}; there are remove_suffix, remove_prefix, upper, lower, \
                 trim, default, replace, split and truncate"
            ));
        }
    };
    if count != wanted {
        return Err(format!("the filter {name} takes {wanted} arguments, not {count}"));
    }
    Ok(filter)
}

fn number(filter: &str, text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("the filter {filter} needs a number, not {text:?}"))
}

fn unquoted(text: &str) -> String {
    let inner = |quote| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    inner('\'').or_else(|| inner('"')).unwrap_or(text).to_owned()
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == separator => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            None => {}
        }
    }
    parts.push(&text[start..]);
    parts
}
