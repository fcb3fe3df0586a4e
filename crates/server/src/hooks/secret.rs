//! What a webhook keeps of its secret: a reference to a secret, or the value sealed.

use engine::Engine;
use kernel::Json;

/// What is shown in the place of a secret.
pub(super) const HIDDEN: &str = "***";

/// Takes the secret of a webhook as its author gave it, and answers what may be stored.
pub(super) fn keep(engine: &Engine, given: &str) -> String {
    if is_reference(given) { given.to_owned() } else { engine.vault().sealed(given) }
}

/// Whether a text is a reference to one secret.
pub(crate) fn is_reference(given: &str) -> bool {
    given.starts_with("${workflow.secrets.")
        && given.ends_with('}')
        && given.matches("${").count() == 1
}

/// The secret itself; `None` if there is none of that name.
pub(crate) fn reveal(engine: &Engine, kept: &str) -> Option<String> {
    let value = engine.resolve_written(&Json::of(&kept)).parse();
    value.as_str().filter(|value| !value.is_empty() && *value != kept).map(str::to_owned)
}
