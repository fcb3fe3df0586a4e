//! The guard at the door of an execution: what comes in is sealed and masked before it is decided
//! on, and what is handed out is filled in.
//!
//! Members named `_secrets` are sealed: each text or number below them becomes a sealed value (see
//! `kernel::expression`), which flows on as text and is opened only at a hand-off. A report of a
//! task that was handed secrets is searched for them, and for what it reports under `_secrets`
//! itself.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

use kernel::alert;
use kernel::expression::{SEALED_PREFIX, Secrets, mentions_secret, next_sealed, resolve_secrets};
use kernel::graph::{Amendment, Control, Edit, Execution, Input, Post};
use kernel::rewrite::{Leaf, Rewrite, mentions};
use kernel::schedule;
use kernel::{ExecutionId, Json, TaskId};

use super::mask::Mask;
use super::{Shelf, Vault};
use crate::engine::{Engine, Error};
use crate::machine::{AnyInput, AnyMachine};
use crate::parts::Values;
use crate::store::LogLine;

/// The member below which everything is secret.
const SECRETS_MEMBER: &str = "_secrets";
/// Bytes of the shortest value, in its quotes, that is masked where its task was not given it.
const UNGUESSED_MIN: usize = 10;
/// Executions above one whose secrets are masked in it.
const PARENTS_MAX: usize = 100;
/// What sealed values are sealed for.
const PURPOSE: &str = "sealed";

impl Vault {
    /// The input as it may be decided on and stored.
    pub(crate) fn guard(&self, state: &AnyMachine, input: AnyInput) -> AnyInput {
        match (input, state.execution()) {
            (AnyInput::Execution(input), Some(state)) => self.guard_input(state, *input).into(),
            (AnyInput::Schedule(schedule::Input::Define(mut spec)), _) => {
                spec.start_workflow_request = self.seal(&spec.start_workflow_request);
                AnyInput::Schedule(schedule::Input::Define(spec))
            }
            (AnyInput::Monitor(alert::Input::Define(mut spec)), _) => {
                spec.monitor.settings = self.seal(&spec.monitor.settings);
                AnyInput::Monitor(alert::Input::Define(spec))
            }
            (input, _) => input,
        }
    }

    /// The settings of what a monitors file defines, as they may be stored.
    pub(crate) fn guard_file(&self, file: &mut alert::definition::File) {
        for settings in file.sources.values_mut() {
            *settings = self.seal(settings);
        }
        for receiver in file.receivers.values_mut() {
            receiver.settings = self.seal(&receiver.settings);
        }
        let creatable = file.ping_keys.values_mut().filter_map(|key| key.create.as_deref_mut());
        for monitor in file.monitors.iter_mut().chain(creatable) {
            monitor.settings = self.seal(&monitor.settings);
        }
    }

    fn guard_input(&self, state: &Execution, input: Input) -> Input {
        match input {
            Input::Start(mut start) => {
                start.input = self.seal(&start.input);
                Input::Start(start)
            }
            Input::Branch(mut branch) => {
                let sealed = |edit: Edit| {
                    let nested = self.seal(&edit.nested());
                    edit.with_nested(&nested)
                };
                branch.edits = branch.edits.into_iter().map(sealed).collect();
                Input::Branch(branch)
            }
            Input::Report(mut report) => {
                let mut values = self.handed(state, report.sequence);
                if let Some(output) = report.output.take() {
                    report.output = Some(self.seal_noting(&output, &mut values));
                }
                if let Some(mask) = Mask::of(&values) {
                    report.output = report.output.map(|output| mask.json(&output));
                    report.metadata = report.metadata.map(|notes| mask.json(&notes));
                    let reason = report.reason.take();
                    report.reason = reason.map(|r| mask.text(&r).map_or(r, Into::into));
                }
                Input::Report(report)
            }
            Input::Post(post) => Input::Post(Post { payload: self.seal(&post.payload), ..post }),
            Input::Control(control) => Input::Control(self.guard_control(control)),
            input => input,
        }
    }

    fn guard_control(&self, control: Control) -> Control {
        let seal = |json: Option<Json>| json.map(|json| self.seal(&json));
        match control {
            Control::Restart { plan, input, correlation_id } => {
                Control::Restart { plan, input: seal(input), correlation_id }
            }
            Control::Rerun { sequence, input, amendment } => {
                let amended = Amendment { input: seal(amendment.input), ..amendment };
                Control::Rerun { sequence, input: seal(input), amendment: amended }
            }
            Control::Jump { reference, input } => Control::Jump { reference, input: seal(input) },
            Control::Upgrade { plan, input, outputs } => {
                let outputs = outputs.into_iter().map(|(name, output)| (name, self.seal(&output)));
                Control::Upgrade { plan, input: seal(input), outputs: outputs.collect() }
            }
            Control::Skip { reference, input, output } => {
                Control::Skip { reference, input: seal(input), output: seal(output) }
            }
            Control::SetVariables { set } => Control::SetVariables { set: self.seal(&set) },
            control => control,
        }
    }

    /// The input of a task of an execution with secrets filled in, and their names: only for the hands of
    /// whoever does the task.
    pub(crate) fn resolve(&self, state: &Execution, input: &Json) -> (Json, BTreeSet<String>) {
        let present = Present { vault: self, state: Some(state), used: RefCell::default() };
        (resolve_secrets(input, &present), present.used.into_inner())
    }

    /// What an author wrote, with secrets filled in.
    pub(crate) fn resolve_written(&self, written: &Json) -> Json {
        resolve_secrets(written, &Present { vault: self, state: None, used: RefCell::default() })
    }

    /// Why a task of an execution cannot be handed out now: it needs a secret that is kept elsewhere and
    /// cannot be read.
    pub(crate) fn lacking(&self, state: &Execution, sequence: u32) -> Option<String> {
        let task = state.task(sequence)?;
        let wanted = Wanted { vault: self, state, why: RefCell::default() };
        if mentions_secret(&task.input) {
            resolve_secrets(&task.input, &wanted);
        }
        let names = state.policy_of(task).map_or(&[][..], |policy| &policy.runtime_metadata);
        let by_name = || names.iter().find_map(|name| self.outside.lacking(name));
        wanted.why.into_inner().or_else(by_name)
    }

    /// Whether any secret that is kept elsewhere cannot be read.
    pub(crate) fn lacks_any(&self) -> bool {
        self.outside.lacks_any()
    }

    fn seal(&self, json: &Json) -> Json {
        self.seal_noting(json, &mut Vec::new())
    }

    /// Seals what stands below `_secrets`, and notes the values.
    fn seal_noting(&self, json: &Json, values: &mut Vec<Json>) -> Json {
        let noted = RefCell::new(values);
        let concerns = |text: &str| mentions(text, SECRETS_MEMBER);
        let replace = |leaf: Leaf<'_>, marked: bool| {
            let value = match leaf {
                // What stands for a secret needs no seal, and could not be filled in under one.
                Leaf::Text(text) if next_sealed(text, 0).is_some() => return None,
                Leaf::Text(text) if !text.is_empty() => Json::of(&text),
                Leaf::Number(text) | Leaf::Deep(text) => Json::from_text(text.to_owned()).ok()?,
                Leaf::Text(_) | Leaf::Name(_) => return None,
            };
            if !marked || mentions_secret(&value) {
                return None;
            }
            let sealed = self.key.seal(PURPOSE, value.text());
            noted.borrow_mut().push(value);
            Some(Json::of(&format!("{SEALED_PREFIX}{sealed}:")))
        };
        Rewrite { concerns: &concerns, mark: Some(SECRETS_MEMBER), replace: &replace }.apply(json)
    }

    /// A value as it may be stored; [`Engine::resolve`] opens it again.
    pub fn sealed(&self, value: &str) -> String {
        format!("{SEALED_PREFIX}{}:", self.key.seal(PURPOSE, Json::of(&value).text()))
    }

    fn open_sealed(&self, sealed: &str) -> Option<Json> {
        let inner = sealed.strip_prefix(SEALED_PREFIX)?.strip_suffix(':')?;
        Json::from_text(self.key.open(PURPOSE, inner)?).ok()
    }

    /// Everything secret that a task was given, with the values that it may have been before.
    fn handed(&self, state: &Execution, sequence: u32) -> Vec<Json> {
        let Some(task) = state.task(sequence) else { return Vec::new() };
        let mut values = Vec::new();
        if mentions_secret(&task.input) {
            for changes in 0.. {
                let (found, handed) = (Cell::new(changes == 0), RefCell::default());
                let known = Known { vault: self, state, changes, found, handed };
                resolve_secrets(&task.input, &known);
                values.extend(known.handed.into_inner());
                if !known.found.get() {
                    break;
                }
            }
        }
        let names = state.policy_of(task).map_or(&[][..], |policy| &policy.runtime_metadata);
        values.extend(names.iter().flat_map(|name| self.values_of(name)).map(|v| Json::of(&v)));
        values
    }
}

/// Fills in what there is now.
struct Present<'a> {
    vault: &'a Vault,
    /// The execution whose data it is; absent for what an author wrote.
    state: Option<&'a Execution>,
    /// The names of the secrets that were filled in.
    used: RefCell<BTreeSet<String>>,
}

impl Secrets for Present<'_> {
    fn secret(&self, name: &str) -> Option<String> {
        let secret = self.vault.get(Shelf::Secrets, name)?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(secret)
    }

    fn open(&self, sealed: &str) -> Option<Json> {
        self.vault.open_sealed(sealed)
    }

    fn named(&self, reference: &str) -> Option<String> {
        self.vault.key.named(reference)
    }

    fn honours(&self, name: &str) -> bool {
        self.state.is_none_or(|state| state.lets_data_name(name))
    }
}

/// Notes why the first secret that is needed has no value.
struct Wanted<'a> {
    vault: &'a Vault,
    state: &'a Execution,
    why: RefCell<Option<String>>,
}

impl Secrets for Wanted<'_> {
    fn secret(&self, name: &str) -> Option<String> {
        let mut why = self.why.borrow_mut();
        if why.is_none() {
            *why = self.vault.outside.lacking(name);
        }
        None
    }

    fn open(&self, _sealed: &str) -> Option<Json> {
        None
    }

    fn named(&self, reference: &str) -> Option<String> {
        self.vault.key.named(reference)
    }

    fn honours(&self, name: &str) -> bool {
        self.state.lets_data_name(name)
    }
}

/// Notes what is filled in, with secrets as they are known to have been so many changes ago.
struct Known<'a> {
    vault: &'a Vault,
    state: &'a Execution,
    changes: usize,
    /// Something was that old.
    found: Cell<bool>,
    handed: RefCell<Vec<Json>>,
}

impl Secrets for Known<'_> {
    fn secret(&self, name: &str) -> Option<String> {
        let value = self.vault.values_of(name).into_iter().nth(self.changes)?;
        self.found.set(true);
        Some(value)
    }

    fn open(&self, sealed: &str) -> Option<Json> {
        // A sealed value never changes.
        if self.changes > 0 { None } else { self.vault.open_sealed(sealed) }
    }

    fn named(&self, reference: &str) -> Option<String> {
        self.vault.key.named(reference)
    }

    fn honours(&self, name: &str) -> bool {
        self.state.lets_data_name(name)
    }

    fn handed(&self, value: &Json) {
        self.handed.borrow_mut().push(value.clone());
    }
}

impl Values for Vault {
    fn secret(&self, name: &str) -> Option<String> {
        self.get(Shelf::Secrets, name)
    }

    fn environment(&self, name: &str) -> Option<String> {
        self.get(Shelf::Environment, name)
    }

    fn secret_names(&self) -> Vec<String> {
        self.list(Shelf::Secrets).into_iter().map(|listed| listed.name).collect()
    }

    fn environment_names(&self) -> Vec<String> {
        self.list(Shelf::Environment).into_iter().map(|listed| listed.name).collect()
    }
}

/// Masks what the tasks of an execution were handed.
pub struct RunMask(Option<Mask>);

impl RunMask {
    /// The JSON with every occurrence masked, in whatever form.
    pub fn json(&self, json: Json) -> Json {
        match &self.0 {
            Some(mask) => mask.json(&json),
            None => json,
        }
    }
}

impl fmt::Debug for RunMask {
    // It holds the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunMask(…)")
    }
}

impl Engine {
    /// Named secrets and environment values.
    pub fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    /// What the tasks of an execution were handed, and those of the executions above it: a worker that was
    /// not given a value may tell it all the same. Values of less than eight characters are not among it.
    ///
    /// # Errors
    /// The store's.
    pub async fn mask_of(&self, id: &ExecutionId) -> Result<RunMask, Error> {
        let (mut values, mut next) = (Vec::new(), Some(id.clone()));
        for _ in 0..PARENTS_MAX {
            let Some(id) = next.take() else { break };
            let look = |state: &Execution| {
                let each = state.tasks().map(|task| self.inner.vault.handed(state, task.sequence));
                (
                    each.flatten().collect::<Vec<_>>(),
                    state.parent.as_ref().map(|it| it.execution.clone()),
                )
            };
            let Some((handed, parent)) = self.read(&id, look).await? else { break };
            values.extend(handed);
            next = parent;
        }
        // Who starts a run could otherwise find out a short one: by what is masked of a list of guesses.
        values.retain(|value| value.text().len() >= UNGUESSED_MIN);
        Ok(RunMask(Mask::of(&values)))
    }

    /// Masks in lines for a task's log what the task was handed.
    ///
    /// # Errors
    /// The store's.
    pub async fn mask_lines(&self, task: &TaskId, lines: &mut [LogLine]) -> Result<(), Error> {
        let look = |state: &Execution| self.inner.vault.handed(state, task.sequence);
        let values = self.read(&task.execution, look).await?.unwrap_or_default();
        if let Some(mask) = Mask::of(&values) {
            for line in lines {
                if let Some(masked) = mask.text(&line.text) {
                    line.text = masked;
                }
            }
        }
        Ok(())
    }
}
