//! The official SDKs that tests drive the binary with, each installed once in the build folder.

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

/// An SDK as the tests find it.
struct Sdk {
    /// The language, as people write it.
    language: &'static str,
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
    [python(), node(), java()]
        .into_iter()
        .filter_map(|sdk| match sdk.prepare() {
            Ok(place) => Some((sdk.variable, place)),
            Err(error) => {
                skipped.push(format!("tests with the {} SDK ({error:#})", sdk.language));
                None
            }
        })
        .collect()
}

impl Sdk {
    fn prepare(&self) -> anyhow::Result<PathBuf> {
        let place = self.folder.join(self.names);
        let marker = self.folder.join(".complete");
        if std::fs::read_to_string(&marker).is_ok_and(|found| found == self.wanted) {
            return Ok(place);
        }
        say(&format!("── preparing the {} SDK", self.language));
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
        language: "Python",
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
        language: "JavaScript",
        variable: "NIGHTBELL_TEST_NODE_MODULES",
        folder: target().join("test-node"),
        names: "node_modules",
        wanted: pinned.map(Result::unwrap_or_default).join("\n"),
        install: |folder| {
            quiet(Command::new("node").arg("--version"))?;
            for file in NODE_FILES {
                let from = node_tests().join(file);
                let copied = std::fs::copy(&from, folder.join(file));
                copied.with_context(|| format!("{}", from.display()))?;
            }
            let npm = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
            quiet(Command::new("npm").args(npm).current_dir(folder))
        },
    }
}

fn java() -> Sdk {
    let (pom, worker) = (java_tests().join("pom.xml"), java_tests().join("Auth.java"));
    let texts = [pom, worker].map(|file| std::fs::read_to_string(file).unwrap_or_default());
    Sdk {
        language: "Java",
        variable: "NIGHTBELL_TEST_JAVA",
        folder: target().join("test-java"),
        names: "lib",
        wanted: texts.join("\n"),
        install: |folder| {
            let lib = folder.join("lib");
            let mut maven = Command::new("mvn");
            maven.args(["--batch-mode", "--quiet", "dependency:copy-dependencies"]);
            maven.arg(format!("-DoutputDirectory={}", lib.display()));
            quiet(maven.arg("--file").arg(java_tests().join("pom.xml")))?;
            // The SDK is of Java 21; where there are several, JAVA_HOME names it.
            let home = std::env::var_os("JAVA_HOME").map(PathBuf::from);
            let javac = home.map_or_else(|| "javac".into(), |home| home.join("bin/javac"));
            let mut compiler = Command::new(javac);
            compiler.arg("-cp").arg(lib.join("*")).arg("-d").arg(&lib);
            quiet(compiler.arg(java_tests().join("Auth.java")))
        },
    }
}

fn java_tests() -> PathBuf {
    root().join("crates/nightbell/tests/java")
}

fn node_tests() -> PathBuf {
    root().join("crates/nightbell/tests/javascript")
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
