//! Counts of what was not done, and of what peers did: gathered here, taken by the shell once a
//! batch, so that a message orders nothing for them.

use super::action::{Delivery, DropReason};
use crate::kinds::{KINDS, Kind};

const KIND_COUNT: usize = KINDS.len();
const REASONS: usize = DropReason::ALL.len();
const DELIVERIES: usize = Delivery::ALL.len();

/// The position of each kind in [`KINDS`] by its byte.
const POSITIONS: [u8; 256] = {
    let mut positions = [0u8; 256];
    let mut at = 0;
    while at < KIND_COUNT {
        positions[KINDS[at].kind.byte() as usize] = at as u8;
        at += 1;
    }
    positions
};

fn position(kind: Kind) -> usize {
    POSITIONS.get(usize::from(kind.byte())).copied().map_or(0, usize::from)
}

/// What was not done, by kind and reason.
pub(super) struct Drops {
    counts: Box<[[u64; REASONS]; KIND_COUNT]>,
    /// Cells that are not zero.
    touched: Vec<(Kind, DropReason)>,
}

/// What one peer did, by kind and delivery.
#[derive(Default)]
pub(super) struct Credits {
    counts: [[u32; DELIVERIES]; KIND_COUNT],
    any: bool,
}

impl Default for Drops {
    fn default() -> Self {
        Drops { counts: Box::new([[0; REASONS]; KIND_COUNT]), touched: Vec::new() }
    }
}

impl Drops {
    fn cell(&mut self, kind: Kind, reason: DropReason) -> Option<&mut u64> {
        self.counts.get_mut(position(kind))?.get_mut(reason as usize)
    }

    pub(super) fn add(&mut self, kind: Kind, reason: DropReason) {
        let Some(count) = self.cell(kind, reason) else { return };
        *count = count.saturating_add(1);
        if *count == 1 {
            self.touched.push((kind, reason));
        }
    }

    pub(super) fn take(&mut self, take: &mut impl FnMut(Kind, DropReason, u64)) {
        for (kind, reason) in std::mem::take(&mut self.touched) {
            if let Some(count) = self.cell(kind, reason) {
                take(kind, reason, std::mem::take(count));
            }
        }
    }
}

impl Credits {
    /// True if these are the first since they were last taken.
    pub(super) fn add(&mut self, kind: Kind, delivery: Delivery) -> bool {
        let cells = self.counts.get_mut(position(kind));
        if let Some(count) = cells.and_then(|cells| cells.get_mut(delivery as usize)) {
            *count = count.saturating_add(1);
        }
        !std::mem::replace(&mut self.any, true)
    }

    pub(super) fn take(&mut self, take: &mut impl FnMut(Kind, Delivery, u32)) {
        self.any = false;
        for (row, cells) in KINDS.iter().zip(&mut self.counts) {
            for (delivery, count) in Delivery::ALL.into_iter().zip(cells) {
                if *count > 0 {
                    take(row.kind, delivery, std::mem::take(count));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_taken_once() {
        let (mut drops, mut credits) = (Drops::default(), Credits::default());
        for row in &KINDS {
            for reason in DropReason::ALL {
                (0..3).for_each(|_| drops.add(row.kind, reason));
            }
            assert_eq!(credits.add(row.kind, Delivery::Late), row.kind == Kind::Hello);
        }
        let mut taken = Vec::new();
        drops.take(&mut |kind, reason, count| taken.push((kind, reason, count)));
        assert_eq!(taken.len(), KINDS.len() * REASONS);
        assert!(taken.iter().all(|(_, _, count)| *count == 3));
        drops.take(&mut |_, _, _| panic!("taken before"));
        let mut taken = Vec::new();
        credits.take(&mut |kind, delivery, count| taken.push((kind, delivery, count)));
        assert_eq!(taken, KINDS.map(|row| (row.kind, Delivery::Late, 1)));
        credits.take(&mut |_, _, _| panic!("taken before"));
        assert!(credits.add(Kind::Vote, Delivery::First));
    }

    #[test]
    fn every_reason_and_delivery_has_its_own_cell() {
        assert!(DropReason::ALL.iter().enumerate().all(|(at, reason)| *reason as usize == at));
        assert!(Delivery::ALL.iter().enumerate().all(|(at, what)| *what as usize == at));
    }
}
