//! A package of Debian and its like.

use std::fmt::Write as _;

use super::archive::{Tree, ar, gzip};
use super::{Contents, installed};

/// Configuration, which an upgrade leaves as its owner has changed it.
const CONFIGURATION: [&str; 2] = ["etc/default/nightbell", "etc/nightbell/nightbell.toml"];

/// After unpacking: systemd reads the unit, and a service that ran runs the new version.
const POSTINST: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = configure ]; then
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        if [ -n \"$2\" ]; then
            systemctl try-restart nightbell.service
        else
            echo 'nightbell: start it with: systemctl enable --now nightbell'
        fi
    fi
fi
";

/// Before removal: the service ends. An upgrade restarts it afterwards instead.
const PRERM: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now nightbell.service || true
fi
";

/// After removal. The store and its key stay: they are not the package's.
const POSTRM: &str = "\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
if [ \"$1\" = purge ]; then
    for store in /var/lib/private/nightbell /var/lib/nightbell; do
        if [ -d \"$store\" ] && [ ! -L \"$store\" ]; then
            echo \"nightbell: $store stays; remove it by hand\"
        fi
    done
fi
";

/// The package.
///
/// # Errors
/// A path is too long, or something cannot be compressed.
pub(super) fn package(contents: &Contents) -> anyhow::Result<Vec<u8>> {
    let mut data = installed(contents)?;
    for (path, content) in [
        ("etc/default/nightbell", &contents.environment),
        ("etc/nightbell/nightbell.toml", &contents.configuration),
    ] {
        data.file(path, 0o600, content.as_bytes());
    }
    data.folder("etc/nightbell/load", 0o755, 0);
    let mut control = Tree::default();
    control.file("control", 0o644, fields(contents, data.size()));
    let conffiles = CONFIGURATION.iter().fold(String::new(), |mut all, path| {
        let _ = writeln!(all, "/{path}");
        all
    });
    control.file("conffiles", 0o644, conffiles);
    control.file("postinst", 0o755, POSTINST);
    control.file("prerm", 0o755, PRERM);
    control.file("postrm", 0o755, POSTRM);
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control.tar("./", contents.time)?)?),
        ("data.tar.gz", gzip(&data.tar("./", contents.time)?)?),
    ];
    ar(&members, contents.time)
}

fn fields(contents: &Contents, size: usize) -> String {
    let Contents { version, machine, libc, .. } = contents;
    let libc = libc.as_ref().map(|libc| format!(" (>= {libc})")).unwrap_or_default();
    let needs = format!("libc6{libc}, libgcc-s1");
    let needs =
        if contents.libraries.is_empty() { String::new() } else { format!("Depends: {needs}\n") };
    format!(
        "Package: nightbell\nVersion: {version}\nArchitecture: {}\nMaintainer: The Nightbell \
         authors <nightbell@localhost>\nInstalled-Size: {}\n{needs}Recommends: ca-certificates\n\
         Section: admin\nPriority: optional\nDescription: durable workflows that watch systems and \
         ring\n One server that runs workflows durably, checks systems, and notifies people when\n \
         something is wrong: monitors, incidents, routes, on-call rotations, schedules.\n",
        machine.debian(),
        size.div_ceil(1024),
    )
}
