//! Rows as they come in, counted against the limits.

use serde_json::Value;

use super::{Error, Limits, Row};

/// Rows so far.
pub(super) struct Rows<'a> {
    names: Vec<String>,
    taken: Vec<Row>,
    bytes: usize,
    limits: &'a Limits,
}

impl<'a> Rows<'a> {
    /// No rows yet. A second column of the same name is called `name_2`, so that none is lost.
    pub(super) fn new(columns: impl IntoIterator<Item = String>, limits: &'a Limits) -> Self {
        let mut names: Vec<String> = Vec::new();
        for column in columns {
            let mut name = column.clone();
            let mut number = 2;
            while names.contains(&name) {
                name = format!("{column}_{number}");
                number += 1;
            }
            names.push(name);
        }
        Self { names, taken: Vec::new(), bytes: 0, limits }
    }

    /// Takes one more row.
    pub(super) fn push(
        &mut self,
        values: impl IntoIterator<Item = Result<Value, Error>>,
    ) -> Result<(), Error> {
        let (rows_max, bytes_max) = (self.limits.rows_max, self.limits.bytes_max);
        if self.taken.len() >= rows_max {
            let setting = self.limits.set_by[1];
            return Err(Error::Invalid(format!(
                "the query has more than {rows_max} rows ({setting}): ask for fewer, with LIMIT \
                 or a narrower condition"
            )));
        }
        let mut row = Row::new();
        for (name, value) in self.names.iter().zip(values) {
            let value = value.map_err(|error| {
                let (Error::Invalid(reason) | Error::Failed(reason)) = error;
                Error::Invalid(format!("column {name}: {reason}"))
            })?;
            self.bytes += name.len() + 4 + weight(&value);
            row.insert(name.clone(), value);
        }
        if self.bytes > bytes_max {
            return Err(Error::Invalid(format!(
                "the rows have more than {bytes_max} bytes: ask for fewer rows or columns"
            )));
        }
        self.taken.push(row);
        Ok(())
    }

    /// All of them.
    pub(super) fn done(self) -> Vec<Row> {
        self.taken
    }
}

/// About as many bytes as the value has when it is written.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| weight(item) + 1).sum::<usize>() + 2,
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.len() + 4 + weight(value)).sum::<usize>() + 2
        }
        Value::Number(_) => 12,
        Value::Bool(_) | Value::Null => 5,
    }
}
