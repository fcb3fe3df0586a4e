//! What questions cost: by what they answer, not by what is stored.
//!
//! No clock says that; the steps of `SQLite`'s machine do, and the number of transactions.

use std::sync::Arc;
use std::time::Duration;

use engine::memory::Memory;
use engine::search::{Filter, Search, Sort, SortField, TextField, TimeField};
use engine::store::{Head, Retention, Store, StoreError};
use kernel::Timestamp;
use store::{Options, Sqlite};
use tempfile::{TempDir, tempdir};

use crate::given::{commit, last_commit};

fn open(folder: &TempDir, tidy_after: Duration) -> Arc<Sqlite> {
    let options = Options { tidy_after, ..Options::default() };
    Sqlite::open(folder.path().join("nightbell.db"), &options).expect("it opens")
}

const AT_ONCE: Duration = Duration::ZERO;
const NEVER: Duration = Duration::from_hours(1);

fn at(millis: u32) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + i64::from(millis))
}

/// Of the oldest, `BYGONE` have a name of their own; then one in 50 failed, and one in 500 has a rare
/// name.
const BYGONE: u32 = 300;

fn head(number: u32, head: Head) -> Head {
    let name = match number {
        0..BYGONE => "bygone".to_owned(),
        _ if number % 500 == 499 => "rare".to_owned(),
        _ => format!("watch-{}", number % 4),
    };
    let status = if number % 50 == 7 { "FAILED" } else { head.status };
    Head { name: name.into(), status, created_at: at(number), ended_at: Some(at(number)), ..head }
}

/// Stores executions that have ended.
async fn fill(stores: &[&dyn Store], numbers: std::ops::Range<u32>) {
    for store in stores {
        let lanes = 64;
        let fill = (0..lanes).map(|lane| {
            let numbers = numbers.clone();
            async move {
                for number in numbers.filter(|number| number % lanes == lane) {
                    let last = last_commit(&format!("{number}"), 0, "[]".to_owned());
                    let last = engine::store::Commit { head: head(number, last.head), ..last };
                    store.commit(last).await.expect("it is taken");
                }
            }
        });
        futures_util::future::join_all(fill).await;
    }
}

/// Waits until all are listed by name.
async fn listed(store: &Sqlite) {
    let file = rusqlite::Connection::open(store.path()).expect("it opens");
    let behind = "SELECT max(id) - (SELECT execution FROM named_through) FROM execution";
    let mut polls = 0;
    while file.query_row(behind, [], |row| row.get::<_, i64>(0)).expect("it counts") > 0 {
        polls += 1;
        assert!(polls < 1_000_000, "they are never listed");
        tokio::task::yield_now().await;
    }
}

fn one_of(field: TextField, values: &[&str]) -> Filter {
    Filter::In(field, values.iter().map(|value| (*value).to_owned()).collect())
}

fn page(start: u64, filters: Vec<Filter>) -> Search {
    Search { filters, start, size: 20, ..Search::default() }
}

/// Steps that each question takes.
async fn steps(store: &Sqlite) -> Vec<(String, u64)> {
    use TextField::{CorrelationId, Name, Status};
    let questions = [
        page(0, vec![]),
        page(0, vec![one_of(Status, &["COMPLETED"])]),
        page(0, vec![one_of(Status, &["FAILED"])]),
        page(0, vec![one_of(Status, &["FAILED", "RUNNING"])]),
        page(0, vec![one_of(Status, &["TERMINATED"])]),
        page(0, vec![Filter::NotIn(Status, vec!["COMPLETED".to_owned()])]),
        page(0, vec![Filter::Closed(false)]),
        page(0, vec![Filter::TopLevel]),
        page(0, vec![one_of(Name, &["watch-1"])]),
        page(0, vec![one_of(Name, &["watch-1"]), one_of(Status, &["COMPLETED"])]),
        page(0, vec![one_of(Name, &["rare"])]),
        page(0, vec![one_of(Name, &["bygone", "nothing"])]),
        page(0, vec![one_of(Name, &["none"])]),
        page(0, vec![one_of(CorrelationId, &["none"])]),
        page(
            0,
            vec![
                Filter::After(TimeField::Created, at(100)),
                Filter::Before(TimeField::Created, at(110)),
            ],
        ),
        page(400, vec![]),
    ];
    let mut steps = Vec::new();
    for question in questions {
        let before = store.read_steps();
        store.search(&question).await.expect("search works");
        steps.push((format!("{question:?}"), store.read_steps() - before));
    }
    let words = Search { free_text: Some("17".to_owned()), ..page(0, vec![]) };
    // What waits to be indexed is no part of it.
    store.search(&words).await.expect("search works");
    let before = store.read_steps();
    store.search(&words).await.expect("search works");
    steps.push(("free text".to_owned(), store.read_steps() - before));
    let before = store.read_steps();
    store.statistics().await.expect("they are counted");
    steps.push(("the counts of health and metrics".to_owned(), store.read_steps() - before));
    steps
}

#[tokio::test]
async fn questions_take_as_much_however_much_is_stored() {
    let folder = tempdir().expect("there is room for a folder");
    let store = open(&folder, AT_ONCE);
    fill(&[&*store], 0..1_500).await;
    listed(&store).await;
    let few = steps(&store).await;
    fill(&[&*store], 1_500..6_000).await;
    listed(&store).await;
    let many = steps(&store).await;
    for ((question, few), (_, many)) in few.iter().zip(&many) {
        // To look at each of four times as many would take four times as much, from 1,500 on.
        assert!(*many <= few * 2 + 1_000, "{few} steps became {many}: {question}");
    }
}

#[tokio::test]
async fn a_search_that_would_look_at_too_much_is_refused() {
    let folder = tempdir().expect("there is room for a folder");
    let path = folder.path().join("nightbell.db");
    let options = Options { search_steps_max: 10_000, readers: 1, ..Options::default() };
    let store = Sqlite::open(path, &options).expect("it opens");
    fill(&[&*store], 0..3_000).await;
    let broad = page(0, vec![one_of(TextField::Reason, &["*disk*"])]);
    assert_eq!(store.search(&broad).await, Err(StoreError::TooBroad));
    let narrow = vec![Filter::After(TimeField::Created, at(2_900)), broad.filters[0].clone()];
    assert_eq!(store.search(&page(0, narrow)).await.expect("it is found").total, 0);
    let newest = store.search(&page(0, vec![])).await.expect("the reader goes on");
    assert_eq!((newest.total, newest.rows.len()), (3_000, 20));
}

/// Pages of a search, until there are no more.
async fn pages(store: &dyn Store, search: &Search) -> Vec<(u64, Vec<String>)> {
    let mut pages = Vec::new();
    for start in [0, 7, 40, 200, 290, 1_490, 2_990] {
        let page = store.search(&Search { start, ..search.clone() }).await.expect("search works");
        let ids = page.rows.iter().map(|head| head.id.as_str().to_owned()).collect();
        pages.push((page.total, ids));
    }
    pages
}

#[tokio::test]
async fn pages_by_name_are_right_listed_or_not() {
    use TextField::{Name, Status};
    let folder = tempdir().expect("there is room for a folder");
    let store = open(&folder, AT_ONCE);
    let memory: Arc<dyn Store> = Arc::new(Memory::new());
    fill(&[&*store, &*memory], 0..3_000).await;
    listed(&store).await;
    store.close().await.expect("it closes");
    // From here on nothing more is listed, but what was listed changes.
    let store = open(&folder, NEVER);
    let both = [store.clone() as Arc<dyn Store>, memory.clone()];
    for store in &both {
        let last = commit("2998", 1, "[]".to_owned());
        let renamed = Head { name: "rare".into(), ..head(2_998, last.head.clone()) };
        store.commit(engine::store::Commit { head: renamed, ..last }).await.expect("it is taken");
        let last = commit("10", 1, "[]".to_owned());
        let moved = Head { created_at: at(9_000), ..head(10, last.head.clone()) };
        store.commit(engine::store::Commit { head: moved, ..last }).await.expect("it is taken");
        // The next row gets the number of the last, which is gone.
        assert_eq!(store.remove(&kernel::ExecutionId::new("2999")).await, Ok(true));
        let keep = Retention { count_max: 2_900, age_max_seconds: 0, disk_max_bytes: 0 };
        store.prune(&keep, at(0), 500).await.expect("the oldest go");
    }
    fill(&[&*store, &*memory], 3_000..3_040).await;
    let newest = Sort { by: SortField::Time(TimeField::Created), descending: true };
    let by_id = |descending| Sort { by: SortField::Text(TextField::Id), descending };
    for filters in [
        vec![],
        vec![one_of(Name, &["rare"])],
        vec![one_of(Name, &["bygone"])],
        vec![one_of(Name, &["rare", "bygone"])],
        vec![one_of(Name, &["watch-2"])],
        vec![one_of(Name, &["rare", "watch-2"]), one_of(Status, &["COMPLETED"])],
        vec![one_of(Name, &["bygone"]), Filter::Closed(true), Filter::TopLevel],
        vec![one_of(Name, &["watch-1"]), Filter::After(TimeField::Created, at(2_000))],
        vec![one_of(Name, &["watch-1"]), Filter::Before(TimeField::Updated, at(2_000))],
        vec![Filter::After(TimeField::Created, at(700))],
    ] {
        for sort in [
            vec![],
            vec![Sort { descending: false, ..newest }],
            vec![newest, by_id(true)],
            vec![Sort { descending: false, ..newest }, by_id(false)],
        ] {
            let search = Search { sort, ..page(0, filters.clone()) };
            assert_eq!(pages(&*store, &search).await, pages(&*memory, &search).await, "{search:?}");
        }
    }
    store.close().await.expect("it closes");
    let file = rusqlite::Connection::open(store.path()).expect("it opens");
    let stale = "SELECT count(*) FROM named b LEFT JOIN execution e ON e.id = b.execution \
                 AND e.name = b.name AND e.created_at = b.created_at WHERE e.id IS NULL";
    assert_eq!(file.query_row(stale, [], |row| row.get::<_, i64>(0)), Ok(0));
}

#[tokio::test]
async fn old_executions_are_removed_a_few_at_a_time() {
    /// Executions that may go in one transaction.
    const PIECE: u64 = 64;
    let folder = tempdir().expect("there is room for a folder");
    let store = open(&folder, NEVER);
    fill(&[&*store], 0..1_000).await;
    let writes = async || store.statistics().await.expect("they are counted").writes;
    let before = writes().await;
    let keep = Retention { count_max: 100, age_max_seconds: 0, disk_max_bytes: 0 };
    let pruned = store.prune(&keep, at(0), 500).await.expect("the oldest go");
    assert_eq!((pruned.executions, pruned.more), (500, true), "no more than asked for");
    let made = writes().await - before;
    assert!(made >= 500 / PIECE, "500 went in {made} transactions");
}
