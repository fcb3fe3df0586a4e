//! What the mailbox's server is asked to look for: a superset of what counts, which is judged here.

use std::fmt::Write as _;

use jiff::civil::Date;

/// A SEARCH for mail of a day or later, from one of the senders.
///
/// Servers compare senders as a part of the text of the header, and several in one text match
/// nothing; so each gets a term of its own, joined as a tree of OR, which takes two.
pub(super) fn search(since: Date, from: &[String]) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS[(since.month() as usize + 11) % 12];
    let mut query = format!("SINCE {}-{month}-{:04}", since.day(), since.year());
    // What cannot be written plainly is not asked for, only judged.
    if !from.is_empty() && from.iter().all(|it| is_plain(it)) {
        query.push(' ');
        either(&mut query, from);
    }
    query
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}

fn either(query: &mut String, from: &[String]) {
    match from {
        [] => {}
        [one] => drop(write!(query, "FROM \"{one}\"")),
        several => {
            let (left, right) = several.split_at(several.len() / 2);
            query.push_str("OR ");
            either(query, left);
            query.push(' ');
            either(query, right);
        }
    }
}

/// Numbers as a set, a hundred at a time.
pub(super) fn sets(mut uids: Vec<u32>) -> Vec<String> {
    uids.sort_unstable();
    let text = |part: &[u32]| part.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    uids.chunks(100).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_a_tree_of_or() {
        let names: Vec<String> = ["a@x", "b@x", "c@x"].map(str::to_owned).to_vec();
        let day = jiff::civil::date(2026, 3, 1);
        assert_eq!(search(day, &[]), "SINCE 1-Mar-2026");
        assert_eq!(search(day, &names[..1]), "SINCE 1-Mar-2026 FROM \"a@x\"");
        let three = "SINCE 1-Mar-2026 OR FROM \"a@x\" OR FROM \"b@x\" FROM \"c@x\"";
        assert_eq!(search(day, &names), three);
        // A quotation mark would end the text: it is left to our own judgement.
        assert_eq!(search(day, &["a\"@x".to_owned()]), "SINCE 1-Mar-2026");
    }
}
