//! The `outputFilter` of a call: what its task shows instead of the whole answer.
//!
//! A definition writes the filter's expressions with two dollars, `$${self.output.response.body.id}`,
//! so that they arrive here as `${self.output.response.body.id}`, unevaluated, and are evaluated
//! over what the call gave. Nothing else is to be seen from there, least of all the input with its
//! secrets in place: what a filter answers is stored and shown.

use kernel::Json;
use kernel::expression::{Scope, Template};
use serde_json::Value;

use super::fields::{Fields, wrong};
use super::problem::Problem;

const MEMBER: &str = "outputFilter";

/// A filter, ready to be applied.
#[derive(Clone, Debug)]
pub struct Filter {
    template: Template,
    /// The task's own name, under which expressions may also speak of it.
    reference: String,
}

impl Filter {
    /// Reads the filter of an input, `outputFilter` beside the request or in it; absent if there is
    /// none. `reference` is the task's reference name, with or without the suffix of an iteration.
    ///
    /// # Errors
    /// A filter that is no JSON a program could hold, such as one with a number beyond a double.
    pub fn parse(input: &Json, reference: &str) -> Result<Option<Self>, Problem> {
        let Some(outer) = Fields::of(input.text()) else { return Ok(None) };
        let inner = outer.get("http_request").and_then(|request| Fields::of(request.get()));
        let filter = inner.and_then(|inner| inner.get(MEMBER)).or_else(|| outer.get(MEMBER));
        let Some(filter) = filter else { return Ok(None) };
        let value: Value =
            serde_json::from_str(filter.get()).map_err(|_| wrong(MEMBER, "valid JSON"))?;
        let reference = reference.split("__").next().unwrap_or_default().to_owned();
        Ok(Some(Self { template: Template::compile(&value), reference }))
    }

    /// What the task shows instead of `output`: the filter with its expressions evaluated. One that
    /// is no object is shown as the member `result`, as a task's output is an object.
    pub fn apply(&self, output: &Json) -> Json {
        #[derive(serde::Serialize)]
        struct Bare {
            result: Json,
        }
        let shown = self.template.render(&Own { output, reference: &self.reference });
        if shown.is_object() { shown } else { Json::of(&Bare { result: shown }) }
    }
}

/// What a filter sees: `self.output`, the same by the task's own name, and `output` alone.
struct Own<'a> {
    output: &'a Json,
    reference: &'a str,
}

impl Own<'_> {
    fn is_task(&self, root: &str) -> bool {
        root == "self" || root == self.reference
    }
}

impl Scope for Own<'_> {
    fn field(&self, root: &str, field: &str) -> Option<Json> {
        if self.is_task(root) {
            return (field == "output").then(|| self.output.clone());
        }
        if root != "output" {
            return None;
        }
        let members = Fields::of(self.output.text())?;
        members.get(field).and_then(|value| Json::from_text(value.get().to_owned()).ok())
    }

    fn document(&self, root: &str) -> Option<Json> {
        #[derive(serde::Serialize)]
        struct Task<'a> {
            output: &'a Json,
        }
        if self.is_task(root) {
            return Some(Json::of(&Task { output: self.output }));
        }
        (root == "output").then(|| self.output.clone())
    }

    fn bare(&self, _: &str) -> Option<Json> {
        None
    }
}
