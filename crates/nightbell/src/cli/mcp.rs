//! `nightbell mcp`: the commands that answer questions, as tools of the Model Context Protocol over
//! standard input and output.
//!
//! A tool is a command of this binary that is run with `-o json`: what it may do, what it prints and
//! what it refuses are those of the command. Which tools there are says `server::mcp`, which offers
//! them over HTTP, too; arguments reach commands as values alone, never as options.

use std::io::{BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value};
use server::mcp::protocol::{ANSWER_MAX, Asked, MESSAGE_MAX, Offer, Tool, error, ran};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Tools that act.
const ACTS: [&str; 4] = ["acknowledge", "check", "preview", "retry"];

/// What assistants may do beside asking.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Acting tools to offer, separated by commas [default: none]
    #[arg(long, value_delimiter = ',', value_name = "TOOL", value_parser = PossibleValuesParser::new(ACTS))]
    allow: Vec<String>,
    /// A folder whose files the tools may read, with its subfolders; may be repeated
    #[arg(long = "dir", value_name = "DIR", default_value = ".")]
    folders: Vec<PathBuf>,
}

/// What a command answered.
struct Ran {
    text: String,
    failed: bool,
}

/// Answers messages until standard input ends.
///
/// # Errors
/// Standard input or output fails, or there is no such folder.
pub(super) fn run(arguments: &Arguments, url: Option<&str>) -> anyhow::Result<()> {
    let folders: Vec<PathBuf> = arguments
        .folders
        .iter()
        .map(|it| it.canonicalize().with_context(|| format!("--dir {}", it.display())))
        .collect::<Result<_, _>>()?;
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    let mut commands = |words: &[String]| command(words, url);
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(MESSAGE_MAX as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let answer = if read > MESSAGE_MAX {
            input.skip_until(b'\n')?;
            Some(error(&Value::Null, -32600, "a message has at most 1 MiB"))
        } else {
            match serde_json::from_slice(&line) {
                _ if line.trim_ascii().is_empty() => None,
                Ok(message) => answer(&message, &arguments.allow, &folders, &mut commands),
                Err(why) => Some(error(&Value::Null, -32700, &format!("no JSON: {why}"))),
            }
        };
        if let Some(answer) = answer {
            writeln!(output, "{answer}")?;
            output.flush()?;
        }
    }
}

/// The answer to a message; a notification has none.
fn answer(
    message: &Value,
    allowed: &[String],
    folders: &[PathBuf],
    run: &mut dyn FnMut(&[String]) -> Ran,
) -> Option<Value> {
    match (Offer { allowed, is_remote: false }).read(message) {
        Asked::Nothing => None,
        Asked::Answer(answer) => Some(answer),
        Asked::Call(call) => {
            let words = words(call.tool, &call.given, folders);
            let Ran { text, failed } =
                words.map_or_else(|why| Ran { text: why, failed: true }, |words| run(&words));
            Some(ran(&call.id, &text, failed))
        }
    }
}

/// The words of a tool's command.
///
/// # Errors
/// A folder is not among those whose files may be read.
fn words(
    tool: &Tool,
    given: &Map<String, Value>,
    folders: &[PathBuf],
) -> Result<Vec<String>, String> {
    let mut words: Vec<String> = tool.command.iter().map(|word| (*word).to_owned()).collect();
    let mut alone = Vec::new();
    for parameter in tool.values {
        let Some(value) = given.get(parameter.name).and_then(Value::as_str) else { continue };
        let value = if parameter.is_folder { within(value, folders)? } else { value.to_owned() };
        match parameter.option {
            // In one word, so that a value that looks like an option is none.
            Some(option) => words.push(format!("{option}={value}")),
            None => alone.push(value),
        }
    }
    words.extend(["-o".to_owned(), "json".to_owned(), "--".to_owned()]);
    words.extend(alone);
    Ok(words)
}

/// A folder as it is on the disk, if it is one of these or below them.
fn within(folder: &str, folders: &[PathBuf]) -> Result<String, String> {
    let shown: Vec<String> = folders.iter().map(|it| it.display().to_string()).collect();
    // Whether there is another folder is nobody's business either.
    let refused = || {
        format!(
            "{folder} is none of the folders whose files may be read: {}; start the server with \
             --dir to add one",
            shown.join(", ")
        )
    };
    let found = Path::new(folder).canonicalize().map_err(|_| refused())?;
    if !folders.iter().any(|it| found.starts_with(it)) {
        return Err(refused());
    }
    found.into_os_string().into_string().map_err(|_| refused())
}

/// Runs a command of this binary: what it prints, and what it says if it fails.
fn command(words: &[String], url: Option<&str>) -> Ran {
    outcome(words, url).unwrap_or_else(|why| Ran { text: format!("{why:#}"), failed: true })
}

fn outcome(words: &[String], url: Option<&str>) -> anyhow::Result<Ran> {
    let mut command = Command::new(std::env::current_exe().context("this binary is gone")?);
    if let Some(url) = url {
        command.args(["--url", url]);
    }
    let child = command.args(words).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = child.stderr(Stdio::piped()).spawn().context("the command cannot be run")?;
    let (done, told) = mpsc::channel();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let errors = std::thread::spawn(move || read(err));
    std::thread::spawn(move || done.send(read(out)));
    let Ok((mut text, whole)) = told.recv_timeout(PATIENCE) else {
        child.kill()?;
        child.wait()?;
        anyhow::bail!("it was given up after two minutes");
    };
    if !whole {
        // It would wait for a reader.
        child.kill()?;
        text.push_str("\n… the rest is left out: ask for less");
    }
    let status = child.wait()?;
    let failed = whole && !status.success();
    let (messages, _) = errors.join().unwrap_or_default();
    // `plan` that has changes is no failure.
    let failed = failed && status.code() != Some(super::Exit::Changes as i32);
    if !messages.is_empty() {
        text.push_str(if text.is_empty() { "" } else { "\n" });
        text.push_str(&messages);
    }
    Ok(Ran { text, failed })
}

/// What a stream says, and whether that is all.
fn read(stream: Option<impl std::io::Read>) -> (String, bool) {
    let mut bytes = Vec::new();
    let Some(stream) = stream else { return (String::new(), true) };
    let read = stream.take(ANSWER_MAX as u64 + 1).read_to_end(&mut bytes);
    let whole = read.is_ok() && bytes.len() <= ANSWER_MAX;
    bytes.truncate(ANSWER_MAX);
    (String::from_utf8_lossy(&bytes).into_owned(), whole)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::CommandFactory as _;
    use serde_json::{Value, json};
    use server::mcp::protocol::TOOLS;

    use super::{ACTS, Ran, answer, words};

    fn here() -> Vec<PathBuf> {
        vec![
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src").canonicalize().expect("a folder"),
        ]
    }

    fn ask(message: &Value, allowed: &[&str]) -> (Option<Value>, Vec<Vec<String>>) {
        let mut asked = Vec::new();
        let mut run = |words: &[String]| {
            asked.push(words.to_vec());
            Ran { text: "[]".to_owned(), failed: false }
        };
        let allowed: Vec<String> = allowed.iter().map(|it| (*it).to_owned()).collect();
        let answer = answer(message, &allowed, &here(), &mut run);
        (answer, asked)
    }

    fn call(name: &str, arguments: &Value, allowed: &[&str]) -> (Value, Vec<Vec<String>>) {
        let params = json!({ "name": name, "arguments": arguments });
        let message =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let (answer, asked) = ask(&message, allowed);
        (answer.expect("a request has an answer"), asked)
    }

    #[test]
    fn requests_are_answered_and_notifications_are_not() {
        let hello = json!({ "jsonrpc": "2.0", "id": "a", "method": "initialize",
            "params": { "protocolVersion": "2025-03-26" } });
        let (told, _) = ask(&hello, &[]);
        let told = told.expect("an answer");
        assert_eq!(
            (&told["id"], &told["result"]["protocolVersion"]),
            (&json!("a"), &json!("2025-03-26"))
        );
        assert!(ask(&json!({ "method": "notifications/initialized" }), &[]).0.is_none());
        let (unknown, _) = ask(&json!({ "id": 2, "method": "resources/list" }), &[]);
        assert_eq!(unknown.expect("an answer")["error"]["code"], -32601);
        assert_eq!(ask(&json!([]), &[]).0.expect("an answer")["error"]["code"], -32600);
    }

    #[test]
    fn what_acts_is_there_only_when_allowed() {
        let list = json!({ "id": 1, "method": "tools/list" });
        let names = |allowed: &[&str]| -> Vec<String> {
            let (told, _) = ask(&list, allowed);
            let told = told.expect("an answer");
            let tools = told["result"]["tools"].as_array().expect("tools").clone();
            let acts = tools.iter().filter(|tool| tool["annotations"]["readOnlyHint"] == false);
            acts.map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
        };
        assert!(names(&[]).is_empty());
        assert_eq!(names(&["acknowledge"]), ["acknowledge"]);
        let mut all = names(&ACTS);
        all.sort();
        assert_eq!(all, ACTS);
        let (refused, asked) = call("acknowledge", &json!({ "id": "i" }), &["retry"]);
        assert!(
            refused["error"]["message"].as_str().expect("why").contains("--allow"),
            "{refused}"
        );
        assert!(asked.is_empty());
        let (done, asked) =
            call("acknowledge", &json!({ "id": "i", "why": "mine" }), &["acknowledge"]);
        assert_eq!(done["result"]["isError"], false);
        assert_eq!(asked[0], ["incident", "acknowledge", "--why=mine", "-o", "json", "--", "i"]);
    }

    #[test]
    fn values_are_never_options() {
        let (_, asked) = call("why", &json!({ "id": "--url=http://elsewhere" }), &[]);
        assert_eq!(asked[0], ["run", "why", "-o", "json", "--", "--url=http://elsewhere"]);
        let (_, asked) = call("red", &json!({ "monitor": "--limit" }), &[]);
        assert_eq!(asked[0][2], "--monitor=--limit");
        for (name, wrong) in [
            ("why", json!({})),
            ("why", json!({ "id": 7 })),
            ("why", json!({ "id": "" })),
            ("why", json!({ "id": "a", "url": "b" })),
            ("why", json!(["a"])),
        ] {
            let (told, asked) = call(name, &wrong, &[]);
            assert_eq!(told["error"]["code"], -32602, "{wrong}: {told}");
            assert!(asked.is_empty());
        }
    }

    /// Neither by a path that leads out, nor by a link, nor by the name of what there is not.
    #[test]
    fn files_are_read_below_the_folders_alone() {
        let below = here()[0].join("cli").display().to_string();
        let (_, asked) = call("check_files", &json!({ "folder": below }), &[]);
        assert_eq!(asked[0], ["check", "-o", "json", "--", &below]);
        let link = std::env::temp_dir().join(format!("nightbell-mcp-{}", std::process::id()));
        std::os::unix::fs::symlink("/etc", &link).expect("a link");
        let out = format!("{below}/../../..");
        for folder in [&out, "/etc", "/etc/passwd", "/nowhere", &link.display().to_string()] {
            let (told, asked) = call("check_files", &json!({ "folder": folder }), &[]);
            assert_eq!(told["result"]["isError"], true, "{folder}: {told}");
            assert!(asked.is_empty(), "{folder}");
        }
        std::fs::remove_file(link).expect("it was made here");
    }

    /// A command that is renamed takes its tool with it.
    #[test]
    fn every_tool_is_a_command_that_there_is() {
        for tool in TOOLS {
            let value = |name| match name {
                "status" => json!("FAILED"),
                "from" | "last" => json!("100"),
                "folder" => json!(here()[0]),
                _ => json!("x"),
            };
            let given = tool.values.iter().map(|it| (it.name.to_owned(), value(it.name))).collect();
            let words = words(tool, &given, &here()).expect("words");
            let line = std::iter::once("nightbell".to_owned()).chain(words);
            let read = super::super::Cli::command().try_get_matches_from(line);
            assert!(read.is_ok(), "{}: {}", tool.name, read.expect_err("it is wrong"));
        }
    }
}
