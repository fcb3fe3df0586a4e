//! `nightbell mcp`: the commands that answer questions, as tools of the Model Context Protocol over
//! standard input and output.
//!
//! A tool is a command of this binary that is run with `-o json`: what it may do, what it prints and
//! what it refuses are those of the command. The table below is all that can be called, and arguments
//! reach commands as values alone, never as options.

use std::io::{BufRead as _, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

/// The protocol that is spoken, unless the client asks for one of the others.
const PROTOCOLS: [&str; 3] = ["2025-06-18", "2025-03-26", "2024-11-05"];
/// Bytes of a message at most.
const MESSAGE_MAX: u64 = 1 << 20;
/// Bytes of an answer at most; the rest is left out, and that is said.
const ANSWER_MAX: usize = 256 << 10;
/// How long a command may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// What assistants may do beside asking.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Tools that act, apart by commas; without it none of them is there
    #[arg(long, value_delimiter = ',', value_name = "TOOL")]
    allow: Vec<Act>,
}

/// A tool that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Act {
    /// Say that somebody takes care of an incident
    Acknowledge,
    /// Make a check of a monitor now
    Check,
    /// Make a check that moves nothing: what the monitor asks is asked, with its credentials
    Preview,
    /// Try a failed run again
    Retry,
}

/// A tool: a command with places for values.
struct Tool {
    name: &'static str,
    about: &'static str,
    /// What must be allowed.
    act: Option<Act>,
    /// The words before the values.
    command: &'static [&'static str],
    values: &'static [Parameter],
}

/// A value of a tool.
struct Parameter {
    name: &'static str,
    about: &'static str,
    /// Under which option it stands; `None`: by itself.
    option: Option<&'static str>,
    required: bool,
}

const fn needed(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, option: None, required: true }
}

const fn option(name: &'static str, option: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, option: Some(option), required: false }
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "red",
        about: "Lists incidents that are not over: what is wrong now.",
        act: None,
        command: &["incident", "list"],
        values: &[
            option("monitor", "--monitor", "Only those of this monitor"),
            option("state", "--state", "open, acknowledged, snoozed, resolved or all"),
        ],
    },
    Tool {
        name: "explain",
        about: "Tells the check, row and rule behind an incident, what changed since it was well, and \
                who was told.",
        act: None,
        command: &["incident", "explain"],
        values: &[needed("id", "Id or dedup key of the incident")],
    },
    Tool {
        name: "why",
        about: "Tells why a run of a workflow does not go on, or why it failed.",
        act: None,
        command: &["run", "why"],
        values: &[needed("id", "Id of the run")],
    },
    Tool {
        name: "runs",
        about: "Lists runs of workflows, newest first.",
        act: None,
        command: &["run", "list"],
        values: &[option("status", "--status", "RUNNING, FAILED, COMPLETED, …")],
    },
    Tool {
        name: "oncall",
        about: "Tells who is on call, until when, and who comes next.",
        act: None,
        command: &["oncall", "who"],
        values: &[option("at", "--at", "A time such as 2026-12-24T03:00:00Z; now by default")],
    },
    Tool {
        name: "preview",
        about: "Makes one check of a monitor that moves nothing and tells nobody: what it would say, \
                and who would be told. It asks what the monitor asks.",
        act: Some(Act::Preview),
        command: &["monitor", "preview"],
        values: &[needed("monitor", "Name of the monitor")],
    },
    Tool {
        name: "check_files",
        about: "Finds mistakes in the definitions of a folder on this machine.",
        act: None,
        command: &["check"],
        values: &[needed("folder", "The folder")],
    },
    Tool {
        name: "test",
        about: "Runs the tests that lie beside the definitions of a folder on this machine, in virtual \
                time.",
        act: None,
        command: &["test"],
        values: &[needed("folder", "The folder")],
    },
    Tool {
        name: "plan",
        about: "Says what a folder of definitions on this machine would change on the server, and whom \
                that touches. Changes nothing.",
        act: None,
        command: &["plan"],
        values: &[
            option("project", "--project", "Name of the project; that of the folder by default"),
            needed("folder", "The folder"),
        ],
    },
    Tool {
        name: "acknowledge",
        about: "Says that somebody takes care of an incident: nobody is reminded or told further.",
        act: Some(Act::Acknowledge),
        command: &["incident", "acknowledge"],
        values: &[option("why", "--why", "Why"), needed("id", "Id of the incident")],
    },
    Tool {
        name: "check",
        about: "Makes a check of a monitor now; incidents move by it.",
        act: Some(Act::Check),
        command: &["monitor", "check"],
        values: &[needed("monitor", "Name of the monitor")],
    },
    Tool {
        name: "retry",
        about: "Tries the failed tasks of a run again.",
        act: Some(Act::Retry),
        command: &["run", "retry"],
        values: &[needed("id", "Id of the run")],
    },
];

/// What a command answered.
struct Ran {
    text: String,
    failed: bool,
}

/// Answers messages until standard input ends.
///
/// # Errors
/// Standard input or output fails.
pub(super) fn run(arguments: &Arguments, url: Option<&str>) -> anyhow::Result<()> {
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    let mut commands = |words: &[String]| command(words, url);
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(MESSAGE_MAX + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let answer = if read as u64 > MESSAGE_MAX {
            input.skip_until(b'\n')?;
            Some(error(&Value::Null, -32600, "a message has at most 1 MiB"))
        } else {
            match serde_json::from_slice(&line) {
                _ if line.trim_ascii().is_empty() => None,
                Ok(message) => answer(&message, &arguments.allow, &mut commands),
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
    allowed: &[Act],
    run: &mut dyn FnMut(&[String]) -> Ran,
) -> Option<Value> {
    let Some(method) = message["method"].as_str() else {
        // An answer to what nobody asked is none of ours; anything else is no message.
        let is_answer = message.get("result").or_else(|| message.get("error")).is_some();
        return (!is_answer).then(|| error(&Value::Null, -32600, "a message has a method"));
    };
    let id = message.get("id").filter(|id| !id.is_null())?;
    let params = &message["params"];
    let result = match method {
        "initialize" => Ok(initialized(params)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": offered(allowed).map(described).collect::<Vec<_>>() })),
        "tools/call" => call(params, allowed, run),
        _ => Err((-32601, format!("there is no method {method}"))),
    };
    Some(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err((code, why)) => error(id, code, &why),
    })
}

fn error(id: &Value, code: i32, why: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": why } })
}

fn initialized(params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str();
    let spoken = PROTOCOLS.into_iter().find(|it| Some(*it) == asked).unwrap_or(PROTOCOLS[0]);
    json!({
        "protocolVersion": spoken,
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "nightbell", "version": env!("CARGO_PKG_VERSION") },
        "instructions": "Begin with red; explain says why an incident is there, why says it of a run.",
    })
}

fn offered(allowed: &[Act]) -> impl Iterator<Item = &'static Tool> {
    TOOLS.iter().filter(move |tool| tool.act.is_none_or(|act| allowed.contains(&act)))
}

fn described(tool: &Tool) -> Value {
    let described =
        |it: &Parameter| (it.name.to_owned(), json!({ "type": "string", "description": it.about }));
    let properties: Map<String, Value> = tool.values.iter().map(described).collect();
    let required: Vec<&str> =
        tool.values.iter().filter(|it| it.required).map(|it| it.name).collect();
    json!({
        "name": tool.name,
        "description": tool.about,
        "inputSchema": {
            "type": "object", "properties": properties, "required": required,
            "additionalProperties": false,
        },
        "annotations": { "readOnlyHint": tool.act.is_none() },
    })
}

/// Runs a tool.
fn call(
    params: &Value,
    allowed: &[Act],
    run: &mut dyn FnMut(&[String]) -> Ran,
) -> Result<Value, (i32, String)> {
    let name = params["name"].as_str().unwrap_or_default();
    let Some(tool) = offered(allowed).find(|tool| tool.name == name) else {
        let hidden = TOOLS.iter().any(|tool| tool.name == name);
        let hint = if hidden { "; start the server with --allow to have it" } else { "" };
        return Err((-32602, format!("there is no tool {name:?}{hint}")));
    };
    let words = words(tool, &params["arguments"]).map_err(|why| (-32602, why))?;
    let Ran { text, failed } = run(&words);
    Ok(json!({ "content": [{ "type": "text", "text": text }], "isError": failed }))
}

/// The words of a tool's command.
fn words(tool: &Tool, given: &Value) -> Result<Vec<String>, String> {
    let none = Map::new();
    let given = match given {
        Value::Null => &none,
        Value::Object(given) => given,
        _ => return Err("arguments are an object".to_owned()),
    };
    if let Some(name) = given.keys().find(|name| tool.values.iter().all(|it| it.name != **name)) {
        let known: Vec<&str> = tool.values.iter().map(|it| it.name).collect();
        return Err(format!("there is no argument {name:?}; there are {}", known.join(", ")));
    }
    let mut words: Vec<String> = tool.command.iter().map(|word| (*word).to_owned()).collect();
    let mut alone = Vec::new();
    for parameter in tool.values {
        let name = parameter.name;
        let value = match given.get(name) {
            Some(Value::String(value)) if !value.is_empty() => value.clone(),
            None | Some(Value::Null) if !parameter.required => continue,
            Some(Value::String(_) | Value::Null) | None => {
                return Err(format!("{name} is missing"));
            }
            Some(_) => return Err(format!("{name} is a text")),
        };
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
    use clap::CommandFactory as _;
    use serde_json::{Value, json};

    use super::{Act, Ran, TOOLS, answer, words};

    fn ask(message: &Value, allowed: &[Act]) -> (Option<Value>, Vec<Vec<String>>) {
        let mut asked = Vec::new();
        let mut run = |words: &[String]| {
            asked.push(words.to_vec());
            Ran { text: "[]".to_owned(), failed: false }
        };
        let answer = answer(message, allowed, &mut run);
        (answer, asked)
    }

    fn call(name: &str, arguments: &Value, allowed: &[Act]) -> (Value, Vec<Vec<String>>) {
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
        let names = |allowed: &[Act]| -> Vec<String> {
            let (told, _) = ask(&list, allowed);
            let told = told.expect("an answer");
            let tools = told["result"]["tools"].as_array().expect("tools").clone();
            let acts = tools.iter().filter(|tool| tool["annotations"]["readOnlyHint"] == false);
            acts.map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
        };
        assert!(names(&[]).is_empty());
        assert_eq!(names(&[Act::Acknowledge]), ["acknowledge"]);
        let (refused, asked) = call("acknowledge", &json!({ "id": "i" }), &[Act::Retry]);
        assert!(
            refused["error"]["message"].as_str().expect("why").contains("--allow"),
            "{refused}"
        );
        assert!(asked.is_empty());
        let (done, asked) =
            call("acknowledge", &json!({ "id": "i", "why": "mine" }), &[Act::Acknowledge]);
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

    /// A command that is renamed takes its tool with it.
    #[test]
    fn every_tool_is_a_command_that_there_is() {
        for tool in TOOLS {
            let value = |name| if name == "status" { json!("FAILED") } else { json!("x") };
            let given = tool.values.iter().map(|it| (it.name.to_owned(), value(it.name))).collect();
            let words = words(tool, &Value::Object(given)).expect("words");
            let line = std::iter::once("nightbell".to_owned()).chain(words);
            let read = super::super::Cli::command().try_get_matches_from(line);
            assert!(read.is_ok(), "{}: {}", tool.name, read.expect_err("it is wrong"));
        }
    }
}
