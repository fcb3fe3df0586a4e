//! Reads INI files as Python's `ConfigParser` does: the dialect of `etl.cfg`.
//!
//! Names of options count in any case, those of sections do not; a line that is further to the right
//! goes on with the value before; `%(name)s` stands for another option and `%%` for a percent sign.

use std::collections::BTreeMap;

/// The section whose options all others have as well.
const DEFAULTS: &str = "DEFAULT";
/// References within references.
const DEPTH_MAX: usize = 10;
/// Bytes of a value once its references are filled in.
const VALUE_MAX: usize = 64 << 10;

/// A file: sections, and in them options with the line that they stand on.
#[derive(Debug, Default)]
pub(super) struct Ini {
    sections: BTreeMap<String, BTreeMap<String, (usize, String)>>,
}

/// Something is wrong with a line, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) line: usize,
    pub(super) message: String,
}

fn wrong(line: usize, message: impl Into<String>) -> Wrong {
    Wrong { line, message: message.into() }
}

impl Ini {
    /// Reads a file; everything that is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, Vec<Wrong>> {
        let (mut ini, mut problems) = (Self::default(), Vec::new());
        let mut section: Option<String> = None;
        // The option that a line further to the right goes on with, and where that one begins.
        let mut open: Option<(String, usize)> = None;
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let (number, trimmed) = (at + 1, line.trim());
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            let indent = line.len() - line.trim_start().len();
            if let (Some((option, begins)), Some(name)) = (&open, &section)
                && indent > *begins
            {
                let value = ini.sections.get_mut(name).and_then(|it| it.get_mut(option));
                if let Some((_, value)) = value {
                    value.push('\n');
                    value.push_str(trimmed);
                }
                continue;
            }
            open = None;
            if let Some(rest) = trimmed.strip_prefix('[') {
                let name = rest.split_once(']').map(|(name, _)| name.to_owned());
                if name.is_none() {
                    problems.push(wrong(number, "a section must end with ]"));
                }
                if let Some(name) = &name
                    && ini.sections.contains_key(name)
                    && name != DEFAULTS
                {
                    problems.push(wrong(number, format!("there are two sections [{name}]")));
                }
                ini.sections.entry(name.clone().unwrap_or_default()).or_default();
                section = name.or(section);
                continue;
            }
            let Some(name) = &section else {
                problems.push(wrong(number, "this stands before the first [section]"));
                continue;
            };
            let Some((option, value)) = trimmed.split_once(['=', ':']) else {
                let message = "an option is written NAME = VALUE".to_owned();
                problems.push(wrong(number, message));
                continue;
            };
            let option = option.trim().to_lowercase();
            let options = ini.sections.entry(name.clone()).or_default();
            let value = (number, value.trim().to_owned());
            if options.insert(option.clone(), value).is_some() {
                problems.push(wrong(number, format!("[{name}] has {option} twice")));
            }
            open = Some((option, indent));
        }
        if problems.is_empty() { Ok(ini) } else { Err(problems) }
    }

    /// An option with its references filled in, and its line; an empty one counts as absent.
    pub(super) fn get(
        &self,
        section: &str,
        option: &str,
    ) -> Result<Option<(usize, String)>, Wrong> {
        // Defaults alone make no section.
        if !self.sections.contains_key(section) {
            return Ok(None);
        }
        let Some((line, raw)) = self.raw(section, option) else { return Ok(None) };
        let value = self.filled(section, raw, *line, DEPTH_MAX)?;
        let value = value.trim();
        Ok((!value.is_empty()).then(|| (*line, value.to_owned())))
    }

    fn raw(&self, section: &str, option: &str) -> Option<&(usize, String)> {
        let of = |section: &str| self.sections.get(section)?.get(option);
        of(section).or_else(|| of(DEFAULTS))
    }

    fn filled(&self, section: &str, raw: &str, line: usize, depth: usize) -> Result<String, Wrong> {
        let (mut out, mut rest) = (String::new(), raw);
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                out.push('%');
                rest = after;
            } else if let Some((name, after)) =
                after.strip_prefix('(').and_then(|after| after.split_once(")s"))
            {
                let name = name.to_lowercase();
                let Some((line, raw)) = self.raw(section, &name) else {
                    return Err(wrong(line, format!("%({name})s: [{section}] has no {name}")));
                };
                if depth == 0 {
                    return Err(wrong(*line, format!("%({name})s leads back to itself")));
                }
                out.push_str(&self.filled(section, raw, *line, depth - 1)?);
                rest = after;
            } else {
                // Python refuses it; nothing else can be meant.
                out.push('%');
                rest = after;
            }
            if out.len() > VALUE_MAX {
                return Err(wrong(line, format!("the value is longer than {VALUE_MAX} bytes")));
            }
        }
        out.push_str(rest);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str, section: &str, option: &str) -> Option<String> {
        let ini = Ini::read(text).expect("it can be read");
        ini.get(section, option).expect("it can be filled in").map(|(_, value)| value)
    }

    #[test]
    fn the_dialect() {
        let text = "\u{feff}# for all\n[DEFAULT]\nhost = etl\n\n[batchy]\nServer: %(HOST)s.example.com\n\
                    port=8050\nempty =\nrate = 80%% of %\n; more\nlist = a,\n   b\n  # c\n   d = e\n\
                    [Batchy]\nport = 1\n";
        let cases = [
            ("batchy", "server", Some("etl.example.com")),
            ("batchy", "port", Some("8050")),
            ("batchy", "host", Some("etl")),
            ("batchy", "empty", None),
            ("batchy", "rate", Some("80% of %")),
            ("batchy", "list", Some("a,\nb\nd = e")),
            ("Batchy", "port", Some("1")),
            ("redis", "host", None),
        ];
        for (section, option, value) in cases {
            assert_eq!(get(text, section, option).as_deref(), value, "{section}.{option}");
        }
        assert_eq!(Ini::read(text).unwrap().get("batchy", "port").unwrap().unwrap().0, 7);
    }

    #[test]
    fn what_is_none_is_told_with_its_line() {
        let problems = Ini::read("a = 1\n[x]\nb\nc = 1\nC = 2\n[x]\n[y\n").unwrap_err();
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [1, 3, 5, 6, 7]);
        let ini = Ini::read("[x]\na = %(b)s\nb = %(a)s\nc = %(d)s\n").unwrap();
        assert!(ini.get("x", "a").unwrap_err().message.contains("itself"));
        assert_eq!(ini.get("x", "c").unwrap_err().line, 4);
    }
}
