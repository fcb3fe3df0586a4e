//! Rows of a database; the databases themselves are tested with the tasks that speak to them.

use kernel::alert::definition::{Level, Remark};
use serde_json::{Value, json};
use tasks::registry::{Settings, runners};

use super::service::folder;
use super::{all, run, unknown, wrong};
use crate::http::settings;

#[tokio::test]
async fn rows_are_observations() {
    let folder = folder();
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("a.db").display());
    let query = "WITH t(id, late) AS (VALUES ('a', 5), ('b', 70)) SELECT * FROM t WHERE late > ?";
    let check = json!({"url": url, "query": query, "params": [60], "value": "late",
        "text": "{{ id }} is {{ late }} min late"});
    let rows = all(&run("CHECK_SQL", check, json!({"per": ["id"]})).await);
    let expected = json!({"status": "fail", "value": 70, "text": "b is 70 min late",
        "attrs": {"id": "b", "late": 70}});
    assert_eq!(rows, [expected]);
    let check = |query: &str| json!({"url": url, "query": query, "rows_max": 1});
    wrong(&run("CHECK_SQL", check("SELECT 1 UNION SELECT 2"), json!({})).await, "more than 1 rows");
    wrong(&run("CHECK_SQL", check("SELEKT"), json!({})).await, "SELEKT");
    let away = json!({"url": "postgres://127.0.0.1:1/d", "user": "u", "password": "s3cret",
        "query": "SELECT 1", "timeout": "5s"});
    let seen = run("CHECK_SQL", away, json!({})).await;
    unknown(&seen, "");
    assert!(!seen.reason.unwrap().contains("s3cret"));
    let named = json!({"server": "nowhere", "query": "SELECT 1"});
    wrong(&run("CHECK_SQL", named, json!({})).await, "no SQL connection is called 'nowhere'");
}

/// Whoever writes a monitor hears of a slip before the first check.
#[tokio::test]
async fn a_server_that_nobody_knows_is_told_when_the_check_is_read() {
    let known = Settings { http: settings(), ..Settings::default() };
    let runners = runners(&known).unwrap();
    let runner = runners.iter().find(|runner| runner.task_type() == "CHECK_SQL").unwrap();
    let told = |check: Value| -> Vec<Remark> {
        runner.judge(&json!({ "settings": check, "monitor": "m" }))
    };
    let remarks = told(json!({ "server": "ordres", "query": "SELECT 1" }));
    let [remark] = remarks.as_slice() else { panic!("{remarks:?}") };
    assert_eq!((remark.level, remark.setting.as_deref()), (Level::Warning, Some("server")));
    assert!(remark.message.contains("no SQL server is called \"ordres\""), "{remark:?}");
    for good in [
        json!({ "server": "postgres://db/orders", "query": "SELECT 1" }),
        json!({ "server": "${workflow.secrets.DB}", "query": "SELECT 1" }),
    ] {
        assert_eq!(told(good.clone()), [], "{good}");
    }
}
