//! `nightbell oncall`: files and a server answer alike, and gaps, tests and previews agree.

use crate::live::Live;
use crate::stand_in::{Nightbell, Outcome};

const FILE: &str = r#"
receivers: { ann: { inbox: { name: ann } }, bo: { inbox: { name: bo } } }
people: { ann: ann, bo: { contact: [ bo, { to: ann, after: 5m } ] } }
rotations:
  primary:
    tz: Europe/Oslo
    layers: [ { people: [ann, bo], handover: "Mon 09:00", from: 2026-11-02 } ]
    else: ann
  office:
    layers: [ { people: [bo], active: "Mon-Fri 08:00-16:00" } ]
routes: [ { steps: [ { to: "oncall:primary" }, { to: "oncall:primary+1", after: 10m } ] } ]
monitors: { web: { http: "http://127.0.0.1:1/", every: 24h } }
"#;

const TESTS: &str = r#"
tests:
- name: at the hand-over of Monday
  route: { monitor: web, at: "2026-11-09T07:55:00Z" }
  expect: { told: [ { to: "oncall:primary", who: [ann] }, { to: "oncall:primary+1", after: 10m, who: [WHO] } ] }
"#;

fn run(line: &str, url: &str) -> Outcome {
    let command = Nightbell::new(&line.split(' ').collect::<Vec<_>>()).env("NIGHTBELL_URL", url);
    command.file("watch.yaml", FILE).run()
}

/// The server's answers, and those out of files without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_files_answer_alike() {
    let live = Live::start(&[]).await;
    let url = live.url("");
    run("monitor apply -f watch.yaml", &url).exits(0);
    let both = |line: &str, code: i32| {
        let online = run(line, &url).exits(code).lines();
        let offline =
            run(&format!("{line} -f watch.yaml"), "http://127.0.0.1:1").exits(code).lines();
        assert_eq!(online, offline, "{line}");
        online.join("\n")
    };
    let who = both("oncall who primary --at 2026-11-10 -o json", 0);
    assert!(who.contains("\"bo\"") && who.contains("2026-11-16T08:00:00Z"), "{who}");
    both("oncall who office --at 2026-11-08", 5);
    let stretch = "--from 2026-11-02T09:00 --to 2026-11-16T09:00 --tz Europe/Oslo";
    let table = both(&format!("oncall calendar primary {stretch}"), 0);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains("2026-11-09T09:00:00+01:00 2026-11-16T09:00:00+01:00 bo"), "{table}");
    let ics = run(&format!("oncall calendar primary {stretch} -o ics"), &url).exits(0).lines();
    assert!(ics.iter().any(|line| line.trim_end() == "DTSTART:20261109T080000Z"), "{ics:?}");
    assert!(ics.iter().any(|line| line.trim_end() == "SUMMARY:primary: bo"), "{ics:?}");
    // What is exported later replaces what it has in common with this: a shift keeps its name.
    let names = |lines: &[String]| -> Vec<String> {
        lines.iter().filter(|line| line.starts_with("UID:")).cloned().collect()
    };
    let later = "--from 2026-11-05T12:34:56 --to 2026-11-16T09:00 --tz Europe/Oslo";
    for line in [
        format!("oncall calendar primary {later} -o ics"),
        format!("oncall calendar primary {later} -o ics -f watch.yaml"),
    ] {
        assert_eq!(names(&run(&line, &url).exits(0).lines()), names(&ics));
    }
    run("oncall gaps primary --days 30", &url).exits(0);
    run("oncall gaps office --days 30", &url).exits(1);
    run("oncall who primray", &url).exits(3);
    let preview = both("route test --monitor web --at 2026-11-09T07:55:00Z", 0);
    assert!(preview.contains("oncall:primary: ann (layers[0])"), "{preview}");
    assert!(preview.contains("ann by ann at once"), "{preview}");
    // An hour later Bo is the first, and reached by Ann's box after a while.
    let later = both("route test --monitor web --at 2026-11-09T09:00:00Z", 0);
    assert!(later.contains("bo by ann after 5 min, unless acknowledged"), "{later}");
}

/// What tests of routes and the lint say of the same file.
#[test]
fn tests_name_who_is_called_and_the_lint_finds_gaps() {
    let test = |who: &str| {
        let tests = TESTS.replace("WHO", who);
        let command = Nightbell::new(&["test", "."]).file("watch.yaml", FILE);
        command.file("watch.test.yaml", &tests).run()
    };
    // Ten minutes later Bo is on call, and Ann the one after.
    test("ann").exits(0);
    test("bo").exits(5);
    let found = Nightbell::new(&["check", "."]).file("watch.yaml", FILE).run().exits(1).lines();
    let gaps: Vec<&String> = found.iter().filter(|it| it.contains("oncall-gap")).collect();
    assert_eq!(gaps.len(), 1, "{found:?}");
    assert!(gaps[0].contains("rotations.office"), "{gaps:?}");
}

/// Made at the command line, an override decides before the file's, is corrected by making it again, and is
/// taken back by its times.
#[tokio::test(flavor = "multi_thread")]
async fn an_override_is_made_corrected_and_taken_back() {
    let live = Live::start(&[]).await;
    let url = live.url("");
    run("monitor apply -f watch.yaml", &url).exits(0);
    let who = || {
        run("oncall who primary --at 2030-12-24T12:00:00Z -o json", &url)
            .exits(0)
            .lines()
            .join("\n")
    };
    let stretch = "--from 2030-12-24T09:00 --to 2030-12-26T09:00";
    let add = |who: &str| run(&format!("oncall override add primary --who {who} {stretch}"), &url);
    let line = "ann from 2030-12-24T08:00:00Z to 2030-12-26T08:00:00Z";
    let made = add("ann").exits(0).lines();
    assert!(made.iter().any(|it| it == line), "by the clock of the rotation: {made:?}");
    assert!(who().contains("an override"), "{}", who());
    add("bo,ann").exits(0);
    let list =
        run("oncall override list primary --tz Europe/Oslo", &url).exits(0).lines().join("\n");
    assert_eq!(list.lines().count(), 2, "the first was corrected, not kept beside it: {list}");
    assert!(list.contains("2030-12-24T09:00:00+01:00") && list.contains("bo, ann"), "{list}");
    let remove = format!("oncall override remove primary {stretch} --tz Europe/Oslo");
    run(&remove, &url).exits(0);
    assert!(!who().contains("an override"), "{}", who());
    run(&remove, &url).exits(3);
    add("zed").exits(1);
    run("oncall override list primray", &url).exits(3);
}
