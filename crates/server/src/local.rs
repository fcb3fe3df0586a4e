//! The Unix socket of the local administrator: whoever has the server's own user id, or is root, may do
//! everything there without a key, as they could with the store's files anyway.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Bytes of the longest path that systems take.
const PATH_MAX: usize = 107;
/// How long to wait after the system refused a connection.
const REFUSED_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// In the extensions of a request that came over the socket: the user id of the other end, which is the
/// server's own or root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local(pub(crate) u32);

/// The socket; its file goes with it.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file, so that no other one is removed.
    file: (u64, u64),
}

impl LocalSocket {
    /// Makes the socket, with mode 600, in the place of one that nobody listens on any more. Needs a
    /// runtime.
    ///
    /// # Errors
    /// The path is too long, somebody listens there, something else lies there, or the folder does not
    /// take it.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() > PATH_MAX {
            let why = format!("the path of a socket has at most {PATH_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) if !found.file_type().is_socket() => {
                let why = "something else than a socket lies there";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
            }
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => {
                    let why = "another process listens there";
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
                }
                // Left behind by a process that was killed.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path)?;
                }
                Err(error) => return Err(error),
            },
        }
        // Between these two lines others may connect; who they are is looked at in any case.
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let made = fs::symlink_metadata(path)?;
        Ok(Self { listener, path: path.to_owned(), file: (made.dev(), made.ino()) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next connection of an administrator. Others are closed at once.
    pub(crate) async fn accept(&self) -> (UnixStream, Local) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the socket could not be accepted");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    continue;
                }
            };
            match stream.peer_cred().map(|peer| peer.uid()) {
                Ok(uid) if is_administrator(uid, rustix::process::geteuid().as_raw()) => {
                    return (stream, Local(uid));
                }
                Ok(uid) => {
                    tracing::warn!(uid, "the socket is for the server's own user and for root");
                }
                Err(error) => {
                    tracing::warn!(%error, "credentials of a client of the socket could not be read");
                }
            }
        }
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        let is_ours = |it: fs::Metadata| (it.dev(), it.ino()) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // What cannot be removed is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a user id may do everything on a server with a user id.
fn is_administrator(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{LocalSocket, is_administrator};

    #[test]
    fn only_the_servers_user_and_root_are_administrators() {
        assert!(
            is_administrator(1000, 1000) && is_administrator(0, 1000) && is_administrator(0, 0)
        );
        assert!(!is_administrator(1001, 1000) && !is_administrator(1000, 0));
    }

    #[tokio::test]
    async fn a_socket_takes_the_place_of_a_dead_one_and_of_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let first = LocalSocket::bind(&path).expect("it is free");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = LocalSocket::bind(&path).expect_err("somebody listens");
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists(), "it is removed");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("it is free"));
        assert!(path.exists(), "as after a kill");
        let second = LocalSocket::bind(&path).expect("nobody listens");
        // What has taken its place meanwhile is another's.
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "a file").expect("it can be written");
        drop(second);
        assert!(path.exists());
        let refused = LocalSocket::bind(&path).expect_err("a file is there");
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        let long = folder.path().join("x".repeat(200));
        assert_eq!(LocalSocket::bind(&long).expect_err("too long").kind(), ErrorKind::InvalidInput);
    }
}
