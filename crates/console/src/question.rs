//! What is typed into the search of runs: words with a colon are filters, others free text.
//!
//! `status:RUNNING,FAILED name:nightly* version:7 id:… parent:… correlation:… own:yes hello`

use std::collections::BTreeSet;

use engine::search::{Filter, Mark, Search, TextField, TimeField};
use kernel::{ExecutionId, MachineKind, Timestamp};

use crate::Failure;

/// Rows of a page.
pub(crate) const ROWS: u64 = 50;

/// A search for runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) filters: Vec<Filter>,
    pub(crate) statuses: Vec<String>,
    words: Vec<String>,
    /// Queues and reasons that keep runs; see [`Question::resolve`].
    pub(crate) queues: Vec<String>,
    pub(crate) reasons: Vec<String>,
    /// With the runs that Nightbell makes for itself.
    own: bool,
}

impl Question {
    /// Reads what was typed.
    ///
    /// # Errors
    /// A filter is not known, or its value is not understood.
    pub(crate) fn read(text: &str) -> Result<Self, Failure> {
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
                    let numbers = numbers
                        .map_err(|_| Failure::wrong(format!("'{word}': a version is a number")))?;
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
                    return Err(Failure::wrong(format!("There is no filter '{name}:'")).with_hint(
                        "There are status:, name:, version:, id:, parent:, correlation:, why:, queue: and own:yes; \
                         other words are searched in names, inputs, outputs and reasons.",
                    ));
                }
            };
            question.filters.push(Filter::In(field, values().collect()));
        }
        Ok(question)
    }

    /// Turns queues and reasons into the runs that are stuck there now, as far as these are named.
    pub(crate) fn resolve(&mut self, stuck: &[engine::StuckGroup]) {
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
    pub(crate) fn search(&self, statuses: &[String]) -> Search {
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

    /// The search for one page, newest first, behind a mark.
    pub(crate) fn page(&self, after: Option<&str>) -> Result<Search, Failure> {
        let mut search = self.search(&self.statuses);
        if let Some(after) = after {
            search.filters.push(Filter::Past(mark(after)?));
        }
        search.sort = Mark::order(Some(TimeField::Created), true);
        // One more tells whether there is a next page.
        search.size = ROWS + 1;
        search.counting = engine::search::Counting::Next;
        Ok(search)
    }
}

fn mark(text: &str) -> Result<Mark, Failure> {
    let wrong = || Failure::wrong("The address names no place in the list");
    let (millis, id) = text.split_once('~').ok_or_else(wrong)?;
    let at = Timestamp::from_millis(millis.parse().map_err(|_| wrong())?);
    let id = ExecutionId::new(id);
    Ok(Mark { at: Some((TimeField::Created, at)), id, descending: true })
}

/// Where a page ends, for an address.
pub(crate) fn mark_of(created: Timestamp, id: &ExecutionId) -> String {
    format!("{}~{}", created.millis(), id.as_str())
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

    #[test]
    fn a_mark_leads_back_to_its_row() {
        let (at, id) = (Timestamp::from_millis(5), ExecutionId::new("a~b"));
        let mark = mark(&mark_of(at, &id)).expect("a mark");
        assert_eq!((mark.id, mark.at), (id, Some((TimeField::Created, at))));
        assert!(super::mark("x").is_err());
    }
}
