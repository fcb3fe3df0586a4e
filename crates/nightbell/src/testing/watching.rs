//! A monitor on the stage: fed with what its checks see, in virtual time, it tells its incidents and
//! the very requests by which receivers are told.
//!
//! The checks, the conditions, the incidents, the routes and the wording are those that ship; only
//! the source is a [`Feed`], and the network is somebody who takes notes and answers. Tests of
//! monitors stand on it, and so may whoever wants to know what a monitor would have done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use engine::search::{PAGE_MAX, RecordSearch};
use engine::{Change, Engine, Handoff, Outcome, OutcomeStatus, TaskRunner};
use kernel::alert::definition::{File, Kind, MonitorDef, task_type};
use kernel::alert::{Input, Sample};
use kernel::definition::{TaskDef, WorkflowDef, workflow_from_value};
use kernel::{ExecutionId, Json, Record, Rejected, Scripts, Timestamp};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tasks::notify::{Answer, Notify, Outlet, Sent};
use tokio_util::sync::CancellationToken;

use super::cast::pause;
use super::stage::Stage;

/// What a check sees.
#[derive(Clone, Debug)]
pub(crate) enum Sight {
    /// Rows, as its source would answer them; what judges itself (a web page, a port) says `status`.
    Rows(Vec<Map<String, Value>>),
    /// What a check of the monitor has answered before; its rows are judged as the monitor is now.
    Output(Json),
    /// Something else, and the check ends at that instant.
    Later(Timestamp, Box<Sight>),
    /// Nobody can tell, and why.
    Unknown(String),
}

/// Says what checks see.
pub(crate) trait Feed: Send {
    /// What the check of this number sees, from 0, which begins at this instant.
    fn look(&mut self, number: u32, at: Timestamp) -> Sight;
}

/// What kept samples are replayed from: how many checks of the monitor were made of them.
pub(crate) type Place = Arc<AtomicUsize>;

/// Something that somebody does while a monitor is watched.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Somebody takes care of the incident of a key.
    Acknowledge {
        /// The key, fingerprint or id.
        key: String,
        /// Who.
        by: String,
    },
    /// A receiver answers with this status of HTTP until that instant.
    Answers {
        /// Its name.
        receiver: String,
        /// The status.
        status: u16,
        /// Until then.
        until: Timestamp,
    },
    /// Somebody does something to the monitor; if that does not fit, nothing happens.
    Operator(Box<Input>),
    /// A monitor is checked, as it once was, unless so many checks have been made already.
    Check {
        /// Its name.
        monitor: String,
        /// The number of the sample.
        number: usize,
        /// How many have been made.
        place: Place,
    },
}

/// A monitor that is to be watched.
pub(crate) struct Watching<'a> {
    /// Everything that files of monitors define: of the monitors only this one and those that it
    /// depends on are staged, and the latter are well.
    pub(crate) file: &'a File,
    /// The monitor.
    pub(crate) monitor: &'a str,
    /// When the first check may begin.
    pub(crate) start: Timestamp,
    /// When it is over.
    pub(crate) until: Timestamp,
    /// Checks begin when they would by the monitor's name, rather than at the start.
    pub(crate) real_phase: bool,
    /// What checks see.
    pub(crate) feed: Box<dyn Feed>,
    /// What checks of monitors that it depends on see; one without a feed is well.
    pub(crate) others: BTreeMap<String, Box<dyn Feed>>,
    /// What checks answer is kept, as a server does.
    pub(crate) records: bool,
    /// What people and receivers do, in order.
    pub(crate) acts: Vec<(Timestamp, Action)>,
    /// What runs conditions that need it.
    pub(crate) scripts: &'a Arc<dyn Scripts>,
}

/// An incident that opened.
#[derive(Clone, Debug)]
pub(crate) struct Incident {
    /// Its key.
    pub(crate) key: String,
    /// When it opened.
    pub(crate) opens: Timestamp,
    /// When it was over, if it was.
    pub(crate) resolves: Option<Timestamp>,
    /// Everything else, as its ledger has it.
    pub(crate) line: Value,
}

/// A request by which a receiver was told, or was to be.
#[derive(Clone, Debug)]
pub(crate) struct Telling {
    /// When it was sent.
    pub(crate) at: Timestamp,
    /// When the monitor said that it is to be: what ledgers of deliveries call its time.
    pub(crate) due: Timestamp,
    /// The delivery that it is a part of: where alerts have keys, each member of a group is a request.
    #[allow(dead_code, reason = "the property of backtests compares deliveries")]
    pub(crate) delivery: String,
    /// What it tells, in a line.
    #[allow(dead_code, reason = "the property of backtests compares deliveries")]
    pub(crate) title: String,
    /// The receiver.
    pub(crate) to: String,
    /// The monitor that tells.
    pub(crate) monitor: String,
    /// `trigger`, `resolve`, `reminder`, …
    pub(crate) event: String,
    /// The keys of the incidents that it tells of.
    pub(crate) keys: Vec<String>,
    /// Whom it reaches of those who are on call.
    pub(crate) people: Vec<String>,
    /// The status of its answer: 2xx = it was taken.
    pub(crate) status: u16,
    /// `POST`, `MAIL`, …
    pub(crate) method: String,
    /// Where to.
    pub(crate) url: String,
    /// Headers besides those of every request.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

impl Telling {
    /// Whether the receiver took it.
    pub(crate) fn is_taken(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A check that was made.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// When it began.
    pub(crate) at: Timestamp,
    /// What it came to.
    pub(crate) seen: Result<Json, String>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    /// Checks, in order.
    pub(crate) checks: Vec<Checked>,
    /// Incidents that opened, in the order in which they did.
    pub(crate) incidents: Vec<Incident>,
    /// Requests to receivers, in order.
    pub(crate) told: Vec<Telling>,
    /// What was kept, by monitor.
    #[allow(dead_code, reason = "the property of backtests records and tries")]
    pub(crate) samples: BTreeMap<String, Vec<Sample>>,
}

/// Task type of what stands for a workflow that checks.
const LOOKS: &str = "STAGED_LOOK";
/// Task type of what stands for a workflow that is told.
const HEARS: &str = "STAGED_RECEIVER";
/// Milliseconds after the end in which what happened at it still shows.
const AFTERGLOW: i64 = 999;

/// Watches a monitor from its start to its end. Blocks the thread.
///
/// # Errors
/// The files do not fit together, or there is no such monitor.
pub(crate) fn watch(watching: Watching<'_>) -> Result<Watched, String> {
    let file = staged(&watching)?;
    let Watching { monitor, start, until, feed, others, records, acts, scripts, .. } = watching;
    // Checks that are due at the start are planned before it. Nobody listens to what is noted.
    let (mut stage, _) = Stage::new(start.plus_millis(-1), scripts);
    stage.records = records;
    let mut feeds = others;
    feeds.insert(monitor.to_owned(), feed);
    let world = Arc::new(World {
        monitor: monitor.to_owned(),
        state: Mutex::new(State {
            feeds,
            looked: BTreeMap::new(),
            checks: Vec::new(),
            told: Vec::new(),
            answers: BTreeMap::new(),
        }),
        clock: stage.clock.clone(),
    });
    let mut runners: Vec<Arc<dyn TaskRunner>> = Vec::new();
    let types: BTreeSet<&'static str> = file.monitors.iter().map(|it| task_type(it.kind)).collect();
    for task_type in types.into_iter().filter(|it| *it != "SUB_WORKFLOW").chain([LOOKS]) {
        runners.push(Arc::new(Looks { task_type, world: world.clone() }));
    }
    runners.push(Arc::new(Hears(world.clone())));
    let client = tasks::http::Http::new(tasks::http::Settings::default());
    let client = client.map_err(|error| error.to_string())?.client().clone();
    runners.push(Arc::new(Notify::new(client).answered_by(world.clone())));
    let (incidents, samples) = stage.perform(runners, async |engine| {
        let names: Vec<Arc<str>> = file.monitors.iter().map(|it| it.name.clone()).collect();
        let incidents = conduct(&engine, &world, file, monitor, acts, until).await?;
        let mut samples = BTreeMap::new();
        for name in names.iter().filter(|_| records) {
            samples.insert(name.to_string(), kept(&engine, name).await?);
        }
        Ok::<_, String>((incidents, samples))
    })??;
    let state = &mut *world.state.lock();
    let (checks, told) = (std::mem::take(&mut state.checks), std::mem::take(&mut state.told));
    Ok(Watched { checks, incidents, told, samples })
}

/// Everything that was kept of a monitor.
async fn kept(engine: &Engine, monitor: &str) -> Result<Vec<Sample>, String> {
    let span = (Timestamp::default(), Timestamp::MAX);
    let page = engine.samples(monitor, span, 0, (usize::MAX, usize::MAX)).await;
    page.map(|page| page.samples).map_err(|error| error.to_string())
}

/// Lets happen what is due at this instant: time stands still as long as there is something to do.
async fn let_happen() {
    /// More than what a check's end leads to takes.
    const ROUNDS: u32 = 32;
    for _ in 0..ROUNDS {
        tokio::task::yield_now().await;
    }
}

/// Checks a monitor. One that has not ended yet at this instant is about to.
async fn check(engine: &Engine, monitor: &str) {
    const TRIES: u32 = 5;
    for _ in 0..TRIES {
        match engine.step(&ExecutionId::monitor(monitor), Input::Check { who: None }).await {
            Err(engine::Error::Rejected(Rejected::Conflict(_))) => pause(1).await,
            _ => return,
        }
    }
}

/// The file of the stage: the monitor and what it depends on, each with its phase.
fn staged(watching: &Watching<'_>) -> Result<File, String> {
    let mut wanted = BTreeSet::from([Arc::<str>::from(watching.monitor)]);
    loop {
        let all = watching.file.monitors.iter().filter(|it| wanted.contains(&it.name));
        let needed: Vec<Arc<str>> = all
            .flat_map(|it| {
                let needed = it.depends_on.iter().chain(&it.witness).cloned();
                needed.chain(it.composed_of()).collect::<Vec<_>>()
            })
            .collect();
        let before = wanted.len();
        wanted.extend(needed);
        if wanted.len() == before {
            break;
        }
    }
    let mut file = watching.file.clone();
    file.monitors.retain(|it| wanted.contains(&it.name));
    if !file.monitors.iter().any(|it| *it.name == *watching.monitor) {
        return Err(format!("there is no monitor {:?}", watching.monitor));
    }
    if !watching.real_phase {
        for monitor in &mut file.monitors {
            monitor.schedule.phase = Some(watching.start.millis());
        }
    }
    Ok(file)
}

async fn conduct(
    engine: &Engine,
    world: &Arc<World>,
    file: File,
    monitor: &str,
    acts: Vec<(Timestamp, Action)>,
    until: Timestamp,
) -> Result<Vec<Incident>, String> {
    let workflows = stand_ins(&file)?;
    let change = Change { tasks: Vec::<TaskDef>::new(), workflows, ..Change::default() };
    engine.change(change).await.map_err(|error| error.to_string())?;
    engine.apply_monitors("test", file).await.map_err(|error| error.to_string())?;
    let id = ExecutionId::monitor(monitor);
    for (at, action) in acts {
        pause(at.min(until).since(engine.now())).await;
        match action {
            Action::Answers { receiver, status, until } => {
                world.state.lock().answers.insert(receiver, (status, until));
            }
            Action::Operator(input) => {
                // What does not fit was done to an incident that there is not.
                drop(engine.step(&id, *input).await);
            }
            Action::Check { monitor, number, place } => {
                if *monitor != *world.monitor {
                    // Whoever asks what it depends on takes the sample of what it asked then.
                    let_happen().await;
                }
                if place.load(Ordering::Relaxed) <= number {
                    check(engine, &monitor).await;
                }
            }
            Action::Acknowledge { key, by } => {
                let (incident, who) = (key.as_str().into(), by.into());
                let input = Input::Acknowledge { incident, who, why: None, until_clear: false };
                let done = engine.step(&id, input).await;
                done.map_err(|error| format!("{key} was not acknowledged: {error}"))?;
            }
        }
    }
    pause(until.since(engine.now()).saturating_add(AFTERGLOW)).await;
    let mut incidents: Vec<Incident> = Vec::new();
    loop {
        let search = RecordSearch {
            subjects: vec![monitor.to_owned()],
            start: incidents.len() as u64,
            size: PAGE_MAX,
            descending: false,
            ..RecordSearch::newest("incident")
        };
        let page = engine.store().records(&search).await.map_err(|error| error.to_string())?;
        let last = page.rows.len() < PAGE_MAX as usize;
        incidents.extend(page.rows.iter().filter_map(incident));
        if last {
            break;
        }
    }
    incidents.sort_by(|one, other| (one.opens, &one.key).cmp(&(other.opens, &other.key)));
    Ok(incidents)
}

fn incident(record: &Record) -> Option<Incident> {
    let line = record.body.parse();
    let instant = |name: &str| line[name].as_i64().map(Timestamp::from_millis);
    let key = line["key"].as_str().unwrap_or_default().to_owned();
    Some(Incident { key, opens: instant("opened_at")?, resolves: instant("resolved_at"), line })
}

/// Definitions in the place of the workflows that monitors of this file check by, and tell.
fn stand_ins(file: &File) -> Result<Vec<WorkflowDef>, String> {
    let of = |settings: &Json, task: Value| {
        let settings = settings.parse();
        let definition = json!({
            "name": settings["name"], "version": settings["version"].as_u64().unwrap_or(1),
            "ownerEmail": "test", "tasks": [task],
        });
        workflow_from_value(&definition).map_err(|problems| format!("{problems:?}"))
    };
    let mut all: Vec<WorkflowDef> = Vec::new();
    let checks = file.monitors.iter().filter(|it| it.kind == Kind::Workflow);
    for MonitorDef { settings, name, .. } in checks {
        let input = json!({ "monitor": name });
        let task = json!({
            "name": LOOKS, "taskReferenceName": "check", "type": LOOKS, "inputParameters": input,
        });
        all.push(of(settings, task)?);
    }
    for receiver in file.receivers.values().filter(|it| &*it.kind == "workflow") {
        let input = json!({
            "receiver": "${workflow.input.receiver}", "settings": "${workflow.input.settings}",
            "notification": "${workflow.input.notification}", "workflow": "${workflow.workflowType}",
        });
        let task = json!({
            "name": HEARS, "taskReferenceName": "told", "type": HEARS, "inputParameters": input,
        });
        all.push(of(&receiver.settings, task)?);
    }
    let mut names = BTreeSet::new();
    all.retain(|it| names.insert((it.name.clone(), it.version.to_string())));
    Ok(all)
}

/// What the engine meets in the place of the world.
struct World {
    monitor: String,
    clock: Arc<engine::stage::VirtualClock>,
    state: Mutex<State>,
}

struct State {
    feeds: BTreeMap<String, Box<dyn Feed>>,
    /// How many checks of each were made.
    looked: BTreeMap<String, u32>,
    checks: Vec<Checked>,
    told: Vec<Telling>,
    /// Receivers that do not answer as they should, and until when.
    answers: BTreeMap<String, (u16, Timestamp)>,
}

impl World {
    fn now(&self) -> Timestamp {
        engine::Clock::now(&*self.clock)
    }

    /// What a check of a monitor sees; `None` = nobody says, so it is well.
    fn look(&self, monitor: &str, at: Timestamp) -> Option<Sight> {
        let state = &mut *self.state.lock();
        let feed = state.feeds.get_mut(monitor)?;
        let looked = state.looked.entry(monitor.to_owned()).or_default();
        *looked += 1;
        Some(feed.look(*looked - 1, at))
    }

    /// What a receiver answers now.
    fn answer_of(&self, receiver: &str, taken: Answer) -> Answer {
        let state = self.state.lock();
        match state.answers.get(receiver) {
            Some((status, until)) if *until > self.now() => {
                Answer { status: *status, retry_after: None, body: String::new() }
            }
            _ => taken,
        }
    }

    fn note(&self, mut telling: Telling, about: &Map<String, Value>) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        telling.monitor = about.get("monitor").map(text).unwrap_or_default();
        telling.event = about.get("event").map(text).unwrap_or_default();
        telling.delivery = about.get("delivery").map(text).unwrap_or_default();
        telling.title = about.get("title").map(text).unwrap_or_default();
        let said = about.get("at").and_then(Value::as_str);
        telling.due = said.and_then(|at| super::moments::instant(at).ok()).unwrap_or(telling.at);
        let people = about.get("on_call").and_then(Value::as_array);
        telling.people = people.into_iter().flatten().map(text).collect();
        let members = about.get("group").and_then(|group| group["members"].as_array());
        telling.keys = match members {
            Some(members) => members.iter().map(|member| text(&member["key"])).collect(),
            None => about.get("key").map(text).into_iter().collect(),
        };
        self.state.lock().told.push(telling);
    }
}

/// Makes checks of one kind.
struct Looks {
    task_type: &'static str,
    world: Arc<World>,
}

#[async_trait]
impl TaskRunner for Looks {
    fn task_type(&self) -> &'static str {
        self.task_type
    }

    async fn run(&self, task: Handoff, _: CancellationToken) -> Outcome {
        let input = task.input.parse();
        let at = self.world.now();
        let monitor = input["monitor"].as_str().unwrap_or_default();
        let Some(mut sight) = self.world.look(monitor, at) else {
            // What the monitor depends on is well.
            let output = json!({ "observations": [{ "key": "", "status": "ok" }] });
            return done(Json::of(&output));
        };
        while let Sight::Later(until, after) = sight {
            pause(until.since(self.world.now())).await;
            sight = *after;
        }
        let seen = match sight {
            Sight::Output(output) => {
                tasks::check::observe_again(self.task_type, &task.input, &output)
            }
            Sight::Rows(rows) => tasks::check::observe(self.task_type, &task.input, rows),
            Sight::Unknown(why) => Err(why),
            Sight::Later(..) => Err("the check never ends".to_owned()),
        };
        if monitor == self.world.monitor {
            self.world.state.lock().checks.push(Checked { at, seen: seen.clone() });
        }
        match seen {
            Ok(output) => done(output),
            Err(why) => Outcome {
                status: OutcomeStatus::FailedTerminally,
                output: Json::empty_object(),
                reason: Some(why),
            },
        }
    }
}

fn done(output: Json) -> Outcome {
    Outcome { status: OutcomeStatus::Completed, output, reason: None }
}

/// Is told in the place of a workflow.
struct Hears(Arc<World>);

#[async_trait]
impl TaskRunner for Hears {
    fn task_type(&self) -> &'static str {
        HEARS
    }

    async fn run(&self, task: Handoff, _: CancellationToken) -> Outcome {
        let input = task.input.parse();
        let receiver = input["receiver"].as_str().unwrap_or_default().to_owned();
        let taken = Answer { status: 200, retry_after: None, body: String::new() };
        let answer = self.0.answer_of(&receiver, taken);
        let about = input["notification"].as_object().cloned().unwrap_or_default();
        let now = self.0.now();
        let telling = Telling {
            at: now,
            due: now,
            delivery: String::new(),
            title: String::new(),
            to: receiver,
            monitor: String::new(),
            event: String::new(),
            keys: Vec::new(),
            people: Vec::new(),
            status: answer.status,
            method: "START".to_owned(),
            url: format!("workflow:{}", input["workflow"].as_str().unwrap_or_default()),
            headers: Vec::new(),
            body: json!({ "notification": about, "settings": input["settings"] }).to_string(),
        };
        self.0.note(telling, &about);
        let status = if (200..300).contains(&answer.status) {
            OutcomeStatus::Completed
        } else {
            OutcomeStatus::Failed
        };
        Outcome { status, output: Json::empty_object(), reason: None }
    }
}

#[async_trait]
impl Outlet for World {
    async fn answer(&self, sent: Sent<'_>, taken: Answer) -> Answer {
        let answer = self.answer_of(sent.receiver, taken);
        // What is put into the inbox has no status.
        let status = if answer.status == 0 { 200 } else { answer.status };
        let now = self.now();
        let telling = Telling {
            at: now,
            due: now,
            delivery: String::new(),
            title: String::new(),
            to: sent.receiver.to_owned(),
            monitor: String::new(),
            event: String::new(),
            keys: Vec::new(),
            people: Vec::new(),
            status,
            method: sent.call.method.to_owned(),
            url: sent.call.url.clone(),
            headers: sent.call.headers.clone(),
            body: sent.call.body.clone(),
        };
        self.note(telling, sent.about);
        answer
    }
}
