//! Ports and names.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::service::free_port;
use super::{only, run, unknown, wrong};
use crate::http::server;

#[tokio::test]
async fn a_port_answers_as_expected() {
    let server = server::raw(|mut stream, _| async move {
        stream.write_all(b"220 mail ready\r\n").await.ok();
        server::closed(&mut stream).await;
    })
    .await;
    let address = server.url("").replace("http://", "");
    only(&run("CHECK_TCP", json!({"address": address}), json!({})).await, "ok");
    let check = json!({"address": address, "send": "QUIT\r\n", "expect": "220 "});
    only(&run("CHECK_TCP", check, json!({})).await, "ok");
    let check = json!({"address": address, "expect": "+OK", "timeout": "200ms"});
    let seen = run("CHECK_TCP", check, json!({})).await;
    let text = only(&seen, "fail")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("took longer than 0.2 s"), "{text}");
}

#[tokio::test]
async fn a_port_that_says_something_else_fails() {
    let server = server::raw(|mut stream, _| async move {
        stream.write_all(b"-ERR no\n").await.ok();
    })
    .await;
    let address = server.url("").replace("http://", "");
    let seen = run("CHECK_TCP", json!({"address": address, "expect": "+OK"}), json!({})).await;
    let text = only(&seen, "fail")["text"].as_str().unwrap().to_owned();
    assert_eq!(text, "expected \"+OK\", heard \"-ERR no\"");
}

#[tokio::test]
async fn a_closed_port_fails_and_no_port_is_wrong() {
    let check = json!({"host": "127.0.0.1", "port": free_port()});
    let seen = run("CHECK_TCP", check, json!({})).await;
    let text = only(&seen, "fail")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("refused"), "{text}");
    wrong(&run("CHECK_TCP", json!({"host": "h"}), json!({})).await, "the port is missing");
    wrong(&run("CHECK_TCP", json!({"address": "h:x"}), json!({})).await, "\"x\" is no port");
}

/// A name server that knows `db.test` as 10.0.0.7 and says of every other name that there is none.
fn name_server() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer) {
            let asked = &buffer[..count];
            // The name ends with an empty label; type and class follow.
            let end = 12 + asked[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let known = asked[12..].to_ascii_lowercase().starts_with(b"\x02db\x04test\x00");
            let mut answer = asked[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(known), 0, 0, 0, 0]);
            if known {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 7]);
            } else {
                answer[3] = 0x83;
            }
            socket.send_to(&answer, peer).unwrap();
        }
    });
    port
}

#[tokio::test]
async fn names_are_looked_up() {
    let server = format!("127.0.0.1:{}", name_server());
    let ask = |name: &str, expect: &str| {
        let check = json!({"name": name, "server": server, "expect": expect, "timeout": "5s"});
        run("CHECK_DNS", check, json!({}))
    };
    let seen = only(&ask("db.test", "10.0.0.7").await, "ok");
    assert_eq!(seen["attrs"]["answers"], json!(["10.0.0.7"]));
    let seen = only(&ask("db.test.", "10.0.0.8").await, "fail");
    assert_eq!(seen["text"], "db.test. A lacks 10.0.0.8; it has 10.0.0.7");
    let seen = only(&ask("nobody.test", "").await, "fail");
    assert_eq!(seen["text"], "the name nobody.test does not exist");
    // Nobody listens there: that says nothing about the name.
    let check = json!({"name": "db.test", "server": format!("127.0.0.1:{}", free_port()),
        "timeout": "300ms"});
    unknown(&run("CHECK_DNS", check, json!({})).await, "the look-up of db.test");
    wrong(&run("CHECK_DNS", json!({"name": "a", "type": "Q"}), json!({})).await, "no type");
}
