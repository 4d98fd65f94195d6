//! Builds every stack; one that does not build does not stop the others.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::stacks::Stack;

/// The programs that were built, and why others were not, by [`Stack::program`].
pub type Programs = BTreeMap<String, Result<PathBuf, String>>;

/// The folder of this workspace.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Builds the programs of these stacks.
///
/// # Errors
/// Cargo does not run at all.
pub fn build(stacks: &[&Stack]) -> Result<Programs> {
    let target = target_directory()?;
    let mut programs = Programs::new();
    for stack in stacks {
        let name = stack.program();
        if programs.contains_key(&name) {
            continue;
        }
        eprintln!("building {name}");
        programs.insert(name, build_one(stack, &target));
    }
    Ok(programs)
}

fn build_one(stack: &Stack, target: &Path) -> Result<PathBuf, String> {
    let mut cargo = cargo();
    cargo.args(["build", "--locked", "--release", "--quiet", "-p", stack.package]);
    if let Some(features) = stack.features {
        cargo.args(["--features", features]);
    }
    let output = cargo.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(first_error(&String::from_utf8_lossy(&output.stderr)));
    }
    let built = target.join("release").join(stack.package);
    let kept = target.join("release").join(format!("{}.run", stack.program()));
    // The next build of the same package writes over the program of this one.
    std::fs::copy(&built, &kept).map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(kept)
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

fn target_directory() -> Result<PathBuf> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let output = cargo().args(arguments).output().context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let path = metadata["target_directory"].as_str().context("no target directory")?;
    Ok(path.into())
}

/// The first error of a compiler's output, with where it is in which crate.
fn first_error(output: &str) -> String {
    let mut lines = output.lines().skip_while(|line| !line.starts_with("error"));
    let first = lines.next().unwrap_or("it does not build");
    let place = lines.next().and_then(|line| line.trim().strip_prefix("--> "));
    place.map_or_else(|| first.to_owned(), |place| format!("`{first}` in {}", in_crate(place)))
}

/// A path without where this machine keeps downloaded crates.
fn in_crate(place: &str) -> &str {
    let kept = place.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
    kept.map_or(place, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_crate_and_no_machine() {
        let output = "   Compiling x\nerror[E0283]: type annotations needed\n   \
                      --> CARGO_HOME/registry/src/index-1/some-0.6.9/src/a.rs:1:2\n";
        let expected = "`error[E0283]: type annotations needed` in some-0.6.9/src/a.rs:1:2";
        assert_eq!(first_error(output), expected);
        assert_eq!(first_error("nothing known"), "it does not build");
    }
}
