//! Measures: the performance table of the project, each figure the median of three rounds.

mod house;
mod inprocess;

use crate::say;

/// Runs everything.
pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = house::runtime();
    for round in 0..3 {
        let inline = runtime.block_on(inprocess::three_steps(inprocess::Steps::Inline, 20_000))?;
        let dispatched =
            runtime.block_on(inprocess::three_steps(inprocess::Steps::Dispatched, 10_000))?;
        say(&format!("round {round}: inline {inline:?}\n dispatched {dispatched:?}"));
    }
    Ok(())
}
