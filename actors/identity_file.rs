//! The file that holds a node's identity: one line, readable by its owner alone.
//!
//! # Security
//! Provided: the file is created with mode 0600 under a name nobody else can have prepared, is
//! whole or absent after a crash, and is refused when anybody but the node's user could have
//! read or replaced it (ssh's practice). The key never appears in an error.
//! Not provided: encryption at rest, and protection from a directory others can write to: put
//! the file into a directory of its own.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use peerstage_core::identity::Keypair;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::store::journal::sync_directory;

/// What the line starts with: the kind of key and the version of the format.
pub const PREFIX: &str = "peerstage-ed25519-1 ";
/// How long the file is, bytes: the prefix, 64 hexadecimal digits, a line feed.
pub const FILE_BYTES: usize = PREFIX.len() + 64 + 1;
/// The permission bits of a new file.
pub const MODE: u32 = 0o600;

/// An identity and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The key.
    pub keypair: Keypair,
    /// The file did not exist: this is a new node.
    pub created: bool,
}

/// Why there is no identity. A node must not start then: a new key would be a new node.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// The path is a symbolic link.
    #[error("{}: the key file is a symbolic link; put the file itself there", .0.display())]
    Symlink(PathBuf),
    /// The path is a directory, a device or a pipe.
    #[error("{}: the key file is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Others may read or write the file.
    #[error("{}: the key file's mode is {mode:04o}, so others can read it; run chmod 600 if nobody did, else make a new key", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to another user.
    #[error("{}: the key file belongs to user {owner}, the node runs as user {user}", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who runs the node.
        user: u32,
    },
    /// The file has another size than a key file has.
    #[error("{}: the key file has {bytes} bytes, expected {FILE_BYTES}; restore it from a backup", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The file has the right size and something else in it.
    #[error("{}: the file holds no Peerstage key; restore it from a backup", .0.display())]
    Content(PathBuf),
    /// The operating system has no randomness for a new key.
    #[error("no randomness for a new key: {0}")]
    Entropy(String),
    /// The file can't be read, created or synced.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or its directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Loads the identity at `path`, or makes a new one there.
///
/// # Errors
/// See [`IdentityFileError`].
pub fn load_or_create(path: &Path) -> Result<Loaded, IdentityFileError> {
    match load(path) {
        Err(IdentityFileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.map(|keypair| Loaded { keypair, created: false }),
    }
    let keypair = generate()?;
    match create(path, &keypair) {
        // Somebody else was faster: theirs is the identity.
        Err(IdentityFileError::Io { error, .. })
            if error.kind() == io::ErrorKind::AlreadyExists =>
        {
            load(path).map(|keypair| Loaded { keypair, created: false })
        }
        other => other.map(|()| Loaded { keypair, created: true }),
    }
}

/// Loads the identity at `path`.
///
/// # Errors
/// See [`IdentityFileError`].
pub fn load(path: &Path) -> Result<Keypair, IdentityFileError> {
    // Not following links is decided by the open itself, so nothing can change in between; a
    // pipe must not block the start.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(i32::from_ne_bytes(flags.to_ne_bytes()));
    let file = options.open(path).map_err(|error| {
        let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        if is_link { IdentityFileError::Symlink(path.into()) } else { io_error(path)(error) }
    })?;
    let found = file.metadata().map_err(io_error(path))?;
    if !found.is_file() {
        return Err(IdentityFileError::NotAFile(path.into()));
    }
    check(path, (found.uid(), rustix::process::geteuid().as_raw()), found.mode(), found.len())?;
    let mut text = Zeroizing::new([0u8; FILE_BYTES]);
    let mut file = file;
    file.read_exact(text.as_mut()).map_err(io_error(path))?;
    let seed = parse(text.as_ref()).ok_or_else(|| IdentityFileError::Content(path.into()))?;
    Ok(Keypair::from_seed(&seed))
}

/// Writes a new identity to `path`, which must not exist: whole and synced, or not at all.
///
/// # Errors
/// [`IdentityFileError::Io`]; its kind is `AlreadyExists` where there is a file.
pub fn create(path: &Path, keypair: &Keypair) -> Result<(), IdentityFileError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    write_new(&new, keypair).map_err(io_error(&new))?;
    // A link, unlike a rename, never replaces a file that is there.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new).map_err(io_error(&new))?;
    linked.map_err(io_error(path))?;
    sync_directory(directory).map_err(io_error(directory))
}

fn write_new(path: &Path, keypair: &Keypair) -> Result<(), io::Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // create_new is O_CREAT | O_EXCL: it fails on whatever is there, links included.
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    let seed = keypair.seed();
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES));
    text.extend_from_slice(PREFIX.as_bytes());
    for byte in seed.iter() {
        text.extend([byte >> 4, byte & 15].map(hex_digit));
    }
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()
}

fn generate() -> Result<Keypair, IdentityFileError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut())
        .map_err(|error| IdentityFileError::Entropy(error.to_string()))?;
    Ok(Keypair::from_seed(&seed))
}

fn check(
    path: &Path,
    (owner, user): (u32, u32),
    mode: u32,
    bytes: u64,
) -> Result<(), IdentityFileError> {
    let (path, mode) = (path.to_owned(), mode & 0o7777);
    if owner != user {
        return Err(IdentityFileError::Owner { path, owner, user });
    }
    if mode & 0o077 != 0 {
        return Err(IdentityFileError::Permissions { path, mode });
    }
    if bytes != FILE_BYTES as u64 {
        return Err(IdentityFileError::Size { path, bytes });
    }
    Ok(())
}

fn parse(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let digits = text.strip_prefix(PREFIX.as_bytes())?.strip_suffix(b"\n")?;
    let mut seed = Zeroizing::new([0u8; 32]);
    for (byte, pair) in seed.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = (hex_value(*high)? << 4) | hex_value(*low)?;
    }
    (digits.len() == 64).then_some(seed)
}

fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> IdentityFileError {
    move |error| IdentityFileError::Io { path: path.to_owned(), error }
}

/// Attack row 47: a key file that others could have read or replaced is refused.
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn key_path() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        (directory, path)
    }

    #[test]
    fn the_same_node_comes_back() {
        let (directory, path) = key_path();
        let first = load_or_create(&path).unwrap();
        let second = load_or_create(&path).unwrap();
        assert!(first.created && !second.created);
        assert_eq!(first.keypair.node_id(), second.keypair.node_id());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, MODE);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn a_file_that_exists_is_never_replaced() {
        let (_directory, path) = key_path();
        let first = load_or_create(&path).unwrap().keypair;
        let error = create(&path, &generate().unwrap()).unwrap_err();
        assert!(matches!(error, IdentityFileError::Io { error, .. }
            if error.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(load(&path).unwrap().node_id(), first.node_id());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let (_directory, path) = key_path();
        load_or_create(&path).unwrap();
        for bit in 0..6 {
            let mode = MODE | (1 << bit);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load_or_create(&path).unwrap_err();
            assert!(matches!(error, IdentityFileError::Permissions { mode: m, .. } if m == mode));
        }
    }

    #[test]
    fn a_link_a_directory_and_a_pipe_are_refused() {
        let (directory, path) = key_path();
        let real = directory.path().join("real.key");
        load_or_create(&real).unwrap();
        symlink(&real, &path).unwrap();
        assert!(matches!(load_or_create(&path), Err(IdentityFileError::Symlink(_))));
        fs::remove_file(&path).unwrap();
        symlink(directory.path().join("nowhere"), &path).unwrap();
        assert!(matches!(load_or_create(&path), Err(IdentityFileError::Symlink(_))), "dangling");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(load_or_create(&path), Err(IdentityFileError::NotAFile(_))));
        fs::remove_dir(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(MODE),
            0,
        )
        .unwrap();
        assert!(matches!(load_or_create(&path), Err(IdentityFileError::NotAFile(_))), "a pipe");
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let error = check(Path::new("k"), (1000, 1001), 0o100_600, FILE_BYTES as u64).unwrap_err();
        assert!(matches!(error, IdentityFileError::Owner { owner: 1000, user: 1001, .. }));
    }

    #[test]
    fn a_truncated_or_altered_file_is_refused_and_left_alone() {
        let (_directory, path) = key_path();
        load_or_create(&path).unwrap();
        let good = fs::read(&path).unwrap();
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            assert!(matches!(load_or_create(&path), Err(IdentityFileError::Size { .. })));
        }
        let mut bad = good.clone();
        bad[PREFIX.len()] = b'x';
        fs::write(&path, &bad).unwrap();
        assert!(matches!(load_or_create(&path), Err(IdentityFileError::Content(_))));
        assert_eq!(fs::read(&path).unwrap(), bad);
    }

    #[test]
    fn a_leftover_of_a_crash_does_not_stop_the_next_start() {
        let (_directory, path) = key_path();
        fs::write(path.with_extension("key.new"), b"half a k").unwrap();
        assert!(load_or_create(&path).unwrap().created);
        assert!(load(&path).is_ok());
    }
}
