//! Values with `${…}` in them, compiled once and rendered straight into JSON text.
//!
//! The rules are those of Conductor's `ParametersUtils`: all strings below lists and maps are rendered, keys are not; a string
//! that is one expression takes on its value and type; in a longer text values stand as Java prints
//! them; `$${` is a plain `${`; a secret's expression stays as it is, so that its value reaches only
//! the worker and never a stored input; what is malformed or missing is `null`. What an expression
//! brings in is data and is never rendered again.
//!
//! Where braces are out of balance Conductor's own search is erratic; here an expression is what
//! stands between `${` and the `}` that closes it, and the rest is text. A value brought into a text
//! also keeps its `$${`, which Conductor would shorten.
//!
//! Rendering is bounded: the size of every part is known before it is copied, so a text that names a
//! large value a thousand times is given up and not built ([`Overrun`]).

use std::cell::Cell;

use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::java;
use super::path::{Path, PathError, Reach};
use crate::json::Json;

/// How deep expressions may stand in expressions.
const NESTING_MAX: usize = 16;

/// What `${…}` can see; asked only for what is used.
pub trait Scope {
    /// A field of a root: `workflow.input`, `fetch.output`. `None`: no such root or field.
    fn field(&self, root: &str, field: &str) -> Option<Json>;

    /// A member of a field, if it is to be had for less than the whole field. `None`: it is read
    /// from the field.
    fn part(&self, _root: &str, _field: &str, _member: &str) -> Option<Json> {
        None
    }

    /// All of a root: `workflow` or a task's reference. `None`: no such root.
    fn document(&self, root: &str) -> Option<Json>;

    /// A lone name that is no root: `CPEWF_TASK_ID`, `NETFLIX_ENV`.
    fn bare(&self, name: &str) -> Option<Json>;

    /// `workflow.env.NAME`; the same as the lone name unless told otherwise.
    fn environment(&self, name: &str) -> Option<Json> {
        self.bare(name)
    }

    /// All roots in one object, for `$..name`; unknown unless told otherwise.
    fn everything(&self) -> Option<Json> {
        None
    }

    /// Bytes that one rendered value may have.
    fn bytes_max(&self) -> usize {
        BYTES_MAX
    }
}

/// Bytes of a rendered value where the scope says nothing of it.
const BYTES_MAX: usize = 16 << 20;

/// How many bytes may be read for each byte that a rendered value may have: an expression goes
/// through the whole value that it names a part of.
const READ_FACTOR: usize = 256;

/// Why a value was not rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overrun {
    /// It would be larger than this many bytes.
    #[error("more than {0} bytes")]
    Size(usize),
    /// Its expressions would go through more than this many bytes of other values.
    #[error("its expressions read more than {0} bytes of other values")]
    Work(usize),
}

/// What is left of the bounds of one rendering.
struct Meter {
    bytes: Cell<usize>,
    work: Cell<usize>,
    bytes_max: usize,
    overrun: Cell<Option<Overrun>>,
}

impl Meter {
    fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Cell::new(bytes_max),
            work: Cell::new(bytes_max.saturating_mul(READ_FACTOR)),
            bytes_max,
            overrun: Cell::new(None),
        }
    }

    /// Counts bytes that are about to be written.
    fn write(&self, bytes: usize) -> Result<(), Overrun> {
        self.spend(&self.bytes, bytes, Overrun::Size(self.bytes_max))
    }

    /// Counts bytes that are about to be read.
    fn read(&self, bytes: usize) -> Result<(), Overrun> {
        self.spend(&self.work, bytes, Overrun::Work(self.bytes_max.saturating_mul(READ_FACTOR)))
    }

    fn spend(&self, left: &Cell<usize>, bytes: usize, over: Overrun) -> Result<(), Overrun> {
        if let Some(less) = left.get().checked_sub(bytes) {
            left.set(less);
            Ok(())
        } else {
            self.overrun.set(Some(over));
            Err(over)
        }
    }
}

/// A compiled value.
#[derive(Clone, Debug)]
pub struct Template(Node);

/// An expression of a template, for checks on a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'t> {
    /// The text between `${` and `}`.
    pub text: &'t str,
    /// The first name: `workflow`, a task's reference, or a lone name. `None` where only running
    /// can tell, as in `${${x}.output}`.
    pub root: Option<&'t str>,
    /// The second name, if it is a plain one: `input`.
    pub field: Option<&'t str>,
    /// Why the expression can only be `null`.
    pub problem: Option<&'t PathError>,
}

/// Renders one string, which may hold any number of expressions; `null` if it is too large.
pub fn evaluate(text: &str, scope: &dyn Scope) -> Json {
    Template(Node::of_text(text)).render(scope)
}

impl Template {
    /// Compiles a value; a malformed expression in it will render as `null`.
    pub fn compile(value: &Value) -> Self {
        Self(Node::of(value))
    }

    /// Whether there is no expression in it.
    pub fn is_constant(&self) -> bool {
        matches!(self.0, Node::Constant(_))
    }

    /// Renders the value for what `scope` sees; `null` if it is larger than the scope allows.
    pub fn render(&self, scope: &dyn Scope) -> Json {
        self.try_render(scope).unwrap_or_else(|_| Json::null())
    }

    /// Renders the value for what `scope` sees.
    ///
    /// # Errors
    /// Which bound it would exceed. Nothing of that size was built then.
    pub fn try_render(&self, scope: &dyn Scope) -> Result<Json, Overrun> {
        let meter = Meter::new(scope.bytes_max());
        match &self.0 {
            Node::Constant(json) => Ok(json.clone()),
            // One value as it is: whoever asks judges its size.
            Node::Text(Text::Whole(expression)) => {
                Ok(expression.resolve(scope, &meter)?.into_json())
            }
            node => {
                match serde_json::value::to_raw_value(&Rendering { node, scope, meter: &meter }) {
                    Ok(raw) => Ok(raw.into()),
                    // Only an overrun keeps a rendering from being JSON.
                    Err(_) => Err(meter.overrun.get().unwrap_or(Overrun::Size(meter.bytes_max))),
                }
            }
        }
    }

    /// The expressions in it, in reading order; blank ones are left out.
    pub fn references(&self) -> impl Iterator<Item = Reference<'_>> {
        let mut found = Vec::new();
        self.0.collect(&mut found);
        found.into_iter()
    }
}

#[derive(Clone, Debug)]
enum Node {
    /// Without expressions: already JSON.
    Constant(Json),
    Text(Text),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    fn of(value: &Value) -> Self {
        let is_constant = |node: &Self| matches!(node, Self::Constant(_));
        match value {
            Value::String(text) => Self::of_text(text),
            Value::Array(items) => {
                let nodes: Vec<_> = items.iter().map(Self::of).collect();
                if nodes.iter().all(is_constant) {
                    return Self::Constant(Json::of(&nodes));
                }
                Self::List(nodes)
            }
            Value::Object(members) => {
                let nodes: Vec<_> =
                    members.iter().map(|(key, value)| (key.clone(), Self::of(value))).collect();
                if nodes.iter().all(|(_, node)| is_constant(node)) {
                    return Self::Constant(Json::of(&ConstantMap(&nodes)));
                }
                Self::Map(nodes)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Constant(Json::of(value)),
        }
    }

    fn of_text(text: &str) -> Self {
        match Text::compile(text, 0) {
            Ok(text) => Self::Text(text),
            Err(constant) => Self::Constant(Json::of(&constant)),
        }
    }

    fn collect<'t>(&'t self, found: &mut Vec<Reference<'t>>) {
        match self {
            Self::Constant(_) => {}
            Self::Text(text) => text.collect(found),
            Self::List(nodes) => nodes.iter().for_each(|node| node.collect(found)),
            Self::Map(nodes) => nodes.iter().for_each(|(_, node)| node.collect(found)),
        }
    }
}

/// Constants are written as they are; of the other nodes only `Rendering` can make JSON.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Constant(json) => json.serialize(serializer),
            Self::Text(_) | Self::List(_) | Self::Map(_) => serializer.serialize_unit(),
        }
    }
}

struct ConstantMap<'t>(&'t [(String, Node)]);

impl Serialize for ConstantMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, node)| (key, node)))
    }
}

/// A node on its way into the output.
struct Rendering<'t> {
    node: &'t Node,
    scope: &'t dyn Scope,
    meter: &'t Meter,
}

impl Serialize for Rendering<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { node, scope, meter } = *self;
        match node {
            Node::Constant(json) => {
                meter.write(json.len()).map_err(S::Error::custom)?;
                json.serialize(serializer)
            }
            Node::Text(Text::Whole(expression)) => {
                let found = expression.resolve(scope, meter).map_err(S::Error::custom)?;
                meter.write(found.size()).map_err(S::Error::custom)?;
                found.serialize(serializer)
            }
            Node::Text(text) => {
                serializer.serialize_str(&text.render(scope, meter).map_err(S::Error::custom)?)
            }
            Node::List(nodes) => {
                let mut list = serializer.serialize_seq(Some(nodes.len()))?;
                for node in nodes {
                    list.serialize_element(&Rendering { node, scope, meter })?;
                }
                list.end()
            }
            Node::Map(nodes) => {
                let mut map = serializer.serialize_map(Some(nodes.len()))?;
                for (key, node) in nodes {
                    map.serialize_entry(key, &Rendering { node, scope, meter })?;
                }
                map.end()
            }
        }
    }
}

/// A string with at least one expression.
#[derive(Clone, Debug)]
enum Text {
    /// Nothing but one expression.
    Whole(Box<Expression>),
    Mixed(Vec<Part>),
}

#[derive(Clone, Debug)]
enum Part {
    Plain(String),
    Expression(Expression),
}

impl Text {
    /// Compiles a text, or answers it unescaped if there is no expression in it.
    fn compile(text: &str, depth: usize) -> Result<Self, String> {
        let spans = spans(text);
        if let [(0, end)] = spans.as_slice()
            && *end == text.len()
        {
            return Ok(Self::Whole(Box::new(Expression::compile(text, depth))));
        }
        if spans.is_empty() {
            return Err(unescape(text));
        }
        let mut parts = Vec::with_capacity(2 * spans.len() + 1);
        let mut done = 0;
        for (start, end) in spans {
            if start > done {
                parts.push(Part::Plain(unescape(&text[done..start])));
            }
            parts.push(Part::Expression(Expression::compile(&text[start..end], depth)));
            done = end;
        }
        if done < text.len() {
            parts.push(Part::Plain(unescape(&text[done..])));
        }
        Ok(Self::Mixed(parts))
    }

    /// The text with all values in it.
    fn render(&self, scope: &dyn Scope, meter: &Meter) -> Result<String, Overrun> {
        let mut out = String::new();
        let add = |expression: &Expression, out: &mut String| -> Result<(), Overrun> {
            let found = expression.resolve(scope, meter)?;
            meter.write(found.size())?;
            found.write(out);
            Ok(())
        };
        match self {
            Self::Whole(expression) => add(expression, &mut out)?,
            Self::Mixed(parts) => {
                for part in parts {
                    match part {
                        Part::Plain(text) => {
                            meter.write(text.len())?;
                            out.push_str(text);
                        }
                        Part::Expression(expression) => add(expression, &mut out)?,
                    }
                }
            }
        }
        Ok(out)
    }

    fn collect<'t>(&'t self, found: &mut Vec<Reference<'t>>) {
        match self {
            Self::Whole(expression) => expression.collect(found),
            Self::Mixed(parts) => parts.iter().for_each(|part| match part {
                Part::Plain(_) => {}
                Part::Expression(expression) => expression.collect(found),
            }),
        }
    }
}

/// `$${` means the text `${`.
fn unescape(text: &str) -> String {
    text.replace("$${", "${")
}

/// Where the outermost expressions of a text are: from a `${`, not behind a `$`, up to and with the
/// `}` that closes it.
fn spans(text: &str) -> Vec<(usize, usize)> {
    if !text.contains("${") {
        return Vec::new();
    }
    let bytes = text.as_bytes();
    let begins = |brace: usize| {
        brace > 0 && bytes[brace - 1] == b'$' && (brace < 2 || bytes[brace - 2] != b'$')
    };
    let mut open = Vec::new();
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' => open.push(at),
            b'}' => {
                if let Some(brace) = open.pop()
                    && begins(brace)
                {
                    // It takes in those found inside it.
                    while spans.last().is_some_and(|(start, _)| *start > brace) {
                        spans.pop();
                    }
                    spans.push((brace - 1, at + 1));
                }
            }
            _ => {}
        }
    }
    spans
}

/// One `${…}`.
#[derive(Clone, Debug)]
struct Expression {
    /// With `${` and `}`.
    source: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// `${}`, which is an empty text.
    Blank,
    /// `${workflow.secrets.…}`, which stays.
    Secret,
    /// `${workflow.env.NAME.path}`.
    Environment {
        name: String,
        path: Option<Result<Path, PathError>>,
    },
    /// `lone`: the text is nothing but one name.
    Path {
        path: Path,
        lone: bool,
    },
    Malformed(PathError),
    /// With expressions inside, which yield the text to read.
    Nested(Text),
}

impl Expression {
    /// Compiles `${…}`.
    fn compile(source: &str, depth: usize) -> Self {
        let inner = source.get(2..source.len().saturating_sub(1)).unwrap_or_default();
        let kind = if depth >= NESTING_MAX {
            Kind::Malformed(PathError { at: 0, message: "the expression nests too deep" })
        } else {
            match Text::compile(inner, depth + 1) {
                Ok(text) => Kind::Nested(text),
                Err(constant) => Kind::of(&constant),
            }
        };
        Self { source: source.to_owned(), kind }
    }

    fn resolve<'t>(&'t self, scope: &dyn Scope, meter: &Meter) -> Result<Found<'t>, Overrun> {
        Ok(match &self.kind {
            Kind::Nested(text) => match Kind::of(&text.render(scope, meter)?) {
                Kind::Path { path, lone } => resolve(&path, lone, scope, meter)?.detach(),
                Kind::Environment { name, path } => environment(&name, path.as_ref(), scope),
                Kind::Secret => Found::Text(&self.source),
                Kind::Blank => Found::Text(""),
                Kind::Malformed(_) | Kind::Nested(_) => Found::Nothing,
            },
            Kind::Path { path, lone } => resolve(path, *lone, scope, meter)?,
            Kind::Environment { name, path } => environment(name, path.as_ref(), scope),
            Kind::Secret => Found::Text(&self.source),
            Kind::Blank => Found::Text(""),
            Kind::Malformed(_) => Found::Nothing,
        })
    }

    fn collect<'t>(&'t self, found: &mut Vec<Reference<'t>>) {
        let text = self.source.get(2..self.source.len().saturating_sub(1)).unwrap_or_default();
        let none = Reference { text, root: None, field: None, problem: None };
        let mut add = |reach: Reach<'t>| {
            found.push(match reach {
                Reach::Field(root, field) => {
                    Reference { root: Some(root), field: Some(field), ..none }
                }
                Reach::Document(root) => Reference { root: Some(root), ..none },
                Reach::Everything => none,
            });
        };
        match &self.kind {
            Kind::Blank => {}
            Kind::Secret => add(Reach::Field("workflow", "secrets")),
            Kind::Environment { .. } => add(Reach::Field("workflow", "env")),
            Kind::Path { path, .. } => {
                add(path.reach());
                path.inner_reaches().into_iter().for_each(add);
            }
            Kind::Malformed(problem) => found.push(Reference { problem: Some(problem), ..none }),
            Kind::Nested(inner) => {
                // `${a.b[${i}]}`: what stands before the first inner expression is known.
                let known = text.split("${").next().unwrap_or_default();
                let mut names = known.trim_start_matches("$.").split(['.', '[']);
                let root = names.next().filter(|root| root.len() < known.len());
                found.push(Reference { root, ..none });
                inner.collect(found);
            }
        }
    }
}

impl Kind {
    /// What a text without expressions means between `${` and `}`.
    fn of(text: &str) -> Self {
        if text.trim().is_empty() {
            return Self::Blank;
        }
        if text.starts_with("workflow.secrets.") {
            return Self::Secret;
        }
        if let Some(reference) = text.strip_prefix("workflow.env.") {
            let (name, path) = match reference.split_once('.') {
                Some((name, path)) => (name, Some(Path::compile(path))),
                None => (reference, None),
            };
            return Self::Environment { name: name.to_owned(), path };
        }
        match Path::compile(text) {
            Ok(path) => {
                let lone = matches!(path.reach(), Reach::Document(root) if root == text);
                Self::Path { path, lone }
            }
            Err(problem) => Self::Malformed(problem),
        }
    }
}

/// What an expression came to.
enum Found<'t> {
    Nothing,
    Text(&'t str),
    Json(Json),
    /// The part of a document behind the first `skip` tokens of a plain path.
    Within {
        document: Json,
        path: &'t Path,
        skip: usize,
    },
}

impl Found<'_> {
    /// Bytes of the value's text, of which none are built to say so.
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            found => found.raw().map_or(4, |raw| raw.get().len()),
        }
    }

    /// The value as text; `None` is `null`.
    fn raw(&self) -> Option<&RawValue> {
        match self {
            Self::Nothing | Self::Text(_) => None,
            Self::Json(json) => Some(json.raw()),
            Self::Within { document, path, skip } => path.pluck(*skip, document.raw()),
        }
    }

    fn into_json(self) -> Json {
        match self {
            Self::Json(json) => json,
            found => Json::of(&found),
        }
    }

    /// Frees the value from the path that found it.
    fn detach<'t>(self) -> Found<'t> {
        Found::Json(self.into_json())
    }

    /// Appends the value as it stands in a text.
    fn write(&self, out: &mut String) {
        match (self, self.raw()) {
            (Self::Text(text), _) => out.push_str(text),
            (_, Some(raw)) => java::write_raw(raw, out),
            (_, None) => out.push_str("null"),
        }
    }
}

impl Serialize for Found<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            found => found.raw().serialize(serializer),
        }
    }
}

fn resolve<'t>(
    path: &'t Path,
    lone: bool,
    scope: &dyn Scope,
    meter: &Meter,
) -> Result<Found<'t>, Overrun> {
    let within = |document: Option<Json>, skip| {
        let Some(document) = document else { return Ok(Found::Nothing) };
        meter.read(document.len())?;
        Ok(if path.len() == skip {
            Found::Json(document)
        } else {
            Found::Within { document, path, skip }
        })
    };
    match path.reach() {
        Reach::Field(root, field) if path.is_plain(2) => {
            match path.third_name().and_then(|member| scope.part(root, field, member)) {
                Some(part) => within(Some(part), 3),
                None => within(scope.field(root, field), 2),
            }
        }
        Reach::Document(root) if path.is_plain(1) => {
            let bare = || if lone { scope.bare(root) } else { None };
            within(scope.document(root).or_else(bare), 1)
        }
        reach => Ok(Found::Json(Json::of(&path.read(&assemble(path, reach, scope, meter)?)))),
    }
}

/// What a tree costs to build, as so many times its text is to read.
const TREE_FACTOR: usize = 8;

/// Builds as much of the whole document as the path and the paths in its filters can reach.
fn assemble(
    path: &Path,
    reach: Reach<'_>,
    scope: &dyn Scope,
    meter: &Meter,
) -> Result<Value, Overrun> {
    let parsed = |document: &Json| -> Result<Value, Overrun> {
        meter.read(document.len().saturating_mul(TREE_FACTOR))?;
        Ok(document.parse())
    };
    let mut whole = Map::new();
    let mut reaches = path.inner_reaches();
    reaches.push(reach);
    for reach in &reaches {
        if let Reach::Field(root, field) = reach
            && let Some(value) = scope.field(root, field)
        {
            let document = whole.entry(*root).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(members) = document {
                members.insert((*field).to_owned(), parsed(&value)?);
            }
        }
    }
    for reach in &reaches {
        if let Reach::Document(root) = reach
            && let Some(document) = scope.document(root)
        {
            whole.insert((*root).to_owned(), parsed(&document)?);
        }
    }
    if reaches.contains(&Reach::Everything)
        && let Some(everything) = scope.everything()
        && let Value::Object(everything) = parsed(&everything)?
    {
        whole.extend(everything);
    }
    Ok(Value::Object(whole))
}

/// A variable of the environment, or the part of it, taken as JSON, that a path names.
fn environment<'t>(
    name: &str,
    path: Option<&Result<Path, PathError>>,
    scope: &dyn Scope,
) -> Found<'t> {
    let Some(value) = scope.environment(name) else { return Found::Nothing };
    match path {
        None => Found::Json(value),
        Some(Err(_)) => Found::Nothing,
        Some(Ok(path)) => match value.parse() {
            Value::String(text) => match Json::from_text(text) {
                Ok(document) => Found::Json(path.read_text(&document)),
                Err(_) => Found::Nothing,
            },
            document => Found::Json(Json::of(&path.read(&document))),
        },
    }
}
