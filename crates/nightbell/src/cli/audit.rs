//! `nightbell audit`: who changed what, who was refused, and who came in.

use clap::Subcommand;
use jiff::Timestamp;
use kernel::access::ChainCheck;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, understand};
use super::failure::Failure;
use super::moment::Moment;
use super::output::Output;
use super::table::Table;

/// What to do with the audit ledger.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the newest lines
    #[command(after_help = "\
Examples:
  nightbell audit list --object etl-orders
  nightbell audit list --from 2026-01-31T00:00:00Z --to 2026-02-01T00:00:00Z")]
    List {
        /// How many, at most 500
        #[arg(long, default_value_t = 100, value_name = "COUNT")]
        size: u64,
        /// Only lines whose action or object contains this, and their outcomes
        #[arg(long, value_name = "TEXT")]
        object: Option<String>,
        /// Only lines of this time and later
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Only earlier lines
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
    },
    /// Print all lines that are kept, oldest first, one JSON object each
    ///
    /// Each line has a hash over itself and the line before: if you keep the last hash elsewhere, a
    /// later export shows any change of an earlier line.
    #[command(after_help = "\
Examples:
  nightbell audit export --verify > audit.jsonl
  nightbell audit export --after 12000")]
    Export {
        /// Check that no line was changed or removed; exits with 1 if one was
        #[arg(long)]
        verify: bool,
        /// Only lines after the one of this number
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        after: u64,
    },
}

/// Lines of one page.
const SIZE_MAX: u64 = 500;

/// A line as the server keeps it.
#[derive(Debug, Deserialize)]
struct Line {
    number: u64,
    before: String,
    #[serde(rename = "line")]
    text: String,
    hash: String,
}

/// What a line says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Said {
    at: Moment,
    who: String,
    name: String,
    address: String,
    act: String,
    object: String,
    outcome: String,
    why: String,
    status: Option<u16>,
    of: Option<u64>,
    count: Option<u64>,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { size, object, from, to } => {
            let wanted = [("object", object), ("from", from), ("to", to)];
            list(size, wanted, client, output).await
        }
        Verb::Export { verify, after } => export(verify, after, client, output).await,
    }
}

async fn list(
    size: u64,
    wanted: [(&str, Option<String>); 3],
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let (mut found, mut before) = (Vec::<Value>::new(), None::<String>);
    // The server looks at so many lines in one go, and says from where to go on.
    while (found.len() as u64) < size.min(SIZE_MAX) {
        let mut request = client.get(&["audit"]).query("size", size - found.len() as u64);
        for (name, value) in &wanted {
            request = request.query_if(name, value.as_ref());
        }
        let answer = request.query_if("before", before.as_ref()).send().await?;
        let more: Vec<Value> = understand("audit ledger", &answer.value()?)?;
        found.extend(more);
        before = answer.header("x-next-before").map(str::to_owned);
        if before.is_none() {
            break;
        }
    }
    let found = Value::Array(found);
    if output.is_json() {
        return output.json(&found);
    }
    let lines: Vec<Line> = understand("audit ledger", &found)?;
    let now = Timestamp::now();
    let mut table =
        Table::new(&["NUMBER", "WHEN", "WHO", "ADDRESS", "~ACT", "~OBJECT", "OUTCOME", "~WHY"]);
    for line in &lines {
        let said: Said = serde_json::from_str(&line.text).map_err(|error| {
            Failure::error(format!("line {} of the audit ledger: {error}", line.number))
        })?;
        let outcome = match (said.status, said.count) {
            (_, Some(count)) => format!("{}, {count} more", said.outcome),
            (Some(status), None) => format!("{} ({status})", said.outcome),
            (None, None) => said.outcome,
        };
        let act = said.of.map_or(said.act, |of| format!("outcome of {of}"));
        let who = if said.name.is_empty() { said.who } else { said.name };
        table.row([
            line.number.into(),
            said.at.relative(now).into(),
            who.into(),
            said.address.into(),
            act.into(),
            said.object.into(),
            outcome.into(),
            said.why.into(),
        ]);
    }
    output.table(&table)?;
    if lines.is_empty() {
        output.note("the audit ledger has no such line");
    }
    Ok(())
}

async fn export(verify: bool, after: u64, client: &Client, output: &Output) -> anyhow::Result<()> {
    let (mut next, mut count, mut check) = (after, 0_u64, ChainCheck::default());
    loop {
        let answer = client.get(&["audit"]).query("after", next).send().await?.value()?;
        let lines: Vec<Line> = understand("audit ledger", &answer)?;
        let Some(last) = lines.last() else { break };
        next = last.number;
        for (line, value) in lines.iter().zip(answer.as_array().into_iter().flatten()) {
            output.line(value)?;
            count += 1;
            if verify
                && let Err(why) = check.take(line.number, &line.before, &line.text, &line.hash)
            {
                let failure = Failure::error(format!("the audit ledger is broken: {why}"));
                return Err(failure.with_hint("compare it with an earlier export").into());
            }
        }
    }
    match check.last() {
        Some((number, hash)) if verify => {
            output
                .note(format_args!("{count} lines, unbroken; the hash of line {number} is {hash}"));
        }
        _ => output.note(format_args!("{count} lines")),
    }
    Ok(())
}
