//! What is given to others: an archive, packages of Debian and of Red Hat's kind, a container image, a
//! chart, the bill of materials, the checksums of all of them, and their signature.
//!
//! The same sources, binary and `SOURCE_DATE_EPOCH` give the same bytes: what is collected from this
//! machine is in [`Contents`], and all else is a function of it (decision 0079).

mod archive;
mod contents;
mod deb;
mod elf;
mod image;
mod rpm;
mod scripts;
mod signature;
mod trial;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use self::archive::{Tree, gzip, sha256};
use self::contents::Contents;
use self::signature::Signer;
use crate::{root, say};

const USAGE: &str = "\
usage: cargo xtask dist [--binary PATH] [--out FOLDER] [--key FILE] [--try]
  --binary  pack this binary [default: build one]
  --out     write into this folder [default: target/dist]
  --key     also write SHA256SUMS.sig, signed with this Ed25519 private key (PEM, PKCS #8), as
            `openssl genpkey -algorithm ed25519` writes it; no other user may be able to read it
  --try     as root: install, run, upgrade, remove and purge the packages in a clean root (debootstrap)";

/// Configuration that packages install, and that an upgrade leaves as its owner has changed it.
const CONFIGURATION: [&str; 2] = ["etc/default/nightbell", "etc/nightbell/nightbell.toml"];

/// Whose rules say where things lie.
#[derive(Clone, Copy, Debug)]
enum Family {
    Debian,
    Rpm,
}

impl Family {
    /// The path of completions.
    fn completions(self, shell: &str) -> anyhow::Result<&'static str> {
        Ok(match (shell, self) {
            ("bash", _) => "usr/share/bash-completion/completions/nightbell",
            ("fish", _) => "usr/share/fish/vendor_completions.d/nightbell.fish",
            ("zsh", Self::Debian) => "usr/share/zsh/vendor-completions/_nightbell",
            ("zsh", Self::Rpm) => "usr/share/zsh/site-functions/_nightbell",
            _ => bail!("no place for completions of {shell}"),
        })
    }

    /// The path of the licence.
    const fn license(self) -> &'static str {
        match self {
            Self::Debian => "usr/share/doc/nightbell/copyright",
            Self::Rpm => "usr/share/licenses/nightbell/LICENSE",
        }
    }
}

/// Writes all products.
///
/// # Errors
/// Something is missing, or cannot be written.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (mut binary, mut folder, mut tries) = (None, root().join("target/dist"), false);
    let mut signer = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a path"));
        match argument.as_str() {
            "--binary" => binary = Some(PathBuf::from(value()?)),
            "--out" => folder = PathBuf::from(value()?),
            "--key" => signer = Some(Signer::read(Path::new(value()?))?),
            "--try" => tries = true,
            _ => bail!("{USAGE}"),
        }
    }
    let binary = if let Some(binary) = binary {
        // It is run in another folder.
        std::path::absolute(binary)?
    } else {
        crate::test::build_release()?;
        root().join("target/release/nightbell")
    };
    let contents = Contents::collect(&binary)?;
    say(&format!("the binary asks for {}", contents.asked.shown()));
    if tries {
        return trial::run(&contents);
    }
    let mut products = products(&contents)?;
    if let Some(signer) = signer {
        sign(&mut products, &signer);
        say(&format!("signed by the key whose public part is\n{}", signer.public_key()));
    }
    write(&products, &folder)
}

/// Adds the signature of the checksums, which stand last.
fn sign(products: &mut Vec<(String, Vec<u8>)>, signer: &Signer) {
    if let Some((name, sums)) = products.last() {
        let signature = (format!("{name}.sig"), signer.sign(sums));
        products.push(signature);
    }
}

fn write(products: &[(String, Vec<u8>)], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, content) in products {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| path.display().to_string())?;
        say(&format!("{:>11} bytes  {}", content.len(), path.display()));
    }
    Ok(())
}

/// All products by name, the checksums of the others last.
fn products(contents: &Contents) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let Contents { version, machine, .. } = contents;
    let name = format!("nightbell-{version}-{}-linux", machine.name());
    let sorted = contents.sorted_version();
    let mut products = vec![
        (
            format!("{name}.tar.gz"),
            gzip(&portable(contents)?.tar(&format!("{name}/"), contents.time)?)?,
        ),
        (format!("nightbell_{sorted}_{}.deb", machine.debian()), deb::package(contents)?),
        (format!("nightbell-{sorted}-1.{}.rpm", machine.name()), rpm::package(contents)?),
        (format!("{name}.oci.tar"), image::image(contents)?),
        (format!("nightbell-{version}.tgz"), chart(contents)?),
        (format!("nightbell-{version}.cdx.json"), contents.bill.clone()),
    ];
    products.sort();
    let sums = products.iter().map(|(name, content)| format!("{}  {name}\n", sha256(content)));
    let sums = sums.collect::<String>().into_bytes();
    products.push(("SHA256SUMS".to_owned(), sums));
    Ok(products)
}

/// What the archive holds, for any place.
fn portable(contents: &Contents) -> anyhow::Result<Tree> {
    let mut tree = Tree::default();
    tree.file("nightbell", 0o755, contents.binary.clone());
    for (shell, text) in &contents.completions {
        tree.file(&format!("completions/nightbell.{shell}"), 0o644, text.clone());
    }
    tree.files("man", &contents.pages);
    tree.files("schemas", &contents.schemas);
    tree.files("systemd", &contents.deployed_below("systemd"));
    tree.files("examples", &contents.examples());
    for name in ["nightbell.default", "nightbell-node.default"] {
        let path = format!("systemd/{name}");
        tree.file(&path, 0o600, contents.deployed(&path)?);
    }
    tree.file("nightbell.toml", 0o600, contents.configuration.as_bytes());
    for (name, text) in &contents.documents {
        tree.file(name, 0o644, text.clone());
    }
    Ok(tree)
}

/// What a package installs.
fn installed(contents: &Contents, family: Family) -> anyhow::Result<Tree> {
    let mut tree = Tree::default();
    tree.file("usr/bin/nightbell", 0o755, contents.binary.clone());
    for unit in ["nightbell.service", "nightbell@.service"] {
        let text = String::from_utf8_lossy(contents.deployed(&format!("systemd/{unit}"))?);
        let text = text.replace("/usr/local/bin/nightbell", "/usr/bin/nightbell");
        tree.file(&format!("usr/lib/systemd/system/{unit}"), 0o644, text);
    }
    for (shell, text) in &contents.completions {
        tree.file(family.completions(shell)?, 0o644, text.clone());
    }
    for (name, page) in &contents.pages {
        tree.file(&format!("usr/share/man/man1/{name}.gz"), 0o644, gzip(page)?);
    }
    tree.files("usr/share/nightbell/schemas", &contents.schemas);
    let documents = "usr/share/doc/nightbell";
    for (name, text) in &contents.documents {
        let own = format!("{documents}/{name}");
        tree.file(if name == "LICENSE" { family.license() } else { &own }, 0o644, text.clone());
    }
    tree.file(&format!("{documents}/systemd.md"), 0o644, contents.deployed("systemd/README.md")?);
    let examples = format!("{documents}/examples");
    tree.files(&examples, &contents.examples());
    let node = "systemd/nightbell-node.default";
    tree.file(&format!("{examples}/{node}"), 0o644, contents.deployed(node)?);
    let environment = contents.deployed("systemd/nightbell.default")?;
    let [default, configuration] = CONFIGURATION;
    tree.file(default, 0o600, environment);
    tree.file(configuration, 0o600, contents.configuration.as_bytes());
    tree.folder("etc/nightbell/load", 0o755, 0);
    Ok(tree)
}

/// The chart, as Helm packs it: of the same version as the binary, whose image it runs.
fn chart(contents: &Contents) -> anyhow::Result<Vec<u8>> {
    let (folder, version) = ("helm/nightbell", &contents.version);
    let about = String::from_utf8_lossy(contents.deployed(&format!("{folder}/Chart.yaml"))?);
    for line in [format!("version: {version}"), format!("appVersion: \"{version}\"")] {
        ensure!(
            about.lines().any(|it| it == line),
            "deploy/{folder}/Chart.yaml does not say `{line}`, as the binary does"
        );
    }
    let mut tree = Tree::default();
    tree.files("nightbell", &contents.deployed_below(folder));
    gzip(&tree.tar("", contents.time)?)
}

/// Seconds since 1970 as RFC 3339.
fn instant(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, by which leap days come last in a year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests;
