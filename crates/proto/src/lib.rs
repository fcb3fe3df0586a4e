//! The messages of the durable task protocol, and the faces of its service.
//!
//! Everything in here but the codec is generated from `proto/durabletask.proto`; the file has no package, because
//! the protocol has none.
#![allow(missing_docs, unreachable_pub, unused_qualifications, reason = "the code is generated")]
#![allow(clippy::all, clippy::pedantic, reason = "the code is generated")]

mod codec;
mod outline;

tonic::include_proto!("_");

pub use prost_types::{Duration, ListValue, Struct, Timestamp, Value, value};
