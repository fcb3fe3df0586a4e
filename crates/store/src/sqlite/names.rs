//! Words that many rows share, kept once: names of definitions and queues, and status words.
//!
//! A row holds a small number in their place. A word is never removed, so what was looked up once
//! stays true; only words of a transaction that was rolled back must be forgotten.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension};

/// Words remembered in memory before all are forgotten and looked up again.
const REMEMBERED_MAX: usize = 20_000;

/// Numbers of words, for the writer.
#[derive(Default)]
pub(super) struct Numbers(HashMap<Arc<str>, i64>);

impl Numbers {
    /// The number of a word, which is given one if it has none.
    pub(super) fn of(&mut self, connection: &Connection, word: &str) -> rusqlite::Result<i64> {
        if let Some(number) = self.0.get(word) {
            return Ok(*number);
        }
        let known = connection
            .prepare_cached("SELECT id FROM name WHERE text = ?1")?
            .query_row([word], |row| row.get(0))
            .optional()?;
        let number = match known {
            Some(number) => number,
            None => {
                connection.prepare_cached("INSERT INTO name (text) VALUES (?1)")?.insert([word])?
            }
        };
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.insert(word.into(), number);
        Ok(number)
    }

    /// Forgets all, for some may have been rolled back.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Words of numbers, for the readers. They see committed rows only.
#[derive(Default)]
pub(super) struct Words(RwLock<HashMap<i64, Arc<str>>>);

impl Words {
    /// The word of a number.
    pub(super) fn of(&self, connection: &Connection, number: i64) -> rusqlite::Result<Arc<str>> {
        if let Some(word) = self.0.read().get(&number) {
            return Ok(word.clone());
        }
        let word: Arc<str> = connection
            .prepare_cached("SELECT text FROM name WHERE id = ?1")?
            .query_row([number], |row| row.get(0))?;
        let mut words = self.0.write();
        if words.len() >= REMEMBERED_MAX {
            words.clear();
        }
        words.insert(number, word.clone());
        Ok(word)
    }
}
