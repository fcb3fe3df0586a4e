//! `CHECK_ICMP`: does a host answer echo requests (ping), how fast, and how many get lost?

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kernel::alert::Status;
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::order::{Order, span};
use super::seen::{Seen, attrs};
use super::{Means, Source, Trouble, unknown, wrong};
use crate::outgoing::refusal_of;

/// Echo requests of a check, if the settings do not say.
const COUNT: u64 = 3;
/// Most echo requests of a check.
const COUNT_MAX: u64 = 20;
/// Time between two echo requests, and the least that settings may say.
const INTERVAL: Duration = Duration::from_millis(200);
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// How long an answer to one echo request is waited for.
const ANSWER: Duration = Duration::from_secs(1);
/// Bytes that tell an answer to this check from any other.
const MARK: usize = 16;
/// Type, code, checksum, identifier and number.
const HEADER: usize = 8;

/// Sends echo requests.
pub(super) struct Icmp;

#[async_trait]
impl Source for Icmp {
    const TYPE: &'static str = "CHECK_ICMP";

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let host = order.settings.required("host")?;
        let count = order.settings.count("count")?.unwrap_or(COUNT);
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(wrong(format!("`count` must be 1 to {COUNT_MAX}")));
        }
        let interval = span(&order.settings, "interval")?.unwrap_or(INTERVAL).max(INTERVAL_MIN);
        let echo = async {
            let address = address(&host, means).await?;
            let line = Line::to(address)
                .map_err(|error| trouble(&error, &format!("no echo request to {host}")))?;
            line.ask(count, interval).await
        };
        // All answers are waited for, unless the monitor says how long: some may have come.
        let all = (ANSWER + interval) * u32::try_from(count).unwrap_or(u32::MAX);
        let found = match order.within_at_least(all, &format!("the check of {host}"), echo).await {
            Ok(found) => found,
            // The host is what is watched: that it does not answer is what was to be found out.
            Err(Trouble::Unknown(text)) => {
                let lost = attrs(json!({ "loss": 100 }));
                return Ok(Seen::one(Status::Fail, &text, json!(null), lost));
            }
            Err(wrong) => return Err(wrong),
        };
        let received = found.len() as u64;
        let loss = (count - received) * 100 / count;
        let mean = found.iter().sum::<Duration>() / u32::try_from(received.max(1)).unwrap_or(1);
        // To the microsecond: hosts near by answer within parts of a millisecond.
        let ms = mean.as_micros() as f64 / 1000.0;
        let said = json!({ "loss": loss, "sent": count, "received": received });
        if received == 0 {
            let text = format!("{host} answers none of {count} echo requests");
            return Ok(Seen::one(Status::Fail, &text, json!(null), attrs(said)));
        }
        let mut said = attrs(said);
        said.insert("ms".to_owned(), json!(ms));
        let text = format!("{host} answers {received} of {count} echo requests, in {ms} ms");
        Ok(Seen::one(Status::Ok, &text, json!(ms), said))
    }
}

/// The first address of a host to which this server may speak.
async fn address(host: &str, means: &Means) -> Result<IpAddr, Trouble> {
    let outgoing = &means.settings.http.outgoing;
    let found = outgoing.addresses(host, 0).await.map_err(|error| match refusal_of(&error) {
        Some(refusal) => wrong(format!("no echo request to {host}: {refusal}")),
        None => unknown(format!("no echo request to {host}: {error}")),
    })?;
    let first = found.first().map(SocketAddr::ip);
    first.ok_or_else(|| unknown(format!("no echo request to {host}: it has no address")))
}

fn trouble(error: &io::Error, what: &str) -> Trouble {
    match error.kind() {
        ErrorKind::PermissionDenied => wrong(format!(
            "{what}: the system does not allow it; let the sysctl net.ipv4.ping_group_range include \
             the server's group, or give the server CAP_NET_RAW"
        )),
        _ => unknown(format!("{what}: {error}")),
    }
}

/// A socket for echo requests to one host.
struct Line {
    socket: UdpSocket,
    is_v6: bool,
    /// Differs for each check that runs; the system replaces it unless the socket is a raw one.
    identifier: u16,
    mark: [u8; MARK],
}

impl Line {
    fn to(address: IpAddr) -> io::Result<Self> {
        let (domain, protocol) = match address {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        // What needs no privilege comes first.
        let socket = Socket::new(domain, Type::DGRAM, Some(protocol)).or_else(|unprivileged| {
            Socket::new(domain, Type::RAW, Some(protocol)).map_err(|_| unprivileged)
        })?;
        socket.set_nonblocking(true)?;
        socket.connect(&SocketAddr::new(address, 0).into())?;
        let mut random = [0; MARK + 2];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let [first, second, mark @ ..] = random;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            is_v6: address.is_ipv6(),
            identifier: u16::from_be_bytes([first, second]),
            mark,
        })
    }

    /// Sends echo requests one after another, and answers how long the answers took that came.
    async fn ask(&self, count: u64, interval: Duration) -> Result<Vec<Duration>, Trouble> {
        let mut took = Vec::new();
        for number in 0..count as u16 {
            let begun = Instant::now();
            let request = self.request(number);
            let answer = async {
                self.socket.send(&request).await?;
                self.answer(number).await
            };
            match tokio::time::timeout(ANSWER, answer).await {
                Ok(Ok(())) => took.push(begun.elapsed()),
                Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {
                    return Err(trouble(&error, "no echo request"));
                }
                // It got lost, or a router says that the host cannot be reached.
                Ok(Err(_)) | Err(_) => {}
            }
            if number + 1 < count as u16 {
                tokio::time::sleep(interval.saturating_sub(begun.elapsed())).await;
            }
        }
        Ok(took)
    }

    async fn answer(&self, number: u16) -> io::Result<()> {
        let mut buffer = [0; 512];
        loop {
            let length = self.socket.recv(&mut buffer).await?;
            if is_answer(&buffer[..length], self.is_v6, number, &self.mark) {
                return Ok(());
            }
        }
    }

    fn request(&self, number: u16) -> Vec<u8> {
        const ECHO_V4: u8 = 8;
        const ECHO_V6: u8 = 128;
        let mut packet = vec![if self.is_v6 { ECHO_V6 } else { ECHO_V4 }, 0, 0, 0];
        packet.extend(self.identifier.to_be_bytes());
        packet.extend(number.to_be_bytes());
        packet.extend(self.mark);
        if !self.is_v6 {
            // Of version 6 the system makes it, as it needs the addresses.
            let sum = checksum(&packet).to_be_bytes();
            packet[2..4].copy_from_slice(&sum);
        }
        packet
    }
}

/// Whether a packet answers the echo request of a number. A raw socket hears everything that comes
/// from the host, with the header of the internet protocol before it.
fn is_answer(packet: &[u8], is_v6: bool, number: u16, mark: &[u8; MARK]) -> bool {
    const REPLY_V4: u8 = 0;
    const REPLY_V6: u8 = 129;
    let icmp = match packet.first() {
        Some(first) if !is_v6 && first >> 4 == 4 => packet.get(usize::from(first & 15) * 4..),
        _ => Some(packet),
    };
    let Some(icmp) = icmp.filter(|icmp| icmp.len() >= HEADER + MARK) else { return false };
    icmp[0] == if is_v6 { REPLY_V6 } else { REPLY_V4 }
        && icmp[6..8] == number.to_be_bytes()
        && icmp[HEADER..HEADER + MARK] == *mark
}

/// The checksum of the internet protocols (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]))
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONES: [u8; MARK] = [1; MARK];

    #[test]
    fn the_checksum_of_a_packet_that_holds_it_is_zero() {
        for length in [24, 25] {
            let mut packet: Vec<u8> = (0..length).map(|byte: u8| byte.wrapping_mul(11)).collect();
            packet[2..4].fill(0);
            let sum = checksum(&packet).to_be_bytes();
            packet[2..4].copy_from_slice(&sum);
            assert_eq!(checksum(&packet), 0);
        }
    }

    #[test]
    fn only_the_answer_to_this_request_counts() {
        let reply = |kind: u8, number: u8, mark: [u8; MARK]| {
            [&[kind, 0, 0, 0, 7, 7, 0, number][..], &mark].concat()
        };
        assert!(is_answer(&reply(0, 2, ONES), false, 2, &ONES));
        assert!(is_answer(&reply(129, 2, ONES), true, 2, &ONES));
        // As a raw socket hears it.
        let header = [&[0x45][..], &[0; 19]].concat();
        assert!(is_answer(&[header, reply(0, 2, ONES)].concat(), false, 2, &ONES));
        for other in [
            reply(0, 3, ONES),
            reply(0, 2, [2; MARK]),
            reply(8, 2, ONES),
            reply(3, 2, ONES),
            reply(0, 2, ONES)[..20].to_vec(),
            vec![0x4f],
            Vec::new(),
        ] {
            assert!(!is_answer(&other, false, 2, &ONES), "{other:?}");
        }
    }
}
