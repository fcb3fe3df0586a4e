//! The memory that request bodies take together, and that answers take which are being sent.
//!
//! The number of requests bounds neither: a peer may send bodies and let the last byte be missing, or
//! ask for answers and not read them. So bodies and answers are counted by their bytes, over all
//! connections. What is small may take all of the room, so that it still passes when large ones have
//! taken their part.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use tonic::Status;

/// Up to here a body or an answer is small.
pub(crate) const SMALL_MAX: u64 = 64 << 10;
/// Answers up to here are not counted: to count them would cost more than they take.
const TINY_MAX: u64 = 4 << 10;

/// Memory that is given to whoever asks until there is no more.
#[derive(Debug)]
pub(crate) struct Room {
    most: u64,
    held: AtomicU64,
}

impl Room {
    /// So many bytes.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most as u64, held: AtomicU64::new(0) })
    }

    /// Whether more than half is taken.
    pub(crate) fn is_scarce(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.most / 2
    }

    /// Whether nothing large fits in any more.
    pub(crate) fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= self.most_of_large()
    }

    /// What is not small takes two thirds.
    fn most_of_large(&self) -> u64 {
        self.most / 3 * 2
    }
}

/// What one body or answer takes; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Room>,
    bytes: u64,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Share {
    /// Nothing yet.
    pub(crate) fn of(room: &Arc<Room>) -> Self {
        Self { of: room.clone(), bytes: 0 }
    }

    /// Takes so many bytes more.
    ///
    /// # Errors
    /// Others take too much; this takes what it did before.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Full> {
        let is_small = self.bytes + bytes <= SMALL_MAX;
        let most = if is_small { self.of.most } else { self.of.most_of_large() };
        let before = self.of.held.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > most {
            self.of.held.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Full);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Takes so many bytes more, whether there is room or not.
    fn insist(&mut self, bytes: u64) {
        self.of.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }

    /// Gives everything back.
    pub(crate) fn give_back(&mut self) {
        self.of.held.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// An answer says, as an extension, what it takes if its body does not tell: 0 if it is counted
/// elsewhere, the size of a message that is encoded only when there is room on the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight(pub(crate) usize);

/// The share of an answer; `None` for what is not counted. With `must_pass` it is given in any case:
/// what is handed out by the answer would be lost with it.
///
/// # Errors
/// Answers that are not read take too much.
pub(crate) fn share_of<B: hyper::body::Body>(
    room: &Arc<Room>,
    answer: &http::Response<B>,
    must_pass: bool,
) -> Result<Option<Arc<Share>>, Full> {
    let told = answer.extensions().get::<Weight>().map(|weight| weight.0 as u64);
    let bytes = told.unwrap_or_else(|| answer.body().size_hint().lower());
    if bytes <= TINY_MAX {
        return Ok(None);
    }
    let mut share = Share::of(room);
    if must_pass {
        share.insist(bytes);
    } else {
        share.grow(bytes)?;
    }
    Ok(Some(Arc::new(share)))
}

/// Data that keeps a share until it has been sent: the connection holds it longer than the answer.
pub(crate) fn keep(data: Bytes, share: &Arc<Share>) -> Bytes {
    Bytes::from_owner(Kept { data, _share: share.clone() })
}

struct Kept {
    data: Bytes,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// Why no more is taken of a request body.
#[derive(Debug)]
pub(crate) struct NoRoom(Box<Status>);

/// What is said to whoever finds no room for a body.
pub(crate) const BODIES_BUSY: &str =
    "the bodies of other requests take all the memory there is for them; try again";

impl NoRoom {
    pub(crate) fn new() -> Self {
        Self(Box::new(Status::unavailable(BODIES_BUSY)))
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(BODIES_BUSY)
    }
}

impl Error for NoRoom {
    /// The status that a call by gRPC is answered with.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

#[cfg(test)]
mod attacks {
    use super::*;

    #[test]
    fn what_is_large_leaves_a_third_to_what_is_small() {
        let room = Room::new(3 << 20);
        let mut large: Vec<_> = (0..2).map(|_| Share::of(&room)).collect();
        for share in &mut large {
            share.grow(1 << 20).expect("there is room");
        }
        assert!(room.is_full() && room.is_scarce());
        assert_eq!(large[0].grow(1), Err(Full), "it is large already");
        let mut small = Vec::new();
        for _ in 0..16 {
            let mut share = Share::of(&room);
            share.grow(SMALL_MAX).expect("a third is left");
            small.push(share);
        }
        assert_eq!(Share::of(&room).grow(1), Err(Full));
        drop(small);
        large[0].give_back();
        drop(large);
        assert_eq!(room.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn data_under_way_keeps_its_share() {
        let room = Room::new(1 << 20);
        let answer = http::Response::new(http_body_util::Full::new(Bytes::from(vec![0; 8192])));
        let share = share_of(&room, &answer, false).expect("there is room").expect("it is counted");
        let data = keep(Bytes::from_static(b"x"), &share);
        drop((answer, share));
        assert_eq!(room.held.load(Ordering::Relaxed), 8192);
        drop(data);
        assert_eq!(room.held.load(Ordering::Relaxed), 0);
    }
}
