//! What one node is told of others.

use std::collections::BTreeSet;

use super::super::*;
use super::stories::{Story, far, node};
use crate::{address::Address, identity::NodeId};

fn told(story: &mut Story, asker: u64) -> BTreeSet<NodeId> {
    story.does(|m, now, out| m.on_peers_requested(now, &node(asker), 8, out));
    let told = story.out.iter().find_map(|action| match action {
        Action::SendPeers { records, .. } => Some(records.clone()),
        _ => None,
    });
    told.unwrap().iter().map(|signed| signed.record.public_key.node_id()).collect()
}

/// Ids are free and neighbourhoods are not: however many nodes somebody has in one, they are told of
/// the same few others all day.
#[test]
fn one_neighbourhood_is_told_of_the_same_nodes_whoever_asks() {
    let mut story = Story::new(ManagerConfig::default());
    for n in 1..=40 {
        story.comes(n, far(n));
    }
    let near = |host: u8| Address::new([60, 200, 1, host].into(), 30_400);
    for n in 100..106 {
        story.comes(n, near(n as u8));
    }
    story.comes(200, far(200));
    let neighbours: BTreeSet<NodeId> = (100..106).map(node).collect();
    let mut all = BTreeSet::new();
    for asker in 100..106 {
        let heard = told(&mut story, asker);
        all.extend(heard.difference(&neighbours).copied());
    }
    // Each is told of up to eight; of itself never, so one more can come up for each.
    assert!(all.len() <= 14, "{} of 41", all.len());
    let elsewhere = told(&mut story, 200);
    assert!(elsewhere.difference(&all).count() >= 2, "another neighbourhood, another few");
}
