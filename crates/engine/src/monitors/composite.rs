//! How the monitors stand that a composite monitor looks at.

use std::sync::Arc;

use kernel::alert::Monitor;
use kernel::alert::definition::{Composite, Standing};

use super::standing;
use crate::engine::{Engine, Error};

impl Engine {
    /// The monitors that a composite one looks at, and how each stands, by name.
    ///
    /// # Errors
    /// The store's.
    pub async fn standings(
        &self,
        composite: &Composite,
        own: &str,
    ) -> Result<Vec<(Arc<str>, Standing)>, Error> {
        let names = {
            let sources = self.inner.monitors.sources.read();
            composite.members(own, sources.values().flat_map(|file| &file.monitors))
        };
        let mut standings = Vec::with_capacity(names.len());
        for name in names {
            let stands = |monitor: &Monitor| match standing(monitor) {
                "DOWN" => Standing::Bad,
                "UNKNOWN" | "NEW" => Standing::Unknown,
                _ => Standing::Well,
            };
            let stands = match self.monitor(&name, stands).await {
                Ok(stands) => stands.unwrap_or(Standing::Unknown),
                Err(Error::Quarantined { .. }) => Standing::Unknown,
                Err(error) => return Err(error),
            };
            standings.push((name, stands));
        }
        Ok(standings)
    }
}
