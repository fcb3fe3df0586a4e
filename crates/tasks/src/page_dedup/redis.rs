//! Claims in Redis: one hash per alert, changed by scripts, which Redis runs one at a time.
//!
//! ```text
//!           claim             settle                claim            settle
//!  (absent) ─────▶ triggering ──────▶ triggered ─────────▶ resolving ──────▶ resolved
//!      ▲   expires     │                  │ expires            │                │ expires
//!      └───────────────┴──────────────────┴────────────────────┴────────────────┘
//! ```
//!
//! Instants are those of the server that paged: what another saw end before that is not this page.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use tokio::sync::OnceCell;

use super::{Away, Claim, LEASE, Place, SetupError, TOLD, Wish};

/// Longest wait for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Seconds for which the last result of a check is kept.
const NOTES: u32 = 30 * 86_400;

/// `KEYS[1]` = alert; `ARGV` = server, wish, the instant of the resolve in milliseconds, lease.
const CLAIM: &str = r"
local state = redis.call('HGET', KEYS[1], 'state')
local by = redis.call('HGET', KEYS[1], 'by')
local wish = ARGV[2]
if state == 'triggering' or state == 'resolving' then
  if by ~= ARGV[1] then
    return {'busy', by, '', redis.call('PTTL', KEYS[1])}
  end
elseif state == 'triggered' then
  local sent = tonumber(redis.call('HGET', KEYS[1], 'sent_ms')) or 0
  if wish == 'trigger' or (by ~= ARGV[1] and sent > tonumber(ARGV[3])) then
    return {'told', by, redis.call('HGET', KEYS[1], 'status_dt'), 0}
  end
elseif state == 'resolved' and wish == 'resolve' then
  return {'told', by, redis.call('HGET', KEYS[1], 'status_dt'), 0}
end
local doing = wish == 'trigger' and 'triggering' or 'resolving'
redis.call('HSET', KEYS[1], 'state', doing, 'by', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {'ours', ARGV[1], '', 0}
";

/// `KEYS[1]` = alert; `ARGV` = server, wish, what was said, now for people and in milliseconds, for
/// how long it counts; nothing said = it was not told.
const SETTLE: &str = r"
local doing = ARGV[2] == 'trigger' and 'triggering' or 'resolving'
if redis.call('HGET', KEYS[1], 'by') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'state') ~= doing then
  return 0
end
if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
  return 1
end
local done = ARGV[2] == 'trigger' and 'triggered' or 'resolved'
redis.call('HSET', KEYS[1], 'state', done, 'result', ARGV[3], 'status_dt', ARGV[4], 'sent_ms', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1
";

pub(super) struct Redis {
    place: Place,
    client: Client,
    /// Made at the first use, because it wants a runtime.
    connection: OnceCell<ConnectionManager>,
}

impl Redis {
    pub(super) fn new(place: &Place) -> Result<Self, SetupError> {
        crate::http::install_tls_provider();
        let wrong =
            |error: redis::RedisError| SetupError { place: place.clone(), reason: words(&error) };
        let client = address(place).and_then(Client::open).map_err(wrong)?;
        Ok(Self { place: place.clone(), client, connection: OnceCell::new() })
    }

    async fn connection(&self) -> Result<ConnectionManager, redis::RedisError> {
        let make = || async {
            let config = ConnectionManagerConfig::new()
                .set_number_of_retries(1)
                .set_connection_timeout(Some(PATIENCE))
                .set_response_timeout(Some(PATIENCE));
            ConnectionManager::new_lazy_with_config(self.client.clone(), config)
        };
        self.connection.get_or_try_init(make).await.cloned()
    }

    /// Runs a command, or gives up soon: whoever asks has somebody to page.
    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Away> {
        let work = async {
            let mut connection = self.connection().await?;
            command.query_async(&mut connection).await
        };
        let reason = match tokio::time::timeout(3 * PATIENCE, work).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => words(&error),
            Err(_) => format!("no answer within {} s", 3 * PATIENCE.as_secs()),
        };
        Err(self.away(reason))
    }

    pub(super) fn away(&self, reason: impl Into<String>) -> Away {
        Away { place: self.place.clone(), reason: reason.into() }
    }

    pub(super) async fn claim(&self, alert: &str, wish: Wish, server: &str) -> Result<Claim, Away> {
        let over = match wish {
            Wish::Trigger => 0,
            Wish::Resolve(at) => at,
        };
        let mut command = redis::cmd("EVAL");
        command.arg(CLAIM).arg(1).arg(alert).arg(server).arg(wish.word()).arg(over);
        command.arg(LEASE.as_millis() as u64);
        let (word, by, at, left): (String, String, String, i64) = self.ask(&command).await?;
        Ok(match word.as_str() {
            "ours" => Claim::Ours,
            "busy" => Claim::Busy(Duration::from_millis(left.max(1) as u64)),
            _ => Claim::AlreadySent { by, at },
        })
    }

    pub(super) async fn settle(
        &self,
        alert: &str,
        wish: Wish,
        server: &str,
        told: Option<&str>,
    ) -> Result<(), Away> {
        let mut command = redis::cmd("EVAL");
        command.arg(SETTLE).arg(1).arg(alert).arg(server).arg(wish.word());
        command.arg(told.unwrap_or_default()).arg(now());
        command.arg(jiff::Timestamp::now().as_millisecond()).arg(TOLD.as_millis() as u64);
        self.ask::<i64>(&command).await.map(drop)
    }

    pub(super) async fn note(&self, check: &str, result: &str) -> Result<(), Away> {
        let mut set = redis::cmd("HSET");
        set.arg(check).arg("result").arg(result).arg("status_dt").arg(now());
        self.ask::<i64>(&set).await?;
        let mut expire = redis::cmd("EXPIRE");
        expire.arg(check).arg(NOTES);
        self.ask::<i64>(&expire).await.map(drop)
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn address(place: &Place) -> Result<ConnectionInfo, redis::RedisError> {
    let (host, port) = (place.host.clone(), place.port);
    let address = if place.secure {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let mut login = RedisConnectionInfo::default().set_db(place.database);
    if let Some(user) = &place.user {
        login = login.set_username(user);
    }
    if let Some(password) = &place.password {
        login = login.set_password(password);
    }
    Ok(address.into_connection_info()?.set_redis_settings(login))
}

/// An error without what the library adds for programmers.
fn words(error: &redis::RedisError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
