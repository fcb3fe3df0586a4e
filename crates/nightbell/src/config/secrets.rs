//! Settings of secrets that are kept elsewhere: which name comes from where.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::value::{Given, Value};

/// Secrets that can be kept elsewhere.
const COUNT_MAX: usize = 1000;

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In an environment variable.
    Variable(String),
    /// In a file.
    File(PathBuf),
    /// In a file that the service manager hands to the process.
    Credential(String),
    /// In a field of a document in Vault or `OpenBao`.
    Vault {
        /// The document.
        document: VaultDocument,
        /// The field.
        field: String,
    },
}

/// A document of a KV 2 engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VaultDocument {
    /// Where the engine is mounted.
    pub(crate) mount: String,
    /// The document's path in it.
    pub(crate) path: String,
}

impl VaultDocument {
    /// `MOUNT/PATH`, or `MOUNT//PATH` if the mount has a slash itself.
    pub(crate) fn shown(&self) -> String {
        let slashes = if self.mount.contains('/') { "//" } else { "/" };
        format!("{}{slashes}{}", self.mount, self.path)
    }
}

impl Place {
    /// Reads it. The text may be a secret by mistake, so it is not repeated.
    fn read(text: &str) -> Result<Self, String> {
        match text.split_once(':').ok_or("does not say where the secret is")? {
            (_, "") => Err("does not say where the secret is".to_owned()),
            ("env", name) => Ok(Self::Variable(name.to_owned())),
            ("file", path) => Ok(Self::File(path.into())),
            ("credential", name) if name.contains('/') || name.starts_with('.') => {
                Err("names a credential that is no name of a file".to_owned())
            }
            ("credential", name) => Ok(Self::Credential(name.to_owned())),
            ("vault", place) => vault(place),
            _ => Err("does not begin with env:, file:, credential: or vault:".to_owned()),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Variable(name) => format!("env:{name}"),
            Self::File(path) => format!("file:{}", path.display()),
            Self::Credential(name) => format!("credential:{name}"),
            Self::Vault { document, field } => format!("vault:{}#{field}", document.shown()),
        }
    }
}

/// `MOUNT/PATH#FIELD`; a mount that has slashes ends at a double one.
fn vault(place: &str) -> Result<Place, String> {
    let lacks = || "names no field of a document: write vault:MOUNT/PATH#FIELD".to_owned();
    let (document, field) = place.split_once('#').ok_or_else(lacks)?;
    let (mount, path) =
        document.split_once("//").or_else(|| document.split_once('/')).ok_or_else(lacks)?;
    if field.is_empty() {
        return Err(lacks());
    }
    let is_segment = |it: &str| !matches!(it, "" | "." | "..") && !it.chars().any(char::is_control);
    if !mount.split('/').all(is_segment) || !path.split('/').all(is_segment) {
        return Err("names a path in Vault with an empty part, `.` or `..`".to_owned());
    }
    let document = VaultDocument { mount: mount.to_owned(), path: path.to_owned() };
    Ok(Place::Vault { document, field: field.to_owned() })
}

/// Secrets that are kept elsewhere, by their names here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places(pub(crate) BTreeMap<String, Place>);

impl Value for Places {
    const MANY: bool = true;
    const NAME: &'static str = "NAME=PLACE";
    const HINT: &'static str = "write NAME=env:VARIABLE, NAME=file:PATH, NAME=credential:NAME or \
                                NAME=vault:MOUNT/PATH#FIELD; in the file NAME = \"…\" below [secrets]";

    fn read(given: &Given) -> Result<Self, String> {
        let Given::Many(texts) = given else { return Err("expected a list".to_owned()) };
        if texts.len() > COUNT_MAX {
            return Err(format!("{} are too many: at most {COUNT_MAX}", texts.len()));
        }
        let mut places = BTreeMap::new();
        for (number, text) in texts.iter().enumerate() {
            let number = number + 1;
            let parts = text.split_once('=').map(|(name, place)| (name.trim(), place.trim()));
            let Some((name, place)) = parts.filter(|(name, _)| engine::vault::is_name(name)) else {
                return Err(format!(
                    "entry {number} does not begin with the name of a secret (letters, digits, - and _) and ="
                ));
            };
            let place = Place::read(place).map_err(|why| format!("{name} {why}"))?;
            if places.insert(name.to_owned(), place).is_some() {
                return Err(format!("there are two secrets called {name}"));
            }
        }
        Ok(Self(places))
    }

    fn shown(&self) -> String {
        let shown = self.0.iter().map(|(name, place)| format!("{name}={}", place.shown()));
        shown.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Places, String> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        Places::read(&Given::new(&texts, true))
    }

    #[test]
    fn places_are_read_and_shown_as_they_were_written() {
        let all = "A=env:PD_KEY, B=file:/run/pd, C=credential:pd, D=vault:secret/team/pd#key, \
                   E=vault:team/kv//pd#key";
        let texts: Vec<&str> = all.split(", ").collect();
        assert_eq!(read(&texts).map(|it| it.shown()), Ok(all.to_owned()));
    }

    #[test]
    fn what_may_be_a_secret_by_mistake_is_not_repeated() {
        for wrong in [
            "hunter2",
            "A=hunter2",
            "A=hunter2:x",
            "A=env:",
            "A=credential:../hunter2",
            "A=vault:hunter2",
            "A=vault:secret/hunter2",
            "A=vault:secret/hunter2#",
            "A=vault:secret/../hunter2#x",
            "A=vault:secret/#hunter2",
            "a b=env:hunter2",
        ] {
            let error = read(&[wrong]).expect_err(wrong);
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(read(&["A=env:X", "A=env:Y"]).is_err());
    }
}
