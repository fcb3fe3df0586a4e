//! Where the database is, and how it is used: read from a URL.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;

/// The schema that is used when the URL names none.
const SCHEMA: &str = "nightbell";
/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long sent bytes may stay without an answer before a connection counts as broken.
const SILENCE_MAX: Duration = Duration::from_secs(8);
/// Bounds of the lease.
const LEASE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);

/// How the store uses a database. Shown without the password.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    /// The schema that holds the tables.
    pub(super) schema: String,
    /// How long this process owns the store after a sign of life.
    pub(super) lease: Duration,
    /// Connections that read at the same time.
    pub(super) readers: usize,
    /// Who this is, for whoever finds the store in use.
    pub(super) name: String,
    /// Where other servers of the store reach this one.
    pub(super) address: Option<String>,
}

impl PostgresOptions {
    /// Reads a URL: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with the parameters of libpq
    /// that the client knows, and of our own `schema` (`nightbell`), `lease` (seconds, 1 to 30, 4)
    /// and `readers` (connections that read, 1 to 64, 4).
    ///
    /// # Errors
    /// What is wrong with it; never with a part that may hold the password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let mut own = Own::default();
        let mut kept = Vec::new();
        for parameter in query.split('&').filter(|it| !it.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if !own.take(name, value)? {
                kept.push(parameter);
            }
        }
        let url =
            if kept.is_empty() { place.to_owned() } else { format!("{place}?{}", kept.join("&")) };
        // The client's message may repeat parts of the text, which may be of the password.
        let mut config: Config = url.parse().map_err(|_| {
            "the PostgreSQL URL cannot be read: write postgres://USER@HOST/DATABASE, with the \
             characters :/?#@% of a password as %XX, and only parameters that are known"
                .to_owned()
        })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_MAX);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE_MAX);
        }
        if config.get_application_name().is_none() {
            config.application_name("nightbell");
        }
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if own.authorities.is_some() && !own.verify {
            return Err("sslrootcert: the file is used only where the server's certificate is \
                        checked: add sslmode=verify-full, or leave sslrootcert out"
                .into());
        }
        if own.verify {
            config.ssl_mode(SslMode::Require);
        }
        if config.get_dbname().is_none() {
            return Err(
                "the PostgreSQL URL names no database: postgres://USER@HOST/DATABASE".into()
            );
        }
        Ok(Self {
            tls: tls::connector(own.verify, own.authorities.as_deref())?,
            config,
            schema: own.schema.unwrap_or_else(|| SCHEMA.to_owned()),
            lease: own.lease.unwrap_or(Duration::from_secs(4)),
            readers: own.readers.unwrap_or(4),
            name: whoami(),
            address: None,
        })
    }

    /// The same for a server that others of the store reach at this address.
    #[must_use]
    pub fn reached_at(mut self, address: String) -> Self {
        self.address = Some(address);
        self
    }

    /// The machine and process that others see, and where they reach it.
    pub fn whom(&self) -> (&str, Option<&str>) {
        (&self.name, self.address.as_deref())
    }

    /// How long a server is a member of the store after a sign of life.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// The schema, as SQL names it.
    pub(super) fn quoted_schema(&self) -> String {
        format!("\"{}\"", self.schema)
    }
}

/// Host, database and schema, without user and password.
impl fmt::Display for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts: Vec<_> = hosts.collect();
        let database = self.config.get_dbname().unwrap_or_default();
        write!(f, "schema {} of database {database} at {}", self.schema, hosts.join(","))
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The parameters that the client does not know.
#[derive(Default)]
struct Own {
    schema: Option<String>,
    lease: Option<Duration>,
    readers: Option<usize>,
    verify: bool,
    authorities: Option<PathBuf>,
}

impl Own {
    /// Takes a parameter if it is one of these.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "schema" => {
                let mut letters = value.bytes();
                let is_first = |b: u8| b.is_ascii_lowercase() || b == b'_';
                let is_name = letters.next().is_some_and(is_first)
                    && letters.all(|b| is_first(b) || b.is_ascii_digit())
                    && value.len() <= 63
                    && !value.starts_with("pg_");
                if !is_name {
                    return Err(format!(
                        "schema: `{value}` is no name of lower-case letters, digits and _, of at \
                         most 63 characters"
                    ));
                }
                self.schema = Some(value.to_owned());
            }
            "lease" => {
                let seconds = value.strip_suffix('s').unwrap_or(value).parse().ok();
                let lease = seconds.map(Duration::from_secs).filter(|it| LEASE.contains(it));
                self.lease = Some(lease.ok_or("lease: write a number of seconds from 1 to 30")?);
            }
            "readers" => {
                let readers = value.parse().ok().filter(|it| (1..=64).contains(it));
                self.readers = Some(readers.ok_or("readers: write a number from 1 to 64")?);
            }
            "sslmode" if matches!(value, "verify-full" | "verify-ca") => self.verify = true,
            "sslrootcert" => self.authorities = Some(PathBuf::from(value)),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// This process, for people: the machine's name and the number of the process.
fn whoami() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "a machine without name" } else { host.trim() };
    format!("{host} (process {})", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_shown_without_its_password() {
        let url = "postgres://bell:hun%40ter2@db.example:6432/ring?schema=night_1&lease=2s&\
                   sslmode=verify-full&readers=3&connect_timeout=7";
        let options = PostgresOptions::parse(url).expect("it is right");
        assert_eq!(options.schema, "night_1");
        assert_eq!((options.lease, options.readers), (Duration::from_secs(2), 3));
        assert_eq!(options.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(options.config.get_connect_timeout(), Some(&Duration::from_secs(7)));
        let shown = format!("{options} {options:?}");
        assert!(shown.contains("schema night_1 of database ring at db.example"), "{shown}");
        assert!(!shown.contains("ter2") && !shown.contains("bell:"), "{shown}");
    }

    #[test]
    fn mistakes_are_told_without_the_password() {
        for (url, expected) in [
            ("postgres://u:hunter2@h/d?schema=Night", "schema: `Night`"),
            ("postgres://u:hunter2@h/d?schema=a\";DROP", "schema:"),
            ("postgres://u:hunter2@h/d?lease=99", "lease: write"),
            ("postgres://u:hunter2@h/d?readers=0", "readers: write"),
            ("postgres://u:hunter2@h/d?sslrootcert=/ca.pem", "add sslmode=verify-full"),
            ("postgres://u:hunter2@h/d?sslmode=require&sslrootcert=/ca.pem", "sslrootcert: the"),
            ("postgres://u:hunter2@h", "names no database"),
            ("postgres://u:hunter2@h:port/d", "cannot be read"),
            ("postgres://u:hunter2@h/d?hunter2=1", "cannot be read"),
        ] {
            let told = PostgresOptions::parse(url).expect_err("it is wrong");
            assert!(told.contains(expected) && !told.contains("hunter2"), "{url}: {told}");
        }
    }
}
