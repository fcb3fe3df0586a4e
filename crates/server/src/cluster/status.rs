//! Which servers share the store, and which of them leads.

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

    /// Lets another server lead: this one finishes what is being done, gives the store back, and follows.
    fn hand_over(&self);
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
    Routes::new().on(Permission::Read, routes!(status)).on(Permission::Admin, routes!(drain))
}

/// Lists the servers that share the store, and which of them leads.
#[utoipa::path(
    get, path = "/api/cluster", tag = "operations", operation_id = "clusterStatus",
    responses(
        (status = 200, description = "The servers of the cluster; a server without one lists itself alone", body = serde_json::Value),
        (status = 503, description = "The database cannot be reached"),
    )
)]
async fn status(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    let Some(cluster) = &api.settings.cluster else {
        return Ok(Json(json!({ "clustered": false, "nodes": [] })));
    };
    let nodes = nodes(&**cluster).await?;
    let shown: Vec<Value> = nodes.iter().map(shown).collect();
    Ok(Json(json!({ "clustered": true, "nodes": shown })))
}

/// Hands leadership over to another server, for example before an upgrade.
///
/// The leader finishes the requests in flight and releases the store; another server leads within a
/// second, and requests wait for it. The former leader then follows.
#[utoipa::path(
    post, path = "/api/cluster/drain", tag = "operations", operation_id = "drainCluster",
    responses(
        (status = 202, description = "The server that hands over, by its incarnation", body = serde_json::Value),
        (status = 409, description = "There is no other server that could lead"),
        (status = 503, description = "The database cannot be reached"),
    )
)]
async fn drain(State(api): State<Api>) -> Result<(StatusCode, Json<Value>), Problem> {
    let alone = || {
        let message = "no other server shares the store, so none could lead in place of this one";
        Problem::new(StatusCode::CONFLICT, "no-successor", message)
            .with_hint("Start another server of the store, and wait until it is ready.")
    };
    let cluster = api.settings.cluster.as_ref().ok_or_else(alone)?;
    let nodes = nodes(&**cluster).await?;
    if !nodes.iter().any(|it| !it.is_leader && it.lease_left > 0) {
        return Err(alone());
    }
    let leader = nodes.iter().find(|it| it.is_leader).map(|it| it.incarnation);
    cluster.hand_over();
    Ok((StatusCode::ACCEPTED, Json(json!({ "incarnation": leader }))))
}

async fn nodes(cluster: &dyn Cluster) -> Result<Vec<ClusterNode>, Problem> {
    cluster.nodes().await.map_err(|why| {
        let message = format!("the servers of the store are not known now: {why}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", message)
    })
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
