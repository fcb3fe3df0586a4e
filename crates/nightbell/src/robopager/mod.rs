//! Robopager, drop-in: its command line, its checklist and its `etl.cfg`, served by this binary.
//!
//! Service mode is the server with the checklist loaded: `serve --load CHECKLIST --etl-cfg FILE` is
//! the same. Single-job mode (`-c NAME`) needs no server and keeps nothing: see [`once`].

mod etl;
mod ini;
mod once;
mod startup;

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use engine::Engine;
use kernel::alert::definition::{ChecklistOptions, File, Kind};
use serde_json::{Map, Value};

use crate::cli::Failure;
use crate::config::{self, Config, Flags, Origin};
use etl::Etl;

/// What a checklist calls its mailbox.
const MAILBOX: &str = "robopager";
/// The check that stands for all: service mode.
const SERVICE: &str = "cron";

/// The options, as the original had them.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run this check once, page if it fails, and exit: 0 ok, 1 failed, 2 could not tell.
    /// `cron` runs all of them as a service
    #[arg(short, long, value_name = "NAME", default_value = SERVICE)]
    check: String,
    /// The checklist
    #[arg(short = 'y', long, value_name = "FILE", default_value = "cfg/checklist.yaml")]
    checklist: PathBuf,
    /// Where the configuration is; also written -cf. There is only `core`: the file of --path
    #[arg(long, value_name = "KIND", default_value = "core")]
    config: String,
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "etl.cfg")]
    path: PathBuf,
}

/// The arguments of the process, with the option of two letters that the original has (`-cf core`)
/// written as others are.
pub(crate) fn arguments(all: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = all.into_iter().collect();
    let Some(at) = all.iter().position(|it| it == "robopager") else { return all };
    for argument in &mut all[at + 1..] {
        let Some(text) = argument.to_str() else { continue };
        if text == "-cf" {
            *argument = "--config".into();
        } else if let Some(value) = text.strip_prefix("-cf=") {
            *argument = format!("--config={value}").into();
        }
    }
    all
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.config != "core" {
        let message = format!("there is no configuration {:?}", arguments.config);
        let hint = "write -cf core, and put what Secrets Manager holds into the file of -p";
        return Err(Failure::usage(message).with_hint(hint).into());
    }
    let (mut config, effective) = {
        let file = config::File::find(None)?;
        Config::load_with_origins(&Flags::default(), config::process_env, file.as_ref())?
    };
    crate::logging::start(&config);
    let checklist = find(&arguments.checklist)?;
    config.etl_cfg = Some(arguments.path.clone());
    if arguments.check != SERVICE {
        return crate::runtime()?.block_on(once::run(&config, &arguments.check, &checklist));
    }
    let by_default =
        |it: &&config::Effective| it.key == "listen" && matches!(it.origin, Origin::Default);
    if effective.iter().any(|it| by_default(&it)) {
        config.listen = free(config.listen);
    }
    if !config.load.contains(&checklist) {
        config.load.push(checklist);
    }
    crate::runtime()?.block_on(crate::serve::run(config))?;
    Ok(ExitCode::SUCCESS)
}

/// The checklist: the file itself, or what the original's documentation means by a name.
fn find(given: &Path) -> anyhow::Result<PathBuf> {
    let mut tried = vec![given.to_owned()];
    if given.is_relative() {
        let named = Path::new("cfg").join(given);
        tried.extend([given, &named].map(|path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".yaml");
            PathBuf::from(name)
        }));
        tried.push(named);
        tried.extend(given.file_name().map(PathBuf::from));
    }
    let is_yaml = |path: &Path| path.extension().is_some_and(|it| it == "yaml" || it == "yml");
    match tried.iter().find(|path| path.is_file()) {
        Some(path) if is_yaml(path) => Ok(path.clone()),
        Some(path) => {
            let message = format!("the name of the checklist {} must end in .yaml", path.display());
            Err(Failure::usage(message).into())
        }
        None => {
            let message = format!("there is no checklist {}", given.display());
            let hint = "name it with -y FILE; the default is cfg/checklist.yaml";
            Err(Failure::usage(message).with_hint(hint).into())
        }
    }
}

/// The address, or one that is free: the original had no port that could be taken, and several of
/// it may run on a machine.
fn free(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
        }
        _ => address,
    }
}

/// What checklists and `etl.cfg` need of the server.
pub(crate) struct Robopager {
    /// How checklists are read.
    pub(crate) checklist: ChecklistOptions,
    etl: Etl,
    /// The file, if there is one.
    file: Option<PathBuf>,
    imap_url: Option<String>,
}

impl Robopager {
    /// Reads `etl.cfg`, if the configuration names one.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        let file = config.etl_cfg.clone();
        let etl = file.as_deref().map(Etl::load).transpose()?.unwrap_or_default();
        let base = ChecklistOptions::default();
        let zone: Arc<str> = local_zone();
        let checklist = ChecklistOptions {
            delivery_tz: etl.zone.as_deref().map_or(zone.clone(), Arc::from),
            check_tz: zone,
            account: MAILBOX.into(),
            batchy: etl.batchy.as_deref().map_or(base.batchy, Arc::from),
            since_start: etl.since_start,
            pagerduty_api: etl.api.as_deref().map_or(base.pagerduty_api, Arc::from),
            pagerduty_url: config.pagerduty_url.as_ref().map(|url| url.0.as_str().into()),
            hourly: etl.hourly,
            offset: i64::try_from(etl.offset)? * 1000,
            only: etl.only.iter().map(|name| Arc::from(name.as_str())).collect(),
        };
        let imap_url = config.imap_url.as_ref().map(|url| url.0.clone());
        Ok(Self { checklist, etl, file, imap_url })
    }

    /// Tells the tasks which mailbox and which Redis there is.
    pub(crate) fn configure(&self, settings: &mut tasks::registry::Settings) {
        if let Some(mailbox) = &self.etl.mailbox {
            let mut mailbox: Map<String, Value> = mailbox.clone();
            if let Some(url) = &self.imap_url {
                mailbox.insert("url".to_owned(), url.clone().into());
            }
            settings.check.sources.insert(MAILBOX.to_owned(), mailbox);
        }
        if let Some(place) = &self.etl.redis {
            let server = format!("{}/{}", host(), Engine::new_id());
            settings.claims = Some(tasks::claims::Settings { place: place.clone(), server });
        }
    }

    /// Whether the file says all that these monitors need.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn suffices(&self, monitors: &File) -> anyhow::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let shown = file.display();
        let of_checklists = |kind: Kind, setting: &'static str, value: &str| {
            let value = value.to_owned();
            let wanted = monitors.monitors.iter().filter(move |it| it.kind == kind);
            let mut named = wanted.filter(move |it| it.settings.parse()[setting] == *value);
            named.next().map(|it| it.name.clone())
        };
        if self.etl.mailbox.is_none()
            && let Some(name) = of_checklists(Kind::Email, "account", MAILBOX)
        {
            bail!("{shown}: {name} looks for mail, and google_apps.email is missing");
        }
        if self.etl.batchy.is_none()
            && let Some(name) = of_checklists(Kind::Job, "batchy", &self.checklist.batchy)
        {
            bail!("{shown}: {name} asks batchy, and batchy.server is missing");
        }
        Ok(())
    }

    /// Says that it has started, and who hears of files that are refused.
    pub(crate) async fn start(&self, engine: &Engine) -> anyhow::Result<()> {
        if self.file.is_some() {
            self.suffices(&engine.monitors_file())?;
        }
        let told = startup::announce(engine, &self.checklist, self.etl.heartbeat.as_deref()).await;
        told.context("the message at the start cannot be sent")
    }
}

/// The zone of this machine.
fn local_zone() -> Arc<str> {
    jiff::tz::TimeZone::system().iana_name().unwrap_or("UTC").into()
}

/// What this machine is called.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    if name.trim().is_empty() { "nightbell".to_owned() } else { name.trim().to_owned() }
}

/// A line of result for whoever runs a check by hand.
fn say(line: &str) {
    // Nobody is left to tell if standard output is closed.
    let _ = writeln!(std::io::stdout(), "{line}");
    if std::io::stdout().is_terminal() {
        let _ = std::io::stdout().flush();
    }
}
