//! The small types that configuration values are made of.

use std::{collections::BTreeMap, fmt, fmt::Display, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};

use super::{OwnAddress, PeerAddress, Size, Span, StunServer};
use crate::{
    address::{Address, TransportKind},
    kinds::RelayMode,
};

/// A type a key can have.
pub trait Field: Serialize + DeserializeOwned {
    /// What an operator is told to write, as in "expects a duration such as "5s"".
    const KIND: &'static str;
    /// Every value there is, if they can be listed.
    const CHOICES: &'static [&'static str] = &[];
}

/// A value that may be absent. TOML has no null and a missing key means the default, so absence
/// has a word: `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Optional<T> {
    /// Written `none`.
    #[default]
    None,
    /// Written as the value itself.
    Some(T),
}

/// A value that is written as text, whatever its other formats are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<T>(pub T);

impl<T> Optional<T> {
    /// As the standard library has it.
    pub fn as_option(&self) -> Option<&T> {
        match self {
            Optional::None => None,
            Optional::Some(value) => Some(value),
        }
    }
}

impl<T: Serialize> Serialize for Optional<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Optional::None => serializer.serialize_str("none"),
            Optional::Some(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Optional<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Optional::None);
        }
        T::deserialize(de::value::StringDeserializer::<D::Error>::new(text)).map(Optional::Some)
    }
}

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Text).map_err(de::Error::custom)
    }
}

macro_rules! field {
    ($($Type:ty: $kind:literal),+ $(,)?) => {
        $(impl Field for $Type { const KIND: &'static str = $kind; })+
    };
}
field! {
    bool: "true or false",
    u8: "a whole number",
    u16: "a whole number",
    u32: "a whole number",
    f64: "a number",
    String: "text",
    PathBuf: "a path",
    Span: "a duration such as \"5s\", \"250ms\" or \"1h 30m\"",
    Size: "a size such as \"64KiB\" or \"10MiB\", or a number of bytes",
    Address: "IP:PORT",
    Optional<PathBuf>: "a path, or \"none\"",
    Optional<Address>: "IP:PORT, or \"none\"",
    Optional<Text<crate::identity::NetworkId>>: "64 hexadecimal digits, or \"none\"",
    Vec<Text<crate::identity::PublicKey>>: "a list of public keys, each 64 hexadecimal digits",
    Vec<Address>: "a list of IP:PORT",
    Vec<OwnAddress>: "a list of IP:PORT or /ip4/IP/udp/PORT/quic",
    Vec<StunServer>: "a list of HOST or HOST:PORT",
    Vec<TransportKind>: "a list of \"tcp\" and \"quic\"",
    Vec<Text<crate::address::Host>>: "a list of host names",
    Vec<PeerAddress>: "a list of HOST:PORT, NODEID@HOST:PORT or /dns/HOST/udp/PORT/quic/p2p/NODEID",
    BTreeMap<String, String>: "a table of texts",
}

/// Types that are written in a configuration as they print and parse.
macro_rules! as_text {
    ($Name:ident) => {
        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $Name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(super) use as_text;

/// An enum whose values are words.
macro_rules! choice {
    ($(#[doc = $about:literal])+ pub enum $Name:ident {
        $($(#[doc = $doc:literal])+ $(#[$default:ident])? $Variant:ident = $word:literal),+ $(,)?
    }) => {
        $(#[doc = $about])+
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum $Name {
            $($(#[doc = $doc])+ $(#[$default])? #[serde(rename = $word)] $Variant),+
        }
        impl $Name {
            /// The word for it in the configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($Name::$Variant => $word),+ }
            }
        }
        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
        impl Field for $Name {
            const KIND: &'static str = "one of the words listed";
            const CHOICES: &'static [&'static str] = &[$($word),+];
        }
    };
}

choice! {
    /// What kind of line a node sends over.
    pub enum UplinkKind {
        /// Nothing is said.
        #[default]
        Unsaid = "unsaid",
        /// A mobile network.
        Mobile = "mobile",
        /// A home's line.
        Home = "home",
        /// A company's line.
        Office = "office",
        /// A data centre.
        Server = "server",
    }
}
choice! {
    /// Where nodes of the local network are found.
    pub enum LanMode {
        /// Nowhere.
        #[default]
        Off = "off",
        /// On interfaces with private addresses.
        Private = "private",
        /// On all interfaces.
        All = "all",
    }
}
choice! {
    /// What a node does for its network.
    pub enum Role {
        /// Relays everything and serves requests.
        #[default]
        Full = "full",
        /// Full, and proves a validator key to its peers.
        Validator = "validator",
    }
}

choice! {
    /// Whether handshakes use the hybrid of X25519 and ML-KEM-768 (FIPS 203).
    pub enum PostQuantum {
        /// Hybrid with every peer that can, classical with the others.
        #[default]
        Prefer = "prefer",
        /// Hybrid or no connection.
        Require = "require",
        /// Never hybrid: cheaper, and open to who records today and computes later.
        Classical = "classical",
    }
}

choice! {
    /// What keeps the peers on disk.
    pub enum Backend {
        /// RocksDB where it is compiled in, else redb.
        #[default]
        Auto = "auto",
        /// RocksDB; an error where it isn't compiled in.
        Rocksdb = "rocksdb",
        /// redb, pure Rust; an error where it isn't compiled in.
        Redb = "redb",
        /// Nothing: peers and bans are forgotten at exit.
        Memory = "memory",
    }
}

choice! {
    /// How much is logged: each level includes those before it.
    pub enum LogLevel {
        /// What needs an operator.
        Error = "error",
        /// What may soon need one.
        Warn = "warn",
        /// What a healthy node does, a line each connection.
        #[default]
        Info = "info",
        /// What a developer of the node wants to know.
        Debug = "debug",
        /// Every message.
        Trace = "trace",
    }
}

choice! {
    /// How a log line looks.
    pub enum LogFormat {
        /// For eyes, coloured on a terminal.
        #[default]
        Terminal = "terminal",
        /// One JSON object a line, for machines.
        Json = "json",
    }
}

impl Field for RelayMode {
    const KIND: &'static str = "one of the words listed";
    const CHOICES: &'static [&'static str] = &["flood", "selective", "validator-only"];
}
