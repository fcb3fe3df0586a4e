//! Deliveries that several servers could make, and only one does.

use std::time::Duration;

use jiff::Timestamp;
use kernel::alert::NotificationEvent;
use tokio_util::sync::CancellationToken;

use super::kind::Order;
use crate::page_dedup::{Away, Claim, Claims, Wish};

/// How often somebody else's claim is looked at.
const PAUSE: Duration = Duration::from_millis(250);
/// How long others are waited for at most; then the delivery is tried again later.
const PATIENCE: Duration = Duration::from_secs(75);

/// What is shared of one delivery.
pub(super) struct Sharing<'a> {
    claims: &'a Claims,
    wish: Wish,
    /// The monitor's name: what people look for.
    monitor: String,
    /// What is said, for whoever looks.
    said: String,
}

/// Who makes a call.
pub(super) enum Shared {
    /// This server.
    Ours,
    /// Another did; says who.
    AlreadySent(String),
    /// Others are about to, for too long.
    Busy(String),
    /// Nobody knows, so this server does; says why.
    Away(String),
}

impl<'a> Sharing<'a> {
    /// Only what the service knows by a key is shared: should two servers tell it after all, people
    /// see it once.
    pub(super) fn of(claims: &'a Claims, order: &Order<'_>) -> Option<Self> {
        use NotificationEvent::{
            Acknowledge, Digest, Escalation, Reminder, Resolve, Test, Trigger,
        };
        if order.kind != "pagerduty" {
            return None;
        }
        let at = order.notification.text("at").and_then(|at| at.parse::<Timestamp>().ok());
        let wish = match order.notification.event {
            Trigger | Escalation | Reminder => Wish::Trigger,
            Resolve => Wish::Resolve(at.map_or(order.now_ms, Timestamp::as_millisecond)),
            Acknowledge | Digest | Test => return None,
        };
        let monitor = order.notification.text("monitor").unwrap_or_default();
        let said = format!("{}: {}", order.notification.event.as_str(), order.notification.title);
        Some(Self { claims, wish, monitor, said })
    }

    /// The alert's name: begins with the monitor's.
    fn alert(&self, key: &str) -> String {
        if key.starts_with(&self.monitor) {
            key.to_owned()
        } else {
            format!("{}-{key}", self.monitor)
        }
    }

    /// Claims a call, and waits while another server is about to make it.
    pub(super) async fn begin(&self, key: &str, cancelled: &CancellationToken) -> Shared {
        let alert = self.alert(key);
        let begun = tokio::time::Instant::now();
        loop {
            match self.claims.claim(&alert, self.wish).await {
                Ok(Claim::Ours) => return Shared::Ours,
                Ok(Claim::AlreadySent { by, at }) => {
                    return Shared::AlreadySent(format!("told by {by} at {at}: not told again"));
                }
                Ok(Claim::Busy(_)) if begun.elapsed() >= PATIENCE => {
                    return Shared::Busy(
                        "other servers try to tell it and do not get on".to_owned(),
                    );
                }
                Ok(Claim::Busy(left)) => {
                    tokio::select! {
                        biased;
                        () = cancelled.cancelled() => return Shared::Busy("was cancelled".to_owned()),
                        () = tokio::time::sleep(left.min(PAUSE)) => {}
                    }
                }
                Err(away) => {
                    tell(&away, "it is told without asking whether another server has told it");
                    return Shared::Away(format!("told without asking other servers: {away}"));
                }
            }
        }
    }

    /// Says how the call ended.
    pub(super) async fn end(&self, key: &str, told: bool) {
        let said = told.then_some(self.said.as_str());
        if let Err(away) = self.claims.settle(&self.alert(key), self.wish, said).await {
            tell(&away, "another server may tell it once more");
        }
    }
}

fn tell(away: &Away, so: &str) {
    tracing::warn!("{away}: {so}");
}
