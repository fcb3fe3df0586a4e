//! Snapshots: the messages of a file's tests as somebody has accepted them, in a file that people
//! read and keep with the tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use similar::TextDiff;

/// How the part of a test begins.
const HEAD: &str = "=== ";
/// Lines of a difference that are told around what differs.
const AROUND: usize = 2;
/// Lines of one difference, at most.
const LINES_MAX: usize = 60;
/// How long the shortest way is looked for; then the next best is taken.
const EFFORT: Duration = Duration::from_millis(100);

/// The snapshot of one file of tests.
pub(super) struct Snapshot {
    path: PathBuf,
    accepted: BTreeMap<String, String>,
    /// What the tests that ran have to say.
    present: BTreeMap<String, String>,
    accept: bool,
}

impl Snapshot {
    /// Reads the snapshot of a file; none is an empty one.
    pub(super) fn of(tests: &Path, accept: bool) -> Self {
        let name = tests.file_name().unwrap_or_default().to_string_lossy();
        let folder = tests.parent().unwrap_or(Path::new("")).join("__snapshots__");
        let path = folder.join(format!("{name}.snap"));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        Self { path, accepted: parts(&text), present: BTreeMap::new(), accept }
    }

    /// Compares what a test says with what was accepted; what is wrong, if anything is.
    pub(super) fn compare(&mut self, test: &str, text: &str) -> Option<String> {
        self.present.insert(test.to_owned(), text.to_owned());
        if self.accept {
            return None;
        }
        let hint = "look at it, and if it is right, run again with --accept";
        match self.accepted.get(test) {
            None => {
                let path = self.path.display();
                Some(format!("messages: there is no snapshot in {path}; {hint}\n{text}"))
            }
            Some(accepted) if accepted != text => {
                let told = difference(accepted, text);
                Some(format!("messages: they differ from the snapshot; {hint}\n{told}"))
            }
            Some(_) => None,
        }
    }

    /// Writes what was accepted. Tests that did not run keep theirs, if they are still there.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn save(mut self, tests: &[&str]) -> Result<(), String> {
        if !self.accept {
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.accepted);
        all.retain(|name, _| tests.contains(&&**name));
        all.extend(std::mem::take(&mut self.present));
        let wrong = |error: std::io::Error| format!("{}: {error}", self.path.display());
        if all.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(wrong(error)),
                _ => Ok(()),
            };
        }
        let mut whole = String::new();
        for (name, text) in &all {
            let _ = write!(whole, "{HEAD}{name}\n{text}\n\n");
        }
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(wrong)?;
        }
        std::fs::write(&self.path, whole).map_err(wrong)
    }
}

fn parts(text: &str) -> BTreeMap<String, String> {
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    let mut name: Option<String> = None;
    for line in text.lines() {
        if let Some(head) = line.strip_prefix(HEAD) {
            name = Some(head.to_owned());
            parts.insert(head.to_owned(), String::new());
        } else if let Some(part) = name.as_ref().and_then(|name| parts.get_mut(name)) {
            part.push_str(line);
            part.push('\n');
        }
    }
    for part in parts.values_mut() {
        *part = part.trim_end().to_owned();
    }
    parts
}

/// Lines of two texts: `-` was accepted, `+` is so now. What is the same is left out, but for a few lines around.
fn difference(accepted: &str, present: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (accepted.lines().collect(), present.lines().collect());
    let found = TextDiff::configure().timeout(EFFORT).diff_slices(&old, &new);
    let mut lines = Vec::new();
    for (number, group) in found.grouped_ops(AROUND).iter().enumerate() {
        if number > 0 {
            lines.push("  …".to_owned());
        }
        for change in group.iter().flat_map(|part| found.iter_changes(part)) {
            lines.push(format!("{} {}", change.tag(), change.value()));
        }
    }
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("  … {more} more lines"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{difference, parts};

    #[test]
    fn a_difference_shows_what_changed_and_little_else() {
        let (old, new) = ("a\nb\nc\nd\ne\nf", "a\nb\nc\nX\ne\nf");
        assert_eq!(difference(old, new), "  b\n  c\n- d\n+ X\n  e\n  f");
        assert_eq!(difference("a", "a\nb"), "  a\n+ b");
        let old: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        let old = old.join("\n");
        let new = old.replace("\n5\n", "\nX\n").replace("\n35\n", "\nY\n");
        let told = "  3\n  4\n- 5\n+ X\n  6\n  7\n  …\n  33\n  34\n- 35\n+ Y\n  36\n  37";
        assert_eq!(difference(&old, &new), told);
    }

    #[test]
    fn parts_are_read_as_they_are_written() {
        let read = parts("=== one\nx\n\ny\n\n=== two\nz\n\n");
        assert_eq!((&*read["one"], &*read["two"]), ("x\n\ny", "z"));
    }
}
