//! Grants: a role, and the things on which it holds.
//!
//! A selector is text such as `hub=sales`, `task=load*,domain=eu` or `kind=workflow,name=etl-*`; what
//! stands separated by commas must hold together. Only what is enforced can be written.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::permission::Permissions;
use super::resource::Resource;
use super::role::Role;

/// Bytes of the longest pattern.
const PATTERN_MAX: usize = 200;
/// Stars of one pattern.
const STARS_MAX: usize = 4;

/// A name, or names: `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name is one of those meant.
    pub fn fits(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }

    /// What all names meant begin with, if they may end in any way.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.0.strip_suffix('*').filter(|begin| !begin.contains('*'))
    }

    pub(super) fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    fn read(key: &str, text: &str) -> Result<Self, BadSelector> {
        let wrong = |why| Err(BadSelector(format!("'{key}={}' {why}", short(text))));
        match text {
            "" => wrong("says nothing"),
            _ if text.len() > PATTERN_MAX => wrong("is longer than 200 bytes"),
            _ if text.chars().any(char::is_control) => wrong("has control characters"),
            _ if text.matches('*').count() > STARS_MAX => wrong("has more than four '*'"),
            _ => Ok(Self(text.into())),
        }
    }
}

/// A tag of a definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// Its key.
    pub key: Arc<str>,
    /// Its value.
    pub value: Arc<str>,
}

/// On which things a role holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// Task hubs of these names.
    Hub(Pattern),
    /// Tasks of these types.
    Task {
        /// The types.
        name: Pattern,
        /// Only in these domains; empty = only without a domain; absent = whatever the domain.
        domain: Option<DomainPattern>,
    },
    /// Workflow definitions, and their runs.
    Workflow {
        /// Their names; absent = any.
        name: Option<Pattern>,
        /// Only those that have the tag; few grants say one.
        tag: Option<Box<Tag>>,
    },
}

/// The domains of tasks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DomainPattern {
    /// Tasks without a domain.
    Without,
    /// Those of these names.
    Named(Pattern),
}

impl DomainPattern {
    /// The pattern; `None` for tasks without a domain.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Without => None,
            Self::Named(pattern) => Some(pattern.as_str()),
        }
    }

    /// Whether a task of this domain is meant.
    pub fn fits(&self, domain: Option<&str>) -> bool {
        match (self, domain) {
            (Self::Without, domain) => domain.is_none(),
            (Self::Named(pattern), Some(domain)) => pattern.fits(domain),
            (Self::Named(_), None) => false,
        }
    }
}

impl Selector {
    /// The kind of the things.
    pub fn resource(&self) -> Resource {
        match self {
            Self::Hub(_) => Resource::Hub,
            Self::Task { .. } => Resource::Task,
            Self::Workflow { .. } => Resource::Workflow,
        }
    }

    pub(super) fn is_on_hub(&self, hub: &str) -> bool {
        matches!(self, Self::Hub(it) if it.fits(hub))
    }

    pub(super) fn is_on_task(&self, task_type: &str, within: Option<&str>) -> bool {
        let Self::Task { name, domain } = self else { return false };
        name.fits(task_type) && domain.as_ref().is_none_or(|it| it.fits(within))
    }

    pub(super) fn is_on_workflow(&self, workflow: &str, has_tag: &impl Fn(&Tag) -> bool) -> bool {
        let Self::Workflow { name, tag } = self else { return false };
        name.as_ref().is_none_or(|it| it.fits(workflow)) && tag.as_deref().is_none_or(has_tag)
    }
}

/// The text is no selector that is enforced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSelector(String);

const FORMS: &str = "a selector is 'hub=NAME', 'task=TYPE', 'task=TYPE,domain=NAME', \
    'kind=workflow,name=NAME', 'kind=workflow,tag=KEY=VALUE', with '*' in names for any characters";

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        let (mut kind, mut hub, mut task) = (None, None, None);
        let (mut domain, mut name, mut tag) = (None, None, None);
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| BadSelector(format!("'{}' is no selector; {FORMS}", short(text))))?;
            let (key, value) = (key.trim(), value.trim());
            let slot = match key {
                "kind" => &mut kind,
                "hub" => &mut hub,
                "task" => &mut task,
                "domain" => &mut domain,
                "name" => &mut name,
                "tag" => &mut tag,
                _ => {
                    let words = format!("'{}' is nothing to select by; {FORMS}", short(key));
                    return Err(BadSelector(words));
                }
            };
            if slot.replace(value).is_some() {
                return Err(BadSelector(format!("'{key}' is said twice")));
            }
        }
        match (kind, hub, task, domain, name, tag) {
            (None, Some(hub), None, None, None, None) => Ok(Self::Hub(Pattern::read("hub", hub)?)),
            (None, None, Some(task), domain, None, None) => {
                let domain = match domain {
                    None => None,
                    Some("") => Some(DomainPattern::Without),
                    Some(domain) => Some(DomainPattern::Named(Pattern::read("domain", domain)?)),
                };
                Ok(Self::Task { name: Pattern::read("task", task)?, domain })
            }
            (Some("workflow"), None, None, None, name, tag) if (name, tag) != (None, None) => {
                let name = name.map(|name| Pattern::read("name", name)).transpose()?;
                let tag = tag.map(read_tag).transpose()?.map(Box::new);
                Ok(Self::Workflow { name, tag })
            }
            (Some(kind), ..) if kind != "workflow" => Err(BadSelector(format!(
                "roles cannot be narrowed to things of the kind '{}'; {FORMS}",
                short(kind)
            ))),
            (None, None, None, None, ..) => Err(BadSelector(format!(
                "'{}' needs a kind, as in 'kind=workflow,{0}'",
                short(text)
            ))),
            _ => Err(BadSelector(format!("'{}' cannot be said together; {FORMS}", short(text)))),
        }
    }
}

fn read_tag(text: &str) -> Result<Tag, BadSelector> {
    let wrong =
        || BadSelector(format!("a tag is written 'tag=KEY=VALUE', not 'tag={}'", short(text)));
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let is_plain = |it: &str| {
        !it.is_empty() && it.len() <= PATTERN_MAX && !it.chars().any(|c| c.is_control() || c == '*')
    };
    if !is_plain(key) || !is_plain(value) {
        return Err(wrong());
    }
    Ok(Tag { key: key.into(), value: value.into() })
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(hub) => write!(f, "hub={}", hub.0),
            Self::Task { name, domain } => {
                write!(f, "task={}", name.0)?;
                match domain {
                    None => Ok(()),
                    Some(DomainPattern::Without) => f.write_str(",domain="),
                    Some(DomainPattern::Named(domain)) => write!(f, ",domain={}", domain.0),
                }
            }
            Self::Workflow { name, tag } => {
                f.write_str("kind=workflow")?;
                if let Some(name) = name {
                    write!(f, ",name={}", name.0)?;
                }
                match tag.as_deref() {
                    Some(Tag { key, value }) => write!(f, ",tag={key}={value}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A role that holds on some things.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// On what.
    pub on: Selector,
}

impl Grant {
    /// A role on some things.
    ///
    /// # Errors
    /// The role cannot be narrowed to things of this kind.
    pub fn new(role: Role, on: Selector) -> Result<Self, BadSelector> {
        let resource = on.resource();
        if resource.roles().contains(&role) {
            return Ok(Self { role, on });
        }
        let able: Vec<&str> = resource.roles().iter().map(|role| role.as_str()).collect();
        Err(BadSelector(format!(
            "the role {role} cannot be narrowed to '{on}': only {} can be, on things of the kind {}",
            able.join(", "),
            resource.as_str()
        )))
    }

    /// What it allows there.
    pub fn permissions(&self) -> Permissions {
        self.role.permissions()
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.role, self.on)
    }
}
