//! Certificates from a real authority, Pebble: asked for, renewed, and refused.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::live::Live;
use crate::service::{Service, find, folder, free_port, write};

/// How long an authority may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// The id and the key of the account that Pebble wants ours bound to.
const EXTERNAL: (&str, &str) =
    ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

/// What the server needs to know of an authority that is not running yet.
struct Plan {
    folder: tempfile::TempDir,
    port: u16,
    management: u16,
}

impl Plan {
    fn new() -> Self {
        let plan = Self { folder: folder(), port: free_port(), management: free_port() };
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        write(plan.folder.path(), "cert.pem", &cert);
        write(plan.folder.path(), "key.pem", &key.serialize_pem());
        let file = write(plan.folder.path(), "external.key", EXTERNAL.1);
        std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        plan
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The environment of a server that asks it.
    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("NIGHTBELL_ACME_DOMAINS", "localhost".to_owned()),
            ("NIGHTBELL_ACME_DIRECTORY", format!("https://localhost:{}/dir", self.port)),
            ("NIGHTBELL_ACME_CONTACTS", "ops@example.com".to_owned()),
            ("NIGHTBELL_ACME_EAB_KID", EXTERNAL.0.to_owned()),
            ("NIGHTBELL_ACME_EAB_KEY_FILE", self.path("external.key")),
            // What the system trusts.
            ("SSL_CERT_FILE", self.path("cert.pem")),
        ]
    }

    /// Starts the authority, which looks for proofs at this port.
    fn start(self, pebble: &Path, looks_at: u16) -> Pebble {
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": self.path("cert.pem"),
            "privateKey": self.path("key.pem"),
            "httpPort": 9, "tlsPort": looks_at, "ocspResponderURL": "",
            "externalAccountBindingRequired": true,
            "externalAccountMACKeys": { (EXTERNAL.0): EXTERNAL.1 },
            // Seconds; what is so short is renewed when half of it is over.
            "certificateValidityPeriod": 12,
        }});
        let config = write(self.folder.path(), "pebble.json", &config.to_string());
        let mut command = Command::new(pebble);
        command.arg("-config").arg(config).env("PEBBLE_VA_NOSLEEP", "1");
        Pebble {
            management: self.management,
            _service: Service::start(self.folder, command, self.port),
        }
    }
}

struct Pebble {
    management: u16,
    _service: Service,
}

impl Pebble {
    /// A client that trusts what it signs.
    async fn client(&self) -> reqwest::Client {
        let anybody =
            reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
        let root = format!("https://localhost:{}/roots/0", self.management);
        let root = anybody.get(root).send().await.unwrap().bytes().await.unwrap();
        let root = reqwest::Certificate::from_pem(&root).unwrap();
        // Each request makes its own connection, and so meets the certificate of the moment.
        let client = reqwest::Client::builder().tls_certs_only([root]).pool_max_idle_per_host(0);
        client.build().unwrap()
    }
}

/// Asks until the answer is as it should be.
async fn health(live: &Live, client: &reqwest::Client, is_so: impl Fn(&Value) -> bool) -> Value {
    let url = live.url("/health").replace("http://127.0.0.1", "https://localhost");
    let begun = Instant::now();
    loop {
        let said = match client.get(&url).send().await {
            Ok(answer) => answer.json().await.unwrap(),
            Err(error) => json!(format!("{error:?}")),
        };
        if is_so(&said) {
            return said;
        }
        assert!(begun.elapsed() < PATIENCE, "{said}\n{}", live.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn warnings(health: &Value) -> String {
    health["warnings"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_asked_for_and_renewed_before_it_ends() {
    let Some(program) = find("/usr/bin/pebble", "pebble") else { return };
    let plan = Plan::new();
    let environment = plan.environment();
    let environment: Vec<_> = environment.iter().map(|(name, it)| (*name, it.as_str())).collect();
    // The authority is away: the server serves all the same, and says what is wrong.
    let mut live = Live::start_as("serve", &[], &environment).await;
    let anybody = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    let told = health(&live, &anybody, |it| warnings(it).contains("was not obtained")).await;
    assert!(warnings(&told).contains("localhost"), "{told}");
    live.stop().await;

    let pebble = plan.start(&program, live.port());
    live.launch().await;
    let trusting = pebble.client().await;
    let first = health(&live, &trusting, |it| it["tls"]["endsAt"].is_i64()).await;
    assert!(!warnings(&first).contains("obtained"), "{first}");
    let ends = first["tls"]["endsAt"].as_i64().unwrap();
    let renewed = health(&live, &trusting, |it| it["tls"]["endsAt"].as_i64() > Some(ends)).await;
    assert!(!warnings(&renewed).contains("renewed"), "{renewed}");

    // What was given is for the server alone.
    let kept = live.folder().join("nightbell.acme");
    for entry in std::fs::read_dir(kept).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_authority_did_not_find_is_told() {
    let Some(program) = find("/usr/bin/pebble", "pebble") else { return };
    let plan = Plan::new();
    let environment = plan.environment();
    let environment: Vec<_> = environment.iter().map(|(name, it)| (*name, it.as_str())).collect();
    let nobody = free_port();
    let _pebble = plan.start(&program, nobody);
    let live = Live::start_as("serve", &[], &environment).await;
    let anybody = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    let told = health(&live, &anybody, |it| warnings(it).contains("did not find the proof")).await;
    assert!(warnings(&told).contains("localhost: "), "{told}");
    assert!(live.log_text().contains("the next try is in 2 min"), "{}", live.log_text());
}
