//! Signs in by the provider of single sign-on: a browser is led through the server and the provider, and comes
//! back to a port of this machine with a code that is worth a session to this process alone.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::client::{Client, understand};
use super::failure::{Exit, Failure};
use super::login_file::Given;
use super::output::Output;
use super::screen::clean;

/// How long somebody may take in the browser; the server gives no more.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long a request to the port may take.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Bytes of the head of such a request.
const HEAD_MAX: usize = 16 << 10;

/// How to sign in.
pub(super) struct Wanted {
    /// The port to which the browser comes back; a free one without it.
    pub(super) port: Option<u16>,
    /// Whether to open a browser.
    pub(super) opens: bool,
    /// Where people reach the server, if that is not the address that the command line uses.
    pub(super) at: Option<String>,
}

/// Where a login begins.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    label: String,
    url: String,
}

/// Signs in, and answers what the server gives.
///
/// # Errors
/// The server knows no provider, the port is taken, the provider refuses, or nobody comes back.
pub(super) async fn sign_in(
    wanted: &Wanted,
    client: &Client,
    output: &Output,
) -> anyhow::Result<Given> {
    let answer = client.get(&["access", "sso"]).without_credential().send().await?.value()?;
    let place: Place = understand("provider", &answer)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted.port.unwrap_or(0))).await;
    let listener = listener.map_err(|error| {
        Failure::error(format!("cannot wait for the browser: {error}"))
            .with_hint("choose another port with --port, or none")
    })?;
    let (verifier, state) = (random(), random());
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    let mut url = Url::parse(&place.url)
        .map_err(|error| Failure::error(format!("the server names no address: {error}")))?;
    // A server that names the page of another one would be handed the code that this one gives.
    let origin = wanted.at.clone().unwrap_or_else(|| client.origin());
    let own = format!("{}/console/sso", origin.trim_end_matches('/'));
    if Url::parse(&own).ok().as_ref() != Some(&url) {
        let message = format!("the server says that its users sign in at {}", clean(&place.url));
        let hint = "if that is your server, name it so with --url, or tell with --at where people \
                    reach it; else do not sign in here";
        return Err(Failure::error(message).with_hint(hint).into());
    }
    url.query_pairs_mut()
        .append_pair("port", &listener.local_addr()?.port().to_string())
        .append_pair("challenge", &challenge)
        .append_pair("state", &state);
    output.note(format_args!("sign in with {} at\n\n  {url}\n", clean(&place.label)));
    let is_terminal = io::stdin().is_terminal();
    if is_terminal {
        output.note("if the browser is on another machine, paste the address here that it ends at");
    }
    if wanted.opens && is_terminal {
        open(&url);
    }
    let code = timeout(PATIENCE, end_of(listener, state, is_terminal)).await.map_err(|_| {
        Failure::new(Exit::Error, "nobody has signed in within ten minutes")
            .with_hint("begin again with `nightbell login --sso`")
    })??;
    let body = json!({ "code": code, "verifier": verifier });
    let call = client.post(&["access", "sso"]).without_credential().json(&body);
    Ok(understand("login", &call.send().await?.value()?)?)
}

/// How the login has ended, by whichever way it is told first.
async fn end_of(
    listener: TcpListener,
    state: String,
    is_terminal: bool,
) -> Result<String, Failure> {
    let (sender, mut told) = mpsc::channel(4);
    if is_terminal {
        // A thread of its own: one of the runtime would hold up the end of the process.
        let (sender, state) = (sender.clone(), state.clone());
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                let end = Url::parse(line.trim()).ok().and_then(|url| told_by(&url, &state));
                if let Some(end) = end {
                    let _ = sender.blocking_send(end);
                    return;
                }
            }
        });
    }
    let end = tokio::select! {
        end = told.recv() => end,
        error = serve(listener, sender, state) => {
            return Err(Failure::error(format!("the browser cannot come back: {error}")));
        }
    };
    end.unwrap_or_else(|| Err(Failure::error("the browser cannot come back")))
}

/// Answers every request of browsers until the port fails, and tells what is about our login.
async fn serve(
    listener: TcpListener,
    sender: mpsc::Sender<Result<String, Failure>>,
    state: String,
) -> io::Error {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => return error,
        };
        let (sender, state) = (sender.clone(), state.clone());
        tokio::spawn(async move {
            let answered = timeout(REQUEST_TIME, answer(stream, &state)).await;
            if let Ok(Some(end)) = answered {
                // Nobody listens any more if it was told in another way.
                let _ = sender.send(end).await;
            }
        });
    }
}

/// Answers a request of a browser; what it tells about our login, if it does.
async fn answer(mut stream: TcpStream, state: &str) -> Option<Result<String, Failure>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        let mut part = [0; 2048];
        let read = stream.read(&mut part).await.ok()?;
        if read == 0 || head.len() + read > HEAD_MAX {
            return None;
        }
        head.extend_from_slice(&part[..read]);
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    let url = target.and_then(|it| Url::parse(&format!("http://127.0.0.1{it}")).ok());
    let end = url.and_then(|url| told_by(&url, state));
    let (status, text) = match &end {
        Some(Ok(_)) => {
            ("200 OK", "You have signed in at the command line. This page may be closed.")
        }
        Some(Err(_)) => ("200 OK", "You have not signed in; the command line says why."),
        None => ("404 Not Found", "There is nothing here."),
    };
    let body = format!("<!doctype html><title>Nightbell</title><p>{text}");
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // Whether or not the browser still listens, the login has ended.
    let _ = stream.write_all(answer.as_bytes()).await;
    end
}

/// What an address at which a browser ends says of our login; `None` if it is about another one.
fn told_by(url: &Url, state: &str) -> Option<Result<String, Failure>> {
    let get = |name: &str| {
        let found = url.query_pairs().find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned())
    };
    if get("state")? != state {
        return None;
    }
    Some(get("code").ok_or_else(|| refused(&get("error").unwrap_or_default())))
}

/// Why the server has let nobody in, as its code says.
fn refused(code: &str) -> Failure {
    let (message, hint) = match code {
        "sso-unavailable" => (
            "the provider cannot be reached, or answers what makes no sense",
            "try again in a minute; the server's log says why",
        ),
        "sso-refused" => (
            "the provider has not let you in",
            "begin again; the server's log has the provider's reason",
        ),
        "not-admitted" => (
            "the provider knows you, and you are not let in here",
            "an administrator can change that (oidc_groups, oidc_email_domains)",
        ),
        "user-disabled" => (
            "the user is disabled",
            "an administrator lets the user in again: `nightbell user enable NAME`",
        ),
        "name-taken" => (
            "there is a user of your name already, who does not sign in by the provider",
            "an administrator deletes the user, or sets oidc_link_users if it is the same person",
        ),
        "last-administrator" => (
            "the provider no longer counts you among the administrators, and there is no other one",
            "make somebody else an administrator first",
        ),
        _ => ("the server has not let you in", "begin again; the server's log says why"),
    };
    let code = clean(code).chars().take(40).collect::<String>();
    Failure::error(format!("{message} ({code})")).with_hint(hint)
}

/// Opens the browser of whoever sits here. If there is none, the address is written already.
fn open(url: &Url) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(mut child) = command.spawn() {
        std::thread::spawn(move || child.wait());
    }
}

/// 256 random bits in base64url.
fn random() -> String {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::{random, told_by};

    #[test]
    fn an_address_counts_if_it_is_about_our_login() {
        let told = |text: &str| told_by(&text.parse().expect("a URL"), "ours");
        let code = told("http://127.0.0.1:1/?code=abc&state=ours").expect("it is ours");
        assert_eq!(code.expect("a code"), "abc");
        assert!(told("http://127.0.0.1:1/?code=abc&state=other").is_none());
        assert!(told("http://127.0.0.1:1/favicon.ico").is_none());
        let why = told("http://127.0.0.1:1/?error=name-taken&state=ours").expect("it is ours");
        assert!(why.expect_err("no code").to_string().contains("(name-taken)"));
        assert_ne!(random(), random());
    }
}
