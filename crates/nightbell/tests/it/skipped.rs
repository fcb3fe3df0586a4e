//! What a test needs of others and is not here: it is skipped, and says so, unless it must be here.

use std::ffi::OsString;
use std::path::Path;

/// A program that the test command builds with Go, or else the one of that name in `PATH`.
pub(crate) fn of_go(program: &str) -> OsString {
    let folder = std::env::var_os("NIGHTBELL_TEST_GO");
    folder.map_or_else(|| program.into(), |folder| Path::new(&folder).join(program).into())
}

/// Says what is missing that the test command prepares only when it is asked to.
///
/// # Panics
/// It was asked to (`NIGHTBELL_TEST_GO` is set).
#[track_caller]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn not_asked_for(program: &str, how: &str) {
    let is_asked_for = std::env::var_os("NIGHTBELL_TEST_GO").is_some();
    assert!(!is_asked_for, "there is no {program}");
    eprintln!("skipped: there is no {program}; {how}");
}

/// Says what is missing that is built with Go, which not every machine has.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn not_built(program: &str, how: &str) {
    eprintln!("skipped: there is no {program}; {how}");
}

/// Says what is missing and where it comes from, for a test that is left out.
///
/// # Panics
/// Where all must be there: in CI (`CI` is set), and with `NIGHTBELL_TEST_SERVICES=1`.
#[track_caller]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn skipped(what: &str) {
    let is_set =
        |name: &str, means: fn(&str) -> bool| std::env::var(name).is_ok_and(|value| means(&value));
    let required = is_set("NIGHTBELL_TEST_SERVICES", |value| value == "1")
        || is_set("CI", |value| !matches!(value, "" | "0" | "false"));
    assert!(!required, "{what}");
    eprintln!("skipped: {what}");
}
