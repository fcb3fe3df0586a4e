//! Tokens of destructive acts: they bind exactly one act, one list of ids and one visitor, for five
//! minutes. And those of all forms, which bind a visitor alone (decision 0073).

use hmac::{Hmac, KeyInit as _, Mac as _};
use kernel::Timestamp;
use sha2::Sha256;

/// For how long a preview can be acted on, in milliseconds.
const VALID: i64 = 5 * 60 * 1000;

/// In the place of an act, of which none has this name, in the tokens of forms.
const FORMS: &str = "any form";

/// Makes tokens, and tells its own from others.
pub(crate) struct Seal(Hmac<Sha256>);

impl Seal {
    /// Tokens under a key that nobody else has.
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("a key of any length will do"))
    }

    /// A token for one act on these ids.
    pub(crate) fn token(&self, act: &str, ids: &[&str], who: &str, now: Timestamp) -> String {
        let end = now.plus_millis(VALID).millis();
        format!("{end}.{}", hex(&self.mac(act, ids, who, end).finalize().into_bytes()))
    }

    /// Whether a token is ours, for exactly this, and not too old.
    pub(crate) fn holds(
        &self,
        token: &str,
        act: &str,
        ids: &[&str],
        who: &str,
        now: Timestamp,
    ) -> bool {
        let Some((end, proof)) = token.split_once('.') else { return false };
        let Ok(end) = end.parse::<i64>() else { return false };
        let Some(proof) = unhex(proof) else { return false };
        now.millis() <= end && self.mac(act, ids, who, end).verify_slice(&proof).is_ok()
    }

    /// What the forms of pages for somebody carry, so that no page of others can make their browser send one.
    pub(crate) fn of_forms(&self, whose: &str) -> String {
        hex(&self.mac(FORMS, &[], whose, 0).finalize().into_bytes())
    }

    /// Whether a form carries what the pages for somebody have.
    pub(crate) fn is_of_forms(&self, token: &str, whose: &str) -> bool {
        let proof = unhex(token);
        proof.is_some_and(|proof| self.mac(FORMS, &[], whose, 0).verify_slice(&proof).is_ok())
    }

    fn mac(&self, act: &str, ids: &[&str], who: &str, end: i64) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        // Lengths first: no two lists are one text.
        for part in [act, who].iter().chain(ids) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&end.to_be_bytes());
        mac
    }
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_forms_is_for_one_person_and_no_preview() {
        let seal = Seal::new(&[7; 32]);
        let token = seal.of_forms("user:1");
        assert!(seal.is_of_forms(&token, "user:1"));
        assert!(!seal.is_of_forms(&token, "user:2") && !seal.is_of_forms(&token, ""));
        assert!(!Seal::new(&[8; 32]).is_of_forms(&token, "user:1"));
        for wrong in ["", "zz", "é", &token[1..]] {
            assert!(!seal.is_of_forms(wrong, "user:1"), "{wrong}");
        }
        let preview = format!("0.{token}");
        assert!(!seal.holds(&preview, FORMS, &[], "user:1", Timestamp::from_millis(1)));
    }

    #[test]
    fn a_token_is_for_one_act_one_list_one_person_and_five_minutes() {
        let seal = Seal::new(&[7; 32]);
        let now = Timestamp::from_millis(1_800_000_000_000);
        let token = seal.token("terminate", &["a", "b"], "ida", now);
        let holds = |act, ids: &[&str], who, at| seal.holds(&token, act, ids, who, at);
        assert!(holds("terminate", &["a", "b"], "ida", now));
        assert!(holds("terminate", &["a", "b"], "ida", now.plus_millis(VALID)));
        assert!(!holds("terminate", &["a", "b"], "ida", now.plus_millis(VALID + 1)));
        assert!(!holds("rerun", &["a", "b"], "ida", now));
        assert!(!holds("terminate", &["ab"], "ida", now));
        assert!(!holds("terminate", &["a", "b", "c"], "ida", now));
        assert!(!holds("terminate", &["a", "b"], "ola", now));
        let later = token.replacen("18", "19", 1);
        assert!(!seal.holds(&later, "terminate", &["a", "b"], "ida", now));
        assert!(!Seal::new(&[8; 32]).holds(&token, "terminate", &["a", "b"], "ida", now));
        for wrong in ["", ".", "1.", "x.00", "1.zz", "1.é"] {
            assert!(!seal.holds(wrong, "terminate", &["a"], "ida", now), "{wrong}");
        }
    }
}
