//! The end of what a job wrote.

use std::collections::VecDeque;

/// The last bytes of an output, of at most so many.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    most: usize,
    is_cut: bool,
}

impl Tail {
    /// An empty one.
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: VecDeque::new(), most, is_cut: false }
    }

    /// Adds what was written.
    pub(super) fn push(&mut self, part: &[u8]) {
        let kept = &part[part.len().saturating_sub(self.most)..];
        let over = (self.bytes.len() + kept.len()).saturating_sub(self.most);
        self.is_cut |= over > 0 || kept.len() < part.len();
        self.bytes.drain(..over);
        self.bytes.extend(kept);
    }

    /// It as a text, from the beginning of a line on if something is missing before it.
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let line = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = if self.is_cut && line < bytes.len() { &bytes[line..] } else { &bytes[..] };
        let text = String::from_utf8_lossy(whole);
        if self.is_cut { format!("…\n{}", text.trim_end()) } else { text.trim_end().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn the_end_is_kept_and_begins_with_a_line() {
        let mut tail = Tail::new(12);
        tail.push(b"one\n");
        assert_eq!(tail.text(), "one", "all of it");
        tail.push(b"two\nthree\n");
        assert_eq!(tail.text(), "…\ntwo\nthree", "whole lines");
        tail.push(&[b'x'; 100]);
        assert_eq!(
            tail.text(),
            format!("…\n{}", "x".repeat(12)),
            "a line that is too long, its end"
        );
        tail.push(&[0xff; 12]);
        assert!(tail.text().contains('\u{fffd}'), "what is no text does not matter");
    }
}
