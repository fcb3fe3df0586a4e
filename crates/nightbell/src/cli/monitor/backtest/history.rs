//! Samples that nobody has kept: what the checks of a monitor would have answered, asked of the history
//! that its source keeps.

use std::time::Duration;

use engine::Values as _;
use kernel::alert::definition::{File, Kind, MonitorDef, task_type};
use kernel::alert::{Sample, Sampled, next_checks, past_input, past_window};
use kernel::{Json, Timestamp};
use serde_json::Value;
use tasks::check::{Answer, History, POINTS_MAX};
use tokio::time::{Instant, sleep_until};

use crate::cli::offline;
use crate::cli::output::Output;
use crate::values::FromEnvironment;

/// Checks that are asked for of one monitor.
const CHECKS_MAX: usize = 100_000;
/// Between two questions: a source has others to serve.
const PACE: Duration = Duration::from_millis(200);
/// So many checks in a row of which none could tell mean that the source keeps nothing of their time.
const SILENT_MAX: usize = 3;

/// Where answers come from.
pub(super) struct Sources(History);

impl Sources {
    /// The sources that the configuration and a file know by name.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub(super) fn of(file: &File) -> anyhow::Result<Self> {
        let named = file.sources.iter().filter_map(|(name, settings)| match settings.parse() {
            Value::Object(settings) => Some((name.to_string(), settings)),
            _ => None,
        });
        Ok(Self(offline::history(named.collect())?))
    }

    /// What the checks of a monitor would have answered between two instants, from the first that could
    /// tell on, and whether there are some before it; or why that cannot be known.
    pub(super) async fn samples(
        &self,
        monitor: &MonitorDef,
        (from, until): (Timestamp, Timestamp),
        output: &Output,
    ) -> Result<(Vec<Sample>, bool), String> {
        askable(monitor)?;
        let before = from.plus_millis(-1);
        let mut due = next_checks(monitor, before, CHECKS_MAX);
        if due.last().is_some_and(|last| due.len() == CHECKS_MAX && *last < until) {
            return Err(format!("these are more than {CHECKS_MAX} checks: take a shorter --since"));
        }
        due.retain(|at| *at < until);
        let step = monitor.schedule.every.filter(|_| is_ranged(monitor)).filter(|step| {
            let first = due.first().copied().unwrap_or_default();
            due.iter().all(|at| at.since(first) % step == 0)
        });
        let answers = match step {
            Some(step) => self.by_range(monitor, &due, step).await?,
            None => self.one_by_one(monitor, &due, output).await?,
        };
        let since = answers.iter().position(Result::is_ok);
        if let (None, Some(Err(why))) = (since, answers.last()) {
            return Err(format!("its source cannot tell: {why}"));
        }
        // What the source keeps no more is no check that could not tell.
        let known = due.iter().zip(answers).skip(since.unwrap_or_default());
        let samples = known.zip(1..).map(|((at, answer), number)| Sample {
            number,
            sequence: u32::try_from(number).unwrap_or(u32::MAX),
            started_at: *at,
            ended_at: at.plus_millis(1),
            window: past_window(monitor, *at),
            version: "".into(),
            outcome: Sampled::of(answer.as_ref().map_err(String::as_str), monitor),
        });
        Ok((samples.collect(), since.unwrap_or_default() > 0))
    }

    /// As many at once as the source answers.
    async fn by_range(
        &self,
        monitor: &MonitorDef,
        due: &[Timestamp],
        step: i64,
    ) -> Result<Vec<Answer>, String> {
        let (Some(first), Some(last)) = (due.first(), due.last()) else { return Ok(Vec::new()) };
        let input = input(monitor, *last);
        let all = usize::try_from(last.since(*first) / step).unwrap_or_default() + 1;
        let mut answers = Vec::with_capacity(all);
        while answers.len() < all {
            let begun = Instant::now();
            let from = first.plus_millis(step.saturating_mul(answers.len() as i64));
            let count = POINTS_MAX.min(all - answers.len());
            answers.extend(self.0.range(&input, from, step, count).await?);
            if answers.len() < all {
                sleep_until(begun + PACE).await;
            }
        }
        // Hours in which it does not check are no concern of it.
        let number = |at: &Timestamp| usize::try_from(at.since(*first) / step).unwrap_or_default();
        Ok(due.iter().filter_map(|at| answers.get(number(at)).cloned()).collect())
    }

    async fn one_by_one(
        &self,
        monitor: &MonitorDef,
        due: &[Timestamp],
        output: &Output,
    ) -> Result<Vec<Answer>, String> {
        let Some(since) = self.since(monitor, due).await? else { return Ok(Vec::new()) };
        let unknown = || Err("its source keeps nothing of that time".to_owned());
        let mut answers: Vec<Answer> = std::iter::repeat_with(unknown).take(since).collect();
        let due = due.get(since..).unwrap_or_default();
        let seconds = PACE.as_secs_f64() * due.len() as f64;
        if seconds > 10.0 {
            output.note(format_args!(
                "{}: {} questions, which takes about {seconds:.0} s",
                monitor.name,
                due.len()
            ));
        }
        for at in due {
            answers.push(self.ask(monitor, *at).await?);
        }
        Ok(answers)
    }

    /// Where answers begin, about: sources keep what they have for so long, and asking for each check of
    /// the time before would take hours. None if there is no check.
    async fn since(
        &self,
        monitor: &MonitorDef,
        due: &[Timestamp],
    ) -> Result<Option<usize>, String> {
        for (number, at) in due.iter().enumerate().take(SILENT_MAX) {
            if self.ask(monitor, *at).await?.is_ok() {
                return Ok(Some(number));
            }
        }
        let mut why = None;
        for (number, at) in due.iter().enumerate().rev().take(SILENT_MAX) {
            match self.ask(monitor, *at).await? {
                Ok(_) => {
                    let (mut silent, mut known) = (SILENT_MAX.min(number), number);
                    while silent < known {
                        let middle = silent.midpoint(known);
                        let Some(at) = due.get(middle) else { break };
                        match self.ask(monitor, *at).await? {
                            Ok(_) => known = middle,
                            Err(_) => silent = middle + 1,
                        }
                    }
                    return Ok(Some(known));
                }
                Err(reason) => why = why.or(Some(reason)),
            }
        }
        why.map_or(Ok(None), |why| Err(format!("its source cannot tell: {why}")))
    }

    async fn ask(&self, monitor: &MonitorDef, at: Timestamp) -> Result<Answer, String> {
        let begun = Instant::now();
        let answer = self.0.at(task_type(monitor.kind), &input(monitor, at)).await?;
        sleep_until(begun + PACE).await;
        Ok(answer)
    }
}

fn input(monitor: &MonitorDef, at: Timestamp) -> Json {
    past_input(monitor, at, &|name| FromEnvironment.secret(name))
}

/// Whether the query has no times of its own, so that Prometheus evaluates it at many instants at once.
fn is_ranged(monitor: &MonitorDef) -> bool {
    monitor.kind == Kind::Prometheus && !monitor.settings.text().contains("${window")
}

/// Whether the past can be asked for.
fn askable(monitor: &MonitorDef) -> Result<(), String> {
    let settings = monitor.settings.text();
    if settings.contains("***") {
        let why = "the server does not tell the settings of its source: give the file with -f";
        return Err(why.to_owned());
    }
    match monitor.kind {
        Kind::Prometheus => Ok(()),
        Kind::Influx => timed(settings),
        other => Err(format!(
            "{} keeps no history: try it on samples (--source samples)",
            other.as_str()
        )),
    }
}

/// Whether all times in a query of `InfluxDB` come from the window, so that it means the past when it is
/// asked about the past.
fn timed(settings: &str) -> Result<(), String> {
    let squeezed: String = settings.to_ascii_lowercase().split_whitespace().collect();
    let own = [
        "now()",
        "start:-",
        "stop:-",
        "today()",
        "current_timestamp",
        "current_date",
        "current_time",
        "localtimestamp",
        "localtime",
        "now`",
    ];
    if let Some(own) = own.into_iter().find(|it| squeezed.contains(it)) {
        return Err(format!(
            "its query has a time of its own ({own}), which would be that of today: write \
             ${{window.from}} and ${{window.to}}"
        ));
    }
    if !squeezed.contains("${window.") {
        let why = "its query says no time, so it asks about today: write ${window.from} and \
                   ${window.to}";
        return Err(why.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_queries_that_mean_the_past_are_asked_about_it() {
        let of = |kind, settings: Value| askable(&MonitorDef::new("m", kind, Json::of(&settings)));
        assert!(of(Kind::Prometheus, json!({ "query": "up", "url": "http://p" })).is_ok());
        let hidden = of(Kind::Prometheus, json!({ "query": "up", "url": "***" }));
        assert!(hidden.expect_err("hidden").contains("-f"));
        let bound =
            "SELECT mean(x) FROM y WHERE time >= ${window.from_ms}ms AND time < ${window.to_ms}ms";
        assert!(of(Kind::Influx, json!({ "influxql": bound })).is_ok());
        for (language, query) in [
            ("influxql", "SELECT x FROM y WHERE time > now() - 5m"),
            ("influxql", "SELECT last(x) FROM y"),
            ("flux", "from(bucket: \"b\") |> range( start: -5m )"),
            ("influxql", "SELECT x FROM y WHERE time < ${window.to_ms}ms AND time > NOW() - 5m"),
            ("flux", "from(bucket: \"b\") |> range(stop: ${window.to}, start: -5m)"),
            ("flux", "from(bucket: \"b\") |> range(start: today(), stop: ${window.to})"),
            ("sql", "SELECT x FROM y WHERE time < '${window.to}' AND time > CURRENT_DATE"),
            ("sql", "SELECT x FROM y WHERE time < '${window.to}' AND time > localtimestamp"),
        ] {
            assert!(of(Kind::Influx, json!({ language: query })).is_err(), "{query}");
        }
        assert!(of(Kind::Http, json!({ "url": "http://x" })).is_err());
    }
}
