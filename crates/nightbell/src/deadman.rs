//! The dead man's switch: somebody outside is called every minute, and rings when the calls stop.
//!
//! It is called only while monitoring works from end to end: commits are synced, checks that are due
//! run, receivers accept what they are sent (see [`Engine::health`]). While it does not, the address
//! for failures is called, if there is one.

use std::time::Duration;

use engine::{DeadMan, Engine};
use reqwest::{Method, Url};
use tasks::http::{self, Client, Request};

use crate::config::Config;

/// Pause between two calls.
const PAUSE: Duration = Duration::from_mins(1);
/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Calls the addresses of the configuration every minute for as long as the server lives.
///
/// # Errors
/// The client cannot be made.
pub(crate) fn call(
    engine: Engine,
    config: &Config,
    settings: http::Settings,
) -> anyhow::Result<()> {
    let Some(url) = config.deadman_url.as_ref().map(|url| url.0.clone()) else { return Ok(()) };
    let failure = config.deadman_fail_url.as_ref().map(|url| url.0.clone());
    let failure = failure.or_else(|| failure_address(&url));
    let client = Client::new(settings)?;
    let success = request(Method::GET, &url)?;
    let mut failure = failure.map(|url| request(Method::POST, &url)).transpose()?;
    let host = Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned));
    let mut stands = DeadMan { host: host.unwrap_or_default(), ..DeadMan::default() };
    tokio::spawn(async move {
        let mut said = None;
        let mut ticks = tokio::time::interval(PAUSE);
        loop {
            tokio::select! {
                biased;
                () = engine.stopped() => return,
                _ = ticks.tick() => {}
            }
            let health = engine.health();
            let says = if health.is_healthy() {
                send(&client, &success).await.err()
            } else {
                let reason = health.reason();
                if let Some(failure) = &mut failure {
                    failure.body = Some(reason.clone().into());
                    if let Err(error) = send(&client, failure).await {
                        tracing::warn!(%error, "dead man's switch could not be notified of the failure");
                    }
                }
                Some(reason)
            };
            match &says {
                None if said.is_some() => tracing::info!("dead man's switch is called again"),
                Some(reason) if said.is_none() => {
                    tracing::error!(reason, "dead man's switch not called");
                }
                _ => {}
            }
            if says.is_none() {
                stands.called_at = Some(engine.now());
            }
            stands.trouble.clone_from(&says);
            engine.set_dead_man(stands.clone());
            said = says;
        }
    });
    Ok(())
}

fn request(method: Method, url: &str) -> anyhow::Result<Request> {
    let mut request = Request::new(method, url.parse()?);
    request.connect_timeout = Some(PATIENCE);
    request.read_timeout = Some(PATIENCE);
    Ok(request)
}

async fn send(client: &Client, request: &Request) -> Result<(), String> {
    // The address is a secret of a kind: it is not told.
    let answer = tokio::time::timeout(PATIENCE, client.send(request)).await;
    let answer = answer.map_err(|_| "took longer than 10 seconds".to_owned())?;
    let answer = answer.map_err(|problem| problem.message)?;
    if answer.status.is_success() { Ok(()) } else { Err(format!("was answered {}", answer.status)) }
}

/// Where services that are known for it want to hear of failures.
fn failure_address(url: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    let is_known = url.host_str() == Some("hc-ping.com")
        || url.path_segments().is_some_and(|mut segments| segments.any(|it| it == "ping"));
    if !is_known {
        return None;
    }
    let path = format!("{}/fail", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use engine::memory::{Call, Fault, Memory};
    use engine::store::StoreError;

    use super::{call, failure_address};
    use crate::cli::offline::engine_over;
    use crate::config::{Config, Flags};
    use crate::serve::task_settings;

    /// Whoever counts on our calls must not hear that all is well when nothing can be written.
    #[tokio::test(flavor = "multi_thread")]
    async fn while_the_disk_is_full_the_address_for_failures_is_called_in_its_place() {
        let (sender, mut calls) = tokio::sync::mpsc::unbounded_channel();
        let answer = move |uri: axum::http::Uri, body: String| async move {
            sender.send((uri.path().to_owned(), body)).expect("the test listens");
        };
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let outside = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });

        let full = Arc::new(AtomicBool::new(false));
        let is_full = full.clone();
        let store = Memory::with_faults(move |call| {
            let fails = !matches!(call, Call::Read(_)) && is_full.load(Ordering::SeqCst);
            fails.then(|| Fault::Before(StoreError::Unavailable("no room left".to_owned())))
        });
        let engine = engine_over(store).await.unwrap();
        let variable = |name: &str| match name {
            "NIGHTBELL_DEADMAN_URL" => Some(format!("{outside}/well")),
            "NIGHTBELL_DEADMAN_FAIL_URL" => Some(format!("{outside}/bad")),
            _ => None,
        };
        let config = Config::load(&Flags::default(), variable, None).unwrap();
        full.store(true, Ordering::SeqCst);
        let healthy = async {
            while engine.health().is_healthy() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let minute = std::time::Duration::from_mins(1);
        tokio::time::timeout(minute, healthy).await.expect("it shows in time");
        call(engine.clone(), &config, task_settings(&config).http).unwrap();
        let (path, body) =
            tokio::time::timeout(minute, calls.recv()).await.expect("it calls in time").unwrap();
        assert_eq!(path, "/bad");
        assert!(body.contains("no room left"), "{body}");
        // One call follows another: had the other address been called, that would have come first.
        assert!(calls.try_recv().is_err());
    }

    #[test]
    fn services_with_an_address_for_failures_are_known() {
        let known = |url: &str| failure_address(url);
        let hosted = known("https://hc-ping.com/0a1b/nightbell?rid=1").unwrap();
        assert_eq!(hosted, "https://hc-ping.com/0a1b/nightbell/fail?rid=1");
        let own = known("http://health.example/ping/0a1b/").unwrap();
        assert_eq!(own, "http://health.example/ping/0a1b/fail");
        assert_eq!(known("https://nosnch.in/0a1b"), None);
    }
}
