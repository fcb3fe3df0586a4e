//! What a file of monitors may speak of on this server, and one check of a monitor that nothing
//! comes of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kernel::alert::definition::{File, Known, Spec, secrets_in};
use kernel::alert::{Preview, preview, preview_input};
use kernel::graph::{Control, Execution, Input, Start, StartMessage};
use kernel::{ExecutionId, Json, MachineKind, Rejected};
use tokio::time::Instant;

use crate::engine::{Engine, Error};
use crate::search::{Filter, PAGE_MAX, Search};

/// How long a check may take that somebody waits for, unless the monitor says less.
const TRIAL_MAX: Duration = Duration::from_mins(1);

impl Engine {
    /// Adds to what a file may speak of: workflows, schedules, and those of its secrets that exist.
    ///
    /// # Errors
    /// The store's.
    pub async fn add_known(&self, known: &mut Known, text: &str) -> Result<(), Error> {
        known.now = Some(self.now());
        let definitions = self.definitions().workflows();
        let workflows = definitions.iter().map(|it| Arc::from(it.name.as_str()));
        known.workflows.get_or_insert_default().extend(workflows);
        known.schedules.get_or_insert_default().extend(self.schedule_names().await?);
        let mut secrets = secrets_in(text);
        secrets.retain(|name| self.values().secret(name).is_some());
        known.secrets.get_or_insert_default().extend(secrets);
        Ok(())
    }

    async fn schedule_names(&self) -> Result<BTreeSet<Arc<str>>, Error> {
        let mut names = BTreeSet::new();
        let mut start = 0;
        loop {
            let page = Search {
                machine: MachineKind::Schedule,
                filters: vec![Filter::Closed(false)],
                start,
                size: PAGE_MAX,
                ..Search::default()
            };
            let page = self.inner.store.search(&page).await?;
            start += page.rows.len() as u64;
            let last = page.rows.is_empty() || start >= page.total;
            names.extend(page.rows.into_iter().map(|head| head.name));
            if last {
                return Ok(names);
            }
        }
    }

    /// Runs one check of a monitor of a file and says what it comes to. No incident moves, nobody is
    /// told, and its execution is removed; a workflow of the user's does what it does.
    ///
    /// # Errors
    /// [`Rejected::Unknown`] if the file has no such monitor, [`Rejected::Conflict`] if it checks
    /// nothing; as [`Engine::begin`].
    pub async fn preview_check(&self, file: &File, name: &str) -> Result<Preview, Error> {
        let mut guarded = file.clone();
        self.inner.vault.guard_file(&mut guarded);
        let spec = guarded.specs().into_iter().find(|spec| *spec.monitor.name == *name);
        let Some(spec) = spec else {
            return Err(Rejected::Unknown(format!("there is no monitor {name}")).into());
        };
        if !spec.monitor.kind.checks() {
            let reason = format!("{name} waits to be called; it checks nothing");
            return Err(Rejected::Conflict(reason).into());
        }
        let (engine, tried) = (self.clone(), spec.clone());
        // To its end even if the caller goes away: what was begun is also removed.
        let trial = async move { engine.try_check(&tried).await };
        let tried = self.inner.tasks.spawn(trial).await.unwrap_or(Err(Error::Closing))?;
        Ok(match tried {
            Ok(output) => preview(file, &spec.monitor, &output, self.now()),
            Err(why) => Preview { doubt: Some(why), ..Preview::default() },
        })
    }

    /// The output of one check, or why there is none.
    async fn try_check(&self, spec: &Spec) -> Result<Result<Json, String>, Error> {
        let message = StartMessage {
            name: spec.check.name.clone(),
            version: spec.check.version,
            definition: spec.check.definition.as_ref().map(|it| Arc::from(it.raw().to_owned())),
            input: preview_input(spec, self.now()),
            correlation_id: None,
            priority: 0,
            task_to_domain: None,
            parent: None,
            asked_by: None,
            event: None,
            created_by: None,
            acts_as: None,
            idempotency: None,
            failure_of: None,
        };
        let plan = match self.plan_of(&message) {
            Ok(plan) => plan,
            Err(why) => return Ok(Err(why)),
        };
        let start = Start {
            plan,
            input: message.input,
            correlation_id: Some(format!("preview:{}", spec.monitor.name).into()),
            priority: 0,
            task_to_domain: None,
            parent: None,
            asked_by: None,
            event: None,
            created_by: Some("preview".into()),
            acts_as: None,
            idempotency_key: None,
            traceparent: None,
        };
        let id = self.begin(start, None).await?.id().clone();
        let ended = self.end_of(&id, spec).await;
        let end = Control::Terminate { reason: None, failure_workflow: false };
        match self.step(&id, Input::Control(end)).await {
            // Most have ended by themselves.
            Ok(()) | Err(Error::Rejected(_)) => {}
            Err(error) => return Err(error),
        }
        self.remove(&id).await?;
        ended
    }

    async fn end_of(&self, id: &ExecutionId, spec: &Spec) -> Result<Result<Json, String>, Error> {
        let mut changes = self.watch(id);
        let own = spec.monitor.timeout.map(|it| Duration::from_millis(it.unsigned_abs()));
        let patience = own.unwrap_or(TRIAL_MAX).min(TRIAL_MAX);
        let deadline = Instant::now() + patience;
        let look = |it: &Execution| {
            // The task's own words, without the sentence around them.
            let of_task = it.tasks().last().and_then(|task| task.reason.clone());
            let reason = of_task.or_else(|| it.reason.clone());
            (it.status, it.output.clone(), reason)
        };
        loop {
            let seen = self.read(id, look).await?;
            if let Some((status, output, reason)) = seen
                && status.is_closed()
            {
                let completed = status == kernel::graph::Status::Completed;
                let why = || reason.map_or_else(|| status.as_str().to_owned(), |it| it.to_string());
                return Ok(if completed { Ok(output) } else { Err(why()) });
            }
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                let why = format!("the check did not end within {} s", patience.as_secs());
                return Ok(Err(why));
            }
        }
    }
}
