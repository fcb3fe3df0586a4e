//! Who is told of an incident: the route that its labels lead to, and what would be told of one that
//! there is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::definition::roster::{Called, Contacted};
use super::definition::{
    File, Kind, Labels, Matcher, MonitorDef, Route, Severity, Silence, Step, nearest_hint,
    unknown_matchers,
};
use super::template::Template;
use crate::json::Json;
use crate::time::Timestamp;

/// Before the name of a label that is also the name of something that every incident has:
/// `labels.severity` is what the sender of an alert calls so.
pub const OWN_LABEL: &str = "labels.";

/// What routes and silences look at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The monitor's name.
    pub monitor: &'a str,
    /// The incident's key.
    pub key: &'a str,
    /// The worst that it has been.
    pub severity: Severity,
    /// Its labels.
    pub labels: &'a BTreeMap<Arc<str>, Arc<str>>,
}

impl<'a> Subject<'a> {
    /// What a matcher sees under a label's name; an absent label is the empty text.
    pub fn value_of(&self, label: &str) -> &'a str {
        match label {
            "monitor" => self.monitor,
            "key" => self.key,
            "severity" => self.severity.as_str(),
            _ => {
                // An alert that was received may have a label of such a name itself.
                let own = label.strip_prefix(OWN_LABEL).unwrap_or(label);
                let named = self.labels.get(own).or_else(|| self.labels.get(label));
                named.map_or("", |value| value)
            }
        }
    }

    /// The first of these matchers that does not fit.
    fn misfit<'m>(&self, matchers: &'m [Matcher]) -> Option<&'m Matcher> {
        matchers.iter().find(|it| !it.matches(self.value_of(&it.label)))
    }

    /// Whether all matchers fit.
    pub fn fits(&self, matchers: &[Matcher]) -> bool {
        self.misfit(matchers).is_none()
    }
}

/// The route of an incident that is first to be told at an instant, with its place among the routes
/// if it is one of them: the first that fits and takes incidents then, or the monitor's own
/// receivers; none for what is not bad enough to tell.
pub(super) fn choose(
    own: &MonitorDef,
    routes: &[Route],
    subject: Subject<'_>,
    at: Timestamp,
) -> Option<(Option<usize>, Route)> {
    if own.rings_from.is_some_and(|from| subject.severity < from) {
        return None;
    }
    let takes = |route: &Route| subject.fits(&route.matchers) && route.takes_from(at) == at;
    let (at, mut route) = if own.to.is_empty() {
        let at = routes.iter().position(takes)?;
        (Some(at), routes[at].clone())
    } else {
        let step = Step { to: own.to.clone(), after: own.to_after, ..Step::default() };
        (None, Route { steps: vec![step], ..Route::default() })
    };
    route.remind = own.remind.or(route.remind);
    Some((at, route))
}

/// When a route takes an incident that none takes at an instant: the first of those that fit whose
/// hours begin.
pub(super) fn waits_until(
    own: &MonitorDef,
    routes: &[Route],
    subject: Subject<'_>,
    at: Timestamp,
) -> Option<Timestamp> {
    let is_told = own.to.is_empty() && own.rings_from.is_none_or(|from| subject.severity >= from);
    let fit = routes.iter().filter(|route| is_told && subject.fits(&route.matchers));
    fit.map(|route| route.takes_from(at)).min().filter(|begin| *begin > at)
}

/// An incident that might be.
#[derive(Clone, Debug, Default)]
pub struct Supposed {
    /// Its monitor, if it is one that is defined.
    pub monitor: Option<Arc<str>>,
    /// Its key.
    pub key: Arc<str>,
    /// How bad it is; by default as bad as the monitor makes it.
    pub severity: Option<Severity>,
    /// Labels, in the place of those that the monitor has, and columns of the row.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// When.
    pub at: Timestamp,
}

/// Who would be told of an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Selected {
    /// The route that decides: `routes[1]`, or the monitor's own `to`; absent = none does.
    pub route: Option<String>,
    /// Why each route before it does not decide.
    pub passed_over: Vec<String>,
    /// Who is told, in order.
    pub steps: Vec<ToldStep>,
    /// Notified again every so many milliseconds.
    pub remind: Option<i64>,
    /// The group with which it is told.
    pub group: Option<String>,
    /// Milliseconds for which more of its group is waited for.
    pub wait: i64,
    /// Silences and maintenance that hide it at that time.
    pub silenced_by: Vec<Arc<str>>,
    /// Why nobody is told, if nobody is.
    pub nobody: Option<String>,
    /// The incident's labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Its severity.
    pub severity: Severity,
    /// What of the question no incident can have.
    pub warnings: Vec<String>,
}

/// One step of a route, as it would be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToldStep {
    /// The receivers.
    pub to: Vec<Arc<str>>,
    /// Milliseconds after the incident was first to be told.
    pub after: i64,
    /// Not if somebody has acknowledged by then.
    pub unless_acked: bool,
    /// Whom its rotations call at that time, and how they are reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_call: Vec<OnCall>,
    /// Who is told instead of receivers that refuse for good.
    pub fallbacks: BTreeMap<Arc<str>, Arc<str>>,
}

/// Whom a rotation calls, as it would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OnCall {
    /// As the route has it: `oncall:primary+1`.
    pub target: Arc<str>,
    /// Who.
    pub people: Vec<Arc<str>>,
    /// What decides.
    pub why: Arc<str>,
    /// How they are reached.
    pub contacts: Vec<ByReceiver>,
}

/// A receiver by which somebody on call is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ByReceiver {
    /// The receiver.
    pub to: Arc<str>,
    /// Who.
    pub person: Arc<str>,
    /// Milliseconds after the step, if nobody has acknowledged by then.
    pub after: i64,
}

impl From<Called> for OnCall {
    fn from(called: Called) -> Self {
        let Called { target, people, why, contacts, until: _ } = called;
        let by = |it: Contacted| ByReceiver { to: it.to, person: it.person, after: it.after };
        Self { target, people, why, contacts: contacts.into_iter().map(by).collect() }
    }
}

/// Who would be told of an incident.
///
/// # Errors
/// There is no such monitor.
pub fn who_is_told(file: &File, supposed: &Supposed) -> Result<Selected, String> {
    let names: BTreeSet<Arc<str>> = file.monitors.iter().map(|it| it.name.clone()).collect();
    let nobody = MonitorDef::new("", Kind::Heartbeat, Json::empty_object());
    let own = match &supposed.monitor {
        None => &nobody,
        Some(name) => file.monitors.iter().find(|it| it.name == *name).ok_or_else(|| {
            let hint = nearest_hint(name, names.iter().map(|it| &**it));
            format!("there is no monitor {name:?}{hint}")
        })?,
    };
    let mut labels =
        labels(own, &supposed.key, |name| supposed.labels.get(name).map(ToString::to_string));
    let columns = |name: &str| own.per.iter().any(|it| **it == *name);
    labels.extend(
        supposed.labels.iter().filter(|it| !columns(it.0)).map(|(k, v)| (k.clone(), v.clone())),
    );
    let subject = Subject {
        monitor: &own.name,
        key: &supposed.key,
        severity: supposed.severity.unwrap_or(own.severity),
        labels: &labels,
    };
    let mut told = told(file, own, subject, supposed.at);
    let asked = supposed.labels.iter().filter(|it| !columns(it.0));
    let asked: Vec<Matcher> = asked
        .map(|(label, value)| Matcher {
            label: label.clone(),
            values: vec![value.clone()],
            negated: false,
        })
        .collect();
    let unknown = unknown_matchers(&asked, &names, &Labels::of(&file.monitors));
    told.warnings = unknown.into_iter().map(|(_, message, _)| message).collect();
    Ok(told)
}

/// Who would be told of an incident that there is, were the file like this; `None` if the file has no such
/// monitor.
pub fn who_is_told_of(file: &File, subject: Subject<'_>, at: Timestamp) -> Option<Selected> {
    let own = file.monitors.iter().find(|it| *it.name == *subject.monitor)?;
    Some(told(file, own, subject, at))
}

/// Who is told of an incident of a monitor.
pub(super) fn told(file: &File, own: &MonitorDef, subject: Subject<'_>, at: Timestamp) -> Selected {
    let hides = |it: &&Silence| it.when.in_force_until(at).is_some() && subject.fits(&it.matchers);
    let silenced = file.silences.iter().filter(hides);
    let mut told = Selected {
        silenced_by: silenced.map(|silence| silence.id.clone()).collect(),
        labels: subject.labels.clone(),
        severity: subject.severity,
        ..Selected::default()
    };
    let begin = waits_until(own, &file.routes, subject, at).unwrap_or(at);
    let chosen = choose(own, &file.routes, subject, begin);
    let before = match &chosen {
        Some((Some(at), _)) => *at,
        Some((None, _)) => 0,
        None => file.routes.len(),
    };
    let passed = file.routes[..before].iter().enumerate();
    told.passed_over = passed
        .map(|(at, route)| {
            let Some(misfit) = subject.misfit(&route.matchers) else {
                return format!(
                    "routes[{at}] is out of its hours until {}",
                    route.takes_from(begin)
                );
            };
            let wanted = misfit.values.join(" or ");
            let not = if misfit.negated { "not " } else { "" };
            let (label, found) = (&misfit.label, subject.value_of(&misfit.label));
            format!("routes[{at}] wants {label} {not}{wanted}; it is {found:?}")
        })
        .collect();
    let Some((place, route)) = chosen else {
        told.nobody = Some(match own.rings_from.filter(|from| subject.severity < *from) {
            Some(from) => format!("it is less than {} (rings_from)", from.as_str()),
            None => "no route matches".to_owned(),
        });
        return told;
    };
    told.route = Some(match place {
        Some(at) => format!("routes[{at}]"),
        None => format!("monitors.{}.to", own.name),
    });
    let fallback = |to: &Arc<str>| Some((to.clone(), file.receivers.get(to)?.fallback.clone()?));
    told.steps = route
        .steps
        .iter()
        .enumerate()
        .map(|(place, step)| {
            let reached = route.due(place, begin).unwrap_or(begin);
            let called = step.to.iter().filter_map(|to| file.roster.call(to, reached));
            let on_call: Vec<OnCall> = called.map(OnCall::from).collect();
            let contacts = on_call.iter().flat_map(|it| &it.contacts).map(|it| &it.to);
            ToldStep {
                to: step.to.clone(),
                after: reached.since(at),
                unless_acked: step.unless_acked,
                fallbacks: step.to.iter().chain(contacts).filter_map(fallback).collect(),
                on_call,
            }
        })
        .collect();
    told.remind = route.remind;
    told.wait = route.wait;
    told.group = route.group_by.map(|labels| {
        labels.iter().map(|label| subject.value_of(label)).collect::<Vec<_>>().join(", ")
    });
    if !told.silenced_by.is_empty() {
        told.nobody = Some(format!("silenced by {}", told.silenced_by.join(", ")));
    }
    told
}

/// The labels of an incident; `column` is what the row has under a name.
pub(super) fn labels(
    monitor: &MonitorDef,
    key: &str,
    column: impl Fn(&str) -> Option<String>,
) -> BTreeMap<Arc<str>, Arc<str>> {
    let lookup = |name: &str| match name {
        "monitor" => Some(monitor.name.to_string()),
        "key" => Some(key.to_owned()),
        _ => column(name),
    };
    let render = |template: &str| match Template::parse(template) {
        Ok(template) => template.render(&lookup).into(),
        // Refused at load; shown as written if it came another way.
        Err(_) => template.into(),
    };
    monitor.labels.iter().map(|(name, value)| (name.clone(), render(value))).collect()
}

/// The labels of an incident that comes from no row, such as that of a check that cannot be made:
/// those that need a column are absent, so that routes see the empty text.
pub(super) fn labels_without_row(monitor: &MonitorDef, key: &str) -> BTreeMap<Arc<str>, Arc<str>> {
    let is_known = |template: &str| {
        let parsed = Template::parse(template);
        parsed.is_ok_and(|it| it.names().all(|name| matches!(name, "monitor" | "key")))
    };
    let mut labels = labels(monitor, key, |_| None);
    labels.retain(|name, _| monitor.labels.get(name).is_some_and(|it| is_known(it)));
    labels
}
