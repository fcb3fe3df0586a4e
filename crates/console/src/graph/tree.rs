//! A definition as a tree of blocks: sequences of nodes, some of which hold blocks.

use kernel::definition::{WorkflowDef, WorkflowTask};

/// A sequence of places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block(pub(crate) Vec<Node>);

/// One place of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) reference: String,
    /// The type of its task.
    pub(crate) kind: String,
    pub(crate) inner: Inner,
    /// Of a JOIN that does not wait for the ends of all branches above it: the places that it waits for.
    pub(crate) joins: Vec<String>,
}

/// What a place holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inner {
    /// Nothing: it is a task.
    Nothing,
    /// Ways of which one is taken, each with its name.
    Cases(Vec<(String, Block)>),
    /// Ways that are all taken.
    Branches(Vec<Block>),
    /// What is repeated.
    Body(Block),
}

impl Block {
    /// Meets every place with its depth, in the order of the definition.
    pub(crate) fn walk<'a>(&'a self, depth: usize, meet: &mut dyn FnMut(usize, &'a Node)) {
        for node in &self.0 {
            meet(depth, node);
            for block in node.blocks() {
                block.walk(depth + 1, meet);
            }
        }
    }

    /// The reference names of all places in it.
    pub(crate) fn references(&self) -> Vec<&str> {
        let mut all = Vec::new();
        self.walk(0, &mut |_, node| all.push(node.reference.as_str()));
        all
    }
}

impl Node {
    pub(crate) fn blocks(&self) -> Vec<&Block> {
        match &self.inner {
            Inner::Nothing => Vec::new(),
            Inner::Cases(cases) => cases.iter().map(|(_, block)| block).collect(),
            Inner::Branches(branches) => branches.iter().collect(),
            Inner::Body(body) => vec![body],
        }
    }
}

/// The tree of a definition.
pub(crate) fn of_definition(definition: &WorkflowDef) -> Block {
    of(&definition.tasks)
}

fn of(tasks: &[WorkflowTask]) -> Block {
    let mut nodes: Vec<Node> = tasks.iter().map(node).collect();
    for at in 1..nodes.len() {
        if tasks[at].task_type == "JOIN" {
            nodes[at].joins = partial(&tasks[at].join_on, &nodes[at - 1]);
        }
    }
    Block(nodes)
}

/// What a JOIN waits for, if that is not the end of each branch of the fork before it.
fn partial(on: &[String], fork: &Node) -> Vec<String> {
    let Inner::Branches(branches) = &fork.inner else { return Vec::new() };
    let ends = branches.iter().filter_map(|branch| branch.0.last());
    let mut ends: Vec<&str> = ends.map(|node| node.reference.as_str()).collect();
    let mut waits: Vec<&str> = on.iter().map(String::as_str).collect();
    ends.sort_unstable();
    waits.sort_unstable();
    waits.dedup();
    if ends == waits { Vec::new() } else { on.to_vec() }
}

fn node(task: &WorkflowTask) -> Node {
    let inner = match task.task_type.as_str() {
        "SWITCH" | "DECISION" => {
            let cases = task.decision_cases.iter();
            let mut cases: Vec<(String, Block)> =
                cases.map(|(name, tasks)| (name.to_owned(), of(tasks))).collect();
            cases.push(("otherwise".to_owned(), of(&task.default_case)));
            Inner::Cases(cases)
        }
        "FORK_JOIN" | "FORK" => {
            Inner::Branches(task.fork_tasks.iter().map(|branch| of(branch)).collect())
        }
        "DO_WHILE" => Inner::Body(of(&task.loop_over)),
        _ => Inner::Nothing,
    };
    let kind = match task.task_type.as_str() {
        "SIMPLE" => task.name.clone(),
        other => other.to_owned(),
    };
    Node { reference: task.task_reference_name.clone(), kind, inner, joins: Vec::new() }
}
