//! `nightbell ping exec`: a job runs whatever becomes of the calls, and is passed through as it is.

use serde_json::json;

use crate::stand_in::{Nightbell, Outcome, StandIn};

fn stand_in() -> StandIn {
    let codes = ["start", "0", "7", "143", "127"];
    codes.iter().fold(StandIn::start(), |server, signal| {
        server.says(&format!("POST /ping/a-key/{signal}"), 200, json!("OK"))
    })
}

fn exec(server: &StandIn, options: &[&str], script: &str) -> Outcome {
    let start = ["ping", "exec"].iter().chain(options);
    let arguments: Vec<&str> =
        start.copied().chain(["a-key", "--", "/bin/sh", "-c", script]).collect();
    server.run_with_input(&arguments, "from standard input\n")
}

/// The signals that were heard, and what came with the last of them.
fn heard(server: &StandIn) -> (Vec<String>, String) {
    let heard = server.heard();
    let signal = |line: &String| {
        let path = line.split(' ').nth(1).unwrap_or_default();
        path.split('?').next().and_then(|path| path.rsplit('/').next()).map(str::to_owned)
    };
    let last = heard.last().and_then(|it| it.splitn(3, ' ').nth(2)).unwrap_or_default();
    (heard.iter().filter_map(signal).collect(), last.to_owned())
}

#[test]
fn a_job_is_passed_through_and_its_end_is_told() {
    let server = stand_in();
    let outcome = exec(&server, &[], "cat; echo wrong >&2; exit 7").exits(7);
    assert_eq!(outcome.stdout, "from standard input\n");
    assert_eq!(outcome.stderr, "wrong\n");
    let (signals, said) = heard(&server);
    assert_eq!(signals, ["start", "7"]);
    assert!(said.contains("wrong") && said.contains("exit code 7 after 0."), "{said}");
    let runs: Vec<String> = server
        .heard()
        .iter()
        .filter_map(|it| it.split("rid=").nth(1)?.split(' ').next().map(str::to_owned))
        .collect();
    assert!(runs.len() == 2 && runs[0] == runs[1] && runs[0].len() == 36, "one run: {runs:?}");
    assert!(server.token().is_none(), "the key in the address is all that is shown");

    let server = stand_in();
    exec(&server, &["--no-start", "--output-max", "5"], "echo one; echo two").exits(0);
    let (signals, said) = heard(&server);
    assert_eq!(signals, ["0"]);
    assert!(said.contains("two") && !said.contains("one"), "{said}");

    let server = stand_in();
    let outcome = exec(&server, &["--no-output"], "echo kept").exits(0);
    assert_eq!(outcome.stdout, "kept\n");
    assert!(!heard(&server).1.contains("kept"));
}

#[test]
fn signals_and_commands_that_are_not_there_have_codes_as_in_shells() {
    let server = stand_in();
    exec(&server, &[], "kill -TERM $$").exits(143);
    assert!(heard(&server).1.contains("ended by signal 15"));
    let server = stand_in();
    let outcome = server.run(&["ping", "exec", "a-key", "--", "./nowhere"]).exits(127);
    assert!(outcome.stderr.contains("cannot run ./nowhere"), "{outcome:?}");
    assert_eq!(heard(&server).0.last().map(String::as_str), Some("127"));
}

#[test]
fn a_job_runs_although_nobody_can_be_told() {
    // What refuses is not asked again, what is away is told of.
    let server = StandIn::start();
    let outcome = exec(&server, &[], "echo done; exit 3").exits(3);
    assert_eq!(outcome.stdout, "done\n");
    assert!(outcome.stderr.contains("cannot say that the job begins"), "{outcome:?}");
    assert!(outcome.stderr.contains("cannot say that the job ended with 3"), "{outcome:?}");
    assert_eq!(server.heard().len(), 2);
    let wrong = ["ping", "exec", "gopher://x/ping/y", "--", "/bin/echo", "done"];
    let outcome = Nightbell::new(&wrong).run().exits(0);
    assert_eq!(outcome.stdout, "done\n");
    assert!(outcome.stderr.contains("runs without being watched"), "{outcome:?}");
    Nightbell::new(&["ping", "exec", "a-key", "--create", "--", "true"]).run().exits(2);
    Nightbell::new(&["ping", "exec", "a-key"]).run().exits(2);
}

#[test]
fn a_slug_and_a_whole_address_are_called_as_well() {
    let server = StandIn::start()
        .says("POST /ping/the-ping-key/nightly/start", 201, json!("Created"))
        .says("POST /ping/the-ping-key/nightly/0", 200, json!("OK"));
    let slug = ["ping", "exec", "--ping-key", "the-ping-key", "--create", "nightly", "--", "true"];
    let outcome = server.run(&slug).exits(0);
    assert_eq!(outcome.stderr, "");
    assert!(server.heard()[0].contains("create=1"), "{:?}", server.heard());
    let address = format!("{}/ping/the-ping-key/nightly/", server.url());
    let outcome = Nightbell::new(&["ping", "exec", &address, "--", "true"]).run().exits(0);
    assert_eq!((outcome.stderr.as_str(), server.heard().len()), ("", 4));
}
