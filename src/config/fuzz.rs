//! What a fuzzer calls: arbitrary text in every layer.

use super::Layers;

/// Loads `data` as a file, as variables and as flags. A configuration that loads must print to
/// a file that loads to the same.
///
/// # Panics
/// If it doesn't, which is what the fuzzer looks for.
pub fn fuzz_config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = || text.lines();
    let pairs = lines().filter_map(|line| line.split_once('='));
    let layers = [
        Layers::new().file("fuzz.toml", text.as_ref()),
        Layers::new().environment(pairs),
        Layers::new().flags(lines()),
    ];
    for layer in layers {
        match layer.load() {
            Ok(resolved) => {
                let again = Layers::new().file("again.toml", resolved.to_toml(true)).load();
                assert_eq!(again.map(|again| again.config), Ok(resolved.config));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
