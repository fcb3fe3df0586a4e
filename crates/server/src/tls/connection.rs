//! A connection over TLS, which moves from the thread that takes connections to those that serve.
//!
//! The handshake and the first bytes of the first request belong to the accepting thread. A socket is
//! bound to the event loop of its thread, so it is taken out for the way and put back in at the other
//! end; what TLS knows of the connection stays where it is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// How HTTP/2 is called where protocols are agreed on.
pub(super) const HTTP_2: &[u8] = b"h2";
/// The protocol by which a certificate authority looks at the proof for a name (RFC 8737).
pub(super) const ACME: &[u8] = b"acme-tls/1";
/// Bytes of answers that one connection holds encrypted or waiting to be.
const BUFFER_MAX: usize = 64 << 10;

/// The socket below TLS.
enum Wire {
    /// In the event loop of a thread.
    Held(TcpStream),
    /// On its way to another one.
    Detached(std::net::TcpStream),
    /// Taken out, for a moment.
    Gone,
}

impl Wire {
    fn held(&mut self) -> io::Result<&mut TcpStream> {
        match self {
            Self::Held(stream) => Ok(stream),
            Self::Detached(_) | Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.held()?).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.held()?).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.held()?).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.held()?).poll_shutdown(context)
    }
}

/// A connection over TLS whose handshake is done.
pub(crate) struct Secure {
    stream: TlsStream<Wire>,
    /// What was read ahead, and how much of it was given out.
    head: Vec<u8>,
    given: usize,
}

impl Secure {
    /// Makes the handshake, as `config` decides from how the client begins. Whoever calls this bounds
    /// its time.
    ///
    /// # Errors
    /// The peer speaks no TLS, none that we speak, or lacks a certificate that it needs.
    pub(crate) async fn accept(
        config: impl FnOnce(&ClientHello<'_>) -> Arc<ServerConfig>,
        stream: TcpStream,
    ) -> io::Result<Self> {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), Wire::Held(stream)).await?;
        let config = config(&begun.client_hello());
        let accepted = begun
            .into_stream_with(config, |session| session.set_buffer_limit(Some(BUFFER_MAX)))
            .await?;
        Ok(Self { stream: accepted, head: Vec::new(), given: 0 })
    }

    /// Whether this is a certificate authority that looks at a proof: the handshake was all it wants.
    pub(crate) fn is_authority(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol() == Some(ACME)
    }

    /// Whether HTTP/2 was agreed on.
    pub(crate) fn is_http_2(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol() == Some(HTTP_2)
    }

    /// Reads ahead, up to so many bytes, until the verdict on what came is known; `None` if the peer
    /// has hung up before.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn read_ahead<T>(
        &mut self,
        most: usize,
        verdict: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        loop {
            let mut more = vec![0; most - self.head.len()];
            let length = self.stream.read(&mut more).await?;
            if length == 0 {
                return Ok(None);
            }
            self.head.extend_from_slice(&more[..length]);
            if let Some(verdict) = verdict(&self.head) {
                return Ok(Some(verdict));
            }
        }
    }

    /// Takes the connection out of the event loop of this thread.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn detach(mut self) -> io::Result<Detached> {
        let wire = self.stream.get_mut().0;
        if let Wire::Held(stream) = std::mem::replace(wire, Wire::Gone) {
            *wire = Wire::Detached(stream.into_std()?);
        }
        Ok(Detached(Box::new(self)))
    }
}

/// A connection on its way to another thread.
pub(crate) struct Detached(Box<Secure>);

impl Detached {
    /// Puts the connection into the event loop of this thread.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn attach(mut self) -> io::Result<Secure> {
        let wire = self.0.stream.get_mut().0;
        if let Wire::Detached(stream) = std::mem::replace(wire, Wire::Gone) {
            let stream = TcpStream::from_std(stream)?;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "set_nodelay failed; small responses may be delayed");
            }
            *wire = Wire::Held(stream);
        }
        Ok(*self.0)
    }
}

impl AsyncRead for Secure {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let ahead = &this.head[this.given..];
        if ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let length = ahead.len().min(buffer.remaining());
        buffer.put_slice(&ahead[..length]);
        this.given += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secure {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
