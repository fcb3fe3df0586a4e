//! `nightbell config`: every setting of the server, explained, or as it is in effect.

use clap::Args;
use serde_json::json;

use super::output::Output;
use super::table::Table;
use crate::config::{self, Config, File, Flags};

/// What `config` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightbell config > nightbell.toml       a file to start from
  nightbell config --effective            what `nightbell serve` would use here, and why")]
pub(crate) struct Arguments {
    /// Print the values that `serve` would use with the same options, and where each comes from
    #[arg(long)]
    effective: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<()> {
    if !arguments.effective {
        return output.line(config::default_file().trim_end());
    }
    let file = File::find(arguments.flags.file())?;
    let (_, effective) =
        Config::load_with_origins(&arguments.flags, config::process_env, file.as_ref())?;
    if output.is_json() {
        let settings: Vec<_> = effective
            .iter()
            .map(|setting| {
                json!({
                    "key": setting.key,
                    "value": setting.value,
                    "origin": setting.origin.to_string(),
                })
            })
            .collect();
        return output.json(&settings);
    }
    let mut table = Table::new(&["KEY", "~VALUE", "FROM"]);
    for setting in &effective {
        table.row([setting.key.into(), (&setting.value).into(), (&setting.origin).into()]);
    }
    output.table(&table)
}
