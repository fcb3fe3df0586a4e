//! Reads a monitors file: its sections, and whether what they say of each other holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::calendar::{Active, Hours, Recurring};
use super::checklist::{self, ChecklistOptions};
use super::judge::{self, Judge, Lenient};
use super::kinds::RECEIVERS;
use super::known::{Known, nearest_hint};
use super::reader::{self, Object, Problem, Report, parsed};
use super::roster::{self, Target};
use super::yaml::{self, Content, Node};
use super::{File, Matcher, Receiver, Route, Silence, Step, composite, lint, monitor, ping_key};
use crate::expression::parse_until;
use crate::json::Json;
use crate::place::Place;
use crate::time::Timestamp;

/// What came of reading a file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file; absent if anything in it is an error: a file is taken whole or not at all.
    pub file: Option<File>,
    /// Everything that is wrong, by line.
    pub problems: Vec<Problem>,
    /// Whether it is a Robopager checklist.
    pub checklist: bool,
}

impl Known {
    /// What a file defines, whatever else is wrong with it.
    pub fn of(text: &str) -> Self {
        let Ok(root) = yaml::parse(text) else { return Self::default() };
        let mut report = Report::default();
        let file = read(&root, &Self::default(), &mut report);
        let names = |section| defined(&root, section).into_iter().map(Arc::from);
        let (people, rotations): (Vec<_>, Vec<_>) =
            (names("people").collect(), names("rotations").collect());
        let (receivers, monitors): (Vec<_>, Vec<_>) =
            (names("receivers").collect(), names("monitors").collect());
        let mut known = Self::default();
        known.extend_by(file);
        // What is defined badly is defined all the same.
        known.receivers.extend(receivers);
        known.monitors.extend(monitors);
        known.people.extend(people);
        known.rotations.extend(rotations);
        known
    }
}

/// Names of what the file defines, with their place, for what speaks of them.
#[derive(Default)]
struct Mentions {
    /// Receivers, and rotations in their place.
    told: Vec<(Arc<str>, Place, String)>,
    /// Receivers in the place of others: no rotations.
    fallbacks: Vec<(Arc<str>, Place, String)>,
    monitors: Vec<(Arc<str>, Place, String)>,
    roster: roster::Speaks,
}

/// The keys that each object of a file knows, by its path.
pub(super) fn keys_of(text: &str) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut report = Report::of_keys();
    if let Ok(root) = yaml::parse(text) {
        read(&root, &Known::default(), &mut report);
    }
    report.into_keys()
}

/// The secrets that a file speaks of, as `${secret:NAME}`.
pub fn secrets_in(text: &str) -> BTreeSet<Arc<str>> {
    let Ok(root) = yaml::parse(text) else { return BTreeSet::new() };
    lint::mentioned(&root).into_iter().map(|(name, _)| name.into()).collect()
}

/// Reads a monitors file that stands for itself, or a checklist.
pub fn load(text: &str, options: &ChecklistOptions) -> Loaded {
    load_among(text, options, &Known::default())
}

/// Reads a monitors file that may speak of what others define, or a checklist.
pub fn load_among(text: &str, options: &ChecklistOptions, known: &Known) -> Loaded {
    load_judged(text, options, known, &Lenient)
}

/// As [`load_among`], with the settings judged by those who will use them.
pub fn load_judged(
    text: &str,
    options: &ChecklistOptions,
    known: &Known,
    by: &dyn Judge,
) -> Loaded {
    let mut report = Report::default();
    let root = match yaml::parse(text) {
        Ok(root) => root,
        Err(broken) => {
            report.error(broken.place, "", format!("not readable as YAML: {}", broken.message));
            let (problems, _) = report.finish();
            return Loaded { file: None, problems, checklist: false };
        }
    };
    let checklist = checklist::is_checklist(&root);
    let file = if checklist {
        checklist::read(&root, options, &mut report)
    } else {
        read(&root, known, &mut report)
    };
    let mut among = file.clone();
    for (name, source) in &known.sources {
        among.sources.entry(name.clone()).or_insert_with(|| source.clone());
    }
    judge::judge(&among, &root, by, &mut report);
    if !checklist {
        // What is refused may be what others would refer to.
        if !report.has_failed() {
            lint::lint(&file, &root, known, &mut report);
        }
        lint::monitors(&file, &root, known, &mut report);
    }
    let (problems, failed) = report.finish();
    Loaded { file: Some(file).filter(|_| !failed), problems, checklist }
}

fn read(root: &Node, known: &Known, report: &mut Report) -> File {
    let mut file = File::default();
    let mut mentions = Mentions::default();
    let Some(mut top) = Object::of(root, String::new(), report) else { return file };
    file.sources = sources(&mut top, report);
    if let Some(section) = section(&mut top, "receivers", report) {
        for (name, key, node) in section.members() {
            let path = section.path_of(name);
            if let Some(message) = roster::reserved(name) {
                report.error(key.place, &path, message);
            }
            if let Some(receiver) = receiver(node, key.place, &path, &mut mentions, report) {
                file.receivers.insert(name.into(), receiver);
            }
        }
    }
    for (at, node) in list(&mut top, "routes", report).iter().enumerate() {
        file.routes.extend(route(node, format!("routes[{at}]"), &mut mentions, report));
    }
    if let Some(section) = section(&mut top, "monitors", report) {
        let mut keyed: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
        for (name, key, node) in section.members() {
            let path = section.path_of(name);
            let Some(monitor) = monitor::read(name, key, node, path.clone(), report) else {
                continue;
            };
            let mention = |name: &Arc<str>, member: &str| {
                let place = member_place(node, member).unwrap_or(key.place);
                (name.clone(), place, format!("{path}.{member}"))
            };
            mentions.told.extend(monitor.to.iter().map(|it| mention(it, "to")));
            mentions.monitors.extend(monitor.depends_on.iter().map(|it| mention(it, "depends_on")));
            mentions.monitors.extend(monitor.witness.iter().map(|it| mention(it, "witness")));
            mentions.monitors.extend(monitor.composed_of().into_iter().map(|it| {
                let at = ["monitors", name, "composite", "of"];
                let place = judge::place(root, &at, reader::Level::Error);
                (it, place, format!("{path}.composite.of"))
            }));
            for inbound in monitor::keys(&monitor) {
                let first = keyed.entry(inbound).or_insert_with(|| monitor.name.clone());
                if *first != monitor.name {
                    let message =
                        format!("the monitor {first} has the same key: a key leads to one monitor");
                    report.error(key.place, &format!("{path}.alerts"), message);
                }
            }
            file.monitors.push(monitor);
        }
    }
    for name in ["silences", "maintenance"] {
        for (at, node) in list(&mut top, name, report).iter().enumerate() {
            file.silences.extend(silence(node, format!("{name}[{at}]"), report));
        }
    }
    if let Some(section) = section(&mut top, "ping_keys", report) {
        file.ping_keys = ping_key::read(&section, report, |monitor, path, node| {
            let mention = |name: &Arc<str>, member: &str| {
                let place = member_place(node, member).unwrap_or(node.place);
                (name.clone(), place, format!("{path}.{member}"))
            };
            mentions.told.extend(monitor.to.iter().map(|it| mention(it, "to")));
            mentions.monitors.extend(monitor.depends_on.iter().map(|it| mention(it, "depends_on")));
            mentions.monitors.extend(monitor.witness.iter().map(|it| mention(it, "witness")));
        });
    }
    ping_key::check_slugs(&file, report, |name| {
        judge::place(root, &["monitors", name, "heartbeat", "slug"], reader::Level::Error)
    });
    file.roster = roster::read(&mut top, &mut mentions.roster, report);
    top.finish(report);
    check_mentions(&file, &mentions, known, root, report);
    file
}

/// The place of a member's value.
fn member_place(node: &Node, name: &str) -> Option<Place> {
    let Content::Map(members) = &node.content else { return None };
    members.iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value.place)
}

fn section<'a>(
    top: &mut Object<'a>,
    name: &'static str,
    report: &mut Report,
) -> Option<Object<'a>> {
    let node = top.get(name)?;
    Object::of(node, name.to_owned(), report)
}

/// What monitors may look at by name: a map of settings each, or a text that is its `url`.
fn sources(top: &mut Object<'_>, report: &mut Report) -> BTreeMap<Arc<str>, Json> {
    let mut sources = BTreeMap::new();
    let Some(section) = section(top, "sources", report) else { return sources };
    for (name, _, node) in section.members() {
        let settings = match (&node.content, node.text()) {
            (Content::Map(_), _) => node.json(),
            (_, Some(url)) if !node.is_null() => serde_json::json!({ "url": url }),
            _ => {
                let message = format!("a map of settings is expected, not {}", node.kind());
                report.error(node.place, &section.path_of(name), message);
                continue;
            }
        };
        sources.insert(name.into(), Json::from(settings));
    }
    sources
}

fn list<'a>(top: &mut Object<'a>, name: &'static str, report: &mut Report) -> &'a [Node] {
    let Some(node) = top.get(name) else { return &[] };
    if let Content::List(items) = &node.content {
        return items;
    }
    let path = top.path_of(name);
    report.error(node.place, &path, format!("a list is expected, not {}", node.kind()));
    &[]
}

fn receiver(
    node: &Node,
    place: Place,
    path: &str,
    mentions: &mut Mentions,
    report: &mut Report,
) -> Option<Receiver> {
    let mut object = Object::of(node, path.to_owned(), report)?;
    let fallback = object.read("fallback", report, reader::text);
    if let (Some(fallback), Some(node)) = (&fallback, object.peek("fallback")) {
        mentions.fallbacks.push((fallback.clone(), node.place, object.path_of("fallback")));
    }
    let fallback_after = object.read("fallback_after", report, reader::span);
    if let Some(node) = object.peek("fallback_after").filter(|_| fallback.is_none()) {
        let message = "fallback_after needs fallback: who is told then?";
        report.error(node.place, &object.path_of("fallback_after"), message);
    }
    let rate = object
        .read("rate", report, |node, path, report| parsed(node, path, report, super::parse_rate));
    let mut kinds = Vec::new();
    for (kind, short) in RECEIVERS {
        if let Some(node) = object.get(kind) {
            kinds.push((kind, short, node));
        } else if object.peek(kind).is_some() {
            // `inbox:` with nothing behind it.
            kinds.push((kind, short, object.peek(kind).unwrap_or(node)));
        }
    }
    if kinds.len() != 1 {
        let names: Vec<&str> = RECEIVERS.iter().map(|(name, _)| *name).collect();
        let message = format!("a receiver is exactly one of {}", names.join(", "));
        report.error(place, path, message);
    }
    object.finish(report);
    let [(kind, short, node)] = kinds[..] else { return None };
    let settings = match &node.content {
        Content::Map(_) => node.json(),
        Content::List(_) => serde_json::json!({ short: node.json() }),
        _ if node.is_null() => serde_json::json!({}),
        _ => serde_json::json!({ short: node.text() }),
    };
    let settings = Json::from(settings);
    Some(Receiver { kind: kind.into(), settings, fallback, fallback_after, rate })
}

fn route(node: &Node, path: String, mentions: &mut Mentions, report: &mut Report) -> Option<Route> {
    let mut object = Object::of(node, path, report)?;
    let matchers = object.read("match", report, matchers).unwrap_or_default();
    let mut steps = Vec::new();
    if let Some(steps_node) = object.get("steps") {
        let path = object.path_of("steps");
        match &steps_node.content {
            Content::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    steps.extend(step(item, format!("{path}[{at}]"), mentions, report));
                }
            }
            _ => report.error(steps_node.place, &path, "a list of steps is expected"),
        }
    }
    if let Some(to) = object.read("to", report, reader::texts) {
        let place = member_place(node, "to").unwrap_or(node.place);
        let path = object.path_of("to");
        mentions.told.extend(to.iter().map(|to| (to.clone(), place, path.clone())));
        steps.insert(0, Step { to, ..Step::default() });
    }
    if steps.is_empty() {
        report.error(node.place, &object.path, "a route needs to or steps");
    }
    if steps.windows(2).any(|pair| pair[0].after > pair[1].after) {
        report.error(node.place, &object.path, "steps must come in the order of their after");
    }
    let route = Route {
        matchers,
        steps,
        remind: object.read("remind", report, reader::span),
        ack_expires: object.read("ack_expires", report, reader::span),
        group_by: object.read("group_by", report, reader::texts),
        group_order: object.read("group_order", report, reader::texts).unwrap_or_default(),
        display: object.read("display", report, reader::text_map).unwrap_or_default(),
        wait: object.read("wait", report, reader::span_or_zero).unwrap_or_default(),
        fallback_after: object.read("fallback_after", report, reader::span),
        hours: hours(&mut object, report),
    };
    object.finish(report);
    Some(route)
}

fn step(node: &Node, path: String, mentions: &mut Mentions, report: &mut Report) -> Option<Step> {
    let mut object = Object::of(node, path, report)?;
    let to = object.read("to", report, reader::texts).unwrap_or_default();
    if to.is_empty() {
        report.error(node.place, &object.path, "a step needs to, a receiver");
    }
    let place = member_place(node, "to").unwrap_or(node.place);
    let path = object.path_of("to");
    mentions.told.extend(to.iter().map(|to| (to.clone(), place, path.clone())));
    let unless = object.read("unless", report, |node, path, report| {
        parsed(node, path, report, |text| match text {
            "acked" | "acknowledged" => Ok(true),
            _ => Err(format!("unless can only be acked, not {text:?}")),
        })
    });
    let after = object.read("after", report, reader::span_or_zero).unwrap_or_default();
    let hours = hours(&mut object, report);
    object.finish(report);
    Some(Step { to, after, unless_acked: unless.unwrap_or_default(), hours })
}

/// `hours` in the zone `tz`.
fn hours(object: &mut Object<'_>, report: &mut Report) -> Option<Hours> {
    let alone = object.peek("tz").filter(|_| object.peek("hours").is_none());
    if let Some(node) = alone {
        report.error(
            node.place,
            &object.path_of("tz"),
            "tz is the zone of hours, which are not there",
        );
    }
    let tz = object.read("tz", report, reader::zone);
    let active = object.read("hours", report, reader::hours).filter(|hours| !hours.is_empty());
    active.map(|active| Hours { active, tz: tz.unwrap_or_default() })
}

/// `{ team: data, severity: [error, critical], host: { not: "test-*" } }`
fn matchers(node: &Node, path: &str, report: &mut Report) -> Option<Vec<Matcher>> {
    let object = Object::of(node, path.to_owned(), report)?;
    let mut out = Vec::new();
    for (name, _, value) in object.members() {
        let path = object.path_of(name);
        let (values, negated) = match &value.content {
            Content::Map(_) => {
                let mut inner = Object::of(value, path.clone(), report)?;
                let values = inner.read("not", report, reader::texts);
                inner.finish(report);
                (values, true)
            }
            _ => (reader::texts(value, &path, report), false),
        };
        match values {
            Some(values) => out.push(Matcher { label: name.into(), values, negated }),
            None if matches!(value.content, Content::Map(_)) => {
                report.error(value.place, &path, "a value, a list or { not: … } is expected");
            }
            None => {}
        }
    }
    Some(out)
}

fn silence(node: &Node, path: String, report: &mut Report) -> Option<Silence> {
    let mut object = Object::of(node, path, report)?;
    let id = object.read("name", report, reader::text);
    let id = id.unwrap_or_else(|| object.path.as_str().into());
    let matchers = object.read("match", report, matchers).unwrap_or_default();
    let by = object.read("by", report, reader::text);
    let comment = object.read("comment", report, reader::text);
    let tz = object.read("tz", report, reader::zone).unwrap_or_default();
    let instant = |node: &Node, path: &str, report: &mut Report| {
        let zone = if tz.is_empty() { TimeZone::UTC } else { TimeZone::get(&tz).ok()? };
        parsed(node, path, report, |text| {
            parse_until(text, &zone).map(Timestamp::from).map_err(|error| error.to_string())
        })
    };
    let from = object.read("from", report, instant);
    let to = object.read("to", report, instant);
    let length = object.read("for", report, reader::span);
    let hours = object.read("hours", report, |node, path, report| {
        parsed(node, path, report, |text| {
            Active::parse(text)
                .ok_or_else(|| format!("{text:?} are no hours; write such as \"Sat 02:00-04:00\""))
        })
    });
    let present = |name| object.peek(name).is_some();
    let when = match (hours, from) {
        (Some(hours), None) => Some(Recurring::Weekly { hours, tz: tz.clone() }),
        (None, Some(from)) => {
            let to = to.or_else(|| length.map(|length| from.plus_millis(length)));
            if !present("to") && !present("for") {
                let message = "a silence needs an end: to, or for such as 2h";
                report.error(node.place, &object.path, message);
            }
            if to.is_some_and(|to| to <= from) {
                report.error(node.place, &object.path, "it ends before it begins");
            }
            Some(Recurring::Once { from, to })
        }
        _ => {
            if present("hours") == present("from") {
                let message = "either from with to or for, or hours such as \"Sat 02:00-04:00\"";
                report.error(node.place, &object.path, message);
            }
            None
        }
    };
    object.finish(report);
    Some(Silence { id, matchers, when: when?, by, comment, origin: None })
}

/// The names in a section.
fn defined<'a>(root: &'a Node, section: &str) -> Vec<&'a str> {
    let Content::Map(members) = &root.content else { return Vec::new() };
    let section = members.iter().find(|(key, _)| key.text() == Some(section));
    match section.map(|(_, value)| &value.content) {
        Some(Content::Map(members)) => members.iter().filter_map(|it| it.0.text()).collect(),
        _ => Vec::new(),
    }
}

/// What is spoken of must be there, and no monitor may depend on itself.
fn check_mentions(
    file: &File,
    mentions: &Mentions,
    known: &Known,
    root: &Node,
    report: &mut Report,
) {
    let names: BTreeSet<&str> = file.monitors.iter().map(|monitor| &*monitor.name).collect();
    // What is defined badly is no second problem.
    let all = |section, others: &'_ BTreeSet<Arc<str>>| -> Vec<String> {
        let own = defined(root, section).into_iter().map(str::to_owned);
        own.chain(others.iter().map(ToString::to_string)).collect()
    };
    let (mut told, mut called) = (mentions.roster.receivers.clone(), Vec::new());
    told.extend(mentions.fallbacks.iter().cloned());
    for (name, place, path) in &mentions.told {
        match Target::parse(name) {
            Some(target) => called.push((target.rotation.into(), *place, path.clone())),
            None => told.push((name.clone(), *place, path.clone())),
        }
    }
    called.extend(mentions.roster.rotations.iter().cloned());
    for (what, known, mentions) in [
        ("receiver", all("receivers", &known.receivers), &told),
        ("monitor", all("monitors", &known.monitors), &mentions.monitors),
        ("person", all("people", &known.people), &mentions.roster.people),
        ("rotation", all("rotations", &known.rotations), &called),
    ] {
        for (name, place, path) in mentions {
            if !known.iter().any(|known| **known == **name) {
                let hint = nearest_hint(name, known.iter().map(String::as_str));
                report.error(*place, path, format!("there is no {what} {name:?}{hint}"));
            }
        }
    }
    for (name, place, path) in &mentions.monitors {
        let owner = path.strip_prefix("monitors.").and_then(|path| path.rsplit_once('.'));
        let Some((owner, _)) = owner.filter(|_| names.contains(&**name)) else { continue };
        if depends(file, name, owner) {
            report.error(*place, path, format!("{owner} and {name} depend on each other"));
        }
    }
    for (name, message) in composite::composed_of_itself(&file.monitors) {
        let place = judge::place(root, &["monitors", &name, "composite"], reader::Level::Error);
        report.refuse("composed-of-itself", place, &format!("monitors.{name}.composite"), message);
    }
}

/// Whether one monitor needs another, however far away.
fn depends(file: &File, from: &str, on: &str) -> bool {
    let mut open = vec![from.to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if name == on {
            return true;
        }
        if !seen.insert(name.clone()) {
            continue;
        }
        let monitor = file.monitors.iter().find(|monitor| *monitor.name == *name);
        let needs = monitor.map(|it| it.depends_on.iter().chain(&it.witness));
        open.extend(needs.into_iter().flatten().map(ToString::to_string));
    }
    false
}
