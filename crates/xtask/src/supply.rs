//! Checks what the project is built of against `deny.toml`, without the network: licences, banned
//! packages, duplicate versions, sources.
//!
//! The file is one of cargo-deny, which reads more of it (advisories); this reads the parts that need no
//! network, and complains about what it does not know, so that no line is there in vain.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde::Deserialize;

use crate::packages::{Package, Packages};
use crate::{root, say};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    #[expect(dead_code, reason = "cargo-deny's: for which systems")]
    #[serde(default)]
    graph: toml::Table,
    #[expect(dead_code, reason = "cargo-deny's, which asks the network")]
    advisories: toml::Table,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    #[expect(dead_code, reason = "cargo-deny's: of the section itself")]
    #[serde(default)]
    version: u32,
    allow: BTreeSet<String>,
    #[serde(default)]
    exceptions: Vec<LicenseException>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LicenseException {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    multiple_versions: String,
    deny: Vec<Ban>,
    /// Versions beside which there is another one.
    skip: Vec<Skip>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    /// Who may need it all the same.
    #[serde(default)]
    wrappers: BTreeSet<String>,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    /// `NAME@VERSION`; the version may leave out its end.
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
    allow_registry: BTreeSet<String>,
}

/// Checks everything and tells every finding.
///
/// # Errors
/// There are findings, or the file or cargo cannot be read.
pub(crate) fn run() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root().join("deny.toml")).context("deny.toml")?;
    let policy: Policy = toml::from_str(&text).context("deny.toml")?;
    let packages = Packages::read()?;
    let findings = findings(&policy, &packages);
    for finding in &findings {
        say(finding);
    }
    anyhow::ensure!(findings.is_empty(), "{} findings about dependencies", findings.len());
    say(&format!("{} packages fit deny.toml", packages.by_id.len()));
    Ok(())
}

fn findings(policy: &Policy, packages: &Packages) -> Vec<String> {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for package in packages.by_id.values() {
        findings.extend(license(policy, package, &mut used));
        findings.extend(source(&policy.sources, package));
    }
    let is_idle = |it: &&String| !used.contains(*it);
    for idle in policy.licenses.allow.iter().filter(is_idle) {
        findings.push(format!("deny.toml: no package has the licence {idle}; remove the line"));
    }
    findings.extend(bans(&policy.bans, packages));
    findings.extend(duplicates(&policy.bans, packages));
    findings
}

fn shown(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
}

fn license(policy: &Policy, package: &Package, used: &mut BTreeSet<String>) -> Option<String> {
    let own = policy.licenses.exceptions.iter().find(|it| it.name == package.name);
    let allows = |it: &str| {
        policy.licenses.allow.contains(it) || own.is_some_and(|own| own.allow.contains(it))
    };
    let Some(license) = &package.license else {
        return Some(format!("{}: it names no licence", shown(package)));
    };
    match satisfied(license, &allows) {
        Some(with) => {
            used.extend(with);
            None
        }
        None => Some(format!("{}: the licence '{license}' is not allowed", shown(package))),
    }
}

/// The licences by which an expression (SPDX, or with `/` for OR as older packages write) is satisfied;
/// `None` if it is not.
fn satisfied(expression: &str, allows: &impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (found, rest) = any(&words, allows)?;
    if rest.is_empty() { found } else { None }
}

/// What satisfies a part of an expression, if anything does, and what follows it; `None` if it is none.
type Part<'a> = Option<(Option<Vec<String>>, &'a [&'a str])>;

fn any<'a>(words: &'a [&'a str], allows: &impl Fn(&str) -> bool) -> Part<'a> {
    let (mut found, mut rest) = all(words, allows)?;
    while let ["OR", more @ ..] = rest {
        let (other, after) = all(more, allows)?;
        // Every alternative that is allowed is one that is used.
        found = match (found, other) {
            (Some(one), Some(other)) => Some([one, other].concat()),
            (one, other) => one.or(other),
        };
        rest = after;
    }
    Some((found, rest))
}

fn all<'a>(words: &'a [&'a str], allows: &impl Fn(&str) -> bool) -> Part<'a> {
    let (mut found, mut rest) = one(words, allows)?;
    while let ["AND", more @ ..] = rest {
        let (other, after) = one(more, allows)?;
        found = found.zip(other).map(|(one, other)| [one, other].concat());
        rest = after;
    }
    Some((found, rest))
}

fn one<'a>(words: &'a [&'a str], allows: &impl Fn(&str) -> bool) -> Part<'a> {
    let (name, rest) = match words {
        ["(", inner @ ..] => {
            let (found, rest) = any(inner, allows)?;
            let [")", rest @ ..] = rest else { return None };
            return Some((found, rest));
        }
        [license, "WITH", exception, rest @ ..] => (format!("{license} WITH {exception}"), rest),
        [license, rest @ ..] if !matches!(*license, "AND" | "OR" | "WITH" | ")") => {
            ((*license).to_owned(), rest)
        }
        _ => return None,
    };
    let is_allowed = allows(&name);
    Some((is_allowed.then(|| vec![name]), rest))
}

fn source(policy: &Sources, package: &Package) -> Option<String> {
    let source = package.source.as_deref()?;
    let is_denied = |word: &str| word == "deny";
    let refused = |what: &str| Some(format!("{}: {what} {source}", shown(package)));
    match source.split_once('+') {
        Some(("registry" | "sparse", url)) => {
            let known = policy.allow_registry.contains(url);
            if known || !is_denied(&policy.unknown_registry) {
                None
            } else {
                refused("it is of the registry")
            }
        }
        Some(("git", _)) if is_denied(&policy.unknown_git) => refused("it is of the repository"),
        Some(("git", _)) => None,
        _ => refused("it is of"),
    }
}

fn bans(policy: &Bans, packages: &Packages) -> Vec<String> {
    let mut findings = Vec::new();
    for ban in &policy.deny {
        let found = packages.by_id.values().filter(|it| it.name == ban.name);
        let mut users = BTreeSet::new();
        for package in found {
            for user in packages.users_of(&package.id) {
                users.insert(user.name.as_str());
                if !ban.wrappers.contains(&user.name) {
                    findings.push(format!(
                        "{} needs {}, which is banned: {}",
                        shown(user),
                        shown(package),
                        ban.reason
                    ));
                }
            }
        }
        let is_idle = |it: &&String| !users.contains(it.as_str());
        for idle in ban.wrappers.iter().filter(is_idle) {
            let name = &ban.name;
            findings.push(format!("deny.toml: {idle} does not need {name}; remove it there"));
        }
    }
    findings
}

fn duplicates(policy: &Bans, packages: &Packages) -> Vec<String> {
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages.by_id.values() {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    let mut skipped: BTreeSet<(&str, &str)> = BTreeSet::new();
    for skip in &policy.skip {
        let (name, wanted) = skip.name.split_once('@').unwrap_or((&skip.name, ""));
        let of_name = versions.get(name).filter(|them| them.len() > 1);
        let fits = |it: &&&str| {
            it.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let found: Vec<&str> = of_name.into_iter().flatten().filter(fits).copied().collect();
        if found.is_empty() || skip.reason.trim().is_empty() {
            let name = &skip.name;
            findings
                .push(format!("deny.toml: {name} is no duplicate, or has no reason; remove it"));
        }
        skipped.extend(found.into_iter().map(|version| (name, version)));
    }
    if policy.multiple_versions != "deny" {
        return findings;
    }
    for (name, versions) in versions {
        let left: Vec<&str> =
            versions.into_iter().filter(|version| !skipped.contains(&(name, version))).collect();
        if left.len() > 1 {
            findings.push(format!("{name} is there in the versions {}", left.join(", ")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Policy, findings, satisfied};
    use crate::packages::Packages;

    #[test]
    fn an_expression_is_satisfied_by_what_is_allowed() {
        let by = |expression| satisfied(expression, &|it| matches!(it, "MIT" | "ISC" | "A WITH e"));
        for good in
            ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND ISC", "A WITH e OR X"]
        {
            assert!(by(good).is_some(), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "A", "(MIT", "MIT)", "", "MIT OR", "MIT ISC"] {
            assert!(by(bad).is_none(), "{bad}");
        }
        assert_eq!(by("MIT AND ISC"), Some(vec!["MIT".to_owned(), "ISC".to_owned()]));
    }

    const REGISTRY: &str = "registry+https://example.org/index";

    /// The project needs `a` and `b`, and `b` needs `cc`.
    fn packages(a: &serde_json::Value) -> Packages {
        let package = |id: &str, name: &str, version: &str, source: Option<&str>| json!({ "id": id, "name": name, "version": version, "license": "MIT", "source": source });
        let needs = |id: &str, needs: &[&str]| {
            let deps = needs.iter().map(|it| json!({ "pkg": it, "dep_kinds": [{ "kind": null }] }));
            json!({ "id": id, "deps": deps.collect::<Vec<_>>() })
        };
        let mut first = package("a", "a", "1.0.0", Some(REGISTRY));
        for (name, value) in a.as_object().expect("an object") {
            first[name] = value.clone();
        }
        let text = json!({
            "packages": [
                package("p", "p", "0.1.0", None),
                first,
                package("b", "b", "1.0.0", Some(REGISTRY)),
                package("cc", "cc", "1.0.0", Some(REGISTRY)),
            ],
            "resolve": { "nodes": [needs("p", &["a", "b"]), needs("a", &[]), needs("b", &["cc"]), needs("cc", &[])] },
        });
        Packages::parse(text.to_string().as_bytes()).expect("it is as cargo writes it")
    }

    fn policy(wrappers: &str, skip: &str) -> Policy {
        let text = format!(
            "[advisories]\n[licenses]\nallow = [\"MIT\"]\n[bans]\nmultiple-versions = \"deny\"\n\
             deny = [{{ crate = \"cc\", wrappers = {wrappers}, reason = \"C\" }}]\nskip = {skip}\n\
             [sources]\nunknown-registry = \"deny\"\nunknown-git = \"deny\"\n\
             allow-registry = [\"https://example.org/index\"]\n"
        );
        toml::from_str(&text).expect("a policy")
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let told = |a: &serde_json::Value, wrappers: &str, skip: &str| {
            findings(&policy(wrappers, skip), &packages(a)).join("; ")
        };
        let (b, none) = ("[\"b\"]", "[]");
        assert_eq!(told(&json!({}), b, none), "");
        assert!(
            told(&json!({}), none, none).contains("b 1.0.0 needs cc 1.0.0, which is banned: C")
        );
        assert!(told(&json!({}), "[\"b\", \"x\"]", none).contains("x does not need cc"));
        assert!(
            told(&json!({ "license": "GPL-3.0" }), b, none).contains("'GPL-3.0' is not allowed")
        );
        assert!(told(&json!({ "license": null }), b, none).contains("it names no licence"));
        let git = json!({ "source": "git+https://example.org/a#1" });
        assert!(told(&git, b, none).contains("it is of the repository"));
        let other = json!({ "source": "registry+https://example.net/index" });
        assert!(told(&other, b, none).contains("it is of the registry"));
        let twice = json!({ "name": "b", "version": "2.0.0" });
        assert!(told(&twice, b, none).contains("b is there in the versions 1.0.0, 2.0.0"));
        assert_eq!(told(&twice, b, "[{ crate = \"b@1\", reason = \"old\" }]"), "");
        assert!(
            told(&json!({}), b, "[{ crate = \"b@1\", reason = \"old\" }]").contains("no duplicate")
        );
    }
}
