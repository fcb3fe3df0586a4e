//! What wins, what is refused, and that everything generated agrees with the list.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn file(text: &str) -> File {
    File { name: "nightbell.toml".to_owned(), text: text.to_owned() }
}

fn load(flags: &Flags, env: &[(&str, &str)], text: &str) -> Result<Config, Vec<String>> {
    let env: BTreeMap<_, _> = env.iter().copied().collect();
    Config::load(flags, |name| env.get(name).map(|&value| value.to_owned()), Some(&file(text)))
        .map_err(|error| error.problems.iter().map(ToString::to_string).collect())
}

fn refused(text: &str) -> Vec<String> {
    load(&Flags::default(), &[], text).expect_err("the file should be refused")
}

#[test]
fn option_beats_environment_beats_file_beats_default() {
    let text = "listen = \"127.0.0.1:1\"\nscript_time = \"1s\"\npayload_max = \"1MiB\"";
    let env = [("NIGHTBELL_LISTEN", "127.0.0.1:2"), ("NIGHTBELL_SCRIPT_TIME", "2s")];
    let flags = Flags::default().with("listen", &["127.0.0.1:3"]);
    let config = load(&flags, &env, text).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.script_time, Duration::from_secs(2));
    assert_eq!(config.payload_max, Bytes(1 << 20));
    assert_eq!(config.http_body_max, Bytes(3 << 20));
}

#[test]
fn what_every_program_is_told_counts_after_what_this_one_is_told() {
    let (ours, all) = ("NIGHTBELL_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
    let endpoint = |env: &[(&str, &str)]| {
        let config = load(&Flags::default(), env, "otlp_sample = 0.25").unwrap();
        assert_eq!(config.otlp_sample, Share(0.25));
        config.otlp_endpoint.map(|url| url.0)
    };
    assert_eq!(endpoint(&[]), None);
    assert_eq!(endpoint(&[(all, "http://all:4318/")]).as_deref(), Some("http://all:4318"));
    let both = [(all, "http://all:4318"), (ours, "http://ours:4318")];
    assert_eq!(endpoint(&both).as_deref(), Some("http://ours:4318"));
}

#[test]
fn the_generated_file_says_the_defaults() {
    let commented = default_file();
    assert!(load(&Flags::default(), &[], &commented).is_ok());
    let is_setting = |line: &&str| {
        SETTINGS.iter().any(|setting| line.starts_with(&format!("{} = ", setting.key)))
    };
    let lines = commented.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_setting);
    let uncommented = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(uncommented.lines().count(), SETTINGS.len());
    let written = load(&Flags::default(), &[], &uncommented).unwrap();
    let default = load(&Flags::default(), &[], "").unwrap();
    assert_eq!(format!("{written:?}"), format!("{default:?}"));
}

#[test]
fn every_setting_can_be_set_by_its_environment_variable() {
    for setting in SETTINGS {
        let env = |name: &str| (name == setting.env()).then(|| "?/nonsense".to_owned());
        let loaded = Config::load_with_origins(&Flags::default(), env, None);
        match loaded {
            Err(error) => assert_eq!(error.problems[0].origin, Origin::Env(setting.env())),
            Ok((_, effective)) => {
                let shown = effective.iter().find(|shown| shown.key == setting.key).unwrap();
                assert_eq!(shown.origin, Origin::Env(setting.env()));
            }
        }
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_a_guess() {
    assert_eq!(
        refused("\n  listn = \"127.0.0.1:1\"\nfrobnicate = 1\n"),
        [
            "nightbell.toml:2:3: there is no setting `listn` (did you mean `listen`?)",
            "nightbell.toml:3:1: there is no setting `frobnicate` \
             (`nightbell config` lists every setting)",
        ]
    );
}

#[test]
fn all_bad_values_are_named_at_once() {
    let problems = refused("listen = \"8080\"\nscript_time = 4\nstore = \"mysql:x\"\nload = 5.5");
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(problems[0].starts_with("nightbell.toml:4:8: load: expected a list of texts"));
    assert!(problems[1].starts_with("nightbell.toml:1:10: listen: `8080` is not an address"));
    assert!(problems[2].starts_with("nightbell.toml:3:9: store: there is no store of the kind"));
    assert!(problems[3].starts_with("nightbell.toml:2:15: script_time: `4` lacks a unit of time"));
}

#[test]
fn broken_toml_is_refused_with_its_place() {
    let problems = refused("listen = \"127.0.0.1:1\"\nstore = \n");
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("nightbell.toml:2:"), "{problems:?}");
}

#[test]
fn limits_can_be_lifted() {
    let text = "retention_count = \"off\"\nretention_age = \"off\"\ndisk_budget = \"off\"";
    let config = load(&Flags::default(), &[], text).unwrap();
    assert_eq!(config.activity_lease, None, "by default it is none");
    assert_eq!((config.retention_count, config.retention_age), (None, None));
    assert_eq!(config.disk_budget, None);
}

#[test]
fn values_of_nothing_are_refused() {
    for text in ["script_time = \"0s\"", "payload_max = 0", "system_task_workers = 0"] {
        assert_eq!(refused(text).len(), 1, "{text}");
    }
}

#[test]
fn sizes_and_durations_have_units() {
    let text = "script_memory = \"1_000 KB\"\ndisk_budget = \"2GiB\"\nretention_age = \"90m\"";
    let config = load(&Flags::default(), &[], text).unwrap();
    assert_eq!(config.script_memory, Bytes(1_000_000));
    assert_eq!(config.disk_budget, Some(Bytes(2 << 30)));
    assert_eq!(config.retention_age, Some(Duration::from_mins(90)));
    assert!(refused("disk_budget = \"99999999TiB\"")[0].contains("too large"));
}

#[test]
fn networks_and_the_rights_of_tasks_are_read() {
    let text = "outgoing_allow = [\"169.254.169.254\", \"fd00:ec2::/64\"]\ncall_time_max = \"10m\"\n\
                outgoing_deny = [\"10.0.0.0/8\"]\n[sources.db]\nurl = \"sqlite:x\"\ntasks = \"write\"";
    let config = load(&Flags::default(), &[], text).unwrap();
    let shown: Vec<String> = config.outgoing_allow.0.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["169.254.169.254/32", "fd00:ec2::/64"]);
    assert!(!config.outgoing_own);
    // Addresses are compared as what they are, however they were written.
    let mapped =
        "outgoing_deny = [\"::ffff:10.1.2.3\"]\ntrusted_proxies = [\"::ffff:10.0.0.0/104\"]";
    let mapped = load(&Flags::default(), &[], mapped).unwrap();
    assert_eq!(mapped.outgoing_deny.0[0].to_string(), "10.1.2.3/32");
    assert_eq!(mapped.trusted_proxies.0[0].to_string(), "10.0.0.0/8");
    assert_eq!(access_of(&config.sources.0["db"]), Ok(tasks::sql::Access::Write));
    for wrong in [
        "outgoing_allow = [\"example.com\"]",
        "outgoing_deny = [\"10.0.0.0/33\"]",
        "outgoing_deny = [\"::ffff:0:0/95\"]",
        "[sources.db]\nurl = \"sqlite:x\"\ntasks = \"all\"",
    ] {
        assert_eq!(refused(wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn sources_are_urls_or_tables() {
    let text = "[sources]\nmetrics = \"http://h:8086\"\n[sources.local]\nurl = \"sqlite:x.db\"\n\
                [sources.reports]\nurl = \"imaps://h\"\nuser = \"jane\"\npassword = \"s3cret\"\ntls = true";
    let (config, effective) =
        Config::load_with_origins(&Flags::default(), |_| None, Some(&file(text))).unwrap();
    let reports = &config.sources.0["reports"];
    assert_eq!((&reports["user"], &reports["tls"]), (&"jane".into(), &true.into()));
    assert_eq!(config.sources.0["metrics"]["url"], "http://h:8086");
    assert_eq!(config.sources.0["local"]["url"], "sqlite:x.db");
    let shown = effective.iter().find(|it| it.key == "sources").unwrap();
    assert!(!shown.value.contains("s3cret") && shown.value.contains("metrics="), "{shown:?}");
    let env = [("NIGHTBELL_SOURCES", "a=http://a, b=http://b")];
    assert_eq!(load(&Flags::default(), &env, "").unwrap().sources.0.len(), 2);
    for wrong in ["sources = [\"x\"]", "sources = [\"x=y\"]", "[sources.x]\nurl = [1]"] {
        assert_eq!(refused(wrong).len(), 1, "{wrong}");
    }
    assert_eq!(refused("[sql.x]\nurl = \"sqlite:x\"\nuser = \"u\"").len(), 1, "only sources");
}

#[test]
fn lists_come_from_every_source() {
    let paths = |texts: &[&str]| texts.iter().map(PathBuf::from).collect::<Vec<_>>();
    let from_file = load(&Flags::default(), &[], "load = [\"a\", \"b\"]").unwrap();
    assert_eq!(from_file.load, paths(&["a", "b"]));
    let from_env = load(&Flags::default(), &[("NIGHTBELL_LOAD", "c, d")], "").unwrap();
    assert_eq!(from_env.load, paths(&["c", "d"]));
    let one = load(&Flags::default(), &[], "load = \"a,b\"").unwrap();
    assert_eq!(one.load, paths(&["a,b"]));
}

#[test]
fn a_password_is_never_shown() {
    let env = |name: &str| {
        (name == "NIGHTBELL_STORE")
            .then(|| "postgres://me:hunter2@db/x?password=hunter2".to_owned())
    };
    let (config, effective) = Config::load_with_origins(&Flags::default(), env, None).unwrap();
    let shown = format!("{config:?} {effective:?} {}", config.store);
    assert!(shown.contains("postgres://me:***@db/x"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn an_address_of_a_service_is_a_plain_url() {
    let config =
        load(&Flags::default(), &[], "sendgrid_url = \"https://eu.example.com/\"").unwrap();
    assert_eq!(config.sendgrid_url.0, "https://eu.example.com");
    for wrong in ["example.com", "ftp://h", "https://", "https://me:pw@h", "https://h/?x=1"] {
        let problems = refused(&format!("opsgenie_url = \"{wrong}\""));
        assert_eq!(problems.len(), 1, "{wrong}");
        assert!(!problems[0].contains("pw"), "{problems:?}");
    }
}

#[test]
fn hosts_and_proxies_are_names_and_networks() {
    let text = "hosts = [\"Bell.example\", \"*.corp.example\"]\n\
                trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\", \"::1\"]";
    let (config, effective) =
        Config::load_with_origins(&Flags::default(), |_| None, Some(&file(text))).unwrap();
    assert_eq!((config.hosts.len(), config.trusted_proxies.0.len()), (2, 3));
    let shown = |key| &effective.iter().find(|it| it.key == key).unwrap().value;
    assert_eq!(shown("hosts"), "bell.example, *.corp.example");
    assert_eq!(shown("trusted_proxies"), "127.0.0.1, 10.0.0.0/8, ::1");
    for wrong in ["*", "https://bell.example", "bell.example:8080"] {
        assert_eq!(refused(&format!("hosts = [\"{wrong}\"]")).len(), 1, "{wrong}");
    }
    assert!(refused("trusted_proxies = [\"proxy\"]")[0].contains("neither an IP address"));
}

#[test]
fn a_misspelt_level_is_refused() {
    assert!(refused("log_level = \"inf\"")[0].contains("`inf` is not a level"));
    assert!(load(&Flags::default(), &[], "log_level = \"info,engine=debug\"").is_ok());
}

#[test]
fn brokers_are_urls_whose_passwords_are_never_shown() {
    let text = "nats_url = \"nats://a:secret@one:4222, nats://token@two\"\n\
                amqp_url = \"amqp://guest:secret@rabbit:5672/%2f\"\n\
                task_update_queue = \"amqp:updates_\"";
    let config = load(&Flags::default(), &[], text).unwrap();
    let shown = format!("{:?} {:?}", config.nats_url, config.amqp_url);
    assert!(!shown.contains("secret") && !shown.contains("token"), "{shown}");
    assert!(config.nats_url.is_some_and(|url| url.0.contains("secret@one")));
    assert!(refused("nats_url = \"http://one\"")[0].contains("none of nats"));
    let text = "kafka_url = \"kafkas://u:secret@k1:9092?mechanism=SCRAM-SHA-256,kafkas://k2\"\n\
                sqs_url = \"https://sqs.eu-west-1.amazonaws.com\"\n";
    let config = load(&Flags::default(), &[], text).unwrap();
    let shown = format!("{:?}", config.kafka_url);
    assert!(shown.contains("u:***@k1") && !shown.contains("secret"), "{shown}");
    let config = load(&Flags::default(), &[], "kafka_url = \"me:secret@k1:9092, k2\"").unwrap();
    let shown = format!("{:?}", config.kafka_url);
    assert!(shown.contains("me:***@k1") && !shown.contains("secret"), "{shown}");
    assert!(refused("kafka_url = \"amqp://k\"")[0].contains("none of kafka"));
    assert!(refused("kafka_url = \"kafka://u:secret@k?acks=1\"")[0].contains("no option `acks`"));
    assert!(refused("amqp_url = \"rabbit\"")[0].contains("not a URL"));
    assert!(refused("task_update_queue = \"updates\"")[0].contains("TYPE:PREFIX"));
}
