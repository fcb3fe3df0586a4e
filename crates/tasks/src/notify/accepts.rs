//! What counts as taken: the answers that services document for success, one description for each.
//!
//! A status alone is nobody's word. A proxy, a captive portal or a wrong path answers 200 with a page
//! of its own, and a page that nobody received would count as sent.

use serde_json::Value;

use super::verdict::{Answer, Verdict, text_at};

/// What the success of one service looks like.
pub(super) struct Accepts {
    /// Whose answer it is.
    pub(super) service: &'static str,
    /// One of these must be so.
    pub(super) proofs: &'static [Proof],
}

/// A body of a 2xx answer that only the service itself gives.
pub(super) enum Proof {
    /// A JSON object in which the member (a JSON pointer) is so.
    Json {
        /// The member.
        member: &'static str,
        /// What it must be.
        is: Is,
        /// Where the service says what it calls what it has made; nowhere = it does not say.
        names: &'static [&'static str],
    },
    /// This text.
    Text(&'static str),
    /// Nothing.
    Empty,
    /// The service documents no body: anything but a page of HTML.
    NoPage,
    /// Whatever it says.
    Any,
}

/// What a member must be.
pub(super) enum Is {
    /// This text.
    Text(&'static str),
    /// This number.
    Number(i64),
    /// True.
    True,
    /// A text that is not empty, or a number.
    Present,
}

impl Accepts {
    /// An answer that counts as taken.
    pub(super) fn example(&self) -> Answer {
        let body = match self.proofs.first() {
            Some(Proof::Text(text)) => (*text).to_owned(),
            Some(Proof::Json { member, is, names }) => {
                let mut members: Vec<(&str, Value)> =
                    names.iter().map(|name| (*name, Value::from("1"))).collect();
                let value = match is {
                    Is::Text(text) => (*text).into(),
                    Is::Number(number) => (*number).into(),
                    Is::True => true.into(),
                    Is::Present => "1".into(),
                };
                members.push((*member, value));
                nested(&members).to_string()
            }
            _ => String::new(),
        };
        Answer { status: 200, retry_after: None, body }
    }

    /// What a 2xx answer means: taken if it is proved so, and otherwise nobody knows.
    pub(super) fn judge(&self, answer: &Answer) -> Verdict {
        match self.proofs.iter().find_map(|proof| proof.of(answer)) {
            Some(reference) => Verdict::ok(reference),
            None => Verdict::Ambiguous {
                reason: format!("this is not {}'s answer: {}", self.service, answer.words()),
            },
        }
    }
}

/// An object with these members, each at its pointer.
fn nested(members: &[(&str, Value)]) -> Value {
    let mut root = Value::Object(serde_json::Map::new());
    for (pointer, value) in members {
        let mut place = &mut root;
        for name in pointer.trim_start_matches('/').split('/') {
            place = &mut place[name];
        }
        *place = value.clone();
    }
    root
}

impl Proof {
    /// The service's name for what it made, if the answer is what it must be.
    #[allow(clippy::option_option, reason = "proved or not, and then with a name or without")]
    fn of(&self, answer: &Answer) -> Option<Option<String>> {
        let body = answer.body.trim();
        match self {
            Self::Text(text) => (body == *text).then_some(None),
            Self::Empty => body.is_empty().then_some(None),
            Self::NoPage => (!is_page(body)).then_some(None),
            Self::Any => Some(None),
            Self::Json { member, is, names } => {
                let body = answer.json();
                is.holds(&body, member).then(|| name_in(&body, names))
            }
        }
    }
}

impl Is {
    fn holds(&self, body: &Value, member: &str) -> bool {
        let value = body.pointer(member);
        match self {
            Self::Text(text) => value.and_then(Value::as_str) == Some(text),
            Self::Number(number) => value.and_then(Value::as_i64) == Some(*number),
            Self::True => value == Some(&Value::Bool(true)),
            Self::Present => text_at(body, member).is_some(),
        }
    }
}

/// The parts of a name, joined by colons; absent unless all are there.
fn name_in(body: &Value, pointers: &[&str]) -> Option<String> {
    let parts: Option<Vec<String>> = pointers.iter().map(|it| text_at(body, it)).collect();
    parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join(":"))
}

/// Whether a body is a page of HTML, which proxies, portals and wrong paths answer.
pub(super) fn is_page(body: &str) -> bool {
    let begin: String = body.trim_start().chars().take(20).collect::<String>().to_ascii_lowercase();
    ["<!doctype", "<html", "<head", "<body"].iter().any(|tag| begin.starts_with(tag))
}
