//! A container image as an OCI layout in a tar, made without a daemon: the binary, the libraries
//! that it is linked with, and the certificates of public authorities. No shell, no package manager.

use serde_json::{Value, json};

use super::Contents;
use super::archive::{Tree, gzip, sha256};

/// Whom the server runs as.
const USER: u32 = 65_532;
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The image.
///
/// # Errors
/// A path is too long, or something cannot be compressed.
pub(super) fn image(contents: &Contents) -> anyhow::Result<Vec<u8>> {
    let layer = files(contents).tar("", contents.time)?;
    let packed = gzip(&layer)?;
    let created = super::instant(contents.time);
    let configuration = json!({
        "created": created,
        "architecture": contents.machine.oci(),
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Entrypoint": ["/usr/bin/nightbell"],
            "Cmd": ["serve"],
            "WorkingDir": "/var/lib/nightbell",
            "Env": [
                "PATH=/usr/bin",
                "NIGHTBELL_LISTEN=0.0.0.0:8080",
                // Beyond its own container nothing is served without keys.
                "NIGHTBELL_AUTH=on",
                "NIGHTBELL_BOOTSTRAP_KEY_FILE=/var/lib/nightbell/bootstrap-key",
                "NIGHTBELL_STORE=sqlite:/var/lib/nightbell/nightbell.db",
                "NIGHTBELL_LOAD=/etc/nightbell/load",
            ],
            "ExposedPorts": { "8080/tcp": {} },
            "Volumes": { "/var/lib/nightbell": {} },
            "StopSignal": "SIGTERM",
            "Labels": {
                "org.opencontainers.image.title": "nightbell",
                "org.opencontainers.image.version": contents.version,
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))] },
        "history": [{ "created": created, "created_by": "cargo xtask dist" }],
    });
    let mut layout = Tree::default();
    let layer = blob(&mut layout, LAYER, packed);
    let config = blob(&mut layout, CONFIG, configuration.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
    });
    let mut manifest = blob(&mut layout, MANIFEST, manifest.to_string().into_bytes());
    manifest["platform"] = json!({ "architecture": contents.machine.oci(), "os": "linux" });
    manifest["annotations"] = json!({
        "org.opencontainers.image.ref.name": contents.version,
        "io.containerd.image.name": format!("nightbell:{}", contents.version),
    });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
    layout.file("index.json", 0o644, index.to_string());
    layout.file("oci-layout", 0o644, json!({ "imageLayoutVersion": "1.0.0" }).to_string());
    layout.tar("", contents.time)
}

/// Adds a blob under its digest; its descriptor.
fn blob(layout: &mut Tree, kind: &str, content: Vec<u8>) -> Value {
    let (digest, size) = (sha256(&content), content.len());
    layout.file(&format!("blobs/sha256/{digest}"), 0o644, content);
    json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size })
}

fn files(contents: &Contents) -> Tree {
    let mut files = Tree::default();
    files.file("usr/bin/nightbell", 0o755, contents.binary.clone());
    for (path, content) in &contents.libraries {
        files.file(path.trim_start_matches('/'), 0o755, content.clone());
    }
    files.file("etc/ssl/certs/ca-certificates.crt", 0o644, contents.certificates.clone());
    let user = format!(
        "root:x:0:0:root:/:/sbin/nologin\nnightbell:x:{USER}:{USER}:nightbell:/var/lib/nightbell:/sbin/nologin\n"
    );
    files.file("etc/passwd", 0o644, user);
    files.file("etc/group", 0o644, format!("root:x:0:\nnightbell:x:{USER}:\n"));
    files.file("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
    files.folder("etc/nightbell/load", 0o755, 0);
    files.folder("var/lib/nightbell", 0o700, USER);
    files.folder("tmp", 0o1777, 0);
    files
}
