//! Reads secrets that settings refer to.

use std::fs;

use engine::Engine;
use engine::vault::Shelf;
use zeroize::Zeroizing;

use crate::config::{SecretReference, process_env};

/// Bytes of the longest secret.
const SECRET_MAX: u64 = 64 << 10;

/// The secret that a setting refers to, as it is now.
///
/// # Errors
/// It is not there, or empty; what it says is not repeated.
pub(crate) fn read(
    reference: &SecretReference,
    engine: &Engine,
) -> Result<Zeroizing<String>, String> {
    let found = match reference {
        SecretReference::Secret(name) => engine
            .vault()
            .get(Shelf::Secrets, name)
            .ok_or_else(|| format!("there is no secret {name}"))?,
        SecretReference::Variable(name) => process_env(name)
            .ok_or_else(|| format!("the environment variable {name} is not set"))?,
        SecretReference::File(path) => {
            let length = fs::metadata(path).map(|it| it.len());
            if length.as_ref().is_ok_and(|length| *length > SECRET_MAX) {
                return Err(format!("{} is too large", path.display()));
            }
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    let found = Zeroizing::new(found);
    match found.trim() {
        "" => Err("it is empty".to_owned()),
        text => Ok(Zeroizing::new(text.to_owned())),
    }
}
