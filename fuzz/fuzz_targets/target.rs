//! The target that this program is named after, as libFuzzer drives it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = fuzz::target(env!("CARGO_BIN_NAME")).expect("programs are named after targets");
    (target.feed)(data);
});
