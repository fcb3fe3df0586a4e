//! People: they acknowledge, snooze and resolve, here and at receivers, which tell of it late and
//! twice; they make silences and take them back, and want checks.

use kernel::ExecutionId;
use kernel::alert::{Input, ProviderAction, ProviderEvent};
use serde_json::json;

use super::file::{KEYED, KEYS, MONITORS, RECEIVERS};
use super::host::AnyInput;
use super::world::World;
use crate::world::Step;

/// Somebody does something.
pub(super) fn act(world: &mut World<'_>) -> Step<()> {
    let (name, _) = *world.random.pick(&MONITORS).expect("there are monitors");
    let id = ExecutionId::monitor(name);
    let Some(monitor) = world.load(&id)?.monitor() else { return Ok(()) };
    let open = monitor.incidents.values().filter(|it| it.state.is_open());
    let open: Vec<String> = open.map(|incident| incident.key.to_string()).collect();
    let incident = world.random.pick(&open).cloned();
    let until = world.now.plus_millis(world.random.between(1, 90) * 60_000);
    let who: std::sync::Arc<str> = "ann".into();
    if world.random.chance(15) {
        let (receiver, _) = *world.random.pick(&RECEIVERS).expect("there are receivers");
        let input =
            Input::Resend { incident: None, receiver: Some(receiver.into()), who: Some(who) };
        world.step(&id, &AnyInput::Monitor(input), None)?;
        return Ok(());
    }
    let input = match (world.random.below(10), incident) {
        (0 | 1, Some(incident)) => {
            Input::Acknowledge { incident: incident.into(), who, why: None, until_clear: false }
        }
        (2, Some(incident)) => Input::Snooze { incident: incident.into(), until, who, why: None },
        (3, Some(incident)) => Input::Resolve { incident: incident.into(), who, why: None },
        (8, _) if world.random.chance(40) && !world.heard.is_empty() => {
            let (id, heard) = world.random.pick(&world.heard).cloned().expect("there is one");
            world.step(&id, &AnyInput::Monitor(Input::ProviderEvent(heard)), None)?;
            return Ok(());
        }
        (8 | 9, Some(incident)) => {
            let actions = [
                ProviderAction::Acknowledge,
                ProviderAction::Acknowledge,
                ProviderAction::Unacknowledge,
                ProviderAction::Resolve,
            ];
            let receiver = *world.random.pick(&KEYED).expect("there are receivers");
            let heard = ProviderEvent {
                incident: incident.into(),
                receiver: receiver.into(),
                deed: *world.random.pick(&actions).expect("there are actions"),
                who: Some("bob".into()),
                why: None,
                at: world.now.plus_millis(-world.random.between(0, 8 * 60_000)),
                told_there: false,
            };
            world.heard.push((id.clone(), heard.clone()));
            Input::ProviderEvent(heard)
        }
        (4 | 5, _) => {
            let key = *world.random.pick(&KEYS).expect("there are keys");
            let matchers = if world.random.chance(30) {
                json!([])
            } else {
                json!([{ "l": "key", "v": [key] }])
            };
            let id = format!("s-{}", world.random.below(3));
            let silence = json!({ "id": id, "matchers": matchers,
                "when": { "once": { "from": world.now, "to": until } } });
            let silence = serde_json::from_value(silence).expect("a silence");
            world.silences.retain(|known| *known.id != *id);
            world.silences.push(silence);
            world.tell_silences();
            return Ok(());
        }
        (6, _) => {
            world.silences.pop();
            world.tell_silences();
            return Ok(());
        }
        _ => Input::Check { who: Some(who) },
    };
    world.step(&id, &AnyInput::Monitor(input), None)?;
    Ok(())
}
