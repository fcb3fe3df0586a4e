//! The settings of the server as the command line shows them.

use serde_json::json;

use crate::stand_in::{Nightbell, Outcome};

fn setting(outcome: &Outcome, key: &str) -> (String, String) {
    let settings = outcome.json();
    let found = settings.as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap();
    let text = |name: &str| found[name].as_str().unwrap().to_owned();
    (text("value"), text("origin"))
}

#[test]
fn the_printed_file_is_accepted_as_it_is() {
    let printed = Nightbell::new(&["config"]).run().exits(0).stdout;
    assert!(printed.contains("\n# listen = \"127.0.0.1:8080\"\n"), "{printed}");
    let again = Nightbell::new(&["config", "--effective", "-o", "json"])
        .file("nightbell.toml", &printed)
        .run()
        .exits(0);
    assert_eq!(setting(&again, "script_time"), ("4s".to_owned(), "default".to_owned()));
}

#[test]
fn every_source_is_named() {
    let arguments = ["config", "--effective", "--json", "--listen", "127.0.0.1:1"];
    let outcome = Nightbell::new(&arguments)
        .file("nightbell.toml", "script_time = \"1s\"\nlisten = \"127.0.0.1:3\"\n")
        .env("NIGHTBELL_LISTEN", "127.0.0.1:2")
        .env("NIGHTBELL_PAYLOAD_MAX", "1MiB")
        .run()
        .exits(0);
    let pair = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(setting(&outcome, "listen"), pair("127.0.0.1:1", "--listen"));
    assert_eq!(setting(&outcome, "payload_max"), pair("1MiB", "NIGHTBELL_PAYLOAD_MAX"));
    assert_eq!(setting(&outcome, "script_time"), pair("1s", "nightbell.toml:1:15"));
    assert_eq!(setting(&outcome, "disk_budget"), pair("20GiB", "default"));
}

#[test]
fn a_bad_file_is_refused_with_all_its_problems() {
    let outcome = Nightbell::new(&["serve", "--config", "my.toml", "--script-time", "4"])
        .file("my.toml", "listn = 1\nstore = \"mysql:x\"\n")
        .run()
        .exits(2);
    let expected = "\
error: the configuration has 3 problems
  my.toml:1:1: there is no setting `listn` (did you mean `listen`?)
  my.toml:2:9: store: there is no store of the kind `mysql` (write sqlite:FILE or postgres://USER@HOST/DATABASE)
  --script-time: script_time: `4` lacks a unit of time (write a number and a unit: 500ms, 4s, 10m, 12h, 30d)
";
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn a_file_that_was_asked_for_must_exist() {
    let outcome = Nightbell::new(&["serve", "--config", "none.toml"]).run().exits(2);
    assert!(outcome.stderr.contains("--config: cannot read none.toml"), "{outcome:?}");
    let outcome = Nightbell::new(&["serve"]).env("NIGHTBELL_CONFIG", "none.toml").run().exits(2);
    assert!(outcome.stderr.contains("NIGHTBELL_CONFIG: cannot read none.toml"), "{outcome:?}");
}

#[test]
fn the_tour_never_takes_the_store_of_someone_else() {
    Nightbell::new(&["dev", "--store", "sqlite:precious.db"]).run().exits(2);
    // Neither the file nor the variable is even looked at, or they would be refused here.
    let outcome = Nightbell::new(&["dev", "--listen", "nowhere"])
        .file("nightbell.toml", "store = \"mysql:x\"")
        .env("NIGHTBELL_STORE", "mysql:x")
        .run()
        .exits(2);
    assert!(outcome.stderr.starts_with("error: the configuration has a problem\n  --listen:"));
}

#[test]
fn the_table_shows_the_same() {
    let outcome = Nightbell::new(&["config", "--effective", "--load", "a", "b"]).run().exits(0);
    assert!(outcome.lines().contains(&"load a, b --load".to_owned()), "{outcome:?}");
    assert_eq!(outcome.lines()[0], json!("KEY VALUE FROM").as_str().unwrap());
}
