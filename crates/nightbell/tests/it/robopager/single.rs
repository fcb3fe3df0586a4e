//! Single-job mode: what it prints, whom it pages, and the code it ends with.

use serde_json::Value;

use super::dovecot::Dovecot;
use super::world::{Batchy, EtlCfg, PagerDuty, key, latency};
use crate::stand_in::Nightbell;

/// The checklist that the original's documentation shows, with other words: its keys, its quotation
/// marks, and a time without them.
const CHECKLIST: &str = "
morning_report_mail:
    type: email
    pd_description: \"The morning report has not come\"
    pd_service: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
    senders: ['reports@example.com']
    delivery_time: 03:00
    check_time: 9:15
    subjects:
        - \"Sales - All is well!\"
        - \"Stock - All is well!\"

hourly_load:
    type: batchy
    pd_description: \"The hourly load is late\"
    pd_service: \"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\"
    wf_name: \"hourly_load\"
    check_time: \"09:00\"
    poll_sec: 180
    latency_min: 60
";

/// One run of one check, in a folder with the files where the original looks for them.
pub(super) fn once(name: &str, checklist: &str, etl: &str, pages: &PagerDuty) -> Nightbell {
    Nightbell::new(&["robopager", "-c", name, "-cf", "core"])
        .file("cfg/checklist.yaml", checklist)
        .file("etl.cfg", etl)
        .env("NIGHTBELL_PAGERDUTY_URL", &pages.url())
        .env("TZ", "UTC")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_how_it_is_and_a_page_follows() {
    let pages = PagerDuty::start().await;
    let (batchy, address) = Batchy::start().await;
    let etl = EtlCfg { batchy: address, ..EtlCfg::default() }.text();
    let service = "y".repeat(32);
    let run = || once("hourly_load", CHECKLIST, &etl, &pages).run();

    batchy.ended("hourly_load", 5, "success");
    let well = run().exits(0);
    assert!(well.stdout.starts_with("hourly_load: ok: "), "{well:?}");
    // Nothing is known of earlier runs: whatever was open is over.
    assert_eq!(pages.count("trigger", &service), 0);
    assert_eq!(pages.count("resolve", &service), 2);

    batchy.ended("hourly_load", 55, "success");
    let warned = run().exits(0);
    assert!(warned.stdout.contains("warning: hourly_load last ended 55 min ago"), "{warned:?}");
    assert_eq!(pages.events().len(), 2);

    batchy.ended("hourly_load", 25 * 60, "success");
    let failed = run().exits(1);
    assert!(failed.stdout.contains("FAILED: hourly_load last ended 1 d 1 h ago"), "{failed:?}");
    let page = pages.only("trigger", &service);
    assert_eq!(page["description"], "The hourly load is late");
    let resolved: Vec<Value> =
        pages.events().iter().take(2).map(|it| it["incident_key"].clone()).collect();
    assert!(resolved.contains(&page["incident_key"]), "{resolved:?}: {page}");

    // Unknown to batchy: nobody can tell, which is told too.
    let etl = EtlCfg { batchy: "127.0.0.1:1".to_owned(), ..EtlCfg::default() }.text();
    let unknown = once("hourly_load", CHECKLIST, &etl, &pages).run().exits(2);
    assert!(unknown.stdout.contains("CANNOT TELL"), "{unknown:?}");
    assert_eq!(pages.count("trigger", &service), 2);

    // By the hour, as the original had it.
    let etl = EtlCfg { more: "incident_key = hour\noffset_sec = 1", ..EtlCfg::default() }.text();
    once("hourly_load", CHECKLIST, &etl, &pages).run().exits(2);
    let key = pages.events().last().unwrap()["incident_key"].as_str().unwrap().to_owned();
    let hour = key.strip_prefix("hourly_load#check-").expect(&key).replace('-', "");
    assert!(hour.len() == 10 && hour.bytes().all(|it| it.is_ascii_digit()), "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_does_not_open_is_no_missing_mail() {
    let Some(mut mailbox) = Dovecot::start("All Mail", "s3cret", None) else { return };
    let pages = PagerDuty::start().await;
    let imap = format!("imap://127.0.0.1:{}", mailbox.plain);
    let run = |etl: &EtlCfg| {
        let run = once("morning_report_mail", CHECKLIST, &etl.text(), &pages);
        run.env("NIGHTBELL_IMAP_URL", &imap).run()
    };
    let missing = run(&EtlCfg::default()).exits(1);
    assert!(missing.stdout.contains("(2 of 2): \"Sales - All is well!\""), "{missing:?}");
    // The time without quotation marks is told, with its place.
    assert!(missing.stderr.contains("checklist.yaml:8:17: warning"), "{missing:?}");
    let refused = run(&EtlCfg { password: "wr0ng", ..EtlCfg::default() }).exits(2);
    assert!(refused.stdout.contains("refuses the login"), "{refused:?}");
    assert!(!refused.stderr.contains("wr0ng") && !refused.stdout.contains("wr0ng"), "{refused:?}");
    mailbox.kill();
    let away = run(&EtlCfg::default()).exits(2);
    assert!(away.stdout.contains("no connection"), "{away:?}");
    let service = "x".repeat(32);
    let triggers = pages.count("trigger", &service);
    assert_eq!(triggers, 3, "{:?}", pages.taken());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_told_with_its_place() {
    let pages = PagerDuty::start().await;
    let etl = EtlCfg::default().text();
    let good = latency("late");
    let cases: [(&str, &str, &str, &[&str]); 6] = [
        ("lat", &good, &etl, &["has no check \"lat\"", "late"]),
        ("late", "late: { type: mail }\n", &etl, &["cfg/checklist.yaml:1:15: error", "email"]),
        ("late", &good, "[batchy\n", &["etl.cfg:1: a section must end"]),
        ("late", &good, "[timezone]\ntimezone = UTC\n", &["batchy.server is missing"]),
        ("late", &good, "[google_apps]\nemail = a\npassword = ?\n", &["etl.cfg:3:", "base64"]),
        ("late", "- 1\n", &etl, &["cfg/checklist.yaml:1:1: error"]),
    ];
    for (name, checklist, etl, parts) in cases {
        let outcome = once(name, checklist, etl, &pages).run().exits(2);
        for part in parts {
            assert!(outcome.stderr.contains(part), "{part:?}: {outcome:?}");
        }
    }
    let bare = |arguments: &[&str]| Nightbell::new(arguments).run().exits(2);
    let other = bare(&["robopager", "-c", "late", "-cf", "secret_manager"]);
    assert!(other.stderr.contains("-cf core"), "{other:?}");
    let nowhere = bare(&["robopager", "-c", "late", "-y", "nowhere", "-cf=core"]);
    assert!(nowhere.stderr.contains("there is no checklist nowhere"), "{nowhere:?}");
    let no_cfg = Nightbell::new(&["robopager", "-c", "late", "-cf", "core", "-p", "other.cfg"])
        .file("checklist.yaml", &good)
        .run()
        .exits(2);
    assert!(no_cfg.stderr.contains("cannot read other.cfg"), "{no_cfg:?}");
    // A checklist by its name alone, as the documentation of the original has it.
    let named = Nightbell::new(&["robopager", "-c", "other", "-y", "night", "-cf", "core"])
        .file("cfg/night.yaml", &good)
        .file("etl.cfg", &etl)
        .run()
        .exits(2);
    assert!(named.stderr.contains("cfg/night.yaml has no check \"other\""), "{named:?}");
    assert_eq!(pages.events(), [] as [Value; 0]);
    assert_eq!(key("late").len(), 32);
}
