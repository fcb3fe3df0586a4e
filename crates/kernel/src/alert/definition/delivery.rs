//! The definition that delivers notifications to one receiver.

use serde_json::{Map, Value, json};

use super::{Receiver, at_home};
use crate::alert::notify_workflow;

/// Seconds after which a delivery is given up: a day. Long before that its fallback was told. How
/// soon it is tried again is up to whoever makes the deliveries of a receiver, one pace for all of
/// them: such a try is the same attempt of the task, run again.
const GIVE_UP: u32 = 24 * 3600;
/// Seconds that an attempt may take, with everything that it waits for. Calls have limits of their
/// own, far shorter; this one is for a call of which nothing is ever heard again.
const ATTEMPT_MAX: u32 = 1800;
/// Attempts after the first one; more than there is time for.
const RETRIES: u32 = GIVE_UP / ATTEMPT_MAX;
/// Seconds before an attempt that follows another; each further delay is twice as long, up to the
/// longest.
const RETRY_DELAY: u32 = 10;
const RETRY_DELAY_MAX: u32 = 60;
/// Milliseconds by which such a delay may be longer, so that what failed together comes back apart.
const RETRY_JITTER: u32 = 5000;

/// Kinds that know what they are told of by the notification's `dedup_key`. To hear the end of
/// something that they never heard of does no harm there, as nothing is open under its key; in a
/// chat it would be a message about nothing.
const KEYED: [&str; 6] = ["pagerduty", "opsgenie", "jsm", "squadcast", "webhook", "workflow"];

/// Kinds whose messages have buttons if there is a secret by which presses of them are believed.
const BUTTONS: [&str; 3] = ["slack", "lark", "feishu"];

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
        let mut settings = self.settings.parse();
        if let Value::Object(settings) = &mut settings {
            // By it the receiver is believed; to be told, it need not know it, only that there is
            // one, if its messages have buttons of which the service then tells.
            let secret = settings.remove("webhook_secret");
            if secret.is_some() && BUTTONS.contains(&&*self.kind) {
                settings.insert("webhook_secret".to_owned(), true.into());
            }
            settings.retain(|_, value| !value.is_null());
        }
        let secrets = secrets_in(&settings);
        let settings = at_home(settings);
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
                    "delivery": { "rate": self.rate, "secrets": secrets },
                },
                "taskDefinition": {
                    "name": workflow,
                    "retryCount": RETRIES,
                    "retryLogic": "EXPONENTIAL_BACKOFF",
                    "retryDelaySeconds": RETRY_DELAY,
                    "maxRetryDelaySeconds": RETRY_DELAY_MAX,
                    "backoffJitterMs": RETRY_JITTER,
                    "responseTimeoutSeconds": ATTEMPT_MAX,
                    "timeoutSeconds": ATTEMPT_MAX,
                    "totalTimeoutSeconds": GIVE_UP,
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

/// The secrets that settings speak of, each with what stands for its value: one that is not set is
/// then known by its name. Within a text it would leave nothing but a gap.
fn secrets_in(settings: &Value) -> Map<String, Value> {
    fn gather(value: &Value, found: &mut Map<String, Value>) {
        match value {
            Value::String(text) => {
                for part in text.split("${secret:").skip(1) {
                    let Some((name, _)) = part.split_once('}') else { continue };
                    found.insert(name.to_owned(), format!("${{workflow.secrets.{name}}}").into());
                }
            }
            Value::Array(items) => items.iter().for_each(|item| gather(item, found)),
            Value::Object(members) => members.values().for_each(|it| gather(it, found)),
            _ => {}
        }
    }
    let mut found = Map::new();
    gather(settings, &mut found);
    found
}
