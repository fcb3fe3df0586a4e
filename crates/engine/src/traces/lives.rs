//! When a run began and ended, as often as it did: one that has failed may be tried again, and one that has
//! ended may be terminated.

use kernel::Timestamp;

use crate::past::PastCommit;

/// A stretch from a begin to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// When it began; `None` if it had ended already and did not run in between.
    began_at: Option<Timestamp>,
    ended_at: Timestamp,
}

/// The lives that a history tells of. `began_at` is when that began whose beginning it does not have.
pub(super) fn of(commits: &[PastCommit], began_at: Timestamp) -> Vec<Life> {
    let (mut lives, mut began) = (Vec::new(), None);
    for commit in commits {
        let Some(at) = commit.at else { continue };
        for fact in &commit.facts {
            match &*fact.kind {
                "started" | "branched" | "revived" => began = Some(at),
                "snapshot" => began = Some(began_at),
                "ended" => lives.push(Life { began_at: began.take(), ended_at: at }),
                _ => {}
            }
        }
    }
    lives
}

/// Since when what was done is to be exported with an end, if the first end that was not exported before it
/// is known; `None` if nothing is.
pub(super) fn since(
    lives: &[Life],
    ended_at: Timestamp,
    unsent: Option<Timestamp>,
) -> Option<Timestamp> {
    let life = |end: Timestamp| lives.iter().rfind(|life| life.ended_at == end);
    let unsent = unsent.and_then(life).and_then(|life| life.began_at);
    unsent.or_else(|| life(ended_at)?.began_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::past::PastFact;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn commits(facts: &[(i64, &str)]) -> Vec<PastCommit> {
        let commit = |(version, (millis, kind)): (usize, &(i64, &str))| PastCommit {
            version: version as u64,
            at: Some(at(*millis)),
            facts: vec![PastFact { kind: (*kind).to_owned(), sequence: None }],
        };
        facts.iter().enumerate().map(commit).collect()
    }

    #[test]
    fn what_is_exported_begins_with_the_last_life_or_with_the_first_that_was_not() {
        let facts = [
            (1, "started"),
            (2, "scheduled"),
            (5, "ended"),
            (7, "revived"),
            (9, "ended"),
            (11, "ended"),
            (13, "revived"),
            (15, "ended"),
        ];
        let lives = of(&commits(&facts), at(0));
        assert_eq!(since(&lives, at(5), None), Some(at(1)));
        assert_eq!(since(&lives, at(9), None), Some(at(7)));
        assert_eq!(since(&lives, at(11), None), None, "it did not run since");
        assert_eq!(since(&lives, at(11), Some(at(9))), Some(at(7)));
        assert_eq!(since(&lives, at(15), None), Some(at(13)));
        assert_eq!(since(&lives, at(15), Some(at(5))), Some(at(1)));
    }

    #[test]
    fn a_history_without_its_beginning_tells_what_it_can() {
        let lives = of(&commits(&[(20, "snapshot"), (30, "ended")]), at(12));
        assert_eq!(since(&lives, at(30), None), Some(at(12)));
    }
}
