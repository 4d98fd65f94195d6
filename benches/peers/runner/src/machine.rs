//! The machine and the versions, for the report.

use std::{collections::BTreeMap, fs, process::Command};

use crate::compile::workspace;

/// One line about the machine.
pub fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory: u64 = field("/proc/meminfo", "MemTotal")
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0);
    let flags = field("/proc/cpuinfo", "flags");
    let known = ["aes", "avx2", "avx512f", "vaes", "sha_ni"];
    let found: Vec<_> =
        known.into_iter().filter(|flag| flags.split(' ').any(|found| found == *flag)).collect();
    format!(
        "{cores} cores of {}, {} GiB, {}; Linux {}; {}",
        field("/proc/cpuinfo", "model name"),
        memory / (1024 * 1024),
        found.join(" "),
        kernel.trim(),
        version(&["rustc", "--version"])
    )
}

/// Which commit of Peerstage this is, and whether it was changed since.
pub fn revision() -> String {
    version(&["git", "describe", "--always", "--dirty"])
}

fn version(command: &[&str]) -> String {
    let [program, arguments @ ..] = command else { return String::new() };
    let output = Command::new(program).args(arguments).current_dir(workspace()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().trim().to_owned()
}

/// The versions of all packages, from the lock file; the newest where there are several.
pub fn versions() -> BTreeMap<String, String> {
    let text = fs::read_to_string(workspace().join("Cargo.lock")).unwrap_or_default();
    let mut versions = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(found) = line.strip_prefix("name = ") {
            name = found.trim_matches('"').to_owned();
        } else if let Some(found) = line.strip_prefix("version = ") {
            versions.insert(name.clone(), found.trim_matches('"').to_owned());
        }
    }
    versions
}
