//! What an act would do to the tasks of a run, before it is done: what is kept, what runs again, and
//! what stays unresolved.

use std::sync::Arc;

use kernel::graph::{Amendment, Control};
use kernel::{ExecutionId, TaskId};
use maud::{Markup, html};

use crate::act::Act;
use crate::value::cut;
use crate::visit::Pairs;
use crate::{Context, Failure, piece};

/// Names of each list that are written out.
const NAMES_MAX: usize = 20;

/// What an act would do; nothing for those that are not decided by where the run stands.
///
/// # Errors
/// The run would refuse it.
pub(crate) async fn shown(
    cx: &Context<'_>,
    act: &Act,
    id: &str,
    asked: &Pairs,
) -> Result<Markup, Failure> {
    let mut run = ExecutionId::new(id);
    let task = asked.get("task").unwrap_or_default();
    let control = match act.name {
        "rerun" => {
            let found = TaskId::parse(task);
            let found = found.ok_or_else(|| Failure::wrong("No task is named to rerun from"))?;
            run = found.execution;
            let amendment = Amendment::default();
            Control::Rerun { sequence: found.sequence, input: None, amendment }
        }
        "jump" => Control::Jump { reference: task.into(), input: None },
        "skip-task" => Control::Skip { reference: task.into(), input: None, output: None },
        "upgrade" => {
            let name = cx.engine.read(&run, |state| state.plan().definition.name.clone()).await?;
            let version: Option<u32> = asked.get("version").and_then(|it| it.parse().ok());
            let plan = name
                .zip(version)
                .and_then(|(name, version)| cx.engine.definitions().plan(&name, Some(version)));
            let plan = plan.ok_or_else(|| Failure::missing("There is no such version"))?;
            Control::Upgrade { plan, input: None, outputs: std::collections::BTreeMap::new() }
        }
        _ => return Ok(html! {}),
    };
    let foreseen = cx.engine.foresee(&run, control).await?;
    Ok(html! {
        (piece::facts(&[
            ("Kept", names(&foreseen.kept)),
            ("Run again", names(&foreseen.again)),
            ("Go on", names(&foreseen.going_on)),
            ("Begin", names(&foreseen.begun)),
            ("Forgotten until the flow comes there again", names(&foreseen.forgotten)),
            ("Unresolved: passed without running, so that they have no output", names(&foreseen.skipped)),
        ]))
    })
}

fn names(references: &[Arc<str>]) -> Markup {
    html! {
        (references.len())
        @if !references.is_empty() {
            ": "
            @for (at, name) in references.iter().take(NAMES_MAX).enumerate() {
                @if at > 0 { ", " } code { (cut(name, 60)) }
            }
            @if references.len() > NAMES_MAX { " and " (references.len() - NAMES_MAX) " more" }
        }
    }
}
