//! JavaScript, bounded in time and memory: a fresh realm for every evaluation.

use std::time::{Duration, Instant};

use kernel::{Form, Json, ScriptError, ScriptErrorKind};
use rquickjs::context::EvalOptions;
use rquickjs::{CatchResultExt, Context, Runtime, Value};

/// Bounds of one evaluation.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Wall time.
    pub time: Duration,
    /// Bytes of the heap.
    pub memory: usize,
    /// Bytes of the stack.
    pub stack: usize,
    /// Bytes of the result.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(4), memory: 64 << 20, stack: 512 << 10, output: 16 << 20 }
    }
}

/// The engine.
pub struct JavaScript {
    limits: Limits,
}

impl JavaScript {
    /// With these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Parses only.
    ///
    /// # Errors
    /// The source does not parse.
    pub fn check(&self, source: &str, form: Form) -> Result<(), ScriptError> {
        let wrapped = match form {
            Form::Statements => format!("(function(){{{source}\n}})"),
            Form::FunctionBody => format!("(function($){{{source}\n}})"),
        };
        self.evaluate(&wrapped, &Json::null())
            .map(drop)
            .map_err(|error| ScriptError { kind: ScriptErrorKind::Syntax, ..error })
    }

    /// Evaluates.
    ///
    /// # Errors
    /// Why there is no result.
    pub fn run(&self, source: &str, form: Form, input: &Json) -> Result<Json, ScriptError> {
        match form {
            Form::Statements => self.evaluate(source, input),
            Form::FunctionBody => self.evaluate(&format!("(function(){{{source}\n}})()"), input),
        }
    }

    fn evaluate(&self, source: &str, input: &Json) -> Result<Json, ScriptError> {
        let fail = |kind, message: String| ScriptError { kind, message };
        let broken = |error: rquickjs::Error| fail(ScriptErrorKind::Memory, error.to_string());
        let runtime = Runtime::new().map_err(broken)?;
        runtime.set_memory_limit(self.limits.memory);
        runtime.set_max_stack_size(self.limits.stack);
        let deadline = Instant::now() + self.limits.time;
        runtime.set_interrupt_handler(Some(Box::new(move || Instant::now() >= deadline)));
        let context = Context::full(&runtime).map_err(broken)?;
        context.with(|ctx| {
            let input: Value<'_> = ctx.json_parse(input.text()).map_err(broken)?;
            ctx.globals().set("$", input).map_err(broken)?;
            let mut options = EvalOptions::default();
            options.strict = false;
            let value: Value<'_> =
                ctx.eval_with_options(source, options).catch(&ctx).map_err(|error| {
                    let late = Instant::now() >= deadline;
                    let kind =
                        if late { ScriptErrorKind::Timeout } else { ScriptErrorKind::Runtime };
                    let message = error.to_string();
                    fail(kind, message.lines().next().unwrap_or_default().to_owned())
                })?;
            let text = ctx.json_stringify(value).map_err(broken)?;
            let text = match text {
                Some(text) => text.to_string().map_err(broken)?,
                None => "null".to_owned(),
            };
            Json::from_text(text).map_err(|e| fail(ScriptErrorKind::Runtime, e.to_string()))
        })
    }
}
