//! Instants: nanoseconds on the wire, milliseconds here.

use kernel::Timestamp;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// When something happened.
pub(in crate::grpc) fn instant(at: &proto::Timestamp) -> Timestamp {
    let millis = i64::from(at.nanos) / NANOS_PER_MILLI;
    Timestamp::from_millis(at.seconds.saturating_mul(1000).saturating_add(millis))
}

/// An instant before which something shall not happen: never early.
pub(in crate::grpc) fn not_before(at: &proto::Timestamp) -> Timestamp {
    let rest = i64::from(at.nanos) % NANOS_PER_MILLI;
    instant(at).plus_millis(i64::from(rest > 0))
}

/// The first and the last millisecond that a timestamp of the protocol can say: SDKs fail on others.
const FIRST_MILLI: i64 = -62_135_596_800_000;
const LAST_MILLI: i64 = 253_402_300_799_999;

/// An instant, for the wire.
pub(in crate::grpc) fn wire(at: Timestamp) -> proto::Timestamp {
    let millis = at.millis().clamp(FIRST_MILLI, LAST_MILLI);
    proto::Timestamp {
        seconds: millis.div_euclid(1000),
        nanos: (millis.rem_euclid(1000) * NANOS_PER_MILLI) as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_go_there_and_back_and_deadlines_are_never_early() {
        for millis in [0, 1, 999, 1000, 1_700_000_000_123, -1, -1000, -1001] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(instant(&wire(at)), at);
            assert_eq!(not_before(&wire(at)), at);
        }
        let wire = |seconds, nanos| proto::Timestamp { seconds, nanos };
        assert_eq!(not_before(&wire(1, 1)).millis(), 1001);
        assert_eq!(not_before(&wire(1, 999_999_999)).millis(), 2000);
        assert_eq!(instant(&wire(1, 999_999_999)).millis(), 1999);
        assert_eq!(instant(&wire(i64::MAX, 0)), Timestamp::MAX);
        // The end of time, as SDKs write it, is rounded up out of the range and back into it.
        let end = wire(253_402_300_799, 999_999_900);
        for at in [not_before(&end), Timestamp::MAX] {
            assert_eq!(super::wire(at), wire(253_402_300_799, 999_000_000));
        }
        assert_eq!(super::wire(Timestamp::from_millis(i64::MIN)), wire(-62_135_596_800, 0));
    }
}
