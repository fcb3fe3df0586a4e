//! Instances and entities, by their inputs, what they hand out and what they say.

mod entities;
mod house;
mod laws;
mod lives;
mod orders;
mod rewinds;
