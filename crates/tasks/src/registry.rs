//! The list of built-in task types: the one line that a new task type adds outside its own file.
//!
//! A plain function rather than a plug-in mechanism, so that what a binary can run is read in one
//! place and a type that cannot be set up stops the start instead of the first execution that
//! needs it.

use std::sync::Arc;

use engine::TaskRunner;

use crate::events::{self, EventTask};
use crate::http::{self, Http};

/// What the built-in tasks may be told from outside; every member has defaults.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// HTTP calls.
    pub http: http::Settings,
    /// Brokers of events.
    pub events: events::Settings,
}

/// A task type could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The HTTP client.
    #[error("the task type HTTP could not be set up: {0}")]
    Http(#[from] http::SetupError),
}

/// Makes one runner for every built-in task type.
pub fn runners(settings: &Settings) -> Result<Vec<Arc<dyn TaskRunner>>, SetupError> {
    Ok(vec![
        Arc::new(Http::new(settings.http.clone())?),
        Arc::new(EventTask::new(&settings.events)),
    ])
}
