//! What forms do: each act is one request to the API, as whoever sent the form.
//!
//! What can be undone is done at once. What cannot ([`Act::harms`]) needs the token of a preview, see
//! [`crate::confirm`].

use http::Method;
use serde_json::{Value, json};

use crate::act::{Act, IDS_MAX, is_ours, named, object, silence_of};
use crate::visit::{CALLED, NAME_MAX, Pairs, ZONE, encoded, is_name};
use crate::{Context, Failure, Reply, confirm, deed, seen};

/// Answers a form.
///
/// # Errors
/// It is not understood, not allowed, or the API refuses what it asks for.
pub(crate) async fn post(cx: &Context<'_>) -> Result<Reply, Failure> {
    must_be_ours(cx)?;
    let segments: Vec<&str> = cx.visit.segments.iter().map(String::as_str).collect();
    match segments[..] {
        // A preview of many ids: too long for an address. It changes nothing.
        ["confirm"] => Ok(Reply::page(cx, &confirm::show(cx, &cx.visit.form).await?)),
        ["compare"] => Ok(Reply::Moved { to: crate::page::runs::compared(cx)?, cookie: None }),
        ["zone"] => zone(cx),
        ["name"] => name(cx),
        ["monitors", name, "try"] => {
            let file = cx.visit.form.get("file").unwrap_or_default();
            let page = crate::page::monitor_edit::try_out(cx, name, Some(file)).await?;
            Ok(Reply::page(cx, &page))
        }
        ["monitors", name, "edit"] => {
            Ok(match crate::page::monitor_edit::edited(cx, name).await? {
                Ok(to) => Reply::Moved { to, cookie: None },
                Err(page) => Reply::page(cx, &page),
            })
        }
        ["definitions", "workflow", name, "rehearse"] => {
            Ok(Reply::page(cx, &crate::page::rehearse::rehearsed(cx, name).await?))
        }
        ["definitions", kind, name, "edit"] => {
            Ok(match crate::page::define::edited(cx, kind, name).await? {
                Ok(to) => Reply::Moved { to, cookie: None },
                Err(page) => Reply::page(cx, &page),
            })
        }
        ["act"] => match perform(cx).await {
            Err(refused) => again(cx, refused).await,
            done => done,
        },
        _ => Err(Failure::missing(format!("There is no form at {}", cx.visit.path()))),
    }
}

/// Checks that a page of ours sent the form, also where the browser says nothing of its origin, which the
/// guard has looked at.
fn must_be_ours(cx: &Context<'_>) -> Result<(), Failure> {
    let visitor = &cx.visit.visitor;
    let token = cx.visit.form.get("csrf").unwrap_or_default();
    if visitor.is_by_program || cx.seal.is_of_forms(token, &visitor.id) {
        return Ok(());
    }
    let message = "The form has no token of a page that was shown to you, so nothing was changed";
    Err(Failure::forbidden(message).with_hint(
        "Go back, load the page anew and send it again. A program sends its key in a header, or \
         the field `csrf` of a page.",
    ))
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

/// Remembers in the browser what whoever uses it wants to be called.
fn name(cx: &Context<'_>) -> Result<Reply, Failure> {
    let name = cx.visit.form.get("name").unwrap_or_default();
    if !name.is_empty() && !is_name(name) {
        let message = format!("A name is one line of at most {NAME_MAX} characters");
        return Err(Failure::wrong(message));
    }
    let age = if name.is_empty() { 0 } else { 31_536_000 };
    let name = encoded(name);
    let cookie = format!("{CALLED}={name}; Path=/console; Max-Age={age}; HttpOnly; SameSite=Lax");
    let back = cx.visit.form.get("back").filter(|back| is_ours(back)).unwrap_or("/console/");
    Ok(Reply::Moved { to: with_said(back, "name"), cookie: Some(cookie) })
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
    if form.get("batch").is_some() {
        return begin_batch(cx, act).await;
    }
    let ids: Vec<&str> = form.all("id").filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > IDS_MAX {
        let message = format!("Choose between one and {IDS_MAX} {}", act.things.1);
        return Err(Failure::wrong(message));
    }
    if act.harms.is_some() {
        confirm::check(cx, act, &ids)?;
    }
    let moved = seen::moved(cx, act, &ids).await;
    if !moved.is_empty() {
        return Ok(Reply::page(cx, &confirm::after(cx, &moved).await?));
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
        let to = then.unwrap_or_else(|| match ids[..] {
            [id] if act.inverse().is_some() => {
                format!("{}&of={}", with_said(back, act.name), encoded(id))
            }
            _ => with_said(back, act.name),
        });
        return Ok(Reply::Moved { to, cookie: None });
    }
    let (all, things) = (ids.len(), act.things.1);
    let mut failure = Failure::wrong(format!("{}: {done} of {all} {things} done", act.label));
    failure.flaws = failed;
    Err(failure)
}

/// Begins the batch of a preview; leads to it.
async fn begin_batch(cx: &Context<'_>, act: &Act) -> Result<Reply, Failure> {
    let preview = confirm::check_batch(cx, act)?;
    let body =
        json!({ "preview": preview, "reason": cx.visit.form.get("why"), "who": cx.visit.who() });
    let begun = cx.change(Method::POST, "/api/batches", Some(&body)).await?;
    let to = crate::visit::href(&["batches", crate::value::text(&begun, "id")]);
    Ok(Reply::Moved { to, cookie: None })
}

/// The form once more, with what was typed, where something that was typed is refused.
async fn again(cx: &Context<'_>, refused: Failure) -> Result<Reply, Failure> {
    let form = &cx.visit.form;
    if refused.status != http::StatusCode::BAD_REQUEST || form.get("input").is_none() {
        return Err(refused);
    }
    let page = match form.get("act") {
        Some("start") => crate::page::start::again(cx, &refused).await?,
        Some("rerun" | "complete-task" | "fail-task") => confirm::again(cx, &refused).await?,
        _ => return Err(refused),
    };
    Ok(Reply::page(cx, &page))
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
    let mut body = json!({ "who": cx.visit.who() });
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
                    let back = form.get("back").filter(|back| is_ours(back));
                    return Ok(back.map(|back| with_said(back, "already")));
                }
                result => _ = result?,
            }
        }
        "snooze" => {
            body["for"] = form.get("for").unwrap_or("1h").into();
            send(Method::POST, incident("snooze"), Some(body)).await?;
        }
        "resolve" | "resend" | "escalate" | "unacknowledge" => {
            _ = send(Method::POST, incident(act.name), Some(body)).await?;
        }
        "note" => {
            body["text"] = form.get("text").unwrap_or_default().into();
            send(Method::POST, incident("note"), Some(body)).await?;
        }
        "silence" => return silence(cx, form).await.map(Some),
        "end-silence" => _ = send(Method::DELETE, format!("/api/silences/{name}"), None).await?,
        "check" => _ = send(Method::POST, format!("/api/monitors/{name}/check"), None).await?,
        "test-receiver" => {
            send(Method::POST, format!("/api/receivers/{name}/test"), None).await?;
        }
        "resend-receiver" => {
            send(Method::POST, format!("/api/receivers/{name}/resend"), None).await?;
        }
        "stop-batch" => {
            send(Method::POST, format!("/api/batches/{name}/stop"), Some(body)).await?;
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
        _ => return deed::one(cx, act, id, form).await,
    }
    Ok(None)
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

/// Starts a workflow with what was typed; leads to its run.
async fn start(cx: &Context<'_>, name: &str, form: &Pairs) -> Result<String, Failure> {
    let mut input = object(form.get("input").unwrap_or("{}"))?;
    for (name, value) in crate::page::start::typed(form)? {
        input[name] = value;
    }
    let mut query = Vec::new();
    for (field, parameter) in [("version", "version"), ("correlation", "correlationId")] {
        query.extend(form.get(field).map(|value| format!("{parameter}={}", encoded(value))));
    }
    let path = format!("/api/workflow/{name}?{}", query.join("&"));
    let started = cx.change(Method::POST, &path, Some(&input)).await?;
    let id = started.as_str().unwrap_or_default();
    Ok(format!("{}?said=start", crate::visit::href(&["runs", id])))
}
