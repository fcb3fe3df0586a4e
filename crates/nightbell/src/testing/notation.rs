//! Series in promtool's notation: `loss{host=G44} 0 100x3 0+5x2 _x2 !`.

use serde_json::{Map, Value};

/// One sample of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sample {
    /// A value.
    Value(f64),
    /// `_`: the series is not reported.
    Absent,
    /// `!`: nobody can tell; the whole check fails.
    Unknown,
}

/// Samples of one series, at most.
const SAMPLES_MAX: usize = 1_000_000;

/// One series: a check sees one sample of it, and the last one again after its end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// The name of the value among the columns of the row.
    pub(super) metric: String,
    /// The other columns.
    pub(super) labels: Map<String, Value>,
    pub(super) samples: Vec<Sample>,
}

impl Series {
    /// Reads a name with labels, and the samples.
    pub(super) fn parse(name: &str, samples: &str) -> Result<Self, String> {
        let (metric, labels) = match name.split_once('{') {
            None => (name.trim(), Map::new()),
            Some((metric, rest)) => {
                let inner = rest.trim_end().strip_suffix('}');
                let inner = inner.ok_or_else(|| format!("{name:?} has no `}}` at its end"))?;
                (metric.trim(), labels(inner)?)
            }
        };
        let metric = if metric.is_empty() { "value" } else { metric };
        Ok(Self { metric: metric.to_owned(), labels, samples: self::samples(samples)? })
    }

    /// What the check of this number sees, from 0.
    pub(super) fn at(&self, number: usize) -> Sample {
        let last = self.samples.last().copied().unwrap_or(Sample::Absent);
        self.samples.get(number).copied().unwrap_or(last)
    }
}

fn labels(text: &str) -> Result<Map<String, Value>, String> {
    let mut labels = Map::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) =
            rest.split_once('=').ok_or_else(|| format!("{rest:?} is not LABEL=VALUE"))?;
        let after = after.trim_start();
        let (value, left) = if let Some(quoted) = after.strip_prefix('"') {
            let (value, left) =
                quoted.split_once('"').ok_or_else(|| format!("{after:?} lacks a quote"))?;
            (value.to_owned(), left.trim_start())
        } else {
            let end = after.find(',').unwrap_or(after.len());
            (after[..end].trim().to_owned(), &after[end..])
        };
        labels.insert(name.trim().to_owned(), value.into());
        rest = left.strip_prefix(',').unwrap_or(left).trim_start();
        if left == rest && !rest.is_empty() {
            return Err(format!("a comma is missing before {rest:?}"));
        }
    }
    Ok(labels)
}

fn samples(text: &str) -> Result<Vec<Sample>, String> {
    let mut samples = Vec::new();
    for token in text.split_whitespace() {
        let wrong = || format!("{token:?} is no sample; write 1, 1x3, 0+5x3, _, _x2 or !");
        let (what, times) = match token.split_once('x') {
            None => (token, None),
            Some((what, times)) => (
                what,
                Some(times.parse::<usize>().ok().filter(|it| *it < SAMPLES_MAX).ok_or_else(wrong)?),
            ),
        };
        match what {
            "_" => samples.extend(std::iter::repeat_n(Sample::Absent, times.unwrap_or(1))),
            "!" => samples.extend(std::iter::repeat_n(Sample::Unknown, times.unwrap_or(1))),
            _ => {
                let (first, step) = stepped(what, times.is_some()).ok_or_else(wrong)?;
                let value = |number: usize| Sample::Value(first + step * number as f64);
                samples.extend((0..=times.unwrap_or(0)).map(value));
            }
        }
        if samples.len() > SAMPLES_MAX {
            return Err(format!("a series has more than {SAMPLES_MAX} samples"));
        }
    }
    if samples.is_empty() {
        return Err("a series needs at least one sample".to_owned());
    }
    Ok(samples)
}

/// `a`, `a+b` or `a-b`.
fn stepped(text: &str, repeated: bool) -> Option<(f64, f64)> {
    let number = |text: &str| text.parse::<f64>().ok().filter(|it| it.is_finite());
    if let Some(value) = number(text) {
        return Some((value, 0.0));
    }
    let at = text.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-'))?.0;
    let (first, step) = (number(&text[..at])?, number(&text[at..])?);
    repeated.then_some((first, step))
}

/// A number as JSON writes it: whole ones without a point.
pub(super) fn json(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { (value as i64).into() } else { value.into() }
}

#[cfg(test)]
mod tests {
    use super::Sample::{Absent, Unknown, Value};
    use super::Series;

    #[test]
    fn series_follow_promtool() {
        let series = Series::parse("loss{host=G44,name=\"R&M, 2\"}", "0 100x3 1+2x2 _x2 !");
        let series = series.expect("a series");
        assert_eq!(series.labels["name"], "R&M, 2");
        let hundred = Value(100.0);
        let expected = [
            Value(0.0),
            hundred,
            hundred,
            hundred,
            hundred,
            Value(1.0),
            Value(3.0),
            Value(5.0),
            Absent,
            Absent,
            Unknown,
        ];
        assert_eq!(series.samples, expected);
        assert_eq!(series.at(1000), Unknown);
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        for wrong in ["", "1y3", "x", "1+2", "1x-1", "inf"] {
            assert!(Series::parse("up", wrong).is_err(), "{wrong:?}");
        }
        assert!(Series::parse("up{a=1", "1").is_err());
    }
}
