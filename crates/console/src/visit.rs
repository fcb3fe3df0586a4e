//! What a browser asks for: segments of the path, pairs of query and form, and who asks.

use http::Method;
use kernel::access::Permission;
use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode,
};

/// Names and values of a query or of a form, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(String, String)>);

/// Pairs that are read; a page has no form with more.
const PAIRS_MAX: usize = 2000;

impl Pairs {
    /// Reads `a=1&b=2`. What is not UTF-8 becomes marks of replacement.
    pub fn parse(text: &str) -> Self {
        let decoded = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).take(PAIRS_MAX);
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        };
        Self(pairs.map(pair).collect())
    }

    /// The first value of a name that says something.
    pub fn get<'a>(&'a self, name: &str) -> Option<&'a str> {
        let named = self.0.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).map(str::trim).find(|value| !value.is_empty())
    }

    /// Every value of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Values of the names that begin so, with what follows that beginning.
    pub(crate) fn beginning<'a>(
        &'a self,
        begin: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.0.iter();
        pairs.filter_map(move |(name, value)| Some((name.strip_prefix(begin)?, value.as_str())))
    }

    /// The same with other values of some names; an empty value takes the name away.
    pub(crate) fn with(&self, changed: &[(&str, &str)]) -> String {
        let kept =
            self.0.iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
        let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
        let added = changed.iter().copied().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> = kept
            .chain(added)
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }
}

/// What an address keeps in a segment or a value: letters, digits and these.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// What a path keeps besides.
const PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'?').add(b'#').add(b'%');

/// A text as one segment or value of an address.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// The address of a page: `/console` and these segments.
pub(crate) fn href(segments: &[&str]) -> String {
    let mut href = "/console".to_owned();
    for segment in segments {
        href.push('/');
        href.push_str(&encoded(segment));
    }
    href
}

/// Who looks at a page.
#[derive(Clone, Debug, Default)]
pub struct Visitor {
    /// The name and id that records keep; absent if nobody signed in.
    pub name: Option<String>,
    /// What the visitor may do.
    pub may: Vec<Permission>,
    /// What the tokens of forms are bound to: the id of whoever signed in; empty if nobody did.
    pub id: String,
    /// Whether the request has a header that no form and no page of others can make a browser send. It
    /// needs no token then.
    pub is_by_program: bool,
    /// Names what the visitor may see: all who have the same are shown the same.
    pub reach: String,
}

/// One request of a browser.
#[derive(Clone, Debug)]
pub struct Visit {
    /// GET (also for HEAD) or POST.
    pub method: Method,
    /// The address as it was asked for, with its query.
    pub address: String,
    /// What follows `/console` in the path, decoded; for `/status/NAME` the words `status` and NAME.
    pub segments: Vec<String>,
    /// The query.
    pub query: Pairs,
    /// The form of a POST.
    pub form: Pairs,
    /// Who asks.
    pub visitor: Visitor,
    /// Whether an open page asks, which wants only what can have changed.
    pub is_part: bool,
    /// The time zone in which the reader wants times, an IANA name.
    pub zone: Option<String>,
    /// What the reader wants to be called in records. It proves nothing: where there are accounts, the
    /// account's name counts.
    pub called: Option<String>,
}

impl Visit {
    /// A visit to a path; `body` is that of a POST.
    pub fn new(
        method: Method,
        path: &str,
        query: Option<&str>,
        body: &str,
        visitor: Visitor,
    ) -> Self {
        let below = path.strip_prefix("/console").unwrap_or(path);
        let segments = below.split('/').filter(|segment| !segment.is_empty());
        let segments = segments.map(|it| percent_decode_str(it).decode_utf8_lossy().into_owned());
        let shown = utf8_percent_encode(path, PATH).to_string();
        Self {
            method,
            address: query.map_or_else(|| shown.clone(), |query| format!("{shown}?{query}")),
            segments: segments.collect(),
            query: Pairs::parse(query.unwrap_or_default()),
            form: Pairs::parse(body),
            visitor,
            is_part: false,
            zone: None,
            called: None,
        }
    }

    /// The same, with what the browser of the reader keeps: the zone and the name that were chosen.
    /// `cookies` is the header of that name.
    #[must_use]
    pub fn with_cookies(mut self, cookies: Option<&str>) -> Self {
        let chosen = |wanted: &str| {
            let pairs = cookies.unwrap_or_default().split(';');
            let mut pairs = pairs.filter_map(|it| it.trim().split_once('='));
            let (_, value) = pairs.find(|(name, _)| *name == wanted)?;
            Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
        };
        self.zone = chosen(ZONE);
        self.called = chosen(CALLED).filter(|name| is_name(name));
        self
    }

    /// Whom records name: the account, else what the reader wants to be called.
    pub(crate) fn who(&self) -> &str {
        let known = self.visitor.name.as_deref().or(self.called.as_deref());
        known.unwrap_or("console")
    }

    /// The path without its query.
    pub(crate) fn path(&self) -> &str {
        self.address.split('?').next().unwrap_or_default()
    }
}

/// The cookie with the reader's time zone.
pub(crate) const ZONE: &str = "nightbell-zone";
/// The cookie with what the reader wants to be called.
pub(crate) const CALLED: &str = "nightbell-name";
/// Characters of such a name.
pub(crate) const NAME_MAX: usize = 60;

/// Whether somebody can be called so in a record: short, and one line.
pub(crate) fn is_name(name: &str) -> bool {
    !name.trim().is_empty()
        && name.chars().count() <= NAME_MAX
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_written_again() {
        let pairs = Pairs::parse("q=a+b%26c&x=&x=1&x=2&y");
        assert_eq!(pairs.get("q"), Some("a b&c"));
        assert_eq!(pairs.get("x"), Some("1"));
        assert_eq!(pairs.all("x").collect::<Vec<_>>(), ["", "1", "2"]);
        assert_eq!(pairs.get("y"), None);
        assert_eq!(Pairs::parse("q=a+b&z=1").with(&[("z", "2&")]), "?q=a%20b&z=2%26");
        assert_eq!(Pairs::parse("z=1").with(&[("z", "")]), "");
    }

    #[test]
    fn who_is_known_is_called_by_that_name() {
        let visit = |name: Option<&str>, cookies: &str| {
            let visitor = Visitor { name: name.map(str::to_owned), ..Visitor::default() };
            Visit::new(Method::GET, "/console", None, "", visitor).with_cookies(Some(cookies))
        };
        let cookies = "a=b; nightbell-name=Ida%20%C3%98; nightbell-zone=Europe%2FOslo";
        assert_eq!(visit(None, cookies).zone.as_deref(), Some("Europe/Oslo"));
        assert_eq!(visit(None, cookies).who(), "Ida Ø");
        assert_eq!(visit(Some("admin"), cookies).who(), "admin");
        assert_eq!(visit(None, "nightbell-name=a%0Ab").who(), "console", "one line");
        assert_eq!(visit(None, &format!("nightbell-name={}", "x".repeat(61))).who(), "console");
    }

    #[test]
    fn a_segment_is_never_more_than_one() {
        assert_eq!(href(&["runs", "a/../b?x#\"<"]), "/console/runs/a%2F..%2Fb%3Fx%23%22%3C");
        let path = "/console/entities/hub/@x/a%2Fb";
        let visit = Visit::new(Method::GET, path, None, "", Visitor::default());
        assert_eq!(visit.segments, ["entities", "hub", "@x", "a/b"]);
    }
}
