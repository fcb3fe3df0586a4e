//! Ping keys: one key by which jobs call every heartbeat monitor of a file, each by its slug.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::monitor::{self, KEY_MIN};
use super::reader::{self, Object, Report};
use super::yaml::Node;
use super::{File, Kind, MonitorDef, is_default};
use crate::alert::received::secret_alone;

/// Monitors that calls may make, unless the file says otherwise, and at most.
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;
/// Bytes of a slug.
const SLUG_MAX: usize = 100;

/// A key that opens the heartbeat monitors of its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PingKey {
    /// The key, or the secret that holds it as `${secret:NAME}`.
    pub key: Arc<str>,
    /// The monitor that a call with `create=1` makes of a slug that there is not yet; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<Box<MonitorDef>>,
    /// Monitors that calls may make, at most; 0 = [`LIMIT`].
    #[serde(default, skip_serializing_if = "is_default")]
    limit: u32,
}

impl PingKey {
    /// Monitors that calls with it may make, at most.
    pub fn limit(&self) -> usize {
        if self.limit == 0 { LIMIT as usize } else { self.limit as usize }
    }

    /// The monitor that a call makes of a slug; `None` if calls make none, or if it is no slug.
    pub fn monitor(&self, slug: &str) -> Option<MonitorDef> {
        let create = self.create.as_deref().filter(|_| is_slug(slug))?;
        Some(MonitorDef { name: slug.into(), ..create.clone() })
    }
}

/// Whether a text can be a slug: what stands in an address as it is.
pub fn is_slug(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // A path drops segments of dots.
    (1..=SLUG_MAX).contains(&text.len()) && text.chars().all(fits) && text.chars().any(|c| c != '.')
}

impl MonitorDef {
    /// By which slug a ping key opens it: the setting, or its name if that can be a slug and it has no
    /// key of its own.
    pub fn slug(&self) -> Option<Arc<str>> {
        if self.kind != Kind::Heartbeat {
            return None;
        }
        let settings = self.settings.parse();
        match settings.get("slug").and_then(Value::as_str) {
            Some(slug) => Some(slug.into()),
            None if settings.get("key").is_none() && is_slug(&self.name) => Some(self.name.clone()),
            None => None,
        }
    }
}

impl File {
    /// The monitors that calls may make.
    pub(super) fn creatable(&self) -> impl Iterator<Item = &MonitorDef> {
        self.ping_keys.values().filter_map(|key| key.create.as_deref())
    }
}

/// Reads the section.
pub(super) fn read(
    section: &Object<'_>,
    report: &mut Report,
    mut mention: impl FnMut(&MonitorDef, &str, &Node),
) -> BTreeMap<Arc<str>, PingKey> {
    let mut keys: BTreeMap<Arc<str>, PingKey> = BTreeMap::new();
    for (name, place, node) in section.members() {
        let path = section.path_of(name);
        let read = if node.text().is_some() && !node.is_null() {
            checked(node, &path, report).map(|key| PingKey { key, create: None, limit: 0 })
        } else {
            one(place, node, &path, report, &mut mention)
        };
        let Some(read) = read else { continue };
        if let Some((other, _)) = keys.iter().find(|(_, it)| it.key == read.key) {
            let message = format!("{other} has the same key: a key leads to one list of monitors");
            report.error(place.place, &path, message);
        }
        keys.insert(name.into(), read);
    }
    keys
}

fn one(
    name: &Node,
    node: &Node,
    path: &str,
    report: &mut Report,
    mention: &mut impl FnMut(&MonitorDef, &str, &Node),
) -> Option<PingKey> {
    let mut object = Object::of(node, path.to_owned(), report)?;
    let key = object.read("key", report, checked);
    if object.peek("key").is_none() {
        let message = "a ping key needs key: \"${secret:NAME}\", or a text that nobody can guess";
        report.error(name.place, path, message);
    }
    let create = object.get("create").and_then(|node| {
        let path = object.path_of("create");
        // Named by the slug of the call that makes it.
        let monitor = monitor::read("SLUG", node, node, path.clone(), report)?;
        let settings = monitor.settings.parse();
        if monitor.kind != Kind::Heartbeat {
            let message = "calls can make heartbeat monitors alone: write heartbeat: { every: 1d }";
            report.error(node.place, &path, message);
        }
        if let Some(own) = ["key", "slug"].into_iter().find(|own| settings.get(*own).is_some()) {
            let message = format!("{own} would be the same of all monitors that calls make");
            report.error(node.place, &path, message);
        }
        mention(&monitor, &path, node);
        Some(Box::new(MonitorDef { origin: None, ..monitor }))
    });
    let limit = object.read("limit", report, reader::count);
    if let Some(node) = object.peek("limit") {
        if create.is_none() {
            let message = "limit needs create: how many of what?";
            report.error(node.place, &object.path_of("limit"), message);
        } else if limit.is_some_and(|limit| limit > LIMIT_MAX) {
            report.error(
                node.place,
                &object.path_of("limit"),
                format!("limit is 1 to {LIMIT_MAX}"),
            );
        }
    }
    object.finish(report);
    Some(PingKey { key: key?, create, limit: limit.unwrap_or_default() })
}

/// A key that can stand in an address.
fn checked(node: &Node, path: &str, report: &mut Report) -> Option<Arc<str>> {
    let key = reader::text(node, path, report)?;
    if secret_alone(&key).is_some() {
        return Some(key);
    }
    if key.contains("${") {
        report.error(node.place, path, "a key is ${secret:NAME} alone, or a text without ${");
    } else if key.len() < KEY_MIN || key.contains('/') || key.contains(char::is_whitespace) {
        let message = format!(
            "a key has {KEY_MIN} characters at least, and neither slashes nor spaces; better write \
             ${{secret:NAME}}"
        );
        report.error(node.place, path, message);
    }
    Some(key)
}

/// Adds what is wrong with the slugs of monitors: one that is none, or that of two.
pub(super) fn check_slugs(
    file: &File,
    report: &mut Report,
    place: impl Fn(&str) -> crate::place::Place,
) {
    let mut seen: BTreeMap<Arc<str>, &MonitorDef> = BTreeMap::new();
    for monitor in &file.monitors {
        let Some(slug) = monitor.slug() else { continue };
        let path = format!("monitors.{}.heartbeat.slug", monitor.name);
        if !is_slug(&slug) {
            let message = format!(
                "a slug has 1 to {SLUG_MAX} letters, digits, dots, - and _, as in an address: {slug:?}"
            );
            report.error(place(&monitor.name), &path, message);
        }
        if let Some(other) = seen.insert(slug.clone(), monitor) {
            let message =
                format!("{} is called by the slug {slug} already: write another slug", other.name);
            report.error(place(&monitor.name), &path, message);
        }
    }
}
