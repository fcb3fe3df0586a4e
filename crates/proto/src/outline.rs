//! How many parts a message has, before it is read: in memory an empty part takes hundreds of bytes, of
//! which two are sent.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// A message by its name: its fields that repeat or hold messages.
type Outline = (&'static str, &'static [Field]);
/// The number of a field, whether it repeats, and the message that it holds, if any.
type Field = (u32, bool, &'static str);

static MESSAGES: &[Outline] = include!(concat!(env!("OUT_DIR"), "/outline.rs"));

/// Deeper than any message of ours is nested.
const LEVELS_MAX: usize = 32;

/// Counts the repeated parts in the bytes of a message, at any depth, up to `most`: `None` if there are more.
/// What cannot be read is left to whoever reads the message.
pub(crate) fn count_within(name: &str, bytes: &[u8], most: usize) -> Option<usize> {
    let mut left = most;
    match count(fields_of(name), bytes, &mut left, LEVELS_MAX) {
        Err(TooMany) => None,
        Ok(()) => Some(most - left),
    }
}

struct TooMany;

fn fields_of(name: &str) -> &'static [Field] {
    let found = MESSAGES.iter().find(|(message, _)| *message == name);
    found.map_or(&[], |(_, fields)| fields)
}

fn count(
    fields: &[Field],
    mut bytes: &[u8],
    left: &mut usize,
    levels: usize,
) -> Result<(), TooMany> {
    while let (false, Ok((number, wire))) = (bytes.is_empty(), decode_key(&mut bytes)) {
        let field = fields.iter().find(|(known, ..)| *known == number);
        let (Some((_, repeats, holds)), WireType::LengthDelimited) = (field, wire) else {
            if skip_field(wire, number, &mut bytes, DecodeContext::default()).is_err() {
                return Ok(());
            }
            continue;
        };
        let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
        let Some((part, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
            return Ok(());
        };
        if *repeats {
            *left = left.checked_sub(1).ok_or(TooMany)?;
        }
        if !holds.is_empty() && levels > 0 {
            count(fields_of(holds), part, left, levels - 1)?;
        }
        bytes = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::count_within;
    use crate::{
        CompleteOrchestrationAction, HistoryEvent, OrchestratorAction, OrchestratorResponse,
        orchestrator_action,
    };

    #[test]
    fn attacks_parts_are_counted_at_every_depth() {
        let name = "OrchestratorResponse";
        let plain = |count| vec![OrchestratorAction::default(); count];
        let answer = OrchestratorResponse { actions: plain(7), ..Default::default() };
        assert_eq!(count_within(name, &answer.encode_to_vec(), 100), Some(7));
        assert_eq!(count_within(name, &answer.encode_to_vec(), 6), None);
        let complete = CompleteOrchestrationAction {
            carryover_events: vec![HistoryEvent::default(); 5],
            ..Default::default()
        };
        let kind = orchestrator_action::OrchestratorActionType::CompleteOrchestration(complete);
        let mut actions = plain(2);
        actions[0].orchestrator_action_type = Some(kind);
        let answer = OrchestratorResponse { actions, ..Default::default() };
        assert_eq!(count_within(name, &answer.encode_to_vec(), 100), Some(7));
        assert_eq!(count_within(name, &[0x12, 0xff], 100), Some(0), "it is broken off");
    }
}
