//! SIGKILL at random moments while monitors watch things that go down and come back: every fall is
//! one incident and one alert at the provider, and so is every recovery, whatever the provider and
//! the watched service answer meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::crash::Random;
use crate::live::Live;

/// Times the server is killed.
const KILLS: usize = 24;
/// Monitors, and keys of each.
const MONITORS: [&str; 4] = ["m0", "m1", "m2", "m3"];
const KEYS: [&str; 3] = ["a", "b", "c"];
/// How long the last alerts may take to close, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// Something that is watched, as the world outside knows it.
#[derive(Debug, Default)]
struct Thing {
    is_down: bool,
    falls: u64,
    /// The name under which the provider knows it.
    dedup_key: Option<String>,
    rings: bool,
    rung: u64,
    closed: u64,
    /// Nothing about it changes before.
    rests_until: Option<Instant>,
    /// The provider was difficult about the last change already.
    annoyed: bool,
}

struct Outside {
    things: BTreeMap<(&'static str, &'static str), Thing>,
    random: Random,
    /// Nothing goes down any more, and everybody answers well.
    is_calm: bool,
    /// What must not be; stays empty.
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<Outside>>;

#[tokio::test(flavor = "multi_thread")]
async fn every_page_arrives_once_whenever_the_server_is_killed() {
    let random = Random::new();
    println!("moments drawn from seed {}", random.0);
    let mut moments = Random(random.0 ^ 1);
    let things = MONITORS.iter().flat_map(|name| KEYS.iter().map(|key| (*name, *key)));
    let things = things.map(|place| (place, Thing::default())).collect();
    let outside = Outside { things, random, is_calm: false, wrong: Vec::new() };
    let outside: Shared = Arc::new(Mutex::new(outside));
    let url = serve(outside.clone()).await;
    let life = tokio::spawn(live_and_let_fall(outside.clone()));

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("watch.yaml"), file(&url)).unwrap();
    let load = folder.path().to_str().unwrap();
    let mut live = Live::start(&["--load", load, "--log-level", "warn"]).await;
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(100 + moments.below(1400))).await;
        live.kill();
        live.launch().await;
    }
    outside.lock().is_calm = true;

    let begun = Instant::now();
    let over = |thing: &Thing| !thing.is_down && !thing.rings && thing.rung == thing.falls;
    while !outside.lock().things.values().all(over) {
        if begun.elapsed() > PATIENCE {
            let outside = outside.lock();
            let open: Vec<_> = outside.things.iter().filter(|(_, it)| !over(it)).collect();
            panic!("lost: {open:?}, {:?}; log: {}", outside.wrong, live.log_text());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    life.abort();
    judge(&live, &outside).await;
}

/// Looks at every incident and every delivery that there is.
async fn judge(live: &Live, outside: &Shared) {
    // What the provider knows is noted a moment later.
    let begun = Instant::now();
    while live.get("/api/deliveries?status=queued").await["totalHits"] != 0
        || live.get("/api/incidents").await["totalHits"] != 0
    {
        assert!(begun.elapsed() < PATIENCE, "never noted; log: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let incidents = all(live, "/api/incidents?state=all").await;
    let deliveries = all(live, "/api/deliveries?").await;
    let outside = outside.lock();
    assert!(outside.wrong.is_empty(), "{:?}", outside.wrong);
    let falls: u64 = outside.things.values().map(|thing| thing.falls).sum();
    assert!(falls >= 24, "{falls} falls are too few to say anything");
    for ((monitor, key), thing) in &outside.things {
        // One that falls again before all have heard of its recovery goes on as the same incident,
        // in a further episode.
        let own = incidents.iter().filter(|it| it["monitor"] == **monitor && it["key"] == **key);
        let episodes = own.filter_map(|it| it["episode"].as_u64()).max().unwrap_or(0);
        assert_eq!(episodes, thing.falls, "incidents of {monitor}/{key}: {thing:?}");
        assert_eq!((thing.rung, thing.closed), (thing.falls, thing.falls), "{monitor}/{key}");
    }
    assert!(incidents.len() as u64 <= falls, "there are no others");
    assert!(incidents.iter().all(|incident| incident["state"] == "resolved"));
    for event in ["trigger", "resolve"] {
        let count = deliveries.iter().filter(|line| line["event"] == event).count() as u64;
        assert_eq!(count, falls, "each {event} is one delivery");
    }
    assert_eq!(deliveries.len() as u64, 2 * falls, "there are no others");
    assert!(deliveries.iter().all(|line| line["status"] == "sent"));
}

async fn all(live: &Live, path: &str) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    loop {
        let page = live.get(&format!("{path}&start={}&size=100", found.len())).await;
        let rows = page["results"].as_array().expect("results").clone();
        if rows.is_empty() {
            return found;
        }
        found.extend(rows);
    }
}

fn file(url: &str) -> String {
    let monitor = |name: &&str| {
        format!(
            "  {name}: {{ http: {{ url: \"{url}/state/{name}\", rows: $.rows, per: $.id }}, \
             every: 1s, on_error: {{ after: 0 }} }}\n"
        )
    };
    let monitors: String = MONITORS.iter().map(monitor).collect();
    format!(
        "receivers:\n  oncall: {{ pagerduty: {{ key: K, base_url: \"{url}\" }} }}\n\
         routes:\n  - {{ to: oncall }}\nmonitors:\n{monitors}"
    )
}

/// Things fall, stay down until somebody was rung for them, recover, and rest until that was heard.
async fn live_and_let_fall(outside: Shared) {
    loop {
        {
            let mut outside = outside.lock();
            let Outside { things, random, is_calm, .. } = &mut *outside;
            let now = Instant::now();
            for thing in things.values_mut() {
                if thing.rests_until.is_some_and(|until| until > now) {
                    continue;
                }
                let may_fall = !thing.is_down && !thing.rings && !*is_calm;
                let may_rise = thing.is_down && thing.rings;
                if may_fall || may_rise {
                    thing.is_down = may_fall;
                    thing.falls += u64::from(may_fall);
                    thing.annoyed = false;
                    let rest = Duration::from_millis(random.below(2500));
                    thing.rests_until = Some(now + rest);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The watched service and the provider.
async fn serve(outside: Shared) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let router = Router::new()
        .route("/state/{monitor}", get(state))
        .route("/v2/enqueue", post(enqueue))
        .with_state(outside);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// What is down, unless nobody can tell.
async fn state(
    State(outside): State<Shared>,
    Path(monitor): Path<String>,
) -> (StatusCode, Json<Value>) {
    let mut outside = outside.lock();
    if !outside.is_calm && outside.random.below(12) == 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "try again" })));
    }
    let down = outside.things.iter().filter(|((name, _), it)| *name == monitor && it.is_down);
    let rows: Vec<Value> = down.map(|((_, key), _)| json!({ "id": key })).collect();
    (StatusCode::OK, Json(json!({ "rows": rows })))
}

/// Takes an event as `PagerDuty` does: one alert for each key. Now and then it takes none, or takes
/// it and says that it did not.
async fn enqueue(
    State(outside): State<Shared>,
    Json(event): Json<Value>,
) -> (StatusCode, HeaderMap, Json<Value>) {
    let mut outside = outside.lock();
    let mood = if outside.is_calm { 9 } else { outside.random.below(12) };
    let Outside { things, wrong, .. } = &mut *outside;
    let dedup_key = event["dedup_key"].as_str().unwrap_or_default().to_owned();
    let payload = &event["payload"];
    let known = |thing: &Thing| thing.dedup_key.as_deref() == Some(&*dedup_key);
    let place = things.iter().find(|(_, it)| known(it)).map(|(place, _)| *place).or_else(|| {
        let mut places = things.keys();
        places
            .find(|(name, key)| payload["source"] == **name && payload["component"] == **key)
            .copied()
    });
    let Some(thing) = place.and_then(|place| things.get_mut(&place)) else {
        wrong.push(format!("this is about nothing: {event}"));
        return (StatusCode::BAD_REQUEST, HeaderMap::new(), Json(json!({ "status": "invalid" })));
    };
    let answer = |code, status: &str| (code, HeaderMap::new(), Json(json!({ "status": status })));
    let difficult = mood < 3 && !std::mem::replace(&mut thing.annoyed, true);
    if difficult && mood == 0 {
        let mut refused = answer(StatusCode::TOO_MANY_REQUESTS, "throttle exceeded");
        refused.1.insert("retry-after", axum::http::HeaderValue::from_static("1"));
        return refused;
    }
    if difficult && mood == 1 {
        return answer(StatusCode::INTERNAL_SERVER_ERROR, "not taken");
    }
    if *thing.dedup_key.get_or_insert_with(|| dedup_key.clone()) != dedup_key {
        wrong.push(format!("{place:?} has a second key: {event}"));
    }
    match event["event_action"].as_str() {
        Some("trigger") if !thing.rings => {
            thing.rings = true;
            thing.rung += 1;
            if !thing.is_down {
                wrong.push(format!("{place:?} rings, and is not down: {event}"));
            }
        }
        Some("resolve") if thing.rings => {
            thing.rings = false;
            thing.closed += 1;
            if thing.is_down {
                wrong.push(format!("{place:?} is over, and still down: {event}"));
            }
        }
        // A repetition, which harms nobody.
        _ => {}
    }
    if difficult {
        return answer(StatusCode::INTERNAL_SERVER_ERROR, "taken, but who knows");
    }
    answer(StatusCode::ACCEPTED, "success")
}
