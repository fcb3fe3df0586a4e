//! Keys that an object of a JSON text has twice: the last one counts, and what the others say is lost without
//! a word.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::problem::{Problem, Problems, join};

/// Characters of a key that are told.
const KEY_MAX: usize = 100;

/// Looks for them: `repeated-key`. What is no JSON has none.
pub(super) fn keys(text: &str, problems: &mut Problems) {
    let found = RefCell::new(problems);
    let mut reader = serde_json::Deserializer::from_str(text);
    // What cannot be read is told elsewhere.
    let _ = Look { pointer: String::new(), found: &found }.deserialize(&mut reader);
}

/// A value at a place.
struct Look<'a, 'b> {
    pointer: String,
    found: &'a RefCell<&'b mut Problems>,
}

impl<'de> DeserializeSeed<'de> for Look<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let pointer = join(&self.pointer, &key);
            if seen.contains(&key) {
                let key: String = key.chars().take(KEY_MAX).collect();
                let message = format!("the key {key} occurs twice: only the last one counts");
                let hint = "Remove one of the two, or rename it.";
                let problem = Problem::new(pointer.clone(), "repeated-key", message, hint);
                self.found.borrow_mut().push(problem);
            }
            map.next_value_seed(Look { pointer, found: self.found })?;
            seen.insert(key);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let pointer = format!("{}/{index}", self.pointer);
            if list.next_element_seed(Look { pointer, found: self.found })?.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
