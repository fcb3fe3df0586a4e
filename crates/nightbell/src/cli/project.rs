//! `nightbell plan` and `nightbell apply`: a folder of definitions against the server.

mod bump;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use server::projects::ProjectFile;

use super::check;
use super::client::{Client, understand};
use super::confirm;
use super::failure::{Exit, Failure};
use super::output::{Output, clean};
use super::table::Table;
use crate::load;

/// What to plan.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A project owns what it applied. What its folder does not define any more is removed; nothing else
is. The plan shows what changes and what that affects: running executions, next firings, monitors
that notify other receivers, missing secrets.

Exit codes: 0 nothing to change, 7 something, 1 the files are wrong.

Examples:
  nightbell plan definitions/
  nightbell plan definitions/ --project shop -O plan.json && nightbell apply plan.json
  nightbell plan --drift")]
pub(crate) struct Plan {
    /// Folder with the definitions of the project
    #[arg(value_name = "DIR", required_unless_present = "drift")]
    folder: Option<PathBuf>,
    /// Name of the project [default: that of the folder]
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Also write the plan into a file, to be applied as it is
    #[arg(short = 'O', long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Plan the next version of workflows that would change without a new version; the files are
    /// not changed
    #[arg(long)]
    bump: bool,
    /// List what was changed on the server since projects applied it
    #[arg(long, conflicts_with_all = ["folder", "project", "out", "bump"])]
    drift: bool,
}

/// What to apply.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A saved plan is applied only if its objects have not changed on the server since (exit code 4).

Examples:
  nightbell apply definitions/
  nightbell apply definitions/ --project shop --adopt --upgrade-running
  nightbell apply plan.json --yes")]
pub(crate) struct Apply {
    /// Folder with the definitions of the project, or a plan that `plan -O` wrote
    #[arg(value_name = "DIR|PLAN")]
    from: PathBuf,
    /// Name of the project [default: that of the folder]
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Do not ask before more than a fifth of what the project owns is removed
    #[arg(long, short)]
    yes: bool,
    /// Take over objects that another project owns
    #[arg(long)]
    adopt: bool,
    /// Write the next version into the files of workflows that would change without a new version
    #[arg(long)]
    bump: bool,
    /// Upgrade running executions of changed workflows to the new definition where it fits
    #[arg(long)]
    upgrade_running: bool,
}

/// A project as it is sent, and kept in a saved plan.
#[derive(Debug, Deserialize, Serialize)]
struct Project {
    #[serde(rename = "project")]
    name: String,
    files: Vec<ProjectFile>,
    /// What the plan was made against; a folder has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<String>,
}

/// What the server plans, as far as this client knows it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Planned {
    base: String,
    changes: Vec<Change>,
    refusals: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Change {
    action: String,
    kind: String,
    name: String,
    version: Option<u32>,
    owner: Option<String>,
    notes: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Drifted {
    project: String,
    kind: String,
    name: String,
    version: Option<u32>,
    removed: bool,
}

/// Runs `plan`.
pub(super) async fn plan(arguments: Plan, client: &Client, output: &Output) -> anyhow::Result<()> {
    let Some(folder) = arguments.folder.filter(|_| !arguments.drift) else {
        return drift(client, output).await;
    };
    let mut project = read(&folder, arguments.project)?;
    let asked = ask(&project, client).await;
    let (mut value, mut planned) = or_findings(asked, &folder, output).await?;
    let mut raised = Vec::new();
    if arguments.bump {
        raised = bumped(&mut project, &planned, client, output).await?;
        if !raised.is_empty() {
            (value, planned) = ask(&project, client).await?;
        }
    }
    if output.is_json() {
        output.json(&value)?;
    } else {
        show(&planned, output)?;
    }
    // What the server would take, but its author can hardly mean.
    for finding in check::findings(std::slice::from_ref(&folder)).await? {
        if finding.level == load::Level::Warning {
            output.note(clean(&finding.to_string()));
        }
    }
    if let Some(file) = arguments.out {
        project.base = Some(planned.base.clone());
        let text = serde_json::to_string_pretty(&project)?;
        std::fs::write(&file, text + "\n")
            .map_err(|error| Failure::error(format!("cannot write {}: {error}", file.display())))?;
        if !raised.is_empty() {
            let raised = raised.join(", ");
            output.note(format_args!(
                "the plan raises the versions in {raised}, and leaves these files as they are: write the \
                 numbers there before the next plan, or use `nightbell apply --bump` on the folder"
            ));
        }
    }
    // What --yes lets is for whoever applies it to say.
    let refused = planned.refusals.iter().filter(|it| !it.contains("--yes")).count();
    if refused > 0 {
        let message = format!("{refused} refused: nothing of this can be applied");
        return Err(Failure::new(Exit::Conflict, message).into());
    }
    match planned.changes.len() {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Changes, "1 change to apply").into()),
        count => Err(Failure::new(Exit::Changes, format!("{count} changes to apply")).into()),
    }
}

/// Runs `apply`.
pub(super) async fn apply(
    arguments: Apply,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut project = if arguments.from.is_dir() {
        read(&arguments.from, arguments.project)?
    } else if arguments.bump {
        let hint = "write it with `nightbell plan --bump -O`";
        return Err(Failure::usage("a saved plan is applied as it is").with_hint(hint).into());
    } else {
        saved(&arguments.from)?
    };
    let asked = ask(&project, client).await;
    let (_, mut planned) = or_findings(asked, &arguments.from, output).await?;
    let mut raised = Vec::new();
    if arguments.bump {
        raised = bumped(&mut project, &planned, client, output).await?;
        (_, planned) = ask(&project, client).await?;
    }
    if !output.is_json() {
        show(&planned, output)?;
    }
    let removals = planned.changes.iter().filter(|it| it.action == "remove");
    let removals: Vec<String> = removals.map(Change::thing).collect();
    let asks = planned.refusals.iter().any(|it| it.contains("--yes"));
    if asks {
        confirm(&format!("remove {} objects", removals.len()), &removals, arguments.yes)?;
    }
    // The files first: what is applied is what they say.
    for file in project.files.iter().filter(|it| raised.contains(&it.path)) {
        let path = arguments.from.join(&file.path);
        std::fs::write(&path, &file.text)
            .map_err(|error| Failure::error(format!("cannot write {}: {error}", path.display())))?;
    }
    let request = json!({
        "files": project.files, "base": project.base, "adopt": arguments.adopt,
        "yes": arguments.yes || asks, "upgradeRunning": arguments.upgrade_running,
    });
    let call = client.post(&["projects", &project.name, "apply"]).json(&request);
    let value = call.send().await?.value()?;
    if output.is_json() {
        return output.json(&value);
    }
    let count = |name: &str| value[name].as_u64().unwrap_or_default();
    let (created, updated, removed) = (count("created"), count("updated"), count("removed"));
    let mut told = format!("created {created}, updated {updated}, removed {removed}");
    for (name, word) in [("adopted", "took over"), ("upgraded", "upgraded executions")] {
        if count(name) > 0 {
            let _ = write!(told, ", {word} {}", count(name));
        }
    }
    output.note(told);
    Ok(())
}

async fn drift(client: &Client, output: &Output) -> anyhow::Result<()> {
    let value = client.get(&["projects", "drift"]).send().await?.value()?;
    let drifted: Vec<Drifted> = understand("drift", &value)?;
    if output.is_json() {
        output.json(&value)?;
    } else {
        let mut table = Table::new(&["PROJECT", "KIND", "NAME", "~WHAT"]);
        for it in &drifted {
            let version = it.version.map(|it| format!(" v{it}")).unwrap_or_default();
            let what = if it.removed { "removed" } else { "changed" };
            let name = format!("{}{version}", it.name);
            table.row([(&it.project).into(), (&it.kind).into(), (&name).into(), what.into()]);
        }
        output.table(&table)?;
    }
    match drifted.len() {
        0 => Ok(()),
        count => {
            Err(Failure::new(Exit::Changes, format!("{count} not as they were applied")).into())
        }
    }
}

/// Raises versions in the texts of a project, and answers the paths of the files that differ.
async fn bumped(
    project: &mut Project,
    planned: &Planned,
    client: &Client,
    output: &Output,
) -> Result<Vec<String>, Failure> {
    let changed = planned.changes.iter().filter(|it| it.action == "update");
    let changed = changed.filter(|it| it.kind == "workflow");
    let changed: Vec<(String, u32)> =
        changed.filter_map(|it| Some((it.name.clone(), it.version?))).collect();
    let raised = bump::raise(&mut project.files, &changed, client).await?;
    for it in &raised {
        let (name, path) = (clean(&it.name), clean(&it.path));
        output.note(format_args!("{path}: {name} version {} → {}", it.from, it.to));
    }
    Ok(raised.into_iter().map(|it| it.path).collect())
}

async fn ask(project: &Project, client: &Client) -> Result<(Value, Planned), Failure> {
    let call = client.post(&["projects", &project.name, "plan"]);
    let value = call.json(&json!({ "files": project.files })).send().await?.value()?;
    let planned = understand("plan", &value)?;
    Ok((value, planned))
}

/// The files of a folder.
fn read(folder: &Path, name: Option<String>) -> Result<Project, Failure> {
    let canonical = folder
        .canonicalize()
        .map_err(|error| Failure::error(format!("{}: {error}", folder.display())))?;
    let named = canonical.file_name().map(|name| name.to_string_lossy().into_owned());
    let project = name.or(named).ok_or_else(|| {
        Failure::usage("the folder has no name").with_hint("name the project by --project NAME")
    })?;
    let files = load::project_files(&canonical)
        .map_err(|wrong| Failure::error("the files cannot be read").with_details(wrong))?;
    Ok(Project { name: project, files, base: None })
}

/// What the server answered; if it takes no plan of a folder because files are wrong, what `check` says of
/// these, which has places and hints.
async fn or_findings<T>(
    asked: Result<T, Failure>,
    folder: &Path,
    output: &Output,
) -> anyhow::Result<T> {
    let failure = match asked {
        Err(failure) if folder.is_dir() && !failure.violations.is_empty() => failure,
        other => return Ok(other?),
    };
    let found = check::findings(std::slice::from_ref(&folder.to_owned())).await?;
    let wrong: Vec<_> = found.iter().filter(|it| it.level == load::Level::Error).collect();
    if wrong.is_empty() {
        return Err(failure.into());
    }
    for finding in &wrong {
        output.note(clean(&finding.to_string()));
    }
    let message = match wrong.len() {
        1 => "the files have a mistake: nothing is planned".to_owned(),
        count => format!("the files have {count} mistakes: nothing is planned"),
    };
    Err(Failure::error(message).into())
}

/// A plan that was saved.
fn saved(file: &Path) -> Result<Project, Failure> {
    let wrong = |what: String| {
        Failure::error(format!("{}: {what}", file.display()))
            .with_hint("give a folder, or a file that `nightbell plan -O` wrote")
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let project: Project =
        serde_json::from_str(&text).map_err(|error| wrong(format!("is no saved plan: {error}")))?;
    match project.base {
        Some(_) => Ok(project),
        None => Err(wrong("does not say what it was made against".to_owned())),
    }
}

impl Change {
    fn thing(&self) -> String {
        let version = self.version.map(|it| format!(" v{it}")).unwrap_or_default();
        format!("{} {}{version}", self.kind, self.name)
    }
}

fn show(planned: &Planned, output: &Output) -> anyhow::Result<()> {
    for change in &planned.changes {
        let sign = match change.action.as_str() {
            "create" => '+',
            "remove" => '-',
            "adopt" => 'o',
            _ => '~',
        };
        let owner = change.owner.as_ref().map(|it| format!("  (of project {it})"));
        let thing = change.thing();
        output.line(format_args!(
            "{sign} {}{}",
            clean(&thing),
            clean(&owner.unwrap_or_default())
        ))?;
        for note in &change.notes {
            output.line(format_args!("    {}", clean(note)))?;
        }
    }
    for note in &planned.notes {
        output.line(format_args!("! {}", clean(note)))?;
    }
    for refusal in &planned.refusals {
        output.line(format_args!("refused: {}", clean(refusal)))?;
    }
    if planned.changes.is_empty() {
        output.note("nothing to change");
    }
    Ok(())
}
