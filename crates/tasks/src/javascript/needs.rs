//! Which optional parts of a realm a script can need, judged by the words in it.
//!
//! Every part is parsed anew for every fresh realm and costs more than the realm itself.

/// The optional parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// Methods of Java's maps and lists on `$`.
    pub(super) host: bool,
    /// A silent `console`.
    pub(super) console: bool,
}

/// How the names of the host's methods begin.
const HOST_METHODS: &[&str] = &[
    "get", "size", "isEmpty", "contains", "add", "set", "remove", "toArray", "keySet", "values",
    "entrySet", "forEach", "put",
];

impl Needs {
    /// Everything: for a realm that serves many scripts.
    pub(super) const ALL: Self = Self { host: true, console: true };

    /// What this source may use.
    pub(super) fn of(source: &str) -> Self {
        Self { host: calls_host_method(source), console: source.contains("console") }
    }
}

/// Whether a member with the name of a host's method is read, or the source may hide that it is.
fn calls_host_method(source: &str) -> bool {
    let mut rest = source;
    while let Some(at) = rest.find(['.', '[', '{', '\\']) {
        let found = rest.as_bytes()[at];
        rest = rest[at + 1..].trim_start();
        let member = match found {
            b'.' => rest,
            // `$["get"]`; a computed name cannot be judged, but none is computed to call Java.
            b'[' => rest.trim_start_matches(['"', '\'', '`']),
            // `const { size } = $`
            b'{' => rest,
            _ => return true,
        };
        if HOST_METHODS.iter().any(|method| member.starts_with(method)) {
            return true;
        }
    }
    false
}
