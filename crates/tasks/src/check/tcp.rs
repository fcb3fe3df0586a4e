//! `CHECK_TCP`: does somebody listen there, and answer as expected?

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use kernel::alert::Status;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::order::{Order, span};
use super::rest::quoted;
use super::seen::{Seen, attrs};
use super::{Means, Source, Trouble, http, tls, unknown, wrong};

/// Bytes of an answer that are read at most while the expected text has not come.
const ANSWER_MAX: usize = 64 << 10;

/// Connects.
pub(super) struct Tcp;

#[async_trait]
impl Source for Tcp {
    const TYPE: &'static str = "CHECK_TCP";

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let (host, port) = address(order)?;
        let left_min = span(&order.settings, "tls_expiry")?;
        let secure = order.wants_tls()? || left_min.is_some();
        let begun = Instant::now();
        let talk = async {
            let mut stream = tls::connect(&host, port, means).await?;
            if !secure {
                return converse(&mut stream, order).await.map(|()| None);
            }
            let mut stream = tls::secure(stream, &host, order).await?;
            let end = tls::expiry(&stream)?;
            converse(&mut stream, order).await.map(|()| Some(end))
        };
        let what = format!("the check of {host}:{port}");
        let end = match order.within(&what, talk).await {
            Ok(end) => end,
            // The port is what is watched: that it does not answer is what was to be found out.
            Err(Trouble::Unknown(text)) => {
                return Ok(Seen::one(Status::Fail, &text, json!(null), attrs(json!({}))));
            }
            Err(wrong) => return Err(wrong),
        };
        let ms = begun.elapsed().as_millis() as u64;
        let text = format!("{host}:{port} answers");
        let mut seen = (Status::Ok, text, attrs(json!({ "ms": ms })));
        if let (Some(end), Some(left_min)) = (end, left_min) {
            http::expiry(&mut seen, end, left_min, order);
        }
        Ok(Seen::one(seen.0, &seen.1, ms.into(), seen.2))
    }
}

/// Host and port: `address`, or `host` and `port`.
///
/// # Errors
/// One of them is missing or is none.
pub(super) fn address(order: &Order) -> Result<(String, u16), Trouble> {
    let whole = match order.settings.text("address")? {
        Some(address) => address.strip_prefix("tcp://").map(str::to_owned).unwrap_or(address),
        None => order.settings.required("host")?,
    };
    let split =
        whole.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let (host, port) = match (split, order.settings.text("port")?) {
        (Some((host, port)), _) => (host.to_owned(), port.to_owned()),
        (None, Some(port)) => (whole, port),
        (None, None) => return Err(wrong("the port is missing: write host:port")),
    };
    let number = port.parse::<u16>().ok().filter(|port| *port > 0);
    let number = number.ok_or_else(|| wrong(format!("{port:?} is no port (1 to 65535)")))?;
    if host.is_empty() { Err(wrong("the host is missing")) } else { Ok((host, number)) }
}

/// Says what is to be said, and waits for what is expected.
async fn converse<S>(stream: &mut S, order: &Order) -> Result<(), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(text) = order.verbatim("send") {
        let sent = async {
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await
        };
        sent.await.map_err(|error| unknown(format!("nothing could be sent: {error}")))?;
    }
    let Some(expected) = order.verbatim("expect") else { return Ok(()) };
    let (mut heard, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let count = match stream.read(&mut part).await {
            Ok(count) => count,
            Err(error) => return Err(unknown(format!("the answer broke off: {error}"))),
        };
        heard.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&heard);
        if text.contains(expected) {
            return Ok(());
        }
        if count == 0 || heard.len() > ANSWER_MAX {
            let text = quoted(&text);
            let (text, expected) = (text.escape_debug(), quoted(expected));
            return Err(unknown(format!("expected \"{expected}\", heard \"{text}\"")));
        }
    }
}
