//! WIRES: the one binary. Reads the command line, then either serves or is a client.

mod cli;
mod config;
#[cfg(test)]
mod dev;
mod logging;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use config::{Config, DevFlags};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::report(&error),
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(flags) => {
            let config = Config::from_process(&flags)?;
            logging::start(&config);
            tokio::runtime::Runtime::new()?.block_on(serve::run(config))
        }
        Command::Dev(flags) => {
            let config = Config::load(flags.flags(), DevFlags::env, None)?;
            logging::start(&config);
            tokio::runtime::Runtime::new()?.block_on(serve::run_dev(config))
        }
        Command::Client(command) => cli::run(command, &cli.global),
    }
}
