//! What came of tests, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

/// One test.
#[derive(Debug, Serialize)]
pub(crate) struct TestReport {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// What is not as expected; empty = it passed.
    pub(crate) problems: Vec<String>,
    /// What happened, with virtual times.
    pub(crate) trace: Vec<String>,
    /// Microseconds that it took.
    #[serde(skip)]
    pub(crate) micros: u64,
}

/// One file of tests.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FileReport {
    pub(crate) name: String,
    /// What is wrong with it, or with what it tests.
    pub(crate) wrong: Vec<String>,
    pub(crate) tests: Vec<TestReport>,
}

impl FileReport {
    pub(crate) fn failed(&self) -> usize {
        self.tests.iter().filter(|test| !test.problems.is_empty()).count()
    }

    /// The lines for people.
    pub(crate) fn text(&self, trace: bool) -> String {
        let mut text = String::new();
        for wrong in &self.wrong {
            let _ = writeln!(text, "wrong {wrong}");
        }
        for test in &self.tests {
            let word = if test.problems.is_empty() { "ok   " } else { "FAIL " };
            let _ = writeln!(text, "{word} {}:{} {}", self.name, test.line, test.name);
            for problem in &test.problems {
                for line in problem.lines() {
                    let _ = writeln!(text, "        {line}");
                }
            }
            for line in test.trace.iter().filter(|_| trace) {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    }
}
