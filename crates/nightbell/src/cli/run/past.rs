//! `nightbell run history`: the commits of a run.

use jiff::Timestamp;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::moment::Moment;
use crate::cli::output::{Output, clean};
use crate::cli::table::Table;

/// Lists commits.
pub(super) async fn history(
    id: &str,
    from: Option<u64>,
    size: u32,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let call = client.get(&["workflow", id, "history"]).query("size", size);
    let answer = call.query_if("from", from).send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let mut table = Table::new(&["COMMIT", "MADE", "AT", "~FACTS"]);
    for commit in answer["commits"].as_array().into_iter().flatten() {
        let facts = commit["facts"].as_array().into_iter().flatten();
        let facts: Vec<String> = facts.map(fact).collect();
        let at = Moment::of(&commit["at"]);
        table.row([
            commit["version"].to_string().into(),
            at.relative(Timestamp::now()).into(),
            at.rfc3339().unwrap_or_default().into(),
            clean(&facts.join(", ")).into(),
        ]);
    }
    output.table(&table)?;
    if answer["first"].as_u64() > Some(1) {
        output.note(format_args!("commits before {} are kept as one", answer["first"]));
    }
    Ok(())
}

fn fact(fact: &Value) -> String {
    let kind = fact["kind"].as_str().unwrap_or_default();
    match fact["task"].as_u64() {
        Some(task) => format!("{kind} {task}"),
        None => kind.to_owned(),
    }
}
