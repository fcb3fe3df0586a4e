//! Rollups of monitors: what is being counted, together with what the ledger keeps of before
//! (decision 0048).

use std::collections::BTreeMap;

use kernel::Timestamp;
use kernel::alert::{Cell, ROLLUP_LEDGER, Step, cells_of_line};

use crate::engine::{Engine, Error};
use crate::search::{PAGE_MAX, RecordSearch};

impl Engine {
    /// The cells of a monitor that begin in `[from, to)` and in which something was counted, by their
    /// beginnings; `None` if there is no such monitor.
    ///
    /// # Errors
    /// The store's.
    pub async fn rollups(
        &self,
        monitor: &str,
        step: Step,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Option<BTreeMap<Timestamp, Cell>>, Error> {
        // The state first: a block that ends meanwhile is in the ledger then. One that is in both was
        // written when the monitor was removed, and the state knows more since.
        let Some(open) = self.monitor(monitor, |it| it.rollups.cells(step)).await? else {
            return Ok(None);
        };
        let search = RecordSearch {
            subjects: vec![monitor.to_owned()],
            statuses: vec![step.as_str().to_owned()],
            after: Some(from.plus_millis(-step.block_millis() - 1)),
            before: Some(to),
            descending: false,
            size: PAGE_MAX,
            ..RecordSearch::newest(ROLLUP_LEDGER)
        };
        let lines = self.inner.store.records(&search).await?.rows;
        let mut cells: BTreeMap<Timestamp, Cell> = open.into_iter().collect();
        for line in lines {
            // A line that is damaged is a gap; what could not be read is nothing to answer with.
            for (at, cell) in cells_of_line(step, &line.body).into_iter().flatten() {
                cells.entry(at).or_insert(cell);
            }
        }
        cells.retain(|at, _| (from..to).contains(at));
        Ok(Some(cells))
    }
}
