//! Stored documents that cannot be read do not keep the engine from opening.

use std::sync::Arc;

use engine::memory::Memory;
use engine::store::{Document, Store};
use engine::vault::Shelf;

use kernel::alert::definition::{ChecklistOptions, File, Known, load_among};

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
        document("secret", "key", 0, r#"{"sealed":"bm90IHNlYWxlZA"}"#),
        document("environment", "where", 0, "{}"),
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
    assert_eq!(
        found,
        ["environment where", "event_handler h", "schema s", "secret key", "task t", "workflow w"]
    );
    assert!(engine.definitions().workflow("good", None).is_some());

    engine.definitions().delete_workflow("w", 1).await.unwrap();
    engine.definitions().put_tasks(vec![kernel::definition::TaskDef::default()]).await.unwrap();
    engine.vault().put(Shelf::Secrets, "key", "new").await.unwrap();
    engine.vault().delete(Shelf::Environment, "where").await.unwrap();
    assert_eq!(engine.vault().get(Shelf::Secrets, "key").as_deref(), Some("new"));
    assert_eq!(engine.damaged_documents().len(), 3, "what is deleted is no longer reported");
    engine.close().await.unwrap();
}

fn file(text: &str) -> File {
    let loaded = load_among(text, &ChecklistOptions::default(), &Known::default());
    loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

#[tokio::test]
async fn what_a_damaged_file_defines_goes_on_being_watched() {
    let store = Arc::new(Memory::new());
    let engine = open(store.clone()).await;
    let watch = "receivers: { noc: { slack: 'http://s' } }\nmonitors: { web: { heartbeat: { every: 1h } } }";
    engine.apply_monitors("a", file(watch)).await.expect("it fits");
    let other = File {
        routes: file("receivers: { noc: { slack: 'http://s' } }\nroutes: [{ to: noc }]").routes,
        ..file("monitors: { db: { heartbeat: { every: 1h } } }")
    };
    engine.apply_monitors("b", other.clone()).await.expect("it fits");
    engine.close().await.unwrap();
    store.open_again();
    store.put_documents(vec![document("monitors", "a", 0, "{")]).await.unwrap();

    let engine = open(store.clone()).await;
    let damaged = engine.damaged_documents();
    assert_eq!(damaged.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["a"]);
    // Whatever is applied waits for what a start does in the background.
    let refused = engine.apply_monitors("b", other.clone()).await.expect_err("noc is not known");
    assert!(refused.to_string().contains("there is no receiver noc"), "{refused}");
    for monitor in ["web", "db"] {
        assert_eq!(engine.monitor(monitor, |_| ()).await.unwrap(), Some(()), "{monitor}");
    }
    let delivers = engine.definitions().workflow("nightbell_notify:noc", None);
    assert!(delivers.is_some(), "what is open there can still be told");

    engine.apply_monitors("a", file(watch)).await.expect("it is mended");
    assert!(engine.damaged_documents().is_empty());
    let applied = engine.apply_monitors("a", File::default()).await;
    assert!(applied.is_err(), "b speaks of its receiver");
    engine.apply_monitors("b", File::default()).await.expect("nobody needs it");
    let applied = engine.apply_monitors("a", File::default()).await.expect("nobody needs it");
    assert_eq!(applied.removed, 1, "what is known to be gone is removed");
    engine.close().await.unwrap();
}
