//! Everything that products are made of, collected from the sources, from the binary itself and from
//! this machine. Products are functions of it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::elf::Asked;
use crate::{root, sbom};

/// The shells for which there are completions.
const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];
/// Where the certificates of public authorities lie on this machine.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What of `deploy/` is for people to copy from.
const EXAMPLES: [&str; 4] = ["ci", "compose", "grafana", "prometheus"];

/// The kind of processor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Machine {
    X86,
    Arm,
}

impl Machine {
    /// Of a binary, by its ELF header.
    pub(super) fn of(binary: &[u8]) -> anyhow::Result<Self> {
        ensure!(binary.starts_with(b"\x7fELF"), "the binary is none of Linux (no ELF header)");
        match binary.get(18..20) {
            Some([62, 0]) => Ok(Self::X86),
            Some([183, 0]) => Ok(Self::Arm),
            other => bail!("the binary is for an unknown processor ({other:?})"),
        }
    }

    pub(super) const fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    pub(super) const fn oci(self) -> &'static str {
        self.debian()
    }

    /// The name of the kernel, and of rpm.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    /// In what packages of rpm provide.
    pub(super) const fn rpm_isa(self) -> &'static str {
        match self {
            Self::X86 => "x86-64",
            Self::Arm => "aarch-64",
        }
    }

    /// In the lead of a package of rpm.
    pub(super) const fn rpm_number(self) -> u8 {
        match self {
            Self::X86 => 1,
            Self::Arm => 19,
        }
    }
}

/// Everything that products are made of.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub(super) version: String,
    pub(super) machine: Machine,
    /// Seconds since 1970, of every file.
    pub(super) time: u64,
    pub(super) binary: Vec<u8>,
    /// What the binary asks of the machine that runs it.
    pub(super) asked: Asked,
    /// By shell.
    pub(super) completions: Vec<(String, Vec<u8>)>,
    /// By name: `nightbell-run.1`.
    pub(super) pages: Vec<(String, Vec<u8>)>,
    /// For editors, by name: `workflow.json`.
    pub(super) schemas: Vec<(String, Vec<u8>)>,
    pub(super) configuration: String,
    /// Licence, changelog and README, by name.
    pub(super) documents: Vec<(String, Vec<u8>)>,
    /// All of `deploy/`, by path.
    pub(super) deploy: Vec<(String, Vec<u8>)>,
    /// Shared libraries by path, the loader among them; none if the binary is static.
    pub(super) libraries: Vec<(String, Vec<u8>)>,
    pub(super) certificates: Vec<u8>,
    pub(super) bill: Vec<u8>,
}

impl Contents {
    /// Of a binary, which is run for what it says of itself.
    ///
    /// # Errors
    /// Something is missing, or the binary asks for what not every machine has.
    pub(super) fn collect(path: &Path) -> anyhow::Result<Self> {
        let binary = std::fs::read(path).with_context(|| path.display().to_string())?;
        let asked = Asked::of(&binary)?;
        asked.check()?;
        let said = answer(path, &["version"])?;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let version = said
            .strip_prefix("nightbell ")
            .with_context(|| format!("{} says of its version: {said:?}", path.display()))?;
        let completions =
            SHELLS.map(|shell| Ok((shell.to_owned(), answer(path, &["completions", shell])?)));
        let documents = ["CHANGELOG.md", "LICENSE", "README.md"].map(|name| {
            let text = std::fs::read(root().join(name)).with_context(|| name.to_owned())?;
            Ok((name.to_owned(), text))
        });
        Ok(Self {
            version: version.to_owned(),
            machine: Machine::of(&binary)?,
            time: time()?,
            asked,
            completions: completions.into_iter().collect::<anyhow::Result<_>>()?,
            pages: written(path, "man")?,
            schemas: written(path, "editor-schemas")?,
            configuration: String::from_utf8(answer(path, &["config"])?)?,
            documents: documents.into_iter().collect::<anyhow::Result<_>>()?,
            deploy: below(&root().join("deploy"))?,
            libraries: libraries(path)?,
            certificates: std::fs::read(CERTIFICATES).with_context(|| {
                format!("the image needs the certificates of public authorities: {CERTIFICATES}")
            })?,
            bill: sbom::text()?.into_bytes(),
            binary,
        })
    }

    /// The version as package managers order it: a pre-release is older than the release.
    pub(super) fn sorted_version(&self) -> String {
        self.version.replace('-', "~")
    }

    /// A file of `deploy/`.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn deployed(&self, path: &str) -> anyhow::Result<&[u8]> {
        let found = self.deploy.iter().find(|(name, _)| name == path);
        found.map(|(_, text)| text.as_slice()).with_context(|| format!("there is no deploy/{path}"))
    }

    /// Files of `deploy/` below a folder, by their paths in it.
    pub(super) fn deployed_below(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let inside = |(path, text): &(String, Vec<u8>)| {
            let path = path.strip_prefix(folder)?.strip_prefix('/')?;
            Some((path.to_owned(), text.clone()))
        };
        self.deploy.iter().filter_map(inside).collect()
    }

    /// What of `deploy/` is for people to copy from.
    pub(super) fn examples(&self) -> Vec<(String, Vec<u8>)> {
        let is_one =
            |path: &str| path.split_once('/').is_some_and(|(folder, _)| EXAMPLES.contains(&folder));
        self.deploy.iter().filter(|(path, _)| is_one(path)).cloned().collect()
    }
}

/// What the binary prints.
fn answer(binary: &Path, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NIGHTBELL_")) {
        command.env_remove(name);
    }
    // From a folder without a nightbell.toml.
    let output = command.args(arguments).current_dir("/").output();
    let output = output.with_context(|| binary.display().to_string())?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nightbell {}: {told}", arguments.join(" "));
    Ok(output.stdout)
}

/// The files that a command of the binary writes into a folder, by name.
fn written(binary: &Path, command: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let folder = std::env::temp_dir().join(format!("nightbell-{command}-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let told = answer(binary, &[command, &folder.display().to_string()]);
    let read = told.and_then(|_| below(&folder));
    let _ = std::fs::remove_dir_all(&folder);
    read
}

/// The files below a folder by path, whatever their order, times and modes are there; hidden ones but
/// those of Helm are the repository's own.
pub(super) fn below(folder: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut waiting = vec![(String::new(), folder.to_owned())];
    while let Some((before, folder)) = waiting.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{before}{name}");
            if entry.file_type()?.is_dir() {
                waiting.push((format!("{path}/"), entry.path()));
            } else if !name.starts_with('.') || name == ".helmignore" {
                let content = std::fs::read(entry.path());
                found.push((path, content.with_context(|| entry.path().display().to_string())?));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The shared libraries that the loader of this machine would take.
fn libraries(binary: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let output = Command::new("ldd").arg(binary).output().context("ldd")?;
    if !output.status.success() {
        // It says so of what is static.
        return Ok(Vec::new());
    }
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(!listed.contains("not found"), "a library of the binary is missing:\n{listed}");
    let paths = listed.lines().filter_map(|line| {
        let path = line.split("=>").last()?.split(" (").next()?.trim();
        path.starts_with('/').then(|| path.to_owned())
    });
    paths.map(|path| Ok((path.clone(), std::fs::read(&path).context(path)?))).collect()
}

/// `SOURCE_DATE_EPOCH`, or else the time of the commit.
fn time() -> anyhow::Result<u64> {
    if let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") {
        return text.parse().context("SOURCE_DATE_EPOCH is no number of seconds");
    }
    let output =
        Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()).output();
    let output = output.context("git")?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    text.parse().context("there is no commit to take the time from: set SOURCE_DATE_EPOCH")
}
