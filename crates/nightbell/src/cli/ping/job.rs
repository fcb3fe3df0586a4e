//! Runs a job: its output is passed through, signals are passed on, and how it ended is told.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::tail::Tail;

/// How long output is read that a child of the job still writes when the job has ended.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// What shells answer for a command that is there and cannot be run, and for one that is not there.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
/// What shells add to the number of a signal that ended a command.
const SIGNALLED: i32 = 128;

/// How a job ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code.
    pub(super) code: u8,
    /// How that came, in words.
    how: String,
    /// The end of its output.
    output: String,
}

impl Ended {
    /// What is told of it: its output, and how it ended below that.
    pub(super) fn said(&self, took: Duration) -> String {
        let took = format!("{} after {:.1} s", self.how, took.as_secs_f64());
        if self.output.is_empty() { took } else { format!("{}\n{took}", self.output) }
    }
}

/// Runs a command to its end. With `captures` so many bytes of its output are kept.
pub(super) async fn run(command: &[String], captures: Option<usize>) -> Ended {
    let Some((program, arguments)) = command.split_first() else {
        return failed(NOT_FOUND, "there is no command".to_owned());
    };
    // Before the job, so that none is missed.
    let mut signals = Signals::new();
    let mut job = Command::new(program);
    job.args(arguments);
    if captures.is_some() {
        job.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let mut child = match job.spawn() {
        Ok(child) => child,
        Err(error) => {
            let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN };
            let why = format!("cannot run {program}: {error}");
            super::say(&why);
            return failed(code, why);
        }
    };
    let tail = Arc::new(Mutex::new(Tail::new(captures.unwrap_or_default())));
    let out = child.stdout.take().map(|it| tokio::spawn(pass(it, io::stdout(), tail.clone())));
    let err = child.stderr.take().map(|it| tokio::spawn(pass(it, io::stderr(), tail.clone())));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            number = signals.next() => hand_on(&child, number),
        }
    };
    // What the job has left running may hold the output open; nobody waits for that.
    let all = async {
        for reader in [out, err].into_iter().flatten() {
            let _ = reader.await;
        }
    };
    let _ = tokio::time::timeout(AFTERWARDS, all).await;
    let output = tail.lock().text();
    match status {
        Ok(status) => Ended { output, ..of(status) },
        Err(error) => failed(CANNOT_RUN, format!("nobody can tell how the job ended: {error}")),
    }
}

fn failed(code: u8, how: String) -> Ended {
    Ended { code, how, output: String::new() }
}

fn of(status: ExitStatus) -> Ended {
    let (code, how) = match (status.code(), status.signal()) {
        (Some(code), _) => (code, format!("exit code {code}")),
        (None, Some(number)) => (SIGNALLED + number, format!("ended by signal {number}")),
        (None, None) => (i32::from(CANNOT_RUN), "ended in an unknown way".to_owned()),
    };
    Ended { code: u8::try_from(code).unwrap_or(u8::MAX), how, output: String::new() }
}

/// Passes an output through, and keeps its end.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl io::Write, tail: Arc<Mutex<Tail>>) {
    let mut part = vec![0; 8 << 10];
    let mut is_open = true;
    while let Ok(count @ 1..) = from.read(&mut part).await {
        let part = &part[..count];
        tail.lock().push(part);
        // The job writes on although nobody reads it here any more.
        is_open = is_open && to.write_all(part).and_then(|()| to.flush()).is_ok();
    }
}

/// Signals that are for the job.
struct Signals(Vec<(tokio::signal::unix::Signal, Signal)>);

impl Signals {
    fn new() -> Self {
        let mut kinds = vec![
            (SignalKind::terminate(), Signal::TERM),
            (SignalKind::hangup(), Signal::HUP),
            (SignalKind::user_defined1(), Signal::USR1),
            (SignalKind::user_defined2(), Signal::USR2),
        ];
        // A terminal sends these to the job as well; they must only not end us before it.
        kinds.push((SignalKind::interrupt(), Signal::INT));
        kinds.push((SignalKind::quit(), Signal::QUIT));
        let taken =
            kinds.into_iter().filter_map(|(kind, number)| Some((signal(kind).ok()?, number)));
        Self(taken.collect())
    }

    /// The next one that came.
    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            for (stream, number) in &mut self.0 {
                if stream.poll_recv(cx) == std::task::Poll::Ready(Some(())) {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

fn hand_on(child: &Child, number: Signal) {
    let is_of_terminal = matches!(number, Signal::INT | Signal::QUIT);
    if is_of_terminal && io::IsTerminal::is_terminal(&io::stdin()) {
        return;
    }
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        // It may have ended meanwhile.
        let _ = kill_process(pid, number);
    }
}
