//! From one dialect to the other: graphs and schedules that start orchestrations.
//!
//! The other way round needs nothing here: an orchestration that starts a definition sends the same
//! message as a graph does.

use std::sync::Arc;

use kernel::Rejected;
use kernel::durable::instance::{Caller, Input, Start};
use kernel::durable::{DEFAULT_HUB, Tags};
use kernel::graph::{Asker, StartMessage};

use super::instances::{check_hub, check_id};
use crate::engine::{Engine, Error};
use crate::store::Outgoing;

impl Engine {
    /// A task of a graph, or a schedule, starts an orchestration. It gets the id that was asked
    /// for, within its hub; whoever asked is told under which it runs.
    pub(crate) async fn receive_orchestration(
        &self,
        outgoing: &Outgoing,
        message: StartMessage,
        name: &str,
    ) -> Result<(), Error> {
        let (hub, name) = name.split_once('/').unwrap_or((DEFAULT_HUB, name));
        let child = outgoing.to.clone();
        let waits = message.parent.is_some();
        let by = message.asked_by.clone().or_else(|| message.parent.clone());
        let asker = by.clone().map(|by| Asker { by, child: child.clone() });
        let checked = check_hub(hub).and_then(|()| check_id(child.as_str()));
        if let Err(Rejected::Invalid(reason)) = checked {
            return self.refuse(outgoing, asker, &reason).await;
        }
        let depth = match &message.parent {
            Some(parent) => self.depth(&parent.execution).await?,
            None => 0,
        };
        if depth >= self.limits().depth_max {
            let limit = self.limits().depth_max;
            let reason = format!("sub-workflows are nested deeper than {limit} (depth_max)");
            return self.refuse(outgoing, asker, &reason).await;
        }
        let mut tags = Tags::new();
        if let Some(label) = message.correlation_id {
            tags.insert("correlationId".into(), label);
        }
        let life =
            kernel::durable::instance::life(child.as_str(), &outgoing.key.sequence.to_string());
        let start = Start {
            version: message.version.map(|version| version.to_string().into()),
            tags,
            depth,
            acts_as: message.acts_as,
            caller: by.map(|by| Caller { by, child: child.clone(), waits, asked: 0 }),
            ..Start::new(name, Some(Arc::from(message.input.text())), life)
        };
        let to = kernel::ExecutionId::instance(hub, child.as_str());
        let key = Some(outgoing.key.clone());
        let input = Input::Start(Box::new(start)).into();
        match self.step_received(&to, input, key).await {
            Err(Error::Rejected(
                Rejected::Invalid(reason) | Rejected::Conflict(reason) | Rejected::Full(reason),
            )) => self.refuse(outgoing, asker, &reason).await,
            result => result,
        }
    }
}
