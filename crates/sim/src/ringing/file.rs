//! What is watched: a file of monitors as people write it, and beside it the same rules in plain
//! numbers, for the auditor, who does not read files as the kernel does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use kernel::alert::definition::{ChecklistOptions, Spec, load};
use kernel::definition::parse_workflow;
use kernel::graph::Plan;

use crate::random::Random;

const MINUTE: i64 = 60_000;

/// Receivers by name, and who is told instead.
pub(super) const RECEIVERS: [(&str, Option<&str>); 3] =
    [("pager", Some("boss")), ("chat", None), ("boss", None)];
/// Those that know incidents by a key, and may hear of the end of what they never had.
pub(super) const KEYED: [&str; 2] = ["pager", "boss"];
/// Keys of the monitor that has several.
pub(super) const KEYS: [&str; 3] = ["a", "b", "c"];
/// The monitor that others may depend on.
pub(super) const HOST: &str = "host";
/// Monitors and their keys.
pub(super) const MONITORS: [(&str, &[&str]); 2] = [(HOST, &[""]), ("net", &KEYS)];

/// A monitor's rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) every: i64,
    /// How far back a check looks at least, and at most.
    pub(super) window: Option<(i64, i64)>,
    pub(super) fail_after: u32,
    pub(super) recover_after: u32,
    pub(super) missing: u32,
    /// Checks in a row that could not tell before that is an incident.
    pub(super) on_error: u32,
    pub(super) needs_host: bool,
    pub(super) steps: Vec<Step>,
    pub(super) remind: Option<i64>,
    /// Milliseconds in which what belongs together is gathered.
    pub(super) wait: i64,
    /// Milliseconds that a page may be under way before the receiver's fallback is told, too.
    pub(super) fallback_after: i64,
}

/// One step of the route.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) to: Vec<&'static str>,
    pub(super) after: i64,
    pub(super) unless_acked: bool,
}

/// What is registered in a simulated world.
pub(super) struct Catalog {
    pub(super) specs: Vec<Spec>,
    pub(super) rules: BTreeMap<&'static str, Rules>,
    /// Definitions of checks and deliveries, pinned.
    pub(super) plans: BTreeMap<String, Arc<Plan>>,
}

impl Rules {
    fn drawn(random: &mut Random, name: &str, route: &Route) -> Self {
        let mut few = |percent: u32| if random.chance(percent) { random.between(2, 3) } else { 1 };
        let (fail_after, recover_after, missing) = (few(40), few(40), few(40));
        let on_error = if random.chance(80) { random.between(1, 3) } else { 0 };
        let every = random.pick(&[2, 5, 10]).copied().unwrap_or(5) * MINUTE;
        let catch_up = random.pick(&[30, 24 * 60]).copied().unwrap_or(60) * MINUTE;
        let has_window = name != HOST && random.chance(80);
        Self {
            every,
            window: has_window.then_some((every, catch_up)),
            fail_after: fail_after as u32,
            recover_after: recover_after as u32,
            missing: missing as u32,
            on_error: on_error as u32,
            needs_host: name != HOST && random.chance(40),
            steps: route.steps.clone(),
            remind: route.remind,
            wait: route.wait,
            fallback_after: route.fallback_after,
        }
    }

    fn write(&self, name: &str, out: &mut String) {
        let kind = if name == HOST { "tcp: \"h:1\"" } else { "http: \"http://net\"" };
        let Self { every, fail_after, recover_after, missing, on_error, .. } = self;
        let every = every / 1000;
        write!(
            out,
            "  {name}: {{ {kind}, every: {every}s, fail_after: {fail_after}, \
             recover_after: {recover_after}, missing: {missing}, on_error: {{ after: {on_error} }}"
        )
        .expect("a text takes all");
        if let Some((lookback, catch_up)) = self.window {
            let (lookback, catch_up) = (lookback / 1000, catch_up / 1000);
            write!(out, ", window: {{ lookback: {lookback}s, catch_up: {catch_up}s }}")
                .expect("a text takes all");
        }
        if self.needs_host {
            write!(out, ", depends_on: {HOST}").expect("a text takes all");
        }
        out.push_str(" }\n");
    }
}

/// The one route of a world.
struct Route {
    steps: Vec<Step>,
    remind: Option<i64>,
    wait: i64,
    written: &'static str,
    fallback_after: i64,
}

fn route(random: &mut Random) -> Route {
    let step = |to: &[&'static str]| Step { to: to.to_vec(), after: 0, unless_acked: false };
    let fallback_after = random.pick(&[2, 5, 20]).copied().unwrap_or(5) * MINUTE;
    let later = Step { to: vec!["boss"], after: 6 * MINUTE, unless_acked: true };
    match random.below(4) {
        0 => Route {
            steps: vec![step(&["pager"])],
            remind: Some(20 * MINUTE),
            wait: 0,
            written: "{ to: pager, remind: 20m }",
            fallback_after,
        },
        1 => Route {
            steps: vec![step(&["pager", "chat"]), later],
            remind: Some(45 * MINUTE),
            wait: 0,
            written: "{ steps: [{ to: [pager, chat] }, { to: boss, after: 6m, unless: acked }], \
                      remind: 45m }",
            fallback_after,
        },
        2 => Route {
            steps: vec![step(&["chat"])],
            remind: None,
            wait: 90_000,
            written: "{ to: chat, group_by: [monitor], wait: 90s }",
            fallback_after,
        },
        _ => Route {
            steps: vec![step(&["pager"])],
            remind: None,
            wait: 0,
            written: "{ to: pager }",
            fallback_after,
        },
    }
}

impl Catalog {
    /// The catalog of a seed.
    pub(super) fn drawn(random: &mut Random) -> Self {
        let route = route(random);
        let mut text = "receivers:\n".to_owned();
        for (name, fallback) in RECEIVERS {
            let after = route.fallback_after / 1000;
            let fallback = fallback
                .map_or(String::new(), |it| format!(", fallback: {it}, fallback_after: {after}s"));
            let kind = if KEYED.contains(&name) { "pagerduty: k" } else { "slack: \"https://s\"" };
            writeln!(text, "  {name}: {{ {kind}{fallback} }}").expect("a text takes all");
        }
        writeln!(text, "routes:\n  - {}\nmonitors:", route.written).expect("a text takes all");
        let mut rules = BTreeMap::new();
        for (name, _) in MONITORS {
            let drawn = Rules::drawn(random, name, &route);
            drawn.write(name, &mut text);
            rules.insert(name, drawn);
        }
        let loaded = load(&text, &ChecklistOptions::default());
        let file = loaded.file.unwrap_or_else(|| panic!("{text}\n{:?}", loaded.problems));
        let mut specs = file.specs();
        let mut plans = BTreeMap::new();
        let checks = specs.iter().filter_map(|spec| spec.check.definition.as_ref());
        let checks: Vec<String> = checks.map(|definition| definition.text().to_owned()).collect();
        let deliveries = file.receivers.iter();
        let deliveries = deliveries.map(|(name, receiver)| receiver.definition(name).to_string());
        for definition in checks.into_iter().chain(deliveries) {
            let definition = parse_workflow(&definition).expect("a generated definition is valid");
            let name = definition.name.clone();
            plans.insert(name, Arc::new(Plan::pin(definition, &|_| None)));
        }
        for spec in &mut specs {
            spec.check.definition = None;
        }
        Self { specs, rules, plans }
    }
}
