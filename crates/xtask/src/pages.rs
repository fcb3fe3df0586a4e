//! Holds the documents together: links lead somewhere, the book's table of contents names every page, and
//! the page of error codes names those that the server answers with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::Context;

/// The table of contents of the book.
const CONTENTS: &str = "docs/SUMMARY.md";
/// The page of error codes, and where they are written.
const ERRORS: &str = "docs/reference/errors.md";
const ERRORS_OF: &str = "crates/server/src";

/// Pages by their path from the root.
pub(crate) struct Pages(BTreeMap<PathBuf, String>);

impl Pages {
    /// Reads pages below the root.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) fn read(root: &Path, files: &[PathBuf]) -> anyhow::Result<Self> {
        let page = |file: &PathBuf| {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            Ok((file.strip_prefix(root).unwrap_or(file).to_owned(), text))
        };
        files.iter().map(page).collect::<anyhow::Result<_>>().map(Self)
    }

    /// Finds links that lead nowhere: to files that are not there, or headings that a page does not have.
    pub(crate) fn check_links(&self, root: &Path, findings: &mut Vec<String>) {
        for (page, text) in &self.0 {
            for (line, target) in links(text) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
                let folder = page.parent().unwrap_or(Path::new(""));
                let aim = if path.is_empty() { page.clone() } else { plain(&folder.join(path)) };
                let shown = page.display();
                if !root.join(&aim).exists() {
                    findings.push(format!("{shown}:{line}: {target} leads to no file"));
                } else if !anchor.is_empty()
                    && self.0.get(&aim).is_some_and(|text| !anchors(text).contains(anchor))
                {
                    findings.push(format!("{shown}:{line}: {target} leads to no heading"));
                }
            }
        }
    }

    /// Finds pages of `docs/` that the table of contents does not name, or names twice.
    pub(crate) fn check_contents(&self, findings: &mut Vec<String>) {
        let Some(contents) = self.0.get(Path::new(CONTENTS)) else {
            findings.push(format!("{CONTENTS} is missing"));
            return;
        };
        let named: Vec<PathBuf> =
            links(contents).map(|(_, target)| plain(&Path::new("docs").join(target))).collect();
        let pages = self.0.keys().filter(|it| it.starts_with("docs") && *it != Path::new(CONTENTS));
        for page in pages {
            match named.iter().filter(|it| *it == page).count() {
                1 => {}
                0 => findings.push(format!("{CONTENTS} does not name {}: add it", page.display())),
                _ => findings.push(format!("{CONTENTS} names {} twice", page.display())),
            }
        }
    }

    /// Finds error codes that the server answers with and the page does not name, and the reverse.
    pub(crate) fn check_errors(&self, sources: &[(String, String)], findings: &mut Vec<String>) {
        let page = self.0.get(Path::new(ERRORS)).map_or("", String::as_str);
        let named: BTreeSet<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix('|')?.split('|').next())
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        let of_server = sources.iter().filter(|(shown, _)| shown.starts_with(ERRORS_OF));
        let texts: Vec<&str> = of_server.map(|(_, text)| text.as_str()).collect();
        let answered: BTreeSet<&str> = texts.iter().flat_map(|text| codes(text)).collect();
        for code in answered.difference(&named) {
            findings.push(format!("{ERRORS} does not name the code {code}: add what it means"));
        }
        for code in &named {
            if !texts.iter().any(|text| text.contains(&format!("\"{code}\""))) {
                findings.push(format!("{ERRORS}: no answer has the code {code}"));
            }
        }
    }
}

/// The page of attacks, which names tests.
const ATTACKS: &str = "docs/attacks.md";

impl Pages {
    /// Finds tests that the page of attacks names and that are not there.
    pub(crate) fn check_attacks(&self, sources: &[(String, String)], findings: &mut Vec<String>) {
        let page = self.0.get(Path::new(ATTACKS)).map_or("", String::as_str);
        let rows = page.lines().filter_map(|line| line.strip_prefix('|')?.split('|').nth(1));
        let named = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        for name in named {
            let begin = format!("fn {name}(");
            if !sources.iter().any(|(_, text)| text.contains(&begin)) {
                findings.push(format!("{ATTACKS} names the test {name}, which is not there"));
            }
        }
    }
}

/// The links of a page with their lines, but those in code.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(number, line)| {
        let code = code_spans(line);
        let found = line.match_indices("](").filter_map(move |(at, _)| {
            let target = line[at + 2..].split([')', ' ']).next()?;
            (!code.iter().any(|span| span.contains(&at))).then_some((number, target))
        });
        found.collect::<Vec<_>>()
    })
}

/// The lines of a page with their numbers, but those of code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((at + 1, line))
    })
}

fn code_spans(line: &str) -> Vec<std::ops::Range<usize>> {
    let marks: Vec<usize> = line.match_indices('`').map(|(at, _)| at).collect();
    marks.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect()
}

/// The anchors of a page's headings, as both GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let Some(heading) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#')) else {
            continue;
        };
        // Of a link only its text is in the anchor.
        let mut heading = heading.trim().to_owned();
        while let Some((before, rest)) = heading.split_once("](") {
            let after = rest.split_once(')').map_or("", |it| it.1);
            heading = format!("{before}{after}");
        }
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String =
            kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
        let again = (1..).map(|number| format!("{anchor}-{number}"));
        let mut names = std::iter::once(anchor.clone()).chain(again);
        let free = names.find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// The codes of `Problem::new(status, "code", …)` and of `(Status::…, "code")`.
fn codes(text: &str) -> Vec<&str> {
    let after_status = text.match_indices("Status::").chain(text.match_indices("StatusCode::"));
    let after_status = after_status.filter_map(|(at, found)| {
        let rest = text.get(at + found.len()..)?;
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_uppercase() || c == '_');
        rest.strip_prefix(',')?.trim_start().strip_prefix('"')
    });
    let calls = text.match_indices("Problem::new(").chain(text.match_indices("Self::new("));
    let of_calls = calls.filter_map(|(at, found)| {
        let (before, rest) = text.get(at + found.len()..)?.split_once('"')?;
        (before.trim_end().ends_with(',') && !before.contains([';', ')'])).then_some(rest)
    });
    let quoted = after_status.chain(of_calls).filter_map(|rest| rest.split('"').next());
    let is_code = |code: &&str| {
        !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    // What `/health` says of itself are no errors.
    quoted.filter(is_code).filter(|it| !["healthy", "degraded", "unhealthy"].contains(it)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Pages, anchors, codes};

    fn pages(pages: &[(&str, &str)]) -> Pages {
        Pages(pages.iter().map(|(path, text)| ((*path).into(), (*text).to_owned())).collect())
    }

    #[test]
    fn tests_of_attacks_that_are_gone_are_found() {
        let page = "| attack | fails in |\n|---|---|\n| `x` of y | `it_holds`, `it_is_gone` |\n";
        let sources = [("a.rs".to_owned(), "async fn it_holds() {}".to_owned())];
        let mut findings = Vec::new();
        pages(&[("docs/attacks.md", page)]).check_attacks(&sources, &mut findings);
        assert_eq!(findings, ["docs/attacks.md names the test it_is_gone, which is not there"]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let root = tempdir();
        let page = "[a](b.md) [b](b.md#one-more) [c](b.md#none) [d](gone.md) `[e](gone.md)`\n\
                    ```\n[f](gone.md)\n```\n[g](#mine) [h](https://x/y)\n# Mine\n";
        for (name, text) in [("a.md", page), ("b.md", "## One `more`\n")] {
            std::fs::write(root.join(name), text).expect("a file");
        }
        let mut findings = Vec::new();
        pages(&[("a.md", page), ("b.md", "## One `more`\n")]).check_links(&root, &mut findings);
        let expected =
            ["a.md:1: b.md#none leads to no heading", "a.md:1: gone.md leads to no file"];
        assert_eq!(findings, expected);
        std::fs::remove_dir_all(root).expect("it is there");
    }

    #[test]
    fn the_book_names_each_page_once() {
        let contents = "- [A](a.md)\n- [B](b/b.md)\n- [B](b/b.md)\n";
        let named = pages(&[
            ("docs/SUMMARY.md", contents),
            ("docs/a.md", ""),
            ("docs/b/b.md", ""),
            ("docs/c.md", ""),
            ("README.md", ""),
        ]);
        let mut findings = Vec::new();
        named.check_contents(&mut findings);
        let expected = [
            "docs/SUMMARY.md names docs/b/b.md twice",
            "docs/SUMMARY.md does not name docs/c.md: add it",
        ];
        assert_eq!(findings, expected);
    }

    #[test]
    fn codes_are_compared_with_their_page() {
        let source = "Problem::new(StatusCode::NOT_FOUND, \"not-found\", m); \
                      Self::new(status, \"store-gone\", \"the store\")";
        assert_eq!(codes(source), ["not-found", "not-found", "store-gone"]);
        let page = "| code | |\n|---|---|\n| `not-found`, `odd` | 404 |\n";
        let sources = [("crates/server/src/a.rs".to_owned(), source.to_owned())];
        let mut findings = Vec::new();
        pages(&[(super::ERRORS, page)]).check_errors(&sources, &mut findings);
        let expected = [
            "docs/reference/errors.md does not name the code store-gone: add what it means",
            "docs/reference/errors.md: no answer has the code odd",
        ];
        assert_eq!(findings, expected);
    }

    #[test]
    fn anchors_are_those_of_the_readers() {
        let page = "# What `serve` does: all of it\n## Twice\n## Twice\n## [A](b.md) and C\n";
        let found: Vec<String> = anchors(page).into_iter().collect();
        assert_eq!(found, ["a-and-c", "twice", "twice-1", "what-serve-does-all-of-it"]);
    }

    fn tempdir() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("nightbell-pages-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        assert!(Path::new(&folder).is_dir());
        folder
    }
}
