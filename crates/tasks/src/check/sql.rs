//! `CHECK_SQL`: the rows that a query finds in a database.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::alert::OBSERVATIONS_MAX;
use kernel::alert::definition::Remark;
use reqwest::Url;
use serde_json::{Map, Value};

use super::order::Order;
use super::rows::Shape;
use super::seen::Seen;
use super::{Means, Source, Trouble, unknown, wrong};
use crate::sql::{Error, Limits, query};

/// Asks databases.
pub(super) struct Sql;

#[async_trait]
impl Source for Sql {
    const TYPE: &'static str = "CHECK_SQL";

    fn judge(settings: &Map<String, Value>, means: &Means) -> Option<Remark> {
        let text = |name: &str| settings.get(name).and_then(Value::as_str);
        let is_address = |name: &str| ["://", "${", "jdbc:"].iter().any(|it| name.contains(it));
        if let Some(name) = text("server").filter(|name| !is_address(name))
            && !means.databases.knows(name)
            && text("url").is_none()
        {
            let message = format!(
                "no SQL server is called {name:?}: the configuration has no [sql.{name}], and no \
                 source of that name has a `url`"
            );
            return Some(Remark::warning(Some("server"), message));
        }
        let known = text("server").filter(|name| means.databases.knows(name));
        let url = text("url").filter(|url| known.is_none() && !url.contains("${"))?;
        let why = means.databases.refusal(url)?;
        Some(Remark::warning(Some("url"), why))
    }

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let settings = &order.settings;
        let statement = settings.required("query")?;
        let database = database(order, means)?;
        let parameters = match settings.get("params") {
            None => Vec::new(),
            Some(Value::Array(parameters)) => parameters.clone(),
            Some(one) => vec![one.clone()],
        };
        let rows_max = settings.count("rows_max")?.map_or(OBSERVATIONS_MAX, |max| max as usize);
        let limits = Limits {
            time: order.patience,
            rows_max: rows_max.min(OBSERVATIONS_MAX),
            set_by: ["timeout", "rows_max"],
            ..means.databases.limits().clone()
        };
        let shape = Shape::of(order)?;
        let trouble = |error| match error {
            Error::Invalid(why) => wrong(why),
            Error::Failed(why) => unknown(why),
        };
        let connection = means.databases.get(&database).await.map_err(trouble)?;
        let work =
            async { query(&connection, &statement, &parameters, &limits).await.map_err(trouble) };
        shape.observe(order.within("the query", work).await?)
    }
}

/// The name of a database that the configuration knows, or a URL with the credentials that stand
/// beside it.
fn database(order: &Order, means: &Means) -> Result<String, Trouble> {
    let settings = &order.settings;
    if let Some(name) = settings.text("server")?.filter(|name| means.databases.knows(name)) {
        return Ok(name);
    }
    let text = match settings.text("url")? {
        Some(url) => url,
        None => settings.required("server")?,
    };
    let (user, password) = (settings.text("user")?, settings.text("password")?);
    if user.is_none() && password.is_none() {
        return Ok(text);
    }
    // The URL is not repeated: it may hold a password.
    let beside =
        || wrong("`user` and `password` need a `url` of the form postgres://host/database");
    let mut url = Url::parse(text.trim_start_matches("jdbc:")).map_err(|_| beside())?;
    if let Some(user) = user {
        url.set_username(&user).map_err(|()| beside())?;
    }
    if password.is_some() {
        url.set_password(password.as_deref()).map_err(|()| beside())?;
    }
    Ok(url.into())
}
