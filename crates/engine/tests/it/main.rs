//! The engine through its public behaviour, over the store in memory.

mod adoption;
mod events;
mod flows;
mod house;
mod promised;
