//! What a monitor would have made of a past that is known: the part of a backtest that asks nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::alert::definition::{File, MonitorDef};
use kernel::alert::{Input, Sample};
use kernel::cron::Zone;
use kernel::{Scripts, Timestamp};
use serde_json::Value;
use tracing::subscriber::NoSubscriber;

use super::figures::Report;
use crate::cli::failure::Failure;
use crate::scripts::Engines;
use crate::testing::backtest::{self, Trial, Trialled};

/// Bytes of stack for the thread that runs it, as tests have.
const STACK: usize = 16 << 20;
/// Settings that say what rows mean, not what is asked for.
const SHAPES: [&str; 4] = ["per", "value", "text", "empty"];

/// What is tried, and on what.
pub(crate) struct Asked {
    /// Everything that is defined, the monitor as it is tried.
    pub(crate) file: File,
    /// The monitor as it is tried.
    pub(crate) monitor: MonitorDef,
    /// What checks answered, by monitor, oldest first.
    pub(crate) samples: BTreeMap<String, Vec<Sample>>,
    /// What the ledgers say.
    pub(crate) record: Value,
    /// What people did, in order.
    pub(crate) operator_actions: Vec<(Timestamp, Input)>,
    /// From when and until when.
    pub(crate) span: (Timestamp, Timestamp),
    /// The zone in which it is night.
    pub(crate) zone: (String, Zone),
    /// What is to be told with the report.
    pub(crate) notes: Vec<String>,
    /// Whether checks were asked for as the definition has its times, not as they were made.
    pub(crate) by_own_times: bool,
}

/// Tries it. Blocks the thread.
///
/// # Errors
/// The definitions do not fit together. Inside: why there is nothing to try.
pub(crate) fn report(asked: Asked) -> anyhow::Result<Result<Report, String>> {
    let Asked {
        file,
        monitor,
        samples,
        record,
        operator_actions,
        span: (since, until),
        zone,
        mut notes,
        by_own_times,
    } = asked;
    let own = samples.get(&*monitor.name).cloned().unwrap_or_default();
    let Some(first) = own.first() else {
        return Ok(Err("nothing is kept of that time".to_owned()));
    };
    // What began before the first sample is not known.
    let warm_up = backtest::warm_up(&monitor).min(since.since(first.started_at).max(0));
    let begin = since.max(first.started_at.plus_millis(warm_up));
    let is_faster = monitor.schedule.every.is_some_and(|every| every < interval_of(&own));
    if !by_own_times && is_faster {
        notes.push(
            "it checks more often than it did then: the checks are those that were made".to_owned(),
        );
    }
    let now = tried(file, &monitor.name, samples, operator_actions, (begin, until))?;
    Ok(Ok(Report::new(&monitor, (begin, until), zone, &own, &record, &now, notes)))
}

/// What the definition asks for otherwise than the one by which the samples were made.
pub(crate) fn asked_otherwise(stored: &MonitorDef, monitor: &MonitorDef) -> Vec<String> {
    if stored.kind != monitor.kind {
        return vec![format!(
            "the samples are of checks of another kind, {}: judged is what those answered",
            stored.kind.as_str()
        )];
    }
    let (before, after) = (stored.settings.parse(), monitor.settings.parse());
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else {
        return Vec::new();
    };
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let changed = names.filter(|name| {
        let hidden = before.get(*name).is_some_and(|it| it.to_string().contains("***"));
        !hidden && !SHAPES.contains(&name.as_str()) && before.get(*name) != after.get(*name)
    });
    let changed: Vec<&str> = changed.map(String::as_str).collect();
    if changed.is_empty() {
        return Vec::new();
    }
    let changed = changed.join(", ");
    vec![format!(
        "{changed}: the checks were made without this change, and their answers stay as they were; \
         conditions, per and everything after are judged anew"
    )]
}

/// How far checks lay apart, mostly.
fn interval_of(samples: &[Sample]) -> i64 {
    let mut apart: Vec<i64> =
        samples.windows(2).map(|pair| pair[1].started_at.since(pair[0].started_at)).collect();
    apart.sort_unstable();
    // Starts are a little late, each by another while.
    apart.get(apart.len() / 2).map_or(0, |middle| middle * 9 / 10)
}

/// What people did to incidents, as inputs of the monitor, in order.
pub(crate) fn operator_actions(
    name: &str,
    record: &Value,
    until: Timestamp,
) -> Vec<(Timestamp, Input)> {
    let mut operator_actions = Vec::new();
    for incident in record["incidents"].as_array().into_iter().flatten() {
        let key = incident["key"].as_str().unwrap_or_default();
        // The incident without a key is called by the monitor's name.
        let incident_name: Arc<str> = if key.is_empty() { name } else { key }.into();
        let until_clear = incident["acknowledged"]["untilClear"] == true;
        let history = incident["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let at = |entry: &Value| entry["at"].as_i64().map(Timestamp::from_millis);
        for (place, entry) in history.iter().enumerate() {
            let Some((who, when)) = entry["who"].as_str().zip(at(entry)) else { continue };
            let (incident, who) = (incident_name.clone(), Arc::<str>::from(who));
            let why = entry["why"].as_str().map(Arc::from);
            let input = match entry["what"].as_str() {
                Some("acknowledged") => Input::Acknowledge { incident, who, why, until_clear },
                Some("snoozed") => {
                    // It lasted until something else happened.
                    let until = history.get(place + 1).and_then(at).unwrap_or(until);
                    Input::Snooze { incident, until, who, why }
                }
                Some("resolved") => Input::Resolve { incident, who, why },
                _ => continue,
            };
            operator_actions.push((when, input));
        }
    }
    operator_actions.sort_by_key(|(at, _)| *at);
    operator_actions
}

/// Tries it on a thread of its own: virtual time has its own runtime.
fn tried(
    file: File,
    name: &str,
    samples: BTreeMap<String, Vec<Sample>>,
    operator_actions: Vec<(Timestamp, Input)>,
    (since, until): (Timestamp, Timestamp),
) -> anyhow::Result<Trialled> {
    let scripts: Arc<dyn Scripts> =
        Engines::new(tasks::javascript::Limits::default(), tasks::jq::Limits::default());
    let name = name.to_owned();
    let work = move || {
        let (file, samples, scripts) = (&file, &samples, &scripts);
        let trial =
            Trial { file, monitor: &name, samples, operator_actions, since, until, scripts };
        // What is logged on the stage did not happen.
        tracing::subscriber::with_default(NoSubscriber::default(), || backtest::run(trial))
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work)?;
    let done = thread.join().map_err(|_| anyhow::anyhow!("the backtest broke off"))?;
    done.map_err(|why| anyhow::anyhow!("{why}"))
}

/// The zone in which it is night.
///
/// # Errors
/// There is none of the name that was asked for.
pub(crate) fn zone_of(
    asked: Option<&str>,
    monitor: &MonitorDef,
) -> Result<(String, Zone), Failure> {
    let own = Some(&*monitor.schedule.tz).filter(|tz| !tz.is_empty());
    let system = jiff::tz::TimeZone::system();
    let name = asked.or(own).or(system.iana_name()).unwrap_or("UTC");
    match Zone::named(name) {
        Ok(zone) => Ok((name.to_owned(), zone)),
        Err(_) if asked.is_none() => Ok(("UTC".to_owned(), Zone::utc())),
        Err(error) => Err(Failure::usage(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use kernel::Json;
    use kernel::alert::definition::Kind;
    use serde_json::json;

    use super::*;

    #[test]
    fn people_do_what_the_ledger_says_that_they_did() {
        let entry = |at: i64, what: &str, who: Option<&str>| json!({ "at": at, "what": what, "who": who, "why": "because" });
        let record = json!({ "incidents": [
            { "key": "a", "history": [entry(1, "open", None), entry(5, "snoozed", Some("ann")),
                entry(9, "open", None), entry(12, "resolved", None)] },
            { "key": "", "acknowledged": { "untilClear": true },
                "history": [entry(3, "acknowledged", Some("bo"))] },
        ] });
        let found = operator_actions("shop", &record, Timestamp::from_millis(50));
        let told: Vec<String> =
            found.iter().map(|(at, action)| format!("{} {action:?}", at.millis())).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("Acknowledge { incident: \"shop\", who: \"bo\""), "{told:?}");
        assert!(told[0].contains("until_clear: true"), "{told:?}");
        assert!(
            matches!(&found[1].1, Input::Snooze { until, .. } if until.millis() == 9),
            "{told:?}"
        );
    }

    #[test]
    fn what_is_asked_otherwise_is_told_and_what_means_otherwise_is_not() {
        let of = |settings: Value| MonitorDef::new("m", Kind::Prometheus, Json::of(&settings));
        let stored = of(json!({ "url": "***", "query": "up", "per": "host" }));
        let same = of(json!({ "url": "http://p", "query": "up", "per": "job", "empty": "ok" }));
        assert_eq!(asked_otherwise(&stored, &same), Vec::<String>::new());
        let other = of(json!({ "url": "http://p", "query": "up == 0" }));
        assert!(asked_otherwise(&stored, &other)[0].starts_with("query: "));
    }
}
