//! One realm per thread for scripts that are harmless, kept from one evaluation to the next.
//!
//! Isolation rests on the realm: every object in it that exists before a script is frozen, scripts
//! run inside a strict function and so have no global scope to declare in, and `$` is new for each.
//! What a script makes is garbage when it ends. Faithfulness rests on the script, which must be
//! [`harmless`](super::harmless): over frozen built-ins in strict mode it gives the same result or
//! throws, and one that throws is run again in a realm of its own, whose outcome counts.
//!
//! A realm is dropped when a limit was met, when a script left work behind, and every so often, so
//! that nothing accumulates.

use std::cell::RefCell;
use std::collections::HashMap;

use kernel::{Form, Json, ScriptError};
use rquickjs::{Function, Persistent, Value};

use super::deadline::USER_FILE;
use super::needs::Needs;
use super::realm::{Realm, evaluate, finished, written};
use super::{Limits, harmless, rewrite, tokens};
use crate::limit::TimeLimit;

/// Bytes of a source that is remembered; a longer one gets a realm of its own.
const SOURCE_MAX: usize = 32 << 10;
/// Sources remembered by one realm, and their bytes in all.
const SOURCES_MAX: usize = 512;
const SOURCES_BYTES_MAX: usize = 512 << 10;
/// Evaluations in one realm.
const RUNS_MAX: u32 = 20_000;

/// Evaluates a source that cannot be rewritten; its completion value is that of `eval`.
const EVALUATOR: &str = "(function($){\"use strict\";return eval(arguments[1]);})";

thread_local! {
    static SHARED: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// What the shared realm could do for a script.
pub(super) enum Outcome {
    /// It decided the evaluation.
    Decided(Result<Json, ScriptError>),
    /// It was not tried: the script may not be harmless.
    Declined,
    /// The script threw, which may be due to the realm.
    Threw,
}

/// What is known of a source.
#[derive(Clone)]
struct Known {
    plan: Plan,
    needs: Needs,
}

/// How to evaluate a source.
#[derive(Clone)]
enum Plan {
    /// Needs a realm of its own.
    Own,
    /// Harmless, not yet seen to parse as a script.
    New,
    /// Has run as a script. Seen again it is worth compiling.
    Proven,
    /// A function that returns the script's result.
    Compiled(Persistent<Function<'static>>),
    /// Cannot be rewritten as a function.
    Evaluated,
}

/// A frozen realm with what it has compiled. Fields drop in order: values before their runtime.
struct Shared {
    statements: HashMap<Box<str>, Known>,
    bodies: HashMap<Box<str>, Known>,
    evaluator: Persistent<Function<'static>>,
    realm: Realm,
    /// The engine whose limits the realm has.
    owner: u64,
    source_bytes: usize,
    runs: u32,
}

/// Runs a script in the thread's shared realm, if it is harmless.
pub(super) fn run(
    owner: u64,
    source: &str,
    form: Form,
    input: &Json,
    limits: &Limits,
    deadline: TimeLimit,
) -> Outcome {
    if source.len() > SOURCE_MAX {
        return Outcome::Declined;
    }
    let kept = SHARED.with(|shared| shared.borrow_mut().take());
    let kept = kept.filter(|shared| shared.owner == owner && shared.has_room());
    let Some(mut shared) = kept.or_else(|| Shared::new(owner, limits)) else {
        return Outcome::Declined;
    };
    let (outcome, keep) = shared.run(source, form, input, limits, deadline);
    if keep {
        SHARED.with(|place| *place.borrow_mut() = Some(shared));
    }
    outcome
}

/// Takes note that a script which threw in the shared realm succeeds in its own.
pub(super) fn needs_own(owner: u64, source: &str, form: Form) {
    SHARED.with(|shared| {
        if let Some(shared) = shared.borrow_mut().as_mut().filter(|shared| shared.owner == owner) {
            shared.learn(source, form, Plan::Own);
        }
    });
}

impl Shared {
    fn new(owner: u64, limits: &Limits) -> Option<Self> {
        let realm = Realm::new(limits, Needs::ALL, true).ok()?;
        let far = TimeLimit::begin(limits.time);
        let evaluator = realm.enter(far, |ctx| {
            let function: Function<'_> = evaluate(ctx, EVALUATOR, "evaluator")?;
            Ok(Persistent::save(ctx, function))
        });
        Some(Self {
            statements: HashMap::new(),
            bodies: HashMap::new(),
            evaluator: evaluator.ok()?,
            realm,
            owner,
            source_bytes: 0,
            runs: 0,
        })
    }

    fn has_room(&self) -> bool {
        self.runs < RUNS_MAX
            && self.source_bytes < SOURCES_BYTES_MAX
            && self.statements.len() + self.bodies.len() < SOURCES_MAX
    }

    fn plans(&mut self, form: Form) -> &mut HashMap<Box<str>, Known> {
        match form {
            Form::Statements => &mut self.statements,
            Form::FunctionBody => &mut self.bodies,
        }
    }

    /// The outcome, and whether the realm may be used again.
    fn run(
        &mut self,
        source: &str,
        form: Form,
        input: &Json,
        limits: &Limits,
        deadline: TimeLimit,
    ) -> (Outcome, bool) {
        let Known { plan, needs } = self.look_up(source, form, deadline);
        if matches!(plan, Plan::Own) {
            return (Outcome::Declined, true);
        }
        self.runs += 1;
        let realm = &self.realm;
        let evaluator = &self.evaluator;
        let text = realm.enter(deadline, |ctx| {
            let input = realm.input(ctx, input, needs.host)?;
            let value: Value<'_> = match &plan {
                Plan::Compiled(function) => function.clone().restore(ctx)?.call((input,))?,
                _ => evaluator.clone().restore(ctx)?.call((input, source))?,
            };
            if value.is_promise() {
                // Only a realm of its own runs the jobs that settle it.
                return Err(rquickjs::Error::WouldBlock);
            }
            written(ctx, value)
        });
        let keep = !realm.has_jobs();
        match text {
            Ok(text) => {
                if matches!(plan, Plan::New) {
                    self.learn(source, form, Plan::Proven);
                }
                (Outcome::Decided(finished(text, limits)), keep)
            }
            Err(raised) if raised.is_timeout() => {
                (Outcome::Decided(Err(raised.into_error(source, limits.time))), false)
            }
            Err(raised) => (Outcome::Threw, keep && !raised.is_memory()),
        }
    }

    /// What to do with a source, from memory or by looking at it.
    fn look_up(&mut self, source: &str, form: Form, deadline: TimeLimit) -> Known {
        let known = self.plans(form).get(source).cloned();
        let plan = match known {
            Some(Known { plan: Plan::Proven, .. }) => {
                self.compile(source, form, deadline).unwrap_or(Plan::Evaluated)
            }
            Some(known) => return known,
            None => {
                self.source_bytes += source.len();
                self.judge(source, form, deadline)
            }
        };
        self.learn(source, form, plan)
    }

    fn learn(&mut self, source: &str, form: Form, plan: Plan) -> Known {
        let known = Known { plan, needs: Needs::of(source) };
        self.plans(form).insert(source.into(), known.clone());
        known
    }

    fn judge(&self, source: &str, form: Form, deadline: TimeLimit) -> Plan {
        let harmless = tokens::cut(source).is_some_and(|tokens| harmless::harmless(&tokens));
        match form {
            _ if !harmless => Plan::Own,
            Form::Statements => Plan::New,
            // Its brackets are balanced, so it is a body or does not parse.
            Form::FunctionBody => self.compile(source, form, deadline).unwrap_or(Plan::Own),
        }
    }

    fn compile(&self, source: &str, form: Form, deadline: TimeLimit) -> Option<Plan> {
        let function = match form {
            Form::Statements => rewrite::as_function(source, &tokens::cut(source)?)?,
            Form::FunctionBody => rewrite::from_body(source),
        };
        let compiled = self.realm.enter(deadline, |ctx| {
            let function: Function<'_> = evaluate(ctx, &function, USER_FILE)?;
            Ok(Persistent::save(ctx, function))
        });
        compiled.ok().map(Plan::Compiled)
    }
}
