//! From program text to something that runs: parse, weave in what jaq lacks, compile.
//!
//! Weaving changes the syntax tree before compilation, which needs only jaq's public interface:
//! definitions, the updates of `reduce` and `foreach` and what commas join begin with `__tick`
//! (limits),
//! `reduce` takes the last output of its update, binary operators and string interpolations let
//! their *last* part vary slowest, and `$__loc__` becomes an object. Of the prelude only the
//! definitions a program reaches are compiled: most programs use a handful, and a compiled filter
//! is kept in a cache.

use std::collections::HashSet;
use std::sync::LazyLock;

use jaq_core::load::lex::{self, Lexer, StrPart, Tok, Token};
use jaq_core::load::parse::{BinaryOp, Def, Parser, Pattern, Term};
use jaq_core::load::{Arena, File, Loader, span};
use jaq_core::path::{Opt, Part, Path};
use jaq_core::{Compiler, compile::Undefined};

use super::natives::{self, Data};

/// Longest program in bytes.
const LENGTH_MAX: usize = 1 << 20;
/// Bound of the nesting of brackets and of the syntax tree, which parser and compiler recurse on.
const NESTING_MAX: usize = 20_000;

/// The definitions written in jq.
const PRELUDE: &str = include_str!("prelude.jq");

/// Filters of jq that read or end the process; refused rather than unknown.
const REFUSED: [&str; 12] = [
    "env",
    "halt",
    "halt_error",
    "input",
    "inputs",
    "debug",
    "stderr",
    "input_line_number",
    "get_search_list",
    "modulemeta",
    "$ENV",
    "$__prog_args",
];

/// A name for the user's program among the definitions that it does not know: one that called itself would run for
/// ever in a single step, which no limit counts.
fn name_of_main(text: &str) -> String {
    // It ends in more of them than stand together anywhere in the text.
    let longest = text.split(|it| it != '_').map(str::len).max().unwrap_or_default();
    format!("__main{}", "_".repeat(longest + 1))
}

type Call<'s> = (&'s str, usize);

/// A compiled program.
pub(super) struct Program {
    pub(super) filter: jaq_core::Filter<Data>,
    /// Nesting of the syntax tree: what running it takes of the stack beyond recursion.
    pub(super) nesting: usize,
}

/// Compiles a program; the error is one line with the place in the text.
///
/// Recurses as deep as the program is nested: needs a big stack.
pub(super) fn compile(text: &str) -> Result<Program, String> {
    let mut main = parse(text)?;
    let mut weaver = Weaver::new(text);
    let nesting = weaver.term(&mut main);
    let mut defs = reached(weaver.calls);
    let name = name_of_main(text);
    defs.push(Def { name: &name, args: Vec::new(), body: main });
    let arena = Arena::default();
    let entry = File { code: name.as_str(), path: () };
    let modules = Loader::new(defs)
        .load(&arena, entry)
        .map_err(|_| "the program does not load".to_owned())?;
    let filter =
        Compiler::default().with_funs(natives::all()).compile(modules).map_err(|errors| {
            let first = errors.iter().flat_map(|(_, errors)| errors).next();
            first.map_or_else(
                || "the program does not compile".to_owned(),
                |(name, kind)| undefined(text, name, kind),
            )
        })?;
    Ok(Program { filter, nesting })
}

fn parse(text: &str) -> Result<Term<&str>, String> {
    if text.len() > LENGTH_MAX {
        return Err(format!("the program is longer than {LENGTH_MAX} bytes"));
    }
    let too_deep = || "the program is nested too deeply".to_owned();
    if bracket_nesting(text) > NESTING_MAX / 4 {
        return Err(too_deep());
    }
    let tokens = Lexer::new(text).lex().map_err(|errors| {
        errors.first().map_or_else(String::new, |(expected, found)| {
            unexpected(text, found, lexical(expected))
        })
    })?;
    if tokens.is_empty() {
        return Ok(Term::Id);
    }
    if token_nesting(&tokens) > NESTING_MAX {
        return Err(too_deep());
    }
    Parser::new(&tokens).parse(Parser::term).map_err(|errors| {
        errors.first().map_or_else(String::new, |(expected, found)| {
            unexpected(text, Token::opt_as_str(*found, text), expected.as_str())
        })
    })
}

fn lexical(expected: &lex::Expect<&str>) -> &'static str {
    match expected {
        // The library knows no word for other delimiters and would panic.
        lex::Expect::Delim(open) if !["(", "[", "{", "\""].contains(open) => "closing delimiter",
        other => other.as_str(),
    }
}

/// How deep round, square and curly brackets nest, wherever they stand.
fn bracket_nesting(text: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

/// An upper bound of how deep the syntax tree of tokens can be. Commas do not count: their chains
/// (long literal lists) are balanced later.
fn token_nesting(tokens: &[Token<&str>]) -> usize {
    let commas = tokens.iter().filter(|token| token.0 == ",").count();
    let inner = tokens.iter().map(|token| match &token.1 {
        Tok::Block(tokens) => token_nesting(tokens),
        Tok::Str(parts) => {
            let terms = parts.iter().filter_map(|part| match part {
                StrPart::Term(token) => Some(token_nesting(std::slice::from_ref(token))),
                _ => None,
            });
            terms.max().unwrap_or(0) + parts.len()
        }
        _ => 0,
    });
    inner.max().unwrap_or(0) + tokens.len() - 2 * commas.min(tokens.len() / 2)
}

fn place(text: &str, part: &str) -> String {
    // A name may also stem from the prelude: then there is no place in the user's text.
    let range = text.as_bytes().as_ptr_range();
    if !range.contains(&part.as_ptr()) && part.as_ptr() != range.end {
        return String::new();
    }
    let before = &text[..span(text, part).start];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    format!(" at line {line}, column {column}")
}

fn unexpected(text: &str, found: &str, expected: &str) -> String {
    /// Characters of the offending text shown.
    const SHOWN: usize = 20;
    let at = place(text, found);
    let first = found.split(char::is_whitespace).next().unwrap_or_default();
    let shown: String = first.chars().take(SHOWN).collect();
    if shown.is_empty() {
        format!("syntax error{at}: unexpected end, expected {expected}")
    } else {
        format!("syntax error{at}: unexpected `{shown}`, expected {expected}")
    }
}

fn undefined(text: &str, name: &str, kind: &Undefined) -> String {
    let at = place(text, name);
    let shown = match kind {
        Undefined::Filter(arity) => format!("{name}/{arity}"),
        _ => name.to_owned(),
    };
    if REFUSED.contains(&name) {
        format!("{shown} is not available here{at}")
    } else {
        format!("{shown} is not defined{at}")
    }
}

/// One definition of the prelude with what it calls.
struct Entry {
    def: Def<&'static str>,
    calls: HashSet<Call<'static>>,
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let defs = jaq_core::load::parse(PRELUDE, |p| p.defs()).expect("the prelude parses");
    let entry = |mut def: Def<&'static str>| {
        let mut weaver = Weaver::new(PRELUDE);
        weaver.def(&mut def);
        let calls = weaver.calls;
        Entry { def, calls }
    };
    defs.into_iter().map(entry).collect()
});

/// The definitions of the prelude that these calls reach, in order.
fn reached(mut calls: HashSet<Call<'_>>) -> Vec<Def<&'static str>> {
    let mut chosen = Vec::new();
    // A definition calls only itself and those above it.
    for entry in ENTRIES.iter().rev() {
        if calls.contains(&(entry.def.name, entry.def.args.len())) {
            calls.extend(&entry.calls);
            chosen.push(entry.def.clone());
        }
    }
    chosen.reverse();
    chosen
}

/// Walks a syntax tree once, rewriting it and noting what it calls.
struct Weaver<'s> {
    text: &'s str,
    calls: HashSet<Call<'s>>,
    /// The definitions around the current term, and whether each calls itself.
    around: Vec<(Call<'s>, bool)>,
}

/// Names for interpolated values that are bound before their string.
const PIECES: [&str; 8] = ["$__0", "$__1", "$__2", "$__3", "$__4", "$__5", "$__6", "$__7"];

impl<'s> Weaver<'s> {
    fn new(text: &'s str) -> Self {
        Weaver { text, calls: HashSet::new(), around: Vec::new() }
    }

    /// Whether these are our own definitions, in which nothing doubles.
    fn is_prelude(&self) -> bool {
        std::ptr::eq(self.text, PRELUDE)
    }

    /// Notes a call; answers whether it calls a definition around it.
    fn call(&mut self, name: &'s str, arity: usize) -> bool {
        self.calls.insert((name, arity));
        let mut recurses = false;
        for (def, recursive) in &mut self.around {
            if *def == (name, arity) {
                *recursive = true;
                recurses = true;
            }
        }
        recurses
    }

    fn def(&mut self, def: &mut Def<&'s str>) -> usize {
        self.around.push(((def.name, def.args.len()), false));
        let nesting = self.term(&mut def.body);
        let recurses = self.around.pop().is_some_and(|(_, recurses)| recurses);
        let closures = def.args.iter().any(|arg| !arg.starts_with('$'));
        if recurses && closures {
            prefix(&mut def.body, "__tick_closure");
        } else if recurses || !self.is_prelude() {
            // Definitions that call each other twice double the work with each, without recursion.
            prefix(&mut def.body, "__tick");
        }
        nesting + 1
    }

    fn terms<'t>(&mut self, terms: impl IntoIterator<Item = &'t mut Term<&'s str>>) -> usize
    where
        's: 't,
    {
        let nesting = terms.into_iter().map(|term| self.term(term));
        nesting.max().unwrap_or(0)
    }

    /// Rewrites a term; answers its nesting.
    fn term(&mut self, term: &mut Term<&'s str>) -> usize {
        let inner = match term {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Arr(None) => 0,
            Term::Var(name) => {
                if *name == "$__loc__" {
                    *term = location(self.text, name);
                }
                0
            }
            Term::Str(format, parts) => {
                if let Some(format) = format {
                    self.call(format, 0);
                }
                let inner = self.terms(parts.iter_mut().filter_map(interpolated));
                reorder_pieces(term);
                inner
            }
            Term::Arr(Some(inner)) | Term::Neg(inner) | Term::Label(_, inner) => self.term(inner),
            Term::Obj(members) => {
                for (key, value) in members.iter_mut() {
                    if let (Term::Var(name @ "$__loc__"), None) = (&key, &value) {
                        *value = Some(location(self.text, name));
                        *key = Term::Str(None, vec![StrPart::Str(&name[1..])]);
                    }
                }
                let members = members.iter_mut();
                let inner = members.map(|(key, value)| self.term(key).max(self.terms(value)));
                inner.max().unwrap_or(0)
            }
            Term::BinOp(_, BinaryOp::Comma, _) => {
                let mut items = comma_items(std::mem::take(term));
                let inner = self.terms(&mut items);
                if !self.is_prelude() {
                    // All repetition begins here: `(1, 1) | (1, 1) | …` doubles with each comma.
                    for item in &mut items {
                        prefix(item, "__tick");
                    }
                }
                let nesting = inner + items.len().ilog2() as usize + 1;
                *term = balanced(items);
                nesting
            }
            Term::BinOp(l, op, r) => {
                let pattern = match op {
                    BinaryOp::Pipe(Some(pattern)) => self.pattern(pattern),
                    _ => 0,
                };
                let inner = self.terms([&mut **l, &mut **r]).max(pattern);
                reorder_operands(term);
                inner
            }
            Term::Fold(kind, source, pattern, args) => {
                let inner = self.term(source).max(self.pattern(pattern));
                let inner = inner.max(self.terms(args.iter_mut()));
                if let ("reduce", [_, update]) = (*kind, &mut args[..])
                    && !single(update)
                {
                    *update = Term::Call("__last_or_null", vec![std::mem::take(update)]);
                }
                if let Some(update) = args.get_mut(1) {
                    prefix(update, "__tick");
                }
                inner
            }
            Term::TryCatch(body, handler) => {
                self.term(body).max(self.terms(handler.as_deref_mut()))
            }
            Term::IfThenElse(branches, otherwise) => {
                let branches = branches.iter_mut();
                let inner = branches.map(|(test, then)| self.terms([test, then]));
                let inner = inner.max().unwrap_or(0);
                inner.max(self.terms(otherwise.as_deref_mut()))
            }
            Term::Def(defs, body) => {
                let defs = defs.iter_mut().map(|def| self.def(def)).max();
                defs.unwrap_or(0).max(self.term(body))
            }
            Term::Call(name, args) => {
                let inner = self.terms(args.iter_mut());
                if self.call(name, args.len()) {
                    // A chain of arguments is run by recursion that no definition begins.
                    for arg in args {
                        prefix(arg, "__tick");
                    }
                }
                inner
            }
            Term::Path(head, Path(parts)) => {
                let mut inner = self.term(head);
                for (part, _) in parts.iter_mut() {
                    inner = inner.max(match part {
                        Part::Index(index) => self.term(index),
                        Part::Range(from, upto) => self.terms(from).max(self.terms(upto)),
                    });
                }
                inner
            }
        };
        inner + 1
    }

    fn pattern(&mut self, pattern: &mut Pattern<&'s str>) -> usize {
        let inner = match pattern {
            Pattern::Var(_) => None,
            Pattern::Arr(items) => items.iter_mut().map(|item| self.pattern(item)).max(),
            Pattern::Obj(members) => {
                let members = members.iter_mut();
                members.map(|(key, value)| self.term(key).max(self.pattern(value))).max()
            }
        };
        inner.unwrap_or(0) + 1
    }
}

/// Makes a term begin with a tick.
fn prefix(term: &mut Term<&str>, tick: &'static str) {
    let body = std::mem::take(term);
    *term = pipe(Term::Call(tick, Vec::new()), None, body);
}

fn pipe<'s>(
    left: Term<&'s str>,
    bind: Option<&'static str>,
    right: Term<&'s str>,
) -> Term<&'s str> {
    let op = BinaryOp::Pipe(bind.map(Pattern::Var));
    Term::BinOp(Box::new(left), op, Box::new(right))
}

fn interpolated<'t, 's>(
    part: &'t mut StrPart<&'s str, Term<&'s str>>,
) -> Option<&'t mut Term<&'s str>> {
    match part {
        StrPart::Term(term) => Some(term),
        _ => None,
    }
}

/// `$__loc__` at this place.
fn location<'s>(text: &'s str, name: &'s str) -> Term<&'s str> {
    let literal = |text| Term::Str(None, vec![StrPart::Str(text)]);
    let line = text[..span(text, name).start].matches('\n').count();
    // A number must be a slice of the text, which has none: count characters when run.
    let newlines = vec![StrPart::Char('\n'); line + 1];
    let line = pipe(Term::Str(None, newlines), None, Term::Call("length", Vec::new()));
    Term::Obj(vec![(literal("file"), Some(literal("<top-level>"))), (literal("line"), Some(line))])
}

/// Whether a term certainly has exactly one output (or an error).
fn single(term: &Term<&str>) -> bool {
    match term {
        Term::Id | Term::Num(_) | Term::Var(_) | Term::Arr(_) => true,
        Term::Str(_, parts) => parts.iter().all(|part| match part {
            StrPart::Term(term) => single(term),
            _ => true,
        }),
        Term::Neg(term) => single(term),
        Term::Obj(members) => {
            members.iter().all(|(key, value)| single(key) && value.as_ref().is_none_or(single))
        }
        Term::BinOp(l, op, r) => !matches!(op, BinaryOp::Comma) && single(l) && single(r),
        Term::IfThenElse(branches, otherwise) => {
            branches.iter().all(|(test, then)| single(test) && single(then))
                && otherwise.as_deref().is_none_or(single)
        }
        Term::Call(name, args) => {
            args.is_empty() && ["length", "tostring", "true", "false", "null"].contains(name)
        }
        Term::Path(head, Path(parts)) => {
            let one = |(part, opt): &(Part<Term<&str>>, Opt)| {
                let Part::Index(index) = part else { return false };
                matches!(opt, Opt::Essential) && single(index)
            };
            single(head) && parts.iter().all(one)
        }
        _ => false,
    }
}

/// `l + r` with several outputs on both sides: jq lets `r` vary slowest, jaq lets `l`.
fn reorder_operands(term: &mut Term<&str>) {
    let Term::BinOp(l, BinaryOp::Math(_) | BinaryOp::Cmp(_), r) = term else {
        return;
    };
    if !single(l) && !single(r) {
        let right = std::mem::replace(&mut **r, Term::Var("$__r"));
        *term = pipe(right, Some("$__r"), std::mem::take(term));
    }
}

/// `"\(a) \(b)"` with several outputs: jq lets the last vary slowest, jaq lets the first.
fn reorder_pieces(term: &mut Term<&str>) {
    let Term::Str(_, parts) = term else { return };
    let several = parts.iter_mut().filter_map(interpolated);
    let several: Vec<_> = several.filter(|term| !single(term)).collect();
    if several.len() < 2 || several.len() > PIECES.len() {
        return;
    }
    let pieces: Vec<_> = several
        .into_iter()
        .zip(PIECES)
        .map(|(piece, name)| (std::mem::replace(piece, Term::Var(name)), name))
        .collect();
    for (piece, name) in pieces {
        *term = pipe(piece, Some(name), std::mem::take(term));
    }
}

/// The items of a chain of commas, in order.
fn comma_items(mut chain: Term<&str>) -> Vec<Term<&str>> {
    let mut items = Vec::new();
    loop {
        match chain {
            Term::BinOp(l, BinaryOp::Comma, r) => {
                items.push(*r);
                chain = *l;
            }
            first => {
                items.push(first);
                items.reverse();
                return items;
            }
        }
    }
}

/// Joins items by commas in a balanced tree: a long literal list is a deep chain otherwise.
fn balanced(mut items: Vec<Term<&str>>) -> Term<&str> {
    match items.len() {
        0 => Term::Id,
        1 => items.remove(0),
        count => {
            let right = balanced(items.split_off(count / 2));
            let left = balanced(items);
            Term::BinOp(Box::new(left), BinaryOp::Comma, Box::new(right))
        }
    }
}
