//! Decides from its tokens whether a script may run in the shared realm.
//!
//! The shared realm is frozen and runs scripts in strict mode, so nothing here guards isolation:
//! this is about *results*. A script passes if it means the same in strict mode, over frozen
//! built-ins, inside a function, or else throws there; one that throws is run again in a realm of
//! its own. Hence whatever could swallow such an exception, or could see the difference without
//! one, does not pass. When in doubt, it does not pass.

use super::tokens::{Kind, Token};

/// Words that no script in the shared realm may hold, in any position.
const REFUSED: &[&str] = &[
    // Differ between sloppy and strict mode, or between a script and a function.
    "this",
    "arguments",
    "with",
    "eval",
    "Function",
    "globalThis",
    "caller",
    "callee",
    // Swallow exceptions.
    "try",
    "catch",
    "finally",
    // Run later, or keep state between two points in time.
    "async",
    "await",
    "yield",
    "Promise",
    "queueMicrotask",
    "fromAsync",
    "WeakRef",
    "FinalizationRegistry",
    "Atomics",
    "SharedArrayBuffer",
    // See or change how objects are made, and answer failure instead of throwing it.
    "Reflect",
    "Proxy",
    "Symbol",
    "Iterator",
    "constructor",
    "prototype",
    "__proto__",
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "defineProperty",
    "defineProperties",
    "setPrototypeOf",
    "getPrototypeOf",
    "assign",
    "freeze",
    "isFrozen",
    "seal",
    "isSealed",
    "preventExtensions",
    "isExtensible",
    "getOwnPropertyDescriptor",
    "getOwnPropertyDescriptors",
    "getOwnPropertyNames",
    "getOwnPropertySymbols",
    // Show where the code stands.
    "stack",
    "captureStackTrace",
    "stackTraceLimit",
    "prepareStackTrace",
    // Not worth the thought.
    "class",
    "super",
    "import",
    "export",
    "debugger",
];

/// Built-in names a script might declare anew. In a script `var Math;` leaves Math as it was, in a
/// function it hides it.
const GLOBALS: &[&str] = &[
    "AggregateError",
    "Array",
    "ArrayBuffer",
    "AsyncDisposableStack",
    "BigInt",
    "BigInt64Array",
    "BigUint64Array",
    "Boolean",
    "DOMException",
    "DataView",
    "Date",
    "DisposableStack",
    "Error",
    "EvalError",
    "Float16Array",
    "Float32Array",
    "Float64Array",
    "Infinity",
    "Int16Array",
    "Int32Array",
    "Int8Array",
    "InternalError",
    "JSON",
    "Map",
    "Math",
    "NaN",
    "Number",
    "Object",
    "RangeError",
    "ReferenceError",
    "RegExp",
    "Set",
    "String",
    "SuppressedError",
    "SyntaxError",
    "TypeError",
    "URIError",
    "Uint16Array",
    "Uint32Array",
    "Uint8Array",
    "Uint8ClampedArray",
    "WeakMap",
    "WeakSet",
    "atob",
    "btoa",
    "console",
    "decodeURI",
    "decodeURIComponent",
    "encodeURI",
    "encodeURIComponent",
    "escape",
    "gc",
    "isFinite",
    "isNaN",
    "navigator",
    "parseFloat",
    "parseInt",
    "performance",
    "undefined",
    "unescape",
];

/// Words after which `function` is part of an expression.
const BEFORE_EXPRESSION: &[&str] =
    &["return", "typeof", "void", "new", "delete", "in", "instanceof", "throw", "case"];

/// Whether the script means the same, or throws, in the shared realm.
pub(super) fn harmless(tokens: &[Token<'_>]) -> bool {
    let declares = tokens.iter().any(|token| token.is_word("var"));
    tokens.iter().enumerate().all(|(index, token)| {
        let before = index.checked_sub(1).map(|at| &tokens[at]);
        let after = tokens.get(index + 1);
        match token.kind {
            Kind::Word => word_passes(token, before, after, declares),
            Kind::Text => !REFUSED.contains(&&token.text[1..token.text.len() - 1]),
            _ => true,
        }
    })
}

fn word_passes(
    token: &Token<'_>,
    before: Option<&Token<'_>>,
    after: Option<&Token<'_>>,
    declares: bool,
) -> bool {
    let follows = |marks: &[&str]| after.is_some_and(|t| marks.iter().any(|m| t.is_mark(m)));
    match token.text {
        word if REFUSED.contains(&word) => false,
        // The input must not be declared anew: read it, or hand it on.
        "$" => follows(&[".", "[", ")", "?."]),
        "new" => !follows(&["."]),
        "function" => !follows(&["*"]) && function_passes(token, before),
        word if declares && GLOBALS.contains(&word) => {
            let declared = before.is_some_and(|t| {
                t.is_word("var") || [",", "{", "[", ":", "..."].iter().any(|m| t.is_mark(m))
            });
            !declared || follows(&[".", "("])
        }
        _ => true,
    }
}

/// A function declared inside a block is seen outside of it in sloppy mode only.
fn function_passes(token: &Token<'_>, before: Option<&Token<'_>>) -> bool {
    let Some(before) = before else { return true };
    match before.kind {
        Kind::Mark if matches!(before.text, ";" | "}") => token.depth == 0,
        Kind::Mark => !matches!(before.text, "{" | ")" | "]" | "++" | "--"),
        Kind::Word => BEFORE_EXPRESSION.contains(&before.text),
        Kind::TemplateOpen => true,
        Kind::Number | Kind::Text | Kind::Template | Kind::Regex => false,
    }
}
