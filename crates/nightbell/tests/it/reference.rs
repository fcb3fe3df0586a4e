//! The pages of `docs/reference` that are generated from the code.

use std::path::Path;
use std::process::Command;

use crate::live::binary;

/// `NIGHTBELL_BLESS=1` writes the pages anew; read the difference before you keep it.
#[test]
fn the_pages_of_the_reference_are_what_the_code_says() {
    let written = tempfile::tempdir().unwrap();
    let output = Command::new(binary()).arg("reference").arg(written.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    for entry in std::fs::read_dir(written.path()).unwrap() {
        let (path, name) = entry.map(|it| (it.path(), it.file_name())).unwrap();
        let (said, kept) = (std::fs::read_to_string(path).unwrap(), kept.join(&name));
        if std::env::var_os("NIGHTBELL_BLESS").is_some() {
            std::fs::write(&kept, &said).unwrap();
        }
        let kept = std::fs::read_to_string(&kept).unwrap_or_default();
        let mut lines = said.lines().zip(kept.lines()).enumerate();
        let first = lines.find(|(_, (said, kept))| said != kept);
        assert!(
            said == kept,
            "{name:?} is not what the code says (NIGHTBELL_BLESS=1 writes it anew); the first \
             difference, or one is longer: {first:?}"
        );
    }
}
