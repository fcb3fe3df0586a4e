//! The script engines behind the kernel's port.

use std::sync::Arc;

use kernel::{Form, Json, ScriptError, Scripts};
use tasks::javascript::JavaScript;
use tasks::jq::Jq;

/// JavaScript and jq with the limits of the configuration.
pub(crate) struct Engines {
    javascript: JavaScript,
    jq: Jq,
}

impl Engines {
    pub(crate) fn new(javascript: tasks::javascript::Limits, jq: tasks::jq::Limits) -> Arc<Self> {
        Arc::new(Self { javascript: JavaScript::new(javascript), jq: Jq::new(jq) })
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
}
