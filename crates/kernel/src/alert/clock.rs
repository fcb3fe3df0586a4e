//! The wall clock was set back: what is timed from instants that have not come yet would stand
//! still until they come.
//!
//! A machine notices by itself: its last fact lies in the future. So it does not matter whether the
//! clock was set while the server ran or while it was away, and a history folds to the same state
//! however often it is read. When the clock is set forward nothing is needed here: what came due
//! meanwhile is counted as missed where it is due.

use serde_json::json;

use super::decide::Draft;
use super::event::Event;
use super::incident::Incident;
use super::monitor::Monitor;
use super::{check, heartbeat};
use crate::time::Timestamp;

/// Notes that the clock was set back, and plans anew what lies too far ahead.
pub(super) fn set_back(draft: &mut Draft<'_>, by: i64) {
    let before = draft.now.plus_millis(by);
    draft.push(Event::ClockSetBack { by });
    let key = format!("{}/clock/{}", draft.state.name(), draft.now.millis());
    let reason = format!("the clock was set back by {} s or more", by / 1000);
    let body = json!({ "from": before.millis(), "to": draft.now.millis(), "reason": reason });
    draft.record("check", key, draft.now, "CLOCK", &body);
    if draft.state.spec.is_some() && !draft.state.removed {
        check::plan(draft, draft.now);
        heartbeat::plan_after_set_back(draft, by);
    }
}

impl Monitor {
    /// Moves instants that were noted by the clock as it stood before; `updated_at` is the first
    /// instant after the change.
    pub(super) fn clock_set_back(&mut self, by: i64) {
        let now = self.updated_at;
        // What lies ahead was noted by the wrong clock; all else happened before that.
        let back = |at: &mut Timestamp| {
            if *at > now {
                *at = at.plus_millis(-by).min(now);
            }
        };
        let back_if = |at: &mut Option<Timestamp>| at.iter_mut().for_each(back);
        if let Some(check) = &mut self.check {
            back(&mut check.started_at);
        }
        back_if(&mut self.watermark);
        self.failed.iter_mut().for_each(|(_, at)| back(at));
        if let Some((since, _)) = &mut self.beat.running {
            back(since);
        }
        if let Some(asked) = &mut self.asked {
            back(&mut asked.at);
            back_if(&mut asked.until);
            back_if(&mut asked.before);
        }
        self.deliveries.values_mut().for_each(|delivery| back(&mut delivery.at));
        for incident in self.incidents.values_mut() {
            incident.clock_set_back(back);
        }
    }
}

impl Incident {
    fn clock_set_back(&mut self, back: impl Fn(&mut Timestamp) + Copy) {
        back(&mut self.since);
        back(&mut self.last_bad_at);
        let noted = [
            &mut self.opened_at,
            &mut self.well_since,
            &mut self.told_from,
            &mut self.no_data_since,
        ];
        noted.into_iter().flatten().for_each(back);
        self.flips.iter_mut().for_each(back);
        self.ladder.iter_mut().for_each(|rung| back(&mut rung.from));
        for told in self.told.values_mut() {
            told.at.iter_mut().for_each(back);
            if let Some((_, since)) = &mut told.owed {
                back(since);
            }
        }
    }
}
