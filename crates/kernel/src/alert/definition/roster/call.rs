//! What `oncall:NAME` in a route comes to: whom it calls at an instant, and by which receivers.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::is_default;
use super::{By, Follow, Roster};
use crate::time::Timestamp;

/// Before the name of a rotation where a receiver may stand.
pub const ON_CALL: &str = "oncall:";

/// `oncall:primary`, or `oncall:primary+1` for who comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The rotation.
    pub rotation: &'a str,
    /// How many people after those on call.
    pub next: u32,
}

impl<'a> Target<'a> {
    /// What a name in the place of a receiver calls; `None` if it is a receiver.
    pub fn parse(to: &'a str) -> Option<Self> {
        let name = to.strip_prefix(ON_CALL)?;
        Some(match name.rsplit_once('+') {
            Some((rotation, next)) if !next.is_empty() => match next.parse() {
                Ok(next) => Self { rotation, next },
                Err(_) => Self { rotation: name, next: 0 },
            },
            _ => Self { rotation: name, next: 0 },
        })
    }
}

/// Whom `oncall:…` called, as it is kept with the incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    /// As the route has it.
    #[serde(rename = "t")]
    pub target: Arc<str>,
    /// Who was called.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<Arc<str>>,
    /// What decided.
    #[serde(rename = "y")]
    pub why: Arc<str>,
    /// How they are reached, those without delay first.
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Contacted>,
    /// When to look at the rotation again, as its incidents follow hand-overs; [`Timestamp::MAX`] =
    /// there is none to come.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A receiver by which somebody is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contacted {
    /// The receiver.
    #[serde(rename = "t")]
    pub to: Arc<str>,
    /// Who.
    #[serde(rename = "p")]
    pub person: Arc<str>,
    /// Milliseconds after the call, if nobody has acknowledged by then.
    #[serde(rename = "a", default, skip_serializing_if = "is_default")]
    pub after: i64,
}

impl Roster {
    /// Whom a name in the place of a receiver calls at an instant; `None` if it is a receiver.
    ///
    /// In a gap all people of the rotation are called: better too many than nobody. What names a
    /// rotation that is gone calls nobody, and says so.
    pub fn call(&self, to: &str, at: Timestamp) -> Option<Called> {
        let target = Target::parse(to)?;
        let Some((by, on_call)) = self.decide(target.rotation, at) else {
            let why = format!("there is no rotation {}", target.rotation);
            return Some(Called { target: to.into(), why: why.into(), ..Called::default() });
        };
        let (people, why) = match (by, target.next) {
            (By::Gap, _) => {
                let all = self.line(target.rotation, at);
                (all, "nobody is on call: all people of the rotation are called".to_owned())
            }
            (By::Otherwise, _) if on_call.is_empty() => {
                (Vec::new(), "nobody is on call, as else says".to_owned())
            }
            (_, 0) => {
                let why = self.on_call(target.rotation, at).map(|shift| shift.why);
                (on_call, why.unwrap_or_default())
            }
            (_, next) => {
                let line = self.line(target.rotation, at);
                // Of a rotation of few people, the last of them: better again than nobody.
                let place = (on_call.len() + next as usize - 1).min(line.len().saturating_sub(1));
                let person: Vec<Arc<str>> = line.get(place).cloned().into_iter().collect();
                (person, format!("{next} after who is on call"))
            }
        };
        let contacts = self.contacts(&people);
        let until = self.follow(target.rotation).map(|_| {
            let shift = self.on_call(target.rotation, at);
            shift.and_then(|it| it.until).unwrap_or(Timestamp::MAX)
        });
        Some(Called { target: to.into(), people, why: why.into(), contacts, until })
    }

    /// What a hand-over does to open incidents for which a rotation was called; `None`: nothing.
    pub fn follow(&self, rotation: &str) -> Option<Follow> {
        self.rotations.get(rotation)?.follow
    }

    /// Whether nobody is on call by mistake.
    pub fn is_gap(&self, rotation: &str, at: Timestamp) -> bool {
        self.decide(rotation, at).is_some_and(|(by, _)| by == By::Gap)
    }

    /// How people are reached, each receiver once, the soonest first.
    fn contacts(&self, people: &[Arc<str>]) -> Vec<Contacted> {
        let mut contacts = Vec::new();
        for person in people {
            for contact in self.people.get(person).iter().flat_map(|it| &it.contact) {
                contacts.extend(contact.to.iter().map(|to| Contacted {
                    to: to.clone(),
                    person: person.clone(),
                    after: contact.after,
                }));
            }
        }
        contacts.sort_by_key(|contact| contact.after);
        let mut seen = BTreeSet::new();
        contacts.retain(|contact| seen.insert((contact.to.clone(), contact.person.clone())));
        contacts
    }
}
