//! `CHECK_DNS`: does a name lead where it should?

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use kernel::alert::Status;
use serde_json::json;

use super::order::Order;
use super::seen::{Seen, attrs};
use super::{Means, Source, Trouble, unknown, wrong};

/// Looks up names.
pub(super) struct Dns;

#[async_trait]
impl Source for Dns {
    const TYPE: &'static str = "CHECK_DNS";

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let name = order.settings.required("name")?;
        let kind = order.settings.text("type")?.unwrap_or_else(|| "A".to_owned());
        let kind = RecordType::from_str(&kind.to_ascii_uppercase())
            .map_err(|_| wrong(format!("{kind:?} is no type of record; write A, AAAA, MX, …")))?;
        let expected = order.settings.texts("expect")?;
        let resolver = resolver(order, means)?;
        // Without the dot the local search list could find another name.
        let whole = format!("{}.", name.trim_end_matches('.'));
        let begun = Instant::now();
        let question = async { Ok(resolver.lookup(whole.as_str(), kind).await) };
        let answer = order.within(&format!("the look-up of {name}"), question).await?;
        let ms = begun.elapsed().as_millis() as u64;
        let found: Vec<String> = match answer {
            Ok(lookup) => lookup
                .answers()
                .iter()
                .filter(|record| record.record_type() == kind)
                .map(|record| shown(&record.data))
                .collect(),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                let text = match none.response_code {
                    ResponseCode::NXDomain => format!("the name {name} does not exist"),
                    ResponseCode::NoError => format!("{name} has no {kind} records"),
                    code => return Err(unknown(format!("the look-up of {name} failed: {code}"))),
                };
                return Ok(Seen::one(Status::Fail, &text, json!(null), attrs(json!({ "ms": ms }))));
            }
            Err(error) => return Err(unknown(format!("the look-up of {name} failed: {error}"))),
        };
        let absent: Vec<&str> =
            expected.iter().map(String::as_str).filter(|it| !is_among(it, &found)).collect();
        let all = found.join(", ");
        let (status, text) = if found.is_empty() {
            (Status::Fail, format!("{name} has no {kind} records"))
        } else if absent.is_empty() {
            (Status::Ok, format!("{name} {kind}: {all}"))
        } else {
            let absent = absent.join(", ");
            (Status::Fail, format!("{name} {kind} lacks {absent}; it has {all}"))
        };
        let attrs = attrs(json!({ "ms": ms, "answers": found }));
        Ok(Seen::one(status, &text, found.len().into(), attrs))
    }
}

/// Asks the server of the settings, otherwise those of the system.
fn resolver(order: &Order, means: &Means) -> Result<TokioResolver, Trouble> {
    let failed = |error: NetError| unknown(format!("names cannot be looked up here: {error}"));
    let mut builder = match order.settings.text("server")? {
        None => TokioResolver::builder_tokio().map_err(failed)?,
        Some(server) => {
            let whole = server.parse::<SocketAddr>();
            let address = whole
                .or_else(|_| server.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
                .map_err(|_| wrong(format!("`server`: {server:?} is no IP address")))?;
            let judged = means.settings.http.outgoing.policy().judge(address);
            judged.map_err(|refusal| wrong(format!("`server`: {refusal}")))?;
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.timeout = order.patience / 2;
    options.attempts = 2;
    // What is watched is the name as it is now.
    options.cache_size = 0;
    builder.build().map_err(failed)
}

/// A record's data as people write it.
fn shown(data: &RData) -> String {
    match data {
        RData::TXT(text) => {
            text.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect()
        }
        other => other.to_string(),
    }
}

/// Whether an expected answer is among those found; the dot at the end of names does not matter.
fn is_among(expected: &str, found: &[String]) -> bool {
    let bare = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
    found.iter().any(|found| {
        bare(found) == bare(expected)
            // The preference before a mail server's name need not be said.
            || found.split_once(' ').is_some_and(|(_, name)| bare(name) == bare(expected))
    })
}
