//! Schedules: machines that start executions at the instants that cron expressions name.
//!
//! ```text
//!   firing:  POLLED ──started──▶ EXECUTED        MISSED   came due while nobody looked
//!               └────refused───▶ FAILED          SKIPPED  the one before has not ended
//! ```
//!
//! Every firing has a number, and its ids derive from that; each is a line of the ledger `firing`.
//! Several lines that name the same instant fire once. While a schedule is paused nothing fires and
//! nothing is made up for later: at the resume one line tells how many were missed.

mod calendar;
mod check;
mod context;
mod decide;
mod due;
pub(crate) mod editor;
mod event;
mod expect;
mod ledger;
mod outage;
mod read;
mod spec;
mod state;
mod watch;

pub use calendar::overlaps;
pub use context::{Context, Input, Limits, Stretch};
pub use due::{Foreseen, Planned};
pub use event::{Cause, Event, Fired, Order};
pub use expect::{Expect, Expectation, Undone, Usual, Watch, Watched};
pub use outage::{Fate, Outage};
pub use read::{parse_schedule, parse_schedules, schedule_from_value};
pub use spec::{CatchUp, CronLine, Overlap, ScheduleSpec, Tag};
pub use state::{Backfill, Firing, Schedule};
