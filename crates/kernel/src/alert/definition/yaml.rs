//! YAML as a tree in which everything knows its line and column.
//!
//! Plain scalars keep their text: whether `10:30` is a time, a text or, as older readers of YAML
//! have it, the number 630 is for whoever asks for it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::Value;

use crate::place::Place;

/// Bytes of a document.
const BYTES_MAX: usize = 8 << 20;
/// Nodes of a document, those that aliases repeat included.
const NODES_MAX: usize = 500_000;
/// How deep a document goes.
const DEPTH_MAX: usize = 64;

/// A part of a document.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub content: Content,
}

/// What a part of a document is.
#[derive(Clone, Debug)]
pub enum Content {
    /// A scalar without quotes.
    Plain(String),
    /// A text that can be nothing else.
    Quoted(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order in which it is written.
    Map(Vec<(Node, Node)>),
}

/// What makes a text no document.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Where.
    pub place: Place,
    /// Why.
    pub message: String,
}

/// Reads one document of YAML, or of JSON, which is YAML too; an empty one is an empty map. Repeated
/// keys come with it, at their place. At most 8 MiB, 500,000 parts and 64 levels.
///
/// # Errors
/// What makes it none, with the place.
pub fn parse(text: &str) -> Result<Node, Broken> {
    let first = Place { line: 1, column: 1 };
    let broken = |message: &str| Broken { place: first, message: message.to_owned() };
    if text.len() > BYTES_MAX {
        return Err(broken("the document has more than 8 MiB"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { stack: Vec::new(), root: None, anchors: BTreeMap::new(), count: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Broken {
            place: Place { line: error.marker().line(), column: error.marker().col() + 1 },
            message: error.info().to_owned(),
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or(Node { place: first, content: Content::Map(Vec::new()) }))
}

struct Builder {
    stack: Vec<Frame>,
    root: Option<Node>,
    anchors: BTreeMap<usize, Node>,
    count: usize,
}

struct Frame {
    place: Place,
    anchor: usize,
    map: bool,
    items: Vec<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Broken> {
        let place = Place { line: span.start.line(), column: span.start.col() + 1 };
        let broken = |message: &str| Broken { place, message: message.to_owned() };
        self.count += 1;
        if self.count > NODES_MAX {
            return Err(broken("the document has too many parts"));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let mut text = Cow::into_owned(text);
                let is_text = tag.as_ref().is_some_and(|tag| tag.suffix == "str");
                let content = match style {
                    ScalarStyle::Plain if !is_text => {
                        if text.is_empty() && tag.is_some_and(|tag| tag.suffix == "!") {
                            // To YAML a tag of nothing; to whoever writes it, the sign.
                            text.push('!');
                        }
                        Content::Plain(text)
                    }
                    _ => Content::Quoted(text),
                };
                self.add(Node { place, content }, anchor);
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                if self.stack.len() >= DEPTH_MAX {
                    return Err(broken("the document is nested too deep"));
                }
                let map = matches!(event, Event::MappingStart(..));
                self.stack.push(Frame { place, anchor, map, items: Vec::new() });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.stack.pop() else { return Ok(()) };
                let content = if frame.map {
                    Content::Map(pairs(frame.items))
                } else {
                    Content::List(frame.items)
                };
                self.add(Node { place: frame.place, content }, frame.anchor);
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node = node.ok_or_else(|| broken("an alias names itself or nothing"))?;
                self.count += node.count();
                if self.count > NODES_MAX {
                    return Err(broken("the document has too many parts"));
                }
                self.add(Node { place, ..node }, 0);
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                return Err(broken("there is a second document; write one file for each"));
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            Some(frame) => frame.items.push(node),
            None => self.root = Some(node),
        }
    }
}

/// Keys and values in turn; what `<<` brings along comes after what the map itself says.
fn pairs(items: Vec<Node>) -> Vec<(Node, Node)> {
    let mut own = Vec::new();
    let mut merged = Vec::new();
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        match (&key.content, value.content) {
            (Content::Plain(text), Content::Map(members)) if text == "<<" => merged.extend(members),
            (Content::Plain(text), Content::List(maps)) if text == "<<" => {
                merged.extend(
                    maps.into_iter()
                        .filter_map(|map| match map.content {
                            Content::Map(members) => Some(members),
                            _ => None,
                        })
                        .flatten(),
                );
            }
            (_, content) => own.push((key, Node { place: value.place, content })),
        }
    }
    for (key, value) in merged {
        if !own.iter().any(|(known, _): &(Node, Node)| known.text() == key.text()) {
            own.push((key, value));
        }
    }
    own
}

impl Node {
    fn count(&self) -> usize {
        1 + match &self.content {
            Content::Plain(_) | Content::Quoted(_) => 0,
            Content::List(items) => items.iter().map(Self::count).sum(),
            Content::Map(members) => {
                members.iter().map(|(key, value)| key.count() + value.count()).sum()
            }
        }
    }

    /// A scalar's text; a null has none.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Plain(text) => Some(text.as_str()).filter(|_| !self.is_null()),
            Content::Quoted(text) => Some(text),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    /// Whether nothing is written there.
    pub fn is_null(&self) -> bool {
        matches!(&self.content, Content::Plain(text) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match &self.content {
            _ if self.is_null() => "nothing",
            Content::Plain(_) | Content::Quoted(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    /// As JSON, plain scalars read by the rules of YAML 1.2.
    pub fn json(&self) -> Value {
        match &self.content {
            _ if self.is_null() => Value::Null,
            Content::Plain(text) => plain(text),
            Content::Quoted(text) => text.clone().into(),
            Content::List(items) => items.iter().map(Self::json).collect(),
            Content::Map(members) => members
                .iter()
                .map(|(key, value)| (key.text().unwrap_or_default().to_owned(), value.json()))
                .collect(),
        }
    }
}

fn plain(text: &str) -> Value {
    match text {
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    // What begins with a zero is an identifier or a time rather than a number.
    let digits = text.trim_start_matches(['-', '+']);
    let padded = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    if !padded && text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        if let Ok(number) = text.parse::<i64>() {
            return number.into();
        }
        if let Some(number) = text.parse::<f64>().ok().filter(|number| number.is_finite()) {
            return number.into();
        }
    }
    text.into()
}
