//! Where message brokers are, and which of their queues update tasks.

use std::fmt;

use engine::events::EventName;

use super::value::{Given, Value};

/// The servers of one broker, comma-separated URLs that may hold passwords.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BrokerUrl(pub(crate) String);

impl BrokerUrl {
    fn masked(&self) -> String {
        let shown = self.0.split(',').map(|url| match reqwest::Url::parse(url.trim()) {
            Ok(mut url) => {
                if url.password().is_some() {
                    // Cannot fail for a URL that had a password before.
                    let _ = url.set_password(Some("***"));
                } else if !url.username().is_empty() && url.scheme() != "amqp" {
                    // A name without a password is a token of NATS.
                    let _ = url.set_username("***");
                }
                url.to_string()
            }
            Err(_) => "***".to_owned(),
        });
        shown.collect::<Vec<_>>().join(",")
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// The brokers of a Kafka cluster to begin with, comma-separated, perhaps with a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KafkaUrl(pub(crate) String);

impl fmt::Debug for KafkaUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Value for KafkaUrl {
    const NAME: &'static str = "URL";
    const HINT: &'static str = "write HOST:9092, or kafka://USER:PASSWORD@HOST:9092, several \
                                separated by commas; kafkas:// is encrypted, and a query \
                                ?mechanism=SCRAM-SHA-512 names another proof than PLAIN";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        tasks::kafka::check(text)?;
        Ok(Self(text.to_owned()))
    }

    fn shown(&self) -> String {
        let parts = self.0.split(',').map(str::trim).filter(|part| !part.is_empty());
        let urls = parts.map(|part| {
            let bare = !part.contains("://");
            if bare { format!("kafka://{part}") } else { part.to_owned() }
        });
        BrokerUrl(urls.collect::<Vec<_>>().join(",")).masked()
    }
}

const SCHEMES: [&str; 4] = ["nats", "tls", "amqp", "amqps"];

impl Value for BrokerUrl {
    const NAME: &'static str = "URL";
    const HINT: &'static str = "write nats://HOST:4222 or amqp://USER:PASSWORD@HOST:5672/VHOST";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        for url in text.split(',') {
            // The text may hold a password, so it is not repeated.
            let url =
                reqwest::Url::parse(url.trim()).map_err(|error| format!("not a URL: {error}"))?;
            if !SCHEMES.contains(&url.scheme()) {
                let schemes = SCHEMES.join(", ");
                return Err(format!("`{}` is none of {schemes}", url.scheme()));
            }
            if url.host_str().is_none_or(str::is_empty) {
                return Err("the URL names no host".to_owned());
            }
        }
        Ok(Self(text.to_owned()))
    }

    fn shown(&self) -> String {
        self.masked()
    }
}

/// The beginning of the names of two queues, which end in `COMPLETED` and `FAILED`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueuePrefix(pub(crate) String);

impl Value for QueuePrefix {
    const NAME: &'static str = "TYPE:PREFIX";
    const HINT: &'static str =
        "write the type and the beginning of the name, such as amqp:updates_";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        if EventName::parse(text).is_none() {
            return Err(format!("`{text}` is not of the form TYPE:PREFIX"));
        }
        Ok(Self(text.to_owned()))
    }

    fn shown(&self) -> String {
        self.0.clone()
    }
}
