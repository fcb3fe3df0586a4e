//! What people type to find runs: words with a colon are filters, others free text.
//!
//! `status:RUNNING,FAILED name:nightly* version:7 id:… parent:… correlation:… own:yes hello`

use std::collections::BTreeSet;

use kernel::{ExecutionId, MachineKind, Rejected};

use crate::queues::StuckGroup;
use crate::search::{Filter, Search, TextField};

/// The filters that there are, for whoever typed another.
const FILTERS: &str = "there are status:, name:, version:, id:, parent:, correlation:, why:, queue: and own:yes; \
    other words are searched in names, inputs, outputs and reasons";

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
    /// With the runs that Nightbell makes for itself.
    own: bool,
}

impl Question {
    /// Reads what was typed.
    ///
    /// # Errors
    /// [`Rejected::Invalid`] if a filter is not known, or its value is not understood.
    pub fn read(text: &str) -> Result<Self, Rejected> {
        let mut question = Self::default();
        for word in text.split_whitespace().take(50) {
            let Some((name, value)) = word.split_once(':').filter(|(_, value)| !value.is_empty())
            else {
                question.words.push(word.to_owned());
                continue;
            };
            let values = || value.split(',').filter(|it| !it.is_empty()).map(str::to_owned);
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
                _ if !name.chars().all(|c| c.is_ascii_lowercase()) => {
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

    /// Turns queues and reasons into the runs that are stuck there now, as far as these are named.
    pub fn resolve(&mut self, stuck: &[StuckGroup]) {
        if self.queues.is_empty() && self.reasons.is_empty() {
            return;
        }
        let fits = |asked: &[String], is: &str| asked.is_empty() || asked.iter().any(|it| it == is);
        let groups = stuck.iter().filter(|group| {
            fits(&self.queues, &group.queue) && fits(&self.reasons, group.blocked.code())
        });
        let runs: BTreeSet<&str> =
            groups.flat_map(|group| group.runs.iter().map(ExecutionId::as_str)).collect();
        let runs = runs.into_iter().map(str::to_owned).collect();
        self.filters.push(Filter::In(TextField::Id, runs));
    }

    /// The search for all that matches; `statuses` may stand for those that were typed.
    pub fn search(&self, statuses: &[String]) -> Search {
        let mut filters = self.filters.clone();
        if !statuses.is_empty() {
            filters.push(Filter::In(TextField::Status, statuses.to_vec()));
        }
        let search = Search {
            beside: Some(MachineKind::Instance),
            filters,
            free_text: (!self.words.is_empty()).then(|| self.words.join(" ")),
            ..Search::default()
        };
        if self.own { search } else { search.without_own_runs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_a_colon_are_filters_and_others_are_text() {
        let read = |text: &str| Question::read(text).expect("it is understood");
        let question = read("status:running,Failed name:nightly* version:7 disk full 02:15");
        assert_eq!(question.statuses, ["RUNNING", "FAILED"]);
        assert_eq!(question.filters.len(), 2);
        assert_eq!(question.words, ["disk", "full", "02:15"]);
        assert!(Question::read("colour:red").is_err());
        assert!(Question::read("version:new").is_err());
        // Own runs are left out unless they are asked for.
        let own = |text: &str| read(text).search(&[]).filters.len();
        assert_eq!((own(""), own("own:yes")), (1, 0));
    }
}
