//! How many runs that a search finds began in each of the last hours.

use kernel::Timestamp;

use crate::engine::Engine;
use crate::search::{COUNTED_MAX, Counting, Filter, Search, TimeField};
use crate::store::StoreError;

/// Hours that are told at most: each is a question to the store.
pub const HOURS_MAX: u32 = 48;
/// Milliseconds of an hour.
const HOUR: i64 = 3_600_000;

/// An hour and what began in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hour {
    /// When it began.
    pub from: Timestamp,
    /// How many runs began in it.
    pub count: u64,
    /// Whether these are all.
    pub is_exact: bool,
}

impl Engine {
    /// The last hours, the present one included, the oldest first; at most [`HOURS_MAX`].
    ///
    /// # Errors
    /// The store's.
    pub async fn hourly(&self, search: &Search, hours: u32) -> Result<Vec<Hour>, StoreError> {
        let now = self.now().millis();
        let present = now - now.rem_euclid(HOUR);
        let mut told = Vec::new();
        for back in (0..i64::from(hours.min(HOURS_MAX))).rev() {
            let from = Timestamp::from_millis(present - back * HOUR);
            let mut search = Search { size: 1, counting: Counting::Far, ..search.clone() };
            search.filters.push(Filter::After(TimeField::Created, from.plus_millis(-1)));
            search.filters.push(Filter::Before(TimeField::Created, from.plus_millis(HOUR)));
            let total = self.store().search(&search).await?.total;
            let count = total.min(COUNTED_MAX);
            told.push(Hour { from, count, is_exact: total < COUNTED_MAX });
        }
        Ok(told)
    }
}
