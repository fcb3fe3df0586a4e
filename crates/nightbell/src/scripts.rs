//! The script engines behind the kernel's port.

use std::sync::Arc;

use kernel::{Form, Json, ScriptError, Scripts, Violation};
use tasks::javascript::JavaScript;
use tasks::jq::Jq;
use tasks::schema::Schemas;

/// JavaScript and jq with the limits of the configuration, and JSON schemas.
pub(crate) struct Engines {
    javascript: JavaScript,
    jq: Jq,
    schemas: Schemas,
}

impl Engines {
    pub(crate) fn new(javascript: tasks::javascript::Limits, jq: tasks::jq::Limits) -> Arc<Self> {
        let (javascript, jq) = (JavaScript::new(javascript), Jq::new(jq));
        Arc::new(Self { javascript, jq, schemas: Schemas::default() })
    }
}

impl Scripts for Engines {
    fn javascript(&self, source: &str, form: Form, input: &Json) -> Result<Json, ScriptError> {
        self.javascript.run(source, form, input)
    }

    fn jq(&self, program: &str, input: &Json) -> Result<Vec<Json>, ScriptError> {
        self.jq.run(program, input)
    }

    fn check_javascript(&self, source: &str, form: Form) -> Result<(), ScriptError> {
        self.javascript.check(source, form)
    }

    fn check_jq(&self, program: &str) -> Result<(), ScriptError> {
        self.jq.check(program)
    }

    fn violations(&self, schema: &Json, document: &Json) -> Result<Vec<Violation>, ScriptError> {
        self.schemas.violations(schema, document)
    }

    fn check_schema(&self, schema: &Json) -> Result<(), ScriptError> {
        self.schemas.check(schema)
    }
}
