//! One interpreter with one global environment, its bounds, and the ways in and out of it.
//!
//! The prelude is evaluated before any user code; what it answers is held here and not in the
//! global environment, so that no script can reach or replace it.

use std::rc::Rc;

use kernel::{Json, ScriptError};
use rquickjs::context::EvalOptions;
use rquickjs::promise::PromiseState;
use rquickjs::{Context, Ctx, Error, Function, Object, Persistent, Runtime, Value};

use crate::limit::TimeLimit;

use super::deadline::Deadline;
use super::failure::{self, Raised};
use super::needs::Needs;
use super::{Limits, output};

const PRELUDE: &str = include_str!("prelude.js");
const CONSOLE: &str = include_str!("console.js");
const HOST: &str = include_str!("host.js");
const FREEZE: &str = include_str!("freeze.js");

/// A runtime and its global environment. Fields drop in order: values before their runtime.
pub(super) struct Realm {
    adopt: Option<Persistent<Function<'static>>>,
    context: Context,
    deadline: Rc<Deadline>,
    runtime: Runtime,
}

impl Realm {
    /// Makes a realm. A frozen one can be shared by evaluations: none can change it.
    pub(super) fn new(limits: &Limits, needs: Needs, frozen: bool) -> Result<Self, ScriptError> {
        let mut realm = Self::bare(limits)?;
        let furnished = realm.context.with(|ctx| furnish(&ctx, needs, frozen));
        realm.adopt = furnished.map_err(|_| failure::no_room())?;
        Ok(realm)
    }

    /// Makes a realm in which scripts are parsed and none is run: without what scripts use, which takes
    /// most of the time.
    pub(super) fn bare(limits: &Limits) -> Result<Self, ScriptError> {
        let runtime = Runtime::new().map_err(|_| failure::no_room())?;
        runtime.set_memory_limit(limits.memory);
        runtime.set_max_stack_size(limits.stack);
        let deadline = Rc::new(Deadline::default());
        let watch = Rc::clone(&deadline);
        runtime.set_interrupt_handler(Some(Box::new(move || watch.check())));
        let context = Context::full(&runtime).map_err(|_| failure::no_room())?;
        Ok(Self { adopt: None, context, deadline, runtime })
    }

    /// Runs `work` in the realm until `deadline`; an exception is turned into data.
    pub(super) fn enter<T>(
        &self,
        deadline: TimeLimit,
        work: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<T>,
    ) -> Result<T, Raised> {
        self.deadline.set(deadline);
        self.context
            .with(|ctx| work(&ctx).map_err(|error| failure::raised(&ctx, &error, &self.deadline)))
    }

    /// Parses the input and, with `host`, gives its objects and lists the host's methods.
    pub(super) fn input<'js>(
        &self,
        ctx: &Ctx<'js>,
        input: &Json,
        host: bool,
    ) -> rquickjs::Result<Value<'js>> {
        let value = ctx.json_parse(input.text())?;
        match &self.adopt {
            Some(adopt) if host && value.is_object() => adopt.clone().restore(ctx)?.call((value,)),
            _ => Ok(value),
        }
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

/// Evaluates our own parts and, for a shared realm, freezes everything.
fn furnish(
    ctx: &Ctx<'_>,
    needs: Needs,
    frozen: bool,
) -> rquickjs::Result<Option<Persistent<Function<'static>>>> {
    evaluate::<()>(ctx, PRELUDE, "prelude")?;
    if needs.console {
        evaluate::<()>(ctx, CONSOLE, "console")?;
    }
    let host = needs.host.then(|| evaluate::<Object<'_>>(ctx, HOST, "host")).transpose()?;
    if frozen {
        let freeze: Function<'_> = evaluate(ctx, FREEZE, "freeze")?;
        let prototypes: Option<Value<'_>> =
            host.as_ref().map(|host| host.get("prototypes")).transpose()?;
        freeze.call::<_, ()>((prototypes,))?;
    }
    let adopt = host.map(|host| host.get::<_, Function<'_>>("adopt")).transpose()?;
    Ok(adopt.map(|adopt| Persistent::save(ctx, adopt)))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks from instances of everything that syntax and built-ins can make to whatever they
    /// lead to, and names what could be changed. The instances themselves may be.
    const AUDIT: &str = r#"(function () {
        const made = [
            {}, [], () => 1, function () {}, class {}, function* () {}, Object.getPrototypeOf((function* () {})()),
            async () => 1, async function* () {}, Object.getPrototypeOf((async function* () {})()), (async () => 1)(),
            /x/, new Date(), new Map(), new Set(), new WeakMap(), new WeakSet(), new Error(),
            new TypeError(), new AggregateError([]), 1n, 1, "", true, Symbol(), new Promise(() => 1),
            [].values(), "".matchAll(/x/g), ""[Symbol.iterator](), new Map().keys(),
            new Set().values(), new ArrayBuffer(1), new Uint8Array(1), new Float64Array(1),
            new DataView(new ArrayBuffer(1)), new WeakRef({}), new FinalizationRegistry(() => 1),
            new Proxy({}, {}), [1].values().map(x => x), [1].values().take(1),
            [1].values().flatMap(x => [x]), Iterator.from({ next() {} }), Iterator.prototype,
            (function () { return arguments })(), (function () { "use strict"; return arguments })(),
            (tag => tag)`x`, Object.getOwnPropertyDescriptor, new SharedArrayBuffer(1),
        ];
        const seen = new Set(), found = [];
        const walk = (value, path, ours) => {
            if (value === null || (typeof value !== "object" && typeof value !== "function")) return;
            if (seen.has(value)) return;
            seen.add(value);
            if (!ours && !Object.isFrozen(value)) found.push(path);
            walk(Object.getPrototypeOf(value), path + "^", false);
            for (const key of Reflect.ownKeys(value)) {
                const property = Object.getOwnPropertyDescriptor(value, key);
                const mine = ours && ["prototype", "raw", "errors", "callee"].includes(key);
                const name = path + "." + String(key);
                walk(property.value, name, mine);
                walk(property.get, name + "<", false);
                walk(property.set, name + ">", false);
            }
        };
        walk(globalThis, "global", false);
        made.forEach((value, index) => walk(Object(value), index + ":" + typeof value, true));
        return found.length ? found.join(" ") : "frozen " + (seen.size > 600);
    })()"#;

    #[test]
    fn nothing_in_a_frozen_realm_can_be_changed() {
        let limits = Limits::default();
        let realm = Realm::new(&limits, Needs::ALL, true).expect("a realm");
        let far = TimeLimit::begin(limits.time);
        let input = Json::from_text(r#"{"list": [1], "map": {}}"#.to_owned()).expect("JSON");
        let answer = realm.enter(far, |ctx| {
            let input = realm.input(ctx, &input, true)?;
            let host: Value<'_> = evaluate(ctx, "(function ($) {
                const all = [$, $.list, $.map.entrySet()[0], $.entrySet()[0]];
                return all.every(it => it === undefined || Object.isFrozen(Object.getPrototypeOf(it)));
            })", "test")?;
            let host: bool = host.into_function().expect("a function").call((input,))?;
            Ok((evaluate::<String>(ctx, AUDIT, "audit")?, host))
        });
        let answer = answer.map_err(|raised| raised.into_error("", limits.time));
        assert_eq!(answer, Ok(("frozen true".to_owned(), true)));
    }
}
