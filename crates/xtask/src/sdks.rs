//! The official SDKs that tests drive the binary with, and programs that no package of Debian has, each
//! installed once in the build folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{root, say};

/// The official Python SDKs, pinned so that a new release cannot break an old commit.
const PYTHON_PACKAGES: [&str; 4] = [
    "conductor-python==2.0.0",
    "durabletask==1.12.0",
    "durabletask.azuremanaged==1.12.0",
    "azure-functions-durable==1.7.0",
];

/// What pins the official JavaScript SDKs, in the folder of its tests.
const NODE_FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

/// What makes the OpenTelemetry Collector, pinned.
const COLLECTOR_FILES: [&str; 2] = ["main.go", "go.mod"];

/// Programs of Go modules, pinned.
const GO_PROGRAMS: [&str; 1] = ["helm.sh/helm/v3/cmd/helm@v3.22.0"];

/// The version of Java that the Java SDK is compiled for.
const JAVA_MIN: u32 = 21;

/// An SDK as the tests find it.
struct Sdk {
    /// What it is, as people write it.
    what: &'static str,
    /// The environment variable that tells the tests where it is.
    variable: &'static str,
    /// A folder of its own, below the build folder.
    folder: PathBuf,
    /// What the variable names, within the folder.
    names: &'static str,
    /// All that decides what is installed: if it changes, it is installed anew.
    wanted: String,
    /// Installs it into the folder, which is there and empty.
    install: fn(&Path) -> anyhow::Result<()>,
}

/// Installs the SDKs that are not there yet; answers the environment of the tests, and notes in
/// `skipped` what cannot be had.
pub(crate) fn prepare(skipped: &mut Vec<String>) -> Vec<(&'static str, PathBuf)> {
    let mut variables = Vec::new();
    // To build it takes longer than all other programs of the tests together.
    let with_helm = std::env::var("NIGHTBELL_TEST_HELM").is_ok_and(|value| value == "1");
    for sdk in [python(), node(), java()].into_iter().chain(with_helm.then(go)) {
        match sdk.prepare() {
            Ok(place) => variables.push((sdk.variable, place)),
            Err(error) => {
                skipped.push(format!("tests with {} ({error:#})", sdk.what));
            }
        }
    }
    // Not every machine has a Go that is new enough, nor the way to its modules.
    let collector = collector();
    match collector.prepare() {
        Ok(place) => variables.push((collector.variable, place)),
        Err(error) => say(&format!("the test with {} is left out: {error:#}", collector.what)),
    }
    // What is compiled with one JDK runs with the same.
    variables.extend(jdk().ok().map(|home| ("JAVA_HOME", home)));
    variables
}

impl Sdk {
    fn prepare(&self) -> anyhow::Result<PathBuf> {
        let place = self.folder.join(self.names);
        let marker = self.folder.join(".complete");
        if std::fs::read_to_string(&marker).is_ok_and(|found| found == self.wanted) {
            return Ok(place);
        }
        say(&format!("── preparing {}", self.what));
        let folder = self.folder.display();
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder).with_context(|| format!("{folder}"))?;
        }
        std::fs::create_dir_all(&self.folder).with_context(|| format!("{folder}"))?;
        (self.install)(&self.folder)?;
        std::fs::write(&marker, &self.wanted).with_context(|| format!("{}", marker.display()))?;
        Ok(place)
    }
}

fn python() -> Sdk {
    Sdk {
        what: "the Python SDK",
        variable: "NIGHTBELL_TEST_PYTHON",
        folder: target().join("test-python"),
        names: "bin/python",
        wanted: PYTHON_PACKAGES.join(" "),
        install: |folder| {
            quiet(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            let mut python = Command::new(folder.join("bin/python"));
            quiet(python.args(pip).args(PYTHON_PACKAGES))
        },
    }
}

fn node() -> Sdk {
    let pinned = NODE_FILES.map(|file| std::fs::read_to_string(node_tests().join(file)));
    Sdk {
        what: "the JavaScript SDK",
        variable: "NIGHTBELL_TEST_NODE_MODULES",
        folder: target().join("test-node"),
        names: "node_modules",
        wanted: pinned.map(Result::unwrap_or_default).join("\n"),
        install: |folder| {
            quiet(Command::new("node").arg("--version"))?;
            copy(&NODE_FILES, &node_tests(), folder)?;
            let npm = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
            quiet(Command::new("npm").args(npm).current_dir(folder))
        },
    }
}

fn java() -> Sdk {
    let (pom, worker) = (java_tests().join("pom.xml"), java_tests().join("Auth.java"));
    let texts = [pom, worker].map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let home = jdk().map(|home| home.display().to_string()).unwrap_or_default();
    Sdk {
        what: "the Java SDK",
        variable: "NIGHTBELL_TEST_JAVA",
        folder: target().join("test-java"),
        names: "lib",
        wanted: format!("{}\n{home}", texts.join("\n")),
        install: |folder| {
            let (lib, home) = (folder.join("lib"), jdk()?);
            let mut maven = Command::new("mvn");
            maven.args(["--batch-mode", "--quiet", "dependency:copy-dependencies"]);
            maven.arg(format!("-DoutputDirectory={}", lib.display()));
            maven.arg("--file").arg(java_tests().join("pom.xml"));
            quiet(maven.env("JAVA_HOME", &home))?;
            let mut compiler = Command::new(home.join("bin/javac"));
            compiler.arg("-cp").arg(lib.join("*")).arg("-d").arg(&lib);
            quiet(compiler.arg(java_tests().join("Auth.java")))
        },
    }
}

/// Each is built in a module that is there for nothing else: `go install` alone refuses programs whose own
/// modules replace others.
fn go() -> Sdk {
    Sdk {
        what: "programs of Go",
        variable: "NIGHTBELL_TEST_GO",
        folder: target().join("test-go"),
        names: "bin",
        wanted: GO_PROGRAMS.join("\n"),
        install: |folder| {
            let bin = folder.join("bin");
            let go = |words: &[&str]| {
                let mut go = Command::new("go");
                go.args(words).current_dir(folder).env("GOBIN", &bin);
                quiet(go.env("GOFLAGS", "-mod=mod"))
            };
            go(&["mod", "init", "nightbell.test/programs"])?;
            for program in GO_PROGRAMS {
                go(&["get", "-tool", program])?;
                let package = program.split_once('@').map_or(program, |(package, _)| package);
                go(&["install", package])?;
            }
            Ok(())
        },
    }
}

/// It is of the project's own modules, with a receiver and an exporter: no package of Debian has it.
fn collector() -> Sdk {
    let texts = COLLECTOR_FILES.map(|file| std::fs::read_to_string(collector_tests().join(file)));
    Sdk {
        what: "the OpenTelemetry Collector",
        variable: "NIGHTBELL_TEST_COLLECTOR",
        folder: target().join("test-collector"),
        names: "collector",
        wanted: texts.map(Result::unwrap_or_default).join("\n"),
        install: |folder| {
            copy(&COLLECTOR_FILES, &collector_tests(), folder)?;
            for words in [&["mod", "tidy"][..], &["build", "-o", "collector", "."]] {
                quiet(Command::new("go").args(words).current_dir(folder))?;
            }
            Ok(())
        },
    }
}

/// The newest JDK that the Java SDK can be compiled with: of what `JAVA_HOME` names, of the one in `PATH`,
/// and of those where packages put them.
fn jdk() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("JAVA_HOME").map(PathBuf::from);
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = std::env::split_paths(&folders)
        .filter_map(|folder| {
            // By way of links to `bin/javac` in the folder of its JDK.
            let compiler = folder.join("javac").canonicalize().ok()?;
            Some(compiler.parent()?.parent()?.to_owned())
        })
        .collect();
    let packages = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let homes = named.into_iter().chain(in_path).chain(packages.map(|entry| entry.path()));
    let versions = homes.filter_map(|home| Some((java_version(&home)?, home)));
    let newest = versions.filter(|(version, _)| *version >= JAVA_MIN).max();
    let newest = newest.map(|(_, home)| home);
    newest.with_context(|| format!("no JDK of Java {JAVA_MIN} or newer is installed"))
}

/// The version of the JDK in a folder, by the file in which each tells it; none if it has no compiler.
fn java_version(home: &Path) -> Option<u32> {
    home.join("bin/javac").is_file().then_some(())?;
    version_of(&std::fs::read_to_string(home.join("release")).ok()?)
}

fn version_of(release: &str) -> Option<u32> {
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    version.trim_matches('"').split(['.', '-', '+']).next()?.parse().ok()
}

fn java_tests() -> PathBuf {
    root().join("crates/nightbell/tests/java")
}

fn node_tests() -> PathBuf {
    root().join("crates/nightbell/tests/javascript")
}

fn collector_tests() -> PathBuf {
    root().join("crates/nightbell/tests/go/collector")
}

fn copy(files: &[&str], from: &Path, into: &Path) -> anyhow::Result<()> {
    for file in files {
        let from = from.join(file);
        std::fs::copy(&from, into.join(file)).with_context(|| format!("{}", from.display()))?;
    }
    Ok(())
}

/// Runs a command without its words; if it fails, the last of them are in the error.
fn quiet(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} cannot be run"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}", said.lines().last().unwrap_or("failed without a word"));
    }
    Ok(())
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::version_of;

    #[test]
    fn a_jdk_tells_its_version() {
        let release = "IMPLEMENTOR=\"Eclipse Adoptium\"\nJAVA_VERSION=\"25.0.3\"\n";
        assert_eq!(version_of(release), Some(25));
        assert_eq!(version_of("JAVA_VERSION=\"21\"\n"), Some(21));
        assert_eq!(version_of("JAVA_VERSION=\"24-ea\"\n"), Some(24));
        assert_eq!(version_of("JAVA_VERSION=\"1.8.0_402\"\n"), Some(1));
        assert_eq!(version_of("IMPLEMENTOR=\"nobody\"\n"), None);
    }
}
