//! Texts for people, bounded.

/// At most so many characters, the last one an ellipsis if something was cut off.
pub(super) fn cut(text: &str, length_max: usize) -> String {
    if text.chars().nth(length_max).is_none() {
        return text.to_owned();
    }
    text.chars().take(length_max - 1).chain(['…']).collect()
}

/// The end of a text of at most so many characters, the first one an ellipsis if something was cut off.
pub(super) fn end(text: &str, length_max: usize) -> String {
    let length = text.chars().count();
    if length <= length_max {
        return text.to_owned();
    }
    ['…'].into_iter().chain(text.chars().skip(length - length_max + 1)).collect()
}
