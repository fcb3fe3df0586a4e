//! The grants of a principal, compiled once: a decision looks a name up, however many grants there are.
//!
//! A few grants are tried one after the other: there may be ten thousand principals, and most have few.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::grant::{DomainPattern, Grant, Pattern, Selector, Tag};
use super::permission::Permissions;
use super::resource::Resource;

/// What one grant allows on the names that it is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    permissions: Permissions,
    domain: Option<DomainPattern>,
    tag: Option<Tag>,
}

/// Entries by the names on which they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    exact: BTreeMap<Arc<str>, Vec<Entry>>,
    /// By what names begin with.
    prefixes: BTreeMap<Arc<str>, Vec<Entry>>,
    /// The lengths of these.
    lengths: BTreeSet<usize>,
    /// With a star elsewhere.
    others: Vec<(Pattern, Entry)>,
}

impl Names {
    fn add(&mut self, pattern: Option<&Pattern>, entry: Entry) {
        let Some(pattern) = pattern else {
            self.lengths.insert(0);
            return self.prefixes.entry("".into()).or_default().push(entry);
        };
        if pattern.is_exact() {
            self.exact.entry(pattern.as_str().into()).or_default().push(entry);
        } else if let Some(prefix) = pattern.prefix() {
            self.lengths.insert(prefix.len());
            self.prefixes.entry(prefix.into()).or_default().push(entry);
        } else {
            self.others.push((pattern.clone(), entry));
        }
    }

    fn any(&self, name: &str, fits: impl Fn(&Entry) -> bool) -> bool {
        let exact = || self.exact.get(name).is_some_and(|them| them.iter().any(&fits));
        let by_prefix = || {
            let begins = self.lengths.iter().map_while(|length| name.get(..*length));
            begins.filter_map(|begin| self.prefixes.get(begin)).flatten().any(&fits)
        };
        let others = || self.others.iter().any(|(it, entry)| fits(entry) && it.fits(name));
        exact() || by_prefix() || others()
    }
}

/// Grants that are tried in turn; more than these are looked up.
const TRIED_MAX: usize = 8;

/// Many grants by what they are on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Many {
    hubs: Names,
    tasks: Names,
    workflows: Names,
    /// What is allowed on some thing of each kind.
    any: [Permissions; Resource::ALL.len()],
}

impl Many {
    fn new(grants: &[Grant]) -> Self {
        let mut index = Self::default();
        for grant in grants {
            let permissions = grant.permissions();
            let any = &mut index.any[grant.on.resource() as usize];
            *any = *any | permissions;
            let mut entry = Entry { permissions, domain: None, tag: None };
            match &grant.on {
                Selector::Hub(name) => index.hubs.add(Some(name), entry),
                Selector::Task { name, domain } => {
                    entry.domain.clone_from(domain);
                    index.tasks.add(Some(name), entry);
                }
                Selector::Workflow { name, tag } => {
                    entry.tag = tag.as_deref().cloned();
                    index.workflows.add(name.as_ref(), entry);
                }
            }
        }
        index
    }
}

/// Grants, as decisions need them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Granted {
    grants: Box<[Grant]>,
    many: Option<Box<Many>>,
}

impl Granted {
    pub(super) fn new(grants: Vec<Grant>) -> Self {
        let many = (grants.len() > TRIED_MAX).then(|| Box::new(Many::new(&grants)));
        Self { grants: grants.into(), many }
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Grant] {
        &self.grants
    }

    fn tries(&self, needed: Permissions, fits: impl Fn(&Selector) -> bool) -> bool {
        self.grants.iter().any(|it| it.permissions().meets(needed) && fits(&it.on))
    }

    /// Whether one of the permissions is given on some thing of this kind.
    pub(super) fn has_any(&self, resource: Resource, needed: Permissions) -> bool {
        match &self.many {
            Some(many) => many.any[resource as usize].meets(needed),
            None => self.tries(needed, |on| on.resource() == resource),
        }
    }

    pub(super) fn covers_hub(&self, needed: Permissions, hub: &str) -> bool {
        match &self.many {
            Some(many) => many.hubs.any(hub, |entry| entry.permissions.meets(needed)),
            None => self.tries(needed, |on| on.is_on_hub(hub)),
        }
    }

    pub(super) fn covers_task(
        &self,
        needed: Permissions,
        task_type: &str,
        domain: Option<&str>,
    ) -> bool {
        let Some(many) = &self.many else {
            return self.tries(needed, |on| on.is_on_task(task_type, domain));
        };
        let in_domain = |entry: &Entry| entry.domain.as_ref().is_none_or(|it| it.fits(domain));
        many.tasks.any(task_type, |entry| entry.permissions.meets(needed) && in_domain(entry))
    }

    pub(super) fn covers_workflow(
        &self,
        needed: Permissions,
        name: &str,
        has_tag: impl Fn(&Tag) -> bool,
    ) -> bool {
        let Some(many) = &self.many else {
            return self.tries(needed, |on| on.is_on_workflow(name, &has_tag));
        };
        let is_tagged = |entry: &Entry| entry.tag.as_ref().is_none_or(&has_tag);
        many.workflows.any(name, |entry| entry.permissions.meets(needed) && is_tagged(entry))
    }
}
