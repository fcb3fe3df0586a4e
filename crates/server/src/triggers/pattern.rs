//! Paths of triggers: literal segments and parameters, and which of them are free.

use std::collections::BTreeSet;
use std::sync::OnceLock;

/// Longest path, in bytes.
const LENGTH_MAX: usize = 500;
/// Namespaces that are ours, whether or not this build answers anything there.
const RESERVED: [&str; 9] = [
    "/admin",
    "/console",
    "/durabletask",
    "/hooks",
    "/inbound",
    "/ping",
    "/runtime",
    "/TaskHubSidecarService",
    "/ui",
];

/// A path with parameters: `/api/job_status/{jobId}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Segment>);

/// What stands between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Fixed text.
    Literal(String),
    /// Anything, under this name.
    Parameter(String),
}

impl Pattern {
    /// Reads a path.
    ///
    /// # Errors
    /// Why it is none, or that it is not free.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LENGTH_MAX {
            return Err(format!("the path is longer than {LENGTH_MAX} bytes"));
        }
        let Some(rest) = text.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
            return Err("the path must begin with '/' and name something".to_owned());
        };
        let segments: Vec<Segment> =
            rest.split('/').map(Segment::parse).collect::<Result<_, _>>()?;
        let mut names = BTreeSet::new();
        for segment in &segments {
            if let Segment::Parameter(name) = segment
                && !names.insert(name)
            {
                return Err(format!("the path has two parameters {{{name}}}"));
            }
        }
        let pattern = Self(segments);
        pattern.claim()?;
        Ok(pattern)
    }

    /// Refuses a path in a namespace that is ours.
    fn claim(&self) -> Result<(), String> {
        let literal = |at: usize| match self.0.get(at) {
            Some(Segment::Literal(literal)) => Some(literal.as_str()),
            _ => None,
        };
        let namespace = match (literal(0), literal(1)) {
            (Some(first), Some(second)) if first.eq_ignore_ascii_case("api") => {
                format!("/api/{second}")
            }
            (Some(first), None) if first.eq_ignore_ascii_case("api") => {
                return Err("after '/api' the path must name something that is fixed".to_owned());
            }
            (Some(first), _) => format!("/{first}"),
            (None, _) => return Err("the path must begin with something that is fixed".to_owned()),
        };
        if own_namespaces().contains(&namespace.to_ascii_lowercase()) {
            return Err(format!("the server itself answers at {namespace}"));
        }
        Ok(())
    }

    /// Whether the same paths fit both.
    pub(super) fn equals(&self, other: &Self) -> bool {
        let alike = |pair: (&Segment, &Segment)| match pair {
            (Segment::Literal(one), Segment::Literal(other)) => one == other,
            (Segment::Parameter(_), Segment::Parameter(_)) => true,
            _ => false,
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(alike)
    }

    /// What stands between the slashes, from left to right.
    pub(super) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.0.iter()
    }

    /// The names of the parameters.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the path has an empty segment".to_owned());
        }
        if matches!(text, "." | "..") {
            return Err(format!("'{text}' cannot be a segment of a path"));
        }
        if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(fits) {
                return Err(format!(
                    "'{text}' is no parameter: its name may have letters, digits and '_'"
                ));
            }
            return Ok(Self::Parameter(name.to_owned()));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~!$'()*+,;=:@".contains(c);
        if let Some(bad) = text.chars().find(|c| !plain(*c)) {
            return Err(format!(
                "'{text}' cannot be a segment: {bad:?} is neither fixed text nor a whole parameter"
            ));
        }
        Ok(Self::Literal(text.to_owned()))
    }
}

/// The beginnings of paths that are ours, in lower case: `/api/workflow`, `/health`.
fn own_namespaces() -> &'static BTreeSet<String> {
    static OWN: OnceLock<BTreeSet<String>> = OnceLock::new();
    OWN.get_or_init(|| {
        let (_, description, _) = crate::described().split();
        let namespace = |path: &String| {
            let depth = if path.starts_with("/api/") { 3 } else { 2 };
            path.split('/').take(depth).collect::<Vec<_>>().join("/").to_ascii_lowercase()
        };
        let reserved = RESERVED.iter().map(|path| path.to_ascii_lowercase());
        description.paths.paths.keys().map(namespace).chain(reserved).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_not_free() {
        let cases = [
            ("/api/workflow/mine", "the server itself answers at /api/workflow"),
            ("/API/Workflow", "the server itself answers at /api/Workflow"),
            ("/health", "the server itself answers at /health"),
            ("/runtime/x", "the server itself answers at /runtime"),
            ("/{all}", "begin with something that is fixed"),
            ("/api/{all}", "name something that is fixed"),
            ("/api", "name something that is fixed"),
            ("/", "must begin with '/' and name something"),
            ("jobs", "must begin with '/'"),
            ("/jobs//x", "an empty segment"),
            ("/jobs/../x", "'..' cannot be a segment"),
            ("/jobs/{a}/{a}", "two parameters {a}"),
            ("/jobs/x{a}", "neither fixed text nor a whole parameter"),
            ("/jobs/{}", "is no parameter"),
            ("/jobs/a b", "neither fixed text"),
        ];
        for (path, why) in cases {
            let refused = Pattern::parse(path).expect_err(path);
            assert!(refused.contains(why), "{path}: {refused}");
        }
        for path in ["/api/start_monitoring_job", "/jobs/{id}", "/x/b/c"] {
            assert!(Pattern::parse(path).is_ok(), "{path}");
        }
    }
}
