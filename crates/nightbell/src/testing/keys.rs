//! The keys of test files, as tables: files are read by them, and so is the schema for editors made.

use kernel::editor::{
    document, list, one_or_list, record, reference, span, table, text, texts, whole, word,
};
use serde_json::{Value, json};

/// A map with these keys and no others.
pub(super) struct Keys {
    /// What it is, in a sentence about it.
    pub(super) what: &'static str,
    /// The keys, and what stands behind each.
    pub(super) members: &'static [(&'static str, Shape)],
    /// Those without which it is none.
    required: &'static [&'static str],
}

/// What may stand behind a key.
pub(super) enum Shape {
    Text,
    Texts,
    /// A duration.
    Span,
    Count,
    /// A map whose content is the user's.
    Map,
    Any,
    Word(&'static [&'static str]),
    /// One of these maps.
    Of(&'static Keys),
    /// One, or a list of them.
    Items(&'static Keys),
    /// By free names one, or a list, of these.
    Named(&'static Keys),
    /// By free names a text.
    Texted,
    /// What checks see.
    Feed,
}

use Shape::{Any, Count, Feed, Items, Map, Named, Of, Span, Text, Texted, Texts, Word};

/// The ends that a workflow can have.
pub(super) const STATUSES: &[&str] = &["COMPLETED", "FAILED", "TERMINATED", "TIMED_OUT"];
const SEVERITIES: &[&str] = &["info", "warning", "error", "critical"];

pub(super) static FILE: Keys = Keys {
    what: "a test file",
    members: &[("uses", Texts), ("start", Text), ("tests", Any)],
    required: &["tests"],
};

pub(super) static WORKFLOW: Keys = Keys {
    what: "a test of a workflow",
    members: &[
        ("name", Text),
        ("start", Text),
        ("workflow", Text),
        ("input", Any),
        ("mocks", Named(&MOCK)),
        ("expect", Of(&EXPECT_WORKFLOW)),
    ],
    required: &["name", "workflow", "expect"],
};

pub(super) static EXPECT_WORKFLOW: Keys = Keys {
    what: "`expect` of a workflow",
    members: &[
        ("status", Word(STATUSES)),
        ("path", Texts),
        ("output", Any),
        ("exactly", Any),
        ("inputs", Map),
        ("took", Text),
    ],
    required: &[],
};

pub(super) static MOCK: Keys = Keys {
    what: "a mock",
    members: &[("output", Map), ("takes", Span), ("fail", Text), ("signal", Map), ("after", Span)],
    required: &[],
};

pub(super) static MONITOR: Keys = Keys {
    what: "a test of a monitor",
    members: &[
        ("name", Text),
        ("start", Text),
        ("monitor", Text),
        ("series", Texted),
        ("feed", Feed),
        ("acts", Items(&ACT)),
        ("until", Text),
        ("phase", Word(&["real"])),
        ("expect", Of(&EXPECT_MONITOR)),
    ],
    required: &["name", "monitor", "expect"],
};

pub(super) static EXPECT_MONITOR: Keys = Keys {
    what: "`expect` of a monitor",
    members: &[
        ("incidents", Items(&INCIDENT)),
        ("told", Items(&TOLD)),
        ("never", Items(&NEVER)),
        ("messages", Word(&["snapshot"])),
    ],
    required: &[],
};

pub(super) static ACT: Keys = Keys {
    what: "an act",
    members: &[
        ("at", Text),
        ("acknowledge", Text),
        ("by", Text),
        ("receiver", Text),
        ("answers", Count),
        ("for", Span),
    ],
    required: &["at"],
};

pub(super) static INCIDENT: Keys = Keys {
    what: "an incident",
    members: &[("key", Text), ("opens", Text), ("resolves", Text)],
    required: &[],
};

/// What receivers are told.
pub(super) const EVENTS: &[&str] =
    &["trigger", "escalation", "reminder", "acknowledge", "resolve", "digest"];
const TELLING: &[(&str, Shape)] =
    &[("to", Text), ("event", Word(EVENTS)), ("key", Text), ("at", Text)];
pub(super) static TOLD: Keys = Keys { what: "an entry of `told`", members: TELLING, required: &[] };
pub(super) static NEVER: Keys =
    Keys { what: "an entry of `never`", members: TELLING, required: &[] };

pub(super) static SCHEDULE: Keys = Keys {
    what: "a test of a schedule",
    members: &[
        ("name", Text),
        ("schedule", Text),
        ("from", Text),
        ("to", Text),
        ("runs", Of(&RUNS)),
        ("down", Items(&DOWN)),
        ("expect", Of(&EXPECT_SCHEDULE)),
    ],
    required: &["name", "schedule", "from", "to", "expect"],
};

pub(super) static RUNS: Keys = Keys { what: "`runs`", members: &[("takes", Span)], required: &[] };
pub(super) static DOWN: Keys =
    Keys { what: "`down`", members: &[("from", Text), ("for", Span)], required: &["from", "for"] };

pub(super) static EXPECT_SCHEDULE: Keys = Keys {
    what: "`expect` of a schedule",
    members: &[("fires", Texts), ("missed", Count), ("skipped", Count)],
    required: &[],
};

pub(super) static ROUTE: Keys = Keys {
    what: "a test of a route",
    members: &[
        ("name", Text),
        ("start", Text),
        ("route", Of(&ROUTED)),
        ("expect", Of(&EXPECT_ROUTE)),
    ],
    required: &["name", "route", "expect"],
};

pub(super) static ROUTED: Keys = Keys {
    what: "`route`",
    members: &[
        ("monitor", Text),
        ("key", Text),
        ("labels", Texted),
        ("severity", Word(SEVERITIES)),
        ("at", Text),
    ],
    required: &[],
};

pub(super) static EXPECT_ROUTE: Keys = Keys {
    what: "`expect` of a route",
    members: &[("told", Items(&TOLD_BY_ROUTE))],
    required: &["told"],
};

pub(super) static TOLD_BY_ROUTE: Keys = Keys {
    what: "an entry of `told`",
    members: &[("to", Text), ("after", Span), ("who", Texts)],
    required: &["to"],
};

/// The tests that there are, by the key that tells which one it is.
pub(super) static TESTS: [(&str, &Keys); 4] =
    [("workflow", &WORKFLOW), ("monitor", &MONITOR), ("schedule", &SCHEDULE), ("route", &ROUTE)];

impl Keys {
    /// The names of the keys.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.members.iter().map(|(name, _)| *name)
    }

    fn schema(&self) -> Value {
        record(self.members.iter().map(|(name, shape)| (*name, shape.schema())), self.required)
    }
}

impl Shape {
    fn schema(&self) -> Value {
        match self {
            Text => text(),
            Texts => texts(),
            Span => span(),
            Count => whole(),
            Map => json!({ "type": "object" }),
            Any => json!({}),
            Word(words) => word(words),
            Of(keys) => keys.schema(),
            Items(keys) => one_or_list(&keys.schema()),
            Named(keys) => table(&one_or_list(&keys.schema())),
            Texted => table(&text()),
            Feed => {
                let row = json!({ "type": ["object", "string"], "pattern": "^[_!]$" });
                one_or_list(&one_or_list(&row))
            }
        }
    }
}

/// The schema of a file of tests.
pub(crate) fn schema() -> Value {
    let mut file = FILE.schema();
    file["properties"]["tests"] = list(&reference("test"));
    // A key says of what it is, so that an editor says what is wrong with a test of that kind.
    let mut test = json!({ "required": ["name", "expect"], "anyOf": TESTS.map(|(key, _)| json!({ "required": [key] })) });
    for (key, keys) in TESTS.iter().rev() {
        test = json!({ "if": { "required": [key] }, "then": keys.schema(), "else": test });
    }
    document("Nightbell: tests", file, vec![("test", test)])
}
