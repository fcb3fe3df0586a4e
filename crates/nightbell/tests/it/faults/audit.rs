//! What the world outside saw of a cluster, and what must be true of it afterwards: nothing acknowledged is
//! lost, each completion counts once, nobody is paged twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// A report of a worker.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// What the worker said; nobody says it twice.
    pub(super) token: String,
    /// When it was acknowledged, in milliseconds since 1970.
    pub(super) acknowledged: Option<i64>,
}

/// What was sent and what was answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Tale {
    /// Starts by idempotency key, with the run that was named in the answer.
    pub(super) starts: BTreeMap<String, Option<String>>,
    /// Reports by task.
    pub(super) reports: BTreeMap<String, Vec<Report>>,
    /// Alerts by name, and whether they were taken.
    pub(super) alerts: BTreeMap<String, bool>,
    /// Pages by alert: how often each came, by the key that tells a page from its repetition.
    pub(super) pages: BTreeMap<String, BTreeMap<String, u32>>,
}

/// The tasks of a run, in their order.
pub(super) const TASKS: [&str; 2] = ["a", "b"];

/// Everything that must not be.
pub(super) fn audit(tale: &Tale, runs: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut by_key = BTreeMap::<&str, Vec<&Value>>::new();
    for run in runs {
        by_key.entry(run["input"]["key"].as_str().unwrap_or_default()).or_default().push(run);
    }
    for (key, id) in &tale.starts {
        match (by_key.remove(key.as_str()).unwrap_or_default().as_slice(), id) {
            ([], None) => {}
            ([], Some(id)) => {
                wrong.push(format!("{key}: its run {id} was acknowledged and is lost"));
            }
            ([run], id) => {
                if id.as_ref().is_some_and(|id| run["workflowId"] != *id) {
                    wrong.push(format!("{key}: not {id:?} was started, but {}", run["workflowId"]));
                }
                of_run(tale, run, &mut wrong);
            }
            (several, _) => wrong.push(format!("{key} was started {} times", several.len())),
        }
    }
    wrong.extend(by_key.keys().map(|key| format!("nobody started '{key}'")));
    let tasks = runs.iter().flat_map(|run| run["tasks"].as_array().into_iter().flatten());
    let known: BTreeSet<&str> = tasks.filter_map(|task| task["taskId"].as_str()).collect();
    for (task, reports) in &tale.reports {
        if reports.iter().any(|it| it.acknowledged.is_some()) && !known.contains(task.as_str()) {
            wrong.push(format!("the task {task} was reported, acknowledged and is lost"));
        }
    }
    for (alert, was_taken) in &tale.alerts {
        match tale.pages.get(alert) {
            None if *was_taken => wrong.push(format!("nobody was paged for {alert}")),
            Some(keys) if keys.len() > 1 => wrong.push(format!("{alert} paged twice: {keys:?}")),
            _ => {}
        }
    }
    let strange = tale.pages.keys().filter(|it| !tale.alerts.contains_key(*it));
    wrong.extend(strange.map(|alert| format!("a page for {alert}, which was never sent")));
    wrong
}

fn of_run(tale: &Tale, run: &Value, wrong: &mut Vec<String>) {
    let id = &run["workflowId"];
    if run["status"] != "COMPLETED" {
        wrong.push(format!("{id} is {}", run["status"]));
    }
    let tasks: Vec<&Value> = run["tasks"].as_array().into_iter().flatten().collect();
    for reference in TASKS {
        let attempts = tasks.iter().filter(|it| it["referenceTaskName"] == reference);
        let completed = attempts.filter(|it| it["status"] == "COMPLETED").count();
        if completed != 1 {
            wrong.push(format!("{reference} of {id} completed {completed} times"));
        }
    }
    for task in tasks {
        let name = task["taskId"].as_str().unwrap_or_default();
        let reports = tale.reports.get(name).map_or(&[][..], Vec::as_slice);
        if task["status"] == "COMPLETED" {
            if !reports.iter().any(|it| task["outputData"]["token"] == it.token) {
                wrong.push(format!("{name} of {id} has an output that nobody reported: {task}"));
            }
        } else if let Some(first) = reports.iter().filter_map(|it| it.acknowledged).min()
            // Whoever reports after a task was given to another one is answered well, and not heard.
            && task["endTime"].as_i64().is_none_or(|ended| first < ended)
        {
            wrong
                .push(format!("{name} of {id} was reported and acknowledged, and is lost: {task}"));
        }
    }
}

/// A tale in which all is well, and the run that it tells of.
fn well() -> (Tale, Value) {
    let mut tale = Tale::default();
    tale.starts.insert("k1".to_owned(), Some("r1".to_owned()));
    tale.starts.insert("k2".to_owned(), None);
    let report = |token: &str, acknowledged| Report { token: token.to_owned(), acknowledged };
    tale.reports.insert("t1".to_owned(), vec![report("w1", None), report("w2", Some(5))]);
    tale.reports.insert("t2".to_owned(), vec![report("w3", Some(30))]);
    tale.reports.insert("t3".to_owned(), vec![report("w4", Some(40))]);
    tale.alerts.insert("f1".to_owned(), true);
    tale.alerts.insert("f2".to_owned(), false);
    tale.pages.insert("f1".to_owned(), BTreeMap::from([("p1".to_owned(), 2)]));
    let task = |id: &str, reference: &str, status: &str, token: &str| {
        json!({ "taskId": id, "referenceTaskName": reference, "status": status, "endTime": 20,
            "outputData": { "token": token } })
    };
    let tasks = [
        task("t1", "a", "COMPLETED", "w1"),
        task("t2", "b", "TIMED_OUT", ""),
        task("t3", "b", "COMPLETED", "w4"),
    ];
    let run = json!({ "workflowId": "r1", "status": "COMPLETED", "input": { "key": "k1" },
        "tasks": tasks });
    (tale, run)
}

/// Each way in which something can be lost or doubled is found.
#[test]
fn the_auditor_finds_what_is_wrong() {
    let (tale, run) = well();
    assert_eq!(audit(&tale, std::slice::from_ref(&run)), [""; 0]);
    let found = |change: &dyn Fn(&mut Tale, &mut Vec<Value>)| {
        let (mut tale, mut runs) = (tale.clone(), vec![run.clone()]);
        change(&mut tale, &mut runs);
        audit(&tale, &runs).join("; ")
    };
    let told = |what: &str, change: &dyn Fn(&mut Tale, &mut Vec<Value>)| {
        let found = found(change);
        assert!(found.contains(what), "not {what}: {found}");
    };
    told("r1 was acknowledged and is lost", &|_, runs| runs.clear());
    told("started 2 times", &|_, runs| runs.push(runs[0].clone()));
    told("nobody started 'k3'", &|_, runs| runs[0]["input"]["key"] = json!("k3"));
    told("is \"RUNNING\"", &|_, runs| runs[0]["status"] = json!("RUNNING"));
    told("b of \"r1\" completed 2 times", &|_, runs| {
        runs[0]["tasks"][1]["status"] = json!("COMPLETED");
    });
    told("a of \"r1\" completed 0 times", &|_, runs| {
        runs[0]["tasks"][0]["status"] = json!("SCHEDULED");
    });
    told("t1 of \"r1\" was reported and acknowledged, and is lost", &|_, runs| {
        runs[0]["tasks"][0]["status"] = json!("TIMED_OUT");
    });
    told("that nobody reported", &|_, runs| {
        runs[0]["tasks"][2]["outputData"]["token"] = json!("w9");
    });
    told("the task t9 was reported, acknowledged and is lost", &|tale, _| {
        let report = Report { token: "w9".to_owned(), acknowledged: Some(1) };
        tale.reports.insert("t9".to_owned(), vec![report]);
    });
    told("nobody was paged for f1", &|tale, _| tale.pages.clear());
    told("f1 paged twice", &|tale, _| {
        tale.pages.entry("f1".to_owned()).or_default().insert("p2".to_owned(), 1);
    });
    told("never sent", &|tale, _| {
        tale.pages.insert("f9".to_owned(), BTreeMap::new());
    });
}
