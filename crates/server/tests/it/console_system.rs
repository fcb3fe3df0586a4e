//! What the pages of the system tell of the server, and what is done for it there.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{Method, StatusCode};
use kernel::Timestamp;
use kernel::access::{Mode, Role};
use parking_lot::Mutex;
use serde_json::json;
use server::upkeep::{Backup, Backups, Setting, Upkeep};

use crate::console::{Browser, hidden};
use crate::console_pages::{act, after, has, has_not, shown};
use crate::support::Server;

/// Notes what is asked for.
#[derive(Debug)]
struct Noting {
    settings: Vec<Setting>,
    reloads: Mutex<u32>,
    backups: Mutex<Backups>,
}

#[async_trait]
impl Upkeep for Noting {
    fn settings(&self) -> &[Setting] {
        &self.settings
    }

    async fn reload(&self) -> Result<(), String> {
        *self.reloads.lock() += 1;
        Ok(())
    }

    fn backups(&self) -> Backups {
        self.backups.lock().clone()
    }

    fn back_up(&self) -> Result<(), String> {
        let mut backups = self.backups.lock();
        if backups.running_since.is_some() {
            return Err("a backup has been running for a while".to_owned());
        }
        backups.running_since = Some(Timestamp::from_millis(1_767_225_600_000));
        Ok(())
    }
}

async fn kept() -> (Browser, Arc<Noting>) {
    let setting = |key, value: &str, origin: &str| Setting {
        key,
        value: value.to_owned(),
        origin: origin.to_owned(),
    };
    let noting = Arc::new(Noting {
        settings: vec![
            setting("listen", "127.0.0.1:8080", "default"),
            setting("nats_url", "nats://***@<b>", "nightbell.toml:3:1"),
        ],
        reloads: Mutex::default(),
        backups: Mutex::default(),
    });
    let upkeep = noting.clone();
    let server = Server::new().await.with(|settings| settings.upkeep = Some(upkeep));
    (Browser::at(server), noting)
}

const HEALTH: &str = "/console/system/health";

#[tokio::test]
async fn settings_tell_where_each_value_came_from() {
    let (browser, _) = kept().await;
    let page = shown(&browser, "/console/system/settings").await;
    let (given, rest) = page.split_once("As by default").expect("two parts");
    has(given, "<code>nats_url</code></td><td>nats://***@&lt;b&gt;</td><td>nightbell.toml:3:1");
    has(rest, "<code>listen</code></td><td>127.0.0.1:8080</td><td>default");
    let told = browser.server().get("/api/admin/settings").await.ok();
    let listen = json!({ "key": "listen", "value": "127.0.0.1:8080", "origin": "default" });
    assert_eq!(told[0], listen);
    let other = Server::new().await;
    other.get("/api/admin/settings").await.failed(409);
}

#[tokio::test]
async fn the_store_is_backed_up_and_files_are_read_again_from_the_page_of_health() {
    let (browser, noting) = kept().await;
    let press = async |name: &str| {
        act(&browser, &[("act", name), ("id", "server"), ("back", HEALTH)]).await
    };
    let page = after(&browser, &press("reload").await).await;
    has(&page, "were read again");
    assert_eq!(*noting.reloads.lock(), 1);
    has(&page, "none that is known here");
    has_not(&page, "one is being made");
    let page = after(&browser, &press("back-up").await).await;
    has(&page, "one is being made since");
    let refused = press("back-up").await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    has(&refused.text, "a backup has been running for a while");
    let at = browser.server().engine.now().plus_millis(-7_200_000);
    let last = Backup { file: "nightbell-1.db".to_owned(), at, bytes: 2048 };
    *noting.backups.lock() = Backups {
        last: Some(last),
        failure: Some("no room left".to_owned()),
        why_not: Some("there is no folder".to_owned()),
        ..Backups::default()
    };
    let page = shown(&browser, HEALTH).await;
    has(&page, "2 h ago, <code>nightbell-1.db</code>");
    has(&page, "no room left");
    has(&page, "there is no folder");
    has_not(&page, "value=\"back-up\"");
    has(&shown(&browser, "/console/").await, "backup: 2 h ago");
}

#[tokio::test]
async fn who_is_signed_in_is_told_and_ended_after_a_preview() {
    let server = Server::new().await;
    let new_key = async |role: Role| {
        let access = server.engine.access();
        let made = access.create_key(role.as_str(), vec![role], None, "test", server.engine.now());
        made.await.expect("memory takes all").text.to_string()
    };
    let (viewer, admin) = (new_key(Role::Viewer).await, new_key(Role::Admin).await);
    let browser = Browser::at(server.with(|settings| settings.auth = Mode::On));
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let by_admin = async |method: Method, path: &str, body: &str| {
        let bearer = format!("Bearer {admin}");
        browser.send(method, path, &[("authorization", &*bearer), kind], body).await
    };
    let form = format!("key={viewer}");
    let signed = browser.send(Method::POST, "/console/login", &[kind], &form).await;
    assert_eq!(signed.status, StatusCode::SEE_OTHER, "{}", signed.text);
    let cookie = signed.headers["set-cookie"].to_str().expect("a cookie");
    let cookie = cookie.split(';').next().expect("a name and a value").to_owned();
    let inside = async || {
        let headers = [("cookie", &*cookie)];
        browser.send(Method::GET, "/console/monitors", &headers, "").await.status
    };
    assert_eq!(inside().await, StatusCode::OK);
    let access = by_admin(Method::GET, "/console/system/access", "").await.text;
    let link = access.split("value=\"end-logins\"").nth(1).expect("somebody is signed in");
    let who = hidden(link, "id").replace(':', "%3A");
    let preview = format!("/console/confirm?act=end-logins&id={who}");
    let preview = by_admin(Method::GET, &preview, "").await.text;
    let token = hidden(&preview, "token");
    let form = format!("act=end-logins&id={who}&token={token}&back=/console/system/access");
    let done = by_admin(Method::POST, "/console/act", &form).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    assert_eq!(inside().await, StatusCode::UNAUTHORIZED);
    let path = format!("/api/access/sessions?who={who}");
    assert_eq!(by_admin(Method::DELETE, &path, "").await.status, StatusCode::NOT_FOUND);
}
