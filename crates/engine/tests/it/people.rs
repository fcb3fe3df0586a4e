//! Users and groups: what they may do at each moment, who comes in, and that somebody always can.

use std::sync::Arc;

use engine::memory::{Call, Fault, Memory};
use engine::store::StoreError;
use engine::{Access, AccessError, Engine, NewUser, Proved, Rights};
use kernel::Timestamp;
use kernel::access::{Permission, Principal, Role};
use zeroize::Zeroizing;

use crate::house::open;

const GOOD: &str = "correct horse battery";

fn now() -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000)
}

fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

async fn fresh() -> Engine {
    open(Arc::new(Memory::default())).await
}

/// A user of these roles, with a password only if that matters: a hash takes its time.
async fn user(access: &Access, name: &str, password: Option<&str>, roles: &[Role]) -> String {
    let wanted = NewUser {
        name: name.to_owned(),
        password: password.map(secret),
        rights: roles.to_vec().into(),
        ..NewUser::default()
    };
    let made = access.create_user(wanted, "test", now()).await.expect("it is created");
    format!("user:{}", made.id)
}

fn known(access: &Access, id: &str) -> Option<Arc<Principal>> {
    match access.principal(id, now()) {
        Proved::Known(who) => Some(who),
        Proved::Expired | Proved::Unknown => None,
    }
}

#[tokio::test]
async fn a_member_has_what_the_group_has_at_each_moment_and_after_a_restart() {
    let store = Arc::new(Memory::default());
    let engine = open(store.clone()).await;
    let access = engine.access();
    let ann = user(access, "Ann", None, &[Role::Viewer]).await;
    let may = |access: &Access, permission| known(access, &ann).expect("ann").may(permission);
    access.create_group("on-call", vec![Role::Responder], "test", now()).await.expect("a group");
    assert!(may(access, Permission::Read) && !may(access, Permission::Respond));
    access.add_member("on-call", "ann", now()).await.expect("a member");
    access.add_member("ON-CALL", "ANN", now()).await.expect("she is one already");
    assert!(may(access, Permission::Respond));
    // What the group is granted later, its members have at once; so does a key of a member.
    let key = access.create_key_of("ann", "laptop", None, "test", now()).await.expect("a key");
    let key = format!("key:{}", key.record.id);
    let more = Rights::from(vec![Role::Runner]);
    access.grant("group:on-call", more.clone(), now()).await.expect("it is granted");
    assert!(may(access, Permission::Run) && known(access, &key).expect("it").may(Permission::Run));
    assert_eq!(&*known(access, &key).expect("it").name, "ann/laptop");

    let again = open(store).await;
    assert!(may(again.access(), Permission::Run));
    assert!(known(again.access(), &key).expect("it").may(Permission::Run));

    access.withdraw("group:on-call", more, now()).await.expect("it is taken away");
    assert!(
        !may(access, Permission::Run) && !known(access, &key).expect("it").may(Permission::Run)
    );
    access.remove_member("on-call", "ann", now()).await.expect("she was one");
    assert!(!may(access, Permission::Respond) && may(access, Permission::Read));
    let refused = access.remove_member("on-call", "ann", now()).await;
    assert!(matches!(refused, Err(AccessError::NotMember(..))), "{refused:?}");
    access.add_member("on-call", "ann", now()).await.expect("a member");
    access.delete_group("on-call", now()).await.expect("it is deleted");
    assert!(!may(access, Permission::Respond));
    // Another group of the same name is another group.
    access.create_group("on-call", vec![Role::Admin], "test", now()).await.expect("a group");
    assert!(!may(access, Permission::Admin));
}

#[tokio::test]
async fn who_is_disabled_or_deleted_counts_no_more_and_keys_neither() {
    let engine = fresh().await;
    let access = engine.access();
    let ann = user(access, "ann", None, &[Role::Viewer]).await;
    let key = access.create_key_of("ann", "laptop", None, "test", now()).await.expect("a key");
    let text = kernel::access::KeyText::parse(&key.text).expect("a key");
    let mut revoked = access.revoked();
    let generation = known(access, &ann).expect("ann").generation;
    access.disable_user("ann", "test", now()).await.expect("it is disabled");
    assert!(revoked.has_changed().expect("the engine lives"), "streams look again");
    revoked.mark_unchanged();
    assert!(known(access, &ann).is_none());
    assert_eq!(access.holder(&text, now()), Proved::Unknown);
    access.enable_user("ann", now()).await.expect("it is enabled");
    assert!(matches!(access.holder(&text, now()), Proved::Known(_)));
    // What was opened before stays closed.
    assert_eq!(access.standing(&ann, generation, now()), Proved::Unknown);
    access.delete_user("ann", now()).await.expect("it is deleted");
    assert!(known(access, &ann).is_none());
    assert_eq!(access.holder(&text, now()), Proved::Unknown);
    // Somebody else of the same name is somebody else, and has none of the keys.
    let other = user(access, "ann", None, &[Role::Admin]).await;
    assert_ne!(other, ann);
    assert!(known(access, &ann).is_none());
    assert_eq!(access.holder(&text, now()), Proved::Unknown);
}

#[tokio::test]
async fn a_name_and_a_password_prove_a_user_who_is_enabled() {
    let engine = fresh().await;
    let access = engine.access();
    let ann = user(access, "ann", Some(GOOD), &[]).await;
    user(access, "bob", None, &[]).await;
    let login = async |name: &str, password: &str| {
        let who = access.login(name, secret(password), now()).await.expect("nobody else signs in");
        who.map(|who| (who.id.to_string(), who.generation))
    };
    assert_eq!(login(" ANN ", GOOD).await, Some((ann.clone(), 0)));
    for (name, password) in [("ann", "correct horse batterz"), ("bob", ""), ("carl", GOOD)] {
        assert_eq!(login(name, password).await, None, "{name}");
    }
    let refused = access.set_password("ann", secret("short"), now()).await;
    assert!(matches!(refused, Err(AccessError::Password)), "{refused:?}");
    access.set_password("ann", secret("another horse battery"), now()).await.expect("it is set");
    assert_eq!(login("ann", GOOD).await, None);
    assert_eq!(login("ann", "another horse battery").await, Some((ann, 1)));
    access.disable_user("ann", "test", now()).await.expect("it is disabled");
    assert_eq!(login("ann", "another horse battery").await, None);
}

#[tokio::test]
async fn somebody_stays_administrator() {
    let engine = fresh().await;
    let access = engine.access();
    let first = access.bootstrap_key(None, now()).await.expect("the store").expect("a key");
    user(access, "ann", Some(GOOD), &[]).await;
    access.create_group("admins", vec![Role::Admin], "test", now()).await.expect("a group");
    access.add_member("admins", "ann", now()).await.expect("a member");
    access.end_bootstrap("ann", now()).await.expect("it ends");
    assert!(!access.has_bootstrap());
    assert!(known(access, &format!("key:{}", first.record.id)).is_none());
    let is_last = |refused: Result<(), AccessError>| {
        assert!(matches!(refused, Err(AccessError::LastAdministrator)), "{refused:?}");
    };
    let admin = Rights::from(vec![Role::Admin]);
    is_last(access.disable_user("ann", "test", now()).await.map(drop));
    is_last(access.delete_user("ann", now()).await.map(drop));
    is_last(access.remove_member("admins", "ann", now()).await.map(drop));
    is_last(access.delete_group("admins", now()).await.map(drop));
    is_last(access.withdraw("group:admins", admin.clone(), now()).await.map(drop));
    assert!(access.bootstrap_key(None, now()).await.expect("the store").is_none());
    // One without a password or a key cannot come in.
    user(access, "bob", None, &[Role::Admin]).await;
    is_last(access.delete_user("ann", now()).await.map(drop));
    let key = access.create_key_of("bob", "k", None, "test", now()).await.expect("a key");
    access.delete_user("ann", now()).await.expect("bob is one");
    is_last(access.revoke_key(&key.record.id, "test", now()).await.map(drop));
    is_last(access.withdraw("user:bob", admin, now()).await.map(drop));
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused() {
    let engine = fresh().await;
    let access = engine.access();
    user(access, "ann", None, &[]).await;
    let create = async |name: &str, groups: &[&str]| {
        let groups = groups.iter().map(|it| (*it).to_owned()).collect();
        let wanted = NewUser { name: name.to_owned(), groups, ..NewUser::default() };
        access.create_user(wanted, "test", now()).await.map(drop)
    };
    assert!(matches!(create("Ann", &[]).await, Err(AccessError::Taken(..))));
    assert!(matches!(create("a b", &[]).await, Err(AccessError::PersonName(..))));
    assert!(matches!(create("bob", &["none"]).await, Err(AccessError::Missing(_))));
    let key = access.create_key_of("ann", "k", None, "test", now()).await.expect("a key");
    let granted = access.grant(&*key.record.id, vec![Role::Admin].into(), now()).await;
    assert!(matches!(granted, Err(AccessError::OfUser)), "{granted:?}");
    assert!(matches!(access.user("nobody"), Err(AccessError::Missing(_))));
}

/// Whoever waits for a change may go at any await, as a handler does with the connection of its client.
#[tokio::test]
async fn a_change_is_made_whole_also_if_nobody_waits_for_it() {
    let store = Arc::new(Memory::with_late_answers());
    let engine = open(store.clone()).await;
    let access = engine.access();
    let ann = user(access, "ann", None, &[Role::Viewer]).await;
    let bob = user(access, "bob", None, &[Role::Viewer]).await;
    access.create_group("on-call", vec![Role::Runner], "test", now()).await.expect("a group");
    access.add_member("on-call", "ann", now()).await.expect("a member");
    let gone = async |change: &mut (dyn Future<Output = bool> + Unpin)| {
        assert!(futures_util::poll!(change).is_pending(), "the store has not answered");
    };
    // The next change comes after the one that nobody waits for, and writes nothing back.
    let next = async |role| {
        access.grant("user:ann", Rights::from(vec![role]), now()).await.expect("it is granted");
    };
    gone(&mut Box::pin(async { access.disable_user("ann", "test", now()).await.is_ok() })).await;
    next(Role::Editor).await;
    gone(&mut Box::pin(async { access.delete_user("bob", now()).await.is_ok() })).await;
    next(Role::Runner).await;
    gone(&mut Box::pin(async { access.delete_group("on-call", now()).await.is_ok() })).await;
    next(Role::Metrics).await;
    let again = open(store).await;
    for access in [access, again.access()] {
        assert!(known(access, &ann).is_none() && known(access, &bob).is_none());
        assert!(access.group("on-call").is_err());
    }
}

#[tokio::test]
async fn what_the_store_cannot_tell_is_asked_before_anything_else_changes() {
    let lost = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let faults = {
        let lost = lost.clone();
        move |call: &Call<'_>| {
            let take = |bit: u32| {
                let before = lost.fetch_and(!bit, std::sync::atomic::Ordering::SeqCst);
                (before & bit != 0).then(|| StoreError::Unavailable("lost".to_owned()))
            };
            match call {
                Call::Write("put_documents" | "delete_document") => take(1).map(Fault::After),
                Call::Read("documents") => take(2).map(Fault::Before),
                _ => None,
            }
        }
    };
    let engine = open(Arc::new(Memory::with_faults(faults))).await;
    let access = engine.access();
    let ann = user(access, "ann", None, &[Role::Viewer]).await;
    let bob = user(access, "bob", None, &[Role::Viewer]).await;
    let lose = |what| lost.store(what, std::sync::atomic::Ordering::SeqCst);
    // It was written, the answer was lost: memory has it all the same.
    lose(1);
    let refused = access.disable_user("ann", "test", now()).await;
    assert!(matches!(refused, Err(AccessError::Store(_))), "{refused:?}");
    assert!(known(access, &ann).is_none());
    // It cannot even be read then: it is before the next change.
    lose(3);
    let refused = access.delete_user("bob", now()).await;
    assert!(matches!(refused, Err(AccessError::Store(_))), "{refused:?}");
    let more = Rights::from(vec![Role::Editor]);
    let refused = access.grant(&*bob, more, now()).await;
    assert!(matches!(refused, Err(AccessError::Missing(_))), "{refused:?}");
    assert!(known(access, &bob).is_none());
}

#[tokio::test]
async fn a_password_is_replaced_only_by_whom_it_still_proves() {
    let engine = fresh().await;
    let access = engine.access();
    let ann = user(access, "ann", None, &[]).await;
    let generation = known(access, &ann).expect("ann").generation;
    access.disable_user("ann", "test", now()).await.expect("it is disabled");
    access.enable_user("ann", now()).await.expect("it is enabled");
    let refused = access.replace_password(&ann, generation, secret(GOOD), now()).await;
    assert!(matches!(refused, Err(AccessError::Superseded)), "{refused:?}");
    assert!(!access.user(&ann).expect("ann, by the id that is shown").0.has_password());
    let generation = known(access, &ann).expect("ann").generation;
    access.replace_password(&ann, generation, secret(GOOD), now()).await.expect("it still proves");
    assert!(access.user("ann").expect("ann").0.has_password());
}
