//! Execution ids as the file holds them: a UUID as 16 bytes, any other id as its text.
//!
//! An id is in the file twice (in the row and in its index), and nearly all are UUIDs, so this
//! saves 40 bytes per execution. Both forms sort as their text does among their own kind.

use kernel::ExecutionId;
use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use uuid::Uuid;

/// An execution id, ready to be bound or just read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// One that is a UUID in its canonical spelling.
    Uuid(Uuid),
    /// Any other.
    Text(ExecutionId),
}

impl Key {
    /// The key of an id.
    pub(super) fn of(id: &ExecutionId) -> Self {
        canonical_uuid(id.as_str()).map_or_else(|| Self::Text(id.clone()), Self::Uuid)
    }

    /// The id of the key.
    pub(super) fn into_id(self) -> ExecutionId {
        match self {
            Self::Uuid(uuid) => {
                let mut text = Uuid::encode_buffer();
                ExecutionId::new(&*uuid.hyphenated().encode_lower(&mut text))
            }
            Self::Text(id) => id,
        }
    }

    /// Whether a column holds this key.
    pub(super) fn is(&self, column: ValueRef<'_>) -> bool {
        self.value() == column
    }

    fn value(&self) -> ValueRef<'_> {
        match self {
            Self::Uuid(uuid) => ValueRef::Blob(uuid.as_bytes()),
            Self::Text(id) => ValueRef::Text(id.as_str().as_bytes()),
        }
    }
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.value()))
    }
}

impl FromSql for Key {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Blob(bytes) => {
                Uuid::from_slice(bytes).map(Self::Uuid).map_err(FromSqlError::other)
            }
            ValueRef::Text(_) => Ok(Self::Text(ExecutionId::new(value.as_str()?))),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// The UUID that `text` spells in the canonical way, so that its bytes spell the same text again.
fn canonical_uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    let mut canonical = Uuid::encode_buffer();
    (uuid.hyphenated().encode_lower(&mut canonical) == text).then_some(uuid)
}

/// The first and the last UUID whose text begins with `prefix`; `None` if there is none.
pub(super) fn uuids_from(prefix: &str) -> Option<(Key, Key)> {
    const FIRST: &str = "00000000-0000-0000-0000-000000000000";
    const LAST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let pad = |with: &str| canonical_uuid(&format!("{prefix}{}", with.get(prefix.len()..)?));
    Some((Key::Uuid(pad(FIRST)?), Key::Uuid(pad(LAST)?)))
}
