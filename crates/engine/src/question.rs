//! What people type to find runs: words with a colon are filters, others free text.
//!
//! `status:RUNNING,FAILED name:nightly* kind:workflow after:24h error:HTTP*503 parent:… own:yes hello`

use std::collections::BTreeSet;

use kernel::{ExecutionId, MachineKind, Rejected, Timestamp};

use crate::queues::StuckGroup;
use crate::search::{Filter, OWN_RUNS, Search, TextField, TimeField};

/// The filters that there are, for whoever typed another.
const FILTERS: &str = "there are status:, name:, version:, id:, parent:, correlation:, kind:, after:, before:, \
    error:, why:, queue: and own:yes; other words are searched in names, inputs, outputs and reasons";

/// Their names.
const NAMES: [&str; 13] = [
    "status",
    "name",
    "version",
    "id",
    "parent",
    "correlation",
    "kind",
    "after",
    "before",
    "error",
    "why",
    "queue",
    "own",
];

/// What a run is a run of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// A definition of a workflow.
    Workflow,
    /// Code in workers.
    Orchestration,
}

impl RunKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Workflow, Self::Orchestration];

    /// Its word after `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Orchestration => "orchestration",
        }
    }
}

/// Words of one search.
const WORDS_MAX: usize = 50;

/// A search for runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    filters: Vec<Filter>,
    /// Statuses that were typed, in capitals.
    pub statuses: Vec<String>,
    words: Vec<String>,
    /// Queues and reasons that keep runs; see [`Question::resolve`].
    queues: Vec<String>,
    reasons: Vec<String>,
    /// Only runs of this kind.
    pub kind: Option<RunKind>,
    /// With the runs that Nightbell makes for itself.
    own: bool,
}

impl Question {
    /// Reads what was typed at an instant.
    ///
    /// # Errors
    /// [`Rejected::Invalid`] if a filter is not known, or its value is missing or not understood, or there
    /// are more than fifty words: whatever was left out would find more than was asked for.
    pub fn read(text: &str, now: Timestamp) -> Result<Self, Rejected> {
        let mut question = Self::default();
        if text.split_whitespace().nth(WORDS_MAX).is_some() {
            let message = format!("there are more than {WORDS_MAX} words: search with fewer");
            return Err(Rejected::Invalid(message));
        }
        for word in text.split_whitespace() {
            let Some((name, value)) = word.split_once(':') else {
                question.words.push(word.to_owned());
                continue;
            };
            let values = || value.split(',').filter(|it| !it.is_empty()).map(str::to_owned);
            if NAMES.contains(&name) && values().next().is_none() {
                let message = format!(
                    "'{name}:' has no value, and without one it would find everything; {FILTERS}"
                );
                return Err(Rejected::Invalid(message));
            }
            let field = match name {
                "status" => {
                    question.statuses.extend(values().map(|it| it.to_ascii_uppercase()));
                    continue;
                }
                "queue" => {
                    question.queues.extend(values());
                    continue;
                }
                "why" => {
                    question.reasons.extend(values());
                    continue;
                }
                "kind" => {
                    let named = RunKind::ALL.into_iter().find(|kind| kind.as_str() == value);
                    question.kind = Some(named.ok_or_else(|| {
                        let message = format!("'{word}': the kinds are workflow and orchestration");
                        Rejected::Invalid(message)
                    })?);
                    continue;
                }
                "after" => {
                    let at = instant(value, now).ok_or_else(|| not_a_time(word))?;
                    let filter = Filter::After(TimeField::Created, at.plus_millis(-1));
                    question.filters.push(filter);
                    continue;
                }
                "before" => {
                    let at = instant(value, now).ok_or_else(|| not_a_time(word))?;
                    question.filters.push(Filter::Before(TimeField::Created, at));
                    continue;
                }
                "error" => {
                    let within = values().map(|it| format!("*{}*", it.trim_matches('*')));
                    question.filters.push(Filter::In(TextField::Reason, within.collect()));
                    continue;
                }
                "name" => TextField::Name,
                "id" => TextField::Id,
                "parent" => TextField::Parent,
                "correlation" => TextField::CorrelationId,
                "version" => {
                    let numbers: Result<Vec<u32>, _> = values().map(|it| it.parse()).collect();
                    let numbers = numbers.map_err(|_| {
                        Rejected::Invalid(format!("'{word}': a version is a number"))
                    })?;
                    question.filters.push(Filter::Version(numbers));
                    continue;
                }
                "own" => {
                    question.own = value == "yes";
                    continue;
                }
                // Text that has a colon, such as a time.
                _ if value.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase()) => {
                    question.words.push(word.to_owned());
                    continue;
                }
                _ => {
                    let message = format!("there is no filter '{name}:'; {FILTERS}");
                    return Err(Rejected::Invalid(message));
                }
            };
            question.filters.push(Filter::In(field, values().collect()));
        }
        Ok(question)
    }

    /// Turns queues and reasons into the runs that are stuck there now, and tells whether there are more
    /// than the groups name.
    pub fn resolve(&mut self, stuck: &[StuckGroup]) -> bool {
        if self.queues.is_empty() && self.reasons.is_empty() {
            return false;
        }
        let fits = |asked: &[String], is: &str| asked.is_empty() || asked.iter().any(|it| it == is);
        let groups = stuck.iter().filter(|group| {
            fits(&self.queues, &group.queue) && fits(&self.reasons, group.blocked.code())
        });
        let groups: Vec<&StuckGroup> = groups.collect();
        let is_cut = groups.iter().any(|group| group.has_more);
        let runs = groups.iter().flat_map(|group| group.runs.iter().map(ExecutionId::as_str));
        let runs: BTreeSet<&str> = runs.collect();
        let runs = runs.into_iter().map(str::to_owned).collect();
        self.filters.push(Filter::In(TextField::Id, runs));
        is_cut
    }

    /// As [`Question::search`], but without the runs that Nightbell makes for itself unless `own:yes` is
    /// typed, whatever else is: for acts on all that is found.
    pub fn search_of_people(&self, statuses: &[String]) -> Search {
        let mut search = self.search(statuses);
        let own = Filter::NotIn(TextField::Name, OWN_RUNS.map(str::to_owned).to_vec());
        if !self.own && !search.filters.contains(&own) {
            search.filters.push(own);
        }
        search
    }

    /// The search for all that matches; `statuses` may stand for those that were typed.
    pub fn search(&self, statuses: &[String]) -> Search {
        let mut filters = self.filters.clone();
        if !statuses.is_empty() {
            filters.push(Filter::In(TextField::Status, statuses.to_vec()));
        }
        let (machine, beside) = match self.kind {
            None => (MachineKind::Execution, Some(MachineKind::Instance)),
            Some(RunKind::Workflow) => (MachineKind::Execution, None),
            Some(RunKind::Orchestration) => (MachineKind::Instance, None),
        };
        let search = Search {
            machine,
            beside,
            filters,
            free_text: (!self.words.is_empty()).then(|| self.words.join(" ")),
            ..Search::default()
        };
        if self.own { search } else { search.without_own_runs() }
    }
}

fn not_a_time(word: &str) -> Rejected {
    Rejected::Invalid(format!(
        "'{word}' is not understood: write a time such as 2026-01-31T08:00:00Z, a day such as 2026-01-31 \
         (its beginning in UTC), or an age such as 30m, 24h or 7d"
    ))
}

/// An instant, a day, milliseconds since 1970, or how long before `now`.
fn instant(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.into());
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        return Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().into());
    }
    if let Ok(millis) = text.parse() {
        return Some(Timestamp::from_millis(millis));
    }
    let unit = match text.chars().last()? {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let count: u32 = text[..text.len() - 1].parse().ok()?;
    Some(now.plus_millis(-i64::from(count) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    #[test]
    fn a_time_is_an_instant_a_day_or_an_age() {
        let at = |text: &str| instant(text, NOW).map(Timestamp::millis);
        assert_eq!(at("2026-01-01T00:00:00Z"), Some(1_767_225_600_000));
        assert_eq!(at("2026-01-01T01:00:00+01:00"), Some(1_767_225_600_000));
        assert_eq!(at("2025-12-31"), Some(1_767_139_200_000));
        assert_eq!(at("1767225600000"), Some(1_767_225_600_000));
        assert_eq!(at("24h"), Some(1_767_139_200_000));
        assert_eq!(at("90s"), Some(1_767_225_510_000));
        for wrong in ["", "h", "-1h", "1é", "soon", "2026-13-01"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn kinds_times_and_errors_are_filters() {
        let read = |text: &str| Question::read(text, NOW).expect("it is understood");
        let search = read("kind:orchestration after:24h before:2026-01-01").search(&[]);
        assert_eq!((search.machine, search.beside), (MachineKind::Instance, None));
        let day = [
            Filter::After(TimeField::Created, Timestamp::from_millis(1_767_139_199_999)),
            Filter::Before(TimeField::Created, NOW),
        ];
        assert_eq!(search.filters[..2], day);
        let error = read("error:HTTP*503").search(&[]).filters;
        assert_eq!(error[0], Filter::In(TextField::Reason, vec!["*HTTP*503*".to_owned()]));
        for text in ["kind:", "kind:check", "after:soon", "before:", "error:,"] {
            assert!(matches!(Question::read(text, NOW), Err(Rejected::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn words_with_a_colon_are_filters_and_others_are_text() {
        let read = |text: &str| Question::read(text, NOW).expect("it is understood");
        let question = read("status:running,Failed name:nightly* version:7 disk full 02:15");
        assert_eq!(question.statuses, ["RUNNING", "FAILED"]);
        assert_eq!(question.filters.len(), 2);
        assert_eq!(question.words, ["disk", "full", "02:15"]);
        assert!(Question::read("colour:red", NOW).is_err());
        assert!(Question::read("version:new", NOW).is_err());
        // What is empty is refused: without the condition, everything would be found.
        for text in
            ["why:,", "queue:,", "status:", "name:", "version:,", "own:", "a ".repeat(51).as_str()]
        {
            assert!(matches!(Question::read(text, NOW), Err(Rejected::Invalid(_))), "{text}");
        }
        assert_eq!(read("note: 02: full").words, ["note:", "02:", "full"]);
        let people = |text: &str| read(text).search_of_people(&[]).filters.len();
        assert_eq!((people("words"), people("id:a"), people(""), people("own:yes")), (1, 2, 1, 0));
        // Own runs are left out unless they are asked for.
        let own = |text: &str| read(text).search(&[]).filters.len();
        assert_eq!((own(""), own("own:yes")), (1, 0));
    }
}
