//! What `deploy/` says to a server: every variable, option and setting in its files is one that there is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::live::binary;
use crate::skipped::{not_asked_for, of_go, skipped};

/// Variables of the command line, those that the files themselves make, and secrets that are examples.
const OTHERS: [&str; 9] = [
    "NIGHTBELL_URL",
    "NIGHTBELL_KEY",
    "NIGHTBELL_ARCHIVE",
    "NIGHTBELL_SHA256",
    "NIGHTBELL_FOLDER",
    "NIGHTBELL_VERSION",
    "NIGHTBELL_SECRET_NAME",
    "NIGHTBELL_SECRET_LARK_URL",
    "NIGHTBELL_",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

fn files(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            found.push((path, text));
        }
    }
}

fn said(arguments: &[&str]) -> String {
    let output = Command::new(binary()).args(arguments).current_dir("/").output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The keys of the settings.
fn settings() -> BTreeSet<String> {
    let file = said(&["config"]);
    let keys = file.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(" = "));
    let keys = keys.map(|(key, _)| key.to_owned());
    keys.filter(|key| key.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')).collect()
}

#[test]
fn every_variable_of_the_deploy_files_is_one_of_the_server() {
    let variables = settings().into_iter().map(|key| format!("NIGHTBELL_{}", key.to_uppercase()));
    let known: BTreeSet<String> = variables.chain(OTHERS.map(str::to_owned)).collect();
    let mut found = Vec::new();
    files(&root(), &mut found);
    let mut seen = 0;
    for (path, text) in found {
        for (at, _) in text.match_indices("NIGHTBELL_") {
            let is_part = |c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            let name = text[at..].split(is_part).next().unwrap();
            assert!(known.contains(name), "{}: there is no {name}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn the_units_and_the_chart_say_what_the_server_knows() {
    let help = said(&["serve", "--help"]);
    for unit in ["nightbell.service", "nightbell@.service"] {
        let text = read(&format!("systemd/{unit}"));
        let exec = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        for flag in exec.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(help.contains(&format!("{flag} <")), "{unit}: there is no {flag}");
        }
    }
    let known = settings();
    let values = read("helm/nightbell/values.yaml");
    let (_, of_server) = values.split_once("\nsettings:\n").unwrap();
    let keys = of_server.lines().map_while(|line| line.strip_prefix("  ")?.split_once(':'));
    let (keys, names) = (keys.map(|it| it.0), read("helm/nightbell/templates/_names.tpl"));
    // What the chart decides itself is refused in `settings`.
    let (_, decided) = names.split_once("range list ").unwrap();
    let decided = decided.split("-}}").next().unwrap().split('"').skip(1).step_by(2);
    for key in keys.chain(decided) {
        assert!(known.contains(key), "the chart speaks of {key}");
    }
}

/// The unit for several nodes is the one for a single node, but for what makes it one of several.
#[test]
fn nodes_are_as_confined_as_a_single_server() {
    let (one, several) = (read("systemd/nightbell.service"), read("systemd/nightbell@.service"));
    let confined = |text: &str| {
        let (_, rest) = text.split_once("\n# It needs the network").unwrap();
        rest.to_owned()
    };
    assert_eq!(confined(&one), confined(&several));
    assert!(several.contains("LoadCredential=key:/etc/nightbell/key\n"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nightbell@a.service");
    let here = binary().canonicalize().unwrap();
    let text = several.replace("/usr/local/bin/nightbell", here.to_str().unwrap());
    std::fs::write(&file, text).unwrap();
    let asked = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output();
    let Ok(output) = asked else {
        skipped("there is no systemd-analyze here (Debian's package systemd)");
        return;
    };
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let about_it = told.lines().any(|line| line.contains("nightbell"));
    assert!(output.status.success() && !about_it, "{told}");
}

/// Commands in the templates for CI have the options that they name, and end as the templates believe.
#[test]
fn the_templates_for_ci_say_what_the_commands_know() {
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for file in ["ci/github.yml", "ci/gitlab.yml"] {
        for line in read(file).lines() {
            let line = line.trim_start().trim_start_matches("- ").trim_start_matches("run: ");
            let Some((verb, rest)) =
                line.strip_prefix("nightbell ").and_then(|it| it.split_once(' '))
            else {
                continue;
            };
            let help = said(&[verb, "--help"]);
            for option in rest.split_whitespace().filter(|word| word.starts_with('-')) {
                assert!(help.contains(option), "{file}: nightbell {verb} has no {option}");
            }
            *seen.entry(verb.to_owned()).or_default() += 1;
        }
    }
    let each = ["apply", "check", "plan", "test"].map(|verb| (verb.to_owned(), 2));
    assert_eq!(seen, std::collections::BTreeMap::from(each));
    // A plan with changes, which is no failure.
    assert!(said(&["plan", "--help"]).contains("0 nothing to change, 7 something"));
    assert!(read("ci/github.yml").contains("[ \"$code\" -eq 7 ]"));
    assert!(read("ci/gitlab.yml").contains("exit_codes: [7]"));
}

/// What the schema of the chart's values says at a path, if it declares it.
fn declared<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(schema, |at, key| {
        let at = match at["$ref"].as_str().and_then(|it| it.strip_prefix("#/definitions/")) {
            Some(name) => &schema["definitions"][name],
            None => at,
        };
        at["properties"].get(key)
    })
}

#[test]
fn the_chart_uses_the_values_that_it_declares() {
    let schema: Value = serde_json::from_str(&read("helm/nightbell/values.schema.json")).unwrap();
    let mut templates = Vec::new();
    files(&root().join("helm/nightbell/templates"), &mut templates);
    let mut used = BTreeSet::new();
    for (path, text) in templates {
        for (at, name) in text.match_indices(".Values.") {
            let is_part = |c: char| !(c.is_ascii_alphanumeric() || c == '.');
            let value = text[at + name.len()..].split(is_part).next().unwrap();
            assert!(declared(&schema, value).is_some(), "{}: {value}", path.display());
            used.insert(value.split('.').next().unwrap().to_owned());
        }
    }
    // Helm's own, for charts within charts.
    used.insert("global".to_owned());
    let declared: BTreeSet<String> =
        schema["properties"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(used, declared);
    let values = read("helm/nightbell/values.yaml");
    let keys = values.lines().filter_map(|line| line.split_once(':')).map(|(key, _)| key);
    let keys: Vec<_> = keys.filter(|key| !key.starts_with([' ', '#'])).collect();
    assert!(keys.len() > 15, "{keys:?}");
    for key in keys {
        assert!(declared.contains(key), "values.yaml: {key} is not in the schema");
    }
}

/// What Helm makes of the chart, where there is Helm.
#[test]
fn helm_makes_nodes_of_the_chart_or_says_what_is_missing() {
    let chart = root().join("helm/nightbell");
    let helm = |verb: &str, values: &[&str]| {
        let mut helm = Command::new(of_go("helm"));
        helm.arg(verb);
        if verb == "template" {
            helm.args(["bell", "--kube-version=1.31.0"]);
        }
        helm.arg(&chart);
        for value in values {
            helm.args(["--set", value]);
        }
        helm.output().ok().map(|output| {
            let [out, err] =
                [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
            (output.status.success(), out, err)
        })
    };
    let needed = ["image.repository=r.example.com/nightbell", "secretKey.existingSecret=key"];
    let several = [&needed[..], &["store.existingSecret=store", "replicas=3"]].concat();
    let Some((is_good, out, err)) = helm("lint", &several) else {
        not_asked_for("helm", "NIGHTBELL_TEST_HELM=1 cargo xtask test builds it with Go");
        return;
    };
    assert!(is_good, "{out}{err}");
    let made = |values: &[&str]| {
        let (is_good, out, err) = helm("template", values).unwrap();
        assert!(is_good, "{values:?}: {err}");
        out
    };
    let one = made(&needed);
    assert!(one.contains("kind: StatefulSet") && !one.contains("PEER_LISTEN"), "{one}");
    assert!(!one.contains("kind: PodDisruptionBudget"), "{one}");
    let three = made(&several);
    assert!(three.contains("kind: Deployment") && three.contains("replicas: 3"), "{three}");
    assert!(three.contains("kind: PodDisruptionBudget"), "{three}");
    assert!(three.contains("name: NIGHTBELL_PEER_ADDRESS"), "{three}");
    let set = ["settings.retention_count=1000000", "settings.load_prune=true", "drainSeconds=7"];
    let set = made(&[&needed[..], &set].concat());
    assert!(set.contains("value: \"1000000\"") && set.contains("value: \"on\""), "{set}");
    assert!(set.contains("terminationGracePeriodSeconds: 32"), "{set}");
    let ingress =
        [&needed[..], &["ingress.enabled=true", "ingress.host=bell.example.com"]].concat();
    assert!(made(&ingress).contains("kind: Ingress"));
    for (values, why) in [
        (vec![], "image.repository is empty"),
        (vec![needed[0]], "secretKey.existingSecret is empty"),
        ([&needed[..], &["replicas=2"]].concat(), "several nodes share a store in PostgreSQL"),
        ([&needed[..], &["settings.listen=x"]].concat(), "settings.listen is decided by the chart"),
        ([&needed[..], &["replica=2"]].concat(), "replica"),
        ([&needed[..], &["service.port=70000"]].concat(), "port"),
    ] {
        let (is_good, out, err) = helm("template", &values).unwrap();
        assert!(!is_good && err.contains(why), "{values:?}: {out}{err}");
    }
}
