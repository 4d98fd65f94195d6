//! DNS seeds: a small DNS server on loopback, and nodes that find each other through it.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use peerstage::{Builder, Keypair, Network, core::address::Address, core::bootstrap};
use tokio::net::UdpSocket;

const NETWORK: &str = "found by DNS";
const A: u16 = 1;
const TXT: u16 = 16;
const AAAA: u16 = 28;

/// Names in lower case and types, with the data of each record.
type Zone = BTreeMap<(String, u16), Vec<Vec<u8>>>;

/// The strings of a TXT record, as they travel.
fn strings(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(255).flat_map(|part| [&[part.len() as u8], part].concat()).collect()
}

/// The name and type of a question, and where it ends.
fn question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = packet.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
    Some((labels.join("."), kind, at + 4))
}

/// The answer of RFC 1035 section 4.1; a name without records of the type has none.
fn answer(packet: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let (name, kind, end) = question(packet)?;
    let records = zone.get(&(name, kind)).cloned().unwrap_or_default();
    let mut out = packet.get(..2)?.to_vec();
    out.extend([0x85, 0x80, 0, 1, 0, u8::try_from(records.len()).ok()?, 0, 0, 0, 0]);
    out.extend(packet.get(12..end)?);
    for data in records {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

/// A server for a zone: where it is, and how many questions it has been asked.
async fn serve(zone: Zone) -> (Address, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, asked) = (socket.local_addr().unwrap().into(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    actix_rt::spawn(async move {
        let mut packet = [0u8; 4_096];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut packet).await else { return };
            count.fetch_add(1, Ordering::Relaxed);
            if let Some(answer) = answer(&packet[..length], &zone) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    (address, asked)
}

fn node(dns: Address, names: &'static [&'static str], port: u16) -> Builder {
    Network::builder(NETWORK).listen("127.0.0.1:0").configure(move |config| {
        let discovery = &mut config.discovery;
        discovery.dns_seeds =
            names.iter().map(|name| peerstage::core::config::Text(name.parse().unwrap())).collect();
        discovery.dns_servers = vec![dns];
        discovery.dns_interval = peerstage::core::config::Span::millis(300);
        if port != 0 {
            discovery.dns_seed_port = port;
        }
    })
}

/// The record that a node's operator publishes, as `peerstage id --dns` prints it.
async fn published(network: &Network) -> String {
    let found = network.find_node(network.id()).await;
    assert!(found.is_err(), "nobody is there yet");
    bootstrap::txt_of(&network.record().unwrap())
}

#[test]
fn a_node_finds_the_first_peer_by_its_signed_record_in_dns() {
    actix_rt::System::new().block_on(async {
        let first = Network::builder(NETWORK).listen("127.0.0.1:0").start().await.unwrap();
        let text = published(&first).await;
        let name = "seed.peerstage.test";
        let zone =
            Zone::from([((name.to_owned(), TXT), vec![strings("v=spf1 -all"), strings(&text)])]);
        let (dns, asked) = serve(zone).await;
        let second = node(dns, &["seed.peerstage.test"], 0).start().await.unwrap();
        second.ready(1).await.unwrap();
        assert_eq!(second.peers().await.unwrap()[0].peer, first.id());
        assert!(asked.load(Ordering::Relaxed) >= 3, "TXT, A and AAAA");
        second.shutdown().await;
        first.shutdown().await;
    });
}

#[test]
fn a_node_finds_the_first_peer_by_an_address_in_dns() {
    actix_rt::System::new().block_on(async {
        let first = Network::builder(NETWORK).listen("127.0.0.1:0").start().await.unwrap();
        let port = first.listening()[0].port();
        let name = "nodes.peerstage.test".to_owned();
        let v4 = Ipv4Addr::LOCALHOST;
        // An address of IPv4 in IPv6's form, which needs no IPv6 here.
        let v6 = v4.to_ipv6_mapped();
        for (kind, data) in [(A, v4.octets().to_vec()), (AAAA, v6.octets().to_vec())] {
            let (dns, _) = serve(Zone::from([((name.clone(), kind), vec![data])])).await;
            let names = &["empty.peerstage.test", "nodes.peerstage.test"];
            let second = node(dns, names, port).start().await.unwrap();
            second.ready(1).await.unwrap();
            assert_eq!(second.peers().await.unwrap()[0].peer, first.id());
            second.shutdown().await;
        }
        first.shutdown().await;
    });
}

/// A record with another key than the node's leads nowhere, and seeds are asked again and again.
#[test]
fn a_record_of_another_key_leads_nowhere_and_seeds_are_asked_again() {
    actix_rt::System::new().block_on(async {
        let first = Network::builder(NETWORK).listen("127.0.0.1:0").start().await.unwrap();
        let mut claimed = first.record().unwrap().record;
        let liar = Keypair::from_seed(&[66; 32]);
        claimed.public_key = liar.public();
        let network = peerstage::NetworkId::from_name(NETWORK);
        let text = bootstrap::txt_of(&claimed.sign(&liar, &network).unwrap());
        let name = "seed.peerstage.test".to_owned();
        let (dns, asked) = serve(Zone::from([((name, TXT), vec![strings(&text)])])).await;
        let second = node(dns, &["seed.peerstage.test"], 0).start().await.unwrap();
        let mut events = second.subscribe();
        let failed = |what: &peerstage::What| {
            matches!(what, peerstage::What::DialFailed { .. }).then_some(())
        };
        let patience = Duration::from_secs(30);
        tokio::time::timeout(patience, events.find(failed)).await.expect("the dial fails").unwrap();
        assert!(second.peers().await.unwrap().is_empty());
        let before = asked.load(Ordering::Relaxed);
        let mut again = tokio::time::interval(Duration::from_millis(20));
        let more = async {
            while asked.load(Ordering::Relaxed) < before + 6 {
                again.tick().await;
            }
        };
        tokio::time::timeout(patience, more).await.expect("seeds are asked again");
        second.shutdown().await;
        first.shutdown().await;
    });
}
