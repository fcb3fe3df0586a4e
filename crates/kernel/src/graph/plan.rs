//! A definition made ready to run: nodes with compiled templates, and the blocks they stand in.
//!
//! A definition is a tree of sequences. Each sequence is a [`Block`]; each place in one is a
//! [`Node`]. A decision only ever asks "what comes after this node in its block, and who owns the
//! block", so the tree is kept flat. Dynamic forks graft more nodes on at run time; they continue
//! the same numbering.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::schema::{self, Registry};
use crate::definition::{TaskDef, WorkflowDef, WorkflowTask};
use crate::expression::{Template, refer};
use crate::json::Json;

/// What every expression for a secret holds.
const SECRET: &str = "{workflow.secrets.";

/// Index of a node in the plan and its grafts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct NodeId(pub u32);

/// Index of a block in the plan and its grafts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct BlockId(pub(crate) u32);

/// One definition, pinned: immutable, named by the hash of its text.
#[derive(Debug)]
pub struct Plan {
    /// The definition, with the task definitions of the time of the start embedded.
    pub definition: WorkflowDef,
    /// SHA-256 of [`Plan::text`], in hexadecimal.
    pub hash: Arc<str>,
    /// The definition as JSON; what is stored.
    pub text: Arc<str>,
    /// The compiled output parameters; `None` if the author gave none.
    pub output: Option<Template>,
    /// Whether decisions on its executions may run scripts, programs or schemas of users.
    pub evaluates: bool,
    pub(crate) shape: Shape,
}

impl Plan {
    /// Pins a definition: embeds the task definitions that `task_def` knows, and compiles.
    ///
    /// A plan is made of any definition; what cannot run fails the execution that gets there.
    pub fn pin(definition: WorkflowDef, task_def: &dyn Fn(&str) -> Option<TaskDef>) -> Self {
        Self::pin_with(definition, task_def, &|_, _| None)
    }

    /// As [`Plan::pin`], and writes out the schemas that are enforced by name.
    pub fn pin_with(
        mut definition: WorkflowDef,
        task_def: &dyn Fn(&str) -> Option<TaskDef>,
        registry: &Registry<'_>,
    ) -> Self {
        let found = |task: &WorkflowTask| {
            let assumed = || (task.task_type == "SIMPLE").then(|| TaskDef::named(&task.name));
            task_def(&task.name).or_else(assumed)
        };
        definition.tasks.iter_mut().for_each(|task| {
            embed(task, &found);
            schema::resolve_nested(task, registry);
        });
        if definition.enforce_schema {
            schema::resolve(definition.input_schema.as_mut(), registry);
            schema::resolve(definition.output_schema.as_mut(), registry);
        }
        let text = serde_json::to_string(&definition).expect("a definition serializes to JSON");
        Self::compile(definition, text.into())
    }

    /// The same plan, in whose compiled form every `${workflow.secrets.NAME}` that the definition's
    /// text holds is a reference made by `make`. Hash and stored text stay.
    #[must_use]
    pub fn with_references(self, make: &dyn Fn(&str) -> String) -> Self {
        if !self.text.contains(SECRET) {
            return self;
        }
        let Ok(written) = Json::from_text(self.text.to_string()) else { return self };
        let referring = refer(&written, make);
        match serde_json::from_str(referring.text()) {
            Ok(definition) => Self { hash: self.hash, ..Self::compile(definition, self.text) },
            Err(_) => self,
        }
    }

    /// Compiles the stored text of a plan.
    ///
    /// # Errors
    /// The text is not a definition.
    pub fn from_text(text: Arc<str>) -> Result<Self, serde_json::Error> {
        let definition = serde_json::from_str(&text)?;
        Ok(Self::compile(definition, text))
    }

    fn compile(definition: WorkflowDef, text: Arc<str>) -> Self {
        let mut shape = Shape::default();
        shape.block(&definition.tasks, Owner::Root);
        let output = (!definition.output_parameters.is_empty())
            .then(|| Template::compile(&Value::Object(definition.output_parameters.clone())));
        let mut hash = String::with_capacity(64);
        for byte in Sha256::digest(text.as_bytes()) {
            write!(hash, "{byte:02x}").expect("writing to a string cannot fail");
        }
        let evaluates = definition.input_schema.is_some()
            || definition.output_schema.is_some()
            || shape.nodes.iter().any(evaluates);
        Self { definition, hash: hash.into(), text, output, evaluates, shape }
    }

    /// Whether the definition has a node of this reference name.
    pub fn node_named(&self, reference: &str) -> Option<NodeId> {
        self.shape.by_reference.get(reference).copied()
    }
}

/// Whether a decision at a node may evaluate something of users.
fn evaluates(node: &Node) -> bool {
    let task = &node.task;
    let has_schema =
        |policy: &TaskDef| policy.input_schema.is_some() || policy.output_schema.is_some();
    node.kind.described().evaluates
        || task.loop_condition.is_some()
        || task.expression.is_some() && task.evaluator_type.as_deref() != Some("value-param")
        || task.case_expression.is_some()
        || task.task_definition.as_deref().is_some_and(has_schema)
}

/// Embeds the definitions of a task and of every task inside it, where the author wrote none.
pub(crate) fn embed(task: &mut WorkflowTask, found: &dyn Fn(&WorkflowTask) -> Option<TaskDef>) {
    if task.task_definition.is_none() {
        task.task_definition = found(task).map(Box::new);
    }
    let nested = task
        .decision_cases
        .values_mut()
        .chain([&mut task.default_case, &mut task.loop_over])
        .chain(&mut task.fork_tasks);
    nested.flatten().for_each(|child| embed(child, found));
}

/// One place in a definition.
#[derive(Clone, Debug)]
pub struct Node {
    /// The author's reference name, without an iteration suffix.
    pub reference: Arc<str>,
    /// The task name: what workers poll, and the name of the task definition.
    pub name: Arc<str>,
    /// What the author wrote.
    pub task: WorkflowTask,
    /// What to do when it is reached.
    pub kind: Kind,
    /// The compiled input parameters.
    pub(crate) input: Template,
    /// The block it stands in.
    pub(crate) block: BlockId,
    /// Its place in the block.
    pub(crate) index: usize,
    /// The blocks it owns: cases (the default last), branches, or the body.
    pub(crate) blocks: Vec<BlockId>,
    /// How many loops are around it.
    pub(crate) depth: usize,
}

/// Whom an open task of a kind waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// Nobody outside: the engine decides it at once, or when other tasks of the execution have ended.
    Engine,
    /// A worker or a built-in runner.
    Runner,
    /// Another execution.
    Execution,
    /// A signal, or time if the author names one.
    Signal,
    /// A message for the execution.
    Message,
}

/// What is to be known of a kind without running it.
struct Described {
    /// The types of tasks in definitions that mean it.
    types: &'static [&'static str],
    awaits: Awaits,
    is_queued: bool,
    is_control: bool,
    /// A decision may run something of users, or what it will run is not known yet.
    evaluates: bool,
}

/// Of most kinds.
const PLAIN: Described = Described {
    types: &[],
    awaits: Awaits::Engine,
    is_queued: false,
    is_control: false,
    evaluates: false,
};

/// Makes the enum of kinds, with what is to be known of each.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident { $($member:ident: $value:expr),+ },)+) => {
        /// What a node does; one file under `nodes` for each that decides.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum Kind {
            $($(#[$doc])* $kind,)+
        }

        impl Kind {
            const ALL: &[Self] = &[$(Self::$kind),+];

            const fn described(self) -> Described {
                match self {
                    $(Self::$kind => Described { $($member: $value,)+ ..PLAIN },)+
                }
            }
        }
    };
}

kinds! {
    /// Handed to a worker or to a built-in runner.
    Dispatched { awaits: Awaits::Runner, is_queued: true },
    /// JavaScript at decision time.
    Inline { types: &["INLINE"], evaluates: true },
    /// The deprecated form of [`Kind::Inline`]: a function body.
    Lambda { types: &["LAMBDA"], evaluates: true },
    /// jq at decision time.
    Jq { types: &["JSON_JQ_TRANSFORM"], evaluates: true },
    /// Picks a block by a value.
    Switch { types: &["SWITCH"], is_control: true },
    /// The deprecated form of [`Kind::Switch`].
    Decision { types: &["DECISION"], is_control: true },
    /// Starts its branches at once.
    Fork { types: &["FORK_JOIN", "FORK"], is_control: true },
    /// Starts branches that its input lists.
    DynamicFork { types: &["FORK_JOIN_DYNAMIC"], is_control: true, evaluates: true },
    /// Waits for branches.
    Join { types: &["JOIN"], is_control: true },
    /// Goes on with the first of several.
    ExclusiveJoin { types: &["EXCLUSIVE_JOIN"], is_control: true },
    /// Repeats its body.
    DoWhile { types: &["DO_WHILE"], is_control: true },
    /// Runs another execution and waits for it.
    SubWorkflow { types: &["SUB_WORKFLOW"], awaits: Awaits::Execution },
    /// Starts another execution and does not wait.
    StartWorkflow { types: &["START_WORKFLOW"], awaits: Awaits::Execution },
    /// Becomes the task that its input names.
    Dynamic { types: &["DYNAMIC"], evaluates: true },
    /// Writes workflow variables.
    SetVariable { types: &["SET_VARIABLE"] },
    /// Ends the execution.
    Terminate { types: &["TERMINATE"] },
    /// Waits for time or for a signal.
    Wait { types: &["WAIT"], awaits: Awaits::Signal },
    /// Waits for a person.
    Human { types: &["HUMAN"], awaits: Awaits::Signal },
    /// Waits for a signal: whoever runs the execution gets it back meanwhile.
    Yield { types: &["YIELD"], awaits: Awaits::Signal },
    /// Waits for a payload from outside that fits.
    Webhook { types: &["WAIT_FOR_WEBHOOK"], awaits: Awaits::Signal, is_queued: true },
    /// Takes messages out of the execution's inbox, and waits for one if it is empty.
    Pull { types: &["PULL_WORKFLOW_MESSAGES"], awaits: Awaits::Message },
    /// Does nothing.
    Noop { types: &["NOOP"] },
}

impl Kind {
    /// What a type of tasks means in a definition.
    pub fn of(task_type: &str) -> Self {
        let means = |kind: &&Self| kind.described().types.contains(&task_type);
        Self::ALL.iter().find(means).copied().unwrap_or(Self::Dispatched)
    }

    /// Whom an open task waits for.
    pub const fn awaits(self) -> Awaits {
        self.described().awaits
    }

    /// Whether an open task of this kind stands in a queue: to be handed out, or to be found.
    pub(crate) const fn is_queued(self) -> bool {
        self.described().is_queued
    }

    /// Whether the retry policy never applies (Conductor: `TaskType.isBuiltIn`).
    pub(crate) const fn is_control(self) -> bool {
        self.described().is_control
    }
}

/// A sequence of nodes.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) owner: Owner,
    pub(crate) nodes: Vec<NodeId>,
}

/// Whose sequence it is: what happens at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The execution's: it may be complete.
    Root,
    /// A case of a SWITCH: go on after the SWITCH.
    Case(NodeId),
    /// A branch of a fork: the JOIN looks after it.
    Branch(NodeId),
    /// The body of a DO_WHILE: one more iteration is done.
    Body(NodeId),
}

/// Nodes and blocks, numbered from an offset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    nodes: Vec<Node>,
    blocks: Vec<Block>,
    by_reference: BTreeMap<Arc<str>, NodeId>,
    first_node: u32,
    first_block: u32,
}

impl Shape {
    /// A shape that continues the numbering of `base`.
    pub(crate) fn after(base: &Self) -> Self {
        Self {
            first_node: base.first_node + base.nodes.len() as u32,
            first_block: base.first_block + base.blocks.len() as u32,
            ..Self::default()
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0.checked_sub(self.first_node)? as usize)
    }

    pub(crate) fn block_of(&self, id: BlockId) -> Option<&Block> {
        self.blocks.get(id.0.checked_sub(self.first_block)? as usize)
    }

    pub(crate) fn named(&self, reference: &str) -> Option<NodeId> {
        self.by_reference.get(reference).copied()
    }

    /// Adds a branch of a dynamic fork that stands inside `depth` loops.
    pub(crate) fn graft(&mut self, task: &WorkflowTask, fork: NodeId, depth: usize) -> BlockId {
        self.block_at(std::slice::from_ref(task), Owner::Branch(fork), depth)
    }

    /// Adds a place that no flow leads to, for a task that its plan knows no more.
    pub(crate) fn keep(&mut self, task: &WorkflowTask, depth: usize) -> NodeId {
        let id = NodeId(self.first_node + self.nodes.len() as u32);
        self.block_at(std::slice::from_ref(task), Owner::Root, depth);
        id
    }

    /// Reference names of the nodes around a node, innermost first.
    pub(crate) fn names_around(&self, node: NodeId) -> Vec<Arc<str>> {
        let around = |id: NodeId| match self.block_of(self.node(id)?.block)?.owner {
            Owner::Root => None,
            Owner::Case(owner) | Owner::Branch(owner) | Owner::Body(owner) => Some(owner),
        };
        let owners = std::iter::successors(around(node), |id| around(*id));
        owners.filter_map(|id| Some(self.node(id)?.reference.clone())).collect()
    }

    /// Where the numbering begins: of nodes, of blocks.
    pub(crate) fn first(&self) -> (u32, u32) {
        (self.first_node, self.first_block)
    }

    /// An empty shape whose numbering begins there.
    pub(crate) fn beginning((first_node, first_block): (u32, u32)) -> Self {
        Self { first_node, first_block, ..Self::default() }
    }

    /// What was grafted or kept, in order: the task as authored, the fork whose branch it is
    /// (`None` if it was kept), and the loops around it.
    pub(crate) fn grafted(&self) -> Vec<(WorkflowTask, Option<NodeId>, usize)> {
        let roots = self.blocks.iter().filter_map(|block| match block.owner {
            Owner::Branch(fork) => Some((Some(fork), block)),
            Owner::Root => Some((None, block)),
            Owner::Case(_) | Owner::Body(_) => None,
        });
        // A branch of an authored fork stands inside a graft and comes with it.
        let is_authored = |fork: NodeId| self.node(fork).is_some_and(|n| n.kind == Kind::Fork);
        roots
            .filter(|(fork, _)| !fork.is_some_and(is_authored))
            .filter_map(|(fork, block)| {
                let node = self.node(*block.nodes.first()?)?;
                Some((self.authored(node), fork, node.depth))
            })
            .collect()
    }

    /// A node with the tasks inside it, as the author wrote it.
    pub(crate) fn authored(&self, node: &Node) -> WorkflowTask {
        let mut task = node.task.clone();
        let sequence = |block: &BlockId| -> Vec<WorkflowTask> {
            let nodes = self.block_of(*block).into_iter().flat_map(|block| &block.nodes);
            nodes.filter_map(|id| self.node(*id)).map(|node| self.authored(node)).collect()
        };
        match node.kind {
            Kind::Switch | Kind::Decision => {
                let lists = task.decision_cases.values_mut().chain([&mut task.default_case]);
                lists.zip(&node.blocks).for_each(|(list, block)| *list = sequence(block));
            }
            Kind::Fork => task.fork_tasks = node.blocks.iter().map(sequence).collect(),
            Kind::DoWhile => task.loop_over = node.blocks.iter().flat_map(sequence).collect(),
            _ => {}
        }
        task
    }

    fn block(&mut self, tasks: &[WorkflowTask], owner: Owner) -> BlockId {
        self.block_at(tasks, owner, 0)
    }

    fn block_at(&mut self, tasks: &[WorkflowTask], owner: Owner, depth: usize) -> BlockId {
        let id = BlockId(self.first_block + self.blocks.len() as u32);
        self.blocks.push(Block { owner, nodes: Vec::new() });
        let nodes = tasks
            .iter()
            .enumerate()
            .map(|(index, task)| self.add(task, id, index, depth))
            .collect();
        self.blocks[(id.0 - self.first_block) as usize].nodes = nodes;
        id
    }

    fn add(&mut self, task: &WorkflowTask, block: BlockId, index: usize, depth: usize) -> NodeId {
        let id = NodeId(self.first_node + self.nodes.len() as u32);
        let kind = Kind::of(&task.task_type);
        let reference: Arc<str> = task.task_reference_name.as_str().into();
        self.by_reference.insert(reference.clone(), id);
        self.nodes.push(Node {
            reference,
            name: task.name.as_str().into(),
            kind,
            input: Template::compile(&Value::Object(task.input_parameters.clone())),
            task: without_nested(task),
            block,
            index,
            blocks: Vec::new(),
            depth,
        });
        let blocks = match kind {
            Kind::Switch | Kind::Decision => task
                .decision_cases
                .values()
                .chain([&task.default_case])
                .map(|tasks| self.block_at(tasks, Owner::Case(id), depth))
                .collect(),
            Kind::Fork => task
                .fork_tasks
                .iter()
                .map(|tasks| self.block_at(tasks, Owner::Branch(id), depth))
                .collect(),
            Kind::DoWhile => vec![self.block_at(&task.loop_over, Owner::Body(id), depth + 1)],
            _ => Vec::new(),
        };
        self.nodes[(id.0 - self.first_node) as usize].blocks = blocks;
        id
    }
}

/// A task without the tasks inside it: they are nodes of their own.
fn without_nested(task: &WorkflowTask) -> WorkflowTask {
    let mut own = task.clone();
    own.decision_cases.values_mut().for_each(Vec::clear);
    own.default_case.clear();
    own.fork_tasks.clear();
    own.loop_over.clear();
    own
}
