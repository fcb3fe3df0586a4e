//! Writes metrics as text: in the plain format of Prometheus (0.0.4), or as `OpenMetrics` (1.0.0)
//! for whoever asks for that.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use engine::Observed;

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// What every tool reads.
    Plain,
    /// What Prometheus asks for first.
    OpenMetrics,
}

impl Format {
    /// The format that a request asks for.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Plain
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page of metrics in the making.
///
/// Each family is announced with its help and type also when nothing of it is there at the moment,
/// and its name is written as it is asked for in a query.
pub(super) struct Page {
    format: Format,
    text: String,
}

impl Page {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: String::with_capacity(32 << 10) }
    }

    /// A number that goes up and down.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Samples<'_> {
        self.family(name, name, "gauge", help)
    }

    /// A number that only grows; its name ends in `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Samples<'_> {
        let of_family = match self.format {
            Format::Plain => name,
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        };
        self.family(name, of_family, "counter", help)
    }

    /// Durations by class; its name ends in `_seconds`.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Samples<'_> {
        self.family(name, name, "histogram", help)
    }

    /// What is said by labels alone; its name ends in `_info`.
    pub(super) fn info(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)]) {
        let (of_family, kind) = match self.format {
            Format::Plain => (name, "gauge"),
            Format::OpenMetrics => (name.strip_suffix("_info").unwrap_or(name), "info"),
        };
        self.family(name, of_family, kind, help).add(labels, 1);
    }

    fn family(
        &mut self,
        name: &'static str,
        of_family: &str,
        kind: &str,
        help: &str,
    ) -> Samples<'_> {
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "# HELP {of_family} {help}\n# TYPE {of_family} {kind}");
        if self.format == Format::OpenMetrics
            && let Some(unit) = ["seconds", "bytes"].into_iter().find(|it| of_family.ends_with(it))
        {
            let _ = writeln!(self.text, "# UNIT {of_family} {unit}");
        }
        Samples { text: &mut self.text, name }
    }

    /// The whole text.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// The samples of one family.
pub(super) struct Samples<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Samples<'_> {
    /// The only sample, which has no labels.
    pub(super) fn only(mut self, value: impl Display) {
        self.add(&[], value);
    }

    /// A sample with these labels.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample("", labels, None, value);
    }

    /// What a histogram holds, with these labels.
    pub(super) fn observed(&mut self, labels: &[(&str, &str)], observed: &Observed) {
        let mut within = 0;
        let bounds = observed.bounds.iter().map(Duration::as_secs_f64);
        for (bound, count) in bounds.chain([f64::INFINITY]).zip(&observed.classes) {
            within += count;
            self.sample("_bucket", labels, Some(bound), within);
        }
        self.sample("_sum", labels, None, observed.sum);
        self.sample("_count", labels, None, within);
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<f64>,
        value: impl Display,
    ) {
        let text = &mut *self.text;
        text.push_str(self.name);
        text.push_str(suffix);
        let mut before = '{';
        for (label, value) in labels {
            text.push(before);
            before = ',';
            text.push_str(label);
            text.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    other => text.push(other),
                }
            }
            text.push('"');
        }
        if let Some(bound) = bound {
            text.push(before);
            before = ',';
            // A whole number is written with its point, in both formats: it is part of a name.
            let _ = if bound.is_finite() {
                write!(text, "le=\"{bound:?}\"")
            } else {
                write!(text, "le=\"+Inf\"")
            };
        }
        if before == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(format: Format) -> String {
        let histogram = engine::Histogram::of_calls();
        histogram.observe(Duration::from_secs(1));
        histogram.observe(Duration::from_mins(1));
        let mut page = Page::new(format);
        page.info("nightbell_build_info", "Version of the server", &[("version", "1.2")]);
        let mut queues = page.gauge("nightbell_queue_waiting", "Tasks that wait");
        queues.add(&[("queue", "a\"b\\c\nd"), ("kind", "é")], 7);
        page.counter("nightbell_wakes_total", "Wakes").only(u64::MAX);
        let mut calls = page.histogram("nightbell_call_duration_seconds", "Calls");
        calls.observed(&[("path", "/x")], &histogram.observed());
        page.end()
    }

    #[test]
    fn plain_text_is_what_every_tool_reads() {
        let text = page(Format::Plain);
        let expected = "# HELP nightbell_build_info Version of the server\n\
            # TYPE nightbell_build_info gauge\n\
            nightbell_build_info{version=\"1.2\"} 1\n\
            # HELP nightbell_queue_waiting Tasks that wait\n\
            # TYPE nightbell_queue_waiting gauge\n\
            nightbell_queue_waiting{queue=\"a\\\"b\\\\c\\nd\",kind=\"é\"} 7\n\
            # HELP nightbell_wakes_total Wakes\n\
            # TYPE nightbell_wakes_total counter\n\
            nightbell_wakes_total 18446744073709551615\n\
            # HELP nightbell_call_duration_seconds Calls\n\
            # TYPE nightbell_call_duration_seconds histogram\n\
            nightbell_call_duration_seconds_bucket{path=\"/x\",le=\"0.001\"} 0\n";
        assert!(text.starts_with(expected), "{text}");
        let expected = "nightbell_call_duration_seconds_bucket{path=\"/x\",le=\"1.0\"} 1\n";
        assert!(text.contains(expected), "{text}");
        let expected = "nightbell_call_duration_seconds_bucket{path=\"/x\",le=\"30.0\"} 1\n\
            nightbell_call_duration_seconds_bucket{path=\"/x\",le=\"+Inf\"} 2\n\
            nightbell_call_duration_seconds_sum{path=\"/x\"} 61\n\
            nightbell_call_duration_seconds_count{path=\"/x\"} 2\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn openmetrics_names_families_without_what_their_type_says() {
        let text = page(Format::OpenMetrics);
        for line in [
            "# TYPE nightbell_build info",
            "nightbell_build_info{version=\"1.2\"} 1",
            "# HELP nightbell_wakes Wakes",
            "# TYPE nightbell_wakes counter",
            "nightbell_wakes_total 18446744073709551615",
            "# UNIT nightbell_call_duration_seconds seconds",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn the_format_is_the_one_asked_for() {
        let asked = |accept: &'static str| {
            let headers = [(header::ACCEPT, header::HeaderValue::from_static(accept))];
            Format::wanted(&headers.into_iter().collect())
        };
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Plain);
        assert_eq!(asked("*/*"), Format::Plain);
        let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1";
        assert_eq!(asked(prometheus), Format::OpenMetrics);
    }
}
