//! Who may answer the requests of deliveries in the place of the network: a test that wants to see
//! the very requests, and says what becomes of them.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::kind::Call;
use super::verdict::Answer;

/// A request that would go out now. There is no `Debug`: it would show secrets.
pub struct Sent<'a> {
    /// The receiver's name.
    pub receiver: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// The request; of a mail, the method is `MAIL` and the body the message.
    pub call: &'a Call,
    /// What it tells: the notification as the monitor made it.
    pub about: &'a Map<String, Value>,
}

/// Answers requests.
#[async_trait]
pub trait Outlet: Send + Sync {
    /// What the receiver answers; `taken` is an answer by which its kind says that it took it.
    async fn answer(&self, sent: Sent<'_>, taken: Answer) -> Answer;
}
