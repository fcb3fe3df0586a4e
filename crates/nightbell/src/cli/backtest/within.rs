//! Backtests that the server makes itself, for those who ask on a page.

use std::collections::BTreeSet;

use kernel::alert::definition::File;
use serde_json::Value;
use server::backtests::{Backtester, Past};

use super::past::{self, Asked};
use crate::testing::backtest;

/// The stage of this binary.
#[derive(Debug)]
pub(crate) struct WithinServer;

impl Backtester for WithinServer {
    fn needed(&self, file: &File, monitor: &str) -> BTreeSet<String> {
        backtest::needed(file, monitor)
    }

    fn warm_up(&self, file: &File, monitor: &str) -> i64 {
        let known = file.monitors.iter().find(|it| *it.name == *monitor);
        known.map_or(0, backtest::warm_up)
    }

    fn run(&self, past: Past) -> Result<Value, String> {
        let Past { file, stored, monitor, samples, record, span, zone, mut notes } = past;
        let known = file.monitors.iter().find(|it| *it.name == *monitor).cloned();
        let tried = known.ok_or_else(|| format!("there is no monitor {monitor}"))?;
        notes.extend(past::asked_otherwise(&stored, &tried));
        let zone = past::zone_of(zone.as_deref(), &tried).map_err(|error| error.to_string())?;
        let asked = Asked {
            operator_actions: past::operator_actions(&monitor, &record, span.1),
            monitor: tried,
            file,
            samples,
            record,
            span,
            zone,
            notes,
            by_own_times: false,
        };
        let report = past::report(asked).map_err(|error| error.to_string())??;
        Ok(report.json())
    }
}
