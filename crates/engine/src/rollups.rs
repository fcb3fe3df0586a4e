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
        span: (Timestamp, Timestamp),
    ) -> Result<Option<BTreeMap<Timestamp, Cell>>, Error> {
        let mut found = self.rollups_of(&[monitor.to_owned()], step, span).await?;
        Ok(found.remove(monitor))
    }

    /// The same of several monitors, by their names, in one look at the ledger; those that are not
    /// there are left out.
    ///
    /// # Errors
    /// The store's.
    pub async fn rollups_of(
        &self,
        monitors: &[String],
        step: Step,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<BTreeMap<String, BTreeMap<Timestamp, Cell>>, Error> {
        // The states first: a block that ends meanwhile is in the ledger then. One that is in both was
        // written when the monitor was removed, and the state knows more since.
        let mut found = BTreeMap::new();
        for name in monitors {
            if let Some(open) = self.monitor(name, |it| it.rollups.cells(step)).await? {
                found.insert(name.clone(), open.into_iter().collect::<BTreeMap<_, _>>());
            }
        }
        if found.is_empty() {
            return Ok(found);
        }
        let mut search = RecordSearch {
            subjects: found.keys().cloned().collect(),
            statuses: vec![step.as_str().to_owned()],
            after: Some(from.plus_millis(-step.block_millis() - 1)),
            before: Some(to),
            descending: false,
            size: PAGE_MAX,
            ..RecordSearch::newest(ROLLUP_LEDGER)
        };
        loop {
            let lines = self.inner.store.records(&search).await?.rows;
            for line in &lines {
                let Some(cells) = found.get_mut(&*line.subject) else { continue };
                // A line that is damaged is a gap; what could not be read is nothing to answer with.
                for (at, cell) in cells_of_line(step, &line.body).into_iter().flatten() {
                    cells.entry(at).or_insert(cell);
                }
            }
            search.start += PAGE_MAX;
            if (lines.len() as u64) < PAGE_MAX {
                break;
            }
        }
        for cells in found.values_mut() {
            cells.retain(|at, _| (from..to).contains(at));
        }
        Ok(found)
    }
}
