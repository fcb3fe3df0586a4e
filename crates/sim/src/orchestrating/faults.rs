//! What goes wrong, and how often.

use crate::random::Random;

/// Chances in a hundred; 0 = never.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// The process dies at one of the points at which a death matters.
    pub(super) death: u32,
    /// A commit is refused because another came first, or the disk is full: it is decided again.
    pub(super) conflict: u32,
    /// A state is dropped from memory, and folded from history when it is needed again.
    pub(super) forget: u32,
    /// A history is replaced by what it comes to.
    pub(super) snapshot: u32,
    /// The waker is late.
    pub(super) late: u32,
    /// A worker dies with what it was handed.
    pub(super) worker_dies: u32,
    /// A worker takes so long that another gets its work as well.
    pub(super) slow: u32,
    /// A worker answers once more.
    pub(super) twice: u32,
    /// A worker answers with a token that it was never given, or with what cannot be.
    pub(super) nonsense: u32,
    /// A worker looks at some of what is new only, or does some of the operations.
    pub(super) partly: u32,
    /// A worker asks again for what it has asked for before.
    pub(super) repeats: u32,
    /// An activity or an operation fails.
    pub(super) fails: u32,
    /// The server gives an instance up.
    pub(super) gives_up: u32,
}

impl Faults {
    /// A random mixture.
    pub(super) fn drawn(random: &mut Random) -> Self {
        let mut some = |most: i64| {
            if random.chance(40) { 0 } else { random.between(1, most) as u32 }
        };
        Self {
            death: some(4),
            conflict: some(15),
            forget: some(30),
            snapshot: some(10),
            late: some(40),
            worker_dies: some(15),
            slow: some(30),
            twice: some(25),
            nonsense: some(10),
            partly: some(30),
            repeats: some(30),
            fails: some(25),
            gives_up: some(2),
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm() -> Self {
        Self::default()
    }
}
