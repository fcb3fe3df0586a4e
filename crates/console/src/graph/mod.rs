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
        // A loop has many tasks at one place, so names are copied in the end.
        let mut standing: BTreeMap<&str, Count> = BTreeMap::new();
        for task in state.tasks() {
            let class = Class::of(task.status);
            let place = &state.authored_place(task).reference;
            let is_own = *place == state.node_of(task).reference;
            let count = standing.entry(&**place).or_default();
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
        Self(standing.into_iter().map(|(place, count)| (place.to_owned(), count)).collect())
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
    let Picture { width, height, boxes, ways, frames, joins } = &picture;
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
                @for way in joins {
                    path class={ (way_class(way, standing)) " join" } d=(way.d) {}
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
                    td { (node.kind) @if !node.joins.is_empty() { " waits for " (cut(&node.joins.join(", "), 100)) } }
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

    /// What a drawing was when somebody last looked at it; `NIGHTBELL_BLESS=1` writes it anew.
    fn is_as_kept(file: &str, drawn: &str) {
        let drawn = drawn.replace("><", ">\n<");
        let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("NIGHTBELL_BLESS").is_some() {
            std::fs::write(&path, &drawn).expect("the golden file can be written");
        }
        let kept = std::fs::read_to_string(&path).expect("there is a golden file");
        assert!(kept == drawn, "{file} has changed:\n{drawn}");
    }

    /// Places with how they stand and how many tasks they had: good, bad, open.
    fn standing(places: &[(&str, Class, [u64; 3])]) -> Standing {
        let counted = places.iter().zip(1..).map(|((name, class, [good, bad, open]), latest)| {
            let count =
                Count { good: *good, bad: *bad, open: *open, other: 0, latest, class: *class };
            ((*name).to_owned(), count)
        });
        Standing(counted.collect())
    }

    /// A fork whose branches are named, each a task; and its join, which waits for some of them.
    fn fork(branches: &[&str], on: &[&str]) -> [serde_json::Value; 2] {
        let branches: Vec<_> = branches.iter().map(|name| json!([simple(name)])).collect();
        [
            json!({ "name": "f", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": branches }),
            json!({ "name": "j", "taskReferenceName": "join", "type": "JOIN", "joinOn": on }),
        ]
    }

    /// The way that was taken is solid, the other dashed; a join that waits for one of two says for which; the
    /// place that is looked at is marked; repetition is counted.
    #[test]
    fn what_became_of_a_run_is_drawn_in_the_same_way() {
        let [fork, join] = fork(&["left", "right"], &["left"]);
        let block = block(&json!([
            fork,
            join,
            { "name": "s", "taskReferenceName": "how", "type": "SWITCH", "evaluatorType": "value-param",
              "expression": "x", "decisionCases": { "many": [
                { "name": "l", "taskReferenceName": "pages", "type": "DO_WHILE", "loopCondition": "false",
                  "loopOver": [simple("page")] }] },
              "defaultCase": [simple("tell")] },
        ]));
        let standing = standing(&[
            ("fork", Class::Good, [1, 0, 0]),
            ("left", Class::Good, [1, 0, 0]),
            ("right", Class::Busy, [0, 0, 1]),
            ("join", Class::Good, [1, 0, 0]),
            ("how", Class::Good, [1, 0, 0]),
            ("pages", Class::Busy, [0, 0, 1]),
            ("page", Class::Bad, [48, 2, 3]),
        ]);
        let drawn = svg(&block, &standing, Some("page"), &|_| None).into_string();
        is_as_kept("graph-taken.svg.html", &drawn);
        assert_eq!(drawn.matches("\"way join\"").count(), 1, "the join waits for one: {drawn}");
        assert!(drawn.contains("48 ✓ 2 ✕ 3 ▶") && drawn.contains("box bad here"), "{drawn}");
        assert!(drawn.contains("\"way dashed\""), "nothing was told: {drawn}");
        let table = twin(&block, &standing, &|_| None).into_string();
        assert!(table.contains("JOIN waits for left"), "{table}");
    }

    /// Branches beyond the sixth share a box, which counts what became of them.
    #[test]
    fn a_wide_fork_is_folded_with_its_counts_in_the_same_way() {
        let names: Vec<String> = (0..9).map(|at| format!("part{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let [fork, join] = fork(&names, &names);
        let block = block(&json!([fork, join]));
        let mut places = vec![("fork", Class::Good, [1, 0, 0])];
        places.extend(names.iter().map(|name| (*name, Class::Good, [1, 0, 0])));
        places[7] = (names[6], Class::Bad, [0, 1, 0]);
        places[8] = (names[7], Class::Busy, [0, 0, 1]);
        let drawn = svg(&block, &standing(&places), None, &|_| None).into_string();
        is_as_kept("graph-folded.svg.html", &drawn);
        assert!(drawn.contains("4 more ways") && drawn.contains("2 ✓ 1 ✕ 1 ▶"), "{drawn}");
        assert!(!drawn.contains(" join\""), "it waits for all: {drawn}");
    }

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
        let drawn = drawn.into_string();
        is_as_kept("graph.svg.html", &drawn);
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
