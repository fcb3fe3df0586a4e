//! TLS for checks that speak no HTTP, and when certificates end.

use std::sync::Arc;

use kernel::Timestamp;
use reqwest::Url;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::order::Order;
use super::{Means, Trouble, unknown, wrong};
use crate::outgoing::refusal_of;

/// Connects to a host and port.
///
/// # Errors
/// Nobody answers there, or the configuration refuses the address; the words name it.
pub(super) async fn connect(host: &str, port: u16, means: &Means) -> Result<TcpStream, Trouble> {
    means.settings.http.outgoing.connect(host, port).await.map_err(|error| {
        match refusal_of(&error) {
            Some(refusal) => wrong(format!("no connection to {host}:{port}: {refusal}")),
            None => unknown(format!("no connection to {host}:{port}: {error}")),
        }
    })
}

/// Makes a connection safe: the certificate must be trusted by the system or by the order's own
/// authority, and bear the host's name.
///
/// # Errors
/// It is not.
pub(super) async fn secure(
    stream: TcpStream,
    host: &str,
    order: &Order,
) -> Result<TlsStream<TcpStream>, Trouble> {
    secure_for(stream, host, order, &[]).await
}

/// As [`secure`], for a protocol that both sides agree on (ALPN); empty = none is asked for.
///
/// # Errors
/// As [`secure`].
pub(super) async fn secure_for(
    stream: TcpStream,
    host: &str,
    order: &Order,
    protocols: &[&[u8]],
) -> Result<TlsStream<TcpStream>, Trouble> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare)
        .map_err(|_| wrong(format!("{host:?} is no name that a certificate can bear")))?;
    let mut config = config(order.authority()?.as_deref())?;
    config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
    let connector = TlsConnector::from(Arc::new(config));
    connector
        .connect(name, stream)
        .await
        .map_err(|error| unknown(format!("no safe connection (TLS) to {host}: {error}")))
}

fn config(authority: Option<&str>) -> Result<ClientConfig, Trouble> {
    let mut roots = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(authority.unwrap_or_default().as_bytes()) {
        let broken = |error| wrong(format!("`tls.ca` holds no certificates in PEM: {error}"));
        roots.push(certificate.map_err(broken)?);
    }
    ::tls::trusting(roots).map_err(|error| unknown(format!("TLS cannot be set up: {error}")))
}

/// When the certificate of a connection ends.
///
/// # Errors
/// It has none that can be read.
pub(super) fn expiry(stream: &TlsStream<TcpStream>) -> Result<Timestamp, Trouble> {
    let (_, session) = stream.get_ref();
    let first = session.peer_certificates().and_then(<[_]>::first);
    let seconds = first.and_then(|certificate| {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        Some(parsed.validity().not_after.timestamp())
    });
    let seconds = seconds.ok_or_else(|| unknown("the peer's certificate cannot be read"))?;
    Ok(Timestamp::from_millis(seconds.saturating_mul(1000)))
}

/// When the certificate behind an `https` URL ends.
///
/// # Errors
/// Nobody answers there, or not safely.
pub(super) async fn expiry_of(
    url: &str,
    order: &Order,
    means: &Means,
) -> Result<Timestamp, Trouble> {
    let url = Url::parse(url).map_err(|error| wrong(format!("`url`: {error}")))?;
    let host = url.host_str().ok_or_else(|| wrong("`url` names no host"))?;
    let port = url.port_or_known_default().unwrap_or(443);
    let stream = connect(host, port, means).await?;
    expiry(&secure(stream, host, order).await?)
}
