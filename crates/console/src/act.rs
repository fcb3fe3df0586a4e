//! What forms do: each act is one request to the API, as whoever sent the form.
//!
//! What can be undone is done at once. What cannot ([`Act::harms`]) needs the token of a preview, see
//! [`crate::confirm`].

use http::Method;
use kernel::access::Permission;
use serde_json::{Value, json};

use crate::visit::{Pairs, ZONE, encoded};
use crate::{Context, Failure, Reply, confirm};

/// Ids in one form.
pub(crate) const IDS_MAX: usize = 1000;

/// Something that can be done from a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act {
    pub(crate) name: &'static str,
    /// What a button says.
    pub(crate) label: &'static str,
    pub(crate) need: Permission,
    /// What is acted on, of one and of many.
    pub(crate) things: (&'static str, &'static str),
    /// Whether it cannot simply be taken back, and how that is said in a preview.
    pub(crate) harms: Option<&'static str>,
    /// What the page says afterwards.
    said: &'static str,
}

const RUNS: (&str, &str) = ("run", "runs");
const INCIDENTS: (&str, &str) = ("incident", "incidents");

/// Every act.
const ACTS: [Act; 24] = [
    act(
        "acknowledge",
        "Acknowledge",
        Permission::Respond,
        INCIDENTS,
        "Acknowledged: nobody is reminded or told further. It rings again if it gets worse.",
    ),
    act("snooze", "Snooze", Permission::Respond, INCIDENTS, "Snoozed: nobody is told until then."),
    act("resend", "Send again", Permission::Respond, INCIDENTS, "What was given up is sent again."),
    harm(
        "resolve",
        "Resolve",
        Permission::Respond,
        INCIDENTS,
        "Receivers are told that it is over. It opens again if a check still finds it.",
        "Resolved.",
    ),
    act(
        "silence",
        "Silence",
        Permission::Respond,
        ("silence", "silences"),
        "The silence is in force.",
    ),
    harm(
        "end-silence",
        "End the silence",
        Permission::Respond,
        ("silence", "silences"),
        "What it hid and is still open is told now.",
        "The silence is over.",
    ),
    act("check", "Check now", Permission::Run, ("monitor", "monitors"), "A check has begun."),
    act(
        "test-receiver",
        "Send a test",
        Permission::Edit,
        ("receiver", "receivers"),
        "The test was sent; what came of it is in the deliveries.",
    ),
    act(
        "resend-receiver",
        "Send again what was given up",
        Permission::Respond,
        ("receiver", "receivers"),
        "What was given up and still matters is sent again.",
    ),
    act("pause", "Pause", Permission::Run, RUNS, "Paused: nothing more is scheduled."),
    act("resume", "Resume", Permission::Run, RUNS, "Resumed."),
    act("retry", "Retry", Permission::Run, RUNS, "The failed tasks are tried again."),
    harm("terminate", "Terminate", Permission::Run, RUNS, "This cannot be undone.", "Terminated."),
    harm(
        "restart",
        "Restart",
        Permission::Run,
        RUNS,
        "It begins anew under the same id; what its tasks gave is forgotten.",
        "Begun anew.",
    ),
    harm(
        "rerun",
        "Rerun",
        Permission::Run,
        ("run from this task", "runs"),
        "The task and all that followed it run again; what they gave is forgotten.",
        "It runs on from there.",
    ),
    harm(
        "complete-task",
        "Complete",
        Permission::Run,
        ("task", "tasks"),
        "The flow goes on as if a worker had completed it.",
        "The task is completed.",
    ),
    harm(
        "fail-task",
        "Fail",
        Permission::Run,
        ("task", "tasks"),
        "The task counts as failed; its retries apply.",
        "The task has failed.",
    ),
    harm(
        "requeue",
        "Requeue",
        Permission::Run,
        ("queue", "queues"),
        "Its tasks are put into the queue again.",
        "Put into the queue again.",
    ),
    act(
        "pause-schedule",
        "Pause",
        Permission::Run,
        ("schedule", "schedules"),
        "Paused: it starts nothing until it is resumed.",
    ),
    act("resume-schedule", "Resume", Permission::Run, ("schedule", "schedules"), "Resumed."),
    harm(
        "trigger",
        "Trigger now",
        Permission::Run,
        ("schedule", "schedules"),
        "It starts its workflow now, beside what is planned.",
        "Triggered.",
    ),
    act("start", "Start", Permission::Run, ("workflow", "workflows"), "Started."),
    act("zone", "", Permission::Read, ("", ""), "Times are shown in this zone."),
    act("cancelled", "", Permission::Read, ("", ""), "Nothing was changed."),
];

const fn act(
    name: &'static str,
    label: &'static str,
    need: Permission,
    things: (&'static str, &'static str),
    said: &'static str,
) -> Act {
    Act { name, label, need, things, harms: None, said }
}

const fn harm(
    name: &'static str,
    label: &'static str,
    need: Permission,
    things: (&'static str, &'static str),
    harms: &'static str,
    said: &'static str,
) -> Act {
    Act { harms: Some(harms), ..act(name, label, need, things, said) }
}

/// The act of a name.
pub(crate) fn named(name: &str) -> Option<&'static Act> {
    ACTS.iter().find(|act| act.name == name)
}

/// What a page says after an act; only what is written here, so that no link can put words into it.
pub(crate) fn said(name: &str) -> Option<&'static str> {
    named(name).map(|act| act.said)
}

/// Whether an address is a page of the console, so that a form may lead there.
pub(crate) fn is_ours(address: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '\\' | '"' | '<' | '>');
    (address == "/console" || address.starts_with("/console/"))
        && address.chars().all(plain)
        && !address.contains("//")
        && !address.split(['/', '?']).any(|segment| segment == "..")
}

/// Answers a form.
///
/// # Errors
/// It is not understood, not allowed, or the API refuses what it asks for.
pub(crate) async fn post(cx: &Context<'_>) -> Result<Reply, Failure> {
    let segments: Vec<&str> = cx.visit.segments.iter().map(String::as_str).collect();
    match segments[..] {
        // A preview of many ids: too long for an address. It changes nothing.
        ["confirm"] => Ok(Reply::page(cx, &confirm::show(cx, &cx.visit.form).await?)),
        ["zone"] => zone(cx),
        ["monitors", name, "try"] => {
            let file = cx.visit.form.get("file").unwrap_or_default();
            let page = crate::page::monitor::try_out(cx, name, Some(file)).await?;
            Ok(Reply::page(cx, &page))
        }
        ["act"] => perform(cx).await,
        _ => Err(Failure::missing(format!("There is no form at {}", cx.visit.path()))),
    }
}

fn zone(cx: &Context<'_>) -> Result<Reply, Failure> {
    let zone = cx.visit.form.get("zone").unwrap_or_default();
    if !zone.is_empty() && jiff::tz::TimeZone::get(zone).is_err() {
        let shown = crate::value::cut(zone, 60);
        return Err(Failure::wrong(format!("There is no time zone '{shown}'"))
            .with_hint("Write an IANA name, such as Europe/Oslo or UTC."));
    }
    let age = if zone.is_empty() { 0 } else { 31_536_000 };
    let zone = encoded(zone);
    let cookie = format!("{ZONE}={zone}; Path=/console; Max-Age={age}; HttpOnly; SameSite=Lax");
    Ok(Reply::Moved { to: "/console/zone?said=zone".to_owned(), cookie: Some(cookie) })
}

async fn perform(cx: &Context<'_>) -> Result<Reply, Failure> {
    let form = &cx.visit.form;
    let act = form.get("act").and_then(named).filter(|act| !act.label.is_empty());
    let act = act.ok_or_else(|| Failure::wrong("The form names nothing that can be done"))?;
    if cx.settings.read_only {
        return Err(Failure::forbidden("This console is read-only")
            .with_hint("The setting `console` says so; the API and the command line can act."));
    }
    let back = form.get("back").filter(|back| is_ours(back)).unwrap_or("/console/");
    if form.get("cancel").is_some() {
        return Ok(Reply::Moved { to: with_said(back, "cancelled"), cookie: None });
    }
    let ids: Vec<&str> = form.all("id").filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > IDS_MAX {
        let message = format!("Choose between one and {IDS_MAX} {}", act.things.1);
        return Err(Failure::wrong(message));
    }
    if act.harms.is_some() {
        confirm::check(cx, act, &ids)?;
    }
    let (mut done, mut failed) = (0, Vec::new());
    let mut then = None;
    for id in &ids {
        match one(cx, act, id, form).await {
            Ok(to) => {
                then = to.or(then);
                done += 1;
            }
            Err(failure) if ids.len() == 1 => return Err(failure),
            Err(failure) => failed.push(format!("{id}: {}", failure.message)),
        }
    }
    if failed.is_empty() {
        let to = then.unwrap_or_else(|| with_said(back, act.name));
        return Ok(Reply::Moved { to, cookie: None });
    }
    let (all, things) = (ids.len(), act.things.1);
    let mut failure = Failure::wrong(format!("{}: {done} of {all} {things} done", act.label));
    failure.flaws = failed;
    Err(failure)
}

fn with_said(back: &str, act: &str) -> String {
    let mark = if back.contains('?') { '&' } else { '?' };
    format!("{back}{mark}said={act}")
}

/// Does it to one; answers the page to go to if it is not the one the form came from.
async fn one(
    cx: &Context<'_>,
    act: &Act,
    id: &str,
    form: &Pairs,
) -> Result<Option<String>, Failure> {
    let name = encoded(id);
    let why = form.get("why");
    let send = |method, path: String, body: Option<Value>| async move {
        cx.change(method, &path, body.as_ref()).await
    };
    let incident = |what: &str| format!("/api/incidents/{name}/{what}");
    let workflow = |what: &str| format!("/api/workflow/{name}/{what}");
    let schedule = |what: &str| format!("/api/scheduler/schedules/{name}/{what}");
    let mut body = json!({ "who": "console" });
    if let Some(why) = why {
        body["why"] = why.into();
    }
    let reason = why.map_or_else(String::new, |why| format!("?reason={}", encoded(why)));
    match act.name {
        "acknowledge" => {
            match send(Method::POST, incident("acknowledge"), Some(body)).await {
                // Two thumbs at once: it is taken care of, whoever was first.
                Err(failure) if failure.status == http::StatusCode::CONFLICT => {
                    let shown = cx.get(&format!("/api/incidents/{name}")).await?;
                    if crate::value::text(&shown, "state") != "acknowledged" {
                        return Err(failure);
                    }
                }
                result => _ = result?,
            }
        }
        "snooze" => {
            body["for"] = form.get("for").unwrap_or("1h").into();
            send(Method::POST, incident("snooze"), Some(body)).await?;
        }
        "resolve" | "resend" => _ = send(Method::POST, incident(act.name), Some(body)).await?,
        "silence" => return silence(cx, form).await.map(Some),
        "end-silence" => _ = send(Method::DELETE, format!("/api/silences/{name}"), None).await?,
        "check" => _ = send(Method::POST, format!("/api/monitors/{name}/check"), None).await?,
        "test-receiver" => {
            send(Method::POST, format!("/api/receivers/{name}/test"), None).await?;
        }
        "resend-receiver" => {
            send(Method::POST, format!("/api/receivers/{name}/resend"), None).await?;
        }
        "pause" | "resume" => _ = send(Method::PUT, workflow(act.name), None).await?,
        "retry" | "restart" => _ = send(Method::POST, workflow(act.name), None).await?,
        "terminate" => {
            send(Method::DELETE, format!("/api/workflow/{name}{reason}"), None).await?;
        }
        "rerun" => {
            let task = form.get("task").unwrap_or_default();
            let mut body = json!({ "reRunFromTaskId": task });
            if let Some(input) = form.get("input") {
                body["taskInput"] = object(input)?;
            }
            send(Method::POST, workflow("rerun"), Some(body)).await?;
        }
        "complete-task" | "fail-task" => task(cx, id, act.name == "complete-task", form).await?,
        "requeue" => {
            send(Method::POST, format!("/api/tasks/queue/requeue/{name}"), None).await?;
        }
        "pause-schedule" => {
            send(Method::PUT, format!("{}{reason}", schedule("pause")), None).await?;
        }
        "resume-schedule" => _ = send(Method::PUT, schedule("resume"), None).await?,
        "trigger" => _ = send(Method::POST, schedule("trigger"), None).await?,
        "start" => return start(cx, &name, form).await.map(Some),
        _ => return Err(Failure::wrong("The form names nothing that can be done")),
    }
    Ok(None)
}

/// A JSON object that somebody has typed.
fn object(text: &str) -> Result<Value, Failure> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Failure::wrong(format!("The input is no JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(Failure::wrong("The input is no JSON object")) }
}

/// Reports on a task in the place of a worker.
async fn task(cx: &Context<'_>, id: &str, completes: bool, form: &Pairs) -> Result<(), Failure> {
    let shown = cx.get(&format!("/api/tasks/{}", encoded(id))).await?;
    let mut body = json!({
        "workflowInstanceId": shown["workflowInstanceId"],
        "taskId": shown["taskId"],
        "status": if completes { "COMPLETED" } else { "FAILED" },
        "workerId": "console",
    });
    if let Some(why) = form.get("why") {
        body["reasonForIncompletion"] = why.into();
    }
    if let Some(output) = form.get("input") {
        body["outputData"] = object(output)?;
    }
    cx.change(Method::POST, "/api/tasks", Some(&body)).await.map(drop)
}

/// Makes a silence of what the form says; leads to the silences.
async fn silence(cx: &Context<'_>, form: &Pairs) -> Result<String, Failure> {
    let body = silence_of(form)?;
    cx.change(Method::POST, "/api/silences", Some(&body)).await?;
    Ok("/console/silences?said=silence".to_owned())
}

/// The silence that a form describes, as the API takes it.
///
/// # Errors
/// It matches nothing, or says nothing about its end.
pub(crate) fn silence_of(form: &Pairs) -> Result<Value, Failure> {
    let mut matchers = serde_json::Map::new();
    for line in form.get("match").unwrap_or_default().split([',', '\n', ' ']) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let (label, value) = line.split_once('=').ok_or_else(|| {
            Failure::wrong(format!("'{line}' matches nothing"))
                .with_hint("Write label=value, such as monitor=shop or team=data.")
        })?;
        matchers.insert(label.trim().to_owned(), value.trim().into());
    }
    if matchers.is_empty() {
        return Err(Failure::wrong("The silence says nothing about what it hides")
            .with_hint("Write label=value, such as monitor=shop or team=data."));
    }
    let length = form.get("for").ok_or_else(|| Failure::wrong("The silence has no end"))?;
    let mut body = json!({ "match": matchers, "for": length });
    if let Some(comment) = form.get("why") {
        body["comment"] = comment.into();
    }
    Ok(body)
}

/// Starts a workflow with what was typed; leads to its run.
async fn start(cx: &Context<'_>, name: &str, form: &Pairs) -> Result<String, Failure> {
    let input = object(form.get("input").unwrap_or("{}"))?;
    let mut query = Vec::new();
    for (field, parameter) in [("version", "version"), ("correlation", "correlationId")] {
        query.extend(form.get(field).map(|value| format!("{parameter}={}", encoded(value))));
    }
    let path = format!("/api/workflow/{name}?{}", query.join("&"));
    let started = cx.change(Method::POST, &path, Some(&input)).await?;
    let id = started.as_str().unwrap_or_default();
    Ok(format!("{}?said=start", crate::visit::href(&["runs", id])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_ours_are_led_to() {
        for ours in ["/console", "/console/", "/console/runs?q=a%20b", "/console/incidents/a:b"] {
            assert!(is_ours(ours), "{ours}");
        }
        for foreign in [
            "",
            "/",
            "/consolex",
            "//evil.example",
            "https://evil.example",
            "/console//evil",
            "/console/\\evil",
            "/console/\r\nset-cookie:x",
            "/console/../api/x",
            "javascript:1",
        ] {
            assert!(!is_ours(foreign), "{foreign:?}");
        }
    }

    #[test]
    fn names_are_unique_and_what_is_said_is_ours() {
        for (at, act) in ACTS.iter().enumerate() {
            assert!(ACTS[at + 1..].iter().all(|other| other.name != act.name), "{}", act.name);
            assert!(!act.said.is_empty());
        }
        assert_eq!(said("<script>"), None);
    }

    #[test]
    fn a_silence_needs_what_it_hides_and_an_end() {
        let form = |text: &str| silence_of(&Pairs::parse(text));
        let made = form("match=monitor%3Dshop+team%3Ddata&for=2h&why=deploy").expect("it is whole");
        assert_eq!(made["match"], json!({ "monitor": "shop", "team": "data" }));
        assert_eq!((&made["for"], &made["comment"]), (&json!("2h"), &json!("deploy")));
        assert!(form("match=&for=2h").is_err());
        assert!(form("match=shop&for=2h").is_err());
        assert!(form("match=monitor%3Dshop").is_err());
    }
}
