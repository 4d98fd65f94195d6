//! The blocks to be replayed.

use std::{borrow::Cow, path::PathBuf};

use bitcoin::{
    Block, BlockHash,
    consensus::{deserialize, serialize},
};
use bytes::Bytes;

use super::LocalnetError;

/// The block that comes with the program, from the crate `bitcoin-test-data`.
pub(super) const BUILT_IN: &str = "bitcoin:702861";

/// What names of blocks that come with the program begin with.
const BUILT_IN_PREFIX: &str = "bitcoin:";

/// One block, with the transactions that can be sent on their own.
pub(super) struct Replay {
    /// As the command line names it.
    pub(super) name: String,
    /// Its bytes.
    pub(super) raw: Bytes,
    /// The block.
    pub(super) block: Block,
    /// Its hash.
    pub(super) hash: BlockHash,
}

impl Replay {
    /// Reads a block: [`BUILT_IN`], or a file of one raw block.
    pub(super) fn load(name: &str) -> Result<Self, LocalnetError> {
        let raw: Cow<'static, [u8]> = match name {
            BUILT_IN => Cow::Borrowed(bitcoin_test_data::blocks::mainnet_702861()),
            // A file of that name would be written with its folder.
            name if name.starts_with(BUILT_IN_PREFIX) => {
                let text = format!(
                    "--replay {name}: the program holds no such block; write {BUILT_IN}, or the \
                     name of a file with a raw mainnet block"
                );
                return Err(LocalnetError::Usage(text));
            }
            path => Cow::Owned(read(path.into())?),
        };
        let block: Block = deserialize(&raw).map_err(|error| LocalnetError::Replay {
            name: name.to_owned(),
            why: format!("is not a raw block: {error}"),
        })?;
        let hash = block.block_hash();
        Ok(Replay { name: name.to_owned(), raw: raw.into_owned().into(), block, hash })
    }

    /// The transactions other than the coinbase, which has no life outside of its block.
    pub(super) fn transactions(&self) -> impl Iterator<Item = Bytes> {
        self.block.txdata.iter().skip(1).map(|transaction| serialize(transaction).into())
    }
}

fn read(path: PathBuf) -> Result<Vec<u8>, LocalnetError> {
    std::fs::read(&path).map_err(|error| LocalnetError::File { path, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_block_is_read_and_other_bytes_are_not() {
        let replay = Replay::load(BUILT_IN).unwrap();
        assert_eq!(replay.transactions().count(), replay.block.txdata.len() - 1);
        assert!(matches!(Replay::load("/no/such/file"), Err(LocalnetError::File { .. })));
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(matches!(Replay::load(manifest), Err(LocalnetError::Replay { .. })));
    }
}
