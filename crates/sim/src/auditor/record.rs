//! What a history says, written down in the auditor's own way: no decisions, only bookkeeping.

use std::collections::BTreeMap;

use serde_json::Value;

use super::outline::{Outline, Place};

/// One execution as its history tells it.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) begun: bool,
    pub(super) outline: Outline,
    pub(super) status: String,
    pub(super) now: i64,
    /// The workflow timeout counts from here.
    pub(super) counted_from: i64,
    pub(super) yielded: bool,
    pub(super) parent: Option<(String, u32)>,
    pub(super) attempts: BTreeMap<u32, Attempt>,
    pub(super) latest: BTreeMap<(usize, Vec<u32>), u32>,
    /// The highest number given so far.
    pub(super) highest: u32,
    /// Every way in which it ended, in order.
    pub(super) endings: Vec<String>,
}

/// One attempt at a place.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) sequence: u32,
    pub(super) place: usize,
    pub(super) path: Vec<u32>,
    pub(super) input: Value,
    pub(super) output: Value,
    pub(super) policy: Value,
    pub(super) number: i64,
    pub(super) delay: i64,
    pub(super) status: String,
    /// The attempt that this one repeats.
    pub(super) repeats: Option<u32>,
    pub(super) retried: bool,
    /// An operator's act has brought it about, or opened it again.
    pub(super) by_hand: bool,
    pub(super) scheduled_at: i64,
    pub(super) first_at: i64,
    pub(super) started_at: Option<i64>,
    pub(super) ended_at: i64,
    /// Last word of or about it.
    pub(super) heard_at: i64,
    pub(super) callback: i64,
    pub(super) until: Option<i64>,
    pub(super) begun: bool,
    pub(super) worker: bool,
    /// The last report was that somebody holds it.
    pub(super) held: bool,
    pub(super) alerted: bool,
    pub(super) iteration: u32,
    pub(super) joins: Vec<String>,
    /// Rows of a dynamic fork's branches.
    pub(super) branches: Vec<usize>,
    /// It was ended because the execution ended, not by itself.
    pub(super) stopped: bool,
}

impl Attempt {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "SCHEDULED" | "IN_PROGRESS")
    }

    pub(super) fn ended_well(&self) -> bool {
        matches!(self.status.as_str(), "COMPLETED" | "COMPLETED_WITH_ERRORS" | "SKIPPED")
    }

    pub(super) fn ended_badly(&self) -> bool {
        !self.is_open() && !self.ended_well()
    }

    /// A number of its policy; 0 if there is none.
    pub(super) fn limit(&self, name: &str) -> i64 {
        self.policy[name].as_i64().unwrap_or(0)
    }

    /// Milliseconds before the attempt that follows, without jitter.
    pub(super) fn least_delay(&self) -> i64 {
        // Whoever allows retries, but has no policy, gets the protocol's delay.
        let base = self.policy["retryDelaySeconds"].as_i64().unwrap_or(60);
        let seconds = match self.policy["retryLogic"].as_str().unwrap_or_default() {
            "LINEAR_BACKOFF" => base * self.limit("backoffScaleFactor") * (self.number + 1),
            "EXPONENTIAL_BACKOFF" => base * 2_i64.pow(self.number.clamp(0, 30) as u32),
            _ => base,
        };
        let cap = self.limit("maxRetryDelaySeconds");
        1000 * if cap > 0 { seconds.min(cap) } else { seconds }
    }

    /// Milliseconds that may come on top.
    pub(super) fn most_jitter(&self) -> i64 {
        self.limit("backoffJitterMs")
    }

    /// When it may begin, or be handed out.
    pub(super) fn ready_at(&self) -> i64 {
        match self.callback {
            0 => self.scheduled_at + self.delay,
            seconds => self.heard_at + seconds * 1000,
        }
    }

    /// The instants at which its limits strike, with their names.
    pub(super) fn deadlines(&self, place: &Place) -> Vec<(&'static str, i64)> {
        let mut found = Vec::new();
        let mut add = |name: &'static str, from: i64| {
            if self.limit(name) > 0 {
                found.push((name, from + self.limit(name) * 1000));
            }
        };
        if !self.alerted {
            add("totalTimeoutSeconds", self.first_at);
            if let Some(started_at) = self.started_at {
                add("timeoutSeconds", started_at);
            }
            if place.is_handed_out() && self.status == "SCHEDULED" {
                add("pollTimeoutSeconds", self.ready_at());
            }
        }
        if place.is_handed_out() && self.status == "IN_PROGRESS" && self.worker {
            add("responseTimeoutSeconds", self.heard_at);
        }
        found
    }
}

impl Record {
    pub(super) fn is_running(&self) -> bool {
        self.begun && self.status == "RUNNING"
    }

    pub(super) fn is_over(&self) -> bool {
        self.begun && !matches!(self.status.as_str(), "RUNNING" | "PAUSED")
    }

    pub(super) fn place_of(&self, attempt: &Attempt) -> &Place {
        &self.outline.places[attempt.place]
    }

    pub(super) fn last(&self, place: usize, path: &[u32]) -> Option<&Attempt> {
        self.attempts.get(self.latest.get(&(place, path.to_vec()))?)
    }

    /// The last attempt at a reference name, with the iterations written behind it.
    pub(super) fn named(&self, reference: &str) -> Option<&Attempt> {
        let full = |attempt: &&Attempt| {
            let mut name = self.place_of(attempt).reference.clone();
            for iteration in &attempt.path {
                name.push_str("__");
                name.push_str(&iteration.to_string());
            }
            name == reference
        };
        self.attempts.values().rev().find(full)
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.values().filter(|attempt| attempt.is_open())
    }

    /// Whether another attempt is out of the question.
    pub(super) fn is_exhausted(&self, attempt: &Attempt) -> bool {
        let place = self.place_of(attempt);
        let again = matches!(attempt.status.as_str(), "FAILED" | "TIMED_OUT");
        if !again || place.is_never_retried() || attempt.number >= self.allowed(attempt) {
            return true;
        }
        let total = attempt.limit("totalTimeoutSeconds") * 1000;
        let latest = attempt.least_delay().max(1) + attempt.most_jitter();
        total > 0 && attempt.first_at + total <= attempt.ended_at + latest
    }

    /// Retries that the author allows.
    pub(super) fn allowed(&self, attempt: &Attempt) -> i64 {
        let own = self.place_of(attempt).written["retryCount"].as_i64();
        own.unwrap_or_else(|| attempt.limit("retryCount"))
    }

    /// Whether the flow may go past an attempt, leaving aside what it has inside.
    pub(super) fn lets_pass(&self, attempt: &Attempt) -> bool {
        let permissive = self.place_of(attempt).flag("permissive");
        attempt.ended_well() || (attempt.ended_badly() && permissive && self.is_exhausted(attempt))
    }

    /// The row that an ended SWITCH took.
    pub(super) fn taken(&self, attempt: &Attempt) -> Option<usize> {
        self.outline.case(attempt.place, attempt.output["selectedCase"].as_str()?)
    }

    /// The attempt whose end is that of a branch which a JOIN names; `None` before it was reached.
    ///
    /// After a dynamic fork a SWITCH ends with the last task of the case that it took, and so on
    /// inwards.
    pub(super) fn branch_end(&self, join: &Attempt, reference: &str) -> Option<&Attempt> {
        let before = self.outline.before(join.place);
        let dynamic =
            before.is_some_and(|before| self.outline.places[before].kind == "FORK_JOIN_DYNAMIC");
        let mut branch = self.named(reference)?;
        while dynamic
            && self.place_of(branch).kind == "SWITCH"
            && branch.ended_well()
            && branch.status != "SKIPPED"
            && let Some(row) = self.taken(branch)
        {
            branch = self.last(*self.outline.rows[row].places.last()?, &branch.path)?;
        }
        Some(branch)
    }

    /// Rows of an ended fork's branches.
    pub(super) fn branches(&self, attempt: &Attempt) -> Vec<usize> {
        let place = self.place_of(attempt);
        match place.kind.as_str() {
            "FORK_JOIN" => place.inner.clone(),
            "FORK_JOIN_DYNAMIC" => attempt.branches.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether the flow has come to the end of a row. What forks have inside does not count: their
    /// JOIN does.
    pub(super) fn is_passed(&self, row: usize, path: &[u32]) -> bool {
        self.outline.rows[row].places.iter().all(|place| {
            self.last(*place, path).is_some_and(|attempt| self.is_passed_place(attempt))
        })
    }

    fn is_passed_place(&self, attempt: &Attempt) -> bool {
        let inside = || self.taken(attempt).is_none_or(|row| self.is_passed(row, &attempt.path));
        self.lets_pass(attempt) && (self.place_of(attempt).kind != "SWITCH" || inside())
    }

    /// Whether everything in a row has ended, branches included.
    pub(super) fn is_finished(&self, row: usize, path: &[u32]) -> bool {
        self.is_passed(row, path)
            && self.outline.rows[row].places.iter().all(|place| {
                self.last(*place, path).is_some_and(|attempt| {
                    let mut inner = self.branches(attempt);
                    inner.extend(self.taken(attempt));
                    inner.into_iter().all(|row| self.is_finished(row, path))
                })
            })
    }

    /// Whether the flow reached an attempt after another: as a later attempt at its place, inside
    /// it, further on in a row around it, or in a later iteration of a loop around it.
    pub(super) fn comes_after(&self, other: &Attempt, from: &Attempt) -> bool {
        let outline = &self.outline;
        let again = other.place == from.place && other.sequence > from.sequence;
        let inside = outline.is_inside(other.place, from.place);
        if (again || inside) && other.path.starts_with(&from.path) {
            return true;
        }
        let (mut place, mut path) = (from.place, from.path.clone());
        loop {
            if other.path.starts_with(&path) && outline.is_further_on(other.place, place) {
                return true;
            }
            let Some(around) = outline.rows[outline.places[place].row].inside else { return false };
            if outline.places[around].kind == "DO_WHILE" {
                let Some(iteration) = path.pop() else { return false };
                let later = other.path.get(path.len()).is_some_and(|number| *number > iteration);
                if later && other.path.starts_with(&path) && outline.is_inside(other.place, around)
                {
                    return true;
                }
            }
            place = around;
        }
    }

    /// Forgets attempts.
    pub(super) fn forget(&mut self, doomed: impl Fn(&Self, &Attempt) -> bool) {
        let doomed: Vec<u32> = self
            .attempts
            .values()
            .filter(|attempt| doomed(self, attempt))
            .map(|attempt| attempt.sequence)
            .collect();
        for sequence in doomed {
            self.attempts.remove(&sequence);
        }
        let repeated: Vec<u32> = self.attempts.values().filter_map(|a| a.repeats).collect();
        for attempt in self.attempts.values_mut() {
            attempt.retried = repeated.contains(&attempt.sequence);
        }
        self.latest.clear();
        for attempt in self.attempts.values() {
            self.latest.insert((attempt.place, attempt.path.clone()), attempt.sequence);
        }
    }
}
