//! When the next poll is due, and how many there may be.

use std::time::Duration;

use super::Settings;
use crate::http::Problem;
use crate::http::fields::{Fields, wrong};

/// `pollingInterval` of a task that does not say.
const INTERVAL: Duration = Duration::from_mins(1);
/// `maxPollCount` of a task that does not say.
const POLLS_MAX: u32 = 1000;

/// How the pauses grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
    /// Not at all.
    Fixed,
    /// By one interval with each poll.
    Linear,
    /// To the double with each poll.
    Exponential,
}

/// The polls of one task.
pub(super) struct Schedule {
    interval: Duration,
    strategy: Strategy,
    backoff_max: Duration,
    /// Most polls of one attempt.
    pub(super) polls_max: u32,
}

impl Schedule {
    /// Reads what the first of `places` that has it says.
    pub(super) fn parse(places: &[&Fields<'_>], settings: &Settings) -> Result<Self, Problem> {
        let count = |name| {
            let given = places.iter().find(|fields| fields.get(name).is_some());
            given.map_or(Ok(None), |fields| fields.count(name))
        };
        let strategy = places.iter().find(|fields| fields.get("pollingStrategy").is_some());
        let strategy = strategy.map_or(Ok(None), |fields| fields.text("pollingStrategy"))?;
        let seconds = count("pollingInterval")?.map(|seconds| Duration::from_secs(seconds.into()));
        let interval = seconds.unwrap_or(INTERVAL).max(settings.interval_min);
        Ok(Self {
            interval,
            strategy: strategy.as_deref().map_or(Ok(Strategy::Fixed), strategy_of)?,
            backoff_max: settings.backoff_max.max(interval),
            polls_max: count("maxPollCount")?.unwrap_or(POLLS_MAX).max(1),
        })
    }

    /// The pause after so many polls, from 1.
    pub(super) fn pause(&self, polls: u32) -> Duration {
        let factor = match self.strategy {
            Strategy::Fixed => 1,
            Strategy::Linear => polls,
            Strategy::Exponential => 1_u32.checked_shl(polls.saturating_sub(1)).unwrap_or(u32::MAX),
        };
        self.interval.saturating_mul(factor).min(self.backoff_max)
    }
}

fn strategy_of(text: &str) -> Result<Strategy, Problem> {
    match text.trim().to_ascii_uppercase().as_str() {
        "" | "FIXED" => Ok(Strategy::Fixed),
        "LINEAR_BACKOFF" => Ok(Strategy::Linear),
        "EXPONENTIAL_BACKOFF" => Ok(Strategy::Exponential),
        _ => Err(wrong("pollingStrategy", "FIXED, LINEAR_BACKOFF or EXPONENTIAL_BACKOFF")),
    }
}
