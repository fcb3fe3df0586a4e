//! `nightbell import oncall` against a stand-in that keeps to the documented API: the token as it is in
//! `Authorization`, pages of two, `next` with a host of its own, and 429 with `Retry-After`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use kernel::alert::definition::parse_yaml;
use serde_json::{Value, json};

use crate::stand_in::Nightbell;

const TOKEN: &str = "meowmeowmeow";
const PAGE: usize = 2;

#[derive(Clone)]
struct OnCall {
    lists: BTreeMap<&'static str, Vec<Value>>,
    /// What may not be read.
    forbidden: &'static str,
    /// Requests that are still answered with 429.
    refused: Arc<Mutex<usize>>,
}

async fn answer(State(oncall): State<OnCall>, request: Request) -> Response {
    let token = request.headers().get("authorization").and_then(|it| it.to_str().ok());
    if token != Some(TOKEN) {
        let body = json!({ "detail": "Invalid token." });
        return (StatusCode::FORBIDDEN, axum::Json(body)).into_response();
    }
    let mut refused = oncall.refused.lock().unwrap();
    if *refused > 0 {
        *refused -= 1;
        let mut response = StatusCode::TOO_MANY_REQUESTS.into_response();
        response.headers_mut().insert("retry-after", HeaderValue::from_static("0"));
        return response;
    }
    let path = request.uri().path();
    let name = path.strip_prefix("/api/v1/").and_then(|it| it.strip_suffix('/'));
    let Some((name, list)) = name.and_then(|name| Some((name, oncall.lists.get(name)?))) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if name == oncall.forbidden {
        return StatusCode::FORBIDDEN.into_response();
    }
    let query = request.uri().query().unwrap_or_default();
    let page: usize = query.strip_prefix("page=").map_or(1, |it| it.parse().unwrap());
    let more = list.len() > page * PAGE;
    let next = more.then(|| format!("https://engine.internal{path}?page={}", page + 1));
    let results: Vec<&Value> = list.iter().skip((page - 1) * PAGE).take(PAGE).collect();
    let body = json!({
        "count": list.len(), "next": next, "previous": null, "results": results,
        "current_page_number": page, "page_size": PAGE, "total_pages": list.len().div_ceil(PAGE),
    });
    axum::Json(body).into_response()
}

/// The examples of its reference, and a schedule as its pages make them.
fn lists() -> BTreeMap<&'static str, Vec<Value>> {
    let user = |id: &str, name: &str| {
        json!({
            "id": id, "email": format!("{name}@example.com"), "username": name, "role": "admin",
            "slack": [{ "user_id": "UALEX", "team_id": "TALEX" }], "timezone": "UTC", "teams": [],
        })
    };
    BTreeMap::from([
        (
            "users",
            vec![
                user("U4DNY931HHJS5", "alex"),
                user("UBO", "bo"),
                user("UEVE", "eve"),
                user("UNIL", "nil"),
            ],
        ),
        (
            "personal_notification_rules",
            vec![
                json!({ "id": "1", "user_id": "U4DNY931HHJS5", "position": 0, "important": false, "type": "notify_by_sms" }),
                json!({ "id": "2", "user_id": "U4DNY931HHJS5", "position": 1, "duration": 300, "important": false, "type": "wait" }),
                json!({ "id": "3", "user_id": "U4DNY931HHJS5", "position": 2, "important": false, "type": "notify_by_phone_call" }),
                json!({ "id": "4", "user_id": "U4DNY931HHJS5", "position": 0, "important": true, "type": "notify_by_phone_call" }),
            ],
        ),
        (
            "schedules",
            vec![
                json!({ "id": "SBM", "name": "Demo schedule iCal", "type": "ical", "ical_url_primary": "https://example.com/meow_calendar.ics" }),
                json!({ "id": "S3Z", "name": "Demo schedule Calendar", "type": "calendar", "time_zone": "America/New_York", "shifts": ["OH3", "O9W", "OWEEK"] }),
                json!({ "id": "SWEB", "name": "web", "type": "web", "time_zone": "UTC" }),
            ],
        ),
        (
            "on_call_shifts",
            vec![
                json!({ "id": "OH3", "name": "Demo single event", "type": "single_event", "time_zone": null, "level": 0, "start": "2020-09-10T08:00:00", "duration": 10800, "users": ["U4DNY931HHJS5"] }),
                json!({ "id": "O9W", "name": "Demo recurrent event", "type": "recurrent_event", "time_zone": null, "level": 0, "start": "2020-09-10T16:00:00", "duration": 10800, "frequency": "weekly", "interval": 2, "week_start": "SU", "by_day": ["MO", "WE", "FR"], "by_month": null, "by_monthday": null, "users": ["U4DNY931HHJS5"] }),
                json!({ "id": "OWEEK", "name": "weekly", "type": "rolling_users", "level": 0, "start": "2026-11-05T09:00:00", "duration": 28800, "frequency": "weekly", "interval": 1, "week_start": "MO", "by_day": ["MO", "TU", "WE", "TH", "FR"], "rolling_users": [["U4DNY931HHJS5", "UEVE"], ["UBO"]], "start_rotation_from_user_index": 1 }),
                json!({ "id": "OWEB", "schedule": "SWEB", "name": "all week", "type": "rolling_users", "level": 1, "start": "2026-11-02T09:00:00", "rotation_start": "2026-11-02T09:00:00", "duration": 604_800, "frequency": "weekly", "interval": 1, "week_start": "MO", "rolling_users": [["UBO"], ["UEVE"]], "start_rotation_from_user_index": 0 }),
                json!({ "id": "OOVER", "schedule": "SWEB", "name": "party", "type": "override", "start": "2126-12-24T09:00:00", "duration": 86400, "users": ["UEVE"] }),
            ],
        ),
        ("escalation_chains", vec![json!({ "id": "F5J", "name": "default", "team_id": null })]),
        (
            "escalation_policies",
            vec![
                json!({ "id": "E0", "escalation_chain_id": "F5J", "position": 0, "type": "notify_on_call_from_schedule", "notify_on_call_from_schedule": "S3Z", "important": true }),
                json!({ "id": "E1", "escalation_chain_id": "F5J", "position": 1, "type": "wait", "duration": 60 }),
                json!({ "id": "E2", "escalation_chain_id": "F5J", "position": 2, "type": "notify_if_time_from_to", "notify_if_time_from": "09:00:00Z", "notify_if_time_to": "18:00:00Z" }),
                json!({ "id": "E5", "escalation_chain_id": "F5J", "position": 3, "type": "notify_person_next_each_time", "persons_to_notify_next_each_time": ["U4DNY931HHJS5"] }),
                json!({ "id": "E6", "escalation_chain_id": "F5J", "position": 4, "type": "notify_on_call_from_schedule", "notify_on_call_from_schedule": "SWEB" }),
                json!({ "id": "E7", "escalation_chain_id": "F5J", "position": 5, "type": "resolve" }),
            ],
        ),
        (
            "integrations",
            vec![
                json!({ "id": "CFR", "name": "Grafana :blush:", "link": "https://oncall.example/integrations/v1/grafana/mReAoNwDm0eMwKo1mTeTwYo/", "type": "grafana", "default_route": { "id": "RVB" } }),
                json!({ "id": "CWH", "name": "hooks", "link": "https://oncall.example/integrations/v1/webhook/x/", "type": "webhook" }),
            ],
        ),
        (
            "routes",
            vec![
                json!({ "id": "RVB", "integration_id": "CFR", "escalation_chain_id": "F5J", "routing_regex": ".*", "position": 2, "is_the_last_route": true, "slack": { "channel_id": "CH23212D" } }),
                json!({ "id": "RIY", "integration_id": "CFR", "escalation_chain_id": "F5J", "routing_regex": "us-(east|west)", "position": 0, "is_the_last_route": false }),
                json!({ "id": "RXX", "integration_id": "CFR", "escalation_chain_id": "F5J", "routing_type": "jinja2", "routing_regex": "{{ payload.commonLabels.team == \"data\" }}", "position": 1, "is_the_last_route": false }),
                json!({ "id": "RNO", "integration_id": "CWH", "escalation_chain_id": null, "routing_regex": "", "position": 0, "is_the_last_route": true }),
            ],
        ),
    ])
}

#[test]
fn what_oncall_lists_becomes_people_rotations_and_routes() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let serve = |forbidden: &'static str| {
        let oncall = OnCall { lists: lists(), forbidden, refused: Arc::new(Mutex::new(2)) };
        let router = Router::new().fallback(answer).with_state(oncall);
        let listener =
            runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        url
    };
    let url = serve("");
    let import = |url: &str, token: &str| {
        Nightbell::new(&["import", "oncall", "--url", url, "--token", token]).run()
    };
    let made = import(&url, TOKEN).exits(0);
    assert!(made.stderr.contains("asked too often"), "{}", made.stderr);
    let check = Nightbell::new(&["check", "on-call.yaml"]).file("on-call.yaml", &made.stdout).run();
    // Nobody is on call at night there, and an integration has no route: that is said.
    let meant = |line: &str| ["[oncall-gap]", "[tells-nobody]"].iter().any(|it| line.contains(it));
    assert!(
        check.stdout.lines().all(meant) && check.stdout.contains("warning"),
        "{check:#?}\n{}",
        made.stdout
    );

    let file = parse_yaml(&made.stdout).expect("it is YAML").json();
    assert_eq!(
        file["people"],
        json!({
            "alex": { "contact": [{ "to": "alex-sms" }, { "to": "alex-call", "after": "5m" }] },
            "bo": { "contact": [{ "to": "bo-mail" }] },
            "eve": { "contact": [{ "to": "eve-mail" }] },
        }),
        "{}",
        made.stdout
    );
    let layer = |people: Value| {
        json!([{
            "people": people, "from": "2026-11-02 09:00", "handover": "Mon 09:00", "every": "7d",
            "active": ["Mon,Tue,Wed,Thu,Fri 09:00-17:00"], "count": "active",
        }])
    };
    assert_eq!(
        file["rotations"],
        json!({
            "Demo-schedule-Calendar": { "tz": "America/New_York", "layers": layer(json!(["bo", "alex"])) },
            "Demo-schedule-Calendar-2":
                { "tz": "America/New_York", "layers": layer(json!(["bo", "eve"])), "else": [] },
            "web": { "tz": "UTC", "layers": [{
                "people": ["bo", "eve"], "from": "2026-11-02 09:00", "handover": "Mon 09:00", "every": "7d",
            }] },
            "alex": { "layers": [{ "people": ["alex"] }] },
        }),
        "{}",
        made.stdout
    );
    assert_eq!(
        file["overrides"],
        json!([{ "rotation": "web", "who": ["eve"], "from": "2126-12-24 09:00", "to": "2126-12-25 09:00" }])
    );
    let steps = json!([
        { "to": ["oncall:Demo-schedule-Calendar", "oncall:Demo-schedule-Calendar-2"] },
        { "to": ["oncall:alex", "oncall:web"], "after": "1m", "unless": "acked", "hours": "09:00-18:00", "tz": "UTC" },
    ]);
    assert_eq!(
        file["routes"],
        json!([
            { "match": { "monitor": "Grafana :blush:", "team": ["data"] }, "steps": steps },
            { "match": { "monitor": "Grafana :blush:" }, "steps": steps },
        ])
    );
    assert_eq!(
        file["monitors"]["Grafana :blush:"]["alerts"],
        json!({ "key": "${secret:GRAFANA__BLUSH_KEY}" })
    );
    for left_out in [
        "Demo schedule iCal",
        "Demo recurrent event",
        "us-(east|west)",
        "LABEL: VALUE",
        "CH23212D",
        "important",
        "the step resolve",
        "1 of the users",
        "the last route of hooks",
    ] {
        let said =
            made.stdout.lines().any(|it| it.contains("# not translated") && it.contains(left_out));
        assert!(said, "{left_out} in\n{}", made.stdout);
    }
    // The single event was in 2020.
    assert!(made.stdout.contains("# 1 of its shifts are over."), "{}", made.stdout);

    // Without the rules of other users everybody is told by e-mail; without schedules there is nothing.
    let made = import(&serve("personal_notification_rules"), TOKEN).exits(0);
    assert!(
        made.stdout.contains("alex-mail") && !made.stdout.contains("alex-sms"),
        "{}",
        made.stdout
    );
    import(&serve("schedules"), TOKEN).exits(1);
    import(&url, "wrong").exits(1);
    import(&format!("{url}/nothing"), TOKEN).exits(1);
}
