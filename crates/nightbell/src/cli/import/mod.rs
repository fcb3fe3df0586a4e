//! `nightbell import`: makes a file of monitors of what other tools watch.
//!
//! Each importer is a function from what the tool keeps to a [`Page`]. What was made is judged as
//! `nightbell check` would: a monitor that is refused all the same is left out, with the reason.

mod calendar;
mod crontab;
mod gatus;
mod gatus_condition;
mod healthchecks;
mod kuma;
mod oncall;
mod page;
mod receiver;
mod web;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use engine::Engine;
use kernel::alert::definition::{ChecklistOptions, Known, Level, load_judged};
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::output::Output;
use super::{input, offline};
use page::Page;

/// Standard output, in the place of a file.
const STDOUT: &str = "-";

/// Where to import from.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// From Gatus: its config.yaml
    #[command(after_help = "\
Examples:
  nightbell import gatus config.yaml -O monitors.yaml && nightbell check monitors.yaml
  kubectl get configmap gatus -o jsonpath='{.data.config\\.yaml}' | nightbell import gatus -")]
    Gatus(FromFile),
    /// From Uptime Kuma: its database kuma.db (SQLite), which is only read
    #[command(after_help = "\
Examples:
  nightbell import kuma data/kuma.db -O monitors.yaml
  docker cp uptime-kuma:/app/data . && nightbell import kuma data/kuma.db")]
    Kuma {
        /// The database; take its files kuma.db-wal and kuma.db-shm along if Uptime Kuma runs
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        to: To,
    },
    /// From a crontab: a heartbeat monitor for each job, and the crontab that calls them
    #[command(after_help = "\
Examples:
  crontab -l | nightbell import crontab - -O monitors.yaml --crontab crontab.new
  nightbell import crontab /etc/crontab --system --tz Europe/Oslo")]
    Crontab(crontab::Arguments),
    /// From Healthchecks: the list of checks that its API answers, from a file or from the server
    #[command(after_help = "\
Examples:
  HEALTHCHECKS_API_KEY=… nightbell import healthchecks --from https://hc.example.com -O monitors.yaml
  curl -H \"X-Api-Key: …\" https://hc.example.com/api/v3/checks/ | nightbell import healthchecks -")]
    Healthchecks(healthchecks::Arguments),
    #[command(
        about = "From Grafana OnCall: people, rotations and routes of what its public API (v1) lists"
    )]
    #[command(after_help = "\
Examples:
  ONCALL_API_TOKEN=… nightbell import oncall --url https://oncall.example.com -O on-call.yaml
  nightbell check on-call.yaml && nightbell oncall who -f on-call.yaml")]
    Oncall(oncall::Arguments),
    /// From a calendar (iCalendar): a rotation of its events
    #[command(after_help = "\
Examples:
  nightbell import calendar https://calendar.example.com/on-call.ics --rotation primary -O primary.yaml --force
  nightbell import calendar on-call.ics --rotation primary --tz Europe/Oslo --name 'Ann Olsen=ann'

Again and again, from a crontab: a calendar that cannot be read whole leaves the file as it is.")]
    Calendar(calendar::Arguments),
}

/// A file, and what is made of it.
#[derive(Debug, Args)]
pub(crate) struct FromFile {
    /// The file, - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    to: To,
}

/// Where what is made goes.
#[derive(Debug, Args)]
pub(crate) struct To {
    /// The file to write, which must not exist; - for standard output
    #[arg(short = 'O', long = "out", value_name = "FILE", default_value = STDOUT)]
    out: String,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Gatus(FromFile { file, to }) => {
            let page = gatus::page(&input::read(&file)?).map_err(|why| unreadable(&file, why))?;
            finish(page, &to, output).await
        }
        Verb::Kuma { file, to } => {
            let rows = kuma::read(&file)?;
            finish(kuma::page(&rows), &to, output).await
        }
        Verb::Crontab(arguments) => crontab::run(&arguments, output).await,
        Verb::Healthchecks(arguments) => healthchecks::run(&arguments, output).await,
        Verb::Oncall(arguments) => oncall::run(&arguments, output).await,
        Verb::Calendar(arguments) => calendar::run(&arguments, output).await,
    }
}

fn unreadable(file: &str, why: impl Into<String>) -> Failure {
    Failure::error(format!("{file}: {}", why.into()))
}

/// Judges what was made, writes it, and says what came of it.
async fn finish(mut page: Page, to: &To, output: &Output) -> anyhow::Result<()> {
    let engine = offline::engine().await?;
    let judged = judge(&mut page, &engine);
    engine.close().await?;
    judged?;
    write(&page.text(), to, output)?;
    tell(&page, output);
    Ok(())
}

/// Leaves out what would be refused.
fn judge(page: &mut Page, by: &Engine) -> Result<(), Failure> {
    loop {
        let text = page.text();
        let loaded = load_judged(&text, &ChecklistOptions::default(), &Known::default(), by);
        let mut refused = loaded.problems.iter().filter(|it| it.level == Level::Error);
        let Some(first) = refused.next() else {
            // Those who told it were left out.
            let mut untold = loaded.problems.iter().filter(|it| it.code == "receiver-never-told");
            match untold.next() {
                Some(untold) if page.leave_receiver(&untold.path, &untold.message) => continue,
                _ => return Ok(()),
            }
        };
        if !page.leave_monitor(&first.path, &first.message) {
            return Err(Failure::error(format!("the converted file is refused: {first}"))
                .with_hint("please report this with the part of the file that it comes from"));
        }
    }
}

fn write(text: &str, to: &To, output: &Output) -> anyhow::Result<()> {
    if to.out == STDOUT {
        if output.is_json() {
            return output.json(&json!({ "text": text }));
        }
        return text.lines().try_for_each(|line| output.line(line));
    }
    save(&to.out, text, to.force)?;
    output.note(format_args!("wrote {}", to.out));
    let is_read = |it: &std::ffi::OsStr| ["yaml", "yml", "json"].iter().any(|known| it == *known);
    if !std::path::Path::new(&to.out).extension().is_some_and(is_read) {
        output.note("rename it to *.yaml: `nightbell check` and `--load` read no other names");
    }
    Ok(())
}

/// Writes a file that nobody else may read: what was imported may have passwords in it.
fn save(file: &str, text: &str, replaces: bool) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    if replaces {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(file).and_then(|mut it| it.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Conflict, format!("{file} exists already"))
                .with_hint("name another file, or add --force")
        }
        _ => Failure::error(format!("cannot write {file}: {error}")),
    })
}

fn tell(page: &Page, output: &Output) {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let mut made = vec![
        counted(page.monitors.len(), "monitor"),
        counted(page.receivers.len(), "receiver"),
        counted(page.maintenance.len(), "maintenance window"),
    ];
    // Most tools have none of these.
    let on_call = [(page.rotations.len(), "rotation"), (page.overrides.len(), "override")];
    made.extend(on_call.iter().filter(|it| it.0 > 0).map(|(count, what)| counted(*count, what)));
    output.note(format_args!("translated {}", made.join(", ")));
    match page.remarks() {
        0 => output.note("everything has an equivalent"),
        count => output.note(format_args!(
            "{} without an equivalent: see the comments that say \"not translated\"",
            counted(count, "thing")
        )),
    }
}

/// Where an import must not stumble: texts of a document, whatever it is.
fn text(value: &Value, name: &str) -> Option<String> {
    match &value[name] {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A text in which nothing stands for something else: templates have double braces.
fn plain(text: &str) -> String {
    text.replace("{{", "{ {").replace("}}", "} }")
}

/// Seconds as a duration.
fn span(seconds: i64) -> String {
    match seconds {
        0 => "0s".to_owned(),
        it if it % 86_400 == 0 => format!("{}d", it / 86_400),
        it if it % 3600 == 0 => format!("{}h", it / 3600),
        it if it % 60 == 0 => format!("{}m", it / 60),
        it => format!("{it}s"),
    }
}
