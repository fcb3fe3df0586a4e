//! Executions of graphs: the machine behind Conductor definitions.
//!
//! ```text
//!             start                    end of the plan / TERMINATE / failure / timeout
//!   (nothing) ─────▶ RUNNING ──────────────────────────▶ COMPLETED FAILED TIMED_OUT TERMINATED
//!                     │   ▲                                        │
//!               pause ▼   │ resume            retry rerun restart  │
//!                    PAUSED            RUNNING ◀───────────────────┘
//! ```

mod adoption;
mod branching;
mod check;
mod clock;
mod context;
mod control;
mod decide;
mod draft;
mod event;
mod execution;
mod gate;
mod input;
mod mask;
mod nodes;
mod object;
mod output;
mod place;
mod plan;
mod reached;
mod reasons;
mod reset;
mod retrying;
mod schema;
mod scope;
mod secrets;
mod snapshot;
mod state_change_events;
mod status;
mod supply;
mod task_cache;
mod timing;
mod waiting;

pub use adoption::{Asker, Instead};
pub use branching::{Branch, BranchPoint, Edit, FORKS};
pub use context::{Context, Limits, World};
pub use event::{Closed, Ended, Event, Parent, PlanRef, Progressed, Scheduled, Started};
pub use execution::{Execution, Task};
pub use gate::{
    GATE_PLACE, Gate, KEY_PLACE, PRINCIPAL_PLACE, gate_name, is_gate, key_name, principal_name,
};
pub use input::{
    Amendment, Batched, Control, Idempotency, Input, Message, Observed, Post, Report, Start,
    StartMessage, Verdict,
};
pub use nodes::webhook::{Awaited, WEBHOOK_QUEUE, webhook_queue};
pub use plan::{Awaits, Kind, Node, NodeId, Plan};
pub use retrying::Retry;
pub use schema::Registry;
pub use scope::iteration_of;
pub(crate) use scope::{TASK_FIELDS, WORKFLOW_FIELDS};
pub use snapshot::{Origin, Snapshot};
pub use status::{Status, TaskStatus};
pub use timing::Timeout;
pub use waiting::{LimitedBy, Waiting};
