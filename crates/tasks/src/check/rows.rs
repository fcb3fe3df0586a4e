//! Rows of an answer as observations: keys, values and texts from columns.

use kernel::alert::{OBSERVATIONS_MAX, Template};
use kernel::expression::Path;
use serde_json::{Map, Value, json};

use super::order::Order;
use super::seen::Seen;
use super::{Trouble, unknown, wrong};

/// One row.
pub(super) type Row = Map<String, Value>;

/// How rows become observations.
pub(super) struct Shape {
    /// Where the key is in a row; otherwise the columns of `per` make it.
    key: Option<Path>,
    value: Option<Column>,
    text: Option<Column>,
    per: Vec<String>,
    judged: bool,
}

/// A part of a row.
enum Column {
    Name(String),
    Path(Path),
    Template(Template),
}

impl Shape {
    /// As the settings `per`, `value` and `text` say.
    pub(super) fn of(order: &Order) -> Result<Self, Trouble> {
        let key = match order.settings.text("per")? {
            None => None,
            Some(text) => Some(path("per", &text)?),
        };
        Ok(Self {
            key,
            value: order
                .settings
                .text("value")?
                .map(|it| Column::read("value", &it))
                .transpose()?,
            text: order.settings.text("text")?.map(|it| Column::read("text", &it)).transpose()?,
            per: order.per.clone(),
            judged: order.judged,
        })
    }

    /// Observations of rows. No rows at all are one observation of `rows`, 0, if somebody judges:
    /// that there is nothing may be what is wrong.
    ///
    /// # Errors
    /// More rows than a check may have.
    pub(super) fn observe(&self, rows: Vec<Row>) -> Result<Seen, Trouble> {
        let count = rows.len();
        if count > OBSERVATIONS_MAX {
            let why = format!("the answer has {count} rows, more than {OBSERVATIONS_MAX}");
            return Err(unknown(format!("{why}: let the query find fewer")));
        }
        let mut observations: Vec<Value> = Vec::with_capacity(count.max(1));
        if rows.is_empty() && self.judged {
            observations.push(json!({ "key": "", "rows": 0, "text": "no rows", "attrs": {} }));
        }
        for row in rows {
            observations.push(self.observation(row)?);
        }
        Ok(Seen { observations, memory: None })
    }

    fn observation(&self, row: Row) -> Result<Value, Trouble> {
        let mut seen = Row::new();
        if let Some(key) = &self.key {
            let found = scalar(&key.read(&Value::Object(row.clone())));
            let found = found.ok_or_else(|| unknown("a row has nothing where `per` points"))?;
            seen.insert("key".to_owned(), found.into());
        } else if let Some(absent) = self.per.iter().find(|name| !row.contains_key(*name)) {
            let known: Vec<&str> = row.keys().map(String::as_str).take(20).collect();
            let known = known.join(", ");
            return Err(unknown(format!(
                "a row has no column {absent:?}, which `per` names; it has {known}"
            )));
        } else if self.per.is_empty() {
            seen.insert("key".to_owned(), "".into());
        }
        if !self.judged {
            seen.insert("status".to_owned(), "fail".into());
        }
        let value = match &self.value {
            Some(column) => column.of(&row),
            None => ["value", "_value"].iter().find_map(|name| row.get(*name)).cloned(),
        };
        let text = self.text.as_ref().and_then(|column| scalar(&column.of(&row)?));
        seen.extend(value.map(|value| ("value".to_owned(), value)));
        seen.extend(text.map(|text| ("text".to_owned(), text.into())));
        seen.insert("attrs".to_owned(), Value::Object(row));
        Ok(Value::Object(seen))
    }
}

impl Column {
    fn read(name: &str, text: &str) -> Result<Self, Trouble> {
        if text.contains("{{") {
            let template = Template::parse(text);
            return template.map(Self::Template).map_err(|why| wrong(format!("`{name}`: {why}")));
        }
        if text.starts_with('$') {
            path(name, text).map(Self::Path)
        } else {
            Ok(Self::Name(text.into()))
        }
    }

    fn of(&self, row: &Row) -> Option<Value> {
        match self {
            Self::Name(name) => row.get(name).cloned(),
            Self::Path(path) => Some(path.read(&Value::Object(row.clone()))),
            Self::Template(template) => {
                Some(template.render(&|name| row.get(name).and_then(scalar)).into())
            }
        }
    }
}

/// A path among settings.
pub(super) fn path(name: &str, text: &str) -> Result<Path, Trouble> {
    Path::compile(text).map_err(|why| wrong(format!("`{name}`: {text:?} is no path: {why}")))
}

/// What a value is as text, if it is no structure.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Rows out of whatever JSON an answer holds: a list of objects, of anything, or one object.
pub(super) fn rows_of(value: Value) -> Vec<Row> {
    let row = |value: Value| match value {
        Value::Object(row) => row,
        other => Row::from_iter([("value".to_owned(), other)]),
    };
    match value {
        Value::Array(items) => items.into_iter().map(row).collect(),
        other => vec![row(other)],
    }
}
