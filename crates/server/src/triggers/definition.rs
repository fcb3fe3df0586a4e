//! Triggers as their authors write them; everything that is wrong with one is told at once.

use axum::http::{HeaderName, Method};
use kernel::Scripts;
use kernel::definition::{PROBLEMS_MAX, Problem as Flaw, escape_pointer};
use kernel::durable::{ORCHESTRATION, WORKFLOW};
use kernel::editor;
use kernel::expression::Template;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::pattern::Pattern;
use super::proof::Auth;
use crate::hooks::{Verifier, is_reference};

/// Longest name, in bytes.
const NAME_MAX: usize = 200;
/// Longest wait for an output, in seconds.
const TIMEOUT_MAX: i64 = 3600;
/// What can be asked with.
const METHODS: [Method; 5] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

const MEMBERS: [&str; 11] = [
    "name",
    "description",
    "method",
    "path",
    "auth",
    "user",
    "secret",
    "verifier",
    "header",
    "start",
    "show",
];
const OF_START: [&str; 7] =
    ["name", "version", "instanceId", "correlationId", "defaults", "input", "timeoutSeconds"];
const OF_SHOW: [&str; 5] = ["name", "instanceId", "correlationId", "body", "queryExpression"];
/// What expressions may name of a request.
pub(super) const OF_REQUEST: [&str; 7] =
    ["body", "path", "query", "headers", "method", "id", "time"];

/// A method and a path that start runs of a definition, or show one.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// The document, as it was written.
    pub document: Value,
    pub(super) method: Method,
    pub(super) pattern: Pattern,
    pub(super) action: Action,
    /// Who may call it.
    pub(super) auth: Auth,
}

impl Trigger {
    /// The name of the definition of which it starts runs, which may be an expression; `None` if it
    /// starts none.
    pub fn starts(&self) -> Option<&str> {
        match &self.action {
            Action::Start(start) => Some(&start.name),
            Action::Show(_) => None,
        }
    }
}

/// What a trigger does.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Start(StartAction),
    Show(ShowAction),
}

/// Starts a run.
#[derive(Clone, Debug)]
pub(super) struct StartAction {
    /// The definition's name.
    pub(super) name: String,
    /// Its version; absent = the latest.
    pub(super) version: Option<String>,
    /// The id of the run; absent = a new one.
    pub(super) instance_id: Option<Template>,
    /// A label to find it by; sees the input as `workflow.input`.
    pub(super) correlation_id: Option<Template>,
    /// Members of the input that the request leaves out.
    pub(super) defaults: Option<Template>,
    /// The input; absent = the body.
    pub(super) input: Option<Template>,
    /// How long to wait for the output, in seconds; 0 = not at all.
    pub(super) timeout_seconds: u64,
}

/// Shows a run.
#[derive(Clone, Debug)]
pub(super) struct ShowAction {
    /// The definition's name.
    pub(super) name: String,
    /// Which run.
    pub(super) by: By,
    /// What to show; absent = where it stands.
    pub(super) body: Option<Template>,
    /// A jq program over that.
    pub(super) query: Option<String>,
}

/// How a run is found.
#[derive(Clone, Debug)]
pub(super) enum By {
    Id(Template),
    /// The latest run that bears the label.
    Correlation(Template),
}

/// The schema of a file of triggers for editors: one, or a list.
pub fn schema() -> Value {
    let (text, object) = (json!({ "type": "string" }), json!({ "type": "object" }));
    let any = json!({});
    let start = OF_START.map(|name| match name {
        "version" => (name, json!({ "type": ["integer", "string"] })),
        "timeoutSeconds" => {
            (name, json!({ "type": "integer", "minimum": 0, "maximum": TIMEOUT_MAX }))
        }
        "defaults" => (name, object.clone()),
        "input" => (name, json!({ "type": ["object", "string"] })),
        _ => (name, text.clone()),
    });
    let show = OF_SHOW.map(|name| (name, if name == "body" { any.clone() } else { text.clone() }));
    let methods = METHODS.map(|method| method.as_str().to_owned());
    let trigger = MEMBERS.map(|name| match name {
        "start" => (name, editor::nullable_record(start.clone(), &["name"])),
        "show" => (name, editor::nullable_record(show.clone(), &["name"])),
        "method" => (name, editor::word(&methods.each_ref().map(String::as_str))),
        "auth" => (name, editor::word(&["key", "basic", "signature", "none"])),
        _ => (name, text.clone()),
    });
    let mut trigger = editor::record(trigger, &["name", "method", "path"]);
    trigger["oneOf"] = json!([{ "required": ["start"] }, { "required": ["show"] }]);
    let root = editor::one_or_list(&editor::reference("trigger"));
    editor::document("Nightbell: HTTP triggers", root, vec![("trigger", trigger)])
}

/// Reads a trigger, or a list of them.
///
/// # Errors
/// Everything that is wrong; pointers begin with the index in a list.
pub fn read(text: &str, scripts: &dyn Scripts) -> Result<Vec<Trigger>, Vec<Flaw>> {
    let document: Value = serde_json::from_str(text).map_err(|error| {
        let full = error.to_string();
        let reason = full.split(" at line ").next().unwrap_or(&full);
        let (line, column) = (error.line(), error.column());
        let message = format!("malformed JSON at line {line}, column {column}: {reason}");
        let hint = "Look there for a missing or extra comma, quote or bracket.";
        vec![Flaw::new("", "malformed-json", message, hint)]
    })?;
    let Value::Array(items) = document else {
        return of_value(document, scripts).map(|trigger| vec![trigger]);
    };
    let (mut triggers, mut flaws) = (Vec::new(), Vec::new());
    for (index, item) in items.into_iter().enumerate() {
        match of_value(item, scripts) {
            Ok(trigger) => triggers.push(trigger),
            Err(found) => {
                flaws.extend(found.into_iter().map(|flaw| flaw.under(&format!("/{index}"))));
            }
        }
    }
    flaws.truncate(PROBLEMS_MAX);
    if flaws.is_empty() { Ok(triggers) } else { Err(flaws) }
}

/// Reads a trigger from a tree.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn of_value(document: Value, scripts: &dyn Scripts) -> Result<Trigger, Vec<Flaw>> {
    let Value::Object(members) = &document else {
        let message = "expected a trigger, which is an object";
        let hint = "Wrap the trigger in { and }.";
        return Err(vec![Flaw::new("", "wrong-type", message, hint)]);
    };
    let mut reader = Reader { flaws: Vec::new(), scripts };
    let read = reader.trigger(members);
    reader.flaws.truncate(PROBLEMS_MAX);
    match read {
        Some((name, method, pattern, action, auth)) if reader.flaws.is_empty() => {
            Ok(Trigger { name, document, method, pattern, action, auth })
        }
        _ => Err(reader.flaws),
    }
}

/// What is wrong, found on the way.
struct Reader<'s> {
    flaws: Vec<Flaw>,
    scripts: &'s dyn Scripts,
}

/// Which roots the expressions at a place may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sees {
    Request,
    /// And the input, as `workflow.input`.
    Input,
    /// And the run and its tasks.
    Run,
}

impl Reader<'_> {
    fn trigger(
        &mut self,
        members: &Map<String, Value>,
    ) -> Option<(String, Method, Pattern, Action, Auth)> {
        self.known("", members, &MEMBERS);
        let name = self.name("/name", members.get("name"), "the trigger");
        self.text("/description", members.get("description"));
        let auth = self.auth(members);
        let method = self.method(members.get("method"));
        let pattern = self.pattern(members.get("path"));
        let parameters: Vec<&str> = pattern.iter().flat_map(Pattern::parameters).collect();
        let action = match (members.get("start"), members.get("show")) {
            (Some(Value::Object(start)), None) => self.start(start, &parameters).map(Action::Start),
            (None, Some(Value::Object(show))) => self.show(show, &parameters).map(Action::Show),
            (Some(_), None) => self.wrong_type("/start", "an object"),
            (None, Some(_)) => self.wrong_type("/show", "an object"),
            _ => {
                let message = "a trigger has either 'start' or 'show'";
                let hint = "'start' begins a run of a definition, 'show' tells of one.";
                self.flaw("", "action-missing", message, hint)
            }
        };
        if let (Some(Action::Start(_)), Some(Method::GET)) = (&action, &method) {
            let message = "GET must change nothing, so it cannot start anything";
            self.flaw::<()>("/method", "method-not-fit", message, "Use POST.");
        }
        if let (Some(Auth::Signature { .. }), Some(Method::GET | Method::DELETE)) = (&auth, &method)
        {
            let message = "GET and DELETE have no body that could be signed";
            let hint = "Use \"auth\": \"basic\" or a key.";
            self.flaw::<()>("/auth", "auth-not-fit", message, hint);
        }
        Some((name?, method?, pattern?, action?, auth?))
    }

    fn auth(&mut self, members: &Map<String, Value>) -> Option<Auth> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let (auth, of_auth): (_, &[&str]) = match members.get("auth").map(Value::as_str) {
            None | Some(Some("key")) => (Some(Auth::Key), &[]),
            Some(Some("none")) => (Some(Auth::None), &[]),
            Some(Some("basic")) => {
                let user = text("user").filter(|it| !it.is_empty() && !it.contains(':'));
                if user.is_none() {
                    let message = "\"auth\": \"basic\" needs a 'user', a name without ':'";
                    let hint = "Write the name that callers send with the password.";
                    self.flaw::<()>("/user", "user-missing", message, hint);
                }
                let (user, secret) = (user.map(str::to_owned), self.secret(text("secret")));
                let auth = user.zip(secret).map(|(user, secret)| Auth::Basic { user, secret });
                (auth, &["user", "secret"])
            }
            Some(Some("signature")) => {
                let secret = self.secret(text("secret"));
                let verifier = self.verifier(members.get("verifier"));
                let header = self.text("/header", members.get("header")).unwrap_or_default();
                if !header.is_empty() && header.parse::<HeaderName>().is_err() {
                    let message = format!("'{header}' is no name of a header");
                    self.flaw::<()>(
                        "/header",
                        "header-unusable",
                        message,
                        "See what the sender sends.",
                    );
                }
                let both = secret.zip(verifier);
                let auth =
                    both.map(|(secret, verifier)| Auth::Signature { verifier, secret, header });
                (auth, &["secret", "verifier", "header"])
            }
            Some(_) => {
                let message = "'auth' is none of \"key\", \"basic\", \"signature\" and \"none\"";
                let hint = "Leave it out, or write \"none\" if anybody may call the trigger.";
                self.flaw::<()>("/auth", "auth-unknown", message, hint);
                (None, &["user", "secret", "verifier", "header"])
            }
        };
        for name in ["user", "secret", "verifier", "header"] {
            if members.contains_key(name) && !of_auth.contains(&name) {
                let message = format!("'{name}' says nothing with this 'auth'");
                let hint = "'user' and 'secret' are for \"basic\"; 'secret', 'verifier' and 'header' for \
                            \"signature\".";
                self.flaw::<()>(&format!("/{name}"), "auth-not-fit", message, hint);
            }
        }
        auth
    }

    /// A secret is referred to: the trigger's document can be read by everybody who may read.
    fn secret(&mut self, text: Option<&str>) -> Option<String> {
        let found = text.filter(|it| is_reference(it)).map(str::to_owned);
        found.or_else(|| {
            let message = "'secret' is no reference to a secret";
            let hint = "Write \"${workflow.secrets.NAME}\", and store it with `nightbell secret put NAME`.";
            self.flaw("/secret", "secret-missing", message, hint)
        })
    }

    fn verifier(&mut self, value: Option<&Value>) -> Option<Verifier> {
        let Some(value) = value else { return Some(Verifier::SignatureBased) };
        let found = Verifier::deserialize(value).ok().filter(|it| it.needs_secret());
        found.or_else(|| {
            let message = "'verifier' is no way to check a signature";
            let hint =
                "Write SIGNATURE_BASED, HMAC_BASED, SLACK_BASED, STRIPE, TWITTER or SENDGRID.";
            self.flaw("/verifier", "verifier-unknown", message, hint)
        })
    }

    fn start(&mut self, members: &Map<String, Value>, path: &[&str]) -> Option<StartAction> {
        self.known("/start", members, &OF_START);
        let name = self.name("/start/name", members.get("name"), "the definition to start");
        let version = self.version(members.get("version"));
        let timeout = members.get("timeoutSeconds");
        let timeout = self.number("/start/timeoutSeconds", timeout, 0, TIMEOUT_MAX);
        let is_text = |value: &Value| value.is_string();
        let mut template = |member: &str, sees, fits: fn(&Value) -> bool, kind| {
            let pointer = format!("/start/{member}");
            self.template(&pointer, members.get(member), sees, path, fits, kind)
        };
        let text = "a text, which may have expressions in it";
        let object = "an object, or a text that is one expression";
        let holds_members = |value: &Value| value.is_object() || is_expression(value);
        Some(StartAction {
            version,
            instance_id: template("instanceId", Sees::Input, is_text, text),
            correlation_id: template("correlationId", Sees::Input, is_text, text),
            defaults: template("defaults", Sees::Request, Value::is_object, "an object"),
            input: template("input", Sees::Request, holds_members, object),
            timeout_seconds: timeout.unwrap_or(0).unsigned_abs(),
            name: name?,
        })
    }

    fn show(&mut self, members: &Map<String, Value>, path: &[&str]) -> Option<ShowAction> {
        self.known("/show", members, &OF_SHOW);
        let name = self.name("/show/name", members.get("name"), "the definition to tell of");
        let is_text = |value: &Value| value.is_string();
        let mut template = |member: &str, sees, fits: fn(&Value) -> bool, kind| {
            let pointer = format!("/show/{member}");
            self.template(&pointer, members.get(member), sees, path, fits, kind)
        };
        let text = "a text, which may have expressions in it";
        let id = template("instanceId", Sees::Request, is_text, text);
        let label = template("correlationId", Sees::Request, is_text, text);
        let body = template("body", Sees::Run, |_| true, "");
        let by = match (id, label) {
            (Some(id), None) => Some(By::Id(id)),
            (None, Some(label)) => Some(By::Correlation(label)),
            _ if ["instanceId", "correlationId"].iter().all(|it| !members.contains_key(*it)) => {
                let message = "'show' needs 'instanceId' or 'correlationId', to find the run by";
                let hint = "Take it from the path: \"${request.path.id}\".";
                self.flaw("/show", "run-missing", message, hint)
            }
            (Some(_), Some(_)) => {
                let message = "'show' takes 'instanceId' or 'correlationId', not both";
                self.flaw("/show/correlationId", "run-twice", message, "Leave one out.")
            }
            (None, None) => None,
        };
        if let (Some(name), Some(By::Correlation(_))) = (&name, &by)
            && name.starts_with(ORCHESTRATION)
        {
            let message = "an orchestration is found by 'instanceId' only";
            let hint = "Give it an id of your own when it is started.";
            self.flaw::<()>("/show/correlationId", "run-missing", message, hint);
        }
        let query = self.text("/show/queryExpression", members.get("queryExpression"));
        if let Some(program) = &query
            && let Err(error) = self.scripts.check_jq(program)
        {
            let message = format!("the jq program does not compile: {error}");
            self.flaw::<()>("/show/queryExpression", "script-invalid", message, "Repair it.");
        }
        // Which of the two a name means has to be said for orchestrations only.
        let name = name.map(|name| name.strip_prefix(WORKFLOW).unwrap_or(&name).to_owned());
        Some(ShowAction { name: name?, by: by?, body, query })
    }

    fn flaw<T>(
        &mut self,
        pointer: &str,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<T> {
        self.flaws.push(Flaw::new(pointer, code, message, hint));
        None
    }

    fn wrong_type<T>(&mut self, pointer: &str, kind: &str) -> Option<T> {
        let message = format!("expected {kind}");
        self.flaw(pointer, "wrong-type", message, "See the description of triggers in /docs.")
    }

    fn known(&mut self, pointer: &str, members: &Map<String, Value>, known: &[&str]) {
        for member in members.keys().filter(|member| !known.contains(&member.as_str())) {
            let place = format!("{pointer}/{}", escape_pointer(member));
            let message = format!("there is no member '{member}' here");
            let hint = format!("There are {}.", known.join(", "));
            self.flaw::<()>(&place, "unknown-member", message, hint);
        }
    }

    fn text(&mut self, pointer: &str, value: Option<&Value>) -> Option<String> {
        match value? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            _ => self.wrong_type(pointer, "a text"),
        }
    }

    fn name(&mut self, pointer: &str, value: Option<&Value>, of: &str) -> Option<String> {
        let message = match value {
            None | Some(Value::Null) => format!("{of} needs a name"),
            Some(Value::String(name)) if name.trim().is_empty() => format!("{of} needs a name"),
            Some(Value::String(name)) if name.len() > NAME_MAX => {
                format!("the name of {of} is longer than {NAME_MAX} bytes")
            }
            Some(Value::String(name))
                if name.contains(['/', '\\']) || name.chars().any(char::is_control) =>
            {
                format!("the name of {of} may not contain slashes or control characters")
            }
            Some(Value::String(name)) => return Some(name.clone()),
            Some(_) => return self.wrong_type(pointer, "a text"),
        };
        self.flaw(pointer, "name-missing", message, "Write it under 'name'.")
    }

    fn method(&mut self, value: Option<&Value>) -> Option<Method> {
        let word = match value {
            None => {
                return self.flaw("/method", "method-missing", "a trigger needs a method", HINT);
            }
            Some(Value::String(word)) => word,
            Some(_) => return self.wrong_type("/method", "a text"),
        };
        let found = METHODS.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(word));
        let unknown = || {
            let message = format!("'{word}' is no method that a trigger can have");
            Flaw::new("/method", "method-unknown", message, HINT)
        };
        found.or_else(|| {
            self.flaws.push(unknown());
            None
        })
    }

    fn pattern(&mut self, value: Option<&Value>) -> Option<Pattern> {
        let hint = "Write it like /jobs/{id}.";
        match value {
            None => self.flaw("/path", "path-missing", "a trigger needs a path", hint),
            Some(Value::String(text)) => match Pattern::parse(text) {
                Ok(pattern) => Some(pattern),
                Err(why) => self.flaw("/path", "path-not-fit", why, hint),
            },
            Some(_) => self.wrong_type("/path", "a text"),
        }
    }

    /// Workflows have numbers as versions, orchestrators have texts.
    fn version(&mut self, value: Option<&Value>) -> Option<String> {
        match value? {
            Value::Null => None,
            Value::Number(number) if number.as_u64().is_some() => {
                Some(number.to_string()).filter(|version| version != "0")
            }
            Value::String(version) if !version.is_empty() => Some(version.clone()),
            _ => self.wrong_type("/start/version", "a whole number, or a text that is not empty"),
        }
    }

    fn number(
        &mut self,
        pointer: &str,
        value: Option<&Value>,
        least: i64,
        most: i64,
    ) -> Option<i64> {
        let value = value.filter(|value| !value.is_null())?;
        match value.as_i64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Some(number),
            None => self.wrong_type(pointer, &format!("a whole number from {least} to {most}")),
        }
    }

    fn template(
        &mut self,
        pointer: &str,
        value: Option<&Value>,
        sees: Sees,
        path: &[&str],
        fits: fn(&Value) -> bool,
        kind: &str,
    ) -> Option<Template> {
        let value = value.filter(|value| !value.is_null())?;
        if !fits(value) {
            return self.wrong_type(pointer, kind);
        }
        let template = Template::compile(value);
        let wrong: Vec<String> =
            template.references().filter_map(|it| objection(&it, sees, path)).collect();
        for message in wrong {
            let hint = match sees {
                Sees::Run => "Name request, workflow or a task's reference name.",
                Sees::Input => "Name request, such as ${request.path.id}, or workflow.input.",
                Sees::Request => "Name request, such as ${request.body} or ${request.path.id}.",
            };
            self.flaw::<()>(pointer, "expression-unknown", message, hint);
        }
        Some(template)
    }
}

const HINT: &str = "Use GET, POST, PUT, PATCH or DELETE.";

/// Whether a value is a text that is nothing but one expression.
fn is_expression(value: &Value) -> bool {
    let Value::String(text) = value else { return false };
    text.starts_with("${") && text.ends_with('}')
}

/// Why an expression can only be `null`.
fn objection(
    reference: &kernel::expression::Reference<'_>,
    sees: Sees,
    path: &[&str],
) -> Option<String> {
    let shown = format!("${{{}}}", reference.text);
    if let Some(problem) = reference.problem {
        return Some(format!("{shown}: {problem}"));
    }
    match (reference.root?, reference.field) {
        ("request", Some("path")) => {
            let name = reference.text.split('.').nth(2)?;
            let known = path.contains(&name) || name.contains(['[', '(', '\'']);
            (!known).then(|| format!("{shown}: the path has no parameter {{{name}}}"))
        }
        ("request", Some(field)) => (!OF_REQUEST.contains(&field))
            .then(|| format!("{shown}: a request has {}, and no '{field}'", OF_REQUEST.join(", "))),
        ("request", None) => None,
        ("workflow", Some("input")) if sees == Sees::Input => None,
        _ if sees == Sees::Run => None,
        (root, _) => Some(format!("{shown}: there is no '{root}' to be seen here")),
    }
}
