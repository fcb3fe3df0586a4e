//! Secrets in files, in credentials of the service manager, and in the environment.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Found, LENGTH_MAX, Trouble};
use crate::config::{Place, process_env};
use crate::exposed;

/// Warns of files that others than the server can read.
pub(super) fn tell_of_files<'a>(places: impl Iterator<Item = &'a Place>) {
    for place in places {
        if let Place::File(path) = place {
            exposed::tell_of_file(path, "a secret");
        }
    }
}

/// Reads a secret that is kept on this machine.
pub(super) async fn read(place: &Place) -> Found {
    match place {
        Place::Variable(name) => {
            let value = process_env(name).filter(|value| !value.is_empty());
            let gone = || Trouble::Gone(format!("the environment variable {name} is not set"));
            value.map(Zeroizing::new).ok_or_else(gone)
        }
        Place::File(path) => file(path.clone()).await,
        Place::Credential(name) => {
            let folder = process_env("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
            let folder = folder.ok_or_else(|| {
                let why = "the service manager hands over no credentials (CREDENTIALS_DIRECTORY)";
                Trouble::Unreadable(why.to_owned())
            })?;
            file(Path::new(&folder).join(name)).await
        }
        Place::Vault { .. } => Err(Trouble::Unreadable("it is kept in Vault".to_owned())),
    }
}

/// The content of a file, without the end of its line.
pub(super) async fn file(path: PathBuf) -> Found {
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || bounded(&path)).await;
    let text = read.unwrap_or_else(|error| Err(error.into())).map_err(|error| {
        let why = format!("{shown}: {error}");
        if error.kind() == ErrorKind::NotFound {
            Trouble::Gone(why)
        } else {
            Trouble::Unreadable(why)
        }
    })?;
    match text.strip_suffix('\n').map_or(&**text, |it| it.strip_suffix('\r').unwrap_or(it)) {
        "" => Err(Trouble::Unreadable(format!("{shown} is empty"))),
        text => Ok(Zeroizing::new(text.to_owned())),
    }
}

fn bounded(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let most = LENGTH_MAX as u64 + 1;
    std::fs::File::open(path)?.take(most).read_to_string(&mut text)?;
    if text.len() > LENGTH_MAX {
        let why = format!("it has more than {LENGTH_MAX} bytes");
        return Err(std::io::Error::new(ErrorKind::InvalidData, why));
    }
    Ok(text)
}
