//! Runs the server: opens what the configuration names, serves until told to stop, closes in order.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use engine::durable::Leases;
use engine::store::{Retention, Store, StoreError};
use engine::{AuditEntry, Clock, Engine, Parts, SampleOptions, SystemClock};
use futures_util::FutureExt as _;
use kernel::access::Mode;
use server::backtests::Backtests;
use server::upkeep::Upkeep;
use server::{Api, LocalSocket, QuotaSettings, Settings, Tls, TlsFiles};
use store::{Postgres, PostgresOptions, Sqlite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::cli::Failure;
use crate::cli::backtest::WithinServer;
use crate::config::{Auth, Config, Effective, StoreUrl, access_of, process_env};
use crate::robopager::Robopager;
use crate::scripts::Engines;
use crate::secret_key;
use crate::secrets::{self, Outside};
use crate::upkeep::OfProcess;
use crate::{
    acme, audit_file, bootstrap, cluster, damaged, deadman, exposed, limits, load, reloading, sso,
    traces,
};

/// A server that is open but not yet told when to stop.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) api: Api,
    ports: Ports,
    address: SocketAddr,
    /// The store, if it is one that another server may take over.
    shared: Option<Arc<Postgres>>,
    /// Cancelled when another server is to lead in place of this one.
    handing_over: CancellationToken,
    /// How this process calls others, under the one policy that knows where it listens itself.
    calls: tasks::http::Settings,
    /// What a certificate authority is asked for.
    certificates: Option<acme::Asked>,
    /// Exports runs as traces.
    exporter: Option<JoinHandle<()>>,
    /// Secrets that are kept elsewhere.
    secrets: Arc<Outside>,
}

/// Who answers where the server listens.
enum Ports {
    /// Nobody yet.
    Closed(TcpListener),
    /// Both ports of one of several servers answer already.
    Shared(cluster::Serving),
}

/// Serves until the process is told to stop. One of several servers that has lost the store begins anew.
pub(crate) async fn run(config: Config, effective: &[Effective]) -> anyhow::Result<()> {
    let is_one_of_several = config.peer_listen.is_some();
    let ended = Box::pin(run_once(config, effective)).await;
    match ended {
        Err(error) if is_one_of_several && error.is::<cluster::Lost>() => {
            tracing::warn!("{error}; it begins anew as one of several");
            let error = cluster::begin_anew();
            Err(error).context("the server cannot begin anew")
        }
        ended => ended,
    }
}

async fn run_once(config: Config, effective: &[Effective]) -> anyhow::Result<()> {
    // From now on neither signal ends the process by itself, though it is not yet served.
    let mut stop = Stop::listen()?;
    end_at_the_latest().context("there is no thread to end the process")?;
    let hangups = signal(SignalKind::hangup()).context("SIGHUP cannot be heard")?;
    let robopager = Arc::new(Robopager::of(&config)?);
    let shared = cluster::Slot::default();
    let (upkeep, reloads) = OfProcess::new(&config, effective);
    let clock = Arc::new(SystemClock);
    let open = Server::open_with(&config, clock, &robopager, &shared, Some(&upkeep));
    let opened = stop.unless_told(Box::pin(open)).await;
    let Some(server) = opened else {
        // Nothing was acknowledged here: nobody could ask yet, or another server has answered.
        shared.close().await;
        tracing::info!("stopped before the store was opened");
        return Ok(());
    };
    let server = server.map_err(|error| match config.peer_listen {
        Some(_) => cluster::or_lost(error),
        None => error,
    })?;
    let (engine, calls) = (server.engine.clone(), server.calls.clone());
    let (tls, secrets) = (server.api.settings.tls.clone(), server.secrets.clone());
    let (options, loaded) = (robopager.clone(), load::Loaded::pruning(config.load_prune));
    let (paths, seen) = (config.load.clone(), loaded.clone());
    let owned = server.shared.clone();
    let prepared = stop.unless_told(prepare(&engine, &config, &robopager, &loaded, calls)).await;
    let keeping = match prepared {
        Some(Ok(keeping)) => keeping,
        Some(Err(error)) => {
            if let Some(why) = lost_store(owned).now_or_never() {
                return Err(cluster::Lost(why).into());
            }
            shared.close().await;
            engine.close().await?;
            return Err(error);
        }
        None => {
            shared.close().await;
            engine.close().await.context("the store cannot be closed")?;
            tracing::info!("stopped before serving requests");
            return Ok(());
        }
    };
    let watching = load::watch(engine.clone(), &paths, seen, move || options.checklist())
        .context("the files of --load cannot be watched")?;
    let asked = (hangups, reloads);
    let reading = reloading::when_asked(asked, engine, config, robopager, loaded, tls, secrets);
    let reading = tokio::spawn(reading);
    let result = server.serve(stop).await;
    reading.abort();
    drop((watching, keeping));
    result
}

/// Does what must be done before the first request is answered; what it answers goes on while it is kept.
async fn prepare(
    engine: &Engine,
    config: &Config,
    robopager: &Robopager,
    loaded: &load::Loaded,
    calls: tasks::http::Settings,
) -> anyhow::Result<Vec<AbortOnDropHandle<()>>> {
    let mut keeping = Vec::new();
    if let Some(file) = &config.audit_file {
        let following = audit_file::follow(engine.clone(), file.clone())?;
        keeping.push(AbortOnDropHandle::new(tokio::spawn(following)));
    }
    let version = format!("nightbell {}", env!("CARGO_PKG_VERSION"));
    if let Err(error) = engine.write_audit(AuditEntry::of_server("start", version)).await {
        tracing::warn!(%error, "a line of the audit ledger was lost: the server has started");
    }
    let signing = server::ledger::sign_hourly(engine.clone());
    keeping.push(AbortOnDropHandle::new(tokio::spawn(signing)));
    let options = robopager.checklist();
    load::load(engine, &config.load, &options, loaded).await.map_err(|mistakes| {
        anyhow::anyhow!(
            "the definitions of --load have mistakes, nothing is served:\n  {}",
            mistakes.join("\n  ")
        )
    })?;
    let client = tasks::http::Client::new(calls.clone())?;
    tokio::spawn(tasks::notify::hear_presses(engine.clone(), client));
    deadman::call(engine.clone(), config, calls)?;
    robopager.start(engine).await?;
    Ok(keeping)
}

/// How long the end waits for the answer of a collector of traces.
const EXPORT_END_MAX: Duration = Duration::from_secs(2);

/// Connections that may wait to be accepted; the system allows at most `net.core.somaxconn`. Who finds
/// them used up is not refused but tries again after a second, so one peer that opens a thousand at
/// once, the usual bound, would delay everybody.
const BACKLOG: u32 = 4_096;

/// Opens the port, also while connections of the server before are still ending.
pub(crate) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Server {
    /// Opens the port and the store, and sets everything going again that was.
    pub(crate) async fn open(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let slot = cluster::Slot::default();
        Self::open_with(config, clock, &Robopager::of(config)?, &slot, None).await
    }

    /// The same, with what checklists need, and where to leave the ports if they answer before.
    async fn open_with(
        config: &Config,
        clock: Arc<dyn Clock>,
        robopager: &Robopager,
        shared: &cluster::Slot,
        upkeep: Option<&Arc<OfProcess>>,
    ) -> anyhow::Result<Self> {
        let (auth, certificates) = (auth(config)?, acme::Asked::of(config)?);
        let tls = tls(config, certificates.as_ref())?;
        let has_provider = sso::is_set(config, auth)?;
        let mut settings = task_settings(config);
        robopager.configure(&mut settings);
        let outside = Outside::of(config, settings.http.clone())?;
        let waits = config.standby && config.peer_listen.is_none();
        let taken_over = if waits { stand_by(config).await? } else { None };
        // The port first: a second server must not touch the store.
        let listener = match listen(config.listen) {
            Ok(listener) => listener,
            Err(error) => {
                if let Some((store, _)) = taken_over {
                    // Without that the next one waits for the lease, and no more.
                    let _ = store.close().await;
                }
                return Err(error).with_context(|| format!("cannot listen on {}", config.listen));
            }
        };
        let socket = match config.socket.as_deref().map(LocalSocket::bind).transpose() {
            Ok(socket) => socket.map(Arc::new),
            Err(error) => {
                if let Some((store, _)) = taken_over {
                    let _ = store.close().await;
                }
                let path = config.socket.as_deref().unwrap_or(Path::new("")).display();
                return Err(error).with_context(|| format!("socket: cannot listen on {path}"));
            }
        };
        // Definitions do not call the server that runs them, unless the configuration lets them.
        settings.http.outgoing.policy().listeners.add(listener.local_addr()?);
        let calls = settings.http.clone();
        tell_of_proxies();
        let address = listener.local_addr()?;
        let served = server_settings(config, auth, tls, socket)?;
        let (ports, store, owned) = if config.peer_listen.is_some() {
            let serving = cluster::Serving::begin(config, listener, &served, shared)?;
            settings.http.outgoing.policy().listeners.add(serving.peer_address());
            let store = serving.own_store().await?;
            (Ports::Shared(serving), store.clone() as Arc<dyn Store>, Some(store))
        } else {
            let (store, owned) = match taken_over {
                Some(opened) => opened,
                None => open_store(config, upkeep).await?,
            };
            (Ports::Closed(listener), store, owned)
        };
        let key = secret_key::find(config, &*store).await?;
        outside.begin().await;
        let engine = Engine::open(Parts {
            store,
            clock,
            scripts: Engines::new(javascript_limits(config), jq_limits(config)),
            runners: tasks::registry::runners(&settings)?,
            values: outside.clone(),
            describe: server::rest::view::describe,
            options: engine::Options {
                key: Some(key),
                checks_principals: auth != Mode::Open,
                has_provider,
                ..options(config)
            },
        })
        .await
        .context("the store cannot be read")?;
        secrets::keep(outside.clone(), engine.clone());
        damaged::keep(engine.clone());
        if auth != Mode::Open {
            bootstrap::begin(&engine, config).await?;
        }
        if let Some(queue) = &config.task_update_queue {
            engine.listen_for_updates(&queue.0);
        }
        let among_others = owned.clone().filter(|_| config.peer_listen.is_some());
        let handing_over = CancellationToken::new();
        let cluster = among_others.map(|store| {
            Arc::new(cluster::OfStore { store, handing_over: handing_over.clone() }) as Arc<_>
        });
        let oidc = sso::options(config, &engine, calls.clone())?;
        let upkeep = upkeep.map(|it| it.clone() as Arc<dyn Upkeep>);
        let workloads = sso::workloads(config, &engine, calls.clone())?;
        let served = Settings { cluster, oidc, upkeep, workloads, ..served };
        let api = Api { engine: engine.clone(), settings: Arc::new(served) };
        let exporter = traces::export(&engine, config, calls.clone())?;
        Ok(Self {
            engine,
            api,
            ports,
            address,
            shared: owned,
            handing_over,
            calls,
            certificates,
            exporter,
            secrets: outside,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process is told to stop, then finishes what it holds.
    pub(crate) async fn serve(self, mut stop: Stop) -> anyhow::Result<()> {
        let address = self.address();
        let settings = &self.api.settings;
        if matches!(self.ports, Ports::Closed(_)) {
            tell_address(settings, address);
        }
        if let Some(socket) = &settings.socket {
            tracing::info!("the local administrator's socket is {}", socket.path().display());
        }
        if settings.beyond_loopback && settings.auth == Mode::Open {
            tracing::warn!(
                "access control is open, as configured: everybody who can reach {address} may do \
                 everything"
            );
        }
        if settings.beyond_loopback && settings.hosts.is_empty() && settings.public_url.is_none() {
            tracing::info!(
                "requests are answered that name this server by an IP address or by a name of a \
                 private network; public names belong into `public_url` or `hosts`"
            );
        }
        let certificates = self.certificates.zip(settings.tls.clone());
        let certificates = certificates.map(|(asked, tls)| {
            AbortOnDropHandle::new(tokio::spawn(acme::keep(asked, tls, self.calls)))
        });
        let engine = self.engine.clone();
        let lost = Arc::new(OnceLock::new());
        let incarnation = self.shared.as_ref().map_or(0, |store| store.incarnation());
        let (shared, seen) = (self.shared, lost.clone());
        let (told, handing_over) = (CancellationToken::new(), self.handing_over);
        let hears = told.clone();
        // It is also heard while another server is to lead.
        let _hearing = AbortOnDropHandle::new(tokio::spawn(async move {
            stop.told().await;
            hears.cancel();
        }));
        let (is_told, is_handing_over) = (told.clone(), handing_over.clone());
        let stop = async move {
            tokio::select! {
                () = is_told.cancelled() => tracing::info!("shutting down: finishing requests in flight"),
                () = is_handing_over.cancelled() => {
                    tracing::info!("shutting down: finishing requests in flight; another server is to lead");
                }
                why = lost_store(shared) => {
                    let _ = seen.set(why);
                }
            }
            // Long polls and synchronous executions are answered now, or they would hold us up.
            engine.stop();
        };
        let mut deadline = None;
        let (served, others) = match self.ports {
            Ports::Closed(listener) => (server::serve(listener, self.api, stop).await, None),
            Ports::Shared(serving) => {
                serving.node().lead(incarnation, server::router(self.api));
                stop.await;
                // Whoever is told to stop has a deadline already.
                deadline = handing_over
                    .is_cancelled()
                    .then(|| AbortOnDropHandle::new(tokio::spawn(end_overdue())));
                if lost.get().is_none() {
                    serving.close_public().await;
                }
                (Ok(()), Some(serving))
            }
        };
        drop(certificates);
        if let Some(why) = lost.get() {
            // Whatever is still being done cannot be written any more, and is begun again elsewhere.
            return Err(cluster::Lost(why.clone()).into());
        }
        if let Some(exporter) = self.exporter {
            // What is on its way is noted, or it would be sent again after the next start.
            drop(tokio::time::timeout(EXPORT_END_MAX, exporter).await);
        }
        self.engine.close().await.context("the store cannot be closed")?;
        drop(deadline);
        if let Some(serving) = others {
            serving.close_peers().await;
            if handing_over.is_cancelled() {
                tokio::select! {
                    () = serving.succeeded() => {}
                    () = told.cancelled() => {}
                }
                if !told.is_cancelled() {
                    return Err(
                        cluster::Lost("this server has let another one lead".to_owned()).into()
                    );
                }
            }
        }
        tracing::info!("stopped");
        served.context("the port failed")
    }
}

fn server_settings(
    config: &Config,
    auth: Mode,
    tls: Option<Arc<Tls>>,
    socket: Option<Arc<LocalSocket>>,
) -> anyhow::Result<Settings> {
    Ok(Settings {
        body_max: usize::try_from(config.payload_max.0)?.saturating_add(BODY_SLACK),
        connections_max: limits::apply(),
        connections_per_address: config.connections_per_address.get(),
        public_url: config.public_url.as_ref().map(|url| url.0.clone()),
        hosts: config.hosts.clone(),
        beyond_loopback: is_beyond_loopback(config),
        trusted_proxies: config.trusted_proxies.0.clone(),
        tls,
        socket,
        auth,
        quotas: QuotaSettings {
            requests_per_second: config.principal_requests_per_second.map_or(0, NonZeroU32::get),
            bytes_per_minute: config.principal_bytes_per_minute.map_or(0, |bytes| bytes.0),
        },
        console: config.console,
        editor_schema: crate::schemas::named,
        backtests: Some(Backtests::new(Arc::new(WithinServer))),
        ..Settings::default()
    })
}

/// Says where clients are answered from now on.
pub(crate) fn tell_address(settings: &Settings, address: SocketAddr) {
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{address}");
}

/// Returns once the store is not this server's any more, with the reason.
async fn lost_store(shared: Option<Arc<Postgres>>) -> String {
    match shared {
        Some(store) => store.lost().await,
        None => std::future::pending().await,
    }
}

fn is_beyond_loopback(config: &Config) -> bool {
    !config.listen.ip().to_canonical().is_loopback()
}

/// Whether credentials are asked for. Nothing is served beyond this machine without access control
/// unless that is written out.
fn auth(config: &Config) -> anyhow::Result<Mode> {
    match config.auth {
        Auth::Said(mode) => Ok(mode),
        Auth::Auto if !is_beyond_loopback(config) => Ok(Mode::Open),
        Auth::Auto => {
            let message = format!(
                "the server would listen on {}, where other machines can reach it, and nothing says \
                 whether they may use it without a key",
                config.listen
            );
            Err(Failure::usage(message)
                .with_details([
                    "auth = \"on\"    asks every client for a key (NIGHTBELL_AUTH=on, --auth on)".to_owned(),
                    "auth = \"open\"  lets everybody do everything (NIGHTBELL_AUTH=open, --auth open)".to_owned(),
                ])
                .with_hint("write one of them; docs/security.md tells how to move over")
                .into())
        }
    }
}

/// The certificate, if the port speaks TLS.
fn tls(config: &Config, asked: Option<&acme::Asked>) -> anyhow::Result<Option<Arc<Tls>>> {
    if let Some(asked) = asked {
        return asked.open(config.tls_client_ca.clone()).map(Some);
    }
    let (cert, key) = match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => (cert.clone(), key.clone()),
        (None, None) if config.tls_client_ca.is_none() => return Ok(None),
        (Some(_), None) => return Err(incomplete_tls("tls_cert is set, and tls_key is not")),
        (None, Some(_)) => return Err(incomplete_tls("tls_key is set, and tls_cert is not")),
        (None, None) => {
            return Err(incomplete_tls(
                "tls_client_ca is set, and no certificate of the server is",
            ));
        }
    };
    exposed::tell_of_file(&key, "the private key of the server");
    let files = TlsFiles { cert, key, client_ca: config.tls_client_ca.clone() };
    Ok(Some(Tls::open(files).context("TLS cannot be used, so nothing is served")?))
}

fn incomplete_tls(message: &str) -> anyhow::Error {
    let failure = Failure::usage(message.to_owned());
    failure.with_hint("TLS needs both: the certificate (tls_cert) and its key (tls_key)").into()
}

/// How often one that stands by looks whether the store is free.
const STANDBY_LOOK: Duration = Duration::from_millis(500);

/// The longest pause of one that stands by while the database is away.
const STANDBY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Returns once no other process has the store, or, where that is shared, once this one has it.
async fn stand_by(config: &Config) -> anyhow::Result<Option<Opened>> {
    match &config.store {
        StoreUrl::Sqlite(path) => {
            stand_by_file(config, path).await;
            Ok(None)
        }
        StoreUrl::Postgres(url) => take_over(&postgres_options(url)?).await.map(Some),
    }
}

/// Of several that stand by for a file one gets it; the others end with an error, to be started
/// again by whatever started them.
async fn stand_by_file(config: &Config, path: &Path) {
    let mut told = false;
    while store::is_taken(path) {
        if !told {
            tracing::info!("standing by: {} is in use by another server", config.store);
            told = true;
        }
        tokio::time::sleep(STANDBY_LOOK).await;
    }
}

/// Opens a shared store as soon as it can be had, however often its database is away or another
/// server is faster.
async fn take_over(options: &PostgresOptions) -> anyhow::Result<Opened> {
    let mut told = None;
    let mut pause = STANDBY_LOOK;
    loop {
        // Opening waits for a lease to be over, and complains about one that is not: ask first.
        let error = if Postgres::is_taken(options).await {
            pause = STANDBY_LOOK;
            format!("{options} is in use by another server")
        } else {
            match Postgres::open(options).await {
                Ok(store) => {
                    tracing::info!("the store is {options}");
                    return Ok((store.clone(), Some(store)));
                }
                Err(StoreError::Unavailable(why)) => why,
                Err(error) => return Err(error).context("the store cannot be opened"),
            }
        };
        if told.as_ref() != Some(&error) {
            tracing::info!("standing by: {error}");
            told = Some(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(STANDBY_PAUSE_MAX);
    }
}

pub(crate) fn postgres_options(url: &str) -> anyhow::Result<PostgresOptions> {
    PostgresOptions::parse(url).map_err(anyhow::Error::msg)
}

/// Bytes of a request around its payload.
const BODY_SLACK: usize = 64 << 10;

/// A store; a shared one also as what tells when it is lost.
type Opened = (Arc<dyn Store>, Option<Arc<Postgres>>);

/// Opens the store.
async fn open_store(config: &Config, upkeep: Option<&Arc<OfProcess>>) -> anyhow::Result<Opened> {
    match &config.store {
        StoreUrl::Sqlite(path) => {
            make_folder(path)?;
            let options = store::Options {
                // The budget is kept by retention; the bound stops what retention cannot help.
                size_max_bytes: config.disk_budget.map(|budget| budget.0.saturating_mul(2)),
                ..store::Options::default()
            };
            let store = Sqlite::open(path, &options)?;
            exposed::tell_of_file(path, "payloads of workflows");
            if let Some(upkeep) = upkeep {
                upkeep.keep(&store);
            }
            Ok((store, None))
        }
        StoreUrl::Postgres(url) => {
            let options = postgres_options(url)?;
            let store = Postgres::open(&options).await.context("the store cannot be opened")?;
            tracing::info!("the store is {options}");
            Ok((store.clone(), Some(store)))
        }
    }
}

fn make_folder(file: &Path) -> anyhow::Result<()> {
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display())),
        None => Ok(()),
    }
}

pub(crate) fn options(config: &Config) -> engine::Options {
    engine::Options {
        limits: kernel::graph::Limits {
            payload_max: usize::try_from(config.payload_max.0).unwrap_or(usize::MAX),
            iterations_max: config.loop_iterations_max.get(),
            executions_max: config.workflow_open_max.map_or(0, NonZeroU32::get),
            principal_open_max: config.principal_open_max.map_or(0, NonZeroU32::get),
            ..kernel::graph::Limits::default()
        },
        schedules: kernel::schedule::Limits::default(),
        runs_max: config.system_task_workers.get(),
        starts_per_minute: config.workflow_starts_per_minute.map_or(0, NonZeroU32::get),
        principal_starts_per_minute: config.principal_starts_per_minute.map_or(0, NonZeroU32::get),
        leases: Leases {
            turn: config.turn_lease,
            activity: config.activity_lease,
            attempts_max: u32::try_from(config.work_attempts_max).unwrap_or(u32::MAX),
            ..Leases::default()
        },
        retention: Retention {
            count_max: config.retention_count.unwrap_or(0),
            age_max_seconds: config.retention_age.map_or(0, |age| age.as_secs()),
            disk_max_bytes: config.disk_budget.map_or(0, |budget| budget.0),
        },
        evaluation: engine::evaluation::Options {
            time: config.script_time,
            ..engine::evaluation::Options::default()
        },
        alarm: config.alarm.0.iter().map(|name| name.as_str().into()).collect(),
        disk_free_min: config.disk_free_min.0,
        samples: config.check_history.map(|age| SampleOptions {
            age_max: Some(age),
            bytes_max: Some(config.check_history_bytes.0),
        }),
        traces: traces::options(config),
        ..engine::Options::default()
    }
}

pub(crate) fn javascript_limits(config: &Config) -> tasks::javascript::Limits {
    tasks::javascript::Limits {
        time: config.script_time,
        memory: usize::try_from(config.script_memory.0).unwrap_or(usize::MAX),
        ..tasks::javascript::Limits::default()
    }
}

pub(crate) fn jq_limits(config: &Config) -> tasks::jq::Limits {
    tasks::jq::Limits {
        time: config.script_time,
        bytes: usize::try_from(config.script_memory.0).unwrap_or(usize::MAX),
        ..tasks::jq::Limits::default()
    }
}

pub(crate) fn task_settings(config: &Config) -> tasks::registry::Settings {
    let mut settings = tasks::registry::Settings::default();
    settings.http.body_max = usize::try_from(config.http_body_max.0).unwrap_or(usize::MAX);
    settings.http.call_ceiling = config.call_time_max;
    settings.http.outgoing = tasks::outgoing::Dialer::new(tasks::outgoing::Policy {
        allow: config.outgoing_allow.0.clone(),
        deny: config.outgoing_deny.0.clone(),
        own: config.outgoing_own,
        public_only: !config.outgoing_private,
        listeners: tasks::outgoing::Listeners::default(),
    });
    settings.check.sources = tasks::check::Sources::of(&config.sources.0);
    settings.check.http.clone_from(&settings.http);
    settings.events.nats_url = config.nats_url.as_ref().map(|url| url.0.clone());
    settings.events.amqp_url = config.amqp_url.as_ref().map(|url| url.0.clone());
    settings.events.kafka_url = config.kafka_url.as_ref().map(|url| url.0.clone());
    settings.events.sqs = config.sqs_url.as_ref().map(|url| sqs_settings(&url.0));
    settings.sql.connections = config.sql.0.clone();
    for (name, source) in &config.sources.0 {
        // What is a database may be asked by tasks too, under the same name.
        if let Some(url) = source.get("url").and_then(serde_json::Value::as_str)
            && tasks::sql::Connection::check(url).is_ok()
        {
            settings.sql.connections.entry(name.clone()).or_insert_with(|| {
                // The configuration has been read: it says what there is.
                let access = access_of(source).unwrap_or(tasks::sql::Access::Read);
                settings.sql.access.insert(name.clone(), access);
                url.to_owned()
            });
        }
    }
    settings.sql.urls_in_inputs = config.sql_urls_in_inputs;
    settings.sql.limits.time = config.sql_time;
    settings.sql.limits.rows_max = config.sql_rows_max.get();
    settings.workflow.base_url =
        config.public_url.as_ref().map(|url| url.0.clone()).unwrap_or_default();
    settings.workflow.prometheus_url = config.prometheus_url.as_ref().map(|url| url.0.clone());
    settings.javascript = javascript_limits(config);
    settings.http_poll.interval_min = config.http_poll_interval_min;
    settings.sendgrid_url.clone_from(&config.sendgrid_url.0);
    settings.ops_genie_url.clone_from(&config.opsgenie_url.0);
    settings
}

/// Says that somebody else resolves names, where that is so.
fn tell_of_proxies() {
    let names =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let is_set = |name: &&&str| process_env(name).is_some_and(|proxy| !proxy.is_empty());
    if let Some(name) = names.iter().find(is_set) {
        tracing::info!(
            "outgoing requests go by the proxy of {name}, which resolves names: only addresses that \
             are written out are judged by the outgoing policy"
        );
    }
}

/// Amazon's services, with the key that its other programs take from the environment, too.
fn sqs_settings(url: &str) -> tasks::events::SqsSettings {
    let variable = |name: &str| process_env(name).filter(|value| !value.is_empty());
    let key = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
    let credentials = key.map(|(access_key_id, secret_access_key)| tasks::events::Credentials {
        access_key_id,
        secret_access_key,
        session_token: variable("AWS_SESSION_TOKEN"),
    });
    if credentials.is_none() {
        tracing::warn!("requests to SQS are not signed: AWS_ACCESS_KEY_ID is not set");
    }
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    tasks::events::SqsSettings { url: url.to_owned(), region, credentials }
}

/// How long the process may take to end once it is told to; service managers wait ten seconds or
/// more.
const END_MAX: Duration = Duration::from_millis(9500);

/// Ends the process some time after it was told to, whatever its other threads are at. What was
/// acknowledged is in the store by then.
fn end_at_the_latest() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stop = {
        let _within = runtime.enter();
        Stop::listen()?
    };
    std::thread::Builder::new().name("end".to_owned()).spawn(move || {
        runtime.block_on(async {
            stop.told().await;
            end_overdue().await;
        });
    })?;
    Ok(())
}

/// Ends the process if that takes too long.
async fn end_overdue() {
    tokio::time::sleep(END_MAX).await;
    tracing::error!("the server did not end by itself within {END_MAX:?}: it is ended");
    std::process::exit(1);
}

/// Hears when the process is told to stop, from when it was made: by the service manager or by the
/// keyboard.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Begins to listen.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let hear = |kind| signal(kind).context("the signals to stop cannot be heard");
        let terminate = hear(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: hear(SignalKind::interrupt())? })
    }

    /// Resolves when the process is told to stop.
    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// What comes of work, unless the process is told to stop before its end.
    async fn unless_told<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.told() => None,
            done = work => Some(done),
        }
    }
}
