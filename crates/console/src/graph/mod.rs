//! The picture of a graph: the tree of a definition, laid out by [`layout`] and drawn as SVG.
//!
//! Same definition, same picture: nothing here looks at a clock or at the order of a map. What became of
//! each place ([`Standing`]) only colors boxes.

mod layout;
mod tree;

use std::collections::BTreeMap;

use kernel::graph::{Execution, TaskStatus};
use maud::{Markup, html};

use crate::value::cut;
pub(crate) use layout::Picture;
pub(crate) use tree::{Block, of_definition};

/// What became of one place of a definition, over all its attempts and iterations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) good: u64,
    pub(crate) bad: u64,
    pub(crate) open: u64,
    pub(crate) other: u64,
    /// The number of its last task.
    pub(crate) latest: u32,
    /// How that stands.
    pub(crate) class: Class,
}

/// How a place stands, as a class of the style sheet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Class {
    /// Not reached.
    #[default]
    None,
    Good,
    Bad,
    Busy,
    Warn,
}

impl Class {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Busy => "busy",
            Self::Warn => "warn",
        }
    }

    fn of(status: TaskStatus) -> Self {
        match status {
            TaskStatus::Completed => Self::Good,
            TaskStatus::Skipped | TaskStatus::Canceled | TaskStatus::CompletedWithErrors => {
                Self::Warn
            }
            status if status.is_closed() => Self::Bad,
            _ => Self::Busy,
        }
    }
}

impl Count {
    fn total(&self) -> u64 {
        self.good + self.bad + self.open + self.other
    }

    /// In signs: `48 ✓ 2 ✕ 3 ▶`.
    fn shown(&self) -> String {
        let parts = [(self.good, "✓"), (self.bad, "✕"), (self.open, "▶"), (self.other, "·")];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        parts.map(|(count, sign)| format!("{count} {sign}")).collect::<Vec<_>>().join(" ")
    }

    fn add(&mut self, other: &Self) {
        self.good += other.good;
        self.bad += other.bad;
        self.open += other.open;
        self.other += other.other;
    }
}

/// What became of each place of a definition, by its reference name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing(BTreeMap<String, Count>);

impl Standing {
    /// Counts the tasks of an execution.
    pub(crate) fn of(state: &Execution) -> Self {
        let mut standing = Self::default();
        for task in state.tasks() {
            let class = Class::of(task.status);
            let place = &state.authored_place(task).reference;
            let is_own = *place == state.node_of(task).reference;
            let count = standing.0.entry(place.to_string()).or_default();
            match class {
                Class::Good => count.good += 1,
                Class::Bad => count.bad += 1,
                Class::Busy => count.open += 1,
                Class::Warn | Class::None => count.other += 1,
            }
            if is_own {
                (count.latest, count.class) = (task.sequence, class);
            } else if class == Class::Busy || (class == Class::Bad && !task.retried) {
                // A dynamic fork stands as what it has added does.
                count.class = class;
            }
        }
        standing
    }

    /// What became of one place; `None` if it was not reached.
    pub(crate) fn get(&self, reference: &str) -> Option<&Count> {
        self.0.get(reference)
    }

    fn sum(&self, references: &[&str]) -> Count {
        references.iter().filter_map(|it| self.get(it)).fold(Count::default(), |mut sum, count| {
            sum.add(count);
            sum
        })
    }
}

/// Characters of a name in a box.
const NAME_MAX: usize = 22;

/// Draws a definition; `to` is where a box leads, `here` the place that is looked at.
pub(crate) fn svg(
    block: &Block,
    standing: &Standing,
    here: Option<&str>,
    to: &dyn Fn(&str) -> Option<String>,
) -> Markup {
    let picture = Picture::of(block);
    let Picture { width, height, boxes, ways, frames } = &picture;
    html! {
        div.picture tabindex="0" role="region" aria-label="Graph" {
            svg width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } role="group" aria-label="The places of the workflow" {
                @for frame in frames {
                    rect.frame x=(frame.x) y=(frame.y) width=(frame.w) height=(frame.h) rx="8" {}
                }
                @for way in ways {
                    path class=(way_class(way, standing)) d=(way.d) {}
                    @if let Some(label) = &way.label {
                        text.mini x=(way.label_at.0) y=(way.label_at.1) text-anchor="middle" { (cut(label, 20)) }
                    }
                }
                @for it in boxes {
                    @let link = if let [one] = it.references[..] { to(one) } else { None };
                    @if let Some(link) = link {
                        a href=(link) { (drawn(it, standing, here)) }
                    } @else { (drawn(it, standing, here)) }
                }
            }
        }
    }
}

/// A way that was taken is solid.
fn way_class(way: &layout::Way<'_>, standing: &Standing) -> &'static str {
    let is_taken = way.to.is_empty() || way.to.iter().any(|to| standing.get(to).is_some());
    if is_taken { "way" } else { "way dashed" }
}

fn drawn(it: &layout::Drawn<'_>, standing: &Standing, here: Option<&str>) -> Markup {
    let count = standing.sum(&it.references);
    let is_here = here.is_some_and(|here| it.references[..] == [here]);
    let class = match it.references[..] {
        [one] => standing.get(one).map_or(Class::None, |count| count.class),
        _ if count.bad > 0 => Class::Bad,
        _ if count.open > 0 => Class::Busy,
        _ if count.good > 0 => Class::Good,
        _ => Class::None,
    };
    let sign = match class {
        Class::None => "",
        Class::Good => "✓ ",
        Class::Bad => "✕ ",
        Class::Busy => "▶ ",
        Class::Warn => "! ",
    };
    let below = match count.total() {
        0 | 1 => it.kind.to_owned(),
        _ => {
            let counts = count.shown();
            let both = format!("{} {counts}", it.kind);
            // Of what is too long the counts say more than the type.
            if both.chars().count() > NAME_MAX + 6 { counts } else { both }
        }
    };
    html! {
        g {
            @if it.name.chars().count() > NAME_MAX { title { (it.name) } }
            rect class={ "box " (class.as_str()) (if is_here { " here" } else { "" }) } x=(it.x) y=(it.y) width=(it.w) height=(it.h) rx="6" {}
            text x=(it.x + it.w / 2) y=(it.y + 17) text-anchor="middle" { (sign) (cut(&it.name, NAME_MAX)) }
            text.mini x=(it.x + it.w / 2) y=(it.y + 32) text-anchor="middle" { (cut(&below, NAME_MAX + 6)) }
        }
    }
}

/// Rows of the table beside a picture.
const ROWS_MAX: usize = 500;

/// The same as a table: for whoever cannot see the picture.
pub(crate) fn twin(
    block: &Block,
    standing: &Standing,
    to: &dyn Fn(&str) -> Option<String>,
) -> Markup {
    let mut places = Vec::new();
    block.walk(0, &mut |depth, node| places.push((depth, node)));
    let rows: Vec<Markup> = places
        .iter()
        .take(ROWS_MAX)
        .map(|(depth, node)| {
            let count = standing.get(&node.reference).copied().unwrap_or_default();
            let link = to(&node.reference);
            html! {
                tr {
                    td.n { (depth + 1) }
                    td { @if let Some(link) = link { a href=(link) { (node.reference) } } @else { (node.reference) } }
                    td { (node.kind) }
                    td { @if count.total() == 0 { "not reached" } @else { (count.shown()) } }
                }
            }
        })
        .collect();
    html! {
        (crate::piece::table("Places of the workflow", &["Depth", "Reference", "Type", "Tasks"], &rows))
        @if places.len() > ROWS_MAX { p.faint { (places.len() - ROWS_MAX) " more places." } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn block(tasks: &serde_json::Value) -> Block {
        let text = json!({ "name": "w", "version": 1, "tasks": tasks }).to_string();
        let definitions = kernel::definition::parse_workflows(&text).expect("the shape is right");
        of_definition(&definitions[0])
    }

    fn simple(name: &str) -> serde_json::Value {
        json!({ "name": name, "taskReferenceName": name, "type": "SIMPLE" })
    }

    /// What the drawing of a definition was when somebody last looked at it; `NIGHTBELL_BLESS=1`
    /// writes it anew.
    #[test]
    fn a_definition_is_always_drawn_in_the_same_way() {
        let block = block(&json!([
            simple("fetch"),
            { "name": "f", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": [
                [simple("parse"), simple("check")],
                [{ "name": "l", "taskReferenceName": "pages", "type": "DO_WHILE", "loopCondition": "false",
                   "loopOver": [simple("page")] }],
            ] },
            { "name": "j", "taskReferenceName": "join", "type": "JOIN", "joinOn": ["check", "pages"] },
            { "name": "s", "taskReferenceName": "how", "type": "SWITCH", "evaluatorType": "value-param",
              "expression": "x", "decisionCases": { "many <rows>": [simple("load")], "none": [] },
              "defaultCase": [simple("tell")] },
        ]));
        let drawn =
            svg(&block, &Standing::default(), Some("load"), &|it| Some(format!("?task={it}")));
        let drawn = drawn.into_string().replace("><", ">\n<");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/graph.svg.html");
        if std::env::var_os("NIGHTBELL_BLESS").is_some() {
            std::fs::write(path, &drawn).expect("the golden file can be written");
        }
        let kept = std::fs::read_to_string(path).expect("there is a golden file");
        assert!(kept == drawn, "the picture has changed:\n{drawn}");
        assert!(!drawn.contains("<rows>"), "text is never markup");
    }

    #[test]
    fn a_long_definition_is_folded() {
        let tasks: Vec<_> = (0..2000).map(|at| simple(&format!("t{at}"))).collect();
        let drawn = svg(&block(&json!(tasks)), &Standing::default(), None, &|it| {
            Some(format!("/console/runs/x?task={it}"))
        })
        .into_string();
        assert_eq!(drawn.matches("<rect").count(), 400);
        assert!(drawn.contains("1601 more"), "{}", drawn.len());
        // A page of it stays within what a phone can load and hold.
        let (elements, packed) =
            (drawn.matches("</").count(), crate::gzip::packed(drawn.as_bytes()).len());
        assert!(elements < 2800 && packed < 13 * 1024, "{elements} elements, {packed} bytes");
    }
}
