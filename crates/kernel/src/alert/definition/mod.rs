//! The monitors file as data: what is watched, whom to tell, and when to be quiet.
//!
//! One file holds receivers, routes, monitors, silences and maintenance. [`load`] reads YAML and
//! answers everything that is wrong with it at once, each with line and column. What was read is
//! plain data that serializes: a monitor's machine keeps it in its history.

mod calendar;
mod checklist;
mod composite;
mod delivery;
pub(crate) mod editor;
mod file;
mod idle;
mod judge;
mod kinds;
mod known;
mod lint;
mod monitor;
mod ping_key;
mod reader;
pub mod reference;
pub mod roster;
mod source;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::condition::Condition;
use crate::json::Json;
use crate::time::Timestamp;

pub use super::span::{Rate, parse_rate, parse_share, parse_span};
pub use calendar::{Active, Clock, Days, Hours, Recurring, Schedule};
pub use checklist::ChecklistOptions;
pub use composite::{Composite, Standing, Verdict, composed_of_itself};
pub use file::{Loaded, load, load_among, load_judged, secrets_in};
pub use judge::{Judge, Remark};
pub use known::{Known, Labels, nearest_hint, telling_nobody, unknown_matchers};
pub use monitor::KEY_MIN;
pub use ping_key::{PingKey, is_slug};
pub use reader::{Level, Problem};
pub use roster::Roster;
pub use source::{rebinding, rebound};
pub use yaml::{Broken, Content, Node, parse as parse_yaml};

/// Whether two things are the same as their default, so that they need not be written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Everything in one monitors file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// What monitors may look at by name (`server`, `account`): settings for what they leave open.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<Arc<str>, Json>,
    /// Destinations by name.
    pub receivers: BTreeMap<Arc<str>, Receiver>,
    /// Who is told what; the first that matches decides.
    pub routes: Vec<Route>,
    /// What is watched, in the file's order.
    pub monitors: Vec<MonitorDef>,
    /// Silences and maintenance windows.
    pub silences: Vec<Silence>,
    /// Who is on call.
    #[serde(default, skip_serializing_if = "Roster::is_empty")]
    pub roster: Roster,
    /// Keys by which jobs call the heartbeat monitors of the file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ping_keys: BTreeMap<Arc<str>, PingKey>,
}

/// A destination of notifications.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receiver {
    /// `pagerduty`, `lark`, `webhook`, …
    pub kind: Arc<str>,
    /// The kind's own settings, an object; secrets are references.
    pub settings: Json,
    /// Who is told when this one refuses for good, or has not taken a page in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Arc<str>>,
    /// Milliseconds that a page may be under way before the fallback is told as well; absent =
    /// [`FALLBACK_AFTER`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_after: Option<i64>,
    /// How fast it is told; absent = as fast as its kind takes messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

impl Receiver {
    /// A receiver without a fallback, at the pace of its kind.
    pub fn new(kind: impl Into<Arc<str>>, settings: Json) -> Self {
        Self { kind: kind.into(), settings, fallback: None, fallback_after: None, rate: None }
    }
}

/// Milliseconds after which a page that has not arrived is told to the receiver's fallback, unless
/// the receiver or the route says otherwise: five minutes.
pub const FALLBACK_AFTER: i64 = 5 * 60_000;

/// How bad something is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Needs a look.
    Warning,
    /// Broken.
    Error,
    /// Somebody must get up.
    #[default]
    Critical,
}

impl Severity {
    /// From mild to worst.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// Reads its word, whatever its case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str().eq_ignore_ascii_case(text))
    }
}

/// What a label, a monitor's name or a severity must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matcher {
    /// The label; `monitor` and `severity` and `key` name what every incident has.
    #[serde(rename = "l")]
    pub label: Arc<str>,
    /// One of these; `*` stands for any text within.
    #[serde(rename = "v")]
    pub values: Vec<Arc<str>>,
    /// None of these, instead.
    #[serde(rename = "n", default, skip_serializing_if = "is_default")]
    pub negated: bool,
}

impl Matcher {
    /// Whether a value is what it must be; an absent label is the empty text.
    pub fn matches(&self, value: &str) -> bool {
        self.values.iter().any(|pattern| like(pattern, value)) != self.negated
    }
}

/// Whether a text fits a pattern in which `*` stands for any text.
fn like(pattern: &str, text: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    while let Some((part, after)) = rest.split_once('*') {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
        rest = after;
    }
    text.ends_with(rest)
}

/// Who is told, in which order, and how often again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// All must match; none = everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matchers: Vec<Matcher>,
    /// Whom to tell, at once or after a while.
    pub steps: Vec<Step>,
    /// Tell again every so many milliseconds while open and not acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind: Option<i64>,
    /// Milliseconds after which an acknowledgement counts no more; not one until it is clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_expires: Option<i64>,
    /// Labels whose values make a group: one notification for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Vec<Arc<str>>>,
    /// Values of the first group label in the order in which groups are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_order: Vec<Arc<str>>,
    /// What values of group labels are called.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub display: BTreeMap<Arc<str>, Arc<str>>,
    /// Milliseconds to wait for more of the same group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait: i64,
    /// Overrides its receivers' [`Receiver::fallback_after`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_after: Option<i64>,
    /// Takes only incidents that are first to be told in these hours; others go on to the next
    /// route, and wait for these hours if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
}

impl Route {
    /// The first instant from then on at which it takes incidents.
    pub fn takes_from(&self, from: Timestamp) -> Timestamp {
        self.hours.as_ref().map_or(from, |hours| hours.begin_from(from))
    }

    /// When a step is taken, counted from 0, of an incident that was first to be told then; `None` if
    /// there are not so many. None is taken before those that come before it.
    pub fn due(&self, step: usize, from: Timestamp) -> Option<Timestamp> {
        let steps = self.steps.get(..=step)?;
        Some(steps.iter().fold(from, |before, step| {
            let due = from.plus_millis(step.after).max(before);
            step.hours.as_ref().map_or(due, |hours| hours.begin_from(due))
        }))
    }
}

/// One step of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The receivers, and rotations as `oncall:NAME`.
    pub to: Vec<Arc<str>>,
    /// Milliseconds after the incident was first to be told.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after: i64,
    /// Not if somebody has acknowledged by then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unless_acked: bool,
    /// Only in these hours: outside of them it waits, and with it those after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
}

/// What a monitor looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Expected mail in a mailbox.
    Email,
    /// A job's last run, told by a status endpoint.
    Job,
    /// A query to `InfluxDB`.
    Influx,
    /// A query to Prometheus.
    Prometheus,
    /// A request to a web server.
    Http,
    /// A query to a database.
    Sql,
    /// A connection.
    Tcp,
    /// A look-up of a name.
    Dns,
    /// A question to the health service of a gRPC server.
    Grpc,
    /// Echo requests to a host.
    Icmp,
    /// Somebody who must call in.
    Heartbeat,
    /// Any definition that returns observations.
    Workflow,
    /// Another system that sends alerts.
    Alerts,
    /// Other monitors.
    Composite,
}

impl Kind {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        kinds::rule(self).name
    }

    /// Whether it looks by itself; otherwise it waits for what others say.
    pub const fn checks(self) -> bool {
        !matches!(self, Self::Heartbeat | Self::Alerts)
    }
}

/// What is watched and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitorDef {
    /// Its name.
    pub name: Arc<str>,
    /// What it looks at.
    pub kind: Kind,
    /// The kind's own settings, an object.
    pub settings: Json,
    /// When it looks.
    #[serde(default)]
    pub schedule: Schedule,
    /// What span of time a check covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowRule>,
    /// Attributes that make the key of an observation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per: Vec<Arc<str>>,
    /// Labels of its incidents; templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// An observation without a status fails if this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_when: Option<Arc<str>>,
    /// An observation without a status is a warning if this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_when: Option<Arc<str>>,
    /// How bad a failure is.
    #[serde(default)]
    pub severity: Severity,
    /// Bad observations in a row before an incident opens.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub fail_after: u32,
    /// Milliseconds that it must have been bad before an incident opens.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hold: i64,
    /// Good observations in a row before it resolves.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub recover_after: u32,
    /// Checks in a row that do not mention the key before it resolves; see
    /// [`MonitorDef::missing_max`] for what holds if the file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u32>,
    /// Milliseconds without a bad observation before it resolves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub quiet_for: i64,
    /// When it goes up and down too often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flap: Option<Flap>,
    /// Monitors without which this one cannot be well: while one is down, nobody is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Arc<str>>,
    /// Monitors that tell whether our own network works: while one is down, bad means unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witness: Vec<Arc<str>>,
    /// When checks that could not be made are an incident of their own.
    #[serde(default)]
    pub on_error: OnError,
    /// When checks that did not run are an incident of their own; absent = they are only recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_missed: Option<OnError>,
    /// Overrides the route's reminder, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind: Option<i64>,
    /// Instead of the routes: these receivers, at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Arc<str>>,
    /// With `to`: milliseconds after which they are told, if it is not over by then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub to_after: i64,
    /// Incidents that were never this bad are shown, and told to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rings_from: Option<Severity>,
    /// Title of its notifications; a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Arc<str>>,
    /// Text of its notifications; a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Arc<str>>,
    /// Where to read what to do; a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<Arc<str>>,
    /// What its values are counted in, for people: `%`, `ms`, `orders`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Arc<str>>,
    /// Milliseconds after which a check that still runs is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Columns of rows that are kept of what its checks answer; none = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<Arc<str>>,
    /// Nothing is kept of what its checks answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub history_off: bool,
    /// How often it may page; a backtest holds it to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What it was made from, for `explain`: line of the file, checklist fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Arc<str>>,
}

impl MonitorDef {
    /// Whether what it watches is a server, which is up or down.
    pub(super) fn watches_server(&self) -> bool {
        kinds::watches_server(self.kind, &self.settings.parse())
    }

    /// A monitor with everything at its default.
    pub fn new(name: impl Into<Arc<str>>, kind: Kind, settings: Json) -> Self {
        Self {
            name: name.into(),
            kind,
            settings,
            schedule: Schedule::default(),
            window: None,
            per: Vec::new(),
            labels: BTreeMap::new(),
            fail_when: None,
            warn_when: None,
            severity: Severity::default(),
            fail_after: 1,
            hold: 0,
            recover_after: 1,
            missing: None,
            quiet_for: 0,
            flap: None,
            depends_on: Vec::new(),
            witness: Vec::new(),
            on_error: OnError::default(),
            on_missed: None,
            remind: None,
            to: Vec::new(),
            to_after: 0,
            rings_from: None,
            summary: None,
            description: None,
            runbook: None,
            unit: None,
            timeout: None,
            keep: Vec::new(),
            history_off: false,
            budget: None,
            origin: None,
        }
    }

    /// Milliseconds after which a check that still runs is given up unless `timeout` says so: three
    /// intervals, at least a minute and at most an hour.
    pub(super) fn usual_timeout(&self) -> i64 {
        const MINUTE: i64 = 60_000;
        (self.schedule.interval() * 3).clamp(MINUTE, 60 * MINUTE)
    }

    /// Checks in a row that do not mention a key before its incident is over; `None`: the absence of
    /// a report says nothing of how the key is.
    ///
    /// Unless the file says it, that depends on what rows are. If the query itself finds what is
    /// wrong (every row is a failure, or the conditions only count rows), a row that is gone is good
    /// news, as for an alerting rule of Prometheus. If the conditions judge columns, rows are
    /// measurements, and one that stops is no news, as in Grafana; unless `empty: ok`.
    pub fn missing_max(&self) -> Option<u32> {
        let judges_columns = || {
            let conditions = [&self.fail_when, &self.warn_when].into_iter().flatten();
            let mut read = conditions.filter_map(|text| Condition::parse(text).ok());
            read.any(|condition| condition.columns().iter().any(|name| *name != "rows"))
        };
        let empty_is_well = || self.settings.parse().get("empty").is_some_and(|it| it == "ok");
        match self.missing {
            None if judges_columns() && !empty_is_well() => None,
            missing => Some(missing.unwrap_or(1)),
        }
    }
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

/// What span of time a check covers: from where the last one ended to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowRule {
    /// Never less than so many milliseconds.
    pub lookback: i64,
    /// Never more than so many milliseconds.
    pub catch_up: i64,
}

/// Damping of what goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flap {
    /// So many changes …
    pub changes: u32,
    /// … within so many milliseconds …
    pub within: i64,
    /// … and it resolves only after so many milliseconds of being well.
    pub settle: i64,
}

/// How often a monitor may page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// So many messages that ring …
    pub pages: u32,
    /// … in so many milliseconds.
    pub per: i64,
}

/// Checks that could not be made, or did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnError {
    /// So many in a row open an incident; 0 = never.
    pub after: u32,
    /// How bad that is.
    pub severity: Severity,
}

impl Default for OnError {
    fn default() -> Self {
        Self { after: 3, severity: Severity::Warning }
    }
}

/// Who is not told what, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Names it.
    pub id: Arc<str>,
    /// All must match; none = everything.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
    /// When.
    pub when: Recurring,
    /// Who wanted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Arc<str>>,
    /// The monitor with whose key another system made it; absent = people made it, or a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Arc<str>>,
}

/// What a monitor's machine obeys: the monitor, and what of the file concerns it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The monitor.
    #[serde(rename = "m")]
    pub monitor: MonitorDef,
    /// The routes, in order.
    #[serde(rename = "r", default)]
    pub routes: Vec<Route>,
    /// Receivers that have one, and their fallback.
    #[serde(rename = "f", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fallbacks: BTreeMap<Arc<str>, Arc<str>>,
    /// Receivers whose fallback is told after another time than [`FALLBACK_AFTER`], and that time
    /// in milliseconds.
    #[serde(rename = "a", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fallback_after: BTreeMap<Arc<str>, i64>,
    /// Receivers that know incidents by a key: they hear the end of what they may have taken.
    #[serde(rename = "k", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub keyed: BTreeSet<Arc<str>>,
    /// Monitors that depend on this one or have it as witness: whom the shell tells when it goes
    /// down or comes back.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub dependents: Vec<Arc<str>>,
    /// Who is on call, as far as the routes call somebody.
    #[serde(rename = "o", default, skip_serializing_if = "Roster::is_empty")]
    pub roster: Roster,
    /// What a check runs.
    #[serde(rename = "c")]
    pub check: CheckTarget,
    /// A hash of the monitor, the routes and the fallbacks: what is meant by the definition's
    /// version.
    #[serde(rename = "v")]
    pub version: Arc<str>,
}

/// What a check runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckTarget {
    /// The definition's name.
    #[serde(rename = "n")]
    pub name: Arc<str>,
    /// Its version; absent = the latest.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The definition itself, if it is registered nowhere.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Json>,
}

impl File {
    /// The settings of a monitor, with those of the source that it names for what they leave open.
    pub fn with_source(&self, monitor: &MonitorDef) -> Json {
        let Value::Object(settings) = monitor.settings.parse() else {
            return monitor.settings.clone();
        };
        let named = SOURCE_SETTINGS.into_iter().find_map(|it| settings.get(it)?.as_str());
        let source = named.and_then(|name| self.sources.get(name)).map(Json::parse);
        let Some(Value::Object(source)) = source else { return monitor.settings.clone() };
        Json::of(&source::merged(settings, source))
    }

    /// A setting of a monitor by which it would send the credentials of its source elsewhere, and
    /// what there is to say of it.
    fn rebound(&self, monitor: &MonitorDef) -> Option<(&'static str, String)> {
        let Value::Object(settings) = monitor.settings.parse() else { return None };
        let named = SOURCE_SETTINGS.into_iter().find_map(|it| settings.get(it)?.as_str())?;
        let Value::Object(source) = self.sources.get(named)?.parse() else { return None };
        let setting = rebound(&settings, &source)?;
        Some((setting, rebinding(setting, named)))
    }

    /// One spec per monitor.
    pub fn specs(&self) -> Vec<Spec> {
        self.monitors.iter().map(|monitor| self.spec(monitor)).collect()
    }

    fn spec(&self, monitor: &MonitorDef) -> Spec {
        let fallback = |(name, receiver): (&Arc<str>, &Receiver)| {
            receiver.fallback.clone().map(|fallback| (name.clone(), fallback))
        };
        let patience = |(name, receiver): (&Arc<str>, &Receiver)| {
            receiver.fallback_after.map(|after| (name.clone(), after))
        };
        let keyed = self.receivers.iter().filter(|(_, receiver)| receiver.is_keyed());
        let depends = |other: &&MonitorDef| {
            other.depends_on.contains(&monitor.name) || other.witness.contains(&monitor.name)
        };
        let steps = self.routes.iter().flat_map(|route| route.steps.iter().flat_map(|it| &it.to));
        let spec = Spec::new(
            MonitorDef { settings: self.with_source(monitor), ..monitor.clone() },
            self.routes.clone(),
            self.receivers.iter().filter_map(fallback).collect(),
            self.receivers.iter().filter_map(patience).collect(),
            keyed.map(|(name, _)| name.clone()).collect(),
            self.monitors.iter().filter(depends).map(|other| other.name.clone()).collect(),
        );
        Spec { roster: self.roster.of_called(steps.chain(&monitor.to)), ..spec }
    }
}

impl Spec {
    /// A spec whose check is generated from the monitor.
    pub fn new(
        monitor: MonitorDef,
        routes: Vec<Route>,
        fallbacks: BTreeMap<Arc<str>, Arc<str>>,
        fallback_after: BTreeMap<Arc<str>, i64>,
        keyed: BTreeSet<Arc<str>>,
        dependents: Vec<Arc<str>>,
    ) -> Self {
        let check = check_target(&monitor);
        let version = super::fingerprint(Json::of(&(&monitor, &routes, &fallbacks)).text(), "spec");
        let roster = Roster::default();
        Self {
            monitor,
            routes,
            fallbacks,
            fallback_after,
            keyed,
            dependents,
            roster,
            check,
            version,
        }
    }
}

/// Settings of a monitor that may be the name of a source.
pub const SOURCE_SETTINGS: [&str; 2] = ["account", "server"];

/// The task type that makes the checks of a kind.
pub const fn task_type(kind: Kind) -> &'static str {
    kinds::rule(kind).task_type
}

/// The task types of all checks that the server makes by itself.
pub fn check_types() -> impl Iterator<Item = &'static str> {
    let checks = kinds::KINDS.iter().filter(|rule| rule.kind.checks());
    checks.map(|rule| rule.task_type).filter(|it| it.starts_with("CHECK_"))
}

/// The definition of a check: one task with the monitor's settings, in which `${window.…}` and
/// `${secret:…}` are written as the graph's own expressions; or the user's own workflow.
fn check_target(monitor: &MonitorDef) -> CheckTarget {
    let settings = monitor.settings.parse();
    if monitor.kind == Kind::Workflow {
        let name = settings.get("name").and_then(Value::as_str).unwrap_or_default();
        let version = settings.get("version").and_then(Value::as_u64);
        let version = version.and_then(|version| u32::try_from(version).ok());
        return CheckTarget { name: name.into(), version, definition: None };
    }
    let name = format!("check:{}", monitor.name);
    if monitor.kind == Kind::Alerts {
        return CheckTarget { name: name.into(), version: None, definition: None };
    }
    let definition = serde_json::json!({
        "name": name, "version": 1, "ownerEmail": "nightbell",
        "description": format!("One check of the monitor {}", monitor.name),
        "tasks": [{
            "name": task_type(monitor.kind), "taskReferenceName": "check",
            "type": task_type(monitor.kind),
            "inputParameters": {
                "settings": at_home(with_own(settings, monitor)),
                "monitor": "${workflow.input.monitor}",
                "per": monitor.per,
                // Whether rows are judged here; otherwise finding one is what is wrong.
                "judged": monitor.fail_when.is_some() || monitor.warn_when.is_some(),
                "window": "${workflow.input.window}",
                "memory": "${workflow.input.memory}",
            },
        }],
        "outputParameters": {
            "observations": "${check.output.observations}",
            "memory": "${check.output.memory}",
            "step": "${check.taskId}",
        },
    });
    CheckTarget { name: name.into(), version: Some(1), definition: Some(Json::of(&definition)) }
}

/// The settings of a check, with what the monitor says of `timeout` and `tz` where they leave it open.
fn with_own(mut settings: Value, monitor: &MonitorDef) -> Value {
    // A little sooner than the check is given up, so that it says what did not answer.
    let timeout = monitor.timeout.map(|most| (most - 1000).max(most / 2));
    let tz = Some(&*monitor.schedule.tz).filter(|tz| !tz.is_empty());
    let own = [("timeout", timeout.map(|it| format!("{it}ms"))), ("tz", tz.map(str::to_owned))];
    let known = kinds::rule(monitor.kind).settings;
    if let Value::Object(settings) = &mut settings {
        for (name, value) in own {
            let is_known = known.iter().any(|(known, _)| *known == name);
            if let Some(value) = value.filter(|_| is_known) {
                settings.entry(name).or_insert(value.into());
            }
        }
    }
    settings
}

/// Expressions of a monitors file as the graph writes them.
pub(super) fn at_home(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(
            text.replace("${window.", "${workflow.input.window.")
                .replace("${secret:", "${workflow.secrets."),
        ),
        Value::Array(items) => items.into_iter().map(at_home).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, at_home(value))).collect()
        }
        other => other,
    }
}
