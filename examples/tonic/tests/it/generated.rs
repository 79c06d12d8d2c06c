//! The generated code is what the `.proto` gives.

use std::path::Path;
use std::process::{Command, Stdio};

use super::needs::skip;

/// With `STALL_REGENERATE` set, it writes the code instead of comparing it.
#[test]
fn the_code_is_what_the_proto_gives() {
    let protoc = Command::new("protoc").arg("--version").stdout(Stdio::null()).status();
    if protoc.is_err() {
        return skip("protoc is not installed (Debian: protobuf-compiler)");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (checked_in, made) = (root.join("src/generated"), env!("CARGO_TARGET_TMPDIR"));
    let made = Path::new(made).join("generated");
    std::fs::create_dir_all(&made).expect("a folder");
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .out_dir(&made)
        .file_descriptor_set_path(made.join("echo.bin"))
        .compile_protos(&[root.join("proto/echo.proto")], &[root.join("proto")])
        .expect("the proto is right");
    for file in ["echo.v1.rs", "echo.bin"] {
        let (made, checked_in) = (made.join(file), checked_in.join(file));
        if std::env::var_os("STALL_REGENERATE").is_some() {
            std::fs::copy(&made, &checked_in).expect("a file");
        }
        let same = std::fs::read(&made).ok() == std::fs::read(&checked_in).ok();
        assert!(same, "{file} differs: proto/echo.proto says how to make it again");
    }
}
