//! What the simulated orchestrators do: small programs, drawn by the seed.

use crate::random::Random;

/// Orchestrators; each starts only those behind it, so that no family is endless.
pub(super) const ORCHESTRATORS: usize = 5;
/// Entities; names count in lower case, keys do not.
pub(super) const ENTITIES: [&str; 3] = ["@counter@a", "@counter@B", "@tank@c"];
/// Instances that clients start, and that others know by name.
pub(super) const ROOTS: [&str; 4] = ["root-0", "root-1", "root-2", "root-3"];
/// Children that several parents may want under one id.
pub(super) const SHARED: [&str; 2] = ["shared-0", "shared-1"];
/// Events, as programs wait for them.
pub(super) const EVENTS: [&str; 3] = ["go", "Approve", "STOP"];

/// One step of a program.
#[derive(Clone, Debug)]
pub(super) enum Move {
    /// Activities at once; all are waited for, or the first.
    Activities { count: usize, all: bool },
    /// An activity, asked for again after a while if it fails; some SDKs ask under the same id.
    Retried { attempts: u32, same_id: bool },
    /// A while.
    Timer { millis: i64 },
    /// An event, or the end of a while.
    Event { name: &'static str, timeout: Option<i64> },
    /// Children at once, asked for again if they fail.
    Children { of: usize, id: Option<&'static str>, count: usize, attempts: u32, same_id: bool },
    /// A child that does not answer.
    Detached { of: usize, id: Option<&'static str> },
    /// An event for another instance.
    Send { to: &'static str, name: &'static str },
    /// An operation of an entity, with an answer.
    Call { entity: &'static str },
    /// An operation without, now or later.
    Signal { entity: &'static str, delay: Option<i64> },
    /// Entities locked, called, and unlocked.
    Section { entities: Vec<&'static str> },
    /// Another instance shall end.
    Terminate { to: &'static str, recurse: bool },
    /// Begin anew, so many times.
    Again { times: u32 },
    /// An activity that nobody waits for.
    Forgotten,
}

/// A program.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) moves: Vec<Move>,
    /// What fails is passed over; else it fails the orchestrator.
    pub(super) catches: bool,
    /// It fails in the end, whatever came before.
    pub(super) fails: bool,
}

/// Every program of a seed.
#[derive(Clone, Debug)]
pub(super) struct Catalog {
    pub(super) programs: Vec<Program>,
    /// Failed instances may be rewound: nothing is caught or asked for again in such a world, for
    /// what an orchestrator did after a failure cannot be replayed without it.
    pub(super) rewinds: bool,
    /// Workers that are paused set aside the lines of the history that confirm what they asked for, as
    /// some SDKs do; others look at them at once.
    pub(super) sets_lines_aside: bool,
}

impl Catalog {
    pub(super) fn drawn(random: &mut Random) -> Self {
        let rewinds = random.chance(40);
        let programs = (0..ORCHESTRATORS).map(|at| program(random, at, rewinds)).collect();
        Self { programs, rewinds, sets_lines_aside: random.chance(50) }
    }
}

fn program(random: &mut Random, at: usize, rewinds: bool) -> Program {
    let length = random.between(1, 5);
    let moves = (0..length).map(|_| one(random, at, rewinds)).collect();
    let catches = !rewinds && random.chance(50);
    Program { moves, catches, fails: !rewinds && random.chance(6) }
}

fn one(random: &mut Random, at: usize, rewinds: bool) -> Move {
    let next = at + 1;
    let has_children = next < ORCHESTRATORS;
    let of = next + random.below(ORCHESTRATORS.saturating_sub(next));
    let id = if random.chance(30) { random.pick(&SHARED).copied() } else { None };
    let entity = random.pick(&ENTITIES).copied().unwrap_or(ENTITIES[0]);
    let name = random.pick(&EVENTS).copied().unwrap_or(EVENTS[0]);
    let to = random.pick(&ROOTS).copied().unwrap_or(ROOTS[0]);
    let millis = random.between(0, 30_000);
    let attempts = if rewinds { 1 } else { random.between(1, 3) as u32 };
    let weights = [8, 4, 4, 8, if has_children { 12 } else { 0 }, 3, 4, 5, 4, 6, 1, 5, 2];
    match random.weighted(&weights) {
        0 => Move::Activities { count: random.between(1, 4) as usize, all: random.chance(70) },
        1 => Move::Retried { attempts, same_id: random.chance(30) },
        2 => Move::Timer { millis },
        3 => Move::Event { name, timeout: random.chance(50).then_some(millis) },
        4 => {
            let count = if id.is_some() { 1 } else { random.between(1, 3) as usize };
            Move::Children { of, id, count, attempts, same_id: count == 1 && random.chance(40) }
        }
        5 if has_children => Move::Detached { of, id },
        6 => Move::Send { to, name },
        7 => Move::Call { entity },
        8 => Move::Signal { entity, delay: random.chance(40).then_some(millis) },
        9 => {
            let mut entities: Vec<&str> =
                ENTITIES.into_iter().filter(|_| random.chance(60)).collect();
            if entities.is_empty() {
                entities.push(entity);
            }
            Move::Section { entities }
        }
        10 => Move::Terminate { to, recurse: random.chance(50) },
        11 => Move::Again { times: random.between(1, 2) as u32 },
        _ => Move::Forgotten,
    }
}
