//! What can be asked of all executions at once: typed filters, order and page.

use kernel::{ExecutionId, MachineKind, Record, Timestamp};

use crate::head::Head;

/// A question over head rows. An empty filter list matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Heads of which machines; executions unless said otherwise.
    pub machine: MachineKind,
    /// Those of this kind, too, in one list with the others.
    pub beside: Option<MachineKind>,
    /// All must hold.
    pub filters: Vec<Filter>,
    /// Words, apart by white space, that must all be found: each is the id, or all its
    /// [`words`] are among those of [`Commit::text`](crate::store::Commit::text). `*` at the end
    /// matches any ending.
    pub free_text: Option<String>,
    /// First by the first; ties by newest created first, then by last added first.
    pub sort: Vec<Sort>,
    /// Rows to skip.
    pub start: u64,
    /// Rows to answer, at most [`PAGE_MAX`].
    pub size: u64,
    /// How far the rows are counted.
    pub counting: Counting,
}

/// Spans of time, each as long as the others and beginning where the one before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    /// When the first begins.
    pub from: Timestamp,
    /// How long each is, in milliseconds; more than none.
    pub length: i64,
    /// How many there are.
    pub count: u32,
}

impl Spans {
    /// When the last has ended.
    pub fn end(&self) -> Timestamp {
        self.from.plus_millis(self.length.saturating_mul(self.count.into()))
    }

    /// The filters that leave what was created within them.
    pub fn filters(&self) -> [Filter; 2] {
        [
            Filter::After(TimeField::Created, self.from.plus_millis(-1)),
            Filter::Before(TimeField::Created, self.end()),
        ]
    }

    /// Sums counts by the number of their span, as many as there are spans.
    pub fn sum(&self, counts: impl IntoIterator<Item = (i64, u64)>) -> Vec<u64> {
        let mut summed = vec![0; self.count as usize];
        for (number, count) in counts {
            let span = usize::try_from(number).ok().and_then(|number| summed.get_mut(number));
            if let Some(span) = span {
                *span += count;
            }
        }
        summed
    }
}

/// Rows that are counted by the span of their creation; where there are more, no count is exact.
pub const BEGUN_MAX: u64 = 100_000;

/// How far the rows that match a search are counted, where the store does not keep count of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counting {
    /// To [`COUNTED_MAX`] rows behind the page.
    #[default]
    Far,
    /// To the first row behind the page: whoever goes from page to page asks no more.
    Next,
}

/// Rows behind the page that are counted one by one.
pub const COUNTED_MAX: u64 = 10_000;

/// Names of the definitions of runs that Nightbell makes for itself: checks of monitors and
/// deliveries of notifications.
pub const OWN_RUNS: [&str; 2] = ["check:*", "nightbell_notify:*"];

impl Search {
    /// Leaves out the runs that Nightbell makes for itself, unless the search asks for some by name,
    /// id, parent, correlation or words: whoever asks which workflows failed does not mean the check
    /// that could not tell, nor the page about it.
    #[must_use]
    pub fn without_own_runs(mut self) -> Self {
        use TextField::{CorrelationId, Id, Name, Parent};
        let names = |filter: &Filter| match filter {
            Filter::In(field, _) => matches!(field, Name | Id | Parent | CorrelationId),
            Filter::IdBegins(_) => true,
            _ => false,
        };
        if self.free_text.is_none() && !self.filters.iter().any(names) {
            let own = OWN_RUNS.map(str::to_owned).to_vec();
            self.filters.push(Filter::NotIn(Name, own));
        }
        self
    }

    /// Whether [`Page::total`] says how many rows match, however many these are: stores keep count
    /// by name, by status and of what no other execution started.
    pub fn is_counted(&self) -> bool {
        let kept = |filter: &Filter| match filter {
            Filter::In(field, _) | Filter::NotIn(field, _) => {
                matches!(field, TextField::Name | TextField::Status)
            }
            Filter::Closed(_) | Filter::TopLevel => true,
            _ => false,
        };
        self.counting == Counting::Far
            && self.free_text.as_deref().is_none_or(|text| text.trim().is_empty())
            && self.filters.iter().all(kept)
    }

    /// Where [`Page::total`] ends in any case but [`Search::is_counted`].
    pub fn total_max(&self) -> u64 {
        let behind = match self.counting {
            Counting::Far => COUNTED_MAX,
            Counting::Next => 1,
        };
        self.start.saturating_add(self.size.min(PAGE_MAX)).saturating_add(behind)
    }

    /// The machines of which heads are asked for, each once.
    pub fn machines(&self) -> impl Iterator<Item = MachineKind> + '_ {
        let beside = self.beside.filter(|beside| *beside != self.machine);
        std::iter::once(self.machine).chain(beside)
    }
}

/// A question over the lines of one ledger. An empty list matches all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSearch {
    /// Which ledger.
    pub ledger: &'static str,
    /// Only lines with one of these keys.
    pub keys: Vec<String>,
    /// Only lines with a key that begins so.
    pub key_begins: Option<String>,
    /// Only lines about one of these.
    pub subjects: Vec<String>,
    /// Only lines that stand so.
    pub statuses: Vec<String>,
    /// Only later ones.
    pub after: Option<Timestamp>,
    /// Only earlier ones.
    pub before: Option<Timestamp>,
    /// Newest first.
    pub descending: bool,
    /// Lines to skip.
    pub start: u64,
    /// Lines to answer, at most [`PAGE_MAX`].
    pub size: u64,
    /// Where [`RecordPage::total`] ends: counting takes as long as there are lines. 0 for whoever reads no
    /// total.
    pub counted_max: u64,
}

impl RecordSearch {
    /// The newest hundred lines of a ledger.
    pub fn newest(ledger: &'static str) -> Self {
        Self {
            ledger,
            keys: Vec::new(),
            key_begins: None,
            subjects: Vec::new(),
            statuses: Vec::new(),
            after: None,
            before: None,
            descending: true,
            start: 0,
            size: 100,
            counted_max: u64::MAX,
        }
    }
}

/// One page of a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordPage {
    /// How many lines match in all, up to [`RecordSearch::counted_max`].
    pub total: u64,
    /// The page.
    pub rows: Vec<Record>,
}

/// Most rows in one page.
pub const PAGE_MAX: u64 = 5000;

/// One condition on a head row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The field equals one of the values; a `*` in a value matches any run of characters.
    In(TextField, Vec<String>),
    /// The field equals none of the values.
    NotIn(TextField, Vec<String>),
    /// The time is after the given one.
    After(TimeField, Timestamp),
    /// The time is before the given one.
    Before(TimeField, Timestamp),
    /// The definition's version is one of these.
    Version(Vec<u32>),
    /// Only executions that no other execution started.
    TopLevel,
    /// Only those that ended (`true`) or did not (`false`).
    Closed(bool),
    /// Only ids that begin so; a `*` is no more than a star.
    IdBegins(String),
    /// Only rows that come after this one, in the order that it names.
    Past(Mark),
}

/// Where a page ended. What comes after it is the same whatever was removed or added meanwhile,
/// unlike what a number of rows to skip would lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The time of its last row by which the rows are ordered, ties by id; absent = by id alone.
    pub at: Option<(TimeField, Timestamp)>,
    /// The id of its last row.
    pub id: ExecutionId,
    /// Greatest first, in both.
    pub descending: bool,
}

impl Mark {
    /// The order in which rows come after the mark.
    pub fn order(by: Option<TimeField>, descending: bool) -> Vec<Sort> {
        let time = by.map(SortField::Time);
        let keys = time.into_iter().chain([SortField::Text(TextField::Id)]);
        keys.map(|by| Sort { by, descending }).collect()
    }
}

/// A textual column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// Execution id.
    Id,
    /// Definition name.
    Name,
    /// Status word.
    Status,
    /// Correlation id.
    CorrelationId,
    /// Parent execution id.
    Parent,
    /// Reason.
    Reason,
}

/// A time column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeField {
    /// Creation.
    Created,
    /// Last change.
    Updated,
    /// End; rows without one never match.
    Ended,
}

/// One key of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub by: SortField,
    /// Greatest first.
    pub descending: bool,
}

/// What rows can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortField {
    /// A textual column, byte order.
    Text(TextField),
    /// A time column; rows without the time come first ascending.
    Time(TimeField),
}

/// One page of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// How many rows match in all, as far as they are counted: see [`Search::is_counted`] and
    /// [`Search::total_max`].
    pub total: u64,
    /// The page.
    pub rows: Vec<Head>,
}

/// Longest text that is searched, in bytes; what follows is not found.
pub const TEXT_MAX: usize = 32 * 1024;

/// Longest word told apart, in bytes; longer ones are cut there, in texts and in questions.
pub const WORD_MAX: usize = 64;

/// Splits a text into the words that free text finds: lower-case runs of letters and digits.
///
/// Scripts without spaces (Chinese, Japanese kana) have a word per character, so that any part of
/// a sentence is found. All stores split by this one function, so they find the same.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    cut(text, TEXT_MAX)
        .split(|c: char| !c.is_alphanumeric())
        .flat_map(|run| {
            let mut words = Vec::new();
            let mut word = 0;
            for (at, c) in run.char_indices().filter(|(_, c)| is_ideographic(*c)) {
                words.push(&run[word..at]);
                word = at + c.len_utf8();
                words.push(&run[at..word]);
            }
            words.push(&run[word..]);
            words
        })
        .filter(|word| !word.is_empty())
        .map(|word| cut(&cut(word, WORD_MAX).to_lowercase(), WORD_MAX).to_owned())
}

/// Whether `text` is `pattern`, in which `*` stands for any run of characters.
pub fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The longest beginning of `text` of at most `bytes`, whole characters only.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Whether a character is a word by itself.
fn is_ideographic(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}
