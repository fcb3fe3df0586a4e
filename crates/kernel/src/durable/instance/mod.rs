//! Instances: runs of orchestrators that workers replay.

mod check;
mod context;
mod control;
mod decide;
mod draft;
mod event;
mod state;
mod turn;
mod work;

pub use context::{Context, Input, Start, TurnResult};
pub use event::{Continued, Event, Turned};
pub use state::{Activity, Caller, Instance};
pub use turn::execution_id as life;
pub use work::{Waiting, Work};
