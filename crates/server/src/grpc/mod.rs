//! The durable task protocol: the `TaskHubSidecarService` over gRPC, on the port of all the rest.
//!
//! Clients start instances, steer them and look at them; workers hold a stream of work items open
//! and answer each with a call of its own. Task hubs keep instances apart; callers who name none
//! share one.

mod chunks;
mod convert;
mod status;
pub(crate) mod workers;
