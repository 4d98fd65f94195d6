//! How large the book may become, and what becomes of an address that is offered.

use serde::{Deserialize, Serialize};

/// Addresses of one IP in the book, unless it is private; a few nodes behind one NAT.
pub const ADDRESSES_PER_IP_MAX: usize = 4;
/// This node's own addresses that are remembered; the oldest is forgotten.
pub const OWN_ADDRESSES_MAX: usize = 64;

/// How large the book may become, and how it is cut into buckets. The salt and these numbers
/// decide where an address is: with other numbers everything is placed anew at the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BookLimits {
    /// Buckets of addresses that were heard of (Heilman et al. 2015 propose 1024).
    pub new_buckets: u16,
    /// Buckets of addresses where a node has answered (Heilman et al. 2015 propose 256).
    pub tried_buckets: u16,
    /// Addresses in a bucket. Bitcoin has 64; 16 keep an attacked book at about 5 MB.
    pub bucket_size: u8,
    /// New buckets that one source's neighbourhood can reach (attack row 19).
    pub new_buckets_per_source: u16,
    /// Tried buckets that one neighbourhood's addresses can reach (Heilman et al. 2015).
    pub tried_buckets_per_group: u16,
    /// Whether an address is drawn by neighbourhood, so that a thousand addresses of one are drawn
    /// as often as one of another; only switched off to measure what that is worth.
    pub draw_by_group: bool,
    /// Whether a tried address is dialled before another takes its place; only switched off to
    /// measure what that is worth.
    pub test_before_evict: bool,
    /// Records.
    pub records_max: usize,
    /// New addresses told by one network group; a sixteenth of what its buckets could hold.
    pub per_source_max: usize,
    /// Whether private and loopback addresses are let in, for networks of one's own.
    pub allow_private: bool,
}

impl Default for BookLimits {
    fn default() -> Self {
        BookLimits {
            new_buckets: 1_024,
            tried_buckets: 256,
            bucket_size: 16,
            new_buckets_per_source: 64,
            tried_buckets_per_group: 8,
            draw_by_group: true,
            test_before_evict: true,
            records_max: 4_096,
            per_source_max: 64,
            allow_private: false,
        }
    }
}

impl BookLimits {
    /// Addresses at most, in both tables together.
    #[must_use]
    pub fn addresses_max(&self) -> usize {
        let buckets = usize::from(self.new_buckets).saturating_add(self.tried_buckets.into());
        buckets.saturating_mul(self.bucket_size.into())
    }
}

/// What became of an address that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOutcome {
    /// It is in the book now.
    Added,
    /// It was already.
    Known,
    /// Nobody can be reached there, or only by us.
    NotReachable,
    /// It is this node's own.
    Own,
    /// The neighbourhood that told it has had its share.
    SourceQuota,
    /// Too many addresses of this IP are known.
    IpQuota,
    /// Its place is taken by an address that may still be good.
    Crowded,
}
