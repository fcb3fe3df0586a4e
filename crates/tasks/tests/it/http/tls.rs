//! HTTPS: who is trusted, and what is said about who is not.
//!
//! `tls/` holds an authority made for these tests and a certificate that it signed for 127.0.0.1;
//! the authority's own key was thrown away.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use serde_json::json;
use tasks::http::{Http, Settings, SetupError, install_tls_provider};

use super::{completed, get, retriable, run_on, server, settings};

pub(crate) const AUTHORITY: &str = include_str!("tls/ca.pem");

/// How a server of these tests speaks TLS.
pub(crate) fn config() -> ServerConfig {
    install_tls_provider();
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let builder = ServerConfig::builder().with_no_client_auth();
    builder.with_single_cert(vec![certificate], key).unwrap()
}

/// Answers every connection over TLS with an empty object, from a thread of its own.
pub(crate) fn secure() -> SocketAddr {
    secure_answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
}

/// Answers every connection over TLS with these bytes, from a thread of its own.
pub(crate) fn secure_answering(answer: &'static [u8]) -> SocketAddr {
    let config = Arc::new(config());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = Stream::new(&mut session, &mut socket);
            // The client hangs up where it does not trust; that is its right.
            if stream.read(&mut [0; 4096]).is_ok() {
                stream.write_all(answer).ok();
                stream.conn.send_close_notify();
                stream.flush().ok();
            }
        }
    });
    address
}

pub(super) fn trusting(pem: &str) -> Result<Http, SetupError> {
    Http::new(Settings { extra_roots: Some(pem.to_owned()), ..settings() })
}

#[tokio::test]
async fn an_authority_that_was_added_is_trusted() {
    let url = format!("https://{}/", secure());
    let http = trusting(AUTHORITY).unwrap();
    let outcome = run_on(&http, json!({"uri": url, "method": "GET"})).await;
    assert_eq!(completed(&outcome)["body"], json!({}));
}

#[tokio::test]
async fn an_unknown_authority_is_not() {
    let outcome = get(format!("https://{}/", secure())).await;
    let reason = retriable(&outcome, "TLS_FAILED");
    assert!(reason.contains("not signed by an authority that this machine trusts"), "{reason}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let url = format!("https://localhost:{}/", secure().port());
    let http = trusting(AUTHORITY).unwrap();
    let outcome = run_on(&http, json!({"uri": url, "method": "GET"})).await;
    let reason = retriable(&outcome, "TLS_FAILED");
    assert!(reason.contains("belongs to another name"), "{reason}");
}

#[tokio::test]
async fn a_peer_without_tls_is_named() {
    let server = server::raw(|mut stream, _| async move {
        use tokio::io::AsyncWriteExt as _;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        server::closed(&mut stream).await;
    })
    .await;
    let reason = retriable(&get(server.https("/")).await, "TLS_FAILED");
    assert!(reason.contains("does not speak TLS"), "{reason}");
}

#[test]
fn extra_roots_that_are_no_certificates_are_refused() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(trusting(broken).is_err());
}
