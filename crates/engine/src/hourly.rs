//! How many runs that a search finds began in each of the last hours.

use kernel::Timestamp;

use crate::engine::Engine;
use crate::search::{BEGUN_MAX, Search, Spans};
use crate::store::StoreError;

/// Hours that are told at most.
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
        let count = hours.min(HOURS_MAX);
        let present = now - now.rem_euclid(HOUR);
        let from = Timestamp::from_millis(present - (i64::from(count) - 1) * HOUR);
        let counts = self.store().begun(search, Spans { from, length: HOUR, count }).await?;
        let is_exact = counts.iter().sum::<u64>() < BEGUN_MAX;
        let starts = (0..i64::from(count)).map(|at| from.plus_millis(at * HOUR));
        let hour = |(from, count)| Hour { from, count, is_exact };
        Ok(starts.zip(counts).map(hour).collect())
    }
}
