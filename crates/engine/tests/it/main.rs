//! The engine through its public behaviour, over the store in memory.

mod adoption;
mod attacks;
mod batches;
mod changing;
mod claims;
mod documents;
mod durable;
mod events;
mod flows;
mod house;
mod listening;
mod monitors;
mod outcomes;
mod people;
mod promised;
mod quarantine;
mod schedules;
mod skipping;
mod spans;
mod together;
mod vitals;
