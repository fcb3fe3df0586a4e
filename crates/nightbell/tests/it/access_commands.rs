//! Every command of access control against a real server: users, groups, grants, roles, and what
//! explains them. Where the first key is if nobody has said where to put it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use engine::AuditLine;
use kernel::access::ChainCheck;
use serde_json::{Value, json};

use crate::access::says;
use crate::live::{Live, binary};

/// A server with access control, and the key with which its commands are run.
struct Ruled {
    live: Live,
    key: String,
}

impl Ruled {
    /// Starts one that was told nothing of where the first key is to be put, and takes it from there.
    async fn start() -> Self {
        Self::start_with(&[("NIGHTBELL_AUTH", "on")]).await
    }

    async fn start_with(variables: &[(&str, &str)]) -> Self {
        let live = Live::start_as("serve", &[], variables).await;
        let file = bootstrap_file(&live);
        let key = std::fs::read_to_string(&file).expect("the key lies beside the store");
        Self { live, key: key.trim().to_owned() }
    }

    async fn ran(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let url = self.live.url("");
        let variables = [("NIGHTBELL_URL", &*url), ("NIGHTBELL_KEY", &*self.key)];
        says(&variables, "", arguments).await
    }

    /// What a command says that ends well.
    async fn fine(&self, arguments: &[&str]) -> String {
        self.fails(0, arguments).await
    }

    /// What a command says that ends with this code.
    async fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let (ended, said) = self.ran(arguments).await;
        assert_eq!(ended, Some(code), "{arguments:?}: {said}");
        said
    }

    /// What a command answers as JSON; notes go elsewhere, but are read with it.
    async fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["-o", "json"]].concat();
        let said = self.fine(&arguments).await;
        let end = said.rfind([']', '}']).map_or(0, |at| at + 1);
        serde_json::from_str(&said[..end]).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

/// Waits until a file has a line that contains this; answers its text.
async fn until_told(file: &Path, words: &str) -> String {
    let there = async {
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if text.contains(words) && text.ends_with('\n') {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let text = tokio::time::timeout(Duration::from_mins(1), there).await;
    text.unwrap_or_else(|_| panic!("{words}: {:?}", std::fs::read_to_string(file)))
}

/// The ledger goes to a file, too, which may be renamed at any time; together they are one chain.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_written_to_a_file_that_may_be_rotated() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, rotated) = (folder.path().join("audit.jsonl"), folder.path().join("audit.1"));
    let name = file.to_str().expect("a name of text");
    let variables = [("NIGHTBELL_AUTH", "on"), ("NIGHTBELL_AUDIT_FILE", name)];
    let mut server = Ruled::start_with(&variables).await;
    server.fine(&["group", "create", "first"]).await;
    until_told(&file, "group first").await;
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    std::fs::rename(&file, &rotated).expect("it can be renamed");
    server.fine(&["group", "create", "second"]).await;
    until_told(&file, "group second").await;
    // After a restart it goes on behind what is there, also where the end was torn.
    server.live.stop().await;
    let mut torn = std::fs::File::options().append(true).open(&file).expect("it is there");
    torn.write_all(b"{\"number\":").expect("it can be written");
    server.live.launch().await;
    server.fine(&["group", "create", "third"]).await;
    let last = until_told(&file, "group third").await;
    let all = std::fs::read_to_string(&rotated).expect("text") + &last;
    let (mut check, mut count) = (ChainCheck::default(), 0);
    for line in all.lines().filter(|line| *line != "{\"number\":") {
        let line: AuditLine =
            serde_json::from_str(line).unwrap_or_else(|it| panic!("{it}: {line}"));
        let taken = check.take(line.number, &line.before, &line.line, &line.hash);
        taken.unwrap_or_else(|why| panic!("{why}: {all}"));
        count += 1;
    }
    assert!(count > 6 && all.contains(r#"\"act\":\"sign\""#), "{all}");
    let (code, said) = server.ran(&["audit", "export", "--verify"]).await;
    let told = said.lines().last().unwrap_or_default();
    assert_eq!(code, Some(0), "{said}");
    assert!(told.contains("unbroken, 2 signatures") || told.contains("unbroken, 3 sig"), "{told}");
    // What cannot be written is told before anything is served.
    let output = Command::new(binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--audit-file", "/nowhere/audit"])
        .current_dir(folder.path())
        .output()
        .expect("the binary runs");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{complaint}");
    assert!(complaint.contains("audit_file: cannot use /nowhere/audit"), "{complaint}");
}

fn bootstrap_file(live: &Live) -> PathBuf {
    let mut file = live.store().into_os_string();
    file.push(".bootstrap-key");
    file.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_says_where_the_bootstrap_key_is_and_what_to_do_with_it() {
    let mut server = Ruled::start().await;
    let file = bootstrap_file(&server.live);
    let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let log = server.live.log_text();
    let name = file.to_str().expect("a name of text");
    for words in ["there is no administrator yet", name, "nightbell key create NAME --role admin"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(!log.contains(&server.key), "no key is logged");
    server.fine(&["key", "list"]).await;
    // Where the file was lost, the next start makes another key, and the former ends.
    server.live.stop().await;
    std::fs::remove_file(&file).expect("it can be removed");
    server.live.launch().await;
    server.fails(1, &["key", "list"]).await;
    let next = std::fs::read_to_string(&file).expect("it lies there again");
    let former = std::mem::replace(&mut server.key, next.trim().to_owned());
    assert_ne!(former, server.key);
    server.fine(&["key", "list"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_groups_and_grants_are_made_shown_and_taken_back_by_commands() {
    let mut server = Ruled::start().await;
    let admin = server.json(&["key", "create", "root", "--role", "admin"]).await;
    server.key = admin["keySecret"].as_str().expect("a key").to_owned();

    // Roles.
    let roles = server.json(&["role", "list"]).await;
    let roles = roles.as_array().expect("a list").iter();
    let auditor = roles.clone().find(|it| it["role"] == "auditor").expect("there is one");
    assert_eq!(auditor["permissions"], json!(["read", "audit"]));
    let worker = roles.clone().find(|it| it["role"] == "worker").expect("there is one");
    assert_eq!(worker["narrowedTo"], json!(["hub", "task"]));
    let table = server.fine(&["role", "list"]).await;
    assert!(table.contains("CAN BE NARROWED TO") && table.contains("auditor"), "{table}");

    // Users.
    for user in ["ann", "bob"] {
        server.fine(&["user", "create", user, "--no-password"]).await;
    }
    let names = |list: &Value| -> Vec<(Value, Value)> {
        let rows = list.as_array().expect("a list").iter();
        rows.map(|it| (it["name"].clone(), it["status"].clone())).collect()
    };
    let listed = names(&server.json(&["user", "list"]).await);
    assert_eq!(listed, [("ann", "ENABLED"), ("bob", "ENABLED")].map(|(n, s)| (json!(n), json!(s))));
    let key = server.json(&["key", "create", "anns", "--user", "ann"]).await;
    let key = key["keySecret"].as_str().expect("a key").to_owned();
    let url = server.live.url("");
    let ann = [("NIGHTBELL_URL", &*url), ("NIGHTBELL_KEY", &*key)];
    let as_ann = async |arguments: &[&str]| says(&ann, "", arguments).await;
    assert_eq!(as_ann(&["workflow", "list"]).await.0, Some(1), "nothing is granted yet");

    // Groups.
    server.fine(&["group", "create", "desk", "--role", "viewer"]).await;
    server.fine(&["group", "create", "idle"]).await;
    let said = server.fine(&["group", "add", "desk", "ann", "bob"]).await;
    assert!(said.contains("added bob to the group desk"), "{said}");
    let shown = server.json(&["group", "show", "desk"]).await;
    assert_eq!(shown[0]["members"], json!(["ann", "bob"]));
    let table = server.fine(&["group", "list"]).await;
    assert!(table.contains("ann, bob") && table.contains("idle"), "{table}");
    assert_eq!(as_ann(&["workflow", "list"]).await.0, Some(0), "by the group");
    server.fine(&["group", "remove", "desk", "bob"]).await;
    let shown = server.json(&["group", "show", "desk"]).await;
    assert_eq!(shown[0]["members"], json!(["ann"]));
    assert!(server.fails(3, &["group", "show", "none"]).await.contains("none"));
    server.fails(3, &["group", "add", "desk", "nobody"]).await;
    assert_eq!(server.ran(&["group", "delete", "idle"]).await.0, Some(2), "nobody can be asked");
    server.fine(&["group", "delete", "idle", "--yes"]).await;
    assert!(!server.fine(&["group", "list"]).await.contains("idle"));

    // Grants.
    let narrow = "kind=workflow,name=etl-*";
    server.fine(&["grant", "add", "user:bob", "--role", "runner", "--on", narrow]).await;
    let granted = server.json(&["grant", "list", "--user", "bob"]).await;
    assert_eq!((&granted[0]["role"], &granted[0]["on"]), (&json!("runner"), &json!(narrow)));
    let table = server.fine(&["grant", "list", "--group", "desk"]).await;
    assert!(table.contains("group:desk") && table.contains("everything"), "{table}");
    assert!(!table.contains("user:bob"), "{table}");
    let secret = ["grant", "add", "user:bob", "--role", "viewer", "--on", "secret=db"];
    let said = server.fails(1, &secret).await;
    assert!(said.contains("secret"), "what nothing enforces is refused: {said}");

    // Why, and what is weak.
    let etl = "kind=workflow,name=etl-orders";
    let said = server.fine(&["auth", "explain", "user:bob", "run", etl]).await;
    assert!(said.contains("allowed") && said.contains(narrow), "{said}");
    let other = ["auth", "explain", "user:bob", "run", "kind=workflow,name=billing"];
    assert!(server.fails(1, &other).await.contains("not allowed"));
    let said = server.fine(&["auth", "explain", "user:ann", "read"]).await;
    assert!(said.contains("by the group 'desk'"), "{said}");
    assert!(server.fails(2, &["auth", "explain", "group:desk", "read"]).await.contains("a key or"));
    server.fine(&["grant", "remove", "user:bob", "--role", "runner", "--on", narrow]).await;
    server.fails(1, &["auth", "explain", "user:bob", "run", etl]).await;
    let weak = ["auth", "check", "-o", "json"];
    let (_, found) = server.ran(&weak).await;
    assert!(found.contains("\"admin-without-end\"") && found.contains("user bob"), "{found}");
    let open = json!({ "name": "open-door", "method": "GET", "path": "/open-door/{id}", "auth": "none",
        "show": { "name": "w", "instanceId": "${request.path.id}" } });
    let made = server.live.http.post(server.live.url("/api/triggers")).json(&open);
    let made = made.bearer_auth(&server.key).send().await.expect("it answers");
    assert!(made.status().is_success(), "{}", made.text().await.unwrap_or_default());
    let said = server.fails(1, &["auth", "check"]).await;
    assert!(said.contains("public-trigger") && said.contains("warning"), "{said}");

    // Out, and in again.
    assert_eq!(server.ran(&["user", "disable", "ann"]).await.0, Some(2), "nobody can be asked");
    server.fine(&["user", "disable", "ann", "--yes"]).await;
    assert_eq!(as_ann(&["workflow", "list"]).await.0, Some(1));
    let listed = names(&server.json(&["user", "list"]).await);
    assert_eq!(listed[0], (json!("ann"), json!("DISABLED")));
    server.fine(&["user", "enable", "ann"]).await;
    assert_eq!(as_ann(&["workflow", "list"]).await.0, Some(0), "its keys count again");
    server.fails(3, &["user", "enable", "nobody"]).await;
    // Nobody shuts everybody out.
    let root = admin["keyId"].as_str().expect("an id");
    let said = server.fails(4, &["grant", "remove", root, "--role", "admin"]).await;
    assert!(said.contains("administrator"), "{said}");
}
