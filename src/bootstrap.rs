//! The first peers of a node: when seeds are asked, when the operator is told that nobody
//! answers, and how a signed record is written into DNS.
//!
//! # Security
//! Provided: a TXT record is believed only with its node's signature for this network, and used
//! only as a place to dial where that node must prove itself; how many are used is bounded.
//! Not provided: a DNS that answers truly. Whoever controls it can leave honest seeds out or
//! name nodes of its own: seeds of several operators, and known addresses, are the defence. A and
//! AAAA records name no key at all.

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    identity::{NetworkId, NodeId},
    manager::Target,
    record::{BYTES_MAX, SignedRecord},
    time::{Millis, Time},
};

/// After how long without any peer the operator is told, ms.
pub const ALARM_AFTER: Millis = 8_000;
/// How often it is said again, ms.
pub const ALARM_INTERVAL: Millis = 60_000;
/// Places that one round of seeds may add.
pub const TARGETS_MAX: usize = 64;
/// What a TXT record of ours begins with.
pub const TXT_PREFIX: &str = "peerstage1=";
/// The longest string in a TXT record, bytes (RFC 1035 section 3.3.14).
const STRING_MAX: usize = 255;

/// When seeds are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapConfig {
    /// Whether the operator named anybody at all: seeds, bootstrap nodes or persistent peers.
    pub named: bool,
    /// Whether there are DNS seeds.
    pub seeds: bool,
    /// Below so many peers seeds are asked.
    pub min_peers: usize,
    /// How often, ms; a quarter more or less at random.
    pub interval: Millis,
}

/// An order to the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapAction {
    /// Ask all the seeds.
    AskSeeds,
    /// Nobody has answered for so many ms: tell the operator loudly.
    Alarm(Millis),
}

/// The machine: asks for ever, as long as too few peers are there.
#[derive(Debug)]
pub struct Bootstrap {
    config: BootstrapConfig,
    peers: usize,
    /// Since when there is no peer.
    alone: Time,
    next_ask: Time,
    next_alarm: Time,
    rng: ChaCha8Rng,
}

impl Bootstrap {
    /// A node that has just started, without peers.
    #[must_use]
    pub fn new(now: Time, config: BootstrapConfig, seed: [u8; 32]) -> Self {
        let next_ask = if config.seeds { now } else { Time::NEVER };
        let next_alarm = if config.named { now.plus(ALARM_AFTER) } else { Time::NEVER };
        let rng = ChaCha8Rng::from_seed(seed);
        Bootstrap { config, peers: 0, alone: now, next_ask, next_alarm, rng }
    }

    /// So many peers are connected now.
    pub fn on_peers(&mut self, now: Time, peers: usize) {
        if self.peers > 0 && peers == 0 {
            self.alone = now;
            self.next_alarm = if self.config.named { now.plus(ALARM_AFTER) } else { Time::NEVER };
        }
        let enough = self.config.min_peers.max(1);
        if self.config.seeds && self.peers >= enough && peers < enough {
            self.next_ask = self.next_ask.min(now.plus(self.wait()));
        }
        self.peers = peers;
    }

    fn wait(&mut self) -> Millis {
        let interval = self.config.interval;
        let quarter = interval / 4;
        let jitter = self.rng.random_range(0..=quarter.saturating_mul(2));
        interval.saturating_sub(quarter).saturating_add(jitter).max(1)
    }

    /// When [`Bootstrap::on_deadline`] wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let alarm = if self.peers == 0 { self.next_alarm } else { Time::NEVER };
        let next = self.next_ask.min(alarm);
        (next != Time::NEVER).then_some(next)
    }

    /// Time has come, or gone by.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<BootstrapAction>) {
        if self.next_ask <= now {
            self.next_ask = now.plus(self.wait());
            if self.peers < self.config.min_peers.max(1) {
                out.push(BootstrapAction::AskSeeds);
            }
        }
        if self.peers == 0 && self.next_alarm <= now {
            self.next_alarm = now.plus(ALARM_INTERVAL);
            out.push(BootstrapAction::Alarm(now.since(self.alone)));
        }
    }

    /// The places that TXT records name, a random few if there are many; what is no record of
    /// this network is left out.
    pub fn targets(&mut self, texts: &[String], network: &NetworkId, own: NodeId) -> Vec<Target> {
        let mut records: Vec<_> =
            texts.iter().filter_map(|text| record_of(text, network)).collect();
        records.shuffle(&mut self.rng);
        let places = records.iter().filter(|(node, _)| *node != own).flat_map(|(node, signed)| {
            let addresses = signed.record.addresses.iter().copied();
            addresses.map(|address| Target { address, expected: Some(*node) })
        });
        places.take(TARGETS_MAX).collect()
    }
}

/// A record as the text of a TXT record: the prefix and base64url (RFC 4648 section 5).
#[must_use]
pub fn txt_of(record: &SignedRecord) -> String {
    // Encoding fails for no record.
    format!("{TXT_PREFIX}{}", base64url(&record.encode().unwrap_or_default()))
}

/// The line of a zone file that publishes a record under a name (RFC 1035 section 5.1): its text
/// is cut into strings that DNS can carry, and readers join them.
#[must_use]
pub fn zone_line(name: &str, record: &SignedRecord, seconds: u32) -> String {
    let text = txt_of(record);
    let strings: Vec<String> = text
        .as_bytes()
        .chunks(STRING_MAX)
        .map(|part| format!("\"{}\"", String::from_utf8_lossy(part)))
        .collect();
    format!("{}. {seconds} IN TXT {}", name.trim_end_matches('.'), strings.join(" "))
}

/// The node and the record in a text, if it is one of this network. Its end is not looked at: a
/// seed is a place to dial, where the node proves itself, and zones are not edited daily.
#[must_use]
pub fn record_of(text: &str, network: &NetworkId) -> Option<(NodeId, SignedRecord)> {
    let bytes = from_base64url(text.trim().strip_prefix(TXT_PREFIX)?)?;
    let signed = SignedRecord::decode(&bytes).ok()?;
    let issued = signed.record.issued;
    let verified = signed.verify(network, issued).ok()?;
    Some((verified.node(), verified.signed().clone()))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=chunk.len() {
            let shift = 18u32.saturating_sub(u32::try_from(digit).unwrap_or(3).saturating_mul(6));
            let index = usize::try_from((bits >> shift) & 63).unwrap_or(0);
            text.extend(ALPHABET.get(index).map(|letter| char::from(*letter)));
        }
    }
    text
}

/// `None` for other letters, impossible lengths and what is longer than a record.
fn from_base64url(text: &str) -> Option<Vec<u8>> {
    if text.len() > BYTES_MAX.div_ceil(3).saturating_mul(4) || text.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    for chunk in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for at in 0..4usize {
            let value = match chunk.get(at) {
                Some(letter) => ALPHABET.iter().position(|known| known == letter)?,
                None => 0,
            };
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        let [_, first, second, third] = bits.to_be_bytes();
        bytes.extend([first, second, third].into_iter().take(chunk.len().saturating_sub(1)));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{NET, NOW, keypair, signed};

    fn bootstrap(named: bool, seeds: bool) -> Bootstrap {
        let config = BootstrapConfig { named, seeds, min_peers: 2, interval: 30_000 };
        Bootstrap::new(NOW, config, [1; 32])
    }

    /// Lets a day pass; when what was ordered, seconds from the start.
    fn a_day(machine: &mut Bootstrap) -> Vec<(u64, BootstrapAction)> {
        let (mut orders, mut out) = (Vec::new(), Vec::new());
        while let Some(next) = machine.deadline().filter(|next| *next < NOW.plus(86_400_000)) {
            machine.on_deadline(next, &mut out);
            orders.extend(out.drain(..).map(|order| (next.since(NOW) / 1000, order)));
        }
        orders
    }

    #[test]
    fn it_asks_for_ever_with_jitter_and_is_loud_within_ten_seconds() {
        let orders = a_day(&mut bootstrap(true, true));
        let asked: Vec<u64> = orders
            .iter()
            .filter(|(_, order)| *order == BootstrapAction::AskSeeds)
            .map(|(at, _)| *at)
            .collect();
        assert_eq!(asked[0], 0);
        assert!(asked.len() > 2_500, "asked {} times in a day", asked.len());
        let gaps: std::collections::BTreeSet<u64> =
            asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.len() > 5, "always the same pause");
        assert!(gaps.iter().all(|gap| (22..=38).contains(gap)), "{gaps:?}");
        let loud = orders.iter().find(|(_, o)| matches!(o, BootstrapAction::Alarm(_))).unwrap();
        assert!(loud.0 < 10, "loud after {} s", loud.0);
    }

    #[test]
    fn a_node_with_peers_asks_nobody_and_one_that_lost_them_does() {
        let mut machine = bootstrap(true, true);
        machine.on_peers(NOW, 2);
        assert_eq!(a_day(&mut machine), []);
        let later = NOW.plus(90_000_000);
        machine.on_peers(later, 0);
        let mut out = Vec::new();
        machine.on_deadline(later.plus(40_000), &mut out);
        assert!(out.contains(&BootstrapAction::AskSeeds));
        assert!(out.contains(&BootstrapAction::Alarm(40_000)));
    }

    #[test]
    fn the_first_node_of_a_network_is_not_alarmed() {
        assert_eq!(a_day(&mut bootstrap(false, false)), []);
    }

    #[test]
    fn base64url_is_that_of_the_rfc() {
        for (plain, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")]
        {
            assert_eq!(base64url(plain.as_bytes()), text);
            assert_eq!(from_base64url(text).unwrap(), plain.as_bytes());
        }
        assert_eq!(base64url(&[0xff, 0xef, 0xfe]), "_-_-");
        for bad in ["a", "=", "Zg==", "Z+", &"A".repeat(4_000)] {
            assert_eq!(from_base64url(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_record_goes_through_dns_and_only_of_this_network() {
        let key = keypair(3);
        let record = signed(&key, &["8.8.8.8:30400".parse().unwrap()], NOW);
        let text = txt_of(&record);
        let mut machine = bootstrap(true, true);
        let target =
            Target { address: "8.8.8.8:30400".parse().unwrap(), expected: Some(key.node_id()) };
        let texts = ["v=spf1 -all".to_owned(), text.clone(), format!("{text}A")];
        assert_eq!(machine.targets(&texts, &NET, NodeId([0; 32])), [target]);
        assert_eq!(machine.targets(&texts, &NET, key.node_id()), [], "itself");
        assert_eq!(machine.targets(&texts, &NetworkId([1; 32]), NodeId([0; 32])), []);
    }

    #[test]
    fn a_zone_line_has_strings_that_dns_can_carry() {
        let record = signed(&keypair(3), &["8.8.8.8:30400".parse().unwrap()], NOW);
        let line = zone_line("seed.example.org", &record, 3_600);
        assert!(line.starts_with("seed.example.org. 3600 IN TXT \"peerstage1="), "{line}");
        let strings: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        assert!(strings.iter().all(|part| part.len() <= STRING_MAX));
        assert_eq!(strings.concat(), txt_of(&record));
    }
}
