//! `nightbell incident`: what is wrong, why, and what people do about it.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::moment::Moment;
use super::monitor::time;
use super::output::{Output, clean};
use super::report;
use super::table::{Cell, Table};

/// What to do with incidents.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List incidents, newest first
    List {
        /// Only those in these states, separated by commas: open, acknowledged, snoozed, resolved,
        /// or all [default: all but resolved]
        #[arg(long)]
        state: Option<String>,
        /// Only incidents of this monitor
        #[arg(long)]
        monitor: Option<String>,
        /// Only those of these severities, separated by commas: info, warning, error, critical
        #[arg(long)]
        severity: Option<String>,
        /// Only those with all of these labels, separated by commas: team=data
        #[arg(long)]
        label: Option<String>,
        /// Only those of which one of these receivers was notified, separated by commas
        #[arg(long)]
        receiver: Option<String>,
        /// Only those with all of these words in monitor, key, text or labels
        #[arg(long)]
        text: Option<String>,
        /// Only those that are silenced (true), or only others (false)
        #[arg(long, value_name = "BOOL")]
        silenced: Option<bool>,
        /// How many to list at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5000))]
        limit: u32,
    },
    /// Print an incident as JSON
    Show {
        /// Id of the incident
        id: String,
    },
    /// Explain an incident: the check, step, row and rule behind it, what changed, and who was
    /// notified
    Explain {
        /// Id of the incident, or the dedup key under which a provider knows it
        id: String,
    },
    /// Write a report of an incident: the timeline and response times, with headings to fill in
    #[command(after_help = "\
Examples:
  nightbell incident report ID > 2026-11-03-shop.md
  nightbell incident report ID -o html > report.html

Times are those of UTC. -o md (also without -o), html or json.")]
    Report {
        /// Id of the incident, open or resolved
        id: String,
    },
    /// Acknowledge incidents: reminders and escalation stop
    Acknowledge {
        /// Who and why
        #[command(flatten)]
        deed: IncidentAction,
        /// Stay acknowledged even if it gets worse
        #[arg(long)]
        until_clear: bool,
    },
    /// Unacknowledge incidents: they are escalated again
    Unacknowledge {
        /// Who and why
        #[command(flatten)]
        deed: IncidentAction,
    },
    /// Snooze incidents: no notifications for a while
    Snooze {
        /// Who and why
        #[command(flatten)]
        deed: IncidentAction,
        /// For so long, such as 2h
        #[arg(long = "for", value_name = "SPAN")]
        length: String,
    },
    /// Escalate incidents: notify the next step of their routes now, whatever its delay
    Escalate {
        /// Who and why
        #[command(flatten)]
        deed: IncidentAction,
    },
    /// Add a note to the history of an incident, open or resolved
    Note {
        /// Id of the incident
        id: String,
        /// What others should know; at most 2000 bytes
        text: String,
        /// Who does this [default: you]
        #[arg(long, env = "USER")]
        who: Option<String>,
    },
    /// Resend the dead deliveries of incidents, once their receivers have been repaired
    Resend {
        /// Who and why
        #[command(flatten)]
        deed: IncidentAction,
    },
    /// Judge an incident, afterwards, as real or noise; backtests count by it
    Judge {
        /// Who and why
        #[command(flatten)]
        deed: IncidentAction,
        /// The notification was justified
        #[arg(long, required_unless_present = "noise", conflicts_with = "noise")]
        real: bool,
        /// The notification was not needed
        #[arg(long)]
        noise: bool,
    },
    /// Record an outage for which there was no incident; backtests count by it
    Missed {
        /// Name of the monitor
        monitor: String,
        /// The key that was bad; "" for the monitor itself
        key: String,
        /// Since when: a time, or how long ago
        #[arg(long, value_name = "TIME")]
        from: String,
        /// Until when
        #[arg(long, value_name = "TIME")]
        to: String,
        /// Who does this [default: you]
        #[arg(long, env = "USER")]
        who: Option<String>,
        /// Why, for people
        #[arg(long)]
        why: Option<String>,
    },
    /// Resolve incidents
    Resolve {
        /// Who and why
        #[command(flatten)]
        deed: IncidentAction,
    },
}

/// Who does something to which incidents, and why.
#[derive(Debug, Args)]
pub(crate) struct IncidentAction {
    /// Ids of incidents
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Who does this [default: you]
    #[arg(long, env = "USER")]
    who: Option<String>,
    /// Why, for people
    #[arg(long)]
    why: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Listed {
    id: String,
    monitor: String,
    key: String,
    state: String,
    severity: String,
    text: Option<String>,
    since: Value,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { state, monitor, severity, label, receiver, text, silenced, limit } => {
            let call = client.get(&["incidents"]).query_if("state", state);
            let call = call.query_if("monitor", monitor).query_if("severity", severity);
            let call = call.query_if("label", label).query_if("receiver", receiver);
            let call = call.query_if("text", text).query_if("silenced", silenced);
            let page = call.query("size", limit).send().await?;
            list(&page.value()?, output)
        }
        Verb::Show { id } => output.json(&client.get(&["incidents", &id]).send().await?.value()?),
        Verb::Explain { id } => {
            let why = client.get(&["incidents", &id, "explain"]).send().await?.value()?;
            if output.is_json() { output.json(&why) } else { explain(&why, output) }
        }
        Verb::Report { id } => report::of_incident(&id, client, output).await,
        Verb::Acknowledge { deed, until_clear } => {
            act("acknowledge", deed, &json!({ "untilClear": until_clear }), client, output).await
        }
        Verb::Unacknowledge { deed } => {
            act("unacknowledge", deed, &json!({}), client, output).await
        }
        Verb::Snooze { deed, length } => {
            act("snooze", deed, &json!({ "for": length }), client, output).await
        }
        Verb::Escalate { deed } => act("escalate", deed, &json!({}), client, output).await,
        Verb::Note { id, text, who } => {
            let call = client.post(&["incidents", &id, "note"]);
            let shown = call.json(&json!({ "text": text, "who": who })).send().await?.value()?;
            output.note(format_args!("the note is in the history of incident {id}"));
            if output.is_json() { output.json(&shown) } else { Ok(()) }
        }
        Verb::Resend { deed } => act("resend", deed, &json!({}), client, output).await,
        Verb::Judge { deed, real, .. } => {
            let verdict = if real { "real" } else { "noise" };
            for id in &deed.ids {
                let body = json!({ "verdict": verdict, "who": deed.who, "why": deed.why });
                let call = client.post(&["incidents", id, "judge"]).json(&body);
                let judged = call.send().await?.value()?;
                output.note(format_args!("incident {id} is judged {verdict}"));
                if output.is_json() {
                    output.json(&judged)?;
                }
            }
            Ok(())
        }
        Verb::Missed { monitor, key, from, to, who, why } => {
            let now = Timestamp::now();
            let at = |option, text: &str| time(option, text, now).map(|millis| millis.to_string());
            let (from, to) = (at("--from", &from)?, at("--to", &to)?);
            let body = json!({ "key": key, "from": from, "to": to, "who": who, "why": why });
            let call = client.post(&["monitors", &monitor, "missed"]).json(&body);
            let judged = call.send().await?.value()?;
            output.note(format_args!("{monitor}: an incident was missed"));
            if output.is_json() {
                output.json(&judged)?;
            }
            Ok(())
        }
        Verb::Resolve { deed } => act("resolve", deed, &json!({}), client, output).await,
    }
}

async fn act(
    verb: &str,
    deed: IncidentAction,
    more: &Value,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    for id in &deed.ids {
        let mut body = more.clone();
        body["who"] = json!(deed.who);
        body["why"] = json!(deed.why);
        let call = client.post(&["incidents", id, verb]).json(&body);
        let incident = call.send().await?.value()?;
        let state = incident["state"].as_str().unwrap_or_default();
        output.note(format_args!("incident {id} is {state}"));
        if output.is_json() {
            output.json(&incident)?;
        }
    }
    Ok(())
}

fn list(page: &Value, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(&page["results"]);
    }
    let incidents: Vec<Listed> = understand("incidents", &page["results"])?;
    let now = Timestamp::now();
    let mut table = Table::new(&["ID", "MONITOR", "KEY", "STATE", "SEVERITY", "SINCE", "~TEXT"]);
    for incident in &incidents {
        table.row([
            incident.id.as_str().into(),
            incident.monitor.as_str().into(),
            clean(&incident.key).into(),
            Cell::status(&incident.state),
            incident.severity.as_str().into(),
            Moment::of(&incident.since).relative(now).into(),
            clean(incident.text.as_deref().unwrap_or_default()).into(),
        ]);
    }
    output.table(&table)?;
    if incidents.is_empty() {
        output.note("no incidents");
    }
    Ok(())
}

/// An explanation as lines of text.
fn explain(why: &Value, output: &Output) -> anyhow::Result<()> {
    let text = |value: &Value| match value {
        Value::String(text) => clean(text),
        Value::Null => "-".to_owned(),
        other => clean(&other.to_string()),
    };
    let (incident, cause) = (&why["incident"], &why["cause"]);
    output.line(format_args!("monitor    {}", text(&why["monitor"])))?;
    output.line(format_args!("defined    {}", text(&why["origin"])))?;
    output.line(format_args!("state      {}", text(&incident["state"])))?;
    output.line(format_args!("text       {}", text(&incident["text"])))?;
    for (title, member) in [("failed", "failed"), ("body", "body")] {
        if !why["row"][member].is_null() {
            output.line(format_args!("{title:<10} {}", text(&why["row"][member])))?;
        }
    }
    output.line(format_args!("rule       {}", text(&why["rule"])))?;
    output.line(format_args!("check      {}", text(&cause["execution"])))?;
    output.line(format_args!("step       {}", text(&cause["step"])))?;
    if !cause["traceUrl"].is_null() {
        output.line(format_args!("trace      {}", text(&cause["traceUrl"])))?;
    }
    output.line(format_args!("definition {}", text(&cause["version"])))?;
    output.line(format_args!("row        {}", text(&why["row"])))?;
    if let Some(verdict) = why["judged"]["verdict"].as_str() {
        let by = text(&why["judged"]["who"]);
        output.line(format_args!("judged     {} by {by}", clean(verdict)))?;
    }
    for (title, member) in [("changed", "changed"), ("waits for", "waitsFor")] {
        for line in why[member].as_array().into_iter().flatten() {
            output.line(format_args!("{title:<10} {}", text(line)))?;
        }
    }
    for entry in why["history"].as_array().into_iter().flatten() {
        let at = Moment::of(&entry["at"]).rfc3339().unwrap_or_default();
        let by = entry["who"].as_str().map_or_else(String::new, |who| format!(" by {who}"));
        let reason = entry["why"].as_str().map_or_else(String::new, |why| format!(": {why}"));
        let what = text(&entry["what"]);
        output.line(format_args!("{at} {what}{}{}", clean(&by), clean(&reason)))?;
    }
    for delivery in why["deliveries"].as_array().into_iter().flatten() {
        let at = Moment::of(&delivery["at"]).rfc3339().unwrap_or_default();
        output.line(format_args!(
            "{at} {} to {}: {} {}",
            text(&delivery["event"]),
            text(&delivery["receiver"]),
            text(&delivery["status"]),
            delivery["reason"].as_str().map_or_else(String::new, clean),
        ))?;
    }
    Ok(())
}
