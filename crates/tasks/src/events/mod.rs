//! EVENT, and the brokers that messages come from and go to; each broker is a file and a feature.

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "nats")]
mod nats;
mod task;

use std::sync::Arc;

use engine::events::Broker;

pub use task::EventTask;

/// Which brokers there are.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Servers of NATS, comma-separated: `nats://user:password@host:4222`.
    pub nats_url: Option<String>,
    /// The AMQP 0.9.1 broker: `amqp://user:password@host:5672/vhost`.
    pub amqp_url: Option<String>,
}

/// One broker for every one that is configured.
fn brokers(settings: &Settings) -> Vec<Arc<dyn Broker>> {
    let mut brokers: Vec<Arc<dyn Broker>> = Vec::new();
    #[cfg(feature = "nats")]
    if let Some(url) = &settings.nats_url {
        brokers.push(Arc::new(nats::Nats::new(url)));
    }
    #[cfg(feature = "amqp")]
    if let Some(url) = &settings.amqp_url {
        brokers.push(Arc::new(amqp::Amqp::new(url)));
    }
    #[cfg(not(all(feature = "nats", feature = "amqp")))]
    let _ = settings;
    brokers
}
