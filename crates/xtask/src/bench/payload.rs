//! Payloads that say who sent them and that no compression makes much smaller.

use std::sync::LazyLock;

/// Letters and digits in no order.
static POOL: LazyLock<String> = LazyLock::new(|| {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state >> 58) as usize])
    };
    (0..POOL_BYTES).map(|_| letter()).collect()
});

const POOL_BYTES: usize = 1 << 20;

/// Digits of the number at the start.
const DIGITS: usize = 8;

/// `bytes` bytes, at least eight, that begin with the number and differ from step to step.
pub(super) fn text(number: usize, step: usize, bytes: usize) -> String {
    let rest = bytes.saturating_sub(DIGITS);
    let from = (number * 7919 + step * 104_729) % (POOL_BYTES - rest);
    format!("{number:0DIGITS$}{}", &POOL[from..from + rest])
}

/// The number at the start.
pub(super) fn number(text: &str) -> Option<usize> {
    text.get(..DIGITS)?.parse().ok()
}
