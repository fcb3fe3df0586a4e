//! What is wrong with a definition: where, why, and what to do about it.
//!
//! Validation reports everything it finds at once, so an author repairs a document in one go. The
//! place is given twice: as a JSON pointer for tools, and as the property path that Conductor's
//! clients know from its error bodies.

use serde_json::Value;

use super::walk::escape_pointer;

/// How many problems one document can report; more are only counted.
pub const PROBLEMS_MAX: usize = 200;

/// One thing that is wrong with a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Where, as RFC 6901: `/tasks/2/decisionCases/a/0/inputParameters/x`; empty = the document.
    pub pointer: String,
    /// The same place as a property path: `tasks[2].decisionCases[a][0].inputParameters[x]`.
    pub path: String,
    /// What is wrong, in Conductor's words where it has some.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// The offending value, when it says something.
    pub invalid_value: Option<Value>,
    /// The offending word, where only a part of the value is at fault.
    pub word: Option<String>,
    /// A stable name for this kind of problem, in kebab-case.
    pub code: &'static str,
}

impl Problem {
    /// A problem at a place.
    pub fn new(
        pointer: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let pointer = pointer.into();
        Self {
            path: property_path(&pointer),
            pointer,
            message: message.into(),
            hint: hint.into(),
            invalid_value: None,
            word: None,
            code,
        }
    }

    /// The same problem with the value that caused it.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Value>) -> Self {
        self.invalid_value = Some(value.into());
        self
    }

    /// The same problem with the word at fault, which stands in the value as it is written.
    #[must_use]
    pub fn at_word(mut self, word: impl Into<String>) -> Self {
        self.word = Some(word.into());
        self
    }

    /// The same problem in a document that holds this one at `prefix`, a JSON pointer.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self.path = property_path(&self.pointer);
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.pointer.is_empty() { "document" } else { &self.pointer };
        write!(f, "{place}: {}", self.message)
    }
}

/// Problems found so far, bounded by [`PROBLEMS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    unlisted: usize,
}

impl Problems {
    /// Keeps a problem, or only counts it when there are too many.
    pub(super) fn push(&mut self, problem: Problem) {
        if self.found.len() < PROBLEMS_MAX {
            self.found.push(problem);
        } else {
            self.unlisted += 1;
        }
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            self.push(problem);
        }
    }

    /// Whether details of further problems are lost, so that costly ones need not be worked out.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= PROBLEMS_MAX
    }

    /// The problems in the order found, the last one saying how many are not listed.
    pub(super) fn into_vec(mut self) -> Vec<Problem> {
        if self.unlisted > 0 {
            self.found.push(Problem::new(
                "",
                "too-many-problems",
                format!("{} more problems are not listed", self.unlisted),
                "Repair those listed, then validate again.",
            ));
        }
        self.found
    }
}

/// A pointer with one more segment.
pub(super) fn join(pointer: &str, segment: &str) -> String {
    format!("{pointer}/{}", escape_pointer(segment))
}

/// The known name most like `name`, if one is close enough to be what was meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LENGTH_MAX: usize = 64;
    let length = name.chars().count();
    if length > LENGTH_MAX {
        return None;
    }
    let distance_max = (length / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= distance_max)
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one text into the other,
/// ignoring case.
fn edit_distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().collect();
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let (mut before, mut above): (Vec<usize>, Vec<usize>) =
        (Vec::new(), (0..=right.len()).collect());
    for (index, from) in left.iter().enumerate() {
        let mut row = vec![index + 1];
        for (column, to) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(from != to);
            let mut least = replaced.min(above[column + 1] + 1).min(row[column] + 1);
            let swapped =
                index > 0 && column > 0 && *from == right[column - 1] && left[index - 1] == *to;
            if swapped {
                least = least.min(before[column - 1] + 1);
            }
            row.push(least);
        }
        (before, above) = (above, row);
    }
    above[right.len()]
}

/// Writes a pointer the way Java validation writes a place: list indexes and map keys in brackets.
fn property_path(pointer: &str) -> String {
    const MAPS: [&str; 5] =
        ["decisionCases", "inputParameters", "outputParameters", "onStateChange", "taskToDomain"];
    let mut path = String::new();
    let mut in_map = false;
    for segment in pointer.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        let is_index = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        if in_map || is_index {
            path.push('[');
            path.push_str(&segment);
            path.push(']');
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&segment);
        }
        in_map = !in_map && MAPS.contains(&segment.as_str());
    }
    path
}
