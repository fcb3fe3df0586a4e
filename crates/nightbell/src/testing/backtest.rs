//! A backtest: what a monitor would have made of what its checks have answered, by the engine that
//! ships, in virtual time (decision 0044).
//!
//! Checks are made when they were made, and end when they ended; what never ran does not run. The
//! definition judges what they answered, and receivers take whatever they are told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel::alert::definition::{File, MonitorDef, Receiver, Schedule};
use kernel::alert::{Input, Sample, Sampled, doubt};
use kernel::{Json, Scripts, Timestamp};
use serde_json::json;

use super::watching::{Action, Feed, Incident, Place, Sight, Telling, Watching, watch};

/// How long before a check that was made another one may take its sample: somebody asks what a
/// monitor depends on a little earlier or later than it was asked then.
const NEAR: i64 = 2000;
/// Milliseconds after which a check is given up on the stage: never before it ended.
const PATIENCE: i64 = 30 * 24 * 3_600_000;

/// What is tried on which past.
pub(crate) struct Trial<'a> {
    /// Everything that is defined, at least the monitor and what it depends on.
    pub(crate) file: &'a File,
    /// The monitor.
    pub(crate) monitor: &'a str,
    /// What checks answered, by monitor, oldest first, from [`warm_up`] before `since` on.
    pub(crate) samples: &'a BTreeMap<String, Vec<Sample>>,
    /// What people did, in order.
    pub(crate) operator_actions: Vec<(Timestamp, Input)>,
    /// What happened from then on counts.
    pub(crate) since: Timestamp,
    /// When it is over.
    pub(crate) until: Timestamp,
    /// What runs conditions that need it.
    pub(crate) scripts: &'a Arc<dyn Scripts>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Trialled {
    /// Incidents that opened.
    pub(crate) incidents: Vec<Incident>,
    /// What receivers were told.
    pub(crate) told: Vec<Telling>,
    /// Checks that count.
    pub(crate) checks: u64,
    /// How many of them answered what the definition cannot judge, and why the first does.
    pub(crate) doubts: (usize, Option<String>),
}

/// Milliseconds before a stretch of time in which things began that matter in it.
pub(crate) fn warm_up(monitor: &MonitorDef) -> i64 {
    let flap = monitor.flap.map_or(0, |flap| flap.within.max(flap.settle));
    monitor.hold.max(flap).max(monitor.quiet_for).saturating_mul(2)
}

/// The monitors of which a backtest of one needs samples: itself, and all that it depends on.
pub(crate) fn needed(file: &File, monitor: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::from([monitor.to_owned()]);
    loop {
        let known = file.monitors.iter().filter(|it| names.contains(&*it.name));
        let needs = known.flat_map(|it| it.depends_on.iter().chain(&it.witness));
        let more: Vec<String> = needs.map(ToString::to_string).collect();
        let before = names.len();
        names.extend(more);
        if names.len() == before {
            return names;
        }
    }
}

/// Tries it. Blocks the thread.
///
/// # Errors
/// The definitions do not fit together, or there is no such monitor.
pub(crate) fn run(trial: Trial<'_>) -> Result<Trialled, String> {
    let Trial { file, monitor, samples, operator_actions, since, until, scripts } = trial;
    let file = staged(file);
    let mut acts: Vec<(Timestamp, Action)> = operator_actions
        .into_iter()
        .map(|(at, action)| (at, Action::Operator(Box::new(action))))
        .collect();
    let mut others: BTreeMap<String, Box<dyn Feed>> = BTreeMap::new();
    let mut own: Option<Box<dyn Feed>> = None;
    let mut start = since;
    for name in needed(&file, monitor) {
        let Some(of) = samples.get(&name).filter(|of| !of.is_empty()) else { continue };
        let place = Place::default();
        start = of.first().map_or(start, |first| first.started_at.min(start));
        acts.extend(of.iter().enumerate().map(|(number, sample)| {
            let (monitor, place) = (name.clone(), place.clone());
            (sample.started_at, Action::Check { monitor, number, place })
        }));
        let feed = Box::new(Replayed { samples: of.clone(), place });
        if name == monitor {
            own = Some(feed);
        } else {
            others.insert(name, feed);
        }
    }
    let is_other =
        |action: &Action| matches!(action, Action::Check { monitor: it, .. } if it != monitor);
    acts.sort_by_key(|(at, action)| (*at, is_other(action)));
    let Some(feed) = own else { return Ok(Trialled::default()) };
    let watched = watch(Watching {
        file: &file,
        monitor,
        start,
        until,
        real_phase: true,
        feed,
        others,
        records: false,
        acts,
        scripts,
    })?;
    let own = file.monitors.iter().find(|it| *it.name == *monitor);
    let counted = watched.checks.iter().filter(|it| it.at >= since);
    let mut doubts: Vec<String> =
        counted.filter_map(|check| doubt(check.seen.as_ref().ok()?, own?)).collect();
    let doubts = (doubts.len(), (!doubts.is_empty()).then(|| doubts.swap_remove(0)));
    Ok(Trialled {
        doubts,
        checks: watched.checks.iter().filter(|it| it.at >= since).count() as u64,
        incidents: watched.incidents.into_iter().filter(|it| it.opens >= since).collect(),
        told: watched
            .told
            .into_iter()
            .filter(|it| it.due >= since && it.monitor == monitor)
            .collect(),
    })
}

/// The file as it is staged: checks are made when they were made, and receivers are boxes that take
/// everything.
fn staged(file: &File) -> File {
    let mut file = file.clone();
    file.sources.clear();
    for monitor in &mut file.monitors {
        let tz = monitor.schedule.tz.clone();
        monitor.schedule = Schedule { tz, ..Schedule::default() };
        monitor.timeout = Some(PATIENCE);
        // What never ran does not run.
        monitor.on_missed = None;
    }
    for (name, receiver) in &mut file.receivers {
        let Receiver { fallback, fallback_after, rate, .. } = receiver.clone();
        let settings = Json::of(&json!({ "name": name }));
        *receiver = Receiver { fallback, fallback_after, rate, ..Receiver::new("inbox", settings) };
    }
    file
}

/// What checks have answered, once more.
struct Replayed {
    samples: Vec<Sample>,
    place: Place,
}

impl Feed for Replayed {
    fn look(&mut self, _: u32, at: Timestamp) -> Sight {
        let place = self.place.load(Ordering::Relaxed);
        let next = self.samples.get(place).filter(|it| it.started_at <= at.plus_millis(NEAR));
        if let Some(sample) = next {
            self.place.store(place + 1, Ordering::Relaxed);
            return Sight::Later(sample.ended_at, Box::new(sight(sample)));
        }
        // Somebody asks who did not ask then: it is as it was last.
        match place.checked_sub(1).and_then(|before| self.samples.get(before)) {
            Some(before) => sight(before),
            None => Sight::Unknown("nothing is kept of that time".to_owned()),
        }
    }
}

fn sight(sample: &Sample) -> Sight {
    match &sample.outcome {
        Sampled::Output(output) => Sight::Output(output.clone()),
        Sampled::Unknown(why) => Sight::Unknown(why.to_string()),
        Sampled::TooLong(bytes) => {
            Sight::Unknown(format!("{bytes} bytes were too long to be kept"))
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::alert::definition::{ChecklistOptions, Known, load_among};
    use serde_json::{Map, Value};

    use super::super::dice::{Dice, many};
    use super::*;
    use crate::scripts::Engines;

    /// Definitions that are tried: among them one whose messages tell of several incidents.
    const SEEDS: [u64; 6] = [0, 1, 2, 3, 4, 11];

    /// Rows of a few hosts whose loss goes up and down, each check with a length of its own.
    struct Wild {
        dice: Dice,
        loss: [u64; 3],
    }

    impl Feed for Wild {
        fn look(&mut self, _: u32, at: Timestamp) -> Sight {
            for loss in &mut self.loss {
                if self.dice.throw(6) == 0 {
                    *loss = self.dice.throw(3) * 50;
                }
            }
            let sight = if self.dice.throw(15) == 0 {
                Sight::Unknown("refused".to_owned())
            } else {
                let row = |(host, loss): (usize, &u64)| {
                    Map::from_iter([
                        ("host".to_owned(), Value::from(format!("h{host}"))),
                        ("loss".to_owned(), Value::from(*loss)),
                    ])
                };
                let count = if self.dice.throw(8) == 0 { 2 } else { 3 };
                Sight::Rows(self.loss.iter().enumerate().take(count).map(row).collect())
            };
            let took = self.dice.throw(3) as i64 * 411;
            Sight::Later(at.plus_millis(took), Box::new(sight))
        }
    }

    fn definition(dice: &mut Dice) -> String {
        let lines = [
            dice.pick(&["", "fail_after: 2", "fail_after: 3"]),
            dice.pick(&["", "for: 3m", "for: 90s"]),
            dice.pick(&["", "recover_after: 2"]),
            dice.pick(&["", "missing: 2"]),
            dice.pick(&["", "resolve: { quiet_for: 4m }"]),
            dice.pick(&["", "flap: { changes: 3, within: 20m, settle: 5m }"]),
            dice.pick(&["", "depends_on: [line]"]),
            dice.pick(&["", "witness: [line]"]),
            dice.pick(&["", "warn_when: \"loss > 0\""]),
            dice.pick(&["", "on_error: { after: 2 }"]),
        ];
        let lines: Vec<&str> = lines.into_iter().filter(|it| !it.is_empty()).collect();
        let lines = lines.join("\n    ");
        let group = dice.pick(&["", ", group_by: [host], wait: 20s", ", group_by: [site]"]);
        let silence = dice.pick(&[
            "",
            "silences:\n  - { match: { host: h1 }, from: \"2026-01-01T00:10:00Z\", for: 15m }\n",
        ]);
        let steps =
            dice.pick(&["to: a", "steps: [ { to: a }, { to: b, after: 5m, unless: acked } ]"]);
        format!(
            "receivers:\n  a: {{ slack: {{ url: \"https://a.test/\" }} }}\n  \
             b: {{ pagerduty: {{ key: k }} }}\n{silence}\
             routes:\n  - {{ {steps}{group}, remind: 7m }}\nmonitors:\n  \
             loss:\n    prometheus: {{ url: \"http://p.test/\", query: loss }}\n    per: host\n    \
             every: 1m\n    fail_when: \"loss >= 100\"\n    \
             labels: {{ host: \"{{{{ host }}}}\", site: one }}\n    {lines}\n  \
             line:\n    prometheus: {{ url: \"http://p.test/\", query: up }}\n    every: 50s\n    \
             fail_when: \"loss >= 100\"\n"
        )
    }

    fn read(text: &str) -> File {
        let loaded = load_among(text, &ChecklistOptions::default(), &Known::default());
        loaded.file.unwrap_or_else(|| panic!("{text}\n{:?}", loaded.problems))
    }

    fn lines(incidents: &[Incident]) -> Vec<String> {
        let line = |it: &Incident| format!("{} {} {:?}", it.key, it.opens, it.resolves);
        incidents.iter().map(line).collect()
    }

    /// Who was told what, and when. A delivery counts once, however many requests its receiver takes for it:
    /// then one for each member of a group, and one for all of them in a trial.
    fn told(told: &[Telling]) -> Vec<String> {
        let own = told.iter().filter(|it| it.monitor == "loss");
        let mut deliveries = BTreeMap::new();
        for it in own {
            let line = format!("{} {} {} {:?} {}", it.due, it.to, it.event, it.keys, it.title);
            deliveries.entry((it.due, it.to.clone(), it.delivery.clone())).or_insert(line);
        }
        let mut lines: Vec<String> = deliveries.into_values().collect();
        lines.sort();
        lines
    }

    /// What people do, now and then, apart from the instants of checks.
    fn operators(dice: &mut Dice, start: Timestamp) -> Vec<(Timestamp, Input)> {
        let act = |dice: &mut Dice, minute: i64| {
            let at = start.plus_millis(minute * 60_000 + 31_357);
            let incident: Arc<str> = dice.pick(&["h0", "h1", "h2"]).into();
            let (who, why) = (Arc::<str>::from("ann"), None);
            let until = at.plus_millis(6 * 60_000);
            let input = match dice.throw(3) {
                0 => Input::Acknowledge { incident, who, why, until_clear: false },
                1 => Input::Snooze { incident, until, who, why },
                _ => Input::Resolve { incident, who, why },
            };
            (at, input)
        };
        (0..10).map(|number| act(dice, 3 + number * 4)).collect()
    }

    #[test]
    fn the_same_definition_makes_the_same_of_the_same_past() {
        try_seeds(SEEDS);
    }

    #[test]
    #[ignore = "takes minutes; NIGHTBELL_TEST_SEEDS says how many"]
    fn the_same_definition_makes_the_same_of_many_pasts() {
        try_seeds(0..many(500));
    }

    fn try_seeds(seeds: impl IntoIterator<Item = u64>) {
        let scripts: Arc<dyn Scripts> =
            Engines::new(tasks::javascript::Limits::default(), tasks::jq::Limits::default());
        let start = Timestamp::from_millis(1_767_225_600_000);
        let until = start.plus_millis(50 * 60_000);
        let (mut tried, mut opened, mut grouped) = (0, 0, 0);
        for seed in seeds {
            tried += 1;
            let mut dice = Dice(seed);
            for _ in 0..5 {
                dice.throw(2);
            }
            let text = definition(&mut dice);
            let file = read(&text);
            let acted = operators(&mut dice, start);
            let wild =
                |seed| -> Box<dyn Feed> { Box::new(Wild { dice: Dice(seed), loss: [0, 0, 0] }) };
            let then = watch(Watching {
                file: &file,
                monitor: "loss",
                start,
                until,
                real_phase: true,
                feed: wild(seed + 1000),
                others: BTreeMap::from([("line".to_owned(), wild(seed + 2000))]),
                records: true,
                acts: acted
                    .iter()
                    .map(|(at, input)| (*at, Action::Operator(Box::new(input.clone()))))
                    .collect(),
                scripts: &scripts,
            })
            .expect("it runs");
            let trial = |file: &File| {
                let (operator_actions, samples) = (acted.clone(), &then.samples);
                let (monitor, since, scripts) = ("loss", start, &scripts);
                run(Trial { file, monitor, samples, operator_actions, since, until, scripts })
                    .expect("it runs")
            };
            let now = trial(&file);
            assert_eq!(lines(&now.incidents), lines(&then.incidents), "seed {seed}\n{text}");
            assert_eq!(told(&now.told), told(&then.told), "seed {seed}\n{text}");
            grouped += usize::from(now.told.iter().any(|it| it.keys.len() > 1));
            assert!(now.checks.abs_diff(then.checks.len() as u64) <= 1, "seed {seed}");
            opened += then.incidents.len();
            if seed > 1 {
                continue;
            }
            // One who never fails finds nothing, whatever was found then.
            let blind = read(&text.replacen("loss >= 100", "loss >= 101", 1));
            let found = trial(&blind).incidents.into_iter().filter(|it| !it.key.starts_with('#'));
            let bad = found.filter(|it| it.line["worst"] != "warning").count();
            assert_eq!(bad, 0, "seed {seed}: rows are judged anew");
        }
        assert!(opened >= 3 * tried, "{opened} incidents say little");
        assert!(grouped > 0, "no message told of several incidents");
    }
}
