//! `/api/monitors/{name}/rollups`: how a monitor's checks ended and how long they took, by stretches
//! of time.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use kernel::Timestamp;
use kernel::access::Permission;
use kernel::alert::{Cell, Step};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Path, Query};
use super::super::query::instant;
use super::unknown;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

/// Cells of an answer.
const CELLS_MAX: i64 = 5000;
/// What is answered without `from`: a day.
const SPAN: i64 = 86_400_000;
/// The steps that can be asked for, in milliseconds, with the cells that they are made of.
const STEPS: [(&str, i64, Step); 7] = [
    ("5m", 300_000, Step::FiveMinutes),
    ("15m", 900_000, Step::FiveMinutes),
    ("30m", 1_800_000, Step::FiveMinutes),
    ("1h", 3_600_000, Step::Hour),
    ("6h", 21_600_000, Step::Hour),
    ("12h", 43_200_000, Step::Hour),
    ("1d", 86_400_000, Step::Day),
];

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(rollups))
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct RollupParams {
    /// From the interval of this time on: milliseconds since 1970, or a time such as
    /// 2026-01-31T08:00:00Z; default: a day ago.
    pub(super) from: Option<String>,
    /// Intervals that begin before then; default: now.
    pub(super) to: Option<String>,
    /// The length of an interval: 5m, 15m or 30m, which are kept for 2 days; 1h, 6h or 12h, for 90
    /// days; 1d, for 730 days. Default: the shortest that is kept since `from`.
    pub(super) step: Option<String>,
}

/// Shows how a monitor's checks ended and how long they took, by intervals of time, oldest first.
/// Intervals without checks are left out.
#[utoipa::path(
    operation_id = "monitor_rollups", get, path = "/api/monitors/{name}/rollups", tag = "monitors",
    params(("name" = String, Path, description = "The name of the monitor"), RollupParams),
    responses(
        (status = 200, description = "`cells`, and all of them together as `total`",
            body = serde_json::Value),
        (status = 400, description = "A time or the step cannot be read, or there would be too many cells"),
        (status = 404, description = "No such monitor"),
    )
)]
async fn rollups(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<RollupParams>,
) -> Result<Json<Value>, Problem> {
    let asked = Asked::new(params, api.engine.now())?;
    let cells = api.engine.rollups(&name, asked.step, asked.span()).await?;
    let mut shown = asked.shown(&cells.ok_or_else(|| unknown(&name))?);
    shown["monitor"] = name.into();
    Ok(Json(shown))
}

/// Which cells are asked for.
pub(super) struct Asked {
    /// The first cell begins then.
    from: Timestamp,
    to: Timestamp,
    /// The length of a cell in a word, and in milliseconds.
    word: &'static str,
    millis: i64,
    /// What cells are made of.
    step: Step,
}

impl Asked {
    /// # Errors
    /// 400: a time or the step cannot be read, or there would be too many cells.
    pub(super) fn new(params: RollupParams, now: Timestamp) -> Result<Self, Problem> {
        let at = |name, text: Option<String>| text.map(|text| instant(name, &text)).transpose();
        let to = at("to", params.to)?.unwrap_or_else(|| now.plus_millis(1));
        let from = at("from", params.from)?.unwrap_or_else(|| now.plus_millis(-SPAN));
        let (word, millis, step) = step_of(params.step.as_deref(), now.since(from))?;
        let from = floor(from, millis);
        if to.since(from) / millis >= CELLS_MAX {
            let message = format!("from {from} to {to} are more than {CELLS_MAX} cells of {word}");
            return Err(
                Problem::bad_request(message).with_hint("Ask for less, or for a longer step.")
            );
        }
        Ok(Self { from, to, word, millis, step })
    }

    pub(super) fn span(&self) -> (Timestamp, Timestamp) {
        (self.from, self.to)
    }

    pub(super) fn step(&self) -> Step {
        self.step
    }

    /// Cells that one monitor may have.
    pub(super) fn cells(&self) -> u64 {
        u64::try_from(self.to.since(self.from) / self.millis + 1).unwrap_or_default()
    }

    /// What was counted, in cells of the length that is asked for.
    pub(super) fn shown(&self, fine: &BTreeMap<Timestamp, Cell>) -> Value {
        let (mut cells, mut total) = (BTreeMap::<Timestamp, Cell>::new(), Cell::default());
        for (at, cell) in fine {
            cells.entry(floor(*at, self.millis)).or_default().merge(cell);
            total.merge(cell);
        }
        let shown = |(at, cell): (&Timestamp, &Cell)| {
            let mut shown = cell_shown(cell);
            shown["at"] = at.millis().into();
            shown
        };
        json!({
            "step": self.word, "from": self.from.millis(), "to": self.to.millis(),
            "cells": cells.iter().map(shown).collect::<Vec<_>>(), "total": cell_shown(&total),
        })
    }
}

/// The beginning of the cell of an instant.
fn floor(at: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(at.millis().saturating_sub(at.millis().rem_euclid(millis)))
}

/// The step that is asked for; else the shortest of those that are kept for so long.
fn step_of(asked: Option<&str>, age: i64) -> Result<(&'static str, i64, Step), Problem> {
    let Some(asked) = asked else {
        let kept = STEPS
            .iter()
            .find(|(word, _, step)| *word == step.as_str() && age <= step.kept_millis());
        return Ok(*kept.unwrap_or(&STEPS[STEPS.len() - 1]));
    };
    STEPS.iter().find(|(word, ..)| *word == asked).copied().ok_or_else(|| {
        let words: Vec<&str> = STEPS.iter().map(|(word, ..)| *word).collect();
        Problem::bad_request(format!("step is one of {}, not {asked}", words.join(", ")))
    })
}

fn cell_shown(cell: &Cell) -> Value {
    let times = &cell.times;
    let ms = times.mean().map(|mean| {
        json!({ "min": times.min, "p50": times.percentile(50), "p95": times.percentile(95),
            "max": times.max, "mean": mean })
    });
    // Rounded down: what failed once is never told as 100.
    let uptime = cell.well().map(|well| (well * 100_000.0).floor() / 1000.0);
    json!({
        "checks": cell.checks(), "ok": cell.ok, "warn": cell.warn, "fail": cell.fail,
        "unknown": cell.unknown, "missed": cell.missed, "incidents": cell.incidents,
        "uptime": uptime, "ms": ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_the_shortest_that_is_kept_unless_it_is_named() {
        const DAY: i64 = 86_400_000;
        let word = |asked, age| step_of(asked, age).map(|(word, ..)| word).ok();
        assert_eq!(word(None, DAY), Some("5m"));
        assert_eq!(word(None, 3 * DAY), Some("1h"));
        assert_eq!(word(None, 365 * DAY), Some("1d"));
        assert_eq!(word(None, 9999 * DAY), Some("1d"));
        assert_eq!((word(Some("30m"), 9 * DAY), word(Some("7m"), DAY)), (Some("30m"), None));
    }
}
