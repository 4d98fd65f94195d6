//! The random graph of the broadcast cases, the same for every stack.

/// A random graph as pairs of nodes: a ring, so that it hangs together, and random chords up to
/// `degree` neighbours each, from a fixed seed.
#[must_use]
pub fn edges(nodes: usize, degree: usize) -> Vec<(usize, usize)> {
    let mut edges: Vec<(usize, usize)> =
        (0..nodes).map(|node| (node, (node + 1) % nodes)).collect();
    let mut degrees = vec![2usize; nodes];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..nodes * degree * 64 {
        let (a, b) = (random(nodes), random(nodes));
        let known = edges.iter().any(|edge| *edge == (a, b) || *edge == (b, a));
        if a != b && !known && degrees[a] < degree && degrees[b] < degree {
            edges.push((a, b));
            degrees[a] += 1;
            degrees[b] += 1;
        }
    }
    edges
}

/// The neighbours of each node, as [`edges`] has them.
#[must_use]
pub fn neighbours(nodes: usize, degree: usize) -> Vec<Vec<usize>> {
    let mut lists = vec![Vec::new(); nodes];
    for (a, b) in edges(nodes, degree) {
        lists[a].push(b);
        lists[b].push(a);
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_nearly_the_wished_degree_and_no_edge_is_double() {
        for nodes in [16, 32] {
            let lists = neighbours(nodes, 8);
            for (node, list) in lists.iter().enumerate() {
                assert!((7..=8).contains(&list.len()), "{node} has {list:?}");
                assert!(!list.contains(&node));
                let mut unique = list.clone();
                unique.sort_unstable();
                unique.dedup();
                assert_eq!(unique.len(), list.len());
            }
        }
    }
}
