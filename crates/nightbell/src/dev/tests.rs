//! What a client of the stand-ins sees, over real sockets.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::{Options, Seed, StandIns, start};

const STAR_JSON: &str = "application/vnd.github.v3.star+json";

fn now() -> Timestamp {
    "2030-03-01T12:00:00Z".parse().unwrap()
}

fn client() -> Client {
    // Another test may have been first; that is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().user_agent("tests").no_proxy().build().unwrap()
}

fn github(stand_ins: &StandIns, path: &str) -> RequestBuilder {
    let url = format!("{}{path}", stand_ins.github_url());
    client().get(url).header("Authorization", "token stand-in-github-token")
}

fn orbit(stand_ins: &StandIns, method: Method) -> RequestBuilder {
    let url = format!("{}/oss-stats/activities", stand_ins.orbit_url());
    client().request(method, url).header("Authorization", "Bearer stand-in-orbit-key")
}

async fn status(request: RequestBuilder) -> StatusCode {
    request.send().await.unwrap().status()
}

async fn body(response: Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

async fn page(stand_ins: &StandIns, query: &str) -> Vec<Value> {
    let path = format!("/repos/netflix/conductor/stargazers{query}");
    let response = github(stand_ins, &path).header("Accept", STAR_JSON).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    body(response).await.as_array().unwrap().clone()
}

fn activity(key: &str) -> Value {
    json!({
        "activity": {
            "activity_type_key": "starredConductor",
            "key": key,
            "title": "calm-owl-1 starred netflix/conductor",
            "occurred_at": "2030-03-01T11:00:00Z",
        },
        "identity": { "source": "github", "username": "calm-owl-1" },
    })
}

async fn post(stand_ins: &StandIns, body: &Value) -> Response {
    orbit(stand_ins, Method::POST).body(body.to_string()).send().await.unwrap()
}

#[tokio::test]
async fn pages_hold_every_stargazer_once_in_order_of_time() {
    let stand_ins = start(Options { stargazers: 519, ..Options::tour(now()) }).await.unwrap();
    let details = body(github(&stand_ins, "/repos/netflix/conductor").send().await.unwrap()).await;
    assert_eq!(details["stargazers_count"], 519);

    let mut rows = Vec::new();
    for number in 1..=7 {
        let page = page(&stand_ins, &format!("?per_page=100&page={number}")).await;
        assert_eq!(page.len(), [100, 100, 100, 100, 100, 19, 0][number - 1]);
        rows.extend(page);
    }
    let times: Vec<&str> = rows.iter().map(|row| row["starred_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted());
    let logins: BTreeSet<&str> =
        rows.iter().map(|row| row["user"]["login"].as_str().unwrap()).collect();
    assert_eq!(logins.len(), 519);
    let ids: BTreeSet<u64> = rows.iter().map(|row| row["user"]["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 519);
}

#[tokio::test]
async fn the_recent_stars_lie_after_the_cut_off_and_no_others() {
    for recent in [0, 40, 100, 101] {
        let options = Options { stargazers: 100, recent, ..Options::tour(now()) };
        let stand_ins = start(options).await.unwrap();
        let rows = page(&stand_ins, "?per_page=100").await;
        let after = |cutoff: &str| {
            rows.iter().filter(|row| row["starred_at"].as_str().unwrap() >= cutoff).count()
        };
        // 23, 24 and 48 hours before now.
        for cutoff in ["2030-02-28T13:00:00Z", "2030-02-28T12:00:00Z", "2030-02-27T12:00:01Z"] {
            assert_eq!(after(cutoff), recent.min(100) as usize, "{recent} after {cutoff}");
        }
        assert_eq!(after("2030-03-01T12:00:00Z"), 0, "a star of the future");
    }
}

#[tokio::test]
async fn only_the_star_media_type_shows_times() {
    let stand_ins = start(Options::tour(now())).await.unwrap();
    let path = "/repos/Netflix/Conductor/stargazers";
    let plain = body(github(&stand_ins, path).send().await.unwrap()).await;
    assert_eq!(plain.as_array().unwrap().len(), 30, "the page size where none is asked for");
    assert!(plain[0]["login"].is_string());
    assert_eq!(plain[0].get("starred_at"), None);

    for accept in [STAR_JSON, "application/json, Application/vnd.github.star+json;q=0.9"] {
        let rows =
            body(github(&stand_ins, path).header("Accept", accept).send().await.unwrap()).await;
        assert!(rows[0]["starred_at"].is_string(), "{accept}");
        assert_eq!(rows[0]["user"]["login"], plain[0]["login"]);
    }
}

#[tokio::test]
async fn links_lead_from_the_first_page_to_the_last() {
    let stand_ins = start(Options { stargazers: 519, ..Options::tour(now()) }).await.unwrap();
    let url = format!("{}/repos/netflix/conductor/stargazers", stand_ins.github_url());
    let links = |query: &'static str| {
        let request = github(&stand_ins, &format!("/repos/netflix/conductor/stargazers{query}"));
        async move {
            let response = request.send().await.unwrap();
            response.headers().get("link").map(|links| links.to_str().unwrap().to_owned())
        }
    };
    let link = |number, relation| format!("<{url}?per_page=100&page={number}>; rel=\"{relation}\"");
    let all = |links: &[String]| Some(links.join(", "));
    assert_eq!(
        links("?per_page=100").await,
        all(&[link(2, "next"), link(6, "last")]),
        "the first page"
    );
    assert_eq!(
        links("?per_page=5000&page=3").await,
        all(&[link(2, "prev"), link(4, "next"), link(6, "last"), link(1, "first")]),
        "one between, with a page size beyond the greatest"
    );
    assert_eq!(
        links("?per_page=100&page=6").await,
        all(&[link(5, "prev"), link(1, "first")]),
        "the last page"
    );
    assert_eq!(
        links("?per_page=100&page=18446744073709551615").await,
        all(&[link(6, "prev"), link(1, "first")]),
        "one far beyond the last"
    );
}

#[tokio::test]
async fn github_refuses_strangers_and_what_it_does_not_have() {
    let stand_ins = start(Options::tour(now())).await.unwrap();
    let url = format!("{}/repos/netflix/conductor", stand_ins.github_url());
    assert_eq!(status(client().get(&url)).await, StatusCode::UNAUTHORIZED);
    for wrong in ["token other", "Basic stand-in-github-token", "stand-in-github-token"] {
        let request = client().get(&url).header("Authorization", wrong);
        assert_eq!(status(request).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let bearer = client().get(&url).header("Authorization", "Bearer stand-in-github-token");
    assert_eq!(status(bearer).await, StatusCode::OK);
    for path in ["/repos/netflix/eureka", "/repos/eureka/conductor/stargazers", "/users/netflix"] {
        assert_eq!(status(github(&stand_ins, path)).await, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn orbit_keeps_each_activity_once_and_counts_repeats() {
    let options = Options { orbit_failures: Vec::new(), ..Options::tour(now()) };
    let stand_ins = start(options).await.unwrap();
    let first = post(&stand_ins, &activity("star/1")).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let first = body(first).await;
    assert_eq!(post(&stand_ins, &activity("star/2")).await.status(), StatusCode::CREATED);
    let again = post(&stand_ins, &activity("star/1")).await;
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(body(again).await["data"]["id"], first["data"]["id"]);

    let posted = stand_ins.posted();
    assert_eq!(posted.len(), 2);
    assert_eq!(first["data"]["id"], posted[0].id.as_str());
    assert_eq!((&posted[0].body, posted[0].post_count), (&activity("star/1"), 2));
    assert_eq!((&posted[1].body, posted[1].post_count), (&activity("star/2"), 1));

    let listed = body(orbit(&stand_ins, Method::GET).send().await.unwrap()).await;
    assert_eq!(listed["meta"]["total"], 2);
    assert_eq!(listed["data"][1]["body"], activity("star/2"));
}

#[tokio::test]
async fn orbit_refuses_strangers_and_what_is_no_activity() {
    let options = Options { orbit_failures: Vec::new(), ..Options::tour(now()) };
    let stand_ins = start(options).await.unwrap();
    let url = format!("{}/oss-stats/activities", stand_ins.orbit_url());
    let stranger = client().post(&url).header("Authorization", "Bearer other");
    assert_eq!(status(stranger.body(activity("1").to_string())).await, StatusCode::UNAUTHORIZED);
    let elsewhere = client()
        .post(format!("{}/other/activities", stand_ins.orbit_url()))
        .header("Authorization", "Bearer stand-in-orbit-key")
        .body(activity("1").to_string());
    assert_eq!(status(elsewhere).await, StatusCode::NOT_FOUND);
    let rubbish = orbit(&stand_ins, Method::POST).body("{");
    assert_eq!(status(rubbish).await, StatusCode::BAD_REQUEST);

    for (pointer, wrong) in [
        ("/activity", json!("starred")),
        ("/activity/title", json!(" ")),
        ("/activity/activity_type_key", json!(null)),
        ("/activity/key", json!(7)),
        ("/activity/occurred_at", json!("yesterday")),
        ("/identity", json!(null)),
        ("/identity/username", json!("")),
    ] {
        let mut body_sent = activity("1");
        *body_sent.pointer_mut(pointer).unwrap() = wrong;
        let answer = post(&stand_ins, &body_sent).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{pointer}");
        let errors = body(answer).await["errors"].to_string();
        assert!(errors.contains(pointer), "{errors} should name {pointer}");
    }
    assert_eq!(stand_ins.posted().len(), 0);
}

#[tokio::test]
async fn failures_come_first_in_order_and_leave_no_trace() {
    let options = Options {
        github_failures: vec![502],
        orbit_failures: vec![429, 500],
        ..Options::tour(now())
    };
    let stand_ins = start(options).await.unwrap();
    let path = "/repos/netflix/conductor";
    assert_eq!(status(github(&stand_ins, path)).await, StatusCode::BAD_GATEWAY);
    assert_eq!(status(github(&stand_ins, path)).await, StatusCode::OK);

    let refused = post(&stand_ins, &activity("1")).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    let failed = post(&stand_ins, &activity("1")).await;
    assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(stand_ins.posted().is_empty());
    assert_eq!(post(&stand_ins, &activity("1")).await.status(), StatusCode::CREATED);
    assert_eq!(stand_ins.posted()[0].post_count, 1);
}

#[tokio::test]
async fn the_seed_names_the_stand_ins_and_what_lets_one_in() {
    let options = Options { orbit_failures: Vec::new(), ..Options::tour(now()) };
    let stand_ins = start(options).await.unwrap();
    let Seed { task_defs, workflow, start } = stand_ins.seed();
    assert_eq!(start["name"], workflow["name"]);

    // What the input says is enough to use both services.
    let input = |name: &str| start["input"][name].as_str().unwrap().to_owned();
    let repository =
        format!("{}/repos/{}/{}", input("github_url"), input("gh_account"), input("gh_repo"));
    let token = format!("token {}", input("gh_token"));
    let request = client().get(repository).header("Authorization", token);
    assert_eq!(status(request).await, StatusCode::OK);
    let activities = format!("{}/{}/activities", input("orbit_url"), input("orbit_workspace"));
    let request = client().get(activities).bearer_auth(input("orbit_apikey"));
    assert_eq!(status(request).await, StatusCode::OK);

    // Every input is declared, and every task definition is of a task that the workflow has.
    let declared = workflow["inputParameters"].as_array().unwrap();
    for name in start["input"].as_object().unwrap().keys() {
        assert!(declared.contains(&json!(name)), "{name} is not declared");
    }
    let tasks = tasks_in(&workflow["tasks"]);
    for definition in task_defs.as_array().unwrap() {
        let named = tasks.iter().any(|task| task["name"] == definition["name"]);
        assert!(named, "no task is named {}", definition["name"]);
    }
    let references: BTreeSet<&str> =
        tasks.iter().map(|task| task["taskReferenceName"].as_str().unwrap()).collect();
    assert_eq!(references.len(), tasks.len(), "two tasks share a reference");
}

/// All tasks of a list, those inside loops and switches included.
fn tasks_in(list: &Value) -> Vec<&Value> {
    let mut tasks = Vec::new();
    for task in list.as_array().into_iter().flatten() {
        tasks.push(task);
        tasks.extend(tasks_in(&task["loopOver"]));
        for case in task["decisionCases"].as_object().into_iter().flat_map(|cases| cases.values()) {
            tasks.extend(tasks_in(case));
        }
        tasks.extend(tasks_in(&task["defaultCase"]));
    }
    tasks
}
