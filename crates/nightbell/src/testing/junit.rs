//! What came of tests, as `JUnit` XML for those who show it.

use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::report::FileReport;

/// Writes the report.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(path: &Path, files: &[FileReport]) -> anyhow::Result<()> {
    let mut report = Report::new("nightbell test");
    for file in files {
        let mut suite = TestSuite::new(file.name.clone());
        for test in &file.tests {
            let mut status = TestCaseStatus::success();
            if !test.problems.is_empty() {
                status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(test.problems[0].lines().next().unwrap_or_default());
                status.set_description(test.problems.join("\n"));
            }
            let mut case = TestCase::new(test.name.clone(), status);
            case.set_classname(file.name.clone());
            case.set_time(Duration::from_micros(test.micros));
            suite.add_test_case(case);
        }
        if !file.wrong.is_empty() {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message("the files are wrong");
            status.set_description(file.wrong.join("\n"));
            suite.add_test_case(TestCase::new("files", status));
        }
        report.add_test_suite(suite);
    }
    report.serialize(std::fs::File::create(path)?)?;
    Ok(())
}
