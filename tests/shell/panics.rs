//! A panic in every handler of every actor: found in the source, injected one by one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use actix::{Actor, MailboxError};
use bytes::Bytes;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use peerstage::{
    Block, Kind, NodeId, Payload, PayloadError, Proposal, RelayMode, Report, Target, Topic,
    Transaction, Vote, What,
    admin::{Admin, AdminParts, AdminRequest, Follow},
    core::reason::CloseReason,
    shell::{Fatal, Stop, disarm_fault, plan_fault},
    testkit::{
        cluster::{Cluster, ECHO, World},
        run_virtual,
    },
    transport::sim::SimConfig,
};
use tokio::{sync::mpsc, time::timeout};

/// Longer than any step of the story takes, virtual time.
const PATIENCE: Duration = Duration::from_secs(60);
/// The admin actor is the binary's, not the library's: it has a story of its own below.
const ADMIN: &str = "Admin::";
/// Only a real machine brings these; they have a story of their own too.
const FROM_OUTSIDE: [&str; 2] = ["NatTraversal::Datagram", "NatTraversal::Vec<Found>"];

/// One at a time: the plan is the process's.
pub(crate) static ALONE: Mutex<()> = Mutex::new(());

/// A message to one node alone.
struct Whisper(Bytes);

impl Payload for Whisper {
    const KIND: Kind = Kind::Custom;
    const TOPIC: Topic = Topic(77);

    fn encode(&self) -> Bytes {
        self.0.clone()
    }

    fn decode(bytes: Bytes) -> Result<Self, PayloadError> {
        Ok(Whisper(bytes))
    }
}

/// What the hook says of a core actor.
fn name_of(actor: &str) -> &'static str {
    match actor {
        "MessageRelay" => "relay",
        "RequestDesk" => "requests",
        "NetworkManager" => "manager",
        "Discovery" => "discovery",
        "PeerScoring" => "scoring",
        "PeerStore" => "store",
        "BlockchainBridge" => "blockchain",
        "ConsensusBridge" => "consensus",
        "MonitoringBridge" => "monitoring",
        "NatTraversal" => "nat",
        "Circuits" => "circuits",
        other => panic!("{other} is a new actor: say what its death means"),
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "examples" | "testkit") {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// Every handler as `Actor::Message`, and whether its first line is its fault point.
fn handlers() -> Vec<(String, bool)> {
    let mut files = Vec::new();
    rust_files(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    let mut found = Vec::new();
    for text in files.iter().map(|path| fs::read_to_string(path).unwrap()) {
        for part in text.split("\nimpl ").skip(1) {
            let Some(head) = part.lines().next() else { continue };
            let Some((_, rest)) = head.split_once("Handler<") else { continue };
            let Some((message, actor)) = rest.split_once("> for ") else { continue };
            let actor = actor.trim_end_matches(" {");
            let name = format!("{actor}::{message}");
            let body = part.split_once("fn handle(").map_or("", |(_, body)| body);
            let first = body.split_once("{\n").map_or("", |(_, body)| body);
            let pointed = first.trim_start().starts_with(&format!("fault_point(\"{name}\");"));
            found.push((name, pointed));
        }
    }
    found
}

/// No handler is forgotten: each begins with a fault point of its own name.
#[test]
fn every_handler_begins_with_its_fault_point() {
    let handlers = handlers();
    assert!(handlers.len() >= 44, "only {} handlers found", handlers.len());
    let bare: Vec<_> = handlers.iter().filter(|(_, pointed)| !pointed).collect();
    assert!(bare.is_empty(), "no fault point: {bare:?}");
}

fn metrics() -> &'static PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS.get_or_init(|| PrometheusBuilder::new().install_recorder().expect("one recorder"))
}

fn peer_panics() -> u64 {
    let text = metrics().render();
    let mut lines = text.lines().filter_map(|l| l.strip_prefix("peerstage_peer_panics_total "));
    lines.next().and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

type Deaths = Arc<Mutex<Vec<(usize, &'static str)>>>;

/// Three nodes, two of them validators, that tell of their dead actors.
async fn three(seed: u64) -> (Cluster, Deaths) {
    let deaths = Deaths::default();
    let told = Arc::clone(&deaths);
    let mut cluster = Cluster::new(World::simulated(seed, SimConfig::default()), seed)
        .with_validators(2)
        .prepared(move |index, builder| {
            let told = Arc::clone(&told);
            builder.on_fatal(move |actor| told.lock().unwrap().push((index, actor)))
        });
    cluster.start(3).await.expect("they start");
    cluster.until_met(2, PATIENCE).await.expect("they meet");
    (cluster, deaths)
}

/// A node does everything that a node can do; what fails, fails.
async fn live(cluster: &mut Cluster) {
    cluster.crash(2).await;
    let _ = timeout(PATIENCE, cluster.restart(2)).await;
    let (second, third) = (cluster.member(1).node(), cluster.member(2).node());
    let address = format!("{}:{}", cluster.ip(1), peerstage::testkit::cluster::PORT);
    let set = cluster.validator_set();
    let node = cluster.network(0);
    let talk = async {
        let _ = node.broadcast(Block::from(b"block".to_vec())).await;
        let _ = node.broadcast(Transaction::from(b"transaction".to_vec())).await;
        let _ = node.broadcast(Proposal::from(b"proposal".to_vec())).await;
        let _ = node.broadcast(Vote::from(b"vote".to_vec())).await;
        let _ = node.send(second, Transaction::from(b"for you".to_vec())).await;
        let _ = node.send(second, Whisper(Bytes::from_static(b"for you alone"))).await;
        let _ = node.request(Target::Peer(second), ECHO, b"?".to_vec(), PATIENCE / 4).await;
    };
    let _ = timeout(PATIENCE, talk).await;
    let operate = async {
        let _ = node.set_relay_mode(Kind::Block, RelayMode::Flood).await;
        let _ = node.set_validators(set).await;
        let _ = (node.status().await, node.peers().await, node.bans().await);
        let _ = (node.explain(second).await, node.scored_peers().await);
        let _ = node.report(second, Report::Good(30), "well done").await;
        let _ = node.ban(third, "a test", None).await;
        let _ = node.unban(third).await;
        let _ = node.disconnect(second).await;
        // Who is no peer any more is asked on a visit.
        let _ = node.find_node(NodeId([5; 32])).await;
        let _ = node.connect(address.parse().unwrap()).await;
        let _ = (node.provide("a block").await, node.providers("a block").await);
        let _ = node.stop_providing("a block").await;
    };
    let _ = timeout(PATIENCE, operate).await;
    tokio::time::sleep(PATIENCE * 3).await;
}

/// A panic in any handler of a core actor is told by the actor's name, once; the process and
/// the other nodes live on.
#[test]
fn a_panic_in_any_core_handler_is_fatal_to_its_node_alone() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let [datagram, found] = FROM_OUTSIDE;
    let elsewhere = ["Peer::", ADMIN, datagram, found];
    let actors = handlers().into_iter().map(|(handler, _)| handler);
    let mut untouched = Vec::new();
    for handler in actors.filter(|name| !elsewhere.iter().any(|other| name.starts_with(other))) {
        let silent = Arc::new(Mutex::new(false));
        let (plan, reached) = (handler.clone(), Arc::clone(&silent));
        run_virtual(1, move |seed| async move {
            let (mut cluster, deaths) = three(seed).await;
            plan_fault(&plan);
            live(&mut cluster).await;
            let _ = timeout(PATIENCE, cluster.shutdown(0)).await;
            *reached.lock().unwrap() = disarm_fault();
            let told = deaths.lock().unwrap().clone();
            let name = name_of(plan.split_once("::").unwrap().0);
            let dead: Vec<usize> = told.iter().map(|(index, _)| *index).collect();
            let right = told.iter().all(|(_, actor)| *actor == name) && told.len() <= 1;
            assert!(right, "{plan}: {told:?}");
            for index in (1..3).filter(|index| !dead.contains(index)) {
                let status = timeout(PATIENCE, cluster.network(index).status()).await;
                assert!(matches!(status, Ok(Ok(_))), "{plan}: node {index} died too");
            }
            assert!(*reached.lock().unwrap() || told.len() == 1, "{plan}: nobody was told");
        });
        if *silent.lock().unwrap() {
            untouched.push(handler);
        }
    }
    assert!(untouched.is_empty(), "never ran: {untouched:?}");
}

/// What anybody may send to the UDP port, a STUN message, and what the machine says of itself.
#[test]
fn a_panic_over_what_comes_from_outside_is_fatal_by_name() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for handler in FROM_OUTSIDE {
        plan_fault(handler);
        actix_rt::System::new().block_on(async {
            let (told, mut hears) = mpsc::channel(8);
            let node = peerstage::Network::builder("outside")
                .listen("/ip4/127.0.0.1/udp/0/quic")
                .on_fatal(move |actor| told.try_send(actor).expect("one death"))
                .start_here()
                .await
                .expect("it starts");
            let port = node.listening().first().expect("it listens").socket();
            let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut stun = [0u8; 20];
            stun[4..8].copy_from_slice(&0x2112_a442u32.to_be_bytes());
            stranger.send_to(&stun, port).unwrap();
            assert_eq!(hears.recv().await, Some("nat"), "{handler}");
        });
        assert!(!disarm_fault(), "{handler}");
    }
}

/// A panic in any handler of the Admin actor is told by its name, once; who asks it afterwards
/// hears that it is gone, and the network that it watched has not noticed.
#[test]
fn a_panic_in_any_admin_handler_is_fatal_by_name() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let all = handlers().into_iter().map(|(handler, _)| handler);
    let all: Vec<String> = all.filter(|name| name.starts_with(ADMIN)).collect();
    assert_eq!(all.len(), 3, "{all:?}: say in `ask` how a new one is reached");
    for handler in all {
        run_virtual(1, move |seed| async move {
            let (cluster, deaths) = three(seed).await;
            let told = Arc::new(Mutex::new(Vec::new()));
            let hears = Arc::clone(&told);
            let fatal = Fatal::new(move |actor| hears.lock().unwrap().push(actor));
            let (shutdown, _stops) = mpsc::channel(1);
            let admin = Admin::new(AdminParts {
                network: cluster.network(0).clone(),
                min_peers: 1,
                shutdown,
                lifeline: Some(fatal.lifeline("admin")),
            });
            let admin = admin.start();
            assert!(admin.send(AdminRequest::Status).await.unwrap().is_ok());
            plan_fault(&handler);
            let ask = async {
                let _ = admin.send(Follow).await;
                let _ = admin.send(AdminRequest::Status).await;
                let _ = admin.send(Stop).await;
            };
            ask.await;
            assert!(!disarm_fault(), "{handler} never ran");
            assert_eq!(*told.lock().unwrap(), ["admin"], "{handler}");
            let later = admin.send(AdminRequest::Status).await;
            assert!(matches!(later, Err(MailboxError::Closed)), "{handler}: {later:?}");
            for index in 0..3 {
                let peers = timeout(PATIENCE, cluster.network(index).peers()).await;
                assert_eq!(peers.unwrap().unwrap().len(), 2, "{handler}: node {index}");
            }
            assert!(deaths.lock().unwrap().is_empty(), "{handler}: no core actor died");
        });
    }
}

/// A panic in any handler of a Peer ends that connection with its reason, is counted, costs the
/// peer nothing, touches no other connection, and the two meet again.
#[test]
fn a_panic_in_any_peer_handler_ends_one_connection() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    metrics();
    for handler in ["Peer::Arrived", "Peer::WriterNews", "Peer::PeerOrder"] {
        let before = peer_panics();
        run_virtual(1, move |seed| async move {
            let (cluster, deaths) = three(seed).await;
            plan_fault(handler);
            let second = cluster.member(1).node();
            // The order to go runs in the peer's handler, a message in the other two.
            if handler == "Peer::PeerOrder" {
                let _ = cluster.network(0).disconnect(second).await;
            } else {
                // More than a socket takes at once, so that its writer has to wait.
                let block = Block::from(vec![7; 2 * 1024 * 1024]);
                let _ = cluster.network(0).broadcast(block).await;
            }
            // Whoever was told to go has gone for the reason that the manager was given first.
            let expected = match handler {
                "Peer::PeerOrder" => CloseReason::Requested,
                _ => CloseReason::Panicked,
            };
            let panicked = |what: &What| match what {
                What::PeerDisconnected { closure, score, .. } => {
                    closure.reason == expected && !closure.by_remote && *score >= 0.0
                }
                _ => false,
            };
            let ended = cluster.until(PATIENCE, async |cluster: &Cluster| {
                cluster.members().iter().any(|member| member.saw(panicked))
            });
            let ended = ended.await.is_some();
            let events = || cluster.members().iter().flat_map(|member| member.events());
            let all = || events().map(|event| event.what).collect::<Vec<_>>();
            assert!(ended, "{handler}: no connection ended as expected: {:?}", all());
            assert_eq!(events().filter(|event| panicked(&event.what)).count(), 1);
            assert!(!disarm_fault());
            for index in 0..3 {
                let bans = cluster.network(index).bans().await.unwrap();
                assert!(bans.is_empty(), "{handler}: nobody is to blame");
                let peers = cluster.network(index).peers().await.unwrap();
                assert!(!peers.is_empty(), "{handler}: node {index} lost a bystander");
            }
            cluster.until_met(2, PATIENCE * 10).await.expect("they meet again");
            assert!(deaths.lock().unwrap().is_empty(), "no core actor died");
        });
        assert_eq!(peer_panics(), before + 1, "{handler}");
    }
}
