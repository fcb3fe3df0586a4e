//! What a monitor would have made of a past that is known, beside what happened then (decision 0044): for the
//! command line, and within a server for its console (decision 0072).

pub(crate) mod figures;
pub(crate) mod past;
mod within;

pub(crate) use within::WithinServer;
