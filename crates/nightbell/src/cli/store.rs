//! `nightbell store`: the place where everything is kept, without a server.

mod copy;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use engine::store::Store as _;
use engine::vault::Key;
use serde_json::json;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::output::Output;
use crate::config::StoreUrl;
use crate::secret_key;

const STORE_HELP: &str =
    "The store: sqlite:FILE or postgres://USER@HOST/DATABASE [env: NIGHTBELL_STORE]";

/// What is done with a store.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create the tables of a store, or upgrade them to the version of this release
    ///
    /// `serve` does that, too. This is for a role that may do more than the server's, and to make the
    /// key that seals secrets, of which every server on a shared store needs the same.
    #[command(after_help = "\
Examples:
  nightbell store init 'postgres://admin@db.example.org/nightbell' --key-file /etc/nightbell/key
  NIGHTBELL_STORE=postgres://… nightbell store init")]
    Init {
        #[arg(value_name = "URL", help = STORE_HELP)]
        store: Option<String>,
        /// Generate a key that seals secrets in this file, unless it exists
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Copy a store whole into a new or empty one, from SQLite to PostgreSQL or back, or to the same
    ///
    /// Stop the server first: a store in use is refused, as is a target that holds something. All
    /// of it is copied: runs with their histories, schedules, monitors, incidents, definitions,
    /// queues, samples, logs, the audit ledger and secrets as they are sealed. Then the target is
    /// read back and compared. Until that is done no server opens the target; a copy that was
    /// broken off is begun anew with --again. The source stays as it is.
    #[command(after_help = "\
Examples:
  nightbell store copy --from sqlite:nightbell.db --to postgres://nightbell@db.example.org/nightbell
  nightbell store copy --from sqlite:nightbell.db --to sqlite:/mnt/new/nightbell.db --dry-run
  NIGHTBELL_STORE_TO=postgres://… nightbell store copy --from sqlite:nightbell.db --again -o json")]
    Copy(copy::Copy),
}

/// Runs the command.
///
/// # Errors
/// The store cannot be reached, is of a later release, or must be changed while a server uses it; one
/// in a file also if a server has it open.
pub(super) async fn run(verb: Verb, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Init { store, key_file } => init(store, key_file.as_deref(), output).await,
        Verb::Copy(asked) => copy::run(asked, output).await,
    }
}

async fn init(
    store: Option<String>,
    key_file: Option<&Path>,
    output: &Output,
) -> anyhow::Result<()> {
    let store = named(store, "NIGHTBELL_STORE", "the URL")?;
    match &store {
        StoreUrl::Sqlite(path) => {
            let opened = ::store::Sqlite::open(path, &::store::Options::default())?;
            opened.close().await?;
        }
        StoreUrl::Postgres(url) => {
            let options = ::store::PostgresOptions::parse(url).map_err(anyhow::Error::msg)?;
            ::store::Postgres::init(&options).await?;
        }
    }
    let made = key_file.map(make_key).transpose()?.unwrap_or(false);
    if output.is_json() {
        return output.json(&json!({
            "store": store.to_string(), "keyFile": key_file, "keyMade": made,
        }));
    }
    output.note(format!("the tables of {store} are there"));
    if let Some(file) = key_file {
        let shown = file.display();
        output.note(if made {
            format!("made the key {shown}: keep a copy apart from the store")
        } else {
            format!("the key {shown} was there and is as it was")
        });
    }
    Ok(())
}

/// The store that was named, or that a variable of the environment names.
fn named(given: Option<String>, variable: &str, what: &str) -> anyhow::Result<StoreUrl> {
    let given = given.or_else(|| std::env::var(variable).ok());
    let Some(text) = given else {
        return Err(Failure::usage(format!("no store is named: {what} is missing"))
            .with_hint(format!(
                "write sqlite:FILE or postgres://USER@HOST/DATABASE, or set {variable}"
            ))
            .into());
    };
    StoreUrl::parse(&text).map_err(|wrong| Failure::usage(wrong).into())
}

/// Makes a key, unless the file is there; gives whether it was made.
fn make_key(file: &Path) -> anyhow::Result<bool> {
    if file.try_exists().with_context(|| format!("cannot look for {}", file.display()))? {
        return Ok(false);
    }
    let bytes = Zeroizing::new(Key::random());
    let written = Zeroizing::new(Key::write(*bytes));
    secret_key::write(file, &written)
        .with_context(|| format!("cannot make the key file {}", file.display()))?;
    Ok(true)
}
