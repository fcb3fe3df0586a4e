//! An incident or a run as one file to keep: the report that the command line writes, too.

use crate::report::Report;
use crate::visit::encoded;
use crate::{Context, Failure, Reply, steer};

/// What is downloaded at an address; `None` where there is a page.
///
/// # Errors
/// There is no such incident or run, or it may not be seen.
pub(crate) async fn at(cx: &Context<'_>) -> Result<Option<Reply>, Failure> {
    let segments: Vec<&str> = cx.visit.segments.iter().map(String::as_str).collect();
    let report = match segments[..] {
        ["incidents", id, "file"] => {
            let path = format!("/api/incidents/{}", encoded(id));
            let incident = cx.get(&path).await?;
            Report::of_incident(&incident, &cx.get(&format!("{path}/explain")).await?)
        }
        ["runs", id, "file"] => run(cx, id).await?,
        _ => return Ok(None),
    };
    let name = format!("{}.html", report.file_name());
    Ok(Some(Reply::File { name, html: report.html() }))
}

async fn run(cx: &Context<'_>, id: &str) -> Result<Report, Failure> {
    if super::brief::of(cx, id).await?.is_code {
        let path = steer::of_code(cx, id, "", Some(("showHistory", "true"))).await?;
        return Ok(Report::of_code(id, &cx.get(&path).await?));
    }
    let path = format!("/api/workflow/{}", encoded(id));
    let why = cx.get(&format!("{path}/why")).await.unwrap_or_default();
    Ok(Report::of_run(&cx.get(&path).await?, &why))
}
