//! Alerts whose leases pass while nobody can send them again are not over: the clock was set
//! forward, the machine slept, or the store took no writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use engine::memory::{Call, Fault, Memory};
use engine::store::StoreError;
use engine::{Clock, Engine, Options};
use kernel::Timestamp;
use kernel::alert::definition::{ChecklistOptions, Known, load_among};
use kernel::alert::{Alert, Lease, Monitor};
use tokio::time::Instant;

use crate::house::open_as;

const KEY: &str = "0123456789abcdef0123";
const MINUTE: Duration = Duration::from_mins(1);
/// What Prometheus says of an alert: four times the minute after which it says it again.
const LEASE: i64 = 4 * 60_000;

/// A clock that follows tokio's, that can be set, and whose machine can sleep.
struct Moving {
    began: Instant,
    /// Seconds by which the wall clock, and the one since boot, are ahead of tokio's.
    wall: AtomicU64,
    slept: AtomicU64,
}

impl Clock for Moving {
    fn now(&self) -> Timestamp {
        let ahead = Duration::from_secs(self.wall.load(Ordering::SeqCst));
        let millis = (self.began.elapsed() + ahead).as_millis();
        Timestamp::from_millis(1_800_000_000_000 + i64::try_from(millis).expect("a short test"))
    }

    fn since_boot(&self) -> Option<Duration> {
        Some(self.began.elapsed() + Duration::from_secs(self.slept.load(Ordering::SeqCst)))
    }
}

struct House {
    engine: Engine,
    clock: Arc<Moving>,
    full: Arc<AtomicBool>,
}

impl House {
    async fn open() -> Self {
        let (began, full) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let clock = Arc::new(Moving { began, wall: 0.into(), slept: 0.into() });
        let is_full = full.clone();
        let store = Memory::with_faults(move |call| {
            let full = !matches!(call, Call::Read(_)) && is_full.load(Ordering::SeqCst);
            full.then(|| Fault::Before(StoreError::Unavailable("no connection".to_owned())))
        });
        let options = Options::default();
        let engine = open_as(Arc::new(store), clock.clone(), Vec::new(), options).await;
        let file = format!("monitors: {{ prom: {{ alerts: {{ key: {KEY} }} }} }}");
        let loaded = load_among(&file, &ChecklistOptions::default(), &Known::default());
        let file = loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        engine.apply_monitors("file", file).await.expect("it fits");
        let house = Self { engine, clock, full };
        // Past the while for which everything is kept after the server was opened.
        for _ in 0..10 {
            house.fires().await;
            tokio::time::sleep(MINUTE).await;
        }
        assert_eq!(house.open_alerts().await, [1]);
        house
    }

    async fn fires(&self) {
        let inbound = self.engine.inbound(KEY).expect("the key opens it");
        let until = self.clock.now().plus_millis(LEASE);
        let labels = [("alertname".into(), "Down".into())].into();
        let alert = Alert { labels, lease: Lease::Until(until), ..Alert::default() };
        self.engine.receive_alerts(&inbound, vec![alert]).await.expect("it is taken");
    }

    /// The numbers of the alerts that fire.
    async fn open_alerts(&self) -> Vec<u32> {
        let open = |monitor: &Monitor| -> Vec<u32> {
            let open = monitor.incidents.values().filter(|it| it.state.is_open());
            open.map(|it| it.number).collect()
        };
        self.engine.monitor("prom", open).await.expect("the store answers").expect("it exists")
    }

    /// The sender says it again a minute later: it is the same incident, and over when it is not
    /// said again any more.
    async fn goes_on(self) {
        tokio::time::sleep(MINUTE).await;
        assert_eq!(self.open_alerts().await, [1], "nobody could send it again");
        self.fires().await;
        assert_eq!(self.open_alerts().await, [1]);
        tokio::time::sleep(3 * MINUTE).await;
        assert_eq!(self.open_alerts().await, [1]);
        tokio::time::sleep(3 * MINUTE).await;
        assert_eq!(self.open_alerts().await, [0; 0], "it is not sent again");
    }
}

#[tokio::test(start_paused = true)]
async fn alerts_are_kept_when_the_clock_is_set_forward() {
    let house = House::open().await;
    house.clock.wall.store(3600, Ordering::SeqCst);
    house.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn alerts_are_kept_when_the_machine_slept() {
    let house = House::open().await;
    house.clock.wall.store(3600, Ordering::SeqCst);
    house.clock.slept.store(3600, Ordering::SeqCst);
    house.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn alerts_are_kept_when_the_store_took_no_writes() {
    let house = House::open().await;
    house.full.store(true, Ordering::SeqCst);
    tokio::time::sleep(20 * MINUTE).await;
    house.full.store(false, Ordering::SeqCst);
    house.goes_on().await;
}
