//! What the project is built of, as `cargo metadata` tells without the network: packages, their licences,
//! sources and dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::root;

/// A package of the project or of a registry.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// `None` for the project's own.
    pub(crate) source: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) repository: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// `None` for what is linked, else `build` or `dev`.
    kind: Option<String>,
}

/// Packages by ids, and which needs which.
#[derive(Debug, Default)]
pub(crate) struct Packages {
    pub(crate) by_id: BTreeMap<String, Package>,
    /// What each needs to be built and to run; not what only its tests need.
    pub(crate) needs: BTreeMap<String, BTreeSet<String>>,
}

impl Packages {
    /// Asks cargo, which must have everything here already.
    ///
    /// # Errors
    /// It does not, or `Cargo.lock` is not up to date.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--offline", "--locked", "--all-features"])
            .args(["--filter-platform", &platform])
            .current_dir(root())
            .output()
            .context("cargo cannot be run")?;
        if !output.status.success() {
            bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Self::parse(&output.stdout)
    }

    /// Reads what cargo writes.
    pub(crate) fn parse(json: &[u8]) -> anyhow::Result<Self> {
        let read: Metadata =
            serde_json::from_slice(json).context("cargo metadata writes something else")?;
        let needed =
            |it: &Dependency| it.dep_kinds.iter().any(|it| it.kind.as_deref() != Some("dev"));
        let needs = read.resolve.nodes.into_iter().map(|node| {
            let needs = node.deps.into_iter().filter(needed).map(|it| it.pkg);
            (node.id, needs.collect())
        });
        let needs = needs.collect();
        let by_id = read.packages.into_iter().map(|it| (it.id.clone(), it)).collect();
        Ok(Self { by_id, needs })
    }

    /// Everything that a package of the project needs, itself included.
    pub(crate) fn below(&self, name: &str) -> BTreeSet<&str> {
        let begin = self.by_id.values().filter(|it| it.source.is_none() && it.name == name);
        let mut open: Vec<&str> = begin.map(|it| it.id.as_str()).collect();
        let mut found = BTreeSet::new();
        while let Some(id) = open.pop() {
            if found.insert(id) {
                open.extend(self.needs.get(id).into_iter().flatten().map(String::as_str));
            }
        }
        found
    }

    /// Who needs a package.
    pub(crate) fn users_of(&self, id: &str) -> impl Iterator<Item = &Package> {
        let users = self.needs.iter().filter(move |(_, needs)| needs.contains(id));
        users.filter_map(|(user, _)| self.by_id.get(user))
    }
}
