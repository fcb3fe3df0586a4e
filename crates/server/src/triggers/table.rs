//! Which of many patterns a path fits: a tree of their segments, so that a request costs as much as
//! its path is long, however many triggers there are.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use axum::http::Method;
use percent_encoding::percent_decode_str;

use super::pattern::{Pattern, Segment};

/// Values by methods and patterns.
#[derive(Debug)]
pub(super) struct Table<T> {
    root: Node<T>,
    /// Segments of the longest pattern.
    longest: usize,
}

#[derive(Debug)]
struct Node<T> {
    literals: HashMap<String, Node<T>>,
    parameter: Option<Box<Node<T>>>,
    /// What is at the path that ends here.
    here: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    method: Method,
    /// The names of the parameters, from left to right.
    parameters: Vec<String>,
    value: T,
}

/// What there is at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'t, T> {
    /// The value, and the parameters of the path.
    Value(&'t T, BTreeMap<String, String>),
    /// Values for these methods only.
    Methods(Vec<Method>),
    /// Nothing.
    Nothing,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: HashMap::new(), parameter: None, here: Vec::new() }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { root: Node::default(), longest: 0 }
    }
}

impl<T> Table<T> {
    /// Adds a value. Of two for the same method and paths, the first counts.
    pub(super) fn add(&mut self, method: Method, pattern: &Pattern, value: T) {
        let mut node = &mut self.root;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Parameter(_) => node.parameter.get_or_insert_default(),
            };
        }
        let parameters = pattern.parameters().map(str::to_owned).collect();
        node.here.push(Entry { method, parameters, value });
        self.longest = self.longest.max(pattern.segments().count());
    }

    /// What is meant by a method and a path. Where several patterns fit, fixed text goes before
    /// parameters, from left to right. HEAD means what is there for GET.
    pub(super) fn find(&self, method: &Method, path: &str) -> Found<'_, T> {
        let Some(rest) = path.strip_prefix('/') else { return Found::Nothing };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.split('/').nth(self.longest).is_some() {
            return Found::Nothing;
        }
        let decoded = rest.split('/').map(|segment| percent_decode_str(segment).decode_utf8().ok());
        let Some(given) = decoded.collect::<Option<Vec<Cow<'_, str>>>>() else {
            return Found::Nothing;
        };
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let mut others = Vec::new();
        if let Some((entry, taken)) = self.root.find(method, &given, &mut others) {
            let taken = taken.into_iter().rev().map(str::to_owned);
            return Found::Value(
                &entry.value,
                entry.parameters.iter().cloned().zip(taken).collect(),
            );
        }
        if others.is_empty() { Found::Nothing } else { Found::Methods(others) }
    }
}

impl<T> Node<T> {
    /// The entry of a method below here, with what its parameters took, the last first. Methods
    /// that something else is there for are added to `others`.
    fn find<'a>(
        &self,
        method: &Method,
        given: &'a [Cow<'_, str>],
        others: &mut Vec<Method>,
    ) -> Option<(&Entry<T>, Vec<&'a str>)> {
        let Some((first, rest)) = given.split_first() else {
            let found = self.here.iter().find(|entry| entry.method == *method);
            if found.is_none() {
                let methods = self.here.iter().map(|entry| &entry.method);
                others
                    .extend(methods.filter(|it| !others.contains(it)).cloned().collect::<Vec<_>>());
            }
            return found.map(|entry| (entry, Vec::new()));
        };
        if let Some(node) = self.literals.get(&**first)
            && let Some(found) = node.find(method, rest, others)
        {
            return Some(found);
        }
        let node = self.parameter.as_ref().filter(|_| !first.is_empty())?;
        let (entry, mut taken) = node.find(method, rest, others)?;
        taken.push(first);
        Some((entry, taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(paths: &[(&'static str, Method)]) -> Table<&'static str> {
        let mut table = Table::default();
        for (path, method) in paths {
            table.add(method.clone(), &Pattern::parse(path).expect("a path"), *path);
        }
        table
    }

    #[test]
    fn what_is_fixed_goes_before_parameters() {
        let table = table(&[
            ("/jobs/{id}/state", Method::GET),
            ("/jobs/new/state", Method::GET),
            ("/jobs/new/{what}", Method::POST),
            ("/jobs/{a}/{b}/{c}", Method::GET),
        ]);
        let get = |path| table.find(&Method::GET, path);
        let value = |path| match get(path) {
            Found::Value(value, taken) => (*value, taken),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(value("/jobs/new/state").0, "/jobs/new/state");
        let (found, taken) = value("/jobs/a%2Fb%20c/state");
        assert_eq!((found, &*taken["id"]), ("/jobs/{id}/state", "a/b c"));
        assert_eq!(value("/jobs/1/state/").0, "/jobs/{id}/state");
        let taken = value("/jobs/1/2/3").1;
        assert_eq!(taken.into_values().collect::<Vec<_>>(), ["1", "2", "3"]);
        for nothing in ["/jobs//state", "/jobs/1/state/2/3", "/jobs/1", "/", "", "/jobs/%ff/state"]
        {
            assert_eq!(get(nothing), Found::Nothing, "{nothing}");
        }
        // What is fixed is for another method: what the parameter stands for is meant.
        assert_eq!(get("/jobs/new/other"), Found::Methods(vec![Method::POST]));
        let post = table.find(&Method::POST, "/jobs/new/state");
        assert!(matches!(post, Found::Value(&"/jobs/new/{what}", _)), "{post:?}");
        let head = table.find(&Method::HEAD, "/jobs/7/state");
        assert!(matches!(head, Found::Value(&"/jobs/{id}/state", _)), "{head:?}");
    }
}
