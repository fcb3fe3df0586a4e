//! Where a mailbox is and who opens it.

use std::fmt;

use reqwest::Url;

use super::super::order::Order;
use super::super::{Trouble, wrong};

/// Where an account is if only the address of somebody is known.
const GMAIL: &str = "imaps://imap.gmail.com:993";

/// A mailbox's server, and how to log in. Shown without the user and what proves him.
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) secure: bool,
    pub(super) user: String,
    pub(super) proof: Proof,
}

/// What proves who somebody is.
pub(super) enum Proof {
    Password(String),
    /// A token of OAuth 2, by XOAUTH2.
    Token(String),
}

impl Address {
    /// From `url` (`imaps://host:port`, `imap://host:port` on this machine only), `user` and
    /// `password` or `token`; or a token that was just fetched.
    pub(super) fn read(order: &Order, fetched: Option<String>) -> Result<Self, Trouble> {
        let settings = &order.settings;
        let account = settings.text("account")?.unwrap_or_default();
        let url = match settings.text("url")? {
            Some(url) => url,
            None if account.contains("://") => account.clone(),
            None => GMAIL.to_owned(),
        };
        let url = Url::parse(&url).map_err(|why| wrong(format!("`url`: {why}")))?;
        let secure = match url.scheme() {
            "imaps" => true,
            "imap" => false,
            other => return Err(wrong(format!("`url`: imaps:// is expected, not {other}://"))),
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        if host.is_empty() {
            return Err(wrong("`url` names no host"));
        }
        if !secure && !is_loopback(&host) {
            return Err(wrong(format!(
                "`url`: imap:// would send the password to {host} for all to read; write imaps://"
            )));
        }
        let user = match settings.text("user")? {
            Some(user) => user,
            None if account.contains('@') && !account.contains("://") => account,
            None => return Err(wrong("`user` is missing: who opens the mailbox?")),
        };
        Ok(Self {
            port: url.port().unwrap_or(if secure { 993 } else { 143 }),
            host,
            secure,
            user,
            proof: proof(order, fetched)?,
        })
    }
}

fn proof(order: &Order, fetched: Option<String>) -> Result<Proof, Trouble> {
    let settings = &order.settings;
    let (password, token) = (settings.text("password")?, settings.text("token")?.or(fetched));
    let way = settings.text("auth")?.map(|way| way.to_ascii_lowercase());
    match (way.as_deref(), password, token) {
        (Some("xoauth2" | "oauth2" | "oauth"), _, Some(token)) | (None, None, Some(token)) => {
            Ok(Proof::Token(token))
        }
        (Some("xoauth2" | "oauth2" | "oauth"), ..) => Err(wrong("`token` is missing")),
        (None | Some("login" | "password" | "plain"), Some(password), _) => {
            Ok(Proof::Password(password))
        }
        (None | Some("login" | "password" | "plain"), ..) => Err(wrong("`password` is missing")),
        (Some(other), ..) => Err(wrong(format!("`auth` must be login or xoauth2, not {other:?}"))),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    bare.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
