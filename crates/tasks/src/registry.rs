//! The list of built-in task types, where a new one is registered.
//!
//! A plain function rather than a plug-in mechanism, so that what a binary can run is read in one
//! place and a type that cannot be set up stops the start instead of the first execution that
//! needs it.

use std::sync::Arc;

use engine::TaskRunner;

use crate::business_rule::BusinessRule;
use crate::check;
use crate::events::{self, EventTask};
use crate::http::{self, Http};
use crate::http_poll::{self, HttpPoll};
use crate::incident::Incident;
use crate::javascript::{self, JavaScript};
use crate::jwt::GetSignedJwt;
use crate::notify::Notify;
use crate::ops_genie::{self, OpsGenie};
use crate::page_dedup::Shared;
use crate::secret::UpdateSecret;
use crate::sendgrid::{self, SendGrid};
use crate::{sql, workflow};

/// Largest answer about the past, in bytes: ten thousand points of a few hundred series.
const HISTORY_BODY_MAX: usize = 256 << 20;

/// What the built-in tasks may be told from outside; every member has defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// HTTP calls.
    pub http: http::Settings,
    /// Checks of monitors.
    pub check: check::Settings,
    /// Where several servers share who pages; nowhere = this one is alone.
    pub claims: Shared,
    /// Brokers of events.
    pub events: events::Settings,
    /// Tasks that look at executions.
    pub workflow: workflow::Settings,
    /// Databases.
    pub sql: sql::Settings,
    /// Polling by HTTP.
    pub http_poll: http_poll::Settings,
    /// Scripts in the inputs of tasks, such as the conditions of polls.
    pub javascript: javascript::Limits,
    /// Where `SENDGRID` sends mail.
    pub sendgrid_url: String,
    /// Where `OPS_GENIE` creates alerts.
    pub ops_genie_url: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http: http::Settings::default(),
            check: check::Settings::default(),
            claims: Shared::default(),
            events: events::Settings::default(),
            workflow: workflow::Settings::default(),
            sql: sql::Settings::default(),
            http_poll: http_poll::Settings::default(),
            javascript: javascript::Limits::default(),
            sendgrid_url: sendgrid::URL.to_owned(),
            ops_genie_url: ops_genie::URL.to_owned(),
        }
    }
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
    /// A broker of the configuration.
    #[error(transparent)]
    Events(#[from] events::SetupError),
    /// A service's address.
    #[error("the task type {0} could not be set up: {1}")]
    Service(&'static str, #[source] http::Problem),
}

/// What asks sources about the past.
///
/// # Errors
/// As [`runners`].
pub fn history(settings: &Settings) -> Result<check::History, SetupError> {
    let mut settings = settings.clone();
    for http in [&mut settings.http, &mut settings.check.http] {
        http.body_max = http.body_max.max(HISTORY_BODY_MAX);
    }
    let http = Http::new(settings.http.clone())?;
    let databases = sql::Databases::new(settings.sql, settings.http.outgoing)?;
    Ok(check::History::new(settings.check, http.client(), databases))
}

/// Makes one runner for every built-in task type.
pub fn runners(settings: &Settings) -> Result<Vec<Arc<dyn TaskRunner>>, SetupError> {
    let http = Http::new(settings.http.clone())?;
    let client = || http.client().clone();
    let scripts = JavaScript::new(settings.javascript.clone());
    let mut runners = workflow::runners(&settings.workflow, http.client());
    let databases = || sql::Databases::new(settings.sql.clone(), settings.http.outgoing.clone());
    let claims = settings.claims.clone();
    let checks =
        check::runners(settings.check.clone(), http.client(), databases()?, claims.clone());
    runners.extend(checks);
    runners.extend::<Vec<Arc<dyn TaskRunner>>>(vec![
        Arc::new(sql::Jdbc::new(databases()?)),
        Arc::new(HttpPoll::new(client(), scripts, settings.http_poll.clone())),
        Arc::new(
            SendGrid::new(client(), &settings.sendgrid_url)
                .map_err(|problem| SetupError::Service("SENDGRID", problem))?,
        ),
        Arc::new(
            OpsGenie::new(client(), &settings.ops_genie_url)
                .map_err(|problem| SetupError::Service("OPS_GENIE", problem))?,
        ),
        Arc::new(BusinessRule::new(client())),
        Arc::new(GetSignedJwt),
        Arc::new(Notify::new(client()).linked(&settings.workflow.base_url).sharing(claims)),
        Arc::new(Incident::default()),
        Arc::new(UpdateSecret::default()),
        Arc::new(EventTask::new(&settings.events, http.client())?),
        Arc::new(http),
    ]);
    #[cfg(feature = "kafka")]
    runners.push(Arc::new(crate::kafka::KafkaPublish::new(settings.http.outgoing.clone())));
    Ok(runners)
}
