//! What a definition says that runs, but is surely not meant.

use std::collections::BTreeMap;

use kernel::definition::{
    Beside, Lint, WorkflowDef, lint_workflow, parse_task_defs, workflow_from_value,
};
use serde_json::{Value, json};

fn definition(value: &Value) -> WorkflowDef {
    workflow_from_value(value).expect("the shape is right")
}

/// Code, place and word of each warning.
fn warned(lint: &Lint) -> Vec<(&'static str, &str, &str)> {
    lint.warnings
        .iter()
        .map(|it| (it.code, it.pointer.as_str(), it.word.as_deref().unwrap_or_default()))
        .collect()
}

fn alone(value: &Value) -> Lint {
    lint_workflow(&definition(value), &Beside::default())
}

fn inline(reference: &str, input: &Value) -> Value {
    json!({ "name": reference, "taskReferenceName": reference, "type": "INLINE",
        "inputParameters": input })
}

#[test]
fn an_input_that_is_not_declared_is_told() {
    let flow = |declared: &Value| {
        json!({ "name": "f", "inputParameters": declared, "tasks": [
            inline("a", &json!({ "expression": "1",
                "x": "${workflow.input.custmer}", "y": ["${workflow.input['other'].z}"] })) ] })
    };
    let lint = alone(&flow(&json!(["customer"])));
    let place = "/tasks/0/inputParameters";
    assert_eq!(
        warned(&lint),
        [
            ("undeclared-input", &*format!("{place}/x"), "custmer"),
            ("undeclared-input", &*format!("{place}/y/0"), "other"),
        ]
    );
    assert!(lint.warnings[0].hint.contains("customer?"), "{:?}", lint.warnings[0]);
    // Who declares nothing has said nothing.
    assert!(alone(&flow(&json!([]))).warnings.is_empty());
    let mut with_defaults = flow(&json!(["customer"]));
    with_defaults["inputTemplate"] = json!({ "custmer": 1, "other": 2 });
    assert!(alone(&with_defaults).warnings.is_empty());
    let mut with_schema = flow(&json!([]));
    with_schema["inputSchema"] = json!({ "name": "s", "version": 1, "type": "JSON",
        "data": { "properties": { "other": {} } } });
    assert_eq!(warned(&alone(&with_schema)).len(), 1);
}

#[test]
fn what_a_task_never_answers_is_told() {
    let http = json!({ "name": "h", "taskReferenceName": "h", "type": "HTTP",
        "inputParameters": { "uri": "http://a", "method": "GET" } });
    let uses = |path: &str| {
        let input = json!({ "expression": "1", "x": format!("${{{path}}}") });
        json!({ "name": "f", "tasks": [http.clone(), inline("i", &input)] })
    };
    let codes = |path: &str| {
        let lint = alone(&uses(path));
        lint.warnings.iter().map(|it| it.code).collect::<Vec<_>>()
    };
    for wrong in ["h.output.respnse.body", "h.output.response.bdy.x", "h.output.body"] {
        assert_eq!(codes(wrong), ["unknown-output"], "{wrong}");
    }
    for wrong in ["h.outputs.x", "workflow.stauts", "i.ouput.result"] {
        assert_eq!(codes(wrong), ["unknown-field"], "{wrong}");
    }
    let fine = [
        "h.output.response.body.anything.at.all",
        "h.output['response'].headers",
        "h.output",
        "h.status",
        "i.output.result.x[0]",
        "workflow.input.anything",
        "workflow.secrets.KEY",
        "workflow.env.X",
        "workflow.${workflow.input.field}.x",
    ];
    for path in fine {
        assert!(codes(path).is_empty(), "{path}");
    }
    // A filter answers what its author wants, and so does who completes the task later.
    let mut filtered = uses("h.output.id");
    filtered["tasks"][0]["inputParameters"]["outputFilter"] = json!({ "id": 1 });
    assert!(alone(&filtered).warnings.is_empty());
    let mut later = uses("h.output.id");
    later["tasks"][0]["asyncComplete"] = json!(true);
    assert!(alone(&later).warnings.is_empty());
}

#[test]
fn names_are_compared_with_what_lies_beside() {
    let flow = definition(&json!({ "name": "f", "failureWorkflow": "clean_up", "tasks": [
        { "name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
          "subWorkflowParam": { "name": "chld" } },
        { "name": "t", "taskReferenceName": "t", "type": "START_WORKFLOW",
          "inputParameters": { "startWorkflow": { "name": "${workflow.input.any}" },
            "x": "${s.output.whoo}" } },
        { "name": "sned_mail", "taskReferenceName": "m", "type": "SIMPLE" },
        { "name": "send_mail_2", "taskReferenceName": "m2", "type": "SIMPLE" },
        { "name": "unlike_any", "taskReferenceName": "u", "type": "SIMPLE" },
    ] }));
    let child = definition(&json!({ "name": "child", "tasks": [inline("a", &json!({}))],
        "outputParameters": { "who": 1 } }));
    let tasks = parse_task_defs(r#"[{ "name": "send_mail" }, { "name": "send_mail_1" }]"#)
        .expect("they are read");
    let tasks: BTreeMap<&str, _> = tasks.iter().map(|it| (it.name.as_str(), it)).collect();
    let workflows = BTreeMap::from([("child", vec![&child]), ("cleanup", Vec::new())]);
    let lint = lint_workflow(&flow, &Beside { workflows: Some(workflows), tasks: tasks.clone() });
    assert_eq!(
        warned(&lint),
        [
            ("unknown-workflow", "/failureWorkflow", ""),
            ("unknown-workflow", "/tasks/0/subWorkflowParam/name", ""),
            ("unknown-task", "/tasks/2/name", ""),
        ]
    );
    assert!(lint.warnings[1].hint.contains("child"), "{:?}", lint.warnings[1]);
    // Nobody knows which workflows there are.
    let lint = lint_workflow(&flow, &Beside { workflows: None, tasks });
    assert_eq!(warned(&lint), [("unknown-task", "/tasks/2/name", "")]);
}

/// Starts are compared with the versions and inputs of what they start.
#[test]
fn starts_are_compared_with_the_definitions_that_they_start() {
    let flow = |version: i32, input: &Value| {
        let start = json!({ "name": "child", "version": version, "input": input });
        definition(
            &json!({ "name": "f", "failureWorkflow": "child", "failureWorkflowVersion": version,
            "tasks": [
                { "name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW", "inputParameters": input,
                  "subWorkflowParam": { "name": "child", "version": version } },
                { "name": "t", "taskReferenceName": "t", "type": "START_WORKFLOW",
                  "inputParameters": { "startWorkflow": start } } ] }),
        )
    };
    let child = |version: i32, inputs: &Value| {
        definition(&json!({ "name": "child", "version": version, "inputParameters": inputs,
            "tasks": [inline("a", &json!({}))] }))
    };
    let (one, two) = (child(1, &json!(["customer"])), child(2, &json!(["customer", "colour"])));
    let codes = |flow: &WorkflowDef, versions: Vec<&WorkflowDef>| {
        let workflows = Some(BTreeMap::from([("child", versions)]));
        let lint = lint_workflow(flow, &Beside { workflows, ..Beside::default() });
        lint.warnings.iter().map(|it| (it.code, it.pointer.clone())).collect::<Vec<_>>()
    };
    let given = json!({ "custmer": 1, "_own": 2, "unlike": 3 });
    let places = ["/tasks/0/inputParameters", "/tasks/1/inputParameters/startWorkflow/input"];
    let slips = places.map(|at| ("unknown-input", format!("{at}/custmer")));
    assert_eq!(codes(&flow(1, &given), vec![&one, &two]), slips);
    assert_eq!(codes(&flow(0, &given), vec![&one, &two]), slips);
    assert!(codes(&flow(2, &json!({ "colour": 1, "customers": 2 })), vec![&one, &two]).len() == 2);
    // What is given under its right name is not what was meant.
    let both = json!({ "customer": 1, "customers": 2 });
    assert!(codes(&flow(1, &both), vec![&one, &two]).is_empty());
    let missing = codes(&flow(3, &given), vec![&one, &two]);
    assert!(missing.iter().all(|(code, _)| *code == "unknown-version"), "{missing:?}");
    assert_eq!(missing.len(), 3);
    // Nobody knows which versions there are, or which inputs one takes.
    assert!(codes(&flow(3, &given), Vec::new()).is_empty());
    assert!(codes(&flow(1, &given), vec![&child(1, &json!([]))]).is_empty());
}

/// Expressions are looked at wherever they may stand.
#[test]
fn expressions_are_found_in_every_part_of_a_definition() {
    let slip = "${workflow.stauts}";
    let task = json!({ "name": "a", "taskReferenceName": "a", "type": "SIMPLE",
        "taskDefinition": { "name": "a", "inputTemplate": { "x": slip } },
        "cacheConfig": { "key": slip, "ttlInSecond": 1 },
        "onStateChange": { "onSuccess": [{ "type": "e", "payload": { "x": slip } }] } });
    let lint = alone(&json!({ "name": "f", "tasks": [task], "variables": { "v": [slip] },
        "rateLimitConfig": { "rateLimitKey": slip, "concurrentExecLimit": 1 },
        "failureWorkflow": slip }));
    let places: Vec<&str> = lint.warnings.iter().map(|it| it.pointer.as_str()).collect();
    assert_eq!(
        places,
        [
            "/tasks/0/taskDefinition/inputTemplate/x",
            "/tasks/0/onStateChange/onSuccess/0/payload/x",
            "/tasks/0/cacheConfig/key",
            "/failureWorkflow",
            "/rateLimitConfig/rateLimitKey",
            "/variables/v/0",
        ]
    );
}

#[test]
fn an_output_that_a_sub_workflow_does_not_list_is_told() {
    let flow = definition(&json!({ "name": "f", "tasks": [
        { "name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
          "subWorkflowParam": { "name": "child" } } ],
        "outputParameters": { "a": "${s.output.whoo}", "b": "${s.output.subWorkflowId}" } }));
    let child = definition(&json!({ "name": "child", "tasks": [inline("a", &json!({}))],
        "outputParameters": { "who": 1 } }));
    let workflows = BTreeMap::from([("child", vec![&child])]);
    let beside = Beside { workflows: Some(workflows), ..Beside::default() };
    let lint = lint_workflow(&flow, &beside);
    assert_eq!(warned(&lint), [("unknown-output", "/outputParameters/a", "whoo")]);
}

#[test]
fn slips_in_scripts_are_told() {
    let script = |source: &str| {
        let input = json!({ "evaluatorType": "javascript", "expression": source, "orders": [] });
        let lint = alone(&json!({ "name": "f", "tasks": [inline("a", &input)] }));
        let found = lint.warnings.iter().map(|it| (it.code, it.word.clone().unwrap_or_default()));
        found.collect::<Vec<_>>()
    };
    let slip = |code, word: &str| vec![(code, word.to_owned())];
    assert_eq!(script("$.orders.lenght"), slip("misspelt-property", "lenght"));
    assert_eq!(script("$.orders.Length > 1"), slip("misspelt-property", "Length"));
    assert_eq!(script("$.orders.pusj(1)"), slip("misspelt-property", "pusj"));
    assert_eq!(script("$.ordres[0].id"), slip("unknown-script-input", "ordres"));
    let fine = [
        "$.orders.length",
        "$.orders.map(o => o.maps)",
        "$.orders[0].lenght2",
        "var o = { lenght: 1 }; o.lenght",
        "$.seen = 1; $.seen + $.orders.length",
        "'$.ordres.lenght' // $.ordres.lenght",
        "/* $.ordres */ `$.ordres ${1}` + /\\.lenght/.test('x')",
        "$.orders.filter(o => o.state / 2 > o.total / 3)",
    ];
    for source in fine {
        assert!(script(source).is_empty(), "{source}: {:?}", script(source));
    }
}

#[test]
fn inputs_without_which_a_task_fails_are_told() {
    let found = |kind: &str, input: &Value, more: &[(&str, &str)]| {
        let mut task = json!({ "name": "t", "taskReferenceName": "t", "type": kind,
            "inputParameters": input });
        for (name, value) in more {
            task[name] = (*value).into();
        }
        let lint = alone(&json!({ "name": "f", "tasks": [task] }));
        warned(&lint).iter().map(|(code, place, _)| format!("{code} {place}")).collect::<Vec<_>>()
    };
    let missing = ["missing-input /tasks/0/taskReferenceName"];
    let dynamic = [("dynamicTaskNameParam", "which")];
    assert_eq!(found("HTTP", &json!({ "uri": "http://a" }), &[]), missing);
    let request = json!({ "http_request": { "uri": "http://a" } });
    assert_eq!(found("HTTP", &request, &[]), missing);
    assert_eq!(found("INLINE", &json!({ "x": 1 }), &[]), missing);
    assert_eq!(found("DYNAMIC", &json!({ "other": "a" }), &dynamic), missing);
    let forks = [("dynamicForkTasksParam", "dt"), ("dynamicForkTasksInputParamName", "di")];
    let joined = [("dynamicForkJoinTasksParam", "dt")];
    assert_eq!(found("FORK_JOIN_DYNAMIC", &json!({ "dtt": [] }), &joined), missing);
    assert_eq!(found("FORK_JOIN_DYNAMIC", &json!({ "dtt": [], "di": {} }), &forks), missing);
    let misspelt = ["missing-input /tasks/0/inputParameters/duratoin"];
    assert_eq!(found("WAIT", &json!({ "duratoin": "1s" }), &[]), misspelt);
    let slip = json!({ "uri": "htp://a", "method": "GET" });
    assert_eq!(found("HTTP", &slip, &[]), ["unknown-scheme /tasks/0/inputParameters"]);
    for (kind, input, more) in [
        ("HTTP", json!({ "uri": "http://a", "method": "GET" }), &[][..]),
        ("HTTP", json!({ "http_request": { "uri": "http://a", "method": "GET" } }), &[][..]),
        ("HTTP", json!({ "http_request": "${workflow.input.request}" }), &[][..]),
        ("INLINE", json!({ "expression": "1" }), &[][..]),
        ("DYNAMIC", json!({ "which": "a" }), &dynamic[..]),
        ("FORK_JOIN_DYNAMIC", json!({ "dt": "${a.output}", "di": {} }), &forks[..]),
        // Tasks without inputs get none, and a list of inputs goes before a list of tasks.
        ("FORK_JOIN_DYNAMIC", json!({ "dt": "${a.output}" }), &forks[..]),
        ("FORK_JOIN_DYNAMIC", json!({ "forkTaskInputs": [{ "a": 1 }] }), &forks[..]),
        ("WAIT", json!({ "duration": "1s", "duratoin": 2 }), &[][..]),
        ("WAIT", json!({ "note": "until somebody ends it" }), &[][..]),
        ("HTTP", json!({ "uri": "${workflow.input.scheme}://a", "method": "GET" }), &[][..]),
    ] {
        assert_eq!(found(kind, &input, more), Vec::<String>::new(), "{kind} {input}");
    }
}

#[test]
fn a_loop_goes_by_itself_its_tasks_and_its_inputs() {
    let found = |condition: &str| {
        let lint = alone(&json!({ "name": "f", "tasks": [
            { "name": "l", "taskReferenceName": "l", "type": "DO_WHILE",
              "loopCondition": condition, "inputParameters": { "most": 3 }, "loopOver": [
                { "name": "look", "taskReferenceName": "look", "type": "SIMPLE" }] },
        ] }));
        warned(&lint).iter().map(|(code, place, _)| format!("{code} {place}")).collect::<Vec<_>>()
    };
    for fine in [
        "$.l['iteration'] < $.most",
        "$.look['response'] != 'ok'",
        "$.look.output.n < 3",
        "$.loopIndex < 3 && $.loopItem.n > 0",
    ] {
        assert_eq!(found(fine), Vec::<String>::new(), "{fine}");
    }
    for slip in ["$.lok.output.n < 3", "$.l['iteration'] < $.mots"] {
        assert_eq!(found(slip), ["unknown-script-input /tasks/0/loopCondition"], "{slip}");
    }
}

#[test]
fn cases_are_compared_with_what_the_expression_answers() {
    let switch = |expression: &str, cases: &[&str], default: bool| {
        let cases: serde_json::Map<String, Value> = cases
            .iter()
            .map(|it| ((*it).to_owned(), json!([inline(it, &json!({ "expression": "1" }))])))
            .collect();
        let mut task = json!({ "name": "s", "taskReferenceName": "s", "type": "SWITCH",
            "evaluatorType": "javascript", "expression": expression, "decisionCases": cases,
            "inputParameters": { "n": 1 } });
        if default {
            task["defaultCase"] = json!([inline("other", &json!({ "expression": "1" }))]);
        }
        let lint = alone(&json!({ "name": "f", "tasks": [task] }));
        let codes = |found: &[kernel::definition::Problem]| {
            found.iter().map(|it| it.code).collect::<Vec<_>>()
        };
        (codes(&lint.warnings), codes(&lint.notes))
    };
    let never = vec!["case-never-taken"];
    let answers = "$.n > 2 ? 'many' : 'few'";
    assert_eq!(switch(answers, &["Many", "few"], false), (never.clone(), vec![]));
    assert_eq!(switch(answers, &["Many"], true), (never, vec![]));
    assert_eq!(switch(answers, &["many", "few"], false), (vec![], vec![]));
    assert_eq!(switch(answers, &["many"], false), (vec![], vec!["answer-without-case"]));
    assert_eq!(switch(answers, &["many"], true), (vec![], vec![]));
    let function = "(function () { if ($.n === 'mani') { return 'many'; } return \"few\"; })()";
    assert_eq!(switch(function, &["many", "few"], false), (vec![], vec![]));
    // What it answers is only known at run time.
    assert_eq!(switch("$.n", &["many"], false), (vec![], vec!["switch-without-default"]));
}

#[test]
fn inline_definitions_are_looked_at_too() {
    let inner = json!({ "name": "in", "inputParameters": ["a"], "tasks": [
        inline("x", &json!({ "expression": "1", "v": "${workflow.input.b}" })) ] });
    let lint = alone(&json!({ "name": "out", "tasks": [
        { "name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
          "subWorkflowParam": { "name": "in", "workflowDefinition": inner } } ] }));
    let place = "/tasks/0/subWorkflowParam/workflowDefinition/tasks/0/inputParameters/v";
    assert_eq!(warned(&lint), [("undeclared-input", place, "b")]);
}

#[test]
fn a_variable_that_nothing_sets_is_told_if_it_looks_like_a_slip() {
    let flow = |name: &str| {
        json!({ "name": "f", "tasks": [
            { "name": "v", "taskReferenceName": "v", "type": "SET_VARIABLE",
              "inputParameters": { "count": 1 } },
            inline("a", &json!({ "expression": "1", "x": format!("${{workflow.variables.{name}}}") }))
        ] })
    };
    let lint = alone(&flow("cuont"));
    let place = "/tasks/1/inputParameters/x";
    assert_eq!(warned(&lint), [("variable-never-set", place, "cuont")]);
    assert!(alone(&flow("count")).warnings.is_empty());
    assert!(alone(&flow("set_from_outside")).warnings.is_empty());
}

#[test]
fn attacks_scripts_that_break_off_are_read_to_their_end() {
    for source in ["'", "\"", "`", "/", "/*", "/*/", "'é", "'\\", "$.", "$.é", "1.", "x => '日"]
    {
        for kind in ["INLINE", "SWITCH"] {
            let task = json!({ "name": "s", "taskReferenceName": "s", "type": kind,
                "evaluatorType": "javascript", "expression": source,
                "inputParameters": { "expression": source, "n": 1 },
                "decisionCases": { "a": [inline("a", &json!({}))] } });
            alone(&json!({ "name": "f", "tasks": [task] }));
        }
    }
}
