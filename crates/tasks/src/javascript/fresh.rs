//! An evaluation in a realm of its own, made for it and dropped after it.

use kernel::{Form, Json, ScriptError, ScriptErrorKind};
use rquickjs::{Function, Value};

use super::Limits;
use super::deadline::USER_FILE;
use super::needs::Needs;
use super::realm::{Realm, evaluate, finished, written};
use crate::limit::TimeLimit;

/// Runs a script in sloppy mode, as the web does; `$` is a global variable.
pub(super) fn run(
    source: &str,
    form: Form,
    input: &Json,
    limits: &Limits,
    deadline: TimeLimit,
) -> Result<Json, ScriptError> {
    let needs = Needs::of(source);
    let realm = Realm::new(limits, needs, false)?;
    let text = realm.enter(deadline, |ctx| {
        if let Some(now) = crate::clock::stood_in().filter(|_| tells_time(source)) {
            evaluate::<Value<'_>>(ctx, &format!("({STAND_IN})({})", now.millis()), USER_FILE)?;
        }
        let input = realm.input(ctx, input, needs.host)?;
        let value: Value<'_> = match form {
            Form::Statements => {
                ctx.globals().set("$", input)?;
                evaluate(ctx, source, USER_FILE)?
            }
            Form::FunctionBody => {
                let body: Function<'_> = evaluate(ctx, &as_function(source), USER_FILE)?;
                body.call((input,))?
            }
        };
        let value = realm.settle(ctx, value)?;
        written(ctx, value)
    });
    match text {
        Ok(text) => finished(text, limits),
        // A SyntaxError is the source's own only if the source alone does not parse.
        Err(raised) if raised.syntax => {
            check(source, form, limits)?;
            Err(raised.into_error(source, limits.time))
        }
        Err(raised) => Err(raised.into_error(source, limits.time)),
    }
}

/// Whether a script may ask for what differs from one evaluation to the next.
pub(super) fn tells_time(source: &str) -> bool {
    source.contains("Date") || source.contains("random") || source.contains('\\')
}

/// Lets the clock stand at an instant, and numbers that look random follow from it.
const STAND_IN: &str = "function (now) {
    const Real = Date;
    function Date_(...parts) {
        if (!new.target) return new Real(now).toString();
        return Reflect.construct(Real, parts.length ? parts : [now], new.target);
    }
    Date_.prototype = Real.prototype;
    Real.prototype.constructor = Date_;
    Object.defineProperty(Date_, 'name', { value: 'Date' });
    Date_.now = () => now;
    Date_.parse = Real.parse;
    Date_.UTC = Real.UTC;
    globalThis.Date = Date_;
    let state = now % 2147483647 || 1;
    Math.random = () => (state = state * 48271 % 2147483647) / 2147483647;
}";

/// Parses a script without running it.
pub(super) fn check(source: &str, form: Form, limits: &Limits) -> Result<(), ScriptError> {
    let realm = Realm::bare(limits)?;
    let script = match form {
        Form::Statements => source.to_owned(),
        Form::FunctionBody => as_function(source),
    };
    // A script is parsed whole before its first statement runs, and this one ends there.
    let probe = format!("throw 0;{script}");
    let outcome = realm.enter(TimeLimit::begin(limits.time), |ctx| {
        evaluate::<Value<'_>>(ctx, &probe, USER_FILE).map(drop)
    });
    match outcome {
        Err(raised) if raised.syntax => {
            let error = raised.into_error(source, limits.time);
            Err(ScriptError { kind: ScriptErrorKind::Syntax, ..error })
        }
        Err(raised) if raised.message == PROBED => Ok(()),
        Err(raised) => Err(raised.into_error(source, limits.time)),
        Ok(()) => Ok(()),
    }
}

/// How the exception of the probe reads.
const PROBED: &str = "the script threw 0";

fn as_function(body: &str) -> String {
    format!("(function($){{{body}\n}})")
}
