//! Secrets and environment values that definitions may name, taken from the server's environment.
//!
//! Only variables with these prefixes are ever shown, so that a definition cannot read what else
//! the process was started with.

use engine::Values;

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
}

fn lookup(kind: &str, name: &str) -> Option<String> {
    ["NIGHTBELL", "CONDUCTOR"]
        .iter()
        .find_map(|product| std::env::var(format!("{product}_{kind}_{name}")).ok())
}
