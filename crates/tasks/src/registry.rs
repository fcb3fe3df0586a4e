//! The list of built-in task types: the one line that a new task type adds outside its own file.
//!
//! A plain function rather than a plug-in mechanism, so that what a binary can run is read in one
//! place and a type that cannot be set up stops the start instead of the first execution that
//! needs it.

use std::sync::Arc;

use engine::TaskRunner;

use crate::http::{self, Http};
use crate::{sql, workflow};

/// What the built-in tasks may be told from outside; every member has defaults.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// HTTP calls.
    pub http: http::Settings,
    /// Tasks that look at executions.
    pub workflow: workflow::Settings,
    /// Databases.
    pub sql: sql::Settings,
}

/// A task type could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The HTTP client.
    #[error("the task type HTTP could not be set up: {0}")]
    Http(#[from] http::SetupError),
    /// A database of the configuration.
    #[error(transparent)]
    Sql(#[from] sql::Error),
}

/// Makes one runner for every built-in task type.
pub fn runners(settings: &Settings) -> Result<Vec<Arc<dyn TaskRunner>>, SetupError> {
    let http = Http::new(settings.http.clone())?;
    let mut runners = workflow::runners(&settings.workflow, http.client());
    runners.push(Arc::new(http));
    runners.push(Arc::new(sql::Jdbc::new(sql::Databases::new(settings.sql.clone())?)));
    Ok(runners)
}
