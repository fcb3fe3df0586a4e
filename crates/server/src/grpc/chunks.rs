//! Answers of orchestrators that come in several messages, joined by their token.
//!
//! Nothing of an answer counts before its last message is here. What never becomes whole is
//! forgotten when its worker goes away or loses the turn.

use std::collections::HashMap;

use kernel::durable::WorkToken;
use parking_lot::Mutex;
use proto::{OrchestratorAction, OrchestratorResponse};
use tonic::Status;

/// Bytes of unfinished answers kept together.
const BYTES_MAX: usize = 256 << 20;
/// Bytes of one unfinished answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Bytes of unfinished answers of one worker.
const WORKER_BYTES_MAX: usize = 128 << 20;

/// What a message takes in memory, about: the smallest action is a hundred times as large there as it is
/// on the wire.
fn weight_of(chunk: &OrchestratorResponse) -> usize {
    let actions = chunk.actions.len() * size_of::<OrchestratorAction>();
    prost::Message::encoded_len(chunk) + actions
}

/// Answers that are not whole yet.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<WorkToken, Partial>,
    bytes: usize,
}

#[derive(Debug)]
struct Partial {
    answer: OrchestratorResponse,
    /// Who has the turn.
    worker: u64,
    chunks: i32,
    bytes: usize,
}

impl Chunks {
    /// Adds a message; answers the whole once it is there. `holder` tells which worker has a turn: of
    /// what none has, or another, nothing is kept.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if a message does not follow the one before it, `FAILED_PRECONDITION` if
    /// the turn is not out, `RESOURCE_EXHAUSTED` if the answer grows too large or there are too many.
    /// It is forgotten then.
    pub(super) fn add(
        &self,
        token: &WorkToken,
        chunk: OrchestratorResponse,
        holder: impl Fn(&WorkToken) -> Option<u64>,
    ) -> Result<Option<OrchestratorResponse>, Status> {
        let mut state = self.state.lock();
        state.keep_those_of(&holder);
        let begins = chunk.chunk_index.is_none_or(|index| index == 0);
        let partial = match state.take(token) {
            // The worker begins again: what it sent before is worth nothing.
            Some(_) if chunk.chunk_index == Some(0) => None,
            partial => partial,
        };
        let Some(partial) = partial else {
            if !begins {
                let words = "the chunks before are not here; send all again";
                return Err(Status::invalid_argument(words));
            }
            if !chunk.is_partial {
                return Ok(Some(chunk));
            }
            let Some(worker) = holder(token) else {
                let words = "the turn is not handed out now, and is handed out again if it is still \
                             to be done";
                return Err(Status::failed_precondition(words));
            };
            let bytes = weight_of(&chunk);
            let partial = Partial { answer: chunk, worker, chunks: 1, bytes };
            return state.keep(token.clone(), partial);
        };
        if chunk.chunk_index.is_some_and(|index| index != partial.chunks) {
            let (wanted, got) = (partial.chunks, chunk.chunk_index.unwrap_or_default());
            let words = format!("chunk {got} came where chunk {wanted} was to; send all again");
            return Err(Status::invalid_argument(words));
        }
        state.join(token, partial, chunk)
    }

    /// Forgets what a worker will not finish.
    pub(super) fn forget(&self, token: &WorkToken) {
        self.state.lock().take(token);
    }

    /// Forgets everything of a worker that has gone.
    pub(super) fn forget_worker(&self, worker: u64) {
        self.state.lock().retain(|_, partial| partial.worker != worker);
    }
}

impl State {
    fn take(&mut self, token: &WorkToken) -> Option<Partial> {
        let partial = self.answers.remove(token)?;
        self.bytes -= partial.bytes;
        Some(partial)
    }

    fn retain(&mut self, keep: impl Fn(&WorkToken, &Partial) -> bool) {
        self.answers.retain(|token, partial| keep(token, partial));
        self.bytes = self.answers.values().map(|partial| partial.bytes).sum();
    }

    /// Forgets answers to turns that the worker has lost.
    fn keep_those_of(&mut self, holder: &impl Fn(&WorkToken) -> Option<u64>) {
        self.retain(|token, partial| holder(token) == Some(partial.worker));
    }

    fn join(
        &mut self,
        token: &WorkToken,
        mut partial: Partial,
        chunk: OrchestratorResponse,
    ) -> Result<Option<OrchestratorResponse>, Status> {
        partial.bytes += weight_of(&chunk);
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
        self.keep(token.clone(), partial)
    }

    fn keep(
        &mut self,
        token: WorkToken,
        partial: Partial,
    ) -> Result<Option<OrchestratorResponse>, Status> {
        let of_worker = self.answers.values().filter(|it| it.worker == partial.worker);
        let of_worker: usize = of_worker.map(|it| it.bytes).sum();
        for (what, bytes, max) in [
            ("the answer has", partial.bytes, ANSWER_BYTES_MAX),
            ("unfinished answers of the worker have", of_worker + partial.bytes, WORKER_BYTES_MAX),
            ("unfinished answers of all workers have", self.bytes + partial.bytes, BYTES_MAX),
        ] {
            if bytes > max {
                let words = format!("{what} {bytes} bytes, more than {max}; send all again");
                return Err(Status::resource_exhausted(words));
            }
        }
        self.bytes += partial.bytes;
        self.answers.insert(token, partial);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use kernel::{ExecutionId, Timestamp};
    use tonic::Code;

    use super::*;

    fn turn(number: u64) -> WorkToken {
        WorkToken::Turn {
            instance: ExecutionId::instance("hub", "i"),
            execution_id: "life".into(),
            turn: number,
            taken: 1,
            at: Timestamp::default(),
        }
    }

    fn chunk(index: i32, is_partial: bool, actions: &[i32]) -> OrchestratorResponse {
        OrchestratorResponse {
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

    /// Worker 1 has every turn.
    #[expect(clippy::unnecessary_wraps, reason = "others may have none")]
    fn first(_: &WorkToken) -> Option<u64> {
        Some(1)
    }

    impl Chunks {
        fn of_first(
            &self,
            chunk: OrchestratorResponse,
        ) -> Result<Option<OrchestratorResponse>, Status> {
            self.add(&turn(1), chunk, first)
        }
    }

    #[test]
    fn chunks_make_one_answer() {
        let chunks = Chunks::default();
        assert!(chunks.of_first(chunk(0, true, &[1, 2])).expect("taken").is_none());
        assert!(chunks.of_first(chunk(1, true, &[3])).expect("taken").is_none());
        let whole = chunks.of_first(chunk(2, false, &[4])).expect("taken").expect("whole");
        assert_eq!(ids(&whole), [1, 2, 3, 4]);
        assert_eq!(whole.custom_status.as_deref(), Some("kept"));
        assert_eq!(whole.num_events_processed, None);
        assert_eq!(chunks.state.lock().bytes, 0);
    }

    #[test]
    fn an_answer_of_one_message_is_whole() {
        let chunks = Chunks::default();
        let whole = chunks.add(&turn(1), chunk(0, false, &[1]), |_| None).expect("taken");
        assert_eq!(ids(&whole.expect("whole")), [1]);
    }

    #[test]
    fn a_gap_is_refused_and_a_second_begin_replaces_the_first() {
        let chunks = Chunks::default();
        assert!(chunks.of_first(chunk(1, true, &[9])).is_err());
        assert!(chunks.of_first(chunk(1, false, &[9])).is_err(), "the end alone is no answer");
        assert!(chunks.of_first(chunk(0, true, &[1])).expect("taken").is_none());
        assert!(chunks.of_first(chunk(2, false, &[9])).is_err());
        assert!(chunks.of_first(chunk(0, true, &[1])).expect("taken").is_none());
        assert!(chunks.of_first(chunk(0, true, &[2])).expect("taken").is_none());
        let whole = chunks.of_first(chunk(1, false, &[3])).expect("taken").expect("whole");
        assert_eq!(ids(&whole), [2, 3]);
    }

    #[test]
    fn only_turns_that_are_out_have_unfinished_answers() {
        let chunks = Chunks::default();
        let refused = chunks.add(&turn(1), chunk(0, true, &[1]), |_| None);
        assert_eq!(refused.expect_err("nobody has it").code(), Code::FailedPrecondition);
        // Whoever loses a turn, or goes away, leaves nothing behind.
        chunks.of_first(chunk(0, true, &[1])).expect("taken");
        chunks.add(&turn(2), chunk(0, true, &[2]), |_| Some(2)).expect("taken");
        assert_eq!(chunks.state.lock().answers.len(), 1, "the first is the second's by now");
        chunks.forget_worker(2);
        assert_eq!(chunks.state.lock().bytes, 0);
    }

    #[test]
    fn small_actions_count_as_what_they_take_in_memory() {
        let chunks = Chunks::default();
        let many = vec![0; ANSWER_BYTES_MAX / size_of::<OrchestratorAction>()];
        let refused = chunks.of_first(chunk(0, true, &many)).expect_err("too much");
        assert_eq!(refused.code(), Code::ResourceExhausted);
    }

    #[test]
    fn unfinished_answers_are_bounded_and_displace_no_other() {
        let chunks = Chunks::default();
        let large = || OrchestratorResponse {
            custom_status: Some("x".repeat(60 << 20)),
            ..chunk(0, true, &[])
        };
        // Two workers have two turns each.
        let holder = |token: &WorkToken| match token {
            WorkToken::Turn { turn, .. } => Some(turn / 10),
            _ => None,
        };
        for number in [10, 11, 20, 21] {
            assert!(chunks.add(&turn(number), large(), holder).expect("taken").is_none());
        }
        for number in [12, 30] {
            let refused = chunks.add(&turn(number), large(), holder).expect_err("too much");
            assert_eq!(refused.code(), Code::ResourceExhausted);
        }
        assert_eq!(chunks.state.lock().answers.len(), 4);
    }
}
