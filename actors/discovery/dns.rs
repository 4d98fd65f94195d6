//! Asking DNS for the first nodes: TXT records that carry signed node records, and the addresses
//! of a name.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::RData,
};
use peerstage_core::address::Address;

/// How long one question may take. Two attempts stay within the time after which the operator is
/// told that nobody answers.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The seeds of a node, and whom to ask for them.
#[derive(Clone, Debug)]
pub(crate) struct Seeds {
    pub(crate) names: Vec<String>,
    pub(crate) port: u16,
    /// Whether addresses that no stranger reaches count.
    pub(crate) allow_private: bool,
    /// Empty: the system's.
    pub(crate) servers: Vec<Address>,
}

/// What a round of questions brought.
#[derive(Debug, Default)]
pub struct SeedAnswers {
    /// The texts of TXT records.
    pub(crate) texts: Vec<String>,
    /// The addresses of the names.
    pub(crate) addresses: Vec<Address>,
    /// What failed, for people: the name and why.
    pub(crate) failures: Vec<String>,
}

impl Seeds {
    fn resolver(&self) -> Result<TokioResolver, String> {
        let builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| error.to_string())?
        } else {
            let server = |address: &Address| {
                let mut ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                ways.iter_mut().for_each(|way| way.port = address.port());
                NameServerConfig::new(address.ip(), true, ways.to_vec())
            };
            let servers = self.servers.iter().map(server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let mut builder = builder;
        let options = builder.options_mut();
        (options.timeout, options.attempts) = (TIMEOUT, 1);
        // Every round asks anew: the interval is what spares the servers.
        options.cache_size = 0;
        // A record is longer than the 512 bytes of plain DNS.
        options.edns0 = true;
        builder.build().map_err(|error| error.to_string())
    }

    /// Asks for everything once.
    pub(crate) async fn ask(self) -> SeedAnswers {
        let mut answers = SeedAnswers::default();
        let resolver = match self.resolver() {
            Ok(resolver) => resolver,
            Err(error) => {
                answers.failures.push(format!("no DNS server is known: {error}"));
                return answers;
            }
        };
        let asking = self.names.iter().map(|name| ask_one(&resolver, name, self.port));
        for one in futures_util::future::join_all(asking).await {
            answers.texts.extend(one.texts);
            answers.addresses.extend(one.addresses);
            answers.failures.extend(one.failures);
        }
        answers
    }
}

/// The three questions about one name, at once.
async fn ask_one(resolver: &TokioResolver, name: &str, port: u16) -> SeedAnswers {
    // With the dot no search list of the system is tried.
    let full = format!("{}.", name.trim_end_matches('.'));
    let (texts, v4, v6) = futures_util::join!(
        resolver.txt_lookup(full.as_str()),
        resolver.ipv4_lookup(full.as_str()),
        resolver.ipv6_lookup(full.as_str()),
    );
    let mut answers = SeedAnswers::default();
    let mut last = None;
    for lookup in [texts, v4, v6] {
        let lookup = match lookup {
            Ok(lookup) => lookup,
            Err(error) => {
                last = Some(error.to_string());
                continue;
            }
        };
        for record in lookup.answers() {
            let ip: IpAddr = match &record.data {
                RData::TXT(text) => {
                    let joined = text.txt_data.concat();
                    answers.texts.push(String::from_utf8_lossy(&joined).into_owned());
                    continue;
                }
                RData::A(ip) => ip.0.into(),
                RData::AAAA(ip) => ip.0.into(),
                _ => continue,
            };
            answers.addresses.push(SocketAddr::new(ip, port).into());
        }
    }
    // A name may well have no TXT or no addresses; one that has nothing is worth a word.
    if let Some(error) = last.filter(|_| answers.texts.is_empty() && answers.addresses.is_empty()) {
        answers.failures.push(format!("{name}: {error}"));
    }
    answers
}
