//! EVENT, and the brokers that messages come from and go to; each broker is a file and a feature.

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "sqs")]
mod aws;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "sqs")]
mod sqs;
mod task;

use std::sync::Arc;

use engine::events::Broker;

#[cfg(feature = "sqs")]
pub use aws::Credentials;
#[cfg(feature = "sqs")]
pub use sqs::Settings as SqsSettings;
pub use task::EventTask;

use crate::http;

/// Which brokers there are.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Servers of NATS, comma-separated: `nats://user:password@host:4222`.
    pub nats_url: Option<String>,
    /// The AMQP 0.9.1 broker: `amqp://user:password@host:5672/vhost`.
    pub amqp_url: Option<String>,
    /// Brokers of a Kafka cluster, comma-separated: `kafka://user:password@host:9092`.
    pub kafka_url: Option<String>,
    /// Amazon SQS.
    #[cfg(feature = "sqs")]
    pub sqs: Option<SqsSettings>,
}

/// A broker's settings make no sense.
#[derive(Debug, thiserror::Error)]
#[error("the broker {0} could not be set up: {1}")]
pub struct SetupError(&'static str, String);

/// One broker for every one that is configured.
fn brokers(settings: &Settings, client: &http::Client) -> Result<Vec<Arc<dyn Broker>>, SetupError> {
    let mut brokers: Vec<Arc<dyn Broker>> = Vec::new();
    #[cfg(feature = "nats")]
    if let Some(url) = &settings.nats_url {
        brokers.push(Arc::new(nats::Nats::new(url)));
    }
    #[cfg(feature = "amqp")]
    if let Some(url) = &settings.amqp_url {
        brokers.push(Arc::new(amqp::Amqp::new(url)));
    }
    #[cfg(feature = "kafka")]
    if let Some(url) = &settings.kafka_url {
        let address = crate::kafka::Address::parse(url);
        let address = address.map_err(|why| SetupError("kafka", why))?;
        brokers.push(Arc::new(kafka::Kafka::new(address)));
    }
    #[cfg(feature = "sqs")]
    if let Some(sqs) = &settings.sqs {
        let sqs = sqs::Sqs::new(sqs, client.clone());
        brokers.push(Arc::new(sqs.map_err(|why| SetupError("sqs", why))?));
    }
    #[cfg(not(all(feature = "nats", feature = "amqp", feature = "kafka", feature = "sqs")))]
    let _ = (settings, client);
    Ok(brokers)
}
