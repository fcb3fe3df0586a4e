//! What checks would have answered at instants of the past, asked of the history that Prometheus and
//! `InfluxDB` keep themselves, by the code that checks.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use kernel::{Json, Timestamp};
use serde_json::{Value, json};

use super::empty::Empty;
use super::influx::Influx;
use super::order::Order;
use super::prometheus::{self, Prometheus};
use super::rest::{Clients, Question, json_of};
use super::rows::{Row, Shape};
use super::seen::Seen;
use super::{Means, Settings, Source as _, Trouble, wrong};
use crate::http::Client;
use crate::page_dedup::Shared;
use crate::sql::Databases;

/// Points of a series that Prometheus answers at once.
pub const POINTS_MAX: usize = 10_000;

/// Sources with a history.
pub struct History {
    means: Arc<Means>,
}

/// What a check answered, or why nobody can tell.
pub type Answer = Result<Json, String>;

impl History {
    pub(crate) fn new(settings: Settings, client: &Client, databases: Databases) -> Self {
        let clients = Clients::new(client.clone(), settings.http.clone());
        let jq = crate::jq::Jq::new(crate::jq::Limits::default());
        let (engine, claims) = (OnceLock::new(), Shared::default());
        Self { means: Arc::new(Means { settings, clients, jq, databases, engine, claims }) }
    }

    /// What a check of this task type answers whose input this is: the end of its window is its now.
    ///
    /// # Errors
    /// The settings are at fault, which no other instant would change.
    pub async fn at(&self, task_type: &str, input: &Json) -> Result<Answer, String> {
        let look = async {
            let order = Order::read(input, &self.means.settings)?;
            match task_type {
                Prometheus::TYPE => Prometheus.look(&order, &self.means).await,
                Influx::TYPE => Influx.look(&order, &self.means).await,
                _ => Err(wrong("there is no history of what it asks")),
            }
        };
        answer(look.await)
    }

    /// What checks of a Prometheus answer at `from`, and each `step` milliseconds after it: at most
    /// [`POINTS_MAX`] in all.
    ///
    /// # Errors
    /// The settings are at fault, or Prometheus does not answer.
    pub async fn range(
        &self,
        input: &Json,
        from: Timestamp,
        step: i64,
        count: usize,
    ) -> Result<Vec<Answer>, String> {
        let asked = async {
            let order = Order::read(input, &self.means.settings)?;
            let empty = Empty::read(&order)?.unwrap_or(Empty::Unknown);
            let last = from.plus_millis(step.saturating_mul(count.saturating_sub(1) as i64));
            let seconds = |millis: i64| format!("{:.3}", millis as f64 / 1000.0);
            let form = json!({
                "query": order.settings.required("query")?, "start": seconds(from.millis()),
                "end": seconds(last.millis()), "step": seconds(step),
            });
            let question =
                Question::new(&order, "POST", format!("{}/api/v1/query_range", order.base()?))?
                    .header("Content-Type", "application/x-www-form-urlencoded")
                    .body(form);
            let client = self.means.clients.of(&order)?;
            let response = question.answer(&client, order.patience).await?;
            let body = json_of(&response, "Prometheus")?;
            let mut rows = points(&prometheus::series(&body)?, from, step);
            let shape = Shape::of(&order)?;
            let looks = (0..count).map(|at| match rows.remove(&at) {
                Some(rows) => shape.observe(rows),
                None => empty.seen("series"),
            });
            Ok::<_, Trouble>(looks.map(answer).collect::<Result<Vec<_>, _>>())
        };
        match asked.await {
            Ok(answers) => answers,
            Err(Trouble::Unknown(why) | Trouble::Wrong(why)) => Err(why),
        }
    }
}

fn answer(seen: Result<Seen, Trouble>) -> Result<Answer, String> {
    match seen {
        Ok(seen) => Ok(Ok(Json::of(&seen.output()))),
        Err(Trouble::Unknown(why)) => Ok(Err(why)),
        Err(Trouble::Wrong(why)) => Err(why),
    }
}

/// The rows of each step, as the query would have found them at it.
fn points(series: &[Value], from: Timestamp, step: i64) -> BTreeMap<usize, Vec<Row>> {
    let mut rows: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
    for one in series {
        let Some(labels) = one["metric"].as_object() else { continue };
        for point in one["values"].as_array().into_iter().flatten() {
            let Some(at) = point[0].as_f64() else { continue };
            let after = (at * 1000.0).round() as i64 - from.millis();
            let Ok(number) = usize::try_from((after + step / 2).div_euclid(step.max(1))) else {
                continue;
            };
            let mut row = labels.clone();
            if prometheus::point(&mut row, point).is_some() {
                rows.entry(number).or_default().push(row);
            }
        }
    }
    rows
}
