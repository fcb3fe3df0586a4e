//! `CHECK_COMPOSITE`: are so many of some monitors of this server bad?
//!
//! What they are is asked of the engine: nothing leaves this process. It is what they were at their last
//! checks, so a composite monitor is as late as they are, and its own interval.

use std::sync::Arc;

use async_trait::async_trait;
use engine::WeakEngine;
use kernel::Json;
use kernel::alert::Status;
use kernel::alert::definition::{Composite, Standing};
use serde_json::{Map, Value, json};

use super::order::Order;
use super::seen::{Seen, attrs};
use super::{Means, Source, Trouble, unknown, wrong};

/// Looks at other monitors.
pub(super) struct Others;

#[async_trait]
impl Source for Others {
    const TYPE: &'static str = "CHECK_COMPOSITE";

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let composite = composite(order)?;
        let engine = means.engine.get().and_then(WeakEngine::upgrade);
        let engine = engine.ok_or_else(|| unknown("the engine is not there"))?;
        let standings = async {
            let found = engine.standings(&composite, &order.monitor).await;
            found.map_err(|error| unknown(format!("the store: {error}")))
        };
        let standings = order.within("the store", standings).await?;
        seen(&composite, &standings)
    }
}

fn composite(order: &Order) -> Result<Composite, Trouble> {
    Composite::of(&order.settings.value()).map_err(wrong)
}

/// What is seen of monitors that stand so.
fn seen(composite: &Composite, standings: &[(Arc<str>, Standing)]) -> Result<Seen, Trouble> {
    let verdict = composite.judge(standings);
    let Some(status) = verdict.status else { return Err(unknown(verdict.text)) };
    let (bad, unknown) = (verdict.bad.len(), verdict.unknown.len());
    let attrs = attrs(json!({
        "bad": bad, "unknown": unknown, "well": verdict.total - bad - unknown,
        "of": verdict.total, "names": verdict.bad.join(", "),
    }));
    Ok(Seen::one(status, &verdict.text, bad.into(), attrs))
}

/// What is seen of rows that say how monitors stand, for tests: `monitor`, and `status` (`ok`, `fail`,
/// `unknown`) or a `value`, of which 0 is bad.
pub(super) fn staged(input: &Json, rows: &[Map<String, Value>]) -> Result<Seen, Trouble> {
    let order = Order::read(input, &super::Settings::default())?;
    let standings = rows.iter().map(|row| {
        let name = row.get("monitor").and_then(Value::as_str);
        let name = name.ok_or_else(|| wrong("each row names its `monitor`"))?;
        let standing = match row.get("status").and_then(Value::as_str) {
            Some("unknown") => Standing::Unknown,
            Some(word) if Status::parse(word) == Some(Status::Ok) => Standing::Well,
            Some(_) => Standing::Bad,
            None => match row.get("value").and_then(Value::as_f64) {
                Some(0.0) => Standing::Bad,
                Some(_) => Standing::Well,
                None => return Err(wrong(format!("the row of {name} has no status and no value"))),
            },
        };
        Ok((Arc::from(name), standing))
    });
    let standings = standings.collect::<Result<Vec<_>, _>>()?;
    seen(&composite(&order)?, &standings)
}
