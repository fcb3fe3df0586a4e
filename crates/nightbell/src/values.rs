//! Secrets and environment values that definitions may name, taken from the server's environment.
//!
//! Only variables with these prefixes are ever shown, so that a definition cannot read what else
//! the process was started with; nor can it read the server's own settings, of which the key that
//! seals all secrets is one.

use engine::Values;

use crate::config::SETTINGS;

/// `CONDUCTOR_SECRET_NAME` and `CONDUCTOR_ENV_NAME`, as the open-source Conductor server reads
/// them; `NIGHTBELL_SECRET_NAME` and `NIGHTBELL_ENV_NAME` win over those.
pub(crate) struct FromEnvironment;

impl Values for FromEnvironment {
    fn secret(&self, name: &str) -> Option<String> {
        lookup("SECRET", name)
    }

    fn environment(&self, name: &str) -> Option<String> {
        lookup("ENV", name)
    }

    fn secret_names(&self) -> Vec<String> {
        names("SECRET")
    }

    fn environment_names(&self) -> Vec<String> {
        names("ENV")
    }
}

const PRODUCTS: [&str; 2] = ["NIGHTBELL", "CONDUCTOR"];

fn lookup(kind: &str, name: &str) -> Option<String> {
    // The operating system panics at such names.
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    PRODUCTS
        .iter()
        .map(|product| format!("{product}_{kind}_{name}"))
        .filter(|variable| !is_setting(variable))
        .find_map(|variable| std::env::var(variable).ok())
}

fn names(kind: &str) -> Vec<String> {
    let prefixes = PRODUCTS.map(|product| format!("{product}_{kind}_"));
    let of = |variable: String| {
        let name = prefixes.iter().find_map(|prefix| variable.strip_prefix(prefix))?;
        (!name.is_empty() && !is_setting(&variable)).then(|| name.to_owned())
    };
    let mut names: Vec<String> =
        std::env::vars_os().filter_map(|(name, _)| of(name.into_string().ok()?)).collect();
    names.sort();
    names.dedup();
    names
}

fn is_setting(variable: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.env() == variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_no_secret_of_definitions() {
        assert!(is_setting("NIGHTBELL_SECRET_KEY"));
        assert!(is_setting("NIGHTBELL_SECRET_KEY_FILE"));
        for name in ["", "A=B", "KEY\0"] {
            assert_eq!(lookup("SECRET", name), None, "{name:?}");
        }
    }
}
