//! The figures that are measured, what each must reach, and what each was in every round.

use std::collections::BTreeMap;

/// One figure.
pub(super) struct Figure {
    /// Under which it is measured.
    pub(super) id: &'static str,
    /// What it tells.
    pub(super) what: &'static str,
    /// Of what it is a number.
    pub(super) unit: &'static str,
    /// What it must reach; many tell only how things are.
    pub(super) bar: Option<Bar>,
}

/// What a figure must reach, and what it shall reach one day.
#[derive(Clone, Copy)]
pub(super) enum Bar {
    AtLeast(f64, f64),
    AtMost(f64, f64),
}

impl Bar {
    /// Whether the figure is good enough, and whether it is as good as wished.
    pub(super) fn judge(self, figure: f64) -> (bool, bool) {
        match self {
            Self::AtLeast(must, goal) => (figure >= must, figure >= goal),
            Self::AtMost(must, goal) => (figure <= must, figure <= goal),
        }
    }
}

const fn plain(id: &'static str, what: &'static str, unit: &'static str) -> Figure {
    Figure { id, what, unit, bar: None }
}

const fn at_least(
    id: &'static str,
    what: &'static str,
    unit: &'static str,
    must: f64,
    goal: f64,
) -> Figure {
    Figure { id, what, unit, bar: Some(Bar::AtLeast(must, goal)) }
}

const fn at_most(
    id: &'static str,
    what: &'static str,
    unit: &'static str,
    must: f64,
    goal: f64,
) -> Figure {
    Figure { id, what, unit, bar: Some(Bar::AtMost(must, goal)) }
}

/// All figures, in groups, in the order of the report.
pub(super) const GROUPS: [(&str, &[Figure]); 16] = [
    (
        "The disk",
        &[
            plain("disk.rate", "4 KiB appended and synced, one by one", "/s"),
            plain("disk.p50", "one such, p50", "ms"),
            plain("disk.p99", "one such, p99", "ms"),
        ],
    ),
    (
        "In process, three INLINE steps that settle in one commit",
        &[
            at_least("inline.rate", "workflows, 64 in flight", "/s", 8_000.0, 20_000.0),
            plain("inline.p50", "latency under load, p50", "ms"),
            at_most("inline.p99", "latency under load, p99", "ms", 25.0, 10.0),
            at_most("inline.idle_p50", "latency idle, p50", "ms", 2.0, 1.2),
            at_most("inline.idle_p99", "latency idle, p99", "ms", 5.0, 3.0),
            at_most("inline.cpu", "processor per workflow, driver included", "ms", 0.15, 0.06),
            plain("inline.tidy_cpu", "processor per workflow for tidying up later", "ms"),
            plain("inline.commits", "commits per workflow", ""),
            plain("inline.row", "bytes per history row", "B"),
            plain("inline.raw", "raw SQLite, such rows in commits of 64", "rows/s"),
            plain("inline.share", "history rows written, of raw SQLite's", "%"),
            plain("inline.fresh_bytes", "disk per workflow, before tidying", "B"),
            at_most("inline.bytes", "disk per workflow beyond its payload", "B", 1_000.0, 400.0),
        ],
    ),
    (
        "In process, three built-in tasks dispatched, each in a commit of its own",
        &[
            at_least("dispatched.rate", "workflows, 64 in flight", "/s", 8_000.0, 20_000.0),
            plain("dispatched.p50", "latency under load, p50", "ms"),
            at_most("dispatched.p99", "latency under load, p99", "ms", 25.0, 10.0),
            at_most("dispatched.idle_p50", "latency idle, p50", "ms", 2.0, 1.2),
            at_most("dispatched.idle_p99", "latency idle, p99", "ms", 5.0, 3.0),
            at_most("dispatched.cpu", "processor per workflow, driver included", "ms", 0.15, 0.06),
            plain("dispatched.tidy_cpu", "processor per workflow for tidying up later", "ms"),
            plain("dispatched.commits", "commits per workflow", ""),
            plain("dispatched.row", "bytes per history row", "B"),
            plain("dispatched.raw", "raw SQLite, such rows in commits of 64", "rows/s"),
            plain("dispatched.share", "history rows written, of raw SQLite's", "%"),
            plain("dispatched.fresh_bytes", "disk per workflow, before tidying", "B"),
            at_most(
                "dispatched.bytes",
                "disk per workflow beyond its payload",
                "B",
                1_000.0,
                400.0,
            ),
        ],
    ),
    (
        "Remote HTTP worker: polls for up to 64, one report per task, 11-byte bodies",
        &[
            at_least("remote.rate", "workflows, 64 in flight", "/s", 4_000.0, 8_000.0),
            plain("remote.p50", "latency under load, p50", "ms"),
            at_most("remote.p99", "latency under load, p99", "ms", 25.0, 10.0),
            plain("remote.idle_p50", "latency idle, p50", "ms"),
            plain("remote.idle_p99", "latency idle, p99", "ms"),
            at_most("remote.cpu", "server's processor per workflow", "ms", 0.30, 0.12),
            plain("remote.client_cpu", "worker's and driver's processor per workflow", "ms"),
            plain("remote.tidy_cpu", "server's processor per workflow for tidying up later", "ms"),
            at_most("remote.idle_mib", "resident memory, idle", "MiB", 30.0, 15.0),
            at_most("remote.peak_mib", "resident memory, peak under load", "MiB", 80.0, 40.0),
            plain("remote.commits", "commits per workflow", ""),
            plain("remote.row", "bytes per history row", "B"),
            plain("remote.raw", "raw SQLite, such rows in commits of 64", "rows/s"),
            plain("remote.share", "history rows written, of raw SQLite's", "%"),
            plain("remote.fresh_bytes", "disk per workflow, before tidying", "B"),
            at_most("remote.bytes", "disk per workflow beyond its payload", "B", 1_000.0, 400.0),
        ],
    ),
    (
        "The same with 1 KiB bodies (4 KiB of payload per workflow)",
        &[
            at_least("remote_1k.rate", "workflows, 64 in flight", "/s", 3_000.0, 8_000.0),
            plain("remote_1k.p50", "latency under load, p50", "ms"),
            at_most("remote_1k.p99", "latency under load, p99", "ms", 25.0, 10.0),
            plain("remote_1k.idle_p50", "latency idle, p50", "ms"),
            plain("remote_1k.idle_p99", "latency idle, p99", "ms"),
            plain("remote_1k.cpu", "server's processor per workflow", "ms"),
            plain("remote_1k.client_cpu", "worker's and driver's processor per workflow", "ms"),
            plain("remote_1k.tidy_cpu", "server's processor per workflow for tidying", "ms"),
            at_most("remote_1k.peak_mib", "resident memory, peak under load", "MiB", 80.0, 40.0),
            plain("remote_1k.commits", "commits per workflow", ""),
            plain("remote_1k.row", "bytes per history row", "B"),
            plain("remote_1k.raw", "raw SQLite, such rows in commits of 64", "rows/s"),
            plain("remote_1k.share", "history rows written, of raw SQLite's", "%"),
            plain("remote_1k.fresh_bytes", "disk per workflow, before tidying", "B"),
            at_most("remote_1k.bytes", "disk per workflow beyond its payload", "B", 1_000.0, 400.0),
        ],
    ),
    (
        "Durable Task orchestrations of three chained activities, over gRPC",
        &[
            plain("durable.rate", "native worker: orchestrations, 64 in flight", "/s"),
            plain("durable.p50", "native worker: latency under load, p50", "ms"),
            plain("durable.p99", "native worker: latency under load, p99", "ms"),
            plain("durable.idle_p50", "native worker: latency idle, p50", "ms"),
            plain("durable.idle_p99", "native worker: latency idle, p99", "ms"),
            plain("durable.cpu", "server's processor per orchestration", "ms"),
            plain("durable.client_cpu", "worker's and driver's processor per orchestration", "ms"),
            plain("durable.peak_mib", "resident memory, peak under load", "MiB"),
            plain("durable_python.rate", "Python worker: orchestrations, 64 in flight", "/s"),
            plain("durable_python.idle_p50", "Python worker: latency idle, p50", "ms"),
            plain("durable_python.idle_p99", "Python worker: latency idle, p99", "ms"),
            plain("durable_memory.rate", "the same against the package's own server", "/s"),
            plain("durable_memory.idle_p50", "its latency idle, p50", "ms"),
            plain("durable_memory.idle_p99", "its latency idle, p99", "ms"),
        ],
    ),
    (
        "Start and search, over HTTP",
        &[
            at_most("cold.empty", "first healthy answer, empty store", "ms", 30.0, 10.0),
            at_most("cold.stored", "first healthy answer on the store", "ms", 200.0, 50.0),
            plain("stored.mib", "the store (100,000 workflows unless said otherwise)", "MiB"),
            plain("stored.fill", "filled in process at", "workflows/s"),
            plain("stored.rss", "resident memory after the searches", "MiB"),
            at_most("search.all.p50", "newest first (all match), p50", "ms", 3.0, 3.0),
            plain("search.all.p99", "… p99", "ms"),
            plain("search.all.cpu", "… processor of the server", "ms"),
            at_most("search.failed.p50", "status FAILED (one in a hundred), p50", "ms", 5.0, 5.0),
            plain("search.failed.p99", "… p99", "ms"),
            plain("search.failed.cpu", "… processor of the server", "ms"),
            at_most("search.completed.p50", "status COMPLETED (all others), p50", "ms", 5.0, 5.0),
            plain("search.completed.p99", "… p99", "ms"),
            plain("search.completed.cpu", "… processor of the server", "ms"),
            at_most("search.none.p50", "status TERMINATED (none), p50", "ms", 5.0, 5.0),
            plain("search.none.p99", "… p99", "ms"),
            plain("search.none.cpu", "… processor of the server", "ms"),
            at_most("search.typed.p50", "workflowType (one in ten), p50", "ms", 5.0, 5.0),
            plain("search.typed.p99", "… p99", "ms"),
            plain("search.typed.cpu", "… processor of the server", "ms"),
            at_most("search.rare.p50", "workflowType (20 match, far apart), p50", "ms", 5.0, 5.0),
            plain("search.rare.p99", "… p99", "ms"),
            plain("search.rare.cpu", "… processor of the server", "ms"),
            at_most(
                "search.bygone.p50",
                "workflowType (only the oldest 2,000), p50",
                "ms",
                5.0,
                5.0,
            ),
            plain("search.bygone.p99", "… p99", "ms"),
            plain("search.bygone.cpu", "… processor of the server", "ms"),
            at_most(
                "search.named.p50",
                "workflowType and start time (about one in twenty), p50",
                "ms",
                5.0,
                5.0,
            ),
            plain("search.named.p99", "… p99", "ms"),
            plain("search.named.cpu", "… processor of the server", "ms"),
            at_most("search.correlation.p50", "correlation id (1 matches), p50", "ms", 5.0, 5.0),
            plain("search.correlation.p99", "… p99", "ms"),
            plain("search.correlation.cpu", "… processor of the server", "ms"),
            at_most("search.text.p50", "free text, one word (20 match), p50", "ms", 5.0, 5.0),
            plain("search.text.p99", "… p99", "ms"),
            plain("search.text.cpu", "… processor of the server", "ms"),
            plain("search.deep.p50", "newest first, 100,000 rows on or in the middle, p50", "ms"),
            plain("search.deep.p99", "… p99", "ms"),
            plain("search.deep.cpu", "… processor of the server", "ms"),
            plain("tasks.recent.p50", "tasks of the newest 2,000, p50", "ms"),
            plain("tasks.recent.p99", "… p99", "ms"),
            plain("tasks.recent.cpu", "… processor of the server", "ms"),
            plain("tasks.all.p50", "tasks of one type among all, p50", "ms"),
            plain("tasks.all.p99", "… p99", "ms"),
            plain("tasks.all.cpu", "… processor of the server", "ms"),
            at_most("stored.health.p50", "`/health`, p50", "ms", 2.0, 2.0),
            plain("stored.health.p99", "… p99", "ms"),
            plain("stored.health.cpu", "… processor of the server", "ms"),
            at_most("stored.metrics.p50", "`/metrics`, p50", "ms", 2.0, 2.0),
            plain("stored.metrics.p99", "… p99", "ms"),
            plain("stored.metrics.cpu", "… processor of the server", "ms"),
        ],
    ),
    (
        "Synchronous executions over HTTP, 32 at a time, on an empty store and on the filled one",
        &[
            plain("starts_empty.rate", "empty store: executions", "/s"),
            plain("starts_empty.p50", "… p50", "ms"),
            plain("starts_empty.p99", "… p99", "ms"),
            plain("starts_empty.cpu", "… processor of the server for each", "ms"),
            plain("starts_empty.mib", "… resident memory, peak", "MiB"),
            plain("starts_filled.rate", "filled store: executions", "/s"),
            plain("starts_filled.p50", "… p50", "ms"),
            plain("starts_filled.p99", "… p99", "ms"),
            plain("starts_filled.cpu", "… processor of the server for each", "ms"),
            plain("starts_filled.mib", "… resident memory, peak", "MiB"),
            at_least(
                "starts_filled.share",
                "… executions, of those on the empty store",
                "%",
                90.0,
                95.0,
            ),
            plain("starts_removing.rate", "while the oldest are removed: executions", "/s"),
            plain("starts_removing.p50", "… p50", "ms"),
            plain("starts_removing.p99", "… p99", "ms"),
            plain(
                "starts_removing.cpu",
                "… processor of the server for each, removal included",
                "ms",
            ),
            plain("starts_removing.mib", "… resident memory, peak", "MiB"),
            plain("starts_removing.removed", "… removed meanwhile", "/s"),
            at_least(
                "starts_removing.share",
                "… executions, of those on the empty store",
                "%",
                90.0,
                95.0,
            ),
        ],
    ),
    (
        "Timers: 10,000 WAITs, 1,000 due a second, seen when the wake-up is on disk",
        &[
            plain("timers.p50", "lateness, p50", "ms"),
            at_most("timers.p99", "lateness, p99", "ms", 10.0, 3.0),
            plain("timers.max", "lateness, greatest", "ms"),
            plain("timers.cpu", "processor per timer", "ms"),
        ],
    ),
    (
        "Monitors: 2,000 that ask a web server every 10 seconds",
        &[
            plain("monitors.rate", "checks, each a durable execution", "/s"),
            plain("monitors.made", "checks made, of those that were due", "%"),
            plain("monitors.cpu_share", "server's processor, of one core", "%"),
            plain("monitors.cpu", "server's processor per check", "ms"),
            plain("monitors.mib", "resident memory", "MiB"),
            plain("monitors.kept", "the store, with the last 20 checks of each", "MiB"),
            plain("monitors.grown", "the store grows, old checks being forgotten, by", "MiB/h"),
            plain("monitors.written", "written to the disk", "GiB/h"),
            plain("monitors.p50", "lateness of a check's request, p50", "ms"),
            plain("monitors.p99", "… p99", "ms"),
            plain("monitors.max", "… greatest", "ms"),
        ],
    ),
    (
        "The console over that store, with 2,000 monitors and a loop of 10,000 iterations",
        &[
            at_most("console.runs.p50", "runs, the newest, p50", "ms", 3.0, 1.0),
            at_most("console.runs.p99", "… p99", "ms", 8.0, 3.0),
            at_most("console.status.p50", "runs of a status, p50", "ms", 5.0, 2.0),
            at_most("console.status.p99", "… p99", "ms", 12.0, 5.0),
            at_most("console.text.p50", "runs by a word, p50", "ms", 3.0, 2.0),
            at_most("console.text.p99", "… p99", "ms", 8.0, 4.0),
            at_most("console.facets.p50", "facets of all runs, p50", "ms", 15.0, 5.0),
            at_most("console.facets.p99", "… p99", "ms", 40.0, 15.0),
            at_most("console.now.p50", "Now, p50", "ms", 5.0, 2.0),
            at_most("console.now.p99", "… p99", "ms", 15.0, 5.0),
            at_most("console.incident.p50", "an incident, p50", "ms", 3.0, 2.0),
            at_most("console.incident.p99", "… p99", "ms", 10.0, 5.0),
            at_most("console.run.p50", "a run, p50", "ms", 3.0, 2.0),
            at_most("console.run.p99", "… p99", "ms", 10.0, 5.0),
            at_most("console.window.p50", "100 of 10,001 tasks, p50", "ms", 8.0, 3.0),
            at_most("console.window.p99", "… p99", "ms", 25.0, 10.0),
            at_most("console.monitors.p50", "50 of 2,000 monitors, p50", "ms", 100.0, 60.0),
            plain("console.monitors.p99", "… p99", "ms"),
            at_most("console.events.p50", "what came of 100,000 messages, p50", "ms", 5.0, 2.0),
            at_most("console.events.p99", "… p99", "ms", 15.0, 6.0),
            at_most(
                "console.first",
                "first visit with all that it loads, compressed",
                "KiB",
                40.0,
                30.0,
            ),
            at_most("console.later", "the largest of these pages, compressed", "KiB", 15.0, 8.0),
            at_most("console.elements", "most elements of one of them", "", 3_000.0, 1_500.0),
            at_most(
                "console.told.p50",
                "commit → changed page, 1,000 open, p50",
                "ms",
                150.0,
                60.0,
            ),
            at_most("console.told.p99", "… p99", "ms", 500.0, 250.0),
            at_most("console.each", "memory of one open page", "KiB", 32.0, 16.0),
            at_most(
                "console.streams_cpu",
                "processor for 1,000, 100 commits/s, of a core",
                "%",
                10.0,
                5.0,
            ),
            plain("console.again", "1,000 look again at once, until the last has it", "ms"),
            plain("console.again_cpu", "… processor", "ms"),
            plain("console.rate", "workflows started with 1,000 open pages", "/s"),
            plain("console.rate_wall", "… fewer than with none, beside what reads the pages", "%"),
            at_most(
                "console.rate_lost",
                "… that the pages take of the server's own rate (processor of each workflow)",
                "%",
                5.0,
                1.0,
            ),
        ],
    ),
    (
        "What a browser paints first: warm, 1,280 pixels wide, the median of 20 looks in each round",
        &[
            plain("paint.help", "help, no data", "ms"),
            at_most("paint.now", "Now", "ms", 100.0, 60.0),
            at_most("paint.incident", "an incident", "ms", 100.0, 60.0),
            at_most("paint.runs", "50 runs", "ms", 100.0, 60.0),
            at_most("paint.monitors", "50 of 2,000 monitors", "ms", 100.0, 60.0),
            at_most("paint.graph", "a graph of 400 boxes", "ms", 150.0, 80.0),
            at_most(
                "paint.phone_read",
                "cold, on a phone at 400 kbit/s and 400 ms: an incident is readable",
                "ms",
                2_500.0,
                2_000.0,
            ),
            at_most(
                "paint.phone_done",
                "… it is acknowledged after the press",
                "ms",
                1_500.0,
                1_000.0,
            ),
        ],
    ),
    (
        "Alerts: 10,000 that fire and are sent again each minute, 64 in a request",
        &[
            at_most("alerts.cpu_share", "server's processor, of one core", "%", 10.0, 3.0),
            plain("alerts.first", "all of them for the first time", "ms"),
            plain("alerts.first_cpu", "server's processor for each of them", "µs"),
            plain("alerts.p50", "a request that sends them again, p50", "ms"),
            plain("alerts.p99", "… p99", "ms"),
            plain("alerts.written", "written to the disk", "GiB/h"),
            plain("alerts.mib", "resident memory", "MiB"),
        ],
    ),
    (
        "Access control: a server with `auth = \"on\"` and 10,000 keys beside one without, asked in turn",
        &[
            plain("auth.open_us", "a request without access control, server's processor", "µs"),
            at_most(
                "auth.checked_us",
                "added by the check of its key and its right",
                "µs",
                2.0,
                1.0,
            ),
            at_most("auth.token_us", "… of a token", "µs", 2.0, 1.0),
            at_most(
                "auth.granted_us",
                "… of a key with 1,000 narrowed roles on a run",
                "µs",
                2.0,
                1.0,
            ),
            at_most("auth.worst_us", "… whose roles are on 1,000 patterns", "µs", 10.0, 5.0),
            plain("auth.rate", "remote worker with a key, workflows, 64 in flight", "/s"),
            at_least("auth.share", "… of the rate without access control", "%", 97.0, 99.0),
            at_most("auth.principals_mib", "resident memory of 10,000 keys", "MiB", 5.0, 3.0),
            at_most(
                "auth.revoked_ms",
                "a key is revoked and its next request refused",
                "ms",
                1000.0,
                50.0,
            ),
        ],
    ),
    (
        "Before it goes live: `nightbell test` on one thread, less what the command needs for itself",
        &[
            at_least(
                "test.workflows",
                "tests of a workflow of 4 tasks, 2 of them scripts",
                "/s",
                2_000.0,
                8_000.0,
            ),
            at_least("test.checks", "checks of a staged monitor", "/s", 50_000.0, 200_000.0),
            plain("test.least", "one test, with the start of the command", "ms"),
            at_most(
                "test.watch",
                "`--watch`: from saving one of 100 files to the result",
                "ms",
                150.0,
                50.0,
            ),
            at_least(
                "test.replay",
                "runs that `workflow replay` tries twice, over HTTP",
                "/s",
                200.0,
                1_000.0,
            ),
            at_least(
                "test.years",
                "years of a daily schedule, changes of the clock included",
                "/s",
                10_000.0,
                50_000.0,
            ),
            at_most(
                "test.who",
                "who is on call at an instant, and since and until when",
                "µs",
                1.0,
                0.5,
            ),
            at_most("test.gaps", "gaps of a rotation in 180 days", "ms", 10.0, 5.0),
            at_most(
                "test.plan",
                "`plan` of 1,000 workflows that have all changed, one with 10,000 running executions",
                "s",
                1.0,
                0.5,
            ),
            at_most(
                "test.backtest",
                "backtest of 43,200 samples (30 days, one a minute), over HTTP",
                "s",
                2.0,
                1.0,
            ),
        ],
    ),
    (
        "Growth: DO_WHILE over one INLINE, and the binary",
        &[
            plain("growth.100", "100 iterations", "ms"),
            plain("growth.1000", "1,000 iterations", "ms"),
            plain("growth.10000", "10,000 iterations", "ms"),
            plain("growth.each_100", "each of 100", "µs"),
            plain("growth.each_1000", "each of 1,000", "µs"),
            plain("growth.each_10000", "each of 10,000", "µs"),
            plain("growth.asking_100", "100 that use ${loop.output.iteration}", "ms"),
            plain("growth.asking_1000", "1,000 such", "ms"),
            plain("growth.asking_each_100", "each of 100 such", "µs"),
            plain("growth.asking_each_1000", "each of 1,000 such", "µs"),
            at_most("binary", "the binary", "MiB", 30.0, 15.0),
        ],
    ),
];

/// What was measured, round by round.
#[derive(Default)]
pub(super) struct Samples(BTreeMap<String, Vec<f64>>);

impl Samples {
    /// Adds what a figure was.
    pub(super) fn take(&mut self, id: &str, value: f64) {
        debug_assert!(
            GROUPS.iter().flat_map(|(_, figures)| *figures).any(|figure| figure.id == id),
            "the figure '{id}' is not in the report"
        );
        self.0.entry(id.to_owned()).or_default().push(value);
    }

    /// Adds what a figure of a part was.
    pub(super) fn take_of(&mut self, part: &str, name: &str, value: f64) {
        self.take(&format!("{part}.{name}"), value);
    }

    /// Least, median and greatest; `None` if it was never measured.
    pub(super) fn spread(&self, id: &str) -> Option<[f64; 3]> {
        let mut values = self.0.get(id)?.clone();
        values.sort_by(f64::total_cmp);
        Some([*values.first()?, values[values.len() / 2], *values.last()?])
    }
}
