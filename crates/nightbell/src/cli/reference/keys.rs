//! What the keys of monitors files mean, for the reference; which there are is asked of the code.

/// An object of a monitors file, or several that have the same keys.
pub(super) struct Object {
    pub(super) title: &'static str,
    /// Where it is, as the code names it.
    pub(super) paths: &'static [&'static str],
    pub(super) keys: &'static [(&'static str, &'static str)],
}

/// Every object but those of the kinds of checks and receivers.
pub(super) const OBJECTS: &[Object] = &[
    Object {
        title: "The file",
        paths: &[""],
        keys: &[
            ("sources", "by name, sources for monitors: settings that monitors can leave out"),
            ("receivers", "by name, who is notified and how"),
            ("routes", "a list; the first that matches decides who is notified"),
            ("monitors", "by name, what is watched"),
            ("silences", "a list: which incidents are not notified until when"),
            (
                "maintenance",
                "a list: recurring or single times in which incidents are not notified",
            ),
            ("people", "by name, who can be on call"),
            ("rotations", "by name, who takes turns being on call"),
            ("overrides", "a list: who stands in"),
            (
                "ping_keys",
                "by name, keys with which jobs ping the heartbeats of the file: a key, or a map",
            ),
        ],
    },
    Object {
        title: "A monitor",
        paths: &["monitors.NAME"],
        keys: &[
            ("every", "the interval between checks: a duration"),
            ("cron", "a cron expression of five or six fields"),
            ("at", "a time of day; with `every` and `until` repeatedly from then on"),
            ("until", "with `at` and `every`: the last time of day"),
            ("tz", "the time zone of times, and of texts for people"),
            ("active", "hours in which it checks: `Mon-Fri 09:00-17:00`"),
            ("timeout", "how long a check may take; default: three intervals, 1m to 1h"),
            ("window", "the period of time that a check queries"),
            ("per", "columns that form a key: one incident each"),
            ("fail_when", "a condition: rows that match are failures"),
            ("warn_when", "a condition: rows that match are warnings"),
            ("severity", "`info`, `warning`, `error` or `critical` (the default)"),
            ("fail_after", "number of consecutive bad results that open an incident; 1"),
            ("for", "and for how long results must be bad"),
            ("recover_after", "number of consecutive good results that resolve it; 1"),
            ("missing", "number of consecutive checks without the key that resolve it"),
            ("resolve", "further requirements before it resolves"),
            ("flap", "when a flapping key stays open"),
            ("depends_on", "monitors: while one of them is down, this one sends no notifications"),
            ("budget", "`pages` and `per`: how often it may page; checked by backtests"),
            ("witness", "monitors: while one of them is down, bad results count as unknown"),
            ("on_error", "when unknown results open an incident, `#check`"),
            ("on_missed", "when checks that did not run open an incident, `#missed`"),
            ("remind", "interval of reminders about an open incident"),
            ("to", "receivers, instead of the routes"),
            ("to_after", "notify them only after this time, if it is still open"),
            ("rings_from", "the least severity that is notified"),
            ("labels", "labels for routes and silences, with `{{ names }}` of the row"),
            ("summary", "the title, with `{{ names }}`"),
            ("description", "the text, with `{{ names }}`"),
            ("runbook", "what to do, with `{{ names }}`"),
            ("unit", "the unit of values, in texts"),
            ("keep", "columns that are recorded of each check; default: all"),
            ("history", "`off`: results of checks are not recorded"),
        ],
    },
    Object {
        title: "window of a monitor",
        paths: &["monitors.NAME.window"],
        keys: &[
            ("lookback", "how far back a check queries at least; default: the interval"),
            ("catch_up", "how far back it queries at most after a pause"),
        ],
    },
    Object {
        title: "resolve of a monitor",
        paths: &["monitors.NAME.resolve"],
        keys: &[("quiet_for", "how long without a bad result")],
    },
    Object {
        title: "flap of a monitor",
        paths: &["monitors.NAME.flap"],
        keys: &[
            ("changes", "number of changes; 4"),
            ("within", "period in which they are counted; 1h"),
            ("settle", "how long it must be good to count as settled; a sixth of `within`"),
        ],
    },
    Object {
        title: "on_error and on_missed of a monitor",
        paths: &["monitors.NAME.on_error", "monitors.NAME.on_missed"],
        keys: &[
            ("after", "number in a row; 0 for never"),
            ("severity", "severity of the incident"),
        ],
    },
    Object {
        title: "A receiver",
        paths: &["receivers.NAME"],
        keys: &[
            (
                "fallback",
                "receiver that is notified instead if this one does not accept a notification",
            ),
            ("fallback_after", "time until the fallback is notified; 5m"),
            ("rate", "rate of messages: `5/s`, `100/m`"),
        ],
    },
    Object {
        title: "A route",
        paths: &["routes[0]"],
        keys: &[
            ("match", "labels, and `monitor`, `key`, `severity`; `*` stands for anything"),
            ("to", "receivers that are notified at once"),
            ("steps", "or steps of escalation, one after the other"),
            ("remind", "interval of reminders about an open incident"),
            ("ack_expires", "how long an acknowledgement is valid; then the steps start again"),
            ("group_by", "labels: incidents with the same values are notified in one message"),
            ("group_order", "values of the first label, in the order in which messages are sent"),
            ("display", "texts for values: `{ ROY: \"R&M\" }`"),
            ("wait", "how long to wait for further incidents of a group"),
            ("fallback_after", "as in a receiver"),
            (
                "hours",
                "only for incidents whose first notification is due in these hours, such as `Mon-Fri 08:00-16:00`, or a list; others go to the next route, or wait if there is none",
            ),
            ("tz", "the time zone of `hours`; default UTC"),
        ],
    },
    Object {
        title: "A step of a route",
        paths: &["routes[0].steps[0]"],
        keys: &[
            ("to", "receivers, or `oncall:ROTATION`, `oncall:ROTATION+1`"),
            ("after", "delay after the incident began"),
            ("unless", "`acked`: not if the incident is acknowledged"),
            (
                "hours",
                "hours of the step, such as `Mon-Fri 08:00-16:00`, or a list: outside of them it waits, and the steps after it",
            ),
            ("tz", "the time zone of `hours`; default UTC"),
        ],
    },
    Object {
        title: "A value of match",
        paths: &["routes[0].match.team"],
        keys: &[("not", "a value, or a list of them: all others match")],
    },
    Object {
        title: "A silence, or maintenance",
        paths: &["silences[0]", "maintenance[0]"],
        keys: &[
            ("name", "its name"),
            ("match", "as in a route"),
            ("from", "its start"),
            ("to", "its end"),
            ("for", "or its duration"),
            ("hours", "or recurring hours: `Sat 02:00-04:00`"),
            ("tz", "the time zone of its times"),
            ("by", "who created it"),
            ("comment", "the reason"),
        ],
    },
    Object {
        title: "A person",
        paths: &["people.NAME"],
        keys: &[("contact", "receivers, or a list of them: the contact ladder")],
    },
    Object {
        title: "A rung of a contact ladder",
        paths: &["people.NAME.contact[1]"],
        keys: &[("to", "a receiver"), ("after", "delay after the person was called")],
    },
    Object {
        title: "A rotation",
        paths: &["rotations.NAME"],
        keys: &[
            ("tz", "the time zone of all its times; default UTC"),
            ("layers", "a list; of the layers in force the last one decides"),
            ("ics", "the text of a calendar (iCalendar): its events decide where there are any"),
            ("names", "the people for the names in it: `{ \"Ann Olsen\": ann }`"),
            ("else", "who is on call when no layer is in force"),
            (
                "follow",
                "at a hand-over open incidents `stay`, the next person gets a `digest` of them, or they `move`; default `stay`",
            ),
        ],
    },
    Object {
        title: "A layer of a rotation",
        paths: &["rotations.NAME.layers[0]"],
        keys: &[
            ("people", "people, in the order of their turns"),
            ("from", "when the first turn may begin"),
            ("handover", "`Mon 09:00` or `09:00`"),
            ("every", "the length of a turn; default 1w"),
            ("active", "hours in which the layer is in force"),
            ("count", "`active`: count only turns with such hours"),
        ],
    },
    Object {
        title: "An override",
        paths: &["overrides[0]"],
        keys: &[
            ("rotation", "the rotation"),
            ("who", "who stands in"),
            ("from", "start"),
            ("to", "end"),
            ("tz", "the time zone of both; default: the rotation's"),
        ],
    },
    Object {
        title: "A ping key",
        paths: &["ping_keys.NAME"],
        keys: &[
            ("key", "the key, or `${secret:NAME}`"),
            ("create", "the monitor that a ping with `create=1` creates for an unknown slug"),
            ("limit", "how many monitors pings may create; 100"),
        ],
    },
];
