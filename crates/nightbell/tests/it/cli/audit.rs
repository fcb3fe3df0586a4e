//! `nightbell audit`: the ledger as a table, as lines, and checked.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kernel::access::{FIRST, chained};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::stand_in::StandIn;

/// Lines of a ledger, chained.
fn lines() -> Vec<Value> {
    let said = vec![
        json!({ "number": 1, "at": 1000, "who": "key:1", "name": "ann", "address": "192.0.2.1",
            "act": "PUT /api/environment/{key}", "object": "/api/environment/A", "outcome": "begun" }),
        json!({ "number": 2, "at": 1000, "who": "key:1", "name": "ann", "address": "192.0.2.1",
            "act": "outcome", "object": "PUT /api/environment/{key}", "outcome": "ok",
            "why": "moved north", "status": 200, "of": 1 }),
        json!({ "number": 3, "at": 2000, "who": "anonymous", "name": "anonymous", "address": "",
            "act": "login", "object": "", "outcome": "refused", "count": 7 }),
    ];
    chain(&said)
}

fn chain(said: &[Value]) -> Vec<Value> {
    let mut before = FIRST.to_owned();
    let chain = said.iter().map(|said| {
        let line = said.to_string();
        let hash = chained(&before, &line);
        let before = std::mem::replace(&mut before, hash.clone());
        json!({ "number": said["number"], "before": before, "line": line, "hash": hash })
    });
    chain.collect()
}

#[test]
fn the_newest_lines_are_a_table() {
    let server = StandIn::start().says("GET /api/audit", 200, lines().into());
    let outcome = server.run(&["audit", "list"]).exits(0);
    for words in [
        "ann",
        "PUT /api/environment/{key}",
        "outcome of 1",
        "ok (200)",
        "moved north",
        "refused, 7 more",
    ] {
        assert!(outcome.stdout.contains(words), "{words}: {}", outcome.stdout);
    }
    let server = StandIn::start().says("GET /api/audit", 200, json!([]));
    let wanted = ["audit", "list", "--object", "etl", "--from", "1000", "--to", "2000"];
    server.run(&wanted).exits(0);
    assert_eq!(server.heard(), ["GET /api/audit?size=100&object=etl&from=1000&to=2000"]);
}

#[test]
fn an_export_checks_the_chain() {
    let good = lines();
    let server = |lines: &[Value]| {
        let server = StandIn::start().says("GET /api/audit", 200, lines.to_vec().into());
        server.says("GET /api/audit", 200, json!([]))
    };
    let outcome = server(&good).run(&["audit", "export", "--verify"]).exits(0);
    assert_eq!(outcome.stdout.lines().count(), 3);
    let last = good[2]["hash"].as_str().unwrap();
    assert!(outcome.stderr.contains("3 lines, unbroken") && outcome.stderr.contains(last));
    let mut changed = good.clone();
    changed[1]["line"] = changed[1]["line"].as_str().unwrap().replace("ok", "no").into();
    let mut missing = good.clone();
    missing.remove(1);
    for (broken, why) in [(changed, "line 2 was changed"), (missing, "after line 1 comes line 3")] {
        let outcome = server(&broken).run(&["audit", "export", "--verify"]).exits(1);
        assert!(outcome.stderr.contains(why), "{outcome:?}");
        server(&broken).run(&["audit", "export"]).exits(0);
    }
}

#[test]
fn an_export_checks_the_signatures() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    // As RFC 8410 has it: 12 bytes, then the key.
    let public = [&[0; 12], pair.public_key().as_ref()].concat();
    let public = BASE64_STANDARD.encode(public);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{public}\n-----END PUBLIC KEY-----\n");
    let said: Vec<Value> = lines()
        .iter()
        .map(|it| serde_json::from_str(it["line"].as_str().unwrap()).unwrap())
        .collect();
    let head = lines()[2]["hash"].as_str().unwrap().to_owned();
    let run = |object: &str, signed: &str| {
        let signature = BASE64_STANDARD.encode(pair.sign(signed.as_bytes()));
        let line = json!({ "number": 4, "at": 3000, "who": "server", "name": "server", "act": "sign",
            "object": object, "outcome": "ok", "signature": signature });
        let lines = chain(&[&said[..], &[line]].concat());
        let server = StandIn::start().says("GET /api/audit", 200, lines.into());
        let server = server.says("GET /api/audit", 200, json!([]));
        let server = server.says("GET /api/audit/key", 200, json!({ "publicKey": pem }));
        server.run(&["audit", "export", "--verify"])
    };
    let good = format!("3 {head}");
    let outcome = run(&good, &good).exits(0);
    assert!(outcome.stderr.contains("4 lines, unbroken, 1 signatures"), "{outcome:?}");
    let other = format!("3 {}", "0".repeat(64));
    let outcome = run(&good, &other).exits(1);
    assert!(outcome.stderr.contains("line 4 is not this server's"), "{outcome:?}");
    // Of a chain that was made anew up to here, the signature is of a line that is not there any more.
    let outcome = run(&other, &other).exits(1);
    assert!(outcome.stderr.contains("signs another line 3"), "{outcome:?}");
}
