//! From Uptime Kuma: monitors, groups, notifications, tags and maintenance of its database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};

use super::page::{Entry, Page};
use super::receiver::{OF_KUMA, translated};
use super::{plain, span, text};
use crate::cli::failure::Failure;

/// Rows of a table that are read at most.
const ROWS_MAX: usize = 100_000;
/// Days before the end of a certificate from which on it is bad here.
const CERTIFICATE: &str = "7d";
/// The tables that are read; versions differ in which there are, and in their columns.
const TABLES: [&str; 7] = [
    "monitor",
    "notification",
    "monitor_notification",
    "tag",
    "monitor_tag",
    "maintenance",
    "monitor_maintenance",
];

/// The rows of tables, by the name of the table.
pub(super) type Tables = BTreeMap<&'static str, Vec<Value>>;

/// Reads a database, which stays as it is.
///
/// # Errors
/// It is none of Uptime Kuma.
pub(super) fn read(file: &Path) -> Result<Tables, Failure> {
    let shown = file.display();
    let trouble = |error: rusqlite::Error| {
        Failure::error(format!("{shown}: {error}"))
            .with_hint("name the file kuma.db of Uptime Kuma; MariaDB stores cannot be read")
    };
    if !file.is_file() {
        return Err(Failure::error(format!("{shown}: there is no such file")));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(file, flags).map_err(trouble)?;
    database.busy_timeout(Duration::from_secs(5)).map_err(trouble)?;
    let mut tables = Tables::new();
    for table in TABLES {
        let is_there = database
            .query_row(
                "select count(*) from sqlite_master where type = 'table' and name = ?",
                [table],
                |row| row.get::<_, i64>(0),
            )
            .map_err(trouble)?;
        if is_there > 0 {
            tables.insert(table, rows(&database, table).map_err(trouble)?);
        }
    }
    if !tables.contains_key("monitor") {
        let message = format!("{shown}: there is no table of monitors: is this kuma.db?");
        return Err(Failure::error(message));
    }
    Ok(tables)
}

fn rows(database: &Connection, table: &str) -> rusqlite::Result<Vec<Value>> {
    // The names of tables are ours.
    let mut statement = database.prepare(&format!("select * from \"{table}\" order by 1"))?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut members = Map::new();
        for (at, name) in names.iter().enumerate() {
            let value = match row.get_ref(at)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => number.into(),
                ValueRef::Real(number) => json!(number),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
                ValueRef::Blob(_) => Value::Null,
            };
            members.insert(name.clone(), value);
        }
        found.push(Value::Object(members));
        if found.len() >= ROWS_MAX {
            break;
        }
    }
    Ok(found)
}

/// Makes a file of monitors of what the tables hold.
pub(super) fn page(tables: &Tables) -> Page {
    let empty = Vec::new();
    let table = |name: &str| tables.get(name).unwrap_or(&empty);
    let mut page = Page::default();
    page.words.push("Made of the database of Uptime Kuma by `nightbell import kuma`.".to_owned());
    let monitors = table("monitor");
    let names: BTreeMap<i64, String> = monitors
        .iter()
        .filter(|it| is_on(it, "active", true))
        .filter_map(|it| {
            Some((it["id"].as_i64()?, page.name(&text(it, "name").unwrap_or_default())))
        })
        .collect();
    let mut receivers = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for notification in table("notification") {
        let Some(id) = notification["id"].as_i64() else { continue };
        let name = text(notification, "name").unwrap_or_else(|| format!("notification-{id}"));
        let name = if taken.insert(name.clone()) { name } else { format!("{name}-{id}") };
        let config = text(notification, "config").unwrap_or_default();
        let config: Value = serde_json::from_str(&config).unwrap_or_default();
        let kind = text(&config, "type").unwrap_or_default();
        match receiver(&kind, &config) {
            _ if !is_on(notification, "active", true) => {
                page.leave(format!("the notification {name}"), "it is not active");
            }
            Some((kind, settings)) => drop(receivers.insert(id, (name, kind, settings))),
            None => page.leave(
                format!("the notification {name} ({kind})"),
                "there is no such receiver, or its address is missing",
            ),
        }
    }
    let links = |table: &[Value], monitor: i64, other: &str| -> Vec<i64> {
        let own = table.iter().filter(|it| it["monitor_id"] == monitor);
        own.filter_map(|it| it[other].as_i64()).collect()
    };
    let mut told = BTreeSet::new();
    let mut made = BTreeSet::new();
    for row in monitors {
        let Some(id) = row["id"].as_i64() else { continue };
        let shown = text(row, "name").unwrap_or_else(|| format!("monitor {id}"));
        let Some(name) = names.get(&id) else {
            page.leave(format!("the monitor {shown}"), "it is paused");
            continue;
        };
        let children: Vec<&String> = monitors
            .iter()
            .filter(|it| it["parent"] == id)
            .filter_map(|it| names.get(&it["id"].as_i64()?))
            .collect();
        let mut entry = match monitor(row, &children) {
            Ok(entry) => entry,
            Err(why) => {
                page.leave(format!("the monitor {shown}"), why);
                continue;
            }
        };
        entry.name.clone_from(name);
        let labels: BTreeMap<String, String> = table("monitor_tag")
            .iter()
            .filter(|it| it["monitor_id"] == id)
            .filter_map(|it| {
                let tag = table("tag").iter().find(|tag| tag["id"] == it["tag_id"])?;
                let value = text(it, "value").unwrap_or_else(|| "yes".to_owned());
                Some((text(tag, "name")?, plain(&value)))
            })
            .filter(|(name, _)| !matches!(&**name, "monitor" | "key" | "severity"))
            .collect();
        if !labels.is_empty() {
            entry.set("labels", json!(labels));
        }
        let linked = links(table("monitor_notification"), id, "notification_id");
        let to: Vec<&str> =
            linked.iter().filter_map(|it| receivers.get(it)).map(|(name, ..)| &**name).collect();
        if to.len() < linked.len() {
            entry.leave("notifications that are not translated");
        }
        if !to.is_empty() {
            entry.set("to", json!(to));
            told.extend(linked);
        }
        made.insert(name.clone());
        page.monitors.push(entry);
    }
    for (id, (name, kind, settings)) in receivers {
        if told.contains(&id) {
            let mut entry = Entry::new(name);
            entry.set(kind, settings);
            page.receivers.push(entry);
        } else {
            page.leave(format!("the notification {name}"), "no monitor uses it");
        }
    }
    prune_groups(&mut page, &made);
    for row in table("maintenance") {
        let title = text(row, "title").unwrap_or_default();
        let of: Vec<&String> = table("monitor_maintenance")
            .iter()
            .filter(|it| it["maintenance_id"] == row["id"])
            .filter_map(|it| names.get(&it["monitor_id"].as_i64()?))
            .collect();
        match maintenance(row, &of) {
            _ if !is_on(row, "active", true) => {
                page.leave(format!("the maintenance {title}"), "it is not active");
            }
            Some(mut entry) => {
                entry.keys.shift_insert(0, "name".to_owned(), title.into());
                page.maintenance.push(entry);
            }
            None => page.leave(
                format!("the maintenance {title}"),
                "only one time, and days of the week, are translated",
            ),
        }
    }
    page
}

/// Takes members out of groups that were not made, and groups that are left with none.
fn prune_groups(page: &mut Page, made: &BTreeSet<String>) {
    let mut made = made.clone();
    loop {
        let mut emptied = None;
        for entry in &mut page.monitors {
            let Some(Value::Array(of)) = entry.keys.get_mut("composite").map(|it| it["of"].take())
            else {
                continue;
            };
            let before = of.len();
            let kept: Vec<Value> = of
                .into_iter()
                .filter(|it| it.as_str().is_some_and(|it| made.contains(it)))
                .collect();
            if kept.len() < before {
                entry.left_out.push("members of the group that are not translated".to_owned());
            }
            if kept.is_empty() {
                emptied = Some(entry.name.clone());
            }
            entry.keys["composite"]["of"] = kept.into();
        }
        let Some(name) = emptied else { return };
        page.monitors.retain(|it| it.name != name);
        page.leave(format!("the group {name}"), "none of its members is translated");
        made.remove(&name);
    }
}

/// A column that is on or off, stored in one of several ways.
fn is_on(row: &Value, name: &str, default: bool) -> bool {
    match &row[name] {
        Value::Null => default,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        other => !matches!(other.as_str(), Some("0" | "false" | "")),
    }
}

fn receiver(kind: &str, config: &Value) -> Option<(&'static str, Map<String, Value>)> {
    if kind != "smtp" {
        return translated(&OF_KUMA, kind, config);
    }
    let mut settings = Map::new();
    for (ours, theirs) in [
        ("host", "smtpHost"),
        ("port", "smtpPort"),
        ("from", "smtpFrom"),
        ("user", "smtpUsername"),
        ("password", "smtpPassword"),
    ] {
        settings.extend(text(config, theirs).map(|it| (ours.to_owned(), it.into())));
    }
    let to = text(config, "smtpTo")?;
    let to: Vec<&str> = to.split(',').map(str::trim).collect();
    settings.insert("to".to_owned(), json!(to));
    (settings.contains_key("host") && settings.contains_key("from")).then_some(("email", settings))
}

/// What a row of the table of monitors is here.
fn monitor(row: &Value, children: &[&String]) -> Result<Entry, String> {
    let kind = text(row, "type").unwrap_or_default();
    if is_on(row, "upside_down", false) {
        return Err("it is upside down: what answers is bad".to_owned());
    }
    let interval = row["interval"].as_i64().unwrap_or(60).max(1);
    let mut entry = Entry::default();
    match &*kind {
        "http" | "keyword" | "json-query" => {
            let settings = http(row, &kind, &mut entry)?;
            entry.set("http", settings);
        }
        "port" => {
            let host = text(row, "hostname").ok_or("it has no host")?;
            let port = row["port"].as_i64().ok_or("it has no port")?;
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            entry.set("tcp", json!({ "address": format!("{host}:{port}") }));
        }
        "ping" => {
            entry.set("icmp", json!({ "host": text(row, "hostname").ok_or("it has no host")? }));
        }
        "dns" => {
            let mut settings = json!({ "name": text(row, "hostname").ok_or("it has no name")? });
            settings["type"] =
                text(row, "dns_resolve_type").unwrap_or_else(|| "A".to_owned()).into();
            if let Some(server) = text(row, "dns_resolve_server") {
                settings["server"] = server.split(',').next().unwrap_or_default().trim().into();
            }
            entry.set("dns", settings);
        }
        "push" => {
            let mut settings = json!({ "every": span(interval) });
            match text(row, "push_token").filter(|it| !it.contains('/')) {
                Some(token) => settings["key"] = token.into(),
                None => entry.leave("its token: it is called by its name"),
            }
            entry.words.push("Jobs call /ping/KEY in place of /api/push/TOKEN.".to_owned());
            entry.set("heartbeat", settings);
        }
        "group" if children.is_empty() => return Err("the group is empty".to_owned()),
        "group" => entry.set("composite", json!({ "of": children })),
        other => return Err(format!("there is no check of the type {other:?}")),
    }
    if kind != "push" {
        entry.set("every", span(interval));
    }
    let retries = row["maxretries"].as_i64().unwrap_or_default();
    if retries > 0 {
        entry.set("fail_after", retries + 1);
        let pause = row["retry_interval"].as_i64().unwrap_or_default();
        if pause > 0 && pause != interval {
            entry.leave(format!("retries after {pause} s: checks are {interval} s apart here"));
        }
    }
    if let Some(checks) = row["resend_interval"].as_i64().filter(|it| *it > 0) {
        entry.set("remind", span(checks.saturating_mul(interval)));
    }
    if let Some(words) = text(row, "description") {
        entry.set("description", plain(&words));
    }
    for (column, what) in [("proxy_id", "a proxy"), ("conditions", "conditions")] {
        if text(row, column).is_some_and(|it| it != "[]") {
            entry.leave(what);
        }
    }
    Ok(entry)
}

fn http(row: &Value, kind: &str, entry: &mut Entry) -> Result<Value, String> {
    let url = text(row, "url").ok_or("it has no url")?;
    let mut settings = json!({ "url": url });
    if let Some(method) = text(row, "method").filter(|it| it != "GET") {
        settings["method"] = method.into();
    }
    if let Some(headers) = text(row, "headers") {
        match serde_json::from_str::<Value>(&headers) {
            Ok(headers @ Value::Object(_)) => settings["headers"] = headers,
            _ => entry.leave("its headers, which are no JSON"),
        }
    }
    if let Some(body) = text(row, "body") {
        settings["body"] = serde_json::from_str(&body).unwrap_or(Value::String(body));
    }
    match (text(row, "auth_method").as_deref(), text(row, "basic_auth_user")) {
        (Some("oauth2-cc" | "ntlm" | "mtls"), _) => entry.leave("how it signs in"),
        (_, Some(user)) => {
            settings["user"] = user.into();
            settings["password"] = text(row, "basic_auth_pass").unwrap_or_default().into();
        }
        _ => {}
    }
    if row["maxredirects"] == 0 {
        settings["follow"] = false.into();
    }
    if let Some(seconds) = row["timeout"].as_f64().filter(|it| *it >= 1.0) {
        settings["timeout"] = span(seconds as i64).into();
    }
    if is_on(row, "ignore_tls", false) {
        entry.leave("that certificates are not checked: write tls: { ca: … }");
    } else if is_on(row, "expiry_notification", false) && url.starts_with("https:") {
        settings["tls_expiry"] = CERTIFICATE.into();
    }
    let mut expect = vec![statuses(row, entry)];
    let keyword = text(row, "keyword").filter(|_| kind == "keyword");
    match keyword {
        Some(keyword) if is_on(row, "invert_keyword", false) => {
            expect.push(format!("not text contains {}", quoted(&keyword)));
        }
        Some(keyword) => settings["contains"] = keyword.into(),
        None => {}
    }
    if kind == "json-query" {
        match json_query(row) {
            Some(condition) => expect.push(condition),
            None => entry.leave("what it expects in the JSON: write `expect` or `jq`"),
        }
    }
    settings["expect"] = expect.join(" and ").into();
    Ok(settings)
}

/// The statuses that it accepts: `["200-299", "301"]`.
fn statuses(row: &Value, entry: &mut Entry) -> String {
    const USUAL: &str = "status >= 200 and status < 300";
    let Some(accepted) = text(row, "accepted_statuscodes_json") else { return USUAL.to_owned() };
    let accepted: Vec<String> = serde_json::from_str(&accepted).unwrap_or_default();
    let each: Option<Vec<String>> = accepted
        .iter()
        .map(|it| match it.split_once('-') {
            Some((from, to)) => {
                let (from, to) = (from.parse::<u16>().ok()?, to.parse::<u16>().ok()?);
                Some(format!("status >= {from} and status <= {to}"))
            }
            None => it.parse::<u16>().ok().map(|status| format!("status == {status}")),
        })
        .collect();
    match each.as_deref() {
        Some([one]) => one.clone(),
        Some([_, ..]) => format!("({})", each.unwrap_or_default().join(" or ")),
        _ => {
            entry.leave("the statuses that it accepts");
            USUAL.to_owned()
        }
    }
}

/// `$.a.b == value`, if its path is as simple as that.
fn json_query(row: &Value) -> Option<String> {
    let path = text(row, "json_path")?;
    let path = path.strip_prefix("$.").unwrap_or(&path);
    let is_simple = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let operator = text(row, "json_path_operator").unwrap_or_else(|| "==".to_owned());
    if path.is_empty() || !path.chars().all(is_simple) {
        return None;
    }
    let value = text(row, "expected_value")?;
    let literal = match serde_json::from_str::<Value>(&value) {
        Ok(Value::Number(_) | Value::Bool(_)) => value,
        _ => quoted(&value),
    };
    let condition = format!("body.{path} {operator} {literal}");
    kernel::alert::Condition::parse(&condition).ok().map(|_| condition)
}

fn quoted(text: &str) -> String {
    if text.contains('\'') { format!("\"{text}\"") } else { format!("'{text}'") }
}

/// One time, or days of the week.
fn maintenance(row: &Value, of: &[&String]) -> Option<Entry> {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let mut entry = Entry::default();
    match &*text(row, "strategy")? {
        "single" => {
            // `2026-11-23 10:00:00`, sometimes with a T.
            let instant = |name: &str| Some(text(row, name)?.replace(' ', "T"));
            entry.set("from", instant("start_date")?);
            entry.set("to", instant("end_date")?);
        }
        "recurring-weekday" => {
            let days: Vec<usize> = serde_json::from_str(&text(row, "weekdays")?).ok()?;
            let days: Option<Vec<&str>> =
                days.into_iter().map(|it| DAYS.get(it % 7).copied()).collect();
            let clock = |name: &str| {
                let time = text(row, name)?;
                let (hour, rest) = time.split_once(':')?;
                Some(format!("{:0>2}:{}", hour, rest.get(..2)?))
            };
            let days = days?.join(",");
            entry.set(
                "hours",
                format!("{days} {}-{}", clock("start_time")?, clock("end_time")?).trim(),
            );
        }
        _ => return None,
    }
    let zone = text(row, "timezone").filter(|it| it.contains('/') || it == "UTC");
    entry.set("tz", zone.unwrap_or_else(|| "UTC".to_owned()));
    if !of.is_empty() {
        entry.set("match", json!({ "monitor": of }));
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use kernel::alert::definition::parse_yaml;
    use rusqlite::Connection;
    use serde_json::json;

    use super::{page, read};

    const OF_NOW: &str = r#"
create table monitor (id integer primary key, name text, active boolean default 1, interval integer, url text,
  type text, hostname text, port integer, keyword text, maxretries integer default 0, retry_interval integer default 0,
  upside_down boolean default 0, accepted_statuscodes_json text default '["200-299"]', push_token text, parent integer,
  resend_interval integer default 0, ignore_tls boolean default 0, method text default 'GET');
insert into monitor (id, name, interval, url, type, maxretries, retry_interval, parent, resend_interval)
  values (1, 'shop', 60, 'https://shop.example', 'http', 2, 20, 5, 10);
insert into monitor (id, name, interval, type, hostname, port, parent) values (2, 'db', 30, 'port', 'db.example', 5432, 5);
insert into monitor (id, name, interval, type, push_token) values (3, 'job', 3600, 'push', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa');
insert into monitor (id, name, interval, type, parent) values (4, 'game', 60, 'gamedig', 5);
insert into monitor (id, name, interval, type) values (5, 'all', 60, 'group');
insert into monitor (id, name, interval, type, active) values (6, 'old', 60, 'ping', 0);
create table notification (id integer primary key, name text, config text, active boolean default 1);
insert into notification values (1, 'chat', '{"type":"slack","slackwebhookURL":"https://hooks.example/x"}', 1);
insert into notification values (2, 'phone', '{"type":"pushover","pushoveruserkey":"x"}', 1);
create table monitor_notification (id integer primary key, monitor_id integer, notification_id integer);
insert into monitor_notification values (1, 1, 1), (2, 1, 2);
create table tag (id integer primary key, name text, color text);
insert into tag values (1, 'team', 'red');
create table monitor_tag (id integer primary key, monitor_id integer, tag_id integer, value text);
insert into monitor_tag values (1, 1, 1, 'web');
create table maintenance (id integer primary key, title text, active boolean, strategy text, weekdays text, start_time text,
  end_time text, timezone text);
insert into maintenance values (1, 'sunday', 1, 'recurring-weekday', '[0]', '02:00', '04:00', 'Europe/Oslo');
insert into maintenance values (2, 'odd', 1, 'cron', '[]', null, null, null);
"#;

    #[test]
    fn the_database_of_a_new_version_and_of_the_first_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("kuma.db");
        Connection::open(&file).expect("a file").execute_batch(OF_NOW).expect("tables");
        let made = page(&read(&file).expect("it is one"));
        let text = made.text();
        let found = parse_yaml(&text).expect("it is YAML").json();
        assert_eq!(
            found["monitors"]["shop"],
            json!({
                "http": { "url": "https://shop.example", "expect": "status >= 200 and status <= 299" },
                "every": "1m", "fail_after": 3, "remind": "10m", "labels": { "team": "web" }, "to": ["chat"],
            }),
            "{text}"
        );
        assert_eq!(found["monitors"]["all"]["composite"]["of"], json!(["shop", "db"]));
        assert_eq!(found["monitors"]["job"]["heartbeat"]["every"], "1h");
        assert_eq!(found["maintenance"][0]["hours"], "Sun 02:00-04:00");
        for left_out in [
            "gamedig",
            "the monitor old",
            "phone",
            "odd",
            "retries after 20 s",
            "members of the group",
        ] {
            let said =
                text.lines().any(|it| it.contains("# not translated") && it.contains(left_out));
            assert!(said, "{left_out} in\n{text}");
        }
        let first = folder.path().join("first.db");
        let tables =
            "create table monitor (id integer, name text, interval integer, url text, type text);
            insert into monitor values (1, 'web', 20, 'http://x', 'http')";
        Connection::open(&first).expect("a file").execute_batch(tables).expect("tables");
        assert_eq!(page(&read(&first).expect("it is one")).monitors.len(), 1);
        std::fs::write(folder.path().join("none"), "no database, but long enough to be none")
            .expect("a file");
        read(&folder.path().join("none")).expect_err("no database");
        read(&folder.path().join("absent")).expect_err("no file");
    }
}
