//! A definition as the auditor reads it: from its JSON text, with nothing of the kernel's.
//!
//! The one thing both must agree on is how places are numbered, because histories name places by
//! number: in the order written, a place before what stands inside it.

use serde_json::Value;

/// A definition's places.
#[derive(Clone, Debug, Default)]
pub(super) struct Outline {
    /// Places by number.
    pub(super) places: Vec<Place>,
    /// Rows of places; the first is the whole definition.
    pub(super) rows: Vec<Row>,
    /// The definition.
    pub(super) definition: Value,
}

/// Places one after the other.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) places: Vec<usize>,
    /// The place that this row stands in.
    pub(super) inside: Option<usize>,
}

/// One place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) reference: String,
    pub(super) kind: String,
    /// What the author wrote.
    pub(super) written: Value,
    pub(super) row: usize,
    pub(super) index: usize,
    /// Rows inside: cases by name and then the default, branches, or the body.
    pub(super) inner: Vec<usize>,
}

impl Outline {
    pub(super) fn read(text: &str) -> Self {
        let definition: Value = serde_json::from_str(text).unwrap_or_default();
        let mut outline = Self { definition: definition.clone(), ..Self::default() };
        outline.row(&definition["tasks"], None);
        outline
    }

    /// Adds rows at run time: the branches of a dynamic fork.
    pub(super) fn row(&mut self, tasks: &Value, inside: Option<usize>) -> usize {
        let number = self.rows.len();
        self.rows.push(Row { places: Vec::new(), inside });
        for (index, task) in tasks.as_array().into_iter().flatten().enumerate() {
            let place = self.place(task, number, index);
            self.rows[number].places.push(place);
        }
        number
    }

    fn place(&mut self, task: &Value, row: usize, index: usize) -> usize {
        let number = self.places.len();
        let text = |key: &str| task[key].as_str().unwrap_or_default().to_owned();
        self.places.push(Place {
            reference: text("taskReferenceName"),
            kind: text("type"),
            written: task.clone(),
            row,
            index,
            inner: Vec::new(),
        });
        let mut inner = Vec::new();
        match task["type"].as_str().unwrap_or_default() {
            "SWITCH" => {
                for (_, case) in task["decisionCases"].as_object().into_iter().flatten() {
                    inner.push(self.row(case, Some(number)));
                }
                inner.push(self.row(&task["defaultCase"], Some(number)));
            }
            "FORK_JOIN" => {
                for branch in task["forkTasks"].as_array().into_iter().flatten() {
                    inner.push(self.row(branch, Some(number)));
                }
            }
            "DO_WHILE" => inner.push(self.row(&task["loopOver"], Some(number))),
            _ => {}
        }
        self.places[number].inner = inner;
        number
    }

    /// The place before another in its row.
    pub(super) fn before(&self, place: usize) -> Option<usize> {
        let Place { row, index, .. } = self.places[place];
        index.checked_sub(1).map(|index| self.rows[row].places[index])
    }

    /// Whether a place stands, however deep, inside another.
    pub(super) fn is_inside(&self, mut place: usize, outer: usize) -> bool {
        while let Some(around) = self.rows[self.places[place].row].inside {
            if around == outer {
                return true;
            }
            place = around;
        }
        false
    }

    /// Whether a place stands in the same row as another but later, or inside one that does.
    pub(super) fn is_further_on(&self, mut place: usize, than: usize) -> bool {
        let than = &self.places[than];
        loop {
            let Place { row, index, .. } = self.places[place];
            if row == than.row {
                return index > than.index;
            }
            match self.rows[row].inside {
                Some(around) => place = around,
                None => return false,
            }
        }
    }

    /// How many loops are around a place.
    pub(super) fn loops_around(&self, mut place: usize) -> usize {
        let mut count = 0;
        while let Some(around) = self.rows[self.places[place].row].inside {
            count += usize::from(self.places[around].kind == "DO_WHILE");
            place = around;
        }
        count
    }

    /// The row that a SWITCH takes for a value; `None` if it takes none.
    pub(super) fn case(&self, switch: usize, value: &str) -> Option<usize> {
        let place = &self.places[switch];
        let names = place.written["decisionCases"].as_object();
        let named = names.and_then(|names| names.keys().position(|name| name == value));
        let row = *place.inner.get(named.unwrap_or(place.inner.len().checked_sub(1)?))?;
        (!self.rows[row].places.is_empty()).then_some(row)
    }
}

impl Place {
    pub(super) fn flag(&self, name: &str) -> bool {
        self.written[name].as_bool().unwrap_or(false)
    }

    /// Whether workers or runners do it.
    pub(super) fn is_handed_out(&self) -> bool {
        matches!(self.kind.as_str(), "SIMPLE" | "HTTP" | "DYNAMIC")
    }

    /// Whether its policy's retries never apply.
    pub(super) fn is_never_retried(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "SWITCH" | "FORK_JOIN" | "FORK_JOIN_DYNAMIC" | "JOIN" | "DO_WHILE"
        )
    }
}
