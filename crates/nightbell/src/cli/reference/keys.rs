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
            ("sources", "by name, what monitors look at: settings for what they leave open"),
            ("receivers", "by name, whom to tell and how"),
            ("routes", "a list; the first that matches decides who is told"),
            ("monitors", "by name, what is watched"),
            ("silences", "a list: what is not told until when"),
            ("maintenance", "a list: what is not told again and again, or once"),
            ("people", "by name, who can be on call"),
            ("rotations", "by name, who takes turns"),
            ("overrides", "a list: who stands in"),
            (
                "ping_keys",
                "by name, keys by which jobs call the heartbeats of the file: a key, or a map",
            ),
        ],
    },
    Object {
        title: "A monitor",
        paths: &["monitors.NAME"],
        keys: &[
            ("every", "how often: a duration"),
            ("cron", "when, as five or six fields"),
            ("at", "when, as a time of day; with `every` and `until` from then on"),
            ("until", "the last time of day, with `at` and `every`"),
            ("tz", "the time zone of times, and of texts"),
            ("active", "hours in which it checks: `Mon-Fri 09:00-17:00`"),
            ("timeout", "how long a check may take"),
            ("window", "the span of time that a check asks for"),
            ("per", "columns that form a key: one incident each"),
            ("fail_when", "a condition on a row: it is bad"),
            ("warn_when", "a condition on a row: it is a warning"),
            ("severity", "`info`, `warning`, `error` or `critical` (the default)"),
            ("fail_after", "so many bad results in a row open an incident; 1"),
            ("for", "and for so long"),
            ("recover_after", "so many good results in a row resolve it; 1"),
            ("missing", "so many checks in a row without the key resolve it"),
            ("resolve", "what else has to be before it resolves"),
            ("flap", "when a key that goes up and down stays open"),
            ("depends_on", "monitors: while one is down, this one tells nobody"),
            ("budget", "`pages` and `per`: how often it may page, which a backtest holds it to"),
            ("witness", "monitors: while one is down, bad results count as unknown"),
            ("on_error", "when checks that cannot tell are an incident, `#check`"),
            ("on_missed", "when checks that did not run are one, `#missed`"),
            ("remind", "how often an open incident is told again"),
            ("to", "receivers in place of the routes"),
            ("to_after", "… if it has not resolved by then"),
            ("rings_from", "incidents that were never this severe are not told"),
            ("labels", "what routes and silences match, with `{{ names }}` of the row"),
            ("summary", "the title, with `{{ names }}`"),
            ("description", "the text, with `{{ names }}`"),
            ("runbook", "what to do, with `{{ names }}`"),
            ("unit", "the unit of values, in texts"),
            ("keep", "columns that are kept of each check; all without it"),
            ("history", "`off` keeps nothing of what checks answered"),
        ],
    },
    Object {
        title: "window of a monitor",
        paths: &["monitors.NAME.window"],
        keys: &[
            ("lookback", "how far back a check looks at least; the interval"),
            ("catch_up", "how far back at most after a pause"),
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
            ("changes", "so many changes; 4"),
            ("within", "in so long; 1h"),
            ("settle", "until it has been good for so long; a sixth of `within`"),
        ],
    },
    Object {
        title: "on_error and on_missed of a monitor",
        paths: &["monitors.NAME.on_error", "monitors.NAME.on_missed"],
        keys: &[("after", "so many in a row; 0 for never"), ("severity", "how bad that is")],
    },
    Object {
        title: "A receiver",
        paths: &["receivers.NAME"],
        keys: &[
            ("fallback", "who is told in its place if it does not take it"),
            ("fallback_after", "after how long; 5m"),
            ("rate", "how fast it is told: `5/s`, `100/m`"),
        ],
    },
    Object {
        title: "A route",
        paths: &["routes[0]"],
        keys: &[
            ("match", "labels, and `monitor`, `key`, `severity`; `*` stands for anything"),
            ("to", "receivers, at once"),
            ("steps", "or steps, one after the other"),
            ("remind", "how often an open incident is told again"),
            ("ack_expires", "how long an acknowledgement counts; then the steps begin anew"),
            ("group_by", "labels: incidents that have the same are told together"),
            ("group_order", "values of the first of them in the order of messages"),
            ("display", "texts for values: `{ ROY: \"R&M\" }`"),
            ("wait", "how long others are waited for"),
            ("fallback_after", "as of a receiver"),
            (
                "hours",
                "takes only what is first to be told then, such as `Mon-Fri 08:00-16:00`, or a list; the rest goes on to the next route, or waits if there is none",
            ),
            ("tz", "the zone of `hours`; UTC without it"),
        ],
    },
    Object {
        title: "A step of a route",
        paths: &["routes[0].steps[0]"],
        keys: &[
            ("to", "receivers, or `oncall:ROTATION`, `oncall:ROTATION+1`"),
            ("after", "how long after the incident began"),
            ("unless", "`acked`: not if somebody has acknowledged"),
            (
                "hours",
                "only then, such as `Mon-Fri 08:00-16:00`, or a list: outside it waits, and those after it",
            ),
            ("tz", "the zone of `hours`; UTC without it"),
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
            ("name", "what it is called"),
            ("match", "as of a route"),
            ("from", "when it begins"),
            ("to", "when it ends"),
            ("for", "or how long it lasts"),
            ("hours", "or again and again: `Sat 02:00-04:00`"),
            ("tz", "the time zone of its times"),
            ("by", "who made it"),
            ("comment", "why"),
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
        keys: &[("to", "a receiver"), ("after", "how long after the person was called")],
    },
    Object {
        title: "A rotation",
        paths: &["rotations.NAME"],
        keys: &[
            ("tz", "the time zone of all its times; UTC"),
            ("layers", "a list; of those in force the last one decides"),
            ("ics", "the text of a calendar (iCalendar): its events decide where there are any"),
            ("names", "who is meant by the names in it: `{ \"Ann Olsen\": ann }`"),
            ("else", "who is on call when none is in force"),
            (
                "follow",
                "at a hand-over open incidents `stay`, the next person gets a `digest` of them, or they `move`; stay",
            ),
        ],
    },
    Object {
        title: "A layer of a rotation",
        paths: &["rotations.NAME.layers[0]"],
        keys: &[
            ("people", "in the order of their turns"),
            ("from", "when the first turn may begin"),
            ("handover", "`Mon 09:00` or `09:00`"),
            ("every", "the length of a turn; 1w"),
            ("active", "hours in which the layer is in force"),
            ("count", "`active`: only turns with such hours count"),
        ],
    },
    Object {
        title: "An override",
        paths: &["overrides[0]"],
        keys: &[
            ("rotation", "of which rotation"),
            ("who", "who stands in"),
            ("from", "from when on"),
            ("to", "until when"),
            ("tz", "the time zone of both; the rotation's"),
        ],
    },
    Object {
        title: "A ping key",
        paths: &["ping_keys.NAME"],
        keys: &[
            ("key", "the key, or `${secret:NAME}`"),
            (
                "create",
                "the monitor that a call with `create=1` makes of a slug that there is not yet",
            ),
            ("limit", "how many calls may make; 100"),
        ],
    },
];
