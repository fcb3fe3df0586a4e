//! Names of traces and spans, derived from ids: whoever derives one twice gets the same, whether the run
//! has begun, calls somebody or is long over. What is written in headers is W3C Trace Context.

use std::fmt;

use uuid::Uuid;

use crate::id::ExecutionId;

/// Names a trace: everything that came of one root execution. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// Names a span within its trace. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

/// Bits of a trace's name that sampling decides by: the last ones, which are random in every UUID that
/// is made here.
const RANDOM_BITS: u32 = 56;

impl TraceId {
    /// The trace of a root execution: its id, if that is a UUID, otherwise one that is derived from it.
    pub fn of(root: &ExecutionId) -> Self {
        const WRITTEN: usize = 36;
        let uuid = Uuid::parse_str(root.as_str());
        let uuid = uuid.ok().filter(|it| root.as_str().len() == WRITTEN && !it.is_nil());
        Self(*uuid.unwrap_or_else(|| root.derive_uuid("trace", 0)).as_bytes())
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether it is among a share of all traces, from 0 to 1. One that is among a smaller share is among
    /// every larger one.
    pub fn is_within(&self, share: f64) -> bool {
        let mut last = u128::from_be_bytes(self.0);
        last &= (1 << RANDOM_BITS) - 1;
        // Both are exact, or as near as a share can be told.
        (last as f64) < share * (1_u64 << RANDOM_BITS) as f64
    }
}

impl SpanId {
    /// The span of an execution, from its begin to its end; each time that it runs again after an end is
    /// another `life`, counted from 0.
    pub fn of_run(id: &ExecutionId, life: u32) -> Self {
        Self::cut(id.derive_uuid("span", life))
    }

    /// The span of one attempt at a task in a life of its execution.
    pub fn of_task(id: &ExecutionId, life: u32, sequence: u32) -> Self {
        Self::cut(id.derive_uuid(&format!("span/{life}/task"), sequence))
    }

    /// The span of an orchestration in one of its lives, by that life's name.
    pub fn of_instance(id: &ExecutionId, life: &str) -> Self {
        Self::cut(id.derive_uuid(&format!("span/{life}"), 0))
    }

    /// The span of what an orchestrator asked for in a life, by the number of the action.
    pub fn of_action(id: &ExecutionId, life: &str, action: u32) -> Self {
        Self::cut(id.derive_uuid(&format!("span/{life}/action"), action))
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// The first half holds the version of the UUID, so it is never zero.
    fn cut(uuid: Uuid) -> Self {
        let (first, _) = uuid.as_u64_pair();
        Self(first.to_be_bytes())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A span as the header `traceparent` names it to whoever is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Its trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether the caller keeps the trace.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads the header; `None` if it is not one, in which case the specification wants it ignored.
    pub fn parse(text: &str) -> Option<Self> {
        const LENGTH: usize = 55;
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let mut next = || parts.next();
        let (version, trace, span, flags) = (next()?, next()?, next()?, next()?);
        let [version] = hex::<1>(version)?;
        let is_last = parts.next().is_none();
        // Later versions may say more behind it.
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let (trace, span, [flags]) = (hex::<16>(trace)?, hex::<8>(span)?, hex::<1>(flags)?);
        let is_named = trace != [0; 16] && span != [0; 8];
        (is_last && fits && is_named).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            sampled: flags & 1 == 1,
        })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// Bytes as lower-case digits, two each.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = (*byte << 4) | value;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_is_read_to_the_letter_or_ignored() {
        let parent = TraceParent::parse(WRITTEN).expect("it is one");
        assert_eq!(parent.to_string(), WRITTEN);
        assert!(parent.sampled);
        let later = format!("01{}-more", &WRITTEN[2..]);
        assert_eq!(TraceParent::parse(&later), Some(parent));
        for wrong in [
            String::new(),
            WRITTEN.to_uppercase(),
            WRITTEN[..54].to_owned(),
            format!("{WRITTEN}-more"),
            format!("ff{}", &WRITTEN[2..]),
            format!("01{}more", &WRITTEN[2..]),
            WRITTEN.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            WRITTEN.replace("b7ad6b7169203331", &"0".repeat(16)),
            WRITTEN.replace("b7ad6b7169203331", "b7ad6b71692-3331"),
            format!("{}é1", &WRITTEN[..53]),
        ] {
            assert_eq!(TraceParent::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_trace_is_the_id_of_its_root_where_that_is_a_uuid() {
        let trace = |id: &str| TraceId::of(&ExecutionId::new(id)).to_string();
        let id = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b";
        assert_eq!(trace(id), id.replace('-', ""));
        for named in
            ["order-17", "00000000-0000-0000-0000-000000000000", "019a1b2c3d4e7f508a6b7c8d9e0f1a2b"]
        {
            assert_ne!(trace(named), named.replace('-', ""));
            assert_eq!((trace(named), trace(named).len()), (trace(named), 32));
        }
    }

    #[test]
    fn a_share_of_traces_is_about_that_many_and_part_of_every_larger_share() {
        let all: Vec<_> =
            (0..2000).map(|n| TraceId::of(&ExecutionId::new("x").derive("t", n))).collect();
        let within = |share| all.iter().filter(|it| it.is_within(share)).count();
        assert_eq!((within(0.0), within(1.0)), (0, all.len()));
        assert!((400..600).contains(&within(0.25)), "{}", within(0.25));
        assert!(all.iter().all(|it| !it.is_within(0.1) || it.is_within(0.2)));
    }

    #[test]
    fn spans_differ_by_run_life_and_task() {
        let (a, b) = (ExecutionId::new("a"), ExecutionId::new("b"));
        let spans = [
            SpanId::of_run(&a, 0),
            SpanId::of_run(&a, 1),
            SpanId::of_run(&b, 0),
            SpanId::of_task(&a, 0, 1),
            SpanId::of_task(&a, 0, 2),
            SpanId::of_task(&a, 1, 1),
        ];
        let different: std::collections::BTreeSet<_> = spans.into_iter().collect();
        assert_eq!(different.len(), spans.len());
        assert_eq!(SpanId::of_task(&a, 1, 1), spans[5]);
    }
}
