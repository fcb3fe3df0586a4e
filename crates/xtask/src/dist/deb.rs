//! A package of Debian and its like.

use std::fmt::Write as _;

use super::archive::{Tree, ar, gzip};
use super::scripts::{Conditions, Scripts};
use super::{CONFIGURATION, Contents, Family, installed};

/// What dpkg tells scripts.
const CONDITIONS: Conditions = Conditions {
    installed: "[ \"$1\" = configure ]",
    upgrade: "[ -n \"$2\" ]",
    removal: "[ \"$1\" = remove ]",
    purge: "[ \"$1\" = purge ]",
};

/// The package.
///
/// # Errors
/// A path is too long, or something cannot be compressed.
pub(super) fn package(contents: &Contents) -> anyhow::Result<Vec<u8>> {
    let data = installed(contents, Family::Debian)?;
    let mut control = Tree::default();
    control.file("control", 0o644, fields(contents, data.size()));
    let conffiles = CONFIGURATION.iter().fold(String::new(), |mut all, path| {
        let _ = writeln!(all, "/{path}");
        all
    });
    control.file("conffiles", 0o644, conffiles);
    let Scripts { unpacked, going, gone } = Scripts::new(&CONDITIONS);
    control.file("postinst", 0o755, unpacked);
    control.file("prerm", 0o755, going);
    control.file("postrm", 0o755, gone);
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control.tar("./", contents.time)?)?),
        ("data.tar.gz", gzip(&data.tar("./", contents.time)?)?),
    ];
    ar(&members, contents.time)
}

fn fields(contents: &Contents, size: usize) -> String {
    let (version, asked) = (contents.sorted_version(), &contents.asked.0);
    let mut needs = Vec::new();
    if asked.contains_key("libc.so.6") {
        let least = contents.asked.glibc().map(|minor| format!(" (>= 2.{minor})"));
        needs.push(format!("libc6{}", least.unwrap_or_default()));
    }
    if asked.contains_key("libgcc_s.so.1") {
        needs.push("libgcc-s1".to_owned());
    }
    let needs =
        if needs.is_empty() { String::new() } else { format!("Depends: {}\n", needs.join(", ")) };
    format!(
        "Package: nightbell\nVersion: {version}\nArchitecture: {}\nMaintainer: The Nightbell \
         authors <nightbell@localhost>\nInstalled-Size: {}\n{needs}Recommends: ca-certificates\n\
         Section: admin\nPriority: optional\nDescription: durable workflows that watch systems and \
         ring\n One server that runs workflows durably, checks systems, and notifies people when\n \
         something is wrong: monitors, incidents, routes, on-call rotations, schedules.\n",
        contents.machine.debian(),
        size.div_ceil(1024),
    )
}
