//! `--bump`: workflows that would change within their version get the next one in the texts of their
//! files, which stay as they are otherwise.

use kernel::Place;
use serde_json::Value;
use server::projects::ProjectFile;

use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};

/// A workflow that got another version.
pub(super) struct Raised {
    /// The path of its file within the project.
    pub(super) path: String,
    pub(super) name: String,
    pub(super) from: u32,
    pub(super) to: u32,
}

/// Raises the versions of workflows, given by name and version.
///
/// # Errors
/// The server's; a version that is not written as a number.
pub(super) async fn raise(
    files: &mut [ProjectFile],
    changed: &[(String, u32)],
    client: &Client,
) -> Result<Vec<Raised>, Failure> {
    let mut all = Vec::new();
    for (name, from) in changed {
        let latest = client.get(&["metadata", "workflow", name]).send().await?.value()?;
        let there = latest["version"].as_u64().unwrap_or_default();
        let of_files = files.iter().flat_map(|file| documents(&file.text));
        let of_files = of_files.filter(|(_, document)| document["name"] == name.as_str());
        let highest = of_files.map(|(_, document)| version_of(&document)).max();
        let to = highest.unwrap_or_default().max(there).max(u64::from(*from)) + 1;
        let to = u32::try_from(to).map_err(|_| Failure::error("there is no higher version"))?;
        for file in files.iter_mut() {
            let is_it = |document: &Value| {
                document["name"] == name.as_str() && version_of(document) == u64::from(*from)
            };
            let found = documents(&file.text).into_iter().find(|(_, it)| is_it(it));
            let Some((pointer, document)) = found else { continue };
            file.text = raised(&file.text, &pointer, &document, to).ok_or_else(|| {
                let path = &file.path;
                let message = format!("{path}: the version of {name} is not written as a number");
                Failure::new(Exit::Error, message).with_hint("raise it by hand")
            })?;
            all.push(Raised { path: file.path.clone(), name: name.clone(), from: *from, to });
        }
    }
    Ok(all)
}

/// The workflows of a file, each with its JSON pointer.
fn documents(text: &str) -> Vec<(String, Value)> {
    let all: Vec<(String, Value)> = match serde_json::from_str(text) {
        Ok(Value::Array(items)) => {
            items.into_iter().enumerate().map(|(at, it)| (format!("/{at}"), it)).collect()
        }
        Ok(document) => vec![(String::new(), document)],
        Err(_) => Vec::new(),
    };
    all.into_iter().filter(|(_, it)| it.get("tasks").is_some()).collect()
}

fn version_of(document: &Value) -> u64 {
    document["version"].as_u64().filter(|version| *version > 0).unwrap_or(1)
}

/// The text with another version in the document at the pointer.
fn raised(text: &str, pointer: &str, document: &Value, to: u32) -> Option<String> {
    let is_written = document.get("version").is_some();
    let place = if is_written { format!("{pointer}/version") } else { pointer.to_owned() };
    let start = byte_of(text, Place::in_json(text, &place, None))?;
    let (before, rest) = text.split_at_checked(start)?;
    if is_written {
        let after = rest.trim_start_matches(|it: char| it.is_ascii_digit());
        return (after.len() < rest.len()).then(|| format!("{before}{to}{after}"));
    }
    let after = rest.strip_prefix('{')?;
    Some(format!("{before}{{ \"version\": {to},{after}"))
}

fn byte_of(text: &str, place: Place) -> Option<usize> {
    let line = text.split_inclusive('\n').nth(place.line.checked_sub(1)?)?;
    let within = line.char_indices().nth(place.column.checked_sub(1)?)?.0;
    Some((line.as_ptr() as usize).checked_sub(text.as_ptr() as usize)? + within)
}

#[cfg(test)]
mod tests {
    use super::{documents, raised};

    /// The text of the only workflow in it, raised to version 3.
    fn third(text: &str, at: usize) -> String {
        let (pointer, document) = documents(text).swap_remove(at);
        raised(text, &pointer, &document, 3).expect("it has a version")
    }

    #[test]
    fn only_the_number_changes() {
        let text = "[\n  { \"name\": \"é\", \"version\": 1, \"tasks\": [] },\n  { \"name\": \"b\", \
                    \"tasks\": [{ \"version\": 1 }], \"version\":  2 }\n]\n";
        assert_eq!(third(text, 0), text.replacen("\"version\": 1, \"t", "\"version\": 3, \"t", 1));
        assert_eq!(third(text, 1), text.replace("\"version\":  2", "\"version\":  3"));
        let without = "{ \"name\": \"a\", \"tasks\": [] }";
        assert_eq!(third(without, 0), "{ \"version\": 3, \"name\": \"a\", \"tasks\": [] }");
        let odd = "{ \"name\": \"a\", \"version\": \"1\", \"tasks\": [] }";
        let (pointer, document) = documents(odd).swap_remove(0);
        assert_eq!(raised(odd, &pointer, &document, 3), None);
    }
}
