//! The `terminationCondition`: JavaScript that looks at an answer and says whether to go on.

use kernel::{Form, Json, ScriptError, ScriptErrorKind};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::http::fields::Fields;
use crate::http::{Code, Problem};

const MEMBER: &str = "terminationCondition";
/// How much of a wrong answer is shown, in characters.
const SHOWN_MAX: usize = 80;

/// A condition as its author wrote it.
pub(super) struct Condition(String);

/// What a condition says.
pub(super) enum Verdict {
    /// The task is complete.
    Done,
    /// Poll again.
    Again,
    /// The task has failed.
    Failed,
    /// Nothing that can be understood.
    Broken {
        /// Why.
        reason: String,
        /// Whether a retry is bound to end the same way.
        terminal: bool,
    },
}

impl Condition {
    /// Reads the condition from the first of `places` that has one.
    pub(super) fn parse(places: &[&Fields<'_>]) -> Result<Self, Problem> {
        for fields in places {
            if let Some(source) = fields.text(MEMBER)?.filter(|source| !source.trim().is_empty()) {
                return Ok(Self(source));
            }
        }
        let words = format!("The HTTP_POLL task's input needs a `{MEMBER}`");
        Err(Problem::new(Code::InvalidInput, words))
    }

    /// Evaluates the condition over `$`: `$.output` is what an HTTP task would give,
    /// `$.output.response.body`, and shows the members of the answer also at `$.output.body`;
    /// `$.input` is the task's input, whose members beside the request are at `$` itself too.
    ///
    /// `true` and 1 mean done; `false`, 0 and nothing mean again; -1 means failed.
    pub(super) fn judge(
        &self,
        run: impl FnOnce(&str, Form, &Json) -> Result<Json, ScriptError>,
        input: &Json,
        output: &Json,
    ) -> Verdict {
        let seen = Json::of(&Seen { input, output });
        match run(&self.0, Form::Statements, &seen) {
            Ok(answer) => read(&answer),
            Err(error) => Verdict::Broken {
                // The machine may have been busy, but a mistake stays one.
                terminal: error.kind != ScriptErrorKind::Timeout,
                reason: format!("its {MEMBER} failed: {error}"),
            },
        }
    }
}

fn read(answer: &Json) -> Verdict {
    let value = answer.parse();
    let number = match &value {
        Value::Null | Value::Bool(false) => Some(0.0),
        Value::Bool(true) => Some(1.0),
        value => value.as_f64(),
    };
    match number {
        Some(1.0) => Verdict::Done,
        Some(0.0) => Verdict::Again,
        Some(-1.0) => Verdict::Failed,
        _ => {
            let shown: String = answer.text().chars().take(SHOWN_MAX).collect();
            let reason =
                format!("its {MEMBER} must answer true, false, 1, 0 or -1, but answered {shown}");
            Verdict::Broken { reason, terminal: true }
        }
    }
}

/// What a condition sees as `$`.
struct Seen<'a> {
    input: &'a Json,
    output: &'a Json,
}

impl Serialize for Seen<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in Fields::of(self.input.text()).iter().flat_map(Fields::iter) {
            if !matches!(name, "http_request" | "input" | "output" | MEMBER) {
                map.serialize_entry(name, value)?;
            }
        }
        map.serialize_entry("input", self.input)?;
        map.serialize_entry("output", &Output(self.output))?;
        map.end()
    }
}

struct Output<'a>(&'a Json);

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let output = Fields::of(self.0.text());
        let response = output.as_ref().and_then(|output| output.get("response"));
        let Some(response) = response else { return self.0.serialize(serializer) };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("response", response)?;
        for (name, value) in Fields::of(response.get()).iter().flat_map(Fields::iter) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
