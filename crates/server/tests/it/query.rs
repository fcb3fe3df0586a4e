//! The query language: what is understood, and how the rest is refused.

use axum::response::IntoResponse;
use engine::search::{Counting, Filter, Search, Sort, SortField, TextField, TimeField};
use kernel::Timestamp;
use kernel::graph::TaskStatus;
use server::problem::Problem;
use server::rest::query::{Question, TaskFilter, search, search_by_tasks};

/// The filters of a query, without the one that leaves out the server's own runs.
fn filters(query: &str) -> Vec<Filter> {
    let read = read(query).unwrap_or_else(|problem| panic!("{query}: {}", problem.message));
    let own = not(TextField::Name, &["check:*", "nightbell_notify:*"]);
    read.filters.into_iter().filter(|filter| *filter != own).collect()
}

#[test]
fn runs_of_checks_and_notifications_are_left_out_unless_they_are_asked_for() {
    let own = not(TextField::Name, &["check:*", "nightbell_notify:*"]);
    assert!(read("status = FAILED").is_ok_and(|search| search.filters.contains(&own)));
    assert!(read("workflowType = check:web").is_ok_and(|search| !search.filters.contains(&own)));
}

fn read(query: &str) -> Result<Search, Problem> {
    search(&Question { query: Some(query), size: 100, ..Question::default() })
}

fn is(field: TextField, values: &[&str]) -> Filter {
    Filter::In(field, values.iter().map(|value| (*value).to_owned()).collect())
}

fn not(field: TextField, values: &[&str]) -> Filter {
    Filter::NotIn(field, values.iter().map(|value| (*value).to_owned()).collect())
}

fn after(field: TimeField, millis: i64) -> Filter {
    Filter::After(field, Timestamp::from_millis(millis))
}

fn before(field: TimeField, millis: i64) -> Filter {
    Filter::Before(field, Timestamp::from_millis(millis))
}

#[test]
fn conditions_become_filters() {
    use TextField::{CorrelationId, Id, Name, Parent, Reason, Status};
    use TimeField::{Created, Ended, Updated};
    let table: Vec<(&str, Vec<Filter>)> = vec![
        ("", vec![]),
        ("  ", vec![]),
        ("*", vec![]),
        ("workflowType=orders", vec![is(Name, &["orders"])]),
        ("workflowType = orders", vec![is(Name, &["orders"])]),
        ("workflowType='my orders'", vec![is(Name, &["my orders"])]),
        ("workflowType=\"it's\"", vec![is(Name, &["it's"])]),
        ("workflowType = my orders", vec![is(Name, &["my orders"])]),
        ("workflowType='a AND b'", vec![is(Name, &["a AND b"])]),
        ("workflowType=ord*", vec![is(Name, &["ord*"])]),
        ("workflowType IN (a,b)", vec![is(Name, &["a", "b"])]),
        ("workflowType IN ('a', \"b c\" , d)", vec![is(Name, &["a", "b c", "d"])]),
        ("workflowType in(a)", vec![is(Name, &["a"])]),
        ("workflowType NOT IN (a, b)", vec![not(Name, &["a", "b"])]),
        ("workflowType != a", vec![not(Name, &["a"])]),
        ("workflowId=\"x-1\"", vec![is(Id, &["x-1"])]),
        (
            "correlationId='c' AND status=RUNNING",
            vec![is(CorrelationId, &["c"]), is(Status, &["RUNNING"])],
        ),
        ("status IN (failed, TIMED_OUT)", vec![is(Status, &["FAILED", "TIMED_OUT"])]),
        ("reasonForIncompletion = '*timeout*'", vec![is(Reason, &["*timeout*"])]),
        ("parentWorkflowId=p", vec![is(Parent, &["p"])]),
        ("parentWorkflowId=\"\"", vec![Filter::TopLevel]),
        ("parentWorkflowId != ''", vec![is(Parent, &["*"])]),
        ("version = 2", vec![Filter::Version(vec![2])]),
        ("version IN (1, 2)", vec![Filter::Version(vec![1, 2])]),
        ("startTime > 100", vec![after(Created, 100)]),
        ("startTime>100 AND startTime<200", vec![after(Created, 100), before(Created, 200)]),
        ("updateTime >= 100", vec![after(Updated, 99)]),
        ("endTime <= 100", vec![before(Ended, 101)]),
        ("endTime = 100", vec![after(Ended, 99), before(Ended, 101)]),
        (
            "startTime BETWEEN 1 AND 9 AND version=1",
            vec![after(Created, 0), before(Created, 10), Filter::Version(vec![1])],
        ),
        ("startTime > '1970-01-01T00:00:01Z'", vec![after(Created, 1000)]),
        ("classifier = workflow", vec![]),
        ("classifier IN (agent, workflow)", vec![]),
        ("classifier = agent", vec![is(Id, &[""])]),
        ("classifier != agent", vec![]),
        ("workflowType=a and status!=RUNNING", vec![is(Name, &["a"]), not(Status, &["RUNNING"])]),
        ("correlationId=ANDROID", vec![is(CorrelationId, &["ANDROID"])]),
    ];
    for (query, expected) in table {
        assert_eq!(filters(query), expected, "{query}");
    }
}

#[test]
fn what_is_not_understood_is_refused_with_a_hint() {
    let table = [
        ("flavour=sweet", "no field 'flavour'"),
        ("workflowtype=a", "no field 'workflowtype'"),
        ("taskType=HTTP", "no field 'taskType'"),
        ("status=BUSY", "no status 'BUSY'"),
        ("workflowType", "an operator"),
        ("workflowType=", "a value"),
        ("workflowType='a", "a closing quote"),
        ("workflowType IN (a", "a comma or a closing bracket"),
        ("workflowType IN ()", "a value"),
        ("workflowType='a' status=RUNNING", "AND or the end"),
        ("workflowType=a OR workflowType=b", "AND or the end"),
        ("workflowType=a AND", "the name of a field"),
        ("AND", "an operator"),
        ("=a", "the name of a field"),
        ("workflowType > a", "not a time"),
        ("workflowType BETWEEN a AND b", "not a time"),
        ("startTime > yesterday", "not a time for 'startTime'"),
        ("startTime IN (1, 2)", "can be compared with"),
        ("startTime != 1", "can be compared with"),
        ("startTime BETWEEN 1", "AND and the end of the time span"),
        ("version = two", "not a whole number"),
        ("version != 1", "only = and IN"),
        ("parentWorkflowId IN ('', p)", "an empty parentWorkflowId"),
        ("größe=1", "an operator"),
    ];
    for (query, part) in table {
        let problem = read(query).expect_err(query);
        assert!(problem.message.contains(part), "{query}: {}", problem.message);
        // Of a time the hint says how to write one, of all else how to search.
        let about = if part.contains("a time for") { "2026-12-20" } else { "AND" };
        assert!(problem.hint.as_ref().is_some_and(|hint| hint.contains(about)), "{query}");
        assert_eq!(problem.into_response().status().as_u16(), 400, "{query}");
    }
    let long = vec!["version=1"; 51].join(" AND ");
    assert!(read(&long).expect_err("too long").message.contains("50"));
}

#[test]
fn no_text_makes_the_reader_stumble() {
    let parts = [
        "workflowType",
        "=",
        "'",
        "\"",
        "(",
        ")",
        ",",
        " AND ",
        " IN ",
        "ä",
        "*",
        ">",
        " ",
        "1",
        "BETWEEN",
    ];
    let mut state = 1_usize;
    for _ in 0..20_000 {
        let mut query = String::new();
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            query.push_str(parts[(state >> 33) % parts.len()]);
        }
        let _ = read(&query);
    }
}

#[test]
fn order_page_and_free_text() {
    let key = |by, descending| Sort { by, descending };
    let question = Question {
        sort: Some("startTime:DESC|workflowType:asc|status"),
        free_text: Some(" some words "),
        classifier: Some("workflow"),
        top_level: true,
        start: 10,
        size: 5000,
        ..Question::default()
    };
    let read = search(&question).unwrap_or_else(|problem| panic!("{}", problem.message));
    let expected = Search {
        machine: kernel::MachineKind::Execution,
        beside: None,
        filters: vec![Filter::TopLevel],
        free_text: Some("some words".to_owned()),
        sort: vec![
            key(SortField::Time(TimeField::Created), true),
            key(SortField::Text(TextField::Name), false),
            key(SortField::Text(TextField::Status), false),
        ],
        start: 10,
        size: 5000,
        counting: Counting::Far,
    };
    assert_eq!(read, expected);
    for everything in ["*", "", "  "] {
        let question = Question { free_text: Some(everything), ..Question::default() };
        assert_eq!(search(&question).map(|search| search.free_text).ok(), Some(None));
    }
    for question in [
        Question { size: 5001, ..Question::default() },
        Question { sort: Some("flavour:ASC"), ..Question::default() },
        Question { sort: Some("startTime:UP"), ..Question::default() },
        Question { sort: Some("version:ASC"), ..Question::default() },
    ] {
        search(&question).expect_err("it is refused");
    }
}

#[test]
fn fields_of_tasks_are_told_from_those_of_executions() {
    let ask =
        |query| search_by_tasks(&Question { query: Some(query), size: 10, ..Question::default() });
    let query = "taskType IN (HTTP, 'x*') AND taskDefName=fetch AND status!=FAILED AND workflowType=w \
        AND referenceTaskName=r AND taskId=i";
    let asked = ask(query).unwrap_or_else(|problem| panic!("{}", problem.message));
    let texts = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    let expected = [
        TaskFilter::Type(texts(&["HTTP", "x*"])),
        TaskFilter::Name(texts(&["fetch"])),
        TaskFilter::Status(false, vec![TaskStatus::Failed]),
        TaskFilter::Reference(texts(&["r"])),
        TaskFilter::Id(texts(&["i"])),
    ];
    assert_eq!(asked.tasks, expected);
    assert_eq!(asked.executions.filters, [is(TextField::Name, &["w"])]);
    for refused in ["taskType != a", "status > 1", "status = RUNNING", "flavour = sweet"] {
        ask(refused).expect_err(refused);
    }
}
