//! Access: the decision, the roles, and the text of keys.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use kernel::access::{
    ChainCheck, FIRST, Grant, Granting, Group, Held, KeyText, Means, Mode, Need, Permission,
    Permissions, Principal, Reach, Refusal, Resource, Role, Selector, Tag, Thing, chained, decide,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

fn principal(roles: &[Role]) -> Principal {
    Principal::new("key:1".into(), "somebody".into(), roles.to_vec())
}

fn need() -> impl Strategy<Value = Need> {
    let sets = vec(select(&Permission::ALL[..]), 1..4);
    prop_oneof![
        Just(Need::Public),
        Just(Need::Proof),
        Just(Need::Anyone),
        (sets, subsequence(Resource::ALL.to_vec(), 0..3)).prop_map(|(set, kinds)| {
            let need = Need::OneOf(Permissions::of(&set));
            if kinds.is_empty() { need } else { need.within(&kinds) }
        }),
    ]
}

proptest! {
    /// Deny unless granted: a permission comes from a role, and from nowhere else.
    #[test]
    fn what_no_role_grants_is_refused(roles in vec(select(&Role::ALL[..]), 0..4), permission in select(&Permission::ALL[..])) {
        let granted = roles.iter().any(|role| role.permissions().has(permission));
        for mode in [Mode::Open, Mode::Offered, Mode::On] {
            let decided = decide(mode, permission.into(), Some(&principal(&roles)));
            prop_assert_eq!(decided, if granted { Ok(Reach::All) } else { Err(Refusal::Forbidden) });
        }
    }

    /// A further role never takes anything away.
    #[test]
    fn roles_only_add(roles in vec(select(&Role::ALL[..]), 0..4), more in select(&Role::ALL[..]), need in need()) {
        let before = decide(Mode::On, need, Some(&principal(&roles)));
        let with = [roles.as_slice(), &[more]].concat();
        if before.is_ok() {
            prop_assert_eq!(decide(Mode::On, need, Some(&principal(&with))), before);
        }
    }

    /// Without credentials only what is public is served, once access control is on; before that,
    /// everything.
    #[test]
    fn nobody_gets_only_what_is_public(need in need()) {
        let public = matches!(need, Need::Public | Need::Proof);
        prop_assert_eq!(decide(Mode::On, need, None), if public { Ok(Reach::All) } else { Err(Refusal::Unauthenticated) });
        prop_assert_eq!(decide(Mode::Open, need, None), Ok(Reach::All));
        prop_assert_eq!(decide(Mode::Offered, need, None), Ok(Reach::All));
    }

    /// A key reads back as itself, and no other text of its length does.
    #[test]
    fn a_key_is_read_as_it_was_written(id in any::<[u8; 6]>(), secret in any::<[u8; 32]>(), at in 0_usize..89, digit in select(&b"0123456789abcdefABCDEF_x"[..])) {
        let text = KeyText::write(id, secret);
        prop_assert_eq!(text.len(), 89);
        let key = KeyText::parse(&text).expect("it was just made");
        let mut hex = String::new();
        for byte in id {
            let _ = write!(hex, "{byte:02x}");
        }
        prop_assert_eq!(key.id(), hex);
        let shown = format!("{key:?}");
        prop_assert!(!shown.contains(&text[16..80]));

        let mut other = text.clone().into_bytes();
        other[at] = digit;
        let other = String::from_utf8(other).expect("ASCII");
        prop_assert_eq!(KeyText::parse(&other).is_some(), other == text);
    }

    #[test]
    fn any_text_is_read_without_panic(text in ".{0,120}") {
        prop_assert!(KeyText::parse(&text).is_none());
    }

    #[test]
    fn keys_of_other_secrets_have_other_hashes(one in any::<[u8; 32]>(), other in any::<[u8; 32]>()) {
        let (one_text, other_text) = (KeyText::write([0; 6], one), KeyText::write([0; 6], other));
        let hash = |text: &str| KeyText::parse(text).expect("a key").hash();
        prop_assert_eq!(hash(&one_text) == hash(&other_text), one == other);
    }
}

#[test]
fn roles_are_what_the_documentation_says() {
    let table: Vec<String> = Role::ALL
        .into_iter()
        .map(|role| {
            let may = Permission::ALL.into_iter().filter(|it| role.permissions().has(*it));
            let may: Vec<&str> = may.map(Permission::as_str).collect();
            format!("{role}: {}", may.join(" "))
        })
        .collect();
    let expected = [
        "viewer: read",
        "responder: read respond",
        "runner: read run",
        "editor: read run edit name-secrets",
        "secrets: name-secrets write-secrets",
        "worker: work",
        "metrics: metrics",
        "auditor: read audit",
        "admin: read respond run edit name-secrets write-secrets work metrics audit admin",
    ];
    assert_eq!(table, expected);
    let names: BTreeSet<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
    assert_eq!(names.len(), Role::ALL.len());
    for role in Role::ALL {
        assert_eq!(role.as_str().parse::<Role>(), Ok(role));
    }
    assert!("root".parse::<Role>().unwrap_err().to_string().contains("viewer, responder"));
}

/// A chain of these lines, as the ledger keeps it: number, hash before, line, hash.
fn chain(lines: &[String]) -> Vec<(u64, String, String, String)> {
    let mut before = FIRST.to_owned();
    let numbered = lines.iter().zip(1..).map(|(line, number)| {
        let hash = chained(&before, line);
        (number, std::mem::replace(&mut before, hash.clone()), line.clone(), hash)
    });
    numbered.collect()
}

fn checked(lines: &[(u64, String, String, String)]) -> Result<(), String> {
    let mut check = ChainCheck::default();
    lines
        .iter()
        .try_for_each(|(number, before, line, hash)| check.take(*number, before, line, hash))
}

proptest! {
    /// A change of any line, one that is missing, and two that changed places are noticed.
    #[test]
    fn a_chain_shows_what_was_done_to_it(lines in vec("[a-z]{1,8}", 2..12), at in any::<prop::sample::Index>(), with in "[A-Z]{1,4}") {
        let good = chain(&lines);
        prop_assert_eq!(checked(&good), Ok(()));
        let at = at.index(good.len());
        let mut changed = good.clone();
        changed[at].2 = with.clone();
        prop_assert!(checked(&changed).is_err());
        // Whoever also makes its hash anew breaks the link of the next one.
        changed[at].3 = chained(&changed[at].1, &with);
        prop_assert_eq!(checked(&changed).is_err(), at + 1 < good.len());
        let mut missing = good.clone();
        missing.remove(at);
        // The oldest lines go with time, and the newest are missing to an earlier export only.
        prop_assert_eq!(checked(&missing).is_err(), at > 0 && at + 1 < good.len());
        let mut swapped = good.clone();
        swapped.swap(0, good.len() - 1);
        prop_assert!(checked(&swapped).is_err());
    }
}

fn selector(text: &str) -> Selector {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn narrowed(grants: &[(Role, &str)]) -> Principal {
    let grants = grants.iter().map(|(role, on)| Grant::new(*role, selector(on)).expect("a grant"));
    Principal::with_grants("key:1".into(), "somebody".into(), Vec::new(), grants.collect())
}

const READ: Permissions = Permissions::of(&[Permission::Read]);
const WORK: Permissions = Permissions::of(&[Permission::Work]);

#[test]
fn a_selector_is_written_as_it_is_read() {
    for text in [
        "hub=sales",
        "hub=*",
        "task=load*",
        "task=load*,domain=eu-*",
        "task=load,domain=",
        "kind=workflow,name=etl-*",
        "kind=workflow,tag=team=data",
        "kind=workflow,name=a*b*,tag=team=a=b",
    ] {
        assert_eq!(selector(text).to_string(), text);
    }
    assert_eq!(selector(" hub = sales ").to_string(), "hub=sales");
}

/// What nothing enforces cannot be written.
#[test]
fn a_selector_that_is_not_enforced_is_refused() {
    for text in [
        "",
        "sales",
        "hub=",
        "hub=a,hub=b",
        "hub=a,task=b",
        "hub=a,name=b",
        "name=etl-*",
        "kind=workflow",
        "kind=monitor,name=a",
        "kind=workflow,hub=a",
        "kind=workflow,tag=team",
        "kind=workflow,tag=a=*",
        "namespace=a",
        "secret=a",
        "domain=eu",
        "task=a\u{7}",
        "hub=a*b*c*d*e*f",
    ] {
        assert!(text.parse::<Selector>().is_err(), "{text}");
    }
    assert!("hub=x".repeat(50).parse::<Selector>().is_err());
    for (role, on) in [
        (Role::Admin, "hub=a"),
        (Role::Metrics, "hub=a"),
        (Role::Responder, "hub=a"),
        (Role::Viewer, "task=a"),
        (Role::Editor, "kind=workflow,name=a"),
        (Role::Worker, "kind=workflow,name=a"),
    ] {
        assert!(Grant::new(role, selector(on)).is_err(), "{role} on {on}");
    }
}

#[test]
fn grants_hold_on_what_they_name_and_on_nothing_else() {
    let who = narrowed(&[
        (Role::Worker, "hub=sales"),
        (Role::Worker, "task=load*"),
        (Role::Worker, "task=page,domain=eu"),
        (Role::Worker, "task=bill,domain="),
        (Role::Viewer, "kind=workflow,name=etl-*"),
        (Role::Viewer, "kind=workflow,tag=team=data"),
        (Role::Viewer, "kind=workflow,name=*-a-*-b,tag=team=web"),
    ]);
    let hub = |hub| who.covers_hub(WORK, hub);
    assert_eq!([hub("sales"), hub("sales2"), hub("Sales"), hub("")], [true, false, false, false]);
    assert!(!who.covers_hub(READ, "sales"), "a worker sees nothing of a hub");
    let task = |name, domain| who.covers_task(WORK, name, domain);
    assert!(task("load", None) && task("load_x", Some("us")) && !task("loa", None));
    assert!(task("page", Some("eu")) && !task("page", Some("us")) && !task("page", None));
    assert!(task("bill", None) && !task("bill", Some("eu")));
    let workflow = |name, team: &str| who.covers_workflow(READ, name, |tag| *tag.value == *team);
    assert!(workflow("etl-1", "") && workflow("anything", "data") && !workflow("etl", "web"));
    assert!(
        workflow("x-a-y-b", "web") && !workflow("x-a-y-b", "other") && !workflow("x-a-b", "web")
    );
    assert!(!who.covers_workflow(WORK, "etl-1", |_| true));
}

#[test]
fn a_narrowed_role_reaches_only_what_looks_at_each_thing() {
    let who = narrowed(&[(Role::Runner, "hub=sales")]);
    let decided = |need| decide(Mode::On, need, Some(&who));
    assert_eq!(decided(Permission::Read.within(&[Resource::Hub])), Ok(Reach::Some));
    assert_eq!(
        decided(Permission::Run.within(&[Resource::Hub, Resource::Workflow])),
        Ok(Reach::Some)
    );
    assert_eq!(decided(Permission::Read.into()), Err(Refusal::Forbidden));
    assert_eq!(decided(Permission::Read.within(&[Resource::Workflow])), Err(Refusal::Forbidden));
    assert_eq!(decided(Permission::Work.within(&[Resource::Hub])), Err(Refusal::Forbidden));
}

proptest! {
    /// The index finds what looking at every grant finds.
    #[test]
    fn the_index_finds_what_a_walk_finds(
        patterns in vec("[ab*]{1,4}", 0..12),
        name in "[ab]{0,6}",
    ) {
        let patterns: Vec<&String> = patterns.iter().filter(|it| format!("hub={it}").parse::<Selector>().is_ok()).collect();
        let grants = patterns.iter().map(|it| (Role::Viewer, format!("hub={it}")));
        let grants: Vec<(Role, String)> = grants.collect();
        let who = narrowed(&grants.iter().map(|(role, on)| (*role, on.as_str())).collect::<Vec<_>>());
        let walked = patterns.iter().any(|pattern| fits(pattern.as_bytes(), name.as_bytes()));
        prop_assert_eq!(who.covers_hub(READ, &name), walked);
    }
}

proptest! {
    /// What an explanation names is what decides.
    #[test]
    fn an_explanation_says_what_the_index_says(
        hubs in vec("[ab*]{1,3}", 0..6),
        name in "[ab]{0,4}",
        domain in proptest::option::of("[ab]{1,2}"),
    ) {
        let hubs: Vec<&String> = hubs.iter().filter(|it| format!("hub={it}").parse::<Selector>().is_ok()).collect();
        let on = |hub: &str| [format!("hub={hub}"), format!("task={hub},domain=a*"), format!("kind=workflow,name={hub},tag=t=v")];
        let on: Vec<String> = hubs.iter().flat_map(|hub| on(hub)).collect();
        let role = |on: &str| if on.starts_with("kind") { Role::Viewer } else { Role::Worker };
        let who = narrowed(&on.iter().map(|on| (role(on), on.as_str())).collect::<Vec<_>>());
        let says = |permission, thing: Thing| !who.granting(permission, &thing).is_empty();
        prop_assert_eq!(says(Permission::Work, Thing::Hub(name.clone())), who.covers_hub(WORK, &name));
        let task = Thing::Task { name: name.clone(), domain: domain.clone() };
        prop_assert_eq!(says(Permission::Work, task), who.covers_task(WORK, &name, domain.as_deref()));
        let tag = Tag { key: "t".into(), value: "v".into() };
        for tags in [vec![], vec![tag]] {
            let covered = who.covers_workflow(READ, &name, |tag| tags.contains(tag));
            prop_assert_eq!(says(Permission::Read, Thing::Workflow { name: name.clone(), tags }), covered);
        }
        prop_assert!(!says(Permission::Work, Thing::Everything));
        let admin = principal(&[Role::Admin]);
        let found = Granting { means: Means::Role(Role::Admin), group: None };
        prop_assert_eq!(admin.granting(Permission::Work, &Thing::Everything), vec![found]);
    }
}

/// Whoever is in a group has what it has, on everything and on some things, and it is told by which group.
#[test]
fn a_member_has_what_its_groups_have() {
    let group = |name: &str, roles: &[Role], grants: &[(Role, &str)]| {
        let grants =
            grants.iter().map(|(role, on)| Grant::new(*role, selector(on)).expect("a grant"));
        Arc::new(Group { name: name.into(), held: Held::new(roles.to_vec(), grants.collect()) })
    };
    let groups = vec![
        group("on-call", &[Role::Responder], &[]),
        group(
            "sales",
            &[],
            &[(Role::Worker, "hub=sales"), (Role::Viewer, "kind=workflow,name=etl-*")],
        ),
    ];
    let own = Arc::new(Held::new(vec![Role::Metrics], Vec::new()));
    let who = Principal::in_groups("user:1".into(), "ann".into(), 0, own.clone(), groups);
    assert!(who.may(Permission::Metrics) && who.may(Permission::Respond));
    assert!(!who.may(Permission::Run) && !who.may_all(WORK));
    assert!(who.covers_hub(WORK, "sales") && !who.covers_hub(WORK, "hr"));
    assert!(who.covers_workflow(READ, "etl-orders", |_| false));
    assert_eq!(who.selectors(WORK, Resource::Hub).count(), 1);
    let need = Permission::Work.within(&[Resource::Hub]);
    assert_eq!(decide(Mode::On, need, Some(&who)), Ok(Reach::Some));
    let says = |permission, thing| {
        let found = who.granting(permission, &thing).into_iter().map(|it| it.to_string());
        found.collect::<Vec<_>>().join("; ")
    };
    assert_eq!(says(Permission::Metrics, Thing::Everything), "metrics on everything");
    let responds = says(Permission::Respond, Thing::Everything);
    assert_eq!(responds, "responder on everything, by the group 'on-call'");
    let attends = says(Permission::Work, Thing::Hub("sales".into()));
    assert_eq!(attends, "worker on hub=sales, by the group 'sales'");
    // Without the groups nothing of that is left.
    let alone = Principal::in_groups("user:1".into(), "ann".into(), 0, own, Vec::new());
    assert!(!alone.may(Permission::Respond) && !alone.covers_hub(WORK, "sales"));
    assert_eq!(decide(Mode::On, need, Some(&alone)), Err(Refusal::Forbidden));
}

#[test]
fn a_few_grants_and_many_decide_alike() {
    let few = [
        "hub=sales",
        "hub=s*t",
        "task=load*,domain=eu",
        "task=*,domain=",
        "kind=workflow,name=etl-*,tag=team=etl",
        "kind=workflow,tag=free=yes",
    ];
    let role = |on: &str| if on.starts_with("kind") { Role::Viewer } else { Role::Worker };
    let grant = |on: &str| Grant::new(role(on), selector(on)).expect("a grant");
    let more = (0..20).map(|number| format!("hub=other-{number}"));
    let many: Vec<String> = few.iter().map(ToString::to_string).chain(more).collect();
    let [few, many] = [
        few.iter().map(|it| grant(it)).collect::<Vec<_>>(),
        many.iter().map(|it| grant(it)).collect(),
    ]
    .map(|grants| Principal::with_grants("key:1".into(), "k".into(), Vec::new(), grants));
    let mut covered = 0;
    for name in ["sales", "sort", "s", "hr", "load", "load-a", "etl-a", "etl", "x"] {
        let hub = few.covers_hub(WORK, name);
        assert_eq!(hub, many.covers_hub(WORK, name), "hub {name}");
        covered += u32::from(hub);
        for domain in [None, Some("eu"), Some("us")] {
            let task = few.covers_task(WORK, name, domain);
            assert_eq!(task, many.covers_task(WORK, name, domain), "task {name} {domain:?}");
            covered += u32::from(task);
        }
        for tag in ["team", "free", "none"] {
            let has_tag = |it: &Tag| *it.key == *tag;
            let workflow = few.covers_workflow(READ, name, has_tag);
            assert_eq!(workflow, many.covers_workflow(READ, name, has_tag), "{name} {tag}");
            covered += u32::from(workflow);
        }
    }
    // Two hubs; each name without a domain, two in one; each with the free tag, one that begins right.
    assert_eq!(covered, 2 + 9 + 2 + 9 + 1);
}

/// Whether a name fits a pattern, said in the plainest way.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|at| fits(rest, &name[at..])),
        Some((first, rest)) => {
            name.split_first().is_some_and(|(it, name)| it == first && fits(rest, name))
        }
    }
}
