//! One QuickJS runtime with one global environment, its bounds, and the ways in and out of it.
//!
//! The prelude is evaluated before any user code; what it answers is held here and not in the
//! global environment, so that no script can reach or replace it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use kernel::{Json, ScriptError};
use rquickjs::context::EvalOptions;
use rquickjs::promise::PromiseState;
use rquickjs::{Context, Ctx, Error, Function, Object, Persistent, Runtime, Value};

use super::failure::{self, Raised};
use super::{Limits, output};

const PRELUDE: &str = include_str!("prelude.js");
const FREEZE: &str = include_str!("freeze.js");

/// The name of the user's source in stack traces, where line numbers are looked for.
pub(super) const USER_FILE: &str = "script";

/// When the running evaluation must end, shared with the engine's interrupt handler.
#[derive(Default)]
pub(super) struct Deadline {
    at: Cell<Option<Instant>>,
    passed: Cell<bool>,
}

impl Deadline {
    fn set(&self, at: Instant) {
        self.at.set(Some(at));
        self.passed.set(false);
    }

    /// Looks at the clock; once passed, it stays passed.
    fn check(&self) -> bool {
        if self.at.get().is_some_and(|at| Instant::now() >= at) {
            self.passed.set(true);
        }
        self.passed.get()
    }

    /// Whether the evaluation was interrupted.
    pub(super) fn passed(&self) -> bool {
        self.passed.get()
    }
}

/// A runtime and its global environment. Fields drop in order: values before their runtime.
pub(super) struct Realm {
    adopt: Persistent<Function<'static>>,
    context: Context,
    deadline: Rc<Deadline>,
    runtime: Runtime,
}

impl Realm {
    /// Makes a realm. A frozen one can be shared by evaluations: none can change it.
    pub(super) fn new(limits: &Limits, frozen: bool) -> Result<Self, ScriptError> {
        let runtime = Runtime::new().map_err(|_| failure::no_room())?;
        runtime.set_memory_limit(limits.memory);
        runtime.set_max_stack_size(limits.stack);
        let deadline = Rc::new(Deadline::default());
        let watch = Rc::clone(&deadline);
        runtime.set_interrupt_handler(Some(Box::new(move || watch.check())));
        let context = Context::full(&runtime).map_err(|_| failure::no_room())?;
        let adopt = context.with(|ctx| furnish(&ctx, frozen)).map_err(|_| failure::no_room())?;
        Ok(Self { adopt, context, deadline, runtime })
    }

    /// Runs `work` in the realm until `deadline`; an exception is turned into data.
    pub(super) fn enter<T>(
        &self,
        deadline: Instant,
        work: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<T>,
    ) -> Result<T, Raised> {
        self.deadline.set(deadline);
        self.context
            .with(|ctx| work(&ctx).map_err(|error| failure::raised(&ctx, &error, &self.deadline)))
    }

    /// Parses the input and gives its objects and lists the host's methods.
    pub(super) fn input<'js>(&self, ctx: &Ctx<'js>, input: &Json) -> rquickjs::Result<Value<'js>> {
        let value = ctx.json_parse(input.text())?;
        if value.is_object() { self.adopt.clone().restore(ctx)?.call((value,)) } else { Ok(value) }
    }

    /// Runs the jobs of a promise until it is settled, and answers what it holds. One that nothing
    /// can settle any more is answered as it is.
    pub(super) fn settle<'js>(
        &self,
        ctx: &Ctx<'js>,
        value: Value<'js>,
    ) -> rquickjs::Result<Value<'js>> {
        let Some(promise) = value.as_promise() else { return Ok(value) };
        while promise.state() == PromiseState::Pending {
            if self.deadline.check() {
                return Err(Error::WouldBlock);
            }
            if !ctx.execute_pending_job() {
                return Ok(value);
            }
        }
        promise.result().unwrap_or(Ok(value.clone()))
    }

    /// Whether a script left work behind.
    pub(super) fn has_jobs(&self) -> bool {
        self.runtime.is_job_pending()
    }
}

/// Evaluates the prelude and, for a shared realm, freezes everything.
fn furnish(ctx: &Ctx<'_>, frozen: bool) -> rquickjs::Result<Persistent<Function<'static>>> {
    let made: Object<'_> = evaluate(ctx, PRELUDE, "prelude")?;
    if frozen {
        let freeze: Function<'_> = evaluate(ctx, FREEZE, "freeze")?;
        freeze.call::<_, ()>((made.get::<_, Value<'_>>("prototypes")?,))?;
    }
    let adopt: Function<'_> = made.get("adopt")?;
    Ok(Persistent::save(ctx, adopt))
}

/// Evaluates a sloppy-mode script; the answer is its completion value.
pub(super) fn evaluate<'js, T: rquickjs::FromJs<'js>>(
    ctx: &Ctx<'js>,
    source: &str,
    file: &str,
) -> rquickjs::Result<T> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(file.to_owned());
    ctx.eval_with_options(source, options)
}

/// Writes a result as JSON text, as `JSON.stringify` does; what has no JSON is `null`.
pub(super) fn written<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Option<String>> {
    // Most results are a number, a boolean or a short string: no need to build the text twice.
    if let Some(flag) = value.as_bool() {
        return Ok(Some(if flag { "true" } else { "false" }.to_owned()));
    }
    if let Some(int) = value.as_int() {
        return Ok(Some(int.to_string()));
    }
    ctx.json_stringify(value)?.map(|text| text.to_string()).transpose()
}

/// Bounds the text of a result and takes it as JSON.
pub(super) fn finished(text: Option<String>, limits: &Limits) -> Result<Json, ScriptError> {
    match text {
        Some(text) => output::bounded(text, limits.output),
        None => Ok(Json::null()),
    }
}
