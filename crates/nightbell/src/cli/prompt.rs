//! Asks for what must not be seen: secrets and passwords, at the terminal without echo or from standard
//! input, and never as an argument, which everybody on the machine could see.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::failure::Failure;

/// Asks for a line at the terminal, which does not show what is typed.
///
/// # Errors
/// The terminal cannot be read.
pub(super) fn silent(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    let mut stderr = io::stderr();
    write!(stderr, "{question} (not shown): ")?;
    stderr.flush()?;
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let mut line = Zeroizing::new(String::new());
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    writeln!(stderr)?;
    read?;
    Ok(line)
}

/// Asks for a line at the terminal.
///
/// # Errors
/// The terminal cannot be read.
pub(super) fn open(question: &str) -> anyhow::Result<String> {
    let mut stderr = io::stderr();
    write!(stderr, "{question}: ")?;
    stderr.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// A password that is there already: asked for at a terminal, else the next line of standard input.
///
/// # Errors
/// There is none.
pub(super) fn password(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let mut line = if io::stdin().is_terminal() {
        silent(question)?
    } else {
        let mut line = Zeroizing::new(String::new());
        let read = io::stdin().lock().read_line(&mut line);
        read.map_err(|error| Failure::error(format!("cannot read standard input: {error}")))?;
        line
    };
    let length = line
        .strip_suffix('\n')
        .map_or(line.len(), |text| text.strip_suffix('\r').unwrap_or(text).len());
    line.truncate(length);
    if line.is_empty() {
        return Err(Failure::usage("there is no password on standard input")
            .with_hint("type it at a terminal, or give it as a line on standard input")
            .into());
    }
    Ok(line)
}

/// A password that somebody chooses: at a terminal it is asked for twice.
///
/// # Errors
/// There is none, or the two differ.
pub(super) fn new_password(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let first = password(question)?;
    if io::stdin().is_terminal() && *password("The same again")? != *first {
        return Err(Failure::usage("the two passwords differ").into());
    }
    Ok(first)
}
