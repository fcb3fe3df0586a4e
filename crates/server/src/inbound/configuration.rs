//! What monitors files say of a monitor's routes, as a configuration of Alertmanager: Grafana and `amtool
//! config routes` read it.
//!
//! A route of ours tells several receivers, one after the other; there it is one route for each, of which
//! all but the last go on to the next. What has no word there (steps, hours) is left out.

use kernel::alert::definition::{Matcher, Route};
use kernel::alert::{LabelMatcher, Monitor};
use serde_json::{Value, json};

use super::shown::{self, NOBODY};

/// The configuration as YAML, of which JSON is a part; that of nobody if the monitor is not defined.
pub(super) fn text(monitor: &Monitor) -> String {
    let mut routes = Vec::new();
    if let Some(spec) = &monitor.spec {
        let own = &spec.monitor;
        if own.to.is_empty() {
            let of_monitor = |it: &Matcher| *it.label == *"monitor";
            let fitting = spec.routes.iter().filter(|route| {
                route.matchers.iter().filter(|it| of_monitor(it)).all(|it| it.matches(&own.name))
            });
            for route in fitting {
                let told = route.matchers.iter().filter(|it| !of_monitor(it));
                let told: Vec<String> = told.map(matcher).collect();
                routes.extend(of_route(route, &told));
            }
        } else {
            let last = own.to.len() - 1;
            let each = own.to.iter().enumerate();
            routes.extend(each.map(|(at, to)| json!({ "receiver": to, "continue": at < last })));
        }
    }
    let names = monitor.receivers();
    let nobody = [NOBODY.into()];
    let names = names.iter().filter(|it| ***it != *NOBODY).chain(&nobody);
    let names: Vec<Value> = names.map(|name| json!({ "name": name })).collect();
    let mut route = json!({ "receiver": NOBODY });
    if !routes.is_empty() {
        route["routes"] = routes.into();
    }
    format!("route: {route}\nreceivers: {}\n", Value::from(names))
}

fn of_route(route: &Route, matchers: &[String]) -> Vec<Value> {
    let receivers = shown::receivers(route);
    let last = receivers.len().saturating_sub(1);
    let each = receivers.iter().enumerate().map(|(at, receiver)| {
        let mut told = json!({ "receiver": receiver, "continue": at < last });
        if !matchers.is_empty() {
            told["matchers"] = json!(matchers);
        }
        // Without it each alert is told alone, which is a group by all labels.
        told["group_by"] = route.group_by.as_ref().map_or_else(|| json!(["..."]), |it| json!(it));
        for (name, millis) in [("group_wait", Some(route.wait)), ("repeat_interval", route.remind)]
        {
            if let Some(millis) = millis.filter(|millis| *millis >= 1000) {
                told[name] = format!("{}s", millis / 1000).into();
            }
        }
        told
    });
    each.collect()
}

fn matcher(matcher: &Matcher) -> String {
    let LabelMatcher { name, value, is_regex, is_equal } = LabelMatcher::of(matcher);
    let operator = match (is_regex, is_equal) {
        (false, true) => "=",
        (false, false) => "!=",
        (true, true) => "=~",
        (true, false) => "!~",
    };
    // Older releases do not read names in quotes; others cannot be written without.
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let name = if is_plain { name } else { json!(name).to_string() };
    format!("{name}{operator}{}", json!(value))
}
