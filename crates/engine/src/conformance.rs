//! What every store must do, as a suite that each store runs against itself.
//!
//! A store is right if [`exercise`] passes and [`differ`] finds no difference from
//! [`Memory`](crate::memory::Memory). Durable stores also run [`survive`]. The suite panics with
//! what it found, as tests do.

mod commits;
mod differential;
mod keeping;
mod searching;

use std::sync::Arc;

use kernel::{ExecutionId, RowKind, Timestamp};

pub use differential::differ;

use crate::store::{Commit, Head, MessageKey, Outgoing, QueueChange, QueueRow, Store, StoreError};

/// Runs every check, each on a store of its own that `fresh` makes.
///
/// # Panics
/// If the store does not do as it must.
pub async fn exercise(fresh: impl AsyncFn() -> Arc<dyn Store>) {
    commits::history_is_kept_in_order(&*fresh().await).await;
    commits::conflicts_write_nothing(&*fresh().await).await;
    commits::conflicts_harm_nobody_else(&*fresh().await).await;
    commits::one_of_many_rivals_wins(&*fresh().await).await;
    commits::heads_come_back_whole(&*fresh().await).await;
    commits::plans_are_kept_once(&*fresh().await).await;
    commits::queue_rows_are_put_and_removed(&*fresh().await).await;
    commits::messages_are_received_once(&*fresh().await).await;
    commits::messages_are_received_together_or_not_at_all(&*fresh().await).await;
    commits::the_due_come_soonest_first(&*fresh().await).await;
    keeping::documents_are_kept_whole(&*fresh().await).await;
    keeping::ledgers_keep_the_newest_lines(&*fresh().await).await;
    keeping::samples_are_kept_within_bounds(&*fresh().await).await;
    commits::what_is_forgotten_is_not_loaded(&*fresh().await).await;
    commits::machines_are_listed_apart(&*fresh().await).await;
    commits::machines_are_listed_together(&*fresh().await).await;
    keeping::logs_keep_the_newest_lines(&*fresh().await).await;
    keeping::logs_are_read_by_window(&*fresh().await).await;
    keeping::removing_leaves_nothing(&*fresh().await).await;
    keeping::what_has_ended_goes_together(&*fresh().await).await;
    keeping::pruning_by_count(&*fresh().await).await;
    keeping::pruning_takes_every_machine(&*fresh().await).await;
    keeping::pruning_by_age(&*fresh().await).await;
    keeping::pruning_by_size(&*fresh().await).await;
    keeping::pruning_spares_who_owes(&*fresh().await).await;
    keeping::statistics_count(&*fresh().await).await;
    keeping::a_closed_store_refuses(&*fresh().await).await;
    searching::each_filter_alone(&*fresh().await).await;
    searching::pages_go_on_after_a_mark(&*fresh().await).await;
    searching::filters_together(&*fresh().await).await;
    searching::stars_match_any_run(&*fresh().await).await;
    searching::what_is_tallied_is_what_is_found(&*fresh().await).await;
    searching::what_began_in_each_span_is_counted_at_once(&*fresh().await).await;
    searching::order_and_pages(&*fresh().await).await;
    searching::pages_by_name_and_status_are_whole(&*fresh().await).await;
    searching::counting_ends_behind_the_page(&*fresh().await).await;
    keeping::counts_equal_what_is_there(&*fresh().await).await;
    keeping::briefs_are_kept_until_replaced(&*fresh().await).await;
    searching::free_text_finds_words(&*fresh().await).await;
    searching::free_text_sees_earlier_commits(&*fresh().await).await;
    searching::free_text_follows_changes(&*fresh().await).await;
}

/// Checks that everything is there again after `reopen`, which closes the store or kills it, and
/// opens it anew.
///
/// # Panics
/// If something that was acknowledged is gone.
pub async fn survive(
    store: Arc<dyn Store>,
    reopen: impl AsyncFn(Arc<dyn Store>) -> Arc<dyn Store>,
) {
    keeping::everything_survives(store, reopen).await;
}

/// An instant early in the world of these checks.
const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

fn id(text: &str) -> ExecutionId {
    ExecutionId::new(text)
}

/// Ids as the engine makes them: UUIDs.
fn uuid(number: u32) -> ExecutionId {
    id("root").derive("check", number)
}

/// A running execution that was just created.
fn running(id: &ExecutionId) -> Head {
    Head {
        id: id.clone(),
        version: 1,
        name: "watch".into(),
        definition_version: 1,
        status: "RUNNING",
        closed: false,
        correlation_id: None,
        parent: None,
        priority: 0,
        created_at: at(0),
        updated_at: at(0),
        ended_at: None,
        wake_at: None,
        reason: None,
        failed_references: "".into(),
        event: None,
        input_size: 0,
        output_size: 0,
    }
}

/// One that ended at the given time.
fn ended(id: &ExecutionId, millis: i64) -> Head {
    Head {
        status: "COMPLETED",
        closed: true,
        updated_at: at(millis),
        ended_at: Some(at(millis)),
        ..running(id)
    }
}

/// A commit that says nothing but where the execution now stands.
fn commit(expect: u64, head: Head) -> Commit {
    Commit {
        events: format!(r#"[{{"type":"Changed","version":{}}}]"#, expect + 1),
        head: Head { version: expect + 1, ..head },
        expect,
        plans: Vec::new(),
        queue: Vec::new(),
        send: Vec::new(),
        received: Vec::new(),
        records: Vec::new(),
        forget: false,
        deferrable: false,
        text: None,
        brief: None,
    }
}

/// Creates an execution.
async fn create(store: &dyn Store, head: Head) {
    store.commit(commit(0, head)).await.expect("a fresh execution can be created");
}

fn message(from: &ExecutionId, sequence: u64, to: &ExecutionId) -> Outgoing {
    let key = MessageKey { sender: from.clone(), sequence };
    Outgoing { key, to: to.clone(), body: format!(r#"{{"number":{sequence}}}"#) }
}

fn queue_row(execution: &ExecutionId, sequence: u32) -> QueueRow {
    QueueRow {
        execution: execution.clone(),
        kind: RowKind::of(sequence),
        queue: "ping".into(),
        name: "ping".into(),
        priority: 0,
        ready_at: at(0),
        held: false,
        concurrent_max: 0,
        rate_max: 0,
        rate_window_seconds: 0,
    }
}

/// The commits of an execution, as loaded.
async fn history(store: &dyn Store, id: &ExecutionId) -> Option<Vec<String>> {
    let stored = store.load(id).await.expect("loading works")?;
    assert_eq!(stored.version, stored.history.len() as u64, "one history row per commit");
    Some(stored.history)
}

/// Every queue row, in an order to compare.
async fn queued(store: &dyn Store) -> Vec<QueueRow> {
    let mut rows = store.queued().await.expect("the queue can be read");
    rows.sort_by(|a, b| (&a.execution, a.kind).cmp(&(&b.execution, b.kind)));
    rows
}

/// Names of the messages not yet received.
async fn undelivered(store: &dyn Store) -> Vec<MessageKey> {
    let messages = store.undelivered(1000).await.expect("messages can be read");
    messages.into_iter().map(|message| message.key).collect()
}

fn is_conflict(outcome: &Result<(), StoreError>) -> bool {
    *outcome == Err(StoreError::Conflict)
}

/// A commit with everything in it that a commit can hold.
fn full_commit(expect: u64, execution: &ExecutionId, to: &ExecutionId) -> Commit {
    let row = queue_row(execution, expect as u32 + 1);
    Commit {
        plans: vec![(format!("hash-{expect}").into(), "{}".into())],
        queue: vec![QueueChange::Put(row)],
        send: vec![message(execution, expect + 1, to)],
        text: Some(format!("version{expect}")),
        ..commit(expect, Head { wake_at: Some(at(5)), ..running(execution) })
    }
}
