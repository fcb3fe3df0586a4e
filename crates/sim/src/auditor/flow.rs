//! Where the flow stands: nothing reached too early, nothing that could go on left standing.

use serde_json::Value;

use super::messages::Owed;
use super::record::{Attempt, Record};
use super::{Batch, Verdict, broken};

impl Record {
    /// Judges a first attempt: the place before it was passed, or what it stands in leads to it.
    pub(super) fn may_begin(&self, attempt: &Attempt, what: &str) -> Verdict {
        let (place, path) = (attempt.place, &attempt.path);
        if let Some(other) = self.last(place, path) {
            return broken("one at a time", format!("{what} scheduled beside {}", other.sequence));
        }
        let delay = self.outline.places[place].written["startDelay"].as_i64().unwrap_or(0) * 1000;
        if attempt.delay != delay {
            return broken(
                "delays are kept",
                format!("{what} waits {} not {delay}", attempt.delay),
            );
        }
        if attempt.number != 0 {
            return broken("retries are counted", format!("{what} begins as {}", attempt.number));
        }
        let too_early = || broken("one after the other", format!("{what} scheduled too early"));
        if let Some(before) = self.outline.before(place) {
            return if self.was_passed(before, path) { Ok(()) } else { too_early() };
        }
        let row = self.outline.places[place].row;
        let Some(around) = self.outline.rows[row].inside else { return Ok(()) };
        let kind = self.outline.places[around].kind.as_str();
        let outer = if kind == "DO_WHILE" { &path[..path.len() - 1] } else { path };
        let Some(around) = self.last(around, outer) else { return too_early() };
        let leads = match kind {
            "DO_WHILE" => around.is_open() && path.last() == Some(&around.iteration),
            "SWITCH" => around.ended_well() && self.taken(around) == Some(row),
            _ => around.ended_well() && self.branches(around).contains(&row),
        };
        if leads { Ok(()) } else { too_early() }
    }

    /// Whether the flow has passed a place, also if something in it is tried again by hand.
    fn was_passed(&self, place: usize, path: &[u32]) -> bool {
        let Some(attempt) = self.last(place, path) else { return false };
        let all = |row: usize| {
            self.outline.rows[row].places.iter().all(|place| self.was_passed(*place, path))
        };
        let inside = || self.taken(attempt).is_none_or(all);
        let is_switch = self.place_of(attempt).kind == "SWITCH";
        self.was_let_past(place, path) || (self.lets_pass(attempt) && (!is_switch || inside()))
    }

    /// The flow has passed a permissive failure, and then an operator had it tried again beside
    /// what follows.
    fn was_let_past(&self, place: usize, path: &[u32]) -> bool {
        self.outline.places[place].flag("permissive")
            && self.attempts.values().any(|a| a.place == place && a.path == path && a.by_hand)
    }

    /// Judges the end of the execution.
    pub(super) fn ends(&mut self, body: &Value, batch: &mut Batch) -> Verdict {
        let status = body["t"].as_str().unwrap_or_default().to_owned();
        let was_over = self.is_over();
        if was_over && self.status == "COMPLETED" {
            return broken("the end is the end", format!("{status} after COMPLETED"));
        }
        if !was_over {
            if let Some(open) = self.open().next() {
                let what = format!("{status}, but {} is open", open.sequence);
                return broken("the end ends all", what);
            }
            self.has_cause(&status, batch)?;
            batch.owed.extend(self.parent.clone().map(|p| Owed::Ended(p, status.clone())));
            let terminated = batch.terminator.is_some();
            let wants = self.outline.definition["failureWorkflow"].is_string();
            let bad = status != "COMPLETED";
            if wants && bad && (status != "TERMINATED" || terminated) {
                batch.owed.push(Owed::Failure);
            } else if wants && bad {
                batch.owed.push(Owed::MayFailure);
            }
        }
        self.endings.push(status.clone());
        self.status = status;
        Ok(())
    }

    fn has_cause(&self, status: &str, batch: &Batch) -> Verdict {
        let terminator = batch.terminator.and_then(|sequence| self.attempts.get(&sequence));
        if terminator.is_some_and(|task| task.input["terminationStatus"] == *status) {
            return Ok(());
        }
        let failed = self.attempts.values().filter(|a| a.ended_badly() && !a.retried && !a.stopped);
        if status == "COMPLETED" {
            if let Some(failed) = failed.clone().next() {
                let what = format!("COMPLETED, but {} is {}", failed.sequence, failed.status);
                return broken("errors are not hidden", what);
            }
            if self.is_finished(0, &[]) {
                return Ok(());
            }
            return broken("to the end", "COMPLETED before the end of the definition");
        }
        if status == "TERMINATED" || (status == "TIMED_OUT" && self.is_out_of_time()) {
            return Ok(());
        }
        let mut causes = failed.filter(|attempt| {
            let timed_out = attempt.status == "TIMED_OUT";
            let whole = timed_out && attempt.policy["timeoutPolicy"] == "TIME_OUT_WF";
            let fits = (status == "TIMED_OUT") == timed_out || self.is_finished(0, &[]);
            let optional = self.place_of(attempt).flag("optional") && !whole;
            fits && !optional && (whole || self.is_exhausted(attempt))
        });
        match causes.next() {
            Some(_) => Ok(()),
            None => {
                broken("no end without cause", format!("{status}, but nothing has failed for good"))
            }
        }
    }

    fn is_out_of_time(&self) -> bool {
        self.ends_at().is_some_and(|at| at <= self.now)
    }

    /// When the execution as a whole runs out of time.
    fn ends_at(&self) -> Option<i64> {
        let definition = &self.outline.definition;
        let seconds = definition["timeoutSeconds"].as_i64().filter(|seconds| *seconds > 0)?;
        (definition["timeoutPolicy"] == "TIME_OUT_WF").then(|| self.counted_from + seconds * 1000)
    }

    /// After a commit: everything that could go on has gone on.
    pub(super) fn stands_right(&self) -> Verdict {
        if !self.is_running() || self.yielded {
            return Ok(());
        }
        if self.open().next().is_none() {
            return broken("the flow goes on", "it runs, but nothing is open");
        }
        self.stands_right_in(0, &[]).map(|_| ())
    }

    fn stands_right_in(&self, row: usize, path: &[u32]) -> Result<bool, (&'static str, String)> {
        const LAW: &str = "the flow goes on";
        for place in &self.outline.rows[row].places {
            let written = &self.outline.places[*place];
            let name = format!("{} {path:?}", written.reference);
            let Some(attempt) = self.last(*place, path) else {
                return Err((LAW, format!("{name} was not reached")));
            };
            if attempt.is_open() {
                self.is_right_to_wait(attempt)?;
                return Ok(false);
            }
            if !self.lets_pass(attempt) && !self.may_be_exhausted(attempt) {
                return Err((LAW, format!("{name} has failed and nothing follows")));
            }
            for branch in self.branches(attempt) {
                self.stands_right_in(branch, path)?;
            }
            if let Some(case) = self.taken(attempt)
                && !self.stands_right_in(case, path)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Permissive, and only the jitter can tell.
    fn may_be_exhausted(&self, attempt: &Attempt) -> bool {
        self.place_of(attempt).flag("permissive")
            && attempt.ended_badly()
            && self.is_exhausted(attempt)
    }

    fn is_right_to_wait(&self, attempt: &Attempt) -> Verdict {
        let place = self.place_of(attempt);
        let name = format!("{} {:?}", place.reference, attempt.path);
        match place.kind.as_str() {
            "DO_WHILE" if attempt.iteration > 0 => {
                let mut path = attempt.path.clone();
                path.push(attempt.iteration);
                let row = place.inner[0];
                if self.stands_right_in(row, &path)? && self.is_finished(row, &path) {
                    return broken("the flow goes on", format!("{name} does not go round"));
                }
            }
            "JOIN" if attempt.begun => {
                let ended = |reference: &String| {
                    self.branch_end(attempt, reference).is_some_and(|branch| !branch.is_open())
                };
                if attempt.joins.iter().all(ended) {
                    return broken("the flow goes on", format!("{name} does not end"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// It will look at the clock in time for everything that time alone may change.
    pub(super) fn wakes_in_time(&self, wake_at: Option<i64>) -> Verdict {
        let Some((what, at)) = self.next_deadline() else { return Ok(()) };
        match wake_at {
            Some(wake_at) if wake_at <= at.max(self.now) => Ok(()),
            _ => broken("it wakes in time", format!("at {wake_at:?}, but {what} is due at {at}")),
        }
    }

    /// Something that had to be done by now and was not.
    pub(super) fn overdue(&self, now: i64) -> Option<String> {
        let (what, at) = self.next_deadline()?;
        (at <= now).then(|| format!("{what} was due at {at}"))
    }

    fn next_deadline(&self) -> Option<(String, i64)> {
        if !self.begun || self.is_over() {
            return None;
        }
        let whole = self.ends_at().map(|at| ("the workflow's timeout".to_owned(), at));
        if !self.is_running() {
            return whole;
        }
        let yielded = self.yielded.then(|| ("the rest of the work".to_owned(), self.now));
        let tasks = self.open().flat_map(|attempt| {
            let place = self.place_of(attempt);
            let mut due = attempt.deadlines(place);
            if !place.is_handed_out() && !attempt.begun {
                due.push(("begin", attempt.scheduled_at + attempt.delay));
            }
            due.extend(attempt.until.map(|until| ("until", until)));
            due.into_iter().map(|(name, at)| (format!("{name} of {}", attempt.sequence), at))
        });
        tasks.chain(whole).chain(yielded).min_by_key(|(_, at)| *at)
    }
}
