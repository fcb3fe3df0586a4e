//! The query language of searches: conditions joined by `AND`, read into the engine's filters.
//!
//! What is not understood is refused with a list of what is: an empty page for a misspelt field
//! would be read as "nothing of that kind has happened".

use engine::search::{
    Counting, Filter, PAGE_MAX, Search, Sort, SortField, TextField, TimeField, like, words,
};
use kernel::cron::Zone;
use kernel::durable;
use kernel::graph::{Status, TaskStatus};
use kernel::{MachineKind, Timestamp};

use crate::durable::ORCHESTRATION;
use crate::problem::Problem;

/// One condition as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) field: String,
    pub(super) operator: Operator,
    pub(super) values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    In,
    NotIn,
    After,
    NotBefore,
    Before,
    NotAfter,
    Between,
}

/// What a search asks, as its parameters spell it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// Conditions.
    pub query: Option<&'a str>,
    /// Words; `*` is everything.
    pub free_text: Option<&'a str>,
    /// `field:ASC`, several joined by `|`.
    pub sort: Option<&'a str>,
    /// Kinds of what is listed, comma-separated; executions of graphs without.
    pub classifier: Option<&'a str>,
    /// Only what no other execution started.
    pub top_level: bool,
    /// Rows to skip.
    pub start: u64,
    /// Rows to answer; at most [`PAGE_MAX`].
    pub size: u64,
}

/// Reads a search over executions.
///
/// # Errors
/// 400 that says what is supported.
pub fn search(question: &Question<'_>) -> Result<Search, Problem> {
    let (mut filters, mut kinds) = (Vec::new(), None);
    for condition in conditions(question.query.unwrap_or_default())? {
        match classified(&condition)? {
            Some(asked) => Kinds::narrow(&mut kinds, asked),
            None => filters.extend(filter(&condition)?),
        }
    }
    if let Some(classifier) = question.classifier {
        let values = classifier.split(',').map(|kind| kind.trim().to_owned());
        let values: Vec<String> = values.filter(|kind| !kind.is_empty()).collect();
        if !values.is_empty() {
            Kinds::narrow(&mut kinds, Kinds::among(Operator::In, &values));
        }
    }
    if question.top_level {
        filters.push(Filter::TopLevel);
    }
    let mut search = page(question, filters)?;
    kinds.unwrap_or(Kinds::GRAPHS).apply(&mut search);
    Ok(search.without_own_runs())
}

/// The classifier of executions of graphs.
pub(super) const WORKFLOW: &str = "workflow";

/// Kinds of what a search can list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kinds {
    graphs: bool,
    code: bool,
}

impl Kinds {
    const GRAPHS: Self = Self { graphs: true, code: false };

    /// Those that are one of the values, or none of them.
    fn among(operator: Operator, values: &[String]) -> Self {
        let named = |kind: &str| values.iter().any(|value| like(&value.to_ascii_lowercase(), kind));
        let wanted = operator == Operator::In;
        Self { graphs: named(WORKFLOW) == wanted, code: named(ORCHESTRATION) == wanted }
    }

    /// All conditions must hold.
    fn narrow(kinds: &mut Option<Self>, by: Self) {
        let before = kinds.unwrap_or(Self { graphs: true, code: true });
        *kinds = Some(Self { graphs: before.graphs && by.graphs, code: before.code && by.code });
    }

    fn apply(self, search: &mut Search) {
        (search.machine, search.beside) = match self {
            Self { graphs: true, code: true } => {
                (MachineKind::Execution, Some(MachineKind::Instance))
            }
            Self { code: true, .. } => (MachineKind::Instance, None),
            Self { graphs: true, .. } => (MachineKind::Execution, None),
            // No id is empty: nothing matches.
            Self { .. } => {
                search.filters.push(Filter::In(TextField::Id, vec![String::new()]));
                (MachineKind::Execution, None)
            }
        };
        if self.code {
            search.filters.iter_mut().for_each(words_of_both);
        }
    }
}

/// Names statuses in the words of executions and of instances alike, as a filter over both must.
fn words_of_both(filter: &mut Filter) {
    let (Filter::In(TextField::Status, values) | Filter::NotIn(TextField::Status, values)) = filter
    else {
        return;
    };
    let graphs = Status::ALL.into_iter().map(|status| (status.as_str(), status.as_str()));
    let code = durable::Status::ALL.into_iter();
    let code = code.map(|status| (status.as_str(), status.of_execution().as_str()));
    let mut words: Vec<String> = graphs
        .chain(code)
        .filter(|(_, shown)| values.iter().any(|value| like(value, shown)))
        .map(|(word, _)| word.to_owned())
        .collect();
    words.sort_unstable();
    words.dedup();
    *values = words;
}

fn page(question: &Question<'_>, filters: Vec<Filter>) -> Result<Search, Problem> {
    if question.size > PAGE_MAX {
        let size = question.size;
        return Err(Problem::bad_request(format!(
            "size {size} is larger than the largest page of {PAGE_MAX}"
        )));
    }
    if question.start > START_MAX {
        let start = question.start;
        return Err(Problem::bad_request(format!(
            "start {start} is further behind the first row than the {START_MAX} that are passed over"
        ))
        .with_hint(
            "Go on from the startTime of the last row: query=startTime <= that, or narrow the search.",
        ));
    }
    let free_text = question.free_text.map(str::trim).filter(|text| !matches!(*text, "" | "*"));
    if free_text.is_some_and(|text| words(text).nth(WORDS_MAX).is_some()) {
        return Err(bad_query(format!("more than {WORDS_MAX} words of free text in one search")));
    }
    Ok(Search {
        machine: MachineKind::Execution,
        beside: None,
        filters,
        free_text: free_text.map(str::to_owned),
        sort: sort(question.sort.unwrap_or_default())?,
        start: question.start,
        size: question.size,
        counting: Counting::Far,
    })
}

/// Rows that a page may lie behind the first. Those before it are passed over one by one.
const START_MAX: u64 = 1_000_000;

/// A search by tasks: what is asked of the executions, and of the tasks in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskQuestion {
    /// All must hold for one and the same task.
    pub tasks: Vec<TaskFilter>,
    /// What is asked of the executions.
    pub executions: Search,
}

/// A condition on a task. A `*` in a value matches any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskFilter {
    /// Its type.
    Type(Vec<String>),
    /// The name of its definition.
    Name(Vec<String>),
    /// Its status, and whether it must be one of these (`true`) or none of them.
    Status(bool, Vec<TaskStatus>),
    /// Its id.
    Id(Vec<String>),
    /// Its reference name.
    Reference(Vec<String>),
}

/// Reads a search by tasks: the fields of tasks apart from those of executions.
///
/// # Errors
/// 400 that says what is supported.
pub fn search_by_tasks(question: &Question<'_>) -> Result<TaskQuestion, Problem> {
    let (mut tasks, mut filters, mut kinds) = (Vec::new(), Vec::new(), None);
    for condition in conditions(question.query.unwrap_or_default())? {
        if let Some(filter) = task_filter(&condition)? {
            tasks.push(filter);
        } else if let Some(asked) = classified(&condition)? {
            Kinds::narrow(&mut kinds, asked);
        } else {
            filters.extend(filter(&condition)?);
        }
    }
    let mut executions = page(question, filters)?;
    // Instances of code have no tasks.
    let kinds = kinds.unwrap_or(Kinds::GRAPHS);
    Kinds { code: false, ..kinds }.apply(&mut executions);
    Ok(TaskQuestion { tasks, executions })
}

fn task_filter(condition: &Condition) -> Result<Option<TaskFilter>, Problem> {
    let values = || condition.values.clone();
    let filter = match condition.field.as_str() {
        "taskType" => TaskFilter::Type(values()),
        "taskDefName" => TaskFilter::Name(values()),
        "taskId" => TaskFilter::Id(values()),
        "referenceTaskName" => TaskFilter::Reference(values()),
        "status" => {
            let parse = |text: &String| {
                TaskStatus::parse(&text.to_ascii_uppercase()).ok_or_else(|| {
                    let known: Vec<&str> = TaskStatus::ALL.iter().map(|s| s.as_str()).collect();
                    unknown_status(text, &known)
                })
            };
            let statuses = condition.values.iter().map(parse).collect::<Result<_, _>>()?;
            return match condition.operator {
                Operator::In => Ok(Some(TaskFilter::Status(true, statuses))),
                Operator::NotIn => Ok(Some(TaskFilter::Status(false, statuses))),
                _ => Err(not_a_time(&condition.field)),
            };
        }
        _ => return Ok(None),
    };
    match condition.operator {
        Operator::In => Ok(Some(filter)),
        _ => Err(bad_query(format!("only = and IN are supported for '{}'", condition.field))),
    }
}

/// What a field of the language is.
enum Field {
    Text(TextField),
    Time(TimeField),
    Status,
    Parent,
    Version,
    Classifier,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "workflowId" => Self::Text(TextField::Id),
            "workflowType" | "workflowName" | "name" => Self::Text(TextField::Name),
            "correlationId" => Self::Text(TextField::CorrelationId),
            "reasonForIncompletion" => Self::Text(TextField::Reason),
            "parentWorkflowId" => Self::Parent,
            "status" => Self::Status,
            "startTime" | "createTime" => Self::Time(TimeField::Created),
            "updateTime" => Self::Time(TimeField::Updated),
            "endTime" => Self::Time(TimeField::Ended),
            "version" | "workflowVersion" => Self::Version,
            "classifier" => Self::Classifier,
            _ => return None,
        })
    }
}

const FIELDS: &str = "workflowId, workflowType, version, correlationId, status, startTime, \
    updateTime, endTime, parentWorkflowId, reasonForIncompletion, classifier";

const LANGUAGE: &str = "Write conditions joined by AND: field = value, field != value, \
    field IN (a, b), field NOT IN (a, b), and for times <, <=, >, >= and BETWEEN a AND b with \
    milliseconds since 1970 or 2026-01-31T12:00:00Z. Values may be quoted; * in a value matches \
    anything.";

fn bad_query(message: impl Into<String>) -> Problem {
    let mut problem = Problem::bad_request(message);
    problem.code = "bad-query";
    problem.with_hint(LANGUAGE)
}

fn not_a_time(field: &str) -> Problem {
    bad_query(format!("'{field}' is not a time: it can be compared with =, !=, IN and NOT IN"))
}

fn unknown_status(text: &str, known: &[&str]) -> Problem {
    bad_query(format!("there is no status '{text}'; the statuses are {}", known.join(", ")))
}

fn filter(condition: &Condition) -> Result<Vec<Filter>, Problem> {
    let name = &condition.field;
    let field = Field::named(name).ok_or_else(|| {
        bad_query(format!("there is no field '{name}' to search by; the fields are {FIELDS}"))
    })?;
    let is_text = matches!(condition.operator, Operator::In | Operator::NotIn);
    match field {
        Field::Time(field) => times(condition, field),
        _ if !is_text => Err(not_a_time(name)),
        Field::Text(field) => Ok(vec![text(condition.operator, field, condition.values.clone())]),
        Field::Status => status(condition).map(|filter| vec![filter]),
        Field::Parent => parent(condition).map(|filter| vec![filter]),
        Field::Version => version(condition).map(|filter| vec![filter]),
        // Handled before: it is no column.
        Field::Classifier => Ok(Vec::new()),
    }
}

fn text(operator: Operator, field: TextField, values: Vec<String>) -> Filter {
    match operator {
        Operator::NotIn => Filter::NotIn(field, values),
        _ => Filter::In(field, values),
    }
}

fn status(condition: &Condition) -> Result<Filter, Problem> {
    let mut values = Vec::new();
    for value in &condition.values {
        let value = value.to_ascii_uppercase();
        if !value.contains('*') && Status::parse(&value).is_none() {
            return Err(unknown_status(&value, &Status::ALL.map(Status::as_str)));
        }
        values.push(value);
    }
    Ok(text(condition.operator, TextField::Status, values))
}

/// An empty parent means an execution that nobody started.
fn parent(condition: &Condition) -> Result<Filter, Problem> {
    let empty = condition.values.iter().filter(|value| value.is_empty()).count();
    match (empty, condition.values.len(), condition.operator) {
        (0, _, operator) => Ok(text(operator, TextField::Parent, condition.values.clone())),
        (1, 1, Operator::In) => Ok(Filter::TopLevel),
        (1, 1, _) => Ok(Filter::In(TextField::Parent, vec!["*".to_owned()])),
        _ => Err(bad_query("an empty parentWorkflowId cannot stand in a list with others")),
    }
}

fn version(condition: &Condition) -> Result<Filter, Problem> {
    let parse = |value: &String| {
        value.parse().map_err(|_| bad_query(format!("version '{value}' is not a whole number")))
    };
    let versions = condition.values.iter().map(parse).collect::<Result<_, _>>()?;
    match condition.operator {
        Operator::In => Ok(Filter::Version(versions)),
        _ => Err(bad_query("only = and IN are supported for 'version'")),
    }
}

/// The kinds that a condition asks for, if it is one about kinds.
fn classified(condition: &Condition) -> Result<Option<Kinds>, Problem> {
    match (Field::named(&condition.field), condition.operator) {
        (Some(Field::Classifier), operator @ (Operator::In | Operator::NotIn)) => {
            Ok(Some(Kinds::among(operator, &condition.values)))
        }
        (Some(Field::Classifier), _) => Err(not_a_time(&condition.field)),
        _ => Ok(None),
    }
}

fn times(condition: &Condition, field: TimeField) -> Result<Vec<Filter>, Problem> {
    let times = condition.values.iter().map(|value| instant(&condition.field, value));
    let times = times.collect::<Result<Vec<_>, _>>()?;
    let after = |at: Timestamp| Filter::After(field, at.plus_millis(-1));
    let before = |at: Timestamp| Filter::Before(field, at.plus_millis(1));
    Ok(match (condition.operator, times.as_slice()) {
        (Operator::After, [at]) => vec![Filter::After(field, *at)],
        (Operator::NotBefore, [at]) => vec![after(*at)],
        (Operator::Before, [at]) => vec![Filter::Before(field, *at)],
        (Operator::NotAfter, [at]) => vec![before(*at)],
        (Operator::In, [at]) => vec![after(*at), before(*at)],
        (Operator::Between, [from, to]) => vec![after(*from), before(*to)],
        _ => {
            return Err(bad_query(format!(
                "times such as '{}' can be compared with =, <, <=, >, >= and BETWEEN only",
                condition.field
            )));
        }
    })
}

pub(super) fn instant(field: &str, text: &str) -> Result<Timestamp, Problem> {
    if let Ok(millis) = text.parse() {
        return Ok(Timestamp::from_millis(millis));
    }
    let exact = text.parse::<jiff::Timestamp>().ok().map(Timestamp::from);
    let day = || Zone::utc().instant(text.parse::<jiff::civil::Date>().ok()?.into());
    exact.or_else(day).ok_or_else(|| {
        let mut problem = Problem::bad_request(format!("'{text}' is not a time for '{field}'"));
        problem.code = "bad-query";
        problem.with_hint(
            "Write 2026-12-20T08:00:00Z, 2026-12-20 (its beginning in UTC), or milliseconds since 1970.",
        )
    })
}

/// Reads `field:ASC|other:DESC`; without an order a key is ascending.
fn sort(text: &str) -> Result<Vec<Sort>, Problem> {
    let keys = text.split(['|', ',']).map(str::trim).filter(|key| !key.is_empty());
    keys.map(|key| {
        let (name, order) = key.split_once(':').unwrap_or((key, "ASC"));
        let descending = match order.trim().to_ascii_uppercase().as_str() {
            "ASC" | "" => false,
            "DESC" => true,
            other => {
                let message = format!("the order '{other}' of '{name}' must be ASC or DESC");
                return Err(bad_query(message));
            }
        };
        let by = match Field::named(name.trim()) {
            Some(Field::Text(field)) => SortField::Text(field),
            Some(Field::Time(field)) => SortField::Time(field),
            Some(Field::Status) => SortField::Text(TextField::Status),
            Some(Field::Parent) => SortField::Text(TextField::Parent),
            Some(Field::Version | Field::Classifier) | None => {
                return Err(bad_query(format!(
                    "there is no sorting by '{name}'; the fields are workflowId, workflowType, \
                     correlationId, status, startTime, updateTime, endTime, parentWorkflowId, \
                     reasonForIncompletion"
                )));
            }
        };
        Ok(Sort { by, descending })
    })
    .collect()
}

pub(super) fn conditions(text: &str) -> Result<Vec<Condition>, Problem> {
    let mut reader = Reader { text, at: 0 };
    let mut conditions = Vec::new();
    reader.skip_space();
    if reader.is_done() || text.trim() == "*" {
        return Ok(conditions);
    }
    loop {
        conditions.push(reader.condition()?);
        if reader.is_done() {
            let values = conditions.iter().flat_map(|condition| &condition.values);
            if values.filter(|value| value.contains('*')).nth(PATTERNS_MAX).is_some() {
                return Err(bad_query(format!(
                    "more than {PATTERNS_MAX} values with a * in one query"
                )));
            }
            return Ok(conditions);
        }
        if !reader.keyword("AND") {
            return Err(reader.expected("AND or the end"));
        }
        if conditions.len() >= CONDITIONS_MAX {
            return Err(bad_query(format!("more than {CONDITIONS_MAX} conditions in one query")));
        }
    }
}

/// Most conditions in one query.
const CONDITIONS_MAX: usize = 50;
/// Most values in one list.
const VALUES_MAX: usize = 1000;
/// Most values with a `*` in one query: each is compared with every row.
const PATTERNS_MAX: usize = 200;
/// Most words of free text.
const WORDS_MAX: usize = 100;

/// Reads a query from left to right.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes a mark and the space after it, if it is next.
    fn mark(&mut self, mark: &str) -> bool {
        let found = self.rest().starts_with(mark);
        if found {
            self.at += mark.len();
            self.skip_space();
        }
        found
    }

    /// Takes a word in any case and the space after it, if it is next and ends there.
    fn keyword(&mut self, word: &str) -> bool {
        let found = begins_with_word(self.rest(), word);
        if found {
            self.at += word.len();
            self.skip_space();
        }
        found
    }

    fn expected(&self, what: &str) -> Problem {
        let near: String = self.rest().chars().take(20).collect();
        let column = self.text[..self.at].chars().count() + 1;
        let found = if near.is_empty() { "the end".to_owned() } else { format!("'{near}'") };
        bad_query(format!("the query needs {what} at character {column}, but there is {found}"))
    }

    fn condition(&mut self) -> Result<Condition, Problem> {
        let end = self.rest().find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let field = self.rest()[..end.unwrap_or(self.rest().len())].to_owned();
        if field.is_empty() {
            return Err(self.expected("the name of a field"));
        }
        self.at += field.len();
        self.skip_space();
        let operator = self.operator()?;
        let values = match operator {
            _ if self.rest().starts_with('(')
                && matches!(operator, Operator::In | Operator::NotIn) =>
            {
                self.list()?
            }
            Operator::Between => {
                let from = self.value(false)?;
                if !self.keyword("AND") {
                    return Err(self.expected("AND and the end of the time span"));
                }
                vec![from, self.value(false)?]
            }
            _ => vec![self.value(false)?],
        };
        Ok(Condition { field, operator, values })
    }

    fn operator(&mut self) -> Result<Operator, Problem> {
        // Longer marks before their beginnings.
        const MARKS: [(&str, Operator); 8] = [
            ("!=", Operator::NotIn),
            ("<>", Operator::NotIn),
            (">=", Operator::NotBefore),
            ("<=", Operator::NotAfter),
            ("==", Operator::In),
            ("=", Operator::In),
            (">", Operator::After),
            ("<", Operator::Before),
        ];
        for (mark, operator) in MARKS {
            if self.mark(mark) {
                return Ok(operator);
            }
        }
        if self.keyword("NOT") {
            if self.keyword("IN") {
                return Ok(Operator::NotIn);
            }
        } else if self.keyword("IN") {
            return Ok(Operator::In);
        } else if self.keyword("BETWEEN") {
            return Ok(Operator::Between);
        }
        Err(self.expected("an operator (=, !=, IN, NOT IN, <, <=, >, >=, BETWEEN)"))
    }

    fn list(&mut self) -> Result<Vec<String>, Problem> {
        self.mark("(");
        let mut values = Vec::new();
        loop {
            values.push(self.value(true)?);
            if self.mark(")") {
                return Ok(values);
            }
            if !self.mark(",") {
                return Err(self.expected("a comma or a closing bracket"));
            }
            if values.len() >= VALUES_MAX {
                return Err(bad_query(format!("more than {VALUES_MAX} values in one list")));
            }
        }
    }

    /// A value with its quotes off. Without quotes it ends before ` AND `, in a list at a comma or
    /// bracket.
    fn value(&mut self, in_list: bool) -> Result<String, Problem> {
        if let Some(quote @ ('"' | '\'')) = self.rest().chars().next() {
            let Some(length) = self.rest()[1..].find(quote) else {
                return Err(self.expected("a closing quote"));
            };
            let value = self.rest()[1..=length].to_owned();
            self.at += length + 2;
            self.skip_space();
            return Ok(value);
        }
        let rest = self.rest();
        let end = if in_list { rest.find([',', ')']) } else { end_of_bare(rest) };
        let value = rest[..end.unwrap_or(rest.len())].trim_end();
        if value.is_empty() {
            return Err(self.expected("a value"));
        }
        self.at += value.len();
        self.skip_space();
        Ok(value.to_owned())
    }
}

fn begins_with_word(text: &str, word: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= word.len()
        && bytes[..word.len()].eq_ignore_ascii_case(word.as_bytes())
        && bytes.get(word.len()).is_none_or(|next| next.is_ascii_whitespace() || *next == b'(')
}

/// Where a bare value ends: before a word AND (or OR, which is not supported and so refused).
fn end_of_bare(text: &str) -> Option<usize> {
    let spaces = text.char_indices().filter(|(_, c)| c.is_whitespace());
    spaces.map(|(at, _)| at).find(|at| {
        let next = text[*at..].trim_start();
        begins_with_word(next, "AND") || begins_with_word(next, "OR")
    })
}
