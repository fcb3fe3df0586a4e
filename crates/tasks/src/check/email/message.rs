//! The headers of a mail, decoded.

use kernel::Timestamp;
use mail_parser::{Address, MessageParser};

/// What counts of a mail.
#[derive(Debug)]
pub(super) struct Mail {
    /// When the mailbox took it in, or what the mail says where the server does not tell.
    pub(super) received: Timestamp,
    /// Addresses and the names beside them, in lower case.
    pub(super) from: Vec<String>,
    /// Addresses and the names beside them, in lower case.
    pub(super) to: Vec<String>,
    /// Decoded, unfolded, without double spaces.
    pub(super) subject: String,
}

impl Mail {
    /// Reads a header. `None` if it has no date at all and the mailbox tells none.
    pub(super) fn read(header: &[u8], received: Option<Timestamp>) -> Option<Self> {
        let parsed = MessageParser::default().parse_headers(header);
        let dated = || {
            let seconds = parsed.as_ref()?.date()?.to_timestamp();
            Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
        };
        let received = received.or_else(dated)?;
        let parsed = parsed.as_ref();
        let mut to = addresses(parsed.and_then(|it| it.to()));
        to.extend(addresses(parsed.and_then(|it| it.cc())));
        Some(Self {
            received,
            from: addresses(parsed.and_then(|it| it.from())),
            to,
            subject: normal(parsed.and_then(|it| it.subject()).unwrap_or_default()),
        })
    }
}

fn addresses(header: Option<&Address<'_>>) -> Vec<String> {
    let found = header.into_iter().flat_map(|header| header.iter());
    let spelled = found.flat_map(|it| {
        // A name that looks like an address is nobody's address.
        let name = it.name().filter(|name| !name.contains('@'));
        [it.address(), name].into_iter().flatten().map(|text| text.trim().to_lowercase())
    });
    spelled.collect()
}

/// A subject with every run of white space as one space.
pub(super) fn normal(subject: &str) -> String {
    subject.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_decoded_and_unfolded() {
        let header = b"From: =?utf-8?Q?J=C3=B8rgen?= <Bi@Example.com>\r\n\
            Subject: =?UTF-8?B?TG9hZCDDoCBvaw==?=\r\n =?UTF-8?Q?_done?=\r\n\
            Date: Fri, 17 Jan 2020 01:58:01 -0500 (EST)\r\n\r\n";
        let mail = Mail::read(header, None).expect("it is dated");
        assert_eq!(mail.subject, "Load à ok done");
        assert_eq!(mail.from, ["bi@example.com", "jørgen"]);
        assert_eq!(mail.received.to_string(), "2020-01-17T06:58:01Z");
        let none =
            Mail::read(b"From: a@b\r\n\r\n", Some(Timestamp::from_millis(5))).expect("dated");
        assert_eq!((none.subject.as_str(), none.received.millis()), ("", 5));
    }
}
