//! `nightbell inbound`: where other systems send their alerts, and what to write into their
//! configuration.
//!
//! An inbound is a monitor of the kind `alerts`; its key is a secret of the server, which this command
//! makes, so that it is shown once and kept nowhere else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use engine::vault::Key;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::confirm;
use super::failure::{Exit, Failure};
use super::output::{Output, clean};
use super::table::{Cell, Table};

/// What to do with inbounds.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a monitor that receives alerts, with a key; prints the key, this once only
    #[command(after_help = "\
Examples:
  nightbell inbound create prometheus --ignore replica
  nightbell inbound create grafana --allow read --allow silence
  nightbell inbound create pager -o json

It also prints what to write into the configuration of Prometheus, Alertmanager, Grafana and clients of
PagerDuty. Without --allow the key permits sending alerts only.")]
    Create(Create),
    /// List the monitors that receive alerts
    List,
    /// Show how others send alerts to a monitor; its key is not shown
    Show {
        /// Name of the monitor
        name: String,
    },
    /// Replace the key of a monitor; alerts sent with the former key are refused from then on
    Rotate {
        /// Name of the monitor
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Revoke the keys of monitors; no alerts can be sent to them until `rotate` creates others
    Revoke {
        /// Names of monitors
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Name of the monitor
    name: String,
    /// Labels that do not tell alerts apart, such as that of the replica that sends them
    #[arg(long, value_name = "LABEL")]
    ignore: Vec<String>,
    /// Further permissions of the key: read or silence
    #[arg(long, value_name = "WHAT")]
    allow: Vec<String>,
    /// Name of the secret that holds the key [default: inbound-NAME]
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
}

/// A monitor in the server's list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Listed {
    name: String,
    kind: String,
    status: String,
    key: String,
    source: Option<String>,
    open_incidents: Vec<Value>,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Create(wanted) => create(&wanted, client, output).await,
        Verb::List => list(client, output).await,
        Verb::Show { name } => {
            secrets_of(&name, client).await?;
            tell(&name, None, client, output)
        }
        Verb::Rotate { name, yes } => {
            let secrets = secrets_of(&name, client).await?;
            let Some(secret) = secrets.first() else { return Err(written_out(&name).into()) };
            confirm("replace the key of", &[format!("monitor {name}")], yes)?;
            let key = new_key();
            client.put(&["secrets", secret]).json(&json!(key)).send().await?;
            tell(&name, Some(&key), client, output)
        }
        Verb::Revoke { names, yes } => revoke(&names, yes, client, output).await,
    }
}

/// 256 random bits, in letters that a path takes as they are.
fn new_key() -> String {
    format!("nbi_{}", URL_SAFE_NO_PAD.encode(Key::random()))
}

async fn create(wanted: &Create, client: &Client, output: &Output) -> anyhow::Result<()> {
    let name = &wanted.name;
    match client.get(&["monitors", name]).send().await {
        Err(failure) if failure.exit == Exit::NotFound => {}
        Err(failure) => return Err(failure.into()),
        Ok(_) => {
            return Err(Failure::new(Exit::Conflict, format!("there is a monitor {name} already"))
                .with_hint("`nightbell inbound rotate` gives it another key")
                .into());
        }
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let secret = wanted.secret.clone().unwrap_or_else(|| {
        let name: String = name.chars().map(|c| if fits(c) { c } else { '-' }).collect();
        format!("inbound-{name}")
    });
    if client.get(&["secrets", &secret, "exists"]).send().await?.value()? == Value::Bool(true) {
        let message = format!("there is a secret {secret} already");
        return Err(Failure::new(Exit::Conflict, message)
            .with_hint("name another with --secret, or delete it first")
            .into());
    }
    let mut settings = json!({ "key": format!("${{secret:{secret}}}") });
    for (setting, values) in [("ignore", &wanted.ignore), ("allow", &wanted.allow)] {
        if !values.is_empty() {
            settings[setting] = json!(values);
        }
    }
    let file = json!({ "monitors": { name: { "alerts": settings } } }).to_string();
    // Nothing is made if the monitor would be refused.
    client.post(&["monitors"]).query("dryRun", true).text(file.clone()).send().await?;
    let key = new_key();
    client.put(&["secrets", &secret]).json(&json!(key)).send().await?;
    if let Err(failure) = client.post(&["monitors"]).text(file).send().await {
        client.delete(&["secrets", &secret]).send().await?;
        return Err(failure.into());
    }
    output.note(format_args!("made the monitor {name}; its key is the secret {secret}"));
    tell(name, Some(&key), client, output)
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<()> {
    let page = client.get(&["monitors"]).query("size", 5000).send().await?.value()?;
    let is_inbound = |it: &&Value| it["kind"] == "alerts";
    let mut found: Vec<Value> =
        page["results"].as_array().into_iter().flatten().filter(is_inbound).cloned().collect();
    for monitor in &mut found {
        let name = monitor["name"].as_str().unwrap_or_default();
        monitor["key"] = key_state(name, client).await.into();
    }
    let found = Value::from(found);
    if output.is_json() {
        return output.json(&found);
    }
    let monitors: Vec<Listed> = understand("monitors", &found)?;
    let mut table = Table::new(&["NAME", "STATUS", "FIRING", "KEY", "~DEFINED IN"]);
    for monitor in &monitors {
        table.row([
            monitor.name.as_str().into(),
            Cell::status(&monitor.status),
            monitor.open_incidents.len().to_string().into(),
            clean(&monitor.key).into(),
            clean(monitor.source.as_deref().unwrap_or_default()).into(),
        ]);
    }
    output.table(&table)?;
    if monitors.is_empty() {
        output.note("nothing receives alerts; make something with `nightbell inbound create NAME`");
    }
    Ok(())
}

/// Whether anything can be sent to a monitor: without its secret nothing can. `-` for who may not know
/// names of secrets.
async fn key_state(name: &str, client: &Client) -> String {
    let state = async {
        let secrets = secrets_of(name, client).await?;
        if secrets.is_empty() {
            return Ok("in its definition".to_owned());
        }
        for secret in &secrets {
            let there = client.get(&["secrets", secret, "exists"]).send().await?.value()?;
            if there == Value::Bool(true) {
                return Ok("set".to_owned());
            }
        }
        Ok::<_, Failure>(format!("no secret {}", secrets.join(", ")))
    };
    state.await.unwrap_or_else(|_| "-".to_owned())
}

async fn revoke(
    names: &[String],
    yes: bool,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let labels: Vec<String> = names.iter().map(|name| format!("the key of {name}")).collect();
    confirm("revoke", &labels, yes)?;
    for name in names {
        let secrets = secrets_of(name, client).await?;
        if secrets.is_empty() {
            return Err(written_out(name).into());
        }
        for secret in secrets {
            client.delete(&["secrets", &secret]).send().await?;
        }
        output.note(format_args!("revoked the key of {name}"));
    }
    if output.is_json() { output.json(&names) } else { Ok(()) }
}

/// The secrets that hold the keys of a monitor.
async fn secrets_of(name: &str, client: &Client) -> Result<Vec<String>, Failure> {
    let shown = client.get(&["monitors", name]).send().await?.value()?;
    if shown["kind"] != "alerts" {
        let message = format!("the monitor {name} does not receive alerts");
        return Err(Failure::new(Exit::Conflict, message)
            .with_hint("`nightbell inbound list` names those that do"));
    }
    let key = &shown["definition"]["settings"]["key"];
    let several = key.as_array().map_or(&[][..], Vec::as_slice);
    let texts = several.iter().chain(key.is_string().then_some(key)).filter_map(Value::as_str);
    let named = texts.filter_map(|text| text.strip_prefix("${secret:")?.strip_suffix('}'));
    Ok(named.map(str::to_owned).collect())
}

fn written_out(name: &str) -> Failure {
    let message = format!("the key of {name} is written out where the monitor is defined");
    Failure::new(Exit::Conflict, message)
        .with_hint("write key: \"${secret:NAME}\" there, and run this again")
}

/// Prints how to send alerts to a monitor: the key alone where a program reads it, the rest for people.
fn tell(name: &str, key: Option<&str>, client: &Client, output: &Output) -> anyhow::Result<()> {
    let shown = key.unwrap_or("KEY");
    let origin = client.origin();
    let base = format!("{origin}/inbound/{shown}");
    if output.is_json() {
        return output.json(&json!({
            "monitor": name,
            "key": key,
            "alertmanager": base,
            "webhook": format!("{base}/webhook"),
            "pagerDuty": format!("{base}/v2/enqueue"),
            "pagerDutyV1": format!("{base}/generic/2010-04-15/create_event.json"),
            "onCall": format!("{base}/oncall"),
            "json": format!("{base}/json"),
        }));
    }
    let (scheme, target) = origin.split_once("://").unwrap_or(("http", &*origin));
    let text = format!(
        "\
Prometheus, in prometheus.yml:

alerting:
  alertmanagers:
    - scheme: {scheme}
      path_prefix: /inbound/{shown}
      static_configs:
        - targets: [\"{target}\"]

Alertmanager, beside its other receivers:

receivers:
  - name: nightbell
    webhook_configs:
      - url: {base}/webhook
        send_resolved: true

Grafana, as a notifier of the kind Webhook:
  {base}/webhook

Clients of PagerDuty, in the place of https://events.pagerduty.com:
  {base}/v2/enqueue
  {base}/generic/2010-04-15/create_event.json

Senders to Grafana OnCall, and any JSON (with `map`):
  {base}/oncall
  {base}/json

amtool, karma and others that read or silence need `allow` in the monitor:
  amtool --alertmanager.url={base} alert query
"
    );
    if key.is_some() {
        output.note("the key is shown this once; whoever has it can send alerts");
        output.note("");
        for line in text.lines() {
            output.note(line);
        }
        return output.line(shown);
    }
    text.lines().try_for_each(|line| output.line(line))
}
