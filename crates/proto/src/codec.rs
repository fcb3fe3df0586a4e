//! How messages are read and written: as tonic does it, but that a message which cannot be read is
//! the sender's fault, and is answered so.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf as _;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use crate::outline;

/// Parts of one message that repeat, such as actions. SDKs send at most four megabytes in one message, which
/// are fewer actions than that.
const PARTS_MAX: usize = 200_000;

/// Reads messages `U`, writes messages `T`.
#[derive(Debug)]
pub struct StrictCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for StrictCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for StrictCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder(PhantomData)
    }
}

/// Reads messages `U`.
#[derive(Debug)]
pub struct StrictDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let unreadable = |error: prost::DecodeError| {
            Status::invalid_argument(format!("the message cannot be read: {error}"))
        };
        let name = std::any::type_name::<U>().rsplit("::").next().unwrap_or_default();
        // tonic hands on a message as one piece.
        if outline::count_within(name, buf.chunk(), PARTS_MAX).is_none() {
            let words = format!("the message has more than {PARTS_MAX} parts; send it in several");
            return Err(Status::resource_exhausted(words));
        }
        U::decode(buf).map(Some).map_err(unreadable)
    }
}
