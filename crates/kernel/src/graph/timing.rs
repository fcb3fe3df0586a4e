//! When time matters to a task: delays, call-backs, timeouts and the pause before a retry.
//!
//! Nothing here is stored. A task's timer follows from its state and its policy, so a timer cannot
//! be lost, and cannot outlive what it was for. Sources: the decider of the Conductor server for
//! which clock each timeout runs on.

use sha2::{Digest, Sha256};

use super::execution::Task;
use super::plan::Kind;
use super::status::TaskStatus;
use crate::definition::{RetryLogic, TaskDef};
use crate::id::ExecutionId;
use crate::time::Timestamp;

/// Which limit a task ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// All attempts together took too long.
    Total,
    /// The attempt took too long.
    Attempt,
    /// No worker took it.
    Poll,
    /// The worker fell silent.
    Response,
}

/// The next instant at which a task needs a look; `None` if time cannot change it.
pub(super) fn timer_of(task: &Task, policy: Option<&TaskDef>) -> Option<Timestamp> {
    if task.status.is_closed() {
        return None;
    }
    let begin = (!task.begun && task.kind != Kind::Dispatched)
        .then(|| task.scheduled_at.plus_millis(task.delay));
    let timeouts = policy.into_iter().flat_map(|policy| {
        use Timeout::{Attempt, Poll, Response, Total};
        [Total, Attempt, Poll, Response]
            .into_iter()
            .filter_map(move |timeout| deadline(task, policy, timeout))
    });
    [begin, task.until].into_iter().flatten().chain(timeouts).min()
}

/// When a limit strikes.
pub(super) fn deadline(task: &Task, policy: &TaskDef, timeout: Timeout) -> Option<Timestamp> {
    let told = task.alerted && timeout != Timeout::Response;
    if told {
        return None;
    }
    let (from, seconds) = match timeout {
        Timeout::Total => (task.first_scheduled_at, policy.total_timeout_seconds),
        Timeout::Attempt => (task.started_at?, policy.timeout_seconds),
        Timeout::Poll => {
            let waits = task.status == TaskStatus::Scheduled && task.kind == Kind::Dispatched;
            let from = if task.callback_after > 0 {
                task.updated_at.plus_seconds(task.callback_after)
            } else {
                task.scheduled_at.plus_millis(task.delay)
            };
            (waits.then_some(from)?, i64::from(policy.poll_timeout_seconds.unwrap_or(0)))
        }
        Timeout::Response => {
            let held = task.status == TaskStatus::InProgress && task.kind == Kind::Dispatched;
            // Somebody outside completes such a task: silence is not a sign of death.
            let from = (held && task.worker.is_some()).then_some(task.updated_at)?;
            (from, policy.response_timeout_seconds)
        }
    };
    (seconds > 0).then(|| from.plus_seconds(seconds))
}

/// The limit that a task has run into, the widest first.
pub(super) fn passed(task: &Task, policy: &TaskDef, now: Timestamp) -> Option<Timeout> {
    use Timeout::{Attempt, Poll, Response, Total};
    [Total, Attempt, Poll, Response]
        .into_iter()
        .find(|timeout| deadline(task, policy, *timeout).is_some_and(|at| at <= now))
}

/// Milliseconds before the next attempt, after `attempt` retries so far.
///
/// The jitter is drawn from the execution and the sequence number, so that deciding twice gives
/// the same delay, and tasks that failed together come back apart.
pub(super) fn retry_delay(
    policy: &TaskDef,
    attempt: u32,
    execution: &ExecutionId,
    sequence: u32,
) -> i64 {
    let jitter_max = u64::try_from(policy.backoff_jitter_ms).unwrap_or(0);
    let jitter = if jitter_max == 0 { 0 } else { draw(execution, sequence) % (jitter_max + 1) };
    retry_pause(policy, attempt).saturating_add(jitter as i64)
}

/// The same without jitter: the least that the policy says.
pub(super) fn retry_pause(policy: &TaskDef, attempt: u32) -> i64 {
    let base = i64::from(policy.retry_delay_seconds.max(0));
    let seconds = match policy.retry_logic {
        RetryLogic::Fixed => base,
        RetryLogic::LinearBackoff => base
            .saturating_mul(i64::from(policy.backoff_scale_factor.max(1)))
            .saturating_mul(i64::from(attempt) + 1),
        RetryLogic::ExponentialBackoff => base.saturating_mul(1_i64 << attempt.min(31)),
    };
    // The protocol counts delays in 32 bits of seconds.
    let mut seconds = seconds.min(i64::from(i32::MAX));
    if policy.max_retry_delay_seconds > 0 {
        seconds = seconds.min(i64::from(policy.max_retry_delay_seconds));
    }
    seconds.saturating_mul(1000)
}

/// A number that looks random and is the same each time.
fn draw(execution: &ExecutionId, sequence: u32) -> u64 {
    let digest = Sha256::new()
        .chain_update(execution.as_str().as_bytes())
        .chain_update(sequence.to_le_bytes())
        .finalize();
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
