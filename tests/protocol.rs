//! The documents say what the code does: tables and examples are written from it.
//!
//! After a change of the protocol: `PEERSTAGE_BLESS=1 cargo test -p peerstage --test protocol`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail loudly")]

use std::{fs, path::PathBuf};

use bytes::BytesMut;
use peerstage_core::{
    address::{Address, TransportKind},
    circuits::{CircuitClose, CircuitCredit, CircuitId, CircuitOpen, CircuitReason, OtherEnd},
    codec::{Capped, Text, encode},
    coordinate::Coordinate,
    frame::RECORD_MAX,
    header::Header,
    identity::{Keypair, NetworkId, Purpose, hex},
    kademlia::{Answer, Claim, ClaimPurpose, Point, Query, Refusal, SignedClaim},
    kinds::{Kind, table_as_markdown},
    lanes::Lanes,
    messages::{
        ConnectionPurpose, Disconnect, DiscoveryHeader, GossipHeader, Hello, Inventory,
        InventoryItem, MessageId, Outgoing, Pace, Peers, PeersRequest, Ping, RequestHeader,
        ResponseHeader, ResponseStatus, RoutedHeader, Signed, Topic, ValidatorProof,
        validator_proof_message,
    },
    reason::CloseReason,
    record::{
        Capabilities, NodeRecord, Roles, SignedRecord, Uplink, UplinkClass, ValidatorBinding,
    },
    scoring::Fault,
    time::Time,
};

const NET: NetworkId = NetworkId([9; 32]);

/// Compares what stands between `<!-- generated: name -->` and `<!-- end -->` with `text`.
fn agrees(document: &str, name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    let whole = fs::read_to_string(&path).unwrap();
    let start = format!("<!-- generated: {name} -->\n");
    let (before, rest) = whole.split_once(&start).unwrap();
    let (written, after) = rest.split_once("<!-- end -->").unwrap();
    let text = format!("\n{}\n\n", text.trim());
    if std::env::var_os("PEERSTAGE_BLESS").is_some() {
        return fs::write(&path, format!("{before}{start}{text}<!-- end -->{after}")).unwrap();
    }
    assert_eq!(written, text, "{document}, {name}: see the top of this test");
}

/// One test, since the parts are written to one file.
#[test]
fn the_protocol_document_agrees_with_the_code() {
    agrees("docs/protocol.md", "kinds", &table_as_markdown());
    let rows = CloseReason::ALL.iter().map(|r| format!("| {} | `{}` |\n", r.code(), r.name()));
    let reasons: String = rows.collect();
    agrees("docs/protocol.md", "reasons", &format!("| code | reason |\n|---|---|\n{reasons}"));
    let rows = CircuitReason::ALL.iter().map(|r| format!("| {} | `{}` |\n", r.code(), r.name()));
    let ends: String = rows.collect();
    agrees("docs/protocol.md", "circuits", &format!("| code | reason |\n|---|---|\n{ends}"));
    agrees("docs/protocol.md", "examples", &examples());
}

#[test]
fn the_table_of_faults_agrees_with_the_code() {
    let row = |fault: &Fault| {
        let cost = f64::from(fault.cost()) / 1000.0;
        format!("| `{}` | {cost} | {} |\n", fault.name(), (50.0 / cost).ceil())
    };
    let rows: String = Fault::ALL.iter().map(row).collect();
    let table = format!("| fault | costs, points | bans after |\n|---|---|---|\n{rows}");
    agrees("docs/scoring.md", "faults", &table);
}

fn node() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

fn validator() -> Keypair {
    Keypair::from_seed(&[2; 32])
}

fn record() -> SignedRecord {
    let address: Address = "8.8.8.8:30400".parse().unwrap();
    let record = NodeRecord {
        public_key: node().public(),
        noise_key: [5; 32],
        addresses: Capped::first(
            TransportKind::ALL.into_iter().rev().map(|transport| address.over(transport)),
        ),
        roles: Roles::FULL.with(Roles::VALIDATOR),
        capabilities: Capabilities::HYBRID,
        coordinate: Some(Coordinate { x: -15, y: 1_200, height: 35 }),
        uplink: Uplink { class: UplinkClass::Home, rate_kib: 5_120 },
        validator: Some(ValidatorBinding::sign(&validator(), &NET, &node().node_id())),
        sequence: 7,
        issued: Time(1_700_000_000_000),
        expires: Time(1_700_003_600_000),
    };
    record.sign(&node(), &NET).unwrap()
}

fn hello() -> Hello {
    let proof = validator_proof_message(&node().node_id(), &[3; 32]);
    Hello {
        agent: Text::cut("a/1"),
        record: Capped::first([0xaa, 0xbb]),
        height: 702_861,
        observed: "1.2.3.4:5".parse().unwrap(),
        metadata: Capped::first([(Text::cut("x"), Text::cut("yz"))]),
        validator: Some(ValidatorProof {
            key: validator().public(),
            signature: validator().sign(Purpose::ValidatorSession, &NET, &proof),
        }),
        pace: Pace { rate_factor: 2, bytes_per_second: 1_000, blocks_only: true },
        purpose: ConnectionPurpose::Visit,
    }
}

fn claim() -> SignedClaim {
    let claim = Claim {
        purpose: ClaimPurpose::Value,
        signer: node().public(),
        name: [3; 32],
        sequence: 5,
        issued: Time(1_700_000_000_000),
        expires: Time(1_700_003_600_000),
        payload: Capped::first(*b"xyz"),
    };
    claim.sign(&node(), &NET).unwrap()
}

/// What is said of circuits.
fn circuits() -> Vec<(&'static str, Vec<u8>)> {
    let circuit = CircuitId(1);
    let open =
        CircuitOpen { circuit, other: OtherEnd::To(peerstage_core::identity::NodeId([4; 32])) };
    let close = CircuitClose { circuit, reason: CircuitReason::PeerQuota.code() };
    vec![
        ("circuit_open header: circuit 1, to 32 bytes 04", encode(&open).unwrap()),
        (
            "circuit_credit header: circuit 1, 16384 bytes",
            encode(&CircuitCredit { circuit, bytes: 16_384 }).unwrap(),
        ),
        ("circuit_close header: circuit 1, peer_quota", encode(&close).unwrap()),
    ]
}

/// Questions and answers of discovery.
fn discovery() -> Vec<(&'static str, Vec<u8>)> {
    let query = |query: &Query| encode(query).unwrap();
    let answer = |answer: &Answer| encode(answer).unwrap();
    let (target, purpose) = ([4; 32], ClaimPurpose::Provider);
    let put = Query::PutRecord { claim: Capped::first([5]) };
    let nodes = Answer::Nodes { nodes: Capped::first([Capped::first([5])]) };
    let (claims, none) = (Capped::first([Capped::first([6])]), Capped::default());
    let records = Answer::Records { claims, nodes: none };
    let refused = Answer::Refused { reason: Refusal::Stale };
    vec![
        ("query: find_node, 32 bytes 04", query(&Query::FindNode { target })),
        (
            "query: get_record, provider, 32 bytes 04",
            query(&Query::GetRecord { purpose, point: target }),
        ),
        ("query: put_record, a claim of the one byte 05", query(&put)),
        ("answer: nodes, one record of the one byte 05", answer(&nodes)),
        ("answer: records, one claim of the one byte 06, no nodes", answer(&records)),
        ("answer: stored", answer(&Answer::Stored)),
        ("answer: refused, stale", answer(&refused)),
        (
            "signed claim of the node: value `xyz` of the name 32 bytes 03, sequence 5, issued 1700000000000, one hour",
            claim().encode().to_vec(),
        ),
        ("point of that value", Point::of_value(&node().public(), &[3; 32]).0.to_vec()),
    ]
}

/// The plaintext of the record that carries one message.
fn framed(kind: Kind, header: Vec<u8>, body: &[u8]) -> Vec<u8> {
    let mut lanes = Lanes::new(Time(0), 1 << 20);
    lanes.push(Outgoing {
        kind,
        header: Header::new(&header).unwrap(),
        body: body.to_vec().into(),
    });
    let mut record = BytesMut::new();
    lanes.fill(Time(0), &mut record, RECORD_MAX);
    record.to_vec()
}

fn examples() -> String {
    let gossip = |hops, topic| encode(&GossipHeader { hops, topic: Topic(topic) }).unwrap();
    let item = InventoryItem { kind: 20, id: MessageId::of(Kind::Block, Topic(0), b"abc") };
    let goodbye = Disconnect { reason: 7, retry_after_ms: 1000 };
    let request = RequestHeader { id: 1, topic: Topic(2), deadline_ms: 3000 };
    let response = ResponseHeader { id: 1, status: ResponseStatus::Busy };
    let ping = encode(&Ping { nonce: 0x0102_0304 }).unwrap();
    let stamp = Time(1_700_000_000_000);
    let rows = [
        ("node's public key", node().public().0.to_vec()),
        ("node's id", node().node_id().0.to_vec()),
        ("validator's public key", validator().public().0.to_vec()),
        ("ping, nonce 0x01020304", ping.clone()),
        ("record with this ping", framed(Kind::Ping, vec![], &ping)),
        ("record with the block `abc`, hops 2", framed(Kind::Block, gossip(2, 0), b"abc")),
        ("id of the block `abc`", item.id.0.to_vec()),
        (
            "id of the custom message `abc`, topic 7",
            MessageId::of(Kind::Custom, Topic(7), b"abc").0.to_vec(),
        ),
        ("gossip header: hops 3, topic 0x0a0b", gossip(3, 0x0a0b)),
        ("have, that block", encode(&Inventory { items: Capped::first([item]) }).unwrap()),
        ("disconnect: shutdown, come back in 1 s", encode(&goodbye).unwrap()),
        ("peers_request, 16", encode(&PeersRequest { count: 16 }).unwrap()),
        (
            "peers, one record of the one byte 05",
            encode(&Peers { records: Capped::first([Capped::first([5])]) }).unwrap(),
        ),
        ("request header: id 1, topic 2, 3 s", encode(&request).unwrap()),
        ("response header: id 1, busy", encode(&response).unwrap()),
        (
            "routed header to 32 bytes 04, hops 1",
            encode(&RoutedHeader { to: peerstage_core::identity::NodeId([4; 32]), hops: 1 })
                .unwrap(),
        ),
        ("discovery header: id 1", encode(&DiscoveryHeader { id: 1 }).unwrap()),
        (
            "hello: agent `a/1`, record aa bb, height 702861, observed 1.2.3.4:5, metadata `x`: `yz`, validator proof of the node for the handshake hash 32 bytes 03, twice the rates, 1,000 bytes a second, blocks only, a visit",
            encode(&hello()).unwrap(),
        ),
        (
            "signed record: noise key 32 bytes 05, addresses 8.8.8.8:30400 over TCP and over QUIC, roles 3, capabilities 1, coordinate -1.5, 120, 3.5 ms, uplink of a home, 5,120 KiB a second, bound to the validator, sequence 7, issued 1700000000000, one hour",
            record().encode().unwrap(),
        ),
        (
            "vote `yes` of the validator, stamp 1700000000000",
            Signed::seal(Kind::Vote, &validator(), &NET, stamp, b"yes").to_vec(),
        ),
    ];
    let rows = rows.into_iter().chain(discovery()).chain(circuits());
    let shown = rows.map(|(what, bytes)| format!("{what}:\n\n```\n{}\n```\n", wrapped(&bytes)));
    shown.collect::<Vec<_>>().join("\n")
}

/// 32 bytes a line.
fn wrapped(bytes: &[u8]) -> String {
    bytes.chunks(32).map(hex).collect::<Vec<_>>().join("\n")
}
