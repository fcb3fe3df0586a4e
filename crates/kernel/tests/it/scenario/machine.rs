//! An execution under test: its state, its history as stored, and the world around it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use kernel::definition::{SchemaDef, TaskDef, parse_task_defs, workflow_from_value};
use kernel::graph::{Context, Event, Execution, Input, Limits, Plan, World};
use kernel::{Decision, ExecutionId, Json, Machine, Rejected, Timestamp};
use serde_json::Value;

use super::scripts::Small;

/// 2026-01-01T00:00:00Z: when every scenario begins.
pub(super) const BEGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Above this many facts only the last state is folded anew, not that of each step.
const FOLDED_EACH_STEP_MAX: usize = 600;

/// What a decision may ask.
pub(super) struct Surroundings {
    pub task_defs: BTreeMap<String, Arc<TaskDef>>,
    pub polled: BTreeSet<String>,
    /// Outputs to use again, by task name and key.
    pub kept: BTreeMap<String, Json>,
    /// No gate has a place.
    pub full: bool,
}

impl Surroundings {
    pub(super) fn of(task_defs: &[Value]) -> Self {
        let text = Value::Array(task_defs.to_vec()).to_string();
        let task_defs = parse_task_defs(&text).expect("task definitions");
        let task_defs =
            task_defs.into_iter().map(|def| (def.name.clone(), Arc::new(def))).collect();
        Self { task_defs, polled: BTreeSet::new(), kept: BTreeMap::new(), full: false }
    }
}

impl World for Surroundings {
    fn task_def(&self, name: &str) -> Option<Arc<TaskDef>> {
        self.task_defs.get(name).cloned()
    }

    fn is_builtin(&self, task_type: &str) -> bool {
        matches!(task_type, "HTTP" | "EVENT")
    }

    fn polled_lately(&self, queue: &str) -> bool {
        self.polled.contains(queue)
    }

    fn environment(&self, name: &str) -> Option<String> {
        (name == "REGION").then(|| "eu".to_owned())
    }

    fn schema(&self, name: &str, version: i32) -> Option<SchemaDef> {
        (name == "registered").then(|| SchemaDef {
            name: name.to_owned(),
            version: version.max(3),
            data: serde_json::json!({ "required": ["id"] }).as_object().cloned(),
            ..SchemaDef::default()
        })
    }

    fn reusable(&self, name: &str, key: &str) -> Option<Json> {
        self.kept.get(&format!("{name}/{key}")).cloned()
    }

    fn place(&self, _: &str, _: u32, _: &ExecutionId, _: u32) -> bool {
        !self.full
    }
}

/// An execution, its stored history and the clock.
pub(super) struct Run {
    pub state: Execution,
    pub world: Surroundings,
    pub limits: Limits,
    pub now: Timestamp,
    history: Vec<String>,
    plans: BTreeMap<Arc<str>, Arc<Plan>>,
}

impl Run {
    pub(super) fn new(task_defs: &[Value]) -> Self {
        Self {
            state: Execution::new(ExecutionId::new("run")),
            world: Surroundings::of(task_defs),
            limits: Limits::default(),
            now: BEGIN,
            history: Vec::new(),
            plans: BTreeMap::new(),
        }
    }

    /// Pins a definition, as at the start of an execution.
    pub(super) fn pin(&mut self, definition: &Value) -> Arc<Plan> {
        let definition = workflow_from_value(definition).expect("a definition");
        let task_def = |name: &str| self.world.task_def(name).map(|def| (*def).clone());
        let schema = |name: &str, version| self.world.schema(name, version);
        let pinned = Plan::pin_with(definition, &task_def, &schema);
        // What runs is what was stored.
        let plan = Arc::new(Plan::from_text(pinned.text).expect("the text of a plan"));
        self.plans.insert(plan.hash.clone(), plan.clone());
        plan
    }

    /// Decides an input, by the live state and by one folded anew.
    pub(super) fn decide(&mut self, input: Input) -> Result<Decision<Event>, Rejected> {
        let each = self.history.len() <= FOLDED_EACH_STEP_MAX;
        let context =
            Context { now: self.now, scripts: &Small, world: &self.world, limits: &self.limits };
        let again = each.then(|| {
            let mut folded = self.fold();
            let decided = folded.decide(input.clone(), &context);
            (folded, decided)
        });
        let before = each.then(|| dump(&self.state));
        let decided = self.state.decide(input, &context);
        if let Some((folded, again)) = again {
            assert_eq!(shown(&decided), shown(&again), "a folded state decides the same");
            assert_eq!(dump(&self.state), dump(&folded), "a folded state ends up the same");
        }
        let events = decided.as_ref().map_or(&[][..], |decision| &decision.events);
        if events.is_empty()
            && let Some(before) = before
        {
            assert_eq!(before, dump(&self.state), "without a fact nothing changes");
        }
        self.history.extend(stored(events));
        decided
    }

    /// Goes on with an execution that has not begun; gives the one that was.
    pub(super) fn leave(&mut self, id: &str) -> (Execution, Vec<String>) {
        let state = std::mem::replace(&mut self.state, Execution::new(ExecutionId::new(id)));
        (state, std::mem::take(&mut self.history))
    }

    /// Comes back to an execution that was left.
    pub(super) fn come_back(&mut self, (state, history): (Execution, Vec<String>)) {
        (self.state, self.history) = (state, history);
    }

    /// Panics unless the history gives the present state.
    pub(super) fn check_fold(&self) {
        assert_eq!(dump(&self.fold()), dump(&self.state), "the history gives the state");
    }

    /// Folds the history; every other time by way of a snapshot, as it would be stored.
    fn fold(&self) -> Execution {
        let state = self.fold_all();
        if !state.is_started() || self.history.len().is_multiple_of(2) {
            return state;
        }
        let text = serde_json::to_string(&state.snapshot()).expect("a snapshot serializes");
        let mut restored = Execution::new(self.state.id.clone());
        restored.apply(&self.bound(&text));
        restored
    }

    fn fold_all(&self) -> Execution {
        let mut state = Execution::new(self.state.id.clone());
        for text in &self.history {
            state.apply(&self.bound(text));
        }
        state
    }

    /// A stored fact, its plan bound.
    fn bound(&self, text: &str) -> Event {
        let mut event: Event = serde_json::from_str(text).expect("a stored fact");
        if let Some(plan) = event.plan_mut() {
            plan.plan = self.plans.get(&plan.hash).cloned();
        }
        event
    }
}

fn stored(events: &[Event]) -> impl Iterator<Item = String> {
    events.iter().map(|event| serde_json::to_string(event).expect("facts serialize"))
}

fn shown(decided: &Result<Decision<Event>, Rejected>) -> String {
    match decided {
        Ok(decision) => {
            let events: Vec<String> = stored(&decision.events).collect();
            format!("{}\n{:?}", events.join("\n"), decision.effects)
        }
        Err(rejected) => rejected.to_string(),
    }
}

/// The whole state as text, but for what is only a cache.
fn dump(state: &Execution) -> String {
    let text = format!("{state:#?}");
    let cache = text.rfind("\n    join_cursors:").expect("the state has this cache");
    text[..cache].to_owned()
}
