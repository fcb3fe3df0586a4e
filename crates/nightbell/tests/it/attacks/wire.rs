//! HTTP/2 and gRPC as no library speaks them: frame by frame, slowly, beyond what the server allows.

use std::io;
use std::net::Ipv4Addr;

use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::live::Live;

/// Kinds of frames.
const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GO_AWAY: u8 = 7;
/// The number of the setting that tells how many streams may be open at once.
pub(super) const STREAMS: u16 = 3;
/// What a stream beyond that is reset with.
pub(super) const REFUSED: u32 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection that keeps no rule but the format.
pub(super) struct Http2 {
    stream: TcpStream,
    next: u32,
}

/// A frame that came.
pub(super) struct Frame {
    pub(super) kind: u8,
    payload: Vec<u8>,
}

impl Http2 {
    pub(super) async fn connect(live: &Live) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, live.port())).await;
        let mut one = Self { stream: stream.expect("a connection"), next: 1 };
        let preface = one.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        preface.expect("it is taken");
        one.send(SETTINGS, 0, 0, &[]).await.expect("it is taken");
        one
    }

    /// Begins a request; `ends` if it has no body.
    pub(super) async fn begin(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        ends: bool,
    ) -> io::Result<u32> {
        let stream = self.next;
        self.next += 2;
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &head(method, path, kind)).await?;
        Ok(stream)
    }

    /// Sends a part of a body, which does not end.
    pub(super) async fn data(&mut self, stream: u32, data: &[u8]) -> io::Result<()> {
        self.send(DATA, 0, stream, data).await
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).expect("a short one").to_be_bytes();
        let mut frame = Vec::from(&length[1..]);
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).await
    }

    /// The next frame.
    pub(super) async fn frame(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await?;
        let [a, b, c, kind, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok(Frame { kind, payload })
    }
}

impl Frame {
    /// What a frame of settings says of one.
    pub(super) fn setting(&self, wanted: u16) -> Option<u32> {
        let mut settings = self.payload.chunks_exact(6).filter_map(|setting| {
            let (number, value) = setting.split_first_chunk::<2>()?;
            let value = value.first_chunk::<4>()?;
            (u16::from_be_bytes(*number) == wanted).then(|| u32::from_be_bytes(*value))
        });
        settings.next()
    }

    /// Why a stream was reset.
    pub(super) fn reason(&self) -> Option<u32> {
        self.payload.first_chunk::<4>().map(|code| u32::from_be_bytes(*code))
    }
}

/// The head of a request, of literals alone; all texts are short.
fn head(method: &str, path: &str, kind: &str) -> Vec<u8> {
    let short = |text: &str| u8::try_from(text.len()).ok().filter(|it| *it < 127).expect("short");
    // `:method` and `:scheme` are in the table as they are, `:path` and `:authority` by their names.
    let mut head = vec![if method == "GET" { 0x82 } else { 0x83 }, 0x86];
    for (name, value) in [(4, path), (1, "localhost")] {
        head.extend([name, short(value)]);
        head.extend(value.bytes());
    }
    for (name, value) in [("content-type", kind), ("te", "trailers")] {
        head.extend([0, short(name)]);
        head.extend(name.bytes());
        head.push(short(value));
        head.extend(value.bytes());
    }
    head
}

/// A message as gRPC frames it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).expect("it is not that large").to_be_bytes());
    framed.extend(message);
    framed
}

/// A client of gRPC with a connection of its own.
pub(crate) struct Grpc {
    http: reqwest::Client,
    url: String,
}

/// What a call was answered with: the status if it failed at once, and the bytes.
pub(crate) struct Answered {
    pub(crate) status: Option<String>,
    pub(crate) bytes: Vec<u8>,
}

impl Answered {
    /// The message.
    pub(crate) fn message<M: Message + Default>(&self) -> M {
        let message = self.bytes.get(5..).unwrap_or_default();
        M::decode(message).expect("the message that was asked for")
    }
}

/// Messages as they come.
pub(crate) struct Streamed {
    answer: reqwest::Response,
    bytes: Vec<u8>,
}

impl Grpc {
    pub(crate) fn new(live: &Live) -> Self {
        let http = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
        Self { http, url: live.url("/TaskHubSidecarService/") }
    }

    async fn send(&self, method: &str, message: &[u8]) -> reqwest::Response {
        let request = self.http.post(format!("{}{method}", self.url)).body(framed(message));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        request.send().await.expect("it answers")
    }

    /// Calls a method with the bytes of a message.
    pub(crate) async fn call_raw(&self, method: &str, message: &[u8]) -> Answered {
        let answer = self.send(method, message).await;
        let status = answer.headers().get("grpc-status");
        let status = status.and_then(|status| status.to_str().ok()).map(str::to_owned);
        Answered { status, bytes: answer.bytes().await.expect("a whole answer").to_vec() }
    }

    /// Calls a method.
    pub(crate) async fn call(&self, method: &str, message: &impl Message) -> Answered {
        self.call_raw(method, &message.encode_to_vec()).await
    }

    /// Calls a method that answers with a stream.
    pub(crate) async fn stream(&self, method: &str, message: &impl Message) -> Streamed {
        let answer = self.send(method, &message.encode_to_vec()).await;
        Streamed { answer, bytes: Vec::new() }
    }
}

impl Streamed {
    /// The bytes of the next message.
    pub(crate) async fn next(&mut self) -> Vec<u8> {
        loop {
            if let Some((head, rest)) = self.bytes.split_first_chunk::<5>() {
                let [_, a, b, c, d] = *head;
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if let Some((message, rest)) = rest.split_at_checked(length) {
                    let (message, rest) = (message.to_vec(), rest.to_vec());
                    self.bytes = rest;
                    return message;
                }
            }
            let more = self.answer.chunk().await.expect("it goes on");
            self.bytes.extend(more.expect("it goes on"));
        }
    }
}
