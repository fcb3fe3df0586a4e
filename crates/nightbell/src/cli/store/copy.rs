//! `nightbell store copy`: a store whole into an empty one, of the same kind or of the other.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ::store::{Copied, CopyError, CopyOptions, CopyProgress, Location};
use clap::Args;
use serde_json::json;

use super::super::failure::{Exit, Failure};
use super::super::output::Output;
use super::super::table::{Cell, Table};
use super::named;
use crate::config::StoreUrl;

/// Between two lines that say how far a table has come.
const TELL: Duration = Duration::from_secs(2);

const FROM_HELP: &str = "The store to copy from: sqlite:FILE or postgres://USER@HOST/DATABASE [env: \
                         NIGHTBELL_STORE]";
const TO_HELP: &str = "The store to copy to, new or empty [env: NIGHTBELL_STORE_TO]";

/// What to copy where.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    #[arg(long, value_name = "URL", help = FROM_HELP)]
    from: Option<String>,
    #[arg(long, value_name = "URL", help = TO_HELP)]
    to: Option<String>,
    /// Empty a target that an earlier copy left unfinished; no other target is ever emptied
    #[arg(long)]
    again: bool,
    /// Only count what there is to copy
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(asked: Copy, output: &Output) -> anyhow::Result<()> {
    let from = named(asked.from, "NIGHTBELL_STORE", "--from")?;
    let to = named(asked.to, "NIGHTBELL_STORE_TO", "--to")?;
    let options = CopyOptions { again: asked.again, dry_run: asked.dry_run };
    let told = Mutex::new(Instant::now());
    let progress = |now: CopyProgress| tell(output, &told, now);
    let copied = ::store::copy(&location(&from)?, &location(&to)?, options, &progress).await;
    let copied = copied.map_err(|error| failure(&error, options))?;
    show(&from, &to, options, &copied, output)
}

fn location(store: &StoreUrl) -> anyhow::Result<Location> {
    Ok(match store {
        StoreUrl::Sqlite(path) => Location::Sqlite(path.clone()),
        StoreUrl::Postgres(url) => {
            let options = ::store::PostgresOptions::parse(url).map_err(anyhow::Error::msg)?;
            Location::Postgres(Box::new(options))
        }
    })
}

/// Says how far the copy is: of each table the end, and now and then what is between.
fn tell(output: &Output, told: &Mutex<Instant>, now: CopyProgress) {
    let CopyProgress { compares, table, rows, of } = now;
    let Ok(mut told) = told.lock() else { return };
    // An empty table is not worth a line, and the last batch tells the end.
    if of == 0 || (rows < of && told.elapsed() < TELL) {
        return;
    }
    *told = Instant::now();
    let what = if compares { "comparing" } else { "copying" };
    output.note(format!("{what} {table}: {rows} of {of} rows"));
}

fn failure(error: &CopyError, options: CopyOptions) -> Failure {
    let exit = match error {
        CopyError::Missing(_) => Exit::NotFound,
        CopyError::Refused(_) => Exit::Conflict,
        CopyError::Source(_) | CopyError::Target(_) | CopyError::Differs { .. } => Exit::Error,
    };
    let failure = Failure::new(exit, error.to_string());
    if exit == Exit::Error && !options.dry_run {
        return failure.with_hint(
            "the source is as it was; no server opens a target that was begun: repeat with --again, \
             which empties it first",
        );
    }
    failure
}

fn show(
    from: &StoreUrl,
    to: &StoreUrl,
    options: CopyOptions,
    copied: &[Copied],
    output: &Output,
) -> anyhow::Result<()> {
    let key = key_advice(from, to);
    if output.is_json() {
        let table = |it: &Copied| {
            json!({
                "table": it.table, "rows": it.rows, "digest": it.digest, "replaced": it.replaced,
            })
        };
        return output.json(&json!({
            "from": from.to_string(), "to": to.to_string(), "dryRun": options.dry_run,
            "tables": copied.iter().map(table).collect::<Vec<_>>(), "key": key,
        }));
    }
    let mut shown = Table::new(&["TABLE", "ROWS", "DIGEST"]);
    for Copied { table, rows, digest, .. } in copied {
        let digest = digest.as_deref().map_or("", |it| it.get(..16).unwrap_or(it));
        shown.row([Cell::from(table), Cell::from(rows), Cell::from(digest)]);
    }
    output.table(&shown)?;
    let rows: u64 = copied.iter().map(|it| it.rows).sum();
    if options.dry_run {
        output.note(format!("{rows} rows would be copied; nothing was written"));
        return Ok(());
    }
    output.note(format!("copied {rows} rows from {from} to {to}; read back, they are the same"));
    let replaced: u64 = copied.iter().map(|it| it.replaced).sum();
    if replaced > 0 {
        output.note(format!(
            "{replaced} texts hold \u{fffd} in the place of the character NUL, which PostgreSQL \
             cannot keep"
        ));
    }
    output.note(key);
    output.note("do not start servers on both: each would run the same timers and notify");
    Ok(())
}

/// What is to be done with the key, which is in no store.
fn key_advice(from: &StoreUrl, to: &StoreUrl) -> String {
    let beside = |path: &Path| {
        let mut file = path.as_os_str().to_owned();
        file.push(".key");
        PathBuf::from(file).display().to_string()
    };
    let made = match from {
        StoreUrl::Sqlite(path) => format!("{}, unless one was named", beside(path)),
        StoreUrl::Postgres(_) => "the one its servers have".to_owned(),
    };
    let place = match to {
        StoreUrl::Sqlite(path) => format!("put it in {} or name it", beside(path)),
        StoreUrl::Postgres(_) => "name it".to_owned(),
    };
    format!(
        "the key that seals secrets is not in a store, and the copy needs the same ({made}): {place} \
         with secret_key_file or NIGHTBELL_SECRET_KEY"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_goes_along() {
        let file = StoreUrl::Sqlite("/var/a.db".into());
        let shared = StoreUrl::parse("postgres://u:hunter2@h/d").expect("a URL");
        let told = key_advice(&file, &shared);
        assert!(told.contains("(/var/a.db.key, unless one was named): name it"), "{told}");
        let told = key_advice(&shared, &file);
        assert!(told.contains("put it in /var/a.db.key or name it"), "{told}");
    }
}
