//! Sends log lines to standard error, in the form that the configuration asks for.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Config, LogFormat};

/// Starts logging; once in the life of a process, a second call does nothing.
pub(crate) fn start(config: &Config) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(config.log_level.filter())
        .with_writer(io::stderr)
        // Spans are of the level debug: steps, commits and deliveries, told with how long they took.
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let started = match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // An error only says that logging has started before.
    drop(started);
}
