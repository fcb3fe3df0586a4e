//! The project's own chores: test, attack, release, bench, differential, tidy, supply, sbom.
//!
//! `cargo xtask test` is the one test command: it prepares what the tests need, runs every check,
//! and says plainly what it could not run.

#[cfg(feature = "bench")]
mod bench;
#[cfg(feature = "differential")]
mod differential;
mod dist;
mod fuzz_targets;
mod packages;
mod pages;
mod sbom;
mod sdks;
mod services;
mod suite;
mod supply;
mod test;
mod tidy;
#[cfg(any(feature = "bench", feature = "differential"))]
mod wire;
mod words;

use std::process::ExitCode;

const HELP: &str = "\
The project's own chores.

Usage: cargo xtask <COMMAND>

Commands:
  test [FILTER]   prepare services, check format, lints and tidiness, run every test
  attack [FILTER] run every attack of the tests against a release binary, with the contract's bounds
  faults [ROUNDS] let every fault happen to clusters of release binaries, and audit what they did
  release         build the binary without the names of this machine's folders in it
  tidy            check what the compiler cannot: structure, sizes, words, links
  supply          check the licences, sources and versions of dependencies against deny.toml
  dist            write archive, packages, container image, chart and checksums, signed with --key
                  (--binary, --out, --key, --try)
  sbom [FILE]     write what the binary is made of, as CycloneDX (JSON)
  bench           measure, and write docs/performance.md
  screenshots     make pictures of the console, in docs/screenshots
  differential    run the same workflows on a real Conductor server and compare (--help)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("test") => test::run(&arguments[1..]),
        Some("attack") => test::build_and_attack(&arguments[1..]),
        Some("faults") => test::build_and_fault(&arguments[1..]),
        Some("release") => test::build_release(),
        Some("tidy") => tidy::run(),
        Some("supply") => supply::run(),
        Some("dist") => dist::run(&arguments[1..]),
        Some("sbom") => sbom::run(&arguments[1..]),
        Some("bench") => test::build_and_bench(),
        Some("screenshots") => test::screenshots(),
        Some("differential") => test::build_and_compare(&arguments[1..]),
        #[cfg(feature = "differential")]
        Some("compare") => differential::run(),
        #[cfg(feature = "bench")]
        Some("measure") => bench::run(),
        _ => {
            say(HELP);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "bench")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Writes a line for whoever runs the chore.
#[expect(clippy::print_stderr, reason = "a chore talks to a person")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// The root of the project.
fn root() -> std::path::PathBuf {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
