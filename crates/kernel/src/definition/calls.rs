//! The rules of the task types that call somebody over HTTP, and of the one that signs for it.
//!
//! Refused is what can never run. What a literal would only make fail at run time for another
//! reason, such as an address that nobody has, is the author's own affair.

use serde_json::Value;

use super::rules::Rules;

/// The member that holds a request, where it does not stand in the input itself.
const REQUEST: &str = "http_request";
const CONDITION: &str = "terminationCondition";

impl<'a> Rules<'a> {
    pub(super) fn http(&mut self) {
        self.require_input(
            &[REQUEST, "uri", "method"],
            "inputParameters.http_request or inputParameters.uri",
        );
        self.request();
    }

    pub(super) fn http_poll(&mut self) {
        self.require_input(
            &[REQUEST, "uri", "method"],
            "inputParameters.http_request or inputParameters.uri",
        );
        self.request();
        self.condition();
        if let Some((place, strategy)) = self.literal("pollingStrategy")
            && !strategy.as_str().is_some_and(is_strategy)
        {
            let message = self.with_task("pollingStrategy is unknown for");
            let hint = "Write FIXED, LINEAR_BACKOFF or EXPONENTIAL_BACKOFF.";
            self.report_value(&place, message, hint, strategy);
        }
        for (name, least) in [("pollingInterval", 0), ("maxPollCount", 1)] {
            if let Some((place, number)) = self.literal(name)
                && !is_whole(number, least)
            {
                let message = self.with_task(&format!("{name} is no whole number for"));
                let hint = format!("Write a whole number from {least} up.");
                self.report_value(&place, message, &hint, number);
            }
        }
    }

    pub(super) fn sendgrid(&mut self) {
        self.require_each(&[
            "from",
            "to",
            "subject",
            "contentType",
            "content",
            "sendgridConfiguration",
        ]);
        self.one_of("contentType", &["text/plain", "text/html"]);
    }

    pub(super) fn ops_genie(&mut self) {
        self.require_each(&["token"]);
        self.require_input(
            &["message", "alias"],
            "inputParameters.message or inputParameters.alias",
        );
        self.one_of("priority", &["P1", "P2", "P3", "P4", "P5"]);
    }

    pub(super) fn get_signed_jwt(&mut self) {
        self.require_each(&["subject", "issuer", "privateKey", "audience"]);
        self.require_input(&["ttlInSecond", "ttlInSeconds"], "inputParameters.ttlInSecond");
        self.one_of("algorithm", &["RS256"]);
        if let Some((place, ttl)) = self.literal("ttlInSecond")
            && !is_whole(ttl, 1)
        {
            let message = self.with_task("ttlInSecond is no whole number of seconds for");
            self.report_value(&place, message, "Write the seconds, 3600 for an hour.", ttl);
        }
    }

    /// What is said about a request, wherever it stands.
    fn request(&mut self) {
        if let Some(request) = self.task.input_parameters.get(REQUEST)
            && !request.is_object()
            && !has_expression(request)
        {
            let message = self.with_task("http_request is no object for");
            let hint = "Write an object with uri and method.";
            self.report_value("inputParameters/http_request", message, hint, request);
        }
        if let Some((place, method)) = self.literal("method")
            && !method.as_str().is_some_and(is_method)
        {
            let message = self.with_task("method is no HTTP method for");
            let hint = "Write GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or TRACE.";
            self.report_value(&place, message, hint, method);
        }
        if let Some((place, codes)) = self.literal("acceptedStatusCodes")
            && !is_statuses(codes)
        {
            let message = self.with_task("acceptedStatusCodes holds what is no status for");
            let hint = r#"Write statuses, families or ranges: [200, "404", "3xx", "500-503"]."#;
            self.report_value(&place, message, hint, codes);
        }
        if let Some((place, config)) = self.literal("hedgingConfig") {
            let attempts = config.get("maxAttempts").filter(|count| !has_expression(count));
            if !config.is_object() || attempts.is_some_and(|count| !is_whole(count, 0)) {
                let message = self.with_task("hedgingConfig.maxAttempts is no whole number for");
                let hint = r#"Write {"maxAttempts": 2}, or leave it out."#;
                self.report_value(&place, message, hint, config);
            }
        }
    }

    fn condition(&mut self) {
        let input = &self.task.input_parameters;
        let inner = input.get(REQUEST);
        // A request that is made elsewhere may bring its condition.
        let open = if inner.is_some_and(Value::is_object) {
            false
        } else {
            inner.is_some() || self.is_in_template(REQUEST)
        };
        let found = self.member(CONDITION);
        if found.is_none() && !open && !self.is_in_template(CONDITION) {
            let words = "inputParameters.http_request.terminationCondition";
            self.require_as("inputParameters", words, false);
        }
        if let Some((place, source)) = found {
            self.javascript(&place, source.as_str());
        }
    }

    fn require_each(&mut self, names: &[&str]) {
        for name in names {
            self.require_input(&[name], &format!("inputParameters.{name}"));
        }
    }

    /// A literal in the input must be one of these words, whatever their case.
    pub(super) fn one_of(&mut self, name: &str, words: &[&str]) {
        if let Some((place, value)) = self.literal(name)
            && !value.as_str().is_some_and(|text| {
                let text = text.trim();
                text.is_empty() || words.iter().any(|word| word.eq_ignore_ascii_case(text))
            })
        {
            let message = self.with_task(&format!("{name} is unknown for"));
            let hint = format!("Write {}.", words.join(" or "));
            self.report_value(&place, message, &hint, value);
        }
    }

    /// A member of the request or else of the input, with its place below the task.
    fn member(&self, name: &str) -> Option<(String, &'a Value)> {
        let input = &self.task.input_parameters;
        let inner = input.get(REQUEST).and_then(Value::as_object);
        let places = [(inner, "inputParameters/http_request"), (Some(input), "inputParameters")];
        places.into_iter().find_map(|(members, place)| {
            let value = members?.get(name).filter(|value| !value.is_null())?;
            Some((format!("{place}/{name}"), value))
        })
    }

    /// A member that is what it says: nothing is put into it before the task runs.
    fn literal(&self, name: &str) -> Option<(String, &'a Value)> {
        self.member(name).filter(|(_, value)| !has_expression(value))
    }

    fn is_in_template(&self, key: &str) -> bool {
        let embedded = self.task.task_definition.as_ref();
        embedded.is_some_and(|def| def.input_template.contains_key(key))
            || (self.templates)(&self.task.name, key)
    }
}

fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(members) => members.values().any(has_expression),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_strategy(text: &str) -> bool {
    let known = ["", "FIXED", "LINEAR_BACKOFF", "EXPONENTIAL_BACKOFF"];
    known.iter().any(|known| known.eq_ignore_ascii_case(text.trim()))
}

fn is_method(text: &str) -> bool {
    let text = text.trim();
    let word = text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    word && !text.is_empty() && !text.eq_ignore_ascii_case("CONNECT")
}

/// Whether it is a whole number from `least` up, as a number or as text.
fn is_whole(value: &Value, least: u32) -> bool {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    number.is_some_and(|number: f64| {
        number.fract() == 0.0 && (f64::from(least)..=f64::from(u32::MAX)).contains(&number)
    })
}

/// Whether it is a status, a family `4xx` or a range `200-399`, several with commas, or a list.
fn is_statuses(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| !item.is_array() && is_statuses(item)),
        Value::String(text) => text.split(',').all(|word| is_status_word(word.trim())),
        other => status_of(&other.to_string()).is_some(),
    }
}

fn is_status_word(word: &str) -> bool {
    if let Some(family) = word.strip_suffix("xx").or_else(|| word.strip_suffix("XX")) {
        return matches!(family, "1" | "2" | "3" | "4" | "5");
    }
    match word.split_once('-') {
        Some((first, last)) => {
            status_of(first).zip(status_of(last)).is_some_and(|(first, last)| first <= last)
        }
        None => status_of(word).is_some(),
    }
}

/// The status that a word is.
fn status_of(word: &str) -> Option<u32> {
    let number: f64 = word.trim().parse().ok()?;
    (number.fract() == 0.0 && (100.0..600.0).contains(&number)).then_some(number as u32)
}
