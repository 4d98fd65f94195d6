//! How large things may be, and that each says what it is for.

use crate::source::{Breach, Source, indentation, item_end, report, sources};

/// Lines of a file, inline tests included (the median of the codebases we learn from is 160).
const FILE_LINES_MAX: usize = 400;
/// Lines of a function, from its signature to its closing brace: what fits a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of an example: it must be readable at a glance.
const EXAMPLE_LINES_MAX: usize = 40;

/// Files that may be longer, each with the reason. Empty is how it should stay.
const LONG_FILES: &[(&str, &str)] = &[];

fn file_size(source: &Source) -> Option<Breach> {
    // The programs; what they share lies in folders.
    let name = source.path.strip_prefix("actors/examples/");
    let example = name.is_some_and(|name| !name.contains('/'));
    let (most, rule) = match example {
        true => (EXAMPLE_LINES_MAX, "an example has at most 40 lines"),
        false => (FILE_LINES_MAX, "a file has at most 400 lines: split it by role"),
    };
    let lines = source.raw.len();
    let excused = LONG_FILES.iter().any(|(path, _)| *path == source.path);
    (lines > most && !excused).then(|| Breach {
        place: source.path.clone(),
        rule,
        seen: format!("{lines} lines"),
    })
}

/// Whether a line opens a function: qualifiers, then `fn`, then a name.
fn opens_function(text: &str) -> bool {
    let Some(at) = text.find("fn ") else { return false };
    let named = text[at + 3..].starts_with(|c: char| c.is_alphabetic() || c == '_');
    let mut qualifiers = text[..at].split_whitespace();
    named
        && qualifiers.all(|word| {
            matches!(word, "const" | "async" | "unsafe" | "extern" | "default")
                || word.starts_with("pub")
                || word.starts_with('"')
                || word.ends_with(')')
        })
}

fn function_sizes(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (line, text) in source.code.iter().enumerate() {
        if !opens_function(text) {
            continue;
        }
        let lines = item_end(&source.code, line) - line + 1;
        if lines > FUNCTION_LINES_MAX {
            let mut breach = source.breach(line, "a function has at most 70 lines");
            breach.seen = format!("{lines} lines: {}", breach.seen);
            breaches.push(breach);
        }
    }
    breaches
}

/// A file starts with `//!`; a module written inline and seen from outside has `///` above it.
fn module_docs(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let unit_tests = source.path.ends_with("tests.rs");
    let first = source.raw.iter().find(|text| {
        let text = text.trim();
        !text.is_empty() && !text.starts_with("#![") && !text.starts_with("// ")
    });
    if !unit_tests && !first.is_some_and(|text| text.starts_with("//!")) {
        breaches.push(source.breach(0, "a file starts with `//!`: what it is for"));
    }
    for (line, text) in source.code.iter().enumerate() {
        let inline = text.trim_start().starts_with("pub mod ") && text.ends_with('{');
        if inline && !source.test[line] && !documented_above(source, line) {
            breaches.push(source.breach(line, "a public module has a doc comment"));
        }
    }
    breaches
}

fn documented_above(source: &Source, line: usize) -> bool {
    let above = source.raw[..line].iter().rev().map(|text| text.trim());
    let inside = source.raw.get(line + 1).is_some_and(|text| text.trim().starts_with("//!"));
    let mut above = above.skip_while(|text| text.starts_with("#["));
    inside || above.next().is_some_and(|text| text.starts_with("///"))
}

#[test]
fn files_fit_a_sitting_and_examples_a_glance() {
    let breaches: Vec<Breach> = sources().iter().filter_map(file_size).collect();
    report(&breaches);
}

#[test]
fn functions_fit_a_screen() {
    let breaches: Vec<Breach> = sources().iter().flat_map(function_sizes).collect();
    report(&breaches);
}

#[test]
fn every_module_says_what_it_is_for() {
    let breaches: Vec<Breach> = sources().iter().flat_map(module_docs).collect();
    report(&breaches);
}

#[test]
fn long_files_are_excused_only_while_they_are_long() {
    for (path, reason) in LONG_FILES {
        let source = sources().into_iter().find(|source| source.path == *path);
        let lines = source.map_or(0, |source| source.raw.len());
        assert!(lines > FILE_LINES_MAX, "{path} needs no excuse any more ({reason})");
    }
}

#[test]
fn a_function_is_measured_from_its_signature_to_its_brace() {
    let body = "        step();\n".repeat(FUNCTION_LINES_MAX - 1);
    let text = format!(
        "impl A {{\n    pub(crate) async fn f(\n        x: u8,\n    ) {{\n{body}    }}\n}}\n"
    );
    let breaches = function_sizes(&Source::parse("src/a.rs".to_owned(), &text));
    assert_eq!(breaches.len(), 1);
    assert_eq!(breaches[0].place, "src/a.rs:2");
    assert!(!opens_function("    hook: Box<dyn Fn(u8)>,"));
    assert!(!opens_function("let f = some.fn_name();"));
    assert_eq!(indentation("    x"), 4);
}
