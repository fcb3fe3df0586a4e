//! The chain of the audit ledger: each line carries a hash over itself and the line before it, so that
//! none can be changed, removed or put between without changing all that follow.

use sha2::{Digest as _, Sha256};

/// What stands in the first line for the hash of the one before.
pub const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The hash of a line: of the hash of the line before, and of its own text.
pub fn chained(before: &str, line: &str) -> String {
    let hash = Sha256::new()
        .chain_update(before.as_bytes())
        .chain_update(b"\n")
        .chain_update(line.as_bytes())
        .finalize();
    let mut text = String::with_capacity(64);
    super::key::hex(&mut text, &hash);
    text
}

/// Checks a chain, line by line.
#[derive(Clone, Debug, Default)]
pub struct ChainCheck {
    last: Option<(u64, String)>,
}

impl ChainCheck {
    /// Takes the next line: its number, the hash that it names for the one before, its text and its
    /// own hash.
    ///
    /// # Errors
    /// Where the chain is broken, and how.
    pub fn take(
        &mut self,
        number: u64,
        before: &str,
        line: &str,
        hash: &str,
    ) -> Result<(), String> {
        let continues = match &self.last {
            // What came before the first kept line is gone; line 1 has nothing before it.
            None => number != 1 || before == FIRST,
            Some((last, _)) if number != last + 1 => {
                return Err(format!("after line {last} comes line {number}: lines are missing"));
            }
            Some((_, last_hash)) => before == last_hash,
        };
        if !continues {
            return Err(format!("line {number} does not follow the line before it"));
        }
        if chained(before, line) != hash {
            return Err(format!("line {number} was changed"));
        }
        self.last = Some((number, hash.to_owned()));
        Ok(())
    }

    /// Number and hash of the last line.
    pub fn last(&self) -> Option<(u64, &str)> {
        self.last.as_ref().map(|(number, hash)| (*number, hash.as_str()))
    }
}
