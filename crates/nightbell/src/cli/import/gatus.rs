//! From Gatus: endpoints, external endpoints, alerts and maintenance of its configuration.

use std::collections::{BTreeMap, BTreeSet};

use kernel::alert::definition::{parse_span, parse_yaml};
use serde_json::{Map, Value, json};

use super::gatus_condition::{Meant, read};
use super::page::{Entry, Page};
use super::receiver::{OF_GATUS, translated};
use super::{plain, text};

/// Sections that say nothing of what is watched, and what is there for them.
const SECTIONS: [(&str, &str); 14] = [
    ("storage", "the server has one store: the setting `store`"),
    ("web", "the settings `listen`, `tls_cert` and `tls_key`"),
    ("ui", "the console; for the public there are status pages"),
    ("security", "access control: the setting `auth`"),
    ("metrics", "the server answers /metrics anyway"),
    ("connectivity", "write a monitor, and name it as `witness` of the others"),
    ("remote", "endpoints of other instances are not there"),
    ("suites", "write a workflow, and a monitor that runs it"),
    ("announcements", "posts on status pages"),
    ("tunneling", "tunnels are not there"),
    ("concurrency", "the settings of built-in tasks"),
    ("disable-monitoring-lock", "no such lock is needed"),
    ("skip-invalid-config-update", "a file that is refused leaves the former one in force"),
    ("debug", "the setting `log`"),
];
/// What is done unless an alert says otherwise.
const FAILURES: i64 = 3;
const SUCCESSES: i64 = 2;
/// Keys of an endpoint that are read here.
const OF_ENDPOINTS: [&str; 16] = [
    "enabled",
    "name",
    "group",
    "url",
    "method",
    "conditions",
    "interval",
    "graphql",
    "body",
    "headers",
    "dns",
    "alerts",
    "maintenance-windows",
    "client",
    "extra-labels",
    "ui",
];

/// Makes a file of monitors of a configuration.
///
/// # Errors
/// It is no configuration of Gatus.
pub(super) fn page(config: &str) -> Result<Page, String> {
    let root = parse_yaml(config).map_err(|broken| {
        format!("line {}, column {}: {}", broken.place.line, broken.place.column, broken.message)
    })?;
    let config = references(root.json());
    let has = |name: &str| config[name].as_array().is_some_and(|it| !it.is_empty());
    if !["endpoints", "external-endpoints", "suites"].into_iter().any(has) {
        return Err(
            "there are no endpoints: is this the configuration of Gatus? (Of a ConfigMap it \
                    is what stands under `config.yaml`.)"
                .to_owned(),
        );
    }
    let mut gatus =
        Gatus { alerting: &config["alerting"], page: Page::default(), used: BTreeSet::new() };
    gatus
        .page
        .words
        .push("Made of the configuration of Gatus by `nightbell import gatus`.".to_owned());
    for endpoint in config["endpoints"].as_array().into_iter().flatten() {
        gatus.endpoint(endpoint);
    }
    for endpoint in config["external-endpoints"].as_array().into_iter().flatten() {
        gatus.external(endpoint);
    }
    gatus.receivers();
    gatus.maintenance(&config["maintenance"], None);
    let known = ["endpoints", "external-endpoints", "alerting", "maintenance"];
    for name in config.as_object().into_iter().flatten().map(|(name, _)| name) {
        if known.contains(&&**name) || name.starts_with("x-") {
            continue;
        }
        let instead = SECTIONS.iter().find(|(section, _)| section == name);
        let instead = instead.map_or("this section is not known here", |(_, instead)| instead);
        gatus.page.leave(format!("`{name}`"), instead);
    }
    Ok(gatus.page)
}

struct Gatus<'a> {
    alerting: &'a Value,
    page: Page,
    /// Kinds of alerts that endpoints use.
    used: BTreeSet<String>,
}

impl Gatus<'_> {
    fn endpoint(&mut self, endpoint: &Value) {
        let shown = title(endpoint);
        if endpoint["enabled"] == false {
            return self.page.leave(format!("endpoint {shown}"), "it is not enabled");
        }
        let Some(url) = text(endpoint, "url") else {
            return self.page.leave(format!("endpoint {shown}"), "it has no url");
        };
        let mut entry = Entry::default();
        let kind = match kind(endpoint, &url) {
            Ok(kind) => kind,
            Err(why) => return self.page.leave(format!("endpoint {shown} ({url})"), why),
        };
        let (name, mut settings) = kind;
        let mut fail_when = Vec::new();
        conditions(name, endpoint, &mut settings, &mut fail_when, &mut entry);
        client(name, &endpoint["client"], &mut settings, &mut entry);
        entry.name = self.page.name(&shown);
        entry.set(name, settings);
        entry.set("every", text(endpoint, "interval").unwrap_or_else(|| "60s".to_owned()));
        if !fail_when.is_empty() {
            entry.set("fail_when", fail_when.join(" or "));
        }
        labels(endpoint, &mut entry);
        self.alerts(endpoint, &mut entry);
        for window in endpoint["maintenance-windows"].as_array().into_iter().flatten() {
            self.maintenance(window, Some(&entry.name));
        }
        for key in endpoint.as_object().into_iter().flatten().map(|(key, _)| key) {
            if !OF_ENDPOINTS.contains(&&**key) {
                entry.leave(format!("`{key}`"));
            }
        }
        self.page.monitors.push(entry);
    }

    /// An endpoint whose state others push.
    fn external(&mut self, endpoint: &Value) {
        let shown = title(endpoint);
        if endpoint["enabled"] == false {
            return self.page.leave(format!("external endpoint {shown}"), "it is not enabled");
        }
        let mut entry = Entry::new(self.page.name(&shown));
        let interval = text(&endpoint["heartbeat"], "interval").filter(|it| it != "0");
        let mut settings = json!({ "every": interval.clone().unwrap_or_else(|| "1d".to_owned()) });
        if interval.is_none() {
            entry.leave("that nothing is due at any time; a call a day is expected here");
        }
        match text(endpoint, "token") {
            Some(token) if !token.contains('/') => settings["key"] = token.into(),
            Some(_) => entry.leave("its token cannot stand in an address: write another `key`"),
            None => {}
        }
        entry.words.push(
            "Jobs call /ping/KEY and /ping/KEY/fail in place of \
             /api/v1/endpoints/…/external?success=…"
                .to_owned(),
        );
        entry.set("heartbeat", settings);
        labels(endpoint, &mut entry);
        self.alerts(endpoint, &mut entry);
        self.page.monitors.push(entry);
    }

    /// Whom an endpoint tells, and after how many results.
    fn alerts(&mut self, endpoint: &Value, entry: &mut Entry) {
        let mut to: Vec<String> = Vec::new();
        let mut thresholds = BTreeSet::new();
        let mut remind = None;
        for alert in endpoint["alerts"].as_array().into_iter().flatten() {
            let Some(kind) = text(alert, "type") else { continue };
            let default = &self.alerting[&kind]["default-alert"];
            let of = |name: &str| match &alert[name] {
                Value::Null => default[name].clone(),
                own => own.clone(),
            };
            if of("enabled") == false {
                continue;
            }
            let settings = &self.alerting[&kind];
            let is_known = match &*kind {
                "email" => settings.is_object(),
                _ => translated(&OF_GATUS, &kind, settings).is_some(),
            };
            if !is_known {
                entry.leave(match settings {
                    Value::Null => format!("alerts of {kind}, which is not configured"),
                    _ => format!(
                        "alerts of {kind}: there is no such receiver, or its address is missing"
                    ),
                });
                continue;
            }
            thresholds.insert((
                of("failure-threshold").as_i64().unwrap_or(FAILURES),
                of("success-threshold").as_i64().unwrap_or(SUCCESSES),
            ));
            let every = of("minimum-reminder-interval");
            remind = remind.or_else(|| Some(every.as_str()?.to_owned()).filter(|it| it != "0"));
            if let Some(description) = of("description").as_str() {
                if entry.keys.contains_key("description") {
                    entry.leave(format!("the description of the alert of {kind}: {description}"));
                } else {
                    entry.set("description", plain(description));
                }
            }
            for (key, _) in alert.as_object().into_iter().flatten() {
                if matches!(&**key, "provider-override") {
                    entry.leave(format!("`{key}` of the alert of {kind}: write another receiver"));
                }
            }
            self.used.insert(kind.clone());
            if !to.contains(&kind) {
                to.push(kind);
            }
        }
        let Some((failures, successes)) = thresholds.first().copied() else { return };
        if thresholds.len() > 1 {
            entry.leave("alerts with thresholds of their own: the lowest counts for all");
        }
        if failures > 1 {
            entry.set("fail_after", failures);
        }
        if successes > 1 {
            entry.set("recover_after", successes);
        }
        if let Some(remind) = remind {
            entry.set("remind", remind);
        }
        if !to.is_empty() {
            entry.set("to", to);
        }
    }

    fn receivers(&mut self) {
        for (kind, settings) in self.alerting.as_object().into_iter().flatten() {
            if !self.used.contains(kind) {
                self.page.leave(
                    format!("`alerting.{kind}`"),
                    "no endpoint tells it, or there is no such receiver",
                );
                continue;
            }
            let mut entry = Entry::new(kind.clone());
            if kind == "email" {
                let mut ours = Map::new();
                for (setting, theirs) in [
                    ("host", "host"),
                    ("port", "port"),
                    ("from", "from"),
                    ("user", "username"),
                    ("password", "password"),
                ] {
                    ours.extend(text(settings, theirs).map(|it| (setting.to_owned(), it.into())));
                }
                let to = text(settings, "to").unwrap_or_default();
                let to: Vec<&str> = to.split(',').map(str::trim).collect();
                ours.insert("to".to_owned(), json!(to));
                entry.set("email", ours);
            } else if let Some((ours, settings)) = translated(&OF_GATUS, kind, settings) {
                entry.set(ours, settings);
            }
            for (key, value) in settings.as_object().into_iter().flatten() {
                match (&**key, value) {
                    ("overrides", _) => {
                        entry.leave("`overrides` by group: write routes with match: { group: … }");
                    }
                    ("default-alert", _) => {}
                    ("client" | "insecure" | "title" | "priority" | "severity" | "mention", _) => {
                        entry.leave(format!("`{key}`"));
                    }
                    _ => {}
                }
            }
            self.page.receivers.push(entry);
        }
    }

    /// A window that comes again, of all monitors or of one.
    fn maintenance(&mut self, window: &Value, of: Option<&str>) {
        let Some(start) = text(window, "start") else { return };
        if window["enabled"] == false {
            return;
        }
        let shown = format!("maintenance from {start}");
        let Some(hours) =
            hours(&start, &text(window, "duration").unwrap_or_default(), &window["every"])
        else {
            return self.page.leave(shown, "it is not within a day, or on days that are none");
        };
        let mut entry = Entry::default();
        entry.set("name", shown);
        if let Some(monitor) = of {
            entry.set("match", json!({ "monitor": monitor }));
        }
        entry.set("hours", hours);
        entry.set("tz", text(window, "timezone").unwrap_or_else(|| "UTC".to_owned()));
        self.page.maintenance.push(entry);
    }
}

/// `Sat,Sun 23:00-01:00`; `None` if it takes a day or longer.
fn hours(start: &str, duration: &str, every: &Value) -> Option<String> {
    let (hour, minute) = start.split_once(':')?;
    let begin = hour.parse::<i64>().ok()? * 60 + minute.parse::<i64>().ok()?;
    let minutes = parse_span(duration).ok()? / 60_000;
    if !(0..1440).contains(&begin) || !(1..1440).contains(&minutes) {
        return None;
    }
    let end = (begin + minutes) % 1440;
    let days: Option<Vec<String>> = every
        .as_array()
        .into_iter()
        .flatten()
        .map(|day| Some(day.as_str()?.get(..3)?.to_owned()))
        .collect();
    let days = days?.join(",");
    let clock = |minutes: i64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let hours = format!("{days} {}-{}", clock(begin), clock(end));
    Some(hours.trim().to_owned())
}

/// `group-name`, as one name.
fn title(endpoint: &Value) -> String {
    let name = text(endpoint, "name").unwrap_or_else(|| "unnamed".to_owned());
    match text(endpoint, "group") {
        Some(group) => format!("{group}-{name}"),
        None => name,
    }
}

fn labels(endpoint: &Value, entry: &mut Entry) {
    let mut labels: BTreeMap<String, Value> = BTreeMap::new();
    labels.extend(text(endpoint, "group").map(|group| ("group".to_owned(), group.into())));
    for (name, value) in endpoint["extra-labels"].as_object().into_iter().flatten() {
        if matches!(&**name, "monitor" | "key" | "severity") {
            entry.leave(format!("the label {name}, which every incident has"));
        } else {
            labels.insert(name.clone(), value.clone());
        }
    }
    labels.retain(|_, value| !value.as_str().is_some_and(|it| it.contains("{{")));
    if !labels.is_empty() {
        entry.set("labels", json!(labels));
    }
}

/// The kind of monitor that an endpoint is, with the settings that its address says.
fn kind(endpoint: &Value, url: &str) -> Result<(&'static str, Map<String, Value>), String> {
    let mut settings = Map::new();
    let mut set = |name: &str, value: Value| drop(settings.insert(name.to_owned(), value));
    let dns = &endpoint["dns"];
    if dns.is_object() {
        set("name", json!(text(dns, "query-name").unwrap_or_default().trim_end_matches('.')));
        set("type", json!(text(dns, "query-type").unwrap_or_else(|| "A".to_owned())));
        let server = url.split_once("://").map_or(url, |(_, rest)| rest);
        set("server", json!(server));
        return Ok(("dns", settings));
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let address = rest.trim_end_matches('/');
    match scheme {
        "http" | "https" => {
            set("url", json!(url));
            if let Some(method) = text(endpoint, "method").filter(|it| it != "GET") {
                set("method", json!(method));
            }
            if endpoint["headers"].is_object() {
                set("headers", endpoint["headers"].clone());
            }
            let body = text(endpoint, "body");
            if endpoint["graphql"] == true {
                set("body", json!({ "query": body.unwrap_or_default() }));
            } else if let Some(body) = body {
                set("body", json!(body));
            }
            Ok(("http", settings))
        }
        "icmp" => {
            set("host", json!(address));
            Ok(("icmp", settings))
        }
        "tcp" => {
            set("address", json!(address));
            if let Some(body) = text(endpoint, "body") {
                set("send", json!(body));
            }
            Ok(("tcp", settings))
        }
        "tls" => {
            set("address", json!(address));
            set("tls", json!(true));
            Ok(("tcp", settings))
        }
        "grpc" | "grpcs" => {
            set("address", json!(address));
            if scheme == "grpcs" {
                set("tls", json!(true));
            }
            Ok(("grpc", settings))
        }
        "starttls" | "udp" | "sctp" | "ws" | "wss" | "ssh" => {
            Err(format!("there is no check of {scheme}"))
        }
        _ => Err("there is no check of such an address".to_owned()),
    }
}

/// What is expected of an answer.
fn conditions(
    kind: &str,
    endpoint: &Value,
    settings: &mut Map<String, Value>,
    fail_when: &mut Vec<String>,
    entry: &mut Entry,
) {
    let (mut expected, mut contains, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for condition in endpoint["conditions"].as_array().into_iter().flatten() {
        let Some(condition) = condition.as_str() else { continue };
        match (read(condition), kind) {
            (Meant::Always, _) => {}
            (Meant::Condition(ours), "http") => expected.push(ours),
            (Meant::Contains(part), "http") => contains.push(part),
            (Meant::Answer(address), "dns") => answers.push(address),
            (Meant::Answer(text), "http") => expected.push(format!("text == '{text}'")),
            (Meant::Contains(part), "tcp") if !settings.contains_key("expect") => {
                settings.insert("expect".to_owned(), part.into());
            }
            (Meant::Certificate(span), "http" | "tcp" | "grpc") if parse_span(&span).is_ok() => {
                settings.insert("tls_expiry".to_owned(), span.into());
            }
            // What every kind measures; it must not be slower.
            (Meant::Condition(ours), "tcp" | "icmp" | "dns" | "grpc")
                if ours.starts_with("ms ") =>
            {
                fail_when.push(format!("not {ours}"));
            }
            (Meant::Nothing(why), _) => entry.leave(format!("{condition}: {why}")),
            _ => entry.leave(format!("{condition}: {kind} does not look at that")),
        }
    }
    for (name, mut values) in [("contains", contains), ("expect", answers)] {
        let value = if values.len() == 1 { values.swap_remove(0).into() } else { json!(values) };
        if value != json!([]) {
            settings.insert(name.to_owned(), value);
        }
    }
    if !expected.is_empty() {
        settings.insert("expect".to_owned(), expected.join(" and ").into());
    } else if kind == "http" {
        // Without a condition on it any status is well there.
        entry
            .words
            .push("No condition on the status: one from 400 on counts as bad here.".to_owned());
    }
}

/// How the client behaves.
fn client(kind: &str, client: &Value, settings: &mut Map<String, Value>, entry: &mut Entry) {
    for (key, value) in client.as_object().into_iter().flatten() {
        match (&**key, kind) {
            ("timeout", _) => {
                settings.insert("timeout".to_owned(), value.clone());
            }
            ("ignore-redirect", "http") => {
                settings.insert("follow".to_owned(), (value != true).into());
            }
            ("insecure", _) if value != true => {}
            ("insecure", _) => {
                entry.leave("`client.insecure`: certificates are checked; write tls: { ca: … }");
            }
            (other, _) => entry.leave(format!("`client.{other}`")),
        }
    }
}

/// Variables of the environment, `${NAME}` or `$NAME`, as the secrets of that name; `$$` is a `$`.
fn references(value: Value) -> Value {
    match value {
        Value::String(text) => reference(&text).into(),
        Value::Array(items) => items.into_iter().map(references).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, references(value))).collect()
        }
        other => other,
    }
}

fn reference(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let braced = after.strip_prefix('{').and_then(|it| it.split_once('}'));
        let braced = braced.filter(|(name, _)| !name.is_empty() && name.chars().all(is_name));
        let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
        let begins = after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        (rest, out) = if let Some(after) = after.strip_prefix('$') {
            (after, out + "$")
        } else if let Some((name, after)) = braced {
            (after, out + "${secret:" + name + "}")
        } else if begins {
            (&after[end..], out + "${secret:" + &after[..end] + "}")
        } else {
            (after, out + "$")
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use kernel::alert::definition::parse_yaml;
    use serde_json::json;

    use super::{hours, page, reference};

    #[test]
    fn an_endpoint_is_a_monitor_and_what_has_no_equivalent_is_said() {
        let config = "
alerting:
  slack: { webhook-url: '$SLACK', default-alert: { failure-threshold: 5 } }
  matrix: { access-token: x }
maintenance: { start: '23:00', duration: 2h, timezone: Europe/Oslo, every: [Saturday, Sunday] }
endpoints:
  - name: shop
    group: web
    url: https://shop.example/health
    interval: 30s
    headers: { Authorization: 'Bearer ${TOKEN}' }
    conditions: ['[STATUS] == 200', '[BODY].state == UP', '[CERTIFICATE_EXPIRATION] > 48h', '[DOMAIN_EXPIRATION] > 1h']
    client: { timeout: 5s, insecure: true }
    alerts: [{ type: slack }, { type: matrix }]
  - { name: name, url: 192.0.2.53, dns: { query-name: shop.example., query-type: A }, conditions: ['[BODY] == 192.0.2.1'] }
  - { name: host, url: 'icmp://shop.example', conditions: ['[CONNECTED] == true', '[RESPONSE_TIME] < 80'] }
  - { name: mail, url: 'starttls://mail.example:587', conditions: ['[CONNECTED] == true'] }
external-endpoints:
  - { name: backup, token: a-token-nobody-guesses, heartbeat: { interval: 1h } }
storage: { type: memory }
";
        let page = page(config).expect("it is one");
        let text = page.text();
        let file = parse_yaml(&text).expect("it is YAML").json();
        assert_eq!(
            file["monitors"]["web-shop"],
            json!({
                "http": {
                    "url": "https://shop.example/health",
                    "headers": { "Authorization": "Bearer ${secret:TOKEN}" },
                    "tls_expiry": "48h", "expect": "status == 200 and body.state == 'UP'", "timeout": "5s",
                },
                "every": "30s", "labels": { "group": "web" }, "fail_after": 5, "recover_after": 2,
                "to": ["slack"],
            }),
            "{text}"
        );
        assert_eq!(file["monitors"]["name"]["dns"]["expect"], "192.0.2.1");
        assert_eq!(file["monitors"]["host"]["fail_when"], "not ms < 80");
        assert_eq!(file["monitors"]["backup"]["heartbeat"]["every"], "1h");
        assert_eq!(
            file["receivers"],
            json!({ "slack": { "slack": { "url": "${secret:SLACK}" } } })
        );
        assert_eq!(file["maintenance"][0]["hours"], "Sat,Sun 23:00-01:00");
        for left_out in [
            "DOMAIN_EXPIRATION",
            "client.insecure",
            "alerts of matrix",
            "alerting.matrix",
            "endpoint mail",
            "`storage`",
        ] {
            let said =
                text.lines().any(|it| it.contains("# not translated") && it.contains(left_out));
            assert!(said, "{left_out} in\n{text}");
        }
        assert!(super::page("services: {}").is_err(), "another tool's file");
    }

    #[test]
    fn variables_are_secrets_and_windows_are_within_a_day() {
        let cases =
            [("a$$b", "a$b"), ("${A}x$B-", "${secret:A}x${secret:B}-"), ("5$ and $1", "5$ and $1")];
        for (theirs, ours) in cases {
            assert_eq!(reference(theirs), ours);
        }
        assert_eq!(hours("06:30", "45m", &json!([])).as_deref(), Some("06:30-07:15"));
        assert_eq!(hours("06:30", "24h", &json!([])), None);
        assert_eq!(hours("x", "1h", &json!([])), None);
    }
}
