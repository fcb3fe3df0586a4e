//! Puts secrets in the place of what stands for them when an input is handed to a worker.
//!
//! Two things stand for a secret: `${workflow.secrets.NAME}`, and a sealed value (see
//! [`super::sealed`]). Until the hand-off both are plain text everywhere: in stored inputs, in
//! scripts, in outputs. Only the strings that mention one are rewritten; all else is passed on byte
//! for byte. As in Conductor, the text counts wherever it came from: who may start a workflow may
//! name a secret in its input and have it handed to the worker.

use super::java;
use super::path::Path;
use super::sealed::{SEALED_PREFIX, next_sealed};
use crate::json::Json;
use crate::rewrite::{Leaf, Rewrite, mentions};

const PREFIX: &str = "${workflow.secrets.";

/// Where secrets come from.
pub trait Secrets {
    /// The value of a secret; `None` if there is none of this name.
    fn secret(&self, name: &str) -> Option<String>;

    /// What a sealed value stands for; `None` if it was not sealed here, and then it stays as it
    /// is.
    fn open(&self, sealed: &str) -> Option<Json>;

    /// Told of everything that is filled in: whole secrets, parts of them, opened values.
    fn handed(&self, _value: &Json) {}
}

/// Secrets by name alone.
impl<F: Fn(&str) -> Option<String> + ?Sized> Secrets for F {
    fn secret(&self, name: &str) -> Option<String> {
        self(name)
    }

    fn open(&self, _sealed: &str) -> Option<Json> {
        None
    }
}

/// Whether `${workflow.secrets.` or a sealed value stands anywhere in the text.
pub fn mentions_secret(input: &Json) -> bool {
    mentions_either(input.text())
}

/// Replaces `${workflow.secrets.NAME}`, `${workflow.secrets.NAME.path}` and sealed values in all
/// string values.
///
/// A string that is nothing but one becomes its value, or `null` if there is none; with a path the
/// secret is read as JSON and the part keeps its type. In a longer text a missing one is empty.
pub fn resolve_secrets(input: &Json, secrets: &(impl Secrets + ?Sized)) -> Json {
    let replace = |leaf: Leaf<'_>, _: bool| match leaf {
        Leaf::Text(text) => resolve(text, secrets),
        Leaf::Number(_) | Leaf::Name(_) | Leaf::Deep(_) => None,
    };
    Rewrite { concerns: &mentions_either, mark: None, replace: &replace }.apply(input)
}

fn mentions_either(text: &str) -> bool {
    mentions(text, PREFIX) || mentions(text, SEALED_PREFIX)
}

/// Something in a text that stands for a secret.
enum Found<'a> {
    /// `NAME[.path]`.
    Reference(&'a str),
    /// A sealed value.
    Sealed(&'a str),
}

/// The value of a string with secrets in it; `None` if there are none.
fn resolve<S: Secrets + ?Sized>(text: &str, secrets: &S) -> Option<Json> {
    let (start, found, end) = first(text, 0)?;
    if start == 0 && end == text.len() {
        return match found {
            Found::Reference(reference) => {
                Some(value(reference, secrets).unwrap_or_else(Json::null))
            }
            Found::Sealed(sealed) => open(sealed, secrets),
        };
    }
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some((start, found, end)) = first(text, at) {
        out.push_str(&text[at..start]);
        match found {
            Found::Reference(reference) => {
                if let Some(value) = value(reference, secrets).filter(|value| !value.is_null()) {
                    java::write_raw(value.raw(), &mut out);
                }
            }
            Found::Sealed(sealed) => match open(sealed, secrets) {
                Some(value) => java::write_raw(value.raw(), &mut out),
                None => out.push_str(sealed),
            },
        }
        at = end;
    }
    out.push_str(&text[at..]);
    Some(Json::of(&out))
}

/// The first thing from `from` on that stands for a secret: where it begins, what, where it ends.
fn first(text: &str, from: usize) -> Option<(usize, Found<'_>, usize)> {
    let reference = next(text, from);
    let sealed = next_sealed(text, from).map(|(start, end)| (start, &text[start..end], end));
    match (reference, sealed) {
        (Some((start, reference, end)), Some((other, ..))) if start < other => {
            Some((start, Found::Reference(reference), end))
        }
        (_, Some((start, sealed, end))) => Some((start, Found::Sealed(sealed), end)),
        (Some((start, reference, end)), None) => Some((start, Found::Reference(reference), end)),
        (None, None) => None,
    }
}

/// The first reference from `from` on: where it begins, `NAME[.path]`, and where it ends.
fn next(text: &str, from: usize) -> Option<(usize, &str, usize)> {
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
