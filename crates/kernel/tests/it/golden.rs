//! What earlier releases have stored is read for ever: golden histories of every machine, messages
//! and documents, which no release rewrites.

mod coverage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coverage::Coverage;
use kernel::alert::Monitor;
use kernel::alert::definition::{File, Silence};
use kernel::definition::{EventHandler, TaskDef, WorkflowDef};
use kernel::durable::entity::Entity;
use kernel::durable::instance::Instance;
use kernel::graph::{Event, Execution, Message, Plan};
use kernel::schedule::Schedule;
use kernel::status_page::{StatusPage, StatusPost};
use kernel::{ExecutionId, Machine};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const ADVICE: &str = "
A stored type has something that no golden file holds. Stores of this release will hold it, so keep
an example of it for every later release:

1. Write a NEW file in the folder of the machine that stores it, crates/kernel/tests/golden/MACHINE/
   NAME.history.json: an `id`, and a `history` that makes sense, one list of events per commit. What
   executions obey stands in `plans`. A variant or field of the state itself needs a history that
   leads to it, or one that consists of a `snapshot`. Messages are in golden/message, documents in
   golden/document.
2. UPDATE_EXPECT=1 cargo test -p kernel --test it golden:: writes NAME.state.json beside it. Read it.
3. Never change or remove an existing file: there are stores that hold just that.";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Every file of a folder whose name ends so, by name.
fn files(name: &str, end: &str) -> Vec<(PathBuf, Value)> {
    let entries = std::fs::read_dir(folder(name)).expect("there is a folder of golden files");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.to_str().is_some_and(|path| path.ends_with(end))).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no golden file of {name}");
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a golden file is there");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A golden history by the folder of its machine and its name.
pub(crate) fn read_golden(machine: &str, name: &str) -> Value {
    read(&folder(machine).join(format!("{name}.history.json")))
}

/// Pinned plans, by the names under which a golden history knows them.
pub(crate) type Plans = BTreeMap<String, Arc<Plan>>;

/// A machine whose history is stored.
pub(crate) trait Stored: Machine<Event: Serialize + DeserializeOwned> {
    /// The folder of its golden histories.
    const FOLDER: &'static str;

    /// One that has not begun.
    fn blank(id: ExecutionId) -> Self;

    /// All of it as a snapshot.
    fn as_one_event(&self) -> Self::Event;

    /// Binds the plan that a fact names.
    fn bind(_: &mut Self::Event, _: &Plans) {}

    /// Folds a history.
    fn open(id: &str, commits: &[Value], plans: &Plans) -> Result<Self, serde_json::Error> {
        let mut state = Self::blank(ExecutionId::new(id));
        for commit in commits {
            for mut event in serde_json::from_value::<Vec<Self::Event>>(commit.clone())? {
                Self::bind(&mut event, plans);
                state.apply(&event);
            }
        }
        Ok(state)
    }

    /// Everything that it knows, also what it derives from the rest.
    fn dump(&self) -> Value {
        json!({ "wakeAt": self.wake_at(), "events": [self.as_one_event()] })
    }
}

macro_rules! stored {
    ($machine:ident $folder:literal $($bind:item)?) => {
        impl Stored for $machine {
            const FOLDER: &'static str = $folder;

            fn blank(id: ExecutionId) -> Self {
                Self::new(id)
            }

            fn as_one_event(&self) -> Self::Event {
                self.snapshot()
            }

            $($bind)?
        }
    };
}

stored!(Schedule "schedule");
stored!(Monitor "monitor");
stored!(Instance "instance");
stored!(Entity "entity");
stored!(Execution "execution"
    fn bind(event: &mut Event, plans: &Plans) {
        if let Some(pinned) = event.plan_mut() {
            let plan = plans.get(&*pinned.hash);
            pinned.plan = Some(plan.expect("a golden file holds the plans that it names").clone());
        }
    }
);

pub(crate) fn plans_of(golden: &Value) -> Plans {
    let plans = golden["plans"].as_object().into_iter().flatten();
    let named = plans.map(|(name, text)| {
        let mut plan = Plan::from_text(text.to_string().into()).expect("a golden plan is read");
        // Golden histories name plans by words, which can be read, instead of hashes.
        plan.hash = name.as_str().into();
        (name.clone(), Arc::new(plan))
    });
    named.collect()
}

/// Where a golden value is not found again; what was added since is not looked at.
fn lost(golden: &Value, found: &Value, at: &str) -> Option<String> {
    match (golden, found) {
        (Value::Object(golden), Value::Object(_)) => golden.iter().find_map(|(name, golden)| {
            let found = found.get(name).unwrap_or(&Value::Null);
            lost(golden, found, &format!("{at}/{name}"))
        }),
        (Value::Array(golden), Value::Array(found)) if golden.len() == found.len() => {
            let mut pairs = golden.iter().zip(found).enumerate();
            pairs.find_map(|(index, (golden, found))| lost(golden, found, &format!("{at}/{index}")))
        }
        _ => (golden != found).then(|| format!("{at}: {golden} has become {found}")),
    }
}

/// Opens every golden history of a machine: as it is, written anew, and as a snapshot.
fn histories_open<M: Stored>() {
    for (path, golden) in files(M::FOLDER, ".history.json") {
        let name = path.display();
        let id = golden["id"].as_str().expect("a golden history has an id");
        let commits = golden["history"].as_array().expect("a golden history has one");
        let plans = plans_of(&golden);
        let open = |commits: &[Value]| {
            M::open(id, commits, &plans)
                .unwrap_or_else(|error| panic!("{name} cannot be read any more: {error}"))
        };
        let found = open(commits).dump();

        let state = path.with_file_name(
            path.file_name()
                .and_then(|name| name.to_str())
                .expect("a name")
                .replace(".history.", ".state."),
        );
        if !state.exists() && std::env::var_os("UPDATE_EXPECT").is_some() {
            let text = serde_json::to_string_pretty(&found).expect("it serializes");
            std::fs::write(&state, text + "\n").expect("the golden state is written");
        }
        let expected = read(&state);
        if let Some(lost) = lost(&expected, &found, "") {
            panic!("{name} is folded to another state: {lost}");
        }
        let from_snapshot = open(std::slice::from_ref(&expected["events"])).dump();
        assert_eq!(from_snapshot, found, "the golden snapshot of {name} is read differently");

        let written: Vec<Value> = commits
            .iter()
            .map(|commit| {
                let events: Vec<M::Event> = serde_json::from_value(commit.clone()).expect("events");
                serde_json::to_value(&events).expect("events serialize")
            })
            .collect();
        if let Some(lost) = lost(&golden["history"], &Value::Array(written.clone()), "") {
            panic!("{name} is written differently: {lost}");
        }
        assert_eq!(open(&written).dump(), found, "{name}, written anew, is another state");
    }
}

#[test]
fn histories_of_executions_open() {
    histories_open::<Execution>();
}

#[test]
fn histories_of_schedules_open() {
    histories_open::<Schedule>();
}

#[test]
fn histories_of_monitors_open() {
    histories_open::<Monitor>();
}

#[test]
fn histories_of_instances_open() {
    histories_open::<Instance>();
}

#[test]
fn histories_of_entities_open() {
    histories_open::<Entity>();
}

/// Reads every item of the golden lists in a folder, and writes it anew.
fn items_open<T: Serialize + DeserializeOwned>(name: &str) {
    for (path, golden) in files(name, ".json") {
        for (index, item) in golden.as_array().expect("a list").iter().enumerate() {
            let place = format!("item {index} of {}", path.display());
            let read: T = serde_json::from_value(item.clone())
                .unwrap_or_else(|error| panic!("{place} cannot be read any more: {error}"));
            let written = serde_json::to_value(&read).expect("it serializes");
            if let Some(lost) = lost(item, &written, "") {
                panic!("{place} is written differently: {lost}");
            }
        }
    }
}

#[test]
fn messages_open() {
    items_open::<Message>("message");
}

#[test]
fn documents_open() {
    items_open::<WorkflowDef>("document/workflow");
    items_open::<TaskDef>("document/task");
    items_open::<EventHandler>("document/event_handler");
    items_open::<File>("document/monitors");
    items_open::<Silence>("document/silence");
    items_open::<StatusPage>("document/status_page");
    items_open::<StatusPost>("document/status_post");
}

fn cover_histories<M: Stored>(coverage: &Coverage) {
    for end in [".history.json", ".state.json"] {
        for (path, golden) in files(M::FOLDER, end) {
            let commits = golden["history"].as_array().into_iter().flatten();
            let commits = commits.chain(golden.get("events"));
            for event in commits.flat_map(|commit| commit.as_array().into_iter().flatten()) {
                coverage
                    .read::<M::Event>(event)
                    .unwrap_or_else(|error| panic!("{}: {error}: {event}", path.display()));
            }
        }
    }
}

fn cover_items<T: DeserializeOwned>(coverage: &Coverage, name: &str) {
    for (path, golden) in files(name, ".json") {
        for item in golden.as_array().into_iter().flatten() {
            coverage
                .read::<T>(item)
                .unwrap_or_else(|error| panic!("{}: {error}: {item}", path.display()));
        }
    }
}

#[test]
fn every_variant_and_field_that_is_stored_has_a_golden() {
    let coverage = Coverage::default();
    cover_histories::<Execution>(&coverage);
    cover_histories::<Schedule>(&coverage);
    cover_histories::<Monitor>(&coverage);
    cover_histories::<Instance>(&coverage);
    cover_histories::<Entity>(&coverage);
    cover_items::<Message>(&coverage, "message");
    cover_items::<WorkflowDef>(&coverage, "document/workflow");
    cover_items::<TaskDef>(&coverage, "document/task");
    cover_items::<EventHandler>(&coverage, "document/event_handler");
    cover_items::<File>(&coverage, "document/monitors");
    cover_items::<Silence>(&coverage, "document/silence");
    cover_items::<StatusPage>(&coverage, "document/status_page");
    cover_items::<StatusPost>(&coverage, "document/status_post");
    let missing = coverage.missing();
    assert!(missing.is_empty(), "{}\n{ADVICE}", missing.join("\n"));
}
