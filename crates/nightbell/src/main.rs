//! WIRES: the one binary. Reads the command line, then either serves or is a client.

mod cli;
mod config;
mod dev;
mod load;
mod logging;
mod scripts;
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
            runtime()?.block_on(serve::run(config))
        }
        Command::Dev(flags) => {
            let config = Config::load(flags.flags(), DevFlags::env, None)?;
            logging::start(&config);
            runtime()?.block_on(tour::run(config))
        }
        Command::Client(command) => cli::run(command, &cli.global),
    }
}

/// The server's threads: more than cores, because a script may hold one for as long as it is
/// allowed to run.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let threads = cores.max(THREADS_MIN);
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// Threads of the server on the smallest machine.
const THREADS_MIN: usize = 4;
