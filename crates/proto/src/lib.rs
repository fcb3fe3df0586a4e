//! The messages of the durable task protocol with the faces of its service, and those of the OpenTelemetry
//! protocol for traces.
//!
//! Everything in here but the codec is generated from the files of `proto/`; `durabletask.proto` has no package,
//! because the protocol has none.
#![allow(missing_docs, unreachable_pub, unused_qualifications, reason = "the code is generated")]
#![allow(clippy::all, clippy::pedantic, reason = "the code is generated")]

mod codec;
mod outline;

tonic::include_proto!("_");

/// Traces as OTLP carries them.
pub mod otlp {
    tonic::include_proto!("otlp");
}

pub use prost_types::{Duration, ListValue, Struct, Timestamp, Value, value};
