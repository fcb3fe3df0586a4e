//! WIRES: the one binary. Reads the command line, then either serves or is a client.

mod acme;
mod audit_file;
mod bootstrap;
mod cli;
mod cluster;
mod config;
mod damaged;
mod deadman;
mod dev;
mod exposed;
mod limits;
mod load;
mod logging;
mod own;
mod referred;
mod reloading;
mod robopager;
mod schemas;
mod scripts;
mod secret_key;
mod secrets;
mod serve;
mod sso;
mod testing;
mod tour;
mod traces;
mod upkeep;
mod values;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use cli::{Cli, Command};
use config::{Config, DevFlags};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start(Cli::parse_from(robopager::arguments(std::env::args_os()))) {
        Ok(code) => code,
        Err(error) => cli::report(&error),
    }
}

fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(flags) => {
            let (config, effective) = Config::from_process(&flags)?;
            logging::start(&config);
            exposed::tell(&config, &effective);
            run(serve::run(config, &effective))?;
        }
        Command::Dev(arguments) => {
            let config = Config::load(arguments.flags.flags(), DevFlags::env, None)?;
            logging::start(&config);
            run(tour::run(config, arguments.clock))?;
        }
        Command::Robopager(arguments) => return robopager::run(&arguments),
        Command::Ping(verb) => return cli::ping::run(verb, &cli.global),
        Command::Client(command) => cli::run(command, &cli.global)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// How long the end waits for work that blocks its thread.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// Runs the server on its threads, one per core.
fn run<T>(server: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(server);
    // Whatever does not end by itself ends with the process.
    runtime.shutdown_timeout(END_PATIENCE);
    result
}
