//! What is given to others: an archive, a package of Debian, a container image, the bill of
//! materials, and the checksums of all of them.
//!
//! The same sources, binary and `SOURCE_DATE_EPOCH` give the same bytes: what is collected from this
//! machine is in [`Contents`], and all else is a function of it.

mod archive;
mod deb;
mod image;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use self::archive::{Tree, gzip, sha256};
use crate::{root, say, sbom};

/// The shells for which there are completions, and where Debian looks for them.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/nightbell"),
    ("zsh", "usr/share/zsh/vendor-completions/_nightbell"),
    ("fish", "usr/share/fish/vendor_completions.d/nightbell.fish"),
];
/// Where the certificates of public authorities lie on this machine.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The kind of processor.
#[derive(Clone, Copy, Debug)]
enum Machine {
    X86,
    Arm,
}

impl Machine {
    /// Of a binary, by its ELF header.
    fn of(binary: &[u8]) -> anyhow::Result<Self> {
        ensure!(binary.starts_with(b"\x7fELF"), "the binary is none of Linux (no ELF header)");
        match binary.get(18..20) {
            Some([62, 0]) => Ok(Self::X86),
            Some([183, 0]) => Ok(Self::Arm),
            other => bail!("the binary is for an unknown processor ({other:?})"),
        }
    }

    const fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    const fn oci(self) -> &'static str {
        self.debian()
    }

    const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }
}

/// Everything that products are made of.
#[derive(Clone, Debug)]
struct Contents {
    version: String,
    machine: Machine,
    /// Seconds since 1970, of every file.
    time: u64,
    binary: Vec<u8>,
    /// By shell.
    completions: Vec<(String, Vec<u8>)>,
    /// By name: `nightbell-run.1`.
    pages: Vec<(String, Vec<u8>)>,
    /// For editors, by name: `workflow.json`.
    schemas: Vec<(String, Vec<u8>)>,
    unit: String,
    environment: String,
    configuration: String,
    /// By path: licence, changelog, and the unit's README.
    documents: Vec<(String, Vec<u8>)>,
    /// Shared libraries by path, the loader among them; none if the binary is static.
    libraries: Vec<(String, Vec<u8>)>,
    /// The newest version of the C library that the binary asks for.
    libc: Option<String>,
    certificates: Vec<u8>,
    bill: Vec<u8>,
}

/// Writes all products.
///
/// # Errors
/// Something is missing, or cannot be written.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (mut binary, mut folder) = (None, root().join("target/dist"));
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a path"));
        match argument.as_str() {
            "--binary" => binary = Some(PathBuf::from(value()?)),
            "--out" => folder = PathBuf::from(value()?),
            _ => bail!("usage: cargo xtask dist [--binary PATH] [--out FOLDER]"),
        }
    }
    let binary = if let Some(binary) = binary {
        binary
    } else {
        crate::test::build_release()?;
        root().join("target/release/nightbell")
    };
    let contents = collect(&binary)?;
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (name, content) in products(&contents)? {
        let path = folder.join(&name);
        std::fs::write(&path, &content).with_context(|| path.display().to_string())?;
        say(&format!("{:>11} bytes  {}", content.len(), path.display()));
    }
    Ok(())
}

/// All products by name, the checksums of the others last.
fn products(contents: &Contents) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let Contents { version, machine, .. } = contents;
    let name = format!("nightbell-{version}-{}-linux", machine.name());
    let mut products = vec![
        (
            format!("{name}.tar.gz"),
            gzip(&portable(contents).tar(&format!("{name}/"), contents.time)?)?,
        ),
        (format!("nightbell_{version}_{}.deb", machine.debian()), deb::package(contents)?),
        (format!("{name}.oci.tar"), image::image(contents)?),
        (format!("nightbell-{version}.cdx.json"), contents.bill.clone()),
    ];
    products.sort();
    let sums = products.iter().map(|(name, content)| format!("{}  {name}\n", sha256(content)));
    let sums = sums.collect::<String>().into_bytes();
    products.push(("SHA256SUMS".to_owned(), sums));
    Ok(products)
}

/// What the archive holds, for any place.
fn portable(contents: &Contents) -> Tree {
    let mut tree = Tree::default();
    tree.file("nightbell", 0o755, contents.binary.clone());
    for (shell, text) in &contents.completions {
        tree.file(&format!("completions/nightbell.{shell}"), 0o644, text.clone());
    }
    for (name, page) in &contents.pages {
        tree.file(&format!("man/{name}"), 0o644, page.clone());
    }
    for (name, schema) in &contents.schemas {
        tree.file(&format!("schemas/{name}"), 0o644, schema.clone());
    }
    tree.file("systemd/nightbell.service", 0o644, contents.unit.as_bytes());
    tree.file("systemd/nightbell.default", 0o600, contents.environment.as_bytes());
    tree.file("nightbell.toml", 0o600, contents.configuration.as_bytes());
    for (name, text) in &contents.documents {
        tree.file(name, 0o644, text.clone());
    }
    tree
}

/// What a package installs, configuration left out.
fn installed(contents: &Contents) -> anyhow::Result<Tree> {
    let mut tree = Tree::default();
    tree.file("usr/bin/nightbell", 0o755, contents.binary.clone());
    let unit = contents.unit.replace("/usr/local/bin/nightbell", "/usr/bin/nightbell");
    tree.file("usr/lib/systemd/system/nightbell.service", 0o644, unit);
    for (shell, text) in &contents.completions {
        let place = SHELLS.iter().find(|(name, _)| name == shell);
        let (_, path) = place.with_context(|| format!("no place for completions of {shell}"))?;
        tree.file(path, 0o644, text.clone());
    }
    for (name, page) in &contents.pages {
        tree.file(&format!("usr/share/man/man1/{name}.gz"), 0o644, gzip(page)?);
    }
    for (name, schema) in &contents.schemas {
        tree.file(&format!("usr/share/nightbell/schemas/{name}"), 0o644, schema.clone());
    }
    for (name, text) in &contents.documents {
        let name = if name == "LICENSE" { "copyright" } else { name };
        tree.file(&format!("usr/share/doc/nightbell/{name}"), 0o644, text.clone());
    }
    Ok(tree)
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

/// Everything that products are made of, from the sources and from the binary itself.
fn collect(path: &Path) -> anyhow::Result<Contents> {
    let binary = std::fs::read(path).with_context(|| path.display().to_string())?;
    let said = answer(path, &["version"])?;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let version = said
        .strip_prefix("nightbell ")
        .with_context(|| format!("{} says of its version: {said:?}", path.display()))?;
    let completions = SHELLS
        .iter()
        .map(|(shell, _)| Ok(((*shell).to_owned(), answer(path, &["completions", shell])?)));
    let text =
        |name: &str| std::fs::read_to_string(root().join(name)).with_context(|| name.to_owned());
    let documents = [
        ("LICENSE", "LICENSE"),
        ("CHANGELOG.md", "CHANGELOG.md"),
        ("README.md", "README.md"),
        ("systemd.md", "deploy/systemd/README.md"),
    ];
    let documents =
        documents.into_iter().map(|(name, path)| Ok((name.to_owned(), text(path)?.into_bytes())));
    Ok(Contents {
        version: version.to_owned(),
        machine: Machine::of(&binary)?,
        time: time()?,
        completions: completions.collect::<anyhow::Result<_>>()?,
        pages: written(path, "man")?,
        schemas: written(path, "editor-schemas")?,
        unit: text("deploy/systemd/nightbell.service")?,
        environment: text("deploy/systemd/nightbell.default")?,
        configuration: String::from_utf8(answer(path, &["config"])?)?,
        documents: documents.collect::<anyhow::Result<_>>()?,
        libraries: libraries(path)?,
        libc: newest_libc(&binary),
        certificates: std::fs::read(CERTIFICATES).with_context(|| {
            format!("the image needs the certificates of public authorities: {CERTIFICATES}")
        })?,
        bill: sbom::text()?.into_bytes(),
        binary,
    })
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
    let read = told.and_then(|_| {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push((name, std::fs::read(entry.path())?));
        }
        files.sort();
        Ok(files)
    });
    let _ = std::fs::remove_dir_all(&folder);
    read
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

/// The newest `GLIBC_2.N` that a binary names, as `2.N`.
fn newest_libc(binary: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"GLIBC_2.";
    let found = binary.windows(MARK.len()).enumerate().filter(|(_, it)| *it == MARK);
    let minor = |(at, _): (usize, &[u8])| -> Option<u32> {
        let rest = &binary[at + MARK.len()..];
        let digits = rest.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
    };
    found.filter_map(minor).max().map(|minor| format!("2.{minor}"))
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::{Contents, Machine, instant, products};

    fn contents() -> Contents {
        let mut binary = b"\x7fELF".to_vec();
        binary.resize(64, 7);
        (binary[18], binary[19]) = (62, 0);
        Contents {
            version: "1.2.3".to_owned(),
            machine: Machine::of(&binary).expect("an ELF header"),
            time: 1_700_000_000,
            binary,
            completions: vec![("bash".to_owned(), b"complete".to_vec())],
            pages: vec![("nightbell.1".to_owned(), b".TH x".to_vec())],
            schemas: vec![("workflow.json".to_owned(), b"{}".to_vec())],
            unit: "ExecStart=/usr/local/bin/nightbell serve\n".to_owned(),
            environment: "# A=b\n".to_owned(),
            configuration: "# listen\n".to_owned(),
            documents: vec![("LICENSE".to_owned(), b"free".to_vec())],
            libraries: vec![("/lib64/ld.so".to_owned(), b"loader".to_vec())],
            libc: Some("2.34".to_owned()),
            certificates: b"certificates".to_vec(),
            bill: b"{}".to_vec(),
        }
    }

    /// What a tool prints of a product.
    fn told(command: &str, name: &str, content: &[u8]) -> Option<String> {
        let file = std::env::temp_dir().join(format!("dist-{}-{name}", std::process::id()));
        std::fs::write(&file, content).expect("a file");
        let mut words = command.split(' ');
        let mut tool = Command::new(words.next().expect("a tool"));
        let output = tool.args(words).arg(&file).stderr(Stdio::inherit()).output();
        std::fs::remove_file(&file).expect("it was there");
        let output = output.ok()?;
        assert!(output.status.success(), "{command} refuses {name}");
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn the_same_contents_give_the_same_bytes_and_others_do_not() {
        let first = products(&contents()).expect("products");
        assert_eq!(first, products(&contents()).expect("products"));
        let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "nightbell-1.2.3-x86_64-linux.oci.tar",
                "nightbell-1.2.3-x86_64-linux.tar.gz",
                "nightbell-1.2.3.cdx.json",
                "nightbell_1.2.3_amd64.deb",
                "SHA256SUMS",
            ]
        );
        let later = Contents { time: 1_700_000_001, ..contents() };
        let later = products(&later).expect("products");
        let changed = first.iter().zip(&later).filter(|(one, other)| one != other).count();
        assert_eq!(changed, 4, "all but the bill of materials");
    }

    #[test]
    fn tools_of_the_system_read_what_is_written() {
        let products = products(&contents()).expect("products");
        let find = |end: &str| products.iter().find(|(name, _)| name.ends_with(end)).expect(end);
        let (name, archive) = find(".tar.gz");
        let listed = told("tar -tvzf", name, archive).expect("tar");
        assert!(
            listed.contains("-rwxr-xr-x root/root") && listed.contains("/nightbell\n"),
            "{listed}"
        );
        assert!(listed.contains("/schemas/workflow.json\n"), "schemas for editors: {listed}");
        let (name, image) = find(".oci.tar");
        let listed = told("tar -tf", name, image).expect("tar");
        assert_eq!(
            listed.lines().filter(|it| it.starts_with("blobs/sha256/") && it.len() > 70).count(),
            3
        );
        let (name, package) = find(".deb");
        let Some(listed) = told("dpkg-deb -c", name, package) else { return };
        assert!(listed.contains("-rw------- root/root"), "{listed}");
        assert!(listed.contains("./etc/nightbell/nightbell.toml"), "{listed}");
        assert!(listed.contains("./usr/share/nightbell/schemas/workflow.json"), "{listed}");
        let fields = told("dpkg-deb -f", name, package).expect("dpkg-deb");
        assert!(fields.contains("Depends: libc6 (>= 2.34), libgcc-s1"), "{fields}");
    }

    #[test]
    fn times_are_told_as_calendars_have_them() {
        assert_eq!(instant(0), "1970-01-01T00:00:00Z");
        assert_eq!(instant(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(instant(1_700_000_000), "2023-11-14T22:13:20Z");
    }
}
