//! Requests by path, method and class of status: how many there were, and how long they took.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use engine::{Histogram, Observed};
use utoipa::openapi::OpenApi;

use super::exposition::Page;

/// How long requests took until they were answered, by path, method and class of status.
///
/// Every path has its places from the beginning: a request costs one look-up and two additions, and
/// no request can add a path.
#[derive(Debug)]
pub(crate) struct Traffic {
    paths: HashMap<String, Cells>,
    others: Cells,
}

/// Each is made when it is first needed.
type Cells = [[OnceLock<Box<Histogram>>; CLASSES]; METHODS.len() + 1];

const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
const CLASSES: usize = 5;

impl Traffic {
    /// Places for everything that is described.
    pub(crate) fn over(description: &OpenApi) -> Self {
        let paths = description.paths.paths.keys();
        Self {
            paths: paths.map(|path| (path.clone(), Cells::default())).collect(),
            others: Cells::default(),
        }
    }

    /// Counts a request whose answer began after so long.
    pub(crate) fn count(
        &self,
        path: Option<&str>,
        method: &Method,
        status: StatusCode,
        took: Duration,
    ) {
        let cells = path.and_then(|path| self.paths.get(path)).unwrap_or(&self.others);
        let method = METHODS.iter().position(|m| m == method).unwrap_or(METHODS.len());
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES) - 1;
        cells[method][class].get_or_init(|| Box::new(Histogram::of_calls())).observe(took);
    }

    pub(super) fn write(&self, page: &mut Page) {
        let seen = self.seen();
        let mut requests = page.counter("nightbell_http_requests_total", "Requests answered");
        for (labels, observed) in &seen {
            requests.add(&labels.pairs(), observed.count());
        }
        let help = "Time until the response began";
        let mut durations = page.histogram("nightbell_http_request_duration_seconds", help);
        for (labels, observed) in &seen {
            durations.observed(&labels.pairs(), observed);
        }
    }

    /// What there was, in the order of paths.
    fn seen(&self) -> Vec<(Answered<'_>, Observed)> {
        let mut seen = Vec::new();
        let paths = self.paths.iter().map(|(path, cells)| (path.as_str(), cells));
        for (path, cells) in paths.chain([("(other)", &self.others)]) {
            for (method, classes) in cells.iter().enumerate() {
                for (class, histogram) in classes.iter().enumerate() {
                    let Some(histogram) = histogram.get() else { continue };
                    let method = METHODS.get(method).map_or("(other)", Method::as_str);
                    let answered = Answered { path, method, status: STATUSES[class] };
                    seen.push((answered, histogram.observed()));
                }
            }
        }
        seen.sort_by_key(|(answered, _)| *answered);
        seen
    }
}

const STATUSES: [&str; CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Answered<'a> {
    path: &'a str,
    method: &'a str,
    status: &'a str,
}

impl<'a> Answered<'a> {
    fn pairs(&self) -> [(&'static str, &'a str); 3] {
        [("method", self.method), ("path", self.path), ("status", self.status)]
    }
}
