//! Everything that can be done from a page: a table of acts, and what forms may say of them.

use kernel::access::Permission;
use serde_json::{Value, json};

use crate::Failure;
use crate::visit::Pairs;

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
const CODE: (&str, &str) = ("orchestration", "orchestrations");
const INCIDENTS: (&str, &str) = ("incident", "incidents");
const SERVER: (&str, &str) = ("server", "servers");

/// Every act.
const ACTS: &[Act] = &[
    act(
        "acknowledge",
        "Acknowledge",
        Permission::Respond,
        INCIDENTS,
        "Acknowledged: nobody is reminded or told further. It rings again if it gets worse.",
    ),
    act(
        "unacknowledge",
        "Take the acknowledgement back",
        Permission::Respond,
        INCIDENTS,
        "Taken back: it is open, and people are told again.",
    ),
    act("snooze", "Snooze", Permission::Respond, INCIDENTS, "Snoozed: nobody is told until then."),
    act("resend", "Send again", Permission::Respond, INCIDENTS, "What was given up is sent again."),
    act(
        "note",
        "Add the note",
        Permission::Respond,
        INCIDENTS,
        "The note is in the history, for everybody who opens this page.",
    ),
    harm(
        "escalate",
        "Escalate",
        Permission::Respond,
        INCIDENTS,
        "The next ones on its route are told now, whatever their delay and whoever has acknowledged it.",
        "Escalated: the history says who is told.",
    ),
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
    act(
        "stop-batch",
        "Stop the batch",
        Permission::Run,
        ("batch", "batches"),
        "Stopped. What was done stays done.",
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
        "skip-task",
        "Skip",
        Permission::Run,
        RUNS,
        "The task never runs; the flow passes it.",
        "The task is skipped.",
    ),
    harm(
        "jump",
        "Jump",
        Permission::Run,
        RUNS,
        "Back, what followed the task is forgotten; ahead, all between is skipped.",
        "It goes on there.",
    ),
    harm(
        "upgrade",
        "Upgrade",
        Permission::Run,
        RUNS,
        "From where it stands it obeys the other version.",
        "It obeys the other version from now on.",
    ),
    act("signal", "Send the message", Permission::Run, RUNS, "The message is in its inbox."),
    act(
        "suspend-code",
        "Suspend",
        Permission::Run,
        CODE,
        "Suspended as soon as a worker hears of it.",
    ),
    act("resume-code", "Resume", Permission::Run, CODE, "Resumed."),
    act("raise-event", "Raise", Permission::Run, CODE, "It is told of the event."),
    harm(
        "terminate-code",
        "Terminate",
        Permission::Run,
        CODE,
        "What it has started and waits for ends with it. This cannot be undone.",
        "Terminated.",
    ),
    harm(
        "rewind-code",
        "Rewind",
        Permission::Run,
        CODE,
        "It tries again what has failed, from where that failed.",
        "It tries again.",
    ),
    harm(
        "restart-code",
        "Restart",
        Permission::Run,
        CODE,
        "It begins anew under the same id; what it gave is forgotten.",
        "Begun anew.",
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
    harm(
        "backfill",
        "Backfill",
        Permission::Run,
        ("schedule", "schedules"),
        "Runs that have begun are not taken back when it is stopped.",
        "It has begun; the page of the schedule says how far it is.",
    ),
    act(
        "end-backfill",
        "End the backfill",
        Permission::Run,
        ("schedule", "schedules"),
        "Over: no more of its runs begin.",
    ),
    act(
        "extend-silence",
        "Extend",
        Permission::Respond,
        ("silence", "silences"),
        "The silence ends later.",
    ),
    act(
        "signal-entity",
        "Signal",
        Permission::Run,
        ("entity", "entities"),
        "It is told; what comes of it is shown once a worker has done it.",
    ),
    harm(
        "delete-entity",
        "Delete",
        Permission::Run,
        ("entity", "entities"),
        "It is told to delete itself, and what it holds is forgotten.",
        "It is told to delete itself.",
    ),
    act(
        "publish",
        "Publish",
        Permission::Run,
        ("event", "events"),
        "Published: below is what came of it, once a handler has taken it.",
    ),
    act(
        "put-secret",
        "Keep it",
        Permission::WriteSecrets,
        ("secret", "secrets"),
        "Kept: tasks that begin from now on have this value.",
    ),
    harm(
        "delete-secret",
        "Delete",
        Permission::WriteSecrets,
        ("secret", "secrets"),
        "Nobody has its value afterwards, and what uses it fails.",
        "Deleted.",
    ),
    harm(
        "end-logins",
        "Sign out everywhere",
        Permission::Admin,
        ("login", "logins"),
        "Their browsers and command lines have to sign in anew; keys stay good.",
        "They are signed out.",
    ),
    act("tag", "Tag", Permission::Edit, ("definition", "definitions"), "It bears the tag."),
    act(
        "untag",
        "Take the tag",
        Permission::Edit,
        ("definition", "definitions"),
        "It bears the tag no more.",
    ),
    act(
        "back-up",
        "Back up now",
        Permission::Admin,
        SERVER,
        "It has begun; below is how far it is.",
    ),
    act(
        "reload",
        "Reload files",
        Permission::Admin,
        SERVER,
        "Certificates and the files of --load were read again; what was refused is told below.",
    ),
    act("start", "Start", Permission::Run, ("workflow", "workflows"), "Started."),
    act(
        "already",
        "",
        Permission::Read,
        ("", ""),
        "Somebody had acknowledged it already, and still has; nothing was changed.",
    ),
    act("zone", "", Permission::Read, ("", ""), "Times are shown in this zone."),
    act("name", "", Permission::Read, ("", ""), "Records name you so from now on."),
    act("defined", "", Permission::Edit, ("", ""), "Saved: what starts from now on has it."),
    act("saved", "", Permission::Edit, ("", ""), "Saved: the next check is made by it."),
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

/// Acts that take one another back at once.
const INVERSES: [(&str, &str); 3] =
    [("acknowledge", "unacknowledge"), ("pause", "resume"), ("pause-schedule", "resume-schedule")];

impl Act {
    /// What takes it back, if one press can.
    pub(crate) fn inverse(&self) -> Option<&'static Act> {
        INVERSES.iter().find_map(|(one, other)| match self.name {
            name if name == *one => named(other),
            name if name == *other => named(one),
            _ => None,
        })
    }
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

/// A JSON object that somebody has typed.
pub(crate) fn object(text: &str) -> Result<Value, Failure> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Failure::wrong(format!("The input is no JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(Failure::wrong("The input is no JSON object")) }
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
    let mut body = match (form.get("hours"), form.get("for")) {
        (Some(hours), _) => {
            json!({ "match": matchers, "hours": hours, "tz": form.get("tz").unwrap_or("UTC") })
        }
        (None, Some(length)) => json!({ "match": matchers, "for": length }),
        (None, None) => return Err(Failure::wrong("The silence has no end")),
    };
    // Hours come again each week, from now on.
    if let Some(from) = form.get("from").filter(|_| body.get("hours").is_none()) {
        body["from"] = from.into();
    }
    if let Some(comment) = form.get("why") {
        body["comment"] = comment.into();
    }
    Ok(body)
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
        for name in INVERSES.iter().flat_map(|(one, other)| [one, other]) {
            let inverse = named(name).and_then(Act::inverse).expect("it can be taken back");
            assert_eq!(inverse.inverse().map(|it| it.name), Some(*name));
            assert!(inverse.harms.is_none(), "{name}: taken back with one press");
        }
    }

    #[test]
    fn a_silence_needs_what_it_hides_and_an_end() {
        let form = |text: &str| silence_of(&Pairs::parse(text));
        let made = form("match=monitor%3Dshop+team%3Ddata&for=2h&why=deploy").expect("it is whole");
        assert_eq!(made["match"], json!({ "monitor": "shop", "team": "data" }));
        assert_eq!((&made["for"], &made["comment"]), (&json!("2h"), &json!("deploy")));
        let later =
            form("match=monitor%3Dshop&for=2h&from=2026-01-31T08%3A00%3A00Z").expect("it is whole");
        assert_eq!(later["from"], "2026-01-31T08:00:00Z");
        let weekly = form("match=monitor%3Dshop&for=2h&hours=Sat+02%3A00-04%3A00&tz=Europe%2FOslo");
        let weekly = weekly.expect("it is whole");
        assert_eq!(
            (&weekly["hours"], &weekly["tz"]),
            (&json!("Sat 02:00-04:00"), &json!("Europe/Oslo"))
        );
        assert_eq!(weekly.get("for"), None);
        assert!(form("match=&for=2h").is_err());
        assert!(form("match=shop&for=2h").is_err());
        assert!(form("match=monitor%3Dshop").is_err());
    }
}
