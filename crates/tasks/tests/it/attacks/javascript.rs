//! Every built-in function of JavaScript, over everything that only pretends to be short.

use std::fmt::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use kernel::{Form, Json, ScriptErrorKind};
use tasks::javascript::{JavaScript, Limits};

/// After this time a script does not end: alone it takes moments, on a busy machine seconds.
const ENDLESS: Duration = Duration::from_secs(40);
/// Time that a script may take.
const SHORT_LIMIT: Duration = Duration::from_millis(10);

/// Names every function that is reachable from the global object, as an expression.
const FUNCTIONS: &str = r#"
    const found = [], seen = new Set();
    const walk = (value, path) => {
        if (value === null || (typeof value !== "object" && typeof value !== "function")) return;
        if (seen.has(value)) return;
        seen.add(value);
        if (typeof value === "function") found.push(path);
        for (const key of Reflect.ownKeys(value)) {
            const name = typeof key === "symbol"
                ? `[${/^Symbol\((.*)\)$/.exec(String(key))[1]}]` : `[${JSON.stringify(key)}]`;
            const { value: inner, get, set } = Object.getOwnPropertyDescriptor(value, key);
            walk(inner, path + name);
            const descriptor = `Object.getOwnPropertyDescriptor(${path}, ${name.slice(1, -1)})`;
            walk(get, `${descriptor}.get`);
            walk(set, `${descriptor}.set`);
        }
        const parent = Object.getPrototypeOf(value);
        walk(parent, `Object.getPrototypeOf(${path})`);
    };
    walk(globalThis, "globalThis");
    walk([].values(), "[].values()");
    walk("".matchAll(/x/g), "''.matchAll(/x/g)");
    walk(new Map().keys(), "new Map().keys()");
    walk(new Set().keys(), "new Set().keys()");
    walk(function* () {}, "(function* () {})");
    walk([].values().map((x) => x), "[].values().map(x => x)");
    walk(Iterator.from({ next() {} }), "Iterator.from({ next() {} })");
    found
"#;

/// What the functions are called on and with. `n` is a length that nobody could go through in time.
const HOSTILE: &[&str] = &[
    "({ length: n })",
    "({ length: 9007199254740991 })",
    "sparse()",
    "sparse().values()",
    "sparse().entries()",
    "new Proxy([], { get: (t, k) => k === 'length' ? n : t[k] })",
    "((reads) => ({ get length() { return reads++ % 2 ? n : 1; } }))(0)",
    "((reads) => ({ length: { valueOf() { return reads++ % 2 ? n : 1; } } }))(0)",
    "Object.create({ length: n })",
    "({ size: n, has: () => true, keys: () => sparse().values() })",
    "({ [Symbol.iterator]: () => sparse().values() })",
    "Object.assign(sparse(), { [Symbol.isConcatSpreadable]: true })",
    "[sparse(), sparse()]",
    "({ raw: { length: n } })",
];

/// How a function `f` is called with a hostile value `x`.
const CALLS: &[&str] = &[
    "f.call(x)",
    "f.call(x, Boolean)",
    "f.call(x, 0)",
    "f.call(x, x)",
    "f.call(x, n)",
    "f.call(x, Infinity)",
    "f.call(x, 0, n, 0)",
    "f.call([1, 2, 3], x)",
    "f.call([], x, x)",
    "f.call(null, x)",
    "f.call(undefined, Boolean, x)",
    "f.call(null, x, Boolean)",
    "f.call(Array, x)",
    "f.call(Uint8Array, x)",
    "f.call(new Uint8Array(8), x)",
    "f.call(new Set([1]), x)",
    "f.call(Object.prototype.toString, null, x)",
    "f.call([1], Boolean, x)",
    "f.call('text', x)",
    "f.call(/x/g, x)",
    "new f(x)",
    "new f(n)",
    "f(x)",
    "f({}, x)",
];

fn script(function: &str, calls: &[&str], values: &[&str]) -> String {
    let mut script = format!(
        "const n = 4294967295, sparse = () => {{ const a = []; a.length = n; return a; }};\n\
         const f = {function};\n"
    );
    for value in values {
        for call in calls {
            let _ = writeln!(script, "try {{ const x = {value}; {call}; }} catch (e) {{}}");
        }
    }
    script.push_str("0;");
    script
}

/// A thread that evaluates scripts one after the other, and tells what came of each.
struct Evaluator {
    scripts: Sender<String>,
    outcomes: Receiver<bool>,
}

impl Evaluator {
    fn start() -> Self {
        let (scripts, given) = channel::<String>();
        let (tell, outcomes) = channel();
        thread::spawn(move || {
            let limits = Limits { time: SHORT_LIMIT, memory: 16 << 20, ..Limits::default() };
            let engine = JavaScript::new(limits);
            for script in given {
                let result = engine.run(&script, Form::Statements, &Json::null());
                let timed_out = result.is_err_and(|error| error.kind == ScriptErrorKind::Timeout);
                if tell.send(timed_out).is_err() {
                    return;
                }
            }
        });
        Self { scripts, outcomes }
    }

    /// Whether the script met its limit; `None` if it did not end soon after.
    fn run(&self, script: String) -> Option<bool> {
        self.scripts.send(script).expect("the thread lives");
        match self.outcomes.recv_timeout(ENDLESS) {
            Ok(timed_out) => Some(timed_out),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the interpreter panicked"),
        }
    }
}

/// Calls some functions in all ways; answers those that do not end.
fn endless(functions: &[String]) -> Vec<String> {
    let backwards: Vec<&str> = CALLS.iter().rev().copied().collect();
    let mut evaluator = Evaluator::start();
    let mut endless = Vec::new();
    let mut run = |function: &str, calls: &[&str], values: &[&str]| {
        let outcome = evaluator.run(script(function, calls, values));
        if outcome.is_none() {
            endless.push(format!("{function} over {values:?}"));
            evaluator = Evaluator::start();
        }
        outcome
    };
    for function in functions {
        // All at once. What meets the limit hides what would come after it: then one value after
        // the other, from both ends.
        if run(function, CALLS, HOSTILE) == Some(false) {
            continue;
        }
        for value in HOSTILE {
            if run(function, CALLS, &[value]) != Some(false) {
                run(function, &backwards, &[value]);
            }
        }
    }
    endless
}

#[test]
fn no_built_in_function_runs_past_the_limit() {
    let functions = JavaScript::new(Limits::default())
        .run(FUNCTIONS, Form::Statements, &Json::null())
        .expect("the functions are named");
    let functions: Vec<String> = serde_json::from_str(functions.text()).expect("a list of names");
    assert!(functions.len() > 500, "only {} functions were found", functions.len());
    let endless: Vec<String> = thread::scope(|scope| {
        let parts = functions.chunks(functions.len().div_ceil(2));
        let parts: Vec<_> = parts.map(|part| scope.spawn(|| endless(part))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("no panic")).collect()
    });
    assert!(endless.is_empty(), "{} of {}: {endless:#?}", endless.len(), functions.len());
}

/// Time limits count what a script itself uses.
#[test]
fn a_busy_machine_fails_no_script() {
    const LOOP: &str = "var s = 0; for (var i = 0; i < 2e6; i++) { s += i; } s";
    let run = |limits| JavaScript::new(limits).run(LOOP, Form::Statements, &Json::null());
    let began = Instant::now();
    run(Limits::default()).expect("it runs alone");
    // Up to its first look at the clock a script pays for the time that others had, too.
    let time = (4 * began.elapsed()).max(Duration::from_secs(2));
    let neighbours = 8 * thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        let run = || run(Limits { time, ..Limits::default() });
        let all: Vec<_> = (0..neighbours).map(|_| scope.spawn(run)).collect();
        for one in all {
            one.join().expect("no panic").expect("each has all of its time");
        }
    });
}
