//! One visit to a mailbox by IMAP: log in, look, leave. Nothing is changed, nothing marked as read.

use std::fmt;

use async_imap::types::NameAttribute;
use async_imap::{Authenticator, Client, Session};
use futures_util::TryStreamExt as _;
use kernel::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::order::Order;
use super::super::rest::quoted;
use super::super::{Means, Trouble, tls, unknown};
use super::Wanted;
use super::address::{Address, Proof};
use super::message::Mail;
use super::question::{search, sets};

/// Mails that are looked at; beyond, the senders or the hour must be narrower.
const MAILS_MAX: usize = 5000;
/// What is fetched of each: never the body, and without marking it as read.
const HEADERS: &str = "(UID INTERNALDATE BODY.PEEK[HEADER.FIELDS (FROM TO CC SUBJECT DATE)])";

/// What a connection must be for the client.
trait Wire: AsyncRead + AsyncWrite + Unpin + fmt::Debug + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + fmt::Debug + Send> Wire for T {}

/// The mails that may be those wanted.
///
/// # Errors
/// The server is away, does not know the user, or answers rubbish.
pub(super) async fn mails(
    order: &Order,
    means: &Means,
    address: &Address,
    wanted: &Wanted,
) -> Result<Vec<Mail>, Trouble> {
    let stream = tls::connect(&address.host, address.port, means).await?;
    let stream: Box<dyn Wire> = if address.secure {
        Box::new(tls::secure(stream, &address.host, order).await?)
    } else {
        Box::new(stream)
    };
    let mut client = Client::new(stream);
    match client.read_response().await {
        Ok(Some(_)) => {}
        Ok(None) => return Err(unknown(format!("{address} hung up without a greeting"))),
        Err(error) => return Err(unknown(format!("{address} is no IMAP server: {error}"))),
    }
    let mut session = login(client, address).await?;
    let found = visit(&mut session, order, wanted).await;
    // What was found is found, however the server takes the goodbye.
    drop(session.logout().await);
    found
}

async fn login(
    client: Client<Box<dyn Wire>>,
    address: &Address,
) -> Result<Session<Box<dyn Wire>>, Trouble> {
    let answer = match &address.proof {
        Proof::Password(password) => client.login(&address.user, password).await,
        Proof::Token(token) => {
            let hello = format!("user={}\u{1}auth=Bearer {token}\u{1}\u{1}", address.user);
            client.authenticate("XOAUTH2", XOAuth2 { hello: Some(hello) }).await
        }
    };
    answer.map_err(|(error, _)| {
        use async_imap::error::Error;
        unknown(match error {
            Error::No(said) | Error::Bad(said) => {
                format!("{address} refuses the login: {}", quoted(&said))
            }
            other => format!("the login at {address} failed: {other}"),
        })
    })
}

/// Says the token, and to whatever is said after that, nothing: a server explains a refusal as a
/// further challenge and waits for an empty answer before it says no.
struct XOAuth2 {
    hello: Option<String>,
}

impl Authenticator for XOAuth2 {
    type Response = String;

    fn process(&mut self, _challenge: &[u8]) -> String {
        self.hello.take().unwrap_or_default()
    }
}

async fn visit(
    session: &mut Session<Box<dyn Wire>>,
    order: &Order,
    wanted: &Wanted,
) -> Result<Vec<Mail>, Trouble> {
    let folder = order.settings.text("folder")?.unwrap_or_else(|| "all".to_owned());
    let folder = match folder.as_str() {
        "all" => everything(session).await?.unwrap_or_else(|| "INBOX".to_owned()),
        named => named.to_owned(),
    };
    let refused = |what: &str, error: &async_imap::error::Error| {
        unknown(format!("the mailbox refuses {what}: {}", quoted(&error.to_string())))
    };
    let opened = session.examine(&folder).await;
    opened.map_err(|error| refused(&format!("to open {folder:?}"), &error))?;
    let query = search(wanted.day_before(), &wanted.from);
    let uids = session.uid_search(&query).await.map_err(|error| refused("a search", &error))?;
    if uids.len() > MAILS_MAX {
        let count = uids.len();
        return Err(unknown(format!(
            "{count} mails may be meant, more than {MAILS_MAX}: name the senders with `from`"
        )));
    }
    let mut mails = Vec::new();
    for set in sets(uids.into_iter().collect()) {
        let fetched = session.uid_fetch(set, HEADERS).await;
        let mut fetched = fetched.map_err(|error| refused("to show mail", &error))?;
        while let Some(mail) =
            fetched.try_next().await.map_err(|error| refused("to show mail", &error))?
        {
            let received = mail.internal_date();
            let received = received.map(|date| Timestamp::from_millis(date.timestamp_millis()));
            mails.extend(mail.header().and_then(|header| Mail::read(header, received)));
        }
    }
    Ok(mails)
}

/// The folder that holds all mail, whatever it is called in the user's language.
async fn everything(session: &mut Session<Box<dyn Wire>>) -> Result<Option<String>, Trouble> {
    let failed =
        |error: async_imap::error::Error| unknown(format!("the folders cannot be listed: {error}"));
    let names = session.list(None, Some("*")).await.map_err(failed)?;
    let names: Vec<_> = names.try_collect().await.map_err(failed)?;
    let all = names.iter().find(|name| name.attributes().contains(&NameAttribute::All));
    Ok(all.map(|name| name.name().to_owned()))
}
