//! BREAKS: every reader of foreign text and bytes, fed with what nobody would write.
//!
//! A target takes bytes and must neither panic nor go on without an end nor answer 500. The tests of this
//! crate feed each a few hundred inputs that a fixed generator makes of its seeds; `cargo fuzz run` lets a
//! fuzzer that sees which code an input reaches do the same for hours.

mod http;
mod mutate;
mod robopager;
mod text;

pub use mutate::Mutations;

/// A reader, and what it is fed with at first.
pub struct Target {
    /// Its name, of the test and of the corpus.
    pub name: &'static str,
    /// Texts that the reader takes, from which others are made.
    pub seeds: &'static [&'static str],
    /// Words that mean something to the reader.
    pub words: &'static [&'static str],
    /// Feeds it.
    pub feed: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "bodies",
        seeds: &[
            "0[{\"name\":\"w\",\"version\":1,\"tasks\":[{\"name\":\"t\",\"taskReferenceName\":\"t\",\"type\":\"SIMPLE\"}]}]",
            "1{\"name\":\"w\",\"input\":{\"a\":[1,2.5,null,true,\"x\"]}}",
            "2{\"workflowInstanceId\":\"x\",\"taskId\":\"y\",\"status\":\"COMPLETED\",\"outputData\":{}}",
            "3[{\"name\":\"t\",\"retryCount\":3,\"timeoutSeconds\":60}]",
            "4{\"name\":\"e\",\"event\":\"conductor:w\",\"actions\":[{\"action\":\"start_workflow\",\"start_workflow\":{\"name\":\"w\"}}]}",
            "5{\"name\":\"s\",\"cronExpression\":\"0 0 9 * * ?\",\"startWorkflowRequest\":{\"name\":\"w\"}}",
        ],
        words: &[
            "\"type\":\"SWITCH\"",
            "\"FORK_JOIN\"",
            "\"DO_WHILE\"",
            "${workflow.input.a}",
            "\\u0000",
            "1e999",
            "-0",
            "[",
            "{",
            "null",
        ],
        feed: http::body,
    },
    Target {
        name: "paths",
        seeds: &[
            "/api/workflow/x?includeTasks=true",
            "/api/metadata/workflow/w?version=1",
            "/console/runs?q=status:FAILED",
            "/runtime/webhooks/durabletask/instances/a?code=b",
            "/runtime/webhooks/durabletask/instances/a%20b/terminate?taskHub=h&code=nbl_key.a.0.x",
            "/a/abc",
            "/webhook/x",
        ],
        words: &["%00", "%ff", "..", "//", "?", "&", "=", "%2f", "#", ";", "%F0%9F%92%A9"],
        feed: http::path,
    },
    Target {
        name: "search",
        seeds: &[
            "workflowType = 'w' AND status IN (FAILED, RUNNING)",
            "startTime>1700000000000 AND correlationId='a'",
            "*:w status:FAILED \"two words\"",
            "name:etl-* -tag:a started:1h",
        ],
        words: &[
            " AND ",
            " OR ",
            " IN (",
            "'",
            "\"",
            "*",
            ":",
            "<",
            ">",
            "!=",
            "(",
            ")",
            "\\",
            "9999999999999999999",
        ],
        feed: http::search,
    },
    Target {
        name: "webhooks",
        seeds: &[
            "SIGNATURE_BASED\nX-Hub-Signature-256: sha256=00\n{\"a\":1}",
            "SLACK_BASED\nX-Slack-Signature: v0=00\nX-Slack-Request-Timestamp: 1\n{}",
            "STRIPE\nStripe-Signature: t=1,v1=00\n[]",
            "TWITTER\nX-Twitter-Webhooks-Signature: sha256=\n{}",
            "HEADER_BASED\nsource: portal\n{}",
        ],
        words: &["sha256=", "t=", ",v1=", "v0=", "18446744073709551616", "-1", "==", "\n"],
        feed: http::webhook,
    },
    Target {
        name: "tokens",
        seeds: &[
            "Bearer nb_abc_def_12345678",
            "Basic dXNlcjpwYXNz",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.AAAA",
            "bearer  eyJhbGciOiJub25lIn0.e30.",
        ],
        words: &["nb_", "_", ".", "Bearer ", "Basic ", "=", "eyJhbGciOiJub25lIn0", "%"],
        feed: http::token,
    },
    Target {
        name: "protobuf",
        seeds: &["0\n\x01a\x12\x01b", "1\n\x03abc", "2\x08\x01", "3\n\x02id\x12\x04name"],
        words: &["\u{7f}", "\n\n", "\x12\x05hello", "\x1a\x00", "\x01\x00\x00\x00\x01"],
        feed: http::grpc,
    },
    Target {
        name: "templates",
        seeds: &[
            "${workflow.input.a} and ${t.output.b[0].c}",
            "${workflow.input.list[?(@.x > 1)].y}",
            "${workflow.secrets.A}",
            "${t.output..c}",
            "${workflow.input['a','b'][1:2]}",
        ],
        words: &[
            "${", "}", "..", "[*]", "[?(", ")]", "@.", "&&", "||", "=~ /", "length()", "['", "']",
            "[-1:]", "$$",
        ],
        feed: text::template,
    },
    Target {
        name: "calendar",
        seeds: &[
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:a\r\nDTSTART:20261102T090000Z\r\nDTEND:20261102T100000Z\r\nRRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=3\r\nEXDATE:20261109T090000Z\r\nEND:VEVENT\r\nEND:VCALENDAR",
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:a\n\\, b\nDTSTART;TZID=Europe/Oslo:20270328T023000\nDURATION:P1DT2H\nRRULE:FREQ=MONTHLY;INTERVAL=2;BYDAY=-1FR;UNTIL=20300101\nEND:VEVENT\nEND:VCALENDAR",
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:[L1] a\nDTSTART;VALUE=DATE:20240229\nRRULE:FREQ=MONTHLY;BYMONTHDAY=31,-31\nEND:VEVENT\nEND:VCALENDAR",
        ],
        words: &[
            "99991231T235959Z",
            "00010101T000000",
            "INTERVAL=1000",
            "COUNT=5000",
            "BYDAY=5SU,-5MO",
            "P9999999D",
            "RECURRENCE-ID:",
            "TZID=",
            "\n ",
            "\r\n",
            ":",
            ";",
            "\"",
        ],
        feed: text::calendar,
    },
    Target {
        name: "cron",
        seeds: &[
            "0 0 9 * * MON-FRI",
            "*/5 * * * *",
            "0 0 0 L * ?",
            "0 0 12 ? * 6#3",
            "@daily",
            "0 0 2 29W 2 ? 2000-2100/4",
        ],
        words: &[
            "*",
            "/",
            "-",
            ",",
            "?",
            "L",
            "W",
            "#",
            "LW",
            "L-3",
            "SUN",
            "FEB",
            "@hourly",
            "99999999999",
        ],
        feed: text::cron,
    },
    Target {
        name: "yaml",
        seeds: &[
            "receivers:\n  n: { ntfy: { url: \"https://a\", topic: t } }\nroutes:\n  - { to: n }\nmonitors:\n  m:\n    every: 1m\n    http: { url: \"https://b\" }\n    ring_if: { status: \"!= 200\" }\n",
            "a: &x [1, 2]\nb: *x\nc: |\n  text\n  more\nd: >-\n  folded\n",
            "service:\n  - name: a\n    check_type: http\n",
        ],
        words: &[
            "&a ", "*a", "<<: *a", "- ", ": ", "|\n", ">\n", "\t", "!!str ", "---\n", "{", "[",
            "#", "? ",
        ],
        feed: text::monitors,
    },
    Target {
        name: "definitions",
        seeds: &[
            "{\"name\":\"w\",\"version\":1,\"tasks\":[{\"name\":\"s\",\"taskReferenceName\":\"s\",\"type\":\"SWITCH\",\"evaluatorType\":\"value-param\",\"expression\":\"x\",\"decisionCases\":{\"a\":[]}}]}",
            "[{\"name\":\"t\",\"retryLogic\":\"FIXED\"}]",
        ],
        words: &[
            "\"loopOver\":[",
            "\"forkTasks\":[[",
            "\"joinOn\":[",
            "\"type\":\"DYNAMIC\"",
            "\"defaultCase\":[",
            "[[[[[[[[",
            "{\"tasks\":",
        ],
        feed: text::definition,
    },
    Target {
        name: "jq",
        seeds: &[
            ".a[] | select(.b > 1) | {c: .d}\n{\"a\":[{\"b\":2,\"d\":3}]}",
            "reduce .[] as $x (0; . + $x)\n[1,2]",
            "def f: if . > 0 then . - 1 | f else . end; f\n9",
            "[splits(\"a+\")] | @base64\n\"baab\"",
        ],
        words: &[
            "|",
            "..",
            "?//",
            "as $",
            "label $",
            "limit(3;",
            "@csv",
            "ltrimstr(",
            "test(\"",
            "input",
            "$ENV",
            "try ",
            "error(",
        ],
        feed: text::jq,
    },
    Target {
        name: "scripts",
        seeds: &[
            "0var a = $.x; if (a) { a } else { `t${1}` }",
            "1return $.x ? /a\\/b/g : {get a() { return 1 }};",
            "0(function () { return [...'a'].map(x => x + 1) })()",
            "0const {a, ...b} = $; label: for (;;) break label; b",
        ],
        words: &[
            "`",
            "${",
            "/*",
            "//",
            "/",
            "=>",
            "async ",
            "await ",
            "class A { #p; }",
            "let ",
            "\u{2028}",
            "\\u0061",
            "<!--",
            "return ",
        ],
        feed: text::script,
    },
    Target {
        name: "etl_cfg",
        seeds: &[
            "[pager_duty]\nheartbeat = k\napi = v2\n[imap]\nserver = h\nuser = %(name)s\npassword = a%%b\n[DEFAULT]\nname = n\n",
        ],
        words: &["[", "]", "=", ":", "%(", ")s", "%%", "\n  ", ";", "#", "[DEFAULT]\n"],
        feed: robopager::etl,
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
