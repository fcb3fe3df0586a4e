//! Search: filters, stars, order, pages, free text.

use std::sync::Arc;

use kernel::{ExecutionId, MachineKind};

use super::differential::Dice;
use super::{at, commit, create, ended, id, running, uuid};
use crate::search::{
    Counting, Filter, Mark, Search, Sort, SortField, Spans, TextField, TimeField, like,
};
use crate::store::{Commit, Head, Store};

/// Five executions that differ in everything.
async fn five(store: &dyn Store) {
    let heads = [
        Head { name: "watch".into(), created_at: at(10), ..running(&id("one")) },
        Head {
            name: "watch eu".into(),
            created_at: at(20),
            correlation_id: Some("order-17".into()),
            definition_version: 2,
            ..ended(&id("two"), 50)
        },
        Head {
            name: "report".into(),
            created_at: at(30),
            status: "FAILED",
            reason: Some("no answer [500]?".into()),
            parent: Some(id("one")),
            ..ended(&id("three"), 40)
        },
        Head {
            name: "report".into(),
            created_at: at(40),
            correlation_id: Some("order-18".into()),
            definition_version: 3,
            updated_at: at(99),
            ..running(&id("four"))
        },
        Head {
            name: "Watch".into(),
            created_at: at(50),
            status: "PAUSED",
            parent: Some(uuid(7)),
            ..running(&uuid(5))
        },
    ];
    for head in heads {
        create(store, head).await;
    }
}

/// What a store keeps count of by name and status is what a search finds.
pub(super) async fn what_is_tallied_is_what_is_found(store: &dyn Store) {
    five(store).await;
    let closed = Filter::Closed(false);
    let reports = Filter::In(TextField::Name, vec!["report".to_owned()]);
    for filters in [vec![], vec![closed.clone()], vec![reports], vec![closed, Filter::TopLevel]] {
        let search = Search { filters, size: 100, ..Search::default() };
        let tally = store.tally(&search).await.expect("the store answers").expect("it counts");
        let mut found: Vec<(Arc<str>, Arc<str>, u64)> = Vec::new();
        for head in store.search(&search).await.expect("search works").rows {
            let same = found
                .iter_mut()
                .find(|(name, status, _)| *name == head.name && **status == *head.status);
            match same {
                Some((_, _, count)) => *count += 1,
                None => found.push((head.name.clone(), head.status.into(), 1)),
            }
        }
        let mut tallied = tally.counts;
        tallied.sort();
        found.sort();
        assert_eq!((tallied, tally.is_exact), (found, true), "{:?}", search.filters);
    }
    let by_text = Search { free_text: Some("report".to_owned()), ..Search::default() };
    assert_eq!(store.tally(&by_text).await.expect("the store answers"), None);
}

/// What was created in each span is what a search for that span finds.
pub(super) async fn what_began_in_each_span_is_counted_at_once(store: &dyn Store) {
    five(store).await;
    let spans = Spans { from: at(20), length: 20, count: 2 };
    let reports = Filter::In(TextField::Name, vec!["report".to_owned()]);
    let searches = [
        (Search::default(), [2, 2]),
        (filters(&[reports]), [1, 1]),
        (filters(&[Filter::Closed(false)]), [0, 2]),
        (Search { beside: Some(MachineKind::Instance), ..Search::default() }, [2, 2]),
        (Search { free_text: Some("four".to_owned()), ..Search::default() }, [0, 1]),
    ];
    for (search, expected) in searches {
        let begun = store.begun(&search, spans).await.expect("the store answers");
        assert_eq!(begun, expected, "{search:?}");
        for (number, count) in (0_u32..).zip(begun) {
            let from = spans.from.plus_millis(spans.length * i64::from(number));
            let mut one = search.clone();
            one.filters.extend(Spans { from, count: 1, ..spans }.filters());
            assert_eq!(found(store, &one).await.len() as u64, count, "{search:?}: {number}");
        }
    }
}

/// Ids found, in order; `five` stands for the one with a UUID.
async fn found(store: &dyn Store, search: &Search) -> Vec<String> {
    let page = store.search(&Search { size: 1000, ..search.clone() }).await.expect("search works");
    assert_eq!(page.total, page.rows.len() as u64, "all fit on the page");
    let five = uuid(5);
    let name = |head: &Head| if head.id == five { "five" } else { head.id.as_str() }.to_owned();
    page.rows.iter().map(name).collect()
}

fn filters(filters: &[Filter]) -> Search {
    Search { filters: filters.to_vec(), ..Search::default() }
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

pub(super) async fn each_filter_alone(store: &dyn Store) {
    five(store).await;
    let one_of = |field, values: &[&str]| Filter::In(field, texts(values));
    let none_of = |field, values: &[&str]| Filter::NotIn(field, texts(values));
    let parent = uuid(7);
    let cases: Vec<(Filter, &[&str])> = vec![
        (one_of(TextField::Id, &["two", "four", "six"]), &["four", "two"]),
        (one_of(TextField::Id, &[uuid(5).as_str()]), &["five"]),
        (one_of(TextField::Id, &[]), &[]),
        (none_of(TextField::Id, &["two", uuid(5).as_str()]), &["four", "three", "one"]),
        (one_of(TextField::Name, &["watch"]), &["one"]),
        (one_of(TextField::Name, &["watch", "report", "other"]), &["four", "three", "one"]),
        (none_of(TextField::Name, &["report"]), &["five", "two", "one"]),
        (one_of(TextField::Status, &["RUNNING", "PAUSED"]), &["five", "four", "one"]),
        (none_of(TextField::Status, &["RUNNING"]), &["five", "three", "two"]),
        (one_of(TextField::Status, &["running"]), &[]),
        (one_of(TextField::CorrelationId, &["order-17"]), &["two"]),
        (none_of(TextField::CorrelationId, &["order-17"]), &["five", "four", "three", "one"]),
        (none_of(TextField::CorrelationId, &[]), &["five", "four", "three", "two", "one"]),
        (one_of(TextField::Parent, &["one", parent.as_str()]), &["five", "three"]),
        (none_of(TextField::Parent, &["one"]), &["five", "four", "two", "one"]),
        (one_of(TextField::Reason, &["no answer [500]?"]), &["three"]),
        (Filter::After(TimeField::Created, at(30)), &["five", "four"]),
        (Filter::Before(TimeField::Created, at(30)), &["two", "one"]),
        (Filter::After(TimeField::Updated, at(45)), &["four", "two"]),
        (Filter::After(TimeField::Ended, at(0)), &["three", "two"]),
        (Filter::Before(TimeField::Ended, at(50)), &["three"]),
        (Filter::Version(vec![2, 3]), &["four", "two"]),
        (Filter::Version(vec![]), &[]),
        (Filter::TopLevel, &["four", "two", "one"]),
        (Filter::Closed(true), &["three", "two"]),
        (Filter::Closed(false), &["five", "four", "one"]),
        (Filter::IdBegins("t".to_owned()), &["three", "two"]),
        (Filter::IdBegins("t*".to_owned()), &[]),
        (Filter::IdBegins(String::new()), &["five", "four", "three", "two", "one"]),
        (Filter::IdBegins(uuid(5).as_str()[..30].to_owned()), &["five"]),
    ];
    for (filter, expected) in cases {
        let search = filters(std::slice::from_ref(&filter));
        assert_eq!(found(store, &search).await, expected, "{filter:?}");
    }
}

pub(super) async fn pages_go_on_after_a_mark(store: &dyn Store) {
    five(store).await;
    // One more as old as another, so that only ids tell them apart.
    create(store, Head { created_at: at(30), ..running(&id("tie")) }).await;
    for by in [None, Some(TimeField::Created), Some(TimeField::Updated)] {
        for descending in [false, true] {
            let sort = Mark::order(by, descending);
            let page = async |filters| {
                let search = Search { filters, sort: sort.clone(), size: 1, ..Search::default() };
                let page = store.search(&search).await.expect("search works");
                (page.total, page.rows.into_iter().next())
            };
            let all = Search { sort: sort.clone(), size: 10, ..Search::default() };
            let all = store.search(&all).await.expect("search works").rows;
            let (mut seen, mut filters) = (Vec::new(), Vec::new());
            while let (left, Some(head)) = page(filters.clone()).await {
                assert_eq!(left, (all.len() - seen.len()) as u64, "{by:?} {descending}");
                let time = |field| match field {
                    TimeField::Updated => head.updated_at,
                    _ => head.created_at,
                };
                let at = by.map(|field| (field, time(field)));
                filters = vec![Filter::Past(Mark { at, id: head.id.clone(), descending })];
                seen.push(head);
            }
            assert_eq!(seen, all, "{by:?} {descending}");
        }
    }
    // Rows without the time are nowhere in its order.
    let mark = Mark { at: Some((TimeField::Ended, at(0))), id: id("a"), descending: false };
    assert_eq!(found(store, &filters(&[Filter::Past(mark)])).await, ["three", "two"]);
}

pub(super) async fn filters_together(store: &dyn Store) {
    five(store).await;
    let running = Filter::In(TextField::Status, texts(&["RUNNING"]));
    let recent = Filter::After(TimeField::Created, at(15));
    let report = Filter::In(TextField::Name, texts(&["report"]));
    assert_eq!(found(store, &filters(&[])).await.len(), 5);
    assert_eq!(found(store, &filters(&[running.clone(), recent.clone()])).await, ["four"]);
    assert_eq!(found(store, &filters(&[report, recent])).await, ["four", "three"]);
    let neither = Filter::NotIn(TextField::Name, texts(&["report"]));
    assert_eq!(found(store, &filters(&[running, neither])).await, ["one"]);
}

pub(super) async fn stars_match_any_run(store: &dyn Store) {
    five(store).await;
    let cases: &[(TextField, &str, &[&str])] = &[
        (TextField::Name, "watch*", &["two", "one"]),
        (TextField::Name, "*", &["five", "four", "three", "two", "one"]),
        (TextField::Name, "*t*", &["five", "four", "three", "two", "one"]),
        (TextField::Name, "w*h", &["one"]),
        (TextField::Name, "*eu", &["two"]),
        (TextField::Name, "wat?h", &[]),
        (TextField::Name, "wat_h", &[]),
        (TextField::Name, "%", &[]),
        (TextField::CorrelationId, "order-*", &["four", "two"]),
        (TextField::CorrelationId, "*", &["four", "two"]),
        (TextField::Reason, "*[500]?", &["three"]),
        (TextField::Reason, "*[50]*", &[]),
        (TextField::Reason, "no*a*w*r*", &["three"]),
        (TextField::Status, "*ED", &["five", "three", "two"]),
        (TextField::Id, "t*", &["three", "two"]),
        (TextField::Id, "*o*", &["four", "two", "one"]),
        (TextField::Id, "*", &["five", "four", "three", "two", "one"]),
        (TextField::Parent, "o*", &["three"]),
    ];
    for (field, pattern, expected) in cases {
        let filter = Filter::In(*field, texts(&[pattern]));
        assert_eq!(found(store, &filters(&[filter])).await, *expected, "{field:?} {pattern}");
    }
    for length in [1, 8, 9, 14, 20, 35, 36] {
        let pattern = format!("{}*", &uuid(5).as_str()[..length]);
        let filter = Filter::In(TextField::Id, vec![pattern.clone()]);
        let found = found(store, &filters(&[filter])).await;
        assert!(found.contains(&"five".to_owned()), "{pattern} finds {found:?}");
    }
    let mixed = Filter::NotIn(TextField::Name, texts(&["watch*", "report"]));
    assert_eq!(found(store, &filters(&[mixed])).await, ["five"]);
    let mixed = Filter::In(TextField::Name, texts(&["Watch", "rep*"]));
    assert_eq!(found(store, &filters(&[mixed])).await, ["five", "four", "three"]);
}

pub(super) async fn order_and_pages(store: &dyn Store) {
    five(store).await;
    let sorted = async |sort: &[(SortField, bool)]| {
        let sort = sort.iter().map(|(by, descending)| Sort { by: *by, descending: *descending });
        found(store, &Search { sort: sort.collect(), ..Search::default() }).await
    };
    let (created, ended) = (SortField::Time(TimeField::Created), SortField::Time(TimeField::Ended));
    let name = SortField::Text(TextField::Name);
    assert_eq!(sorted(&[]).await, ["five", "four", "three", "two", "one"]);
    assert_eq!(sorted(&[(created, false)]).await, ["one", "two", "three", "four", "five"]);
    assert_eq!(sorted(&[(ended, false)]).await, ["five", "four", "one", "three", "two"]);
    assert_eq!(sorted(&[(ended, true)]).await, ["two", "three", "five", "four", "one"]);
    assert_eq!(sorted(&[(name, false)]).await, ["five", "four", "three", "one", "two"]);
    assert_eq!(
        sorted(&[(name, true), (created, false)]).await,
        ["two", "one", "three", "four", "five"]
    );
    let status = SortField::Text(TextField::Status);
    assert_eq!(
        sorted(&[(status, false), (SortField::Text(TextField::Id), false)]).await,
        ["two", "three", "five", "four", "one"]
    );
    let parent = SortField::Text(TextField::Parent);
    assert_eq!(sorted(&[(parent, false)]).await[..3], ["four", "two", "one"]);

    for number in 100..120 {
        create(store, Head { created_at: at(1000), ..running(&uuid(number)) }).await;
    }
    let filter = Filter::After(TimeField::Created, at(500));
    let mut seen = Vec::new();
    for start in (0..28).step_by(7) {
        let search = Search { start, size: 7, ..filters(std::slice::from_ref(&filter)) };
        let page = store.search(&search).await.expect("search works");
        assert_eq!(page.total, 20);
        seen.extend(page.rows.into_iter().map(|head| head.id));
    }
    let newest_first: Vec<_> = (100..120).rev().map(uuid).collect();
    assert_eq!(seen, newest_first, "pages neither miss nor repeat a row");
    let beyond = Search { start: u64::MAX, size: 7, ..Search::default() };
    let page = store.search(&beyond).await.expect("search works");
    assert_eq!((page.total, page.rows.len()), (25, 0));
    let none = store.search(&Search::default()).await.expect("search works");
    assert_eq!((none.total, none.rows.len()), (25, 0), "a page of no rows");
}

pub(super) async fn pages_by_name_and_status_are_whole(store: &dyn Store) {
    let mut dice = Dice(7);
    let mut heads = Vec::new();
    for number in 0..240 {
        let one = match number % 4 {
            0 => id(&format!("order {number}")),
            1 => ExecutionId::instance("hub", &format!("order-{number}")),
            _ => uuid(number),
        };
        let status = ["RUNNING", "COMPLETED", "FAILED"][dice.throw(3) as usize];
        let head = Head {
            name: format!("name {}", dice.throw(30)).into(),
            status,
            created_at: at(dice.throw(50) as i64),
            parent: (dice.throw(3) == 0).then(|| uuid(9)),
            ..if status == "RUNNING" { running(&one) } else { ended(&one, 90) }
        };
        create(store, head.clone()).await;
        heads.push(head);
    }
    let one_of = |field, values: &[&str]| Filter::In(field, texts(values));
    let none_of = |field, values: &[&str]| Filter::NotIn(field, texts(values));
    let cases = [
        vec![],
        vec![none_of(TextField::Name, &["name 1*"])],
        vec![one_of(TextField::Status, &["FAILED"])],
        vec![one_of(TextField::Status, &["*ED"]), none_of(TextField::Name, &["name 2*"])],
        vec![one_of(TextField::Name, &["name 3", "name 4"])],
        vec![one_of(TextField::Name, &["*"]), one_of(TextField::Status, &["RUNNING"])],
        vec![Filter::Closed(true), Filter::TopLevel],
        vec![Filter::Closed(false), Filter::After(TimeField::Created, at(20))],
        vec![one_of(TextField::Status, &["FAILED"]), Filter::Before(TimeField::Created, at(30))],
        vec![one_of(TextField::Status, &["NONE"])],
    ];
    for (machine, beside) in [
        (MachineKind::Execution, None),
        (MachineKind::Instance, None),
        (MachineKind::Execution, Some(MachineKind::Instance)),
    ] {
        for filters in &cases {
            for descending in [true, false] {
                let newest = SortField::Time(TimeField::Created);
                let mut expected: Vec<_> = heads
                    .iter()
                    .enumerate()
                    .filter(|(_, head)| {
                        let kind = head.id.machine();
                        (kind == machine || Some(kind) == beside) && fits(filters, head)
                    })
                    .collect();
                expected.sort_by_key(|(added, head)| {
                    let millis = head.created_at.millis();
                    (if descending { -millis } else { millis }, std::cmp::Reverse(*added))
                });
                let expected: Vec<_> = expected.iter().map(|(_, head)| head.id.clone()).collect();
                let mut seen = Vec::new();
                for start in (0..=expected.len() as u64).step_by(7) {
                    let search = Search {
                        machine,
                        beside,
                        sort: vec![Sort { by: newest, descending }],
                        start,
                        size: 7,
                        ..self::filters(filters)
                    };
                    let page = store.search(&search).await.expect("search works");
                    assert_eq!(page.total, expected.len() as u64, "{search:?}");
                    seen.extend(page.rows.into_iter().map(|head| head.id));
                }
                assert_eq!(seen, expected, "{filters:?} {machine:?} {descending}");
            }
        }
    }
}

/// Whether a head fits the filters that the case above is made of.
fn fits(filters: &[Filter], head: &Head) -> bool {
    let among = |field: TextField, values: &[String]| {
        let text = if field == TextField::Name { &*head.name } else { head.status };
        values.iter().any(|value| like(value, text))
    };
    filters.iter().all(|filter| match filter {
        Filter::In(field, values) => among(*field, values),
        Filter::NotIn(field, values) => !among(*field, values),
        Filter::Closed(closed) => head.closed == *closed,
        Filter::TopLevel => head.parent.is_none(),
        Filter::After(_, at) => head.created_at > *at,
        Filter::Before(_, at) => head.created_at < *at,
        other => panic!("no case has {other:?}"),
    })
}

pub(super) async fn counting_ends_behind_the_page(store: &dyn Store) {
    for number in 0..9 {
        create(store, Head { created_at: at(number.into()), ..running(&uuid(number)) }).await;
    }
    let total = async |counting, filters: &[Filter], start, size| {
        let search = Search { start, size, counting, ..self::filters(filters) };
        store.search(&search).await.expect("search works").total
    };
    let recent = [Filter::After(TimeField::Created, at(1))];
    assert_eq!(total(Counting::Far, &recent, 0, 2).await, 7);
    assert_eq!(total(Counting::Next, &recent, 0, 2).await, 3, "there is one behind it");
    assert_eq!(total(Counting::Next, &recent, 3, 2).await, 6);
    assert_eq!(total(Counting::Next, &recent, 5, 2).await, 7, "it is the last");
    assert_eq!(total(Counting::Next, &recent, 0, 0).await, 1);
    let by_name = [Filter::In(TextField::Id, texts(&["*"]))];
    assert_eq!(total(Counting::Next, &by_name, 0, 2).await, 3);
    assert_eq!(total(Counting::Far, &[], 0, 2).await, 9);
}

async fn by_text(store: &dyn Store, text: &str) -> Vec<String> {
    found(store, &Search { free_text: Some(text.to_owned()), ..Search::default() }).await
}

async fn put_text(store: &dyn Store, name: &str, text: &str) {
    let commit = Commit { text: Some(text.to_owned()), ..commit(0, running(&id(name))) };
    store.commit(commit).await.expect("it can be created");
}

pub(super) async fn free_text_finds_words(store: &dyn Store) {
    put_text(store, "one", r#"{"city":"Zürich","order":"A-17/b","note":"the disk is full"}"#).await;
    put_text(store, "two", "The DISK of host db-17.example.org; 磁盘已满").await;
    put_text(store, "three", &"y".repeat(1000)).await;
    create(store, running(&uuid(5))).await;
    let cases: &[(&str, &[&str])] = &[
        ("disk", &["two", "one"]),
        ("Disk THE", &["two", "one"]),
        ("disk full", &["one"]),
        ("dis", &[]),
        ("dis*", &["two", "one"]),
        ("f* disk", &["one"]),
        ("A-17/b", &["one"]),
        ("17", &["two", "one"]),
        ("db-17.example.org", &["two"]),
        ("db-17.exam*", &["two"]),
        ("zürich", &["one"]),
        ("ZÜRICH", &["one"]),
        ("zurich", &[]),
        ("磁盘", &["two"]),
        ("磁", &["two"]),
        ("one", &["one"]),
        ("on*", &["one"]),
        ("one full", &["one"]),
        ("two full", &[]),
        ("*", &["five", "three", "two", "one"]),
        ("", &["five", "three", "two", "one"]),
        ("  \t ", &["five", "three", "two", "one"]),
        ("\"disk\"", &["two", "one"]),
        ("\"", &[]),
        ("disk OR nothing", &[]),
        ("NOT disk", &[]),
        ("disk AND full", &[]),
        ("NEAR(disk full)", &[]),
        ("words:disk", &[]),
        ("dis* -full", &["one"]),
        ("^disk", &["two", "one"]),
        ("'; DROP TABLE execution; --", &[]),
        ("(disk", &["two", "one"]),
        ("{}", &[]),
        ("d*sk", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(by_text(store, text).await, *expected, "{text:?}");
    }
    assert_eq!(by_text(store, uuid(5).as_str()).await, ["five"]);
    assert_eq!(by_text(store, &format!("{}*", &uuid(5).as_str()[..10])).await, ["five"]);
    assert_eq!(by_text(store, &"y".repeat(999)).await, ["three"], "very long words are cut");
    let search = Search {
        free_text: Some("disk".into()),
        ..filters(&[Filter::In(TextField::Id, texts(&["t*"]))])
    };
    assert_eq!(found(store, &search).await, ["two"], "filters hold beside");
}

pub(super) async fn free_text_sees_earlier_commits(store: &dyn Store) {
    for number in 0..200 {
        put_text(store, &format!("id {number}"), &format!("common word{number}")).await;
        if number % 10 == 0 {
            let found = by_text(store, &format!("word{number} common")).await;
            assert_eq!(found, [format!("id {number}")]);
        }
    }
    assert_eq!(by_text(store, "common").await.len(), 200);
}

pub(super) async fn free_text_follows_changes(store: &dyn Store) {
    put_text(store, "one", "before stays").await;
    assert_eq!(by_text(store, "before").await, ["one"]);
    store.commit(commit(1, running(&id("one")))).await.expect("it can change");
    assert_eq!(by_text(store, "before").await, ["one"], "no new text keeps the old");
    let changed = Commit { text: Some("after stays".into()), ..commit(2, running(&id("one"))) };
    store.commit(changed).await.expect("it can change");
    assert_eq!(by_text(store, "before").await, [""; 0]);
    assert_eq!(by_text(store, "after stays").await, ["one"]);
    let emptied = Commit { text: Some(String::new()), ..commit(3, running(&id("one"))) };
    store.commit(emptied).await.expect("it can change");
    assert_eq!(by_text(store, "stays").await, [""; 0]);
}
