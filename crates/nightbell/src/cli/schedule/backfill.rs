//! `nightbell schedule backfill`: runs for instants of the past.

use clap::{Args, ValueEnum};
use kernel::Timestamp;

use super::{done, instant, zone};
use crate::cli::client::{Call, Client};
use crate::cli::confirm;
use crate::cli::moment::Moment;
use crate::cli::output::Output;

/// Runs that are started without a question.
const UNASKED: u64 = 20;

/// Which stretch, and how.
#[derive(Debug, Args)]
#[command(
    long_about = "\
Backfill: fire a schedule for every planned time of a past period.

Says how many runs that is, and asks if they are many. Instants that have their run already are left out, \
unless --redo says otherwise. How far it has come is kept with the schedule (`nightbell schedule get` \
shows it): a server that is killed goes on where it was, and each instant runs once.",
    after_help = "\
Examples:
  nightbell schedule backfill nightly --from 2026-01-01 --to 2026-01-31T23:59:59 --dry-run
  nightbell schedule backfill hourly --from 2026-01-01 --to 2026-01-31T23:59:59 --at-once 4 --order newest
  nightbell schedule backfill nightly --from 2026-01-01 --to 2026-01-31T23:59:59 --tz Europe/Oslo --redo failed
  nightbell schedule backfill hourly --end"
)]
pub(crate) struct Arguments {
    /// Name of the schedule
    name: String,
    /// From here on: 2026-01-31, 2026-01-31T08:00, or with an offset
    #[arg(long, value_name = "TIME", required_unless_present = "end")]
    from: Option<String>,
    /// Up to and including this
    #[arg(long, value_name = "TIME", required_unless_present = "end")]
    to: Option<String>,
    /// Time zone of --from and --to where they name none
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// How many of its runs may be in progress at the same time [default: all]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    at_once: Option<u32>,
    /// Which planned times come first [default: oldest]
    #[arg(long, value_enum)]
    order: Option<Order>,
    /// Which planned times to run again that have run already [default: none]
    #[arg(long, value_enum)]
    redo: Option<Redo>,
    /// Only print how many runs that would be
    #[arg(long)]
    dry_run: bool,
    /// Stop the running backfill: no more runs are started, and those in progress continue
    #[arg(long, conflicts_with_all = ["from", "to", "at_once", "order", "redo", "dry_run"])]
    end: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    /// The oldest
    Oldest,
    /// The newest
    Newest,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Redo {
    /// None
    None,
    /// Those whose runs all failed, timed out or were terminated
    Failed,
    /// All
    All,
}

impl Order {
    fn as_str(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Newest => "newest",
        }
    }
}

impl Redo {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Failed => "failed",
            Self::All => "all",
        }
    }
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let Arguments { name, from, to, tz, at_once, order, redo, dry_run, end, yes } = arguments;
    let path = ["scheduler", "schedules", name, "backfill"];
    let (Some(from), Some(to)) = (from, to) else {
        debug_assert!(*end, "the stretch is required otherwise");
        client.delete(&path).send().await?;
        output.note(format_args!("ended the backfill of schedule {name}"));
        return done(std::slice::from_ref(name), output);
    };
    let zone = zone(tz)?;
    let (from, to) = (instant("--from", from, &zone)?, instant("--to", to, &zone)?);
    let redo = redo.map(Redo::as_str);
    let counted = stretch(client.get(&path), from, to).query_if("redo", redo);
    let counted = counted.send().await?.value()?;
    let count = counted["count"].as_u64().unwrap_or_default();
    let more = if counted["more"] == true { "more than " } else { "" };
    let runs = format!("{more}{count} run{}", if count == 1 { "" } else { "s" });
    let ends = ["first", "last"].map(|it| Moment::of(&counted[it]).rfc3339());
    let span = match ends {
        [Some(first), Some(last)] => format!(", {first} to {last}"),
        _ => String::new(),
    };
    let left_out = match counted["leftOut"].as_u64() {
        None | Some(0) => String::new(),
        Some(left_out) => format!("; {left_out} left out, which have run (--redo)"),
    };
    if *dry_run {
        output.note(format_args!("{name} would start {runs}{span}{left_out}"));
        return if output.is_json() { output.json(&counted) } else { Ok(()) };
    }
    if count > UNASKED {
        let things = [format!("{runs}{span}{left_out}")];
        confirm(&format!("start {runs} of schedule {name}"), &things, *yes)?;
    }
    let call = stretch(client.post(&path), from, to).query_if("atOnce", *at_once);
    let call = call.query_if("order", order.map(Order::as_str)).query_if("redo", redo);
    call.query("by", "nightbell").send().await?;
    output.note(format_args!("schedule {name} starts {runs}{span}{left_out}"));
    done(std::slice::from_ref(name), output)
}

/// A call about a stretch of time.
fn stretch(call: Call<'_>, from: Timestamp, to: Timestamp) -> Call<'_> {
    call.query("from", from.millis()).query("to", to.millis())
}
