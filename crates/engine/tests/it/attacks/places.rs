//! Attacks on what all share: the places of built-in tasks.

use std::sync::Arc;

use async_trait::async_trait;
use engine::memory::Memory;
use engine::{Handoff, Options, Outcome, OutcomeStatus, TaskRunner};
use kernel::graph::Status;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::house::{ended, open_as, register, start};

/// A peer that never answers those who say so.
struct Call {
    hung: Arc<Semaphore>,
}

#[async_trait]
impl TaskRunner for Call {
    fn task_type(&self) -> &'static str {
        "CALL"
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        if task.input.parse()["hang"] == true {
            self.hung.add_permits(1);
            cancelled.cancelled().await;
        }
        Outcome { status: OutcomeStatus::Completed, output: task.input, reason: None }
    }
}

#[tokio::test]
async fn a_definition_whose_calls_hang_leaves_places_to_others() {
    let hung = Arc::new(Semaphore::new(0));
    let runner: Arc<dyn TaskRunner> = Arc::new(Call { hung: hung.clone() });
    let options = Options { runs_max: 8, ..Options::default() };
    let clock = Arc::new(engine::SystemClock);
    let engine = open_as(Arc::new(Memory::default()), clock, vec![runner], options).await;
    for (name, hang) in [("stuck", true), ("other", false)] {
        let task = json!({ "name": "call", "taskReferenceName": "call", "type": "CALL",
            "inputParameters": { "hang": hang } });
        register(&engine, json!({ "name": name, "version": 1, "tasks": [task] })).await;
    }
    for _ in 0..20 {
        start(&engine, "stuck", json!({})).await;
    }
    // Three quarters of the places; the rest of its tasks wait.
    hung.acquire_many(6).await.expect("they hang").forget();
    for _ in 0..10 {
        let id = start(&engine, "other", json!({})).await;
        assert_eq!(ended(&engine, &id).await.0, Status::Completed);
    }
    assert_eq!(hung.available_permits(), 0, "one definition holds no more than its share");
}
