//! Mistakes that the engine can be made to make, so that the simulation shows that it would notice
//! them. Without the feature `mutants` every question for one is the constant `false`.

use crate::store::StoreError;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "mutants"), expect(unreachable_pub, reason = "no such module elsewhere"))]
pub enum Mutant {
    /// A task that is to be handed out gets no row in a queue.
    DispatchLost,
    /// A message is not written with the commit that owes it.
    MessageLost,
    /// A commit names another version than the one that was decided on.
    VersionWrong,
    /// A conflict is taken for success.
    ConflictBelieved,
    /// That a worker holds a task is not written.
    HoldUnwritten,
    /// A message that was received stays in the store.
    ReceiptForgotten,
    /// A message that was received is delivered once more, as if it were another.
    DeliveredTwice,
    /// Messages that were on their way at a start are not delivered.
    MailForgotten,
    /// A timer is not set.
    TimerUnset,
    /// Timers are not read from the store at a start.
    TimersForgotten,
    /// A state stays in memory whose commit failed.
    StateKept,
    /// Rows of queues are not read from the store at a start.
    QueuesForgotten,
    /// The answer goes out although the store did not take the commit.
    AnsweredEarly,
    /// A row stays in the queues in memory after its task has ended.
    WithdrawalForgotten,
    /// A panic in one decision closes the whole engine.
    QuarantineSpreads,
    /// The work of an attendance that ends stays out.
    LeaseForgotten,
    /// What a commit owes is lost that was written although the store failed.
    OutcomeIgnored,
    /// A slot goes from the cache although it holds what is written nowhere.
    UnwrittenReleased,
    /// What is owed is dropped after so many conflicts in a row.
    ConflictFinal,
    /// What depends on a monitor is told once how it is, whether it hears it or not.
    DependentsToldOnce,
    /// A key does not say which execution bears it.
    KeyForgotten,
    /// Messages of brokers that were being handled are not read from the store at a start.
    EventsForgotten,
}

#[cfg(feature = "mutants")]
mod active {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    impl Mutant {
        /// All of them.
        pub const ALL: [Self; 22] = [
            Self::DispatchLost,
            Self::MessageLost,
            Self::VersionWrong,
            Self::ConflictBelieved,
            Self::HoldUnwritten,
            Self::ReceiptForgotten,
            Self::DeliveredTwice,
            Self::MailForgotten,
            Self::TimerUnset,
            Self::TimersForgotten,
            Self::StateKept,
            Self::QueuesForgotten,
            Self::AnsweredEarly,
            Self::WithdrawalForgotten,
            Self::QuarantineSpreads,
            Self::LeaseForgotten,
            Self::OutcomeIgnored,
            Self::UnwrittenReleased,
            Self::ConflictFinal,
            Self::DependentsToldOnce,
            Self::KeyForgotten,
            Self::EventsForgotten,
        ];
    }

    /// Lets every engine on this thread make a mistake for as long as `run` takes.
    pub fn with<R>(mutant: Option<Mutant>, run: impl FnOnce() -> R) -> R {
        struct Back(Option<Mutant>);
        impl Drop for Back {
            fn drop(&mut self) {
                ACTIVE.set(self.0);
            }
        }
        let _back = Back(ACTIVE.replace(mutant));
        run()
    }

    pub(crate) fn is(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub(crate) use active::is;
#[cfg(feature = "mutants")]
pub use active::with;

/// Whether this mistake is to be made: never.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}

/// What the engine makes of the outcome of a commit.
pub(crate) fn believed(outcome: Result<(), StoreError>) -> Result<(), StoreError> {
    match outcome {
        Err(StoreError::Conflict) if is(Mutant::ConflictBelieved) => Ok(()),
        Err(StoreError::Unavailable(_)) if is(Mutant::AnsweredEarly) => Ok(()),
        outcome => outcome,
    }
}
