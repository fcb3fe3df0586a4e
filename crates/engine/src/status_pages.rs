//! Public status pages: their documents, what people post on them, and how their components stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernel::alert::definition::Severity;
use kernel::alert::{CHECK_KEY, Cell, MISSED_KEY, Monitor, Step};
use kernel::status_page::{Component, POSTS_MAX, STATUS_PAGE, StatusPage, StatusPost};
use kernel::{Json, Timestamp};

use crate::catalogue::Catalogue;
use crate::engine::{Engine, Error};
use crate::search::{PAGE_MAX, RecordSearch};
use crate::store::{Document, StoreError};
use crate::{Change, monitors};

/// The kind of documents that hold the posts of a page, under its name.
const POSTS: &str = "status_posts";
/// Days that a component shows.
pub const STATUS_DAYS: i64 = 90;

/// Status pages by name.
pub type StatusPages = BTreeMap<Arc<str>, Arc<StatusPage>>;

/// How a component stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ComponentStatus {
    /// Well.
    Operational,
    /// Nobody can tell.
    Unknown,
    /// An incident below error is open.
    Degraded,
    /// An incident is open.
    Down,
}

/// A component as it stands.
#[derive(Clone, Debug)]
pub struct ComponentState {
    /// How it stands.
    pub status: ComponentStatus,
    /// The days in which something is known of it, by their beginnings in UTC. Of a component with a
    /// key, a day with an incident of it counts as one failed check, any other as one that was well.
    pub days: BTreeMap<Timestamp, Cell>,
}

fn pages(catalogue: &Catalogue, documents: &[Document]) -> StatusPages {
    let read = documents.iter().filter_map(|document| catalogue.read::<StatusPage>(document));
    read.map(|page| (page.name.clone(), Arc::new(page))).collect()
}

fn posts(
    catalogue: &Catalogue,
    documents: &[Document],
) -> BTreeMap<Arc<str>, Arc<Vec<StatusPost>>> {
    let read = |document: &Document| {
        let posts = catalogue.read(document)?;
        Some((document.name.clone(), Arc::new(posts)))
    };
    documents.iter().filter_map(read).collect()
}

impl Engine {
    /// All status pages, those that are not public included.
    ///
    /// # Errors
    /// The store's.
    pub async fn status_pages(&self) -> Result<Arc<StatusPages>, StoreError> {
        let catalogue = self.catalogue().clone();
        self.catalogue().view(STATUS_PAGE, move |all| pages(&catalogue, all)).await
    }

    /// Removes a status page with its posts; `false` if there was none.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_status_page(&self, name: &str) -> Result<bool, StoreError> {
        let _alone = self.inner.posting.lock().await;
        self.catalogue().delete(POSTS, name).await?;
        self.catalogue().delete(STATUS_PAGE, name).await
    }

    /// What was posted on a page, the newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn status_posts(&self, page: &str) -> Result<Arc<Vec<StatusPost>>, StoreError> {
        let catalogue = self.catalogue().clone();
        let all = self.catalogue().view(POSTS, move |all| posts(&catalogue, all)).await?;
        Ok(all.get(page).cloned().unwrap_or_default())
    }

    /// Posts a text on a page, now; beyond [`POSTS_MAX`] the oldest go.
    ///
    /// # Errors
    /// The store's.
    pub async fn post_on_status_page(
        &self,
        page: &str,
        text: &str,
        by: Option<&str>,
    ) -> Result<StatusPost, StoreError> {
        let _alone = self.inner.posting.lock().await;
        let mut posts = self.status_posts(page).await?.to_vec();
        let id = posts.iter().map(|post| post.id).max().unwrap_or(0) + 1;
        let post = StatusPost { id, at: self.now(), by: by.map(Arc::from), text: text.into() };
        posts.insert(0, post.clone());
        posts.truncate(POSTS_MAX);
        self.put_posts(page, &posts).await?;
        Ok(post)
    }

    /// Takes a post back; `false` if there was none.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_status_post(&self, page: &str, id: u64) -> Result<bool, StoreError> {
        let _alone = self.inner.posting.lock().await;
        let mut posts = self.status_posts(page).await?.to_vec();
        let before = posts.len();
        posts.retain(|post| post.id != id);
        if posts.len() == before {
            return Ok(false);
        }
        self.put_posts(page, &posts).await?;
        Ok(true)
    }

    async fn put_posts(&self, page: &str, posts: &[StatusPost]) -> Result<(), StoreError> {
        let text = serde_json::to_string(posts).expect("posts serialize to JSON");
        self.catalogue().put(POSTS, page, text).await
    }

    /// The worst of how components stand now; that of none is well.
    ///
    /// # Errors
    /// The store's.
    pub async fn worst_of(&self, components: &[&Component]) -> Result<ComponentStatus, Error> {
        let mut worst = ComponentStatus::Operational;
        for component in components {
            let status = |it: &Monitor| status_of(it, component.key.as_deref());
            let status = self.monitor(&component.monitor, status).await?;
            worst = worst.max(status.unwrap_or(ComponentStatus::Unknown));
        }
        Ok(worst)
    }

    /// How components stand, and how they were for [`STATUS_DAYS`] days, in their order.
    ///
    /// # Errors
    /// The store's.
    pub async fn component_states(
        &self,
        components: &[&Component],
    ) -> Result<Vec<ComponentState>, Error> {
        let from = Step::Day.floor(self.now()).plus_millis(-(STATUS_DAYS - 1) * Step::Day.millis());
        // The incidents of a monitor are read once, whichever of its keys are components.
        let mut bad: BTreeMap<&str, BadDays> = BTreeMap::new();
        let mut states = Vec::new();
        for component in components {
            let name = &*component.monitor;
            let status = |it: &Monitor| status_of(it, component.key.as_deref());
            let status = self.monitor(name, status).await?.unwrap_or(ComponentStatus::Unknown);
            let span = (from, Timestamp::MAX);
            let mut days = self.rollups(name, Step::Day, span).await?.unwrap_or_default();
            if let Some(key) = component.key.as_deref() {
                if !bad.contains_key(name) {
                    bad.insert(name, self.bad_days(name, from).await?);
                }
                for cell in days.values_mut() {
                    *cell = Cell { ok: u32::from(cell.checks() > 0), ..Cell::default() };
                }
                // Also days of which nothing else is known.
                for day in bad[name].get(key).into_iter().flatten() {
                    days.insert(*day, Cell { fail: 1, ..Cell::default() });
                }
            }
            states.push(ComponentState { status, days });
        }
        Ok(states)
    }

    /// The days on which incidents of a monitor were open, of the newest [`PAGE_MAX`].
    async fn bad_days(&self, monitor: &str, from: Timestamp) -> Result<BadDays, Error> {
        let search = RecordSearch {
            subjects: vec![monitor.to_owned()],
            after: Some(from.plus_millis(-STATUS_DAYS * Step::Day.millis())),
            size: PAGE_MAX,
            ..RecordSearch::newest("incident")
        };
        let mut bad = BadDays::new();
        let now = self.now();
        for line in self.inner.store.records(&search).await?.rows {
            let Some((key, end)) = open_until(&line.body, now) else { continue };
            let days = bad.entry(key).or_default();
            let mut day = Step::Day.floor(line.at.max(from));
            while day <= end {
                days.insert(day);
                day = day.plus_millis(Step::Day.millis());
            }
        }
        Ok(bad)
    }
}

/// The days on which an incident was open, by its key; each day by its beginning.
type BadDays = BTreeMap<String, BTreeSet<Timestamp>>;

/// The key of an incident, and when it was over, or now.
fn open_until(body: &Json, now: Timestamp) -> Option<(String, Timestamp)> {
    let body = body.parse();
    let key = body.get("key")?.as_str()?.to_owned();
    let resolved = body.get("resolved_at").and_then(serde_json::Value::as_i64);
    Some((key, resolved.map_or(now, Timestamp::from_millis)))
}

/// How a monitor stands, or one of its keys.
fn status_of(monitor: &Monitor, key: Option<&str>) -> ComponentStatus {
    let is_own = |key: &str| key == CHECK_KEY || key == MISSED_KEY;
    let open = monitor.incidents.iter().filter(|(of, incident)| {
        incident.state.is_open() && key.map_or(!is_own(of), |key| &***of == key)
    });
    match open.map(|(_, incident)| incident.severity).max() {
        Some(Severity::Error | Severity::Critical) => ComponentStatus::Down,
        Some(_) => ComponentStatus::Degraded,
        None if matches!(monitors::standing(monitor), "UNKNOWN" | "NEW") => {
            ComponentStatus::Unknown
        }
        None => ComponentStatus::Operational,
    }
}

/// The change that defines pages.
pub fn status_pages_change(pages: &[StatusPage], mut change: Change) -> Change {
    for page in pages {
        let text = serde_json::to_string(page).expect("a page serializes to JSON");
        change.documents.push((STATUS_PAGE, page.name.to_string(), text));
    }
    change
}
