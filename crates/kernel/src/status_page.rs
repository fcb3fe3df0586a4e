//! Public status pages: documents that say which monitors anybody may know the state of, and under
//! which labels; and what people post there.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::definition::{PROBLEMS_MAX, Problem};
use crate::editor;
use crate::time::Timestamp;

/// The kind of documents that hold status pages.
pub const STATUS_PAGE: &str = "status_page";
/// Groups of a page, and components of all its groups.
const GROUPS_MAX: usize = 50;
const COMPONENTS_MAX: usize = 200;
/// Characters of a name, of a title or label, and of a description.
const NAME_MAX: usize = 100;
const TITLE_MAX: usize = 200;
const DESCRIPTION_MAX: usize = 2000;
/// Characters of a post.
pub const POST_MAX: usize = 4000;
/// Posts that a page keeps; the oldest go.
pub const POSTS_MAX: usize = 50;

/// A status page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPage {
    /// Its name: the page is at `/status/NAME`.
    pub name: Arc<str>,
    /// What stands above it.
    pub title: Arc<str>,
    /// Whether anybody may see it. Its author has to say so.
    pub public: bool,
    /// A sentence below the title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Arc<str>>,
    /// The time zone of its times, an IANA name; absent = UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
    /// What it shows.
    pub groups: Vec<Group>,
}

/// Components that stand together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What stands above them.
    pub title: Arc<str>,
    /// The components.
    pub components: Vec<Component>,
}

/// One line of a page: the state of a monitor, or of one of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// What it is called in public.
    pub label: Arc<str>,
    /// The monitor.
    pub monitor: Arc<str>,
    /// The key of the monitor, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Arc<str>>,
}

/// What somebody posted on a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPost {
    /// Names it on its page.
    pub id: u64,
    /// When it was posted.
    pub at: Timestamp,
    /// Who posted it; the page does not show that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// What it says: text, never markup.
    pub text: Arc<str>,
}

/// Whether a document is one of a status page, judged by its members.
pub fn is_status_page(document: &Value) -> bool {
    document.get("groups").is_some() && document.get("tasks").is_none()
}

/// The members of a page, of a group and of a component.
const OF_PAGE: [&str; 6] = ["name", "title", "public", "description", "zone", "groups"];
const OF_GROUP: [&str; 2] = ["title", "components"];
const OF_COMPONENT: [&str; 3] = ["label", "monitor", "key"];

/// The schema of a file of status pages for editors: one, or a list.
pub fn status_pages() -> Value {
    let plain = || json!({ "type": "string", "minLength": 1 });
    let component = OF_COMPONENT.map(|name| (name, plain()));
    let component = editor::nullable_record(component, &["label", "monitor"]);
    let group = OF_GROUP.map(|name| match name {
        "components" => (name, editor::list(&component)),
        _ => (name, plain()),
    });
    let group = editor::record(group, &OF_GROUP);
    let page = OF_PAGE.map(|name| match name {
        "public" => (name, json!({ "type": "boolean" })),
        "groups" => (name, editor::list(&group)),
        _ => (name, plain()),
    });
    let page = editor::nullable_record(page, &["name", "title", "public", "groups"]);
    let root = editor::one_or_list(&editor::reference("statusPage"));
    editor::document("Nightbell: status pages", root, vec![("statusPage", page)])
}

/// Reads a status page or a list of them.
///
/// # Errors
/// Malformed JSON as one problem; otherwise everything that is wrong. Pointers begin with the index in
/// a list.
pub fn parse_status_pages(text: &str) -> Result<Vec<StatusPage>, Vec<Problem>> {
    let document: Value = serde_json::from_str(text).map_err(|error| {
        let full = error.to_string();
        let reason = full.split(" at line ").next().unwrap_or(&full);
        let (line, column) = (error.line(), error.column());
        let message = format!("malformed JSON at line {line}, column {column}: {reason}");
        let hint = "Look there for a missing or extra comma, quote or bracket.";
        vec![Problem::new("", "malformed-json", message, hint)]
    })?;
    let mut reader = Reader { flaws: Vec::new() };
    let pages = match &document {
        Value::Array(items) => {
            let each = items.iter().enumerate();
            each.filter_map(|(index, item)| reader.page(item, &format!("/{index}"))).collect()
        }
        one => reader.page(one, "").into_iter().collect(),
    };
    reader.flaws.truncate(PROBLEMS_MAX);
    if reader.flaws.is_empty() { Ok(pages) } else { Err(reader.flaws) }
}

struct Reader {
    flaws: Vec<Problem>,
}

impl Reader {
    fn flaw(&mut self, at: String, code: &'static str, message: String, hint: &str) {
        self.flaws.push(Problem::new(at, code, message, hint));
    }

    /// The members of an object; others than these are flaws.
    fn object<'a>(
        &mut self,
        value: &'a Value,
        at: &str,
        members: &[&str],
    ) -> Option<&'a Map<String, Value>> {
        let Value::Object(object) = value else {
            let hint = format!("Write an object with {}.", members.join(", "));
            self.flaw(at.to_owned(), "wrong-type", "expected an object".to_owned(), &hint);
            return None;
        };
        for name in object.keys().filter(|name| !members.contains(&name.as_str())) {
            let place = format!("{at}/{}", crate::definition::escape_pointer(name));
            let hint = format!("Known are {}.", members.join(", "));
            self.flaw(place, "unknown-member", format!("'{name}' is not known here"), &hint);
        }
        Some(object)
    }

    /// A text of at most so many characters; `None` if there is none.
    fn text(
        &mut self,
        object: &Map<String, Value>,
        at: &str,
        name: &str,
        most: usize,
    ) -> Option<Arc<str>> {
        match object.get(name)? {
            Value::Null => None,
            Value::String(text) if text.trim().is_empty() => {
                let message = format!("'{name}' is empty");
                self.flaw(
                    format!("{at}/{name}"),
                    "empty",
                    message,
                    "Say something, or leave it out.",
                );
                None
            }
            Value::String(text) if text.chars().count() > most => {
                let message = format!("'{name}' has more than {most} characters");
                self.flaw(format!("{at}/{name}"), "too-long", message, "Shorten it.");
                None
            }
            Value::String(text) => Some(text.as_str().into()),
            _ => {
                let message = format!("'{name}' is a text");
                self.flaw(format!("{at}/{name}"), "wrong-type", message, "Put it in quotes.");
                None
            }
        }
    }

    /// A text that must be there.
    fn said(
        &mut self,
        object: &Map<String, Value>,
        at: &str,
        name: &str,
        most: usize,
    ) -> Option<Arc<str>> {
        let before = self.flaws.len();
        let text = self.text(object, at, name, most);
        if text.is_none() && self.flaws.len() == before {
            let message = format!("'{name}' is missing");
            self.flaw(at.to_owned(), "missing-member", message, &format!("Add \"{name}\"."));
        }
        text
    }

    /// A list with at least one item.
    fn list<'a>(&mut self, object: &'a Map<String, Value>, at: &str, name: &str) -> &'a [Value] {
        match object.get(name) {
            Some(Value::Array(items)) if !items.is_empty() => items,
            _ => {
                let message = format!("'{name}' is a list with at least one item");
                self.flaw(
                    format!("{at}/{name}"),
                    "missing-member",
                    message,
                    &format!("Add \"{name}\": [ … ]."),
                );
                &[]
            }
        }
    }

    fn page(&mut self, value: &Value, at: &str) -> Option<StatusPage> {
        let object = self.object(value, at, &OF_PAGE)?;
        let name = self.said(object, at, "name", NAME_MAX);
        if let Some(name) = name.as_deref().filter(|name| !is_name(name)) {
            let message = format!("'{name}' cannot be in an address as it is");
            let hint = "Use letters, digits, - and _ only.";
            self.flaw(format!("{at}/name"), "bad-name", message, hint);
        }
        let title = self.said(object, at, "title", TITLE_MAX);
        let public = object.get("public").and_then(Value::as_bool);
        if public.is_none() {
            let message = "'public' is true or false".to_owned();
            let hint = "Say \"public\": true if anybody may see the page, without signing in.";
            self.flaw(format!("{at}/public"), "missing-member", message, hint);
        }
        let description = self.text(object, at, "description", DESCRIPTION_MAX);
        let zone = self.text(object, at, "zone", NAME_MAX);
        if let Some(zone) = zone.as_deref().filter(|zone| TimeZone::get(zone).is_err()) {
            let message = format!("there is no time zone '{zone}'");
            self.flaw(format!("{at}/zone"), "bad-zone", message, "Write one such as Europe/Oslo.");
        }
        let groups = self.groups(object, at);
        Some(StatusPage { name: name?, title: title?, public: public?, description, zone, groups })
    }

    fn groups(&mut self, object: &Map<String, Value>, at: &str) -> Vec<Group> {
        let (mut groups, mut components) = (Vec::new(), 0);
        let items = self.list(object, at, "groups");
        for (index, item) in items.iter().enumerate() {
            let at = format!("{at}/groups/{index}");
            let Some(group) = self.group(item, &at) else { continue };
            components += group.components.len();
            groups.push(group);
        }
        if items.len() > GROUPS_MAX || components > COMPONENTS_MAX {
            let message =
                format!("a page has at most {GROUPS_MAX} groups and {COMPONENTS_MAX} components");
            self.flaw(format!("{at}/groups"), "too-many", message, "Make two pages of it.");
        }
        groups
    }

    fn group(&mut self, value: &Value, at: &str) -> Option<Group> {
        let object = self.object(value, at, &OF_GROUP)?;
        let title = self.said(object, at, "title", TITLE_MAX);
        let items = self.list(object, at, "components").iter().enumerate();
        let components: Vec<Component> = items
            .filter_map(|(index, item)| self.component(item, &format!("{at}/components/{index}")))
            .collect();
        Some(Group { title: title?, components })
    }

    fn component(&mut self, value: &Value, at: &str) -> Option<Component> {
        let object = self.object(value, at, &OF_COMPONENT)?;
        let label = self.said(object, at, "label", TITLE_MAX);
        let monitor = self.said(object, at, "monitor", TITLE_MAX);
        let key = self.text(object, at, "key", TITLE_MAX * 2);
        Some(Component { label: label?, monitor: monitor?, key })
    }
}

fn is_name(name: &str) -> bool {
    name.chars().all(|it| it.is_ascii_alphanumeric() || it == '-' || it == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_itself_whether_it_is_public() {
        let mut page = json!({ "name": "shop", "title": "Shop", "public": true, "zone": "Europe/Oslo",
            "groups": [{ "title": "Web", "components": [{ "label": "Orders", "monitor": "web-3", "key": "a" }] }] });
        let read = parse_status_pages(&page.to_string()).expect("it is whole");
        assert_eq!(serde_json::to_value(&read[0]).expect("it serializes"), page);
        page.as_object_mut().expect("an object").remove("public");
        let flaws = parse_status_pages(&json!([page]).to_string()).expect_err("it must be said");
        assert_eq!((flaws.len(), &*flaws[0].pointer), (1, "/0/public"));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let page = json!({ "name": "a/b", "title": "", "public": "yes", "zone": "Nowhere", "color": 1,
            "groups": [{ "title": "Web", "components": [{ "label": 7, "monitor": "web" }] }, {}] });
        let flaws = parse_status_pages(&page.to_string()).expect_err("it is wrong");
        let places: Vec<&str> = flaws.iter().map(|it| it.pointer.as_str()).collect();
        assert_eq!(
            places,
            [
                "/color",
                "/name",
                "/title",
                "/public",
                "/zone",
                "/groups/0/components/0/label",
                "/groups/1",
                "/groups/1/components",
            ]
        );
        let flaws = parse_status_pages("{ \"name\": ").expect_err("it is cut short");
        assert!(flaws[0].message.contains("line 1"), "{}", flaws[0].message);
    }
}
