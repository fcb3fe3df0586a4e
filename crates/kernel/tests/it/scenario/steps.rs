//! The steps of a scenario: lines read, turned into inputs, decided and told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use kernel::graph::{
    Amendment, Asker, Branch, BranchPoint, Control, Edit, Event, GATE_PLACE, Input, Instead,
    Message, Parent, Plan, Post, Report, Start, Status, TaskStatus, Verdict,
};
use kernel::{ExecutionId, Json, Rejected, Timestamp};
use serde_json::Value;

use super::file::Section;
use super::machine::{BEGIN, Run};
use super::print;

/// More wakes than this at one instant are a loop that does not end.
const WAKES_MAX: usize = 10_000;

/// Runs a scenario and answers what happened.
///
/// ```text
/// start {INPUT} [correlation=X priority=N domains={..} parent=N once=X]     limits payload_max=100
/// claim REF [worker=W]        complete REF {OUT} [merge]             polled QUEUE
/// fail REF "why" {OUT}        fail-terminal REF "why"                cancel REF "why"  skipped REF
/// progress REF after=N {OUT}  hold REF {OUT} "why"                   extend REF
/// at 60s (waking when due)    jump 60s (waking once, there)          quiet / loud
/// pause  resume  terminate ["why"] [failure-workflow]                retry [descend]
/// restart [latest] [{INPUT}]  rerun REF [{INPUT}] [input={} correlation=X]   skip REF {OUT}
/// go-to REF [{INPUT}]         upgrade [{REF: {OUT}}] [input={}]
/// set {VARIABLES}             reset-callbacks                        show REF
/// branch REF[#ATTEMPT] [upgrade] [{PATH: VALUE}] (goes on with the fork)      post ID {PAYLOAD}
/// gates full / gates free     admit                                  kept NAME/KEY {OUT}
/// child-started REF           child-refused REF "why"                child-revived REF
/// child-ended REF STATUS {OUT} "why" [of=N asked=N]    parent-terminates "why"      parent-retries
/// child-started REF instead=ID [adopted]               found task=N [by=ID] [detached]
/// ```
/// `REF` is a reference name (its last attempt) or `#SEQUENCE`.
pub(super) fn run(section: &Section) -> String {
    let mut teller = Teller::new(section);
    for step in &section.steps {
        teller.step(step);
    }
    teller.run.check_fold();
    let summary = print::summary(&teller.run.state, teller.run.now);
    teller.text + &summary
}

struct Teller<'a> {
    section: &'a Section,
    run: Run,
    text: String,
    quiet: bool,
    wake_at: Option<Timestamp>,
}

/// What stands on a line after its first word.
#[derive(Default)]
struct Words {
    plain: Vec<String>,
    quoted: Vec<Arc<str>>,
    json: Option<Json>,
    options: BTreeMap<String, Value>,
}

impl Words {
    fn read(line: &str) -> Self {
        let mut words = Self::default();
        let mut rest = line.trim_start();
        while !rest.is_empty() {
            let word = rest.split_whitespace().next().unwrap_or_default();
            let name = word.split_once('=').map(|(name, _)| name);
            let name =
                name.filter(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            let value = name.map_or(rest, |name| &rest[name.len() + 1..]);
            let mut stream = serde_json::Deserializer::from_str(value).into_iter::<Value>();
            let (value, length) = match stream.next() {
                Some(Ok(json)) => (Some(json), rest.len() - value.len() + stream.byte_offset()),
                _ => (None, word.len()),
            };
            match (name, value) {
                (Some(name), value) => {
                    let text = || Value::String(word[name.len() + 1..].to_owned());
                    words.options.insert(name.to_owned(), value.unwrap_or_else(text));
                }
                (None, Some(Value::String(text))) => words.quoted.push(text.into()),
                (None, Some(json)) => words.json = Some(json.into()),
                (None, None) => words.plain.push(word.to_owned()),
            }
            rest = rest[length..].trim_start();
        }
        words
    }

    fn has(&self, word: &str) -> bool {
        self.plain.iter().any(|plain| plain == word)
    }

    fn first(&self) -> &str {
        self.plain.first().map_or("", String::as_str)
    }

    fn why(&self) -> Option<Arc<str>> {
        self.quoted.first().cloned()
    }

    fn text(&self, name: &str) -> Option<Arc<str>> {
        let value = self.options.get(name)?;
        Some(value.as_str().map_or_else(|| value.to_string().into(), Arc::from))
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.options.get(name).and_then(Value::as_i64)
    }
}

/// Who found this execution in place of the one that they asked for.
fn asker(words: &Words) -> Asker {
    let execution = ExecutionId::new(words.text("by").unwrap_or_else(|| "other".into()));
    let sequence = words.number("task").and_then(|task| u32::try_from(task).ok()).unwrap_or(1);
    Asker { by: Parent { execution, sequence }, child: ExecutionId::new("asked-for") }
}

/// Outputs by reference name, as an object of objects gives them.
fn outputs(words: &Words) -> BTreeMap<Arc<str>, Json> {
    let given = words.json.as_ref().map(Json::parse).unwrap_or_default();
    let members = given.as_object().cloned().unwrap_or_default();
    members.into_iter().map(|(name, output)| (name.into(), output.into())).collect()
}

/// `90s`, `500ms`, `2m`, `1h` after the begin.
fn instant(text: &str) -> Timestamp {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let read = |(unit, factor): (&str, i64)| {
        let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(BEGIN.plus_millis(number * factor))
    };
    units.into_iter().find_map(read).unwrap_or_else(|| panic!("'{text}' is no time"))
}

impl<'a> Teller<'a> {
    fn new(section: &'a Section) -> Self {
        let run = Run::new(&section.tasks);
        Self { section, run, text: String::new(), quiet: false, wake_at: None }
    }

    fn step(&mut self, line: &str) {
        if !self.quiet {
            writeln!(self.text, "{line}").expect("fits");
        }
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words = Words::read(rest);
        match verb {
            "quiet" => self.quiet = true,
            "loud" => self.quiet = false,
            "limits" => self.limit(&words),
            "polled" => {
                self.run.world.polled.insert(words.first().to_owned());
            }
            "kept" => {
                let output = words.json.clone().unwrap_or_default();
                self.run.world.kept.insert(words.first().to_owned(), output);
            }
            "gates" => self.run.world.full = words.has("full"),
            "show" => self.show(&words),
            "branch" => self.branch(&words),
            "at" => self.advance(instant(words.first())),
            "jump" => {
                self.run.now = instant(words.first());
                self.decide(Input::Wake);
            }
            verb => match self.input(verb, &words) {
                Ok(input) => self.decide(input),
                Err(problem) => {
                    panic!("{}: {line}: {problem}, after\n{}", self.section.title, self.text)
                }
            },
        }
        self.tell_wake();
    }

    fn limit(&mut self, words: &Words) {
        let limits = &mut self.run.limits;
        for (name, value) in &words.options {
            let value = usize::try_from(value.as_u64().expect("a number")).expect("fits");
            match name.as_str() {
                "payload_max" => limits.payload_max = value,
                "variables_max" => limits.variables_max = value,
                "tasks_max" => limits.tasks_max = value,
                "inbox_max" => limits.inbox_max = value,
                "branches_max" => limits.branches_max = value,
                "steps_max" => limits.steps_max = u32::try_from(value).expect("fits"),
                other => panic!("no limit is named {other}"),
            }
        }
    }

    fn show(&mut self, words: &Words) {
        let state = &self.run.state;
        let task = state.latest(words.first()).expect("a task of this name");
        let line = format!("input {}, output {}", task.input, state.output_of(task));
        writeln!(self.text, "  {}", print::named(state, &line)).expect("fits");
    }

    /// Moves the clock on, stopping wherever the execution wants to be woken.
    fn advance(&mut self, target: Timestamp) {
        for _ in 0..WAKES_MAX {
            let due = self.run.state.wake_at().filter(|at| *at <= target);
            let Some(due) = due else {
                self.run.now = self.run.now.max(target);
                return;
            };
            if due > self.run.now {
                self.run.now = due;
                self.line(&format!("at {}", print::at(due)));
            }
            self.decide(Input::Wake);
        }
        panic!("{}: it wants to be woken again and again", self.section.title);
    }

    fn decide(&mut self, input: Input) {
        match self.run.decide(input) {
            Ok(decision) => {
                let state = &self.run.state;
                let events = decision.events.iter().filter_map(|event| print::event(state, event));
                let effects = decision.effects.iter().map(|effect| print::effect(state, effect));
                let lines: Vec<String> = events.chain(effects).collect();
                if lines.is_empty() {
                    self.line("nothing");
                }
                for line in lines {
                    self.line(&line);
                }
                let failure = decision.events.iter().any(|event| matches!(event, Event::Yielded));
                assert!(!failure || self.run.state.wake_at().is_some(), "who yields goes on");
            }
            Err(rejected) => {
                let class = match &rejected {
                    Rejected::Stale(_) => "stale",
                    Rejected::Unknown(_) => "unknown",
                    Rejected::Conflict(_) => "conflict",
                    Rejected::Forbidden(_) => "forbidden",
                    Rejected::Invalid(_) => "invalid",
                    Rejected::Full(_) => "full",
                };
                self.line(&format!("rejected as {class}: {rejected}"));
            }
        }
    }

    /// Goes on with a fork of the execution, if that is accepted.
    fn branch(&mut self, words: &Words) {
        let given = words.json.as_ref().map(Json::parse).unwrap_or_default();
        let edits = given.as_object().cloned().unwrap_or_default();
        let edit = |(path, value): (String, Value)| Edit { path: path.into(), value: value.into() };
        let at: BranchPoint = words.first().parse().expect("a place");
        let plan = words.has("upgrade").then(|| self.plan(1));
        let again = self.run.state.done_again_by_fork(&at).unwrap_or_default();
        let again: Vec<String> = again.iter().map(|task| task.reference.to_string()).collect();
        let left = self.run.leave("fork");
        let branch = Branch {
            original: Box::new(left.0.clone()),
            version: 7,
            at,
            edits: edits.into_iter().map(edit).collect(),
            plan,
            correlation_id: None,
            created_by: None,
            acts_as: None,
        };
        self.decide(Input::Branch(Box::new(branch)));
        if self.run.state.is_started() {
            self.line(&format!("again: {}", again.join(", ")));
        } else {
            self.run.come_back(left);
        }
    }

    fn line(&mut self, line: &str) {
        if !self.quiet {
            let line = print::named(&self.run.state, line);
            writeln!(self.text, "  {line}").expect("fits");
        }
    }

    fn tell_wake(&mut self) {
        let wake_at = self.run.state.wake_at();
        if wake_at != self.wake_at {
            self.wake_at = wake_at;
            let wake_at = wake_at.map_or_else(|| "no more".to_owned(), print::at);
            self.line(&format!("wake {wake_at}"));
        }
    }

    fn sequence(&self, words: &Words) -> Result<u32, String> {
        let name = words.first();
        if let Some(number) = name.strip_prefix('#') {
            return number.parse().map_err(|_| format!("'{name}' is no number"));
        }
        let task = self.run.state.latest(name).ok_or_else(|| format!("no task '{name}' yet"))?;
        Ok(task.sequence)
    }

    fn input(&mut self, verb: &str, words: &Words) -> Result<Input, String> {
        Ok(match verb {
            "start" => Input::Start(Box::new(self.start(words))),
            "wake" => Input::Wake,
            "claim" => {
                Input::Claim { sequence: self.sequence(words)?, worker: words.text("worker") }
            }
            "admit" => Input::Claim { sequence: GATE_PLACE, worker: None },
            "extend" => Input::Extend { sequence: self.sequence(words)? },
            "complete" => self.done(words, TaskStatus::Completed)?,
            "fail" => match words.number("after") {
                Some(after) => self.report(words, Verdict::FailedFor { after })?,
                None => self.done(words, TaskStatus::Failed)?,
            },
            "fail-terminal" => self.done(words, TaskStatus::FailedWithTerminalError)?,
            "cancel" => self.done(words, TaskStatus::Canceled)?,
            "skipped" => self.done(words, TaskStatus::Skipped)?,
            "progress" => {
                self.report(words, Verdict::Again { after: words.number("after").unwrap_or(0) })?
            }
            "hold" => self.report(words, Verdict::Held)?,
            "post" => Input::Post(Post {
                id: words.first().into(),
                payload: words.json.clone().unwrap_or_default(),
            }),
            "pause" => Input::Control(Control::Pause),
            "resume" => Input::Control(Control::Resume),
            "terminate" => Input::Control(Control::Terminate {
                reason: words.why(),
                failure_workflow: words.has("failure-workflow"),
            }),
            "retry" => Input::Control(Control::Retry { descend: words.has("descend") }),
            "restart" => Input::Control(Control::Restart {
                plan: words.has("latest").then(|| self.plan(1)),
                input: words.json.clone(),
                correlation_id: words.text("correlation"),
            }),
            "rerun" => {
                let (sequence, input) = (self.sequence(words)?, words.json.clone());
                let amendment = Amendment {
                    input: words.options.get("input").map(Json::of),
                    correlation_id: words.text("correlation"),
                };
                Input::Control(Control::Rerun { sequence, input, amendment })
            }
            "go-to" => Input::Control(Control::Jump {
                reference: words.first().into(),
                input: words.json.clone(),
            }),
            "upgrade" => Input::Control(Control::Upgrade {
                plan: self.plan(1),
                input: words.options.get("input").map(Json::of),
                outputs: outputs(words),
            }),
            "skip" => Input::Control(Control::Skip {
                reference: words.first().into(),
                input: None,
                output: words.json.clone(),
            }),
            "set" => Input::Control(Control::SetVariables {
                set: words.json.clone().unwrap_or_default(),
            }),
            "reset-callbacks" => Input::Control(Control::ResetCallbacks),
            _ => Input::Message(self.message(verb, words)?),
        })
    }

    fn message(&self, verb: &str, words: &Words) -> Result<Message, String> {
        let why = || words.why().unwrap_or_else(|| "no reason".into());
        let sequence = self.sequence(words);
        Ok(match verb {
            "child-started" => Message::Started {
                sequence: sequence.clone()?,
                child: self.child(sequence?, words),
                instead: words
                    .text("instead")
                    .map(|id| Instead { id: ExecutionId::new(id), adopted: words.has("adopted") }),
                version: None,
            },
            "child-refused" => Message::Refused {
                sequence: sequence.clone()?,
                reason: why(),
                child: self.child(sequence?, words),
                for_good: false,
            },
            "found" => Message::Watch { asker: asker(words), to_the_end: !words.has("detached") },
            "child-revived" => Message::Revived {
                sequence: sequence.clone()?,
                child: self.child(sequence?, words),
            },
            "child-ended" => Message::Ended {
                sequence: sequence.clone()?,
                child: self.child(sequence.clone()?, words),
                asked: self.asked(sequence?, words),
                status: words
                    .plain
                    .get(1)
                    .and_then(|word| Status::parse(word))
                    .ok_or("a status")?,
                output: words.json.clone().unwrap_or_default(),
                reason: words.why(),
            },
            "parent-terminates" => Message::Terminate { reason: why() },
            "parent-retries" => {
                let asked = words.number("asked").unwrap_or(1);
                let asked = u32::try_from(asked).expect("a count");
                Message::Retry { asked, sequence: Some(1) }
            }
            _ => return Err("no such step".to_owned()),
        })
    }

    /// The child of a task, or with `of=N` the one that task N first had.
    fn child(&self, sequence: u32, words: &Words) -> Option<ExecutionId> {
        let state = &self.run.state;
        match words.number("of") {
            Some(number) => {
                Some(state.id.derive("child", u32::try_from(number).expect("a task number")))
            }
            None => state.task(sequence).and_then(|task| task.child.clone()),
        }
    }

    /// How often a child had been asked when it ended: as often as its task did, or `asked=N`.
    fn asked(&self, sequence: u32, words: &Words) -> u32 {
        let present = self.run.state.task(sequence).map_or(0, |task| task.asked);
        words.number("asked").map_or(present, |asked| u32::try_from(asked).expect("a count"))
    }

    fn plan(&mut self, index: usize) -> Arc<Plan> {
        let definition = self.section.workflows.get(index).expect("the definition is given");
        self.run.pin(definition)
    }

    fn start(&mut self, words: &Words) -> Start {
        let parent = words.number("parent").map(|sequence| Parent {
            execution: ExecutionId::new("parent"),
            sequence: u32::try_from(sequence).expect("a task number"),
        });
        Start {
            plan: self.plan(0),
            input: words.json.clone().unwrap_or_default(),
            correlation_id: words.text("correlation"),
            priority: words.number("priority").map_or(0, |p| u8::try_from(p).expect("fits")),
            task_to_domain: words.options.get("domains").map(Json::of),
            asked_by: parent.clone().map(|by| Asker { by, child: self.run.state.id.clone() }),
            parent,
            event: None,
            created_by: None,
            acts_as: None,
            idempotency_key: words.text("once"),
            traceparent: None,
        }
    }

    fn done(&self, words: &Words, status: TaskStatus) -> Result<Input, String> {
        self.report(words, Verdict::Done(status))
    }

    fn report(&self, words: &Words, verdict: Verdict) -> Result<Input, String> {
        Ok(Input::Report(Box::new(Report {
            sequence: self.sequence(words)?,
            verdict,
            output: words.json.clone(),
            merge: words.has("merge"),
            reason: words.why(),
            worker: words.text("worker"),
            started_at: None,
            metadata: None,
        })))
    }
}
