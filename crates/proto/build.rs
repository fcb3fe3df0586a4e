//! Compiles `proto/durabletask.proto` without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/durabletask.proto");
    let files = protox::compile(["proto/durabletask.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        .codec_path("crate::codec::StrictCodec")
        .compile_fds(files)?;
    Ok(())
}
