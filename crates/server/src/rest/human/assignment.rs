//! To whom a HUMAN task is assigned, as its input says, and who has claimed it, as its output says.

use std::sync::Arc;

use kernel::{Json, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The member of the input with the assignments.
pub(super) const DEFINITION: &str = "__humanTaskDefinition";
/// The member of the output with the claim.
pub(super) const CONTEXT: &str = "__humanTaskProcessContext";

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Assignee {
    /// Whether it is a user or a group, of this server or elsewhere.
    pub(super) user_type: UserType,
    /// The name.
    pub(super) user: String,
}

/// What an assignee is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum UserType {
    /// A user of this server.
    ConductorUser,
    /// A group of this server.
    ConductorGroup,
    /// A user of another system.
    ExternalUser,
    /// A group of another system.
    ExternalGroup,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Person {
    /// The name of the user, or of the user whose key it is.
    pub(super) name: Option<Arc<str>>,
    pub(super) groups: Vec<Arc<str>>,
}

impl Assignee {
    /// Whether it is this person, or a group of theirs. Whom other systems know, nobody is here.
    pub(super) fn covers(&self, person: &Person) -> bool {
        let is = |name: &Arc<str>| name.eq_ignore_ascii_case(&self.user);
        match self.user_type {
            UserType::ConductorUser => person.name.as_ref().is_some_and(is),
            UserType::ConductorGroup => person.groups.iter().any(is),
            UserType::ExternalUser | UserType::ExternalGroup => false,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assignment {
    assignee: Assignee,
    /// After so long the next one is meant; absent or 0 = never.
    #[serde(default)]
    sla_minutes: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Definition {
    display_name: Option<String>,
    assignments: Vec<Assignment>,
    /// An older way to say the only one.
    assignee: Option<Assignee>,
    assignment_completion_strategy: Option<String>,
}

/// Whom a task is assigned to at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Assigned {
    /// Everybody who may respond.
    Open,
    To(Assignee),
    /// What the input says makes no sense: nobody.
    Unreadable,
}

/// A HUMAN task, as far as it matters who does it.
#[derive(Clone, Debug)]
pub(super) struct Work {
    definition: Result<Definition, String>,
    pub(super) claimant: Option<Assignee>,
    begun: Timestamp,
}

impl Work {
    pub(super) fn of(input: &Json, output: &Json, begun: Timestamp) -> Self {
        let definition = match input.parse().get_mut(DEFINITION).map(Value::take) {
            None | Some(Value::Null) => Ok(Definition::default()),
            Some(told) => serde_json::from_value(told).map_err(|error| error.to_string()),
        };
        let claimant =
            output.parse().get_mut(CONTEXT).and_then(|it| it.get_mut("claimant")).map(Value::take);
        let claimant = claimant.and_then(|it| serde_json::from_value(it).ok());
        Self { definition, claimant, begun }
    }

    /// What people call it.
    pub(super) fn display_name(&self) -> Option<&str> {
        self.definition.as_ref().ok()?.display_name.as_deref()
    }

    /// Why nobody can tell whom it is assigned to.
    pub(super) fn problem(&self) -> Option<&str> {
        self.definition.as_ref().err().map(String::as_str)
    }

    /// Whom it is assigned to. Each assignment gives way to the next after its time; after the last one the
    /// task is open, unless it says that it ends then: it stays with the last one here.
    pub(super) fn assigned(&self, now: Timestamp) -> Assigned {
        let Ok(definition) = &self.definition else { return Assigned::Unreadable };
        let mut left = now.since(self.begun).max(0) as f64;
        for assignment in &definition.assignments {
            match assignment.sla_minutes.filter(|minutes| *minutes > 0.0) {
                Some(minutes) if left >= minutes * 60_000.0 => left -= minutes * 60_000.0,
                _ => return Assigned::To(assignment.assignee.clone()),
            }
        }
        let stays = definition.assignment_completion_strategy.as_deref() == Some("TERMINATE");
        match (definition.assignments.last(), &definition.assignee) {
            (Some(last), _) if stays => Assigned::To(last.assignee.clone()),
            (None, Some(only)) => Assigned::To(only.clone()),
            _ => Assigned::Open,
        }
    }

    /// Whether it is for this person to do.
    pub(super) fn is_for(&self, person: &Person, now: Timestamp) -> bool {
        match (&self.claimant, self.assigned(now)) {
            (Some(claimant), _) => claimant.covers(person),
            (None, Assigned::Open) => true,
            (None, Assigned::To(assignee)) => assignee.covers(person),
            (None, Assigned::Unreadable) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn work(definition: &Value, claimant: &Value) -> Work {
        let input = Json::from(&json!({ DEFINITION: definition }));
        let output = Json::from(&json!({ CONTEXT: { "claimant": claimant } }));
        Work::of(&input, &output, Timestamp::from_millis(0))
    }

    fn person(name: &str, groups: &[&str]) -> Person {
        let groups = groups.iter().map(|&group| group.into()).collect();
        Person { name: Some(name.into()), groups }
    }

    fn user(name: &str) -> Value {
        json!({ "userType": "CONDUCTOR_USER", "user": name })
    }

    #[test]
    fn assignments_give_way_to_the_next_after_their_time() {
        let definition = json!({ "assignments": [
            { "assignee": user("Ann"), "slaMinutes": 10 },
            { "assignee": { "userType": "CONDUCTOR_GROUP", "user": "sre" }, "slaMinutes": 5 }] });
        let work = |strategy: &str| {
            let mut definition = definition.clone();
            definition["assignmentCompletionStrategy"] = strategy.into();
            self::work(&definition, &Value::Null)
        };
        let (ann, bob, eve) = (person("ann", &[]), person("bob", &["sre"]), person("eve", &[]));
        let for_whom = |work: &Work, minute: i64| {
            let now = Timestamp::from_millis(minute * 60_000);
            [&ann, &bob, &eve].map(|it| work.is_for(it, now))
        };
        let open = work("LEAVE_OPEN");
        assert_eq!(for_whom(&open, 9), [true, false, false]);
        assert_eq!(for_whom(&open, 10), [false, true, false]);
        assert_eq!(for_whom(&open, 15), [true, true, true]);
        assert_eq!(for_whom(&work("TERMINATE"), 15), [false, true, false]);
    }

    #[test]
    fn who_has_claimed_it_does_it_and_what_makes_no_sense_is_for_nobody() {
        let now = Timestamp::from_millis(0);
        let claimed = work(&json!({ "assignee": user("ann") }), &user("bob"));
        assert!(
            claimed.is_for(&person("bob", &[]), now) && !claimed.is_for(&person("ann", &[]), now)
        );
        assert!(work(&Value::Null, &Value::Null).is_for(&person("eve", &[]), now));
        for odd in [
            json!(7),
            json!({ "assignments": [{ "assignee": "ann" }] }),
            json!({ "assignments": "x" }),
        ] {
            let odd = work(&odd, &Value::Null);
            assert!(!odd.is_for(&person("ann", &[]), now) && odd.problem().is_some());
        }
        let outside = json!({ "assignee": { "userType": "EXTERNAL_USER", "user": "ann" } });
        assert!(!work(&outside, &Value::Null).is_for(&person("ann", &[]), now));
    }
}
