//! Going through executions to look at their tasks, for which there is no index.
//!
//! Executions are read one after the other, in the order of the list, until the page is full: a search
//! costs by what it answers. One that finds too little is refused, for it would read everything.

use std::collections::{HashSet, VecDeque};

use engine::Engine;
use engine::search::{Counting, Search};
use engine::store::Head;
use kernel::ExecutionId;

use crate::problem::Problem;

/// Most executions of which the tasks are looked at in one search.
pub(super) const CANDIDATES_MAX: u64 = 5000;

/// Rows that are fetched first; each time twice as many as before.
const FIRST: u64 = 32;

/// Most rows that are fetched at a time.
const MOST: u64 = 1024;

/// The executions that a search by tasks may have to read.
pub(super) struct Candidates<'a> {
    engine: &'a Engine,
    /// What is asked of the executions; its page is the next one to fetch.
    search: Search,
    rows: VecDeque<Head>,
    /// Those that were given: what comes meanwhile moves the rows behind it.
    given: HashSet<ExecutionId>,
    /// There are no further rows.
    over: bool,
}

impl<'a> Candidates<'a> {
    /// The executions that a search finds, whatever page it asks for.
    pub(super) fn of(engine: &'a Engine, search: Search) -> Self {
        let search = Search { start: 0, size: FIRST, counting: Counting::Next, ..search };
        let (rows, given) = (VecDeque::new(), HashSet::new());
        Self { engine, search, rows, given, over: false }
    }

    /// The next one.
    ///
    /// # Errors
    /// 400 after [`CANDIDATES_MAX`], if there are more; the store's.
    pub(super) async fn next(&mut self) -> Result<Option<Head>, Problem> {
        loop {
            while let Some(row) = self.rows.pop_front() {
                if self.given.insert(row.id.clone()) {
                    return Ok(Some(row));
                }
            }
            if self.over {
                return Ok(None);
            }
            self.fetch().await?;
        }
    }

    async fn fetch(&mut self) -> Result<(), Problem> {
        let left = CANDIDATES_MAX.saturating_sub(self.search.start);
        if left == 0 {
            return Err(Problem::bad_request(format!(
                "the page is not full after {CANDIDATES_MAX} executions, and no more are looked \
                 through"
            ))
            .with_hint("Narrow the search, for example by workflowType or startTime."));
        }
        self.search.size = self.search.size.min(left);
        let page = self.engine.store().search(&self.search).await?;
        self.search.start += self.search.size;
        self.over = page.total <= self.search.start;
        self.search.size = (self.search.size * 2).min(MOST);
        self.rows = page.rows.into();
        Ok(())
    }
}
