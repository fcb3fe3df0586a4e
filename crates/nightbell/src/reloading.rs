//! Files that are read again while the server runs, because somebody asks for it.

use std::sync::Arc;

use engine::Engine;
use server::Tls;
use tokio::signal::unix::Signal;

use crate::config::Config;
use crate::load;
use crate::robopager::Robopager;
use crate::secrets::Outside;
use crate::upkeep::Reloads;

/// Reads the certificate, secrets, `etl.cfg` and the files of `--load` again whenever the process is sent
/// SIGHUP, or somebody asks for it by the API.
pub(crate) async fn when_asked(
    (mut hangups, mut reloads): (Signal, Reloads),
    engine: Engine,
    config: Config,
    robopager: Arc<Robopager>,
    loaded: load::Loaded,
    tls: Option<Arc<Tls>>,
    secrets: Arc<Outside>,
) {
    loop {
        let asked = tokio::select! {
            Some(()) = hangups.recv() => None,
            Some(asked) = reloads.recv() => Some(asked),
            else => return,
        };
        let why = if asked.is_some() { "the API" } else { "SIGHUP" };
        tracing::info!("{why}: files are read again");
        if let Some(tls) = &tls {
            tls.look();
        }
        secrets.look_again();
        robopager.reload(&engine, &config).await;
        load::reload_all(&engine, &config.load, &loaded, &robopager.checklist()).await;
        if let Some(asked) = asked {
            // Nobody waits any more: it was read all the same.
            let _ = asked.send(());
        }
    }
}
