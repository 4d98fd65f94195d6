//! Attack row 23 at its size: a thousand nodes, with and without liars. The figures of
//! `docs/adr/0013-kademlia-over-visits.md` are printed by
//! `PEERSTAGE_LOOKUPS=400 cargo test -p peerstage-core --lib kademlia::tests::scale -- --nocapture`.

use rand::RngExt;

use super::network::World;
use crate::kademlia::{ClaimPurpose, K, KademliaConfig, Outcome, Point, Wish};

const NODES: usize = 1_000;
/// ceil(log2 1000) / 2 + 2.
const ROUNDS_MAX: u64 = 7;
const SEEDS: [u64; 1] = [1];

/// Lookups a seed; more by the environment, for the document.
fn lookups() -> usize {
    let wished = std::env::var("PEERSTAGE_LOOKUPS").ok();
    wished.and_then(|count| count.parse().ok()).unwrap_or(200)
}

#[derive(Default)]
struct Tally {
    tried: usize,
    right: usize,
    share: f64,
    rounds: Vec<u64>,
}

impl Tally {
    fn print(&mut self, what: &str) -> (f64, u64, u64) {
        self.rounds.sort_unstable();
        let at = |share: f64| self.rounds[((self.rounds.len() - 1) as f64 * share) as usize];
        let right = 100.0 * self.right as f64 / self.tried as f64;
        let share = 100.0 * self.share / self.tried as f64;
        let (median, most) = (at(0.5), at(1.0));
        println!(
            "{what}: {} lookups, {right:.2} % right, {share:.1} % of the {K} closest, \
             rounds: median {median}, most {most}",
            self.tried
        );
        (right, median, most)
    }
}

/// Looks random points up; right is whose result holds the honest node that is closest.
fn look(world: &mut World, count: usize, tally: &mut Tally) {
    for _ in 0..count {
        let point = Point(world.rng.random());
        let at = world.somebody();
        let own = world.members[at].record.node();
        let (result, rounds) = world.wish(at, Wish::FindNode(crate::identity::NodeId(point.0)));
        let found = match result {
            Ok(Outcome::Nodes(nodes)) => nodes.iter().map(|node| node.node()).collect(),
            _ => Vec::new(),
        };
        let mut wanted = world.closest(point, K + 1);
        wanted.retain(|node| *node != own);
        wanted.truncate(K);
        tally.tried += 1;
        tally.right += usize::from(found.contains(&wanted[0]));
        let hit = wanted.iter().filter(|node| found.contains(node)).count();
        tally.share += hit as f64 / wanted.len() as f64;
        tally.rounds.push(rounds);
    }
}

fn store_and_find(world: &mut World, count: usize, tally: &mut Tally) {
    for number in 0..count {
        let (writer, reader) = (world.somebody(), world.somebody());
        let name: [u8; 32] = world.rng.random();
        let value = number.to_le_bytes().to_vec();
        let publish = Wish::Publish { purpose: ClaimPurpose::Value, name, value: value.clone() };
        let (stored, _) = world.wish(writer, publish);
        assert!(matches!(stored, Ok(Outcome::Stored(copies)) if copies > 0), "{stored:?}");
        let point = Point::of_value(&world.members[writer].record.record().public_key, &name);
        let (found, rounds) = world.wish(reader, Wish::Find(ClaimPurpose::Value, point.0));
        let right = matches!(found, Ok(Outcome::Claims(claims))
            if claims.first().is_some_and(|claim| claim.claim().payload[..] == value));
        tally.tried += 1;
        tally.right += usize::from(right);
        tally.share += f64::from(u8::from(right));
        tally.rounds.push(rounds);
    }
}

#[test]
fn without_liars_lookups_are_right_and_short() {
    let (mut nodes, mut values) = (Tally::default(), Tally::default());
    for seed in SEEDS {
        let mut world = World::new(seed, NODES, 0, &KademliaConfig::default());
        world.settle();
        look(&mut world, lookups(), &mut nodes);
        store_and_find(&mut world, lookups() / 8, &mut values);
    }
    let (right, _, most) = nodes.print("no liars, nodes");
    assert!(right >= 99.5, "{right} % right");
    assert!(most <= ROUNDS_MAX, "{most} rounds");
    let (right, _, _) = values.print("no liars, values");
    assert!(right >= 99.5, "{right} % of values");
}

/// Every fifth node lies: half of them know only each other and keep nothing that they were
/// given, the others are silent or forge.
#[test]
fn with_a_fifth_of_liars_nine_of_ten_lookups_are_right() {
    let (mut nodes, mut values) = (Tally::default(), Tally::default());
    for seed in SEEDS {
        let mut world = World::new(seed, NODES, 200, &KademliaConfig::default());
        world.settle();
        look(&mut world, lookups() / 2, &mut nodes);
        store_and_find(&mut world, lookups() / 8, &mut values);
    }
    let (right, _, _) = nodes.print("a fifth lies, nodes");
    assert!(right >= 90.0, "{right} % right");
    let (right, _, _) = values.print("a fifth lies, values");
    assert!(right >= 90.0, "{right} % of values");
}
