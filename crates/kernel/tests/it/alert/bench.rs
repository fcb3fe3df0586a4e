//! A world around one monitor: sources that show what the scenario says, receivers that take what
//! they are sent, a clock that goes from one wake-up to the next.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use kernel::alert::definition::{ChecklistOptions, Spec, load, parse_span};
use kernel::alert::{
    Context, Event, Input, Monitor, Ping, PingKind, ProviderAction, ProviderEvent, explain,
};
use kernel::graph::{Message, Parent, StartMessage, Status};
use kernel::{Effect, ExecutionId, Json, Machine, Rejected, Timestamp};
use serde_json::{Value, json};

/// Midnight of a Thursday.
pub(super) const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// What the source answers.
enum Source {
    Shows(Value),
    Fails(String),
    Hangs,
}

pub(super) struct Bench {
    pub(super) monitor: Monitor,
    /// The same, folded from its history as stored.
    folded: Monitor,
    pub(super) now: Timestamp,
    source: Source,
    /// Receivers that are not well, and what becomes of what they are sent.
    receivers: BTreeMap<String, bool>,
    /// Receivers that tell what they call a message.
    named: Vec<String>,
    held: Vec<(String, Message)>,
    inbox: VecDeque<Message>,
    pub(super) log: String,
    later: VecDeque<Spec>,
    /// What a receiver was given last.
    payload: Value,
    /// Whether the ledger of deliveries is printed.
    ledger: bool,
    /// Whether somebody checks the parents of a monitor that asks for it.
    asks_parents: bool,
}

/// A checklist may begin with `# offset 90s` or `# hourly`, which `etl.cfg` would say.
pub(super) fn spec_of(yaml: &str) -> Spec {
    let said = yaml.strip_prefix("# ").and_then(|it| it.lines().next()).unwrap_or_default();
    let offset = said.strip_prefix("offset ").map(|span| parse_span(span).expect("a span"));
    let options = ChecklistOptions {
        offset: offset.unwrap_or_default(),
        hourly: said == "hourly",
        ..ChecklistOptions::default()
    };
    let loaded = load(yaml, &options);
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    let file = loaded.file.unwrap_or_else(|| panic!("{}", problems.join("\n")));
    file.specs().into_iter().next().expect("the file has a monitor")
}

pub(super) fn play(files: &[&str], steps: &str) -> String {
    let mut bench = Bench::new(files.iter().map(|file| spec_of(file)).collect());
    for step in steps.lines().map(str::trim).filter(|step| !step.is_empty()) {
        writeln!(bench.log, "> {step}").expect("a text takes all");
        bench.step(step);
    }
    bench.log
}

impl Bench {
    pub(super) fn new(specs: Vec<Spec>) -> Self {
        let mut later: VecDeque<Spec> = specs.into();
        let first = later.pop_front().expect("a definition");
        let id = ExecutionId::monitor(&first.monitor.name);
        let mut bench = Self {
            monitor: Monitor::new(id.clone()),
            folded: Monitor::new(id),
            now: START,
            source: Source::Shows(json!([])),
            receivers: BTreeMap::new(),
            named: Vec::new(),
            held: Vec::new(),
            inbox: VecDeque::new(),
            log: String::new(),
            later,
            payload: Value::Null,
            ledger: false,
            asks_parents: false,
        };
        bench.say(Input::Define(Box::new(first)));
        bench
    }

    /// - `run 5m`: goes to this time after the start, by way of every wake-up.
    /// - `clock 5m`: the same, but nobody looks at the clock before; also back. `wake`: somebody does.
    /// - `see a=fail:text b=ok`, `see =fail`, `see` (nothing), `see! reason` (the check fails),
    ///   `see? ` (it hangs), `rows [{"key": "a", "attrs": {"loss": 1}}]`.
    /// - `receiver noc down|slow|up|named` (named: it tells what it calls a message), `ack`, `keep`
    ///   (until clear), `heard noc ack|unack|resolve a 5m` (done there at that time), `snooze a 2h`, `resolve`, `unack a`, `note a text`, `escalate a`, `silence id 1h 2h label=value…`,
    ///   `weekly id Thu 01:00-02:00`, `unsilence`, `test noc`, `parent p down|failing|up`, `ping start|…`,
    ///   `parents answer` (from then on somebody checks them when asked), `parents checked`,
    ///   `resend noc` (what it did not take), `define`, `remove`, `check`, `explain a`, `payload` (what was told last, whole),
    ///   `ledger` (prints the lines of deliveries from then on).
    pub(super) fn step(&mut self, step: &str) {
        let mut words = step.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        let at = |at: usize| START.plus_millis(parse_span(word(at)).expect("a time"));
        match verb {
            "run" => self.run_until(at(0)),
            "clock" => self.now = at(0),
            "see" => self.source = Source::Shows(rows(&words)),
            "ledger" => self.ledger = true,
            "rows" => {
                let rows = step.strip_prefix("rows").unwrap_or_default();
                self.source = Source::Shows(serde_json::from_str(rows).expect("rows as JSON"));
            }
            "see!" => self.source = Source::Fails(words.join(" ")),
            "see?" => self.source = Source::Hangs,
            "receiver" => self.receiver(word(0), word(1)),
            "ack" | "keep" => self.say(Input::Acknowledge {
                incident: word(0).into(),
                who: "ann".into(),
                why: None,
                until_clear: verb == "keep",
            }),
            "heard" => self.say(Input::ProviderEvent(ProviderEvent {
                receiver: word(0).into(),
                deed: match word(1) {
                    "ack" => ProviderAction::Acknowledge,
                    "unack" => ProviderAction::Unacknowledge,
                    _ => ProviderAction::Resolve,
                },
                incident: word(2).into(),
                at: at(3),
                who: Some("bob".into()),
                why: None,
                told_there: words.get(4) == Some(&"told-there"),
            })),
            "snooze" => self.say(Input::Snooze {
                incident: word(0).into(),
                until: at(1),
                who: "ann".into(),
                why: None,
            }),
            "note" => self.say(Input::Note {
                incident: word(0).into(),
                who: "ann".into(),
                text: words.get(1..).unwrap_or_default().join(" ").into(),
            }),
            "unack" => self.say(Input::Unacknowledge {
                incident: word(0).into(),
                who: "ann".into(),
                why: None,
            }),
            "escalate" => {
                self.say(Input::Escalate {
                    incident: word(0).into(),
                    who: "ann".into(),
                    why: None,
                });
            }
            "resolve" => self.say(Input::Resolve {
                incident: word(0).into(),
                who: "ann".into(),
                why: Some("fixed".into()),
            }),
            "silence" => {
                let matchers: Vec<Value> = words[3..]
                    .iter()
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(label, value)| json!({ "l": label, "v": [value] }))
                    .collect();
                let silence = json!({ "id": word(0), "matchers": matchers,
                    "when": { "once": { "from": at(1), "to": at(2) } } });
                let silence = serde_json::from_value(silence).expect("a silence");
                self.say(Input::Silences(vec![silence]));
            }
            "weekly" => {
                let hours = words[1..3].join(" ");
                let text = json!({ "silences": [{ "name": word(0), "hours": hours }] });
                let file = load(&text.to_string(), &ChecklistOptions::default()).file;
                self.say(Input::Silences(file.expect("hours").silences));
            }
            "unsilence" => self.say(Input::Silences(Vec::new())),
            "parent" => {
                let (down, failing) = (word(1) == "down", word(1) != "up");
                self.say(Input::Parent { monitor: word(0).into(), down, failing });
            }
            "parents" if word(0) == "answer" => self.asks_parents = true,
            "parents" => self.say(Input::ParentsChecked),
            "wake" => self.say(Input::Wake),
            "ping" => {
                let kind = match word(0) {
                    "start" => PingKind::Start,
                    "success" => PingKind::Success,
                    "fail" => PingKind::Fail,
                    code => PingKind::Exit(code.parse().expect("an exit code")),
                };
                self.say(Input::Ping(Ping { kind, run: None, text: None }));
            }
            "define" => {
                let spec = self.later.pop_front().expect("one more definition");
                self.say(Input::Define(Box::new(spec)));
            }
            "remove" => self.say(Input::Remove { who: Some("ann".into()) }),
            "check" => self.say(Input::Check { who: None }),
            "test" => self.say(Input::Test { receiver: word(0).into(), who: None }),
            "resend" => self.say(Input::Resend {
                incident: None,
                receiver: Some(word(0).into()),
                who: Some("ann".into()),
            }),
            "explain" => {
                let told = explain(&self.monitor, word(0)).expect("an incident");
                let rule = format!("rule: {}", told.rule);
                let lines = [&rule].into_iter().chain(&told.changed).chain(&told.waits_for);
                for line in lines {
                    writeln!(self.log, "    {line}").expect("a text takes all");
                }
            }
            "payload" => {
                let text = serde_json::to_string_pretty(&self.payload).expect("it is JSON");
                writeln!(self.log, "{text}").expect("a text takes all");
            }
            _ => panic!("an unknown step: {step}"),
        }
    }

    fn receiver(&mut self, name: &str, how: &str) {
        if how == "named" {
            return self.named.push(name.to_owned());
        }
        match how {
            "down" => self.receivers.insert(name.to_owned(), false),
            "slow" => self.receivers.insert(name.to_owned(), true),
            _ => self.receivers.remove(name),
        };
        let (ready, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(receiver, _)| receiver == name && how == "up");
        self.held = held;
        self.inbox.extend(Vec::into_iter(ready).map(|(_, message)| message));
        self.receive();
    }

    fn run_until(&mut self, end: Timestamp) {
        for _ in 0..10_000 {
            match self.monitor.wake_at() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    let before = self.monitor.wake_at();
                    self.say(Input::Wake);
                    assert!(self.monitor.wake_at() > before, "a wake-up that changes nothing");
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("it does not come to rest before {end}");
    }

    /// Gives an input, and whatever comes of it.
    pub(super) fn say(&mut self, input: Input) {
        self.give(input);
        self.receive();
    }

    fn receive(&mut self) {
        while let Some(message) = self.inbox.pop_front() {
            self.give(Input::Message(message));
        }
    }

    fn give(&mut self, input: Input) {
        let decision = match self.monitor.decide(
            input,
            &Context { now: self.now, asks_parents: self.asks_parents, listening_since: None },
        ) {
            Ok(decision) => decision,
            Err(rejected) => {
                assert_eq!(state(&self.monitor), state(&self.folded), "a refusal changes nothing");
                let kind = match rejected {
                    Rejected::Stale(_) => "stale",
                    Rejected::Unknown(_) => "unknown",
                    Rejected::Conflict(_) => "conflict",
                    Rejected::Forbidden(_) => "forbidden",
                    Rejected::Invalid(_) => "invalid",
                    Rejected::Full(_) => "full",
                };
                return writeln!(self.log, "  {kind}: {rejected}").expect("a text takes all");
            }
        };
        for event in &decision.events {
            let stored = serde_json::to_string(event).expect("an event serializes");
            self.folded.apply(&serde_json::from_str(&stored).expect("what was stored can be read"));
            self.print(event);
        }
        assert_eq!(state(&self.monitor), state(&self.folded), "the fold is the state");
        for effect in decision.effects {
            match effect {
                Effect::Send { to, message } => self.deliver(&to, *message),
                Effect::Record(record) if record.ledger == "delivery" && self.ledger => {
                    let body = record.body.parse();
                    let (event, title) = (&body["event"], &body["title"]);
                    let line = format!("ledger {} {}: {event} {title}", record.key, record.status);
                    self.line(&line);
                }
                Effect::Record(record) if record.ledger == "check" => {
                    let reason = record.body.parse();
                    let count = &reason["count"];
                    let reason = reason["reason"].as_str().unwrap_or_default();
                    let line =
                        format!("{} {count} since {}: {reason}", record.status, after(record.at));
                    self.line(&line);
                }
                _ => {}
            }
        }
    }

    fn deliver(&mut self, to: &ExecutionId, message: Message) {
        let start: StartMessage = match message {
            Message::Start(start) => *start,
            Message::Terminate { .. } => return self.line("terminate the check"),
            other => panic!("a monitor does not say {other:?}"),
        };
        let Parent { sequence, .. } = start.parent.expect("somebody waits");
        let input = start.input.parse();
        let ended = |status: Status, output: Value, reason: Option<&str>| Message::Ended {
            sequence,
            status,
            output: Json::from(output),
            reason: reason.map(Into::into),
            child: Some(to.clone()),
            asked: 0,
        };
        if !start.name.starts_with(kernel::alert::NOTIFY_WORKFLOW) {
            match &self.source {
                Source::Shows(rows) => {
                    let output = json!({ "observations": rows, "step": format!("{to}-1") });
                    self.inbox.push_back(ended(Status::Completed, output, None));
                }
                Source::Fails(why) => {
                    self.inbox.push_back(ended(Status::Failed, json!({}), Some(why)));
                }
                Source::Hangs => {}
            }
            return;
        }
        let receiver = input["receiver"].as_str().unwrap_or_default().to_owned();
        match self.receivers.get(&receiver) {
            Some(false) => {
                self.inbox.push_back(ended(Status::Failed, json!({}), Some("404 Not Found")));
            }
            Some(true) => {
                self.held.push((receiver.clone(), ended(Status::Completed, json!({}), None)));
            }
            None => {
                let named = self.named.contains(&receiver);
                let output = if named { json!({ "reference": sequence }) } else { json!({}) };
                self.inbox.push_back(ended(Status::Completed, output, None));
            }
        }
        let told = &input["notification"];
        self.payload.clone_from(told);
        let what = match told["group"]["members"].as_array() {
            None => told["title"].to_string(),
            Some(members) => {
                let keys: Vec<&str> = members.iter().filter_map(|it| it["key"].as_str()).collect();
                format!(
                    "{} [{}] {} open",
                    told["title"],
                    keys.join(", "),
                    told["group"]["open_count"]
                )
            }
        };
        let event = told["event"].as_str().unwrap_or_default();
        let severity = told["severity"].as_str().unwrap_or_default();
        let thread = told["reference"].as_str().map(|it| format!(" after {it}"));
        let thread = thread.unwrap_or_default();
        let follows = told["follows"].as_str().map(|it| format!(", follows {it}"));
        let thread = thread + &follows.unwrap_or_default();
        self.line(&format!("→ {receiver}: {event} ({severity}) {what}{thread}"));
    }

    fn print(&mut self, event: &Event) {
        match event {
            Event::Moved(moved) => {
                let by = moved.who.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
                let line = format!("{:?} {}{by}: {}", moved.key, moved.state.as_str(), moved.why);
                self.line(&line);
            }
            Event::Noted { key, what, who, text, .. } => {
                let text = text.as_deref().unwrap_or_default();
                self.line(&format!("{key:?} {what} by {who}: {text}"));
            }
            Event::Suppressed { key, reason, .. } => {
                self.line(&format!("{key:?} suppressed: {reason}"));
            }
            Event::ParentsAsked { until } => {
                let parents = self.monitor.asks().join(", ");
                self.line(&format!("asks {parents}, until {}", after(*until)));
            }
            Event::Delivered(delivered) if !delivered.sent => {
                let reason = delivered.reason.as_deref().unwrap_or_default();
                self.line(&format!("delivery {} is dead: {reason}", delivered.sequence));
            }
            _ => {}
        }
    }

    fn line(&mut self, line: &str) {
        writeln!(self.log, "  {} {line}", after(self.now)).expect("a text takes all");
    }
}

pub(super) fn state(monitor: &Monitor) -> Value {
    serde_json::to_value(monitor).expect("a monitor serializes")
}

/// A time after the start.
fn after(at: Timestamp) -> String {
    let seconds = at.since(START) / 1000;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `a=fail:text` …; what stands after a comma are attributes: `a=fail:text,host=h1`.
fn rows(words: &[&str]) -> Value {
    let row = |word: &&str| {
        let (key, rest) = word.split_once('=').expect("key=status");
        let mut parts = rest.split(',');
        let (status, text) = parts.next().and_then(|it| it.split_once(':')).unwrap_or((rest, ""));
        let attrs: serde_json::Map<String, Value> = parts
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let text = if text.is_empty() { Value::Null } else { text.replace('_', " ").into() };
        let status = status.split(',').next().unwrap_or_default();
        json!({ "key": key, "status": status, "text": text, "attrs": attrs })
    };
    words.iter().map(row).collect()
}
