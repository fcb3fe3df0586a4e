//! Who still calls without credentials while they are only offered, so that the last ones are known
//! before they are required.

use std::collections::BTreeMap;

use axum::extract::Request;
use axum::http::header;
use parking_lot::Mutex;

use crate::guard::Peer;

/// Clients told apart; further ones are counted together.
const CLIENTS_MAX: usize = 1000;
/// Characters of a client's name for itself.
const AGENT_MAX: usize = 100;
const OTHERS: &str = "(others)";

/// Calls by client: its address and what it calls itself.
#[derive(Debug, Default)]
pub(super) struct Anonymous(Mutex<BTreeMap<String, u64>>);

impl Anonymous {
    /// Counts a call.
    pub(super) fn count(&self, request: &Request) {
        let address = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_canonical());
        let agent = request.headers().get(header::USER_AGENT);
        let agent = agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        let agent: String = agent.as_deref().unwrap_or("?").chars().take(AGENT_MAX).collect();
        let address = address.map_or_else(|| "?".to_owned(), |address| address.to_string());
        let client = format!("{address} {agent}");
        let mut clients = self.0.lock();
        if let Some(calls) = clients.get_mut(&client) {
            *calls += 1;
            return;
        }
        let client = if clients.len() < CLIENTS_MAX {
            tracing::info!(
                client,
                "a client calls without credentials; `auth = \"on\"` would refuse it"
            );
            client
        } else {
            OTHERS.to_owned()
        };
        *clients.entry(client).or_default() += 1;
    }

    /// All clients and their calls.
    pub(super) fn list(&self) -> Vec<(String, u64)> {
        self.0.lock().iter().map(|(client, calls)| (client.clone(), *calls)).collect()
    }
}
