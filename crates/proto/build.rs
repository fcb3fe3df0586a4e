//! Compiles the files of `proto/` without `protoc`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use tonic_prost_build::FileDescriptorSet;

/// What the descriptor of a field says of one that occurs any number of times, and of messages.
const REPEATED: i32 = 3;
const MESSAGE: i32 = 11;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/durabletask.proto");
    let files = protox::compile(["proto/durabletask.proto"], ["proto"])?;
    let outline = Path::new(&std::env::var("OUT_DIR")?).join("outline.rs");
    std::fs::write(outline, outline_of(&files)?)?;
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        .codec_path("crate::codec::StrictCodec")
        .compile_fds(files)?;
    println!("cargo::rerun-if-changed=proto/trace.proto");
    let traces = protox::compile(["proto/trace.proto"], ["proto"])?;
    tonic_prost_build::configure().build_transport(false).compile_fds(traces)?;
    Ok(())
}

/// Rust text of a table: of every message of ours its fields that repeat or hold messages, each with
/// its number, whether it repeats, and the message that it holds.
fn outline_of(files: &FileDescriptorSet) -> Result<String, std::fmt::Error> {
    let ours = files.file.iter().filter(|file| file.package().is_empty());
    let messages: Vec<_> = ours.flat_map(|file| &file.message_type).collect();
    let names: BTreeSet<&str> = messages.iter().map(|message| message.name()).collect();
    let mut text = String::from("&[\n");
    for message in &messages {
        write!(text, "    ({:?}, &[", message.name())?;
        for field in &message.field {
            let repeats = field.label.is_some_and(|label| label == REPEATED);
            let holds = field.type_name().trim_start_matches('.');
            let is_ours = field.r#type.is_some_and(|it| it == MESSAGE) && names.contains(holds);
            if repeats || is_ours {
                let holds = if is_ours { holds } else { "" };
                write!(text, "({}, {repeats}, {holds:?}), ", field.number())?;
            }
        }
        text.push_str("]),\n");
    }
    text.push_str("]\n");
    Ok(text)
}
