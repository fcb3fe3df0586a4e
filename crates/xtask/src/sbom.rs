//! What the binary is made of, for others to look through: a bill of materials in `CycloneDX` (JSON).
//!
//! It is made of `Cargo.lock` and cargo's metadata alone, so that the same sources give the same text: no
//! time and no random number are in it.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::packages::{Package, Packages};
use crate::root;

/// What is shipped.
const BINARY: &str = "nightbell";

#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Writes the bill to standard output, or to a file that is named.
///
/// # Errors
/// Cargo cannot tell what the binary is made of, or the file cannot be written.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let text = text()?;
    match arguments {
        [] => {
            use std::io::Write as _;
            std::io::stdout().write_all(text.as_bytes()).context("standard output")
        }
        [file] => std::fs::write(file, text).with_context(|| file.clone()),
        _ => anyhow::bail!("usage: cargo xtask sbom [FILE]"),
    }
}

/// The bill.
///
/// # Errors
/// Cargo cannot tell what the binary is made of.
pub(crate) fn text() -> anyhow::Result<String> {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock")?;
    let lock: Lock = toml::from_str(&text).context("Cargo.lock")?;
    let bill = bill(&Packages::read()?, &lock)?;
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

fn bill(packages: &Packages, lock: &Lock) -> anyhow::Result<Value> {
    let checksums: BTreeMap<(&str, &str), &str> = lock
        .package
        .iter()
        .filter_map(|it| Some(((it.name.as_str(), it.version.as_str()), it.checksum.as_deref()?)))
        .collect();
    let shipped = packages.below(BINARY);
    let of = |id: &str| packages.by_id.get(id).with_context(|| format!("no package {id}"));
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    let mut root = None;
    for id in shipped {
        let package = of(id)?;
        if package.source.is_none() && package.name == BINARY {
            root = Some(component(package, None, "application"));
        } else {
            let checksum = checksums.get(&(package.name.as_str(), package.version.as_str()));
            components.push(component(package, checksum.copied(), "library"));
        }
        let needs = packages.needs.get(id).into_iter().flatten();
        let needs: anyhow::Result<Vec<String>> = needs.map(|id| Ok(reference(of(id)?))).collect();
        dependencies.push(json!({ "ref": reference(package), "dependsOn": needs? }));
    }
    let root = root.with_context(|| format!("there is no package {BINARY}"))?;
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": root },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// Names a package everywhere: by its package URL, or, as ours are in no registry where somebody else may
/// have their names, by its name alone.
fn reference(package: &Package) -> String {
    if package.source.is_none() {
        return format!("{}@{}", package.name, package.version);
    }
    format!("pkg:cargo/{}@{}", package.name, package.version.replace('+', "%2B"))
}

fn component(package: &Package, checksum: Option<&str>, kind: &str) -> Value {
    let reference = reference(package);
    let mut component = json!({
        "type": kind,
        "bom-ref": reference,
        "name": package.name,
        "version": package.version,
    });
    if package.source.is_some() {
        component["purl"] = reference.into();
    }
    if let Some(description) = &package.description {
        component["description"] = description.trim().into();
    }
    if let Some(license) = &package.license {
        // Older packages write `/` for OR.
        let expression = license.replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Lock, bill};
    use crate::packages::Packages;

    #[test]
    fn a_bill_lists_what_is_shipped_and_what_needs_what() {
        let metadata = json!({
            "packages": [
                { "id": "n", "name": "nightbell", "version": "0.1.0", "license": "Apache-2.0" },
                { "id": "a", "name": "a", "version": "1.0.0+b", "license": "MIT/ISC", "source": "registry+x" },
                { "id": "t", "name": "tests-only", "version": "1.0.0", "source": "registry+x" },
            ],
            "resolve": { "nodes": [
                { "id": "n", "deps": [
                    { "pkg": "a", "dep_kinds": [{ "kind": "build" }] },
                    { "pkg": "t", "dep_kinds": [{ "kind": "dev" }] },
                ] },
                { "id": "a", "deps": [] },
            ] },
        });
        let packages =
            Packages::parse(metadata.to_string().as_bytes()).expect("as cargo writes it");
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0+b\"\nchecksum = \"00ff\"\n";
        let lock: Lock = toml::from_str(lock).expect("a lock");
        let bill = bill(&packages, &lock).expect("a bill");
        let ours = &bill["metadata"]["component"];
        assert_eq!(ours["bom-ref"], "nightbell@0.1.0");
        assert!(ours.get("purl").is_none(), "it is in no registry");
        let components = bill["components"].as_array().expect("a list");
        assert_eq!(components.len(), 1, "{bill}");
        assert_eq!(components[0]["purl"], "pkg:cargo/a@1.0.0%2Bb");
        assert_eq!(components[0]["licenses"], json!([{ "expression": "MIT OR ISC" }]));
        assert_eq!(components[0]["hashes"][0]["content"], "00ff");
        let needs = &bill["dependencies"][1];
        assert_eq!(
            *needs,
            json!({ "ref": "nightbell@0.1.0", "dependsOn": ["pkg:cargo/a@1.0.0%2Bb"] })
        );
    }
}
