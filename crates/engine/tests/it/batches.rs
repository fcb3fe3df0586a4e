//! One act on many runs: each once, whatever happens to the process in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use engine::memory::{Call, Fault, Memory};
use engine::store::StoreError;
use engine::{Batch, BatchAct, BatchState, Engine, Error};
use kernel::{ExecutionId, Rejected};
use serde_json::json;

use crate::house::{ended, open, register, start};

/// Runs of more than two portions.
const RUNS: usize = 250;

async fn many(engine: &Engine, name: &str, task: &str) -> Vec<ExecutionId> {
    let tasks = json!([{ "name": "t", "taskReferenceName": "t", "type": task }]);
    register(engine, json!({ "name": name, "tasks": tasks })).await;
    let mut ids = Vec::new();
    for _ in 0..RUNS {
        ids.push(start(engine, name, json!({})).await);
    }
    ids
}

async fn version(engine: &Engine, id: &ExecutionId) -> u64 {
    engine.store().head(id).await.expect("memory answers").expect("it exists").version
}

async fn through(engine: &Engine, id: &str) -> Batch {
    let through = async {
        loop {
            match engine.batch(id) {
                Some(batch) if batch.state != BatchState::Running => return batch,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), through).await.expect("the batch ends")
}

#[tokio::test]
async fn each_run_is_acted_on_once_also_if_the_process_ends_in_between() {
    let (fails, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (failing, count) = (fails.clone(), failed.clone());
    let store = Arc::new(Memory::with_faults(move |call| match call {
        // The first is the batch itself.
        Call::Write("put_documents") if failing.load(Ordering::Relaxed) => {
            let before = count.fetch_add(1, Ordering::Relaxed);
            (before > 0).then(|| Fault::Before(StoreError::Unavailable("away".to_owned())))
        }
        _ => None,
    }));
    let engine = open(store.clone()).await;
    let runs = many(&engine, "quick", "NOOP").await;
    for id in &runs {
        ended(&engine, id).await;
    }
    let before = version(&engine, &runs[0]).await;
    let preview = engine.preview_batch(BatchAct::Restart, "name:quick", None).await;
    let preview = preview.expect("runs are found");
    assert_eq!(preview.runs.len(), RUNS);
    assert!(engine.remove(&runs[7]).await.expect("memory answers"), "one is gone meanwhile");
    // Acts are committed, and that they were is not noted: the process ends with the store away.
    fails.store(true, Ordering::Relaxed);
    let begun = engine.begin_batch(&preview.id, None, Some("ida".into()), None).await;
    let id = begun.expect("it begins").id;
    let away = async {
        while failed.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), away).await.expect("a portion is through");
    assert_eq!(engine.batch(&id).map(|batch| batch.passed), Some(0));
    engine.close().await.expect("it closes");
    store.open_again();
    fails.store(false, Ordering::Relaxed);

    let engine = open(store).await;
    let batch = through(&engine, &id).await;
    assert_eq!((batch.state, batch.passed, batch.done), (BatchState::Done, RUNS, RUNS - 1));
    assert_eq!((batch.refused(), &batch.refusals[0].run), (1, &runs[7]));
    assert_eq!(engine.batch_runs(&id).await.expect("they are kept"), runs);
    let mut restarted = std::collections::BTreeSet::new();
    for id in runs.iter().filter(|id| **id != runs[7]) {
        ended(&engine, id).await;
        restarted.insert(version(&engine, id).await);
    }
    let restarted: Vec<u64> = restarted.into_iter().collect();
    assert!(matches!(restarted[..], [once] if once > before), "{before} → {restarted:?}");
    // The same preview once more is the same batch.
    let again = engine.begin_batch(&id, None, None, None).await.expect("there it is");
    assert_eq!(again, batch);
    let stopped = engine.stop_batch(&id, None).await;
    assert!(matches!(stopped, Err(Error::Rejected(Rejected::Conflict(_)))), "{stopped:?}");
}

#[tokio::test]
async fn a_preview_counts_for_whoever_asked_and_finds_what_the_act_fits() {
    let engine = open(Arc::new(Memory::new())).await;
    let runs = many(&engine, "waits", "SIMPLE").await;
    let preview = async |act, find| engine.preview_batch(act, find, Some("key:1".into())).await;
    for (act, find) in
        [(BatchAct::Resume, "name:waits"), (BatchAct::Retry, ""), (BatchAct::Pause, "colour:red")]
    {
        let refused = preview(act, find).await;
        assert!(matches!(refused, Err(Error::Rejected(Rejected::Invalid(_)))), "{refused:?}");
    }
    let found = preview(BatchAct::Terminate, "name:waits").await.expect("they run");
    assert_eq!(&*found.runs, &runs[..], "the oldest first");
    let foreign = engine.begin_batch(&found.id, None, None, None).await;
    assert!(matches!(foreign, Err(Error::Rejected(Rejected::Conflict(_)))), "{foreign:?}");
    let begun =
        engine.begin_batch(&found.id, Some("over".into()), None, Some("key:1".into())).await;
    let batch = through(&engine, &begun.expect("it begins").id).await;
    assert_eq!((batch.done, batch.refused()), (RUNS, 0));
    let reason = engine.store().head(&runs[0]).await.expect("memory answers").expect("it exists");
    assert_eq!(reason.reason.as_deref(), Some("over"));
}

#[tokio::test]
async fn sub_workflows_and_own_runs_are_left_to_those_who_made_them() {
    let engine = open(Arc::new(Memory::new())).await;
    let ends = json!([{ "name": "t", "taskReferenceName": "t", "type": "TERMINATE",
        "inputParameters": { "terminationStatus": "FAILED" } }]);
    for name in ["child", "check:web"] {
        register(&engine, json!({ "name": name, "tasks": ends })).await;
    }
    let calls = json!([{ "name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "child", "version": 1 } }]);
    register(&engine, json!({ "name": "parent", "tasks": calls })).await;
    let own = start(&engine, "check:web", json!({})).await;
    let parent = start(&engine, "parent", json!({})).await;
    ended(&engine, &own).await;
    ended(&engine, &parent).await;
    for act in [BatchAct::Retry, BatchAct::Restart] {
        // Its child has failed as well.
        let found = engine.preview_batch(act, "status:FAILED", None).await.expect("one is found");
        assert_eq!((&*found.runs, found.left_out), (&[parent.clone()][..], 1), "{act:?}");
        let alone = engine.preview_batch(act, &format!("parent:{parent}"), None).await;
        assert!(matches!(alone, Err(Error::Rejected(Rejected::Invalid(_)))), "{alone:?}");
    }
    let find = format!("id:{own}");
    assert!(engine.preview_batch(BatchAct::Restart, &find, None).await.is_err());
    let found = engine.preview_batch(BatchAct::Restart, &format!("{find} own:yes"), None).await;
    assert_eq!(&*found.expect("it is asked for").runs, &[own][..]);
}
