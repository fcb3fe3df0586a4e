//! Instances and entities, by their inputs, what they hand out and what they say.

mod bounds;
mod entities;
mod entity_events;
mod house;
mod laws;
mod lives;
mod orders;
mod rewinds;
