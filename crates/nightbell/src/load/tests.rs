//! One reading of the files is one change.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use engine::Engine;
use engine::memory::{Call, Fault, Memory};
use engine::store::StoreError;
use kernel::ExecutionId;
use kernel::alert::definition::ChecklistOptions;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::again::tick;
use super::{Loaded, load, reload_all};
use crate::cli::offline::engine_over;

/// A folder of files that speak of each other, and an engine that has loaded it.
struct House {
    folder: tempfile::TempDir,
    engine: Engine,
    loaded: Loaded,
    /// Writes of documents that the store still takes.
    left: Arc<AtomicUsize>,
    /// What parent and child said of themselves at each write.
    seen: Arc<Mutex<Vec<[Option<String>; 2]>>>,
}

fn description(engine: &Engine, name: &str) -> Option<String> {
    engine.definitions().workflow(name, None).and_then(|it| it.description.clone())
}

fn workflow(name: &str, mark: &str, task: &Value) -> Value {
    json!({ "name": name, "version": 1, "description": mark, "tasks": [task] })
}

fn child(mark: &str) -> Value {
    let task = json!({ "name": "work", "taskReferenceName": "work", "type": "SIMPLE" });
    workflow("child", mark, &task)
}

fn running(name: &str, started: &str, mark: &str) -> Value {
    let task = json!({ "name": "c", "taskReferenceName": "c", "type": "SUB_WORKFLOW",
                       "subWorkflowParam": { "name": started } });
    workflow(name, mark, &task)
}

impl House {
    async fn open() -> Self {
        Self::open_with(Loaded::default()).await
    }

    async fn open_with(loaded: Loaded) -> Self {
        let (left, seen) =
            (Arc::new(AtomicUsize::new(usize::MAX)), Arc::<Mutex<Vec<_>>>::default());
        let shown: Arc<OnceLock<Engine>> = Arc::default();
        let (takes, sees, shows) = (left.clone(), seen.clone(), shown.clone());
        let store = Memory::with_faults(move |call| {
            if matches!(call, Call::Read(_)) {
                return None;
            }
            let engine = shows.get()?;
            sees.lock().push(["parent", "child"].map(|name| description(engine, name)));
            let Call::Write("put_documents") = call else { return None };
            let took = takes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            took.err().map(|_| Fault::Before(StoreError::Unavailable("the disk is full".into())))
        });
        let engine = engine_over(store).await.expect("it opens");
        assert!(shown.set(engine.clone()).is_ok());
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("first")).expect("a folder");
        let house = Self { folder, engine, loaded, left, seen };
        house.lead_to("first");
        house.write_all("one");
        load(&house.engine, &house.paths(), &ChecklistOptions::default(), &house.loaded)
            .await
            .expect("nothing is wrong");
        house
    }

    /// What `--load` names: a link to a folder.
    fn paths(&self) -> [PathBuf; 1] {
        [self.folder.path().join("link")]
    }

    /// Lets the link lead elsewhere.
    fn lead_to(&self, folder: &str) {
        let [link] = self.paths();
        let _ = std::fs::remove_file(&link);
        symlink(self.folder.path().join(folder), link).expect("a link");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.paths()[0].join(name)
    }

    fn write(&self, name: &str, value: &Value) {
        std::fs::write(self.file(name), value.to_string()).expect("a file");
    }

    fn write_all(&self, mark: &str) {
        self.write("a.json", &running("parent", "child", mark));
        self.write("b.json", &child(mark));
        self.write("taskdefs.json", &json!([{ "name": "work", "description": mark }]));
        let schedule = json!({ "name": "nightly", "cronExpression": "0 0 2 * * *",
            "description": mark, "startWorkflowRequest": { "name": "parent" } });
        self.write("s.json", &schedule);
    }

    async fn reload(&self) {
        reload_all(&self.engine, &self.paths(), &self.loaded, &ChecklistOptions::default()).await;
    }

    /// What parent, child, task and schedule say of themselves.
    async fn marks(&self) -> [Option<String>; 4] {
        let task = self.engine.definitions().task("work").and_then(|it| it.description.clone());
        let id = ExecutionId::schedule("nightly");
        let spec = self.engine.look(&id, |it| it.schedule().and_then(|it| it.spec.clone())).await;
        let spec = spec.expect("the store answers").flatten();
        let schedule = spec.and_then(|it| it.description.as_deref().map(str::to_owned));
        let [parent, child] = ["parent", "child"].map(|name| description(&self.engine, name));
        [parent, child, task, schedule]
    }

    /// The names of the files that are refused, and why.
    async fn refused(&self) -> Vec<(String, String)> {
        let name =
            |file: &Path| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let loaded = self.loaded.0.lock().await;
        loaded.refused.iter().map(|(file, told)| (name(file), told.join("; "))).collect()
    }
}

fn all(mark: &str) -> [Option<String>; 4] {
    std::array::from_fn(|_| Some(mark.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_depend_on_each_other_change_together_or_not_at_all() {
    let house = House::open().await;
    assert_eq!(house.marks().await, all("one"));
    house.seen.lock().clear();
    house.write_all("two");
    house.left.store(1, Ordering::SeqCst);
    house.reload().await;
    assert_eq!(house.marks().await, all("two"), "one write is enough");
    assert_eq!(house.refused().await, []);

    house.write_all("three");
    house.left.store(0, Ordering::SeqCst);
    house.reload().await;
    assert_eq!(house.marks().await, all("two"), "without a write nothing has changed");
    assert_eq!(house.refused().await, [], "the files are good");
    house.left.store(usize::MAX, Ordering::SeqCst);
    // Nobody has to touch them: it is tried again.
    tick(&house.engine, &house.paths(), &house.loaded, &ChecklistOptions::default()).await;
    assert_eq!((house.marks().await, house.refused().await), (all("three"), vec![]));
    let seen = std::mem::take(&mut *house.seen.lock());
    assert!(seen.len() > 3 && seen.iter().all(|[parent, child]| parent == child), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_stores_nothing_of_files_that_do_not_fit() {
    let house = House::open().await;
    house.write_all("two");
    let trigger = |name: &str| json!({ "name": name, "method": "POST", "path": "/orders", "start": { "name": "parent" } });
    house.write("t.json", &trigger("t"));
    house.write("u.json", &trigger("u"));
    let mistakes =
        load(&house.engine, &house.paths(), &ChecklistOptions::default(), &house.loaded).await;
    let mistakes = mistakes.expect_err("two triggers have one path");
    assert!(mistakes.iter().any(|it| it.contains("u.json") && it.contains("same method and path")));
    assert_eq!(house.marks().await, all("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_refers_to_a_refused_one_waits_for_it_and_others_do_not() {
    let house = House::open().await;
    for broken in ["{", r#"{"name":"child","version":1,"tasks":[{"name":"x","type":"SWITCH"}]}"#] {
        house.write_all("two");
        let task = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
        house.write("c.json", &workflow("other", broken, &task));
        std::fs::write(house.file("b.json"), broken).expect("a file");
        house.reload().await;
        let [one, two] = ["one", "two"].map(|it| Some(it.to_owned()));
        // The schedule starts the parent, which runs the child.
        assert_eq!(house.marks().await, [one.clone(), one.clone(), two, one]);
        assert_eq!(description(&house.engine, "other").as_deref(), Some(broken));
        let refused = house.refused().await;
        let names: Vec<&str> = refused.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.json", "b.json", "s.json"], "{refused:?}");
        let told = &refused[0].1;
        assert!(told.contains("refers to the workflow 'child', which ") && told.contains("b.json"));

        house.write("b.json", &child("two"));
        house.reload().await;
        assert_eq!((house.marks().await, house.refused().await), (all("two"), vec![]));
        house.write_all("one");
        house.reload().await;
    }
    // What is nowhere may be in a file that cannot be read.
    house.write("d.json", &running("third", "new", "one"));
    std::fs::write(house.file("e.json"), "{").expect("a file");
    house.reload().await;
    let refused = house.refused().await;
    assert!(refused[0].0 == "d.json" && refused[0].1.contains("may define"), "{refused:?}");
    std::fs::remove_file(house.file("e.json")).expect("it is there");
    house.reload().await;
    assert_eq!(house.refused().await, []);
    assert_eq!(description(&house.engine, "third").as_deref(), Some("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_while_files_may_be_there_that_were_not_found() {
    let house = House::open_with(Loaded::pruning(true)).await;
    for folder in ["empty", "broken"] {
        std::fs::create_dir(house.folder.path().join(folder)).expect("a folder");
    }
    // A folder of which a file cannot be read, and one with a folder that is not there.
    let broken = house.folder.path().join("broken");
    symlink("b.json", broken.join("b.json")).expect("a link");
    // What cannot be reached, a disk that is not there, and a path that is not.
    for (folder, refused) in [("broken", 1), ("link", 1), ("empty", 0), ("nowhere", 0)] {
        house.lead_to(folder);
        for _ in 0..2 {
            tick(&house.engine, &house.paths(), &house.loaded, &ChecklistOptions::default()).await;
            assert_eq!(house.refused().await.len(), refused, "{folder}");
            assert_eq!(house.marks().await, all("one"), "{folder}");
        }
    }
    house.lead_to("first");
    let below = house.file("below");
    symlink(house.folder.path().join("unmounted"), &below).expect("a link");
    std::fs::remove_file(house.file("s.json")).expect("it is there");
    house.reload().await;
    assert_eq!(house.marks().await, all("one"), "a folder may come back");
    reload_all(&house.engine, &[], &house.loaded, &ChecklistOptions::default()).await;
    assert_eq!(house.marks().await, all("one"), "no path is named");

    std::fs::remove_file(below).expect("it is there");
    house.reload().await;
    assert_eq!(house.marks().await[3], None, "all is there, and says it no more");
    assert_eq!(house.marks().await[0].as_deref(), Some("one"));
    // What is meant to be empty says so.
    for file in ["a.json", "b.json", "taskdefs.json"] {
        std::fs::remove_file(house.file(file)).expect("it is there");
    }
    house.write("none.json", &json!([]));
    house.reload().await;
    assert_eq!(house.marks().await, [const { None }; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_keeps_what_came_from_it_and_no_more() {
    let house = House::open_with(Loaded::pruning(true)).await;
    let second = house.folder.path().join("second");
    std::fs::create_dir(&second).expect("a folder");
    let [first] = house.paths();
    let paths = [first, second.clone()];
    let reload = async || {
        reload_all(&house.engine, &paths, &house.loaded, &ChecklistOptions::default()).await;
    };
    let remove = |file: PathBuf| std::fs::remove_file(file).expect("it is there");
    remove(house.file("s.json"));
    reload().await;
    assert_eq!(house.marks().await[3], None, "the second was always empty");

    let task = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    let other = workflow("other", "new", &task).to_string();
    std::fs::write(second.join("c.json"), other).expect("a file");
    reload().await;
    remove(second.join("c.json"));
    remove(house.file("a.json"));
    reload().await;
    assert_eq!(description(&house.engine, "other").as_deref(), Some("new"), "a disk may be away");
    assert_eq!(house.marks().await[..2], [None, Some("one".to_owned())]);
    std::fs::write(second.join("none.json"), "[]").expect("a file");
    reload().await;
    assert_eq!(description(&house.engine, "other"), None, "it says that it is empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_elsewhere_is_followed_at_each_reading() {
    let house = House::open_with(Loaded::pruning(true)).await;
    std::fs::create_dir(house.folder.path().join("second")).expect("a folder");
    house.lead_to("second");
    house.write_all("two");
    let task = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    house.write("c.json", &workflow("other", "new", &task));
    house.reload().await;
    assert_eq!(house.marks().await, all("two"));
    tick(&house.engine, &house.paths(), &house.loaded, &ChecklistOptions::default()).await;
    assert_eq!(house.marks().await, all("two"));
    assert_eq!(description(&house.engine, "other").as_deref(), Some("new"));
}

/// No event tells of the file that a link leads to: what is read every few minutes has its monitors, too.
#[tokio::test(flavor = "multi_thread")]
async fn monitors_behind_a_link_are_read_with_everything_else() {
    let monitor = |name: &str| {
        format!("monitors:\n  {name}: {{ heartbeat: {{ every: 1h, key: {name} }} }}\n")
    };
    let names = |house: &House| -> Vec<String> {
        let all = house.engine.monitors_file().monitors;
        let own = |name: &&str| *name != engine::monitors::OWN_MONITOR;
        all.iter().map(|it| &*it.name).filter(own).map(str::to_owned).collect()
    };
    let tick_of = async |house: &House| {
        tick(&house.engine, &house.paths(), &house.loaded, &ChecklistOptions::default()).await;
    };
    for prunes in [true, false] {
        let house = House::open_with(Loaded::pruning(prunes)).await;
        std::fs::write(house.file("m.yaml"), monitor("one")).expect("a file");
        house.reload().await;
        assert_eq!(names(&house), ["one"]);
        std::fs::create_dir(house.folder.path().join("second")).expect("a folder");
        house.lead_to("second");
        house.write_all("two");
        std::fs::write(house.file("m.yaml"), monitor("two")).expect("a file");
        tick_of(&house).await;
        assert_eq!(names(&house), [if prunes { "two" } else { "one" }]);
        // A disk that is not there takes no monitor with it.
        house.lead_to("nowhere");
        tick_of(&house).await;
        assert_eq!(names(&house), [if prunes { "two" } else { "one" }]);
    }
}
