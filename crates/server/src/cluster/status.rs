//! Which servers share the store.

use std::fmt::Debug;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::Timestamp;
use kernel::access::Permission;
use serde_json::{Value, json};
use utoipa_axum::routes;

use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

/// What knows the servers of a store.
#[async_trait]
pub trait Cluster: Debug + Send + Sync {
    /// All of them, those that have gone lately too.
    ///
    /// # Errors
    /// Why they are not known now.
    async fn nodes(&self) -> Result<Vec<ClusterNode>, String>;
}

/// One of the servers that share a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// Which it is: a server that starts anew is another one.
    pub incarnation: i64,
    /// Its machine and process.
    pub name: String,
    /// Where the others reach it.
    pub address: Option<String>,
    /// Its release.
    pub release: String,
    /// Whether it owns the store.
    pub is_leader: bool,
    /// When it joined.
    pub joined_at: Timestamp,
    /// Milliseconds until its lease is over; negative afterwards.
    pub lease_left: i64,
}

pub(crate) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(status))
}

/// Lists the servers that share the store, and which of them leads.
#[utoipa::path(
    get, path = "/api/cluster", tag = "operations", operation_id = "clusterStatus",
    responses(
        (status = 200, description = "The servers; one without cluster has none beside itself", body = serde_json::Value),
        (status = 503, description = "The database does not say"),
    )
)]
async fn status(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    let Some(cluster) = &api.settings.cluster else {
        return Ok(Json(json!({ "clustered": false, "nodes": [] })));
    };
    let nodes = cluster.nodes().await.map_err(|why| {
        let message = format!("the servers of the store are not known now: {why}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", message)
    })?;
    let shown: Vec<Value> = nodes.iter().map(shown).collect();
    Ok(Json(json!({ "clustered": true, "nodes": shown })))
}

fn shown(node: &ClusterNode) -> Value {
    json!({
        "incarnation": node.incarnation,
        "name": node.name,
        "address": node.address,
        "release": node.release,
        "role": if node.is_leader { "leader" } else { "follower" },
        "joinedAt": node.joined_at.millis(),
        "leaseLeftMs": node.lease_left,
        "alive": node.lease_left > 0,
    })
}
