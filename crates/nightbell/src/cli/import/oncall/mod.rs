//! From Grafana `OnCall`: users, schedules, escalation chains, integrations and their routes.

mod api;
mod chain;
mod person;
mod shift;

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::page::{Entry, Page};
use super::{To, finish, text};
use crate::cli::output::Output;
use api::{Api, Lists};

/// Where `OnCall` is.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The address of the API, as its settings show it
    #[arg(long, value_name = "URL", env = "ONCALL_API_URL")]
    url: String,
    /// A token for it; it is only used for reading
    #[arg(long, value_name = "TOKEN", env = "ONCALL_API_TOKEN", hide_env_values = true)]
    token: String,
    /// The address of Grafana, which a token of a service account needs
    #[arg(long, value_name = "URL")]
    grafana_url: Option<String>,
    #[command(flatten)]
    to: To,
}

/// Runs the command.
pub(super) async fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<()> {
    let grafana = arguments.grafana_url.as_deref();
    let lists = Api::new(&arguments.url, &arguments.token, grafana, output)?.read().await?;
    finish(page(&lists, Timestamp::now()), &arguments.to, output).await
}

/// Users by id, and the names that are taken.
#[derive(Debug, Default)]
pub(super) struct People {
    names: BTreeMap<String, String>,
    /// The ids of those who are on call somewhere.
    used: BTreeSet<String>,
    /// The names of rotations.
    rotations: BTreeSet<String>,
}

impl People {
    fn new(users: &[Value]) -> Self {
        let (mut people, mut taken) = (Self::default(), BTreeSet::new());
        for user in users {
            let Some(id) = text(user, "id") else { continue };
            let shown = text(user, "username").or_else(|| text(user, "email"));
            let name = own_name(&mut taken, &shown.unwrap_or_else(|| id.clone()));
            people.names.insert(id, name);
        }
        people
    }

    /// The name of a user who is on call.
    fn of(&mut self, id: &str) -> Option<String> {
        let name = self.names.get(id)?.clone();
        self.used.insert(id.to_owned());
        Some(name)
    }
}

/// A name of a person or rotation, which no other has: letters, digits and a few signs.
fn own_name(taken: &mut BTreeSet<String>, wanted: &str) -> String {
    const NAME_MAX: usize = 80;
    let plain = |c: char| if c.is_alphanumeric() || "-_.@".contains(c) { c } else { '-' };
    let plain: String = wanted.chars().take(NAME_MAX).map(plain).collect();
    let plain = plain.trim_matches('-');
    let plain = if plain.is_empty() { "unnamed" } else { plain };
    let numbered = (2..).map(|number| format!("{plain}-{number}"));
    let mut names = std::iter::once(plain.to_owned()).chain(numbered);
    let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// Makes a file of monitors of what `OnCall` lists.
fn page(lists: &Lists, now: Timestamp) -> Page {
    let mut page = Page::default();
    page.words.extend([
        "Made of what OnCall lists by `nightbell import oncall`.".to_owned(),
        "Numbers, chats and addresses of inbound integrations are not in the lists: they are the secrets"
            .to_owned(),
        "that are named here.".to_owned(),
    ]);
    let mut people = People::new(&lists.users);
    let mut schedules = BTreeMap::new();
    for schedule in &lists.schedules {
        let names = shift::rotations(schedule, &lists.shifts, &mut people, now, &mut page);
        schedules.insert(text(schedule, "id").unwrap_or_default(), names);
    }
    let mut chains = chain::Chains::new(&lists.chains, &lists.policies, schedules);
    for integration in &lists.integrations {
        inbound(integration, &lists.routes, &mut chains, &mut people, &mut page);
    }
    for name in chains.unused() {
        page.leave(format!("the escalation chain {name}"), "no route leads to it");
    }
    page.rotations.append(&mut chains.rotations);
    person::people(lists, &people, &mut page);
    page
}

/// An integration is a monitor that receives alerts, with the routes of its incidents.
fn inbound(
    integration: &Value,
    routes: &[Value],
    chains: &mut chain::Chains<'_>,
    people: &mut People,
    page: &mut Page,
) {
    let shown = text(integration, "name").unwrap_or_else(|| "unnamed".to_owned());
    let mut entry = Entry::new(page.name(&shown));
    let mut alerts = json!({ "key": format!("${{secret:{}_KEY}}", secret(&entry.name)) });
    let kind = text(integration, "type").unwrap_or_default();
    let path = match kind.as_str() {
        "alertmanager" | "grafana" | "grafana_alerting" => "webhook",
        "formatted_webhook" => "oncall",
        _ => {
            entry.leave(format!(
                "the templates of its type {kind}: `map` says what is what of its JSON"
            ));
            alerts["map"] = MAP.into();
            "json"
        }
    };
    let former =
        text(integration, "link").map_or_else(String::new, |it| format!(" in the place of {it}"));
    entry.words.push(format!("Send to /inbound/KEY/{path}{former}"));
    entry.set("alerts", alerts);
    let id = &integration["id"];
    let mut own: Vec<&Value> = routes.iter().filter(|it| it["integration_id"] == *id).collect();
    own.sort_by_key(|it| (it["is_the_last_route"] == true, it["position"].as_i64()));
    for route in own {
        chain::route(route, &entry.name, chains, people, page);
    }
    page.monitors.push(entry);
}

/// What most senders of JSON have, to begin with.
const MAP: &str = "{ key: (.id // .title // .name // \"alert\" | tostring), text: (.title // .message // \"\" | tostring) }";

/// A name as part of a secret's.
fn secret(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_matches('_');
    if name.is_empty() { "UNNAMED".to_owned() } else { name.to_owned() }
}
