//! Recommendations: how the word of one peer raises the trust in another, and how little.
//!
//! # Security
//! Provided: a recommendation never lowers anything, never concerns the recommender, never
//! raises trust above the recommender's own, is worth at most a tenth, and is counted once per
//! pair, [`RECOMMENDATIONS_PER_EPOCH`] times per recommender and [`BOOST_PER_EPOCH`] per subject
//! in an epoch; the banned and the peers near the ban line gain nothing.
//! Not provided: knowing whether recommender and subject are one party.

use super::{
    peer::TrackedPeer,
    policy::{MILLION, Policy},
    score::{Axis, Standing},
};

/// Peers that one recommender can raise in an epoch. A guess.
pub const RECOMMENDATIONS_PER_EPOCH: usize = 8;
/// Trust that one peer can gain by recommendations in an epoch, millionths: one full boost.
pub const BOOST_PER_EPOCH: i64 = MILLION / 10;

/// The trust, in millionths, that `about` gains if `from` recommends it with this trust:
/// recommended x recommender / 10. Zero if the word does not count.
pub(super) fn boost(
    from: &TrackedPeer,
    about: &TrackedPeer,
    recommended: u64,
    policy: &Policy,
) -> i64 {
    let recommender = i64::from(from.axes.get(Axis::Trust));
    let heard = from.standing >= Standing::Neutral
        && recommender >= i64::from(policy.trust_minimum)
        && from.recommended.len() < RECOMMENDATIONS_PER_EPOCH;
    if !heard || about.standing <= Standing::Distrusted {
        return 0;
    }
    let recommended = i64::try_from(recommended).unwrap_or(MILLION).min(MILLION);
    let room = recommender - i64::from(about.axes.get(Axis::Trust));
    let left = BOOST_PER_EPOCH - about.boosted;
    (recommended * recommender / MILLION / 10).min(room).min(left).max(0)
}
