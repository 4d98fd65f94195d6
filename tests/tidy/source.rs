//! Rust source as the rules see it: comments and strings blanked, test parts marked.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One `.rs` file.
pub(crate) struct Source {
    /// Relative to the root of the project, with forward slashes.
    pub(crate) path: String,
    /// As written.
    pub(crate) raw: Vec<String>,
    /// Comments and the insides of strings and characters replaced by spaces, same columns.
    pub(crate) code: Vec<String>,
    /// Whether the line belongs to a test.
    pub(crate) test: Vec<bool>,
}

/// A breach: where, which rule, what was seen.
pub(crate) struct Breach {
    pub(crate) place: String,
    pub(crate) rule: &'static str,
    pub(crate) seen: String,
}

/// Fails the test with one line for each breach.
pub(crate) fn report(breaches: &[Breach]) {
    let lines: Vec<String> = breaches
        .iter()
        .map(|breach| format!("  {}: {}: {}", breach.place, breach.rule, breach.seen))
        .collect();
    assert!(breaches.is_empty(), "{} breach(es) of house rules\n{}", lines.len(), lines.join("\n"));
}

/// The root of the project: this test belongs to the package in `actors/`.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("actors/ lies in the project").to_path_buf()
}

/// Every Rust file of the project, in order of path.
pub(crate) fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["src", "actors", "tests", "fuzz", "benches"] {
        collect(&root().join(folder), &mut paths);
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let sources: Vec<Source> = paths.iter().map(|path| Source::read(path)).collect();
    assert!(sources.len() > 5, "the rules found no sources: is the working tree complete?");
    sources
}

/// Every file of the project that a person wrote, in order of path.
pub(crate) fn files() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    collect(&root(), &mut paths);
    paths
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What git ignores: built, downloaded or found by a fuzzer.
        let made = matches!(
            name.as_str(),
            ".git" | "target" | "data" | "corpus" | "artifacts" | "__pycache__" | "coverage"
        );
        if made || path.is_symlink() {
            continue;
        } else if path.is_dir() {
            collect(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("sources are readable UTF-8");
        let relative = path.strip_prefix(root()).expect("sources lie in the project");
        Source::parse(relative.to_string_lossy().replace('\\', "/"), &text)
    }

    /// Reads a file from its text.
    pub(crate) fn parse(path: String, text: &str) -> Self {
        let raw: Vec<String> = text.lines().map(str::to_owned).collect();
        let code: Vec<String> = blank(text).lines().map(str::to_owned).collect();
        let whole =
            path.starts_with("tests/") || path.ends_with("tests.rs") || path.contains("/tests/");
        let test = if whole { vec![true; raw.len()] } else { test_lines(&code) };
        Source { path, raw, code, test }
    }

    /// Where a line is, as editors open it.
    pub(crate) fn place(&self, line: usize) -> String {
        format!("{}:{}", self.path, line + 1)
    }

    /// A breach on a line (counted from 0).
    pub(crate) fn breach(&self, line: usize, rule: &'static str) -> Breach {
        let seen = self.raw.get(line).map_or("", |text| text.trim()).to_owned();
        Breach { place: self.place(line), rule, seen }
    }
}

/// Marks what `#[cfg(test)]` and `#[test]` cover: to the end of the item that follows. Relies on
/// rustfmt: an item ends where its own indentation closes it.
fn test_lines(code: &[String]) -> Vec<bool> {
    let mut test = vec![false; code.len()];
    let mut line = 0;
    while line < code.len() {
        let text = code[line].trim_start();
        if text.starts_with("#[cfg(test)]") || text.starts_with("#[test]") {
            let end = item_end(code, line);
            test[line..=end].fill(true);
            line = end;
        }
        line += 1;
    }
    test
}

/// The last line of the item that starts at `start` (attributes included).
pub(crate) fn item_end(code: &[String], start: usize) -> usize {
    let indent = indentation(&code[start]);
    for (line, text) in code.iter().enumerate().skip(start) {
        let rest = text.trim();
        if text.is_empty() || indentation(text) != indent || rest.starts_with("#[") {
            continue;
        }
        // `mod tests;`, `fn f() {}`, `}`, `});`; a header that goes on has none of these ends.
        if rest.ends_with(';') || rest.ends_with('}') {
            return line;
        }
    }
    code.len().saturating_sub(1)
}

/// How far a line is indented, in spaces.
pub(crate) fn indentation(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// Whether `word` stands in `text` on its own, not as part of a longer name.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    // Only a side of `word` that is itself a name can be part of a longer one.
    let (open, close) = (word.starts_with(part), word.ends_with(part));
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(part);
        let after = text[at + word.len()..].chars().next().is_some_and(part);
        !(open && before || close && after)
    })
}

/// Replaces comments and what strings and characters hold by spaces; lines and columns stay.
pub(crate) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = hidden_end(&chars, at);
        for &c in &chars[at..end] {
            out.push(if c == '\n' { '\n' } else { ' ' });
        }
        at = end;
        if let Some(&c) = chars.get(at) {
            // Another hidden part may follow at once.
            if hidden_end(&chars, at) == at {
                out.push(c);
                at += 1;
            }
        }
    }
    out
}

/// Where the comment, string or character that starts at `at` ends; `at` when none does.
fn hidden_end(chars: &[char], at: usize) -> usize {
    let next = |offset: usize| chars.get(at + offset).copied();
    let in_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next(1) == Some('/') => find(chars, at, |c| c == '\n'),
        '/' if next(1) == Some('*') => block_comment_end(chars, at),
        '"' => string_end(chars, at + 1),
        'r' if !in_name || chars[at - 1] == 'b' => raw_string_end(chars, at).unwrap_or(at),
        '\'' if next(1) == Some('\\') => find(chars, at + 3, |c| c == '\'') + 1,
        '\'' if next(2) == Some('\'') => at + 3,
        _ => at,
    }
    .min(chars.len())
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    (from..chars.len()).find(|&at| wanted(chars[at])).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (at, depth) = (at + 2, depth + 1),
            ('*', '/') => (at, depth) = (at + 2, depth.saturating_sub(1)),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"..."` and `r#"..."#` with any number of hashes; `r#type` is a name, not a string.
fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let open = find(chars, start + 1, |c| c != '#');
    let hashes = open - start - 1;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: usize| (1..=hashes).all(|offset| chars.get(at + offset) == Some(&'#'));
    let end = (open + 1..chars.len()).find(|&at| chars[at] == '"' && closes(at))?;
    Some(end + hashes + 1)
}
