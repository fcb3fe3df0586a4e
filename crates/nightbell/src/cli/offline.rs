//! An engine without a server: what judges files on this machine, by the code that would run them.

use std::sync::Arc;

use anyhow::Context as _;
use engine::memory::Memory;
use engine::{Engine, Parts, SystemClock};

use crate::config::{self, Config, Flags};
use crate::scripts::Engines;
use crate::values::FromEnvironment;

/// An engine in memory, with the configuration of this folder (`nightbell.toml`, the environment).
///
/// # Errors
/// The configuration is wrong.
pub(super) async fn engine() -> anyhow::Result<Engine> {
    engine_over(Memory::new()).await
}

/// The same over a store in memory.
///
/// # Errors
/// The configuration is wrong.
pub(crate) async fn engine_over(store: Memory) -> anyhow::Result<Engine> {
    let file = config::File::find(None)?;
    let (config, _) =
        Config::load_with_origins(&Flags::default(), config::process_env, file.as_ref())?;
    let mut settings = crate::serve::task_settings(&config);
    settings.check.sources = tasks::check::Sources::of(&config.sources.0);
    let parts = Parts {
        store: Arc::new(store),
        clock: Arc::new(SystemClock),
        scripts: Engines::new(
            crate::serve::javascript_limits(&config),
            crate::serve::jq_limits(&config),
        ),
        runners: tasks::registry::runners(&settings)?,
        values: Arc::new(FromEnvironment),
        describe: server::rest::view::describe,
        options: crate::serve::options(&config),
    };
    Engine::open(parts).await.context("files cannot be judged")
}

/// What asks sources about the past, with those of the configuration and others by their names.
///
/// # Errors
/// The configuration is wrong.
pub(super) fn history(
    named: Vec<(String, serde_json::Map<String, serde_json::Value>)>,
) -> anyhow::Result<tasks::check::History> {
    let file = config::File::find(None)?;
    let (config, _) =
        Config::load_with_origins(&Flags::default(), config::process_env, file.as_ref())?;
    let mut settings = crate::serve::task_settings(&config);
    settings.check.sources = tasks::check::Sources::of(&config.sources.0);
    for (name, source) in named {
        settings.check.sources.put(&name, source);
    }
    Ok(tasks::registry::history(&settings)?)
}

/// The types of tasks that the server runs by itself.
///
/// # Errors
/// A type cannot be set up.
pub(crate) fn task_types() -> anyhow::Result<Vec<&'static str>> {
    let runners = tasks::registry::runners(&tasks::registry::Settings::default())?;
    Ok(runners.iter().map(|runner| runner.task_type()).collect())
}
