//! What the commands that keep documents share: the files they read, and what they remove.

use serde_json::Value;

use super::client::Client;
use super::confirm;
use super::failure::{Exit, Failure};
use super::input::{self, Document};
use super::output::{Output, clean};

/// Where documents come from.
#[derive(Debug, clap::Args)]
pub(crate) struct Files {
    /// File that holds one or a list of them, - for standard input
    #[arg(short, long, required = true, num_args = 1..)]
    file: Vec<String>,
}

/// Where documents come from that are only looked at: files and folders, with or without `-f`.
#[derive(Debug, clap::Args)]
pub(crate) struct Paths {
    /// Files and folders, - for standard input
    #[arg(value_name = "PATH", required_unless_present = "file")]
    paths: Vec<String>,
    /// The same
    #[arg(short, long, num_args = 1..)]
    file: Vec<String>,
}

impl Paths {
    /// All of them, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().chain(&self.file).map(String::as_str)
    }
}

impl Files {
    /// Reads them all.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else.
    pub(super) fn read(&self) -> Result<Vec<Document>, Failure> {
        input::documents(&self.file)
    }

    /// Saves them all, or none; `what` is what one of them is called, `path` where the API keeps them.
    ///
    /// # Errors
    /// `exists` says whether they are there already, and one is not as it says; the server's.
    pub(super) async fn save(
        &self,
        what: &str,
        path: &str,
        exists: bool,
        client: &Client,
        output: &Output,
    ) -> anyhow::Result<()> {
        let documents = self.read()?;
        let noun = what.replace(' ', "-");
        for Document { origin, value } in &documents {
            let name = name_of(value);
            if !name.is_empty() {
                let found = match client.get(&[path, name]).send().await {
                    Ok(answer) => answer.value(),
                    Err(failure) => Err(failure),
                };
                judge(found, exists, &noun, origin, &format!("{what} {name}"))?;
            }
        }
        // All at once, so that either all are saved or none.
        let body = match documents.as_slice() {
            [Document { value, .. }] => value.clone(),
            many => Value::Array(many.iter().map(|document| document.value.clone()).collect()),
        };
        let answer = client.post(&[path]).json(&body).send().await;
        let answer = answer.map_err(|failure| match documents.as_slice() {
            [Document { origin, .. }] => at(origin, failure),
            _ => failure,
        })?;
        for Document { value, .. } in &documents {
            output.note(format_args!("saved {what} {}", clean(name_of(value))));
        }
        if output.is_json() { output.json(&answer.value()?) } else { Ok(()) }
    }
}

/// What to remove, by name.
#[derive(Debug, clap::Args)]
pub(crate) struct Removal {
    /// Names to delete
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Removal {
    /// The names, once it is sure that they are meant; `what` is what one of them is called.
    ///
    /// # Errors
    /// The answer is no, or standard input is not a terminal.
    pub(super) fn confirmed(&self, what: &str) -> anyhow::Result<&[String]> {
        self.confirmed_to("delete", what)
    }

    /// The same for another action.
    ///
    /// # Errors
    /// The answer is no, or standard input is not a terminal.
    pub(super) fn confirmed_to(&self, action: &str, what: &str) -> anyhow::Result<&[String]> {
        let labels: Vec<_> = self.names.iter().map(|name| format!("{what} {name}")).collect();
        confirm(action, &labels, self.yes)?;
        Ok(&self.names)
    }

    /// Removes one after the other, each at its name below `path`.
    ///
    /// # Errors
    /// As [`Self::confirmed`]; the server's.
    pub(super) async fn run(
        &self,
        what: &str,
        path: &[&str],
        client: &Client,
        output: &Output,
    ) -> anyhow::Result<()> {
        for name in self.confirmed(what)? {
            client.delete(&[path, &[name]].concat()).send().await?;
            output.note(format_args!("deleted {what} {name}"));
        }
        if output.is_json() { output.json(&self.names) } else { Ok(()) }
    }
}

/// Versions to remove of what has several.
#[derive(Debug, clap::Args)]
pub(crate) struct Versions {
    /// Its name
    pub(super) name: String,
    /// Version to remove
    #[arg(long, required_unless_present = "every")]
    pub(super) version: Option<u32>,
    /// Remove every version
    #[arg(long = "all-versions", conflicts_with = "version")]
    every: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(super) yes: bool,
}

/// Judges what was found under the name of a document that is to be made, or replaced if `replaces`.
/// `noun` is that of the command, `what` what the document is called.
///
/// # Errors
/// It exists and must not, or the other way round, with the command that fits; what kept us from
/// finding out.
pub(super) fn judge(
    found: Result<Value, Failure>,
    replaces: bool,
    noun: &str,
    origin: &str,
    what: &str,
) -> Result<(), Failure> {
    match found {
        Ok(_) if !replaces => {
            let message = format!("{origin}: there is a {what} already");
            let hint = format!("use `nightbell {noun} update`");
            Err(Failure::new(Exit::Conflict, message).with_hint(hint))
        }
        Err(failure) if failure.exit == Exit::NotFound && replaces => {
            Err(at(origin, failure).with_hint(format!("use `nightbell {noun} create`")))
        }
        Err(failure) if failure.exit != Exit::NotFound => Err(failure),
        _ => Ok(()),
    }
}

/// A failure that tells which document it is about.
pub(super) fn at(origin: &str, mut failure: Failure) -> Failure {
    failure.message = format!("{origin}: {}", failure.message);
    failure
}

/// The name in a document; empty if there is none, which the server tells with all else that is
/// wrong.
pub(super) fn name_of(value: &Value) -> &str {
    value.get("name").and_then(Value::as_str).unwrap_or_default()
}
