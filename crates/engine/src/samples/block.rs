//! How samples lie in the store: some hundred checks of one monitor in one compressed block.
//!
//! A block is a format: the version of it in one byte, then lines of JSON, deflated together. A line
//! is one check, in differences from the one before, so that a check that answers what the last one
//! answered takes a few bytes.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use kernel::Timestamp;
use kernel::alert::{Sample, Sampled, Window};
use serde::{Deserialize, Serialize};

use crate::store::{SampleBlock, StoreError};

/// The version of the format.
const VERSION: u8 = 1;
/// Checks of a block.
pub(super) const CHECKS_MAX: u32 = 256;
/// Milliseconds between the first and the last check of a block.
pub(super) const SPAN_MAX: i64 = 3_600_000;
/// Bytes of a block before compression beyond which no check is added to it.
const TEXT_MAX: usize = 256 << 10;
/// Bytes that a block can have before compression.
const INFLATED_MAX: u64 = 8 << 20;

/// One check, told by how it differs from the one before.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The difference of the numbers, of the sequences and of the starts.
    #[serde(rename = "n", default = "one", skip_serializing_if = "is_one")]
    number: u64,
    #[serde(rename = "s", default = "one", skip_serializing_if = "is_one")]
    sequence: u64,
    #[serde(rename = "a")]
    started: i64,
    /// How long it took.
    #[serde(rename = "d")]
    took: i64,
    /// How long before the start its span begins and ends.
    #[serde(rename = "f")]
    from: i64,
    #[serde(rename = "t", default, skip_serializing_if = "is_zero")]
    to: i64,
    /// The version of the definition, if it is another one.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    version: Option<Arc<str>>,
    #[serde(rename = "o")]
    outcome: Sampled,
}

const fn one() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
const fn is_one(number: &u64) -> bool {
    *number == 1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A block in the making.
pub(super) struct Builder {
    subject: Arc<str>,
    text: String,
    first: Option<Sample>,
    last: Option<Sample>,
    checks: u32,
}

impl Builder {
    /// An empty one.
    pub(super) fn new(subject: Arc<str>) -> Self {
        Self { subject, text: String::new(), first: None, last: None, checks: 0 }
    }

    /// Goes on with a block that is stored.
    ///
    /// # Errors
    /// It is damaged.
    pub(super) fn resume(block: &SampleBlock) -> Result<Self, StoreError> {
        let mut samples = read(block)?;
        let last = samples.pop();
        let first = if samples.is_empty() { last.clone() } else { Some(samples.swap_remove(0)) };
        let (subject, text) = (block.subject.clone(), text_of(block)?);
        Ok(Self { subject, text, first, last, checks: block.checks })
    }

    /// The last check in it.
    pub(super) fn last(&self) -> Option<&Sample> {
        self.last.as_ref()
    }

    /// Whether a check still goes into it. One that does not follow the last one never does: the
    /// clock was set back, or the monitor was made anew.
    pub(super) fn has_room_for(&self, sample: &Sample) -> bool {
        let Some((first, last)) = self.first.as_ref().zip(self.last()) else { return true };
        self.checks < CHECKS_MAX
            && self.text.len() < TEXT_MAX
            && sample.number > last.number
            && sample.started_at >= last.started_at
            && sample.started_at.since(first.started_at) < SPAN_MAX
    }

    /// Adds a check.
    pub(super) fn push(&mut self, sample: Sample) {
        let last = self.last.as_ref();
        let start = last.map_or(0, |it| it.started_at.millis());
        let line = Line {
            number: sample.number.wrapping_sub(last.map_or(0, |it| it.number)),
            sequence: u64::from(sample.sequence.wrapping_sub(last.map_or(0, |it| it.sequence))),
            started: sample.started_at.millis() - start,
            took: sample.ended_at.since(sample.started_at),
            from: sample.started_at.since(sample.window.from),
            to: sample.started_at.since(sample.window.to),
            version: Some(sample.version.clone())
                .filter(|version| last.is_none_or(|last| last.version != *version)),
            outcome: sample.outcome.clone(),
        };
        self.text.push_str(&serde_json::to_string(&line).expect("a line serializes to JSON"));
        self.text.push('\n');
        self.checks += 1;
        self.first.get_or_insert_with(|| sample.clone());
        self.last = Some(sample);
    }

    /// The block; `None` if nothing is in it.
    pub(super) fn finish(&self) -> Option<SampleBlock> {
        let (first, last) = self.first.as_ref().zip(self.last())?;
        let mut packed = DeflateEncoder::new(vec![VERSION], Compression::default());
        packed.write_all(self.text.as_bytes()).expect("memory takes all that is written");
        Some(SampleBlock {
            subject: self.subject.clone(),
            first_at: first.started_at,
            last_at: last.started_at,
            last: last.number,
            checks: self.checks,
            data: packed.finish().expect("memory takes all that is written"),
        })
    }
}

fn damaged(block: &SampleBlock, why: impl std::fmt::Display) -> StoreError {
    let SampleBlock { subject, first_at, .. } = block;
    StoreError::Corrupt(format!("the samples of {subject} from {first_at} cannot be read: {why}"))
}

fn text_of(block: &SampleBlock) -> Result<String, StoreError> {
    let packed = match block.data.split_first() {
        Some((&VERSION, packed)) => packed,
        Some((version, _)) => return Err(damaged(block, format!("format {version} is not known"))),
        None => return Err(damaged(block, "the block is empty")),
    };
    let mut text = String::new();
    let read = DeflateDecoder::new(packed).take(INFLATED_MAX).read_to_string(&mut text);
    read.map(|_| text).map_err(|why| damaged(block, why))
}

/// The checks of a block, in order.
///
/// # Errors
/// It is damaged.
pub(super) fn read(block: &SampleBlock) -> Result<Vec<Sample>, StoreError> {
    let text = text_of(block)?;
    let mut samples: Vec<Sample> = Vec::with_capacity(block.checks as usize);
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).map_err(|why| damaged(block, why))?;
        let last = samples.last();
        let start = last.map_or(0, |it| it.started_at.millis());
        let started_at = Timestamp::from_millis(start.saturating_add(line.started));
        let version = line.version.or_else(|| Some(last?.version.clone())).unwrap_or_default();
        let before = last.map_or(0, |it| it.sequence);
        samples.push(Sample {
            number: last.map_or(0, |it| it.number).wrapping_add(line.number),
            sequence: before.wrapping_add(u32::try_from(line.sequence).unwrap_or_default()),
            started_at,
            ended_at: started_at.plus_millis(line.took),
            window: Window {
                from: started_at.plus_millis(-line.from),
                to: started_at.plus_millis(-line.to),
            },
            version,
            outcome: line.outcome,
        });
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use kernel::Json;

    use super::*;

    fn sample(number: u64, outcome: Sampled) -> Sample {
        let started_at = Timestamp::from_millis(1_700_000_000_000 + number as i64 * 60_000);
        Sample {
            number,
            sequence: number as u32 * 2,
            started_at,
            ended_at: started_at.plus_millis(30 + number as i64 * 7 % 20),
            window: Window { from: started_at.plus_millis(-60_000), to: started_at },
            version: if number < 5 { "0011aabb".into() } else { "ccddeeff".into() },
            outcome,
        }
    }

    fn row(loss: u64) -> Sampled {
        let text = format!(
            "{{\"observations\":[{{\"attrs\":{{\"host\":\"G44\",\"loss\":{loss}}},\"key\":\"G44\",\"value\":{loss}}}]}}"
        );
        Sampled::Output(Json::from_text(text).expect("it is JSON"))
    }

    #[test]
    fn a_block_gives_back_what_was_put_in_also_when_it_is_gone_on_with() {
        let mut given: Vec<Sample> =
            (1..20).map(|number| sample(number, row(number % 3))).collect();
        given.push(sample(22, Sampled::Unknown("refused".into())));
        given.push(sample(23, Sampled::TooLong(300_000)));
        let mut builder = Builder::new("shop".into());
        for some in given.chunks(6) {
            some.iter().cloned().for_each(|sample| builder.push(sample));
            let block = builder.finish().expect("something is in it");
            assert_eq!(
                (block.first_at, block.last),
                (given[0].started_at, some[some.len() - 1].number)
            );
            builder = Builder::resume(&block).expect("it is whole");
        }
        let block = builder.finish().expect("something is in it");
        assert_eq!(read(&block).expect("it is whole"), given);
        assert_eq!(block.checks, 21);
        let broken = SampleBlock { data: block.data[..20].to_vec(), ..block };
        assert!(read(&broken).is_err(), "half a block is damaged");
    }

    #[test]
    fn a_check_of_one_row_takes_24_bytes_at_most() {
        let mut builder = Builder::new("shop".into());
        (1..=256).for_each(|number| builder.push(sample(number, row(number * 7919 % 101))));
        let block = builder.finish().expect("something is in it");
        assert!(block.data.len() <= 24 * 256, "{} bytes", block.data.len());
    }

    #[test]
    fn a_block_ends_by_number_by_hour_and_where_checks_do_not_follow() {
        let mut builder = Builder::new("shop".into());
        (10..20).for_each(|number| builder.push(sample(number, row(0))));
        assert!(builder.has_room_for(&sample(20, row(0))));
        assert!(!builder.has_room_for(&sample(19, row(0))), "it is there already");
        assert!(!builder.has_room_for(&sample(70, row(0))), "an hour later");
    }
}
