//! Puts secrets in the place of what stands for them when an input is handed to a worker.
//!
//! Two things stand for a secret: a reference, which the text of a definition becomes when it is
//! pinned (see [`super::reference`]), and a sealed value (see [`super::sealed`]). Until the hand-off
//! both are plain text everywhere: in stored inputs, in scripts, in outputs. Only the strings that
//! hold one are rewritten; all else is passed on byte for byte.
//!
//! `${workflow.secrets.NAME}` in data is text and stays text, wherever it came from, unless the
//! definition that is run says that data may name this secret ([`Secrets::honours`]).

use super::java;
use super::path::Path;
use super::reference::{REFERENCE_PREFIX, next_reference};
use super::sealed::{SEALED_PREFIX, next_sealed};
use crate::json::Json;
use crate::rewrite::{Leaf, Rewrite, mentions};

/// How an author's expression for a secret begins.
pub(super) const PREFIX: &str = "${workflow.secrets.";

/// Where secrets come from.
pub trait Secrets {
    /// The value of a secret; `None` if there is none of this name.
    fn secret(&self, name: &str) -> Option<String>;

    /// What a sealed value stands for; `None` if it was not sealed here, and then it stays as it
    /// is.
    fn open(&self, sealed: &str) -> Option<Json>;

    /// `NAME[.path]` of a reference; `None` if it was not made here, and then it stays as it is.
    fn named(&self, reference: &str) -> Option<String>;

    /// Whether `${workflow.secrets.NAME}` in data stands for the secret of this name, too.
    fn honours(&self, name: &str) -> bool;

    /// Learns everything that is filled in: whole secrets, parts of them, opened values.
    fn handed(&self, _value: &Json) {}
}

/// Secrets by name alone, for texts whose author is known: every expression counts.
impl<F: Fn(&str) -> Option<String> + ?Sized> Secrets for F {
    fn secret(&self, name: &str) -> Option<String> {
        self(name)
    }

    fn open(&self, _sealed: &str) -> Option<Json> {
        None
    }

    fn named(&self, _reference: &str) -> Option<String> {
        None
    }

    fn honours(&self, _name: &str) -> bool {
        true
    }
}

/// Whether a reference, a sealed value or `${workflow.secrets.` stands anywhere in the text.
pub fn mentions_secret(input: &Json) -> bool {
    mentions_any(input.text())
}

/// Whether a text names this secret in a `${workflow.secrets.NAME[.path]}`.
pub fn names_secret(text: &str, name: &str) -> bool {
    let mut at = 0;
    while let Some((_, named, end)) = next_literal(text, at) {
        if name_of(named) == name {
            return true;
        }
        at = end;
    }
    false
}

/// Replaces references, sealed values, and `${workflow.secrets.NAME[.path]}` of the names that are
/// honoured, in all string values.
///
/// A string that is nothing but one becomes its value, or `null` if there is none; with a path the
/// secret is read as JSON and the part keeps its type. In a longer text a missing one is empty.
pub fn resolve_secrets(input: &Json, secrets: &(impl Secrets + ?Sized)) -> Json {
    let replace = |leaf: Leaf<'_>, _: bool| match leaf {
        Leaf::Text(text) => resolve(text, secrets),
        Leaf::Number(_) | Leaf::Name(_) | Leaf::Deep(_) => None,
    };
    Rewrite { concerns: &mentions_any, mark: None, replace: &replace }.apply(input)
}

fn mentions_any(text: &str) -> bool {
    // Both prefixes end alike: one search finds either.
    debug_assert!(REFERENCE_PREFIX.ends_with(VERSION) && SEALED_PREFIX.ends_with(VERSION));
    mentions(text, PREFIX) || mentions(text, VERSION)
}

/// What references and sealed values have in common.
pub(super) const VERSION: &str = ":v1:";

/// Something in a text that stands for a secret.
enum Found<'a> {
    /// `NAME[.path]` of an expression in data.
    Literal(&'a str),
    /// A reference.
    Reference(&'a str),
    /// A sealed value.
    Sealed(&'a str),
}

/// The value of a string with secrets in it; `None` if there are none.
fn resolve<S: Secrets + ?Sized>(text: &str, secrets: &S) -> Option<Json> {
    let (start, found, end) = first(text, 0)?;
    if start == 0 && end == text.len() {
        return meaning(&found, secrets);
    }
    let mut out = String::with_capacity(text.len());
    let (mut done, mut at) = (0, 0);
    while let Some((start, found, end)) = first(text, at) {
        at = end;
        // What stands for nothing here is text like the rest.
        let Some(value) = meaning(&found, secrets) else { continue };
        out.push_str(&text[done..start]);
        if !value.is_null() || matches!(found, Found::Sealed(_)) {
            java::write_raw(value.raw(), &mut out);
        }
        done = end;
    }
    (done > 0).then(|| Json::of(&(out + &text[done..])))
}

/// What something stands for: `null` for a secret that there is not, `None` if it is mere text.
fn meaning<S: Secrets + ?Sized>(found: &Found<'_>, secrets: &S) -> Option<Json> {
    let named = match *found {
        Found::Sealed(sealed) => return open(sealed, secrets),
        Found::Reference(reference) => &*secrets.named(reference)?,
        Found::Literal(named) if secrets.honours(name_of(named)) => named,
        Found::Literal(_) => return None,
    };
    Some(value(named, secrets).unwrap_or_else(Json::null))
}

/// The first thing from `from` on that may stand for a secret: where it begins, what, where it ends.
fn first(text: &str, from: usize) -> Option<(usize, Found<'_>, usize)> {
    let literal = next_literal(text, from).map(|(at, named, end)| (at, Found::Literal(named), end));
    let of = |(start, end)| (start, &text[start..end], end);
    let sealed = next_sealed(text, from).map(of).map(|(at, it, end)| (at, Found::Sealed(it), end));
    let reference = next_reference(text, from).map(of);
    let reference = reference.map(|(at, it, end)| (at, Found::Reference(it), end));
    [literal, sealed, reference].into_iter().flatten().min_by_key(|(at, ..)| *at)
}

/// The first expression from `from` on: where it begins, `NAME[.path]`, and where it ends.
pub(super) fn next_literal(text: &str, from: usize) -> Option<(usize, &str, usize)> {
    let mut at = from;
    loop {
        let start = at + text[at..].find(PREFIX)?;
        let inner = start + PREFIX.len();
        let length = text[inner..].find('}')?;
        if length > 0 {
            return Some((start, &text[inner..inner + length], inner + length + 1));
        }
        at = inner;
    }
}

fn name_of(named: &str) -> &str {
    named.split_once('.').map_or(named, |(name, _)| name)
}

fn value<S: Secrets + ?Sized>(reference: &str, secrets: &S) -> Option<Json> {
    let value = match reference.split_once('.') {
        None => Json::of(&secrets.secret(reference)?),
        Some((name, path)) => {
            let document = Json::from_text(secrets.secret(name)?).ok()?;
            Path::compile(path).ok()?.read_text(&document)
        }
    };
    secrets.handed(&value);
    Some(value)
}

fn open<S: Secrets + ?Sized>(sealed: &str, secrets: &S) -> Option<Json> {
    let value = secrets.open(sealed)?;
    secrets.handed(&value);
    Some(value)
}
