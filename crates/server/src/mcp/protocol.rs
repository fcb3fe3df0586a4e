//! The Model Context Protocol as far as tools need it: what is offered, and what a message means.
//!
//! The tools are one table for both transports. Over standard input and output a tool is a command of the
//! binary, over HTTP a request to the API. The table is all that can be called, and arguments reach
//! commands and addresses as values alone.

use serde_json::{Map, Value, json};

/// The protocols that are spoken; the first unless the client asks for one of the others.
pub const PROTOCOLS: [&str; 4] = ["2025-06-18", "2025-11-25", "2025-03-26", "2024-11-05"];
/// Bytes of a message at most.
pub const MESSAGE_MAX: usize = 1 << 20;
/// Bytes of an answer at most; the rest is left out, and that is said.
pub const ANSWER_MAX: usize = 256 << 10;

/// A tool: a command with places for values, and the request that is the same.
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// It changes something, or asks with credentials of the server: it must be allowed by name.
    pub acts: bool,
    /// The words of its command before the values.
    pub command: &'static [&'static str],
    /// Its values.
    pub values: &'static [Parameter],
    /// The request; none for what needs files of the client's machine.
    pub request: Option<Request>,
}

/// A value of a tool.
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Under which option of the command it stands; `None`: by itself.
    pub option: Option<&'static str>,
    /// Whether it must be there.
    pub required: bool,
    /// It names a folder of the machine on which the command runs.
    pub is_folder: bool,
}

/// A request to the API.
pub struct Request {
    /// Whether it is a POST.
    pub posts: bool,
    /// The path, with `{name}` where values belong, also in a query.
    pub path: &'static str,
    /// Parameters of the query, each with its value in which `{name}` stands for a value; without that
    /// value they are left out. Of a POST, members of the body.
    pub query: &'static [(&'static str, &'static str)],
}

const fn needed(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, option: None, required: true, is_folder: false }
}

const fn option(name: &'static str, option: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, option: Some(option), required: false, is_folder: false }
}

const FOLDER: Parameter = Parameter {
    name: "folder",
    about: "The folder",
    option: None,
    required: true,
    is_folder: true,
};

/// A folder of files that may take the place of what the server has.
const FILES: Parameter = Parameter {
    name: "folder",
    about: "A folder on this machine with files that define it anew; as the server has it by default",
    option: Some("--file"),
    required: false,
    is_folder: true,
};

const fn get(path: &'static str, query: &'static [(&'static str, &'static str)]) -> Request {
    Request { posts: false, path, query }
}

const fn post(path: &'static str, query: &'static [(&'static str, &'static str)]) -> Request {
    Request { posts: true, path, query }
}

/// All tools.
pub const TOOLS: &[Tool] = &[
    Tool {
        name: "red",
        about: "Lists incidents that are not over: what is wrong now.",
        acts: false,
        command: &["incident", "list"],
        values: &[
            option("monitor", "--monitor", "Only those of this monitor"),
            option("state", "--state", "open, acknowledged, snoozed, resolved or all"),
        ],
        request: Some(get("/api/incidents", &[("monitor", "{monitor}"), ("state", "{state}")])),
    },
    Tool {
        name: "explain",
        about: "Tells the check, row and rule behind an incident, what changed since it was well, and \
                who was told.",
        acts: false,
        command: &["incident", "explain"],
        values: &[needed("id", "Id or dedup key of the incident")],
        request: Some(get("/api/incidents/{id}/explain", &[])),
    },
    Tool {
        name: "why",
        about: "Tells why a run of a workflow does not go on, or why it failed.",
        acts: false,
        command: &["run", "why"],
        values: &[needed("id", "Id of the run")],
        request: Some(get("/api/workflow/{id}/why", &[])),
    },
    Tool {
        name: "history",
        about: "Tells what happened in a run, commit by commit: when, and what each did.",
        acts: false,
        command: &["run", "history"],
        values: &[
            option(
                "from",
                "--from",
                "The number of the first commit; the first that is kept by default",
            ),
            needed("id", "Id of the run"),
        ],
        request: Some(get("/api/workflow/{id}/history", &[("from", "{from}")])),
    },
    Tool {
        name: "runs",
        about: "Lists runs of workflows, newest first.",
        acts: false,
        command: &["run", "list"],
        values: &[option("status", "--status", "RUNNING, FAILED, COMPLETED, …")],
        request: Some(get(
            "/api/workflow/search",
            &[
                ("size", "50"),
                ("sort", "startTime:DESC"),
                ("freeText", "*"),
                ("query", "status IN ({status})"),
            ],
        )),
    },
    Tool {
        name: "oncall",
        about: "Tells who is on call, until when, and who comes next.",
        acts: false,
        command: &["oncall", "who"],
        values: &[option("at", "--at", "A time such as 2026-12-24T03:00:00Z; now by default")],
        request: Some(get("/api/oncall", &[("at", "{at}")])),
    },
    Tool {
        name: "preview",
        about: "Makes one check of a monitor that moves nothing and tells nobody: what it would say, \
                and who would be told. It asks what the monitor asks.",
        acts: true,
        command: &["monitor", "preview"],
        values: &[needed("monitor", "Name of the monitor")],
        request: Some(post("/api/monitors/{monitor}/preview", &[])),
    },
    Tool {
        name: "check_files",
        about: "Finds mistakes in the definitions of a folder on this machine.",
        acts: false,
        command: &["check"],
        values: &[FOLDER],
        request: None,
    },
    Tool {
        name: "test",
        about: "Runs the tests that lie beside the definitions of a folder on this machine, in virtual \
                time.",
        acts: false,
        command: &["test"],
        values: &[FOLDER],
        request: None,
    },
    Tool {
        name: "plan",
        about: "Says what a folder of definitions on this machine would change on the server, and whom \
                that touches. Changes nothing.",
        acts: false,
        command: &["plan"],
        values: &[
            option("project", "--project", "Name of the project; that of the folder by default"),
            FOLDER,
        ],
        request: None,
    },
    Tool {
        name: "backtest",
        about: "Tries a monitor on what its checks have answered: which incidents would be gone or new, \
                and who would have been paged, compared with what happened. Nothing moves and nobody \
                is told.",
        acts: false,
        command: &["monitor", "backtest"],
        values: &[
            FILES,
            Parameter {
                required: true,
                ..option("since", "--since", "Since when: a time such as 2026-01-31T08:00:00Z")
            },
            needed("monitor", "Name of the monitor"),
        ],
        request: Some(post("/api/monitors/{monitor}/backtest?from={since}", &[])),
    },
    Tool {
        name: "replay",
        about: "Plays the latest runs of a workflow again with the definition of a folder on this machine: \
                which of them would have gone another way. Starts nothing.",
        acts: false,
        command: &["workflow", "replay"],
        values: &[
            Parameter { required: true, about: "The folder with the definition to try", ..FILES },
            option("last", "--last", "How many of the latest runs; 100 by default"),
            needed("workflow", "Name of the workflow"),
        ],
        request: None,
    },
    Tool {
        name: "acknowledge",
        about: "Says that somebody takes care of an incident: nobody is reminded or told further.",
        acts: true,
        command: &["incident", "acknowledge"],
        values: &[option("why", "--why", "Why"), needed("id", "Id of the incident")],
        request: Some(post("/api/incidents/{id}/acknowledge", &[("why", "{why}")])),
    },
    Tool {
        name: "check",
        about: "Makes a check of a monitor now; incidents move by it.",
        acts: true,
        command: &["monitor", "check"],
        values: &[needed("monitor", "Name of the monitor")],
        request: Some(post("/api/monitors/{monitor}/check", &[])),
    },
    Tool {
        name: "retry",
        about: "Tries the failed tasks of a run again.",
        acts: true,
        command: &["run", "retry"],
        values: &[needed("id", "Id of the run")],
        request: Some(post("/api/workflow/{id}/retry", &[])),
    },
];

/// How a server is reached, and what clients of it may do.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    /// The tools that act and are there.
    pub allowed: &'a [String],
    /// Whether tools are requests rather than commands.
    pub is_remote: bool,
}

/// What a message asks for.
pub enum Asked {
    /// Nothing: it is a notification, or an answer.
    Nothing,
    /// This is the answer.
    Answer(Value),
    /// A tool is to be run; its answer is made by [`ran`].
    Call(Call),
}

/// A tool that is to be run.
pub struct Call {
    /// The id of the message.
    pub id: Value,
    /// The tool.
    pub tool: &'static Tool,
    /// Its values by name, each of the tool's own and a text.
    pub given: Map<String, Value>,
}

impl Offer<'_> {
    fn tools(self) -> impl Iterator<Item = &'static Tool> {
        TOOLS.iter().filter(move |tool| {
            let is_reached = !self.is_remote || tool.request.is_some();
            is_reached && (!tool.acts || self.allowed.iter().any(|it| *it == *tool.name))
        })
    }

    /// The values of a tool that can be given: nobody's folders are on the server.
    fn parameters(self, tool: &'static Tool) -> impl Iterator<Item = &'static Parameter> {
        tool.values.iter().filter(move |it| !(self.is_remote && it.is_folder))
    }

    /// What a message asks for.
    pub fn read(self, message: &Value) -> Asked {
        let Some(method) = message["method"].as_str() else {
            // An answer to what nobody asked is none of ours; anything else is no message.
            let is_answer = message.get("result").or_else(|| message.get("error")).is_some();
            if is_answer {
                return Asked::Nothing;
            }
            return Asked::Answer(error(&Value::Null, -32600, "a message has a method"));
        };
        let Some(id) = message.get("id").filter(|id| !id.is_null()) else { return Asked::Nothing };
        let params = &message["params"];
        let result = match method {
            "initialize" => Ok(initialized(params)),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(
                json!({ "tools": self.tools().map(|tool| self.described(tool)).collect::<Vec<_>>() }),
            ),
            "tools/call" => match self.call(id, params) {
                Ok(call) => return Asked::Call(call),
                Err(why) => Err((-32602, why)),
            },
            _ => Err((-32601, format!("there is no method {method}"))),
        };
        Asked::Answer(match result {
            Ok(result) => answer(id, &result),
            Err((code, why)) => error(id, code, &why),
        })
    }

    fn described(self, tool: &'static Tool) -> Value {
        let described = |it: &Parameter| {
            (it.name.to_owned(), json!({ "type": "string", "description": it.about }))
        };
        let properties: Map<String, Value> = self.parameters(tool).map(described).collect();
        let required: Vec<&str> =
            self.parameters(tool).filter(|it| it.required).map(|it| it.name).collect();
        json!({
            "name": tool.name,
            "description": tool.about,
            "inputSchema": {
                "type": "object", "properties": properties, "required": required,
                "additionalProperties": false,
            },
            "annotations": { "readOnlyHint": !tool.acts },
        })
    }

    fn call(self, id: &Value, params: &Value) -> Result<Call, String> {
        let name = params["name"].as_str().unwrap_or_default();
        let Some(tool) = self.tools().find(|tool| tool.name == name) else {
            let known = TOOLS.iter().find(|tool| tool.name == name);
            let hint = match (known, self.is_remote) {
                (Some(Tool { request: None, .. }), true) => {
                    " over HTTP: it reads files of the assistant's own machine, which are not here; \
                     start `nightbell mcp` there to have it"
                }
                (Some(_), false) => "; start the server with --allow to have it",
                (Some(_), true) => "; add ?allow= with its name to the address to have it",
                (None, _) => "; tools/list tells which there are",
            };
            return Err(format!("there is no tool {name:?}{hint}"));
        };
        let parameters: Vec<&Parameter> = self.parameters(tool).collect();
        Ok(Call { id: id.clone(), tool, given: values(&parameters, &params["arguments"])? })
    }
}

/// An answer that is a failure of the protocol.
pub fn error(id: &Value, code: i32, why: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": why } })
}

fn answer(id: &Value, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// The answer to a call, by what a tool said.
pub fn ran(id: &Value, text: &str, failed: bool) -> Value {
    answer(id, &json!({ "content": [{ "type": "text", "text": text }], "isError": failed }))
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

/// The values of a tool that a message gives.
fn values(parameters: &[&Parameter], given: &Value) -> Result<Map<String, Value>, String> {
    let none = Map::new();
    let given = match given {
        Value::Null => &none,
        Value::Object(given) => given,
        _ => return Err("arguments are an object".to_owned()),
    };
    if let Some(name) = given.keys().find(|name| parameters.iter().all(|it| it.name != **name)) {
        let known: Vec<&str> = parameters.iter().map(|it| it.name).collect();
        return Err(format!("there is no argument {name:?}; there are {}", known.join(", ")));
    }
    let mut values = Map::new();
    for parameter in parameters {
        let name = parameter.name;
        let value = match given.get(name) {
            Some(Value::String(value)) if !value.is_empty() => value.clone(),
            None | Some(Value::Null) if !parameter.required => continue,
            Some(Value::String(_) | Value::Null) | None => {
                return Err(format!("{name} is missing"));
            }
            Some(_) => return Err(format!("{name} is a text")),
        };
        values.insert(name.to_owned(), value.into());
    }
    Ok(values)
}
