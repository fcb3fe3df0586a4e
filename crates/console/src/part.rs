//! What open pages look at again. After a commit many of them ask for the same at once: one rendering serves all
//! that may see the same.
//!
//! Whoever asks gets what was begun to be made after they asked, or what is younger than a quarter of a
//! second and knows of every commit until then: so nobody is shown less than they were told of, and nothing
//! is made more than four times a second. What is made bears the token of nobody's forms: the page
//! that it becomes part of has it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::gzip::packed;
use crate::shell::{self, Page};
use crate::{Context, Failure, page, piece};

/// For how long something is shown again as it was made.
const TOGETHER: Duration = Duration::from_millis(250);
/// Parts that are remembered; beyond that, those that nobody waits for are forgotten.
const PARTS_MAX: usize = 64;

/// A part as it is sent.
#[derive(Debug)]
pub struct Part {
    pub(crate) html: String,
    pub(crate) is_private: bool,
    packed: OnceLock<Vec<u8>>,
}

impl Part {
    /// Compressed, once for all.
    pub(crate) fn packed(&self) -> &[u8] {
        self.packed.get_or_init(|| packed(self.html.as_bytes()))
    }
}

/// What makes a part the same for two: where they look, their zone, and what they may see.
type Key = (String, Option<String>, String);

/// The last rendering of one part; its lock is held while the next is made.
type Slot = Arc<Mutex<Option<Made>>>;

struct Made {
    begun: Instant,
    /// The newest commit when it was begun.
    number: u64,
    part: Result<Arc<Part>, Failure>,
}

/// The parts that open pages look at.
#[derive(Default)]
pub(crate) struct Parts(Mutex<HashMap<Key, Slot>>);

impl Parts {
    /// The part at an address.
    ///
    /// # Errors
    /// What the page of this address fails with.
    pub(crate) async fn of(&self, cx: &Context<'_>) -> Result<Arc<Part>, Failure> {
        let newest = || *cx.engine.feed().watch().borrow();
        let (asked, known) = (Instant::now(), newest());
        let slot = self.slot(cx).await;
        let mut made = slot.lock().await;
        if let Some(last) = made.as_ref() {
            let is_young = last.begun.elapsed() < TOGETHER;
            if last.begun >= asked || (is_young && last.number >= known) {
                return last.part.clone();
            }
            tokio::time::sleep_until(last.begun + TOGETHER).await;
        }
        let (begun, number) = (Instant::now(), newest());
        let page = page::show(cx).await;
        // A page that no commit changes may be made for one reader: a preview is.
        let is_shared = !page.as_ref().is_ok_and(|page| page.topics.is_empty());
        let part = page.map(|page| Arc::new(rendered(cx, &page)));
        *made = is_shared.then(|| Made { begun, number, part: part.clone() });
        part
    }

    async fn slot(&self, cx: &Context<'_>) -> Slot {
        let visit = cx.visit;
        let key = (visit.address.clone(), visit.zone.clone(), visit.visitor.reach.clone());
        let mut slots = self.0.lock().await;
        if let Some(slot) = slots.get(&key) {
            return slot.clone();
        }
        if slots.len() >= PARTS_MAX {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        let slot = Slot::default();
        if slots.len() < PARTS_MAX {
            slots.insert(key, slot.clone());
        }
        slot
    }
}

fn rendered(cx: &Context<'_>, page: &Page) -> Part {
    let html = piece::with_proof(&shell::part(cx, page).0, "");
    Part { html, is_private: page.is_private, packed: OnceLock::new() }
}
