//! Settings of monitors that have no effect, or none beside others: a warning, so that nobody relies on
//! them.

use serde_json::Value;

use super::{Kind, MonitorDef};

/// Settings of a kind that have no effect in some case.
struct Idle {
    kind: Kind,
    settings: &'static [&'static str],
    /// The case.
    when: fn(&Value) -> bool,
    why: &'static str,
}

const TLS: &str =
    "the address says whether the connection is encrypted; a map with `ca` says whom to trust";

static IDLE: [Idle; 14] = [
    Idle { kind: Kind::Email, settings: &["tls"], when: tls_is_no_map, why: TLS },
    Idle { kind: Kind::Job, settings: &["tls"], when: tls_is_no_map, why: TLS },
    Idle { kind: Kind::Influx, settings: &["tls"], when: tls_is_no_map, why: TLS },
    Idle { kind: Kind::Prometheus, settings: &["tls"], when: tls_is_no_map, why: TLS },
    Idle { kind: Kind::Http, settings: &["tls"], when: tls_is_no_map, why: TLS },
    Idle {
        kind: Kind::Sql,
        settings: &["tls"],
        when: |_| true,
        why: "the URL says whether the connection is encrypted: `?sslmode=verify-full` of PostgreSQL",
    },
    Idle {
        kind: Kind::Influx,
        settings: &["bucket"],
        when: |it| it.get("flux").is_some(),
        why: "a query in Flux names its bucket itself",
    },
    Idle {
        kind: Kind::Http,
        settings: &["expect", "contains", "tls_expiry"],
        when: reads_rows,
        why: "`fail_when` and `warn_when` judge the rows",
    },
    Idle {
        kind: Kind::Http,
        settings: &["value", "text"],
        when: |it| !reads_rows(it),
        why: "only rows have it: `rows` or `jq`",
    },
    Idle {
        kind: Kind::Job,
        settings: &["url", "schedule"],
        when: |it| it.get("batchy").is_some(),
        why: "`batchy` goes before it",
    },
    Idle {
        kind: Kind::Job,
        settings: &["schedule"],
        when: |it| it.get("url").is_some() && it.get("batchy").is_none(),
        why: "`url` goes before it",
    },
    Idle {
        kind: Kind::Job,
        settings: &["headers", "bearer", "user", "password", "started", "ended", "status"],
        when: |it| it.get("url").or_else(|| it.get("batchy")).is_none(),
        why: "a schedule of this server is looked at without a request",
    },
    Idle {
        kind: Kind::Heartbeat,
        settings: &["period"],
        when: |it| it.get("every").is_some(),
        why: "`every` goes before it",
    },
    Idle {
        kind: Kind::Heartbeat,
        settings: &["grace"],
        when: |it| it.get("start_grace").is_some(),
        why: "`start_grace` goes before it",
    },
];

fn tls_is_no_map(settings: &Value) -> bool {
    !settings["tls"].is_object()
}

fn reads_rows(settings: &Value) -> bool {
    settings.get("rows").or_else(|| settings.get("jq")).is_some()
}

/// The settings of a monitor that have no effect, each with the reason.
pub(super) fn settings(monitor: &MonitorDef) -> Vec<(&'static str, String)> {
    let settings = monitor.settings.parse();
    let idle = IDLE.iter().filter(|it| it.kind == monitor.kind && (it.when)(&settings));
    let idle = idle.flat_map(|it| it.settings.iter().map(|name| (*name, it.why)));
    let written = idle.filter(|(name, _)| settings.get(*name).is_some());
    written.map(|(name, why)| (name, format!("has no effect: {why}"))).collect()
}
