//! Answers of orchestrators that come in several messages, joined by their token.
//!
//! Nothing of an answer counts before its last message is here. What never becomes whole is
//! forgotten when its worker goes, or when newer answers need the room.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use proto::OrchestratorResponse;
use tonic::Status;

/// Bytes of unfinished answers kept together.
const BYTES_MAX: usize = 256 << 20;
/// Bytes of one unfinished answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Answers that are not whole yet.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<String, Partial>,
    bytes: usize,
    begun: u64,
}

#[derive(Debug)]
struct Partial {
    answer: OrchestratorResponse,
    chunks: i32,
    bytes: usize,
    /// The order in which answers were begun: the oldest makes room.
    begun: u64,
}

impl Chunks {
    /// Adds a message; answers the whole once it is there.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if a message does not follow the one before it, `RESOURCE_EXHAUSTED` if
    /// the answer grows too large. It is forgotten then.
    pub(super) fn add(
        &self,
        chunk: OrchestratorResponse,
    ) -> Result<Option<OrchestratorResponse>, Status> {
        let mut state = self.state.lock();
        let Some(partial) = state.take(&chunk.completion_token) else {
            return state.begin(chunk);
        };
        if chunk.chunk_index.is_some_and(|index| index == 0) && chunk.is_partial {
            // The worker begins again: what it sent before is worth nothing.
            return state.begin(chunk);
        }
        if chunk.chunk_index.is_some_and(|index| index != partial.chunks) {
            let (wanted, got) = (partial.chunks, chunk.chunk_index.unwrap_or_default());
            let words = format!("chunk {got} came where chunk {wanted} was to; send all again");
            return Err(Status::invalid_argument(words));
        }
        state.join(partial, chunk)
    }

    /// Forgets what a worker will not finish.
    pub(super) fn forget(&self, token: &str) {
        self.state.lock().take(token);
    }
}

impl State {
    fn take(&mut self, token: &str) -> Option<Partial> {
        let partial = self.answers.remove(token)?;
        self.bytes -= partial.bytes;
        Some(partial)
    }

    fn begin(
        &mut self,
        chunk: OrchestratorResponse,
    ) -> Result<Option<OrchestratorResponse>, Status> {
        if !chunk.is_partial {
            return Ok(Some(chunk));
        }
        if chunk.chunk_index.is_some_and(|index| index != 0) {
            return Err(Status::invalid_argument("the chunks before are not here; send all again"));
        }
        self.begun += 1;
        let bytes = prost::Message::encoded_len(&chunk);
        self.keep(Partial { answer: chunk, chunks: 1, bytes, begun: self.begun })
    }

    fn join(
        &mut self,
        mut partial: Partial,
        chunk: OrchestratorResponse,
    ) -> Result<Option<OrchestratorResponse>, Status> {
        partial.bytes += prost::Message::encoded_len(&chunk);
        partial.chunks += 1;
        let whole = &mut partial.answer;
        whole.actions.extend(chunk.actions);
        whole.requires_history |= chunk.requires_history;
        whole.custom_status = chunk.custom_status.or(whole.custom_status.take());
        let trace = whole.orchestration_trace_context.take();
        whole.orchestration_trace_context = chunk.orchestration_trace_context.or(trace);
        // Only the first chunk tells how many events were looked at; later ones say 0.
        if !chunk.is_partial {
            whole.is_partial = false;
            return Ok(Some(partial.answer));
        }
        self.keep(partial)
    }

    fn keep(&mut self, partial: Partial) -> Result<Option<OrchestratorResponse>, Status> {
        if partial.bytes > ANSWER_BYTES_MAX {
            let words = format!("the answer exceeds {ANSWER_BYTES_MAX} bytes");
            return Err(Status::resource_exhausted(words));
        }
        self.bytes += partial.bytes;
        self.answers.insert(partial.answer.completion_token.clone(), partial);
        while self.bytes > BYTES_MAX {
            let oldest = self.answers.iter().min_by_key(|(_, partial)| partial.begun);
            let Some(token) = oldest.map(|(token, _)| token.clone()) else { break };
            self.take(&token);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proto::OrchestratorAction;

    use super::*;

    fn chunk(index: i32, is_partial: bool, actions: &[i32]) -> OrchestratorResponse {
        OrchestratorResponse {
            completion_token: "t".to_owned(),
            is_partial,
            chunk_index: Some(index),
            actions: actions
                .iter()
                .map(|id| OrchestratorAction { id: *id, ..OrchestratorAction::default() })
                .collect(),
            num_events_processed: (index > 0).then_some(0),
            custom_status: (index == 0).then(|| "kept".to_owned()),
            ..OrchestratorResponse::default()
        }
    }

    fn ids(answer: &OrchestratorResponse) -> Vec<i32> {
        answer.actions.iter().map(|action| action.id).collect()
    }

    #[test]
    fn chunks_make_one_answer() {
        let chunks = Chunks::default();
        assert!(chunks.add(chunk(0, true, &[1, 2])).expect("taken").is_none());
        assert!(chunks.add(chunk(1, true, &[3])).expect("taken").is_none());
        let whole = chunks.add(chunk(2, false, &[4])).expect("taken").expect("whole");
        assert_eq!(ids(&whole), [1, 2, 3, 4]);
        assert_eq!(whole.custom_status.as_deref(), Some("kept"));
        assert_eq!(whole.num_events_processed, None);
        assert_eq!(chunks.state.lock().bytes, 0);
    }

    #[test]
    fn an_answer_of_one_message_is_whole() {
        let whole = Chunks::default().add(chunk(0, false, &[1])).expect("taken").expect("whole");
        assert_eq!(ids(&whole), [1]);
    }

    #[test]
    fn a_gap_is_refused_and_a_second_begin_replaces_the_first() {
        let chunks = Chunks::default();
        assert!(chunks.add(chunk(1, true, &[9])).is_err());
        assert!(chunks.add(chunk(0, true, &[1])).expect("taken").is_none());
        assert!(chunks.add(chunk(2, false, &[9])).is_err());
        assert!(chunks.add(chunk(0, true, &[1])).expect("taken").is_none());
        assert!(chunks.add(chunk(0, true, &[2])).expect("taken").is_none());
        let whole = chunks.add(chunk(1, false, &[3])).expect("taken").expect("whole");
        assert_eq!(ids(&whole), [2, 3]);
    }

    #[test]
    fn the_oldest_makes_room() {
        let chunks = Chunks::default();
        let large = |token: &str| OrchestratorResponse {
            completion_token: token.to_owned(),
            custom_status: Some("x".repeat(60 << 20)),
            ..chunk(0, true, &[])
        };
        for token in ["a", "b", "c", "d", "e"] {
            assert!(chunks.add(large(token)).expect("taken").is_none());
        }
        let kept: Vec<String> = chunks.state.lock().answers.keys().cloned().collect();
        assert_eq!(kept, ["b", "c", "d", "e"]);
    }
}
