//! The kinds of receiver: a table, and the shape that all of them share.

use kernel::alert::definition::Remark;
use serde_json::Value;

use super::accepts::Accepts;
use super::bounds;
use super::notification::Notification;
use super::pace::Pace;
use super::settings::{self, Settings, Shape};
use super::verdict::{Answer, Verdict};
use super::{
    datadog, discord, email, lark, mattermost, ntfy, opsgenie, pagerduty, slack, squadcast, teams,
    telegram, twilio, webhook,
};

/// One kind of receiver.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Of each line, one setting must be there.
    pub(super) needs: &'static [&'static [&'static str]],
    /// The settings it knows.
    pub(super) settings: &'static [(&'static str, Shape)],
    /// What else can be wrong with its settings.
    pub(super) check: fn(Settings<'_>, &mut Vec<String>),
    /// How fast it may be told, unless the receiver's `rate` says otherwise.
    pub(super) pace: Pace,
    /// How it is told.
    pub(super) way: Way,
}

/// How a kind of receiver is told.
pub(super) enum Way {
    /// By calls over HTTP, built from the order and judged by their answers.
    Calls {
        /// What to call; nothing if the service has no word for the event.
        build: fn(&Order<'_>) -> Result<Vec<Call>, String>,
        /// What an answer means.
        judge: Judge,
    },
    /// By mail.
    Mail,
    /// By a line in the console's inbox.
    Inbox,
    /// By a workflow of its own, which does not come through here.
    Workflow,
}

/// How a service's answers are understood.
pub(super) struct Judge {
    /// What an answer must be to count as taken.
    pub(super) accepts: fn(Settings<'_>) -> &'static Accepts,
    /// What the service documents of refusals; absent for all other answers.
    pub(super) refuses: fn(Settings<'_>, &Answer) -> Option<Verdict>,
}

impl Judge {
    /// What an answer means: what the service documents of refusals comes first, then what it
    /// documents of success, then what the status says.
    pub(super) fn of(&self, settings: Settings<'_>, answer: &Answer) -> Verdict {
        (self.refuses)(settings, answer).unwrap_or_else(|| {
            if answer.is_success() {
                (self.accepts)(settings).judge(answer)
            } else {
                answer.by_status()
            }
        })
    }
}

/// What one delivery has to say, to whom.
pub(super) struct Order<'a> {
    /// The kind, as it was asked for.
    pub(super) kind: &'a str,
    /// The receiver's settings, secrets resolved.
    pub(super) settings: Settings<'a>,
    /// The receiver's name; empty if it has none.
    pub(super) receiver: &'a str,
    /// What to say.
    pub(super) notification: &'a Notification,
    /// Names the delivery, the same over its attempts.
    pub(super) id: &'a str,
    /// Now, in milliseconds since 1970.
    pub(super) now_ms: i64,
    /// Where people find this server.
    pub(super) home: &'a Home,
}

/// Where people find this server, and by which clock they live.
#[derive(Clone, Debug, Default)]
pub(super) struct Home {
    /// The address of the server for people, without a slash at its end; empty if nobody said.
    pub(super) public_url: String,
    /// The time zone of the machine; absent if it is UTC, or unknown.
    pub(super) zone: Option<String>,
}

impl Home {
    /// This machine.
    pub(super) fn here(public_url: &str) -> Self {
        let zone = jiff::tz::TimeZone::system();
        let zone = zone.iana_name().filter(|name| !UTC.contains(name)).map(str::to_owned);
        Self { public_url: public_url.trim_end_matches('/').to_owned(), zone }
    }

    /// The page of an incident; that of all of them if it is about none, or several.
    pub(super) fn link(&self, incident: Option<&str>) -> Option<String> {
        let incident = incident.map_or_else(String::new, |id| format!("/{}", bounds::encoded(id)));
        let url = &self.public_url;
        (!url.is_empty()).then(|| format!("{url}/console/incidents{incident}"))
    }
}

/// Names of UTC.
pub(super) const UTC: [&str; 4] = ["UTC", "Etc/UTC", "Etc/Unknown", "Etc/GMT"];

impl Order<'_> {
    /// Where to look at what a notification is about, and acknowledge it.
    pub(super) fn link(&self, about: &Notification) -> Option<String> {
        let incident = about.text("incident").filter(|_| about.group.is_none());
        let test = about.event == kernel::alert::NotificationEvent::Test;
        self.home.link(incident.as_deref()).filter(|_| !test)
    }

    /// The token that acknowledges what a message tells, if its receiver lets people answer.
    pub(super) fn ack_token(&self) -> Option<String> {
        self.notification.text("ack_token")
    }

    /// The page that does so, if this server has an address for people.
    pub(super) fn ack_link(&self) -> Option<String> {
        self.notification.text("ack_url")
    }

    /// Whether messages of its kind have a button for that, so that no line need name the page.
    pub(super) fn has_button(&self) -> bool {
        match self.kind {
            "ntfy" | "telegram" | "teams" => true,
            "slack" => slack::hears(self.settings),
            "lark" | "feishu" => lark::is_card(self.settings),
            _ => false,
        }
    }

    /// A reason with who is concerned before it.
    pub(super) fn told(&self, reason: &str) -> String {
        match self.receiver {
            "" => format!("{}: {reason}", self.kind),
            name => format!("{name} ({}): {reason}", self.kind),
        }
    }

    /// The key under which a service knows what a notification is about: its own, or, for one
    /// written by hand that only opens something, one made from the delivery's id.
    ///
    /// # Errors
    /// Something is to end or to be acknowledged, and nobody says what.
    pub(super) fn key(&self, about: &Notification) -> Result<String, String> {
        use kernel::alert::NotificationEvent::{Acknowledge, Resolve};
        match (&about.dedup_key, about.event) {
            (Some(key), _) => Ok(key.trim().to_owned()),
            (None, event @ (Acknowledge | Resolve)) => Err(format!(
                "a notification of the event `{}` needs a `dedup_key`: {} must know what it is \
                 about",
                event.as_str(),
                self.kind
            )),
            (None, _) => Ok(self.id.to_owned()),
        }
    }
}

/// One request over HTTP. There is no `Debug`: it would show secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// Names the call within its delivery, over all attempts; one that was taken is not made again.
    pub key: String,
    /// The method.
    pub method: &'static str,
    /// Where to.
    pub url: String,
    /// Headers besides what every JSON request has.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// An embellishment of another call: if it is refused, nothing is lost.
    pub optional: bool,
    /// What is asked before for a token that is good for this one; the answer's member of this name.
    pub(super) sign_in: Option<(Box<Self>, &'static str)>,
}

impl Call {
    /// A POST of JSON.
    pub(super) fn post(key: impl Into<String>, url: String, body: &Value) -> Self {
        let headers = Vec::new();
        let body = body.to_string();
        Self { key: key.into(), method: "POST", url, headers, body, optional: false, sign_in: None }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

fn nothing(_: Settings<'_>, _: &mut Vec<String>) {}

/// Of a service that means its statuses.
fn by_status(_: Settings<'_>, _: &Answer) -> Option<Verdict> {
    None
}

use Shape::{Address, Any, Flag, Map, OneOf, Text, Texts, Tree, Trees, Words};

use super::wording::{ACK, HEADING, LINE, TITLE};

const LARK_SETTINGS: &[(&str, Shape)] = &[
    ("url", Address),
    ("token", Text),
    ("base_url", Address),
    ("sign", Text),
    ("app_id", Text),
    ("app_secret", Text),
    ("chat", Text),
    ("webhook_secret", Texts),
    ("style", OneOf(&["post", "text", "card"])),
    ("locale", Text),
    ("mention", Texts),
    ACK,
    TITLE,
    HEADING,
    LINE,
];

const OPSGENIE_SETTINGS: &[(&str, Shape)] = &[
    ("key", Text),
    ("base_url", Address),
    ("url", Address),
    ("tags", Texts),
    ("responders", Trees),
    ("source", Text),
    ("entity", Text),
    ("priorities", Map),
    ("webhook_secret", Texts),
];

/// Every kind of receiver.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "pagerduty",
        needs: &[&["key"]],
        settings: &[
            ("key", Text),
            ("api", OneOf(&["v1", "v2"])),
            ("url", Address),
            ("base_url", Address),
            ("source", Text),
            ("component", Text),
            ("class", Text),
            ("client", Text),
            ("client_url", Address),
            ("incident_key", OneOf(&["incident", "hour"])),
            ("tz", Text),
            ("webhook_secret", Texts),
        ],
        check: pagerduty::check,
        pace: Pace::new(2, 1, 20),
        way: Way::Calls {
            build: pagerduty::build,
            judge: Judge { accepts: pagerduty::accepts, refuses: pagerduty::refuses },
        },
    },
    Kind {
        name: "lark",
        needs: &[&["url", "token", "app_id"]],
        settings: LARK_SETTINGS,
        check: lark::check,
        pace: Pace::new(100, 60, 5).folding(),
        way: Way::Calls {
            build: lark::build,
            judge: Judge { accepts: lark::accepts, refuses: lark::refuses },
        },
    },
    Kind {
        name: "feishu",
        needs: &[&["url", "token", "app_id"]],
        settings: LARK_SETTINGS,
        check: lark::check,
        pace: Pace::new(100, 60, 5).folding(),
        way: Way::Calls {
            build: lark::build,
            judge: Judge { accepts: lark::accepts, refuses: lark::refuses },
        },
    },
    Kind {
        name: "slack",
        needs: &[&["url", "token"]],
        settings: &[
            ("url", Address),
            ("token", Text),
            ("channel", Text),
            ("base_url", Address),
            ("username", Text),
            ("icon_emoji", Text),
            ("mention", Texts),
            ("webhook_secret", Texts),
            ACK,
            TITLE,
            HEADING,
            LINE,
        ],
        check: slack::check,
        pace: Pace::new(1, 1, 3).folding(),
        way: Way::Calls {
            build: slack::build,
            judge: Judge { accepts: slack::accepts, refuses: slack::refuses },
        },
    },
    mattermost::KIND,
    Kind {
        name: "teams",
        needs: &[&["url"]],
        settings: &[("url", Address), ACK, TITLE, HEADING, LINE],
        check: nothing,
        pace: Pace::new(2, 1, 4).folding(),
        way: Way::Calls {
            build: teams::build,
            judge: Judge { accepts: teams::accepts, refuses: teams::refuses },
        },
    },
    Kind {
        name: "discord",
        needs: &[&["url"]],
        settings: &[
            ("url", Address),
            ("username", Text),
            ("avatar_url", Address),
            ("thread", Text),
            ("mention", Texts),
            ACK,
            TITLE,
            HEADING,
            LINE,
        ],
        check: nothing,
        pace: Pace::new(30, 60, 5).folding(),
        way: Way::Calls {
            build: discord::build,
            judge: Judge { accepts: discord::accepts, refuses: discord::refuses },
        },
    },
    Kind {
        name: "telegram",
        needs: &[&["token"], &["chat"]],
        settings: &[
            ("token", Text),
            ("chat", Text),
            ("thread", Text),
            ("silent", Flag),
            ("base_url", Address),
            ACK,
            TITLE,
            HEADING,
            LINE,
        ],
        check: nothing,
        pace: Pace::new(20, 60, 3).folding(),
        way: Way::Calls {
            build: telegram::build,
            judge: Judge { accepts: telegram::accepts, refuses: telegram::refuses },
        },
    },
    Kind {
        name: "opsgenie",
        needs: &[&["key"]],
        settings: OPSGENIE_SETTINGS,
        check: opsgenie::check,
        pace: Pace::new(5, 1, 20),
        way: Way::Calls {
            build: opsgenie::build,
            judge: Judge { accepts: opsgenie::accepts, refuses: by_status },
        },
    },
    Kind {
        name: "jsm",
        needs: &[&["key"]],
        settings: OPSGENIE_SETTINGS,
        check: opsgenie::check,
        pace: Pace::new(5, 1, 20),
        way: Way::Calls {
            build: opsgenie::build,
            judge: Judge { accepts: opsgenie::accepts, refuses: by_status },
        },
    },
    Kind {
        name: "squadcast",
        needs: &[&["url"]],
        settings: &[("url", Address), ("tags", Map)],
        check: nothing,
        pace: Pace::new(5, 1, 20),
        way: Way::Calls {
            build: squadcast::build,
            judge: Judge { accepts: squadcast::accepts, refuses: by_status },
        },
    },
    Kind {
        name: "datadog",
        needs: &[&["key"]],
        settings: &[
            ("key", Text),
            ("site", Text),
            ("base_url", Address),
            ("url", Address),
            ("tags", Texts),
            ("host", Text),
            TITLE,
            HEADING,
            LINE,
        ],
        check: nothing,
        pace: Pace::new(10, 1, 20),
        way: Way::Calls {
            build: datadog::build,
            judge: Judge { accepts: datadog::accepts, refuses: by_status },
        },
    },
    Kind {
        name: "ntfy",
        needs: &[&["topic"]],
        settings: &[
            ("topic", Text),
            ("url", Address),
            ("base_url", Address),
            ("token", Text),
            ("user", Text),
            ("password", Text),
            ("tags", Texts),
            ("click", Address),
            ("priorities", Map),
            ACK,
            TITLE,
            HEADING,
            LINE,
        ],
        check: ntfy::check,
        pace: Pace::new(1, 5, 30).folding(),
        way: Way::Calls {
            build: ntfy::build,
            judge: Judge { accepts: ntfy::accepts, refuses: ntfy::refuses },
        },
    },
    twilio::KIND,
    Kind {
        name: "webhook",
        needs: &[&["url"]],
        settings: &[
            ("url", Address),
            ("method", OneOf(&["POST", "PUT", "PATCH"])),
            ("headers", Map),
            ("body", Tree),
            ("secret", Text),
            ("bearer", Text),
            ("user", Text),
            ("password", Text),
            ("expect", Text),
            ACK,
        ],
        check: webhook::check,
        pace: Pace::new(10, 1, 20),
        way: Way::Calls {
            build: webhook::build,
            judge: Judge { accepts: webhook::accepts, refuses: webhook::refuses },
        },
    },
    Kind {
        name: "email",
        needs: &[&["to"], &["from"], &["url", "host"]],
        settings: &[
            ("to", Texts),
            ("from", Text),
            ("reply_to", Text),
            ("url", Text),
            ("host", Text),
            ("port", Text),
            ("tls", OneOf(&["starttls", "tls", "none"])),
            ("user", Text),
            ("password", Text),
            ("subject", Words),
            ACK,
            TITLE,
            HEADING,
            LINE,
        ],
        check: email::check,
        pace: Pace::new(1, 1, 10).folding(),
        way: Way::Mail,
    },
    Kind {
        name: "inbox",
        needs: &[],
        settings: &[("name", Text), TITLE, HEADING, LINE],
        check: nothing,
        pace: Pace::NONE,
        way: Way::Inbox,
    },
    Kind {
        name: "workflow",
        needs: &[&["name"]],
        settings: &[("name", Text), ("version", Text), ("input", Any)],
        check: nothing,
        pace: Pace::NONE,
        way: Way::Workflow,
    },
];

/// The kind of that name.
///
/// # Errors
/// Which kinds there are.
pub(super) fn find(name: &str) -> Result<&'static Kind, String> {
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        format!("there is no kind of receiver {name:?}; there are {}", names.join(", "))
    })
}

/// What there is to say of the settings of a receiver of that kind: what makes them useless, and
/// settings that nobody knows.
pub(super) fn remarks(name: &str, settings: &Value) -> Vec<Remark> {
    // What is wrong with a setting names it.
    let about = |problem: &str| {
        let named = problem.split('`').skip(1).step_by(2).map(|it| it.split('.').next());
        named.flatten().find(|it| settings.get(*it).is_some()).map(str::to_owned)
    };
    let wrong = problems(name, settings).into_iter();
    let wrong = wrong.map(|problem| Remark::error(about(&problem).as_deref(), problem));
    let unknown = match (find(name), settings) {
        (Ok(kind), Value::Object(map)) => {
            settings::unknown(kind.name, kind.settings, Settings::new(map))
        }
        _ => Vec::new(),
    };
    let unknown = unknown.into_iter().map(|(name, told)| Remark::error(Some(&name), told));
    let idle = settings.as_object().map(|map| super::idle::remarks(name, Settings::new(map)));
    wrong.chain(unknown).chain(idle.into_iter().flatten()).collect()
}

/// The settings of a kind of receiver, as a JSON schema for editors; absent if there is none of that
/// name. Which of them must be there depends on others, and is not said.
pub(super) fn schema(name: &str) -> Option<Value> {
    let kind = find(name).ok()?;
    let settings = kind.settings.iter().map(|(name, shape)| (*name, shape.schema()));
    Some(kernel::editor::record(settings, &[]))
}

/// What is wrong with the settings of a receiver of that kind, each in a sentence.
pub(super) fn problems(name: &str, settings: &Value) -> Vec<String> {
    let kind = match find(name) {
        Ok(kind) => kind,
        Err(problem) => return vec![problem],
    };
    let Value::Object(map) = settings else {
        return vec!["the settings of a receiver must be a map".to_owned()];
    };
    let settings = Settings::new(map);
    let mut problems = settings::problems(kind.name, kind.settings, kind.needs, settings);
    (kind.check)(settings, &mut problems);
    problems
}
