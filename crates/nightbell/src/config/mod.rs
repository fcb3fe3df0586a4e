//! What the server can be told, in one list from which everything else follows.
//!
//! The list at the end of this file is the only place that names a setting. From it come the fields
//! of [`Config`], the options of `serve` and `dev`, the environment variables, the keys of
//! `nightbell.toml`, and the commented file that `nightbell config` prints; so none of them can
//! disagree. What a text means is decided by the type of the field (see [`value`]).
//!
//! A value comes from, in this order: an option, an environment variable, the file, the default.
//! All problems are reported at once, each with its place and what to write instead.

mod acme;
mod broker;
mod file;
mod flags;
mod layers;
mod nearest;
mod network;
mod otlp;
mod problem;
mod provider;
mod secrets;
mod template;
#[cfg(test)]
mod tests;
mod url;
mod value;
mod workload;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use acme::{Directory, Domains};
pub(crate) use broker::{BrokerUrl, KafkaUrl, QueuePrefix};
pub(crate) use file::File;
pub(crate) use flags::{DevFlags, Flags};
use layers::{Layers, Resolved};
use network::Networks;
pub(crate) use otlp::{HeaderSource, Headers, Share, TraceUrl};
pub(crate) use problem::{ConfigError, Origin, Problem};
pub(crate) use provider::SecretReference;
use provider::{GroupMap, Issuer, Text};
pub(crate) use secrets::{Place, Places, VaultDocument};
use server::{ConsoleServing, HostPattern};
pub(crate) use template::{default_file, literal as default_of};
pub(crate) use url::access_of;
use url::{Databases, ImapUrl, Sources};
pub(crate) use value::{Auth, Bytes, HostPort, HttpUrl, LogFilter, LogFormat, SecretKey, StoreUrl};
use value::{Names, Value};
use workload::Workloads;

/// One entry of the list: a setting as its users see it.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Key in the file, and name of the field.
    pub(crate) key: &'static str,
    /// Lines of documentation; the first paragraph is the short form.
    pub(crate) doc: &'static [&'static str],
    /// The default as a user would write it; a list may have any number of texts, all else has one.
    pub(crate) default: &'static [&'static str],
    /// Whether several values may be given.
    pub(crate) many: bool,
    /// Whether each of these values may be a table of texts.
    pub(crate) tables: bool,
    /// What stands for the value in the help text.
    pub(crate) value_name: &'static str,
}

impl Setting {
    /// The name of its option, without the dashes: `log-level`.
    pub(crate) fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// The name of its environment variable: `NIGHTBELL_LOG_LEVEL`.
    pub(crate) fn env(&self) -> String {
        format!("NIGHTBELL_{}", self.key.to_ascii_uppercase())
    }

    /// The variable by which every program with OpenTelemetry is told the same, if there is one.
    fn standard_env(&self) -> Option<&'static str> {
        match self.key {
            "otlp_endpoint" => Some("OTEL_EXPORTER_OTLP_ENDPOINT"),
            "otlp_headers" => Some("OTEL_EXPORTER_OTLP_HEADERS"),
            "otlp_service_name" => Some("OTEL_SERVICE_NAME"),
            _ => None,
        }
    }
}

/// A setting as it is in effect, for people to read.
#[derive(Debug)]
pub(crate) struct Effective {
    /// Its key.
    pub(crate) key: &'static str,
    /// Its value, with passwords masked.
    pub(crate) value: String,
    /// Where the value came from.
    pub(crate) origin: Origin,
}

impl Config {
    /// Decides every setting from the options, the environment and the file.
    ///
    /// `env` answers the value of an environment variable; an empty value counts as absent.
    ///
    /// # Errors
    /// All problems of the file and of the values that are in effect.
    pub(crate) fn load(
        flags: &Flags,
        env: impl Fn(&str) -> Option<String>,
        file: Option<&File>,
    ) -> Result<Self, ConfigError> {
        Self::load_with_origins(flags, env, file).map(|(config, _)| config)
    }

    /// As [`Config::load`], with the value and the origin of every setting for display.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn load_with_origins(
        flags: &Flags,
        env: impl Fn(&str) -> Option<String>,
        file: Option<&File>,
    ) -> Result<(Self, Vec<Effective>), ConfigError> {
        let mut problems = Vec::new();
        let layers = Layers::collect(flags, env, file, &mut problems);
        let lowered = Self::lower(&layers, &mut problems);
        match lowered {
            Some(loaded) if problems.is_empty() => Ok(loaded),
            _ => Err(ConfigError { problems }),
        }
    }

    /// [`Config::load_with_origins`] from the environment of this process and the file it names.
    ///
    /// # Errors
    /// As [`Config::load`], and if the file cannot be read.
    pub(crate) fn from_process(flags: &Flags) -> Result<(Self, Vec<Effective>), ConfigError> {
        let file = File::find(flags.file())?;
        Self::load_with_origins(flags, process_env, file.as_ref())
    }
}

/// The value of an environment variable of this process.
pub(crate) fn process_env(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $key:ident: $type:ty = [$($default:literal),*]; )+) => {
        /// Every setting, decided and validated.
        #[derive(Clone, Debug)]
        #[allow(dead_code, reason = "the server does not read every setting yet")]
        pub(crate) struct Config {
            $( $(#[doc = $doc])+ pub(crate) $key: $type, )+
        }

        /// Every setting, in the order in which people should meet them.
        pub(crate) const SETTINGS: &[Setting] = &[
            $( Setting {
                key: stringify!($key),
                doc: &[$($doc),+],
                default: &[$($default),*],
                many: <$type as Value>::MANY,
                tables: <$type as Value>::TABLES,
                value_name: <$type as Value>::NAME,
            } ),+
        ];

        impl Config {
            fn lower(layers: &Layers, problems: &mut Vec<Problem>) -> Option<(Self, Vec<Effective>)> {
                $( let $key: Option<Resolved<$type>> = layers.resolve(stringify!($key), problems); )+
                $( let $key = $key?; )+
                let effective = vec![$( $key.effective(stringify!($key)) ),+];
                Some((Self { $( $key: $key.value ),+ }, effective))
            }
        }
    };
}

settings! {
    /// Address and port on which the server listens, for every protocol.
    ///
    /// The default accepts connections from this machine only; `0.0.0.0:8080` accepts them on every
    /// network interface.
    listen: SocketAddr = ["127.0.0.1:8080"];

    /// File with the certificate of this server in PEM, followed by those of its authorities.
    ///
    /// With it and `tls_key` the port serves TLS only. Both are read again when they change: a
    /// change that cannot be used leaves the former certificate in force. `off` for no TLS.
    tls_cert: Option<PathBuf> = ["off"];

    /// File with the private key of `tls_cert` in PEM, without a password.
    ///
    /// Only the server's user should be able to read it (mode 600).
    tls_key: Option<PathBuf> = ["off"];

    /// File with certificates of authorities in PEM: clients need a certificate that one of them signed.
    ///
    /// It is required in addition to a key, not instead of one: connections without such a
    /// certificate are refused, also those of health checks. `off` lets every client connect.
    tls_client_ca: Option<PathBuf> = ["off"];

    /// Host names of this server for which a certificate is requested by ACME, instead of `tls_cert`.
    ///
    /// The authority connects to port 443 of each name, which must lead to this server
    /// (TLS-ALPN-01). By setting this you accept the authority's terms. See docs/security.md.
    acme_domains: Domains = [];

    /// The directory URL of the certificate authority.
    acme_directory: Directory = ["https://acme-v02.api.letsencrypt.org/directory"];

    /// Contact mail addresses of a new account at the authority.
    acme_contacts: Names = [];

    /// Folder with the account at the authority, the certificate and its key.
    acme_dir: PathBuf = ["nightbell.acme"];

    /// External account binding: the key id from the authority, if it requires one.
    acme_eab_kid: Option<Text> = ["off"];

    /// File with the key of the external account binding, in Base64 as the authority issued it.
    acme_eab_key_file: Option<PathBuf> = ["off"];

    /// Unix socket of the local administrator: there the server's own user and root need no key.
    ///
    /// The file has mode 600, and the operating system identifies the client. The command line uses
    /// it with `NIGHTBELL_URL=unix:/PATH`. `off` for none.
    socket: Option<PathBuf> = ["off"];

    /// Access control: `on`, `offered` (credentials are checked if they are sent) or `open` (no credentials needed).
    ///
    /// `auto` is `open` while only this machine can connect. A server that accepts connections from
    /// other machines does not start with `auto`: set `open` explicitly if you want that. See
    /// docs/security.md.
    auth: Auth = ["auto"];

    /// Who can open the web console under `/console`: `auto`, `on`, `read-only` or `off`.
    ///
    /// `auto`: users who have signed in, or, without access control, this machine only. `on`:
    /// everybody who can reach the server. `read-only`: the same, but nothing can be changed.
    console: ConsoleServing = ["auto"];

    /// OpenID provider for single sign-on: its `issuer`, exactly as it is published.
    ///
    /// It requires `oidc_client_id`, `public_url` and access control. At the provider this server
    /// is registered as a web application with the redirect URI `PUBLIC_URL/console/sso/callback`.
    oidc_issuer: Option<Issuer> = ["off"];

    /// The client id of this server at the provider.
    oidc_client_id: Option<Text> = ["off"];

    /// Where the client secret is: `file:PATH`, `secret:NAME` or `env:VARIABLE`.
    ///
    /// It is read again for each login. `off` for a client without a secret.
    oidc_client_secret: Option<SecretReference> = ["off"];

    /// Text of the sign-in button after `Sign in with`.
    oidc_label: Text = ["your organization"];

    /// Scopes that are requested; some providers send groups only with a certain scope.
    oidc_scopes: Names = ["openid", "profile", "email"];

    /// The claim that becomes the name of a user at the first login.
    oidc_name_claim: Text = ["email"];

    /// The claim with a user's groups, such as `groups` or `realm_access.roles`.
    oidc_groups_claim: Text = ["groups"];

    /// Values of that claim, and the local group for each: `sre=on-call`.
    ///
    /// At each login the user is put into these groups, and taken out of the others that are named
    /// here. If any are named, only who has one of the values becomes a user at the first login.
    oidc_groups: GroupMap = [];

    /// Only users whose verified mail address is in one of these domains can sign in.
    oidc_email_domains: Names = [];

    /// Whether a user who was created here becomes the provider's user of the same name at the first login.
    ///
    /// Only for providers where nobody can choose the name of somebody else.
    oidc_link_users: bool = ["off"];

    /// Programs that authenticate with tokens of another system: a table `[workloads.NAME]` for each.
    ///
    /// Below it `issuer`, `audience`, `claims = "sub=…"` (several separated by commas, `*` for any
    /// characters), the `application` that it acts as, and `keys` (a URL or `file:PATH`; by default
    /// where the issuer publishes them).
    workloads: Workloads = [];

    /// File for the bootstrap key, which creates the first administrator; written at the first start with access control.
    ///
    /// It is valid until an administrator has signed in with other credentials. `off` prints it
    /// once, or, without a terminal, writes a file beside the store, named like it with
    /// `.bootstrap-key` added.
    bootstrap_key_file: Option<PathBuf> = ["off"];

    /// File to which the audit ledger is written as well, one JSON object a line, for log collectors.
    ///
    /// It is created with mode 600, only appended to, and opened again after it was renamed, as logrotate does.
    audit_file: Option<PathBuf> = ["off"];

    /// The store for all data: `sqlite:FILE`, or `postgres://USER@HOST/DATABASE`.
    ///
    /// A relative path is relative to the folder in which the server is started.
    store: StoreUrl = ["sqlite:nightbell.db"];

    /// Folder for backups of the store that are requested in the console or by `POST /api/admin/backup`.
    ///
    /// It is created if it does not exist, and belongs to one server. Each backup is a file that
    /// `store` can name; none is ever removed. Only for SQLite: a PostgreSQL database has its own
    /// backups. `off` for none.
    backup_dir: Option<PathBuf> = ["off"];

    /// Wait while another server has the store, and take over when that one ends.
    ///
    /// Until then this server answers no requests and sends no pages. Both need the same key of
    /// secrets.
    standby: bool = ["off"];

    /// Address and port for the other servers of the store, for example `10.0.0.5:7070`.
    ///
    /// Servers that have one share a store in PostgreSQL: one leads and the others hand requests on
    /// to it, until one of them takes its place. All need the same key of secrets. Traffic between
    /// them is not encrypted. See docs/cluster.md.
    peer_listen: Option<SocketAddr> = ["off"];

    /// HOST:PORT at which the other servers of the store reach this one, if it is not `peer_listen`.
    peer_address: Option<HostPort> = ["off"];

    /// File with the key that seals secrets: 32 bytes in base64 or hexadecimal.
    ///
    /// Only its owner may be able to read it. `off` uses a file beside the store, named like it
    /// with `.key` added, which is created on the first start.
    secret_key_file: Option<PathBuf> = ["off"];

    /// The key that seals secrets, in place of a file: 32 bytes in base64 or hexadecimal.
    ///
    /// Meant for the environment variable: every user of the machine can see command line options.
    secret_key: Option<SecretKey> = ["off"];

    /// Secrets that are kept elsewhere: `NAME=env:VARIABLE`, `file:PATH`, `credential:NAME` or `vault:MOUNT/PATH#FIELD`.
    ///
    /// In the file also below [secrets]. They are read before the server starts and periodically
    /// after that, and take precedence over secrets of the same names in the store. See
    /// docs/secret-backends.md.
    secrets: Places = [];

    /// How often secrets that are kept elsewhere are read again; SIGHUP reads them at once.
    secrets_refresh: Duration = ["1m"];

    /// How long the last value of a secret is used while it cannot be read again.
    ///
    /// After that, tasks that need it fail, and are retried as their definitions say.
    secrets_stale_max: Duration = ["1h"];

    /// Vault or `OpenBao`, for secrets that are kept there: `https://vault.example:8200`.
    vault_url: Option<HttpUrl> = ["off"];

    /// The namespace in Vault.
    vault_namespace: Option<Text> = ["off"];

    /// File with a token for Vault, such as the sink of Vault's agent; it is read again for each use.
    vault_token_file: Option<PathBuf> = ["off"];

    /// The role id of this server in Vault, for a login by `AppRole`.
    vault_role_id: Option<Text> = ["off"];

    /// File with the secret id of that role.
    vault_secret_id_file: Option<PathBuf> = ["off"];

    /// The role of this server in Vault, for a login by a JWT, such as that of a Kubernetes service account.
    vault_jwt_role: Option<Text> = ["off"];

    /// File with that JWT; it is read again for each login.
    vault_jwt_file: PathBuf = ["/var/run/secrets/kubernetes.io/serviceaccount/token"];

    /// Where the login is mounted in Vault; `off` = `approle` or `jwt`.
    vault_auth_mount: Option<Text> = ["off"];

    /// Files and folders of definitions, schedules, monitors and checklists to load.
    ///
    /// They are watched: files that change together are applied as one change, and a file with a
    /// mistake is left out.
    load: Vec<PathBuf> = [];

    /// Remove definitions that the files of `load` contained before and no longer contain.
    ///
    /// Only what came from these files is removed, and nothing while one of them has a mistake.
    load_prune: bool = ["off"];

    /// Robopager's `etl.cfg`: mailbox, batchy, time zone and Redis of the checklists among `load`.
    ///
    /// `off` for none. `nightbell robopager` sets it itself.
    etl_cfg: Option<PathBuf> = ["off"];

    /// URL of `PagerDuty`, for the services that checklists name; `off` = its own address.
    pagerduty_url: Option<HttpUrl> = ["off"];

    /// URL of the mailbox of checklists: `imaps://HOST:PORT`; `off` = Gmail.
    ///
    /// `imap://HOST:PORT`, without encryption, only on this machine.
    imap_url: Option<ImapUrl> = ["off"];

    /// Dead man's switch: an external URL that is called every minute, and pages when the calls stop.
    ///
    /// Any service that monitors heartbeats works. `off` for none.
    deadman_url: Option<HttpUrl> = ["off"];

    /// External URL that is called instead while the server cannot do its work.
    ///
    /// The reason is sent in the body. `off` calls nothing then, except for URLs of Healthchecks
    /// and of Nightbell, where it is `deadman_url` with `/fail` added.
    deadman_fail_url: Option<HttpUrl> = ["off"];

    /// Receivers of the monitors files that are notified directly when the server cannot do its work.
    ///
    /// This needs no store, so it works when the disk is full. None given = those that the routes
    /// would notify of a critical incident of the monitor `nightbell`.
    alarm: Names = [];

    /// Free space on the disk of the store below which the monitor `nightbell` opens an incident.
    disk_free_min: Bytes = ["256MiB"];

    /// Collector to which ended runs are exported as traces, by OTLP over HTTP: `http://HOST:4318`.
    ///
    /// `/v1/traces` is added unless it is there. `OTEL_EXPORTER_OTLP_ENDPOINT` is used if neither
    /// the option nor the variable of this server is set. `off` for none. See docs/tracing.md.
    otlp_endpoint: Option<HttpUrl> = ["off"];

    /// Headers of requests to the collector: `NAME=VALUE`, `NAME=secret:NAME`, `NAME=file:PATH` or `NAME=env:VARIABLE`.
    ///
    /// References are read again for each request; the value of `Authorization` includes the
    /// scheme: `Bearer …`. `OTEL_EXPORTER_OTLP_HEADERS` is accepted, too.
    otlp_headers: Headers = [];

    /// Service name of this server in traces (`service.name`); `OTEL_SERVICE_NAME` is accepted, too.
    otlp_service_name: Text = ["nightbell"];

    /// Workflows whose runs are exported, `*` for any characters; `!NAME` leaves some out.
    ///
    /// None given = all. Checks of monitors are called `check:MONITOR`, deliveries `nightbell_notify:…`.
    otlp_workflows: Names = [];

    /// The share of traces that is exported, from 0 to 1: all runs of a trace or none.
    otlp_sample: Share = ["1"];

    /// URL at which people see a trace, with `{trace_id}` in it: `https://tempo.example/trace/{trace_id}`.
    ///
    /// Incidents then link to the traces of their checks. `off` for no links.
    trace_url: Option<TraceUrl> = ["off"];

    /// What to log: error, warn, info, debug or trace, also by module (`info,engine=debug`).
    log_level: LogFilter = ["info"];

    /// How to log: `text` for people, `json` for machines.
    log_format: LogFormat = ["text"];

    /// Processor time of one evaluation of a script (JavaScript, jq).
    script_time: Duration = ["4s"];

    /// Memory of one evaluation of a script.
    script_memory: Bytes = ["64MiB"];

    /// Largest input, output or variable of a workflow or a task, as JSON.
    ///
    /// Larger values fail the task or are refused, with a reason that says so.
    payload_max: Bytes = ["10MiB"];

    /// Largest response body that an HTTP task accepts, after decompression.
    http_body_max: Bytes = ["3MiB"];

    /// URL of NATS, for events `nats:` and `jsm:`: `nats://USER:PASSWORD@HOST:4222`.
    ///
    /// Several servers of a cluster are separated by commas. `off` for none.
    nats_url: Option<BrokerUrl> = ["off"];

    /// URL of an AMQP broker such as `RabbitMQ`, for events `amqp:`: `amqp://USER:PASSWORD@HOST:5672/VHOST`.
    ///
    /// The protocol is AMQP 0.9.1; `amqps` is encrypted. `off` for none.
    amqp_url: Option<BrokerUrl> = ["off"];

    /// URL of a Kafka cluster, for events `kafka:`: `kafka://USER:PASSWORD@HOST:9092`.
    ///
    /// Several of its brokers are separated by commas; `kafkas` is encrypted. The offsets of topics
    /// are kept in the store of this server. `off` for none.
    kafka_url: Option<KafkaUrl> = ["off"];

    /// URL of Amazon SQS, for events `sqs:`: `https://sqs.eu-west-1.amazonaws.com`.
    ///
    /// The key comes from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` in
    /// the environment, and the region from `AWS_REGION` if the address names none. `off` for none.
    sqs_url: Option<HttpUrl> = ["off"];

    /// Two queues whose messages complete and fail tasks, such as `amqp:updates_`.
    ///
    /// The names end in `COMPLETED` and `FAILED`. A message names its task in `externalId`, a JSON
    /// text with `workflowId` and `taskRefName` or `taskId`. `off` for none.
    task_update_queue: Option<QueuePrefix> = ["off"];

    /// Shortest interval between two polls of an HTTP_POLL task; at least a second.
    ///
    /// Orkes' own servers enforce a minute.
    http_poll_interval_min: Duration = ["1s"];

    /// URL of the API for SENDGRID tasks; `https://api.eu.sendgrid.com` is the service in Europe.
    sendgrid_url: HttpUrl = ["https://api.sendgrid.com"];

    /// URL of the API for Opsgenie tasks; `https://api.eu.opsgenie.com` is the service in Europe.
    opsgenie_url: HttpUrl = ["https://api.opsgenie.com"];

    /// How many built-in tasks (HTTP, jq, JavaScript, ...) may run at the same time.
    system_task_workers: NonZeroUsize = ["64"];

    /// How long a Durable Task worker may take for a turn of an orchestration before another gets it too.
    ///
    /// The first result counts. A turn has no side effects, so running it twice does no harm.
    turn_lease: Duration = ["5m"];

    /// How long a connected Durable Task worker may keep an activity before another gets it too.
    ///
    /// The same holds for operations of an entity. `off` for as long as it is connected; when its
    /// connection ends, its work items are offered to others at once.
    activity_lease: Option<Duration> = ["off"];

    /// Number of failed attempts after which a work item for Durable Task workers fails; 0 for never.
    ///
    /// An attempt fails when the worker disconnects, fails, abandons the work item, or sends an
    /// invalid result. Pauses between attempts grow up to a minute. An expired lease counts as a
    /// tenth of an attempt; a turn of an orchestration that a worker abandons, for example because
    /// it runs another version, is offered again without limit.
    work_attempts_max: u64 = ["10"];

    /// Longest time that one outgoing call of a task may take, whatever its definition says.
    ///
    /// A peer that is silent for days would occupy the slot of a built-in task all that time.
    /// Longer timeouts in definitions are reduced to this one.
    call_time_max: Duration = ["1h"];

    /// Number of iterations of one loop (`DO_WHILE`); after that its task fails.
    ///
    /// A loop that keeps few iterations (`keepLastN`) would otherwise never end if its condition is
    /// always true; one that keeps them all ends at 500,000 tasks.
    loop_iterations_max: NonZeroU32 = ["1000000"];

    /// How many executions of one definition may be open; `off` for any number.
    ///
    /// Further starts are refused, and a task that requested one fails. The `rateLimitConfig` of a
    /// definition takes precedence. Runs that monitors start are not counted.
    workflow_open_max: Option<NonZeroU32> = ["off"];

    /// How many executions of one definition may be started in a minute; `off` for any number.
    ///
    /// Further starts by clients are refused with 429; starts by workflows, schedules and events
    /// are delayed. Runs that monitors start are not counted.
    workflow_starts_per_minute: Option<NonZeroU32> = ["off"];

    /// How many requests one key or user may send in a second; `off` for any number.
    ///
    /// Bursts of twice as many are accepted. Further ones are refused with 429 and `Retry-After`.
    /// It applies with access control: `auth` is `offered` (clients without a key are counted by
    /// address) or `on`.
    principal_requests_per_second: Option<NonZeroU32> = ["off"];

    /// Total size of the request bodies of one key or user in a minute; `off` for any.
    ///
    /// After a body that exceeds it, requests are refused with 429 and `Retry-After` until the
    /// quota has recovered. It applies with access control.
    principal_bytes_per_minute: Option<Bytes> = ["off"];

    /// How many runs one key or user may have open; `off` for any number.
    ///
    /// Counted are runs that act as the key or user, including those that its schedules and runs
    /// have started, but not sub-workflows. Further starts are refused with 429, and a task that
    /// requested one fails.
    principal_open_max: Option<NonZeroU32> = ["off"];

    /// How many runs one key or user may start by requests in a minute; `off` for any number.
    ///
    /// Further starts are refused with 429. Starts by its runs and schedules are limited by
    /// `workflow_starts_per_minute` and `principal_open_max`.
    principal_starts_per_minute: Option<NonZeroU32> = ["off"];

    /// Networks that tasks and monitors may reach although they are refused by default.
    ///
    /// Refused by default are link-local and other addresses at which clouds provide credentials,
    /// multicast, and addresses that name no host. Format: `169.254.169.254` or `169.254.0.0/16`.
    outgoing_allow: Networks = [];

    /// Networks that tasks, monitors and receivers may not reach, such as `10.0.0.0/8`.
    ///
    /// Every address to which a name resolves is checked. Behind a proxy only literal addresses are
    /// checked.
    outgoing_deny: Networks = [];

    /// Whether tasks, monitors and receivers may reach this machine and private networks.
    ///
    /// With `off`, loopback, private, shared and unique local addresses are refused except for
    /// those in `outgoing_allow`. For servers on which definitions are written by people who must
    /// not reach the network around the server.
    outgoing_private: bool = ["on"];

    /// Whether tasks, monitors and receivers may call this server itself.
    ///
    /// Off by default: with `on` a definition can do over HTTP whatever the API can.
    outgoing_own: bool = ["off"];

    /// Databases for JDBC tasks: `NAME=URL`, with postgres://…, mysql://… or sqlite:FILE.
    ///
    /// In the file also a table for each: [sql.orders], and below it url = "…". Put a URL with a
    /// password into the file or the environment, not on the command line.
    sql: Databases = [];

    /// How long one SQL statement may run.
    sql_time: Duration = ["1m"];

    /// How many rows one SQL query may return; a query with more fails.
    sql_rows_max: NonZeroUsize = ["10000"];

    /// Whether inputs of JDBC tasks may contain URLs of databases.
    ///
    /// With `on`, everybody who can write definitions reaches every database and file that the
    /// server can reach.
    sql_urls_in_inputs: bool = ["off"];

    /// Named sources for monitors (`server: NAME`, `account: NAME`): `NAME=URL`.
    ///
    /// In the file also a table for each: [sources.metrics], and below it url = "…", user,
    /// password, token, org, db and other settings that a monitor of that kind can leave out. A
    /// monitors file may have `sources` too; those can refer to secrets. JDBC tasks may read
    /// databases among them; tasks = "write" lets them write, tasks = "off" denies access.
    sources: Sources = [];

    /// The Prometheus server that `QUERY_PROCESSOR` tasks query for `METRICS`.
    prometheus_url: Option<HttpUrl> = ["off"];

    /// Public base URL of this server: links in outputs, responses and notifications begin with it.
    ///
    /// Its host is accepted as a name of the server; see `hosts`.
    public_url: Option<HttpUrl> = ["off"];

    /// Further host names of this server: `bell.example.com`, `*.example.com`.
    ///
    /// Requests for other names are refused, as protection against DNS rebinding. The host of
    /// `public_url`, `localhost` and IP addresses need no entry; nor do names of private networks
    /// (`nightbell`, `x.svc.cluster.local`) if `listen` is not this machine.
    hosts: Vec<HostPattern> = [];

    /// Reverse proxies whose X-Forwarded-Host, -Proto and -Prefix are trusted: `10.0.0.0/8`.
    ///
    /// Links in responses then begin with these values, if the host is a name of the server. These
    /// headers of other clients are ignored.
    trusted_proxies: Networks = [];

    /// How many connections one client address may have; never more than half of all.
    ///
    /// Beyond that its longest idle connection is closed for a new one; if all are busy, the new
    /// one is refused. IPv6 addresses are counted by their /64. Connections from this machine and
    /// from `trusted_proxies` are not counted.
    connections_per_address: NonZeroUsize = ["2000"];

    /// How many ended runs to keep; the oldest are removed first. `off` keeps any number.
    retention_count: Option<u64> = ["1000000"];

    /// How long to keep ended runs. `off` keeps them for ever.
    retention_age: Option<Duration> = ["30d"];

    /// How long to keep the recorded results of checks, for `nightbell monitor backtest`.
    ///
    /// `off` keeps nothing. A monitor may keep less: `keep: [host, loss]`, `history: off`.
    check_history: Option<Duration> = ["30d"];

    /// How much disk space they may take, for all monitors together; the oldest are removed first.
    check_history_bytes: Bytes = ["512MiB"];

    /// How much disk space the store may take before the oldest ended runs are removed.
    ///
    /// `off` lets it grow until the disk is full.
    disk_budget: Option<Bytes> = ["20GiB"];
}
