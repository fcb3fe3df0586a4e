//! The HTTP management API of Durable Functions: starts instances, shows them and steers them.
//!
//! An instance is an orchestration instance that workers replay ([`code`]), or of a registered definition
//! ([`graph`]). The protocol ignores the case of its
//! own words, and its clients write an address with or without a slash at the end: what our router
//! does not find is looked for again as [`canonical`] writes it.
#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

mod caller;
mod code;
mod control;
mod entity;
mod graph;
mod list;
mod purge;
mod refusal;
mod start;
mod status;
mod why;

use axum::http::Uri;
use engine::Engine;
use kernel::durable::MACHINE_ID_MAX;
use kernel::graph::Execution;
use kernel::{ExecutionId, Json, MachineKind, Timestamp};

pub(crate) use caller::{Caller, HUB};
pub(crate) use code::{payload, told};
pub(crate) use graph::custom_status;
pub(crate) use start::{Wanted, answer_within, begin};
pub(crate) use status::Standing;
pub(crate) use why::why;

use self::refusal::Refusal;
use self::status::Wishes;
use crate::access::Routes;
use crate::problem::Problem;

/// Where the API begins.
pub(crate) const BASE: &str = "/runtime/webhooks/durabletask";
/// Where it begins, too: as the host offers it to its own workers, and as its first version did.
const ALIASES: [&str; 3] = [BASE, "/durabletask", "/admin/extensions/DurableTaskExtension"];
/// The protocol's words that paths begin with.
const WORDS: [&str; 4] = ["orchestrators", INSTANCES, "entities", "makeprimary"];
pub(crate) const INSTANCES: &str = "instances";
/// Its words for what is done to an instance.
const ACTS: [&str; 6] = ["raiseEvent", "terminate", "suspend", "resume", "rewind", "restart"];
/// What instances of code are called in lists that hold both dialects.
pub(crate) const ORCHESTRATION: &str = "orchestration";

/// The paths of this API.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .merge(start::routes())
        .merge(list::routes())
        .merge(control::routes())
        .merge(purge::routes())
        .merge(entity::routes())
}

/// An address of this API as our router knows it, if it is one that is written in another way.
pub(crate) fn canonical(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let begins = |base: &&&str| {
        path.get(..base.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(base))
            && path[base.len()..].starts_with('/')
    };
    let base = ALIASES.iter().find(begins)?;
    let mut canonical = BASE.to_owned();
    let segments = path[base.len()..].split('/').filter(|segment| !segment.is_empty());
    let mut acts = false;
    for (place, segment) in segments.enumerate() {
        // The words stand first, and third where something is done to an instance; all else is
        // names, keys and ids, whose case counts.
        let words: &[&str] = match place {
            0 => &WORDS,
            2 if acts => &ACTS,
            _ => &[],
        };
        let word = words.iter().find(|word| word.eq_ignore_ascii_case(segment));
        acts = word.is_some_and(|word| *word == INSTANCES) || (acts && place < 2);
        canonical.push('/');
        canonical.push_str(word.map_or(segment, |word| *word));
    }
    if let Some(query) = uri.query() {
        canonical.push('?');
        canonical.push_str(query);
    }
    let canonical: Uri = canonical.parse().ok()?;
    (canonical.path() != path).then_some(canonical)
}

/// Whether an address is one of this API.
pub(crate) fn is_ours(path: &str) -> bool {
    path.get(..BASE.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(BASE))
}

/// What an id names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// An orchestration instance.
    Code(ExecutionId),
    /// An execution of a graph.
    Graph(ExecutionId),
}

impl Subject {
    /// The machine's id.
    fn id(&self) -> &ExecutionId {
        match self {
            Self::Code(id) | Self::Graph(id) => id,
        }
    }
}

/// Looks for an instance: among those of code in the caller's hub, then among executions.
async fn find(engine: &Engine, caller: &Caller, id: &str) -> Result<Subject, Refusal> {
    let code = ExecutionId::instance(caller.own_hub()?, id);
    if code.as_str().len() <= MACHINE_ID_MAX && engine.instance(&code, |_| ()).await?.is_some() {
        return Ok(Subject::Code(code));
    }
    let missing = || Refusal::no_instance(id);
    let execution = graph_id(id).ok_or_else(missing)?;
    let found = engine.look(&execution, |hosted| hosted.execution().is_some()).await?;
    if found == Some(true) && caller.scope().covers_run(engine, &execution).await? {
        Ok(Subject::Graph(execution))
    } else {
        Err(missing())
    }
}

/// Shows an instance.
async fn show(engine: &Engine, subject: &Subject, wishes: Wishes) -> Result<Standing, Refusal> {
    let shown = match subject {
        Subject::Code(id) => engine.instance(id, |state| code::standing(state, wishes)).await?,
        Subject::Graph(id) => engine.read(id, |state| graph::standing(state, wishes)).await?,
    };
    shown.ok_or_else(|| Refusal::no_instance(subject.id().local_name()))
}

/// An instance of code, without its history; in the caller's hub unless another is meant.
///
/// # Errors
/// 400 for what cannot be the name of a hub; the store's.
pub(crate) async fn instance(
    engine: &Engine,
    caller: &Caller,
    hub: Option<&str>,
    id: &str,
) -> Result<Option<Standing>, Problem> {
    let refused = |it: Refusal| Problem::new(it.status(), "bad-request", it.message());
    let own = caller.own_hub().map_err(refused)?;
    let id = ExecutionId::instance(hub.unwrap_or(own), id);
    if id.as_str().len() > MACHINE_ID_MAX {
        return Ok(None);
    }
    let wishes = Wishes { input: true, history: false, history_output: false };
    Ok(engine.instance(&id, |state| code::standing(state, wishes)).await?)
}

/// An execution as an instance, without its history.
pub(crate) fn standing(state: &Execution) -> Json {
    let wishes = Wishes { input: true, history: false, history_output: false };
    Json::of(&graph::standing(state, wishes))
}

/// The id of an execution, if a text can be one.
pub(crate) fn graph_id(text: &str) -> Option<ExecutionId> {
    let fits = !text.is_empty() && text.len() <= ExecutionId::LENGTH_MAX;
    let id = fits.then(|| ExecutionId::new(text))?;
    (id.machine() == MachineKind::Execution).then_some(id)
}

/// Takes the id that a caller wants for an instance.
///
/// # Errors
/// What no instance may be called.
fn wanted_id(text: &str) -> Result<&str, Refusal> {
    let refused = |why: String| Err(Refusal::bad_request(format!("The instance ID {why}.")));
    if text.len() > ExecutionId::LENGTH_MAX {
        return refused(format!("is longer than {} bytes", ExecutionId::LENGTH_MAX));
    }
    if matches!(text, "." | "..") {
        return refused("cannot be a part of an address".to_owned());
    }
    if text.starts_with('@') {
        return refused("begins with '@', as only those of entities do".to_owned());
    }
    if let Some(bad) = text.chars().find(|c| c.is_control() || matches!(c, '/' | '\\' | '#' | '?'))
    {
        return refused(format!("contains {bad:?}"));
    }
    if graph_id(text).is_none() {
        return refused("begins as those of other machines do".to_owned());
    }
    Ok(text)
}

/// How clients whose language follows the customs of the United States write an instant, in UTC.
const AMERICAN: [&str; 4] =
    ["%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y"];

/// Reads an instant as clients write it: RFC 3339, without an offset meaning UTC, or a date alone; or
/// month/day/year, as .NET reads and writes them in the invariant culture.
fn instant(text: &str) -> Option<Timestamp> {
    let with_offset = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let without = |text: &str| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let american = |text: &str| {
        let parse = |format: &&str| {
            let parsed = jiff::fmt::strtime::parse(format, text).ok()?;
            let date = parsed.to_date().ok()?;
            let time = parsed.to_time().unwrap_or_default();
            let zoned = date.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(zoned.timestamp())
        };
        AMERICAN.iter().find_map(parse)
    };
    let text = text.trim();
    // In a query, a plus that nobody has encoded is a blank.
    let plus = text.replace(' ', "+");
    let read = with_offset(text)
        .or_else(|| with_offset(&plus))
        .or_else(|| without(text))
        .or_else(|| american(text));
    read.map(Timestamp::from)
}
