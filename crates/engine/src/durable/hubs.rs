//! The queues of work of each task hub, as far as they are worth remembering: whoever starts things
//! under ever-new names, or in ever-new hubs, does not make the server remember them all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kernel::durable::{WorkKind, WorkQueue};
use tokio::sync::Notify;

/// Names and hubs that are kept without asking whether anybody needs them.
const SWEEP_MIN: usize = 256;

/// Every hub that has work or workers, and some that had.
pub(super) struct Hubs {
    by_name: HashMap<Arc<str>, Hub>,
    /// Names and hubs remembered.
    count: usize,
    /// So many are looked through for what can be forgotten: twice what the last look left, so that
    /// looking costs nothing that counts.
    sweep_at: usize,
}

#[derive(Default)]
struct Hub {
    /// By kind, each with its whole name.
    queues: BTreeMap<WorkKind, Vec<(WorkQueue, Arc<str>)>>,
    known: BTreeSet<Arc<str>>,
    added: Arc<Notify>,
    /// Where the next look begins, so that no queue starves another.
    next: usize,
}

/// What tells whether something is needed still.
pub(super) trait Needs {
    /// Whether something waits in a queue.
    fn waits(&self, queue: &str) -> bool;
    /// Whether a worker attends a hub.
    fn attended(&self, hub: &str) -> bool;
}

impl Default for Hubs {
    fn default() -> Self {
        Self { by_name: HashMap::new(), count: 0, sweep_at: SWEEP_MIN }
    }
}

impl Hubs {
    /// A row was put into a queue: whoever attends its hub is told. The row must stand there by now,
    /// so that the queue is not forgotten again.
    pub(super) fn add(&mut self, name: &Arc<str>, needs: &impl Needs) {
        let Some(queue) = WorkQueue::parse(name) else { return };
        let hub = self.hub(&queue.hub, needs);
        let added = hub.added.clone();
        if hub.known.insert(name.clone()) {
            hub.queues.entry(queue.kind).or_default().push((queue, name.clone()));
            self.count += 1;
            self.sweep(needs);
        }
        added.notify_waiters();
    }

    /// The word that something came into a hub; a worker must attend it.
    pub(super) fn added(&mut self, hub: &Arc<str>, needs: &impl Needs) -> Arc<Notify> {
        self.hub(hub, needs).added.clone()
    }

    /// The queues of a hub by kind, each time beginning with another one.
    pub(super) fn look(
        &mut self,
        hub: &str,
    ) -> impl Iterator<Item = (WorkKind, &WorkQueue, &Arc<str>)> {
        let hub = self.by_name.get_mut(hub).map(|hub| {
            hub.next = hub.next.wrapping_add(1);
            &*hub
        });
        hub.into_iter().flat_map(|hub| {
            hub.queues.iter().flat_map(|(kind, queues)| {
                let (before, after) = queues.split_at(hub.next % queues.len().max(1));
                after.iter().chain(before).map(|(queue, name)| (*kind, queue, name))
            })
        })
    }

    fn hub(&mut self, name: &Arc<str>, needs: &impl Needs) -> &mut Hub {
        if !self.by_name.contains_key(name) {
            // Before it is there, so that it is not forgotten at once.
            self.count += 1;
            self.sweep(needs);
        }
        self.by_name.entry(name.clone()).or_default()
    }

    /// Forgets queues in which nothing waits, and hubs that have none and that nobody attends, if
    /// there are many.
    fn sweep(&mut self, needs: &impl Needs) {
        if self.count < self.sweep_at {
            return;
        }
        self.by_name.retain(|name, hub| {
            hub.known.retain(|queue| needs.waits(queue));
            for queues in hub.queues.values_mut() {
                queues.retain(|(_, queue)| hub.known.contains(queue));
                queues.shrink_to_fit();
            }
            hub.queues.retain(|_, queues| !queues.is_empty());
            // Workers listen to what it tells them, as long as they attend.
            !hub.known.is_empty() || needs.attended(name)
        });
        let names: usize = self.by_name.values().map(|hub| hub.known.len()).sum();
        self.count = names + self.by_name.len();
        self.sweep_at = (2 * self.count).max(SWEEP_MIN);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Nobody needs anything.
    struct Nobody;

    impl Needs for Nobody {
        fn waits(&self, _: &str) -> bool {
            false
        }

        fn attended(&self, _: &str) -> bool {
            false
        }
    }

    /// Something waits where the name says so, and somebody attends a quiet hub.
    struct Waiting;

    impl Needs for Waiting {
        fn waits(&self, queue: &str) -> bool {
            queue.contains("wait")
        }

        fn attended(&self, hub: &str) -> bool {
            hub == "quiet"
        }
    }

    fn queue(hub: &str, name: &str) -> Arc<str> {
        WorkQueue::new(hub, WorkKind::Orchestration, name, None).to_string().into()
    }

    fn names(hubs: &mut Hubs, hub: &str) -> Vec<Arc<str>> {
        hubs.look(hub).map(|(_, _, name)| name.clone()).collect()
    }

    #[test]
    fn names_and_hubs_that_nobody_needs_are_forgotten() {
        let mut hubs = Hubs::default();
        for number in 0..10_000 {
            hubs.add(&queue("hub", &format!("o{number}")), &Nobody);
            hubs.add(&queue(&format!("hub{number}"), "o"), &Nobody);
            hubs.added(&format!("empty{number}").into(), &Nobody);
            assert!(hubs.count <= SWEEP_MIN, "{} after {number}", hubs.count);
        }
        let names: usize = hubs.by_name.values().map(|hub| hub.known.len()).sum();
        assert!(names + hubs.by_name.len() <= SWEEP_MIN);
    }

    #[test]
    fn what_is_needed_is_kept_however_much_it_is() {
        let mut hubs = Hubs::default();
        let added = hubs.added(&"quiet".into(), &Waiting);
        for number in 0..1000 {
            hubs.add(&queue("hub", &format!("wait{number}")), &Waiting);
            for passing in 0..3 {
                hubs.add(&queue("hub", &format!("o{number}-{passing}")), &Waiting);
            }
        }
        let kept = names(&mut hubs, "hub").iter().filter(|name| Waiting.waits(name)).count();
        assert_eq!(kept, 1000);
        assert!(hubs.count <= 2 * 1002 + SWEEP_MIN, "{}", hubs.count);
        // The worker of the quiet hub listens to what it listened to.
        let told = added.notified();
        hubs.add(&queue("quiet", "o"), &Waiting);
        assert_eq!(told.now_or_never(), Some(()));
    }

    #[test]
    fn looks_begin_at_another_queue_each_time() {
        let mut hubs = Hubs::default();
        for name in ["a", "b", "c"] {
            hubs.add(&queue("hub", name), &Nobody);
            hubs.add(&queue("hub", name), &Nobody);
        }
        let first: BTreeSet<_> = (0..3).map(|_| names(&mut hubs, "hub").remove(0)).collect();
        assert_eq!(first.len(), 3);
        assert_eq!(names(&mut hubs, "hub").len(), 3);
        assert_eq!(names(&mut hubs, "other"), Vec::<Arc<str>>::new());
    }
}
