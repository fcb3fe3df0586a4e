//! What a row of the queues stands for: most are tasks; turns and permits have numbers that no task has.

/// What a row of the queues stands for, within its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKind {
    /// A task of an execution or an activity of an instance, by its sequence number.
    Task(u32),
    /// A turn of an instance, or a batch of an entity.
    Turn,
    /// A permit of an execution.
    Permit(Permit),
}

/// What an execution may need to be open, of which there are only so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permit {
    /// To run beside others of its workflow (`rateLimitConfig`).
    Workflow,
    /// To use its idempotency key.
    IdempotencyKey,
    /// To be among the open executions of its principal.
    Principal,
}

impl RowKind {
    /// Of the number that is stored.
    pub fn of(number: u32) -> Self {
        if number == Self::Turn.number() {
            return Self::Turn;
        }
        let permit = Permit::ALL.into_iter().find(|permit| permit.number() == number);
        permit.map_or(Self::Task(number), Self::Permit)
    }

    /// The number that is stored, in the place of a task's sequence number.
    pub const fn number(self) -> u32 {
        match self {
            Self::Task(sequence) => sequence,
            Self::Turn => u32::MAX - 1,
            Self::Permit(permit) => permit.number(),
        }
    }
}

impl Permit {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Workflow, Self::IdempotencyKey, Self::Principal];

    /// The number that is stored, in the place of a task's sequence number.
    pub const fn number(self) -> u32 {
        match self {
            Self::Workflow => 0,
            Self::IdempotencyKey => u32::MAX,
            Self::Principal => u32::MAX - 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Permit, RowKind};

    #[test]
    fn no_two_kinds_share_a_number() {
        let permits = Permit::ALL.map(RowKind::Permit);
        let kinds = permits.into_iter().chain([RowKind::Turn, RowKind::Task(1), RowKind::Task(7)]);
        for kind in kinds {
            assert_eq!(RowKind::of(kind.number()), kind);
        }
    }
}
