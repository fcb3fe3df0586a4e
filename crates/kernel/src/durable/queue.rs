//! Queues of work for Durable Task workers: hub, kind, name and version, as one text.

use std::fmt;
use std::sync::Arc;

/// What every such queue begins with; nobody polls them as tasks.
pub const DURABLE_QUEUE: &str = "durable:";

/// What kind of work a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkKind {
    /// Turns of orchestrators.
    Orchestration,
    /// Activities.
    Activity,
    /// Batches of operations of entities.
    Entity,
}

impl WorkKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Orchestration, Self::Activity, Self::Entity];

    /// The word in a queue's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orchestration => "orchestration",
            Self::Activity => "activity",
            Self::Entity => "entity",
        }
    }
}

/// A queue, read from its name: `durable:HUB:KIND:NAME` or `durable:HUB:KIND:NAME:VERSION`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkQueue {
    /// The task hub.
    pub hub: Arc<str>,
    /// What kind of work.
    pub kind: WorkKind,
    /// The orchestrator's, activity's or entity's name.
    pub name: Arc<str>,
    /// The version asked for; absent and empty are alike.
    pub version: Option<Arc<str>>,
}

impl WorkQueue {
    /// Names a queue.
    pub fn new(hub: &str, kind: WorkKind, name: &str, version: Option<&str>) -> Self {
        let version = version.filter(|version| !version.is_empty()).map(Arc::from);
        Self { hub: hub.into(), kind, name: name.into(), version }
    }

    /// Reads a queue's name; `None` if it is a queue of other things.
    pub fn parse(queue: &str) -> Option<Self> {
        let mut parts = queue.strip_prefix(DURABLE_QUEUE)?.split(':');
        let hub = unescape(parts.next()?);
        let word = parts.next()?;
        let kind = WorkKind::ALL.into_iter().find(|kind| kind.as_str() == word)?;
        let name = unescape(parts.next()?);
        let version = parts.next().map(unescape);
        if parts.next().is_some() {
            return None;
        }
        Some(Self { hub, kind, name, version })
    }
}

impl fmt::Display for WorkQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hub, name) = (escape(&self.hub), escape(&self.name));
        write!(f, "{DURABLE_QUEUE}{hub}:{}:{name}", self.kind.as_str())?;
        match &self.version {
            Some(version) => write!(f, ":{}", escape(version)),
            None => Ok(()),
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('%', "%25").replace(':', "%3A")
}

fn unescape(text: &str) -> Arc<str> {
    text.replace("%3A", ":").replace("%25", "%").into()
}
