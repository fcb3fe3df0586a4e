//! A small HTTP/1.1 client: keeps its connection, parses as little as it can, so that a measurement
//! of the server is not one of the client.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    /// The header lines of every request.
    host: String,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects to `HOST:PORT`, or to `KEY@HOST:PORT`, where each request bears the key.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let (host, key) = match address.split_once('@') {
            Some((key, host)) => (host, format!("\r\nx-authorization: {key}")),
            None => (address, String::new()),
        };
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: format!("{host}{key}"), buffer: Vec::with_capacity(64 << 10) })
    }

    /// Asks for a path.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        self.call("GET", path, b"").await
    }

    /// Asks for a path as a browser does, which takes it compressed.
    #[cfg(feature = "bench")]
    pub(crate) async fn get_packed(&mut self, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\naccept: text/html\r\naccept-encoding: gzip\r\n\r\n",
            self.host
        );
        self.stream.write_all(head.as_bytes()).await?;
        self.answer().await
    }

    /// Asks for what of a page can have changed, as an open page does.
    #[cfg(feature = "bench")]
    pub(crate) async fn get_part(&mut self, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nhx-request: true\r\naccept-encoding: gzip\r\n\r\n",
            self.host
        );
        self.stream.write_all(head.as_bytes()).await?;
        self.answer().await
    }

    /// Posts JSON.
    #[cfg(feature = "bench")]
    pub(crate) async fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        self.call("POST", path, body).await
    }

    /// Sends a request with a JSON body and reads the whole answer.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             accept: */*\r\ncontent-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        self.stream.write_all(&message).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        self.buffer.clear();
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.fill().await?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        let status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        if text.contains("transfer-encoding: chunked") {
            return Ok((status, self.chunks(head).await?));
        }
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|length| length.trim().parse().ok())
            .unwrap_or(0);
        while self.buffer.len() < head + length {
            self.fill().await?;
        }
        Ok((status, self.buffer[head..head + length].to_vec()))
    }

    async fn chunks(&mut self, mut at: usize) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = find(&self.buffer[at..], b"\r\n") {
                    break at + end;
                }
                self.fill().await?;
            };
            let size = std::str::from_utf8(&self.buffer[at..line])?.trim();
            let size = usize::from_str_radix(size, 16)?;
            while self.buffer.len() < line + 2 + size + 2 {
                self.fill().await?;
            }
            body.extend_from_slice(&self.buffer[line + 2..line + 2 + size]);
            at = line + 2 + size + 2;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        anyhow::ensure!(read > 0, "the server closed the connection");
        Ok(())
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
