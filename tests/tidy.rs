//! House rules as tests: sizes, names, packages and the text around the code.
//!
//! A failure prints `file:line: the rule: what was seen`. The rules read the files as rustfmt
//! leaves them, with comments and strings blanked where only code counts.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a rule that can't be checked must fail loudly"
)]

#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/project.rs"]
mod project;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;

use source::{Source, blank, has_word};

#[test]
fn comments_and_strings_are_blanked_and_code_is_not() {
    let code = "let a = \"todo!\"; // todo!\nlet b = r#\"x\"y\"#; /* a /* b */ c */ let c = '\"';\n\
        fn f<'a>(x: &'a str) -> char { '\\'' }\nlet d = b\"\\\"\"; call();";
    let blanked = blank(code);
    assert_eq!(blanked.chars().count(), code.chars().count());
    assert!(!has_word(&blanked, "todo!"));
    assert!(blanked.contains("let c ="));
    assert!(blanked.contains("fn f<'a>(x: &'a str) -> char {"));
    assert!(blanked.ends_with("; call();"));
}

#[test]
fn a_name_is_banned_in_shipped_code_and_allowed_in_its_tests() {
    let text = "//! Doc.\nuse std::collections::HashMap;\n\n#[cfg(test)]\nmod tests {\n    \
        use std::collections::HashMap;\n    use tokio::sync::Notify;\n}\n";
    let source = Source::parse("src/a.rs".to_owned(), text);
    let places: Vec<String> = names::banned(&source).into_iter().map(|b| b.place).collect();
    assert_eq!(places, ["src/a.rs:2", "src/a.rs:7"]);
    let actor = Source::parse("actors/a.rs".to_owned(), "fn f() { addr.do_send(1); }\n");
    assert_eq!(names::banned(&actor).len(), 1);
}

#[test]
fn a_longer_name_is_another_name() {
    assert!(has_word("let x: Instant = now;", "Instant"));
    assert!(!has_word("let x = InstantRate;", "Instant"));
    assert!(has_word("task.await;", ".await"));
}
