//! `nightbell import`: what it writes passes `nightbell check`, and what has no equivalent is said.

use serde_json::json;

use crate::stand_in::{Nightbell, StandIn};

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

    let crontab = "# copy\n15 3 * * 1-5 /usr/local/bin/copy.sh\n@reboot x\n@weekly  cd /a; ./b\n";
    let (made, _) = checked(&["import", "crontab", "tab", "--tz", "Europe/Oslo"], "tab", crontab);
    assert!(made.contains("nightbell ping exec copy -- /usr/local/bin/copy.sh"), "{made}");

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
