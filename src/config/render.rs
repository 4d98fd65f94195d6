//! Configurations as text: with origins, as the annotated default file, as documentation.

use super::{ANCESTOR_NAMES, Config, Key, Resolved, SECTIONS};

/// Where the comment with the origin starts, characters.
const ORIGIN_COLUMN: usize = 48;

impl Resolved {
    /// Every key with its value, as TOML that loads to the same configuration. With `origins`,
    /// each line says in a comment where its value came from.
    #[must_use]
    pub fn to_toml(&self, origins: bool) -> String {
        let mut text = String::new();
        for section in SECTIONS {
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{}]\n", section.name));
            for key in section.keys {
                let mut line = assignment(key, &self.config);
                if let Some(origin) = self.origins.get(&key.path()).filter(|_| origins) {
                    // A flag or a file name could contain a newline.
                    let origin = origin.to_string().escape_debug().to_string();
                    line = format!("{line:<ORIGIN_COLUMN$}  # {origin}");
                }
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }
}

fn assignment(key: &Key, config: &Config) -> String {
    format!("{} = {}", key.name, key.value(config))
}

fn sentence(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// `config/default.toml`: every key with its documentation and its default.
#[must_use]
pub fn annotated_default() -> String {
    let config = Config::default();
    let mut text = String::from(
        "# The defaults of a Peerstage node, every key with what it does. A file needs only the keys\n\
         # it changes. Environment variables (PEERSTAGE_SECTION__KEY) and flags (section.key=value)\n\
         # go over files. Durations are written \"250ms\", \"5s\", \"1h 30m\"; sizes \"64KiB\", \"10MiB\".\n",
    );
    for section in SECTIONS {
        text.push('\n');
        for line in section.about {
            text.push_str(&format!("# {}\n", line.trim()));
        }
        text.push_str(&format!("[{}]\n", section.name));
        for key in section.keys {
            text.push('\n');
            for line in key.documentation {
                text.push_str(&format!("# {}\n", line.trim()));
            }
            text.push_str(&format!("# Takes {}.\n", key.summary()));
            text.push_str(&assignment(key, &config));
            text.push('\n');
        }
    }
    text
}

/// `docs/configuration.md`: the reference of every key.
#[must_use]
pub fn reference() -> String {
    let config = Config::default();
    let mut text = String::from(REFERENCE_HEAD);
    for section in SECTIONS {
        text.push_str(&format!("\n## [{}]\n\n{}\n\n", section.name, sentence(section.about)));
        text.push_str("| key | default | takes | what it does |\n|---|---|---|---|\n");
        for key in section.keys {
            text.push_str(&format!(
                "| `{}` | `{}` | {} | {} |\n",
                key.name,
                key.value(&config),
                key.summary().replace('|', "\\|"),
                sentence(key.documentation).replace('|', "\\|"),
            ));
        }
    }
    text.push_str(REFERENCE_ANCESTORS);
    for ancestor in ANCESTOR_NAMES {
        text.push_str(&format!("| `{}` | `{}` |\n", ancestor.old, ancestor.new));
    }
    text
}

const REFERENCE_HEAD: &str = "\
# Configuration

This page and `config/default.toml` are generated from the declarations in `src/config/`; a test
compares them.

A node is configured in four layers, each over those before it:

1. the defaults below, with which a node runs;
2. TOML files, in the order given;
3. environment variables `PEERSTAGE_SECTION__KEY`, for example `PEERSTAGE_NETWORK__MAX_PEERS=80`;
4. flags `section.key=value`, for example `network.max_peers=80`.

Nothing is ignored. An unknown key, a value of the wrong type, a number outside its bounds or two
keys that contradict each other are errors with file, line and column, and the node doesn't start
(exit code 2):

```text
node.toml:12:3: unknown key \"max_pears\" in [network]; did you mean \"max_peers\"?
```

Durations are whole numbers with a unit, from long to short: `250ms`, `5s`, `10m`, `1h 30m`, `2d`.
Sizes are whole numbers with a unit or plain bytes: `64KiB`, `10MiB`, `1500`. In variables and
flags text needs no quotes, and lists may be written with commas: `a:30400,b:30400`. Where a value
may be absent, it is written `none`. `peerstage config show --origin` prints every value and where
it came from. Relative paths are inside `node.data_dir`.
";

const REFERENCE_ANCESTORS: &str = "
## Names of earlier systems

Names that operators may know from elsewhere, in any of the spellings `max_peers`, `maxPeers` and
`max-peers`, are not accepted, but the error names the key of today. Those that differ by more
than spelling:

| earlier name | today |
|---|---|
";
