//! What the process may take of the machine: open files, and no memory image when it crashes.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections served at once where open files are plenty.
const CONNECTIONS_MAX: u64 = 10_000;
/// Open files that the store, calls to others, logs and loaded files need beside the connections.
const RESERVED_FILES: u64 = 256;

/// Raises the soft limit of open files to the hard one and turns memory images off, which would hold
/// secrets in clear text; answers how many connections may be served at once.
pub(crate) fn apply() -> usize {
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: files.maximum, maximum: files.maximum };
    let most = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => files.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            files.current
        }
    };
    let images = getrlimit(Resource::Core);
    let none = Rlimit { current: Some(0), maximum: images.maximum };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be disabled: a crash could write secrets in memory to the disk");
    }
    let connections = connections_for(most);
    if connections < CONNECTIONS_MAX {
        tracing::warn!(
            open_files = most,
            connections,
            "few open files are allowed; raise the limit (ulimit -n, LimitNOFILE=) to serve more connections"
        );
    }
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// Connections that leave enough of so many open files for everything else; no limit is `None`.
fn connections_for(files: Option<u64>) -> u64 {
    let files = files.unwrap_or(u64::MAX);
    let reserved = RESERVED_FILES.min(files / 2);
    (files - reserved).clamp(1, CONNECTIONS_MAX)
}

#[cfg(test)]
mod attacks {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_store_and_for_calls() {
        for (files, connections) in [
            (None, CONNECTIONS_MAX),
            (Some(1 << 20), CONNECTIONS_MAX),
            (Some(CONNECTIONS_MAX + RESERVED_FILES), CONNECTIONS_MAX),
            (Some(CONNECTIONS_MAX), CONNECTIONS_MAX - RESERVED_FILES),
            (Some(1024), 768),
            // Of very few, half.
            (Some(300), 150),
            (Some(2), 1),
            (Some(0), 1),
        ] {
            assert_eq!(connections_for(files), connections, "of {files:?} open files");
        }
    }
}
