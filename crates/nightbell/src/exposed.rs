//! Tells at the start of what is secret and lies where others can read it: in files, and in the list of
//! processes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::{Config, Effective, Origin, process_env};

/// What stands for a password where values are shown.
const MASK: &str = "***";

/// Warns of passwords in a file that others can read, and of those on the command line.
pub(crate) fn tell(config: &Config, effective: &[Effective]) {
    let secret = || effective.iter().filter(|setting| setting.value.contains(MASK));
    let in_file = secret().find_map(|setting| match &setting.origin {
        Origin::File { name, .. } => Some(name),
        _ => None,
    });
    if let Some(name) = in_file {
        tell_of_file(Path::new(name), "passwords");
    }
    if let Some(file) = &config.etl_cfg {
        tell_of_file(file, "passwords");
    }
    for setting in secret() {
        if let Origin::Flag(name) = &setting.origin {
            tracing::warn!(
                "everybody on this machine can see the password of --{name} in the list of \
                 processes; write it into a file (mode 600) or the environment"
            );
        }
    }
}

/// Warns if others than its owner can read a file.
pub(crate) fn tell_of_file(path: &Path, holds: &str) {
    let Ok(found) = std::fs::metadata(path) else { return };
    let mode = found.permissions().mode() & 0o777;
    let who = match (mode & 0o004, mode & 0o040) {
        (0, 0) => return,
        (0, _) => "its group",
        _ => "everybody",
    };
    if is_credential(path) && mode % 0o10 == 0 {
        return;
    }
    let shown = path.display();
    tracing::warn!(
        "{shown} holds {holds}, and {who} can read it (mode {mode:03o}): chmod 600 {shown}"
    );
}

/// Whether a service manager hands this file to the process: systemd lets nobody else read it, though
/// its mode says that a group can.
pub(crate) fn is_credential(path: &Path) -> bool {
    let folder = process_env("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    let Some(folder) = folder.and_then(|folder| std::fs::canonicalize(folder).ok()) else {
        return false;
    };
    std::fs::canonicalize(path).is_ok_and(|path| path.starts_with(folder))
}
