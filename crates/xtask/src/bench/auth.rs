//! What access control costs: a checked request, workflows with a key, ten thousand principals, and how soon
//! a revoked key is refused.
//!
//! A server without access control and one with it run side by side and are asked in turn, so that a busy
//! neighbour slows both down.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::figures::Samples;
use super::house::Folder;
use super::remote;
use super::server::Server;
use crate::wire::Wire;

/// Keys beside those that ask, each with a grant of its own: almost as many as a server keeps.
const PRINCIPALS: usize = 9_990;
/// Narrowed roles that a key can have at most.
const GRANTS: usize = 1_000;
/// Requests of one turn, and turns of each server.
const REQUESTS: usize = 2_000;
const TURNS: usize = 10;
/// Workflows of one turn, and turns of each server.
const WORKFLOWS: usize = 2_000;
const LOADS: usize = 3;

/// The server with access control, and the key of its administrator.
struct Guarded {
    server: Server,
    key: String,
}

impl Guarded {
    /// Starts it in a folder, where the key is once it was started for the first time.
    async fn start(folder: &Folder) -> anyhow::Result<Self> {
        let file = folder.0.join("bootstrap.key");
        let variables = [
            ("NIGHTBELL_AUTH", "on"),
            ("NIGHTBELL_BOOTSTRAP_KEY_FILE", file.to_str().unwrap_or_default()),
        ];
        let server = Server::start_in(folder, &[], &variables).await?;
        let kept = folder.0.join("admin.key");
        if !kept.exists() {
            let bootstrap = std::fs::read_to_string(&file).context("there is no bootstrap key")?;
            let mut wire = Wire::open(&format!("{}@{}", bootstrap.trim(), server.address)).await?;
            let made = make(&mut wire, &json!({ "name": "bench", "roles": ["admin"] })).await?;
            std::fs::write(&kept, made["keySecret"].as_str().unwrap_or_default())?;
        }
        Ok(Self { server, key: std::fs::read_to_string(kept)? })
    }

    /// Its address with the key.
    fn address(&self) -> String {
        format!("{}@{}", self.key, self.server.address)
    }
}

/// Makes a key.
async fn make(wire: &mut Wire, wanted: &Value) -> anyhow::Result<Value> {
    let (status, said) = wire.post("/api/access/keys", wanted.to_string().as_bytes()).await?;
    ensure!(status == 200, "a key: {status}: {}", String::from_utf8_lossy(&said));
    Ok(serde_json::from_slice(&said)?)
}

/// Measures all of it.
pub(super) async fn cost(samples: &mut Samples) -> anyhow::Result<()> {
    let (plain, folder) = (Folder::make()?, Folder::make()?);
    let open = Server::start(&plain).await?;
    let guarded = Guarded::start(&folder).await?;
    let alone = {
        // Of a start each, as making keys leaves behind what was needed for that.
        guarded.server.stop()?;
        let again = Guarded::start(&folder).await?;
        let memory = again.server.memory_mib().0;
        fill(&again).await?;
        again.server.stop()?;
        memory
    };
    let guarded = Guarded::start(&folder).await?;
    samples.take_of("auth", "principals_mib", guarded.server.memory_mib().0 - alone);
    checks(samples, &open, &guarded).await?;
    samples.take_of("auth", "revoked_ms", revocation(&guarded).await?);
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..LOADS {
        rates[0].push(remote::rate(&open.address, WORKFLOWS).await?);
        rates[1].push(remote::rate(&guarded.address(), WORKFLOWS).await?);
    }
    let [open_rate, rate] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[LOADS / 2]
    });
    samples.take_of("auth", "rate", rate);
    samples.take_of("auth", "share", rate / open_rate * 100.0);
    open.stop()?;
    guarded.server.stop()
}

/// Makes keys, each with a role on one workflow.
async fn fill(guarded: &Guarded) -> anyhow::Result<()> {
    let mut wire = Wire::open(&guarded.address()).await?;
    for number in 0..PRINCIPALS {
        let on = [format!("kind=workflow,name=etl-{number}")];
        make(&mut wire, &json!({ "name": format!("k{number}"), "roles": ["runner"], "on": on }))
            .await?;
    }
    Ok(())
}

/// What the check of a request costs: by a key with a role on everything, by a token, and by keys with as
/// many narrowed roles as there may be, of which the last one counts.
async fn checks(samples: &mut Samples, open: &Server, guarded: &Guarded) -> anyhow::Result<()> {
    const NOWHERE: &str = "/api/metadata/taskdefs/none";
    let mut wire = Wire::open(&guarded.address()).await?;
    let asked = |credential: &str| format!("{credential}@{}", guarded.server.address);
    let plain = (open, open.address.as_str(), NOWHERE);
    let (without, with) =
        requests([plain, (&guarded.server, &guarded.address(), NOWHERE)], 404).await?;
    samples.take_of("auth", "open_us", without);
    samples.take_of("auth", "checked_us", with - without);

    let made = make(&mut wire, &json!({ "name": "token", "roles": ["viewer"] })).await?;
    let given = json!({ "keyId": made["keyId"], "keySecret": made["keySecret"] }).to_string();
    let (status, said) = wire.post("/api/token", given.as_bytes()).await?;
    ensure!(status == 200, "a token: {status}");
    let said: Value = serde_json::from_slice(&said)?;
    let address = asked(said["token"].as_str().unwrap_or_default());
    let (without, with) = requests([plain, (&guarded.server, &address, NOWHERE)], 404).await?;
    samples.take_of("auth", "token_us", with - without);

    let path = begin(&mut Wire::open(&open.address).await?).await?;
    let guarded_path = begin(&mut wire).await?;
    let plain = (open, open.address.as_str(), path.as_str());
    // By names, which are looked up, and by patterns, each of which has to be tried.
    for (figure, star) in [("granted_us", ""), ("worst_us", "*")] {
        let others = (1..GRANTS).map(|number| format!("kind=workflow,name=etl-{number}{star}"));
        let on: Vec<String> = others.chain([format!("kind=workflow,name={RUN}")]).collect();
        let wanted = json!({ "name": figure, "roles": ["viewer"], "on": on });
        let made = make(&mut wire, &wanted).await?;
        let address = asked(made["keySecret"].as_str().unwrap_or_default());
        let sides = [plain, (&guarded.server, address.as_str(), guarded_path.as_str())];
        let (without, with) = requests(sides, 200).await?;
        samples.take_of("auth", figure, with - without);
    }
    Ok(())
}

/// The workflow whose run is asked for.
const RUN: &str = "bench-run";

/// Begins a run that waits; answers its path.
async fn begin(wire: &mut Wire) -> anyhow::Result<String> {
    let tasks = json!([{ "name": "w", "taskReferenceName": "w", "type": "WAIT" }]);
    let flow = json!({ "name": RUN, "version": 1, "schemaVersion": 2, "tasks": tasks });
    let (status, _) = wire.post("/api/metadata/workflow", flow.to_string().as_bytes()).await?;
    ensure!(status == 200, "a definition: {status}");
    let (status, id) = wire.post(&format!("/api/workflow/{RUN}"), b"{}").await?;
    ensure!(status == 200, "a run: {status}");
    Ok(format!("/api/workflow/{}", String::from_utf8(id)?.trim_matches('"')))
}

/// Microseconds of two servers' processors per request; each with its address and the path that is asked for.
async fn requests(sides: [(&Server, &str, &str); 2], expected: u16) -> anyhow::Result<(f64, f64)> {
    let mut wires = [Wire::open(sides[0].1).await?, Wire::open(sides[1].1).await?];
    let mut spent = [0.0; 2];
    for turn in 0..=TURNS {
        for (number, (server, _, path)) in sides.into_iter().enumerate() {
            let cpu = server.cpu_seconds();
            for _ in 0..REQUESTS {
                let (status, _) = wires[number].get(path).await?;
                ensure!(status == expected, "{path}: {status}");
            }
            // The first turn warms up.
            if turn > 0 {
                spent[number] += server.cpu_seconds() - cpu;
            }
        }
    }
    let each = |seconds: f64| seconds * 1e6 / (TURNS * REQUESTS) as f64;
    Ok((each(spent[0]), each(spent[1])))
}

/// Milliseconds from asking that a key be revoked until it is refused.
async fn revocation(guarded: &Guarded) -> anyhow::Result<f64> {
    let mut wire = Wire::open(&guarded.address()).await?;
    let made = make(&mut wire, &json!({ "name": "revoked", "roles": ["viewer"] })).await?;
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    let mut its = Wire::open(&format!("{}@{}", text("keySecret"), guarded.server.address)).await?;
    let (status, _) = its.get("/api/metadata/taskdefs").await?;
    ensure!(status == 200, "the key does not count: {status}");
    let begun = Instant::now();
    let (status, _) =
        wire.call("DELETE", &format!("/api/access/keys/{}", text("keyId")), b"").await?;
    ensure!(status == 200, "it is not revoked: {status}");
    let (status, _) = its.get("/api/metadata/taskdefs").await?;
    ensure!(status == 401, "the next request is answered with {status}");
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}
