//! The example `influx-lark`, whole: a real `InfluxDB`, a stand-in of Lark's bot, buildings that go
//! down and come back, and a server that is away meanwhile. A second stands for five minutes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use parking_lot::Mutex;
use reqwest::Method;
use ring::hmac;
use serde_json::{Value, json};

use crate::live::Live;
use crate::service::{Service, find, folder, free_port, write};

/// How long a change may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const PASSWORD: &str = "pA55/of influx";
const SIGN: &str = "s1gn-of-the-bot";
const TOKEN: &str = "hook-t0ken";
/// Milliseconds between two pings.
const PING: i64 = 100;

/// The bot, as its answers are documented: every one of them with status 200.
#[derive(Clone, Default)]
struct Lark(Arc<Mutex<Bot>>);

#[derive(Default)]
struct Bot {
    posts: Vec<Post>,
    /// Messages in plain words.
    texts: Vec<String>,
    /// Texts of posts that are refused once, and with which code.
    refuses: Vec<(String, i64)>,
    refused: Vec<i64>,
}

/// A message that the bot took.
#[derive(Clone, Debug, PartialEq)]
struct Post {
    title: String,
    lines: Vec<String>,
}

impl Post {
    /// The buildings in it.
    fn buildings(&self) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.strip_prefix("• ")).collect()
    }

    fn says(&self, heading: &str) -> bool {
        self.lines.first().is_some_and(|line| line.starts_with(heading))
    }
}

impl Lark {
    async fn start(&self) -> String {
        let router = Router::new()
            .route("/open-apis/bot/v2/hook/{token}", post(take))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn posts(&self) -> Vec<Post> {
        self.0.lock().posts.clone()
    }

    /// Waits for a post and answers it.
    async fn hears(&self, live: &Live, what: &str, is: impl Fn(&Post) -> bool) -> Post {
        let begun = Instant::now();
        loop {
            if let Some(post) = self.posts().into_iter().find(&is) {
                return post;
            }
            let posts = self.posts();
            assert!(begun.elapsed() < PATIENCE, "no {what}: {posts:#?}\n{}", live.log_text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn take(
    State(lark): State<Lark>,
    axum::extract::Path(token): axum::extract::Path<String>,
    Json(message): Json<Value>,
) -> Json<Value> {
    let mut bot = lark.0.lock();
    let mut refuse = |code: i64, said: &str| {
        bot.refused.push(code);
        Json(json!({ "code": code, "msg": said, "data": {} }))
    };
    if token != TOKEN {
        return refuse(19001, "param invalid: incoming webhook access token invalid");
    }
    let timestamp = message["timestamp"].as_str().unwrap_or_default();
    let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{timestamp}\n{SIGN}").as_bytes());
    let wanted = base64::prelude::BASE64_STANDARD.encode(hmac::sign(&key, b""));
    let age = jiff::Timestamp::now().as_second() - timestamp.parse::<i64>().unwrap_or_default();
    if message["sign"] != wanted || age.abs() > 3600 {
        return refuse(19021, "sign match fail or timestamp is not within one hour");
    }
    if let Some(text) =
        message["content"]["text"].as_str().filter(|_| message["msg_type"] == "text")
    {
        bot.texts.push(text.to_owned());
        return Json(json!({ "code": 0, "msg": "success", "data": {} }));
    }
    let content = &message["content"]["post"]["en_us"];
    let lines = content["content"].as_array().into_iter().flatten();
    let lines: Vec<String> =
        lines.map(|line| line[0]["text"].as_str().unwrap_or_default().to_owned()).collect();
    if message["msg_type"] != "post" || lines.is_empty() {
        return refuse(19002, "params error, msg_type need");
    }
    let post = Post { title: content["title"].as_str().unwrap_or_default().to_owned(), lines };
    let wanted = bot.refuses.iter().position(|(text, _)| post.lines[0].contains(text.as_str()));
    if let Some(at) = wanted {
        let (_, code) = bot.refuses.remove(at);
        bot.refused.push(code);
        return Json(json!({ "code": code, "msg": "frequency limited", "data": {} }));
    }
    bot.posts.push(post);
    Json(json!({ "code": 0, "msg": "success", "data": {} }))
}

/// `InfluxDB` with authentication, and everybody who pings buildings.
struct Pings {
    url: String,
    http: reqwest::Client,
    /// Buildings, and whether they lose everything.
    down: Arc<Mutex<BTreeMap<(&'static str, &'static str), bool>>>,
    _service: Service,
}

impl Pings {
    async fn start(http: reqwest::Client) -> Option<Self> {
        let program = find("/usr/bin/influxd", "influxdb")?;
        let (folder, port, backup) = (folder(), free_port(), free_port());
        let at = |name: &str| folder.path().join(name).display().to_string();
        // A machine that is slow to write makes the first point wait beyond the usual ten seconds.
        let config = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{backup}\"\n\
             [coordinator]\nwrite-timeout = \"2m\"\n[monitor]\nstore-enabled = false\n\
             [meta]\ndir = {:?}\n[data]\ndir = {:?}\nwal-dir = {:?}\n\
             [http]\nauth-enabled = true\nbind-address = \"127.0.0.1:{port}\"\n",
            at("meta"),
            at("data"),
            at("wal"),
        );
        let config = write(folder.path(), "influxdb.conf", &config);
        let mut command = Command::new(program);
        command.arg("run").arg("-config").arg(config);
        let service = Service::start(folder, command, port);
        let buildings = [
            ("G44-FIBER", "Chalo Tower"),
            ("G44-FIBER", "Kilo"),
            ("ZMM", "Two"),
            ("ROY-LTE", "Mango House"),
            ("KWT", "Fine"),
        ];
        let down = buildings.map(|building| (building, false)).into();
        let url = format!("http://127.0.0.1:{port}");
        let pings = Self { url, http, down: Arc::new(Mutex::new(down)), _service: service };
        let user = format!("CREATE USER nightbell WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES");
        for statement in [user.as_str(), "CREATE DATABASE telegraf"] {
            let query = format!("{}/query", pings.url);
            let query = reqwest::Url::parse_with_params(&query, [("q", statement)]).unwrap();
            let call = pings.http.post(query).basic_auth("nightbell", Some(PASSWORD));
            let answer = call.send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        }
        pings.ping();
        Some(pings)
    }

    /// Pings all buildings for as long as the test runs. Pings stand on a grid: one that is written
    /// late is no ping that is lost.
    fn ping(&self) {
        let (url, http, down) = (self.url.clone(), self.http.clone(), self.down.clone());
        tokio::spawn(async move {
            let mut at = jiff::Timestamp::now().as_millisecond() / PING * PING;
            let mut ticks = tokio::time::interval(Duration::from_millis(PING.unsigned_abs()));
            loop {
                ticks.tick().await;
                let mut lines = String::new();
                while at < jiff::Timestamp::now().as_millisecond() {
                    for ((host, name), down) in &*down.lock() {
                        // Everybody loses one in four now and then.
                        let loss = if *down { 100 } else { 25 * i64::from(at % 700 == 0) };
                        let name = name.replace(' ', "\\ ");
                        let _ = writeln!(
                            lines,
                            "ping,host={host},name={name} percent_packet_loss={loss} {at}"
                        );
                    }
                    at += PING;
                }
                let call = http.post(format!("{url}/write?db=telegraf&precision=ms"));
                let call = call.basic_auth("nightbell", Some(PASSWORD)).body(lines);
                // It fails when the test is over.
                if call.send().await.is_err() {
                    return;
                }
            }
        });
    }

    fn set(&self, buildings: &[(&'static str, &'static str)], is_down: bool) {
        let mut down = self.down.lock();
        for building in buildings {
            *down.get_mut(building).expect("it is pinged") = is_down;
        }
    }
}

/// The example with other addresses, and a second for each five minutes.
fn example(influx: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/influx-lark");
    let text = std::fs::read_to_string(path.join("monitors.yaml")).unwrap();
    let changes = [
        ("http://localhost:8086", influx),
        ("time(5m,", "time(1s,"),
        ("every: 5m", "every: 1s"),
        ("lookback: 5m", "lookback: 1s"),
        ("remind: 30m", "remind: 6s"),
        ("wait: 30s", "wait: 100ms"),
    ];
    changes.into_iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "the example does not say {from}");
        text.replace(from, to)
    })
}

async fn keep(live: &Live, name: &str, value: &str) {
    let body = Value::from(value).to_string();
    let (status, answer) = live.ask(Method::PUT, &format!("/api/secrets/{name}"), body).await;
    assert_eq!(status, 200, "{answer}");
}

/// Waits until no incident is open.
async fn until_quiet(live: &Live) {
    let begun = Instant::now();
    loop {
        let open = live.get("/api/incidents").await;
        if open["totalHits"] == 0 {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{open:#}\n{}", live.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The windows of the checks that are kept and were answered, oldest first.
async fn windows(live: &Live) -> Vec<(i64, i64)> {
    let checks = live.get("/api/monitors/buildings-offline/checks?size=1000").await;
    let mut windows = Vec::new();
    for check in checks["results"].as_array().unwrap() {
        if check["status"] == "COMPLETED" {
            let id = check["workflowId"].as_str().unwrap();
            let window = &live.get(&format!("/api/workflow/{id}")).await["input"]["window"];
            windows.push((window["from_ms"].as_i64().unwrap(), window["to_ms"].as_i64().unwrap()));
        }
    }
    windows.sort_unstable();
    windows
}

const G44: [(&str, &str); 2] = [("G44-FIBER", "Chalo Tower"), ("G44-FIBER", "Kilo")];
const ROY: [(&str, &str); 1] = [("ROY-LTE", "Mango House")];
const ZMM: [(&str, &str); 1] = [("ZMM", "Two")];

#[tokio::test(flavor = "multi_thread")]
async fn buildings_go_down_stay_down_and_come_back_and_none_is_missed() {
    let files = tempfile::tempdir().unwrap();
    let mut live = Live::start(&["--load", files.path().to_str().unwrap()]).await;
    let Some(pings) = Pings::start(live.http.clone()).await else { return };
    let lark = Lark::default();
    let hook = format!("{}/open-apis/bot/v2/hook/{TOKEN}", lark.start().await);
    lark.0.lock().refuses.push(("R&M REGION".to_owned(), 11232));
    for (name, value) in [("INFLUX_PASSWORD", PASSWORD), ("LARK_URL", &hook), ("LARK_SIGN", SIGN)] {
        keep(&live, name, value).await;
    }
    write(files.path(), "monitors.yaml", &example(&pings.url));

    // Two regions go down: one post each, whatever the number of buildings.
    pings.set(&G44, true);
    pings.set(&ROY, true);
    let post = lark.hears(&live, "post about G44", |post| post.says("G44 REGION, trigger")).await;
    assert_eq!(post.title, "OFFLINE BUILDINGS AS PER IAP PING STATUS");
    assert_eq!(post.lines[0], "G44 REGION, trigger: 2 offline");
    assert_eq!(post.buildings(), ["G44-FIBER Chalo Tower", "G44-FIBER Kilo"]);
    // What the bot refused under status 200 comes again.
    let post = lark.hears(&live, "post about R&M", |post| post.says("R&M REGION, trigger")).await;
    assert_eq!(post.buildings(), ["ROY-LTE Mango House"]);
    assert_eq!(lark.0.lock().refused, [11232]);
    let triggers = lark.posts().into_iter().filter(|post| post.lines[0].contains("trigger"));
    assert_eq!(triggers.count(), 2, "{:#?}", lark.posts());

    // They stay down: reminded, as one post.
    let post = lark.hears(&live, "reminder", |post| post.says("G44 REGION, reminder")).await;
    assert_eq!(post.buildings().len(), 2);

    // They come back: all who were told hear of it.
    pings.set(&G44, false);
    pings.set(&ROY, false);
    for region in ["G44 REGION, resolve: 0", "R&M REGION, resolve: 0"] {
        let post = lark.hears(&live, region, |post| post.says(region)).await;
        assert_eq!(post.title, "RESOLVED: OFFLINE BUILDINGS AS PER IAP PING STATUS");
    }
    until_quiet(&live).await;
    let told = lark.posts().len();
    let seen = windows(&live).await;
    assert!(seen.windows(2).all(|pair| pair[1].0 <= pair[0].1), "no gap: {seen:?}");
    let last = seen.last().expect("there are checks").1;

    // The server is away for what stands for an hour. A building goes down and comes back in it.
    live.kill();
    tokio::time::sleep(Duration::from_secs(4)).await;
    pings.set(&ZMM, true);
    tokio::time::sleep(Duration::from_secs(4)).await;
    pings.set(&ZMM, false);
    tokio::time::sleep(Duration::from_secs(4)).await;
    live.launch().await;
    let post = lark.hears(&live, "post about ZMM", |post| post.says("ZMM REGION, trigger")).await;
    assert_eq!(post.buildings(), ["ZMM Two"]);
    lark.hears(&live, "end of ZMM", |post| post.says("ZMM REGION, resolve: 0")).await;
    until_quiet(&live).await;
    let seen = windows(&live).await;
    let makes_up = seen.iter().find(|(from, to)| to - from > 10_000).expect("a long window");
    assert!(makes_up.0 <= last, "{makes_up:?} begins after {last}: {seen:?}");
    assert!(seen.windows(2).all(|pair| pair[1].0 <= pair[0].1), "no gap: {seen:?}");
    let history = live.get("/api/monitors/buildings-offline/history").await;
    let lines = history["missed"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["status"] == "MISSED"), "{history:#}");
    assert!(lines.iter().all(|line| line["status"] != "GAP"), "{history:#}");

    // That nobody looked meanwhile is told as well, in plain words, and that it is over.
    let begun = Instant::now();
    let told_of = |words: &str| lark.0.lock().texts.iter().any(|it| it.contains(words));
    while !(told_of("was not checked") && told_of("RESOLVED")) {
        assert!(begun.elapsed() < PATIENCE, "{:#?}", lark.0.lock().texts);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // Everything was sent, nothing shows a secret.
    assert_eq!(live.get("/api/deliveries?status=dead").await["totalHits"], 0);
    assert!(lark.posts().len() >= told + 2);
    let shown = format!("{}{history}{}", live.get("/api/deliveries").await, live.log_text());
    for secret in [PASSWORD, SIGN, TOKEN] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_readme_says_in_flux_is_read_and_asked() {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let memory = heard.clone();
    let answer = move |Query(query): Query<BTreeMap<String, String>>, body: String| async move {
        memory.lock().push(format!("{} {body}", query["org"]));
        "#datatype,string,long,string,string,double\n#group,false,false,true,true,false\n\
         #default,_result,,,,\n,result,table,host,name,_value\n,,0,ZMM,Two,100\n,,0,KWT,Fine,0\n"
    };
    let router = Router::new().route("/api/v2/query", post(answer));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/influx-lark/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.expect("the README shows a file").replace("http://localhost:8086", &url);
    let live = Live::start(&[]).await;
    keep(&live, "INFLUX_TOKEN", "t0k3n").await;
    let (status, answer) = live.ask(Method::POST, "/api/monitors", block).await;
    assert_eq!((status, &answer["defined"]), (200, &json!(1)), "{answer}");
    assert_eq!(answer["warnings"], json!([]));
    live.post("/api/monitors/buildings-offline/check?by=test", &json!({})).await;
    let begun = Instant::now();
    let open = loop {
        let open = live.get("/api/incidents").await;
        if open["totalHits"] == 1 {
            break open["results"][0].clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{open}: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((&open["key"], &open["labels"]["region"]), (&json!("ZMM:Two"), &json!("ZMM")));
    let heard = heard.lock().join("\n");
    assert!(heard.starts_with("AH ") && heard.contains("range(start: 2"), "{heard}");
}
