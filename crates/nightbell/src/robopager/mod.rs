//! Robopager, drop-in: its command line, its checklist and its `etl.cfg`, served by this binary.
//!
//! Service mode is the server with the checklist loaded: `serve --load CHECKLIST --etl-cfg FILE` is
//! the same. Single-job mode (`-c NAME`) needs no server and keeps nothing: see [`once`].

mod etl;
mod ini;
mod once;
mod startup;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use engine::Engine;
use engine::monitors::OWN_MONITOR;
use kernel::alert::definition::{ChecklistOptions, File, Kind};
use kernel::alert::{Monitor, Observation, Status};
use parking_lot::RwLock;
use serde_json::{Map, Value};
use tasks::check::Sources;
use tasks::page_dedup::Shared;

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
    /// Run this check once, page if it fails, and exit: 0 ok, 1 failed, 2 unknown. `cron` runs all
    /// of them as a service
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
        return crate::run(once::run(&config, &arguments.check, &checklist));
    }
    let by_default =
        |it: &&config::Effective| it.key == "listen" && matches!(it.origin, Origin::Default);
    if effective.iter().any(|it| by_default(&it)) {
        config.listen = free(config.listen);
    }
    if !config.load.contains(&checklist) {
        config.load.push(checklist);
    }
    crate::run(crate::serve::run(config, &effective))?;
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
    /// What counts at the moment.
    said: RwLock<Arc<Said>>,
    /// The file, if there is one.
    file: Option<PathBuf>,
    imap_url: Option<String>,
    /// Names this process among those that share a Redis.
    server: String,
    /// What the tasks were told, and are told anew when the file has changed.
    sources: Sources,
    claims: Shared,
}

/// What `etl.cfg` says, and what follows from it.
#[derive(PartialEq)]
struct Said {
    /// How checklists are read.
    checklist: ChecklistOptions,
    etl: Etl,
}

impl Said {
    /// Reads `etl.cfg`, if the configuration names one.
    fn of(config: &Config) -> anyhow::Result<Self> {
        let etl = config.etl_cfg.as_deref().map(Etl::load).transpose()?.unwrap_or_default();
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
        Ok(Self { checklist, etl })
    }

    /// Whether the file says all that these monitors need.
    fn suffices(&self, shown: impl Display, monitors: &File) -> anyhow::Result<()> {
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
}

impl Robopager {
    /// Reads `etl.cfg`, if the configuration names one, and makes it known to tasks.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        let said = Arc::new(Said::of(config)?);
        let robopager = Self {
            said: RwLock::new(said.clone()),
            file: config.etl_cfg.clone(),
            imap_url: config.imap_url.as_ref().map(|url| url.0.clone()),
            server: format!("{}/{}", host(), Engine::new_id()),
            sources: Sources::of(&config.sources.0),
            claims: Shared::default(),
        };
        robopager.share(&said)?;
        robopager.open_mailbox(&said);
        Ok(robopager)
    }

    /// How checklists are read at the moment.
    pub(crate) fn checklist(&self) -> ChecklistOptions {
        self.said.read().checklist.clone()
    }

    /// Lets tasks know the mailbox and the Redis, as they are at any moment.
    pub(crate) fn configure(&self, settings: &mut tasks::registry::Settings) {
        settings.check.sources = self.sources.clone();
        settings.claims = self.claims.clone();
    }

    fn share(&self, said: &Said) -> anyhow::Result<()> {
        let settings = said.etl.redis.clone().map(|place| {
            let server = self.server.clone();
            tasks::page_dedup::Settings { place, server }
        });
        Ok(self.claims.set(settings.as_ref())?)
    }

    fn open_mailbox(&self, said: &Said) {
        let Some(mailbox) = &said.etl.mailbox else { return self.sources.remove(MAILBOX) };
        let mut mailbox: Map<String, Value> = mailbox.clone();
        if let Some(url) = &self.imap_url {
            mailbox.insert("url".to_owned(), url.clone().into());
        }
        self.sources.put(MAILBOX, mailbox);
    }

    /// Whether the file says all that these monitors need.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn suffices(&self, monitors: &File) -> anyhow::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        self.said.read().suffices(file.display(), monitors)
    }

    /// Says that it has started, and who hears of files that are refused.
    pub(crate) async fn start(&self, engine: &Engine) -> anyhow::Result<()> {
        if self.file.is_some() {
            self.suffices(&engine.monitors_file())?;
        }
        let said = self.said.read().clone();
        let key = said.etl.heartbeat.as_deref();
        let told = startup::announce(engine, &said.checklist, key).await;
        told.context("the message at the start cannot be sent")
    }

    /// Reads `etl.cfg` again. It is taken whole, or refused whole and the former one goes on: the
    /// log says so, and an incident until it is good again. The checklists themselves are to be read
    /// again after that.
    pub(crate) async fn reload(&self, engine: &Engine, config: &Config) {
        let Some(file) = &self.file else { return };
        let shown = file.display();
        let outcome = self.read_again(engine, config).await;
        let seen = match &outcome {
            Ok(true) => {
                tracing::info!("applied {shown}");
                Observation::of(Status::Ok, "the file is good again")
            }
            Ok(false) => Observation::of(Status::Ok, "the file is good again"),
            Err(error) => {
                tracing::error!("not applied, what was said before stays in force: {error:#}");
                Observation::of(Status::Fail, format!("{error:#}"))
            }
        };
        let key: Arc<str> = format!("etl.cfg:{shown}").into();
        let open = |it: &Monitor| it.incident(&key).is_some_and(|it| it.state.is_open());
        let told = async {
            if outcome.is_err() || engine.monitor(OWN_MONITOR, open).await? == Some(true) {
                engine.observe_own(Observation { key: key.clone(), ..seen }).await?;
            }
            anyhow::Ok(())
        };
        if let Err(error) = told.await {
            tracing::error!(
                "state of {shown} could not be reported to Nightbell's own monitor: {error:#}"
            );
        }
    }

    /// Whether the file has changed, after it was applied.
    async fn read_again(&self, engine: &Engine, config: &Config) -> anyhow::Result<bool> {
        let new = Said::of(config)?;
        let old = self.said.read().clone();
        if *old == new {
            return Ok(false);
        }
        if let Some(file) = &self.file {
            let monitors = crate::load::monitors_below(engine, &config.load, &new.checklist);
            new.suffices(file.display(), &monitors)?;
        }
        if old.etl.redis != new.etl.redis {
            self.share(&new)?;
        }
        let key = new.etl.heartbeat.as_deref();
        if let Err(error) = startup::listen(engine, &new.checklist, key).await {
            self.share(&old)?;
            return Err(error.context("who is to hear of refused files cannot be told so"));
        }
        self.open_mailbox(&new);
        *self.said.write() = Arc::new(new);
        Ok(true)
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
