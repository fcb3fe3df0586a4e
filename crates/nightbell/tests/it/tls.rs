//! TLS of the real binary: its settings, the command line as its client, and a new certificate.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::live::{Live, binary};

/// How long a new certificate may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// An authority whose certificates lie in a folder.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    /// With its own certificate in `NAME.pem`.
    fn new(folder: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(folder.join(format!("{name}.pem")), pem).unwrap();
        Self { issuer: Issuer::new(params, key), folder: folder.to_owned() }
    }

    /// Writes a certificate for this machine and its key to these files, which may be one.
    fn sign(&self, cert: &str, key: &str, end: i32) {
        let own = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(end, 1, 1);
        let signed = params.signed_by(&own, &self.issuer).unwrap().pem();
        let (cert, key) = (self.folder.join(cert), self.folder.join(key));
        std::fs::write(&key, own.serialize_pem()).unwrap();
        let both = if cert == key { own.serialize_pem() + &signed } else { signed };
        std::fs::write(cert, both).unwrap();
    }
}

/// Runs the command line with files of a folder in its environment.
async fn run(url: String, folder: &Path, files: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("NIGHTBELL_URL", url).env_remove("NIGHTBELL_KEY");
    for (name, file) in files {
        command.env(name, folder.join(file));
    }
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_speaks_tls_and_a_new_certificate_needs_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, path) = (folder.path(), |name: &str| folder.path().join(name));
    let (first, second) = (Authority::new(folder, "first"), Authority::new(folder, "second"));
    first.sign("cert", "key", 3000);
    first.sign("client", "client", 3000);
    let files = [("CERT", "cert"), ("KEY", "key"), ("CLIENT_CA", "first.pem")];
    let files = files.map(|(name, file)| (format!("NIGHTBELL_TLS_{name}"), path(file)));
    let variables: Vec<(&str, &str)> =
        files.iter().map(|(name, file)| (name.as_str(), file.to_str().unwrap())).collect();
    let live = Live::start_as("serve", &[], &variables).await;
    let url = || live.url("").replace("http://", "https://");
    let listed = async |ca: &str, url: String| {
        let files = [("NIGHTBELL_CA_FILE", ca), ("NIGHTBELL_CLIENT_CERT", "client")];
        run(url, folder, &files, &["workflow", "list"]).await
    };
    let output = listed("first.pem", url()).await;
    assert!(output.status.success(), "{}", said(&output));
    // What is wrong is said with what to do about it.
    let distrusted = listed("second.pem", url()).await;
    assert_eq!(distrusted.status.code(), Some(6), "{}", said(&distrusted));
    assert!(said(&distrusted).contains("NIGHTBELL_CA_FILE"), "{}", said(&distrusted));
    let plain = listed("first.pem", live.url("")).await;
    assert!(said(&plain).contains("https://"), "{}", said(&plain));
    let files = [("NIGHTBELL_CA_FILE", "first.pem")];
    let nobody = run(url(), folder, &files, &["workflow", "list"]).await;
    assert_eq!(nobody.status.code(), Some(6), "{}", said(&nobody));
    let unusable = listed("key", url()).await;
    assert_eq!(unusable.status.code(), Some(2), "{}", said(&unusable));

    second.sign("cert", "key", 3000);
    live.hang_up();
    let begun = Instant::now();
    while !listed("second.pem", url()).await.status.success() {
        assert!(begun.elapsed() < PATIENCE, "{}", live.log_text());
    }
    assert!(!listed("first.pem", url()).await.status.success());
}

#[test]
fn a_server_does_not_start_with_tls_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new(folder.path(), "ca");
    authority.sign("cert", "key", 3000);
    authority.sign("old", "old-key", 2001);
    for (cert, key, exit, words) in [
        (Some("cert"), None, 2, "tls_cert is set, and tls_key is not"),
        (None, Some("key"), 2, "tls_key is set, and tls_cert is not"),
        (Some("cert"), Some("old-key"), 1, "does not belong to the first certificate"),
        (Some("old"), Some("old-key"), 1, "has expired on"),
        (Some("none"), Some("key"), 1, "tls_cert: cannot read"),
    ] {
        let mut command = Command::new(binary());
        command.arg("serve").current_dir(folder.path());
        command.env("NIGHTBELL_LISTEN", "127.0.0.1:0");
        command.envs(cert.map(|it| ("NIGHTBELL_TLS_CERT", path(it))));
        command.envs(key.map(|it| ("NIGHTBELL_TLS_KEY", path(it))));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{}", said(&output));
        assert!(said(&output).contains(words), "{words}: {}", said(&output));
        assert!(!path("nightbell.db").exists(), "nothing is begun");
    }
}
