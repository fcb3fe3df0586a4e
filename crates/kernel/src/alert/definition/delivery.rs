//! The definition that delivers notifications to one receiver.

use serde_json::{Value, json};

use super::{Receiver, at_home};
use crate::alert::notify_workflow;

/// Times that a delivery is tried again.
const RETRIES: u32 = 10;
/// Seconds before the first retry; each further delay is twice as long, up to the longest.
const RETRY_DELAY: u32 = 10;
/// Seconds between two tries at most: with ten retries, the last is some three hours after the
/// first.
const RETRY_DELAY_MAX: u32 = 3600;
/// Seconds that one try may take. Receivers have limits of their own, far shorter; this one is for a
/// try of which nothing is ever heard again.
const TRY_MAX: u32 = 600;

/// Kinds that know what they are told of by the notification's `dedup_key`. To hear the end of
/// something that they never heard of does no harm there, as nothing is open under its key; in a
/// chat it would be a message about nothing.
const KEYED: [&str; 6] = ["pagerduty", "opsgenie", "jsm", "squadcast", "webhook", "workflow"];

impl Receiver {
    /// Whether it knows each incident by the notification's `dedup_key`. A webhook with a body of its
    /// author's does if that speaks of the key.
    pub fn is_keyed(&self) -> bool {
        let settings = self.settings.parse();
        let own_words = settings.get("body").filter(|_| *self.kind == *"webhook");
        let unnamed = own_words.is_some_and(|body| !body.to_string().contains("dedup_key"));
        KEYED.contains(&&*self.kind) && !unnamed
    }

    /// The definition that delivers notifications to this receiver, a workflow definition as its
    /// authors write it. Secrets in it are references: the engine fills them in when the task is
    /// handed out, and masks them in what comes back.
    pub fn definition(&self, name: &str) -> Value {
        let mut settings = at_home(self.settings.parse());
        if let Value::Object(settings) = &mut settings {
            // By it the receiver is believed; to be told, it need not know it.
            settings.remove("webhook_secret");
        }
        let workflow = notify_workflow(name);
        let task = if &*self.kind == "workflow" {
            sub_workflow(name, &settings)
        } else {
            json!({
                "name": workflow, "taskReferenceName": "notify", "type": "NOTIFY",
                "inputParameters": {
                    "kind": self.kind,
                    "settings": settings,
                    "receiver": name,
                    "notification": "${workflow.input.notification}",
                },
                "taskDefinition": {
                    "name": workflow,
                    "retryCount": RETRIES,
                    "retryLogic": "EXPONENTIAL_BACKOFF",
                    "retryDelaySeconds": RETRY_DELAY,
                    "maxRetryDelaySeconds": RETRY_DELAY_MAX,
                    "responseTimeoutSeconds": TRY_MAX,
                    "timeoutSeconds": TRY_MAX,
                    "timeoutPolicy": "RETRY",
                },
            })
        };
        json!({
            "name": workflow, "version": 1, "ownerEmail": "nightbell",
            "description": format!("Delivers notifications to the receiver {name}"),
            "tasks": [task],
            "outputParameters": {
                "reference": "${notify.output.reference}",
                "response": "${notify.output.response}",
            },
        })
    }
}

/// A receiver that is a workflow of the user's: it is given the notification as input.
fn sub_workflow(name: &str, settings: &Value) -> Value {
    json!({
        "name": "notify", "taskReferenceName": "notify", "type": "SUB_WORKFLOW",
        "subWorkflowParam": {
            "name": settings.get("name").cloned().unwrap_or_default(),
            "version": settings.get("version").cloned().unwrap_or(Value::Null),
        },
        "inputParameters": {
            "receiver": name,
            "notification": "${workflow.input.notification}",
            "settings": settings.get("input").cloned().unwrap_or(Value::Null),
        },
    })
}
