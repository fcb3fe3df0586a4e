//! From Healthchecks: the checks that its API lists.

use std::collections::BTreeSet;

use clap::Args;
use kernel::alert::definition::is_slug;
use serde_json::{Value, json};

use super::page::{Entry, Page};
use super::{To, finish, plain, span, text, unreadable, web};
use crate::cli::failure::Failure;
use crate::cli::input;
use crate::cli::output::Output;

/// Letters of a key, below which a call by it is refused here.
const KEY_MIN: usize = 20;

/// Where the list of checks is.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The answer of /api/v3/checks/ (v1 and v2 do as well), - for standard input
    #[arg(value_name = "FILE", required_unless_present = "from", conflicts_with = "from")]
    file: Option<String>,
    /// Ask this server of Healthchecks
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// The API key of the project; the read-only one hides the addresses that jobs call
    #[arg(long, value_name = "KEY", env = "HEALTHCHECKS_API_KEY", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    to: To,
}

/// Runs the command.
pub(super) async fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<()> {
    let (origin, list) = match (&arguments.file, &arguments.from) {
        (Some(file), _) => (file.clone(), input::read(file)?),
        (None, Some(from)) => (from.clone(), asked(from, arguments.token.as_deref()).await?),
        (None, None) => return Err(Failure::usage("name a file, or a server with --from").into()),
    };
    let list: Value = serde_json::from_str(&list)
        .map_err(|error| unreadable(&origin, format!("this is not JSON: {error}")))?;
    let page = page(&list).map_err(|why| unreadable(&origin, why))?;
    finish(page, &arguments.to, output).await
}

/// What the server answers.
async fn asked(from: &str, token: Option<&str>) -> Result<String, Failure> {
    let Some(token) = token else {
        return Err(Failure::usage("--from needs the API key of the project")
            .with_hint("set HEALTHCHECKS_API_KEY, or add --token"));
    };
    let base = from.trim_end_matches('/');
    let url =
        if base.contains("/api/") { format!("{base}/") } else { format!("{base}/api/v3/checks/") };
    let answer = web::Client::new(&[("x-api-key", token)])?.get(&url).await?;
    if !answer.status.is_success() {
        let hint = "is it the address of Healthchecks, and the API key of the project?";
        return Err(Failure::error(format!("{url} answers {}", answer.status)).with_hint(hint));
    }
    Ok(answer.body)
}

/// Makes a file of monitors of a list of checks.
///
/// # Errors
/// It is none.
pub(super) fn page(list: &Value) -> Result<Page, String> {
    let checks = list.get("checks").unwrap_or(list).as_array();
    let checks = checks.ok_or("there are no `checks`: is this the answer of /api/v3/checks/?")?;
    let mut page = Page::default();
    page.words
        .push("Made of checks of Healthchecks by `nightbell import healthchecks`.".to_owned());
    let (mut slugs, mut has_channels) = (BTreeSet::new(), false);
    for check in checks {
        has_channels |= text(check, "channels").is_some();
        let shown = text(check, "name").or_else(|| text(check, "slug"));
        let shown = shown.unwrap_or_else(|| "unnamed".to_owned());
        match monitor(check, &mut slugs) {
            Ok(mut entry) => {
                entry.name = page.name(&shown);
                page.monitors.push(entry);
            }
            Err(why) => page.leave(format!("the check {shown}"), why),
        }
    }
    if !slugs.is_empty() {
        let mut entry = Entry::new("healthchecks");
        entry
            .words
            .push("The ping key of the project, from its settings; the list has none.".to_owned());
        entry.set("key", "${secret:PING_KEY}");
        page.ping_keys.push(entry);
    }
    if has_channels {
        page.leave("integrations", "the list has only their ids: write receivers and routes");
    }
    Ok(page)
}

fn monitor(check: &Value, slugs: &mut BTreeSet<String>) -> Result<Entry, &'static str> {
    if check["status"] == "paused" {
        return Err("it is paused");
    }
    let mut entry = Entry::default();
    let mut heartbeat = json!({});
    match (text(check, "schedule"), check["timeout"].as_i64()) {
        (Some(schedule), _)
            if schedule.split_whitespace().count() != 5 || schedule.contains(':') =>
        {
            return Err("its schedule is an expression of systemd (OnCalendar)");
        }
        (Some(schedule), _) => {
            heartbeat["cron"] = schedule.into();
            entry.set("tz", text(check, "tz").unwrap_or_else(|| "UTC".to_owned()));
        }
        (None, Some(seconds)) => heartbeat["every"] = span(seconds).into(),
        (None, None) => return Err("it has neither timeout nor schedule"),
    }
    if let Some(grace) = check["grace"].as_i64() {
        heartbeat["grace"] = span(grace).into();
        // The same bounds how long a run may take that has begun.
        heartbeat["max_run"] = span(grace).into();
    }
    let key = text(check, "ping_url");
    let key = key.as_deref().and_then(|url| url.rsplit('/').find(|part| !part.is_empty()));
    match key.filter(|key| key.len() >= KEY_MIN && is_slug(key)) {
        Some(key) => heartbeat["key"] = key.into(),
        None => entry.leave("its address: the API key is read-only; write `key`"),
    }
    if let Some(slug) = text(check, "slug").filter(|slug| is_slug(slug)) {
        if slugs.insert(slug.clone()) {
            heartbeat["slug"] = slug.into();
        } else {
            entry.leave(format!("the slug {slug}, which another check has as well"));
        }
    }
    let mut keys = entry.keys.clone();
    entry.keys.clear();
    entry.set("heartbeat", heartbeat);
    entry.keys.append(&mut keys);
    if let Some(tags) = text(check, "tags") {
        entry.set("labels", json!({ "tags": plain(&tags) }));
    }
    if let Some(words) = text(check, "desc") {
        entry.set("description", plain(&words));
    }
    if check["methods"] == "POST" {
        entry.leave("that it takes POST alone");
    }
    if check["manual_resume"] == true {
        entry.leave("`manual_resume`: there is no pause");
    }
    if check["filter_subject"] == true || check["filter_body"] == true {
        entry.leave(
            "keywords in mails: jobs call by HTTP here, or an `email` monitor reads a mailbox",
        );
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use kernel::alert::definition::parse_yaml;
    use serde_json::json;

    use super::page;

    #[test]
    fn a_check_is_a_heartbeat_that_is_called_as_before() {
        let key = "00000000-0000-4000-8000-000000000001";
        let list = json!({ "checks": [
            { "name": "Nightly copy", "slug": "nightly-copy", "tags": "copy db", "desc": "all of it",
              "grace": 1800, "schedule": "10 2 * * *", "tz": "Europe/Oslo", "channels": "a,b",
              "ping_url": format!("https://hc.example/ping/{key}"), "filter_body": true, "methods": "POST" },
            { "name": "Old", "slug": "nightly-copy", "timeout": 3600, "grace": 90, "unique_key": "x" },
            { "name": "Asleep", "timeout": 60, "status": "paused" },
            { "name": "Calendar", "schedule": "*-*-1 12:00", "tz": "UTC" },
        ] });
        let text = page(&list).expect("it is one").text();
        let file = parse_yaml(&text).expect("it is YAML").json();
        assert_eq!(
            file["monitors"],
            json!({
                "Nightly copy": {
                    "heartbeat": {
                        "cron": "10 2 * * *", "grace": "30m", "max_run": "30m", "key": key,
                        "slug": "nightly-copy",
                    },
                    "tz": "Europe/Oslo", "labels": { "tags": "copy db" }, "description": "all of it",
                },
                "Old": { "heartbeat": { "every": "1h", "grace": "90s", "max_run": "90s" } },
            }),
            "{text}"
        );
        assert_eq!(file["ping_keys"]["healthchecks"]["key"], "${secret:PING_KEY}");
        for left_out in [
            "Asleep",
            "Calendar",
            "POST",
            "mails",
            "slug nightly-copy",
            "read-only",
            "integrations",
        ] {
            let said =
                text.lines().any(|it| it.contains("# not translated") && it.contains(left_out));
            assert!(said, "{left_out} in\n{text}");
        }
        assert!(page(&json!({ "error": "wrong api key" })).is_err());
    }
}
