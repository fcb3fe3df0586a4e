//! WIRES: the one binary. Reads the command line, then either serves or is a client.

mod cli;
mod config;
mod deadman;
mod dev;
mod load;
mod logging;
mod robopager;
mod scripts;
mod secret_key;
mod serve;
mod tour;
mod values;

use std::process::ExitCode;

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
            let config = Config::from_process(&flags)?;
            logging::start(&config);
            runtime()?.block_on(serve::run(config))?;
        }
        Command::Dev(flags) => {
            let config = Config::load(flags.flags(), DevFlags::env, None)?;
            logging::start(&config);
            runtime()?.block_on(tour::run(config))?;
        }
        Command::Robopager(arguments) => return robopager::run(&arguments),
        Command::Client(command) => cli::run(command, &cli.global)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The server's threads, one per core: a script that takes long gives its place to another.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
