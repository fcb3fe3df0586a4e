//! Where a Kafka cluster is and how it is entered, as a text: what producers call bootstrap servers.

use reqwest::Url;

/// Port of a broker whose address names none.
const PORT: u16 = 9092;
/// Most brokers of one address.
const BROKERS_MAX: usize = 64;

/// The brokers to begin with, and what they ask for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// `host:port` of each.
    pub(super) brokers: Vec<String>,
    /// Whether connections are encrypted.
    pub(super) tls: bool,
    /// Who we are, if the cluster wants to know.
    pub(super) login: Option<Login>,
}

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) mechanism: Mechanism,
    pub(super) user: String,
    pub(super) password: String,
}

/// How the password is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Address {
    /// Reads `host:port,host:port`, of which each may be a URL:
    /// `kafka://USER:PASSWORD@HOST:9092?mechanism=SCRAM-SHA-512`, or `kafkas://` for TLS. What one
    /// URL says of the login holds for all.
    ///
    /// # Errors
    /// What is wrong, without repeating a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut address = Self { brokers: Vec::new(), tls: false, login: None };
        let mut schemes = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let url = if part.contains("://") {
                Url::parse(part)
            } else {
                Url::parse(&format!("kafka://{part}"))
            };
            let url = url.map_err(|error| format!("a broker's address is broken: {error}"))?;
            let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
                return Err("a broker's address names no host".to_owned());
            };
            address.brokers.push(format!("{host}:{}", url.port().unwrap_or(PORT)));
            schemes.push(url.scheme().to_owned());
            if let Some(login) = Login::of(&url)? {
                address.login = Some(login);
            }
        }
        address.tls = match schemes.first().map(String::as_str) {
            Some("kafka") => false,
            Some("kafkas") => true,
            Some(other) => return Err(format!("`{other}` is none of kafka, kafkas")),
            None => return Err("no bootstrap servers are named".to_owned()),
        };
        if schemes.iter().any(|scheme| *scheme != schemes[0]) {
            return Err("either all brokers are reached by kafka:// or all by kafkas://".to_owned());
        }
        if address.brokers.len() > BROKERS_MAX {
            return Err(format!("more than {BROKERS_MAX} bootstrap servers"));
        }
        Ok(address)
    }
}

impl Login {
    fn of(url: &Url) -> Result<Option<Self>, String> {
        let mut mechanism = Mechanism::Plain;
        for (name, value) in url.query_pairs() {
            if name != "mechanism" {
                return Err(format!("there is no option `{name}`; there is `mechanism`"));
            }
            mechanism = match value.to_ascii_uppercase().as_str() {
                "PLAIN" => Mechanism::Plain,
                "SCRAM-SHA-256" => Mechanism::ScramSha256,
                "SCRAM-SHA-512" => Mechanism::ScramSha512,
                _ => {
                    let known = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512";
                    return Err(format!("the mechanism `{value}` is none of {known}"));
                }
            };
        }
        if url.username().is_empty() {
            return Ok(None);
        }
        let user = unescaped(url.username());
        let password = unescaped(url.password().unwrap_or_default());
        Ok(Some(Self { mechanism, user, password }))
    }
}

/// What stands behind the escapes of a URL.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escape {
            Some(byte) if bytes[at] == b'%' => {
                plain.push(byte);
                at += 3;
            }
            _ => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let plain = |brokers: &[&str]| {
            let brokers = brokers.iter().map(|broker| (*broker).to_owned()).collect();
            Ok((brokers, false, None::<(Mechanism, &str, &str)>))
        };
        let cases = [
            ("localhost:9092", plain(&["localhost:9092"])),
            ("a, b:19092 ,", plain(&["a:9092", "b:19092"])),
            ("kafka://a,kafka://[::1]:1", plain(&["a:9092", "[::1]:1"])),
            (
                "kafkas://me:p%40ss%2C@a:1?mechanism=scram-sha-512,kafkas://b",
                Ok((
                    vec!["a:1".to_owned(), "b:9092".to_owned()],
                    true,
                    Some((Mechanism::ScramSha512, "me", "p@ss,")),
                )),
            ),
            ("", Err("no bootstrap servers are named")),
            ("amqp://a", Err("`amqp` is none of kafka, kafkas")),
            ("kafka://a,kafkas://b", Err("either all brokers")),
            ("kafka://u:p@a?mechanism=GSSAPI", Err("the mechanism `GSSAPI` is none of")),
            ("kafka://a?acks=all", Err("there is no option `acks`")),
            ("a:b", Err("a broker's address is broken")),
        ];
        for (text, expected) in cases {
            let read = Address::parse(text);
            match (read, expected) {
                (Ok(read), Ok((brokers, tls, login))) => {
                    assert_eq!((&read.brokers, read.tls), (&brokers, tls), "{text}");
                    let found = read.login.as_ref();
                    let found = found.map(|l| (l.mechanism, l.user.as_str(), l.password.as_str()));
                    assert_eq!(found, login, "{text}");
                }
                (Err(told), Err(expected)) => assert!(told.contains(expected), "{text}: {told}"),
                (read, _) => panic!("{text}: {:?}", read.map(|read| read.brokers)),
            }
        }
    }
}
