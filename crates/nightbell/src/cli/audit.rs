//! `nightbell audit`: who changed what, who was refused, and who came in.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Subcommand;
use jiff::Timestamp;
use kernel::access::ChainCheck;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, understand};
use super::failure::{Exit, Failure};
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
    /// later export shows any change of an earlier line. Each hour the server signs the newest hash with
    /// its key.
    #[command(after_help = "\
Examples:
  nightbell audit export --verify > audit.jsonl
  nightbell audit export --after 12000")]
    Export {
        /// Check hashes and signatures: that no line was changed or removed; exits with 1 if one was
        #[arg(long)]
        verify: bool,
        /// Only lines after the one of this number
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        after: u64,
    },
}

/// What the ledger calls a signature.
const SIGN: &str = "sign";
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
    signature: String,
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
    let mut signatures = if verify { Some(Signatures::of(client).await?) } else { None };
    loop {
        let answer = client.get(&["audit"]).query("after", next).send().await?.value()?;
        let lines: Vec<Line> = understand("audit ledger", &answer)?;
        let Some(last) = lines.last() else { break };
        next = last.number;
        for (line, value) in lines.iter().zip(answer.as_array().into_iter().flatten()) {
            output.line(value)?;
            count += 1;
            let Some(signatures) = &mut signatures else { continue };
            let taken = check.take(line.number, &line.before, &line.text, &line.hash);
            if let Err(why) = taken.and_then(|()| signatures.take(line)) {
                let failure = Failure::error(format!("the audit ledger is broken: {why}"));
                return Err(failure.with_hint("compare it with an earlier export").into());
            }
        }
    }
    match (check.last(), signatures) {
        (Some((number, hash)), Some(Signatures { count: signed, .. })) => {
            output.note(format_args!(
                "{count} lines, unbroken, {signed} signatures; the hash of line {number} is {hash}"
            ));
        }
        _ => output.note(format_args!("{count} lines")),
    }
    Ok(())
}

/// The signatures among the lines.
struct Signatures {
    /// The public half of the server's key; `None` of an older server, which signs nothing.
    key: Option<UnparsedPublicKey<Vec<u8>>>,
    /// The numbers and the hashes of the lines before, the newest last.
    before: VecDeque<(u64, String)>,
    count: u64,
}

/// Lines that may be written between one and its signature.
const BETWEEN: usize = 100;

/// Bytes of a public key of Ed25519, at the end of what its PEM holds.
const KEY: usize = 32;

impl Signatures {
    async fn of(client: &Client) -> anyhow::Result<Self> {
        let answer = match client.get(&["audit", "key"]).send().await {
            Err(failure) if failure.exit == Exit::NotFound => {
                return Ok(Self { key: None, before: VecDeque::new(), count: 0 });
            }
            answer => answer?.value()?,
        };
        let pem = answer["publicKey"].as_str().unwrap_or_default();
        let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
        let Some((_, key)) = bytes.len().checked_sub(KEY).map(|at| bytes.split_at(at)) else {
            return Err(Failure::error("the server's key for the ledger cannot be read").into());
        };
        let key = Some(UnparsedPublicKey::new(&ED25519, key.to_vec()));
        Ok(Self { key, before: VecDeque::new(), count: 0 })
    }

    /// Takes the next line. What a signature is about is compared with the line itself, if that is among
    /// those that were taken.
    fn take(&mut self, line: &Line) -> Result<(), String> {
        let said: Said = serde_json::from_str(&line.text)
            .map_err(|error| format!("line {}: {error}", line.number))?;
        let signed = said.object.split_once(' ').filter(|_| said.act == SIGN);
        if let Some((number, hash)) = signed {
            let signature = BASE64_STANDARD.decode(&said.signature).unwrap_or_default();
            let is_good =
                |key: &UnparsedPublicKey<_>| key.verify(said.object.as_bytes(), &signature).is_ok();
            if !self.key.as_ref().is_some_and(is_good) {
                return Err(format!("the signature in line {} is not this server's", line.number));
            }
            let found = self.before.iter().find(|(before, _)| before.to_string() == number);
            if found.is_some_and(|(_, found)| found != hash) {
                return Err(format!(
                    "line {} signs another line {number} than there is",
                    line.number
                ));
            }
            self.count += 1;
        }
        self.before.push_back((line.number, line.hash.clone()));
        if self.before.len() > BETWEEN {
            self.before.pop_front();
        }
        Ok(())
    }
}
