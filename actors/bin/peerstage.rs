//! The `peerstage` command; everything is in [`peerstage::node`].

use std::process::ExitCode;

fn main() -> ExitCode {
    peerstage::node::main()
}
