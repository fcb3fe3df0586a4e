//! Access control of the real binary: how the first administrator comes in, and what keys are worth.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::live::{Live, binary};

/// A server with access control, whose bootstrap key goes to a file in a folder of its own.
pub(crate) struct Guarded {
    pub(crate) live: Live,
    folder: tempfile::TempDir,
}

impl Guarded {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[], &[]).await
    }

    /// As [`Guarded::start`], with further arguments and variables.
    pub(crate) async fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bootstrap");
        let file = file.to_str().expect("a name of text");
        let mut all = vec![("NIGHTBELL_AUTH", "on"), ("NIGHTBELL_BOOTSTRAP_KEY_FILE", file)];
        all.extend(variables);
        let live = Live::start_as("serve", arguments, &all).await;
        Self { live, folder }
    }

    pub(crate) fn bootstrap(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("bootstrap"));
        text.expect("the bootstrap key").trim().to_owned()
    }

    /// Runs the command line with a key, or none.
    async fn run(&self, key: Option<&str>, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).env("NIGHTBELL_URL", self.live.url(""));
        command.env_remove("NIGHTBELL_KEY").env_remove("CONDUCTOR_AUTH_TOKEN");
        command.envs(key.map(|key| ("NIGHTBELL_KEY", key)));
        let ran = tokio::task::spawn_blocking(move || command.output());
        ran.await.expect("the thread ends").expect("the binary runs")
    }

    /// Makes a key by the command line: its id and its text.
    pub(crate) async fn key(&self, by: &str, name: &str, roles: &[&str]) -> (String, String) {
        let roles = roles.iter().flat_map(|role| ["--role", role]);
        let arguments: Vec<&str> =
            ["key", "create", name].into_iter().chain(roles).chain(["-o", "json"]).collect();
        let output = self.run(Some(by), &arguments).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        (text("keyId"), text("keySecret"))
    }

    /// Asks with a credential in a header; answers the status and the body.
    pub(crate) async fn ask(&self, header: &str, value: &str, path: &str) -> (u16, Value) {
        let asked = self.live.http.get(self.live.url(path)).header(header, value);
        let answer = asked.send().await.expect("it answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// Sends JSON with a key, and expects a good answer: JSON, or text as a JSON string.
    pub(crate) async fn send(&self, method: Method, path: &str, key: &str, body: &Value) -> Value {
        let request = self.live.http.request(method, self.live.url(path));
        let answer = request.bearer_auth(key).json(body).send().await.expect("it answers");
        let status = answer.status();
        let text = answer.text().await.expect("a whole answer");
        assert!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }
}

const DEFINITIONS: &str = "/api/metadata/workflow";

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_start_to_a_revoked_key() {
    let mut server = Guarded::start().await;
    // What is public answers, everything else asks.
    assert_eq!(server.live.get("/health").await["healthy"], true);
    let (status, refused) = server.live.ask(Method::GET, DEFINITIONS, "").await;
    assert_eq!((status, &refused["error"]), (401, &json!("INVALID_TOKEN")));
    let (status, _) =
        server.live.ask(Method::POST, "/api/token", r#"{"keyId":"a","keySecret":"b"}"#).await;
    assert_eq!(status, 401, "404 would switch authentication off in SDKs");

    let file = server.folder.path().join("bootstrap");
    assert_eq!(mode(&file), 0o600);
    let bootstrap = server.bootstrap();
    assert!(!server.live.log_text().contains(&bootstrap), "no key is logged");
    // It outlives a restart, as nobody has used another yet.
    server.live.stop().await;
    server.live.launch().await;
    assert_eq!(server.bootstrap(), bootstrap);
    let (status, _) =
        server.ask("authorization", &format!("Bearer {bootstrap}"), DEFINITIONS).await;
    assert_eq!(status, 200);

    let (admin_id, admin) = server.key(&bootstrap, "ann", &["admin"]).await;
    let (viewer_id, viewer) = server.key(&admin, "board", &["viewer"]).await;
    // An administrator has come in, so the first key ends.
    let ended = async {
        while server.ask("x-authorization", &bootstrap, DEFINITIONS).await.0 != 401 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the bootstrap key ends");

    let given = json!({ "keyId": viewer_id, "keySecret": viewer });
    let token = server.live.post("/api/token", &given).await["token"].clone();
    let token = token.as_str().expect("a token");
    for (header, value) in [("x-authorization", token), ("x-authorization", &viewer)] {
        assert_eq!(server.ask(header, value, DEFINITIONS).await.0, 200);
    }
    let basic = server.live.http.get(server.live.url(DEFINITIONS)).basic_auth("any", Some(&viewer));
    assert_eq!(basic.send().await.expect("it answers").status(), 200);
    let (status, refused) = server.ask("x-authorization", &viewer, "/metrics").await;
    assert_eq!((status, &refused["error"]), (403, &json!("FORBIDDEN")));

    // The command line says what is missing, and what to do.
    let output = server.run(None, &["workflow", "list"]).await;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && complaint.contains("NIGHTBELL_KEY"), "{complaint}");
    let output = server.run(Some(&viewer), &["key", "create", "more", "--role", "admin"]).await;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && complaint.contains("permission admin"), "{complaint}");
    let output = server.run(Some(&admin), &["key", "revoke", &viewer_id]).await;
    assert_eq!(output.status.code(), Some(2), "nobody is there to be asked");
    let output = server.run(Some(&admin), &["key", "revoke", &viewer_id, "--yes"]).await;
    assert!(output.status.success());
    for value in [token, viewer.as_str()] {
        let (status, refused) = server.ask("x-authorization", value, DEFINITIONS).await;
        assert_eq!((status, &refused["error"]), (401, &json!("INVALID_TOKEN")));
    }
    let output = server.run(Some(&admin), &["key", "revoke", "000000000000", "--yes"]).await;
    assert_eq!(output.status.code(), Some(3));

    let listed = server.run(Some(&admin), &["key", "list", "--all", "-o", "json"]).await;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let keys: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let statuses: Vec<_> =
        keys.iter().map(|key| (key["name"].as_str(), key["status"].as_str())).collect();
    let expected = [("bootstrap", "REVOKED"), ("ann", "VALID"), ("board", "REVOKED")];
    assert_eq!(statuses, expected.map(|(name, status)| (Some(name), Some(status))));
    for key in [&bootstrap, &admin, &viewer] {
        assert!(!text.contains(&key[16..80]), "no secret is shown again");
    }
    let table = server.run(Some(&admin), &["key", "list"]).await;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains(&admin_id) && !table.contains(&viewer_id), "{table}");

    // The ledger tells of all that, in one chain.
    let audit = server.run(Some(&admin), &["audit", "export", "--verify"]).await;
    let (lines, note) =
        (String::from_utf8_lossy(&audit.stdout), String::from_utf8_lossy(&audit.stderr));
    assert!(audit.status.success() && note.contains("unbroken"), "{note}");
    for words in [
        "POST /api/access/keys",
        "DELETE /api/access/keys/{id}",
        r#"\"outcome\":\"refused\""#,
        r#"\"act\":\"login\""#,
        &format!("key:{admin_id}"),
    ] {
        assert!(lines.contains(words), "{words}: {lines}");
    }
    for key in [&bootstrap, &admin, &viewer] {
        assert!(!lines.contains(&key[16..80]), "no secret is in the ledger");
    }

    // The store has no key either, in no file of it.
    server.live.stop().await;
    for entry in std::fs::read_dir(server.live.store().parent().unwrap()).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        for key in [&bootstrap, &admin, &viewer] {
            let secret = &key.as_bytes()[16..80];
            assert!(!bytes.windows(secret.len()).any(|it| it == secret), "{:?}", entry.path());
        }
    }
    // Nor does the next start make another administrator.
    server.live.launch().await;
    assert_eq!(server.bootstrap(), bootstrap);
    assert_eq!(server.ask("x-authorization", &admin, DEFINITIONS).await.0, 200);
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).expect("a file").permissions().mode() & 0o777
}

/// Runs the command line with these variables and lines on standard input; answers the exit code and what
/// it says.
pub(crate) async fn says(
    variables: &[(&str, &str)],
    input: &str,
    arguments: &[&str],
) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("NIGHTBELL_KEY").env_remove("CONDUCTOR_AUTH_TOKEN");
    command.envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        let mut running = command.spawn()?;
        let mut stdin = running.stdin.take().expect("a pipe");
        // A command that reads nothing may have ended already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        running.wait_with_output()
    });
    let output = ran.await.expect("the thread ends").expect("the binary runs");
    let text = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    (output.status.code(), text.concat())
}

/// A lost administrator's key is no disaster: the server's user makes users at the socket, and these sign
/// in at the port.
#[tokio::test(flavor = "multi_thread")]
async fn the_socket_needs_no_key_and_users_sign_in_at_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = |it: &str| folder.path().join(it).to_str().expect("a name of text").to_owned();
    let (socket, bootstrap, logins) = (name("s"), name("bootstrap"), name("logins"));
    let variables = [
        ("NIGHTBELL_AUTH", "on"),
        ("NIGHTBELL_SOCKET", &*socket),
        ("NIGHTBELL_BOOTSTRAP_KEY_FILE", &bootstrap),
    ];
    let mut live = Live::start_as("serve", &[], &variables).await;
    assert_eq!(mode(Path::new(&socket)), 0o600);
    let (at_socket, at_port) = (format!("unix:{socket}"), live.url(""));
    let local = [("NIGHTBELL_URL", &*at_socket), ("NIGHTBELL_LOGIN_DIR", &logins)];
    let ann = [("NIGHTBELL_URL", &*at_port), ("NIGHTBELL_LOGIN_DIR", &logins)];
    let fine = async |variables: &[(&str, &str)], input: &str, arguments: &[&str]| {
        let (code, said) = says(variables, input, arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    };
    fine(&local, "", &["group", "create", "on-call", "--role", "responder"]).await;
    let create = ["user", "create", "ann", "--group", "on-call"];
    let (code, said) = says(&local, "", &create).await;
    assert_eq!(code, Some(2), "{said}");
    fine(&local, "correct horse battery\n", &create).await;
    let (code, said) = says(&local, "", &["login", "--user", "ann"]).await;
    assert_eq!(code, Some(2), "{said}");

    let (code, said) = says(&ann, "", &["workflow", "list"]).await;
    assert!(code == Some(1) && said.contains("nightbell login"), "{said}");
    let (code, said) = says(&ann, "wrong horse battery\n", &["login", "--user", "ann"]).await;
    assert!(code == Some(1) && said.contains("do not belong together"), "{said}");
    fine(&ann, "correct horse battery\n", &["login", "--user", "ann"]).await;
    let kept: Vec<_> = std::fs::read_dir(&logins).expect("a folder").flatten().collect();
    let file = kept.first().expect("a file").path();
    assert_eq!((kept.len(), mode(&file), mode(Path::new(&logins))), (1, 0o600, 0o700));
    fine(&ann, "", &["workflow", "list"]).await;
    let (code, said) = says(&ann, "", &["user", "list"]).await;
    assert!(code == Some(1) && said.contains("permission admin"), "{said}");
    // A token that is about to end is renewed.
    let former = std::fs::read_to_string(&file).expect("it is there");
    let mut login: Value = serde_json::from_str(&former).expect("JSON");
    login["expiresAt"] = 0.into();
    std::fs::write(&file, login.to_string()).expect("it can be written");
    fine(&ann, "", &["workflow", "list"]).await;
    let renewed: Value = serde_json::from_slice(&std::fs::read(&file).expect("it")).expect("JSON");
    assert!(renewed["expiresAt"].as_i64() > Some(0) && mode(&file) == 0o600, "{renewed}");
    // What others could read is not used.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let (code, said) = says(&ann, "", &["workflow", "list"]).await;
    assert!(code == Some(1) && said.contains("chmod 600"), "{said}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");

    let said = fine(&local, "", &["auth", "explain", "user:ann", "respond"]).await;
    assert!(said.contains("by the group 'on-call'"), "{said}");
    fine(&local, "", &["group", "remove", "on-call", "ann"]).await;
    let (code, said) = says(&local, "", &["auth", "explain", "user:ann", "respond"]).await;
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = says(&ann, "", &["workflow", "list"]).await;
    assert_eq!(code, Some(1), "{said}");
    fine(&local, "", &["grant", "add", "user:ann", "--role", "viewer"]).await;
    fine(&ann, "", &["workflow", "list"]).await;
    let passwords = "correct horse battery\nanother horse battery\n";
    fine(&ann, passwords, &["user", "passwd"]).await;
    let (code, said) = says(&ann, "", &["workflow", "list"]).await;
    assert_eq!(code, Some(1), "{said}");
    // What is kept cannot be read any more: that keeps nobody from signing in.
    std::fs::write(&file, "{").expect("it can be written");
    let (code, said) = says(&ann, "", &["workflow", "list"]).await;
    assert!(code == Some(1) && said.contains("nightbell login"), "{said}");
    fine(&ann, "another horse battery\n", &["login", "--user", "ANN"]).await;
    fine(&ann, "", &["logout", "--everywhere"]).await;
    assert!(!file.exists());
    fine(&local, "", &["user", "delete", "ann", "--yes"]).await;
    // Whoever reaches a proxy in front of the socket is no administrator.
    let proxied = reqwest::Client::builder().unix_socket(Path::new(&socket)).build();
    let proxied = proxied.expect("a client").get("http://localhost/api/access/users");
    let answer = proxied.header("x-forwarded-for", "203.0.113.7").send().await.expect("it answers");
    assert_eq!(answer.status(), 401);
    let listed = fine(&local, "", &["audit", "export"]).await;
    for words in
        ["POST /api/access/users user ann", r#"\"address\":\"socket\""#, "logout everywhere"]
    {
        assert!(listed.contains(words), "{words}: {listed}");
    }
    assert!(!listed.contains("horse battery") && !live.log_text().contains("horse battery"));
    live.stop().await;
    assert!(!Path::new(&socket).exists(), "the socket goes with the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_answered_late_and_right_ones_at_once() {
    let server = Guarded::start().await;
    let bootstrap = server.bootstrap();
    let wrong = bootstrap.replace("nb_", "nb_f");
    for _ in 0..12 {
        assert_eq!(server.ask("x-authorization", &wrong, DEFINITIONS).await.0, 401);
    }
    // While a wrong one waits for its answer, the right one has its own already.
    let (mut late, mut prompt) = (Vec::new(), 0);
    for _ in 0..20 {
        let (asked, wrong) = (server.live.http.get(server.live.url(DEFINITIONS)), wrong.clone());
        late.push(tokio::spawn(async move {
            asked.header("x-authorization", wrong).send().await.expect("it answers").status()
        }));
    }
    for _ in 0..5 {
        assert_eq!(server.ask("x-authorization", &bootstrap, DEFINITIONS).await.0, 200);
        prompt += usize::from(late.iter().any(|late| !late.is_finished()));
    }
    assert!(prompt > 0, "no wrong key was answered late");
    for late in late {
        assert_eq!(late.await.expect("it ends"), 401);
    }
    assert!(server.live.log_text().contains("many invalid keys"), "{}", server.live.log_text());
}

#[test]
fn nothing_is_served_beyond_this_machine_without_a_word_about_access() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = || {
        let mut command = Command::new(binary());
        command.args(["serve", "--listen", "0.0.0.0:0"]).current_dir(folder.path());
        command.env_remove("NIGHTBELL_AUTH").env_remove("NIGHTBELL_LISTEN");
        command
    };
    let output = start().output().expect("the binary runs");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    for words in ["0.0.0.0:0", "auth = \"on\"", "auth = \"open\"", "NIGHTBELL_AUTH=on"] {
        assert!(complaint.contains(words), "{words}: {complaint}");
    }
    assert!(!folder.path().join("nightbell.db").exists(), "nothing was made");
    let output = start().args(["--auth", "maybe"]).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
}
