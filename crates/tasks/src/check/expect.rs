//! Which part of an expectation an answer does not meet.

use kernel::alert::Condition;

/// The first part of a condition, as it is written, that does not hold; all of it if it has no parts,
/// or if no part alone is what fails.
pub(super) fn failed_part(condition: &str, holds: impl Fn(&Condition) -> bool) -> &str {
    let fails = |part: &&str| Condition::parse(part).is_ok_and(|part| !holds(&part));
    parts(condition).into_iter().find(fails).unwrap_or(condition)
}

/// What stands between the `and`s of a condition, outside of parentheses and quotes.
fn parts(condition: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    for (at, c) in condition.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) if depth == 0 => {
                let rest = &condition[at..];
                let word = [" and ", "&&"].into_iter().find(|word| rest.starts_with(word));
                if let Some(word) = word {
                    parts.push(condition[start..at].trim());
                    start = at + word.len();
                }
            }
            (None, _) => {}
        }
    }
    parts.push(condition[start.min(condition.len())..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_taken_apart_between_its_ands() {
        assert_eq!(parts("status < 400"), ["status < 400"]);
        assert_eq!(parts("status < 400 and ms < 2s && size > 0").len(), 3);
        let nested = "(status < 400 and ms < 2s) and text contains ' and '";
        assert_eq!(parts(nested), ["(status < 400 and ms < 2s)", "text contains ' and '"]);
    }
}
