//! What a webhook keeps of its secret: never the value, only where the value is.

use engine::Engine;
use kernel::Json;

use crate::problem::Problem;

/// What is shown in the place of a secret.
pub(super) const HIDDEN: &str = "***";

/// Takes the secret of a webhook as its author gave it, and answers what may be stored.
///
/// # Errors
/// 400 for anything but a reference: values belong among the secrets.
pub(super) fn keep(given: &str) -> Result<String, Problem> {
    let is_reference = given.starts_with("${workflow.secrets.")
        && given.ends_with('}')
        && given.matches("${").count() == 1;
    if is_reference {
        return Ok(given.to_owned());
    }
    Err(Problem::bad_request("'secretValue' must refer to a secret").with_hint(
        "Keep the value as a secret and write ${workflow.secrets.NAME}: definitions are not sealed.",
    ))
}

/// The secret itself; `None` if there is none of that name.
pub(super) fn reveal(engine: &Engine, kept: &str) -> Option<String> {
    let value = engine.resolve(&Json::of(&kept)).parse();
    value.as_str().filter(|value| !value.is_empty() && *value != kept).map(str::to_owned)
}
