//! Lines and columns in texts that people write, so that whatever is wrong is told with its place.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A place in a document, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Place {
    /// The place of a byte of a text; of its end if the text is shorter.
    pub fn of_byte(text: &str, at: usize) -> Self {
        let before = &text[..text.floor_char_boundary(at)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Self { line, column: before[line_start..].chars().count() + 1 }
    }

    /// The place of the value at `pointer` (RFC 6901) of a JSON text, or of the nearest value around
    /// it that is there. `word`, if it stands in the text of that value, is what is pointed at.
    pub fn in_json(text: &str, pointer: &str, word: Option<&str>) -> Self {
        let mut part = text.trim_start_matches('\u{feff}');
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            match child(part, &segment) {
                Some(inner) => part = inner,
                None => break,
            }
        }
        // Parts are cut out of the text, so their distance is their place.
        let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let leading = part.len() - part.trim_start().len();
        let within = word.filter(|word| !word.is_empty()).and_then(|word| part.find(word));
        Self::of_byte(text, start + within.unwrap_or(leading))
    }
}

/// The text of a member or an item.
fn child<'a>(text: &'a str, segment: &str) -> Option<&'a str> {
    if text.trim_start().starts_with('[') {
        let items: Vec<&'a RawValue> = serde_json::from_str(text).ok()?;
        return items.get(segment.parse::<usize>().ok()?).map(|item| item.get());
    }
    let members: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(text).ok()?;
    members.get(segment).map(|value| value.get())
}
