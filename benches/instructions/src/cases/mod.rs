//! The cases: each prepares, runs once to warm up, checks the result, and runs once measured.

mod cryptography;
mod protocol;
mod relay;

/// One hot function.
pub(crate) struct Case {
    /// What it is called in the table.
    pub(crate) name: &'static str,
    /// `protocol`, or `cryptography`: code that chooses its path by the CPU.
    pub(crate) section: &'static str,
    /// Prepares and measures.
    pub(crate) run: fn(),
}

const fn protocol(name: &'static str, run: fn()) -> Case {
    Case { name, section: "protocol", run }
}

const fn cryptography(name: &'static str, run: fn()) -> Case {
    Case { name, section: "cryptography", run }
}

/// Everything that is counted, in the order of the table.
pub(crate) const CASES: &[Case] = &[
    protocol("lanes push and fill, 240 x 256 B", protocol::lanes),
    protocol("frames of that record into messages", protocol::assemble),
    protocol("vote decoded, 100 times", protocol::vote),
    protocol("relay, 100 transactions accepted, 8 peers", relay::accepted),
    protocol("relay, 100 duplicates", relay::duplicates),
    cryptography("message id of 256 B, 100 times", protocol::id_small),
    cryptography("message id of 128 KiB", protocol::id_large),
    cryptography("seal a full record", cryptography::seal_full),
    cryptography("open a full record", cryptography::open_full),
    cryptography("seal 256 B, 100 times", cryptography::seal_small),
    cryptography("open 256 B, 100 times", cryptography::open_small),
    cryptography("handshake, both sides, classical", cryptography::handshake_classical),
    cryptography("handshake, both sides, hybrid", cryptography::handshake_hybrid),
    cryptography("Ed25519 signature", cryptography::sign),
    cryptography("Ed25519 verification", cryptography::verify),
];
