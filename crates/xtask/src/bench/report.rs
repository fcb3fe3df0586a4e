//! The report: a table for whoever waits, and the same in `docs/performance.md`.
//!
//! Only what stands between the two marks in that file is replaced. The words around it, and why a
//! figure falls short, are written by hand.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context;

use super::figures::{Bar, Figure, GROUPS, Samples};
use crate::root;

const BEGIN: &str = "<!-- measured: begin (written by `cargo xtask bench`) -->";
const END: &str = "<!-- measured: end -->";

/// Prints the report; a complete one is kept too.
pub(super) fn publish(samples: &Samples, facts: &str, complete: bool) -> anyhow::Result<()> {
    let text = format!("{facts}{}", tables(samples));
    writeln!(std::io::stdout(), "{text}")?;
    if !complete {
        return Ok(());
    }
    let path = root().join("docs/performance.md");
    let page = std::fs::read_to_string(&path).unwrap_or_else(|_| format!("{BEGIN}\n{END}\n"));
    let (before, rest) = page.split_once(BEGIN).context("docs/performance.md lost its marks")?;
    let (_, after) = rest.split_once(END).context("docs/performance.md lost its last mark")?;
    std::fs::write(&path, format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))?;
    Ok(())
}

fn tables(samples: &Samples) -> String {
    let mut text = String::new();
    for (group, figures) in GROUPS {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n### {group}\n\n| figure | median | min..max | must reach | met | goal | reached |\n\
             |---|--:|--:|--:|---|--:|---|\n"
        );
        for figure in figures {
            text.push_str(&row(figure, samples.spread(figure.id)));
        }
    }
    text
}

fn row(figure: &Figure, spread: Option<[f64; 3]>) -> String {
    let what = figure.what;
    let Some([least, median, greatest]) = spread else {
        return format!("| {what} | not measured | | | | | |\n");
    };
    let amount = with_unit(median, figure.unit);
    let range = if least.to_bits() == greatest.to_bits() {
        String::new()
    } else {
        format!("{}..{}", number(least), number(greatest))
    };
    let Some(bar) = figure.bar else { return format!("| {what} | {amount} | {range} | | | | |\n") };
    let (sign, must, goal) = match bar {
        Bar::AtLeast(must, goal) => ('≥', must, goal),
        Bar::AtMost(must, goal) => ('≤', must, goal),
    };
    let (met, reached) = bar.judge(median);
    let [met, reached] = [met, reached].map(|so| if so { "yes" } else { "**no**" });
    let reached = reached.trim_matches('*');
    let [must, goal] = [must, goal].map(|bar| format!("{sign} {}", number(bar)));
    format!("| {what} | {amount} | {range} | {must} | {met} | {goal} | {reached} |\n")
}

fn with_unit(value: f64, unit: &str) -> String {
    let space = if unit.is_empty() || unit == "/s" { "" } else { " " };
    format!("**{}**{space}{unit}", number(value))
}

/// Three digits that count, and the thousands apart.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => thousands(value.round() as i64),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
