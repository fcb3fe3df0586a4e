//! `nightbell run step`: through the commits of a run, one by one, with what each of them changed.
//!
//! Commands are lines, as debuggers take them, so a script can send them as well as a person.

mod changes;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use serde_json::{Value, json};

use super::past::{Commit, Commits};
use super::show;
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, clean, cut};
use crate::cli::table::Tone;
use changes::{Change, between, name_of};

/// Changes that are shown of a commit, unless all are asked for.
const CHANGES_SHOWN: usize = 20;
/// States that are kept, so that going back and forth asks the server once.
const KEPT_MAX: usize = 16;
/// Commits that are asked for at once when one is searched.
const PAGE: u32 = 1000;

const HELP: &str = "\
n, Enter   the next commit; n 5: five further
p          the one before; p 5: five back
g 14       commit 14; g first, g last
g ring     the next commit that does something to the task `ring`
d          all that this commit changed, in full
t          the tasks as they stood; t ring: input and output of this one
i          input, variables and output of the run as they stood
w          what the run waited for
q          leave";

/// What to step through.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Id of the run
    id: String,
    /// The number of the commit to begin with; the first that is kept by default
    #[arg(long, value_name = "COMMIT")]
    from: Option<u64>,
    /// Do not ask: print what each commit changed, from the first to the last
    #[arg(long)]
    all: bool,
    /// Commits to print at most with --all or -o json; all of them by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    size: Option<u64>,
}

impl Arguments {
    /// The id of the run.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let commits = Commits::of(&arguments.id, None, 1, client).await?;
    let mut walk = Walk {
        id: &arguments.id,
        client,
        first: commits.first,
        last: commits.last,
        states: BTreeMap::new(),
    };
    if commits.first > 1 && !output.is_json() {
        let first = commits.first;
        output.note(format_args!(
            "commits before {first} are kept as one and cannot be stepped through"
        ));
    }
    let begin = arguments.from.unwrap_or(commits.first);
    walk.must_be_kept(begin)?;
    if arguments.all || output.is_json() {
        return walk.all(begin, arguments.size, output).await;
    }
    walk.ask(begin, output).await
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    /// So many commits further.
    Next(u64),
    /// So many back.
    Previous(u64),
    Go(u64),
    First,
    Last,
    /// The next commit about this task.
    Find(String),
    Diff,
    Tasks(Option<String>),
    Payloads,
    Waits,
    Help,
    Quit,
}

impl Order {
    fn of(line: &str) -> Result<Self, String> {
        let (verb, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let rest = rest.trim();
        let count = || match rest {
            "" => Ok(1),
            rest => rest.parse().map_err(|_| format!("{} is no number", cut(&clean(rest), 40))),
        };
        let order = match verb {
            "" | "n" | "next" => Self::Next(count()?),
            "p" | "prev" | "previous" => Self::Previous(count()?),
            "g" | "go" => match rest {
                "" => return Err("where to? g 14, g last, or g and the name of a task".to_owned()),
                "first" => Self::First,
                "last" => Self::Last,
                rest => rest.parse().map_or_else(|_| Self::Find(rest.to_owned()), Self::Go),
            },
            "d" | "diff" => Self::Diff,
            "t" | "tasks" => Self::Tasks(Some(rest.to_owned()).filter(|it| !it.is_empty())),
            "i" => Self::Payloads,
            "w" | "waits" => Self::Waits,
            "h" | "?" | "help" => Self::Help,
            "q" | "quit" | "exit" => Self::Quit,
            other => return Err(format!("{} is no command; h lists them", cut(&clean(other), 40))),
        };
        Ok(order)
    }
}

/// A way through the commits of a run.
struct Walk<'a> {
    id: &'a str,
    client: &'a Client,
    first: u64,
    last: u64,
    states: BTreeMap<u64, Value>,
}

impl Walk<'_> {
    fn must_be_kept(&self, version: u64) -> Result<(), Failure> {
        let (first, last) = (self.first, self.last);
        if (first..=last).contains(&version) {
            return Ok(());
        }
        let message = format!("commits {first} to {last} are kept, and {version} is none of them");
        Err(Failure::new(Exit::NotFound, message))
    }

    /// The run as it stood after a commit, with what it waited for; null before the first.
    async fn state(&mut self, version: u64) -> Result<Value, Failure> {
        if version < self.first {
            return Ok(Value::Null);
        }
        if let Some(known) = self.states.get(&version) {
            return Ok(known.clone());
        }
        let path = ["workflow", self.id, "at", &version.to_string()];
        let state = self.client.get(&path).send().await?.value()?;
        if self.states.len() >= KEPT_MAX {
            // Those far from here are the least likely to be wanted again.
            let far = self.states.keys().copied().max_by_key(|it| it.abs_diff(version));
            if let Some(far) = far {
                self.states.remove(&far);
            }
        }
        self.states.insert(version, state.clone());
        Ok(state)
    }

    async fn changes(&mut self, version: u64) -> Result<(Value, Vec<Change>), Failure> {
        let before = self.state(version - 1).await?;
        let after = self.state(version).await?;
        // What was before the first commit that is kept is not known, unless it is the very first.
        let changes = if before.is_null() && version > 1 {
            Vec::new()
        } else {
            between(&before["workflow"], &after["workflow"])
        };
        Ok((after, changes))
    }

    /// Every commit from a number on, or so many of them.
    async fn all(
        &mut self,
        mut from: u64,
        most: Option<u64>,
        output: &Output,
    ) -> anyhow::Result<()> {
        let mut told = Vec::new();
        let mut left = most.unwrap_or(u64::MAX);
        while left > 0 && from <= self.last {
            let size = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
            let commits = Commits::of(self.id, Some(from), size, self.client).await?;
            // A run that is under way grows meanwhile.
            self.last = commits.last;
            let Some(end) = commits.page.last() else { break };
            from = end.version + 1;
            left = left.saturating_sub(commits.page.len() as u64);
            for commit in commits.page {
                let (state, changes) = self.changes(commit.version).await?;
                if output.is_json() {
                    told.push(json!({
                        "version": commit.version, "at": commit.at.rfc3339(), "facts": commit.facts,
                        "status": state["workflow"]["status"], "changes": changes,
                    }));
                } else {
                    self.tell(&commit, &state, &changes, output)?;
                }
            }
        }
        if from <= self.last {
            let last = self.last;
            output.note(format_args!("commits {from} to {last} are left out: --from {from}"));
        }
        if output.is_json() { output.json(&told) } else { Ok(()) }
    }

    /// A run that is under way has further commits by and by.
    async fn look_again(&mut self) -> anyhow::Result<u64> {
        self.last = Commits::of(self.id, None, 1, self.client).await?.last;
        Ok(self.last)
    }

    /// Does what lines of standard input ask for.
    async fn ask(&mut self, mut at: u64, output: &Output) -> anyhow::Result<()> {
        let stdin = io::stdin();
        let asks = stdin.is_terminal();
        self.show(at, output).await?;
        if asks {
            output.note("n next, p previous, g 14, d all changes, t tasks, h help, q leave");
        }
        loop {
            if asks {
                let mut stderr = io::stderr();
                write!(stderr, "({at}/{}) ", self.last)?;
                stderr.flush()?;
            }
            let mut line = String::new();
            if stdin.lock().read_line(&mut line)? == 0 {
                return Ok(());
            }
            match Order::of(&line) {
                Err(wrong) => output.note(wrong),
                Ok(Order::Quit) => return Ok(()),
                Ok(order) => match self.obey(order, at, output).await {
                    Ok(to) => at = to,
                    // A place that does not exist is no reason to leave.
                    Err(error) => match error.downcast::<Failure>() {
                        Ok(failure) if failure.exit == Exit::NotFound => output.note(failure),
                        Ok(failure) => return Err(failure.into()),
                        Err(error) => return Err(error),
                    },
                },
            }
        }
    }

    /// Does it, and answers at which commit one is then.
    async fn obey(&mut self, order: Order, at: u64, output: &Output) -> anyhow::Result<u64> {
        let to = match order {
            Order::Next(count) => at.saturating_add(count),
            Order::Previous(count) => at.saturating_sub(count),
            Order::Go(to) => to,
            Order::First => self.first,
            Order::Last => self.look_again().await?,
            Order::Find(name) => self.find(&name, at).await?,
            Order::Quit | Order::Help => {
                output.note(HELP);
                return Ok(at);
            }
            Order::Diff => {
                for change in self.changes(at).await?.1 {
                    output.line(change)?;
                }
                return Ok(at);
            }
            Order::Tasks(None) => {
                let state = self.state(at).await?;
                show::tasks_at(&state, output)?;
                return Ok(at);
            }
            Order::Tasks(Some(name)) => {
                let state = self.state(at).await?;
                let task = task_of(&state, &name)?;
                output
                    .json(&json!({ "input": task["inputData"], "output": task["outputData"] }))?;
                return Ok(at);
            }
            Order::Payloads => {
                let run = &self.state(at).await?["workflow"];
                let parts = ["input", "variables", "output"];
                let parts = parts.map(|name| (name.to_owned(), run[name].clone()));
                output.json(&serde_json::Map::from_iter(parts))?;
                return Ok(at);
            }
            Order::Waits => {
                let waited = show::waited(&self.state(at).await?);
                if waited.is_empty() {
                    output.note("it waited for nothing");
                }
                for line in waited {
                    output.line(line)?;
                }
                return Ok(at);
            }
        };
        if to > self.last && to > self.look_again().await? && at == self.last {
            return Err(Failure::new(Exit::NotFound, "this is the last commit").into());
        }
        let to = match to {
            to if to > self.last => self.last,
            to if to < self.first => self.first,
            to => to,
        };
        self.show(to, output).await?;
        Ok(to)
    }

    /// The next commit after `at` with a fact about a task.
    async fn find(&mut self, name: &str, at: u64) -> anyhow::Result<u64> {
        let last = self.look_again().await?;
        let state = self.state(last).await?;
        let tasks = state["workflow"]["tasks"].as_array().into_iter().flatten();
        let fits = tasks.filter(|it| it["referenceTaskName"] == name || name_of(it) == name);
        let sequences: Vec<u64> = fits.filter_map(|it| it["seq"].as_u64()).collect();
        let mut from = at + 1;
        while from <= self.last {
            let page = Commits::of(self.id, Some(from), PAGE, self.client).await?.page;
            let about = |commit: &&Commit| commit.tasks().any(|it| sequences.contains(&it));
            if let Some(found) = page.iter().find(about) {
                return Ok(found.version);
            }
            let Some(end) = page.last() else { break };
            from = end.version + 1;
        }
        let message = format!("no commit after {at} does anything to {}", clean(name));
        Err(Failure::new(Exit::NotFound, message).into())
    }

    async fn show(&mut self, version: u64, output: &Output) -> anyhow::Result<()> {
        let page = Commits::of(self.id, Some(version), 1, self.client).await?.page;
        let commit = page.into_iter().next();
        let commit = commit.ok_or_else(|| Failure::error(format!("commit {version} is gone")))?;
        let (state, changes) = self.changes(version).await?;
        self.tell(&commit, &state, &changes, output)
    }

    /// A commit: when it was, what it is made of, and what it changed.
    fn tell(
        &self,
        commit: &Commit,
        state: &Value,
        changes: &[Change],
        output: &Output,
    ) -> anyhow::Result<()> {
        let status = state["workflow"]["status"].as_str().unwrap_or_default();
        let status = Tone::paint(Tone::of_status(status), &clean(status), output.screen());
        let (version, last) = (commit.version, self.last);
        let at = commit.at.rfc3339().unwrap_or_default();
        output.line(format_args!("commit {version} of {last}  {at}  {status}"))?;
        let width = output.screen().width.map_or(usize::MAX, |width| width.saturating_sub(2));
        output.line(format_args!("  {}", cut(&clean(&commit.words()), width)))?;
        for change in changes.iter().take(CHANGES_SHOWN) {
            output.line(format_args!("  {}", change.line(width)))?;
        }
        if changes.len() > CHANGES_SHOWN {
            output.line(format_args!("  {} more; d shows all", changes.len() - CHANGES_SHOWN))?;
        }
        Ok(())
    }
}

/// The latest attempt at a task as it stood, by its name or by `name#2`.
fn task_of<'v>(state: &'v Value, name: &str) -> Result<&'v Value, Failure> {
    let tasks = state["workflow"]["tasks"].as_array().into_iter().flatten();
    let mut fits = tasks
        .filter(|it| it["referenceTaskName"] == name || name_of(it) == name)
        .collect::<Vec<_>>();
    fits.pop().ok_or_else(|| {
        let message = format!("there is no task {} yet at this commit", clean(name));
        Failure::new(Exit::NotFound, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_debuggers_read_them() {
        for (line, order) in [
            ("", Order::Next(1)),
            ("n 5\n", Order::Next(5)),
            (" p ", Order::Previous(1)),
            ("g 14", Order::Go(14)),
            ("g last", Order::Last),
            ("g ring#2", Order::Find("ring#2".to_owned())),
            ("t", Order::Tasks(None)),
            ("t ring", Order::Tasks(Some("ring".to_owned()))),
            ("q", Order::Quit),
        ] {
            assert_eq!(Order::of(line), Ok(order), "{line}");
        }
        assert!(Order::of("n x").is_err());
        assert!(Order::of("g").is_err());
        assert_eq!(Order::of("\x1b[2J"), Err(" [2J is no command; h lists them".to_owned()));
    }
}
