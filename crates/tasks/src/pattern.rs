//! How much work a regular expression is for each byte of a text.

use regex_syntax::hir::{Hir, HirKind};

/// How many places of an expression a search in linear time may be at, at once: its length with
/// every repetition written out. One that does not parse here weighs as much as its text.
pub(crate) fn weight_of(pattern: &str) -> u64 {
    let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern);
    parsed.map_or(pattern.len() as u64, |hir| weight(&hir)).max(1)
}

/// Recurses as deep as the parser lets expressions nest.
fn weight(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Capture(capture) => weight(&capture.sub).saturating_add(1),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().fold(0, |sum, part| sum.saturating_add(weight(part)))
        }
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1)).max(1);
            weight(&repetition.sub).saturating_add(1).saturating_mul(u64::from(times))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::weight_of;

    #[test]
    fn repetitions_count_as_often_as_they_say() {
        assert!(weight_of(r"\w+@\w+\.com") < 20);
        assert!(weight_of("^(?:(a?){1500}|b)*x?$") > 1500);
        assert!(weight_of("((a{100}){100}){100}") > 1_000_000);
        assert_eq!(weight_of("a(?!b)"), 6);
    }
}
