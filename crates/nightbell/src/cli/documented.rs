//! What the documentation shows is what there is: commands are understood, files can be read, and pages of
//! `man` and completions have every command.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;
use kernel::alert::definition::reference::keys as known_keys;
use kernel::alert::definition::{ChecklistOptions, Known, Level, load_judged, parse_yaml};

use super::Cli;

/// Every command that is not hidden, by its words without the program.
fn commands() -> Vec<Vec<String>> {
    fn below(command: &clap::Command, words: &[String], all: &mut Vec<Vec<String>>) {
        for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            let words = [words, &[inner.get_name().to_owned()]].concat();
            all.push(words.clone());
            below(inner, &words, all);
        }
    }
    let mut all = Vec::new();
    below(&Cli::command(), &[], &mut all);
    all
}

#[test]
fn man_has_a_page_for_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    clap_mangen::generate_to(Cli::command(), folder.path()).expect("pages");
    let commands = commands();
    assert!(commands.len() > 100, "{commands:?}");
    for words in commands {
        let page = format!("nightbell-{}.1", words.join("-"));
        let text = std::fs::read_to_string(folder.path().join(&page));
        let text = text.unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH DESCRIPTION"), "{page}");
    }
}

#[test]
fn every_shell_completes_every_command() {
    for shell in Shell::value_variants() {
        let mut text = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "nightbell", &mut text);
        let text = String::from_utf8(text).expect("completions are text");
        let of_text: BTreeSet<&str> =
            text.split(|c: char| !(c.is_alphanumeric() || c == '-')).collect();
        for words in commands() {
            let last = words.last().expect("a command has a name");
            assert!(of_text.contains(last.as_str()), "{shell} does not know {words:?}");
        }
    }
}

/// A fenced block of a page: where it begins, what it is, and its lines.
struct Block {
    place: String,
    language: String,
    text: String,
}

/// How far a fence is from the margin, perhaps behind the mark of a list, and what stands behind it.
fn fence(line: &str) -> Option<(usize, &str)> {
    let (before, info) = line.split_once("```")?;
    let is_mark = |c: char| c.is_ascii_digit() || " .-*".contains(c);
    before.chars().all(is_mark).then_some((before.len(), info))
}

/// The blocks of all pages, but of decisions, which tell of the past.
fn blocks() -> Vec<Block> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name)).into();
    let mut folders = vec![root.join("docs"), root.join("deploy"), root.join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("decisions") {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                pages.push(path);
            }
        }
    }
    let mut blocks = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a page");
        let shown = page.strip_prefix(&root).unwrap_or(&page).display().to_string();
        let mut open: Option<(Block, usize)> = None;
        for (number, line) in text.lines().enumerate() {
            match (fence(line), &mut open) {
                (Some((indent, info)), None) => {
                    let language = info.split_whitespace().next().unwrap_or_default().to_owned();
                    let place = format!("{shown}:{}", number + 1);
                    open = Some((Block { place, language, text: String::new() }, indent));
                }
                (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
                (None, Some((block, indent))) => {
                    let own = line.bytes().take(*indent).take_while(|byte| *byte == b' ').count();
                    block.text.push_str(&line[own..]);
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{shown}: a block does not end");
    }
    blocks
}

/// Reads each document of a stream.
fn read_yaml(text: &str) -> Result<(), String> {
    for document in text.trim_start_matches("---\n").split("\n---\n") {
        parse_yaml(document).map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}

#[test]
fn files_in_the_documentation_can_be_read() {
    let mut wrong = Vec::new();
    let mut seen = [0; 3];
    for Block { place, language, text } in blocks() {
        let read = match language.as_str() {
            "json" => {
                seen[0] += 1;
                serde_json::from_str::<serde_json::Value>(&text)
                    .map(drop)
                    .map_err(|it| it.to_string())
            }
            "toml" => {
                seen[1] += 1;
                toml::from_str::<toml::Table>(&text).map(drop).map_err(|it| it.to_string())
            }
            "yaml" => {
                seen[2] += 1;
                read_yaml(&text)
            }
            _ => continue,
        };
        wrong.extend(read.err().map(|why| format!("{place}: {why}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.iter().all(|count| *count > 5), "blocks that were read: {seen:?}");
}

/// Whether a block of YAML is a file of monitors: its keys are the file's, and what has names has them.
fn is_monitors_file(text: &str) -> bool {
    let Ok(file) = parse_yaml(text) else { return false };
    let serde_json::Value::Object(file) = file.json() else { return false };
    let keys = known_keys();
    let known = keys.get("").expect("a file has keys");
    let by_name = ["monitors", "receivers", "sources", "people", "rotations"];
    !file.is_empty()
        && file.keys().all(|key| known.contains(&key.as_str()))
        && by_name.iter().filter_map(|key| file.get(*key)).all(serde_json::Value::is_object)
}

#[tokio::test]
async fn monitors_in_the_documentation_are_accepted() {
    let engine = super::offline::engine().await.expect("an engine");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for Block { place, language, text } in blocks() {
        if language != "yaml" || !is_monitors_file(&text) {
            continue;
        }
        count += 1;
        let loaded = load_judged(&text, &ChecklistOptions::default(), &Known::default(), &engine);
        // An excerpt names what the rest of its file defines.
        let is_elsewhere = |message: &str| {
            message.starts_with("there is no monitor ")
                || message.starts_with("there is no receiver ") && !text.contains("receivers:")
        };
        let refused = loaded.problems.into_iter().filter(|it| it.level == Level::Error);
        let refused = refused.filter(|it| !is_elsewhere(&it.message));
        wrong.extend(refused.map(|it| format!("{place}: {} {it}", it.code)));
    }
    engine.close().await.expect("it closes");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 15, "files that were read: {count}");
}

#[test]
fn commands_in_the_documentation_are_understood() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for Block { place, language, text } in blocks() {
        let text = one_line_each(&text);
        let lines: Vec<Vec<String>> = match language.as_str() {
            "sh" | "console" | "bash" => text.lines().flat_map(calls).collect(),
            // Examples in the help: the command, and behind two spaces what it is for.
            "text" if place.starts_with("docs/reference/command-line.md") => {
                let examples = text.lines().filter(|line| line.starts_with("  nightbell "));
                let command = |line: &str| line.trim().split("  ").next().map(str::to_owned);
                examples.filter_map(command).flat_map(|line| calls(&line)).collect()
            }
            _ => continue,
        };
        for line in lines {
            count += 1;
            let words = crate::robopager::arguments(line.iter().map(OsString::from));
            let Err(error) = Cli::command().try_get_matches_from(words) else { continue };
            if !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
                let why = error.to_string();
                let why = why.lines().take(3).collect::<Vec<_>>().join(" ");
                wrong.push(format!("{place}: {}: {why}", line.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 150, "commands that were read: {count}");
}

/// Commands that go on behind a backslash, each in one line.
fn one_line_each(text: &str) -> String {
    let mut whole = String::new();
    for line in text.lines() {
        let goes_on = !whole.is_empty() && !whole.ends_with('\n');
        let line = if goes_on { line.trim_start() } else { line };
        match line.strip_suffix('\\') {
            Some(line) => whole.extend([line.trim_end(), " "]),
            None => whole.extend([line, "\n"]),
        }
    }
    whole
}

/// The calls of `nightbell` in a line for a shell, each as its words: what is quoted is one word, and
/// redirections, comments and the commands behind pipes are none.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut chars = line.chars().peekable();
    let mut depth = 0;
    while let Some(c) = chars.next() {
        let is_end = depth == 0 && (c.is_whitespace() || "|;&><".contains(c));
        if is_end {
            // A number before `>` names a stream.
            let stream = c == '>' && word.as_deref().is_some_and(|it| it == "1" || it == "2");
            if let Some(word) = word.take().filter(|_| !stream) {
                commands.last_mut().expect("one is there").push(word);
            }
            match c {
                '>' | '<' => {
                    while chars.next_if(|next| ">&< ".contains(*next)).is_some() {}
                    while chars.next_if(|it| !it.is_whitespace() && !"|;&".contains(*it)).is_some()
                    {
                    }
                }
                '|' | ';' | '&' => commands.push(Vec::new()),
                _ => {}
            }
            continue;
        }
        match c {
            '#' if word.is_none() => break,
            '\'' | '"' if depth == 0 => {
                let word = word.get_or_insert_default();
                while let Some(inner) = chars.next().filter(|inner| *inner != c) {
                    match inner {
                        '\\' if c == '"' => word.extend(chars.next()),
                        inner => word.push(inner),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => {
                depth += i32::from(c == '(') - i32::from(c == ')');
                word.get_or_insert_default().push(c);
            }
        }
    }
    commands.last_mut().expect("one is there").extend(word);
    let is_variable = |word: &String| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    let ours = commands.into_iter().filter_map(|words| {
        let words: Vec<String> =
            words.into_iter().skip_while(|word| is_variable(word) || word == "$").collect();
        (words.first().is_some_and(|it| it == "nightbell")).then_some(words)
    });
    ours.collect()
}

#[test]
fn lines_for_shells_are_read_as_shells_do() {
    let read = |line: &str| calls(line).into_iter().map(|it| it.join("·")).collect::<Vec<_>>();
    assert_eq!(read("nightbell run list   # all"), ["nightbell·run·list"]);
    assert_eq!(
        read("KEY='a b' nightbell serve --listen \"x y\" &"),
        ["nightbell·serve·--listen·x y"]
    );
    assert_eq!(
        read("$ nightbell a > out 2> err && echo nightbell | nightbell b < in c"),
        ["nightbell·a", "nightbell·b·c"]
    );
    assert_eq!(
        read("id=$(nightbell run start x) ; nightbell run why $(cat id it)"),
        ["nightbell·run·why·$(cat id it)"]
    );
    assert_eq!(read("sudo systemctl start nightbell"), Vec::<String>::new());
}
