//! What users have registered: workflow and task definitions, kept parsed in memory and durable in
//! the store, and the plans pinned from them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kernel::Json;
use kernel::definition::{SchemaDef, SubWorkflowVersion, TaskDef, WorkflowDef, WorkflowTask};
use kernel::graph::Plan;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::documents::Damaged;
use crate::store::{Document, Store, StoreError};
use crate::vault::Key;

/// The registered definitions.
pub struct Definitions {
    store: Arc<dyn Store>,
    damaged: Arc<Damaged>,
    registered: RwLock<Registered>,
    /// The plans that executions pin, by their hash.
    pinned: RwLock<HashMap<Arc<str>, Arc<Plan>>>,
    /// Makes the references to secrets in plans.
    key: Key,
    /// Changes when a workflow is forgotten.
    forgotten: watch::Sender<()>,
}

#[derive(Default)]
struct Registered {
    workflows: BTreeMap<Arc<str>, BTreeMap<u32, Arc<WorkflowDef>>>,
    tasks: BTreeMap<Arc<str>, Arc<TaskDef>>,
    schemas: BTreeMap<Arc<str>, BTreeMap<u32, Arc<SchemaDef>>>,
    /// The plans that new starts get, made of what is registered now.
    plans: HashMap<(Arc<str>, u32), Arc<Plan>>,
    /// How often it has changed since the start.
    changes: u64,
}

impl Registered {
    fn put_workflow(&mut self, definition: WorkflowDef) {
        let versions = self.workflows.entry(definition.name.as_str().into()).or_default();
        versions.insert(version_of(&definition), Arc::new(definition));
    }

    fn put_task(&mut self, definition: TaskDef) {
        self.tasks.insert(definition.name.as_str().into(), Arc::new(definition));
    }

    /// To be called with each change, before it can be seen: no plan is of two states.
    fn has_changed(&mut self) {
        self.changes += 1;
        self.plans.clear();
    }
}

/// Compiled plans kept beyond those in use; more are compiled again when needed.
const PLANS_MAX: usize = 1000;

const WORKFLOW: &str = "workflow";
const TASK: &str = "task";
const SCHEMA: &str = "schema";

impl Definitions {
    /// Reads everything registered; what is damaged is set aside.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        damaged: Arc<Damaged>,
        key: Key,
    ) -> Result<Self, StoreError> {
        let mut registered = Registered::default();
        for document in store.documents(WORKFLOW).await? {
            let Some(definition) = damaged.read::<WorkflowDef>(&document) else { continue };
            let versions = registered.workflows.entry(document.name.clone()).or_default();
            versions.insert(document.version, Arc::new(definition));
        }
        for document in store.documents(TASK).await? {
            let Some(definition) = damaged.read::<TaskDef>(&document) else { continue };
            registered.tasks.insert(document.name.clone(), Arc::new(definition));
        }
        for document in store.documents(SCHEMA).await? {
            let Some(definition) = damaged.read::<SchemaDef>(&document) else { continue };
            let versions = registered.schemas.entry(document.name.clone()).or_default();
            versions.insert(document.version, Arc::new(definition));
        }
        let (registered, pinned) = (RwLock::new(registered), RwLock::default());
        Ok(Self { store, damaged, registered, pinned, key, forgotten: watch::Sender::new(()) })
    }

    /// A workflow definition; the latest version if none is named.
    pub fn workflow(&self, name: &str, version: Option<u32>) -> Option<Arc<WorkflowDef>> {
        let registered = self.registered.read();
        let versions = registered.workflows.get(name)?;
        match version.filter(|version| *version > 0) {
            Some(version) => versions.get(&version).cloned(),
            None => versions.values().next_back().cloned(),
        }
    }

    /// Every version of every workflow, by name and version.
    pub fn workflows(&self) -> Vec<Arc<WorkflowDef>> {
        let registered = self.registered.read();
        registered.workflows.values().flat_map(|versions| versions.values().cloned()).collect()
    }

    /// Every version of one workflow, oldest first.
    pub fn versions(&self, name: &str) -> Vec<Arc<WorkflowDef>> {
        let registered = self.registered.read();
        registered.workflows.get(name).map_or_else(Vec::new, |v| v.values().cloned().collect())
    }

    /// A task definition.
    pub fn task(&self, name: &str) -> Option<Arc<TaskDef>> {
        self.registered.read().tasks.get(name).cloned()
    }

    /// A task definition as tasks get it that no plan could pin: secrets in it are references.
    pub(crate) fn task_referring(&self, name: &str) -> Option<Arc<TaskDef>> {
        let definition = self.task(name)?;
        if definition.input_template.is_empty() {
            return Some(definition);
        }
        let written = Json::of(&*definition);
        let referring = self.key.refer(name, &written);
        if referring == written {
            return Some(definition);
        }
        serde_json::from_str(referring.text()).ok().map(Arc::new)
    }

    /// How often it has changed since the start what is registered.
    pub(crate) fn changes(&self) -> u64 {
        self.registered.read().changes
    }

    /// Every task definition, by name.
    pub fn tasks(&self) -> Vec<Arc<TaskDef>> {
        self.registered.read().tasks.values().cloned().collect()
    }

    /// Registers workflows, each replacing its own version; all or none.
    ///
    /// # Errors
    /// The store's.
    pub async fn put_workflows(&self, definitions: Vec<WorkflowDef>) -> Result<(), StoreError> {
        self.store.put_documents(documents(&[], &definitions)).await?;
        self.take(Vec::new(), definitions, Vec::new());
        Ok(())
    }

    /// Registers task definitions, replacing those of the same name; all or none.
    ///
    /// # Errors
    /// The store's.
    pub async fn put_tasks(&self, definitions: Vec<TaskDef>) -> Result<(), StoreError> {
        self.store.put_documents(documents(&definitions, &[])).await?;
        self.take(definitions, Vec::new(), Vec::new());
        Ok(())
    }

    /// Lets all be seen at once that is in the store now.
    pub(crate) fn take(
        &self,
        tasks: Vec<TaskDef>,
        workflows: Vec<WorkflowDef>,
        schemas: Vec<SchemaDef>,
    ) {
        let mut registered = self.registered.write();
        for schema in schemas {
            let number = schema_version(&schema);
            self.damaged.mended(SCHEMA, &schema.name, number);
            let versions = registered.schemas.entry(schema.name.as_str().into()).or_default();
            versions.insert(number, Arc::new(schema));
        }
        for definition in tasks {
            self.damaged.mended(TASK, &definition.name, 0);
            registered.put_task(definition);
        }
        for definition in workflows {
            self.damaged.mended(WORKFLOW, &definition.name, version_of(&definition));
            registered.put_workflow(definition);
        }
        registered.has_changed();
    }

    /// Forgets one version of a workflow; running executions keep theirs. `false` if there was
    /// none.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_workflow(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        let found = self.store.delete_document(WORKFLOW, name, version).await?;
        self.damaged.mended(WORKFLOW, name, version);
        let mut registered = self.registered.write();
        if let Some(versions) = registered.workflows.get_mut(name) {
            versions.remove(&version);
            if versions.is_empty() {
                registered.workflows.remove(name);
            }
        }
        registered.has_changed();
        drop(registered);
        self.forgotten.send_replace(());
        Ok(found)
    }

    /// Changes whenever a version of a workflow is forgotten.
    pub(crate) fn forgotten(&self) -> watch::Receiver<()> {
        self.forgotten.subscribe()
    }

    /// Forgets a task definition. `false` if there was none.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_task(&self, name: &str) -> Result<bool, StoreError> {
        let found = self.store.delete_document(TASK, name, 0).await?;
        self.damaged.mended(TASK, name, 0);
        let mut registered = self.registered.write();
        registered.tasks.remove(name);
        registered.has_changed();
        Ok(found)
    }

    /// A registered schema; the latest version if 0 or less is named.
    pub fn schema(&self, name: &str, version: i32) -> Option<Arc<SchemaDef>> {
        let registered = self.registered.read();
        let versions = registered.schemas.get(name)?;
        match u32::try_from(version).ok().filter(|version| *version > 0) {
            Some(version) => versions.get(&version).cloned(),
            None => versions.values().next_back().cloned(),
        }
    }

    /// Every version of every schema, by name and version.
    pub fn schemas(&self) -> Vec<Arc<SchemaDef>> {
        let registered = self.registered.read();
        registered.schemas.values().flat_map(|versions| versions.values().cloned()).collect()
    }

    /// Registers schemas, each replacing its own version; all or none. Executions that have begun
    /// keep the schemas that they began with.
    ///
    /// # Errors
    /// The store's.
    pub async fn put_schemas(&self, schemas: Vec<SchemaDef>) -> Result<(), StoreError> {
        self.store.put_documents(schema_documents(&schemas).collect()).await?;
        self.take(Vec::new(), Vec::new(), schemas);
        Ok(())
    }

    /// Forgets one version of a schema. `false` if there was none.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_schema(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        let found = self.store.delete_document(SCHEMA, name, version).await?;
        self.damaged.mended(SCHEMA, name, version);
        let mut registered = self.registered.write();
        if let Some(versions) = registered.schemas.get_mut(name) {
            versions.remove(&version);
            if versions.is_empty() {
                registered.schemas.remove(name);
            }
        }
        registered.has_changed();
        drop(registered);
        Ok(found)
    }

    /// The plan that a start gets now; `None` if nothing of that name and version is registered. All
    /// that is pinned in it was registered at one instant.
    pub fn plan(&self, name: &str, version: Option<u32>) -> Option<Arc<Plan>> {
        loop {
            let changes = self.registered.read().changes;
            let definition = self.workflow(name, version)?;
            let key = (Arc::from(definition.name.as_str()), version_of(&definition));
            if let Some(plan) = self.registered.read().plans.get(&key) {
                return Some(plan.clone());
            }
            let plan = self.pin((*definition).clone());
            let mut registered = self.registered.write();
            // What changed while it was made may be in one half of it only.
            if registered.changes == changes {
                if registered.plans.len() >= PLANS_MAX {
                    registered.plans.clear();
                }
                registered.plans.insert(key, plan.clone());
                return Some(plan);
            }
        }
    }

    /// The same if it is at hand: `None` for what is not registered, `Some(None)` for what is and of
    /// which the next start has to make the plan.
    pub fn planned(&self, name: &str, version: Option<u32>) -> Option<Option<Arc<Plan>>> {
        let definition = self.workflow(name, version)?;
        let key = (Arc::from(definition.name.as_str()), version_of(&definition));
        Some(self.registered.read().plans.get(&key).cloned())
    }

    /// Pins a definition as it stands now: task definitions and the versions of sub-workflows that
    /// the author left open.
    pub fn pin(&self, mut definition: WorkflowDef) -> Arc<Plan> {
        for task in &mut definition.tasks {
            self.pin_versions(task);
        }
        let task_def = |name: &str| self.task(name).map(|definition| (*definition).clone());
        let schema = |name: &str, version| self.schema(name, version).map(|found| (*found).clone());
        let plan = Plan::pin_with(definition, &task_def, &schema);
        let plan = Arc::new(self.key.refer_plan(plan));
        self.remember(plan.clone());
        plan
    }

    fn pin_versions(&self, task: &mut WorkflowTask) {
        if let Some(params) = &mut task.sub_workflow_param
            && params.version.is_none()
            && params.workflow_definition.is_none()
            && let Some(latest) = params.name.as_deref().and_then(|name| self.workflow(name, None))
        {
            params.version = Some(SubWorkflowVersion::Number(latest.version));
        }
        let nested = task
            .decision_cases
            .values_mut()
            .chain([&mut task.default_case, &mut task.loop_over])
            .chain(&mut task.fork_tasks);
        nested.flatten().for_each(|child| self.pin_versions(child));
    }

    /// A plan by its hash, from memory or from the store.
    pub(crate) async fn pinned(&self, hash: &str) -> Result<Arc<Plan>, StoreError> {
        if let Some(plan) = self.pinned.read().get(hash) {
            return Ok(plan.clone());
        }
        let text = self
            .store
            .plan(hash)
            .await?
            .ok_or_else(|| StoreError::Corrupt(format!("plan {hash} is missing")))?;
        let plan = Plan::from_text(text)
            .map_err(|error| StoreError::Corrupt(format!("plan {hash}: {error}")))?;
        let plan = Arc::new(self.key.refer_plan(plan));
        self.remember(plan.clone());
        Ok(plan)
    }

    fn remember(&self, plan: Arc<Plan>) {
        let mut pinned = self.pinned.write();
        if pinned.len() >= PLANS_MAX {
            pinned.retain(|_, plan| Arc::strong_count(plan) > 1);
        }
        pinned.insert(plan.hash.clone(), plan);
    }
}

fn version_of(definition: &WorkflowDef) -> u32 {
    u32::try_from(definition.version).unwrap_or(1)
}

fn schema_version(schema: &SchemaDef) -> u32 {
    u32::try_from(schema.version).unwrap_or(1).max(1)
}

/// How schemas are stored.
pub(crate) fn schema_documents(schemas: &[SchemaDef]) -> impl Iterator<Item = Document> {
    schemas.iter().map(|schema| document(SCHEMA, &schema.name, schema_version(schema), schema))
}

/// Definitions as they are stored.
pub(crate) fn documents(tasks: &[TaskDef], workflows: &[WorkflowDef]) -> Vec<Document> {
    let tasks = tasks.iter().map(|task| document(TASK, &task.name, 0, task));
    let workflows = workflows
        .iter()
        .map(|definition| document(WORKFLOW, &definition.name, version_of(definition), definition));
    tasks.chain(workflows).collect()
}

fn document(kind: &str, name: &str, version: u32, value: &impl serde::Serialize) -> Document {
    let text = serde_json::to_string(value).expect("a definition serializes to JSON");
    Document { kind: kind.into(), name: name.into(), version, text: text.into() }
}
