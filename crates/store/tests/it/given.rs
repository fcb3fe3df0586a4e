//! Commits to test with.

use engine::store::{Commit, Head};
use kernel::{ExecutionId, Timestamp};

/// Checks that the counters in a file say what a full count says.
pub(crate) fn assert_counted(path: &std::path::Path) {
    const COUNTED: &str = "SELECT machine, name, status, closed, finished, child, count FROM tally";
    const THERE: &str = "SELECT machine, name, status, closed, \
         closed = 1 AND ended_at IS NOT NULL AS finished, parent IS NOT NULL AS child, count(*) \
         FROM execution GROUP BY machine, name, status, closed, finished, child";
    let file = rusqlite::Connection::open(path).expect("it opens");
    let lines = |sql: &str| -> Vec<Vec<i64>> {
        let mut query = file.prepare(&format!("{sql} ORDER BY 1, 2, 3, 4, 5, 6")).expect("SQL");
        let line = |row: &rusqlite::Row<'_>| (0..7).map(|column| row.get(column)).collect();
        query.query_map([], line).expect("it counts").map(|line| line.expect("numbers")).collect()
    };
    assert_eq!(lines(COUNTED), lines(THERE));
}

/// A commit of an execution that runs, after `expect` others.
pub(crate) fn commit(id: &str, expect: u64, events: String) -> Commit {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let head = Head {
        id: ExecutionId::new(id),
        version: expect + 1,
        name: "watch".into(),
        definition_version: 1,
        status: "RUNNING",
        closed: false,
        correlation_id: None,
        parent: None,
        priority: 0,
        created_at: now,
        updated_at: now,
        ended_at: None,
        wake_at: None,
        reason: None,
        failed_references: "".into(),
        event: None,
        input_size: 0,
        output_size: 0,
    };
    Commit {
        head,
        expect,
        events,
        plans: Vec::new(),
        queue: Vec::new(),
        send: Vec::new(),
        received: Vec::new(),
        records: Vec::new(),
        forget: false,
        deferrable: false,
        text: Some(format!("{id} version{expect}")),
        brief: None,
    }
}

/// The same, as its last.
pub(crate) fn last_commit(id: &str, expect: u64, events: String) -> Commit {
    let commit = commit(id, expect, events);
    let ended_at = Some(commit.head.created_at);
    let head = Head { status: "COMPLETED", closed: true, ended_at, ..commit.head };
    Commit { head, ..commit }
}
