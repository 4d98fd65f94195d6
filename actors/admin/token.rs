//! The bearer token that guards the TCP listener.
//!
//! # Security
//! Provided: 256 random bits in a file of mode 0600 that is made with `O_EXCL` and refused when
//! others could have read it; comparison takes the same time whatever was sent; nothing prints
//! it.
//! Not provided: expiry. Delete the file and restart the node for a new one.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use peerstage_core::identity::{from_hex, hex};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Hexadecimal digits of a token: 256 bits.
const DIGITS: usize = 64;

/// A token. Printed by nothing.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Others may read or write the file.
    #[error("{}: the token file's mode is {mode:04o}, so others can read it; delete it for a new one", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to another user, or is no regular file.
    #[error("{}: the token file must be a regular file of the node's user", .0.display())]
    NotOurs(PathBuf),
    /// There is something else in the file.
    #[error("{}: expected 64 hexadecimal digits; delete the file for a new token", .0.display())]
    Content(PathBuf),
    /// The operating system has no randomness for a new token.
    #[error("no randomness for a new token: {0}")]
    Entropy(String),
    /// The file can't be read or made.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Token {
    /// Loads the token at `path`, or makes one there.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn load_or_create(path: &Path) -> Result<Self, TokenError> {
        match Token::load(path) {
            Err(TokenError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut bytes = Zeroizing::new([0u8; DIGITS / 2]);
        getrandom::fill(bytes.as_mut()).map_err(|e| TokenError::Entropy(e.to_string()))?;
        let token = Token(Zeroizing::new(hex(bytes.as_ref())));
        let failed = |error| TokenError::Io { path: path.to_owned(), error };
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(path);
        let mut file = opened.map_err(failed)?;
        file.write_all(token.0.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok(token)
    }

    /// Loads the token at `path`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let failed = |error| TokenError::Io { path: path.to_owned(), error };
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(i32::from_ne_bytes(flags.to_ne_bytes()));
        let file = options.open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() {
            return Err(TokenError::NotOurs(path.to_owned()));
        }
        let mode = found.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Permissions { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        // One more than fits, so that a longer file is noticed; a line feed is forgiven.
        file.take(DIGITS as u64 + 2).read_to_string(&mut text).map_err(failed)?;
        let digits = text.trim_end();
        if digits.len() != DIGITS || from_hex(digits).is_none() {
            return Err(TokenError::Content(path.to_owned()));
        }
        Ok(Token(Zeroizing::new(digits.to_owned())))
    }

    /// What a client sends in its `Authorization` header.
    #[must_use]
    pub fn header(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", self.0.as_str()))
    }

    /// Whether an `Authorization` header carries this token. The time depends on the length of
    /// the header alone: hashes are compared, in constant time.
    #[must_use]
    pub fn admits(&self, header: &[u8]) -> bool {
        let Some((scheme, sent)) = header.split_at_checked("Bearer ".len()) else { return false };
        // The scheme is case-insensitive (RFC 9110 section 11.1) and no secret.
        scheme.eq_ignore_ascii_case(b"Bearer ")
            && blake3::hash(sent) == blake3::hash(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// Attack row 44: only the very token is let in, and it is not printed.
    #[test]
    fn only_the_very_token_is_admitted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        let token = Token::load_or_create(&path).unwrap();
        let header = token.header();
        assert!(token.admits(header.as_bytes()));
        assert!(token.admits(header.replacen("Bearer", "bearer", 1).as_bytes()));
        for end in 0..header.len() {
            assert!(!token.admits(&header.as_bytes()[..end]), "{end}");
        }
        for wrong in ["Basic x", "Bearer", &format!("{}0", *header), &header.to_uppercase()] {
            assert!(!token.admits(wrong.as_bytes()) || wrong == header.as_str(), "{wrong}");
        }
        assert!(!format!("{token:?}").contains(token.0.as_str()));
    }

    #[test]
    fn the_same_token_comes_back_from_a_file_of_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        let made = Token::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Token::load_or_create(&path).unwrap().admits(made.header().as_bytes()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Token::load(&path), Err(TokenError::Permissions { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for content in ["", "abc", &"g".repeat(64), &"0".repeat(66)] {
            fs::write(&path, content).unwrap();
            assert!(matches!(Token::load(&path), Err(TokenError::Content(_))), "{content}");
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(Token::load(&path).is_err());
    }
}
