//! `etl.cfg`, whose reader belongs to the binary: it is compiled here once more.

#[path = "../../nightbell/src/robopager/ini.rs"]
#[allow(dead_code, unreachable_pub, clippy::pedantic, reason = "judged where it belongs")]
mod ini;
#[path = "../../nightbell/src/robopager/etl.rs"]
#[allow(dead_code, unreachable_pub, clippy::pedantic, reason = "judged where it belongs")]
mod reader;

pub(crate) fn etl(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    std::hint::black_box(reader::Etl::read(&text).is_ok());
}
