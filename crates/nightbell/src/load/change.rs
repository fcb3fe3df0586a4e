//! What one reading of the files changes: all of it is stored in one transaction, or nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use engine::{AuditEntry, Author, Change, Engine};
use kernel::definition::Problem;
use server::projects::{self, Defined};
use server::triggers::{self, Trigger};

use super::rejected::Mistakes;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The store or the server is at fault, which may pass.
    #[error("{0}")]
    Store(String),
    /// What files define.
    #[error("{0}")]
    Unfit(String),
}

impl From<server::problem::Problem> for Failed {
    fn from(problem: server::problem::Problem) -> Self {
        let told = in_words(&problem);
        if problem.status.is_server_error() { Self::Store(told) } else { Self::Unfit(told) }
    }
}

/// The files that define something new or different, with that alone.
pub(super) async fn differing(
    engine: &Engine,
    defined: &[(PathBuf, Defined)],
) -> Result<Vec<(PathBuf, Defined)>, Failed> {
    let mut differing = Vec::new();
    for (file, found) in defined {
        let new = projects::differing(engine, found.clone()).await?;
        if new.count() > 0 {
            differing.push((file.clone(), new));
        }
    }
    Ok(differing)
}

/// Takes out the files whose triggers do not fit those of the others or those that are registered;
/// answers what is wrong with them.
pub(super) async fn take_out_unfit(
    engine: &Engine,
    defined: &mut Vec<(PathBuf, Defined)>,
) -> Result<Mistakes, Failed> {
    let mut mistakes = Mistakes::new();
    // What is taken out leaves in force what it would have replaced, which may not fit others.
    loop {
        let of_triggers: Vec<&(PathBuf, Defined)> =
            defined.iter().filter(|(_, found)| !found.triggers.is_empty()).collect();
        if of_triggers.is_empty() {
            return Ok(mistakes);
        }
        let groups: Vec<&[Trigger]> =
            of_triggers.iter().map(|(_, found)| &*found.triggers).collect();
        let judged = triggers::judge(engine, &groups).await?;
        let unfit: BTreeMap<PathBuf, String> = (of_triggers.iter().zip(judged))
            .filter_map(|((file, _), problem)| Some((file.clone(), in_words(&problem?))))
            .collect();
        if unfit.is_empty() {
            return Ok(mistakes);
        }
        defined.retain(|(file, _)| !unfit.contains_key(file));
        mistakes.extend(unfit.into_iter().map(|(file, told)| {
            let mistake = format!("{}: {told}", file.display());
            (file, vec![mistake])
        }));
    }
}

/// Makes everything in force that differs, at once.
pub(super) async fn apply(
    engine: &Engine,
    differing: Vec<(PathBuf, Defined)>,
) -> Result<(), Failed> {
    let mut all = Defined::default();
    let mut files: Vec<PathBuf> = Vec::new();
    for (file, found) in differing {
        files.push(file);
        all.extend(found);
    }
    let (triggers, change) = all.change();
    let change = Change { author: Author::Server, ..change };
    triggers::change(engine, triggers, change).await?;
    write_down(engine, &files).await;
    Ok(())
}

/// Characters of the names of files that a line of the audit ledger has.
const NAMES_MAX: usize = 200;

/// Writes into the audit ledger that files were applied. They are in force already, so that a line that is
/// lost is told in the log alone.
pub(super) async fn write_down(engine: &Engine, files: &[PathBuf]) {
    if files.is_empty() {
        return;
    }
    let (mut names, mut shown) = (String::new(), 0);
    for name in files.iter().map(|file| file.display().to_string()) {
        if shown > 0 && names.len() + name.len() > NAMES_MAX {
            break;
        }
        names.push_str(if shown > 0 { ", " } else { "" });
        names.extend(name.chars().take(NAMES_MAX));
        shown += 1;
    }
    if shown < files.len() {
        // A text takes whatever is written.
        let _ = write!(names, " and {} more", files.len() - shown);
    }
    if let Err(error) = engine.write_audit(AuditEntry::of_server("load", names)).await {
        tracing::warn!(%error, "a line of the audit ledger was lost: files were applied");
    }
}

fn in_words(problem: &server::problem::Problem) -> String {
    let flaws: Vec<String> = problem.flaws.iter().map(Problem::to_string).collect();
    if flaws.is_empty() { problem.message.clone() } else { flaws.join("; ") }
}
