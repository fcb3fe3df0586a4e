//! What the kinds themselves think of settings: the reader passes these through, whoever tells
//! receivers and asks sources knows what they mean.

use serde_json::Value;

use super::reader::{Level, Report};
use super::yaml::{Content, Node};
use super::{File, Kind, MonitorDef};
use crate::place::Place;

/// Knows what can be wrong with settings.
pub trait Judge {
    /// What there is to say about the settings of a kind of receiver.
    fn receiver(&self, kind: &str, settings: &Value) -> Vec<Remark>;

    /// What there is to say about the settings of a kind of monitor, those of its source included.
    fn monitor(&self, kind: Kind, settings: &Value) -> Vec<Remark>;
}

/// One thing to say about settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Whether they can be used all the same.
    pub level: Level,
    /// The setting, if it is about one.
    pub setting: Option<String>,
    /// What is wrong, in a sentence.
    pub message: String,
}

impl Remark {
    /// Something that makes the settings useless.
    pub fn error(setting: Option<&str>, message: impl Into<String>) -> Self {
        Self { level: Level::Error, setting: setting.map(str::to_owned), message: message.into() }
    }

    /// Something that is perhaps not meant so.
    pub fn warning(setting: Option<&str>, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, setting: setting.map(str::to_owned), message: message.into() }
    }
}

/// Finds nothing wrong.
pub(super) struct Lenient;

impl Judge for Lenient {
    fn receiver(&self, _: &str, _: &Value) -> Vec<Remark> {
        Vec::new()
    }

    fn monitor(&self, _: Kind, _: &Value) -> Vec<Remark> {
        Vec::new()
    }
}

/// Adds what is said about each receiver and monitor of a file, at its place.
pub(super) fn judge(file: &File, root: &Node, judge: &dyn Judge, report: &mut Report) {
    for (name, receiver) in &file.receivers {
        let path = ["receivers", name, &receiver.kind];
        tell(root, &path, judge.receiver(&receiver.kind, &receiver.settings.parse()), report);
    }
    for monitor in &file.monitors {
        let MonitorDef { name, kind, .. } = monitor;
        let settings = file.with_source(monitor).parse();
        let strays = file.rebound(monitor).map(|(setting, why)| Remark::error(Some(setting), why));
        let remarks = strays.into_iter().chain(judge.monitor(*kind, &settings)).collect();
        tell(root, &["monitors", name, kind.as_str()], remarks, report);
    }
}

fn tell(root: &Node, path: &[&str], remarks: Vec<Remark>, report: &mut Report) {
    for Remark { level, setting, message } in remarks {
        let path: Vec<&str> = path.iter().copied().chain(setting.as_deref()).collect();
        let place = place(root, &path, level);
        match level {
            Level::Error => report.refuse("invalid-setting", place, &path.join("."), message),
            Level::Warning => report.warn("doubtful-setting", place, &path.join("."), message),
        }
    }
}

/// The place of what stands at a path of names and numbers, or of what is nearest to it: of the value
/// for an error, of the name for a warning, as what is unknown is the name.
pub(super) fn place(root: &Node, path: &[&str], level: Level) -> Place {
    let (mut node, mut place) = (root, root.place);
    for name in path {
        if let Content::List(items) = &node.content {
            let Some(item) = name.parse::<usize>().ok().and_then(|at| items.get(at)) else { break };
            (node, place) = (item, item.place);
            continue;
        }
        let Content::Map(members) = &node.content else { break };
        let Some((key, value)) = members.iter().find(|(key, _)| key.text() == Some(name)) else {
            break;
        };
        place = if level == Level::Warning { key.place } else { value.place };
        node = value;
    }
    place
}
