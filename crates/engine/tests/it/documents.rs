//! Stored documents that cannot be read do not keep the engine from opening.

use std::sync::Arc;

use engine::memory::Memory;
use engine::store::{Document, Store};

use crate::house::open;

fn document(kind: &str, name: &str, version: u32, text: &str) -> Document {
    Document { kind: kind.into(), name: name.into(), version, text: text.into() }
}

#[tokio::test]
async fn a_damaged_document_is_set_aside_and_reported() {
    let store = Arc::new(Memory::new());
    let damaged = [
        document("workflow", "w", 1, "{"),
        document("task", "t", 0, "7"),
        document("schema", "s", 1, r#"{"name":"s","version":1,"data":{},"ownerApp":[]}"#),
        document("event_handler", "h", 0, "7"),
    ];
    store.put_documents(damaged.to_vec()).await.unwrap();
    let good = r#"{"name":"good","version":1,"tasks":[]}"#;
    store.put_document(document("workflow", "good", 1, good)).await.unwrap();

    let engine = open(store).await;
    let mut found: Vec<String> = engine
        .damaged_documents()
        .into_iter()
        .map(|damaged| format!("{} {}", damaged.kind, damaged.name))
        .collect();
    found.sort();
    assert_eq!(found, ["event_handler h", "schema s", "task t", "workflow w"]);
    assert!(engine.definitions().workflow("good", None).is_some());

    engine.definitions().delete_workflow("w", 1).await.unwrap();
    engine.definitions().put_tasks(vec![kernel::definition::TaskDef::default()]).await.unwrap();
    assert_eq!(engine.damaged_documents().len(), 3, "what is deleted is no longer reported");
    engine.close().await.unwrap();
}
