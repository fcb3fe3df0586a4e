//! Clients: they start, raise, pause, end, rewind, restart and purge, before, during and after; and
//! in the end they help along whoever still waits for them.

use kernel::ExecutionId;
use kernel::durable::entity::{self, Signal};
use kernel::durable::instance::{Input, Start};
use kernel::durable::{FailureDetails, Status};

use super::host::AnyInput;
use super::program::{ENTITIES, EVENTS, ORCHESTRATORS, ROOTS};
use super::replay::{Replayed, replay};
use super::world::World;
use crate::auditor::Objection;
use crate::world::{Outcome, Step};

/// The hub of all.
pub(super) const HUB: &str = "hub";

/// Somebody starts an instance.
pub(super) fn start(world: &mut World<'_>) -> Step<()> {
    let name = world.random.pick(&ROOTS).copied().unwrap_or(ROOTS[0]);
    let of = world.random.below(ORCHESTRATORS);
    let life = life(world);
    let input = format!("g0.{}", world.unique());
    let mut start = Start::new(&format!("orchestrator-{of}"), Some(input.into()), life);
    if world.random.chance(15) {
        start.scheduled_at = Some(world.now.plus_millis(world.random.between(-1000, 20_000)));
    }
    start.replaces = match world.random.below(4) {
        0 => Status::ALL.into_iter().collect(),
        1 | 2 => Start::closed_statuses(),
        _ => [].into(),
    };
    say(world, &ExecutionId::instance(HUB, name), Input::Start(Box::new(start)))
}

/// A name for a life that no other has.
fn life(world: &mut World<'_>) -> std::sync::Arc<str> {
    format!("{:032x}", world.unique()).into()
}

fn say(world: &mut World<'_>, id: &ExecutionId, input: Input) -> Step<()> {
    world.step(id, &input.into(), None).map(drop)
}

/// Somebody does something.
pub(super) fn act(world: &mut World<'_>) -> Step<()> {
    // Requests are named by their instants, and no two are made at once.
    world.now = world.now.plus_millis(1);
    let ids = world.instances();
    let Some(id) = world.random.pick(&ids).cloned() else { return start(world) };
    let text = Some(format!("c{}", world.unique()).into());
    let rewinds = world.catalog.rewinds;
    let weights = [6, 12, 3, 4, 2, if rewinds { 8 } else { 0 }, 2, 2, 5, world.faults.gives_up];
    match world.random.weighted(&weights) {
        0 => start(world),
        1 => {
            let name = world.random.pick(&EVENTS).copied().unwrap_or(EVENTS[0]);
            let name = if world.random.chance(50) { name.to_uppercase() } else { name.to_owned() };
            say(world, &id, Input::Raise { name: name.into(), input: text })
        }
        2 => say(world, &id, Input::Suspend { reason: text }),
        3 => say(world, &id, Input::Resume { reason: text }),
        4 => {
            let (recurse, at_once) = (world.random.chance(60), world.random.chance(20));
            say(world, &id, Input::Terminate { output: text, recurse, at_once })
        }
        5 => {
            let failed = failed(world)?;
            let id = world.random.pick(&failed).cloned().unwrap_or(id);
            say(world, &id, Input::Rewind { reason: text })
        }
        6 => {
            let execution_id = life(world);
            say(world, &id, Input::Restart { execution_id })
        }
        7 => {
            let closed = world.load(&id)?.instance().is_some_and(|it| it.status.is_closed());
            if closed {
                world.purge(&id);
            }
            Ok(())
        }
        8 => signal(world),
        _ => {
            let failure = Box::new(FailureDetails::new("GivenUp", "it was handed out too often"));
            say(world, &id, Input::Fail { failure })
        }
    }
}

/// Instances that failed.
fn failed(world: &mut World<'_>) -> Step<Vec<ExecutionId>> {
    let mut failed = Vec::new();
    for id in world.instances() {
        if world.load(&id)?.instance().is_some_and(|it| it.status == Status::Failed) {
            failed.push(id);
        }
    }
    Ok(failed)
}

/// A client signals an entity, and repeats itself if it does not know whether it was heard.
fn signal(world: &mut World<'_>) -> Step<()> {
    let entity = world.random.pick(&ENTITIES).copied().unwrap_or(ENTITIES[0]);
    let unique = world.unique();
    let later = world.random.chance(40);
    let signal = Signal {
        request_id: format!("q{unique}").into(),
        operation: "add".into(),
        input: Some(format!("q{unique}").into()),
        scheduled_at: later.then(|| world.now.plus_millis(world.random.between(-10, 20_000))),
        acts_as: None,
    };
    let id = ExecutionId::entity(HUB, entity);
    let mut times = if world.random.chance(30) { 2 } else { 1 };
    while times > 0 {
        let input: AnyInput = entity::Input::Signal(signal.clone()).into();
        if world.step(&id, &input, None)? != Outcome::Crashed {
            times -= 1;
        }
    }
    Ok(())
}

/// Where an instance stands, as a worker would say.
fn stands(world: &mut World<'_>, id: &ExecutionId) -> Step<Replayed> {
    let found = world.load(id)?.instance().map(|it| (it.history.clone(), it.is_suspended()));
    let (history, suspended) = found.unwrap_or_default();
    let stands = replay(&world.catalog, &history, &[], 0);
    let stands =
        stands.map_err(|what| Objection::new(id.as_str(), "histories can be replayed", what))?;
    // One that is held back has no history that could tell.
    Ok(Replayed { suspended: stands.suspended || suspended, ..stands })
}

/// Nothing happens by itself any more: whoever waits for somebody gets what it waits for. `false` if
/// all have ended.
pub(super) fn help(world: &mut World<'_>) -> Step<bool> {
    let mut waits = Vec::new();
    for id in world.instances() {
        if world.load(&id)?.instance().is_some_and(kernel::durable::instance::Instance::is_open) {
            waits.push(id);
        }
    }
    let mut helped = false;
    for id in &waits {
        let stands = stands(world, id)?;
        let text = Some(format!("h{}", world.unique()).into());
        let input = match stands.awaits {
            _ if stands.suspended => Input::Resume { reason: text },
            Some(name) => Input::Raise { name: name.into(), input: text },
            None => continue,
        };
        helped = true;
        say(world, id, input)?;
    }
    if let Some(id) = waits.first().filter(|_| !helped) {
        let what = format!("nothing is left that these may wait for: {waits:?}");
        return Err(Objection::new(id.as_str(), "what can end ends", what));
    }
    Ok(helped)
}
