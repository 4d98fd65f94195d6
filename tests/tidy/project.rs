//! The project around the code: packages, wiring, dependencies, text.

use std::{collections::BTreeSet, fs, process::Command};

use crate::source::{Breach, files, report, root};

/// What the core package must never reach, however far down.
const NOT_IN_CORE: [&str; 6] = ["actix", "actix-rt", "tokio", "mio", "socket2", "async-trait"];

const OUR_PACKAGES: [&str; 2] = ["peerstage", "peerstage-core"];
const MANIFESTS: [&str; 2] = ["Cargo.toml", "actors/Cargo.toml"];
const JUSTIFICATIONS: &str = "docs/dependencies.md";

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names on the left in the dependency tables of a manifest, with the line of each.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut inside = false;
    for (line, text) in manifest.lines().enumerate() {
        let text = text.trim();
        if let Some(table) = text.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            inside = table.ends_with("dependencies");
            // `[dependencies.name]` is a dependency by itself.
            if let Some((_, name)) = table.split_once("dependencies.") {
                names.push((line, name.to_owned()));
            }
        } else if inside && !text.starts_with('#') {
            let name = text.split(['=', '.']).next().unwrap_or_default().trim();
            if !name.is_empty() && text.contains('=') {
                names.push((line, name.trim_matches('"').to_owned()));
            }
        }
    }
    names
}

/// The names that have a row, ``| `name` | ... |``, in the list of justifications.
fn justified() -> BTreeSet<String> {
    let text = text(JUSTIFICATIONS);
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_core_is_free_of_actors_and_runtime() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "-p", "peerstage-core", "-e", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(found.contains("peerstage-core"), "cargo tree printed something else:\n{tree}");
    for name in NOT_IN_CORE {
        assert!(
            !found.contains(name),
            "peerstage-core depends on {name}: see `cargo tree -i {name}`"
        );
    }
}

#[test]
fn every_dependency_is_justified() {
    let justified = justified();
    let mut breaches = Vec::new();
    let mut used = BTreeSet::new();
    for manifest in MANIFESTS {
        for (line, name) in dependencies(&text(manifest)) {
            if OUR_PACKAGES.contains(&name.as_str()) {
                continue;
            }
            if !justified.contains(&name) {
                breaches.push(Breach {
                    place: format!("{manifest}:{}", line + 1),
                    rule: "a dependency has a row in docs/dependencies.md",
                    seen: name.clone(),
                });
            }
            used.insert(name);
        }
    }
    for name in justified.difference(&used) {
        breaches.push(Breach {
            place: JUSTIFICATIONS.to_owned(),
            rule: "a row is about a dependency that is used",
            seen: name.clone(),
        });
    }
    report(&breaches);
}

#[test]
fn every_test_file_is_wired() {
    let wiring = MANIFESTS.map(text).concat();
    let mut breaches = Vec::new();
    for path in files() {
        let Ok(path) = path.strip_prefix(root()) else { continue };
        let path = path.to_string_lossy().replace('\\', "/");
        let in_folder = |folder: &str| {
            path.strip_prefix(folder)
                .is_some_and(|name| name.ends_with(".rs") && !name.contains('/'))
        };
        let harness = in_folder("tests/") || in_folder("benches/");
        if harness
            && !wiring.contains(&format!("/{path}\""))
            && !wiring.contains(&format!("\"{path}\""))
        {
            let rule = "a test is named in a Cargo.toml (autotests are off)";
            breaches.push(Breach {
                place: path.clone(),
                rule,
                seen: format!("path = \"../{path}\""),
            });
        }
    }
    report(&breaches);
}

/// Paths of one machine, and folders beside the project. Split, so that this file does not
/// contain what it looks for.
const FOREIGN_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("../sha", "red/"),
];

/// Whether `path` stands in `text` as a path of its own, not inside an address or a longer path.
fn names_path(text: &str, path: &str) -> bool {
    text.match_indices(path).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '}' | ')'))
    })
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let mut breaches = Vec::new();
    for path in files() {
        // Binary files (vectors, images) hold no text to check.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let path = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
        for (line, text) in text.lines().enumerate() {
            if FOREIGN_PATHS.iter().any(|foreign| names_path(text, foreign)) {
                breaches.push(Breach {
                    place: format!("{path}:{}", line + 1),
                    rule: "no absolute path of one machine",
                    seen: text.trim().chars().take(100).collect(),
                });
            }
        }
    }
    report(&breaches);
}

#[test]
fn dependency_tables_are_read_as_cargo_reads_them() {
    let manifest = "[dependencies]\na = \"1\"\n# b = \"1\"\nc.workspace = true\n\n\
        [features]\nd = []\n[target.'cfg(unix)'.dev-dependencies]\ne = { version = \"1\" }\n\
        [build-dependencies.f]\nversion = \"1\"\n";
    let names: Vec<String> = dependencies(manifest).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["a", "c", "e", "f"]);
}
