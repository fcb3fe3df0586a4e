//! `nightbell import`: what it writes passes `nightbell check`, and what has no equivalent is said.

use serde_json::json;

use crate::stand_in::{Nightbell, StandIn};

/// A configuration of our own with every key and every kind of condition that `config.yaml` of Gatus' repository
/// and the configurations below its `.examples` have.
const GATUS: &str = r#"
metrics: true
storage: { type: sqlite, path: /data/state.db }
ui:
  header: Status of the shop
  link: https://shop.example
  buttons: [ { name: Home, link: https://shop.example } ]
alerting:
  mattermost: { webhook-url: "https://chat.example/hooks/abc", client: { insecure: true } }
endpoints:
  - name: front
    group: shop
    url: "https://shop.example/health"
    interval: 5m
    conditions:
      - "[STATUS] == 200"
      - "[BODY].status == UP"
      - "[BODY] == pat(*<b>open</b>*)"
      - "[RESPONSE_TIME] < 150"
      - "[CERTIFICATE_EXPIRATION] > 48h"
      - "[DOMAIN_EXPIRATION] > 720h"
    alerts: [ { type: mattermost, description: "the shop is away", send-on-resolved: true } ]
  - name: inner
    url: https://inner.example
    interval: 30s
    client:
      insecure: true
      tls: { certificate-file: /certs/me.crt, private-key-file: /certs/me.key, renegotiation: once }
    conditions: [ "[STATUS] == 200" ]
  - name: name-server
    group: net
    url: "192.0.2.53"
    interval: 5m
    dns: { query-name: shop.example, query-type: A }
    conditions: [ "[BODY] == 192.0.2.7", "[DNS_RCODE] == NOERROR" ]
  - name: any-address
    url: "192.0.2.53"
    dns: { query-name: shop.example, query-type: A }
    conditions: [ "[BODY] == pat(*.*.*.*)", "[DNS_RCODE] == NOERROR" ]
  - name: ping
    url: "icmp://shop.example"
    interval: 1m
    conditions: [ "[CONNECTED] == true" ]
"#;

/// A crontab of our own with everything that the example of `crontab(5)` of Vixie cron has.
const CRONTAB: &str = r"# of the shop
SHELL=/bin/sh
MAILTO=ann
#
5 0 * * *       $HOME/bin/nightly >> $HOME/tmp/out 2>&1
15 14 1 * *     $HOME/bin/monthly
0 22 * * 1-5    mail -s 'late' ann%Ann,%%Go home%
23 0-23/2 * * * echo 'every two hours, at 23 past'
5 4 * * sun     echo 'on Sundays'
0 */4 1 * mon   echo 'on the first and on Mondays'
0 0 */2 * sun   echo 'every other day that is a Sunday'
";

/// Imports, and checks what was made as a user would.
fn checked(arguments: &[&str], file: &str, text: &str) -> (String, String) {
    let outcome = Nightbell::new(arguments).file(file, text).run().exits(0);
    let check = Nightbell::new(&["check", "monitors.yaml"]).file("monitors.yaml", &outcome.stdout);
    let verdict = check.run();
    assert_eq!(verdict.code, 0, "{verdict:#?}\n{}", outcome.stdout);
    (outcome.stdout, outcome.stderr)
}

#[test]
fn what_is_imported_passes_the_check() {
    let gatus = "
alerting:
  discord: { webhook-url: 'https://hooks.example/discord' }
  telegram: { token: '123:abc', id: '-100' }
  email: { host: mail.example, port: 587, from: bell@example.com, to: 'a@example.com,b@example.com' }
endpoints:
  - name: 'pages #1'
    group: web
    url: https://web.example/
    body: '{\"a\": 1}'
    method: POST
    conditions: ['[STATUS] == any(200, 204)', '[BODY] == pat(*hello*)', '[RESPONSE_TIME] < 500']
    alerts: [{ type: discord, description: 'with {{ braces }}' }, { type: telegram }, { type: email }]
  - { name: bad interval, url: 'tcp://db.example:5432', interval: soon, conditions: ['[CONNECTED] == true'] }
  - { name: port, url: 'tcp://db.example:5432', conditions: ['[CONNECTED] == true', '[RESPONSE_TIME] < 99'] }
  - { name: query, url: 'tls://mail.example:993', conditions: ['[CERTIFICATE_EXPIRATION] > 72h'] }
";
    let (made, said) = checked(&["import", "gatus", "config.yaml"], "config.yaml", gatus);
    assert!(said.contains("translated 3 monitors, 3 receivers"), "{said}");
    assert!(made.contains("not translated: the monitor bad interval"), "{made}");

    let crontab = "# copy\n15 3 * * 1-5 /usr/local/bin/copy.sh\n@reboot x\n@weekly  cd /a; ./b\n\
                   0 0 31 2 * /bin/never\n";
    let (made, _) = checked(&["import", "crontab", "tab", "--tz", "Europe/Oslo"], "tab", crontab);
    assert!(made.contains("nightbell ping exec copy -- /usr/local/bin/copy.sh"), "{made}");
    assert!(made.contains("  0 0 31 2 * /bin/never\n") && !made.contains("exec never"), "{made}");

    let checks = json!({ "checks": [
        { "name": "a", "slug": "a", "timeout": 3600, "grace": 300, "status": "up",
          "ping_url": "https://hc.example/00000000-0000-4000-8000-000000000001" },
        { "name": "b", "schedule": "99 * * * *", "grace": 300 },
    ] });
    let list = checks.to_string();
    let (made, said) = checked(&["import", "healthchecks", "list.json"], "list.json", &list);
    assert!(said.contains("translated 1 monitor,"), "{said}");
    assert!(made.contains("not translated: the monitor b"), "{made}");
    let server = StandIn::start().says("GET /api/v3/checks/", 200, checks);
    let asked = ["import", "healthchecks", "--from", &server.url(), "--token", "secret"];
    assert_eq!(Nightbell::new(&asked).run().exits(0).stdout, made);
    assert_eq!(server.heard(), ["GET /api/v3/checks/"]);
    let refused = StandIn::start();
    let asked = ["import", "healthchecks", "--from", &refused.url(), "--token", "secret"];
    Nightbell::new(&asked).run().exits(1);
}

#[test]
fn a_calendar_is_written_whole_or_not_at_all() {
    let calendar = |rule: &str| {
        format!(
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:Ann Olsen\r\nDTSTART:20261102T090000Z\r\n\
             DTEND:20261102T170000Z\r\nRRULE:FREQ={rule}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        )
    };
    let server = StandIn::start().says("GET /a.ics", 200, json!(calendar("DAILY"))).says(
        "GET /b.ics",
        200,
        json!(calendar("YEARLY")),
    );
    let import = |path: &str, more: &[&str]| {
        let url = format!("{}{path}", server.url());
        let arguments =
            ["import", "calendar", &url, "--rotation", "primary", "--name", "Ann Olsen=ann"];
        let arguments = arguments.iter().chain(more).copied().collect::<Vec<_>>();
        Nightbell::new(&arguments).file("out.yaml", "mine").run()
    };
    let made = import("/a.ics", &[]).exits(0).stdout;
    let more = "receivers: { x: { slack: 'https://s.example' } }\npeople: { ann: x }\nroutes: [{ to: 'oncall:primary' }]\n";
    let file = format!("{made}{more}");
    let at = ["oncall", "who", "primary", "-f", "oncall.yaml", "--at"];
    let who = |instant: &str, code: i32| {
        let arguments: Vec<&str> = at.iter().copied().chain([instant]).collect();
        Nightbell::new(&arguments).file("oncall.yaml", &file).run().exits(code)
    };
    assert!(who("2027-02-03T10:00:00Z", 0).stdout.contains("ann"), "{file}");
    let refused = import("/b.ics", &["-O", "out.yaml", "--force"]).exits(1);
    assert!(refused.stderr.contains("FREQ=YEARLY"), "{}", refused.stderr);
    import("/c.ics", &["-O", "out.yaml", "--force"]).exits(1);
}

#[test]
fn a_file_that_is_there_stays() {
    let import = |more: &[&str]| {
        let arguments = ["import", "crontab", "tab", "-O", "out.yaml"].iter().chain(more).copied();
        Nightbell::new(&arguments.collect::<Vec<_>>())
            .file("tab", "0 1 * * * /bin/true\n")
            .file("out.yaml", "mine")
            .run()
    };
    assert!(import(&[]).exits(4).stderr.contains("--force"));
    import(&["--force"]).exits(0);
    for (kind, text) in [("gatus", "a: ["), ("gatus", "{}"), ("healthchecks", "[")] {
        Nightbell::new(&["import", kind, "file"]).file("file", text).run().exits(1);
    }
    Nightbell::new(&["import", "kuma", "file"]).file("file", "no database").run().exits(1);
}

/// What the tools' own examples use is translated, or is said to be not.
#[test]
fn every_key_of_published_examples_is_translated_or_named() {
    let (made, _) = checked(&["import", "gatus", "config.yaml"], "config.yaml", GATUS);
    for part in [
        "shop-front:",
        "https://shop.example/health",
        "every: 5m",
        "status == 200",
        "body.status == ",
        "<b>open</b>",
        "ms",
        "tls_expiry: 48h",
        "mattermost: ",
        "https://chat.example/hooks/abc",
        "the shop is away",
        "group: shop",
        "dns:",
        "shop.example",
        "192.0.2.7",
        "icmp:",
    ] {
        assert!(made.contains(part), "{part} is not in\n{made}");
    }
    let left: Vec<&str> = made.lines().filter(|line| line.contains("not translated")).collect();
    for key in ["metrics", "storage", "ui", "DOMAIN_EXPIRATION", "pat(*.*.*.*)", "insecure", "tls"]
    {
        assert!(left.iter().any(|line| line.contains(key)), "{key} is not named by {left:#?}");
    }

    let tab = ["import", "crontab", "tab", "--tz", "Europe/Oslo"];
    let (made, said) = checked(&tab, "tab", CRONTAB);
    assert!(said.contains("translated 7 monitors"), "{said}");
    for part in ["5 0 * * *", "15 14 1 * *", "0 22 * * 1-5", "23 0-23/2 * * *", "0 */4 1 * mon"] {
        assert!(made.contains(part), "{part} is not in\n{made}");
    }
    assert!(made.contains("SHELL=/bin/sh") && made.contains("MAILTO=ann"), "{made}");
    assert!(made.contains("%Ann,%%Go home%"), "what goes to standard input stays: {made}");

    // A check with every field that an answer of version 3 has, for a read-write and for a read-only key.
    let whole = json!({
        "name": "Copy", "slug": "copy", "tags": "db prod", "desc": "copies the data", "grace": 600,
        "n_pings": 7, "status": "up", "started": false, "last_ping": "2026-01-01T00:00:00+00:00",
        "next_ping": "2026-01-02T00:00:00+00:00", "manual_resume": true, "methods": "POST",
        "subject": "", "subject_fail": "FAIL", "start_kw": "START", "success_kw": "OK",
        "failure_kw": "FAIL", "filter_subject": true, "filter_body": false,
        "filter_http_body": true, "filter_default_fail": false,
        "badge_url": "https://hc.example/b/2/x.svg", "uuid": "00000000-0000-4000-8000-000000000002",
        "ping_url": "https://hc.example/00000000-0000-4000-8000-000000000002",
        "update_url": "https://hc.example/api/v3/checks/2", "pause_url": "https://hc.example/p",
        "resume_url": "https://hc.example/r", "channels": "1,2", "schedule": "15 5 * * *",
        "tz": "Europe/Oslo",
    });
    let mut narrow = whole.clone();
    let members = narrow.as_object_mut().unwrap();
    for name in
        ["uuid", "ping_url", "update_url", "pause_url", "resume_url", "channels", "schedule", "tz"]
    {
        members.remove(name);
    }
    members.insert("unique_key".to_owned(), json!("0a1b"));
    members.insert("name".to_owned(), json!("Load"));
    members.insert("slug".to_owned(), json!("load"));
    members.insert("timeout".to_owned(), json!(3600));
    let list = json!({ "checks": [whole, narrow] }).to_string();
    let (made, said) = checked(&["import", "healthchecks", "list.json"], "list.json", &list);
    assert!(said.contains("translated 2 monitors"), "{said}");
    for part in
        ["15 5 * * *", "Europe/Oslo", "grace: 10m", "copies the data", "slug: copy", "slug: load"]
    {
        assert!(made.contains(part), "{part} is not in\n{made}");
    }
    assert!(made.contains("00000000-0000-4000-8000-000000000002"), "addresses stay valid: {made}");
    assert!(made.contains("every: 1h"), "{made}");
    let left: Vec<&str> = made.lines().filter(|line| line.contains("not translated")).collect();
    assert!(!left.is_empty(), "keywords and what is resumed by hand are named: {made}");
}
