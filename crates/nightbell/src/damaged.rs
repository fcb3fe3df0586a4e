//! Tells of stored documents that are damaged: an incident for each, until it is replaced or deleted.

use std::sync::Arc;
use std::time::Duration;

use engine::{DamagedDocument, Engine};
use kernel::alert::Status;

use crate::own::{self, Wrongs};

/// Pause before the monitor is told again, when the store is away.
const AGAIN: Duration = Duration::from_secs(10);
/// Incidents at most; one more tells how many further documents there are. A disk that lost a page damages
/// many at once, and nobody is to be called for each.
const INCIDENTS_MAX: usize = 20;
/// What the keys of the incidents begin with.
const KEY: &str = "document:";

/// Tells of them for as long as the engine lives.
pub(crate) fn keep(engine: Engine) {
    let mut changed = engine.damaged_documents_changed();
    tokio::spawn(async move {
        // What was told before the last start may be mended.
        let (mut is_looked_at, mut is_told) = (false, false);
        loop {
            is_looked_at = is_looked_at || look(&engine).await;
            if !is_told {
                changed.mark_unchanged();
                is_told = tell(&engine).await;
            }
            tokio::select! {
                biased;
                () = engine.stopped() => return,
                change = changed.changed() => match change {
                    Ok(()) => is_told = false,
                    Err(_) => return,
                },
                () = tokio::time::sleep(AGAIN), if !is_told || !is_looked_at => {}
            }
        }
    });
}

/// Answers whether those were read that nobody has asked for yet.
async fn look(engine: &Engine) -> bool {
    let looked = server::look_at_documents(engine).await;
    if let Err(problem) = looked.as_ref()
        && !is_stopping(engine).await
    {
        tracing::warn!(problem = %problem.message, "stored documents could not be read");
    }
    looked.is_ok()
}

/// Answers whether the monitor heard of all of them.
async fn tell(engine: &Engine) -> bool {
    let damaged = engine.damaged_documents();
    let mut wrongs: Wrongs = damaged.iter().take(INCIDENTS_MAX).map(incident).collect();
    if let Some(more) = damaged.len().checked_sub(INCIDENTS_MAX).filter(|more| *more > 0) {
        let text = format!("{more} more stored documents are damaged; the log names each");
        wrongs.insert(format!("{KEY}more").into(), (Status::Fail, text));
    }
    let heard = own::tell(engine, KEY, &wrongs, "it was replaced or deleted").await;
    if let Err(error) = &heard
        && !is_stopping(engine).await
    {
        tracing::error!(%error, "damaged documents could not be reported to Nightbell's own monitor");
    }
    heard.is_ok()
}

/// What fails while the engine closes is not worth a word.
async fn is_stopping(engine: &Engine) -> bool {
    tokio::select! {
        biased;
        () = engine.stopped() => true,
        () = std::future::ready(()) => false,
    }
}

fn incident(document: &DamagedDocument) -> (Arc<str>, (Status, String)) {
    let DamagedDocument { kind, name, version, reason } = document;
    let version = if *version > 0 { format!(" v{version}") } else { String::new() };
    let text = format!(
        "the stored {kind} {name}{version} is damaged and not in force: {reason}; save it again or \
         delete it"
    );
    (format!("{KEY}{kind}/{name}{version}").into(), (Status::Fail, text))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use engine::memory::Memory;
    use engine::monitors::OWN_MONITOR;
    use engine::store::{Document, Store as _};
    use kernel::alert::Monitor;

    use crate::cli::offline::engine_over;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn each_damaged_document_is_an_incident_until_it_is_deleted() {
        let store = Memory::new();
        let document = |kind: &str, name: &str, version: u32| Document {
            kind: kind.into(),
            name: name.into(),
            version,
            text: "{".into(),
        };
        let damaged = [document("workflow", "w", 2), document("webhook", "h", 0)];
        store.put_documents(damaged.to_vec()).await.expect("the store takes it");
        let engine = engine_over(store).await.expect("it opens");
        super::keep(engine.clone());
        let keys = async |wanted: &[&str]| {
            let open = |monitor: &Monitor| -> Vec<Arc<str>> {
                monitor.incidents.values().map(|it| it.key.clone()).collect()
            };
            let mut feed = engine.damaged_documents_changed();
            loop {
                let mut keys = engine.monitor(OWN_MONITOR, open).await.ok().flatten();
                if let Some(keys) = &mut keys {
                    keys.sort();
                }
                let keys = keys.unwrap_or_default();
                if keys.iter().map(|it| &**it).eq(wanted.iter().copied()) {
                    return;
                }
                // Whatever the monitor hears is a commit.
                let _ = tokio::time::timeout(Duration::from_millis(20), feed.changed()).await;
            }
        };
        let both = ["document:webhook/h", "document:workflow/w v2"];
        tokio::time::timeout(PATIENCE, keys(&both)).await.expect("both are told");
        engine.catalogue().delete("webhook", "h").await.expect("it is deleted");
        tokio::time::timeout(PATIENCE, keys(&both[1..])).await.expect("one is over");
        engine.close().await.expect("it closes");
    }
}
