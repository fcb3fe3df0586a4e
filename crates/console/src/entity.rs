//! The names of entities in addresses, of pages and of the API.

use kernel::ExecutionId;

use crate::visit::{encoded, href};

/// Stands in an address for an empty key.
pub(crate) const EMPTY_KEY: &str = "$";

/// The parts of `@name@key`. A key may have more such signs; a name has none.
pub(crate) fn name_and_key(id: &str) -> (&str, &str) {
    id.strip_prefix('@').unwrap_or(id).split_once('@').unwrap_or((id, ""))
}

fn or_empty(key: &str) -> &str {
    if key.is_empty() { EMPTY_KEY } else { key }
}

/// The address of its page.
pub(crate) fn page(hub: &str, name: &str, key: &str) -> String {
    href(&["entities", hub, name, or_empty(key)])
}

/// Where the API has it; with an operation, where it is told to do that.
pub(crate) fn path(id: &ExecutionId, operation: Option<&str>) -> String {
    let (name, key) = name_and_key(id.local_name());
    let operation = operation.map_or_else(String::new, |it| format!("&op={}", encoded(it)));
    format!(
        "/runtime/webhooks/durabletask/entities/{}/{}?taskHub={}{operation}",
        encoded(name),
        encoded(or_empty(key)),
        encoded(id.hub())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_have_any_sign() {
        for (id, parts) in [
            ("@counter@a", ("counter", "a")),
            ("@counter@ida@shop.example", ("counter", "ida@shop.example")),
            ("@counter@", ("counter", "")),
        ] {
            assert_eq!(name_and_key(id), parts);
        }
        assert_eq!(page("h", "counter", ""), "/console/entities/h/counter/%24");
        let told = path(&ExecutionId::entity("h", "@counter@a@b"), Some("add one"));
        let expected =
            "/runtime/webhooks/durabletask/entities/counter/a%40b?taskHub=h&op=add%20one";
        assert_eq!(told, expected);
    }
}
