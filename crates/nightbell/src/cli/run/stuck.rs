//! `nightbell run stuck`: what keeps runs, how many, and since when.

use jiff::Timestamp;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::moment::Moment;
use crate::cli::output::{Output, clean};
use crate::cli::table::Table;

/// Runs the command.
pub(super) async fn run(client: &Client, output: &Output) -> anyhow::Result<()> {
    let answer = client.get(&["workflow", "stuck"]).send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let groups = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |group: &Value, name: &str| clean(group[name].as_str().unwrap_or_default());
    let mut table = Table::new(&["REASON", "QUEUE", "RUNS", "TASKS", "OLDEST", "~WHY"]);
    for group in groups {
        let more = if group["exact"] == true { "" } else { "+" };
        table.row([
            text(group, "reason").into(),
            text(group, "queue").into(),
            format!("{}{more}", group["runs"]).into(),
            group["tasks"].to_string().into(),
            Moment::of(&group["oldest"]).relative(Timestamp::now()).into(),
            text(group, "sentence").into(),
        ]);
    }
    output.table(&table)?;
    if groups.is_empty() {
        output.note("no run waits for a worker that does not poll, or at a limit");
    }
    Ok(())
}
