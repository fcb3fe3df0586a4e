//! What holds for every command: addresses, exit codes, help, and failures that say what to do.

use serde_json::json;

use crate::stand_in::{Nightbell, StandIn};

#[test]
fn every_form_of_the_address_reaches_the_api() {
    let server = StandIn::start().says("GET /api/metadata/taskdefs", 200, json!([]));
    let url = server.url();
    for address in [url.clone(), format!("{url}/"), format!("{url}/api"), format!("{url}/api/")] {
        for name in ["NIGHTBELL_URL", "CONDUCTOR_SERVER_URL"] {
            Nightbell::new(&["task", "list"]).env(name, &address).run().exits(0);
        }
        Nightbell::new(&["task", "list", "--url", &address]).run().exits(0);
    }
}

#[test]
fn our_own_variable_wins() {
    let server = StandIn::start().says("GET /api/metadata/taskdefs", 200, json!([]));
    Nightbell::new(&["task", "list"])
        .env("NIGHTBELL_URL", &server.url())
        .env("CONDUCTOR_SERVER_URL", "http://127.0.0.1:9/api")
        .run()
        .exits(0);
}

#[test]
fn a_folder_in_the_address_is_kept() {
    let server = StandIn::start().says("GET /bell/api/metadata/taskdefs", 200, json!([]));
    let url = format!("{}/bell/api", server.url());
    Nightbell::new(&["task", "list", "--url", &url]).run().exits(0);
}

#[test]
fn an_address_that_is_none_is_a_usage_error() {
    for address in ["127.0.0.1:8080", "localhost", "ftp://x"] {
        let outcome = Nightbell::new(&["task", "list", "--url", address]).run().exits(2);
        assert!(outcome.stderr.contains("hint: write it like http://"), "{outcome:?}");
    }
}

#[test]
fn no_server_is_exit_code_6() {
    // The port is free: it was bound and let go.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let outcome = Nightbell::new(&["run", "list", "--url", &url]).run().exits(6);
    assert!(outcome.stderr.starts_with("error: cannot reach the server at http://127.0.0.1:"));
    assert!(outcome.stderr.contains("hint: start one with `nightbell serve`"), "{outcome:?}");
    assert_eq!(outcome.stdout, "");
}

#[test]
fn a_server_that_is_not_up_is_exit_code_6() {
    let server = StandIn::start().says("GET /api/workflow/1", 503, json!("<html>gone</html>"));
    server.run(&["run", "show", "1"]).exits(6);
}

#[test]
fn refusals_have_the_exit_code_of_their_kind() {
    for (status, code) in [(404, 3), (409, 4), (400, 1), (500, 1), (403, 1)] {
        let server = StandIn::start().refuses("PUT /api/workflow/1/pause", status, "so it is");
        let outcome = server.run(&["run", "pause", "1"]).exits(code);
        assert!(outcome.stderr.starts_with("error: so it is\n"), "{outcome:?}");
    }
}

#[test]
fn a_hint_of_the_server_is_passed_on() {
    let body = json!({ "status": 409, "message": "it is over", "hint": "restart it" });
    let server = StandIn::start().says("PUT /api/workflow/1/pause", 409, body);
    let outcome = server.run(&["run", "pause", "1"]).exits(4);
    assert_eq!(outcome.stderr, "error: it is over\nhint: restart it\n");
}

#[test]
fn a_server_of_another_kind_is_told_apart() {
    let server = StandIn::start()
        .says("GET /api/workflow/1", 404, json!("<html>Not Found</html>"))
        .says("GET /api/workflow/2", 200, json!("<html>Welcome</html>"))
        .says("GET /api/workflow/3", 301, json!(""));
    // Its 404 does not mean that there is no such run.
    for id in ["1", "2", "3"] {
        let outcome = server.run(&["run", "show", id]).exits(1);
        assert!(outcome.stderr.contains("NIGHTBELL_URL"), "{outcome:?}");
    }
}

#[test]
fn an_answer_of_another_shape_is_told() {
    let server = StandIn::start().says("GET /api/workflow/1", 200, json!({ "tasks": 7 }));
    let outcome = server.run(&["run", "show", "1"]).exits(1);
    assert!(outcome.stderr.contains("cannot understand the server's run"), "{outcome:?}");
}

#[test]
fn ids_stay_within_their_segment_of_the_path() {
    let server = StandIn::start().says("GET /api/workflow/a%2Fb%3Fc%20d", 200, json!({}));
    server.run(&["run", "show", "a/b?c d"]).exits(0);
    let heard = server.heard();
    for id in ["..", ".", ""] {
        server.run(&["run", "delete", "--yes", id]).exits(2);
    }
    assert_eq!(heard.last().map(String::as_str), Some("GET /api/workflow/a%2Fb%3Fc%20d/forks"));
    assert_eq!(server.heard(), heard, "nothing more was asked");
}

#[test]
fn the_token_is_sent() {
    let server = StandIn::start().refuses("GET /api/metadata/taskdefs", 401, "who are you?");
    let outcome = server.run(&["task", "list"]).exits(1);
    assert!(outcome.stderr.contains("or set NIGHTBELL_KEY to a key"), "{outcome:?}");
    assert_eq!(server.token(), None);
    let url = server.url();
    let with_token = Nightbell::new(&["task", "list", "--url", &url]);
    with_token.env("CONDUCTOR_AUTH_TOKEN", "t0ken").run().exits(1);
    assert_eq!(server.token().as_deref(), Some("t0ken"));
    let with_both = Nightbell::new(&["task", "list", "--url", &url]);
    with_both.env("CONDUCTOR_AUTH_TOKEN", "t0ken").env("NIGHTBELL_KEY", "nb_k\n").run().exits(1);
    assert_eq!(server.token().as_deref(), Some("nb_k"), "the key wins");
    let malformed =
        Nightbell::new(&["task", "list", "--url", &url]).env("NIGHTBELL_KEY", "a\u{7f}b");
    let outcome = malformed.run().exits(2);
    assert!(!outcome.stderr.contains("a\u{7f}b"), "no credential is repeated: {outcome:?}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &["frobnicate"][..],
        &["run"],
        &["run", "show"],
        &["run", "list", "--status", "SLEEPING"],
        &["run", "list", "--limit", "0"],
        &["run", "start", "flow", "--priority", "100"],
        &["workflow", "delete", "flow"],
        &["task", "complete", "--run", "1"],
        &["task", "list", "-o", "yaml"],
    ] {
        let outcome = Nightbell::new(arguments).run().exits(2);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_data() {
    let help = Nightbell::new(&["--help"]).run().exits(0);
    assert!(help.stdout.contains("Exit codes:"));
    for noun in ["workflow", "run", "task", "queue"] {
        let outcome = Nightbell::new(&[noun, "--help"]).run().exits(0);
        assert!(outcome.stdout.contains("Commands:"), "{outcome:?}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let outcome = Nightbell::new(&["version"]).run().exits(0);
    assert_eq!(outcome.stdout, format!("nightbell {version}\n"));
    let outcome = Nightbell::new(&["version", "-o", "json"]).run().exits(0);
    assert_eq!(outcome.json(), json!({ "version": version }));
}

#[test]
fn text_of_the_server_cannot_steer_the_terminal() {
    let server = StandIn::start().refuses("GET /api/workflow/1", 404, "no\x1b[2J such run");
    let outcome = server.run(&["run", "show", "1"]).exits(3);
    assert!(!outcome.stderr.contains('\x1b'), "{outcome:?}");
}
