//! Writes the commented default file, so that the documentation of the settings is the list itself.

use std::fmt::Write as _;

use super::{SETTINGS, Setting};

/// A `nightbell.toml` with every setting explained and commented out at its default.
pub(crate) fn default_file() -> String {
    let mut text = String::from(
        "# Settings of `nightbell serve`. Every line shows a default: remove the `# ` to change it.\n\
         # An option (--listen) beats an environment variable (NIGHTBELL_LISTEN), which beats this\n\
         # file. Units of time: ms, s, m, h, d. Units of size: B, KiB, MiB, GiB, KB, MB, GB.\n",
    );
    for setting in SETTINGS {
        text.push('\n');
        for line in setting.doc {
            text.push_str(format!("#{line}").trim_end());
            text.push('\n');
        }
        let (flag, env) = (setting.flag(), setting.env());
        let _ = writeln!(text, "# Option --{flag}, environment variable {env}.");
        let _ = writeln!(text, "# {} = {}", setting.key, literal(setting));
    }
    text
}

/// The default of a setting in TOML.
pub(crate) fn literal(setting: &Setting) -> String {
    if setting.many {
        let items: Vec<_> = setting.default.iter().map(|text| quoted(text)).collect();
        return format!("[{}]", items.join(", "));
    }
    setting.default.first().map_or_else(String::new, |text| quoted(text))
}

fn quoted(text: &str) -> String {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.to_owned()
    } else {
        // JSON's escapes are a subset of TOML's.
        serde_json::Value::from(text).to_string()
    }
}
