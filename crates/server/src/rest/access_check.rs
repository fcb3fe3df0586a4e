//! Access control explained: which grant decides, and what is weak about how it is set up.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine::{KeyRecord, UserRecord};
use kernel::Timestamp;
use kernel::access::{Grant, Mode, Permission, Principal, Role, Selector, Tag, Thing};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::Query;
use super::tags;
use crate::Api;
use crate::access::{Authorizer, Routes};
use crate::problem::Problem;
use crate::triggers;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Admin, routes!(explain_access))
        .on(Permission::Admin, routes!(check_access))
}

/// Who, and what about.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct Asked {
    /// The id of a key; or
    #[serde(default)]
    key: Option<String>,
    /// the name of a user.
    #[serde(default)]
    user: Option<String>,
    /// The name of a permission, such as `read`.
    permission: String,
    /// A selector without `*` that names one thing, such as `hub=sales`; everything if absent.
    on: Option<String>,
}

/// Somebody who is asked about.
struct Somebody {
    /// `key:ID` or `user:ID`.
    id: String,
    name: Arc<str>,
    /// In a sentence: `the key`, `the user`.
    word: &'static str,
    /// Why they may do nothing whatever they were granted.
    out: Option<&'static str>,
}

fn somebody(api: &Api, asked: &Asked) -> Result<Somebody, Problem> {
    let access = api.engine.access();
    match (&asked.key, &asked.user) {
        (Some(id), None) => {
            let key = access.keys().into_iter().map(|(key, _)| key).find(|key| *key.id == **id);
            let key = key.ok_or_else(|| {
                Problem::not_found(format!("there is no key with the id {id}"))
                    .with_hint("See `nightbell key list --all`.")
            })?;
            let out = if key.revoked_at.is_some() {
                Some("the key was revoked")
            } else if !key.is_valid(api.engine.now()) {
                Some("the key has expired")
            } else if !access.user_counts(&key) {
                Some("the user of the key is disabled or deleted")
            } else {
                None
            };
            Ok(Somebody { id: format!("key:{}", key.id), name: key.name, word: "the key", out })
        }
        (None, Some(name)) => {
            let (user, _) = access.user(name)?;
            let out = (!user.is_enabled()).then_some("the user is disabled");
            Ok(Somebody { id: format!("user:{}", user.id), name: user.name, word: "the user", out })
        }
        _ => Err(Problem::bad_request("name one 'key' or one 'user'")),
    }
}

/// Checks whether a key or a user has a permission, and shows which roles or grants decide, and by
/// which group.
#[utoipa::path(
    get, path = "/api/access/explain", tag = "access", params(Asked),
    responses(
        (status = 200, description = "Whether it is allowed, and why", body = serde_json::Value),
        (status = 400, description = "Unknown permission, or the selector does not name exactly one thing"),
        (status = 404, description = "No such key or user"),
    )
)]
async fn explain_access(
    State(api): State<Api>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Problem> {
    let permission = Permission::parse(&asked.permission).ok_or_else(|| {
        let known = Permission::ALL.map(Permission::as_str).join(", ");
        Problem::bad_request(format!("there is no permission '{}'", asked.permission))
            .with_hint(format!("The permissions are {known}."))
    })?;
    let thing = match asked.on.as_deref() {
        None => Thing::Everything,
        Some(on) => thing(&api, on).await?,
    };
    let who = somebody(&api, &asked)?;
    let principal = api.engine.access().inspect(&who.id);
    let granting = principal.as_deref().map(|it| it.granting(permission, &thing));
    let granting = granting.unwrap_or_default();
    let by: Vec<String> = granting.iter().map(ToString::to_string).collect();
    let groups: Vec<Option<&str>> = granting.iter().map(|it| it.group).collect();
    let (allowed, reason) = match (api.settings.auth, who.out) {
        (Mode::Open, _) => (true, "auth is open: nobody is asked for a key".to_owned()),
        (_, Some(out)) => (false, out.to_owned()),
        (_, None) if !by.is_empty() => (true, format!("{} is {}", who.word, by.join("; and "))),
        (_, None) => {
            let with = Role::ALL.into_iter().filter(|role| {
                role.permissions().has(permission)
                    && of_kind(&thing).is_none_or(|kind| kind.roles().contains(role))
            });
            let with: Vec<&str> = with.map(Role::as_str).collect();
            let on = asked.on.as_deref().unwrap_or("everything");
            let whose = match principal.as_deref().map(|it| it.groups().len()) {
                Some(1..) => format!("{} and of its groups", who.word),
                _ => who.word.to_owned(),
            };
            let reason = format!("no grant of {whose} gives {} on {on}", permission.as_str());
            (false, format!("{reason}; these roles would: {}", with.join(", ")))
        }
    };
    let mut answer = json!({
        "id": who.id, "name": who.name, "permission": permission.as_str(), "on": asked.on,
        "allowed": allowed, "grant": by.first(), "grants": by, "groups": groups, "reason": reason,
    });
    if let Some(key) = asked.key {
        answer["keyId"] = key.into();
    }
    Ok(Json(answer))
}

fn of_kind(thing: &Thing) -> Option<kernel::access::Resource> {
    use kernel::access::Resource;
    Some(match thing {
        Thing::Everything => return None,
        Thing::Hub(_) => Resource::Hub,
        Thing::Task { .. } => Resource::Task,
        Thing::Workflow { .. } => Resource::Workflow,
    })
}

/// The one thing that a selector names.
async fn thing(api: &Api, on: &str) -> Result<Thing, Problem> {
    let selector: Selector = on
        .parse()
        .map_err(|error: kernel::access::BadSelector| Problem::bad_request(error.to_string()))?;
    if on.contains('*') {
        return Err(Problem::bad_request(format!("'{on}' names more than one thing"))
            .with_hint("Write the name of one hub, task type or workflow, without '*'."));
    }
    Ok(match selector {
        Selector::Hub(hub) => Thing::Hub(hub.as_str().to_owned()),
        Selector::Task { name, domain } => {
            let domain = domain.and_then(|it| it.name().map(str::to_owned));
            Thing::Task { name: name.as_str().to_owned(), domain }
        }
        Selector::Workflow { name: Some(name), tag: None } => {
            let name = name.as_str().to_owned();
            let found = tags::of(&api.engine, tags::Resource::WorkflowDef, &name).await?;
            let tags = found.iter().map(|it| {
                let (key, value) = it.parts();
                Tag { key: key.into(), value: value.into() }
            });
            let tags = tags.collect();
            Thing::Workflow { name, tags }
        }
        Selector::Workflow { .. } => {
            return Err(Problem::bad_request(format!("'{on}' names no one workflow"))
                .with_hint("Write 'kind=workflow,name=NAME'; its tags are looked up."));
        }
    })
}

/// Something that is weak about how access control is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Weakness {
    /// `warning`, or `note` for what may be intended.
    level: &'static str,
    /// A stable code.
    code: &'static str,
    /// The key, trigger or setting.
    subject: String,
    /// The weakness.
    message: String,
    /// What to do.
    hint: &'static str,
}

/// What is looked at.
#[derive(Debug, Default)]
struct Facts {
    mode: Mode,
    beyond_loopback: bool,
    /// Whether people reach the server over TLS, as far as it is told.
    has_tls: bool,
    /// Clients that have called without a key.
    anonymous: usize,
    /// Keys whose users count, with when each was used last since the start.
    keys: Vec<(KeyRecord, Option<Timestamp>, Holds)>,
    users: Vec<(UserRecord, Option<Timestamp>, Holds)>,
    /// Whether everybody with an account at a provider becomes a user.
    sso_for_everybody: bool,
    /// Groups that a provider decides about, and that do not exist.
    missing_groups: Vec<String>,
    /// Names of triggers that anybody may call.
    public_triggers: Vec<String>,
    /// What acts as somebody whose key counts no more, and as whom.
    without_author: Vec<(String, String)>,
    now: Timestamp,
}

/// What somebody may do at this moment, whether granted to a key, to its user or to a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Holds {
    everything: bool,
    /// Takes tasks of all types, or attends all hubs, as a worker.
    all_work: bool,
    something: bool,
}

impl Holds {
    fn of(who: &Principal) -> Self {
        let whole = |grant: &Grant| match &grant.on {
            Selector::Hub(name) | Selector::Task { name, domain: None } => name.as_str() == "*",
            Selector::Task { .. } | Selector::Workflow { .. } => false,
        };
        Self {
            everything: who.may(Permission::Admin),
            all_work: who.roles().any(|role| role == Role::Worker)
                || who.grants().any(|it| it.role == Role::Worker && whole(it)),
            something: who.roles().next().is_some() || who.grants().next().is_some(),
        }
    }
}

/// A key that is older and was not used since the server started is one to look at.
const UNUSED_AFTER_MILLIS: i64 = 90 * 24 * 60 * 60 * 1000;

fn weaknesses(facts: &Facts) -> Vec<Weakness> {
    let mut found = Vec::new();
    let mut add = |level, code, subject: String, message: String, hint| {
        found.push(Weakness { level, code, subject, message, hint });
    };
    let setting = |name: &str| format!("setting {name}");
    match facts.mode {
        Mode::Open if facts.beyond_loopback => add(
            "warning",
            "open-beyond-loopback",
            setting("auth"),
            "everybody who can connect may do everything".to_owned(),
            "Set `auth = \"offered\"`, give every client a key, and then set it to \"on\".",
        ),
        Mode::Offered => add(
            "warning",
            "keys-only-offered",
            setting("auth"),
            format!("clients without a key may do everything; {} have called", facts.anonymous),
            "Set `auth = \"on\"` when `GET /api/access/anonymous` lists nobody any more.",
        ),
        Mode::Open | Mode::On => {}
    }
    if facts.beyond_loopback && !facts.has_tls {
        add(
            "warning",
            "no-tls",
            setting("tls_cert"),
            "keys travel in clear, unless a proxy before the server has TLS".to_owned(),
            "Set `tls_cert` and `tls_key`, or `acme_domains`, or put a reverse proxy with TLS before the server and set \
             `public_url` to its https address.",
        );
    }
    for (key, used, holds) in facts.keys.iter().filter(|(key, ..)| key.is_valid(facts.now)) {
        let subject = || format!("key {} ({})", key.id, key.name);
        if key.bootstrap {
            add(
                "warning",
                "bootstrap-key",
                subject(),
                "the key for the first administrator still counts".to_owned(),
                "Make an administrator's key with it and use that; the bootstrap key ends then.",
            );
        } else if holds.everything && key.expires_at.is_none() {
            add(
                "note",
                "admin-without-end",
                subject(),
                "an administrator's key never expires".to_owned(),
                "Make keys of administrators with --expires, and replace them in time.",
            );
        }
        let age = facts.now.millis().saturating_sub(key.created_at.millis());
        if used.is_none() && age > UNUSED_AFTER_MILLIS {
            let days = age / (24 * 60 * 60 * 1000);
            add(
                "warning",
                "key-unused",
                subject(),
                format!("it was made {days} days ago and was not used since the server started"),
                "Revoke it with `nightbell key revoke KEYID` if nobody needs it.",
            );
        }
        if holds.all_work {
            add("note", "worker-on-everything", subject(), ALL_WORK.to_owned(), NARROW);
        }
        if key.user.is_none() && !holds.something {
            add(
                "note",
                "key-without-grants",
                subject(),
                "it may do nothing".to_owned(),
                "Revoke it, or grant it something.",
            );
        }
    }
    for (user, seen, holds) in facts.users.iter().filter(|(user, ..)| user.is_enabled()) {
        let subject = || format!("user {}", user.name);
        let since = user.password_at.unwrap_or(user.created_at);
        let age = facts.now.millis().saturating_sub(since.millis());
        if seen.is_none() && age > UNUSED_AFTER_MILLIS {
            let days = age / (24 * 60 * 60 * 1000);
            let since = if user.has_password() {
                format!("the password is {days} days old")
            } else {
                format!("the user was created {days} days ago")
            };
            add(
                "warning",
                "user-unused",
                subject(),
                format!("{since}, and nobody was seen as this user since the server started"),
                "Disable the user with `nightbell user disable NAME` if nobody needs it.",
            );
        }
        if holds.all_work {
            add("note", "worker-on-everything", subject(), ALL_WORK.to_owned(), NARROW);
        }
        if !holds.something {
            add(
                "note",
                "user-without-grants",
                subject(),
                "the user may do nothing".to_owned(),
                "Grant the user something, or add the user to a group.",
            );
        }
    }
    if facts.sso_for_everybody {
        add(
            "warning",
            "sso-for-everybody",
            setting("oidc_groups"),
            "everybody with an account at the OpenID provider becomes a user".to_owned(),
            "Set `oidc_groups` or `oidc_email_domains`, unless the provider has only people who are meant.",
        );
    }
    for group in &facts.missing_groups {
        add(
            "warning",
            "sso-group-missing",
            setting("oidc_groups"),
            format!("it names the group '{group}', which does not exist: nobody is put into it"),
            "Create it with `nightbell group create NAME --role ROLE`, or take it out of the setting.",
        );
    }
    for (document, author) in &facts.without_author {
        add(
            "warning",
            "author-without-key",
            document.clone(),
            format!("it acts as {author}, who counts no more: it does nothing"),
            "Have somebody write it again who may do what it does; it acts as them from then on.",
        );
    }
    for name in &facts.public_triggers {
        add(
            "warning",
            "public-trigger",
            format!("trigger {name}"),
            "anybody who knows its path may call it".to_owned(),
            "Leave `\"auth\": \"none\"` out, so that it takes a key, or use a webhook with a signature.",
        );
    }
    found
}

const ALL_WORK: &str =
    "it takes tasks of every type or attends every hub, with the secrets in them";
const NARROW: &str = "Narrow it: `nightbell grant add WHO --role worker --on task=TYPE`, then `grant remove`; \
    `nightbell auth explain WHO work` names the grant and its group.";

/// Lists weaknesses of the access control configuration.
#[utoipa::path(
    get, path = "/api/access/check", tag = "access",
    responses((status = 200, description = "The weaknesses found; an empty list if there are none", body = Vec<Weakness>))
)]
async fn check_access(
    State(api): State<Api>,
    State(authorizer): State<Arc<Authorizer>>,
) -> Result<Json<Vec<Weakness>>, Problem> {
    let settings = &api.settings;
    let access = api.engine.access();
    let holds = |kind: &str, id: &str| {
        access.inspect(&format!("{kind}:{id}")).map(|who| Holds::of(&who)).unwrap_or_default()
    };
    let keys = access.keys().into_iter().filter(|(key, _)| access.user_counts(key));
    let keys = keys.map(|(key, used)| {
        let holds = holds("key", &key.id);
        (key, used, holds)
    });
    let users = access.users().into_iter().map(|(user, seen)| {
        let holds = holds("user", &user.id);
        (user, seen, holds)
    });
    let provider = settings.oidc.as_ref().filter(|_| settings.auth != Mode::Open);
    let mut missing_groups: Vec<String> = provider.map_or_else(Vec::new, |it| {
        let named = it.groups.iter().map(|(_, group)| group.clone());
        named.filter(|group| access.group(group).is_err()).collect()
    });
    missing_groups.sort_unstable();
    missing_groups.dedup();
    let facts = Facts {
        mode: settings.auth,
        beyond_loopback: settings.beyond_loopback,
        has_tls: settings.tls.is_some()
            || settings.public_url.as_ref().is_some_and(|url| url.starts_with("https://")),
        anonymous: authorizer.anonymous().len(),
        keys: keys.collect(),
        users: users.collect(),
        sso_for_everybody: provider
            .is_some_and(|it| it.groups.is_empty() && it.email_domains.is_empty()),
        missing_groups,
        public_triggers: triggers::public(&api.engine).await?,
        without_author: without_author(&api),
        now: api.engine.now(),
    };
    Ok(Json(weaknesses(&facts)))
}

fn without_author(api: &Api) -> Vec<(String, String)> {
    if api.settings.auth == Mode::Open {
        return Vec::new();
    }
    let shown = |(kind, name, by): (engine::Authored, Arc<str>, Arc<str>)| {
        (format!("{} {name}", kind.as_str()), by.to_string())
    };
    api.engine.without_author().into_iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kernel::Timestamp;
    use kernel::access::{Group, Held, Mode, Principal, Role};
    use serde_json::{Value, json};

    use super::{Facts, Holds, UNUSED_AFTER_MILLIS, weaknesses};

    fn codes(facts: &Facts) -> Vec<&'static str> {
        weaknesses(facts).into_iter().map(|it| it.code).collect()
    }

    fn key(more: &Value) -> engine::KeyRecord {
        let mut key = json!({
            "id": "4f1d0c8a2b6e", "name": "n", "roles": ["viewer"], "hash": "0".repeat(64),
            "createdAt": 0, "createdBy": "test",
        });
        let members = more.as_object().expect("an object").clone();
        key.as_object_mut().expect("an object").extend(members);
        serde_json::from_value(key).expect("a key")
    }

    #[test]
    fn settings_that_open_the_server_are_told() {
        let with = |mode, beyond_loopback, has_tls| {
            codes(&Facts { mode, beyond_loopback, has_tls, ..Facts::default() })
        };
        assert_eq!(with(Mode::Open, false, false), [""; 0]);
        assert_eq!(with(Mode::Open, true, true), ["open-beyond-loopback"]);
        assert_eq!(with(Mode::Offered, true, false), ["keys-only-offered", "no-tls"]);
        assert_eq!(with(Mode::On, true, true), [""; 0]);
        let public_triggers = vec!["t".to_owned()];
        assert_eq!(codes(&Facts { public_triggers, ..Facts::default() }), ["public-trigger"]);
        let without_author = vec![("schedule s".to_owned(), "key:a".to_owned())];
        assert_eq!(codes(&Facts { without_author, ..Facts::default() }), ["author-without-key"]);
    }

    #[test]
    fn users_to_look_at_are_told() {
        let user = |more: &Value| -> engine::UserRecord {
            let mut user = json!({ "id": "0b6e4f1d0c8a", "name": "ann", "roles": [], "createdAt": 0,
                "createdBy": "test" });
            let members = more.as_object().expect("an object").clone();
            user.as_object_mut().expect("an object").extend(members);
            serde_json::from_value(user).expect("a user")
        };
        let of = |more: &Value, seen, millis| {
            let now = Timestamp::from_millis(millis);
            let holds = Holds { something: true, ..Holds::default() };
            codes(&Facts { users: vec![(user(more), seen, holds)], now, ..Facts::default() })
        };
        let (young, old) = (1, UNUSED_AFTER_MILLIS + 1);
        assert_eq!(of(&json!({}), None, young), [""; 0]);
        assert_eq!(of(&json!({}), None, old), ["user-unused"]);
        assert_eq!(of(&json!({ "passwordAt": old }), None, old), [""; 0]);
        assert_eq!(of(&json!({}), Some(Timestamp::from_millis(1)), old), [""; 0]);
        assert_eq!(of(&json!({ "disabledAt": 1 }), None, old), [""; 0]);
        let users = vec![(user(&json!({})), None, Holds::default())];
        assert_eq!(codes(&Facts { users, ..Facts::default() }), ["user-without-grants"]);
        let holds = Holds { all_work: true, something: true, ..Holds::default() };
        let users = vec![(user(&json!({})), None, holds)];
        assert_eq!(codes(&Facts { users, ..Facts::default() }), ["worker-on-everything"]);
    }

    #[test]
    fn keys_to_look_at_are_told() {
        let old = Timestamp::from_millis(UNUSED_AFTER_MILLIS + 1);
        let of = |more: &Value, used, now| {
            let key = key(more);
            let (roles, grants) = (key.roles.clone(), key.grants.clone());
            let who = Principal::with_grants("key:a".into(), "n".into(), roles, grants);
            codes(&Facts { keys: vec![(key, used, Holds::of(&who))], now, ..Facts::default() })
        };
        let young = Timestamp::from_millis(1);
        assert_eq!(of(&json!({}), None, young), [""; 0]);
        assert_eq!(of(&json!({}), None, old), ["key-unused"]);
        assert_eq!(of(&json!({}), Some(young), old), [""; 0]);
        assert_eq!(of(&json!({ "revokedAt": 1 }), None, old), [""; 0]);
        assert_eq!(of(&json!({ "roles": ["admin"] }), None, young), ["admin-without-end"]);
        assert_eq!(of(&json!({ "roles": ["admin"], "expiresAt": 9 }), None, young), [""; 0]);
        assert_eq!(
            of(&json!({ "roles": ["admin"], "bootstrap": true }), None, young),
            ["bootstrap-key"]
        );
        assert_eq!(of(&json!({ "roles": ["worker"] }), None, young), ["worker-on-everything"]);
        assert_eq!(of(&json!({ "roles": [] }), None, young), ["key-without-grants"]);
        let narrowed = json!({ "roles": [], "grants": [{ "role": "worker", "on": "hub=a" }] });
        assert_eq!(of(&narrowed, None, young), [""; 0]);
        for on in ["task=*", "hub=*"] {
            let whole = json!({ "roles": [], "grants": [{ "role": "worker", "on": on }] });
            assert_eq!(of(&whole, None, young), ["worker-on-everything"], "{on}");
        }
    }

    #[test]
    fn what_a_key_may_do_by_its_user_and_groups_is_told() {
        let held = Held::new(vec![Role::Admin, Role::Worker], Vec::new());
        let group = Arc::new(Group { name: "admins".into(), held });
        let own = Arc::new(Held::default());
        let who = Principal::in_groups("key:a".into(), "n".into(), 0, own, vec![group]);
        let key = key(&json!({ "roles": [], "user": "0b6e4f1d0c8a" }));
        let facts = Facts { keys: vec![(key, None, Holds::of(&who))], ..Facts::default() };
        assert_eq!(codes(&facts), ["admin-without-end", "worker-on-everything"]);
    }

    #[test]
    fn a_provider_that_lets_everybody_in_and_groups_that_are_not_there_are_told() {
        let facts = Facts { sso_for_everybody: true, ..Facts::default() };
        assert_eq!(codes(&facts), ["sso-for-everybody"]);
        let facts = Facts { missing_groups: vec!["ops".to_owned()], ..Facts::default() };
        assert_eq!(codes(&facts), ["sso-group-missing"]);
    }
}
