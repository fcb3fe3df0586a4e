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

#[cfg(test)]
mod tests {
    use super::harmless;
    use crate::javascript::tokens::cut;

    fn shares(source: &str) -> bool {
        cut(source).is_some_and(|tokens| harmless(&tokens))
    }

    #[test]
    fn ordinary_scripts_share_a_realm() {
        for source in [
            "$.a + 1",
            "if ($.iterator * 100 < $.total) { true; } else { false; }",
            "(function(){ return $.n * 2; })();",
            "function e() { if ($.x > 1) { return 'a' } else { return \"b\" } } e();",
            "Math.ceil(($.a-$.b)/100)",
            "$.list.get($.iterator - 1)",
            "var r = []; for (var i = 0; i < $.list.length; i++) { r.push($.list[i].id); } r",
            "`${$.a}/${`${$.b}`}`",
            "$.s.replace(/[\"'/]+/g, '') / 2",
            "const { a, b } = JSON.parse($.text); ({ a, b: b ?? [] })",
            "$.rows.map((row) => ({ ...row, at: new Date(row.at).toISOString() }))",
            "$.a /* this */ // eval",
            "var x = $.a ? 1 : 2; x",
        ] {
            assert!(shares(source), "{source}");
        }
    }

    #[test]
    fn what_could_differ_gets_a_realm_of_its_own() {
        for source in [
            "this.x = 1",
            "globalThis.x = 1",
            "(0, eval)('x = 1')",
            "Function('return this')()",
            "[].constructor.constructor('return this')()",
            "[]['constructor']",
            "1..constructor",
            "1.5.constructor",
            "({}).__proto__.x = 1",
            "Array.prototype.x = 1",
            "Object.assign(Math, { max: 1 })",
            "Object.defineProperty(Math, 'max', { value: 1 })",
            "Reflect.set(Math, 'max', 1)",
            "new Proxy({}, {})",
            "with (Math) { max = 1 }",
            "try { Math.max = 1 } catch (e) {}",
            "Promise.resolve(1).then(f)",
            "async () => 1",
            "(function* () {})",
            "function f() { return arguments }",
            "if (1) { function f() {} } typeof f",
            "if (1) function f() {}",
            "new.target",
            "var $; 1",
            "var a, $; 1",
            "let $ = 2",
            "var { $ } = 1",
            "function $() {}",
            "$ = 1",
            "var Math; Math.max(1, 2)",
            "var a, NaN; NaN",
            "class A {}",
            "new Error().stack",
            "\\u0065val('1')",
            "th\\u0069s",
            "`${this.x}`",
            "`a${`b${eval('1')}`}`",
            "a <!-- b",
            "a\n--> this",
            "if (a) /'/.test(b); this.y = /'/",
            "x++ /'/ 1; this.y /'/ 1",
            "{} /'/; this.y; /'/",
            "a // \u{2028} this",
            "/[[']--/v; this",
            "'unfinished",
            "`unfinished",
            "(",
            ")(",
            "[)",
            "é = 1",
            "#!this",
            "import('x')",
        ] {
            assert!(!shares(source), "{source}");
        }
    }
}
