//! Stand-ins for the services that the examples talk to, so that the tour and the tests run a real
//! workflow over real sockets without an account anywhere.
//!
//! They are honest where a client could notice: paging, link headers, media types, credentials and
//! validation behave as the services document them, and each can be told to fail first. They listen
//! on loopback only, on ports that the system picks. The folder uses nothing else of this crate, so
//! that an integration test can include it by path.

pub(crate) mod alerting;
mod failures;
mod github;
mod orbit;
mod seed;

#[cfg(test)]
mod tests;

use std::future::IntoFuture;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use orbit::Activity;
pub(crate) use seed::{Clockwork, Seed};

/// What the stand-ins hold, whom they let in, and how they misbehave.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The instant from which the ages of stars are counted back.
    pub(crate) now: Timestamp,
    /// The owner of the repository that the example reads.
    pub(crate) account: String,
    /// The name of that repository.
    pub(crate) repo: String,
    /// How many stars it has.
    pub(crate) stargazers: u32,
    /// How many of them, the last ones, are at most 23 hours old. All others are at least 48 hours
    /// old, so that a cut-off of 24 hours has an hour's room for a slow run. At most `stargazers`.
    pub(crate) recent: u32,
    /// What else GitHub knows. The same people star all repositories, in the same order.
    pub(crate) others: Vec<Repository>,
    /// The token without which GitHub answers 401.
    pub(crate) github_token: String,
    /// The statuses with which GitHub answers its first requests, in order.
    pub(crate) github_failures: Vec<u16>,
    /// The one workspace that Orbit knows.
    pub(crate) workspace: String,
    /// The key without which Orbit answers 401.
    pub(crate) orbit_apikey: String,
    /// The statuses with which Orbit answers its first requests, in order.
    pub(crate) orbit_failures: Vec<u16>,
}

/// One repository beside that of the options.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// Its owner.
    pub(crate) account: String,
    /// Its name.
    pub(crate) repo: String,
    /// How many stars it has.
    pub(crate) stargazers: u32,
    /// How many of them are recent, as in [`Options::recent`].
    pub(crate) recent: u32,
}

impl Options {
    fn repositories(&self) -> Vec<Repository> {
        let first = Repository {
            account: self.account.clone(),
            repo: self.repo.clone(),
            stargazers: self.stargazers,
            recent: self.recent,
        };
        std::iter::once(first).chain(self.others.iter().cloned()).collect()
    }

    /// The tour of `nightbell dev`: a repository of 4,319 stars, of which the example's offset of
    /// 3,800 leaves 519 on six pages; 40 of these are recent, which the rate limit of a hundred a
    /// minute lets through at once; and one refused post, so that there is a retry to look at. By
    /// night two smaller repositories are read as well.
    pub(crate) fn tour(now: Timestamp) -> Self {
        Self {
            now,
            account: "netflix".to_owned(),
            repo: "conductor".to_owned(),
            stargazers: 4_319,
            recent: 40,
            others: [("uber", "cadence", 3_902, 2), ("temporalio", "temporal", 120, 3)]
                .map(|(account, repo, stargazers, recent)| Repository {
                    account: account.to_owned(),
                    repo: repo.to_owned(),
                    stargazers,
                    recent,
                })
                .to_vec(),
            github_token: "stand-in-github-token".to_owned(),
            github_failures: Vec::new(),
            workspace: "oss-stats".to_owned(),
            orbit_apikey: "stand-in-orbit-key".to_owned(),
            orbit_failures: vec![429],
        }
    }
}

/// A running GitHub and a running Orbit. Both stop when this is dropped.
#[derive(Debug)]
pub(crate) struct StandIns {
    options: Options,
    github: SocketAddr,
    orbit: SocketAddr,
    ledger: orbit::Ledger,
    _stop: DropGuard,
}

impl StandIns {
    /// Where GitHub's API begins, without a slash at the end.
    pub(crate) fn github_url(&self) -> String {
        format!("http://{}", self.github)
    }

    /// Where Orbit's API begins, without a slash at the end.
    pub(crate) fn orbit_url(&self) -> String {
        format!("http://{}/api/v1", self.orbit)
    }

    /// Every activity that Orbit took, in order of first arrival.
    pub(crate) fn posted(&self) -> Vec<Activity> {
        self.ledger.activities()
    }

    /// The requests that register the example and start it against these stand-ins.
    pub(crate) fn seed(&self) -> Seed {
        seed::etl(&self.options, &self.github_url(), &self.orbit_url())
    }

    /// What runs by the clock, aimed at these stand-ins and those of the alerting example.
    pub(crate) fn clockwork(&self, alerting_url: &str) -> Clockwork {
        seed::clockwork(&self.options, &self.github_url(), &self.orbit_url(), alerting_url)
    }
}

/// Starts both stand-ins on free ports of the loopback interface.
///
/// Fails only if a port cannot be bound. Must be called within a tokio runtime.
pub(crate) async fn start(options: Options) -> io::Result<StandIns> {
    let github_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let orbit_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let github = github_listener.local_addr()?;
    let orbit = orbit_listener.local_addr()?;

    let stop = CancellationToken::new();
    let ledger = orbit::Ledger::default();
    serve(github_listener, github::router(&options, &format!("http://{github}")), stop.clone());
    let orbit_api = Router::new().nest("/api/v1", orbit::router(&options, ledger.clone()));
    serve(orbit_listener, orbit_api, stop.clone());
    Ok(StandIns { options, github, orbit, ledger, _stop: stop.drop_guard() })
}

fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    tokio::spawn(async move {
        if let Err(error) = server.into_future().await {
            tracing::warn!(%error, "stand-in server ended");
        }
    });
}
