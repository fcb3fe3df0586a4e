//! The command line: nouns, then verbs.
//!
//! Everything but `serve`, `dev` and `config` is a client of the REST API and can do nothing that
//! the API cannot; what only judges files needs no server. Data goes to standard output and messages to standard error, so that output can
//! be piped; the exit code says what happened (see [`Exit`]).

mod audit;
mod auth;
pub(crate) mod backtest;
mod batch;
mod browser;
mod check;
mod client;
mod cluster;
mod config;
mod document;
#[cfg(test)]
mod documented;
mod event;
mod failure;
mod grant;
mod group;
mod import;
mod inbound;
mod incident;
mod input;
mod key;
mod login;
mod login_file;
mod manual;
mod mcp;
mod moment;
mod monitor;
pub(crate) mod offline;
mod oncall;
mod orchestration;
mod output;
pub(crate) mod ping;
mod project;
mod prompt;
mod queue;
mod receiver;
mod reference;
mod report;
mod role;
mod route;
mod run;
mod schedule;
mod schema;
mod screen;
mod secret;
mod silence;
mod status_page;
mod store;
mod table;
mod task;
mod test;
mod trigger;
mod user;
mod webhook;
mod worker;
mod workflow;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand};
use serde_json::json;

use crate::config::{ConfigError, DevFlags, Flags};
use crate::robopager::Arguments;
use crate::tour::ClockMode;
use client::Client;
pub(crate) use failure::{Exit, Failure};
use output::{Format, Output};

const AFTER_HELP: &str = "\
First steps:
  nightbell dev                                   a server with examples, in a throw-away store
  nightbell workflow create -f flow.json          register a definition
  nightbell run start flow -i '{\"n\": 1}' --wait   run it and print its output
  nightbell run list --status FAILED              what went wrong
  nightbell run why ID                            why it does not continue

Environment:
  NIGHTBELL_URL          the server, http://127.0.0.1:8080 by default; unix:/PATH for its socket
  CONDUCTOR_SERVER_URL   used if NIGHTBELL_URL is not set
  NIGHTBELL_KEY          the key to use, if the server asks for one (`auth = \"on\"`); without it,
                         what `nightbell login` has kept for this server
  NIGHTBELL_CA_FILE      authorities (PEM) to trust for https, in place of the system's
  NIGHTBELL_CLIENT_CERT  certificate and key (PEM) to show, if the server asks for one
  NO_COLOR               disables colours, whatever its value

Exit codes:
  0 ok   1 error   2 usage   3 not found   4 conflict   5 workflow failed   6 server unreachable
  7 `plan` has changes";

const URL_HELP: &str = "\
Address of the server [env: NIGHTBELL_URL, CONDUCTOR_SERVER_URL] [default: http://127.0.0.1:8080]";

/// Durable workflows that watch other systems and notify people when something is wrong.
#[derive(Debug, Parser)]
#[command(name = "nightbell", version, after_help = AFTER_HELP, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every client command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Global {
    /// How to print data: a table for people, or JSON for programs
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    output: Format,
    /// The same as `-o json`
    #[arg(long, global = true, action = ArgAction::SetTrue, conflicts_with = "output")]
    json: bool,
    /// Address of the server.
    #[arg(long, global = true, value_name = "URL", help = URL_HELP)]
    url: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    ///
    /// One process, one port, one file: the REST API, the engine and the store. Every option can
    /// also be given in the environment or in nightbell.toml; `nightbell config` prints such a file.
    #[command(after_help = "\
Examples:
  nightbell serve
  nightbell serve --auth on --listen 0.0.0.0:8080 --store sqlite:/var/lib/nightbell/nightbell.db
  nightbell serve --load definitions/ --load nightly.json")]
    Serve(Flags),
    /// Run the two-minute tour: a server with examples, in a temporary store
    #[command(after_help = "\
Examples:
  nightbell dev                  then, in another terminal: nightbell run list --watch
  nightbell dev --clock skip     for tests of workers: no examples, and waiting takes no time")]
    Dev(DevArguments),
    /// Run a Robopager checklist: as a service, or one check of it
    ///
    /// Uses the checklist.yaml and the etl.cfg of Robopager unchanged. The service is the server
    /// with the checklist loaded; it takes its settings from the environment and nightbell.toml.
    #[command(after_help = "\
Examples:
  nightbell robopager -cf core                                  the service: cfg/checklist.yaml
  nightbell robopager -y night.yaml -cf core -p /etc/etl.cfg
  nightbell robopager -c unique_email_check -cf core            one check: exits 0, 1 or 2

Environment:
  NIGHTBELL_PAGERDUTY_URL   PagerDuty, if not at its own address
  NIGHTBELL_IMAP_URL        the mailbox, if not at Gmail: imaps://HOST:PORT")]
    Robopager(Arguments),
    /// Heartbeats: run jobs that a monitor waits for
    #[command(subcommand)]
    Ping(ping::Verb),
    #[command(flatten)]
    Client(ClientCommand),
}

/// How to serve what is thrown away.
#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    #[command(flatten)]
    pub(crate) flags: DevFlags,
    /// real, or skip: after 100 ms without work in progress the clock jumps to the next timer,
    /// schedule or retry; skip=2s waits for 2 s
    #[arg(long, value_name = "CLOCK", default_value = "real")]
    pub(crate) clock: ClockMode,
}

/// Everything that does not serve.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Find mistakes in the files of a folder before anything runs; needs no server
    ///
    /// Reads all files as --load would, and checks them together: workflows, task definitions,
    /// schedules, event handlers, triggers and monitors. Finds what cannot run, and what runs but
    /// is probably a mistake: misspelt inputs, outputs, columns and cases, workflows that do not
    /// exist, routes that nothing reaches. Each finding has file, line, reason, hint and code.
    #[command(after_help = "\
Examples:
  nightbell check definitions/
  nightbell check definitions/ --strict              also fail on notes
  nightbell check . -o sarif > nightbell.sarif       for code reviews

Exits with 1 if there are errors or warnings. Notes may be intended, but are worth a look.")]
    Check(check::Arguments),
    /// Definitions of workflows: what can run
    #[command(subcommand)]
    Workflow(workflow::Verb),
    /// Runs of workflows: what runs and what ran
    #[command(subcommand)]
    Run(run::Verb),
    /// Tasks: their definitions, and the work itself
    #[command(subcommand)]
    Task(task::Verb),
    /// Queues of tasks that wait for a worker
    #[command(subcommand)]
    Queue(queue::Verb),
    /// Schedules: runs that are started by cron expressions
    #[command(subcommand)]
    Schedule(schedule::Verb),
    /// Batches: one action on all runs that a search finds
    #[command(subcommand)]
    Batch(batch::Verb),
    /// Events: messages and event handlers
    #[command(subcommand)]
    Event(event::Verb),
    /// Triggers: methods and paths that start runs, or show them
    #[command(subcommand)]
    Trigger(trigger::Verb),
    /// Public status pages: the public status of monitors, and posts
    #[command(subcommand)]
    StatusPage(status_page::Verb),
    /// Webhooks: addresses to which other systems send payloads that start runs and complete
    /// waiting tasks
    #[command(subcommand)]
    Webhook(webhook::Verb),
    /// Schemas by which inputs and outputs are validated
    #[command(subcommand)]
    Schema(schema::Verb),
    /// Orchestrations: instances of orchestrators and of workflows, in the model of Durable
    /// Functions
    #[command(subcommand)]
    Orchestration(orchestration::Verb),
    /// Durable Task workers: who is connected
    #[command(subcommand)]
    Worker(worker::Verb),
    /// Monitors: what is watched
    #[command(subcommand)]
    Monitor(monitor::Verb),
    /// Inbounds: monitors that receive the alerts of other systems, and their keys
    #[command(subcommand)]
    Inbound(inbound::Verb),
    /// Incidents: what is wrong, and what people do about it
    #[command(subcommand)]
    Incident(incident::Verb),
    /// Silences: which incidents are not notified, and when
    #[command(subcommand)]
    Silence(silence::Verb),
    /// Receivers: who is notified, and how
    #[command(subcommand)]
    Receiver(receiver::Verb),
    /// The cluster: servers that share the store
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// On call: who is on call, hand-overs, and gaps
    #[command(subcommand)]
    Oncall(oncall::Verb),
    /// Routes: which receivers would be notified of what
    #[command(subcommand)]
    Route(route::Verb),
    /// Secrets that workflows use; they can be written, but not read
    #[command(subcommand)]
    Secret(secret::Verb),
    /// Show what applying a folder of definitions would change on the server, and what that affects
    Plan(project::Plan),
    /// Apply a folder of definitions, or a saved plan, to the server
    Apply(project::Apply),
    /// Keys: who may use the server, and for what
    #[command(subcommand)]
    Key(key::Verb),
    /// Users: people who sign in with a name and a password
    #[command(subcommand)]
    User(user::Verb),
    /// Groups: users who share grants
    #[command(subcommand)]
    Group(group::Verb),
    /// Sign in as a user; commands use it where `NIGHTBELL_KEY` is not set
    ///
    /// Asks for the password, or reads it as a line of standard input; with `--sso` a browser asks, by the
    /// OpenID provider that the server is set up for. A token is kept for this server
    /// alone, in a file below ~/.config/nightbell/logins that only you may read (`NIGHTBELL_LOGIN_DIR` says
    /// another folder), and renewed by the commands. It ends after 12 hours without use, after 7 days, with
    /// `nightbell logout`, and when the server stops.
    #[command(after_help = "\
Examples:
  nightbell login --user ann
  nightbell login --sso                           in a browser, by the provider of the server
  pass show nightbell | nightbell login --user ann --url https://bell.example.com")]
    Login(login::In),
    /// Sign out: end the session of `nightbell login`
    Logout(login::Out),
    /// Grants: the roles of keys, users and groups, and on what
    #[command(subcommand)]
    Grant(grant::Verb),
    /// Explain access decisions, and find weaknesses of the access control
    #[command(subcommand)]
    Auth(auth::Verb),
    /// Roles and their permissions
    #[command(subcommand)]
    Role(role::Verb),
    /// Run the tests beside definitions, in virtual time
    ///
    /// Test files are named *.test.yaml, *.test.yml or *.test.json. They test workflows, monitors,
    /// schedules and routes with the real engine, without a server and without the network. Exits
    /// with 0 if all passed, 5 if a test failed, 1 if files are wrong.
    #[command(after_help = "\
Examples:
  nightbell test                          all tests in this folder and below
  nightbell test definitions --filter night
  nightbell test --trace --junit report.xml")]
    Test(test::Arguments),
    /// The audit ledger: changes, refused requests, and sign-ins
    #[command(subcommand)]
    Audit(audit::Verb),
    /// The store: initialize and copy it
    #[command(subcommand)]
    Store(store::Verb),
    /// Print the settings of the server as a commented file
    Config(config::Arguments),
    /// Serve tools for assistants by the Model Context Protocol (stdio)
    ///
    /// The tools are commands of this binary: what is red, why, who is on call, previews, tests,
    /// plans. They use the server and the key of the environment, so the key's roles limit them;
    /// acting tools are offered only with --allow. Assistants start this command themselves.
    #[command(after_help = "\
Examples:
  nightbell mcp                             asks, and changes nothing
  nightbell mcp --allow acknowledge,retry   may do these two as well")]
    Mcp(mcp::Arguments),
    /// Convert configurations of other tools into monitors files: Gatus, Uptime Kuma, crontabs,
    /// Healthchecks and others
    ///
    /// Writes comments for everything that has no equivalent, and a summary to standard error.
    /// Needs no server. The output passes `nightbell check`.
    #[command(subcommand)]
    Import(import::Verb),
    /// Print the completion script of a shell
    #[command(after_help = "\
Examples:
  nightbell completions bash | sudo tee /usr/share/bash-completion/completions/nightbell
  nightbell completions zsh > ~/.zfunc/_nightbell
  nightbell completions fish > ~/.config/fish/completions/nightbell.fish")]
    Completions(manual::Completions),
    /// Write the manual into a folder, one page per command
    #[command(after_help = "\
Example:
  mkdir -p man && nightbell man man && man -l man/nightbell.1")]
    Man(manual::Man),
    /// Write the generated pages of the documentation into a folder
    #[command(hide = true)]
    Reference(reference::Arguments),
    /// Write the JSON schemas of definitions, monitors, schedules and tests into a folder, for editors
    ///
    /// An editor that knows them completes keys, and underlines a misspelt one while it is written. A
    /// server has the same under /schemas.
    #[command(after_help = "\
Example:
  nightbell editor-schemas .schemas")]
    EditorSchemas(manual::EditorSchemas),
    /// Print the version
    Version,
}

/// Runs a client command.
///
/// # Errors
/// A [`Failure`] with its exit code, or anything else, which is exit code 1.
pub(crate) fn run(command: ClientCommand, global: &Global) -> anyhow::Result<()> {
    let format = if global.json { Format::Json } else { global.output };
    let output = Output::new(format);
    let fits = match format {
        Format::Table | Format::Json => true,
        Format::Sarif => matches!(command, ClientCommand::Check(_)),
        Format::Ics => {
            matches!(
                command,
                ClientCommand::Schedule(schedule::Verb::Calendar(_))
                    | ClientCommand::Oncall(oncall::Verb::Calendar(_))
            )
        }
        Format::Csv => matches!(command, ClientCommand::Monitor(monitor::Verb::Samples(_))),
        Format::Md | Format::Html => {
            matches!(
                command,
                ClientCommand::Incident(incident::Verb::Report { .. })
                    | ClientCommand::Run(run::Verb::Report { .. })
            )
        }
    };
    if !fits {
        let hint = "`check` writes SARIF, `schedule calendar` and `oncall calendar` iCalendar, \
                    `monitor samples` CSV, `incident report` and `run report` Markdown and HTML; use -o json";
        return Err(Failure::usage("this command does not support this output format")
            .with_hint(hint)
            .into());
    }
    match command {
        ClientCommand::Config(arguments) => return config::run(&arguments, &output),
        ClientCommand::Test(arguments) => return test::run(&arguments, &output),
        ClientCommand::Completions(arguments) => return manual::completions(&arguments),
        ClientCommand::Mcp(arguments) => return mcp::run(&arguments, global.url.as_deref()),
        ClientCommand::Man(arguments) => return manual::man(&arguments, &output),
        ClientCommand::Reference(arguments) => return reference::write(&arguments),
        ClientCommand::EditorSchemas(arguments) => {
            return manual::editor_schemas(&arguments, &output);
        }
        ClientCommand::Store(verb) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return runtime.block_on(store::run(verb, &output));
        }
        ClientCommand::Import(verb) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return runtime.block_on(import::run(verb, &output));
        }
        ClientCommand::Version => {
            let version = env!("CARGO_PKG_VERSION");
            return match format {
                Format::Table => output.line(format_args!("nightbell {version}")),
                _ => output.json(&json!({ "version": version })),
            };
        }
        _ => {}
    }
    let signs = matches!(command, ClientCommand::Login(_) | ClientCommand::Logout(_));
    let client = Client::new(global.url.as_deref(), !signs)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            ClientCommand::Check(arguments) => check::run(&arguments, &client, &output).await,
            ClientCommand::Workflow(verb) => workflow::run(verb, &client, &output).await,
            ClientCommand::Run(verb) => run::run(verb, &client, &output).await,
            ClientCommand::Task(verb) => task::run(verb, &client, &output).await,
            ClientCommand::Queue(verb) => queue::run(verb, &client, &output).await,
            ClientCommand::Schedule(verb) => schedule::run(verb, &client, &output).await,
            ClientCommand::Batch(verb) => batch::run(verb, &client, &output).await,
            ClientCommand::Event(verb) => event::run(verb, &client, &output).await,
            ClientCommand::Trigger(verb) => trigger::run(verb, &client, &output).await,
            ClientCommand::StatusPage(verb) => status_page::run(verb, &client, &output).await,
            ClientCommand::Webhook(verb) => webhook::run(verb, &client, &output).await,
            ClientCommand::Schema(verb) => schema::run(verb, &client, &output).await,
            ClientCommand::Orchestration(verb) => orchestration::run(verb, &client, &output).await,
            ClientCommand::Worker(verb) => worker::run(verb, &client, &output).await,
            ClientCommand::Monitor(verb) => monitor::run(verb, &client, &output).await,
            ClientCommand::Inbound(verb) => inbound::run(verb, &client, &output).await,
            ClientCommand::Incident(verb) => incident::run(verb, &client, &output).await,
            ClientCommand::Silence(verb) => silence::run(verb, &client, &output).await,
            ClientCommand::Cluster(verb) => cluster::run(verb, &client, &output).await,
            ClientCommand::Receiver(verb) => receiver::run(verb, &client, &output).await,
            ClientCommand::Oncall(verb) => oncall::run(verb, &client, &output).await,
            ClientCommand::Route(verb) => route::run(verb, &client, &output).await,
            ClientCommand::Secret(verb) => secret::run(verb, &client, &output).await,
            ClientCommand::Plan(arguments) => project::plan(arguments, &client, &output).await,
            ClientCommand::Apply(arguments) => project::apply(arguments, &client, &output).await,
            ClientCommand::Audit(verb) => audit::run(verb, &client, &output).await,
            ClientCommand::Key(verb) => key::run(verb, &client, &output).await,
            ClientCommand::User(verb) => user::run(verb, &client, &output).await,
            ClientCommand::Group(verb) => group::run(verb, &client, &output).await,
            ClientCommand::Login(arguments) => login::login(arguments, &client, &output).await,
            ClientCommand::Logout(arguments) => login::logout(arguments, &client, &output).await,
            ClientCommand::Grant(verb) => grant::run(verb, &client, &output).await,
            ClientCommand::Auth(verb) => auth::run(verb, &client, &output).await,
            ClientCommand::Role(verb) => role::run(verb, &client, &output).await,
            ClientCommand::Test(_)
            | ClientCommand::Store(_)
            | ClientCommand::Config(_)
            | ClientCommand::Completions(_)
            | ClientCommand::Man(_)
            | ClientCommand::Reference(_)
            | ClientCommand::EditorSchemas(_)
            | ClientCommand::Mcp(_)
            | ClientCommand::Import(_)
            | ClientCommand::Version => Ok(()),
        }
    })
}

/// Says on standard error what went wrong and what to do next; answers the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let gone = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(gone) {
        // The reader of our output has had enough (`| head`), which is no error.
        return ExitCode::SUCCESS;
    }
    let mut text = format!("error: {error:#}\n");
    let mut exit = Exit::Error;
    if let Some(failure) = error.downcast_ref::<Failure>() {
        exit = failure.exit;
        if exit == Exit::Changes {
            text = format!("{error:#}\n");
        }
        for detail in &failure.details {
            let _ = writeln!(text, "  {}", output::clean(detail));
        }
        for violation in &failure.violations {
            let _ = writeln!(text, "  {violation}");
        }
        if let Some(hint) = &failure.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
    } else if let Some(config) = error.downcast_ref::<ConfigError>() {
        exit = Exit::Usage;
        for problem in &config.problems {
            let _ = writeln!(text, "  {problem}");
        }
    }
    // Nobody is left to tell if standard error is closed.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(exit)
}

/// Asks before something that cannot be undone or touches many things.
///
/// # Errors
/// The answer is no, or standard input is not a terminal and `yes` is not set.
fn confirm(action: &str, things: &[String], yes: bool) -> anyhow::Result<()> {
    const SAMPLE: usize = 5;
    if yes {
        return Ok(());
    }
    let mut question = format!("{action}?\n");
    for thing in things.iter().take(SAMPLE) {
        let _ = writeln!(question, "  {}", output::clean(thing));
    }
    if things.len() > SAMPLE {
        let _ = writeln!(question, "  … and {} more", things.len() - SAMPLE);
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("refusing to {action} without --yes"))
            .with_details(question.lines().skip(1).map(|line| line.trim().to_owned()))
            .with_hint("add --yes to skip the confirmation")
            .into());
    }
    let mut stderr = io::stderr();
    write!(stderr, "{question}Type y to continue: ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::error("aborted; nothing was changed").into())
    }
}
