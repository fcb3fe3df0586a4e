//! The kinds of things on which roles can be narrowed.

/// A kind of thing on which roles can be narrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Task hubs, with the instances and entities in them.
    Hub,
    /// Types of tasks that workers poll for.
    Task,
    /// Workflow definitions, with their runs.
    Workflow,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hub, Self::Task, Self::Workflow];

    /// Its name in descriptions and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Task => "task",
            Self::Workflow => "workflow",
        }
    }
}
