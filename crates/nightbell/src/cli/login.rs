//! `nightbell login` and `nightbell logout`: a user's session at the command line, by a password or by the
//! provider of single sign-on.

use std::io::{self, IsTerminal as _};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::browser;
use super::client::{Client, understand};
use super::failure::Failure;
use super::login_file::{Given, Login};
use super::output::Output;
use super::prompt;

/// Who signs in.
#[derive(Debug, Args)]
pub(crate) struct In {
    /// The name; asked for without it
    #[arg(long, value_name = "NAME", conflicts_with = "sso")]
    user: Option<String>,
    /// By the provider of single sign-on, in a browser
    #[arg(long)]
    sso: bool,
    /// The port of this machine to which the browser comes back; a free one without it
    ///
    /// For a terminal on another machine than the browser: `ssh -L 8765:127.0.0.1:8765 HOST`, and
    /// `--port 8765` there.
    #[arg(long, value_name = "PORT", requires = "sso")]
    port: Option<u16>,
    /// Where people reach the server in a browser (its `public_url`), if that is not the address that the
    /// command line uses. Any other server that names that page is refused
    #[arg(long, value_name = "URL", requires = "sso")]
    at: Option<String>,
    /// Does not open a browser; the address is written in any case
    #[arg(long, requires = "sso")]
    no_browser: bool,
}

/// Which sessions end.
#[derive(Debug, Args)]
pub(crate) struct Out {
    /// All sessions of the user, those of browsers too
    #[arg(long)]
    everywhere: bool,
}

/// Signs in.
pub(super) async fn login(arguments: In, client: &Client, output: &Output) -> anyhow::Result<()> {
    if client.is_at_socket() {
        return Err(Failure::usage("at the socket you are the administrator already")
            .with_hint("sign in at the server's port: --url http://…")
            .into());
    }
    if arguments.sso {
        let wanted = browser::Wanted {
            port: arguments.port,
            opens: !arguments.no_browser,
            at: arguments.at.clone(),
        };
        let given = browser::sign_in(&wanted, client, output).await?;
        return keep(given, client, output);
    }
    let user = match arguments.user {
        Some(user) => user,
        None if io::stdin().is_terminal() => prompt::open("Name")?,
        None => {
            return Err(Failure::usage(
                "standard input is not a terminal, so the name cannot be asked for",
            )
            .with_hint("write --user NAME; the password is a line of standard input")
            .into());
        }
    };
    let password = prompt::password(&format!("Password of {user}"))?;
    let body = json!({ "user": user, "password": *password });
    let call = client.post(&["access", "login"]).without_credential().json(&body);
    let answer = call.send().await?.value()?;
    keep(understand("login", &answer)?, client, output)
}

/// Keeps what the server has given for the commands that follow.
fn keep(given: Given, client: &Client, output: &Output) -> anyhow::Result<()> {
    let login = Login {
        url: client.base().as_str().to_owned(),
        user: given.name,
        token: given.token,
        expires_at: Timestamp::now().as_second() + given.expires_in,
        renewal: given.renewal,
    };
    let path = login.save(client.base())?;
    output.note(format_args!(
        "signed in as {} at {}; commands use it where NIGHTBELL_KEY is not set ({})",
        login.user,
        client.base(),
        path.display()
    ));
    if output.is_json() {
        return output.json(&json!({ "user": login.user, "url": login.url, "file": path }));
    }
    Ok(())
}

/// Signs out.
pub(super) async fn logout(arguments: Out, client: &Client, output: &Output) -> anyhow::Result<()> {
    let kept = if client.is_at_socket() { None } else { Login::load(client.base())? };
    let Some(login) = kept else {
        output.note(format_args!("nobody has signed in at {}", client.base()));
        return Ok(());
    };
    let body = json!({ "renewal": login.renewal, "everywhere": arguments.everywhere });
    let call = client.post(&["access", "logout"]).without_credential().json(&body);
    let ended = call.send().await;
    // The file goes in any case: whoever signs out here wants nothing left here.
    Login::forget(client.base())?;
    ended?;
    let whose = if arguments.everywhere { "all sessions of" } else { "the session of" };
    output.note(format_args!("ended {whose} {} at {}", login.user, client.base()));
    Ok(())
}
