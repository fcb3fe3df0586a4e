//! What `nightbell login` keeps: a token for one server, and what renews it, in a file that only its owner
//! may read.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::failure::Failure;

/// Says where the files are; below the user's folder for settings without it.
const FOLDER: &str = "NIGHTBELL_LOGIN_DIR";
/// A token that ends so soon is renewed before it is used.
const RENEWED_BEFORE: i64 = 5 * 60;

/// What the server gives whoever signs in, or renews a token.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Given {
    /// For requests.
    pub(super) token: String,
    /// In seconds.
    pub(super) expires_in: i64,
    /// The secret that gives another one; only of a login.
    pub(super) renewal: String,
    /// The name of the user.
    pub(super) name: String,
}

/// A login at one server.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Login {
    /// The server's address, which the token is sent to and to no other.
    pub(super) url: String,
    /// The name of the user.
    pub(super) user: String,
    /// For requests.
    pub(super) token: String,
    /// When it ends, in seconds since 1970.
    pub(super) expires_at: i64,
    /// Gives another token.
    pub(super) renewal: String,
}

/// Without what is secret.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login of {} at {}", self.user, self.url)
    }
}

impl Login {
    /// Whether the token has ended, or is about to.
    pub(super) fn needs_renewal(&self) -> bool {
        Timestamp::now().as_second() + RENEWED_BEFORE >= self.expires_at
    }

    /// The login at a server, if there is one.
    ///
    /// # Errors
    /// Others can read the file, or it holds something else.
    pub(super) fn load(base: &Url) -> Result<Option<Self>, Failure> {
        let Some(path) = path_for(base) else { return Ok(None) };
        let wrong = |why: String| Failure::error(format!("the login in {} {why}", path.display()));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
        };
        let mode = fs::metadata(&path).map(|it| it.mode()).unwrap_or_default();
        if mode & 0o077 != 0 {
            return Err(wrong("can be read by others, so it is not used".to_owned()).with_hint(
                format!("chmod 600 {}, or delete it and sign in again", path.display()),
            ));
        }
        let login: Self = serde_json::from_str(&text).map_err(|_| {
            wrong("is damaged".to_owned())
                .with_hint("delete it, and sign in with `nightbell login`")
        })?;
        Ok((login.url == base.as_str()).then_some(login))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(&self, base: &Url) -> Result<PathBuf, Failure> {
        let path = path_for(base).ok_or_else(|| {
            Failure::error(
                "there is no place for the login: neither HOME nor XDG_CONFIG_HOME is set",
            )
            .with_hint(format!("set {FOLDER} to a folder of yours"))
        })?;
        let wrong = |error: std::io::Error| {
            Failure::error(format!("cannot write the login to {}: {error}", path.display()))
        };
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
        // Beside it and then into its place, so that another command reads the one or the other.
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let text = serde_json::to_string(self).expect("a login serializes to JSON");
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&draft, &path));
        if let Err(error) = written {
            // Nothing secret stays behind; what could not be made need not be removed.
            let _ = fs::remove_file(&draft);
            return Err(wrong(error));
        }
        Ok(path)
    }

    /// Forgets the login at a server.
    pub(super) fn forget(base: &Url) -> Result<(), Failure> {
        let Some(path) = path_for(base) else { return Ok(()) };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::error(
                format!("cannot delete the login in {}: {error}", path.display()),
            )),
            _ => Ok(()),
        }
    }
}

/// The file for a server: one for each, named after its address.
fn path_for(base: &Url) -> Option<PathBuf> {
    let set = |name: &str| crate::config::process_env(name).filter(|it| !it.is_empty());
    let folder = set(FOLDER).map(PathBuf::from).or_else(|| {
        let settings = set("XDG_CONFIG_HOME").map(PathBuf::from);
        let settings =
            settings.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".config")));
        settings.map(|it| it.join("nightbell").join("logins"))
    })?;
    let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-');
    let plain = |it: char| if is_plain(it) { it } else { '_' };
    let name: String = base.as_str().chars().map(plain).take(200).collect();
    Some(folder.join(format!("{name}.json")))
}
