//! Where the boxes of a picture are: top to bottom, ways side by side, no box on another.
//!
//! Each block is measured first and placed then, in the middle of the width that it was given. So no
//! lines cross, and the same tree gives the same picture.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Block, Inner, Node};

const BOX_W: i64 = 176;
const BOX_H: i64 = 40;
/// Between one box and the next below.
const DOWN: i64 = 28;
/// Between ways side by side.
const BESIDE: i64 = 24;
/// Around what is repeated.
const AROUND: i64 = 14;
/// Around the picture.
const MARGIN: i64 = 10;
/// Where a way without places leads: nothing tells whether it was taken.
const NOWHERE: &str = "";
/// A way on which nothing happens is so wide.
const EMPTY_W: i64 = 60;
/// Boxes of a picture; more are folded.
pub(super) const BOXES_MAX: usize = 400;
/// Ways of one place; more are folded.
const WAYS_MAX: usize = 6;

/// A box: of one place, or of many that are folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drawn<'a> {
    pub(crate) x: i64,
    pub(crate) y: i64,
    pub(crate) w: i64,
    pub(crate) h: i64,
    pub(crate) name: Cow<'a, str>,
    pub(crate) kind: &'a str,
    /// The places that it stands for.
    pub(crate) references: Vec<&'a str>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way<'a> {
    pub(crate) d: String,
    pub(crate) label: Option<&'a str>,
    pub(crate) label_at: (i64, i64),
    /// The places that it leads to; empty if it does not matter which.
    pub(crate) to: Vec<&'a str>,
}

/// A frame around what is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) x: i64,
    pub(crate) y: i64,
    pub(crate) w: i64,
    pub(crate) h: i64,
}

/// Everything that is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture<'a> {
    pub(crate) width: i64,
    pub(crate) height: i64,
    pub(crate) boxes: Vec<Drawn<'a>>,
    pub(crate) ways: Vec<Way<'a>>,
    pub(crate) frames: Vec<Frame>,
    /// What joins wait for, where that is not all above them; drawn on top.
    pub(crate) joins: Vec<Way<'a>>,
}

/// A measured place.
enum Part<'a> {
    /// One box.
    Box { name: Cow<'a, str>, kind: &'a str, references: Vec<&'a str> },
    /// A box, and ways below it that come together again.
    Ways { node: &'a Node, ways: Vec<(Option<&'a str>, Column<'a>)> },
    /// A box, and below it what is repeated.
    Loop { node: &'a Node, body: Column<'a> },
}

/// Measured places below one another.
struct Column<'a> {
    w: i64,
    h: i64,
    parts: Vec<(Part<'a>, i64, i64)>,
}

impl<'a> Picture<'a> {
    /// Lays a definition out. What nests too deep or is too long for a picture is folded.
    pub(crate) fn of(block: &'a Block) -> Self {
        let deepest = depth_of(block);
        let mut column = measure(block, 0, deepest, usize::MAX);
        let mut most = deepest;
        while boxes(&column) > BOXES_MAX && most > 0 {
            most -= 1;
            column = measure(block, 0, most, usize::MAX);
        }
        if boxes(&column) > BOXES_MAX {
            column = measure(block, 0, 0, BOXES_MAX);
        }
        let mut picture =
            Self { width: column.w + 2 * MARGIN, height: column.h + 2 * MARGIN, ..Self::default() };
        picture.place(column, MARGIN, MARGIN, None);
        picture.join(block);
        picture
    }

    /// Draws what joins wait for, from box to box; within one box there is nothing to draw.
    fn join(&mut self, block: &'a Block) {
        let mut joins: Vec<&'a Node> = Vec::new();
        block.walk(0, &mut |_, node| {
            if !node.joins.is_empty() {
                joins.push(node);
            }
        });
        if joins.is_empty() {
            return;
        }
        let mut boxes = BTreeMap::new();
        for (at, it) in self.boxes.iter().enumerate() {
            boxes.extend(it.references.iter().map(|reference| (*reference, at)));
        }
        let mut ways = Vec::new();
        for node in joins {
            let to = boxes.get(node.reference.as_str());
            let mut met = BTreeSet::new();
            for name in &node.joins {
                let from = boxes.get(name.as_str());
                if let (Some(&from), Some(&to)) = (from, to)
                    && from != to
                    && met.insert(from)
                {
                    let (from, to) = (&self.boxes[from], &self.boxes[to]);
                    let (x, y) = (from.x + from.w / 2, from.y + from.h);
                    let (end, top) = (to.x + to.w / 2, to.y);
                    let d = format!("M{x} {y}C{x} {} {end} {} {end} {top}", y + DOWN, top - DOWN);
                    ways.push(Way { d, label: None, label_at: (0, 0), to: vec![name] });
                }
            }
        }
        self.joins = ways;
    }

    /// Places a column whose left upper corner is here; answers the middle of its upper side.
    fn place(&mut self, column: Column<'a>, x: i64, y: i64, from: Option<i64>) -> i64 {
        let middle = x + column.w / 2;
        let mut top = y;
        let mut before = from;
        for (part, w, h) in column.parts {
            if let Some(before) = before {
                let to = first_of(&part);
                self.way(format!("M{middle} {before}V{top}"), None, (0, 0), to);
            }
            self.part(part, middle - w / 2, top, w, h);
            before = Some(top + h);
            top += h + DOWN;
        }
        middle
    }

    fn part(&mut self, part: Part<'a>, x: i64, y: i64, w: i64, h: i64) {
        let middle = x + w / 2;
        match part {
            Part::Box { name, kind, references } => self.folded(middle, y, name, kind, references),
            Part::Ways { node, ways } => {
                self.node(middle, y, node);
                let (from, top, bottom) = (y + BOX_H, y + BOX_H + DOWN + 8, y + h);
                let total: i64 = ways.iter().map(|(_, column)| column.w).sum();
                let gaps = BESIDE * (ways.len() as i64 - 1);
                let mut left = middle - i64::midpoint(total, gaps);
                for (label, column) in ways {
                    let (w, height) = (column.w, column.h);
                    let to: Vec<&str> = column
                        .parts
                        .first()
                        .map_or_else(|| vec![NOWHERE], |(part, ..)| first_of(part));
                    let center = left + w / 2;
                    let end = top + height;
                    let turn = from + 10;
                    self.way(
                        format!("M{middle} {from}V{turn}H{center}V{top}"),
                        label,
                        (center, top - 5),
                        to.clone(),
                    );
                    self.place(column, left, top, None);
                    let join = bottom - 8;
                    self.way(format!("M{center} {end}V{join}H{middle}V{bottom}"), None, (0, 0), to);
                    left += w + BESIDE;
                }
            }
            Part::Loop { node, body } => {
                let inner = y + BOX_H + DOWN;
                self.node(middle, y, node);
                let frame = Frame { x, y: inner - AROUND, w, h: h - BOX_H - DOWN + AROUND };
                self.frames.push(frame);
                self.place(body, x + AROUND, inner, Some(y + BOX_H));
            }
        }
    }

    fn node(&mut self, middle: i64, y: i64, node: &'a Node) {
        self.boxes.push(Drawn {
            x: middle - BOX_W / 2,
            y,
            w: BOX_W,
            h: BOX_H,
            name: Cow::Borrowed(&node.reference),
            kind: &node.kind,
            references: vec![&node.reference],
        });
    }

    fn folded(
        &mut self,
        middle: i64,
        y: i64,
        name: Cow<'a, str>,
        kind: &'a str,
        references: Vec<&'a str>,
    ) {
        let x = middle - BOX_W / 2;
        self.boxes.push(Drawn { x, y, w: BOX_W, h: BOX_H, name, kind, references });
    }

    fn way(&mut self, d: String, label: Option<&'a str>, label_at: (i64, i64), to: Vec<&'a str>) {
        self.ways.push(Way { d, label, label_at, to });
    }
}

/// The places with which a part begins.
fn first_of<'a>(part: &Part<'a>) -> Vec<&'a str> {
    match part {
        Part::Box { references, .. } => references.clone(),
        Part::Ways { node, .. } | Part::Loop { node, .. } => vec![&node.reference],
    }
}

/// How deep blocks stand in blocks.
fn depth_of(block: &Block) -> usize {
    let mut deepest = 0;
    block.walk(0, &mut |depth, _| deepest = deepest.max(depth));
    deepest
}

/// Boxes of a measured column.
fn boxes(column: &Column<'_>) -> usize {
    let of_part = |part: &Part<'_>| match part {
        Part::Box { .. } => 1,
        Part::Ways { ways, .. } => 1 + ways.iter().map(|(_, column)| boxes(column)).sum::<usize>(),
        Part::Loop { body, .. } => 1 + boxes(body),
    };
    column.parts.iter().map(|(part, ..)| of_part(part)).sum()
}

/// Measures a block; what stands deeper than `most` is folded, and what is longer than `longest`.
fn measure(block: &Block, depth: usize, most: usize, longest: usize) -> Column<'_> {
    let mut parts: Vec<(Part<'_>, i64, i64)> = Vec::new();
    let nodes = &block.0;
    let (head, tail) = if nodes.len() > longest {
        // The end matters as much as the beginning.
        (longest / 2 - 1, longest / 2)
    } else {
        (nodes.len(), 0)
    };
    for node in &nodes[..head] {
        parts.push(measured(node, depth, most));
    }
    let middle = &nodes[head..nodes.len() - tail];
    if !middle.is_empty() {
        let references: Vec<&str> = middle
            .iter()
            .flat_map(|node| std::iter::once(node.reference.as_str()).chain(inside(node)))
            .collect();
        parts.push(fold(format!("{} more", references.len()), "places", references));
    }
    for node in &nodes[nodes.len() - tail..] {
        parts.push(measured(node, depth, most));
    }
    let w = parts.iter().map(|(_, w, _)| *w).max().unwrap_or(EMPTY_W);
    let gaps = DOWN * (parts.len() as i64 - 1).max(0);
    let h = parts.iter().map(|(.., h)| *h).sum::<i64>() + gaps;
    Column { w, h, parts }
}

fn fold<'a>(name: String, kind: &'a str, references: Vec<&'a str>) -> (Part<'a>, i64, i64) {
    (Part::Box { name: Cow::Owned(name), kind, references }, BOX_W, BOX_H)
}

fn inside(node: &Node) -> Vec<&str> {
    node.blocks().into_iter().flat_map(Block::references).collect()
}

fn measured(node: &Node, depth: usize, most: usize) -> (Part<'_>, i64, i64) {
    let hides = depth >= most;
    match &node.inner {
        Inner::Nothing => {
            let name = Cow::Borrowed(node.reference.as_str());
            let references = vec![node.reference.as_str()];
            (Part::Box { name, kind: &node.kind, references }, BOX_W, BOX_H)
        }
        _ if hides && !inside(node).is_empty() => {
            let references: Vec<&str> =
                std::iter::once(node.reference.as_str()).chain(inside(node)).collect();
            fold(format!("{} +{}", node.reference, references.len() - 1), &node.kind, references)
        }
        Inner::Cases(cases) => {
            let ways = cases.iter().map(|(name, block)| (Some(name.as_str()), block));
            across(node, &ways.collect::<Vec<_>>(), depth, most)
        }
        Inner::Branches(branches) => {
            let ways: Vec<_> = branches.iter().map(|block| (None, block)).collect();
            across(node, &ways, depth, most)
        }
        Inner::Body(block) => {
            let body = measure(block, depth + 1, most, usize::MAX);
            let w = (body.w + 2 * AROUND).max(BOX_W);
            let body = Column { w: w - 2 * AROUND, ..body };
            let h = BOX_H + DOWN + body.h + AROUND;
            (Part::Loop { node, body }, w, h)
        }
    }
}

/// Measures ways side by side; those beyond the sixth share one box.
fn across<'a>(
    node: &'a Node,
    blocks: &[(Option<&'a str>, &'a Block)],
    depth: usize,
    most: usize,
) -> (Part<'a>, i64, i64) {
    let shown = if blocks.len() > WAYS_MAX { WAYS_MAX - 1 } else { blocks.len() };
    let mut ways: Vec<(Option<&str>, Column<'_>)> = blocks[..shown]
        .iter()
        .map(|(label, block)| (*label, measure(block, depth + 1, most, usize::MAX)))
        .collect();
    let folded = &blocks[shown..];
    if !folded.is_empty() {
        let references: Vec<&str> =
            folded.iter().flat_map(|(_, block)| block.references()).collect();
        let part = fold(format!("{} more ways", folded.len()), "folded", references);
        ways.push((None, Column { w: part.1, h: part.2, parts: vec![part] }));
    }
    let total: i64 = ways.iter().map(|(_, column)| column.w).sum();
    let w = (total + BESIDE * (ways.len() as i64 - 1).max(0)).max(BOX_W);
    let tallest = ways.iter().map(|(_, column)| column.h).max().unwrap_or(0);
    let h = BOX_H + DOWN + 8 + tallest + 18;
    (Part::Ways { node, ways }, w, h)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any nesting of sequences, cases, branches and loops; references are numbered afterwards.
    fn blocks() -> impl Strategy<Value = Block> {
        let task = Just(Inner::Nothing);
        let node = task.prop_recursive(5, 200, 9, |inner| {
            let block = prop::collection::vec(inner, 0..5)
                .prop_map(|inner| Block(inner.into_iter().map(named).collect()));
            prop_oneof![
                prop::collection::vec(block.clone(), 0..9).prop_map(Inner::Branches),
                prop::collection::vec(block.clone(), 0..9).prop_map(|blocks| {
                    Inner::Cases(blocks.into_iter().map(|it| ("case".to_owned(), it)).collect())
                }),
                block.prop_map(Inner::Body),
            ]
        });
        prop::collection::vec(node, 0..40).prop_map(|inner| {
            let mut block = Block(inner.into_iter().map(named).collect());
            let mut next = 0;
            number(&mut block, &mut next);
            block
        })
    }

    fn named(inner: Inner) -> Node {
        Node { reference: String::new(), kind: "T".to_owned(), inner, joins: Vec::new() }
    }

    fn number(block: &mut Block, next: &mut usize) {
        for node in &mut block.0 {
            node.reference = format!("n{next}");
            *next += 1;
            match &mut node.inner {
                Inner::Nothing => {}
                Inner::Cases(cases) => cases.iter_mut().for_each(|(_, it)| number(it, next)),
                Inner::Branches(branches) => branches.iter_mut().for_each(|it| number(it, next)),
                Inner::Body(body) => number(body, next),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn no_boxes_overlap_and_every_place_is_there_once(block in blocks()) {
            let picture = Picture::of(&block);
            prop_assert!(picture.boxes.len() <= BOXES_MAX);
            let mut met = BTreeSet::new();
            for (at, it) in picture.boxes.iter().enumerate() {
                prop_assert!(it.x >= 0 && it.x + it.w <= picture.width, "{it:?}");
                prop_assert!(it.y >= 0 && it.y + it.h <= picture.height, "{it:?}");
                for reference in &it.references {
                    prop_assert!(met.insert(*reference), "{reference} is there twice");
                }
                for other in &picture.boxes[at + 1..] {
                    let apart = it.x + it.w <= other.x
                        || other.x + other.w <= it.x
                        || it.y + it.h <= other.y
                        || other.y + other.h <= it.y;
                    prop_assert!(apart, "{it:?} and {other:?}");
                }
            }
            let all: BTreeSet<&str> = block.references().into_iter().collect();
            prop_assert_eq!(met, all);
        }
    }
}
