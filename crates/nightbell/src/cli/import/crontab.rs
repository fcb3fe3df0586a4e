//! From a crontab: a heartbeat monitor for each job, and the crontab in which jobs call them.

use clap::Args;
use kernel::cron::Cron;
use serde_json::json;

use super::page::{Entry, Page};
use super::{To, finish, save};
use crate::cli::input;
use crate::cli::output::Output;

/// Names of times.
const NAMED: [(&str, &str); 8] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@every_minute", "* * * * *"),
];

/// The crontab.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The crontab, - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// It is a system crontab, /etc/crontab or /etc/cron.d: with a user before each command
    #[arg(long)]
    system: bool,
    /// The time zone in which cron runs, unless the crontab says `CRON_TZ`
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Write the crontab in which jobs ping their monitors into this file; without it, it is
    /// appended as a comment
    #[arg(long, value_name = "FILE")]
    crontab: Option<String>,
    #[command(flatten)]
    to: To,
}

/// Runs the command.
pub(super) async fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<()> {
    let text = input::read(&arguments.file)?;
    let Imported { mut page, crontab } = import(&text, arguments.system, arguments.tz.as_deref());
    if let Some(file) = &arguments.crontab {
        save(file, &crontab, arguments.to.force)?;
        output.note(format_args!("wrote {file}: look at it, then `crontab {file}`"));
    } else {
        page.end.push("The crontab in which jobs call these monitors:".to_owned());
        page.end.extend(crontab.lines().map(|line| format!("  {line}")));
    }
    finish(page, &arguments.to, output).await
}

/// What is made of a crontab.
pub(super) struct Imported {
    page: Page,
    crontab: String,
}

/// Makes a file of monitors of a crontab, and a crontab that calls them.
pub(super) fn import(text: &str, system: bool, tz: Option<&str>) -> Imported {
    let mut page = Page::default();
    page.words.push("Made of a crontab by `nightbell import crontab`.".to_owned());
    let mut zone = tz.map(str::to_owned);
    let mut shell = "/bin/sh".to_owned();
    let mut crontab = String::from("NIGHTBELL_URL=http://127.0.0.1:8080\n");
    let mut words: Vec<String> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        let mut rewritten = None;
        if let Some(comment) = trimmed.strip_prefix('#') {
            words.push(comment.trim().to_owned());
        } else if trimmed.is_empty() {
            words.clear();
        } else if let Some((name, value)) = assignment(trimmed) {
            match name {
                "CRON_TZ" | "TZ" => zone = Some(value.to_owned()),
                "SHELL" => value.clone_into(&mut shell),
                _ => {}
            }
            words.clear();
        } else {
            let words = std::mem::take(&mut words);
            match job(trimmed, system).and_then(Job::that_runs) {
                Ok(job) => {
                    let mut entry = Entry::new(page.name(&job.name()));
                    entry.words = words;
                    let mut heartbeat = json!({ "cron": job.cron });
                    if let Some(zone) = &zone {
                        entry.set("tz", zone.clone());
                    }
                    heartbeat["slug"] = entry.name.clone().into();
                    entry.keys.insert("heartbeat".to_owned(), heartbeat);
                    rewritten = Some(job.calling(&entry.name, &shell));
                    page.monitors.push(entry);
                }
                Err(why) => page.leave(trimmed.to_owned(), why),
            }
        }
        crontab.push_str(rewritten.as_deref().unwrap_or(line));
        crontab.push('\n');
    }
    Imported { page, crontab }
}

/// `NAME = value`, as crontabs set variables.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (begins && name.chars().all(is_name)).then(|| (name, value.trim().trim_matches(['"', '\''])))
}

/// A line that runs something.
struct Job<'a> {
    /// The fields as they are written.
    when: &'a str,
    /// The same as five fields.
    cron: String,
    user: Option<&'a str>,
    command: &'a str,
}

/// Takes the first word of a text.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The words of a command as a shell would take them apart, quotes and all.
fn shell_words(command: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut begin, mut quote) = (None, None);
    for (at, c) in command.char_indices() {
        match (quote, c) {
            (Some(open), _) => quote = Some(open).filter(|open| *open != c),
            (None, '\'' | '"') => {
                quote = Some(c);
                begin = begin.or(Some(at));
            }
            (None, _) if c.is_whitespace() => words.extend(begin.take().map(|it| &command[it..at])),
            (None, _) => begin = begin.or(Some(at)),
        }
    }
    words.extend(begin.map(|it| &command[it..]));
    words
}

fn job(line: &str, system: bool) -> Result<Job<'_>, &'static str> {
    let fields = if line.starts_with('@') { 1 } else { 5 };
    let mut rest = line;
    for _ in 0..fields {
        rest = word(rest).ok_or("it has too few fields")?.1;
    }
    let when = &line[..line.len() - rest.len()];
    let cron = if fields == 1 {
        if when == "@reboot" {
            return Err("nobody knows when the system starts");
        }
        let named = NAMED.iter().find(|(name, _)| *name == when.to_ascii_lowercase());
        named.ok_or("this time is not known here")?.1.to_owned()
    } else {
        let fields: Vec<&str> = when.split_whitespace().collect();
        // A minus before it keeps some versions of cron from logging.
        fields.join(" ").trim_start_matches('-').to_owned()
    };
    let mut user = None;
    if system {
        let (name, after) = word(rest).ok_or("it has no user")?;
        (user, rest) = (Some(name), after);
    }
    let command = rest.trim();
    if command.is_empty() {
        return Err("it has no command");
    }
    Ok(Job { when, cron, user, command })
}

impl Job<'_> {
    /// Itself, unless its time never comes.
    fn that_runs(self) -> Result<Self, &'static str> {
        match Cron::parse_five(&self.cron) {
            Ok(cron) if cron.ever_fires() => Ok(self),
            Ok(_) => Err("its time never comes"),
            Err(_) => Err("its time cannot be read"),
        }
    }

    /// What a monitor of it is called: the program that it runs.
    fn name(&self) -> String {
        const WRAPPERS: [&str; 11] = [
            "nice", "ionice", "sudo", "env", "exec", "timeout", "flock", "chronic", "sh", "bash",
            "test",
        ];
        let words = shell_words(self.command);
        let mut words = words.iter();
        let mut found = None;
        while let Some(word) = words.next() {
            let base = word.rsplit('/').next().unwrap_or_default();
            if *word == "cd" {
                words.next();
            } else if base.starts_with(|c: char| c.is_ascii_alphabetic())
                && !base.contains(['=', '$'])
                && !word.split('/').next().is_some_and(|first| first.contains('='))
                && !WRAPPERS.contains(&base)
            {
                found = Some(base);
                break;
            }
        }
        let base = found.unwrap_or("job");
        let base = base.split_once(['.', '%', ';', ')']).map_or(base, |(stem, _)| stem);
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let slug: String = base.chars().map(|c| if fits(c) { c } else { '-' }).take(80).collect();
        if slug.trim_matches('-').is_empty() { "job".to_owned() } else { slug }
    }

    /// The line in which it calls its monitor.
    fn calling(&self, name: &str, shell: &str) -> String {
        // From the first % on that has no backslash before it cron gives the job what follows to read.
        let mut input = self.command.len();
        let mut escaped = false;
        for (at, c) in self.command.char_indices() {
            if c == '%' && !escaped {
                input = at;
                break;
            }
            escaped = c == '\\' && !escaped;
        }
        let (command, input) = self.command.split_at(input);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " _./:,@+-".contains(c);
        let command = command.trim_end();
        let run = if command.chars().all(is_plain) {
            command.to_owned()
        } else {
            format!("{shell} -c '{}'", command.replace('\'', "'\\''"))
        };
        let user = self.user.map_or_else(String::new, |user| format!("{user} "));
        format!("{} {user}nightbell ping exec {name} -- {run}{input}", self.when.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use kernel::alert::definition::parse_yaml;
    use serde_json::json;

    use super::import;

    #[test]
    fn jobs_call_their_monitors() {
        let crontab = "\
MAILTO=ops@example.com
CRON_TZ = Europe/Oslo

# copies everything
15 3 * * *\t/usr/local/bin/copy.sh --all
@daily  cd /srv && FOO='a b' /opt/report.py > /tmp/r 2>&1
*/5 * * * 1-5 curl -fsS https://x.example/\\%20?d=1 %to stdin
@reboot /usr/bin/warm
0 0 1 * mon copy.sh
1 2 3
";
        let made = import(crontab, false, None);
        let text = made.page.text();
        let file = parse_yaml(&text).expect("it is YAML").json();
        let crons: Vec<String> = file["monitors"]
            .as_object()
            .expect("monitors")
            .iter()
            .map(|(name, it)| {
                assert_eq!(it["tz"], "Europe/Oslo");
                assert_eq!(it["heartbeat"]["slug"], json!(name));
                format!("{name}: {}", it["heartbeat"]["cron"].as_str().expect("a cron"))
            })
            .collect();
        assert_eq!(
            crons,
            ["copy: 15 3 * * *", "report: 0 0 * * *", "curl: */5 * * * 1-5", "copy-2: 0 0 1 * mon"]
        );
        assert_eq!(
            made.crontab,
            "\
NIGHTBELL_URL=http://127.0.0.1:8080
MAILTO=ops@example.com
CRON_TZ = Europe/Oslo

# copies everything
15 3 * * * nightbell ping exec copy -- /usr/local/bin/copy.sh --all
@daily nightbell ping exec report -- /bin/sh -c 'cd /srv && FOO='\\''a b'\\'' /opt/report.py > /tmp/r 2>&1'
*/5 * * * 1-5 nightbell ping exec curl -- /bin/sh -c 'curl -fsS https://x.example/\\%20?d=1'%to stdin
@reboot /usr/bin/warm
0 0 1 * mon nightbell ping exec copy-2 -- copy.sh
1 2 3
"
        );
        for said in ["# copies everything", "not translated: @reboot", "not translated: 1 2 3"] {
            assert!(text.contains(said), "{said} in\n{text}");
        }
    }

    #[test]
    fn users_of_a_system_crontab_stay() {
        let made =
            import("SHELL=/bin/bash\n0 4 * * 7 root [[ -x /a/b ]] && /a/b\n", true, Some("UTC"));
        let line = made.crontab.lines().last().expect("a line");
        let called = "0 4 * * 7 root nightbell ping exec b -- /bin/bash -c '[[ -x /a/b ]] && /a/b'";
        assert_eq!(line, called);
    }
}
