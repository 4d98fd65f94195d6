//! The table as people read it.

use super::{KINDS, RelayMode};

/// The table as Markdown, for `docs/protocol.md` and `peerstage explain kinds`.
#[must_use]
pub fn table_as_markdown() -> String {
    let mut text = String::from(
        "| kind | byte | lane | body, bytes at most | per second (burst) | queue, bytes | overflow | sender | signed | relay |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &KINDS {
        let relay = row.relay.map_or("-", RelayMode::name);
        text.push_str(&format!(
            "| {} | {} | {:?} | {} | {} ({}) | {} | {:?} | {:?} | {} | {} |\n",
            row.name,
            row.kind.byte(),
            row.lane,
            row.body_max,
            row.rate_per_second,
            row.burst,
            row.queue_bytes,
            row.overflow,
            row.sender,
            if row.signed { "yes" } else { "no" },
            relay,
        ));
    }
    text
}

impl RelayMode {
    /// The name in configuration and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RelayMode::Flood => "flood",
            RelayMode::Selective => "selective",
            RelayMode::ValidatorOnly => "validator-only",
        }
    }
}
