//! ACTS: loads, decides, commits and dispatches; owns timers, queues and leases.

mod access;
mod ack_token;
mod acting;
mod alarm;
mod audit;
mod authors;
mod batches;
mod before;
mod board;
mod brief;
mod cache;
mod catalogue;
mod changing;
mod clock;
pub mod conformance;
mod deciding;
mod definitions;
mod delivery;
mod dispatcher;
mod documents;
mod doubts;
mod dry_run;
pub mod durable;
mod engine;
pub mod evaluation;
pub mod events;
mod feed;
mod foreseeing;
mod forking;
mod gates;
mod head;
mod health;
mod histogram;
mod hourly;
mod idempotency;
mod lineage;
mod listening;
mod machine;
pub mod memory;
mod meter;
pub mod monitors;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
mod mutants;
mod pacing;
mod parts;
mod past;
mod pending_claims;
mod places;
mod polling;
mod question;
mod queues;
mod removal;
mod rollups;
mod room;
mod runner;
mod samples;
pub mod search;
mod secret_uses;
mod skipping;
pub mod stage;
mod state_change_events;
mod status_pages;
mod step;
pub mod store;
mod suspects;
mod task_cache;
mod timers;
mod traces;
pub mod vault;
mod waker;
mod watchdog;
mod wheel;

pub use access::{
    Access, AccessError, Arrival, Described, Grantee, GroupRecord, Holder, Identity, KeyRecord,
    NewKey, NewUser, PASSWORD_MAX, Proved, Rights, UserRecord,
};
pub use ack_token::{AckError, AckMessage, Acked};
pub use acting::{ActsOn, FORBIDDEN};
pub use audit::{Audit, AuditEntry, AuditLine, AuditPage, AuditSearch};
pub use authors::{Author, Authored};
pub use batches::{
    BATCH_RUNS_MAX, Batch, BatchAct, BatchPreview, BatchState, PREVIEW_MILLIS, Refusal,
};
pub use board::{Figures, LateHeartbeat, RECEIVERS_MAX, Runs, SCHEDULES_MAX};
pub use brief::{Brief, LONG_BYTES, PAYLOAD_MAX};
pub use catalogue::Catalogue;
pub use changing::Change;
pub use clock::{Clock, ClockEvent, SystemClock};
pub use definitions::Definitions;
pub use documents::DamagedDocument;
pub use dry_run::{Mock, Mocks, REHEARSAL_STEPS_MAX, Rehearsed, UnknownMock};
pub use engine::{CommitNotice, Engine, Error, WeakEngine};
pub use feed::{Changed, Committed, Feed};
pub use foreseeing::Foreseen;
pub use forking::{Fork, Forked};
pub use health::{DeadMan, Health, Problem};
pub use histogram::{Histogram, Observed};
pub use hourly::{HOURS_MAX, Hour};
pub use idempotency::Begun;
pub use machine::{AnyInput, AnyMachine};
pub use meter::{AttemptOutcome, Meters};
pub use parts::{Counters, Options, Parts, Values};
pub use past::{Past, PastCommit, PastFact};
pub use polling::PollRequest;
pub use question::{Question, RunKind};
pub use queues::{Blocked, Poll, QueueState, Queues, STUCK_RUNS_MAX, StuckGroup, Taker};
pub use runner::{Handoff, Outcome, OutcomeStatus, Requirement, TaskRunner};
pub use samples::{SampleOptions, SamplePage};
pub use skipping::SkippingClock;
pub use status_pages::{
    ComponentState, ComponentStatus, STATUS_DAYS, StatusPages, status_pages_change,
};
pub use traces::{EndedRun, EndedRuns, TraceFigures, TraceOptions};
