//! What an act would do, told before it: in numbers, and by name where somebody depends on it.

use engine::search::{Counting, Filter, Search, TextField};
use maud::{Markup, html};

use crate::act::Act;
use crate::value::{at, count, said, text};
use crate::visit::{Pairs, encoded};
use crate::{Context, Failure, deed, foreseen, piece, uses};

/// A sentence on what an act on these would do, and what stands below it.
///
/// # Errors
/// The API's and the store's.
pub(crate) async fn of(
    cx: &Context<'_>,
    act: &Act,
    ids: &[&str],
    asked: &Pairs,
) -> Result<(String, Markup), Failure> {
    let count = ids.len();
    let things = if count == 1 { act.things.0 } else { act.things.1 };
    let plain = format!("{}: {count} {things}.", act.label);
    let nothing = || html! {};
    Ok(match (act.name, ids) {
        ("terminate", _) => (terminated(cx, ids, things).await?, nothing()),
        ("trigger", [name]) => (triggered(cx, name).await?, nothing()),
        ("backfill", [name]) => (filled(cx, name, asked).await?, nothing()),
        ("delete-secret", [name]) => (plain, uses::part(cx, "secret", name).await?),
        (_, [id]) => (plain, foreseen::shown(cx, act, id, asked).await?),
        _ => (plain, nothing()),
    })
}

/// Runs end, and their sub-workflows with them.
async fn terminated(cx: &Context<'_>, ids: &[&str], things: &str) -> Result<String, Failure> {
    let parents = ids.iter().map(|id| (*id).to_owned()).collect();
    let filters = vec![Filter::In(TextField::Parent, parents), Filter::Closed(false)];
    let search = Search { filters, size: 1, counting: Counting::Far, ..Search::default() };
    let open = cx.engine.store().search(&search).await?;
    let most = search.total_max();
    let below = match open.total {
        0 => String::new(),
        1 => " and 1 running sub-workflow".to_owned(),
        many => format!(" and {} running sub-workflows", piece::counted(many, many < most)),
    };
    Ok(format!("Terminates {} {things}{below}.", ids.len()))
}

/// A schedule fires beside what is planned.
async fn triggered(cx: &Context<'_>, name: &str) -> Result<String, Failure> {
    let it = cx.get(&format!("/api/scheduler/schedules/{}", encoded(name))).await?;
    let starts = text(&it["startWorkflowRequest"], "name");
    let overlap = match text(&it, "overlap") {
        "skip" => "If the run before has not ended, this is refused.",
        "buffer_one" => "If the run before has not ended, it begins after it.",
        "terminate_other" => "If the run before has not ended, that is terminated.",
        _ => "If the run before has not ended, it runs beside it.",
    };
    let planned = match at(&it, "nextRunTime").filter(|_| it["paused"] != true) {
        Some(next) => format!("The next one is still planned for {}.", cx.clock.text(next)),
        None => "Nothing else is planned.".to_owned(),
    };
    Ok(format!("Starts {starts} once. {overlap} {planned}"))
}

/// A schedule fires for instants of the past.
async fn filled(cx: &Context<'_>, name: &str, asked: &Pairs) -> Result<String, Failure> {
    let path = format!("/api/scheduler/schedules/{}", encoded(name));
    let it = cx.get(&path).await?;
    let found = cx.get(&format!("{path}/backfill?{}", deed::stretch(asked)?)).await?;
    let starts = said(&it["startWorkflowRequest"], "name").unwrap_or("its workflow");
    let runs = piece::counted(count(&found, "count"), found["more"] != true);
    let ends = match (at(&found, "first"), at(&found, "last")) {
        (Some(first), Some(last)) => {
            format!(", for instants from {} to {}", cx.clock.text(first), cx.clock.text(last))
        }
        _ => String::new(),
    };
    let left_out = match count(&found, "leftOut") {
        0 => String::new(),
        many => format!(" {} have run already and are left out.", piece::counted(many, true)),
    };
    Ok(format!("Starts {runs} runs of {starts}{ends}.{left_out}"))
}
