//! What projects own: one name for every kind of object, and what it is at present.

use std::fmt;
use std::sync::Arc;

use engine::Engine;
use kernel::ExecutionId;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::hooks;
use crate::problem::Problem;
use crate::triggers;

/// Kinds of objects, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Schema,
    Task,
    Workflow,
    Handler,
    Schedule,
    Trigger,
    StatusPage,
    Webhook,
    /// A file of monitors: a source.
    Monitors,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Schema,
        Self::Task,
        Self::Workflow,
        Self::Handler,
        Self::Schedule,
        Self::Trigger,
        Self::StatusPage,
        Self::Webhook,
        Self::Monitors,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Task => "task",
            Self::Workflow => "workflow",
            Self::Handler => "handler",
            Self::Schedule => "schedule",
            Self::Trigger => "trigger",
            Self::StatusPage => "status_page",
            Self::Webhook => "webhook",
            Self::Monitors => "monitors",
        }
    }
}

/// Names one thing that files define; shown as in `workflow orders v2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    /// Of a workflow or a schema; 0 for all else.
    pub(super) version: u32,
}

impl Object {
    pub(super) fn new(kind: Kind, name: &str, version: u32) -> Self {
        Self { kind, name: name.into(), version }
    }

    /// Its name; of a webhook its id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The member of its document that has the name.
    pub fn named_by(&self) -> &'static str {
        if self.kind == Kind::Webhook { "id" } else { "name" }
    }

    /// The name of the document that says who owns it.
    pub(super) fn key(&self) -> String {
        format!("{}/{}/{}", self.kind.as_str(), self.version, self.name)
    }

    /// The object of such a name.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        let mut parts = key.splitn(3, '/');
        let (kind, version, name) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = Kind::ALL.into_iter().find(|it| it.as_str() == kind)?;
        Some(Self { kind, name: name.into(), version: version.parse().ok()? })
    }

    /// A hash of what it is on the server now, dates apart; `None` if it is not there.
    pub(super) async fn present(&self, engine: &Engine) -> Result<Option<String>, Problem> {
        let name = &*self.name;
        let definitions = engine.definitions();
        let value = match self.kind {
            Kind::Task => definitions.task(name).map(|it| value_of(&*it)),
            Kind::Workflow => definitions
                .workflow(name, Some(self.version))
                .filter(|it| u32::try_from(it.version).is_ok_and(|it| it == self.version))
                .map(|it| value_of(&*it)),
            Kind::Handler => engine.event_handler(name).map(|it| value_of(&*it)),
            Kind::Schedule => {
                let id = ExecutionId::schedule(name);
                let spec = engine.look(&id, |it| it.schedule().and_then(|it| it.spec.clone()));
                spec.await?.flatten().map(|it| value_of(&*it))
            }
            Kind::Trigger => triggers::document_of(engine, name).await?,
            Kind::Schema => definitions
                .schema(name, i32::try_from(self.version).unwrap_or_default())
                .map(|it| value_of(&*it)),
            Kind::Webhook => hooks::document_of(engine, name).await?,
            Kind::StatusPage => engine.status_pages().await?.get(name).map(|it| value_of(&**it)),
            Kind::Monitors => engine.monitors_of(name).map(|it| value_of(&it)),
        };
        Ok(value.map(|mut value| {
            for date in ["createTime", "updateTime"] {
                value.as_object_mut().and_then(|members| members.remove(date));
            }
            hash(&value.to_string())
        }))
    }

    /// Removes it; `false` if it was not there. A source of monitors goes with others, by
    /// [`Engine::apply_sources`].
    pub(super) async fn remove(&self, engine: &Engine) -> Result<bool, Problem> {
        let name = &*self.name;
        Ok(match self.kind {
            Kind::Task => engine.definitions().delete_task(name).await?,
            Kind::Workflow => engine.definitions().delete_workflow(name, self.version).await?,
            Kind::Handler => engine.delete_event_handler(name).await?,
            Kind::Schedule => {
                let id = ExecutionId::schedule(name);
                let found = match engine.step(&id, kernel::schedule::Input::Delete).await {
                    Err(engine::Error::Rejected(
                        kernel::Rejected::Unknown(_) | kernel::Rejected::Stale(_),
                    )) => false,
                    result => result.map(|()| true)?,
                };
                engine.forget_author(engine::Authored::Schedule, name).await?;
                found
            }
            Kind::Trigger => triggers::remove(engine, name).await?,
            Kind::Schema => engine.definitions().delete_schema(name, self.version).await?,
            Kind::Webhook => hooks::remove(engine, name).await?,
            Kind::StatusPage => engine.delete_status_page(name).await?,
            Kind::Monitors => false,
        })
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)?;
        if self.version > 0 { write!(f, " v{}", self.version) } else { Ok(()) }
    }
}

fn value_of(thing: &impl serde::Serialize) -> Value {
    serde_json::to_value(thing).unwrap_or_default()
}

/// Names a text: two texts of one name are the same.
pub(super) fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(16).fold(String::new(), |mut hex, byte| {
        use fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
