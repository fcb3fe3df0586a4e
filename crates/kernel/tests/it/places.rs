//! Lines and columns in texts.

use kernel::Place;
use proptest::prelude::*;

const TEXT: &str = r#"{
  "a/b": [ 1,
    { "ä": "ö ${x.y} z", "n": null } ],
  "last": true
}"#;

#[test]
fn values_are_found_by_their_pointers() {
    let at = |pointer: &str, word| {
        let Place { line, column } = Place::in_json(TEXT, pointer, word);
        (line, column)
    };
    assert_eq!(at("", None), (1, 1));
    assert_eq!(at("/a~1b/0", None), (2, 12));
    assert_eq!(at("/a~1b/1/ä", None), (3, 12));
    assert_eq!(at("/a~1b/1/ä", Some("x.y")), (3, 17));
    assert_eq!(at("/last", None), (4, 11));
    // What is not there is looked for where it would be.
    assert_eq!(at("/a~1b/1/missing/x", None), (3, 5));
    assert_eq!(at("/last", Some("word")), (4, 11));
    assert_eq!(Place::in_json("not json", "/a/b", None), Place { line: 1, column: 1 });
}

#[test]
fn bytes_beyond_the_text_are_its_end() {
    assert_eq!(Place::of_byte("a\nbö", 99), Place { line: 2, column: 3 });
    // In the middle of a character.
    assert_eq!(Place::of_byte("ö", 1), Place { line: 1, column: 1 });
}

proptest! {
    #[test]
    fn any_pointer_into_any_text_has_a_place(text in "\\PC{0,60}", pointer in "(/[a-z0-9~]{0,3}){0,4}") {
        let place = Place::in_json(&text, &pointer, Some("a"));
        prop_assert!(place.line >= 1 && place.column >= 1);
    }
}
