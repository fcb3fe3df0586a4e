//! The Conductor REST API, one file per group of paths.
#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

mod access;
mod access_check;
mod admin;
mod audit;
mod badge;
mod batch;
mod bulk;
mod candidates;
mod code;
mod environment;
mod event;
mod execute;
pub mod extract;
mod facets;
mod human;
pub(crate) mod metadata;
mod monitor;
mod orkes;
mod people;
pub mod query;
mod queue;
mod rate_limit;
mod scheduler;
mod schema;
mod secret;
mod status_page;
mod summary;
pub(crate) mod tags;
mod tasks;
mod unsupported;
pub(crate) mod upkeep;
pub(crate) mod uses;
pub mod view;
pub(crate) mod why;
pub(crate) mod workflow;

use axum::Extension;

use crate::access::Routes;
pub(crate) use monitor::ON_CALL_CALENDAR;

/// All paths of the API, described, each with the permission that it needs.
pub(crate) fn router() -> Routes {
    let registering = metadata::Registering::default();
    Routes::new()
        .merge(workflow::routes())
        .merge(execute::routes())
        .merge(summary::routes())
        .merge(why::routes())
        .merge(facets::routes())
        .merge(batch::routes())
        .merge(uses::routes())
        .merge(bulk::routes())
        .merge(metadata::routes().merge(rate_limit::routes()).layer(Extension(registering.clone())))
        .merge(tags::routes().layer(Extension(registering)))
        .merge(schema::routes())
        .merge(status_page::routes())
        .merge(badge::routes())
        .merge(tasks::routes())
        .merge(human::routes())
        .merge(queue::routes())
        .merge(scheduler::routes())
        .merge(event::routes())
        .merge(admin::routes())
        .merge(upkeep::routes())
        .merge(access::routes())
        .merge(access_check::routes())
        .merge(people::routes())
        .merge(orkes::routes())
        .merge(audit::routes())
        .merge(secret::routes())
        .merge(environment::routes())
        .merge(monitor::routes())
        .merge(crate::projects::routes())
        .merge(unsupported::routes())
}
