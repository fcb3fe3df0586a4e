//! What an import writes: a file of monitors with a comment for everything that has no equivalent.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Bytes of a name of a monitor or receiver.
const NAME_MAX: usize = 150;
/// What a comment on something that was left out begins with.
const LEFT_OUT: &str = "not translated: ";

/// One receiver, monitor, …
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// Its name; empty in a list.
    pub(super) name: String,
    /// What it is, in the order of the file.
    pub(super) keys: Map<String, Value>,
    /// What it was called, or other words about it.
    pub(super) words: Vec<String>,
    /// What of it has no equivalent.
    pub(super) left_out: Vec<String>,
}

impl Entry {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Sets a key.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.keys.insert(key.to_owned(), value.into());
    }

    /// Notes that something of it has no equivalent.
    pub(super) fn leave(&mut self, what: impl Into<String>) {
        self.left_out.push(what.into());
    }
}

/// A file of monitors that is being written.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Words at its beginning.
    pub(super) words: Vec<String>,
    pub(super) ping_keys: Vec<Entry>,
    pub(super) receivers: Vec<Entry>,
    pub(super) people: Vec<Entry>,
    pub(super) rotations: Vec<Entry>,
    pub(super) overrides: Vec<Entry>,
    pub(super) routes: Vec<Entry>,
    pub(super) monitors: Vec<Entry>,
    pub(super) maintenance: Vec<Entry>,
    /// Things that were left out as a whole, and why.
    left_out: Vec<(String, String)>,
    /// Words at its end.
    pub(super) end: Vec<String>,
    names: BTreeSet<String>,
}

impl Page {
    /// A name for a monitor that no other has.
    pub(super) fn name(&mut self, wanted: &str) -> String {
        let plain: String = wanted.chars().filter(|c| !c.is_control()).collect();
        let plain = plain.trim();
        let plain = if plain.is_empty() { "unnamed" } else { plain };
        let mut number = 1;
        loop {
            let suffix = if number == 1 { String::new() } else { format!("-{number}") };
            let end = plain.floor_char_boundary(NAME_MAX - suffix.len());
            let name = format!("{}{suffix}", &plain[..end]);
            if self.names.insert(name.clone()) {
                return name;
            }
            number += 1;
        }
    }

    /// Leaves something out as a whole.
    pub(super) fn leave(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.left_out.push((what.into(), why.into()));
    }

    /// Leaves out the monitor whose part of the file is at this path; `false` if there is none.
    pub(super) fn leave_monitor(&mut self, path: &str, why: &str) -> bool {
        let is_own = |entry: &Entry| {
            let rest = path.strip_prefix("monitors.").and_then(|it| it.strip_prefix(&*entry.name));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        // Names may have dots.
        let longest = self.monitors.iter().enumerate().filter(|(_, it)| is_own(it));
        let Some((at, _)) = longest.max_by_key(|(_, it)| it.name.len()) else { return false };
        let entry = self.monitors.remove(at);
        self.leave(format!("the monitor {}", entry.name), why);
        true
    }

    /// Leaves out the receiver whose part of the file is at this path.
    pub(super) fn leave_receiver(&mut self, path: &str, why: &str) -> bool {
        let name = path.strip_prefix("receivers.").unwrap_or(path);
        let Some(at) = self.receivers.iter().position(|it| it.name == name) else { return false };
        let entry = self.receivers.remove(at);
        self.leave(format!("the receiver {}", entry.name), why);
        true
    }

    /// How many remarks there are on what was left out.
    pub(super) fn remarks(&self) -> usize {
        let all = [
            &self.ping_keys,
            &self.receivers,
            &self.people,
            &self.rotations,
            &self.overrides,
            &self.routes,
            &self.monitors,
            &self.maintenance,
        ];
        let of_entries: usize = all.into_iter().flatten().map(|it| it.left_out.len()).sum();
        of_entries + self.left_out.len()
    }

    /// The file.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        comment(&mut text, "", &self.words);
        section(&mut text, "ping_keys", &self.ping_keys, true);
        section(&mut text, "receivers", &self.receivers, true);
        section(&mut text, "people", &self.people, true);
        section(&mut text, "rotations", &self.rotations, true);
        section(&mut text, "overrides", &self.overrides, false);
        section(&mut text, "routes", &self.routes, false);
        section(&mut text, "monitors", &self.monitors, true);
        section(&mut text, "maintenance", &self.maintenance, false);
        if !self.left_out.is_empty() {
            text.push('\n');
            let left_out =
                self.left_out.iter().map(|(what, why)| format!("{LEFT_OUT}{what}: {why}"));
            comment(&mut text, "", &left_out.collect::<Vec<_>>());
        }
        if !self.end.is_empty() {
            text.push('\n');
            comment(&mut text, "", &self.end);
        }
        text
    }
}

fn section(text: &mut String, name: &str, entries: &[Entry], is_named: bool) {
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(text, "{name}:");
    for Entry { name, keys, words, left_out } in entries {
        comment(text, "  ", words);
        let left_out: Vec<String> = left_out.iter().map(|it| format!("{LEFT_OUT}{it}")).collect();
        comment(text, "  ", &left_out);
        if is_named {
            let _ = writeln!(text, "  {}:", scalar(name));
            for (key, value) in keys {
                let _ = writeln!(text, "    {}: {}", scalar(key), flow(value));
            }
        } else {
            let _ = writeln!(text, "  - {}", flow(&Value::Object(keys.clone())));
        }
    }
}

/// Lines of comment: whatever stands in them, they end none too early.
fn comment(text: &mut String, indent: &str, lines: &[String]) {
    for line in lines.iter().flat_map(|it| it.lines()) {
        let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(text, "{indent}# {}", clean.trim_end());
    }
}

/// A value in one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members =
                members.iter().map(|(key, value)| format!("{}: {}", scalar(key), flow(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A text as it is where that can mean nothing else, or in quotes.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    // Durations begin with a digit.
    let is_span = kernel::alert::definition::parse_span(text).is_ok()
        && text.ends_with(|c: char| c.is_ascii_alphabetic())
        && !text.contains([' ', 'e', 'E']);
    if is_plain || is_span {
        return text.to_owned();
    }
    // JSON is YAML, but for characters that YAML wants to be escaped.
    let is_odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    let mut quoted = String::new();
    for c in Value::from(text).to_string().chars() {
        if is_odd(c) {
            let _ = write!(quoted, "\\u{:04x}", u32::from(c));
        } else {
            quoted.push(c);
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use kernel::alert::definition::parse_yaml;
    use serde_json::json;

    use super::{Entry, Page};

    #[test]
    fn what_is_written_reads_as_what_was_meant() {
        let nasty = json!({
            "a": "x: y # z", "b": "- [", "c": "yes", "d": "12", "e": "line\nline", "f": "5m", "g": "\"q\"",
            "h": [1, true, null, "${secret:X}"], "i": {}, "j": "\u{7f}\u{2028}é", "k": "1e5s", "l": "",
        });
        let mut page = Page::default();
        let mut entry = Entry::new("a.b: #");
        entry.words.push("two\nlines\r# and: more".to_owned());
        entry.set("heartbeat", nasty.clone());
        page.monitors.push(entry);
        page.leave("this", "nothing\nlike: it");
        let read = parse_yaml(&page.text()).expect("it is YAML").json();
        assert_eq!(read, json!({ "monitors": { "a.b: #": { "heartbeat": nasty } } }));
        assert_eq!(page.remarks(), 1);
        assert!(page.leave_monitor("monitors.a.b: #.heartbeat.d", "because"), "{page:?}");
        assert!(page.monitors.is_empty());
    }

    #[test]
    fn names_are_of_one_monitor_each() {
        let mut page = Page::default();
        assert_eq!([page.name("a"), page.name("a"), page.name("\u{1}")], ["a", "a-2", "unnamed"]);
        assert!(page.name(&"ü".repeat(200)).len() <= 150);
    }
}
