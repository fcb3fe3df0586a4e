//! What is told to whoever traces: steps with their commits, and nothing if nobody listens.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use engine::memory::Memory;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::house::{complete, open, poll, register, start};

/// A span that was begun.
#[derive(Clone, Debug)]
struct Begun {
    name: &'static str,
    parent: Option<&'static str>,
    fields: BTreeMap<&'static str, String>,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Begun>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).expect("it was just made");
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let parent = span.parent().map(|parent| parent.name());
        let begun = Begun { name: span.name(), parent, fields: fields.0 };
        self.0.lock().expect("no test panics while it holds this").push(begun);
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// Runs a workflow of one task to its end, and gives the spans of that.
async fn spans_at(level: LevelFilter) -> (String, Vec<Begun>) {
    let collector = Collector::default();
    let layer = collector.clone().with_filter(level);
    // Of one subscriber alone, `tracing` asks that of the thread which comes by first whether anybody
    // listens there: a thread of another test, where nobody does. Of two it asks both.
    let _another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    // The runtime of this test has one thread, and so everything that it spawns is heard.
    let _listens = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let engine = open(Arc::<Memory>::default()).await;
    let tasks = json!([{ "name": "pack", "taskReferenceName": "pack", "type": "SIMPLE" }]);
    register(&engine, json!({ "name": "orders", "version": 1, "tasks": tasks })).await;
    let id = start(&engine, "orders", json!({ "card": "4111-1111" })).await;
    let task = poll(&engine, "pack").await;
    complete(&engine, &task, json!({ "answer": 42 })).await;
    engine.close().await.expect("it closes");
    let spans = collector.0.lock().expect("nobody panicked").clone();
    (id.to_string(), spans)
}

#[tokio::test]
async fn a_step_holds_its_commit() {
    let (id, spans) = spans_at(LevelFilter::DEBUG).await;
    let of_run = |it: &&Begun| it.name == "step" && it.fields["id"] == id;
    let steps: Vec<&Begun> = spans.iter().filter(of_run).collect();
    // The start and the report; that the worker holds the task may be a step of its own.
    assert!(steps.len() >= 2, "{spans:#?}");
    assert!(steps.iter().all(|it| it.fields["kind"] == "Execution"), "{steps:#?}");
    let commits: Vec<&Begun> = spans.iter().filter(|it| it.name == "commit").collect();
    let versions: Vec<&str> = commits.iter().map(|it| &*it.fields["version"]).collect();
    assert_eq!(versions, ["1", "2"], "{spans:#?}");
    assert!(commits.iter().all(|it| it.parent == Some("step")), "{commits:#?}");
    let rows = |it: &&Begun| it.fields["rows"].parse::<u32>().expect("a number");
    assert!(commits.iter().map(rows).all(|rows| rows >= 2), "head and queue row: {commits:#?}");
    // Nobody reads in a trace what flows through an execution.
    assert!(!format!("{spans:?}").contains("4111"), "{spans:#?}");
}

#[tokio::test]
async fn nothing_is_begun_for_who_does_not_ask_for_it() {
    let (_, spans) = spans_at(LevelFilter::INFO).await;
    assert!(spans.is_empty(), "{spans:#?}");
}
