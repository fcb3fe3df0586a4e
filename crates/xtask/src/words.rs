//! Holds code and documents to the glossary: a word that `docs/glossary.md` gives up for another may not
//! come back.

use std::path::Path;

use anyhow::{Context, ensure};

/// The glossary, and what its head exempts.
const GLOSSARY: &str = "docs/glossary.md";
const EXEMPT: [&str; 2] = ["docs/decisions/", "CHANGELOG.md"];
/// A word that is marked so has another legitimate meaning: a reader has to judge.
const JUDGED: char = '†';

/// The words that may not be used, each with the term that is used instead.
pub(crate) struct Words(Vec<(String, String)>);

impl Words {
    /// Reads the glossary below the root.
    ///
    /// # Errors
    /// There is none, or it gives up no word.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(root.join(GLOSSARY)).context(GLOSSARY)?;
        let words = Self::of(&text);
        ensure!(!words.0.is_empty(), "{GLOSSARY} gives up no word: its tables cannot be read");
        Ok(words)
    }

    fn of(glossary: &str) -> Self {
        let mut words = Vec::new();
        let mut column = None;
        for line in glossary.lines() {
            let Some(row) = line.strip_prefix('|') else {
                column = None;
                continue;
            };
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let Some(column) = column else {
                column = cells.iter().position(|cell| *cell == "not").or(Some(usize::MAX));
                continue;
            };
            let refused = cells.get(column).copied().unwrap_or_default();
            let term = cells.first().copied().unwrap_or_default();
            words.extend(quoted(refused).map(|word| (word.to_owned(), term.to_owned())));
        }
        Self(words)
    }

    /// The findings in one file, named as the reader is to see it.
    pub(crate) fn check(&self, shown: &str, text: &str, findings: &mut Vec<String>) {
        if shown == GLOSSARY || EXEMPT.iter().any(|exempt| shown.starts_with(exempt)) {
            return;
        }
        for (number, line) in text.lines().enumerate() {
            for (word, term) in self.0.iter().filter(|(word, _)| has(line, word)) {
                findings.push(format!("{shown}:{}: '{word}': write '{term}'", number + 1));
            }
        }
    }
}

/// The words in backquotes, but those that a reader has to judge.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    let parts: Vec<&str> = cell.split('`').collect();
    let words = (1..parts.len()).step_by(2).filter_map(move |at| {
        let judged = parts.get(at + 1).is_some_and(|rest| rest.starts_with(JUDGED));
        (!judged).then_some(parts[at])
    });
    words.collect::<Vec<_>>().into_iter()
}

/// Whether a line has the word, and not as a part of another one.
fn has(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::Words;

    const GLOSSARY: &str = "\
| term | meaning | origin | not |
|---|---|---|---|
| machine | what holds state | ours | `Gadget` `thing`† |
| signal | a message | Temporal | `call from afar` |

Text between tables.

| write | not |
|---|---|
| consumes | `obeys` |
";

    #[test]
    fn words_that_were_given_up_are_found_with_their_line() {
        let mut findings = Vec::new();
        let text = "struct Gadget;\nGadgets, thing\n// a call from afar\nit obeys\n";
        Words::of(GLOSSARY).check("src/a.rs", text, &mut findings);
        let expected = [
            "src/a.rs:1: 'Gadget': write 'machine'",
            "src/a.rs:3: 'call from afar': write 'signal'",
            "src/a.rs:4: 'obeys': write 'consumes'",
        ];
        assert_eq!(findings, expected);
        Words::of(GLOSSARY).check("docs/decisions/0001-a.md", text, &mut findings);
        assert_eq!(findings.len(), 3);
    }
}
