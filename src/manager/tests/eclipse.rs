//! Promise 5: an attacker with a thousand addresses surrounds nobody, and what each defence is
//! worth. `PEERSTAGE_ECLIPSE_RESTARTS=1000` is the full size.

use std::{collections::BTreeMap, net::IpAddr};

use rand::RngExt;

use super::super::*;
use crate::{
    book::BookEntry,
    record::{
        LIFE_MAX, VerifiedRecord,
        tests::{NET, NOW, keypair, record_of},
    },
};

const MINUTE: Millis = 60_000;
/// Nodes of the honest network, each in a neighbourhood of its own.
const HONEST: usize = 300;
/// Of a hundred honest nodes so many are up; the others were told of and have left.
const UP_PERCENT: u32 = 35;
/// Of a hundred dials to an honest node that is up so many find room.
const ROOM_PERCENT: u32 = 70;
/// Restarts that one victim lives through, an hour apart.
const RESTARTS_A_LIFE: usize = 20;

/// Somebody who can be dialled.
struct Host {
    id: NodeId,
    address: Address,
    record: VerifiedRecord,
}

/// Everybody there is, the same in every life.
struct Cast {
    honest: Vec<Host>,
    attackers: Vec<Host>,
    by_address: BTreeMap<Address, (bool, usize)>,
    by_id: BTreeMap<NodeId, (bool, usize)>,
}

/// What the attacker has.
#[derive(Clone, Copy)]
struct Attack {
    groups: usize,
    addresses: usize,
    /// Addresses of nobody that it tells of beside each of its own.
    junk: usize,
}

const THOUSAND_IN_16: Attack = Attack { groups: 16, addresses: 1_000, junk: 0 };

fn host(number: u64, address: Address, junk: usize) -> Host {
    let key = keypair(number);
    let mut addresses = vec![address];
    for nobody in 0..junk as u64 {
        let [.., a, b, c] = (number * 8 + nobody).wrapping_mul(2_654_435_761).to_be_bytes();
        addresses.push(Address::new(IpAddr::from([80 + a % 60, b, c, 7]), 30_400));
    }
    let mut record = record_of(&key, &addresses, NOW);
    record.expires = NOW.plus(LIFE_MAX);
    let record = record.sign(&key, &NET).unwrap().verify(&NET, NOW).unwrap();
    Host { id: key.node_id(), address, record }
}

impl Cast {
    fn new(attack: Attack) -> Self {
        let honest: Vec<Host> = (0..HONEST)
            .map(|n| {
                let [.., a, b] = n.to_be_bytes();
                host(1 + n as u64, Address::new(IpAddr::from([20 + a, b, 1, 1]), 30_400), 0)
            })
            .collect();
        let attackers: Vec<Host> = (0..attack.addresses)
            .map(|n| {
                let (group, rest) = (n % attack.groups, n / attack.groups);
                let ip = [70, group as u8, (rest / 250) as u8, (rest % 250) as u8];
                host(10_000 + n as u64, Address::new(IpAddr::from(ip), 30_400), attack.junk)
            })
            .collect();
        let all = || {
            let of = |honest: bool, hosts: &[Host]| -> Vec<(Address, NodeId, (bool, usize))> {
                hosts.iter().enumerate().map(|(i, h)| (h.address, h.id, (honest, i))).collect()
            };
            of(true, &honest).into_iter().chain(of(false, &attackers))
        };
        let by_address = all().map(|(address, _, who)| (address, who)).collect();
        let by_id = all().map(|(_, id, who)| (id, who)).collect();
        Cast { honest, attackers, by_address, by_id }
    }

    fn host(&self, (honest, index): (bool, usize)) -> &Host {
        if honest { &self.honest[index] } else { &self.attackers[index] }
    }
}

/// A victim, its disk and its surroundings.
struct Life<'a> {
    cast: &'a Cast,
    config: ManagerConfig,
    manager: Manager,
    rng: ChaCha8Rng,
    now: Time,
    up: Vec<bool>,
    disk: BTreeMap<Address, BookEntry>,
    anchors: Vec<Anchor>,
    counter: u64,
    next_attacker: usize,
}

impl<'a> Life<'a> {
    fn new(cast: &'a Cast, config: &ManagerConfig, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let up = (0..HONEST).map(|_| rng.random_range(0..100) < UP_PERCENT).collect();
        let mut life = Life {
            cast,
            config: config.clone(),
            manager: super::places::manager(&keypair(0), config, seed),
            rng,
            now: NOW,
            up,
            disk: BTreeMap::new(),
            anchors: Vec::new(),
            counter: 0,
            next_attacker: 0,
        };
        life.up[0] = true;
        let bootstrap = Target { address: cast.honest[0].address, expected: None };
        life.tell(|m, now, out| m.on_start(now, &[bootstrap], &[], out));
        life
    }

    fn tell(&mut self, input: impl FnOnce(&mut Manager, Time, &mut Vec<Action>)) {
        let mut out = Vec::new();
        input(&mut self.manager, self.now, &mut out);
        out.into_iter().for_each(|action| self.perform(action));
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial { attempt, link, address, .. } => self.dial(attempt, link, address),
            Action::PersistAddress(entry) => drop(self.disk.insert(entry.address, *entry)),
            Action::ForgetAddress(address) => drop(self.disk.remove(&address)),
            Action::PersistAnchors(anchors) => self.anchors = anchors,
            Action::RequestPeers { peer, count } => {
                let Some((honest, _)) = self.cast.by_id.get(&peer).copied() else { return };
                let hosts = if honest { &self.cast.honest } else { &self.cast.attackers };
                let start = self.rng.random_range(0..hosts.len());
                let told = hosts.iter().cycle().skip(start).take(usize::from(count) / 2);
                let told = told.map(|host| host.record.signed().clone()).collect();
                self.tell(|m, now, out| m.on_records(now, &peer, told, out));
            }
            _ => {}
        }
    }

    fn dial(&mut self, attempt: DialId, link: LinkKind, address: Address) {
        let who = self.cast.by_address.get(&address).copied();
        let answers = who.filter(|(honest, index)| !honest || self.up[*index]);
        let Some(who) = answers else {
            let failure = DialFailure::Timeout;
            return self.tell(|m, now, out| m.on_dial_failed(now, attempt, failure, out));
        };
        let id = self.cast.host(who).id;
        if link == LinkKind::Feeler {
            return self.tell(|m, now, out| m.on_felt(now, attempt, id, out));
        }
        if who.0 && self.rng.random_range(0..100) >= ROOM_PERCENT {
            let failure = DialFailure::Handshake(CloseReason::TooManyPeers);
            return self.tell(|m, now, out| m.on_dial_failed(now, attempt, failure, out));
        }
        self.establish(who, Direction::Outbound(attempt), link == LinkKind::BlocksOnly);
    }

    fn establish(&mut self, who: (bool, usize), direction: Direction, blocks_only: bool) {
        self.counter += 1;
        let session = SessionId(self.counter);
        let Host { id, address, record } = self.cast.host(who);
        if direction == Direction::Inbound {
            let mut out = Vec::new();
            self.manager.on_inbound_attempt(self.now, session, *address, &mut out);
            if !out.contains(&Action::Accept { session }) {
                return;
            }
        }
        let established = Established {
            peer: *id,
            address: *address,
            direction,
            channel: [0; 32],
            record: Some(record.clone()),
            validator: None,
            blocks_only,
            visit: false,
        };
        self.tell(|m, now, out| m.on_established(now, session, established, out));
    }

    /// Lets time pass; an attacker comes every ten seconds if there are any, an honest stranger
    /// every minute, and each minute some honest nodes leave and others return.
    fn pass(&mut self, span: Millis, attacked: bool) {
        let end = self.now.plus(span);
        let (mut next_attack, mut next_minute) = (self.now, self.now);
        while self.now < end {
            let timer = self.manager.deadline().unwrap_or(Time::NEVER);
            self.now = self.now.max(timer.min(next_attack).min(next_minute).min(end));
            if timer <= self.now {
                self.tell(|m, now, out| m.on_deadline(now, out));
            }
            if next_attack <= self.now {
                next_attack = self.now.plus(10_000);
                if attacked {
                    self.next_attacker = (self.next_attacker + 1) % self.cast.attackers.len();
                    self.establish((false, self.next_attacker), Direction::Inbound, false);
                }
            }
            if next_minute <= self.now {
                next_minute = self.now.plus(MINUTE);
                self.churn();
            }
        }
    }

    /// A session lasts three hours on average.
    fn churn(&mut self) {
        for index in 0..HONEST {
            let odds = if self.up[index] { 100 - UP_PERCENT } else { UP_PERCENT };
            if self.rng.random_range(0..12_000) < odds {
                self.up[index] = !self.up[index];
                let peer = self.manager.peer(&self.cast.honest[index].id);
                if let Some(session) = peer.map(|view| view.session).filter(|_| !self.up[index]) {
                    let lost = Closure::local(CloseReason::ConnectionLost);
                    self.tell(|m, now, out| m.on_closed(now, session, lost, out));
                }
            }
        }
        let stranger = self.rng.random_range(0..HONEST);
        if self.up[stranger] {
            self.establish((true, stranger), Direction::Inbound, false);
        }
    }

    /// The process is killed and starts anew with what is on its disk. Of the peers of its own
    /// choice two minutes later: how many are honest, and all.
    fn restart(&mut self) -> (usize, usize) {
        let salt = self.manager.book().salt();
        let seed = self.rng.random();
        self.manager = super::places::manager(&keypair(0), &self.config, seed);
        self.manager.set_book(Some(salt), Arc::default());
        self.manager.restore(self.now, self.disk.values().cloned(), []);
        self.manager.restore_anchors(self.anchors.iter().copied());
        self.tell(|m, now, out| m.on_start(now, &[], &[], out));
        self.pass(2 * MINUTE, true);
        let honest = |view: &&PeerView| self.cast.by_id.get(&view.peer).is_some_and(|who| who.0);
        let chosen = || self.manager.peers().filter(|view| view.outbound);
        (chosen().filter(honest).count(), chosen().count())
    }
}

/// What became of many restarts.
#[derive(Default)]
struct Outcome {
    restarts: usize,
    /// Restarts with an honest peer of the node's own choice.
    survived: usize,
    /// Such peers of all restarts, and all peers that the node chose.
    honest: usize,
    chosen: usize,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { restarts, survived, honest, chosen } = self;
        write!(f, "{survived} of {restarts} ({} %)", honest * 100 / chosen.max(&1))
    }
}

fn outcome(cast: &Cast, config: &ManagerConfig, restarts: usize) -> Outcome {
    let mut outcome = Outcome::default();
    for life in 0..restarts.div_ceil(RESTARTS_A_LIFE) {
        let mut victim = Life::new(cast, config, life as u64);
        victim.pass(60 * MINUTE, false);
        for _ in 0..RESTARTS_A_LIFE {
            victim.pass(60 * MINUTE, true);
            let (honest, chosen) = victim.restart();
            outcome.restarts += 1;
            outcome.survived += usize::from(honest > 0);
            outcome.honest += honest;
            outcome.chosen += chosen;
        }
    }
    outcome
}

fn size(default: usize) -> usize {
    let wanted = std::env::var("PEERSTAGE_ECLIPSE_RESTARTS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Attack row 22, promise 5: with a thousand attacker addresses in 16 neighbourhoods, a restart
/// ends with an honest peer of our own choice in 99 of 100 cases at least.
#[test]
fn a_thousand_addresses_eclipse_nobody_across_restarts() {
    let cast = Cast::new(THOUSAND_IN_16);
    let outcome = outcome(&cast, &ManagerConfig::default(), size(100));
    println!("{outcome}");
    assert!(outcome.survived * 100 >= outcome.restarts * 99, "{outcome}");
}

type Switch = fn(&mut ManagerConfig);

/// The defences, and how each is switched off.
const DEFENCES: [(&str, Switch); 8] = [
    ("draws by network group", |c| c.book.draw_by_group = false),
    ("buckets by source and group", |c| {
        c.book.new_buckets_per_source = c.book.new_buckets;
        c.book.tried_buckets_per_group = c.book.tried_buckets;
    }),
    ("quota by source", |c| c.book.per_source_max = usize::MAX),
    ("test before evict", |c| c.book.test_before_evict = false),
    ("feelers", |c| c.feeler_interval = 0),
    ("anchors", |c| c.anchors = 0),
    ("peers for blocks only, and with them anchors", |c| {
        (c.blocks_only_outbound, c.anchors) = (0, 0);
    }),
    ("at most two outbound in a group", |c| c.max_outbound_per_group = usize::MAX),
];

/// Every defence off alone, and off where draws go by address too, against three attackers; and
/// what is left without any. Printed as the table of docs/adr/0012: restarts survived, and the
/// honest share of the peers that the victim chose.
#[test]
fn what_each_defence_is_worth() {
    let restarts = size(20);
    let attacks = [
        ("1,000 in 16 groups", THOUSAND_IN_16),
        ("1,000 in 4 groups", Attack { groups: 4, ..THOUSAND_IN_16 }),
        (
            "1,000 in 64 groups, and 7,000 of nobody",
            Attack { groups: 64, junk: 7, ..THOUSAND_IN_16 },
        ),
    ];
    let mut rows: BTreeMap<usize, (String, Vec<String>)> = BTreeMap::new();
    let (mut with, mut without) = (0, 0);
    for (column, (name, attack)) in attacks.into_iter().enumerate() {
        println!("column {}: {name}", column + 1);
        let cast = Cast::new(attack);
        let mut measure = |row: usize, off: String, config: &ManagerConfig| {
            let outcome = outcome(&cast, config, restarts);
            rows.entry(row).or_insert((off, Vec::new())).1.push(outcome.to_string());
            outcome.survived
        };
        with += measure(0, "nothing".to_owned(), &ManagerConfig::default());
        let (draws, by_address) = DEFENCES[0];
        let mut all_off = ManagerConfig::default();
        for (index, (name, switch)) in DEFENCES.iter().enumerate() {
            let mut config = ManagerConfig::default();
            switch(&mut config);
            measure(1 + index, (*name).to_owned(), &config);
            if index > 0 {
                by_address(&mut config);
                measure(100 + index, format!("{draws}, {name}"), &config);
            }
            switch(&mut all_off);
        }
        without += measure(usize::MAX, "all of these".to_owned(), &all_off);
    }
    for (off, cells) in rows.values() {
        println!("| {off} | {} |", cells.join(" | "));
    }
    assert!(without < with, "{without} restarts survived without any defence, {with} with all");
}
