//! The engine through its public behaviour, over the store in memory.

mod flows;
mod house;
mod promised;
