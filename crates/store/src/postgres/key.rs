//! Execution ids as the database holds them, and the partition that each lies in.
//!
//! A key is `0x00` and the 16 bytes of a UUID, or `0x01` and the text of any other id: 17 bytes
//! instead of 36 for nearly all, in every row and index.

use engine::store::StoreError;
use kernel::ExecutionId;
use uuid::Uuid;

/// Partitions of a cluster. The number and the hash are the same for ever: rows hold the result.
pub const PARTITIONS: u16 = 1024;

/// The id as an SQL expression of a column of keys: its bytes, which sort as the id's text does.
pub(super) fn spelled(column: &str) -> String {
    format!(
        "CASE get_byte({column}, 0) WHEN 0 \
         THEN convert_to((encode(substr({column}, 2), 'hex')::uuid)::text, 'UTF8') \
         ELSE substr({column}, 2) END"
    )
}

const UUID: u8 = 0;
const TEXT: u8 = 1;

/// The key of an id.
pub(super) fn key(id: &ExecutionId) -> Vec<u8> {
    key_of(id.as_str())
}

/// The key of the id with this text.
pub(super) fn key_of(text: &str) -> Vec<u8> {
    let (kind, bytes) = match canonical_uuid(text) {
        Some(uuid) => (UUID, uuid.as_bytes().to_vec()),
        None => (TEXT, text.as_bytes().to_vec()),
    };
    let mut key = Vec::with_capacity(bytes.len() + 1);
    key.push(kind);
    key.extend(bytes);
    key
}

/// The id of a key.
pub(super) fn id(key: &[u8]) -> Result<ExecutionId, StoreError> {
    let damaged = || StoreError::Corrupt("a key in the database is no id".to_owned());
    match key.split_first() {
        Some((&UUID, bytes)) => {
            let uuid = Uuid::from_slice(bytes).map_err(|_| damaged())?;
            let mut text = Uuid::encode_buffer();
            Ok(ExecutionId::new(&*uuid.hyphenated().encode_lower(&mut text)))
        }
        Some((&TEXT, bytes)) => {
            Ok(ExecutionId::new(std::str::from_utf8(bytes).map_err(|_| damaged())?))
        }
        _ => Err(damaged()),
    }
}

/// The UUID that `text` spells in the canonical way, so that its bytes spell the same text again.
fn canonical_uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    let mut canonical = Uuid::encode_buffer();
    (uuid.hyphenated().encode_lower(&mut canonical) == text).then_some(uuid)
}

/// The keys of ids that begin with `prefix`, as ranges, both ends included.
pub(super) fn ranges(prefix: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    const FIRST: &str = "00000000-0000-0000-0000-000000000000";
    const LAST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let mut first = vec![TEXT];
    first.extend(prefix.as_bytes());
    let mut last = first.clone();
    // No text has this byte.
    last.push(0xff);
    let mut ranges = vec![(first, last)];
    let pad = |with: &str| {
        let text = format!("{prefix}{}", with.get(prefix.len()..)?);
        canonical_uuid(&text).map(|_| key_of(&text))
    };
    if let (Some(first), Some(last)) = (pad(FIRST), pad(LAST)) {
        ranges.push((first, last));
    }
    ranges
}

/// The partition that a machine lies in: FNV-1a of its id, both halves folded together.
pub fn partition(id: &ExecutionId) -> u16 {
    let hash = id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let folded = (hash ^ (hash >> 32)) as u32;
    // The low bits of a product depend on few bits of its factors.
    ((folded ^ (folded >> 10) ^ (folded >> 20)) % u32::from(PARTITIONS)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ids_again() {
        let upper = "6B0F7C1E-0B51-4F6E-9D0C-3A5A2F1E8D01";
        for text in ["6b0f7c1e-0b51-4f6e-9d0c-3a5a2f1e8d01", upper, "order 17", "", "ünï"] {
            let id_of = ExecutionId::new(text);
            assert_eq!(id(&key(&id_of)), Ok(id_of), "{text}");
        }
        assert_eq!(key_of("6b0f7c1e-0b51-4f6e-9d0c-3a5a2f1e8d01").len(), 17);
        for damaged in [&[][..], &[0, 1], &[1, 0xff], &[2]] {
            assert!(matches!(id(damaged), Err(StoreError::Corrupt(_))), "{damaged:?}");
        }
    }

    #[test]
    fn partitions_never_change() {
        // Rows hold them: another result here needs every row written anew.
        let known = [
            ("6b0f7c1e-0b51-4f6e-9d0c-3a5a2f1e8d01", 647),
            ("order 17", 888),
            ("schedule:nightly", 194),
            ("", 787),
        ];
        for (text, expected) in known {
            assert_eq!(partition(&ExecutionId::new(text)), expected, "{text}");
        }
    }

    #[test]
    fn partitions_are_about_equally_full() {
        let mut count = vec![0_u32; usize::from(PARTITIONS)];
        for number in 0..102_400_u32 {
            count[usize::from(partition(&ExecutionId::new("root").derive("t", number)))] += 1;
        }
        let (least, most) = (count.iter().min(), count.iter().max());
        assert!(least > Some(&50) && most < Some(&160), "{least:?} to {most:?} of 100");
    }
}
