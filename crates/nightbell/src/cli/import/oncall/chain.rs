//! Escalation chains of Grafana `OnCall` as steps, and its routes as ours.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::page::{Entry, Page, flow};
use super::super::{span, text};
use super::{People, own_name};

/// Escalation chains, with the rotations that they call.
pub(super) struct Chains<'a> {
    /// Names by id.
    names: BTreeMap<String, String>,
    policies: &'a [Value],
    /// The rotations of each schedule.
    schedules: BTreeMap<String, Vec<String>>,
    /// Rotations of one person each, for those who are called by name.
    pub(super) rotations: Vec<Entry>,
    alone: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

/// What a chain comes to.
#[derive(Default)]
struct Steps {
    steps: Vec<Map<String, Value>>,
    left_out: Vec<String>,
}

impl<'a> Chains<'a> {
    pub(super) fn new(
        chains: &[Value],
        policies: &'a [Value],
        schedules: BTreeMap<String, Vec<String>>,
    ) -> Self {
        let named = |chain: &Value| Some((text(chain, "id")?, text(chain, "name")?));
        Self {
            names: chains.iter().filter_map(named).collect(),
            policies,
            schedules,
            rotations: Vec::new(),
            alone: BTreeMap::new(),
            used: BTreeSet::new(),
        }
    }

    /// The names of chains to which no route leads.
    pub(super) fn unused(&self) -> impl Iterator<Item = &String> {
        self.names.iter().filter(|it| !self.used.contains(it.0)).map(|it| it.1)
    }

    /// A rotation in which one person is always on call.
    fn alone(&mut self, user: &str, people: &mut People) -> Option<String> {
        let person = people.of(user)?;
        if let Some(rotation) = self.alone.get(&person) {
            return Some(rotation.clone());
        }
        let mut entry = Entry::new(own_name(&mut people.rotations, &person));
        entry.set("layers", json!([{ "people": [person.clone()] }]));
        let name = entry.name.clone();
        self.rotations.push(entry);
        self.alone.insert(person, name.clone());
        Some(name)
    }

    fn steps(&mut self, chain: &str, people: &mut People) -> Steps {
        let mut policies: Vec<&Value> =
            self.policies.iter().filter(|it| it["escalation_chain_id"] == *chain).collect();
        policies.sort_by_key(|it| it["position"].as_i64());
        let (mut made, mut after, mut hours) = (Steps::default(), 0, None);
        for policy in policies {
            let kind = text(policy, "type").unwrap_or_default();
            let mut to: Vec<String> = Vec::new();
            match kind.as_str() {
                "wait" => after += policy["duration"].as_i64().unwrap_or_default(),
                "notify_if_time_from_to" => hours = window(policy),
                "notify_persons" | "notify_person_next_each_time" => {
                    let each = kind == "notify_person_next_each_time";
                    let list =
                        if each { "persons_to_notify_next_each_time" } else { "persons_to_notify" };
                    for user in
                        policy[list].as_array().into_iter().flatten().filter_map(Value::as_str)
                    {
                        match self.alone(user, people) {
                            Some(rotation) => to.push(rotation),
                            None => {
                                made.left_out.push(format!("the user {user}, who is not listed"));
                            }
                        }
                    }
                    if each && to.len() > 1 {
                        let what = "that each alert calls the next person: all of them are called";
                        made.left_out.push(what.to_owned());
                    }
                }
                "notify_on_call_from_schedule" => {
                    let schedule = text(policy, "notify_on_call_from_schedule").unwrap_or_default();
                    let rotations = self.schedules.get(&schedule).filter(|it| !it.is_empty());
                    match rotations {
                        Some(rotations) => to.extend(rotations.iter().cloned()),
                        None => made
                            .left_out
                            .push(format!("the schedule {schedule}, which is not translated")),
                    }
                }
                "notify_whole_channel" | "notify_user_group" => {
                    made.left_out.push(format!("{kind}: add a receiver of the channel to a step"));
                }
                "trigger_webhook" => {
                    let webhook = &policy["action_to_trigger"];
                    made.left_out
                        .push(format!("the webhook {webhook}: add a receiver of the kind webhook"));
                }
                _ => made.left_out.push(format!("the step {kind}")),
            }
            if policy["important"] == true {
                made.left_out.push("`important`: people have one contact ladder".to_owned());
            }
            if !to.is_empty() {
                add(&mut made.steps, to, after, hours.as_deref());
            }
        }
        let mut seen = BTreeSet::new();
        made.left_out.retain(|what| seen.insert(what.clone()));
        made
    }
}

/// `notify_if_time_from_to` holds what follows until its hours.
fn window(policy: &Value) -> Option<String> {
    let minutes = |name: &str| text(policy, name)?.get(..5).map(str::to_owned);
    Some(format!("{}-{}", minutes("notify_if_time_from")?, minutes("notify_if_time_to")?))
}

fn add(steps: &mut Vec<Map<String, Value>>, to: Vec<String>, after: i64, hours: Option<&str>) {
    let to = to.into_iter().map(|rotation| Value::from(format!("oncall:{rotation}")));
    let mut step = Map::new();
    step.insert("to".to_owned(), to.collect());
    if after > 0 {
        step.insert("after".to_owned(), span(after).into());
        // An acknowledgement ends the escalation.
        step.insert("unless".to_owned(), "acked".into());
    }
    if let Some(hours) = hours {
        step.insert("hours".to_owned(), hours.into());
        step.insert("tz".to_owned(), "UTC".into());
    }
    let same = |last: &&mut Map<String, Value>| {
        ["after", "hours"].iter().all(|key| last.get(*key) == step.get(*key))
    };
    let Some(Value::Array(called)) = steps.last_mut().filter(same).and_then(|it| it.get_mut("to"))
    else {
        steps.push(step);
        return;
    };
    if let Some(Value::Array(more)) = step.remove("to") {
        for rotation in more {
            if !called.contains(&rotation) {
                called.push(rotation);
            }
        }
    }
}

/// Adds a route of an integration.
pub(super) fn route(
    route: &Value,
    monitor: &str,
    chains: &mut Chains<'_>,
    people: &mut People,
    page: &mut Page,
) {
    let condition = condition(route);
    let shown = match &condition {
        Ok(None) => format!("the last route of {monitor}"),
        Ok(Some((label, _))) => format!("the route by {label} of {monitor}"),
        Err(regex) => format!("the route {regex} of {monitor}"),
    };
    let Some(chain) = text(route, "escalation_chain_id") else {
        page.leave(shown, "it has no escalation chain: nobody is told");
        return;
    };
    chains.used.insert(chain.clone());
    let Steps { steps, left_out } = chains.steps(&chain, people);
    if steps.is_empty() {
        let why = ["no step of its escalation chain has an equivalent".to_owned()];
        page.leave(shown, why.into_iter().chain(left_out).collect::<Vec<_>>().join("; "));
        return;
    }
    let mut entry = Entry { left_out, ..Entry::default() };
    let name = chains.names.get(&chain).unwrap_or(&chain);
    entry.words.push(format!("{shown}: the escalation chain {name}."));
    for chat in ["slack", "telegram", "msteams", "mattermost"] {
        let channel = text(&route[chat], "channel_id").or_else(|| text(&route[chat], "id"));
        if let Some(channel) = channel {
            entry.leave(format!("the channel {channel} of {chat}: add a receiver of it to a step"));
        }
    }
    let mut matchers = Map::new();
    matchers.insert("monitor".to_owned(), monitor.into());
    match condition {
        Ok(None) => {}
        Ok(Some((label, values))) => {
            entry.words.push(format!("Made of {}", route["routing_regex"]));
            matchers.insert(label, json!(values));
        }
        Err(_) => {
            matchers.insert("LABEL".to_owned(), "VALUE".into());
            let meant = json!({ "match": matchers, "steps": steps });
            let why = "it looks for this in the whole alert, and routes here look at labels; meanwhile its alerts \
                       take the routes behind it. Write";
            page.leave(shown, format!("{why} {}", flow(&meant)));
            return;
        }
    }
    entry.set("match", matchers);
    entry.set("steps", steps.into_iter().map(Value::Object).collect::<Vec<_>>());
    page.routes.push(entry);
}

/// The label that a route wants, with the values that it takes; `None` = all alerts.
///
/// # Errors
/// It wants something else; the text is what it has.
fn condition(route: &Value) -> Result<Option<(String, Vec<String>)>, String> {
    let wanted = text(route, "routing_regex").unwrap_or_default();
    if route["is_the_last_route"] == true || matches!(wanted.as_str(), "" | ".*" | ".+") {
        return Ok(None);
    }
    let found = if text(route, "routing_type").as_deref() == Some("jinja2") {
        by_template(&wanted)
    } else {
        by_regex(&wanted)
    };
    let (label, values) = found.ok_or(wanted)?;
    // These three are what we call so, not the sender.
    let own = matches!(label.as_str(), "severity" | "monitor" | "key");
    Ok(Some((if own { format!("labels.{label}") } else { label }, values)))
}

fn is_word(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
    !text.is_empty() && text.chars().all(plain)
}

/// `{{ payload.commonLabels.team == "data" }}`
fn by_template(template: &str) -> Option<(String, Vec<String>)> {
    let inner = template.strip_prefix("{{")?.strip_suffix("}}")?;
    let (path, value) = inner.split_once("==")?;
    let path = path.trim().strip_prefix("payload.")?;
    let label = path.rsplit_once('.').map_or(path, |(before, label)| {
        let of_labels = before.ends_with("labels") || before.ends_with("Labels");
        if of_labels { label } else { "" }
    });
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let value = value.filter(|value| is_word(value) && is_word(label))?;
    Some((label.to_owned(), vec![value.to_owned()]))
}

/// `"team": "(data|etl)"`, with whatever means that there may be spaces.
fn by_regex(regex: &str) -> Option<(String, Vec<String>)> {
    let mut plain = regex.replace("\\\"", "\"");
    for space in ["\\s*", "\\s+", "\\s?", " *", " ?", " "] {
        plain = plain.replace(space, "");
    }
    let plain = plain.trim_start_matches(".*").trim_end_matches(".*");
    let (label, value) = plain.strip_prefix('"')?.strip_suffix('"')?.split_once("\":\"")?;
    let group = value.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
    let values: Vec<String> = match group {
        Some(values) => values.split('|').map(str::to_owned).collect(),
        None => vec![value.to_owned()],
    };
    let all_plain = is_word(label) && values.iter().all(|it| is_word(it));
    all_plain.then(|| (label.to_owned(), values))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::condition;

    #[test]
    fn only_what_surely_means_a_label_becomes_one() {
        let asked = |kind: &str, wanted: &str| {
            condition(&json!({ "routing_type": kind, "routing_regex": wanted }))
        };
        let is = |label: &str, values: &[&str]| -> Result<_, String> {
            Ok(Some((label.to_owned(), values.iter().map(|it| (*it).to_owned()).collect())))
        };
        assert_eq!(asked("regex", r#""team":\s*"(data|etl)""#), is("team", &["data", "etl"]));
        assert_eq!(
            asked("regex", r#".*\"severity\": \"critical\".*"#),
            is("labels.severity", &["critical"])
        );
        assert_eq!(
            asked("jinja2", r#"{{ payload.commonLabels.team == "data" }}"#),
            is("team", &["data"])
        );
        assert_eq!(asked("regex", ".*"), Ok(None));
        for (kind, other) in [
            ("regex", "us-(east|west)"),
            ("regex", r#""team": "da.a""#),
            ("jinja2", r#"{{ payload.labels.team == "data" or true }}"#),
            ("jinja2", r#"{{ payload.state == "x" and "labels" }}"#),
            ("jinja2", r#"{{ payload.alert.state == "x" }}"#),
        ] {
            assert_eq!(asked(kind, other), Err(other.to_owned()));
        }
    }
}
