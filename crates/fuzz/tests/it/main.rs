//! A short run of every target: the same inputs each time.

use std::time::{Duration, Instant};

use fuzz::{Mutations, TARGETS};

/// Inputs of a target that the generator makes.
const INPUTS: usize = 400;
/// How long one input may take on a busy machine.
const SLOWEST: Duration = Duration::from_secs(20);

#[test]
fn attacks_no_reader_gives_way_to_what_nobody_would_write() {
    // Each on a thread of its own, with the stack that the server's threads have.
    std::thread::scope(|scope| {
        let fed = TARGETS.iter().map(|target| {
            let feeds = std::thread::Builder::new().name(target.name.to_owned());
            let seeds = target.seeds.iter().map(|seed| seed.as_bytes().to_vec());
            let feeding = move || {
                for input in seeds.chain(Mutations::new(target, 1).take(INPUTS)) {
                    let begun = Instant::now();
                    let fed = std::panic::catch_unwind(|| (target.feed)(&input));
                    let shown = String::from_utf8_lossy(&input);
                    assert!(fed.is_ok(), "{} gives way to {shown:?}", target.name);
                    assert!(begun.elapsed() < SLOWEST, "{} is slow with {shown:?}", target.name);
                }
            };
            feeds.spawn_scoped(scope, feeding).expect("a thread")
        });
        let fed: Vec<_> = fed.collect();
        for thread in fed {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            assert!(thread.join().is_ok(), "the target {name} failed");
        }
    });
}
