//! Orkes' words for roles, targets and accesses, and what each stands for here.

use axum::http::StatusCode;
use kernel::access::{DomainPattern, Grant, Role, Selector};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::problem::Problem;

/// Roles by their words. Those without a role of ours allow nothing but what is granted besides.
const ROLES: [(&str, Option<Role>); 11] = [
    ("ADMIN", Some(Role::Admin)),
    ("METADATA_MANAGER", Some(Role::Editor)),
    ("WORKFLOW_MANAGER", Some(Role::Runner)),
    ("USER_READ_ONLY", Some(Role::Viewer)),
    ("UNRESTRICTED_WORKER", Some(Role::Worker)),
    ("RESPONDER", Some(Role::Responder)),
    ("SECRETS", Some(Role::Secrets)),
    ("METRICS", Some(Role::Metrics)),
    ("AUDITOR", Some(Role::Auditor)),
    ("USER", None),
    ("WORKER", None),
];

/// The role of a word; nothing for one that allows nothing by itself.
///
/// # Errors
/// 400 for what is no role.
pub(super) fn role(word: &str) -> Result<Option<Role>, Problem> {
    let known = ROLES.iter().find(|(name, _)| *name == word);
    known.map(|(_, role)| *role).ok_or_else(|| {
        let names: Vec<&str> = ROLES.iter().map(|(name, _)| *name).collect();
        let word: String = word.chars().take(40).collect();
        Problem::bad_request(format!(
            "there is no role '{word}'; the roles are {}",
            names.join(", ")
        ))
    })
}

/// The roles of words.
///
/// # Errors
/// 400 for what is no role.
pub(super) fn roles(words: &[String]) -> Result<Vec<Role>, Problem> {
    words.iter().filter_map(|word| role(word).transpose()).collect()
}

/// Roles as they are shown; who has none is a `USER`.
pub(super) fn shown_roles(roles: &[Role]) -> Vec<Value> {
    let word = |role: &Role| ROLES.iter().find(|(_, it)| *it == Some(*role)).map(|(name, _)| *name);
    let words: Vec<&str> = roles.iter().filter_map(word).collect();
    let words = if words.is_empty() { vec!["USER"] } else { words };
    words.into_iter().map(shown_role).collect()
}

/// A role with what it may do, by our names.
pub(super) fn shown_role(word: &str) -> Value {
    let role = ROLES.iter().find(|(name, _)| *name == word).and_then(|(_, role)| *role);
    let permissions = role.map(Role::permissions).unwrap_or_default();
    let all = kernel::access::Permission::ALL.into_iter().filter(|it| permissions.has(*it));
    let names: Vec<Value> = all.map(|it| json!({ "name": it.as_str() })).collect();
    json!({ "name": word, "permissions": names })
}

/// All words for roles.
pub(super) fn all_roles() -> impl Iterator<Item = &'static str> {
    ROLES.iter().map(|(name, _)| *name)
}

/// On what.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct Target {
    /// `WORKFLOW_DEF`, `TASK_DEF`, `DOMAIN` or `TAG`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// A name, with `*` for any characters; of a tag `KEY:VALUE`.
    pub(super) id: String,
}

/// What can be done to what a target names, and the role that allows it there.
const ACCESSES: [(&str, &str, Role); 6] = [
    ("WORKFLOW_DEF", "READ", Role::Viewer),
    ("WORKFLOW_DEF", "EXECUTE", Role::Runner),
    ("TAG", "READ", Role::Viewer),
    ("TAG", "EXECUTE", Role::Runner),
    ("TASK_DEF", "EXECUTE", Role::Worker),
    ("DOMAIN", "EXECUTE", Role::Worker),
];

fn not_enforced(message: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "selector-not-enforced", message).with_hint(
        "READ and EXECUTE can be granted on WORKFLOW_DEF and TAG, EXECUTE on TASK_DEF and DOMAIN; what \
         changes definitions is a role on everything, such as METADATA_MANAGER.",
    )
}

impl Target {
    /// The selector that it stands for.
    ///
    /// # Errors
    /// 400 if nothing can be granted on it.
    pub(super) fn selector(&self) -> Result<Selector, Problem> {
        let id = self.id.as_str();
        if id.contains(',') {
            return Err(not_enforced(format!("'{id}' has a comma, which names no one thing")));
        }
        let text = match self.kind.as_str() {
            "WORKFLOW_DEF" => format!("kind=workflow,name={id}"),
            "TASK_DEF" => format!("task={id}"),
            "DOMAIN" if !id.is_empty() => format!("task=*,domain={id}"),
            "TAG" => match id.split_once(':') {
                Some((key, value)) => format!("kind=workflow,tag={key}={value}"),
                None => return Err(not_enforced(format!("the tag '{id}' is not KEY:VALUE"))),
            },
            kind => return Err(not_enforced(format!("nothing can be granted on {kind} '{id}'"))),
        };
        text.parse().map_err(|error: kernel::access::BadSelector| not_enforced(error.to_string()))
    }

    /// The target that a selector stands for, if there is a word for it.
    fn of(selector: &Selector) -> Option<Self> {
        let (kind, id) = match selector {
            Selector::Workflow { name: Some(name), tag: None } => {
                ("WORKFLOW_DEF", name.as_str().to_owned())
            }
            Selector::Workflow { name: None, tag: Some(tag) } => {
                ("TAG", format!("{}:{}", tag.key, tag.value))
            }
            Selector::Task { name, domain: None } => ("TASK_DEF", name.as_str().to_owned()),
            Selector::Task { name, domain: Some(DomainPattern::Named(domain)) }
                if name.as_str() == "*" =>
            {
                ("DOMAIN", domain.as_str().to_owned())
            }
            Selector::Hub(_) | Selector::Workflow { .. } | Selector::Task { .. } => return None,
        };
        Some(Self { kind: kind.to_owned(), id })
    }
}

/// The grants that give these accesses on a target.
///
/// # Errors
/// 400 for an access that cannot be granted there.
pub(super) fn grants(target: &Target, accesses: &[String]) -> Result<Vec<Grant>, Problem> {
    let selector = target.selector()?;
    let grant = |access: &String| {
        let found = ACCESSES.iter().find(|(kind, it, _)| *kind == target.kind && it == access);
        let refused =
            || not_enforced(format!("{access} cannot be granted on {} alone", target.kind));
        let (_, _, role) = found.ok_or_else(refused)?;
        Grant::new(*role, selector.clone()).map_err(|error| not_enforced(error.to_string()))
    };
    if accesses.is_empty() {
        return Err(Problem::bad_request("'access' names nothing, such as READ or EXECUTE"));
    }
    accesses.iter().map(grant).collect()
}

/// The word for what a grant allows, and on what; nothing for one that has none.
pub(super) fn access(grant: &Grant) -> Option<(Target, &'static str)> {
    let target = Target::of(&grant.on)?;
    let found = ACCESSES.iter().find(|(kind, _, role)| *kind == target.kind && *role == grant.role);
    found.map(|(_, access, _)| (target, *access))
}

/// What somebody was granted, by target.
pub(super) fn granted(grants: &[Grant]) -> Value {
    let mut by_target: Vec<(Target, Vec<&str>)> = Vec::new();
    for (target, access) in grants.iter().filter_map(access) {
        let known =
            by_target.iter_mut().find(|(it, _)| it.kind == target.kind && it.id == target.id);
        match known {
            Some((_, accesses)) => accesses.push(access),
            None => by_target.push((target, vec![access])),
        }
    }
    let shown =
        by_target.into_iter().map(|(target, access)| json!({ "target": target, "access": access }));
    json!({ "grantedAccess": shown.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: &str, id: &str) -> Target {
        Target { kind: kind.to_owned(), id: id.to_owned() }
    }

    #[test]
    fn what_can_be_granted_comes_back_in_the_same_words() {
        for (kind, id, accesses) in [
            ("WORKFLOW_DEF", "etl-*", &["READ", "EXECUTE"][..]),
            ("TAG", "team:data", &["READ", "EXECUTE"]),
            ("TASK_DEF", "load", &["EXECUTE"]),
            ("DOMAIN", "eu", &["EXECUTE"]),
        ] {
            for one in accesses {
                let made = grants(&target(kind, id), &[(*one).to_owned()]).expect("it is enforced");
                let (back, word) = access(&made[0]).expect("there is a word");
                assert_eq!((&*back.kind, &*back.id, word), (kind, id, *one));
            }
        }
    }

    #[test]
    fn what_is_not_enforced_is_refused() {
        for (kind, id, access) in [
            ("WORKFLOW_DEF", "etl", "UPDATE"),
            ("TASK_DEF", "load", "READ"),
            ("SECRET_NAME", "db", "READ"),
            ("WORKFLOW_DEF", "a,tag=x=y", "READ"),
            ("WORKFLOW_DEF", "", "READ"),
            ("TAG", "team", "READ"),
            ("DOMAIN", "", "EXECUTE"),
        ] {
            assert!(
                grants(&target(kind, id), &[access.to_owned()]).is_err(),
                "{kind} {id} {access}"
            );
        }
    }

    #[test]
    fn words_that_allow_nothing_by_themselves_give_no_role() {
        let words = ["USER", "WORKER", "ADMIN"].map(str::to_owned);
        assert_eq!(roles(&words).expect("they are roles"), [Role::Admin]);
        assert!(roles(&["admin".to_owned()]).is_err());
        assert_eq!(shown_roles(&[])[0]["name"], "USER");
    }
}
