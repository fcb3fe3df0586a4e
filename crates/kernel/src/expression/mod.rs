//! Conductor's `${…}` expressions: compiled once per definition, rendered as text.
//!
//! Expressions run at every scheduling of every task, so the common one, a plain dotted path, cuts
//! its answer out of the payload's text and never builds a tree. What the paths mean is the dialect
//! of Jayway `JsonPath` 2.4.0, which Conductor embeds; how they stand in a string is Conductor's
//! own. Both were checked against the originals.

mod duration;
mod java;
mod path;
mod reference;
mod sealed;
mod secret;
mod template;

pub use duration::{DurationError, UntilError, parse_duration, parse_until};
pub(crate) use java::text as java_text;
pub use path::{Path, PathError};
pub use reference::{REFERENCE_MAC, SecretReference, disown, refer};
pub use sealed::{MASK, SEALED_PREFIX, mask_secrets, next_sealed};
pub use secret::{Secrets, mentions_secret, names_secret, resolve_secrets};
pub use template::{Overrun, Reference, Scope, Template, evaluate};
