//! What users and groups may be called: names that look the same are the same, and none is an id.

use super::key;

/// Bytes of the longest name.
const LENGTH_MAX: usize = 100;

/// Reads the name of a user or a group: lower case, as nobody should have to tell `Ann` from `ann`.
/// `None` if it breaks the rule: 1 to 100 letters (ASCII), digits and `. _ @ + -`, beginning with a letter
/// or a digit, and not like an id (12 hexadecimal digits).
pub fn check_name(text: &str) -> Option<String> {
    let name = text.trim().to_ascii_lowercase();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let fits = begins_well && name.len() <= LENGTH_MAX && name.bytes().all(is_plain);
    (fits && !key::is_id(&name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn a_name_is_plain_lower_case_and_no_id() {
        assert_eq!(check_name(" Ann.Smith@Example.com "), Some("ann.smith@example.com".to_owned()));
        assert_eq!(check_name("on-call_2"), Some("on-call_2".to_owned()));
        for wrong in ["", "-a", "a b", "a:b", "é", "a/b", "4f1d0c8a2b6e", &"x".repeat(101)] {
            assert_eq!(check_name(wrong), None, "{wrong}");
        }
    }
}
