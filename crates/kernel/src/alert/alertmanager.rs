//! Alertmanager's matchers: read, applied to labels, and translated to ours and back.
//!
//! A matcher of ours has texts in which `*` stands for any text, where Alertmanager has regular
//! expressions. What can be said in both is translated; all else is refused with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::definition::{Matcher, Silence};
use super::incident::Incident;
use super::monitor::Monitor;
use super::route::OWN_LABEL;
use crate::time::Timestamp;

/// Bytes of the value of a matcher that is a regular expression in earnest, and of one that is texts and
/// alternatives alone: karma names every value of a label.
const VALUE_MAX: usize = 4096;
const TEXTS_MAX: usize = 64 << 10;
/// Bytes that a compiled regular expression may take.
const REGEX_MAX: usize = 1 << 20;
/// Names of labels that mean something else here than what the sender of an alert calls so.
const OURS: [&str; 3] = ["monitor", "key", "severity"];

/// What a label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMatcher {
    /// The label.
    pub name: String,
    /// Its value, or a regular expression for all of it.
    pub value: String,
    /// The value is a regular expression.
    pub is_regex: bool,
    /// Otherwise the label must be anything but that.
    pub is_equal: bool,
}

impl LabelMatcher {
    /// Reads `name="value"`, with `=`, `!=`, `=~` or `!~`; the quotes may be left out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{:?} is no matcher such as name=\"value\"", short(text));
        let text = text.trim();
        // A quoted name may hold operators.
        let name = text.strip_prefix('"').and_then(|rest| Some(rest.find('"')? + 2)).unwrap_or(0);
        let at = name + text[name..].find(['=', '!']).ok_or_else(wrong)?;
        let (name, rest) = text.split_at(at);
        let (operator, value) = ["=~", "!~", "!=", "="]
            .into_iter()
            .find_map(|operator| Some((operator, rest.strip_prefix(operator)?)))
            .ok_or_else(wrong)?;
        let (name, value) = (unquoted(name.trim())?, unquoted(value.trim())?);
        if name.is_empty() {
            return Err(wrong());
        }
        let (is_regex, is_equal) = (operator.ends_with('~'), operator.starts_with('='));
        Ok(Self { name, value, is_regex, is_equal })
    }

    /// Ready to be applied.
    ///
    /// # Errors
    /// Its regular expression is none, or too large.
    pub fn compile(&self) -> Result<Compiled<'_>, String> {
        if self.value.len() > VALUE_MAX {
            return Err(format!("the matcher of {:?} is too long", short(&self.name)));
        }
        let regex = if self.is_regex {
            let whole = format!("^(?:{})$", self.value);
            let regex = RegexBuilder::new(&whole).size_limit(REGEX_MAX).build();
            let shown = short(&self.value);
            Some(regex.map_err(|_| format!("{shown:?} is no regular expression, or too large"))?)
        } else {
            None
        };
        Ok(Compiled { matcher: self, regex })
    }

    /// The same as a matcher of ours.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub fn translated(&self) -> Result<Matcher, String> {
        let label = if OURS.contains(&&*self.name) {
            format!("{OWN_LABEL}{}", self.name)
        } else {
            self.name.clone()
        };
        let (values, inverted) = if self.is_regex {
            if self.value.len() > TEXTS_MAX {
                return Err(format!("the matcher of {:?} is too long", short(&self.name)));
            }
            if self.value.len() <= VALUE_MAX {
                self.compile()?;
            }
            texts_of(&self.value).map_err(|why| {
                format!(
                    "the expression {:?} of the label {} cannot be used here: {why}; there are \
                     texts, alternatives (a|b) and .* for any text",
                    short(&self.value),
                    self.name
                )
            })?
        } else if self.value.contains('*') {
            let (name, value) = (&self.name, short(&self.value));
            return Err(format!("the value {value:?} of the label {name} cannot contain a * here"));
        } else {
            (vec![self.value.clone()], false)
        };
        Ok(Matcher {
            label: label.into(),
            values: values.into_iter().map(Arc::from).collect(),
            negated: self.is_equal == inverted,
        })
    }

    /// What a matcher of ours says in Alertmanager's terms.
    pub fn of(matcher: &Matcher) -> Self {
        let name = matcher.label.strip_prefix(OWN_LABEL).unwrap_or(&matcher.label).to_owned();
        let is_equal = !matcher.negated;
        match &matcher.values[..] {
            [one] if !one.contains('*') => {
                Self { name, value: one.to_string(), is_regex: false, is_equal }
            }
            many => {
                let texts = many.iter().map(|it| regex::escape(it).replace(r"\*", ".*"));
                let value = texts.collect::<Vec<_>>().join("|");
                Self { name, value, is_regex: true, is_equal }
            }
        }
    }
}

/// A matcher that can be applied.
#[derive(Clone, Debug)]
pub struct Compiled<'a> {
    matcher: &'a LabelMatcher,
    regex: Option<Regex>,
}

impl Compiled<'_> {
    /// Whether labels are as they must be; an absent label is the empty text.
    pub fn fits(&self, labels: &BTreeMap<Arc<str>, Arc<str>>) -> bool {
        let value = labels.get(&*self.matcher.name).map_or("", |value| value);
        let fits = match &self.regex {
            Some(regex) => regex.is_match(value),
            None => self.matcher.value == value,
        };
        fits == self.matcher.is_equal
    }
}

/// The texts, with `*`, that a regular expression stands for; or those that it does not, if the
/// second is set.
fn texts_of(expression: &str) -> Result<(Vec<String>, bool), &'static str> {
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    let end = expression.strip_suffix('$').filter(|it| !it.ends_with('\\'));
    let expression = end.unwrap_or(expression);
    if expression == ".+" {
        return Ok((vec![String::new()], true));
    }
    let inner = expression.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
    let inner = inner.map(|inner| inner.strip_prefix("?:").unwrap_or(inner));
    let (mut texts, mut text) = (Vec::new(), String::new());
    let mut characters = inner.unwrap_or(expression).chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '|' => texts.push(std::mem::take(&mut text)),
            '.' if characters.next_if_eq(&'*').is_some() => text.push('*'),
            '.' => return Err("a single . stands for one character"),
            '\\' => match characters.next() {
                Some('*') => return Err("a text cannot contain a *"),
                Some(c) if !c.is_alphanumeric() => text.push(c),
                _ => return Err("it has a class of characters"),
            },
            '*' | '+' | '?' | '{' | '}' => return Err("it repeats something"),
            '(' | ')' => return Err("it has groups"),
            '[' | ']' => return Err("it has a class of characters"),
            '^' | '$' => return Err("it has anchors within"),
            c => text.push(c),
        }
        if matches!(characters.peek(), Some('?' | '+' | '{')) {
            return Err("it repeats something");
        }
    }
    texts.push(text);
    Ok((texts, false))
}

/// A text without the quotes around it.
fn unquoted(text: &str) -> Result<String, String> {
    let Some(inner) = text.strip_prefix('"') else {
        let is_half = text.ends_with('"') && !text.ends_with("\\\"");
        return if is_half { Err("a quote is not opened".to_owned()) } else { Ok(text.to_owned()) };
    };
    let inner = inner.strip_suffix('"').ok_or_else(|| "a quote is not closed".to_owned())?;
    let (mut out, mut characters) = (String::new(), inner.chars());
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some('n') => out.push('\n'),
                Some(c @ ('"' | '\\')) => out.push(c),
                // Regular expressions have escapes of their own.
                Some(c) => out.extend(['\\', c]),
                None => return Err("a quote is not closed".to_owned()),
            },
            '"' => return Err("a quote within a value needs a \\ before it".to_owned()),
            c => out.push(c),
        }
    }
    Ok(out)
}

fn short(text: &str) -> String {
    super::text::cut(text, 100)
}

impl Monitor {
    /// The silences that keep an incident quiet now.
    pub fn silenced_by<'a>(
        &'a self,
        incident: &'a Incident,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Silence> {
        let in_force = self.silences.iter().filter(move |it| it.when.in_force_until(now).is_some());
        in_force.filter(move |silence| self.subject(incident).fits(&silence.matchers))
    }

    /// Everybody who may be told of an incident of this monitor, in order of their names.
    pub fn receivers(&self) -> BTreeSet<Arc<str>> {
        let Some(spec) = &self.spec else { return BTreeSet::new() };
        let own = &spec.monitor;
        let fits = |it: &&Matcher| *it.label != *"monitor" || it.matches(&own.name);
        let routes = spec.routes.iter().filter(|route| route.matchers.iter().all(|it| fits(&it)));
        let routed = routes.flat_map(|route| &route.steps).flat_map(|step| &step.to);
        let mut told: BTreeSet<Arc<str>> = if own.to.is_empty() {
            routed.cloned().collect()
        } else {
            own.to.iter().cloned().collect()
        };
        let mut unseen: Vec<Arc<str>> = told.iter().cloned().collect();
        while let Some(name) = unseen.pop() {
            let fallback = spec.fallbacks.get(&name);
            unseen.extend(fallback.filter(|it| told.insert((*it).clone())).cloned());
        }
        told
    }

    /// The monitors that this one depends on and that are down: nobody is told meanwhile.
    pub fn inhibited_by(&self) -> Vec<Arc<str>> {
        let needs = self.spec.as_ref().map_or(&[][..], |spec| &spec.monitor.depends_on);
        needs.iter().filter(|parent| self.parents_down.contains(parent)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::LabelMatcher;

    fn of(text: &str) -> LabelMatcher {
        LabelMatcher::parse(text).expect("a matcher")
    }

    #[test]
    fn matchers_are_read_as_amtool_and_karma_write_them() {
        let it = of(r#"alertname=~"a|b""#);
        assert_eq!(
            (&*it.name, &*it.value, it.is_regex, it.is_equal),
            ("alertname", "a|b", true, true)
        );
        let it = of("job != node");
        assert_eq!(
            (&*it.name, &*it.value, it.is_regex, it.is_equal),
            ("job", "node", false, false)
        );
        assert_eq!(of(r#"path="C:\\x \"y\"""#).value, r#"C:\x "y""#);
        assert_eq!(of(r#"path=~"a\.b""#).value, r"a\.b");
        for wrong in ["", "job", "=x", r#"a="b"#, r#"a="b"c""#, "a>b"] {
            assert!(LabelMatcher::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_both_can_say_is_translated_and_comes_back() {
        for (text, values, negated, label) in [
            ("job=node", &["node"][..], false, "job"),
            ("job!=node", &["node"], true, "job"),
            ("job=", &[""], false, "job"),
            (r#"instance=~"web-.*""#, &["web-*"], false, "instance"),
            (r#"instance!~"a\.b:80|c""#, &["a.b:80", "c"], true, "instance"),
            (r#"instance=~"^(a|b)$""#, &["a", "b"], false, "instance"),
            (r#"team=~".+""#, &[""], true, "team"),
            (r#"team!~".+""#, &[""], false, "team"),
            ("severity=page", &["page"], false, "labels.severity"),
        ] {
            let ours = of(text).translated().unwrap_or_else(|why| panic!("{text}: {why}"));
            let shown: Vec<&str> = ours.values.iter().map(|it| &**it).collect();
            assert_eq!(
                (&shown[..], ours.negated, &*ours.label),
                (values, negated, label),
                "{text}"
            );
            let back = LabelMatcher::of(&ours).translated().expect("it was translated before");
            assert_eq!(back, ours, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_refused_with_a_reason() {
        for (text, reason) in [
            (r#"a=~"x[0-9]""#, "class"),
            (r#"a=~"x+""#, "repeats"),
            (r#"a=~"x?""#, "repeats"),
            (r#"a=~"x.y""#, "one character"),
            (r#"a=~"x.+""#, "one character"),
            (r#"a=~"(a|b)c""#, "groups"),
            (r#"a=~"\d""#, "class"),
            (r#"a=~"(""#, "no regular expression"),
            ("a=x*", "cannot contain a *"),
        ] {
            let why = of(text).translated().expect_err(text);
            assert!(why.contains(reason), "{text}: {why}");
        }
    }

    #[test]
    fn translated_matchers_fit_what_the_expressions_fit() {
        let values = ["", "a", "b", "web-1", "web-", "ab", "a.b:80", "axb:80", "c"];
        for text in [
            r#"l=~"a|b""#,
            r#"l=~"web-.*""#,
            r#"l!~"a\.b:80|c""#,
            r#"l=~".+""#,
            r#"l!~".*""#,
            r#"l=~"a.*b:80|""#,
            "l!=a",
        ] {
            let (theirs, ours) = (of(text), of(text).translated().expect(text));
            let compiled = theirs.compile().expect(text);
            for value in values {
                let labels = [("l".into(), value.into())].into();
                assert_eq!(compiled.fits(&labels), ours.matches(value), "{text} on {value:?}");
            }
        }
    }
}
