//! Serves as one of several servers that share a store: hands requests on while another one leads, and
//! takes its place when it goes.
//!
//! Both ports are open from the start. A server that has lost the store begins anew as a fresh process in
//! the place of this one, since nothing that it remembers may be true any more.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use engine::store::StoreError;
use kernel::Timestamp;
use parking_lot::Mutex;
use server::Settings;
use server::cluster::{ClusterNode, Leader, Node, Reach};
use store::{BEATS, Gone, Member, MemberNode, Postgres, PostgresOptions, Succession};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::Failure;
use crate::config::{Config, StoreUrl};
use crate::secret_key;

/// Between two looks at who leads.
const LOOK: Duration = Duration::from_millis(250);
/// Between two attempts at something that did not work.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the port for other servers may take to close.
const CLOSE_MAX: Duration = Duration::from_millis(500);
/// How late a sign of life may come.
const LATE: Duration = Duration::from_millis(150);
/// So many times in turn nobody listens where the leader should before it counts as ended.
const REFUSALS: u32 = 3;

/// How long an owner whose lease is over must have given no sign of life.
const SILENT: Duration = Duration::from_millis(1_200);

/// The store was lost: another server has taken it over, or it is another database than before.
#[derive(Debug)]
pub(crate) struct Lost(pub(crate) String);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lost {}

/// Why a server could not open the store that it owned: if that went away or to another server meanwhile,
/// it is lost, and what was done so far is begun anew.
pub(crate) fn or_lost(error: anyhow::Error) -> anyhow::Error {
    let is_away =
        error.chain().any(|it| matches!(it.downcast_ref(), Some(StoreError::Unavailable(_))));
    if is_away { Lost(format!("{error:#}")).into() } else { error }
}

/// Both ports of one server, and its place among the others.
#[derive(Clone)]
pub(crate) struct Serving(Arc<Inner>);

struct Inner {
    node: Node,
    options: PostgresOptions,
    peer_address: SocketAddr,
    /// Ends the port for clients.
    ending: CancellationToken,
    /// Ends the port for other servers.
    leaving: CancellationToken,
    ports: Mutex<[Option<JoinHandle<io::Result<()>>>; 2]>,
    member: tokio::sync::Mutex<Option<Member>>,
}

/// Where whoever opens a server leaves its ports, so that they are closed in order also when it is told to
/// stop before it leads.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Serving>>>);

impl Slot {
    /// Closes both ports, if there are any.
    pub(crate) async fn close(&self) {
        let serving = self.0.lock().take();
        if let Some(serving) = serving {
            serving.0.node.end_streams();
            serving.close_public().await;
            serving.close_peers().await;
            if let Some(member) = serving.0.member.lock().await.take() {
                member.leave().await;
            }
        }
    }
}

impl Serving {
    /// Opens the port for other servers, and answers on both as one that does not lead yet.
    ///
    /// # Errors
    /// The store cannot be shared, no key is given, or the port cannot be had.
    pub(crate) fn begin(
        config: &Config,
        listener: TcpListener,
        settings: &Settings,
        slot: &Slot,
    ) -> anyhow::Result<Self> {
        let address = config.peer_listen.context("peer_listen is not set")?;
        let options = shared_store(config)?;
        let node = Node::new(&secret_key::shared(config)?, settings.version);
        let peers = crate::serve::listen(address)
            .with_context(|| format!("peer_listen: cannot listen on {address}"))?;
        let peer_address = peers.local_addr()?;
        let options = options.reached_at(reached_at(config, peer_address)?);
        crate::serve::tell_address(settings, listener.local_addr()?);
        let (ending, leaving) = (CancellationToken::new(), CancellationToken::new());
        let public = {
            let (settings, router, ending) =
                (settings.clone(), node.public_router(), ending.clone());
            tokio::spawn(async move {
                server::serve_router(listener, &settings, router, ending.cancelled()).await
            })
        };
        tracing::info!("listening for other servers of the store on {peer_address}");
        let others = {
            let settings = Settings {
                tls: None,
                socket: None,
                connections_per_address: settings.connections_max,
                is_for_servers: true,
                ..settings.clone()
            };
            let (router, leaving) = (node.peer_router(), leaving.clone());
            tokio::spawn(async move {
                server::serve_router(peers, &settings, router, leaving.cancelled()).await
            })
        };
        let serving = Self(Arc::new(Inner {
            node,
            options,
            peer_address,
            ending,
            leaving,
            ports: Mutex::new([Some(public), Some(others)]),
            member: tokio::sync::Mutex::default(),
        }));
        *slot.0.lock() = Some(serving.clone());
        Ok(serving)
    }

    pub(crate) fn node(&self) -> &Node {
        &self.0.node
    }

    /// Where it listens for other servers.
    pub(crate) fn peer_address(&self) -> SocketAddr {
        self.0.peer_address
    }

    /// Takes no more requests of clients, and waits for those that are under way.
    pub(crate) async fn close_public(&self) {
        self.0.ending.cancel();
        tokio::join!(self.0.node.leave(), self.closed(0));
    }

    /// Takes no more requests of other servers. They are told to look for another leader as soon as
    /// [`Serving::close_public`] begins; the port stays open until the store is given back, since nobody
    /// listening there would mean that this process has ended.
    pub(crate) async fn close_peers(&self) {
        self.0.leaving.cancel();
        // Nothing can be answered there any more; whoever does not read does not hold the process up.
        let _ = tokio::time::timeout(CLOSE_MAX, self.closed(1)).await;
    }

    /// Waits until another server owns the store that this one has given back, but no longer than requests
    /// wait for one.
    pub(crate) async fn succeeded(&self) {
        let taken = async {
            let mut member = Member::join(&self.0.options).await?;
            let owner = loop {
                if let Some(owner) = member.look().await?.into_iter().find(|it| it.owns) {
                    break owner;
                }
                tokio::time::sleep(PAUSE).await;
            };
            member.leave().await;
            Ok::<_, StoreError>(owner.name)
        };
        match tokio::time::timeout(server::cluster::LEADERLESS_MAX, taken).await {
            Ok(Ok(name)) => tracing::info!("{name} has taken the store over"),
            Ok(Err(error)) => tracing::warn!(%error, "unknown whether another server leads"),
            Err(_) => tracing::warn!("no other server has taken the store over"),
        }
    }

    async fn closed(&self, port: usize) {
        let running = self.0.ports.lock()[port].take();
        if let Some(running) = running {
            match running.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "server port failed"),
                Err(error) => tracing::error!(%error, "server port closed unexpectedly"),
            }
        }
    }

    /// Hands requests on to whoever leads; returns once this server owns the store.
    ///
    /// # Errors
    /// The store will not do, or is one of a later release.
    pub(crate) async fn own_store(&self) -> anyhow::Result<Arc<Postgres>> {
        let (node, options) = (&self.0.node, &self.0.options);
        let mut state = Following::default();
        loop {
            let nodes = match self.look(&mut state).await {
                Ok(nodes) => nodes,
                Err(error @ (StoreError::Corrupt(_) | StoreError::Unfit(_))) => {
                    return Err(error).context("the store cannot be opened");
                }
                Err(error) => {
                    // The owner may not have been able to give one either.
                    state.lease = None;
                    // Whoever leads may have a connection that lives.
                    state.tell(node, Some(format!("the database cannot be reached: {error}")));
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            };
            let owner = nodes.iter().find(|it| it.owns);
            let gone = owner.and_then(|owner| self.ended(owner, &mut state));
            if let Some(owner) = owner.filter(|it| it.left > 0 && gone.is_none()) {
                self.follow(owner, &mut state).await;
                continue;
            }
            node.follow(None);
            match Postgres::take_over(options, Succession::AtOnce { gone }).await {
                Ok(store) => {
                    if let Some(member) = self.0.member.lock().await.take() {
                        member.leave().await;
                    }
                    tracing::info!("this server leads; the store is {options}");
                    return Ok(store);
                }
                Err(StoreError::Unavailable(why)) => {
                    // Most often another server was faster.
                    tracing::debug!("the store could not be taken over: {why}");
                    state.tell(node, Some(format!("the store cannot be taken over: {why}")));
                    // Whoever was faster is followed at once; what does not pass is not asked for all the time.
                    state.failures += 1;
                    let pause = if state.failures < REFUSALS { PAUSE } else { LOOK };
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error).context("the store cannot be opened"),
            }
        }
    }

    /// The owner, if it has ended though its lease may have not.
    fn ended(&self, owner: &MemberNode, state: &mut Following) -> Option<Gone> {
        let gone = Gone { incarnation: owner.incarnation, until: owner.until };
        let silence = state.silence(owner);
        if self.is_predecessor(owner) {
            tracing::info!("{} had this server's peer address before, so it has ended", owner.name);
            return Some(gone);
        }
        if state.refusals >= REFUSALS && silence > self.0.options.lease() / BEATS + LATE {
            tracing::info!(
                "{} has ended: its peer port refuses connections and its heartbeat is overdue",
                owner.name
            );
            return Some(gone);
        }
        if owner.left <= 0 && silence >= SILENT {
            tracing::info!("the heartbeats of {} have stopped", owner.name);
            return Some(gone);
        }
        None
    }

    /// Whether a server is an earlier process on this machine at the address that is ours now. Only the port
    /// that we have says so: at another one both may be said to be reached by mistake, and each would take
    /// the other's place for ever.
    fn is_predecessor(&self, owner: &MemberNode) -> bool {
        let (name, address) = self.0.options.whom();
        let machine = |name: &str| name.rsplit_once(" (process ").map(|it| it.0.to_owned());
        let port = address.and_then(|it| it.rsplit_once(':')?.1.parse().ok());
        port == Some(self.0.peer_address.port())
            && owner.address.as_deref() == address
            && machine(&owner.name) == machine(name)
    }

    /// Who shares the store. Gives a sign of life when it is time for one.
    async fn look(&self, state: &mut Following) -> Result<Vec<MemberNode>, StoreError> {
        let options = &self.0.options;
        let mut slot = self.0.member.lock().await;
        let is_due = state.beaten.is_none_or(|it| it.elapsed() >= options.lease() / BEATS);
        let began = Instant::now();
        let nodes = match &mut *slot {
            None => {
                let mut member = Member::join(options).await?;
                let nodes = member.look().await?;
                *slot = Some(member);
                nodes
            }
            Some(member) if is_due => member.beat().await?,
            Some(member) => return member.look().await,
        };
        state.beaten = Some(began);
        Ok(nodes)
    }

    /// Follows the owner of the store for a moment.
    async fn follow(&self, owner: &MemberNode, state: &mut Following) {
        let node = &self.0.node;
        let Some(address) = owner.address.clone() else {
            let name = &owner.name;
            node.follow(None);
            let why = format!("{name} has the store alone: start it with --peer-listen");
            state.tell(node, Some(why));
            return tokio::time::sleep(LOOK).await;
        };
        if state.leader != Some(owner.incarnation) {
            tracing::info!("{} leads; requests are handed on to {address}", owner.name);
            state.leader = Some(owner.incarnation);
            state.refusals = 0;
        }
        node.follow(Some(Leader { incarnation: owner.incarnation, address }));
        // However long that takes, it is time to look who leads.
        let reached = tokio::time::timeout(LOOK * 2, node.reach_leader()).await;
        let reached =
            reached.unwrap_or_else(|_| Reach::Unreachable("it does not answer".to_owned()));
        let (why, pause) = match reached {
            Reach::Connected => {
                (state.refusals, state.failures) = (0, 0);
                state.reached = Some(Instant::now());
                state.tell(node, None);
                return tokio::time::sleep(LOOK).await;
            }
            Reach::Refused => {
                state.refusals += 1;
                ("its machine refuses connections there".to_owned(), PAUSE)
            }
            Reach::Unreachable(why) => {
                state.refusals = 0;
                (why, LOOK)
            }
        };
        let why = format!("the server that leads, {}, cannot be asked: {why}", owner.name);
        state.tell(node, Some(why));
        tokio::time::sleep(pause).await;
    }
}

/// What a server that does not lead remembers from one look to the next.
#[derive(Default)]
struct Following {
    leader: Option<i64>,
    refusals: u32,
    /// How often in turn the store could not be taken over.
    failures: u32,
    beaten: Option<Instant>,
    /// When the leader answered last.
    reached: Option<Instant>,
    told: Option<String>,
    /// Which server owns the store, when its lease ends, and since when it does.
    lease: Option<(i64, Timestamp, Instant)>,
}

impl Following {
    /// For how long the owner has given no sign of life before our eyes. After an outage of the database
    /// everybody's lease is over, and the owner gives one at once.
    fn silence(&mut self, owner: &MemberNode) -> Duration {
        match self.lease {
            Some((incarnation, until, since))
                if (incarnation, until) == (owner.incarnation, owner.until) =>
            {
                since.elapsed()
            }
            _ => {
                self.lease = Some((owner.incarnation, owner.until, Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// Notes whether this server can serve, and logs it when that changes. Requests wait for a leader, so
    /// it can for as long as they do.
    fn tell(&mut self, node: &Node, trouble: Option<String>) {
        let waits = self.reached.is_some_and(|it| it.elapsed() < server::cluster::LEADERLESS_MAX);
        let trouble = trouble.filter(|_| !waits);
        if self.told != trouble {
            match &trouble {
                Some(why) => tracing::warn!("this server does not serve: {why}"),
                None if self.told.is_some() => tracing::info!("this server serves again"),
                None => {}
            }
            self.told.clone_from(&trouble);
        }
        node.set_trouble(trouble);
    }
}

/// The store, which must be one that servers can share.
fn shared_store(config: &Config) -> anyhow::Result<PostgresOptions> {
    match &config.store {
        StoreUrl::Postgres(url) => crate::serve::postgres_options(url),
        StoreUrl::Sqlite(_) => Err(Failure::usage(
            "peer_listen is set, and servers cannot share a store in a file".to_owned(),
        )
        .with_hint("name a database (--store postgres://…), or leave peer_listen out")
        .into()),
    }
}

/// Where the others reach this server.
fn reached_at(config: &Config, listening: SocketAddr) -> anyhow::Result<String> {
    match &config.peer_address {
        Some(address) => Ok(address.0.clone()),
        None if listening.ip().is_unspecified() => Err(Failure::usage(format!(
            "peer_listen is {listening}, which says nothing of where other servers reach this one"
        ))
        .with_hint("set peer_address as well, or listen on an address of this machine")
        .into()),
        None => Ok(listening.to_string()),
    }
}

/// The servers of a store, for whoever asks the one that leads.
#[derive(Clone)]
pub(crate) struct OfStore {
    pub(crate) store: Arc<Postgres>,
    /// Cancelled when another server is to lead.
    pub(crate) handing_over: CancellationToken,
}

impl fmt::Debug for OfStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OfStore").field(self.store.options()).finish()
    }
}

#[async_trait]
impl server::cluster::Cluster for OfStore {
    async fn nodes(&self) -> Result<Vec<ClusterNode>, String> {
        let nodes = self.store.nodes().await.map_err(|error| error.to_string())?;
        let shown = |node: MemberNode| ClusterNode {
            incarnation: node.incarnation,
            name: node.name,
            address: node.address,
            release: node.release,
            is_leader: node.owns,
            joined_at: node.joined_at,
            lease_left: node.left,
        };
        Ok(nodes.into_iter().map(shown).collect())
    }

    fn hand_over(&self) {
        self.handing_over.cancel();
    }
}

/// Begins this process anew, with the same program and options. Returns only if that fails.
pub(crate) fn begin_anew() -> io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("nightbell"));
    // The very program that runs, also if its file was replaced by another release meanwhile.
    Command::new("/proc/self/exe").arg0(name).args(arguments).exec()
}
