//! Acts that steer single runs: skip, jump, message and upgrade of workflows; those of code in workers.

use http::Method;
use kernel::ExecutionId;
use serde_json::{Value, json};

use crate::act::{Act, object};
use crate::visit::{Pairs, encoded};
use crate::{Context, Failure};

/// Does it to one run.
///
/// # Errors
/// What the API refuses, or what the form does not say.
pub(crate) async fn one(
    cx: &Context<'_>,
    act: &Act,
    id: &str,
    form: &Pairs,
) -> Result<(), Failure> {
    let workflow = |what: &str| format!("/api/workflow/{}/{what}", encoded(id));
    let input = form.get("input").map(object).transpose()?;
    let reason = form.get("why").map(|why| ("reason", why));
    let (path, body) = match act.name {
        "skip-task" => {
            let path = workflow(&format!("skiptask/{}", encoded(place(form)?)));
            let body = input.map_or_else(|| json!({}), |output| json!({ "taskOutput": output }));
            return cx.change(Method::PUT, &path, Some(&body)).await.map(drop);
        }
        "jump" => {
            (workflow(&format!("jump/{}", encoded(place(form)?))), input.unwrap_or(json!({})))
        }
        "signal" => (workflow("messages"), input.unwrap_or(json!({}))),
        "upgrade" => {
            let version: Option<u32> = form.get("version").and_then(|it| it.parse().ok());
            let version = version.ok_or_else(|| Failure::wrong("The form names no version"))?;
            (workflow("upgrade"), json!({ "version": version, "workflowInput": input }))
        }
        "suspend-code" => (of_code(cx, id, "suspend", reason).await?, Value::Null),
        "resume-code" => (of_code(cx, id, "resume", reason).await?, Value::Null),
        "terminate-code" => (of_code(cx, id, "terminate", reason).await?, Value::Null),
        "rewind-code" => (of_code(cx, id, "rewind", reason).await?, Value::Null),
        "restart-code" => {
            let own_id = Some(("restartWithNewInstanceId", "false"));
            (of_code(cx, id, "restart", own_id).await?, Value::Null)
        }
        "raise-event" => {
            let event = form.get("event").ok_or_else(|| Failure::wrong("The event has no name"))?;
            let path = of_code(cx, id, &format!("raiseEvent/{}", encoded(event)), None).await?;
            (path, input.unwrap_or(Value::Null))
        }
        _ => return Err(Failure::wrong("The form names nothing that can be done")),
    };
    cx.change(Method::POST, &path, Some(&body)).await.map(drop)
}

/// The task that is meant, by its reference name.
fn place(form: &Pairs) -> Result<&str, Failure> {
    form.get("task").ok_or_else(|| {
        Failure::wrong("No task is named")
            .with_hint("Write its reference name, as the graph has it.")
    })
}

/// The address of an instance of code in the API of Durable Functions, or of something below it.
///
/// # Errors
/// There is no such instance.
pub(crate) async fn of_code(
    cx: &Context<'_>,
    id: &str,
    below: &str,
    parameter: Option<(&str, &str)>,
) -> Result<String, Failure> {
    let look = |machine: &engine::AnyMachine| {
        machine.instance().map(|it| (it.hub().to_string(), it.instance_id().to_string()))
    };
    let found = cx.engine.look(&ExecutionId::new(id), look).await?.flatten();
    let (hub, instance) = found.ok_or_else(|| Failure::missing("The run was removed meanwhile"))?;
    let below = if below.is_empty() { String::new() } else { format!("/{below}") };
    let more = parameter.map(|(name, value)| format!("&{name}={}", encoded(value)));
    Ok(format!(
        "/runtime/webhooks/durabletask/instances/{}{below}?taskHub={}{}",
        encoded(&instance),
        encoded(&hub),
        more.unwrap_or_default()
    ))
}
