//! AMQP 0.9.1, as `RabbitMQ` speaks it: `amqp:queue`, `amqp_queue:queue`, `amqp_exchange:exchange`.
//!
//! A name may be followed by options: `orders?durable=false&maxPriority=10`; for exchanges also
//! `exchangeType`, `routingKey` and `bindQueueName`. What does not exist is declared. Messages are
//! persistent, published with confirms, and acknowledged one by one.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use engine::events::{
    Broker, BrokerError, Delivery, EventMessage, EventName, Receipt, Subscription,
};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};
use tokio::sync::Mutex;

/// Longest wait for the broker to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A broker that did not answer is not asked again for so long.
const DOWN: Duration = Duration::from_secs(1);
/// Longest name of a queue or exchange, in bytes.
const NAME_MAX: usize = 255;
/// Messages that the broker sends ahead of their acknowledgement, per queue.
const AHEAD: u16 = 64;

/// A broker.
pub(super) struct Amqp {
    url: String,
    line: Mutex<Line>,
}

/// What there is of a connection.
#[derive(Default)]
struct Line {
    connection: Option<Connection>,
    publishing: Option<Channel>,
    down: Option<(Instant, BrokerError)>,
}

impl Amqp {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), line: Mutex::default() }
    }

    /// A new channel of the one connection, which is made anew where it is lost.
    async fn channel(&self, line: &mut Line) -> Result<Channel, BrokerError> {
        if let Some(connection) = &line.connection
            && connection.status().connected()
        {
            return within(connection.create_channel()).await;
        }
        if let Some((since, error)) = &line.down
            && since.elapsed() < DOWN
        {
            return Err(error.clone());
        }
        (line.connection, line.publishing) = (None, None);
        let properties = ConnectionProperties::default().with_connection_name("nightbell".into());
        match within(Connection::connect(&self.url, properties)).await {
            Ok(connection) => {
                line.down = None;
                let channel = within(connection.create_channel()).await;
                line.connection = Some(connection);
                channel
            }
            Err(error) => {
                line.down = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// The channel for publishing.
    async fn publishing(&self) -> Result<Channel, BrokerError> {
        let mut line = self.line.lock().await;
        if let Some(channel) = &line.publishing
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        let channel = self.channel(&mut line).await?;
        within(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        line.publishing = Some(channel.clone());
        Ok(channel)
    }
}

#[async_trait]
impl Broker for Amqp {
    fn kinds(&self) -> &'static [&'static str] {
        &["amqp", "amqp_queue", "amqp_exchange"]
    }

    async fn publish(&self, message: &EventMessage) -> Result<(), BrokerError> {
        let address = Address::parse(&message.event)?;
        let channel = self.publishing().await?;
        let (exchange, key) = if address.is_exchange {
            address.declare_exchange(&channel).await?;
            (address.name.as_str(), address.routing_key.as_str())
        } else {
            address.declare_queue(&channel, &address.name).await?;
            ("", address.name.as_str())
        };
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("UTF-8".into())
            .with_delivery_mode(address.delivery_mode)
            .with_message_id(message.id.as_str().into());
        let options = BasicPublishOptions::default();
        let confirm = channel.basic_publish(
            exchange.into(),
            key.into(),
            options,
            message.payload.as_bytes(),
            properties,
        );
        let confirm = within(confirm).await?;
        if within(confirm).await?.is_nack() {
            return Err(away("the broker did not take the message"));
        }
        Ok(())
    }

    async fn subscribe(&self, event: &EventName) -> Result<Box<dyn Subscription>, BrokerError> {
        let address = Address::parse(event)?;
        let channel = {
            let mut line = self.line.lock().await;
            self.channel(&mut line).await?
        };
        let queue = if address.is_exchange {
            address.declare_exchange(&channel).await?;
            let queue = address.bound_queue();
            address.declare_queue(&channel, &queue).await?;
            let bound = channel.queue_bind(
                queue.as_str().into(),
                address.name.as_str().into(),
                address.routing_key.as_str().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            within(bound).await?;
            queue
        } else {
            address.declare_queue(&channel, &address.name).await?;
            address.name
        };
        within(channel.basic_qos(AHEAD, BasicQosOptions::default())).await?;
        let consumer = channel.basic_consume(
            queue.as_str().into(),
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = within(consumer).await?;
        Ok(Box::new(Queue { consumer, _channel: channel }))
    }
}

/// A queue or an exchange, with how it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    is_exchange: bool,
    name: String,
    exchange_type: String,
    routing_key: String,
    bound_queue: Option<String>,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    delivery_mode: u8,
    priority_max: Option<u8>,
}

impl Address {
    fn parse(event: &EventName) -> Result<Self, BrokerError> {
        let (name, options) = event.queue.split_once('?').unwrap_or((&event.queue, ""));
        let mut address = Self {
            is_exchange: &*event.kind == "amqp_exchange",
            name: name.to_owned(),
            exchange_type: "topic".to_owned(),
            routing_key: String::new(),
            bound_queue: None,
            durable: true,
            exclusive: false,
            auto_delete: false,
            delivery_mode: 2,
            priority_max: None,
        };
        let invalid = |what: String| Err(BrokerError::Invalid(format!("AMQP: {what} in {event}")));
        if name.is_empty() || name.len() > NAME_MAX {
            return invalid("a name of 1 to 255 bytes is missing".to_owned());
        }
        for option in options.split('&').map(str::trim).filter(|option| !option.is_empty()) {
            let Some((key, value)) = option.split_once('=') else {
                return invalid(format!("the option '{option}' has no value"));
            };
            let (key, value) = (key.trim(), value.trim());
            let taken = match key.to_ascii_lowercase().as_str() {
                "exchangetype" => set(&mut address.exchange_type, Some(value.to_owned())),
                "routingkey" => set(&mut address.routing_key, Some(value.to_owned())),
                "bindqueuename" => set(&mut address.bound_queue, Some(Some(value.to_owned()))),
                "durable" => set(&mut address.durable, value.parse().ok()),
                "exclusive" => set(&mut address.exclusive, value.parse().ok()),
                "autodelete" => set(&mut address.auto_delete, value.parse().ok()),
                "deliverymode" => {
                    let mode = value.parse().ok().filter(|mode| matches!(mode, 1 | 2));
                    set(&mut address.delivery_mode, mode)
                }
                "maxpriority" => set(&mut address.priority_max, value.parse().ok().map(Some)),
                _ => return invalid(format!("there is no option '{key}'")),
            };
            if !taken || value.is_empty() {
                return invalid(format!("the option '{key}' cannot be '{value}'"));
            }
        }
        Ok(address)
    }

    /// The queue through which an exchange is heard.
    fn bound_queue(&self) -> String {
        self.bound_queue.clone().unwrap_or_else(|| format!("bound_to_{}", self.name))
    }

    async fn declare_queue(&self, channel: &Channel, name: &str) -> Result<(), BrokerError> {
        let options = QueueDeclareOptions {
            durable: self.durable,
            exclusive: self.exclusive,
            auto_delete: self.auto_delete,
            ..QueueDeclareOptions::default()
        };
        let mut arguments = FieldTable::default();
        if let Some(priority_max) = self.priority_max {
            let priority_max = AMQPValue::LongInt(i32::from(priority_max));
            arguments.insert("x-max-priority".into(), priority_max);
        }
        within(channel.queue_declare(name.into(), options, arguments)).await.map(drop)
    }

    async fn declare_exchange(&self, channel: &Channel) -> Result<(), BrokerError> {
        let kind = match self.exchange_type.as_str() {
            "topic" => ExchangeKind::Topic,
            "direct" => ExchangeKind::Direct,
            "fanout" => ExchangeKind::Fanout,
            "headers" => ExchangeKind::Headers,
            other => ExchangeKind::Custom(other.to_owned()),
        };
        let options = ExchangeDeclareOptions {
            durable: self.durable,
            auto_delete: self.auto_delete,
            ..ExchangeDeclareOptions::default()
        };
        let name = self.name.as_str().into();
        within(channel.exchange_declare(name, kind, options, FieldTable::default())).await
    }
}

/// Sets a value if there is one; tells whether there was.
fn set<T>(place: &mut T, value: Option<T>) -> bool {
    value.map(|value| *place = value).is_some()
}

fn away(reason: impl Into<String>) -> BrokerError {
    BrokerError::Unavailable(reason.into())
}

fn told(error: impl std::fmt::Display) -> BrokerError {
    away(format!("AMQP: {error}"))
}

async fn within<T, E: std::fmt::Display>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, BrokerError> {
    let late = |_| away(format!("the AMQP broker did not answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, work).await.map_err(late)?.map_err(told)
}

struct Queue {
    consumer: Consumer,
    /// Open as long as messages shall come.
    _channel: Channel,
}

#[async_trait]
impl Subscription for Queue {
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        let delivery = self.consumer.next().await.ok_or_else(|| away("the channel was closed"))?;
        let delivery = delivery.map_err(told)?;
        let id = delivery.properties.message_id().as_ref().map(ToString::to_string);
        let id = id.filter(|id| !id.is_empty());
        let payload = String::from_utf8_lossy(&delivery.data).into_owned();
        Ok(Delivery { id, payload, receipt: Box::new(Unacknowledged(delivery)) })
    }
}

struct Unacknowledged(lapin::message::Delivery);

#[async_trait]
impl Receipt for Unacknowledged {
    async fn acknowledge(self: Box<Self>) -> Result<(), BrokerError> {
        within(self.0.ack(BasicAckOptions::default())).await.map(drop)
    }

    async fn give_back(self: Box<Self>) {
        // A channel that is gone gives everything back by itself.
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        let _ = self.0.nack(options).await;
    }
}
