//! How much is handed out at once: workers take messages of a bounded size, so what waits goes out
//! in portions.

use std::sync::Arc;

use super::history::{Call, EntityOperation, Fact, FailureDetails, Tags};

/// Bytes of what is new in one turn, or of the operations of one batch: half of the 4 MiB that SDKs
/// take in a message, less what stands around them. The first goes out whatever its size.
pub const PORTION_MAX: usize = (2 << 20) - (64 << 10);

/// Bytes of one payload on its way to an orchestrator: in a larger message nobody would take it.
pub const DELIVERABLE_MAX: usize = (4 << 20) - (64 << 10);

/// What every line costs besides its texts.
const LINE: usize = 64;

/// How many of these weights make a portion; at least one, if there is one.
pub(super) fn portion(weights: impl IntoIterator<Item = usize>) -> usize {
    let mut sum: usize = 0;
    let fits = weights.into_iter().enumerate().take_while(|(at, weight)| {
        sum = sum.saturating_add(*weight);
        *at == 0 || sum <= PORTION_MAX
    });
    fits.count()
}

/// The bytes of a fact on the wire, nearly.
pub(super) fn of_fact(fact: &Fact) -> usize {
    LINE + match fact {
        Fact::ExecutionStarted(start) => {
            start.name.len() + text(start.input.as_ref()) + of_tags(&start.tags)
        }
        Fact::ExecutionCompleted(end) => {
            text(end.result.as_ref()) + end.failure.as_deref().map_or(0, of_failure)
        }
        Fact::ExecutionTerminated { input, .. }
        | Fact::ExecutionSuspended { input }
        | Fact::ExecutionResumed { input } => text(input.as_ref()),
        Fact::ExecutionRewound(rewound) => {
            text(rewound.reason.as_ref()) + text(rewound.input.as_ref()) + of_tags(&rewound.tags)
        }
        Fact::TaskScheduled(call) | Fact::SubOrchestrationCreated { call, .. } => of_call(call),
        Fact::TaskCompleted { result, .. } | Fact::SubOrchestrationCompleted { result, .. } => {
            text(result.as_ref())
        }
        Fact::TaskFailed { failure, .. }
        | Fact::SubOrchestrationFailed { failure, .. }
        | Fact::EntityOperationFailed { failure, .. } => of_failure(failure),
        Fact::EventSent { name, input, .. } | Fact::EventRaised { name, input } => {
            name.len() + text(input.as_ref())
        }
        Fact::EntitySignaled(operation) | Fact::EntityCalled(operation) => of_operation(operation),
        Fact::EntityLockRequested(request) => {
            request.lock_set.iter().map(|entity| entity.len()).sum()
        }
        Fact::EntityOperationCompleted { output, .. } => text(output.as_ref()),
        Fact::OrchestratorStarted
        | Fact::TimerCreated { .. }
        | Fact::TimerFired { .. }
        | Fact::EntityLockGranted { .. }
        | Fact::EntityUnlockSent(_) => 0,
    }
}

/// The bytes of an operation on the wire, nearly.
pub(super) fn of_operation(operation: &EntityOperation) -> usize {
    LINE + operation.operation.len() + operation.request_id.len() + text(operation.input.as_ref())
}

fn of_call(call: &Call) -> usize {
    call.name.len() + text(call.input.as_ref()) + of_tags(&call.tags)
}

fn of_failure(failure: &FailureDetails) -> usize {
    let inner = failure.inner.as_deref().map_or(0, of_failure);
    let properties = failure.properties.as_ref().map_or(0, |json| json.text().len());
    failure.message.len() + text(failure.stack.as_ref()) + properties + inner
}

fn of_tags(tags: &Tags) -> usize {
    tags.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn text(text: Option<&Arc<str>>) -> usize {
    text.map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_is_as_much_as_fits_and_never_nothing() {
        assert_eq!(portion([]), 0);
        assert_eq!(portion([PORTION_MAX + 1, 1]), 1);
        assert_eq!(portion([1, PORTION_MAX, 1]), 1);
        assert_eq!(portion([1, PORTION_MAX - 1, 1]), 2);
        assert_eq!(portion(std::iter::repeat_n(1, 5000)), 5000);
    }

    #[test]
    fn all_that_a_failure_tells_counts() {
        let inner = FailureDetails::new("E", "x".repeat(1000));
        let failure = FailureDetails {
            inner: Some(Box::new(inner)),
            stack: Some("y".repeat(1000).into()),
            ..FailureDetails::new("E", "z".repeat(1000))
        };
        let fact = Fact::TaskFailed { task: 1, failure: Box::new(failure) };
        assert!((3000..3200).contains(&of_fact(&fact)));
    }
}
