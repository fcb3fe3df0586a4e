//! Tests of the products: the same bytes from the same sources, and tools of the system read them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::contents::{Contents, Machine, below};
use super::elf::Asked;
use super::signature::Signer;
use super::{instant, products, sign, write};

fn contents() -> Contents {
    let mut binary = b"\x7fELF".to_vec();
    binary.resize(64, 7);
    (binary[18], binary[19]) = (62, 0);
    let named = |all: &[(&str, &str)]| -> Vec<(String, Vec<u8>)> {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), text.as_bytes().to_vec());
        all.iter().map(own).collect()
    };
    let versions = ["GLIBC_2.9", "GLIBC_2.34"].map(str::to_owned);
    Contents {
        version: "1.2.3-rc.1".to_owned(),
        machine: Machine::of(&binary).expect("an ELF header"),
        time: 1_700_000_000,
        binary,
        asked: Asked(BTreeMap::from([
            ("libc.so.6".to_owned(), BTreeSet::from(versions)),
            ("libgcc_s.so.1".to_owned(), BTreeSet::new()),
        ])),
        completions: named(&[("bash", "complete"), ("zsh", "#compdef")]),
        pages: named(&[("nightbell.1", ".TH x")]),
        schemas: named(&[("workflow.json", "{}")]),
        configuration: "# listen\n".to_owned(),
        documents: named(&[("LICENSE", "free")]),
        deploy: named(&[
            ("compose/compose.yaml", "services:"),
            ("helm/nightbell/Chart.yaml", "version: 1.2.3-rc.1\nappVersion: \"1.2.3-rc.1\"\n"),
            ("helm/nightbell/templates/node.yaml", "kind: Pod"),
            ("systemd/README.md", "# systemd"),
            ("systemd/nightbell-node.default", "# A=b"),
            ("systemd/nightbell.default", "# A=b"),
            ("systemd/nightbell.service", "ExecStart=/usr/local/bin/nightbell serve\n"),
            ("systemd/nightbell@.service", "ExecStart=/usr/local/bin/nightbell serve\n"),
        ]),
        libraries: named(&[("/lib64/ld.so", "loader")]),
        certificates: b"certificates".to_vec(),
        bill: b"{}".to_vec(),
    }
}

/// Says what is missing, for a test that is left out; where all must be there, that is a failure.
fn skipped(what: &str) {
    let is_set =
        |name: &str| std::env::var(name).is_ok_and(|it| !matches!(&*it, "" | "0" | "false"));
    assert!(!is_set("CI") && !is_set("NIGHTBELL_TEST_SERVICES"), "{what}");
    eprintln!("skipped: {what}");
}

/// What a tool prints of a product; nothing, if this machine has no such tool.
fn told(command: &str, name: &str, content: &[u8]) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, content).expect("a file");
    let mut words = command.split(' ');
    let mut tool = Command::new(words.next().expect("a tool"));
    let output = tool.args(words).arg(&file).stderr(Stdio::inherit()).output().ok()?;
    assert!(output.status.success(), "{command} refuses {name}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn find<'a>(products: &'a [(String, Vec<u8>)], end: &str) -> (&'a str, &'a [u8]) {
    let (name, content) = products.iter().find(|(name, _)| name.ends_with(end)).expect(end);
    (name, content)
}

#[test]
fn the_same_contents_give_the_same_bytes_and_others_do_not() {
    let first = products(&contents()).expect("products");
    assert_eq!(first, products(&contents()).expect("products"));
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "nightbell-1.2.3-rc.1-x86_64-linux.oci.tar",
            "nightbell-1.2.3-rc.1-x86_64-linux.tar.gz",
            "nightbell-1.2.3-rc.1.cdx.json",
            "nightbell-1.2.3-rc.1.tgz",
            "nightbell-1.2.3~rc.1-1.x86_64.rpm",
            "nightbell_1.2.3~rc.1_amd64.deb",
            "SHA256SUMS",
        ]
    );
    let later = Contents { time: 1_700_000_001, ..contents() };
    let later = products(&later).expect("products");
    let changed = first.iter().zip(&later).filter(|(one, other)| one != other).count();
    assert_eq!(changed, 6, "all but the bill of materials");
}

/// As `openssl genpkey -algorithm ed25519` writes one.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n\
    -----END PRIVATE KEY-----\n";

#[test]
fn the_checksums_are_signed_so_that_tools_of_the_system_verify_them() {
    let signer = Signer::of(KEY).expect("a key");
    let mut signed = products(&contents()).expect("products");
    let sums = signed.last().expect("the checksums").1.clone();
    sign(&mut signed, &signer);
    let (name, signature) = signed.last().expect("the signature");
    assert_eq!((name.as_str(), signature.len()), ("SHA256SUMS.sig", 64));
    assert_eq!(*signature, signer.sign(&sums), "the same each time");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let key = file("key.pem", signer.public_key().as_bytes());
    let sig = file("SHA256SUMS.sig", signature);
    let verifies = |content: &[u8]| {
        let content = file("SHA256SUMS", content);
        let mut tool = Command::new("openssl");
        tool.args(["pkeyutl", "-verify", "-pubin", "-inkey", &key, "-rawin"]);
        let output = tool.args(["-in", &content, "-sigfile", &sig]).output().ok()?;
        Some(output.status.success())
    };
    match verifies(&sums) {
        None => skipped("there is no openssl here"),
        Some(is_verified) => {
            assert!(is_verified);
            assert_eq!(verifies(b"other sums"), Some(false));
        }
    }
    for wrong in ["", "-----BEGIN PRIVATE KEY-----", KEY.replace("MC4C", "MC4D").as_str()] {
        assert!(Signer::of(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key.pem");
    std::fs::write(&path, KEY).expect("a file");
    let with_mode = |mode: u32| {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
        Signer::read(&path).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(with_mode(0o600), Ok(()));
    assert!(with_mode(0o644).expect_err("it is refused").contains("chmod 600"));
}

/// Two checkouts of the same sources, made in another order, at another time and with other modes.
#[test]
fn checkouts_elsewhere_at_another_time_give_the_same_bytes() {
    let packed = |order: fn(&mut Vec<(String, Vec<u8>)>), hour: u64, mode: u32| {
        let (checkout, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir());
        let mut files = contents().deploy;
        order(&mut files);
        for (path, text) in files {
            let path = checkout.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
            std::fs::write(&path, text).expect("a file");
            let file = std::fs::File::open(&path).expect("it is there");
            file.set_permissions(Permissions::from_mode(mode)).expect("a mode");
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_hours(hour);
            file.set_modified(time).expect("a time");
        }
        std::fs::write(checkout.path().join(".gitignore"), "x").expect("a file");
        let deploy = below(checkout.path()).expect("the checkout is read");
        let out = out.expect("a folder");
        write(&products(&Contents { deploy, ..contents() }).expect("products"), out.path())
            .expect("they are written");
        below(out.path()).expect("they are read")
    };
    let first = packed(|_| {}, 1, 0o600);
    assert_eq!(first.len(), 7);
    assert_eq!(
        first,
        packed(
            |files| {
                files.sort();
                files.reverse();
            },
            400_000,
            0o755,
        )
    );
}

#[test]
fn tools_of_the_system_read_what_is_written() {
    let products = products(&contents()).expect("products");
    let (name, archive) = find(&products, ".tar.gz");
    let listed = told("tar -tvzf", name, archive).expect("tar");
    assert!(listed.contains("-rwxr-xr-x root/root") && listed.contains("/nightbell\n"), "{listed}");
    assert!(listed.contains("/examples/compose/compose.yaml"), "{listed}");
    assert!(listed.contains("/schemas/workflow.json\n"), "schemas for editors: {listed}");
    let (name, image) = find(&products, ".oci.tar");
    let listed = told("tar -tf", name, image).expect("tar");
    let blobs = listed.lines().filter(|it| it.starts_with("blobs/sha256/") && it.len() > 70);
    assert_eq!(blobs.count(), 3);
    let (name, chart) = find(&products, ".tgz");
    let listed = told("tar -tzf", name, chart).expect("tar");
    assert!(listed.contains("nightbell/templates/node.yaml"), "{listed}");
    let (name, package) = find(&products, ".deb");
    let Some(listed) = told("dpkg-deb -c", name, package) else {
        return skipped("there is no dpkg-deb here");
    };
    assert!(listed.contains("-rw------- root/root"), "{listed}");
    assert!(listed.contains("./etc/nightbell/nightbell.toml"), "{listed}");
    assert!(listed.contains("./usr/share/nightbell/schemas/workflow.json"), "{listed}");
    assert!(listed.contains("./usr/lib/systemd/system/nightbell@.service"), "{listed}");
    let fields = told("dpkg-deb -f", name, package).expect("dpkg-deb");
    assert!(fields.contains("Depends: libc6 (>= 2.34), libgcc-s1"), "{fields}");
    assert!(fields.contains("Version: 1.2.3~rc.1\n"), "{fields}");
}

/// dpkg takes the package into a root in which there is nothing, and every file is there as it was packed.
#[test]
fn dpkg_unpacks_the_package_into_a_clean_root() {
    let root = tempfile::tempdir().expect("a folder");
    let admin = root.path().join("var/lib/dpkg");
    for folder in ["info", "updates"] {
        std::fs::create_dir_all(admin.join(folder)).expect("a folder");
    }
    std::fs::write(admin.join("status"), "").expect("a file");
    let dpkg = |words: &[&str]| {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", root.path().display())).arg("--force-depends").args(words);
        let output = dpkg.stdin(Stdio::null()).output().ok()?;
        let told = [output.stdout, output.stderr].concat();
        Some((output.status.success(), String::from_utf8_lossy(&told).into_owned()))
    };
    let id = Command::new("id").arg("-u").output().expect("every system has id");
    if id.stdout.trim_ascii() != b"0" {
        return skipped("only root unpacks packages");
    }
    let products = products(&contents()).expect("products");
    let (name, package) = find(&products, ".deb");
    let file = root.path().join(name);
    std::fs::write(&file, package).expect("a file");
    let Some((is_unpacked, told)) = dpkg(&["--unpack", file.to_str().expect("text")]) else {
        return skipped("there is no dpkg here");
    };
    assert!(is_unpacked, "{told}");
    let (_, verified) = dpkg(&["--verify", "nightbell"]).expect("dpkg");
    // Files of settings come to their places when the package is configured.
    let changed: Vec<&str> =
        verified.lines().filter(|line| !line.starts_with("missing   c /etc/")).collect();
    assert!(changed.is_empty(), "{changed:?}");
    let (_, listed) = dpkg(&["--listfiles", "nightbell"]).expect("dpkg");
    for path in listed.lines().filter(|path| *path != "/.") {
        let at = root.path().join(path.trim_start_matches('/'));
        let beside = at.with_file_name(format!(
            "{}.dpkg-new",
            at.file_name().and_then(|name| name.to_str()).unwrap_or_default()
        ));
        assert!(at.exists() || beside.exists(), "{path} is not there: {told}");
    }
    assert!(root.path().join("usr/bin/nightbell").exists(), "{listed}");
}

/// What rpm reads of the package, and what is in its cpio; skipped where there is no rpm.
#[test]
fn rpm_reads_the_package_and_finds_its_digests_right() {
    let products = products(&contents()).expect("products");
    let (name, package) = find(&products, ".rpm");
    let Some(checked) = told("rpm --checksig", name, package) else {
        return skipped("there is no rpm here");
    };
    assert!(checked.contains("digests OK"), "{checked}");
    let query = |what: &str| told(&format!("rpm --query --package {what}"), name, package);
    let about = query("--info").expect("rpm");
    for line in ["Version     : 1.2.3~rc.1", "Architecture: x86_64", "License     : Apache-2.0"] {
        assert!(about.contains(line), "{about}");
    }
    let needed = query("--requires").expect("rpm");
    for line in ["libc.so.6(GLIBC_2.34)(64bit)", "libgcc_s.so.1()(64bit)", "/bin/sh"] {
        assert!(needed.lines().any(|it| it == line), "{needed}");
    }
    let files = query("--list --verbose").expect("rpm");
    for (mode, path) in [
        ("-rwxr-xr-x", "/usr/bin/nightbell"),
        ("-rw-------", "/etc/nightbell/nightbell.toml"),
        ("drwxr-xr-x", "/etc/nightbell/load"),
        ("-rw-r--r--", "/usr/share/zsh/site-functions/_nightbell"),
        ("-rw-r--r--", "/usr/share/licenses/nightbell/LICENSE"),
    ] {
        let is_it = |line: &str| line.starts_with(mode) && line.ends_with(&format!(" {path}"));
        assert!(files.lines().any(is_it), "{mode} {path} is not in\n{files}");
    }
    assert!(!files.lines().any(|line| line.ends_with(" /usr/bin")), "{files}");
    let kept = query("--configfiles").expect("rpm");
    assert_eq!(kept, "/etc/default/nightbell\n/etc/nightbell/nightbell.toml\n");
    let scripts = query("--scripts").expect("rpm");
    assert!(scripts.contains("if [ \"$1\" -gt 1 ]"), "{scripts}");
    let mut damaged = package.to_vec();
    *damaged.last_mut().expect("it has bytes") ^= 1;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, damaged).expect("a file");
    let refused = Command::new("rpm").arg("--checksig").arg(&file).output().expect("rpm");
    assert!(!refused.status.success(), "a damaged package is refused");
}

/// Everything in `deploy/` is what products take from there, and the chart has the version of the binary.
#[test]
fn the_deploy_folder_of_the_project_is_packed() {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let deploy = below(&crate::root().join("deploy")).expect("it is read");
    let products = products(&Contents { version, deploy, ..contents() }).expect("products");
    let (name, package) = find(&products, ".tar.gz");
    let listed = told("tar -tzf", name, package).expect("tar");
    for path in [
        "examples/ci/github.yml",
        "examples/grafana/nightbell.json",
        "examples/prometheus/nightbell-alerts.yaml",
        "systemd/nightbell@.service",
    ] {
        assert!(listed.contains(path), "{path} is not in\n{listed}");
    }
    assert!(!listed.contains("/.git"), "{listed}");
}

#[test]
fn times_are_told_as_calendars_have_them() {
    assert_eq!(instant(0), "1970-01-01T00:00:00Z");
    assert_eq!(instant(951_782_400), "2000-02-29T00:00:00Z");
    assert_eq!(instant(1_700_000_000), "2023-11-14T22:13:20Z");
}
